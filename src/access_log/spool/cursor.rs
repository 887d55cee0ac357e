//! [`Cursor`]: how far a sink has come, in a small file that is written in place.
//!
//! ```text
//! two slots of 8 KiB, at 0 and 8192, written in turn; little endian; the newer one with a right checksum counts
//!  0  4  "TGC2"
//!  4  4  CRC-32C of the rest, up to the last stream
//!  8  8  generation: one more each time
//! 16  8  segment
//! 24  8  offset in it
//! 32  8  how many streams follow, the last number delivered of each, so that it is noticed what is gone from the spool:
//! 40 22  CRC-32C of the proxy's name, boot u64, core u16, number u64
//! ```
//!
//! The slots never grow, so that a cursor moves on a full disk too; and a write that is torn leaves the other slot.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::Position;

const MAGIC: [u8; 4] = *b"TGC2";
const SLOT: usize = 8192;
const SLOTS_AT: [u64; 2] = [0, SLOT as u64];
const HEAD: usize = 40;
const STREAM: usize = 22;
/// Most streams in a slot.
pub(super) const MOST: usize = (SLOT - HEAD) / STREAM;
/// Longest readable part of a file's name.
const READABLE: usize = 40;

#[derive(Debug)]
pub(super) struct Cursor {
    file: File,
    generation: u64,
    slot: Vec<u8>,
}

/// What a cursor says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) at: Position,
    /// The last number delivered of each stream, the newest streams first.
    pub(super) reached: Vec<Reached>,
}

/// How far a stream was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reached {
    /// CRC-32C of its proxy's name.
    pub(super) proxy: u32,
    pub(super) boot: u64,
    pub(super) core: u16,
    pub(super) last: u64,
}

