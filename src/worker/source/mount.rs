//! A file in a mounted Secret, read only when it has changed.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use tokio::io::AsyncReadExt;

/// A mounted file that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MountError {
    /// The system says no.
    #[error("cannot be read: {0}")]
    Read(String),
    /// Nothing of ours is that long.
    #[error("is longer than {0} bytes")]
    TooLong(usize),
}

/// One file of a mounted directory. The kubelet swaps a link above it, so that the path stays and the file is another.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    limit: usize,
    seen: Mutex<Option<Stamp>>,
}

/// What changes when a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: Option<SystemTime>,
}

impl File {
    /// The file at `path`, of at most `limit` bytes. Nothing is read yet.
    pub fn new(path: PathBuf, limit: usize) -> Self {
        Self {
            path,
            limit,
            seen: Mutex::new(None),
        }
    }

    /// The content, if it is not known to be the one that was read last. What could not be read is tried again next
    /// time.
    pub async fn read_if_changed(&self) -> Result<Option<Vec<u8>>, MountError> {
        let stamp = self.stamp().await?;
        if *self.seen.lock().unwrap_or_else(PoisonError::into_inner) == Some(stamp) {
            return Ok(None);
        }
        let content = self.read().await?;
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(stamp);
        Ok(Some(content))
    }

    /// What tells this content from the one before and the one after.
    pub async fn stamp(&self) -> Result<Stamp, MountError> {
        let metadata = tokio::fs::metadata(&self.path).await.map_err(told)?;
        Ok(Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: metadata.modified().ok(),
        })
    }

    /// The content, whether or not it was read before.
    pub async fn read(&self) -> Result<Vec<u8>, MountError> {
        let file = tokio::fs::File::open(&self.path).await.map_err(told)?;
        let mut content = Vec::new();
        let bound = self.limit as u64 + 1;
        file.take(bound).read_to_end(&mut content).await.map_err(told)?;
        if content.len() > self.limit {
            return Err(MountError::TooLong(self.limit));
        }
        Ok(content)
    }
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

fn told(error: std::io::Error) -> MountError {
    MountError::Read(error.to_string())
}
