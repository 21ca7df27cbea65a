//! The settings file while the gateway runs: has somebody changed it?

use std::path::PathBuf;
use std::time::SystemTime;

/// How a file stands; none if it cannot be seen.
type Standing = Option<(SystemTime, u64)>;

/// Notices changes of a file by its modification time and its length.
#[derive(Debug)]
pub(super) struct Watch {
    file: Option<PathBuf>,
    /// How it stood when it was last read.
    read: Standing,
    /// How it stood at the last look.
    seen: Standing,
}

impl Watch {
    /// Begins before the file is first read, so that no change falls between.
    pub(super) async fn begin(file: Option<PathBuf>) -> Self {
        let mut watch = Self { file, read: None, seen: None };
        watch.read = watch.look().await;
        watch.seen = watch.read;
        watch
    }

    /// One look: whether the file is to be read again.
    pub(super) async fn has_changed(&mut self) -> bool {
        let now = self.look().await;
        self.is_new(now)
    }

    /// A file that still changes from one look to the next may be half written: an empty one is good TOML, and would put
    /// everything back to its default.
    fn is_new(&mut self, now: Standing) -> bool {
        let is_settled = now == self.seen;
        self.seen = now;
        let is_new = is_settled && now != self.read;
        if is_new {
            self.read = now;
        }
        is_new
    }

    async fn look(&self) -> Standing {
        let metadata = tokio::fs::metadata(self.file.as_ref()?).await.ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn at(second: u64, length: u64) -> Standing {
        Some((UNIX_EPOCH + Duration::from_secs(second), length))
    }

    #[test]
    fn a_change_is_noticed_once_and_only_when_it_is_done() {
        let mut watch = Watch { file: None, read: at(1, 10), seen: at(1, 10) };
        let looks = [
            (at(1, 10), false),
            (at(2, 0), false),
            (at(2, 9), false),
            (at(3, 20), false),
            (at(3, 20), true),
            (at(3, 20), false),
            // Away and back, as an editor does it.
            (None, false),
            (at(3, 20), false),
            (at(3, 20), false),
            (None, false),
            (None, true),
            (None, false),
        ];
        for (index, (standing, is_new)) in looks.into_iter().enumerate() {
            assert_eq!(watch.is_new(standing), is_new, "look {index}");
        }
    }

    #[tokio::test]
    async fn length_and_time_tell_a_change_and_no_file_never_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("offpeak.toml");
        std::fs::write(&path, "one").unwrap();
        let mut watch = Watch::begin(Some(path.clone())).await;
        assert_eq!([watch.has_changed().await, watch.has_changed().await], [false, false]);
        std::fs::write(&path, "three").unwrap();
        assert_eq!(
            [watch.has_changed().await, watch.has_changed().await, watch.has_changed().await],
            [false, true, false]
        );
        let file = std::fs::File::options().append(true).open(&path).unwrap();
        file.set_modified(UNIX_EPOCH).unwrap();
        assert_eq!([watch.has_changed().await, watch.has_changed().await], [false, true]);
        let mut none = Watch::begin(None).await;
        assert_eq!([none.has_changed().await, none.has_changed().await], [false, false]);
    }
}
