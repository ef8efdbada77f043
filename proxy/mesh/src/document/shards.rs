//! A document in pieces, for a store whose objects are small: one *index*, and *shards* that are named by their digest
//! and never change.
//!
//! A document that fits is one index without shards, byte for byte what `document.json` is elsewhere. Of a larger one
//! the topics move into shards, one topic per line, sorted by name; the index has everything else, lists its shards in
//! order, and holds the topics that a move is changing right now: an entry of the index replaces the line of the same
//! name, so that a fence or a switch writes the index alone. The digest in the index is that of the whole document:
//! it decides in the end, whatever the pieces say.
//!
//! Pure. It knows what pieces are called, and must never know where they are stored, nor who reads them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{Document, FORMAT_VERSION, MAX_DOCUMENT_BYTES, to_value};

#[cfg(test)]
mod tests;

/// What a piece may have where a store takes 1 MiB: room is left for what the store adds.
pub const MAX_PIECE_BYTES: usize = 700 * 1024;

/// More shards than this are not listed by any index.
pub const MAX_SHARDS: usize = 1024;

/// The name that the index is stored under.
pub const INDEX_NAME: &str = "sluice-document";

/// The key of the index in the object of that name.
pub const INDEX_KEY: &str = "document.json";

/// The key of a shard in the object of its name.
pub const SHARD_KEY: &str = "shard.json";

/// The field of the index that lists its shards.
const FIELD: &str = "shards";

/// How a shard begins that has a part of one topic: with a line that is no topic.
const PART: char = '+';

/// Smaller pieces are not worth an object each.
const MIN_PIECE_BYTES: usize = 1024;

/// What one listed shard takes in the index, at most.
const LISTED_BYTES: usize = 112;

/// A document in pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// Written last: it makes the shards count.
    pub index: Vec<u8>,
    /// In order; none if the index holds everything.
    pub shards: Vec<Shard>,
}

/// A run of topics, one JSON object per line; or a part of one topic that is too large for a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// SHA-256 of `bytes`, hex.
    pub digest: String,
    /// UTF-8.
    pub bytes: Vec<u8>,
}

/// A shard as the index lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// SHA-256 of its bytes, hex.
    pub digest: String,
    /// How many bytes it has.
    pub bytes: usize,
}

/// Why pieces are not a document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShardError {
    /// The list of shards, or an entry of it, has another shape.
    #[error("the document's index does not list its shards as digest and bytes: only the operator may write it")]
    Shape,
    /// More than [`MAX_SHARDS`].
    #[error("the document's index lists {0} shards, more than {MAX_SHARDS}: split the mesh")]
    TooMany(usize),
    /// Over [`MAX_DOCUMENT_BYTES`] in all.
    #[error("the document's index and shards have more than {MAX_DOCUMENT_BYTES} bytes: split the mesh")]
    TooLarge,
    /// Listed twice.
    #[error("the document's index lists shard {0} twice: only the operator may write it")]
    Twice(String),
    /// Listed, but not there.
    #[error("shard {0} of the document is not there; wait for the operator to write it again")]
    Missing(String),
    /// Its content is not what its digest says.
    #[error("the content of shard {0} does not match its digest: only the operator may write it")]
    Wrong(String),
    /// The shards are not one topic per line, sorted by name.
    #[error("line {0} of the document's shards is not a topic in the order of names: look for a second operator")]
    Line(usize),
}

impl Shard {
    /// A shard of these bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { digest: digest_of_bytes(&bytes), bytes }
    }

    /// The name that it is stored under.
    pub fn name(&self) -> String {
        shard_name(&self.digest)
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).unwrap_or_default()
    }
}

/// The name that the shard with this digest is stored under.
pub fn shard_name(digest: &str) -> String {
    let prefix = digest.get(..16).unwrap_or(digest);
    format!("{INDEX_NAME}-{prefix}")
}

/// Cuts a sealed document into an index and as many shards as it takes for none to be larger than `max_bytes`.
///
/// What is not a topic stays in the index whatever its size; an index that is too large for its store shows there. A
/// document whose topics are not sorted by name (no operator writes such) stays whole.
pub fn split(document: &Document, max_bytes: usize) -> Parts {
    split_after(document, max_bytes, &[])
}

