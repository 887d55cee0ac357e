//! Reading the log again: at a start, and by readers of a directory that have no service to ask.

use std::io;
use std::path::Path;

use bytes::Bytes;

use super::claim::Claim;
use super::rows::{Receipt, Rows, Taken};
use super::streams::Streams;
use super::wal::{Block, Kind};
use super::wal_files::{self, WalFile};
use super::wal_read::Blocks;
use crate::log_service::entry::Entry;
use crate::log_service::frames;

/// What reading the log gave.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    pub(super) rows: usize,
    /// Bytes without a good block in front of a good one: something changed them.
    pub(super) damaged: u64,
    /// Bytes at the end of files that were never acknowledged.
    pub(super) torn: u64,
    /// How far each file could be read without finding damage.
    pub(super) places: Vec<(u64, u64)>,
}

/// Adds what the files hold to `rows`, leaving out what `known` knows.
pub(super) fn replay(files: &[WalFile], rows: &mut Rows, known: &mut Streams) -> io::Result<Replayed> {
    let mut replayed = Replayed::default();
    for file in files {
        let mut blocks = match Blocks::open(&file.path, file.end()) {
            Ok(blocks) => blocks,
            // Removed since the listing: its rows are in a file of the store.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        while let Some(block) = blocks.next()? {
            replayed.rows += take(&block, rows, known).rows;
        }
        // Bytes without a good block count as not read, wherever they stand.
        replayed.places.push((file.number, blocks.place().saturating_sub(blocks.damaged())));
        replayed.damaged += blocks.damaged();
        replayed.torn += file.end().saturating_sub(blocks.place());
    }
    Ok(replayed)
}

/// Adds what one block holds.
pub(super) fn take(block: &Block<'_>, rows: &mut Rows, known: &mut Streams) -> Taken {
    let receipt = Receipt { recv: block.recv, from: block.from };
    let payload = Bytes::copy_from_slice(block.payload);
    let mut taken = Taken::default();
    match block.kind {
        Kind::Frame => {
            for frame in frames::split(&payload, usize::MAX).frames {
                if let Some(claim) = Claim::frame(known, frame) {
                    taken.add(claim.store(rows, known, receipt));
                }
            }
        }
        Kind::Lines => {
            let lines = payload.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
            let entries = lines.filter_map(|line| Entry::parse(payload.slice_ref(line)).ok()).collect();
            if let (Some(claim), _) = Claim::entries(known, entries) {
                taken.add(claim.store(rows, known, receipt));
            }
        }
    }
    taken
}

/// The files of the log that hold more than the files of the store.
pub(super) fn uncovered(data: &Path, covered: u64) -> io::Result<Vec<WalFile>> {
    let mut files = wal_files::list(data)?;
    files.retain(|file| file.number > covered);
    Ok(files)
}
