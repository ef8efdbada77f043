//! What both streaming walkers stand on: fields gathered over chunk edges, and runs of bytes that are held back until they
//! are whole. `at` is always the position in the chunk up to which bytes may be passed on.

use crate::WireError;
use crate::cursor::{Cursor, MAX_NAME, put_bytes_at, wide};

/// The longest run that can be held: a batch header fits.
pub(super) const LONGEST: usize = 64;

/// The bytes of a body as they come.
#[derive(Debug)]
pub(super) struct Feed {
    /// Bytes of the body that are still to come.
    left: usize,
    flexible: bool,
    small: [u8; LONGEST],
    have: usize,
}

/// What has become of a run that must not be passed on in part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    /// Whole, at `at` in the chunk; not passed yet.
    InChunk,
    /// Whole, in [`Feed::kept`].
    Kept,
    /// What is before it in the chunk must be passed first.
    Flush,
    /// So many bytes of the chunk, from its start, have been taken.
    Took(usize),
    /// The chunk is used up.
    Dry,
}

/// A length that may say "null".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Nullable<T>(pub(super) Option<T>);

/// Where a skip over tagged fields stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tags {
    /// Their count comes.
    Count,
    /// So many are left; a tag comes.
    Tag(u32),
    /// So many are left after this one; its size comes.
    Size(u32, u32),
    /// So many are left after this one; so many bytes of it come.
    Skip(u32, usize),
}

impl Feed {
    pub(super) fn new(flexible: bool, length: usize) -> Self {
        Self { left: length, flexible, small: [0; LONGEST], have: 0 }
    }

    pub(super) fn restart(&mut self, flexible: bool, length: usize) {
        self.left = length;
        self.flexible = flexible;
        self.have = 0;
    }

    pub(super) fn left(&self) -> usize {
        self.left
    }

    pub(super) fn flexible(&self) -> bool {
        self.flexible
    }

    /// The held run.
    pub(super) fn kept(&self) -> &[u8] {
        self.small.get(..self.have).unwrap_or_default()
    }

    pub(super) fn kept_mut(&mut self) -> &mut [u8] {
        self.small.get_mut(..self.have).unwrap_or_default()
    }

    /// Forgets the held run: it has been emitted.
    pub(super) fn release(&mut self) {
        self.have = 0;
    }

    /// `count` bytes of the chunk are done with.
    pub(super) fn advance(&mut self, at: &mut usize, count: usize) {
        *at = at.saturating_add(count);
        self.left = self.left.saturating_sub(count);
    }

    /// Copies up to `need` bytes of a field; says whether it is whole.
    fn gather(&mut self, need: usize, chunk: &[u8], at: &mut usize, what: &'static str) -> Result<bool, WireError> {
        let missing = need.saturating_sub(self.have);
        if missing > self.left {
            return Err(WireError::Truncated { what });
        }
        let rest = chunk.get(*at..).unwrap_or_default();
        let taken = rest.get(..missing.min(rest.len())).unwrap_or_default();
        put_bytes_at(&mut self.small, self.have, taken);
        self.have = self.have.saturating_add(taken.len());
        self.advance(at, taken.len());
        Ok(self.have == need)
    }

    /// A field of a fixed size, passed on as it comes; `None`: the chunk is used up.
    pub(super) fn fixed<const N: usize>(
        &mut self,
        chunk: &[u8],
        at: &mut usize,
        what: &'static str,
    ) -> Result<Option<[u8; N]>, WireError> {
        if !self.gather(N, chunk, at, what)? {
            return Ok(None);
        }
        let field = Cursor::new(self.kept()).array(what)?;
        self.release();
        Ok(Some(field))
    }

    /// An unsigned varint, passed on as it comes; `None`: the chunk is used up.
    pub(super) fn uvarint(
        &mut self,
        chunk: &[u8],
        at: &mut usize,
        what: &'static str,
    ) -> Result<Option<u32>, WireError> {
        loop {
            let need = self.have.saturating_add(1);
            if !self.gather(need, chunk, at, what)? {
                return Ok(None);
            }
            if need < 5 && self.kept().last().is_some_and(|byte| byte & 0x80 != 0) {
                continue;
            }
            let value = Cursor::new(self.kept()).uvarint(what)?;
            self.release();
            return Ok(Some(value));
        }
    }

    /// An array's count, checked against what is left; null is refused.
    pub(super) fn count(
        &mut self,
        min_size: usize,
        chunk: &[u8],
        at: &mut usize,
        what: &'static str,
    ) -> Result<Option<u32>, WireError> {
        let Some(count) = self.length(chunk, at, what)? else {
            return Ok(None);
        };
        crate::cursor::check_count(count.0, min_size, self.left, what).map(Some)
    }

    /// A count, or a length of bytes, that may be null; a length past the end is refused.
    pub(super) fn length(
        &mut self,
        chunk: &[u8],
        at: &mut usize,
        what: &'static str,
    ) -> Result<Option<Nullable<u32>>, WireError> {
        let length = if self.flexible {
            let Some(raw) = self.uvarint(chunk, at, what)? else {
                return Ok(None);
            };
            raw.checked_sub(1)
        } else {
            let Some(raw) = self.fixed::<4>(chunk, at, what)? else {
                return Ok(None);
            };
            Cursor::new(&raw).blob_length(false, what)?
        };
        match length {
            Some(length) if length as usize > self.left => {
                Err(WireError::Length { what, length: i64::from(length), limit: self.left })
            }
            length => Ok(Some(Nullable(length))),
        }
    }

