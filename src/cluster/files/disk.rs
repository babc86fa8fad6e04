//! Files on disk: which there are, which of them changed, and what stands in them once it stands still.
//!
//! Nothing is asked of the file system but `stat` and `read`, so it works on every one (inotify is silent on network
//! and some overlay file systems). A change is taken over when a file looks the same twice in a row; a file that is
//! gone or empty has to stay so a little longer, because many editors truncate or unlink before they write.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// A file that changed has to look the same for this long before it is read.
const STILL: Duration = Duration::from_millis(40);
/// A file that is gone or empty has to stay so for this long before that counts.
const GONE: Duration = Duration::from_millis(400);
/// A file changed this shortly ago may change again within one tick of its clock, so it is read again.
const YOUNG: Duration = Duration::from_secs(2);
/// Larger files are refused.
const MAX_SIZE: u64 = 16 << 20;

/// What `-f` names.
#[derive(Debug)]
pub struct Disk {
    sources: Vec<PathBuf>,
    files: BTreeMap<PathBuf, Known>,
    waiting: BTreeMap<PathBuf, (Option<Stamp>, Instant)>,
}

/// A file that was read.
#[derive(Debug)]
struct Known {
    stamp: Stamp,
    young: bool,
    content: Content,
}

/// What was read of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Its text.
    Text(String),
    /// Why it cannot be read.
    Unreadable(String),
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    fn is_young(&self) -> bool {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let age =
            |(seconds, _): (i64, i64)| u64::try_from(seconds).map_or(u64::MAX, |then| now.as_secs().abs_diff(then));
        age(self.modified).min(age(self.changed)) <= YOUNG.as_secs()
    }
}

/// What a look at the disk came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Files whose content is new, `None` where the file is gone, in the order of the paths given.
    pub changed: Vec<(PathBuf, Option<Content>)>,
    /// Something is changing right now: look again soon.
    pub restless: bool,
}

/// What of a directory is read: files that say they are YAML or JSON. Names that begin with a dot are left out, which
/// leaves out editors' temporary files and the `..data` of a mounted ConfigMap, whose links lead to the same files.
fn is_manifest(path: &Path) -> bool {
    let hidden = path
        .file_name()
        .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    let extension = path.extension().and_then(|extension| extension.to_str());
    !hidden && matches!(extension, Some("yaml" | "yml" | "json"))
}

impl Disk {
    /// What these paths name, each a file or a directory. All of them have to exist now.
    pub fn open(sources: Vec<PathBuf>) -> Result<Self, (PathBuf, io::Error)> {
        for source in &sources {
            let metadata = fs::metadata(source).map_err(|error| (source.clone(), error))?;
            if !(metadata.is_file() || metadata.is_dir()) {
                let error = io::Error::other("neither a file nor a directory");
                return Err((source.clone(), error));
            }
        }
        Ok(Self {
            sources,
            files: BTreeMap::new(),
            waiting: BTreeMap::new(),
        })
    }

    /// Every file with its content as it was last taken over, in the order of the paths given.
    pub fn files(&self) -> impl Iterator<Item = (&Path, &Content)> {
        let rank = |path: &Path| self.sources.iter().position(|source| path.starts_with(source));
        let mut files: Vec<_> = self
            .files
            .iter()
            .map(|(path, known)| (path.as_path(), &known.content))
            .collect();
        // Within a directory the map keeps them by name; the sort is stable.
        files.sort_by_key(|(path, _)| rank(path));
        files.into_iter()
    }

    /// Takes over everything as it is, without waiting for anything to stand still.
    pub fn load(&mut self) {
        for (path, stamp) in self.stamps() {
            if stamp.is_some() {
                self.take(&path);
            }
        }
    }

