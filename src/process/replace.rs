//! Small files that are written anew as a whole.

use std::fs;
use std::io;
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
