//! [`Blocks`]: the blocks of one file of the log, one after the other, also while it grows.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::wal::{self, Block, Found};

const STEP: usize = 1 << 20;

/// A place in a file of the log.
pub(super) struct Blocks {
    file: File,
    /// Bytes that may be read; more when the file has grown.
    end: u64,
    /// Where in the file the buffer begins.
    base: u64,
    buffer: Vec<u8>,
    /// How much of the buffer was handed out.
    used: usize,
    /// Bytes passed over because no good block was in them.
    damaged: u64,
}

impl Blocks {
    pub(super) fn open(path: &Path, end: u64) -> io::Result<Self> {
        let file = File::open(path)?;
        Ok(Self { file, end, base: 0, buffer: Vec::new(), used: 0, damaged: 0 })
    }

    /// The next good block; `None` at the end, and where what follows is not (yet) a whole block.
    pub(super) fn next(&mut self) -> io::Result<Option<Block<'_>>> {
        let Some((start, length)) = self.find()? else { return Ok(None) };
        self.used = start + length;
        match wal::read(&self.buffer[start..]) {
            Found::Block(block, _) => Ok(Some(block)),
            // It was one a moment ago, and nobody else touches the buffer.
            Found::Short(_) | Found::Damaged => Ok(None),
        }
    }

    /// Behind the last block that was handed out.
    pub(super) fn place(&self) -> u64 {
        self.base + self.used as u64
    }

    pub(super) fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Looks how far the file goes by now; what was read of a block in the making is read again.
    pub(super) fn look_again(&mut self) -> io::Result<()> {
        let place = self.place();
        self.end = self.file.metadata()?.len().max(place);
        (self.base, self.used) = (place, 0);
        self.buffer.clear();
        Ok(())
    }

    fn find(&mut self) -> io::Result<Option<(usize, usize)>> {
        loop {
            let rest = &self.buffer[self.used..];
            match wal::read(rest) {
                Found::Block(_, length) => return Ok(Some((self.used, length))),
                Found::Short(needed) => {
                    if !self.fill(needed)? {
                        return self.find_behind_damage();
                    }
                }
                Found::Damaged => return self.find_behind_damage(),
            }
        }
    }

    /// Rare, so that the rest of the file may be taken into memory: files of the log are bounded.
    fn find_behind_damage(&mut self) -> io::Result<Option<(usize, usize)>> {
        self.fill(usize::MAX)?;
        let rest = &self.buffer[self.used..];
        let Some(skipped) = wal::find_next(rest) else { return Ok(None) };
        self.damaged += skipped as u64;
        self.used += skipped;
        match wal::read(&self.buffer[self.used..]) {
            Found::Block(_, length) => Ok(Some((self.used, length))),
            Found::Short(_) | Found::Damaged => Ok(None),
        }
    }

    /// Reads until so many bytes are there that were not handed out; false when there are no more.
    fn fill(&mut self, needed: usize) -> io::Result<bool> {
        self.buffer.drain(..self.used);
        self.base += self.used as u64;
        self.used = 0;
        let have = self.buffer.len();
        let left = usize::try_from(self.end - self.base).unwrap_or(usize::MAX).saturating_sub(have);
        let wanted = needed.saturating_sub(have).max(STEP).min(left);
        self.buffer.resize(have + wanted, 0);
        let mut filled = have;
        while filled < have + wanted {
            match self.file.read_at(&mut self.buffer[filled..], self.base + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.buffer.truncate(filled);
        Ok(filled >= needed)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::wal::Kind;
    use super::*;

    fn block(payload: &str) -> Vec<u8> {
        let mut out = Vec::new();
        wal::write(&mut out, &Block { kind: Kind::Lines, from: "a", recv: 1, payload: payload.as_bytes() });
        out
    }

    fn payloads(blocks: &mut Blocks) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(block) = blocks.next().unwrap() {
            all.push(String::from_utf8(block.payload.to_vec()).unwrap());
        }
        all
    }

    #[test]
    fn reads_while_the_file_grows_byte_by_byte() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("1.tgw");
        let whole = [block("one"), block("two"), block(&"x".repeat(3 << 20))].concat();
        fs::write(&path, b"").unwrap();
        let mut blocks = Blocks::open(&path, 0).unwrap();
        let mut all = Vec::new();
        let mut ends: Vec<usize> = (0..120).chain([2 << 20, whole.len() - 1, whole.len()]).collect();
        ends.sort_unstable();
        for end in ends {
            fs::write(&path, &whole[..end]).unwrap();
            blocks.look_again().unwrap();
            all.extend(payloads(&mut blocks));
        }
        assert_eq!(all.iter().map(String::len).collect::<Vec<_>>(), [3, 3, 3 << 20]);
        assert_eq!((blocks.place(), blocks.damaged()), (whole.len() as u64, 0));
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(64))]
        #[test]
        fn what_was_not_hit_is_read_whatever_else_was(
            payloads in proptest::collection::vec("[a-z]{0,40}", 1..20),
            hits in proptest::collection::vec((proptest::prelude::any::<proptest::sample::Index>(), 0u8..8), 0..4),
            cut in 0usize..60,
        ) {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("1.tgw");
            let whole: Vec<Vec<u8>> = payloads.iter().map(|payload| block(payload)).collect();
            let mut bytes = whole.concat();
            let mut bad: Vec<usize> = hits.iter().map(|(at, bit)| {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
                at
            }).collect();
            let length = bytes.len().saturating_sub(cut);
            bytes.truncate(length);
            // The same bit twice changes nothing.
            bad.retain(|at| whole.concat().get(*at) != bytes.get(*at));
            fs::write(&path, &bytes).unwrap();
            let mut blocks = Blocks::open(&path, length as u64).unwrap();
            let mut expected = Vec::new();
            let mut start = 0;
            for (block, payload) in whole.iter().zip(&payloads) {
                let range = start..start + block.len();
                if range.end <= length && !bad.iter().any(|at| range.contains(at)) {
                    expected.push(payload.clone());
                }
                start = range.end;
            }
            proptest::prop_assert_eq!(self::payloads(&mut blocks), expected);
        }
    }

    #[test]
    fn damage_costs_only_what_it_hit() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("1.tgw");
        let mut bytes = [block("one"), block("two"), block("three"), block("torn")].concat();
        let second = block("one").len();
        bytes[second + 26] ^= 1;
        bytes.truncate(bytes.len() - 1);
        fs::write(&path, &bytes).unwrap();
        let mut blocks = Blocks::open(&path, bytes.len() as u64).unwrap();
        assert_eq!(payloads(&mut blocks), ["one", "three"]);
        assert_eq!(blocks.damaged(), block("two").len() as u64);
        assert_eq!(blocks.place(), (bytes.len() - block("torn").len() + 1) as u64);
    }
}
