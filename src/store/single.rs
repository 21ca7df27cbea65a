//! One process at a time on an SQLite file, which is for its owner alone.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use crate::store::OpenError;

/// Holds the lock beside an SQLite file; dropping it, or dying, lets go.
#[derive(Debug)]
pub(super) struct SingleProcess {
    _lock: File,
}

impl SingleProcess {
    /// Makes folder, file and lock file where they are missing (0700, 0600), and takes the lock.
    pub(super) fn enter(path: &Path) -> Result<Self, OpenError> {
        let failed = |source| OpenError::File { path: path.display().to_string(), source };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        }
        private_file(path).map_err(failed)?;
        let lock = private_file(&path.with_added_extension("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: path.display().to_string() }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}

fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_second_process_is_refused_until_the_first_has_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data/offpeak.db");
        let first = SingleProcess::enter(&path).unwrap();
        assert!(matches!(SingleProcess::enter(&path), Err(OpenError::InUse { .. })));
        drop(first);
        SingleProcess::enter(&path).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    }
}
