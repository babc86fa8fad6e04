//! The quickstart: the manifests of `examples/quickstart`, written where they can be edited.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::provider;

/// The manifests, by file name.
const MANIFESTS: [(&str, &str); 3] = [
    (
        "integration.yaml",
        include_str!("../../examples/quickstart/integration.yaml"),
    ),
    (
        "credential.yaml",
        include_str!("../../examples/quickstart/credential.yaml"),
    ),
    ("secret.yaml", include_str!("../../examples/quickstart/secret.yaml")),
];

/// A directory with the manifests in it, which goes when this is dropped.
#[derive(Debug)]
pub struct Quickstart {
    directory: PathBuf,
}

impl Quickstart {
    /// Writes the manifests, which name the sample provider at `provider`, into a new directory for temporary files.
    pub fn write(provider: SocketAddr) -> io::Result<Self> {
        let quickstart = Self {
            directory: new_directory()?,
        };
        for (name, text) in MANIFESTS {
            let text = text.replace(&format!("127.0.0.1:{}", provider::PORT), &provider.to_string());
            fs::write(quickstart.directory.join(name), text)?;
        }
        Ok(quickstart)
    }

    /// Where the manifests are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for Quickstart {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            let directory = self.directory.display();
            tracing::warn!(%directory, error = &error as &dyn std::error::Error, "cannot remove the quickstart's files");
        }
    }
}

/// A directory of our own that did not exist before: what somebody else put in our way is neither used nor removed.
fn new_directory() -> io::Result<PathBuf> {
    let base = std::env::temp_dir();
    for attempt in 0..100 {
        let directory = base.join(format!("tidegate-quickstart-{}", std::process::id() + attempt));
        match fs::DirBuilder::new().mode(0o700).create(&directory) {
            Ok(()) => return Ok(directory),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => (),
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other(format!(
        "every name for a new directory in {} is taken",
        base.display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::files::manifest;

    #[test]
    fn the_manifests_are_good_and_name_the_provider() {
        for (name, text) in MANIFESTS {
            let reading = manifest::read(text);
            assert_eq!(reading.problems, [], "{name}");
            assert_eq!(reading.objects.len(), 1, "{name}");
        }
        let quickstart = Quickstart::write(([127, 0, 0, 1], 4711).into()).unwrap();
        let text = fs::read_to_string(quickstart.directory().join("integration.yaml")).unwrap();
        assert!(text.contains("url: http://127.0.0.1:4711\n"), "{text}");
    }

    #[test]
    fn the_directory_is_ours_alone_and_goes() {
        use std::os::unix::fs::PermissionsExt;
        let quickstart = Quickstart::write(([127, 0, 0, 1], 4711).into()).unwrap();
        let directory = quickstart.directory().to_owned();
        assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
        drop(quickstart);
        assert!(!directory.exists());
    }
}