/// As [`split`], but keeps those of the shards before that still hold true but for topics that fit into the index: then
/// nobody has to write or read a shard.
pub fn split_after(document: &Document, max_bytes: usize, before: &[Shard]) -> Parts {
    let pretty = document.to_json_pretty();
    if pretty.len() <= max_bytes {
        return Parts { index: pretty, shards: Vec::new() };
    }
    let whole = to_value(document);
    let compact = whole.to_string().into_bytes();
    if compact.len() <= max_bytes || !document.topics.is_sorted_by(|a, b| a.name.as_str() < b.name.as_str()) {
        return Parts { index: compact, shards: Vec::new() };
    }
    let Value::Object(mut rest) = whole else {
        return Parts { index: compact, shards: Vec::new() };
    };
    let topics = match rest.remove("topics") {
        Some(Value::Array(topics)) => topics,
        _ => Vec::new(),
    };
    let lines = topics.iter().zip(&document.topics).map(|(value, topic)| Line {
        name: topic.name.as_str(),
        json: value.to_string(),
        flux: if topic.fence.is_some() { 0 } else { u8::from(topic.cut.is_none()) + 1 },
    });
    let lines: Vec<Line<'_>> = lines.collect();
    let total: usize = lines.iter().map(|line| line.json.len() + 1).sum();
    // Never more shards than a reader takes, however small the pieces are wished.
    let max_bytes = max_bytes.max(MIN_PIECE_BYTES).max(total.div_ceil(MAX_SHARDS / 8));
    let base = Value::Object(rest.clone()).to_string().len() + ",\"topics\":[],\"shards\":[]".len();
    let room = max_bytes.saturating_sub(base);

    let (shards, own) = keep(&lines, room, before).unwrap_or_else(|| cut(&lines, total, max_bytes, room));
    if shards.is_empty() {
        return Parts { index: compact, shards };
    }
    let own = lines.iter().zip(topics).filter(|(line, _)| own.contains(line.name)).map(|(_, topic)| topic);
    rest.insert("topics".into(), Value::Array(own.collect()));
    let listed = shards.iter().map(|shard| serde_json::json!({"digest": shard.digest, "bytes": shard.bytes.len()}));
    rest.insert(FIELD.into(), Value::Array(listed.collect()));
    Parts { index: Value::Object(rest).to_string().into_bytes(), shards }
}

/// A topic on its way into index or shard.
struct Line<'a> {
    name: &'a str,
    json: String,
    /// How much it belongs into the index: fenced topics (0) before those with a fresh cut (1); 2 is at rest.
    flux: u8,
}

/// Shards, and the names of the topics that the index holds itself.
type Placed<'a> = (Vec<Shard>, HashSet<&'a str>);

/// Keeps old shards, if what differs from them fits into the index.
fn keep<'a>(lines: &[Line<'a>], room: usize, before: &[Shard]) -> Option<Placed<'a>> {
    let by_line: HashMap<&str, &str> = lines.iter().map(|line| (line.json.as_str(), line.name)).collect();
    let names: HashSet<&str> = lines.iter().map(|line| line.name).collect();
    let mut kept = Vec::new();
    let mut same = HashSet::new();
    for shard in before {
        // A name that is gone can't be taken back by the index: its whole shard goes.
        let mut found = Vec::new();
        let good = shard.text().lines().all(|line| {
            if let Some(name) = by_line.get(line) {
                found.push(*name);
                return true;
            }
            let topic: Value = serde_json::from_str(line).unwrap_or_default();
            topic.get("name").and_then(Value::as_str).is_some_and(|name| names.contains(name))
        });
        if good {
            same.extend(found);
            kept.push(shard.clone());
        }
    }
    let own: HashSet<&str> = lines.iter().map(|line| line.name).filter(|name| !same.contains(name)).collect();
    let bytes = |flux: fn(u8) -> bool| {
        let own = lines.iter().filter(|line| flux(line.flux) && own.contains(line.name));
        own.map(|line| line.json.len() + 1).sum::<usize>()
    };
    // Topics at rest that pile up in the index would be read again and again.
    let fits = bytes(|_| true) + kept.len() * LISTED_BYTES <= room && bytes(|flux| flux == 2) <= room / 4;
    (!kept.is_empty() && fits).then_some((kept, own))
}

/// Cuts everything anew. A cut depends on the topics around it alone, so that a change here does not move the cuts there:
/// most shards come out as they were before.
fn cut<'a>(lines: &[Line<'a>], total: usize, max_bytes: usize, room: usize) -> Placed<'a> {
    let mut room = room.saturating_sub((8 * total / max_bytes + 2) * LISTED_BYTES);
    let mut own = HashSet::new();
    for flux in [0, 1] {
        for line in lines.iter().filter(|line| line.flux == flux) {
            if let Some(left) = room.checked_sub(line.json.len() + 1) {
                room = left;
                own.insert(line.name);
            }
        }
    }
    let mut shards = Vec::new();
    let mut open = String::new();
    let mut close = |open: &mut String| {
        if !open.is_empty() {
            shards.push(Shard::new(std::mem::take(open).into_bytes()));
        }
    };
    for line in lines.iter().filter(|line| !own.contains(line.name)) {
        let length = line.json.len() + 1;
        if open.len() + length > max_bytes {
            close(&mut open);
        }
        if length > max_bytes {
            // One topic that is larger than a piece. What tells its pieces apart is that they say which they are.
            let mut rest = line.json.as_str();
            for number in 0.. {
                let head = format!("{PART}{} {number}\n", line.name);
                let (part, left) = rest.split_at(rest.floor_char_boundary(max_bytes.saturating_sub(head.len() + 1)));
                open = head + part;
                rest = left;
                if rest.is_empty() {
                    open.push('\n');
                    close(&mut open);
                    break;
                }
                close(&mut open);
            }
            continue;
        }
        open.push_str(&line.json);
        open.push('\n');
        if open.len() >= max_bytes / 4 && ends_here(line.name, length, max_bytes / 2) {
            close(&mut open);
        }
    }
    close(&mut open);
    (shards, own)
}