impl Cursor {
    /// The cursor of the sink `name`, and what it says; `None` (and a warning) when it cannot be kept.
    pub(super) fn open(dir: &Path, name: &str) -> Option<(Self, Option<Known>)> {
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

    fn of(file: File) -> io::Result<(Self, Option<Known>)> {
        if file.metadata()?.len() < 2 * SLOT as u64 {
            // Takes the room now.
            file.write_all_at(&[0; 2 * SLOT], 0)?;
        }
        // None of ours comes near the last number there is.
        let slots = SLOTS_AT.iter().filter_map(|at| read_slot(&file, *at));
        let known = slots.filter(|(generation, _)| *generation < u64::MAX / 2).max_by_key(|(one, _)| *one);
        let (generation, position) = known.map_or((0, None), |(generation, at)| (generation, Some(at)));
        Ok((Self { file, generation, slot: Vec::new() }, position))
    }

    /// Survives the process at once, and the machine after [`Self::sync`]. Of `reached` what has room, from the beginning.
    pub(super) fn store(
        &mut self,
        position: Position,
        reached: impl ExactSizeIterator<Item = Reached>,
    ) -> io::Result<()> {
        self.generation += 1;
        let slot = &mut self.slot;
        slot.clear();
        slot.extend_from_slice(&MAGIC);
        slot.extend_from_slice(&[0; 4]);
        let count = reached.len().min(MOST);
        for number in [self.generation, position.segment, position.offset, count as u64] {
            slot.extend_from_slice(&number.to_le_bytes());
        }
        for Reached { proxy, boot, core, last } in reached.take(count) {
            slot.extend_from_slice(&proxy.to_le_bytes());
            slot.extend_from_slice(&boot.to_le_bytes());
            slot.extend_from_slice(&core.to_le_bytes());
            slot.extend_from_slice(&last.to_le_bytes());
        }
        let crc = crc_fast::crc32_iscsi(&slot[8..]);
        slot[4..8].copy_from_slice(&crc.to_le_bytes());
        self.file.write_all_at(slot, SLOTS_AT[(self.generation % 2) as usize])
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

fn read_slot(file: &File, at: u64) -> Option<(u64, Known)> {
    let mut slot = [0; SLOT];
    file.read_exact_at(&mut slot, at).ok()?;
    let word = |at: usize| slot.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    let count = usize::try_from(word(32)?).ok().filter(|count| *count <= MOST)?;
    let stored = u32::from_le_bytes(*slot[4..].first_chunk()?);
    let slot = &slot[..HEAD + count * STREAM];
    if slot[..4] != MAGIC || stored != crc_fast::crc32_iscsi(&slot[8..]) {
        return None;
    }
    let reached = slot[HEAD..].as_chunks::<STREAM>().0.iter().filter_map(|bytes| {
        Some(Reached {
            proxy: u32::from_le_bytes(*bytes.first_chunk()?),
            boot: u64::from_le_bytes(*bytes[4..].first_chunk()?),
            core: u16::from_le_bytes(*bytes[12..].first_chunk()?),
            last: u64::from_le_bytes(*bytes[14..].first_chunk()?),
        })
    });
    let at = Position { segment: word(16)?, offset: word(24)? };
    Some((word(8)?, Known { at, reached: reached.collect() }))
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
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    fn open(dir: &Path) -> (Cursor, Option<Known>) {
        Cursor::open(dir, "file:/var/log/access.log").unwrap()
    }

    fn at(offset: u64) -> Known {
        let reached = |core| Reached { proxy: 3, boot: 8, core, last: offset };
        let reached = (0..offset as u16).map(reached).collect();
        Known { at: Position { segment: 7, offset }, reached }
    }

    fn store(cursor: &mut Cursor, known: &Known) {
        cursor.store(known.at, known.reached.iter().copied()).unwrap();
    }

    #[test]
    fn says_what_was_stored_last() {
        let dir = tempfile::tempdir().unwrap();
        let (mut cursor, known) = open(dir.path());
        assert_eq!(known, None);
        for offset in 1..=3 {
            store(&mut cursor, &at(offset));
            assert_eq!(open(dir.path()).1, Some(at(offset)));
        }
    }

    #[test]
    fn a_torn_write_leaves_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let (mut cursor, _) = open(dir.path());
        store(&mut cursor, &at(1));
        store(&mut cursor, &at(2));
        cursor.file.write_all_at(b"xx", SLOTS_AT[0] + 20).unwrap();
        assert_eq!(open(dir.path()).1, Some(at(1)));
        cursor.file.write_all_at(b"xx", SLOTS_AT[1] + 20).unwrap();
        assert_eq!(open(dir.path()).1, None);
    }

    #[test]
    fn more_streams_than_have_room_are_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let (mut cursor, _) = open(dir.path());
        let many = at(5000);
        store(&mut cursor, &many);
        let known = open(dir.path()).1.unwrap();
        assert_eq!((known.at, &known.reached[..]), (many.at, &many.reached[..MOST]));
        assert_eq!(
            fs::metadata(dir.path().join(file_name("file:/var/log/access.log"))).unwrap().len(),
            2 * SLOT as u64
        );
    }

    proptest! {
        #[test]
        fn whatever_stands_in_the_file_what_is_stored_next_counts(
            bytes in proptest::collection::vec(any::<u8>(), 0..20_000),
            generation in prop_oneof![any::<u64>(), (0..3_u64).prop_map(|less| u64::MAX - less)],
            is_forged in any::<bool>(),
            flips in proptest::collection::vec((0..2 * SLOT as u64, any::<u8>()), 0..3),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let (mut cursor, _) = open(dir.path());
            cursor.file.write_all_at(&bytes, 0).unwrap();
            if is_forged {
                cursor.generation = generation.max(1) - 1;
                store(&mut cursor, &at(9));
            }
            for (at, value) in flips {
                cursor.file.write_all_at(&[value], at).unwrap();
            }
            let (mut cursor, _) = open(dir.path());
            for offset in 1..=3 {
                store(&mut cursor, &at(offset));
                prop_assert_eq!(open(dir.path()).1, Some(at(offset)));
            }
        }
    }

    #[test]
    fn two_sinks_have_two_files() {
        let names = ["stdout", "unix:/a/b", "unix:/a-b", "http://x:9600"].map(file_name);
        assert!(names.iter().enumerate().all(|(at, name)| !names[at + 1..].contains(name)), "{names:?}");
    }
}
