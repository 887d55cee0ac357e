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

impl Replayed {
    pub(super) fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.damaged += other.damaged;
        self.torn += other.torn;
        self.places.extend(other.places);
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_service::store::wal;
    use crate::record::frame::{Builder, Codec, Form};

    /// A frame whose checksums are right, whatever its entries are.
    fn frame(entries: &[(bool, Vec<u8>)]) -> Vec<u8> {
        let (mut builder, mut frame) = (Builder::default(), Vec::new());
        for (seq, (is_json, bytes)) in (1..).zip(entries) {
            let form = if *is_json { Form::Json } else { Form::Record };
            builder.push(form, Some(seq), 5, bytes);
        }
        let stream = crate::record::frame::Stream { proxy: "e", boot: 1, core: 0 };
        builder.finish(&stream, Codec::Lz4, &mut frame);
        frame
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(128))]
        #[test]
        fn a_good_checksum_makes_no_content_dangerous(
            lines in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300),
            entries in proptest::collection::vec(
                (proptest::prelude::any::<bool>(), proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80)),
                0..6,
            ),
            recv in proptest::prelude::any::<i64>(),
        ) {
            let (mut rows, mut known) = (Rows::new(), Streams::of([]));
            let frame = frame(&entries);
            for (kind, payload) in [(Kind::Lines, &lines), (Kind::Frame, &lines), (Kind::Frame, &frame)] {
                let mut bytes = Vec::new();
                wal::write(&mut bytes, &Block { kind, from: "a", recv, payload });
                let wal::Found::Block(block, _) = wal::read(&bytes) else { unreachable!("it was just written") };
                take(&block, &mut rows, &mut known);
            }
            let part = rows.part();
            proptest::prop_assert_eq!(part.batches().iter().map(|batch| batch.num_rows()).sum::<usize>(), rows.len());
        }
    }
}
