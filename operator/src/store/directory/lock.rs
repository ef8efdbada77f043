//! One leader per directory, by a lock on a file that the system frees when the process ends, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::Path;

use crate::store::StoreError;

/// Held for as long as this process leads.
#[derive(Debug)]
pub(super) struct Leadership {
    _file: File,
}

/// Waits until this process leads. `standby` is called once if another process leads now.
pub(super) async fn lead(path: &Path, standby: impl FnOnce()) -> Result<Leadership, StoreError> {
    let failed = |source| StoreError::File { action: "lock", path: path.to_owned(), source };
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(failed)?;
    let file = match file.try_lock() {
        Ok(()) => file,
        Err(TryLockError::WouldBlock) => {
            standby();
            wait(file).await.map_err(failed)?
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    };
    // For people only: who holds it.
    file.set_len(0).and_then(|()| writeln!(&file, "{}", std::process::id())).map_err(failed)?;
    Ok(Leadership { _file: file })
}

/// Waits on a thread of its own: the system wakes it the moment the lock is free, and the runtime can end meanwhile.
async fn wait(file: File) -> Result<File, std::io::Error> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("leadership".into()).spawn(move || {
        let locked = file.lock().map(|()| file);
        // Nobody waits any more: the lock goes with the file.
        let _ = sender.send(locked);
    })?;
    receiver.await.map_err(std::io::Error::other)?
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[tokio::test]
    async fn the_second_takes_over_at_once_when_the_first_ends() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("operator.lock");
        let first = lead(&path, || panic!("nobody else leads")).await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        let (told, standby) = tokio::sync::oneshot::channel();
        let second =
            tokio::spawn(async move { lead(&path, move || told.send(()).unwrap()).await.map(|_| Instant::now()) });
        standby.await.unwrap();
        assert!(!second.is_finished());
        let freed = Instant::now();
        drop(first);
        let taken = second.await.unwrap().unwrap();
        assert!(taken - freed < Duration::from_secs(1));
    }
}
