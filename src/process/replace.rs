//! Small files that are written anew as a whole.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Gives `path` this content: whoever reads it finds what was there before, or all of it. Nothing is synced: a power cut
/// may leave either, or nothing.
///
/// # Errors
/// The file beside it (with the ending `new`) cannot be written, or not be renamed.
pub fn replace(path: &Path, content: impl AsRef<[u8]>) -> io::Result<()> {
    let unready = path.with_extension("new");
    fs::write(&unready, content)?;
    fs::rename(unready, path)
}

/// The same, durable when this returns, with these permission bits from the first moment on.
///
/// # Errors
/// The file beside it cannot be written, not be renamed, or the disk cannot keep it.
pub fn durably(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let unready = path.with_extension("new");
    // A leftover of a crash may have other permissions.
    let _ = fs::remove_file(&unready);
    let mut file = File::options().create_new(true).write(true).mode(mode).open(&unready)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(unready, path)?;
    File::open(path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")))?
        .sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_leftover_of_a_crash_gives_neither_content_nor_permissions() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept.json");
        fs::write(path.with_extension("new"), "half of it, for everybody").unwrap();
        fs::write(&path, "before").unwrap();
        durably(&path, b"after", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"after");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_written_leaves_what_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept.json");
        fs::write(&path, "before").unwrap();
        // In the way of the file beside it.
        fs::create_dir(path.with_extension("new")).unwrap();
        assert!(durably(&path, b"after", 0o600).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"before");
    }
}
