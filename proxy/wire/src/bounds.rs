//! Bounds before decoding: kafka-protocol reserves memory from declared counts, so a body of five bytes could end the
//! process. Every body is first walked by a small description of its fields, without allocating; only then is it decoded. An
//! answer must end where its fields end.

mod schema;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::Decodable;

use crate::WireError;
use crate::cursor::{Cursor, check_count};
use crate::header::AnswerHeader;
use schema::{Field, Kind, Message};

/// Elements of all arrays of a request, and unknown tagged fields. A byte on the wire may become a hundred in memory.
pub const MAX_REQUEST_ELEMENTS: u32 = 1 << 18;

/// Elements of all arrays of an answer: a Metadata answer of a large cluster has seven per partition.
pub const MAX_ANSWER_ELEMENTS: u32 = 1 << 23;

/// Walks a request body (after its header); refuses whatever decoding it could be hurt by.
pub fn check_request(key: ApiKey, version: i16, body: &[u8]) -> Result<(), WireError> {
    let (request, _) = known(key, version)?;
    // Bytes behind the last field are left alone, as brokers leave them: librdkafka 2.12 sends some after Metadata.
    check(request, version, body, MAX_REQUEST_ELEMENTS).map(|_behind| ())
}

/// Walks an answer body (after its header).
pub fn check_answer(key: ApiKey, version: i16, body: &[u8]) -> Result<(), WireError> {
    let (_, answer) = known(key, version)?;
    match check(answer, version, body, MAX_ANSWER_ELEMENTS)? {
        0 => Ok(()),
        count => Err(WireError::Trailing { count }),
    }
}

/// Bounds, then decodes a request body (after its header).
pub fn decode_request<T: Decodable>(key: ApiKey, version: i16, mut body: Bytes) -> Result<T, WireError> {
    check_request(key, version, &body)?;
    decode(version, &mut body)
}

/// Bounds, then decodes an answer body (after its header), which must end with it.
pub fn decode_answer<T: Decodable>(key: ApiKey, version: i16, mut body: Bytes) -> Result<T, WireError> {
    check_answer(key, version, &body)?;
    let message = decode(version, &mut body)?;
    if body.is_empty() { Ok(message) } else { Err(WireError::Trailing { count: body.len() }) }
}

/// A whole answer frame without its length prefix: header (the correlation id must be `correlation_id`), bounds, body.
pub fn decode_answer_frame<T: Decodable>(
    key: ApiKey,
    version: i16,
    correlation_id: i32,
    mut frame: Bytes,
) -> Result<T, WireError> {
    let header = AnswerHeader::parse(key as i16, version, &frame)?
        .ok_or(WireError::Truncated { what: "the answer's header" })?;
    if header.correlation_id != correlation_id {
        return Err(WireError::Correlation { expected: correlation_id, found: header.correlation_id });
    }
    decode_answer(key, version, frame.split_off(header.size))
}

fn decode<T: Decodable>(version: i16, body: &mut Bytes) -> Result<T, WireError> {
    T::decode(body, version).map_err(|error| WireError::Message(error.to_string()))
}

fn known(key: ApiKey, version: i16) -> Result<(&'static Message, &'static Message), WireError> {
    let unsupported = WireError::Unsupported { key: key as i16, version };
    let versions = key.valid_versions();
    if !(versions.min..=versions.max).contains(&version) {
        return Err(unsupported);
    }
    schema::messages(key).ok_or(unsupported)
}

/// Walks a message; returns how many bytes lie behind its last field.
fn check(message: &Message, version: i16, body: &[u8], elements: u32) -> Result<usize, WireError> {
    let flexible = version >= message.flexible;
    let mut walk = Walk { cursor: Cursor::new(body), version, flexible, elements };
    walk.fields(message.fields)?;
    Ok(walk.cursor.remaining())
}

struct Walk<'a> {
    cursor: Cursor<'a>,
    version: i16,
    flexible: bool,
    elements: u32,
}

impl Walk<'_> {
    /// Depth is that of the description, not of the input.
    fn fields(&mut self, fields: &'static [Field]) -> Result<(), WireError> {
        let version = self.version;
        for field in fields.iter().filter(|field| field.is_in(version)) {
            match field.kind {
                Kind::Tagged(..) => {}
                Kind::Fixed(_) | Kind::Str | Kind::Blob | Kind::Array(_) | Kind::Struct(_) => {
                    self.value(field.name, &field.kind)?;
                }
            }
        }
        if self.flexible { self.tags(fields) } else { Ok(()) }
    }

    fn value(&mut self, what: &'static str, kind: &'static Kind) -> Result<(), WireError> {
        match kind {
            Kind::Fixed(size) => self.cursor.take(*size, what).map(|_| ()),
            Kind::Str => match self.cursor.string_length(self.flexible, what)? {
                Some(length) => self.skip(length, what),
                None => Ok(()),
            },
            Kind::Blob => match self.cursor.blob_length(self.flexible, what)? {
                Some(length) => self.skip(length as usize, what),
                None => Ok(()),
            },
            Kind::Array(element) => {
                let Some(count) = self.cursor.count(self.flexible, what)? else {
                    return Ok(());
                };
                let count = check_count(Some(count), 1, self.cursor.remaining(), what)?;
                self.spend(count, what)?;
                for _ in 0..count {
                    self.value(what, element)?;
                }
                Ok(())
            }
            Kind::Struct(fields) => self.fields(fields),
            Kind::Tagged(_, value) => self.value(what, value),
        }
    }

    fn skip(&mut self, length: usize, what: &'static str) -> Result<(), WireError> {
        let limit = self.cursor.remaining();
        if length > limit {
            return Err(WireError::Length { what, length: crate::cursor::wide(length), limit });
        }
        self.cursor.take(length, what).map(|_| ())
    }

    /// The decoder reads a tag that it knows without looking at its declared size, so both must be the same.
    fn tags(&mut self, fields: &'static [Field]) -> Result<(), WireError> {
        let what = "tagged fields";
        let count = self.cursor.uvarint(what)?;
        let count = check_count(Some(count), 2, self.cursor.remaining(), what)?;
        self.spend(count, what)?;
        for _ in 0..count {
            let tag = self.cursor.uvarint(what)?;
            let size = self.cursor.uvarint(what)? as usize;
            let known = fields.iter().filter(|field| field.is_in(self.version)).find_map(|field| match field.kind {
                Kind::Tagged(known, value) if known == tag => Some((field.name, value)),
                Kind::Tagged(..) | Kind::Fixed(_) | Kind::Str | Kind::Blob | Kind::Array(_) | Kind::Struct(_) => None,
            });
            let Some((name, value)) = known else {
                self.skip(size, what)?;
                continue;
            };
            let before = self.cursor.at();
            self.value(name, value)?;
            let used = self.cursor.at().saturating_sub(before);
            if used != size {
                return Err(WireError::Length { what: name, length: crate::cursor::wide(size), limit: used });
            }
        }
        Ok(())
    }

    fn spend(&mut self, count: u32, what: &'static str) -> Result<(), WireError> {
        self.elements = self.elements.checked_sub(count).ok_or(WireError::Count {
            what,
            count: i64::from(count),
            remaining: self.cursor.remaining(),
        })?;
        Ok(())
    }
}
