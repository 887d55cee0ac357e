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
