//! [`Directory`]: where the rings of one process live, and its lock.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::layout::{self, Identity, Layout};
use super::mapped::Mapped;

/// Held by the living process.
const LOCK: &str = "ring.lock";

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
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(DirectoryError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
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

    /// All ring files in it, in the order of their names.
    pub(super) fn rings(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut rings: Vec<PathBuf> = entries.filter(|path| layout::is_ring(path)).collect();
        rings.sort();
        rings
    }
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