    /// A name's length, that may be null.
    pub(super) fn name_length(
        &mut self,
        chunk: &[u8],
        at: &mut usize,
        what: &'static str,
    ) -> Result<Option<Nullable<usize>>, WireError> {
        let length = if self.flexible {
            let Some(raw) = self.uvarint(chunk, at, what)? else {
                return Ok(None);
            };
            raw.checked_sub(1).map(|length| length as usize)
        } else {
            let Some(raw) = self.fixed::<2>(chunk, at, what)? else {
                return Ok(None);
            };
            Cursor::new(&raw).string_length(false, what)?
        };
        let limit = MAX_NAME.min(self.left);
        match length {
            Some(length) if length > limit => Err(WireError::Length { what, length: wide(length), limit }),
            length => Ok(Some(Nullable(length))),
        }
    }

    /// Passes over up to `left` bytes and counts them down; says whether all have been passed.
    pub(super) fn skip(
        &mut self,
        left: &mut usize,
        chunk: &[u8],
        at: &mut usize,
        what: &'static str,
    ) -> Result<bool, WireError> {
        if *left > self.left {
            return Err(WireError::Truncated { what });
        }
        let passed = (*left).min(chunk.len().saturating_sub(*at));
        self.advance(at, passed);
        *left = left.saturating_sub(passed);
        Ok(*left == 0)
    }

    /// Passes over tagged fields; says whether all have been passed.
    pub(super) fn tags(&mut self, tags: &mut Tags, chunk: &[u8], at: &mut usize) -> Result<bool, WireError> {
        loop {
            if !self.tags_until_size(tags, chunk, at)? {
                return Ok(false);
            }
            let Tags::Size(after, _) = *tags else {
                return Ok(true);
            };
            let Some(size) = self.uvarint(chunk, at, "tagged fields")? else {
                return Ok(false);
            };
            *tags = Tags::Skip(after, size as usize);
        }
    }

    /// As [`Feed::tags`], but stops where the size of a tagged field comes ([`Tags::Size`]), or at the end
    /// (`Tags::Tag(0)`). `false`: the chunk is used up.
    pub(super) fn tags_until_size(&mut self, tags: &mut Tags, chunk: &[u8], at: &mut usize) -> Result<bool, WireError> {
        let what = "tagged fields";
        loop {
            match tags {
                Tags::Count => match self.uvarint(chunk, at, what)? {
                    Some(count) => *tags = Tags::Tag(crate::cursor::check_count(Some(count), 2, self.left, what)?),
                    None => return Ok(false),
                },
                Tags::Tag(left) => {
                    let Some(after) = left.checked_sub(1) else {
                        return Ok(true);
                    };
                    match self.uvarint(chunk, at, what)? {
                        Some(tag) => *tags = Tags::Size(after, tag),
                        None => return Ok(false),
                    }
                }
                Tags::Size(..) => return Ok(true),
                Tags::Skip(after, left) => {
                    if !self.skip(left, chunk, at, what)? {
                        return Ok(false);
                    }
                    *tags = Tags::Tag(*after);
                }
            }
        }
    }

    /// A run of `need` bytes of which none is passed before it is whole. Asked again with the same or more bytes, it says
    /// the same again.
    pub(super) fn hold(&mut self, need: usize, chunk: &[u8], at: usize, what: &'static str) -> Result<Held, WireError> {
        let missing = need.saturating_sub(self.have);
        if missing == 0 {
            return Ok(Held::Kept);
        }
        if missing > self.left {
            return Err(WireError::Truncated { what });
        }
        let available = chunk.len().saturating_sub(at);
        if self.have == 0 && available >= need {
            return Ok(Held::InChunk);
        }
        if at > 0 {
            return Ok(Held::Flush);
        }
        let mut taken = 0;
        self.gather(need, chunk, &mut taken, what)?;
        Ok(if taken == 0 { Held::Dry } else { Held::Took(taken) })
    }
}

/// A name that may come in pieces. Keeps its buffer from one name to the next.
#[derive(Debug, Default)]
pub(super) struct Name {
    pieces: Vec<u8>,
    whole: String,
    left: usize,
}

impl Name {
    /// A name of `length` bytes begins.
    pub(super) fn begin(&mut self, length: usize) {
        self.pieces = std::mem::take(&mut self.whole).into_bytes();
        self.pieces.clear();
        self.left = length;
    }

    /// Takes what the chunk has of it; says whether it is whole.
    pub(super) fn feed(
        &mut self,
        feed: &mut Feed,
        chunk: &[u8],
        at: &mut usize,
        what: &'static str,
    ) -> Result<bool, WireError> {
        let before = *at;
        let whole = feed.skip(&mut self.left, chunk, at, what)?;
        self.pieces.extend_from_slice(chunk.get(before..*at).unwrap_or_default());
        if whole {
            self.whole = String::from_utf8(std::mem::take(&mut self.pieces)).map_err(|_| WireError::Utf8 { what })?;
        }
        Ok(whole)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.whole
    }
}
