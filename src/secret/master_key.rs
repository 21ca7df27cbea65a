//! The master key: 32 random bytes, kept as base64 in a file for its owner alone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::{fmt, str};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use thiserror::Error;

use super::MASK;

/// Length of the key in bytes: what both HKDF-SHA256 and XChaCha20 are built for.
const KEY_BYTES: usize = 32;

/// No more than this is read of a key file: a key takes 44 characters and a line end.
const KEY_FILE_MAX: u64 = 1_000;

/// The key that everything sealed at rest hangs on.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey([u8; KEY_BYTES]);

/// Where the master key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// This file, which is made at the first start.
    File(PathBuf),
    /// The operator gave the key itself.
    Given(MasterKey),
}

/// Why there is no master key.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The text is no key.
    #[error("a master key is 32 random bytes in base64, 44 characters as `openssl rand -base64 32` prints them")]
    Malformed,
    /// The file holds something else than a key.
    #[error("{} does not hold a master key: 32 random bytes in base64", .0.display())]
    MalformedFile(PathBuf),
    /// The file cannot be read or made.
    #[error("cannot read or make the master key file {}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl KeySource {
    /// The key; a missing file is made.
    pub fn open(&self) -> Result<MasterKey, KeyError> {
        match self {
            Self::File(path) => MasterKey::load_or_create(path),
            Self::Given(key) => Ok(key.clone()),
        }
    }
}

impl MasterKey {
    /// A new random key.
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// Reads a key from base64; white space around it is dropped.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let bytes = BASE64_STANDARD.decode(text.trim()).map_err(|_| KeyError::Malformed)?;
        bytes.try_into().map(Self).map_err(|_| KeyError::Malformed)
    }

    /// The key in `path`, made first if there is none; of several processes that make it at once one wins,
    /// and all get the winner's.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        let file_error = |source| KeyError::File { path: path.to_owned(), source };
        let text = match read_key(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create(path, &Self::random()).and_then(|()| read_key(path)).map_err(file_error)?
            }
            read => read.map_err(file_error)?,
        };
        let text = str::from_utf8(&text).map_err(|_| KeyError::MalformedFile(path.to_owned()))?;
        Self::parse(text).map_err(|_| KeyError::MalformedFile(path.to_owned()))
    }

    pub(super) fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

fn read_key(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(KEY_FILE_MAX).read_to_end(&mut text)?;
    Ok(text)
}

/// Writes `key` to `path` unless something is there already.
///
/// The whole text goes to a file of its own first and is then linked to its place, which fails if the place is
/// taken: nobody ever reads half a key, and no key that something is sealed with is written over.
fn create(path: &Path, key: &MasterKey) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let draft = folder.join(format!(".master-key-{:016x}", rand::random::<u64>()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let written = writeln!(file, "{}", BASE64_STANDARD.encode(key.0)).and_then(|()| file.sync_all());
    let linked = written.and_then(|()| fs::hard_link(&draft, path));
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        // Without this a power cut could take the key away again, and all that was sealed with it.
        Ok(()) => File::open(folder)?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::thread;

    use super::*;

    #[test]
    fn a_key_is_32_bytes_in_base64() {
        let key = MasterKey::random();
        let text = BASE64_STANDARD.encode(key.0);
        assert_eq!(MasterKey::parse(&format!("  {text}\n")).unwrap(), key);
        for wrong in ["", "AAAA", &text[1..], &format!("{text}AAAA"), "not base64 at all, not at all, not at all!!!"] {
            assert!(matches!(MasterKey::parse(wrong), Err(KeyError::Malformed)), "{wrong}");
        }
    }

    #[test]
    fn a_key_does_not_show_itself() {
        let key = MasterKey([65; KEY_BYTES]);
        assert_eq!(format!("{:?}", KeySource::Given(key)), "Given(***)");
    }

    #[test]
    fn the_first_start_makes_the_key_and_the_next_finds_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data/deep/master.key");
        let source = KeySource::File(path.clone());
        let key = source.open().unwrap();
        assert_eq!(source.open().unwrap(), key);

        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        let left: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(left, [path], "no draft is left behind");
    }

    #[test]
    fn makers_at_the_same_time_agree_on_one_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data/master.key");
        let keys: Vec<_> = thread::scope(|scope| {
            let makers: Vec<_> = (0..8).map(|_| scope.spawn(|| MasterKey::load_or_create(&path).unwrap())).collect();
            makers.into_iter().map(|maker| maker.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
    }

    #[test]
    fn a_file_without_a_key_is_told_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        fs::write(&path, "hunter2").unwrap();
        let error = MasterKey::load_or_create(&path).unwrap_err();
        assert!(matches!(error, KeyError::MalformedFile(_)));
        assert!(!error.to_string().contains("hunter2"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "hunter2");
    }
}
