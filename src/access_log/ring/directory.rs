//! [`Directory`]: where the rings of one process live, and its lock.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::harm::{self, Harm};
use super::layout::{self, Identity, Layout};
use super::mapped::Mapped;
use crate::process::replace::replace;

/// Held by the living process.
const LOCK: &str = "ring.lock";

/// How often, and after which pause, a lock is tried again that another has.
const LOOKS: usize = 5;
const LOOK: Duration = Duration::from_millis(5);

/// The number of the last start, in decimal.
const BOOT: &str = "boot";

/// Why a directory cannot hold rings.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    #[error("another process keeps its log in {}", path.display())]
    InUse { path: PathBuf },
    #[error("cannot keep the log in {}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// A directory of rings that is ours for as long as this lives: every ring in it that we have not made is a dead
/// process's.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// The system takes the lock back however the process ends.
    _lock: File,
}

impl Directory {
    /// Makes the directory if it is not there, and locks it.
    ///
    /// # Errors
    /// A living process has it, or it cannot be written.
    pub fn open(path: &Path) -> Result<Self, DirectoryError> {
        let failed = |source| DirectoryError::Io { path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(failed)?;
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let lock = options.open(path.join(LOCK)).map_err(failed)?;
        match patiently(&lock) {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(DirectoryError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// The number of a start at `now_ms`, milliseconds since the Unix epoch: that time, but more than any start here has
    /// had before, whatever the clock says. So no two starts give their records the same numbers.
    pub(in crate::access_log) fn next_boot(&self, now_ms: u64) -> u64 {
        let path = self.path.join(BOOT);
        let known = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
        let rings = self.rings().into_iter().filter_map(|path| layout::boot_of(&path).ok());
        let known: Option<u64> = rings.chain(known).max();
        // A damaged file must not use up the numbers that there are.
        let known = known.filter(|known| *known < u64::MAX / 2);
        let boot = known.map_or(now_ms, |known| now_ms.max(known + 1));
        if let Err(error) = replace(&path, format!("{boot}\n")) {
            tracing::warn!(path = %path.display(), %error, "cannot write down the number of this start");
        }
        boot
    }

    /// These cores of `boot` have rings here from now on.
    pub(in crate::access_log) fn announce(&self, boot: u64, cores: impl Iterator<Item = u16>) {
        harm::announce(&self.path, boot, cores);
    }

    /// The rings of `boot` may go.
    pub(in crate::access_log) fn forget(&self, boot: u64) {
        harm::forget(&self.path, boot);
    }

    /// All rings may go; only these are missed, until a start has told of them.
    pub fn forget_but(&self, harms: &[Harm]) {
        harm::forget_but(&self.path, harms);
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes and maps the ring of a core, and says where it is.
    ///
    /// # Errors
    /// There is no room for it, or it cannot be written; nothing is left behind.
    pub(super) fn map(&self, identity: &Identity, layout: &Layout) -> io::Result<(Mapped, PathBuf)> {
        let path = self.path.join(layout::file_name(identity.core));
        // Under its name only when it is whole.
        let unready = path.with_extension("new");
        let made = make(&unready, identity, layout).and_then(|mapped| {
            fs::rename(&unready, &path)?;
            Ok(mapped)
        });
        match made {
            Ok(mapped) => Ok((mapped, path)),
            Err(error) => {
                let _ = fs::remove_file(&unready);
                Err(error)
            }
        }
    }

    /// Whether there are rings in it, living or dead.
    pub(in crate::access_log) fn has_rings(&self) -> bool {
        !self.rings().is_empty()
    }

    /// All ring files in it, in the order of their names.
    pub(super) fn rings(&self) -> Vec<PathBuf> {
        rings_in(&self.path)
    }
}

fn rings_in(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut rings: Vec<PathBuf> = entries.filter(|path| layout::is_ring(path)).collect();
    rings.sort();
    rings
}

/// The rings in `dir` that bear the names of living ones, unless a process has them: no start has found these yet. Changes
/// nothing.
pub(super) fn left_in(dir: &Path) -> Vec<PathBuf> {
    let held = File::open(dir.join(LOCK)).map(|lock| lock.try_lock_shared());
    if matches!(held, Ok(Err(TryLockError::WouldBlock))) {
        return Vec::new();
    }
    rings_in(dir).into_iter().filter(|path| !layout::is_put_aside(path)).collect()
}

/// Somebody who only looks ([`left_in`]) has it for a moment.
fn patiently(lock: &File) -> Result<(), TryLockError> {
    for _ in 0..LOOKS {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::park_timeout(LOOK),
            done => return done,
        }
    }
    lock.try_lock()
}

fn make(path: &Path, identity: &Identity, layout: &Layout) -> io::Result<Mapped> {
    let mut options = OpenOptions::new();
    let file = options.create(true).truncate(true).read(true).write(true).mode(0o600).open(path)?;
    allocate(&file, layout.size())?;
    file.write_all_at(&layout::header(identity, layout), 0)?;
    Mapped::new(Some(&file), layout)
}

/// Takes the disk's room now: a page that finds none later ends the process.
fn allocate(mut file: &File, size: usize) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, size as u64) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
            let zeros = [0; 64 << 10];
            for from in (0..size).step_by(zeros.len()) {
                file.write_all(&zeros[..zeros.len().min(size - from)])?;
            }
            Ok(())
        }
        done => Ok(done?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_starts_have_the_same_number_whatever_the_clock_says() {
        let dir = tempfile::tempdir().unwrap();
        let start = |now_ms| Directory::open(dir.path()).unwrap().next_boot(now_ms);
        assert_eq!([1000, 1000, 1000, 500, 0, 2000].map(start), [1000, 1001, 1002, 1003, 1004, 2000]);
        fs::write(dir.path().join(BOOT), "what?").unwrap();
        assert_eq!(start(3000), 3000);
        fs::write(dir.path().join(BOOT), u64::MAX.to_string()).unwrap();
        assert_eq!(start(3000), 3000);
    }

    #[test]
    fn a_ring_that_was_left_tells_the_number_of_its_start_too() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::open(dir.path()).unwrap();
        let identity = Identity { proxy: "edge-1".into(), boot: 7000, core: 0, pid: 1 };
        directory.map(&identity, &Layout::of(64)).unwrap();
        assert_eq!(directory.next_boot(10), 7001);
    }
}
