//! The verdict on the first batch that a producer sends to a partition's new home: has the old home stored it already,
//! does it follow, or is something missing? Pure; it must never know where the facts come from.

use sluice_mesh::document::CutProducer;
use sluice_wire::batch;

/// How long after a switch a gap is answered by a retry, milliseconds. Afterwards the batch that would close it will not
/// come any more.
pub(crate) const GAP_WINDOW_MILLIS: i64 = 5 * 60 * 1000;

/// What of a batch matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sequence {
    /// Producer epoch.
    pub(crate) epoch: i16,
    /// Of the first record.
    pub(crate) base: i32,
    /// Of the last record.
    pub(crate) last: i32,
}

/// What the new home knows of the producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    /// Producer epoch.
    pub(crate) epoch: i32,
    /// Sequence of the last record it has.
    pub(crate) last_sequence: i32,
}

/// The verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FirstBatch {
    /// Goes to the new home, which checks the rest.
    Forward,
    /// The old home has it: success.
    Duplicate,
    /// Records before it are missing: the client has to send those first.
    Gap,
    /// A newer incarnation of the producer has written on the old home.
    OldEpoch,
}

/// The verdict without asking the new home, where its answer would not change it.
pub(crate) fn without_asking(cut: Option<&CutProducer>, batch: Sequence) -> Option<FirstBatch> {
    match cut {
        None if batch.base == 0 => Some(FirstBatch::Forward),
        Some(cut) if batch.epoch > cut.epoch && batch.base == 0 => Some(FirstBatch::Forward),
        _ => None,
    }
}

/// The verdict: `known` from the new home, `cut` from the cut's table, `gap_open` within [`GAP_WINDOW_MILLIS`] of the switch.
pub(crate) fn first_batch(
    known: Option<Known>,
    cut: Option<&CutProducer>,
    batch: Sequence,
    gap_open: bool,
) -> FirstBatch {
    if let Some(known) = known {
        let follows = batch::next_sequence(known.last_sequence) == batch.base;
        let stored_before =
            cut.is_some_and(|cut| cut.epoch == batch.epoch && at_or_below(batch.last, cut.last_sequence));
        // The new home would call a late repetition of what the old one stored a gap, which ends some producers.
        if known.epoch == i32::from(batch.epoch) && !follows && stored_before && batch.last != known.last_sequence {
            return FirstBatch::Duplicate;
        }
        return FirstBatch::Forward;
    }
    let Some(cut) = cut else {
        return FirstBatch::Forward;
    };
    if batch.epoch < cut.epoch {
        return FirstBatch::OldEpoch;
    }
    if batch.epoch == cut.epoch {
        if cut.last_sequence < 0 || batch::next_sequence(cut.last_sequence) == batch.base {
            return FirstBatch::Forward;
        }
        if at_or_below(batch.last, cut.last_sequence) {
            return FirstBatch::Duplicate;
        }
    } else if batch.base == 0 {
        return FirstBatch::Forward;
    }
    if gap_open { FirstBatch::Gap } else { FirstBatch::Forward }
}

fn at_or_below(sequence: i32, recorded: i32) -> bool {
    recorded >= 0 && !batch::sequence_after(sequence, recorded)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUT: CutProducer = CutProducer { id: 7, epoch: 3, last_sequence: 99 };

    fn batch(epoch: i16, base: i32, last: i32) -> Sequence {
        Sequence { epoch, base, last }
    }

    #[test]
    fn the_new_home_knows_nothing_of_the_producer() {
        let table = [
            (batch(3, 100, 109), FirstBatch::Forward, "exactly next"),
            (batch(3, 90, 99), FirstBatch::Duplicate, "the last stored"),
            (batch(3, 10, 19), FirstBatch::Duplicate, "long stored"),
            (batch(3, 95, 105), FirstBatch::Gap, "half stored: no client builds such a batch"),
            (batch(3, 110, 119), FirstBatch::Gap, "one is missing"),
            (batch(4, 0, 9), FirstBatch::Forward, "a bumped epoch starts at 0"),
            (batch(4, 5, 9), FirstBatch::Gap, "a bumped epoch that starts in the middle"),
            (batch(2, 100, 109), FirstBatch::OldEpoch, "fenced"),
        ];
        for (batch, verdict, why) in table {
            assert_eq!(first_batch(None, Some(&CUT), batch, true), verdict, "{why}");
        }
        assert_eq!(first_batch(None, None, batch(0, 500, 509), true), FirstBatch::Forward, "absent from both");
        let empty = CutProducer { last_sequence: -1, ..CUT };
        assert_eq!(first_batch(None, Some(&empty), batch(3, 42, 43), true), FirstBatch::Forward, "recorded -1");
    }

    #[test]
    fn a_gap_is_waited_for_only_for_a_while() {
        assert_eq!(first_batch(None, Some(&CUT), batch(3, 110, 119), false), FirstBatch::Forward);
        assert_eq!(first_batch(None, Some(&CUT), batch(3, 90, 99), false), FirstBatch::Duplicate, "never forwarded");
    }

    #[test]
    fn sequences_wrap() {
        let cut = CutProducer { last_sequence: i32::MAX, ..CUT };
        assert_eq!(first_batch(None, Some(&cut), batch(3, 0, 9), true), FirstBatch::Forward);
        assert_eq!(first_batch(None, Some(&cut), batch(3, i32::MAX - 9, i32::MAX), true), FirstBatch::Duplicate);
        let wrapped = CutProducer { last_sequence: 4, ..CUT };
        assert_eq!(first_batch(None, Some(&wrapped), batch(3, i32::MAX - 4, 4), true), FirstBatch::Duplicate);
        assert_eq!(first_batch(None, Some(&wrapped), batch(3, 5, 9), true), FirstBatch::Forward);
    }

    #[test]
    fn the_new_home_checks_what_it_knows() {
        let known = |last_sequence| Some(Known { epoch: 3, last_sequence });
        assert_eq!(first_batch(known(109), Some(&CUT), batch(3, 110, 119), true), FirstBatch::Forward, "next");
        assert_eq!(first_batch(known(109), Some(&CUT), batch(3, 100, 109), true), FirstBatch::Forward, "its duplicate");
        assert_eq!(
            first_batch(known(109), Some(&CUT), batch(3, 90, 99), true),
            FirstBatch::Duplicate,
            "the old home's"
        );
        assert_eq!(first_batch(known(109), Some(&CUT), batch(3, 130, 139), true), FirstBatch::Forward, "a real gap");
        // Half the sequence space later the old record must not be taken for a repetition.
        let far = 99 + (1 << 30) + 10;
        assert_eq!(first_batch(known(far - 1), Some(&CUT), batch(3, far, far), true), FirstBatch::Forward);
    }

    #[test]
    fn what_needs_no_question() {
        assert_eq!(without_asking(None, batch(0, 0, 9)), Some(FirstBatch::Forward));
        assert_eq!(without_asking(None, batch(0, 10, 19)), None);
        assert_eq!(without_asking(Some(&CUT), batch(4, 0, 9)), Some(FirstBatch::Forward));
        assert_eq!(without_asking(Some(&CUT), batch(3, 100, 109)), None);
    }
}
