//! [`Disk`]: the steps that change what is on the disk, each of which a test can let fail.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

/// Where files are written. In tests it fails when it is told to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    #[cfg(test)]
    pub(crate) faults: Faults,
}

impl Disk {
    /// Makes a directory and its parents below `top`, all durable.
    pub(crate) fn make_directory(&self, top: &Path, path: &Path) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        if let Some(parent) = path.parent().filter(|parent| *parent != top && parent.starts_with(top)) {
            self.make_directory(top, parent)?;
        }
        self.step()?;
        match fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        path.parent().map_or(Ok(()), |parent| self.sync_directory(parent))
    }

    pub(crate) fn create(&self, path: &Path) -> io::Result<File> {
        self.step()?;
        OpenOptions::new().create(true).truncate(true).write(true).open(path)
    }

    pub(crate) fn append(&self, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.step() {
            // As a full disk does it.
            file.write_all(&bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        file.write_all(bytes)
    }

    pub(crate) fn sync(&self, file: &File) -> io::Result<()> {
        self.step()?;
        file.sync_data()
    }

    pub(crate) fn truncate(&self, file: &File, bytes: u64) -> io::Result<()> {
        self.step()?;
        file.set_len(bytes)
    }

    /// Gives a durable file its name, durably. Both names are in the same directory.
    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        fs::rename(from, to)?;
        to.parent().map_or(Ok(()), |parent| self.sync_directory(parent))
    }

    pub(crate) fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        File::open(path)?.sync_all()
    }

    pub(crate) fn remove(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        fs::remove_file(path)
    }

    /// A step that somebody else makes.
    pub(crate) fn step(&self) -> io::Result<()> {
        #[cfg(test)]
        self.faults.step()?;
        Ok(())
    }
}

/// Which steps fail.
#[cfg(test)]
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults(std::sync::Arc<std::sync::Mutex<Plan>>);

#[cfg(test)]
#[derive(Debug, Default)]
struct Plan {
    steps: u64,
    from: Option<u64>,
    /// Only the one step fails; otherwise all that follow do too, as after a kill.
    once: bool,
}

#[cfg(test)]
impl Faults {
    /// The step with this number, counted from now, fails, and all that follow.
    pub(crate) fn die_at(&self, step: u64) {
        *self.0.lock().unwrap() = Plan { steps: 0, from: Some(step), once: false };
    }

    pub(crate) fn fail_at(&self, step: u64) {
        *self.0.lock().unwrap() = Plan { steps: 0, from: Some(step), once: true };
    }

    /// How many steps there were, and an end to all faults.
    pub(crate) fn end(&self) -> u64 {
        std::mem::take(&mut *self.0.lock().unwrap()).steps
    }

    fn step(&self) -> io::Result<()> {
        let mut plan = self.0.lock().unwrap();
        let step = plan.steps;
        plan.steps += 1;
        match plan.from {
            Some(from) if step == from || (!plan.once && step > from) => {
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    }
}
