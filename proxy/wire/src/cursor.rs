//! A bounds-checked reader over a slice. A read past the end is [`WireError::Truncated`] and moves nothing that matters:
//! callers that may see only a prefix of a frame take it for "more bytes are needed".

use crate::WireError;

/// The longest name (topic, client id, transactional id) that is accepted: what a non-compact length can say.
pub(crate) const MAX_NAME: usize = 32_767;

/// Reads from the front of a slice.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// A reader that goes on at `at`.
    pub(crate) fn from(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// Bytes read so far.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Bytes left.
    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    pub(crate) fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], WireError> {
        let end = self.at.checked_add(count).ok_or(WireError::Truncated { what })?;
        let taken = self.bytes.get(self.at..end).ok_or(WireError::Truncated { what })?;
        self.at = end;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], WireError> {
        let taken = self.take(N, what)?;
        taken.try_into().map_err(|_| WireError::Truncated { what })
    }

    pub(crate) fn i8(&mut self, what: &'static str) -> Result<i8, WireError> {
        Ok(i8::from_be_bytes(self.array(what)?))
    }

    pub(crate) fn i16(&mut self, what: &'static str) -> Result<i16, WireError> {
        Ok(i16::from_be_bytes(self.array(what)?))
    }

    pub(crate) fn i32(&mut self, what: &'static str) -> Result<i32, WireError> {
        Ok(i32::from_be_bytes(self.array(what)?))
    }

    pub(crate) fn i64(&mut self, what: &'static str) -> Result<i64, WireError> {
        Ok(i64::from_be_bytes(self.array(what)?))
    }

    /// An unsigned varint of at most five bytes that fits 32 bits.
    pub(crate) fn uvarint(&mut self, what: &'static str) -> Result<u32, WireError> {
        let wide = self.uvarlong(what, 5)?;
        u32::try_from(wide).map_err(|_| WireError::Varint { what })
    }

    /// A zigzag varint of 32 bits.
    pub(crate) fn varint(&mut self, what: &'static str) -> Result<i32, WireError> {
        let raw = self.uvarint(what)?;
        Ok((raw >> 1).cast_signed() ^ (raw & 1).cast_signed().wrapping_neg())
    }

    /// A zigzag varint of 64 bits.
    pub(crate) fn varlong(&mut self, what: &'static str) -> Result<i64, WireError> {
        let raw = self.uvarlong(what, 10)?;
        Ok((raw >> 1).cast_signed() ^ (raw & 1).cast_signed().wrapping_neg())
    }

    fn uvarlong(&mut self, what: &'static str, most: u32) -> Result<u64, WireError> {
        let mut value = 0_u64;
        for index in 0..most {
            let byte = u64::from(u8::from_be_bytes(self.array(what)?));
            let low = byte & 0x7f;
            let shift = index.saturating_mul(7);
            let placed = low << shift;
            if placed >> shift != low {
                return Err(WireError::Varint { what });
            }
            value |= placed;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(WireError::Varint { what })
    }

    /// An array's count; `None` if null. Not yet checked against the bytes left.
    pub(crate) fn count(&mut self, flexible: bool, what: &'static str) -> Result<Option<u32>, WireError> {
        if flexible {
            return Ok(self.uvarint(what)?.checked_sub(1));
        }
        let count = self.i32(what)?;
        match u32::try_from(count) {
            Ok(count) => Ok(Some(count)),
            Err(_) if count == -1 => Ok(None),
            Err(_) => Err(WireError::Count { what, count: i64::from(count), remaining: self.remaining() }),
        }
    }

    /// The count of an array that may not be null, of elements of at least `min_size` bytes, checked against `left`.
    pub(crate) fn bounded_count(
        &mut self,
        flexible: bool,
        min_size: usize,
        left: usize,
        what: &'static str,
    ) -> Result<u32, WireError> {
        let count = self.count(flexible, what)?;
        check_count(count, min_size, left, what)
    }

    /// A string's length; `None` if null.
    pub(crate) fn string_length(&mut self, flexible: bool, what: &'static str) -> Result<Option<usize>, WireError> {
        if flexible {
            return Ok(self.uvarint(what)?.checked_sub(1).map(|length| length as usize));
        }
        let length = self.i16(what)?;
        match usize::try_from(length) {
            Ok(length) => Ok(Some(length)),
            Err(_) if length == -1 => Ok(None),
            Err(_) => Err(WireError::Length { what, length: i64::from(length), limit: self.remaining() }),
        }
    }

    /// The length of bytes or records; `None` if null.
    pub(crate) fn blob_length(&mut self, flexible: bool, what: &'static str) -> Result<Option<u32>, WireError> {
        if flexible {
            return Ok(self.uvarint(what)?.checked_sub(1));
        }
        let length = self.i32(what)?;
        match u32::try_from(length) {
            Ok(length) => Ok(Some(length)),
            Err(_) if length == -1 => Ok(None),
            Err(_) => Err(WireError::Length { what, length: i64::from(length), limit: self.remaining() }),
        }
    }

    /// A name that may be null; refused over [`MAX_NAME`] even before its bytes are there.
    pub(crate) fn nullable_name(&mut self, flexible: bool, what: &'static str) -> Result<Option<&'a str>, WireError> {
        let Some(length) = self.string_length(flexible, what)? else {
            return Ok(None);
        };
        if length > MAX_NAME {
            return Err(WireError::Length { what, length: wide(length), limit: MAX_NAME });
        }
        let bytes = self.take(length, what)?;
        std::str::from_utf8(bytes).map(Some).map_err(|_| WireError::Utf8 { what })
    }

    /// A name that may not be null.
    pub(crate) fn name(&mut self, flexible: bool, what: &'static str) -> Result<&'a str, WireError> {
        self.nullable_name(flexible, what)?.ok_or(WireError::Length { what, length: -1, limit: MAX_NAME })
    }

    /// Tagged fields, whatever they are.
    pub(crate) fn skip_tags(&mut self, what: &'static str) -> Result<(), WireError> {
        let count = self.uvarint(what)?;
        for _ in 0..count {
            self.uvarint(what)?;
            let size = self.uvarint(what)?;
            self.take(size as usize, what)?;
        }
        Ok(())
    }
}

/// A count that may not be null, of elements of at least `min_size` bytes, against the bytes left in the frame.
pub(crate) fn check_count(
    count: Option<u32>,
    min_size: usize,
    left: usize,
    what: &'static str,
) -> Result<u32, WireError> {
    let count = count.ok_or(WireError::Count { what, count: -1, remaining: left })?;
    if (count as usize).saturating_mul(min_size.max(1)) > left {
        return Err(WireError::Count { what, count: i64::from(count), remaining: left });
    }
    Ok(count)
}

/// Writes `value` over the bytes at `at`; nothing if they are not all there.
pub(crate) fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    if let Some(place) = bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *place = value;
    }
}