/// Once in `every` bytes on average, decided by the name alone.
fn ends_here(name: &str, length: usize, every: usize) -> bool {
    let hash = Sha256::digest(name.as_bytes());
    let number = hash.iter().take(4).fold(0_usize, |number, byte| number << 8 | usize::from(*byte));
    number % every.max(1) < length
}

/// The shards that an index needs, in order; none if it holds everything, or is of a newer format or no JSON at all
/// ([`Document::parse`] says so in better words).
pub fn listed(index: &[u8]) -> Result<Vec<Listed>, ShardError> {
    if index.len() > MAX_DOCUMENT_BYTES {
        return Err(ShardError::TooLarge);
    }
    listed_in(&serde_json::from_slice(index).unwrap_or_default(), index.len())
}

fn listed_in(index: &Value, index_bytes: usize) -> Result<Vec<Listed>, ShardError> {
    let format = index.get("formatVersion").and_then(Value::as_u64);
    let Some(entries) = index.get(FIELD).filter(|_| format.is_some_and(|format| format <= u64::from(FORMAT_VERSION)))
    else {
        return Ok(Vec::new());
    };
    let entries = entries.as_array().ok_or(ShardError::Shape)?;
    if entries.len() > MAX_SHARDS {
        return Err(ShardError::TooMany(entries.len()));
    }
    let mut listed = Vec::with_capacity(entries.len());
    let mut seen = HashSet::new();
    let mut total = index_bytes;
    for entry in entries {
        let digest = entry.get("digest").and_then(Value::as_str).filter(|digest| is_digest(digest));
        let bytes = entry.get("bytes").and_then(Value::as_u64).and_then(|bytes| usize::try_from(bytes).ok());
        let (Some(digest), Some(bytes)) = (digest, bytes) else { return Err(ShardError::Shape) };
        total = total.saturating_add(bytes);
        if total > MAX_DOCUMENT_BYTES {
            return Err(ShardError::TooLarge);
        }
        if !seen.insert(digest) {
            return Err(ShardError::Twice(digest.to_owned()));
        }
        listed.push(Listed { digest: digest.to_owned(), bytes });
    }
    Ok(listed)
}

/// Puts a document together again; `shard` finds one by its digest. The result is for [`Document::parse`], which checks
/// the digest of the whole.
pub fn assemble<'a>(index: &[u8], shard: impl Fn(&str) -> Option<&'a [u8]>) -> Result<Vec<u8>, ShardError> {
    if index.len() > MAX_DOCUMENT_BYTES {
        return Err(ShardError::TooLarge);
    }
    let mut whole: Value = serde_json::from_slice(index).unwrap_or_default();
    let listed = listed_in(&whole, index.len())?;
    let Some(fields) = whole.as_object_mut().filter(|_| !listed.is_empty()) else {
        return Ok(index.to_vec());
    };
    let mut text = String::new();
    for Listed { digest, bytes } in &listed {
        let content = shard(digest).ok_or_else(|| ShardError::Missing(digest.clone()))?;
        let content = (content.len() == *bytes && digest_of_bytes(content) == *digest).then_some(content);
        let content = content.and_then(|content| std::str::from_utf8(content).ok());
        let content = content.ok_or_else(|| ShardError::Wrong(digest.clone()))?;
        let part = content.strip_prefix(PART).and_then(|content| content.split_once('\n'));
        text.push_str(part.map_or(content, |(_, part)| part));
    }
    let topics = merge(fields, &text)?;
    fields.remove(FIELD);
    fields.insert("topics".into(), Value::Array(topics));
    Ok(whole.to_string().into_bytes())
}

/// All topics by name: those of the shards, then those of the index over them.
fn merge(index: &mut Map<String, Value>, text: &str) -> Result<Vec<Value>, ShardError> {
    let mut topics = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let topic: Value = serde_json::from_str(line).map_err(|_| ShardError::Line(number + 1))?;
        let name = name_of(&topic).ok_or(ShardError::Line(number + 1))?;
        if topics.last_key_value().is_some_and(|(last, _)| *last >= name) {
            return Err(ShardError::Line(number + 1));
        }
        topics.insert(name, topic);
    }
    let Some(Value::Array(own)) = index.remove("topics") else { return Err(ShardError::Shape) };
    for topic in own {
        topics.insert(name_of(&topic).ok_or(ShardError::Shape)?, topic);
    }
    Ok(topics.into_values().collect())
}

fn name_of(topic: &Value) -> Option<String> {
    topic.get("name").and_then(Value::as_str).map(str::to_owned)
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn digest_of_bytes(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}
