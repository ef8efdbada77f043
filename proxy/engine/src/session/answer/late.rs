//! Answers of the main upstream that nobody waits for any more: their requests have been answered by the session itself.
//! They come before all others from there, and are swallowed.

use std::collections::VecDeque;

use sluice_wire::frame::{self, PREFIX};

use super::FIRST;
use crate::step::CloseReason;

/// The most of them; over it a Fetch waits for its broker as ever.
const MAX_LATE: usize = 8;

/// The answers, in the order in which they will come.
#[derive(Debug, Default)]
pub(crate) struct Late {
    correlation_ids: VecDeque<i32>,
    /// The first bytes of the next one, and how many of them have come.
    first: [u8; FIRST],
    come: usize,
    /// Bytes of it that are still to come behind those.
    left: usize,
}

impl Late {
    pub(crate) fn is_empty(&self) -> bool {
        self.correlation_ids.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.correlation_ids.len() >= MAX_LATE
    }

    pub(super) fn push(&mut self, correlation_id: i32) {
        self.correlation_ids.push_back(correlation_id);
    }

    /// How much of the chunk belongs to the next of them: at most one answer is looked at.
    pub(crate) fn swallow(&mut self, chunk: &[u8]) -> Result<usize, CloseReason> {
        let mut taken = 0;
        if let Some(missing) = self.first.get_mut(self.come..).filter(|missing| !missing.is_empty()) {
            taken = missing.len().min(chunk.len());
            for (to, from) in missing.iter_mut().zip(chunk) {
                *to = *from;
            }
            self.come += taken;
            if self.come < FIRST {
                return Ok(taken);
            }
            self.left = self.check().ok_or(CloseReason::BadAnswer)?;
        }
        let rest = self.left.min(chunk.len().saturating_sub(taken));
        self.left -= rest;
        if self.left == 0 {
            self.come = 0;
            self.correlation_ids.pop_front();
        }
        Ok(taken + rest)
    }

    /// The bytes behind the first ones; `None` if those are not the start of the answer that is due.
    fn check(&self) -> Option<usize> {
        let (prefix, correlation_id) = self.first.split_first_chunk::<PREFIX>()?;
        let correlation_id = i32::from_be_bytes(*correlation_id.first_chunk()?);
        let length = frame::check_answer_length(*prefix, i32::MAX.unsigned_abs()).ok()?;
        let length = usize::try_from(length).ok()?;
        (self.correlation_ids.front() == Some(&correlation_id)).then(|| length.checked_sub(FIRST - PREFIX))?
    }
}