/// Writes `value` over the bytes at `at`; nothing if they are not all there.
pub(crate) fn put_bytes_at(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.get_mut(..value.len())) {
        place.copy_from_slice(value);
    }
}

/// Takes a fixed field off the front; zeros if it is not all there.
pub(crate) fn pop<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    match rest.split_first_chunk() {
        Some((field, tail)) => {
            *rest = tail;
            *field
        }
        None => [0; N],
    }
}

/// Lengths in messages.
pub(crate) fn wide(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

/// Appends an unsigned varint.
pub(crate) fn put_uvarint(out: &mut Vec<u8>, mut value: u32) {
    loop {
        let low = value.to_le_bytes()[0] & 0x7f;
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Bytes that [`put_uvarint`] appends.
pub(crate) fn uvarint_size(value: u32) -> usize {
    match value {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        0x20_0000..0x1000_0000 => 4,
        0x1000_0000.. => 5,
    }
}

/// Appends an array's count.
pub(crate) fn put_count(out: &mut Vec<u8>, flexible: bool, count: u32) {
    if flexible {
        put_uvarint(out, count.saturating_add(1));
    } else {
        out.extend_from_slice(&count.to_be_bytes());
    }
}

/// Appends a name.
pub(crate) fn put_name(out: &mut Vec<u8>, flexible: bool, name: &str, what: &'static str) -> Result<(), WireError> {
    if name.len() > MAX_NAME {
        return Err(WireError::Length { what, length: wide(name.len()), limit: MAX_NAME });
    }
    put_known_name(out, flexible, name);
    Ok(())
}

/// Appends a name that is known to be no longer than [`MAX_NAME`].
pub(crate) fn put_known_name(out: &mut Vec<u8>, flexible: bool, name: &str) {
    let length = i16::try_from(name.len()).unwrap_or(i16::MAX);
    if flexible {
        put_uvarint(out, u32::from(length.unsigned_abs()).saturating_add(1));
    } else {
        out.extend_from_slice(&length.to_be_bytes());
    }
    out.extend_from_slice(name.as_bytes());
}
