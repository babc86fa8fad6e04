//! The directory that keeps what `tidegate run` issues: a Secret manifest in each file.
//!
//! A file is whole or not there: it is written under another name, brought to the disk, and then renamed. Nobody but its
//! owner may read it.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;

use super::FilesError;
use crate::domain::key::Key;

/// How the name of every file ends.
const SUFFIX: &str = ".secret.json";

/// File whose lock says that the directory is in use; the operating system takes it back however the process ends.
const LOCK: &str = ".lock";

/// The directory.
#[derive(Clone, Debug)]
pub struct State {
    directory: PathBuf,
    /// Held as long as this lives.
    _lock: Arc<File>,
}

impl State {
    /// Opens the directory, or makes it, and reads every Secret in it.
    pub fn open(directory: PathBuf) -> Result<(Self, BTreeMap<Key, Secret>), FilesError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| FilesError::State { path, source }
        };
        if !directory.exists() {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory);
            made.map_err(failed(&directory))?;
        }
        let path = directory.join(LOCK);
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path);
        let lock = lock.map_err(failed(&path))?;
        // Two processes that rotate the same credential would each undo what the other did.
        lock.try_lock().map_err(|_| FilesError::State {
            path: directory.clone(),
            source: io::Error::new(io::ErrorKind::ResourceBusy, "another process uses it"),
        })?;
        let mut secrets = BTreeMap::new();
        for entry in fs::read_dir(&directory).map_err(failed(&directory))? {
            let path = entry.map_err(failed(&directory))?.path();
            if !path.to_string_lossy().ends_with(SUFFIX) {
                continue;
            }
            let text = fs::read(&path).map_err(failed(&path))?;
            // What it holds may be all there is of a credential: better not to start than to start without it.
            let secret: Secret = serde_json::from_slice(&text).map_err(|_| FilesError::State {
                path: path.clone(),
                source: io::Error::new(io::ErrorKind::InvalidData, "it is not the manifest of a Secret"),
            })?;
            let (namespace, name) = (&secret.metadata.namespace, &secret.metadata.name);
            let key = Key::new(
                namespace.as_deref().unwrap_or_default(),
                name.as_deref().unwrap_or_default(),
            );
            secrets.insert(key, secret);
        }
        let state = Self {
            directory,
            _lock: Arc::new(lock),
        };
        Ok((state, secrets))
    }

    /// Writes a Secret; when this returns it is on the disk.
    pub fn save(&self, key: &Key, secret: &Secret) -> io::Result<()> {
        let path = self.path(key);
        let draft = path.with_extension("draft");
        let text = serde_json::to_vec_pretty(secret)?;
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        // The mode counts for a new file alone, and a draft may be left of a crash.
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&draft, &path)?;
        self.sync()
    }

    /// Removes a Secret.
    pub fn remove(&self, key: &Key) -> io::Result<()> {
        match fs::remove_file(self.path(key)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.and_then(|()| self.sync()),
        }
    }

    /// That a name is there, or not there, is on the disk too.
    fn sync(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }

    /// A namespace has no dot, so no two Secrets have one file.
    fn path(&self, Key { namespace, name }: &Key) -> PathBuf {
        self.directory.join(format!("{namespace}.{name}{SUFFIX}"))
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Secret;

    use super::*;

    fn secret(name: &str, value: &str) -> (Key, Secret) {
        let mut secret = Secret::default();
        (secret.metadata.namespace, secret.metadata.name) = (Some("shop".into()), Some(name.into()));
        secret.string_data = Some([("value".to_owned(), value.to_owned())].into());
        (Key::new("shop", name), secret)
    }

    #[test]
    fn what_was_saved_is_there_after_a_restart_and_for_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap().path().join("state");
        let (state, before) = State::open(directory.clone()).unwrap();
        assert!(before.is_empty());
        let (key, first) = secret("a", "one");
        let (gone, second) = secret("b", "two");
        state.save(&key, &first).unwrap();
        state.save(&gone, &second).unwrap();
        state.remove(&gone).unwrap();
        state.remove(&gone).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&directory), mode(&state.path(&key))), (0o700, 0o600));
        drop(state);
        let (_state, after) = State::open(directory).unwrap();
        assert_eq!(after, [(key, first)].into());
    }

    #[test]
    fn a_draft_that_a_crash_left_is_no_secret_and_in_nobodys_way() {
        let directory = tempfile::tempdir().unwrap();
        let (state, _) = State::open(directory.path().to_owned()).unwrap();
        let (key, whole) = secret("a", "one");
        fs::write(state.path(&key).with_extension("draft"), "{ half").unwrap();
        drop(state);
        let (state, before) = State::open(directory.path().to_owned()).unwrap();
        assert!(before.is_empty());
        state.save(&key, &whole).unwrap();
        drop(state);
        assert_eq!(State::open(directory.path().to_owned()).unwrap().1.len(), 1);
    }

    #[test]
    fn a_file_that_is_broken_or_a_directory_in_use_is_told_by_its_path() {
        let directory = tempfile::tempdir().unwrap();
        let (state, _) = State::open(directory.path().to_owned()).unwrap();
        let busy = State::open(directory.path().to_owned()).unwrap_err().to_string();
        assert!(busy.contains("another process uses it"), "{busy}");
        drop(state);
        fs::write(directory.path().join("shop.a.secret.json"), "canary").unwrap();
        let broken = State::open(directory.path().to_owned()).unwrap_err().to_string();
        assert!(
            broken.contains("shop.a.secret.json") && !broken.contains("canary"),
            "{broken}"
        );
    }
}
