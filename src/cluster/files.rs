//! The port to stored objects over manifests on disk, for `tidegate run`.
//!
//! [`tree`] parses YAML and keeps the lines, [`schema`] checks it as the API server would, [`manifest`] makes objects of
//! it, [`disk`] sees which files changed, [`Follower`] puts the good objects into the [`Store`], and the store is the
//! port. One bad object does not stop the others, and an object that becomes bad stays as it was when it was last good.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use disk::{Content, Disk};
use manifest::{Identity, Object, Reading};
pub use store::Store;

pub mod disk;
pub mod manifest;
pub mod schema;
mod spelling;
mod state;
mod store;
pub mod tree;

/// Between two looks at the disk: short, because somebody has just saved a file and watches, and cheap, because a look
/// at files that are as they were is a `stat` of each.
const POLL: Duration = Duration::from_millis(100);
/// Between two looks while something is changing.
const POLL_RESTLESS: Duration = Duration::from_millis(50);

/// Files that cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A path that was given does not exist or cannot be read.
    #[error("cannot read {}: {source}; give an existing file or directory with -f", path.display())]
    Open {
        /// The path.
        path: PathBuf,
        /// Reason.
        source: io::Error,
    },
    /// What was issued earlier cannot be read, or could not be written now.
    #[error(
        "cannot use {} of the state directory: {source}; give a directory that only you can write with --state",
        path.display()
    )]
    State {
        /// The file or directory.
        path: PathBuf,
        /// Reason.
        source: io::Error,
    },
}

/// Something wrong with a file, as it is told: `file:line: object: field: what`. It never quotes a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// The rest.
    pub detail: manifest::Problem,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.detail.line {
            write!(f, ":{line}")?;
        }
        if let Some(object) = &self.detail.object {
            write!(f, ": {object}")?;
        }
        if let Some(field) = &self.detail.field {
            write!(f, ": {field}")?;
        }
        write!(f, ": {}", self.detail.message)
    }
}

/// Keeps a [`Store`] as the files say.
pub struct Follower {
    disk: Disk,
    store: Store,
    /// For each file the objects in it, good now or when they were last good.
    objects: BTreeMap<PathBuf, Vec<Placed>>,
    /// For each file what is wrong with it.
    problems: BTreeMap<PathBuf, Vec<manifest::Problem>>,
}

/// An object and the line it begins on.
type Placed = (u64, Object);

impl Follower {
    /// Loads these paths, files or directories, into `store`. What is wrong with them is returned; only a path that does
    /// not exist is an error.
    pub fn load(paths: Vec<PathBuf>, store: Store, now: Timestamp) -> Result<(Self, Vec<Problem>), FilesError> {
        let mut disk = Disk::open(paths).map_err(|(path, source)| FilesError::Open { path, source })?;
        disk.load();
        let mut follower = Self {
            store,
            objects: BTreeMap::new(),
            problems: BTreeMap::new(),
            disk,
        };
        let files: Vec<_> = follower
            .disk
            .files()
            .map(|(path, content)| (path.to_owned(), content.clone()))
            .collect();
        for (path, content) in files {
            follower.take(path, Some(content));
        }
        let problems = follower.publish(now);
        Ok((follower, problems))
    }

    /// Takes over what changed on disk; what is wrong now, if anything changed. `restless`: look again soon.
    pub fn look(&mut self, instant: Instant, now: Timestamp) -> (Option<Vec<Problem>>, bool) {
        let look = self.disk.look(instant);
        let changed = !look.changed.is_empty();
        for (path, content) in look.changed {
            tracing::info!(file = %path.display(), "file changed");
            self.take(path, content);
        }
        (changed.then(|| self.publish(now)), look.restless)
    }

