//! Producers: brokers keep state of idempotent ones, and a move must not show in it.

use super::event::What;
use super::index::Index;
use super::verdict::{Anomaly, Verdict};

/// Parts of the names that client libraries give to errors about a producer's state, folded.
const STATE: [&str; 6] =
    ["outoforder", "unknownproducerid", "invalidproducerepoch", "producerfenced", "duplicatesequence", "fenced"];

pub(super) fn check(index: &Index<'_>, verdict: &mut Verdict) {
    for event in index.events {
        match &event.what {
            What::Send { value, error: Some(error), .. } if is_state(error) => {
                verdict.add(Anomaly::ProducerState, &event.process, || format!("{value} was refused: {error}"));
            }
            What::Error { code, fatal, text } if is_state(code) || *fatal => {
                let anomaly = if is_state(code) { Anomaly::ProducerState } else { Anomaly::FatalError };
                verdict.add(anomaly, &event.process, || format!("{code}: {text}"));
            }
            _ => {}
        }
    }
}

fn is_state(error: &str) -> bool {
    let folded: String = error.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    STATE.iter().any(|part| folded.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_both_client_families_are_known() {
        for name in ["OUT_OF_ORDER_SEQUENCE_NUMBER", "OutOfOrderSequenceException", "UnknownProducerId", "_FENCED"] {
            assert!(is_state(name), "{name}");
        }
        for name in ["MessageTimedOut", "NOT_LEADER_OR_FOLLOWER", ""] {
            assert!(!is_state(name), "{name}");
        }
    }
}
