//! A look at the start of a Fetch answer of which nothing has been sent yet.

use super::patch::{fixed_size, read_partition};
use super::{BATCH_RUN, Head, Partition, flexible};
use crate::WireError;
use crate::cursor::{Cursor, check_count};

/// The start of an answer up to its first batch, before any byte has been passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peek<'a> {
    /// The head.
    pub head: Head,
    /// The first partition, with its topic's name; `None` if there is none.
    pub first: Option<(&'a str, Partition)>,
    /// Bytes of its records (0 if null).
    pub records: u32,
    /// Physical base offset of its first batch, if there is one.
    pub first_base_offset: Option<i64>,
}

/// Parses the start of a body (after the answer header) of `length` bytes without consuming it, for answers that the
/// caller may have to replace as a whole. `None`: more bytes are needed; how many depends on the list of aborted
/// transactions, so the caller must bound it.
pub fn peek(version: i16, length: usize, prefix: &[u8]) -> Result<Option<Peek<'_>>, WireError> {
    let prefix = prefix.get(..length.min(prefix.len())).unwrap_or_default();
    match read_start(version, length, &mut Cursor::new(prefix)) {
        Err(WireError::Truncated { .. }) if prefix.len() < length => Ok(None),
        Err(error) => Err(error),
        Ok(peek) => Ok(Some(peek)),
    }
}

fn read_start<'a>(version: i16, length: usize, cursor: &mut Cursor<'a>) -> Result<Peek<'a>, WireError> {
    let flexible = flexible(version)?;
    let head = Head::read(version, cursor)?;
    let left = |cursor: &Cursor<'_>| length.saturating_sub(cursor.at());
    check_count(Some(head.topics), if flexible { 3 } else { 6 }, left(cursor), "topics")?;
    let mut peek = Peek { head, first: None, records: 0, first_base_offset: None };
    for _ in 0..head.topics {
        let topic = cursor.name(flexible, "a topic's name")?;
        let left_now = left(cursor);
        if cursor.bounded_count(flexible, fixed_size(version), left_now, "partitions")? == 0 {
            if flexible {
                cursor.skip_tags("tagged fields")?;
            }
            continue;
        }
        peek.first = Some((topic, read_partition(version, cursor)?));
        let aborted = cursor.count(flexible, "aborted transactions")?.unwrap_or(0);
        for _ in 0..check_count(Some(aborted), 16, left(cursor), "aborted transactions")? {
            cursor.take(16, "aborted transactions")?;
            if flexible {
                cursor.skip_tags("tagged fields")?;
            }
        }
        if version >= 11 {
            cursor.i32("a preferred replica")?;
        }
        peek.records = cursor.blob_length(flexible, "records")?.unwrap_or(0);
        let left_now = left(cursor);
        if peek.records as usize > left_now {
            return Err(WireError::Length { what: "records", length: i64::from(peek.records), limit: left_now });
        }
        if peek.records as usize >= BATCH_RUN {
            peek.first_base_offset = Some(cursor.i64("a base offset")?);
        }
        break;
    }
    Ok(peek)
}
