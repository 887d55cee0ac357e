//! The directory that files are served from, and the only way to open something in it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{self, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::Error;

/// An open root. Opening beneath it never follows a link or `..` to the outside: the kernel sees to it.
#[derive(Debug)]
pub(super) struct Root {
    directory: OwnedFd,
    remote: bool,
}

/// What a path leads to.
pub(super) enum Opened {
    File(Arc<OwnedFd>, Box<Stat>),
    Directory,
}

/// Why a path leads to nothing.
#[derive(Debug)]
pub(super) enum NoFile {
    NotFound,
    /// A link or `..` that leads out of the root.
    Outside,
    Denied,
    System(io::Error),
}

impl Root {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let failed = |errno: Errno| Error::Root { path: path.to_owned(), source: errno.into() };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = fs::open(path, flags, Mode::empty()).map_err(failed)?;
        match fs::openat2(&directory, ".", flags, Mode::empty(), RESOLVE) {
            Err(Errno::NOSYS) => return Err(Error::NoOpenat2),
            other => other.map_err(failed)?,
        };
        let remote = REMOTE.contains(&(fs::fstatfs(&directory).map_err(failed)?.f_type as u32));
        Ok(Self { directory, remote })
    }

    /// Whether the files lie behind a network or another process: then a system call on them may take long, and
    /// is made on a thread of its own.
    pub(super) fn is_remote(&self) -> bool {
        self.remote
    }

    /// Opens a path beneath the root. Devices, pipes and sockets count as not there.
    pub(super) async fn find(this: &Arc<Self>, path: &[u8]) -> Result<Opened, NoFile> {
        if !this.remote {
            return this.find_now(path);
        }
        let (root, path) = (Arc::clone(this), path.to_vec());
        let task = tokio::task::spawn_blocking(move || root.find_now(&path));
        task.await.map_err(|error| NoFile::System(io::Error::other(error)))?
    }

    fn find_now(&self, path: &[u8]) -> Result<Opened, NoFile> {
        let fd = self.openat(path)?;
        let stat = fs::fstat(&fd)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(Opened::File(Arc::new(fd), Box::new(stat))),
            FileType::Directory => Ok(Opened::Directory),
            _ => Err(NoFile::NotFound),
        }
    }

    fn openat(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        // Without NONBLOCK, opening a pipe would wait for its writer.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let mut tries = 0;
        loop {
            match fs::openat2(&self.directory, path, flags, Mode::empty(), RESOLVE) {
                // EAGAIN: a rename came between, and the kernel could not tell whether the path stays inside.
                Err(Errno::AGAIN | Errno::INTR) if tries < 16 => tries += 1,
                other => return other,
            }
        }
    }
}

const RESOLVE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);

/// Magic numbers of NFS, SMB (three), FUSE, Ceph, 9P and AFS (two).
const REMOTE: [u32; 9] = [
    0x6969,
    0x517B,
    0xFF53_4D42,
    0xFE53_4D42,
    0x6573_5546,
    0x00C3_6400,
    0x0102_1997,
    0x5346_414F,
    0x6B41_4653,
];

impl From<Errno> for NoFile {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::INVAL | Errno::NXIO => Self::NotFound,
            Errno::XDEV | Errno::LOOP => Self::Outside,
            Errno::ACCESS | Errno::PERM => Self::Denied,
            other => Self::System(other.into()),
        }
    }
}
