//! The files that settings stand in, while the gateway runs: has somebody changed one?

use std::path::PathBuf;
use std::time::SystemTime;

/// How a file stands; none if it cannot be seen.
type Standing = Option<(SystemTime, u64)>;

/// Notices changes of files by their modification time and their length.
#[derive(Debug)]
pub(super) struct Watch(Vec<Watched>);

#[derive(Debug)]
struct Watched {
    file: PathBuf,
    /// How it stood when it was last read.
    read: Standing,
    /// How it stood at the last look.
    seen: Standing,
}

impl Watch {
    /// Begins before the files are first read, so that no change falls between.
    pub(super) async fn begin(files: impl IntoIterator<Item = PathBuf>) -> Self {
        let mut watch = Self(Vec::new());
        for file in files {
            let read = look(&file).await;
            watch.0.push(Watched { file, read, seen: read });
        }
        watch
    }

    /// From now on these files. One that was not watched is told as changed once, since it may have been read before.
    pub(super) fn follow(&mut self, files: impl IntoIterator<Item = PathBuf>) {
        let mut before = std::mem::take(&mut self.0);
        for file in files {
            let known = before.iter().position(|watched| watched.file == file);
            let watched = known.map(|index| before.swap_remove(index));
            self.0.push(watched.unwrap_or(Watched { file, read: None, seen: None }));
        }
    }

    /// One look: whether they are to be read again.
    pub(super) async fn has_changed(&mut self) -> bool {
        let mut has_changed = false;
        for watched in &mut self.0 {
            let now = look(&watched.file).await;
            has_changed |= watched.is_new(now);
        }
        has_changed
    }
}

impl Watched {
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
}

async fn look(file: &PathBuf) -> Standing {
    let metadata = tokio::fs::metadata(file).await.ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
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
        let mut watch = Watched { file: PathBuf::new(), read: at(1, 10), seen: at(1, 10) };
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
        let mut watch = Watch::begin([path.clone()]).await;
        assert_eq!([watch.has_changed().await, watch.has_changed().await], [false, false]);
        std::fs::write(&path, "three").unwrap();
        assert_eq!(
            [watch.has_changed().await, watch.has_changed().await, watch.has_changed().await],
            [false, true, false]
        );
        let file = std::fs::File::options().append(true).open(&path).unwrap();
        file.set_modified(UNIX_EPOCH).unwrap();
        assert_eq!([watch.has_changed().await, watch.has_changed().await], [false, true]);
        let mut none = Watch::begin([]).await;
        assert_eq!([none.has_changed().await, none.has_changed().await], [false, false]);
    }

    #[tokio::test]
    async fn a_file_that_is_named_later_is_told_once_and_one_that_is_no_more_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let [first, second] = ["one.toml", "two.toml"].map(|name| folder.path().join(name));
        std::fs::write(&first, "one").unwrap();
        std::fs::write(&second, "one").unwrap();
        let mut watch = Watch::begin([first.clone()]).await;
        watch.follow([first.clone(), second.clone()]);
        let looks = [watch.has_changed().await, watch.has_changed().await, watch.has_changed().await];
        assert_eq!(looks, [false, true, false]);
        watch.follow([second.clone()]);
        std::fs::write(&first, "changed").unwrap();
        assert_eq!([watch.has_changed().await, watch.has_changed().await], [false, false]);
        std::fs::write(&second, "changed").unwrap();
        assert_eq!([watch.has_changed().await, watch.has_changed().await], [false, true]);
    }
}