    /// Follows the files until `stop`, and tells what is wrong with them in the log.
    pub async fn follow(mut self, beat: impl Fn(), stop: CancellationToken) {
        let mut told: Vec<Problem> = self.all_problems();
        let mut pause = POLL;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => (),
            }
            let look = tokio::task::spawn_blocking(move || {
                let looked = self.look(Instant::now(), Timestamp::now());
                (self, looked)
            });
            let (follower, (problems, restless)) = match look.await {
                Ok(looked) => looked,
                Err(error) => {
                    // Only a panic or the end of the runtime; `beat` falls silent, which /livez shows.
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "files are not followed any more"
                    );
                    return;
                }
            };
            self = follower;
            beat();
            pause = if restless { POLL_RESTLESS } else { POLL };
            if let Some(problems) = problems {
                tell(&problems, &told);
                told = problems;
            }
        }
    }

    fn take(&mut self, path: PathBuf, content: Option<Content>) {
        let reading = match content {
            Some(Content::Text(text)) => manifest::read(&text),
            Some(Content::Unreadable(why)) => Reading {
                unidentified: true,
                problems: vec![manifest::Problem {
                    line: None,
                    object: None,
                    field: None,
                    message: format!("cannot be read: {why}"),
                    error: true,
                }],
                ..Reading::default()
            },
            None => {
                self.objects.remove(&path);
                self.problems.remove(&path);
                return;
            }
        };
        let before = self.objects.remove(&path).unwrap_or_default();
        self.objects.insert(path.clone(), merge(before, &reading));
        self.problems.insert(path, reading.problems);
    }

    /// Puts all objects into the store; everything that is wrong, in the order of the files.
    fn publish(&self, now: Timestamp) -> Vec<Problem> {
        let (objects, _) = self.unique();
        // First, so that what is told of an object can say where it stands.
        self.store.locate(self.places());
        self.store.replace(objects, now);
        self.all_problems()
    }

    fn all_problems(&self) -> Vec<Problem> {
        let (_, duplicates) = self.unique();
        let of_files = self.disk.files().flat_map(|(path, _)| {
            let problems = self.problems.get(path).into_iter().flatten();
            problems.map(move |detail| Problem {
                file: path.to_owned(),
                detail: detail.clone(),
            })
        });
        of_files.chain(duplicates).collect()
    }

    /// Where each object begins, as `file:line`.
    fn places(&self) -> BTreeMap<Identity, String> {
        let mut places = BTreeMap::new();
        for (path, _) in self.disk.files() {
            for (line, object) in self.objects.get(path).into_iter().flatten() {
                let place = || format!("{}:{line}", path.display());
                places.entry(object.identity()).or_insert_with(place);
            }
        }
        places
    }

    /// Every object once, in the order of the files, and those refused because another of that name came first.
    fn unique(&self) -> (Vec<Object>, Vec<Problem>) {
        let mut first: BTreeMap<Identity, (&Path, u64)> = BTreeMap::new();
        let (mut objects, mut duplicates) = (Vec::new(), Vec::new());
        for (path, _) in self.disk.files() {
            for (line, object) in self.objects.get(path).into_iter().flatten() {
                let identity = object.identity();
                if let Some((other, at)) = first.get(&identity) {
                    let detail = manifest::Problem {
                        line: Some(*line),
                        object: Some(identity),
                        field: Some("metadata.name".into()),
                        message: format!("is taken by {}:{at}; give another name or namespace", other.display()),
                        error: true,
                    };
                    duplicates.push(Problem {
                        file: path.to_owned(),
                        detail,
                    });
                } else {
                    first.insert(identity, (path, *line));
                    objects.push(object.clone());
                }
            }
        }
        (objects, duplicates)
    }
}

/// The objects of a file: those that are good now, and those that were good before and are broken now. Where a part of
/// the file cannot even be named, everything that was good before and is not there now may be in that part, so it stays.
fn merge(before: Vec<Placed>, reading: &Reading) -> Vec<Placed> {
    let mut objects = reading.objects.clone();
    for (line, object) in before {
        let identity = object.identity();
        let there = reading.objects.iter().any(|(_, object)| object.identity() == identity);
        if !there && (reading.unidentified || reading.broken.contains(&identity)) {
            objects.push((line, object));
        }
    }
    objects
}

/// Logs the problems that were not told before.
pub fn tell(problems: &[Problem], told: &[Problem]) {
    for problem in problems.iter().filter(|problem| !told.contains(problem)) {
        if problem.detail.error {
            tracing::error!("{problem}");
        } else {
            tracing::warn!("{problem}");
        }
    }
}

#[cfg(test)]
mod tests;
