//! Files of rollups: `"TGR1" │ CRC-32C of the rest u32 │ length before compression u32 │ LZ4 block of a JSON array`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crc_fast::{CrcAlgorithm, checksum};

use super::cell::Packed;

const MAGIC: &[u8] = b"TGR1";
const HEAD: usize = 8;
/// Longest content before compression.
const MAX_LEN: usize = 1 << 30;

fn directory(data: &Path) -> PathBuf {
    data.join("roll")
}

/// Writes what was counted of the rows that the log holds up to file `covered`; durable when this returns.
pub(crate) fn write(data: &Path, covered: u64, cells: &[Packed]) -> io::Result<()> {
    let directory = directory(data);
    fs::create_dir_all(&directory)?;
    let raw = serde_json::to_vec(cells)?;
    let mut rest = u32::try_from(raw.len()).map_err(io::Error::other)?.to_le_bytes().to_vec();
    rest.extend_from_slice(&lz4_flex::block::compress(&raw));
    let crc = checksum(CrcAlgorithm::Crc32Iscsi, &rest) as u32;
    let (temporary, path) = (directory.join("new.tmp"), directory.join(format!("{covered:06}.tgr")));
    let mut file = File::create(&temporary)?;
    file.write_all(&[MAGIC, &crc.to_le_bytes(), &rest].concat())?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(&directory)?.sync_all()
}

/// All cells that ended in or after that minute; files without any such are deleted, what cannot be read is told.
pub(crate) fn load(data: &Path, since_minute: i64) -> Vec<Packed> {
    let mut all = Vec::new();
    for (_, path) in list(data) {
        match read(&path) {
            Ok(cells) if cells.iter().all(|cell| cell.minute() < since_minute) => drop(fs::remove_file(path)),
            Ok(cells) => all.extend(cells.into_iter().filter(|cell| cell.minute() >= since_minute)),
            Err(error) => tracing::warn!(file = %path.display(), %error, "rollups cannot be read"),
        }
    }
    all
}

/// Takes away what was counted of rows that are read from the log again.
pub(crate) fn remove_unless_covered(data: &Path, covered: u64) -> io::Result<()> {
    for (_, path) in list(data).into_iter().filter(|(number, _)| *number > covered) {
        fs::remove_file(path)?;
    }
    Ok(())
}

fn list(data: &Path) -> Vec<(u64, PathBuf)> {
    let entries = fs::read_dir(directory(data)).into_iter().flatten().flatten();
    let mut files: Vec<(u64, PathBuf)> = entries
        .filter_map(|entry| {
            let path = entry.path();
            let number = path.file_name()?.to_str()?.strip_suffix(".tgr")?.parse().ok()?;
            Some((number, path))
        })
        .collect();
    files.sort_unstable();
    files
}

fn read(path: &Path) -> io::Result<Vec<Packed>> {
    let bytes = fs::read(path)?;
    let bad = || io::Error::from(io::ErrorKind::InvalidData);
    let (head, rest) = bytes.split_at_checked(HEAD).ok_or_else(bad)?;
    let crc = (checksum(CrcAlgorithm::Crc32Iscsi, rest) as u32).to_le_bytes();
    if head != [MAGIC, &crc].concat() {
        return Err(bad());
    }
    let (length, packed) = rest.split_first_chunk::<4>().ok_or_else(bad)?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > MAX_LEN {
        return Err(bad());
    }
    let raw = lz4_flex::block::decompress(packed, length).map_err(io::Error::other)?;
    Ok(serde_json::from_slice(&raw)?)
}
