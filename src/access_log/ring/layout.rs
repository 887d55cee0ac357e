//! Where everything stands in the memory of a ring: see the module for the table.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crc_fast::crc32_iscsi;

/// First bytes of a file.
const MAGIC: [u8; 8] = *b"TGRING1\n";
const VERSION: u32 = 1;
/// Bytes of the part of the header that never changes.
const FIXED: usize = 1024;
/// Where the name of the proxy stands, at most 255 bytes.
const NAME_AT: usize = 64;
/// The header has a page of its own.
pub(in crate::access_log) const FLIGHT_AT: usize = 4096;
/// Slots of the in-flight table, and words of eight bytes in each.
pub(in crate::access_log) const SLOTS: usize = 1024;
pub(in crate::access_log) const SLOT_WORDS: usize = 32;
const LANES_AT: usize = FLIGHT_AT + SLOTS * SLOT_WORDS * 8;
/// A lane has room for the beginning of an entry, in whole words.
const LEAST_LANE: usize = 16;
/// What a busy core writes while the collector rests, with room to spare.
const SMALL: usize = 128 << 10;

/// Words of the header, beside the positions of the lanes.
#[derive(Clone, Copy, Debug)]
#[repr(usize)]
pub(in crate::access_log) enum Word {
    /// The last number that found no room; written by the core.
    Refused = 1040,
    /// Exchanges under way that found no slot; written by the core.
    Beyond = 1048,
    /// Numbers up to here need nothing more: written by the reader.
    Accounted = 1168,
    /// When the reader was last there, microseconds since the Unix epoch.
    Seen = 1176,
    /// The stream that no core writes, and its last number in the spool: written by the reader.
    ControlCore = 1184,
    ControlLast = 1192,
    /// 1 when the log was closed in order: written by the reader.
    Closed = 1200,
    /// Numbers from behind [`Self::Accounted`] up to here sampling left out, which no frame says yet: written by the reader.
    LeftOut = 1208,
}

/// One lane of bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lane {
    /// Where its bytes stand, and how many: a power of two.
    pub(super) at: usize,
    pub(super) bytes: usize,
    /// Where its positions stand.
    pub(super) write_at: usize,
    pub(super) read_at: usize,
}

/// The sizes of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) small: usize,
    pub(super) large: usize,
}

impl Layout {
    /// For `bytes` in all, rounded up to powers of two.
    pub(super) fn of(bytes: usize) -> Self {
        let large = bytes.next_power_of_two().max(64);
        Self { small: if large >= 8 * SMALL { SMALL } else { 64 }, large }
    }

    /// Bytes of the whole memory.
    pub(super) fn size(&self) -> usize {
        LANES_AT + self.small + self.large
    }

    /// The small lane and the large one.
    pub(super) fn lanes(&self) -> [Lane; 2] {
        [
            Lane { at: LANES_AT, bytes: self.small, write_at: 1024, read_at: 1152 },
            Lane { at: LANES_AT + self.small, bytes: self.large, write_at: 1032, read_at: 1160 },
        ]
    }
}

/// Whose ring it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::access_log) struct Identity {
    pub(in crate::access_log) proxy: String,
    /// Start of the process, milliseconds since the Unix epoch.
    pub(in crate::access_log) boot: u64,
    pub(in crate::access_log) core: u16,
    pub(in crate::access_log) pid: u32,
}

/// The part of the header that never changes.
pub(super) fn header(identity: &Identity, layout: &Layout) -> Vec<u8> {
    let mut bytes = vec![0; FIXED];
    let name = identity.proxy.as_bytes();
    let name = &name[..name.len().min(255)];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, &MAGIC);
    put(8, &VERSION.to_le_bytes());
    put(16, &identity.boot.to_le_bytes());
    put(24, &identity.pid.to_le_bytes());
    put(28, &identity.core.to_le_bytes());
    put(30, &(name.len() as u16).to_le_bytes());
    put(32, &(layout.small as u64).to_le_bytes());
    put(40, &(layout.large as u64).to_le_bytes());
    put(48, &(SLOTS as u32).to_le_bytes());
    put(52, &((SLOT_WORDS * 8) as u32).to_le_bytes());
    put(NAME_AT, name);
    let crc = crc32_iscsi(&bytes[16..]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Why a file is not a ring that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::access_log) enum NotARing {
    #[error("it does not begin as a ring does")]
    Magic,
    #[error("it has version {0}, not {VERSION}")]
    Version(u32),
    #[error("its header is damaged")]
    Damaged,
    #[error("it is shorter than its header says")]
    Size,
}

/// The start whose ring a file is.
pub(super) fn boot_of(path: &Path) -> io::Result<u64> {
    let mut header = [0; FIXED];
    File::open(path)?.read_exact_at(&mut header, 0)?;
    let is_sound = header[..8] == MAGIC && number::<4>(&header, 12) as u32 == crc32_iscsi(&header[16..]);
    if is_sound { Ok(number::<8>(&header, 16)) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Reads back what [`header`] wrote at the beginning of a whole file. What stands behind the lanes is nobody's.
pub(super) fn parse(bytes: &[u8]) -> Result<(Identity, Layout), NotARing> {
    let header = bytes.get(..FIXED).ok_or(NotARing::Size)?;
    if header[..8] != MAGIC {
        return Err(NotARing::Magic);
    }
    let version = number::<4>(header, 8) as u32;
    if version != VERSION {
        return Err(NotARing::Version(version));
    }
    if number::<4>(header, 12) as u32 != crc32_iscsi(&header[16..]) {
        return Err(NotARing::Damaged);
    }
    let name_len = (number::<2>(header, 30) as usize).min(255);
    let identity = Identity {
        proxy: String::from_utf8_lossy(&header[NAME_AT..NAME_AT + name_len]).into_owned(),
        boot: number::<8>(header, 16),
        core: number::<2>(header, 28) as u16,
        pid: number::<4>(header, 24) as u32,
    };
    let layout = Layout { small: number::<8>(header, 32) as usize, large: number::<8>(header, 40) as usize };
    let is_lane = |bytes: usize| bytes.is_power_of_two() && bytes >= LEAST_LANE;
    let is_sound = is_lane(layout.small)
        && is_lane(layout.large)
        && number::<4>(header, 48) as usize == SLOTS
        && number::<4>(header, 52) as usize == SLOT_WORDS * 8;
    match is_sound && layout.small.checked_add(layout.large).is_some_and(|sum| sum < bytes.len()) {
        true if layout.size() <= bytes.len() => Ok((identity, layout)),
        _ => Err(NotARing::Size),
    }
}

/// The little-endian number of `N` bytes at `at`; zero beyond the end.
pub(in crate::access_log) fn number<const N: usize>(bytes: &[u8], at: usize) -> u64 {
    let digits = bytes.get(at..at + N).unwrap_or_default();
    digits.iter().rev().fold(0, |number, digit| number << 8 | u64::from(*digit))
}

/// The name of the living ring of `core` in its directory.
pub(super) fn file_name(core: u16) -> String {
    format!("ring.{core}")
}

/// The name of the ring of a dead process, put aside.
pub(super) fn dead_name(core: u16, boot: u64) -> String {
    format!("ring.{core}.{boot}")
}

/// Whether a ring is, by its name, that of a process that a start has found dead.
pub(super) fn is_put_aside(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().matches('.').count() > 1)
}

/// Whether a file is, by its name, a ring: living or put aside.
pub(super) fn is_ring(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
    let mut parts = name.split('.');
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    parts.next() == Some("ring")
        && parts.clone().count() > 0
        && parts.clone().count() < 3
        && parts.all(is_number)
}
