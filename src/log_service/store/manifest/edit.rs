//! [`Edit`]: one line of the manifest.
//!
//! ```text
//! 8 hex digits CRC-32C of the rest │ JSON object │ \n
//! ```

use std::path::{Path, PathBuf};

use crc_fast::{CrcAlgorithm, checksum};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::log_service::parquet::{ExtentForm, Level};

/// A change of the manifest; it counts as a whole or not at all.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Edit {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) add: Vec<FileEntry>,
    /// Numbers of files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) remove: Vec<u64>,
    /// Everything in the write-ahead log before it is in the files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) wal: Option<WalPosition>,
    /// What is known of these streams now, instead of what was known before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) streams: Vec<KnownStream>,
    /// A number that no file has had; only in a snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::log_service::store) next: Option<u64>,
}

/// A place in the write-ahead log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct WalPosition {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

/// The numbers of a stream that were stored or declared lost, so that they are not stored twice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KnownStream {
    pub(crate) proxy: String,
    pub(crate) boot: u64,
    pub(crate) core: u64,
    /// Intervals, both ends included.
    pub(crate) numbers: Vec<(u64, u64)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) gaps: Vec<(u64, u64)>,
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FileKind {
    /// Rows of some minutes.
    L0,
    /// The normal rows of a closed hour.
    L1,
    /// The errors and slow requests of a closed hour; kept longer.
    Err,
}

impl FileKind {
    pub(crate) fn level(self) -> Level {
        if self == Self::L0 { Level::L0 } else { Level::L1 }
    }

    fn name(self) -> &'static str {
        match self {
            Self::L0 => "l0",
            Self::L1 => "l1",
            Self::Err => "err",
        }
    }
}

/// A file of the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FileEntry {
    pub(crate) number: u64,
    pub(crate) kind: FileKind,
    /// The hour in which its rows were received, counted from the Unix epoch.
    pub(crate) hour: i64,
    pub(crate) bytes: u64,
    pub(crate) extent: ExtentForm,
}

impl FileEntry {
    pub(crate) fn path(&self, data: &Path) -> PathBuf {
        path_of(data, self.hour, self.number, self.kind)
    }
}

/// `d=2026-11-21/h=09/00000012.l1.parquet`.
pub(crate) fn path_of(data: &Path, hour: i64, number: u64, kind: FileKind) -> PathBuf {
    let time = Timestamp::from_second(hour.saturating_mul(3600)).unwrap_or_default();
    let hour = time.to_zoned(TimeZone::UTC).strftime("d=%Y-%m-%d/h=%H").to_string();
    data.join(hour).join(format!("{number:08}.{}.parquet", kind.name()))
}

const DIGITS: usize = 8;

impl Edit {
    pub(super) fn line(&self) -> serde_json::Result<Vec<u8>> {
        let json = serde_json::to_vec(self)?;
        let mut line = format!("{:08x}", sum(&json)).into_bytes();
        line.extend_from_slice(&json);
        line.push(b'\n');
        Ok(line)
    }

    /// Reads a line without its end; `None` when it is torn or damaged.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let (digits, json) = line.split_at_checked(DIGITS)?;
        // Compared as it is written: a parser of numbers takes `A` for `a` and `+` for nothing, and a changed line is none.
        if format!("{:08x}", sum(json)).as_bytes() != digits {
            return None;
        }
        serde_json::from_slice(json).ok()
    }
}

fn sum(bytes: &[u8]) -> u32 {
    // A CRC-32 is 32 bits wide; the crate returns all widths as u64.
    checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}
