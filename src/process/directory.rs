//! Directories that are made for what is to be in them.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use rustix::fs::Access;

/// Permission bits of a directory with what only its group may read: logs.
pub const LOGS: u32 = 0o750;
/// Permission bits of a directory that others must pass: with a socket that has permissions of its own.
pub const SOCKETS: u32 = 0o755;

/// Makes the directory that `path` is to be in, and those above it, with these permission bits, as far as they are missing.
///
/// # Errors
/// It cannot be made; the error keeps its kind and names the directory.
pub fn make_parent(path: &Path, mode: u32) -> io::Result<()> {
    let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) else { return Ok(()) };
    make(parent, mode).map_err(|error| {
        let what = format!("cannot make the directory {}: {error}", parent.display());
        io::Error::new(error.kind(), what)
    })
}

/// Makes this directory in the same way, and sees whether files can be made in it.
///
/// # Errors
/// It cannot be made, or not be written.
pub fn make_writable(path: &Path, mode: u32) -> io::Result<()> {
    make(path, mode)?;
    Ok(rustix::fs::access(path, Access::WRITE_OK | Access::EXEC_OK)?)
}

/// Whether there is no room, which passes.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn make(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(mode).create(path)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn only_missing_directories_are_made_and_what_is_in_the_way_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::set_permissions(dir.path().join("a"), fs::Permissions::from_mode(0o700)).unwrap();
        make_parent(&dir.path().join("a/b/file"), LOGS).unwrap();
        let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode("a"), 0o700);
        assert_eq!(mode("a/b") & !LOGS, 0);
        make_parent(Path::new("file"), LOGS).unwrap();
        fs::write(dir.path().join("taken"), "").unwrap();
        let error = make_parent(&dir.path().join("taken/file"), LOGS).unwrap_err();
        assert!(error.to_string().starts_with("cannot make the directory /"), "{error}");
    }
}
