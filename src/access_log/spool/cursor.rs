//! [`Cursor`]: how far a sink has come, in a small file that is written in place.
//!
//! ```text
//! two slots of 32 bytes, at 0 and 512, written in turn; little endian; the newer one with a right checksum counts
//!  0  4  "TGC1"
//!  4  4  CRC-32C of bytes 8–31
//!  8  8  generation: one more each time
//! 16  8  segment
//! 24  8  offset in it
//! ```
//!
//! The slots never grow, so that a cursor moves on a full disk too; and a write that is torn leaves the other slot.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::Position;

const MAGIC: [u8; 4] = *b"TGC1";
const SLOT: usize = 32;
const SLOTS_AT: [u64; 2] = [0, 512];
/// Longest readable part of a file's name.
const READABLE: usize = 40;

#[derive(Debug)]
pub(super) struct Cursor {
    file: File,
    generation: u64,
}

impl Cursor {
    /// The cursor of the sink `name`, and what it says; `None` (and a warning) when it cannot be kept.
    pub(super) fn open(dir: &Path, name: &str) -> Option<(Self, Option<Position>)> {
        let path = dir.join(file_name(name));
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        match opened.and_then(Self::of) {
            Ok(opened) => Some(opened),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot keep how far a log sink has come");
                None
            }
        }
    }

    fn of(file: File) -> io::Result<(Self, Option<Position>)> {
        if file.metadata()?.len() == 0 {
            // Takes the room now.
            file.write_all_at(&[0; SLOTS_AT[1] as usize + SLOT], 0)?;
        }
        let known =
            SLOTS_AT.iter().filter_map(|at| read_slot(&file, *at)).max_by_key(|(generation, _)| *generation);
        let (generation, position) = known.map_or((0, None), |(generation, at)| (generation, Some(at)));
        Ok((Self { file, generation }, position))
    }

    /// Survives the process at once, and the machine after [`Self::sync`].
    pub(super) fn store(&mut self, position: Position) -> io::Result<()> {
        self.generation += 1;
        let mut slot = [0; SLOT];
        slot[..4].copy_from_slice(&MAGIC);
        slot[8..16].copy_from_slice(&self.generation.to_le_bytes());
        slot[16..24].copy_from_slice(&position.segment.to_le_bytes());
        slot[24..].copy_from_slice(&position.offset.to_le_bytes());
        let crc = crc(&slot);
        slot[4..8].copy_from_slice(&crc.to_le_bytes());
        self.file.write_all_at(&slot, SLOTS_AT[(self.generation % 2) as usize])
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

fn read_slot(file: &File, at: u64) -> Option<(u64, Position)> {
    let mut slot = [0; SLOT];
    file.read_exact_at(&mut slot, at).ok()?;
    let stored = u32::from_le_bytes(*slot[4..].first_chunk()?);
    if slot[..4] != MAGIC || stored != crc(&slot) {
        return None;
    }
    let number = |at: usize| slot[at..].first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    Some((number(8)?, Position { segment: number(16)?, offset: number(24)? }))
}

fn crc(slot: &[u8; SLOT]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &slot[8..]) as u32
}

/// Readable, and different for different sinks.
fn file_name(sink: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    let readable: String = sink.chars().map(plain).take(READABLE).collect();
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, sink.as_bytes());
    format!("{readable}-{crc:08x}.cursor")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &Path) -> (Cursor, Option<Position>) {
        Cursor::open(dir, "file:/var/log/access.log").unwrap()
    }

    fn at(offset: u64) -> Position {
        Position { segment: 7, offset }
    }

    #[test]
    fn says_what_was_stored_last() {
        let dir = tempfile::tempdir().unwrap();
        let (mut cursor, known) = open(dir.path());
        assert_eq!(known, None);
        for offset in 1..=3 {
            cursor.store(at(offset)).unwrap();
            assert_eq!(open(dir.path()).1, Some(at(offset)));
        }
    }

    #[test]
    fn a_torn_write_leaves_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let (mut cursor, _) = open(dir.path());
        cursor.store(at(1)).unwrap();
        cursor.store(at(2)).unwrap();
        cursor.file.write_all_at(b"xx", SLOTS_AT[0] + 20).unwrap();
        assert_eq!(open(dir.path()).1, Some(at(1)));
        cursor.file.write_all_at(b"xx", SLOTS_AT[1] + 20).unwrap();
        assert_eq!(open(dir.path()).1, None);
    }

    #[test]
    fn two_sinks_have_two_files() {
        let names = ["stdout", "unix:/a/b", "unix:/a-b", "http://x:9600"].map(file_name);
        assert!(names.iter().enumerate().all(|(at, name)| !names[at + 1..].contains(name)), "{names:?}");
    }
}
