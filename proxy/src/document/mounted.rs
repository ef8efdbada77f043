//! The copy of the document that the node keeps: ConfigMaps mounted as files. It is older than what the API server shows
//! by up to some minutes, but it is there when the API server is not.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use sluice_mesh::document::MAX_DOCUMENT_BYTES;
use sluice_mesh::document::shards::{self, INDEX_KEY, ShardError};

/// Why the copy is of no use.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Shards(#[from] ShardError),
}

/// The copy.
#[derive(Debug)]
pub(crate) struct Mounted {
    directory: PathBuf,
    last: Option<Vec<u8>>,
}

impl Mounted {
    /// A directory with `document.json` and, for each shard, `<its name>.json`.
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory, last: None }
    }

    /// The copy, if it is another than when last looked at.
    pub(crate) fn look(&mut self) -> Option<Vec<u8>> {
        match self.read() {
            Ok(found) => {
                let news = found.filter(|bytes| self.last.as_ref() != Some(bytes))?;
                self.last = Some(news.clone());
                Some(news)
            }
            Err(error) => {
                tracing::warn!(%error, "the mounted copy of the document is of no use now");
                None
            }
        }
    }

    fn read(&self) -> Result<Option<Vec<u8>>, Unusable> {
        let Some(index) = read(&self.directory.join(INDEX_KEY), MAX_DOCUMENT_BYTES)? else { return Ok(None) };
        let mut found = Vec::new();
        for shard in shards::listed(&index)? {
            let path = self.directory.join(format!("{}.json", shards::shard_name(&shard.digest)));
            if let Some(bytes) = read(&path, shard.bytes)? {
                found.push((shard.digest, bytes));
            }
        }
        let find = |digest: &str| found.iter().find(|(of, _)| of == digest).map(|(_, bytes)| bytes.as_slice());
        Ok(Some(shards::assemble(&index, find)?))
    }
}

/// A file, if it is there; one byte more than `limit` at most, which is enough to be refused.
fn read(path: &Path, limit: usize) -> Result<Option<Vec<u8>>, Unusable> {
    let refused = |source| Unusable::File { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refused(error)),
    };
    let mut bytes = Vec::new();
    let limit = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes).map_err(refused)?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_is_put_together_and_shown_once() {
        let directory = tempfile::tempdir().unwrap();
        let mut mounted = Mounted::new(directory.path().to_owned());
        assert_eq!(mounted.look(), None);
        std::fs::write(directory.path().join("document.json"), "one").unwrap();
        assert_eq!(mounted.look().as_deref(), Some(&b"one"[..]));
        assert_eq!(mounted.look(), None);

        let shard = shards::Shard::new(b"{\"name\":\"a\"}\n".to_vec());
        let index = serde_json::json!({
            "formatVersion": 1, "topics": [], "shards": [{"digest": shard.digest, "bytes": shard.bytes.len()}],
        });
        std::fs::write(directory.path().join("document.json"), index.to_string()).unwrap();
        assert_eq!(mounted.look(), None, "the shard is not there yet");
        std::fs::write(directory.path().join(format!("{}.json", shard.name())), &shard.bytes).unwrap();
        let whole: serde_json::Value = serde_json::from_slice(&mounted.look().unwrap()).unwrap();
        assert_eq!(whole, serde_json::json!({"formatVersion": 1, "topics": [{"name": "a"}]}));
    }
}