    /// Takes over what changed since the last look and stands still.
    pub fn look(&mut self, now: Instant) -> Look {
        let mut look = Look::default();
        let stamps = self.stamps();
        self.waiting.retain(|path, _| stamps.contains_key(path));
        for (path, stamp) in stamps {
            let known = self.files.get(&path);
            if known.map(|known| known.stamp) == stamp {
                self.waiting.remove(&path);
                if known.is_some_and(|known| known.young) && self.take(&path) {
                    look.changed.push((path.clone(), self.content(&path)));
                }
                continue;
            }
            let had_text = known.is_some_and(|known| known.stamp.length > 0);
            let emptied = had_text && stamp.is_none_or(|stamp| stamp.length == 0);
            let wait = if emptied { GONE } else { STILL };
            let since = match self.waiting.get(&path) {
                Some((seen, since)) if *seen == stamp => *since,
                _ => now,
            };
            if now.duration_since(since) < wait {
                self.waiting.insert(path, (stamp, since));
                look.restless = true;
                continue;
            }
            self.waiting.remove(&path);
            let changed = match stamp {
                Some(_) => self.take(&path),
                None => self.files.remove(&path).is_some(),
            };
            if changed {
                let content = self.content(&path);
                look.changed.push((path, content));
            }
        }
        look
    }

    fn content(&self, path: &Path) -> Option<Content> {
        self.files.get(path).map(|known| known.content.clone())
    }

    /// Every file there is or was, with its stamp; `None` where it is gone.
    fn stamps(&self) -> BTreeMap<PathBuf, Option<Stamp>> {
        let mut stamps: BTreeMap<_, _> = self.files.keys().map(|path| (path.clone(), None)).collect();
        for source in &self.sources {
            match fs::read_dir(source) {
                Ok(entries) => {
                    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
                    for path in paths.filter(|path| is_manifest(path)) {
                        if let Some(stamp) = stamp(&path) {
                            stamps.insert(path, Some(stamp));
                        }
                    }
                }
                Err(error) if error.kind() == ErrorKind::NotADirectory => {
                    stamps.insert(source.clone(), stamp(source));
                }
                // Gone, which what was in it shares; or not to be read now, which changes nothing of it.
                Err(error) if error.kind() == ErrorKind::NotFound => (),
                Err(_) => {
                    for (path, known) in self.files.iter().filter(|(path, _)| path.starts_with(source)) {
                        stamps.insert(path.clone(), Some(known.stamp));
                    }
                }
            }
        }
        stamps
    }

    /// Reads a file; whether its content is another than before. A file that cannot be read is remembered as such.
    fn take(&mut self, path: &Path) -> bool {
        let (stamp, content) = match read(path) {
            Ok((stamp, text)) => (stamp, Content::Text(text)),
            // Gone again: the next look sees that.
            Err(error) if error.kind() == ErrorKind::NotFound => return false,
            Err(error) => match stamp(path) {
                Some(stamp) => (stamp, Content::Unreadable(error.to_string())),
                None => return false,
            },
        };
        let known = Known {
            stamp,
            young: stamp.is_young(),
            content,
        };
        let before = self.files.insert(path.to_owned(), known).map(|known| known.content);
        before.as_ref() != self.files.get(path).map(|known| &known.content)
    }
}

/// The stamp of a file, wherever links lead; `None` if there is none, or it is a directory.
fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    metadata.is_file().then(|| Stamp::of(&metadata))
}

/// The text of a file, and the stamp it had before it was read: a write that overlaps shows as a change next time.
fn read(path: &Path) -> io::Result<(Stamp, String)> {
    let file = fs::File::open(path)?;
    let stamp = Stamp::of(&file.metadata()?);
    if stamp.length > MAX_SIZE {
        return Err(io::Error::other(format!("larger than {} MiB", MAX_SIZE >> 20)));
    }
    let mut bytes = Vec::new();
    file.take(MAX_SIZE + 1).read_to_end(&mut bytes)?;
    let text = String::from_utf8(bytes).map_err(|_| io::Error::other("not UTF-8"))?;
    Ok((stamp, text))
}

#[cfg(test)]
mod tests;
