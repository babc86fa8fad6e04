//! The directory that keeps what `tidegate run` issues: a Secret manifest in each file.
//!
//! A file is whole or not there: it is written under another name, brought to the disk, and then renamed. Nobody but its
//! owner may read it.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Secret;

use super::FilesError;
use crate::domain::key::Key;

/// How the name of every file ends.
const SUFFIX: &str = ".secret.json";

/// The directory.
#[derive(Clone, Debug)]
pub struct State {
    directory: PathBuf,
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
        let state = Self { directory };
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
