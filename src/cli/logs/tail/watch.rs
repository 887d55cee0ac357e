//! [`Watch`]: waits until something is written in a directory, with inotify where there is such a thing.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::sync::Notify;
use tokio::time;

/// Looked at no more often than this, however much is written.
const SHORTEST: Duration = Duration::from_millis(2);
/// Looked at so often anyway: a network's file system says nothing of what other machines write.
const LONGEST: Duration = Duration::from_millis(20);

/// What is heard of some directories; nothing when the kernel has no more watches to give.
pub(super) struct Watch(Arc<Notify>);

impl Watch {
    /// What is written, made or moved in these directories, those that are there.
    pub(super) fn of(directories: impl IntoIterator<Item = PathBuf>) -> Self {
        let heard = Arc::new(Notify::new());
        let listener = Arc::downgrade(&heard);
        if let Ok(events) = inotify::init(CreateFlags::CLOEXEC) {
            for directory in directories {
                let wanted = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
                // Looking every now and then finds the others.
                let _ = inotify::add_watch(&events, &directory, wanted);
            }
            // A thread, since the runtime takes descriptors of this kind only by unsafe code. Without it, too, they are found.
            let thread = std::thread::Builder::new().name("log-watch".into());
            let _ = thread.spawn(move || listen(&events, &listener));
        }
        Self(heard)
    }

    /// The directories of files.
    pub(super) fn beside(files: &[PathBuf]) -> Self {
        let folder = |file: &PathBuf| match file.parent() {
            Some(folder) if folder != Path::new("") => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        Self::of(files.iter().map(folder))
    }

    /// Ready when something may have changed.
    pub(super) async fn changed(&self) {
        time::sleep(SHORTEST).await;
        let _ = time::timeout(LONGEST, self.0.notified()).await;
    }
}

/// Until nobody cares any more; that is noticed at the next event.
fn listen(events: &OwnedFd, heard: &Weak<Notify>) {
    // What they say is of no interest, only that there are any.
    let mut buffer = [0; 4096];
    while rustix::io::read(events, &mut buffer).is_ok_and(|read| read > 0) {
        let Some(heard) = heard.upgrade() else { return };
        heard.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_write_is_heard() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.log");
        let watch = Watch::beside(std::slice::from_ref(&file));
        std::fs::write(&file, "x").unwrap();
        time::timeout(Duration::from_secs(20), watch.0.notified()).await.unwrap();
    }
}
