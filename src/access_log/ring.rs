//! The byte ring between a core and the collector: one producer, one consumer, entries up to the length of a record.
//!
//! The only thing behind this interface is memory that dies with the process. A mapped file that survives it takes
//! the same place: an entry is visible to the reader as a whole or not at all.
//!
//! It is two rings. A ring is written all around, however little stands in it, so a large one is all memory and no
//! cache. While the reader keeps up, only the small one is used. When that is full everything goes into the large one,
//! until the reader has emptied it.

use rtrb::{Consumer, Producer, RingBuffer};

use crate::record::binary;

/// Bytes in front of each entry: its length.
const PREFIX: usize = 4;
/// What a busy core writes while the collector rests, with room to spare.
const SMALL: usize = 128 << 10;
/// Where entries begin: at multiples of this, so that their contents stay aligned.
const ALIGN: usize = 8;
/// Longest entry.
const LONGEST: usize = binary::MAX_LEN;

/// A ring of `bytes`, including up to eleven per entry.
pub(super) fn ring(bytes: usize) -> (Writer, Reader) {
    let small = if bytes >= 8 * SMALL { SMALL } else { 0 };
    rings(small, bytes - small)
}

fn rings(small: usize, large: usize) -> (Writer, Reader) {
    let (to_small, from_small) = RingBuffer::new(small);
    let (to_large, from_large) = RingBuffer::new(large);
    let writer = Writer { small: to_small, large: to_large, is_small_full: false, entry: Box::default() };
    (writer, Reader { small: from_small, large: from_large, straddling: Vec::new() })
}

/// The core's end.
#[derive(Debug)]
pub(super) struct Writer {
    small: Producer<u8>,
    large: Producer<u8>,
    /// The large ring is in use: nothing may overtake what stands in it.
    is_small_full: bool,
    /// Reused for each entry.
    entry: Box<Entry>,
}

/// An entry in the making. Memory of constant size, so that what writes it knows its place when it is compiled.
#[derive(Debug)]
struct Entry([u8; PREFIX + LONGEST]);

impl Default for Entry {
    fn default() -> Self {
        Self([0; PREFIX + LONGEST])
    }
}

/// The ring has no room for the entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Writer {
    /// Adds the entry that `write` puts into the memory it is given; it returns the entry's length.
    pub(super) fn push(&mut self, write: impl FnOnce(&mut [u8; LONGEST]) -> usize) -> Result<(), Full> {
        let (prefix, room) = self.entry.0.split_first_chunk_mut::<PREFIX>().ok_or(Full)?;
        let length = write(room.first_chunk_mut().ok_or(Full)?);
        *prefix = u32::try_from(length).map_err(|_| Full)?.to_le_bytes();
        // What stands behind the entry up to the next one does not matter.
        let entry = self.entry.0.get(..(PREFIX + length).next_multiple_of(ALIGN)).ok_or(Full)?;
        if !self.is_small_full || is_empty(&self.large) {
            self.is_small_full = self.small.push_entire_slice(entry).is_err();
        }
        match self.is_small_full {
            true => self.large.push_entire_slice(entry).map_err(|_| Full),
            false => Ok(()),
        }
    }
}

/// Whether the reader has taken everything.
fn is_empty(ring: &Producer<u8>) -> bool {
    ring.slots() == ring.buffer().capacity()
}

/// The collector's end.
#[derive(Debug)]
pub(super) struct Reader {
    small: Consumer<u8>,
    large: Consumer<u8>,
    /// The entry that goes over the end of the memory.
    straddling: Vec<u8>,
}

impl Reader {
    /// Hands out entries in order, until about `limit` bytes are read. Tells whether everything that stood in the ring
    /// was read.
    pub(super) fn drain(&mut self, limit: usize, mut each: impl FnMut(&[u8])) -> bool {
        // Looked at before the small ring: what stands here now was written after all that will be found there.
        let in_large = self.large.slots();
        let in_small = self.small.slots();
        let read = drain(&mut self.small, in_small, limit, &mut self.straddling, &mut each);
        let left = limit.saturating_sub(read);
        read == in_small
            && in_large == drain(&mut self.large, in_large, left, &mut self.straddling, &mut each)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.small.is_empty() && self.large.is_empty()
    }
}

/// Hands out the entries of the first `available` bytes, until about `limit` bytes are read; the number of these.
fn drain(
    ring: &mut Consumer<u8>,
    available: usize,
    limit: usize,
    straddling: &mut Vec<u8>,
    each: &mut impl FnMut(&[u8]),
) -> usize {
    let Ok(chunk) = ring.read_chunk(available) else { return 0 };
    let halves = chunk.as_slices();
    let mut at = 0;
    while at < available.min(limit) {
        let Some(end) = entry_end(halves, at) else { break };
        each(piece(halves, at + PREFIX, end, straddling));
        at = end.next_multiple_of(ALIGN);
    }
    chunk.commit(at);
    at
}

/// Where the entry at `at` ends; `None` if that is beyond what there is, which never happens.
fn entry_end((first, second): (&[u8], &[u8]), at: usize) -> Option<usize> {
    let whole = if at < first.len() { &first[at..] } else { second.get(at - first.len()..)? };
    let prefix = match whole.first_chunk::<PREFIX>() {
        Some(prefix) => *prefix,
        None => straddling_prefix(whole, second)?,
    };
    let end = at + PREFIX + u32::from_le_bytes(prefix) as usize;
    (end <= first.len() + second.len()).then_some(end)
}

#[cold]
fn straddling_prefix(first: &[u8], second: &[u8]) -> Option<[u8; PREFIX]> {
    let mut prefix = [0; PREFIX];
    let (head, tail) = prefix.split_at_mut_checked(first.len())?;
    head.copy_from_slice(first);
    tail.copy_from_slice(second.get(..tail.len())?);
    Some(prefix)
}

fn piece<'a>(
    (first, second): (&'a [u8], &'a [u8]),
    from: usize,
    to: usize,
    straddling: &'a mut Vec<u8>,
) -> &'a [u8] {
    if to <= first.len() {
        &first[from..to]
    } else if from >= first.len() {
        &second[from - first.len()..to - first.len()]
    } else {
        straddling.clear();
        straddling.extend_from_slice(&first[from..]);
        straddling.extend_from_slice(&second[..to - first.len()]);
        straddling
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn push(writer: &mut Writer, entry: &[u8]) -> Result<(), Full> {
        writer.push(|room| {
            room[..entry.len()].copy_from_slice(entry);
            entry.len()
        })
    }

    fn read(reader: &mut Reader, limit: usize) -> (Vec<Vec<u8>>, bool) {
        let mut entries = Vec::new();
        let emptied = reader.drain(limit, |entry| entries.push(entry.to_vec()));
        (entries, emptied)
    }

    #[test]
    fn refuses_what_does_not_fit_and_goes_on_when_read() {
        let (mut writer, mut reader) = ring(16);
        assert_eq!(push(&mut writer, b"12345678"), Ok(()));
        assert_eq!(push(&mut writer, b"x"), Err(Full));
        assert_eq!(read(&mut reader, usize::MAX), (vec![b"12345678".to_vec()], true));
        assert_eq!(push(&mut writer, b"x"), Ok(()));
        assert_eq!(read(&mut reader, usize::MAX), (vec![b"x".to_vec()], true));
    }

    #[test]
    fn stops_at_the_limit_and_says_that_there_is_more() {
        let (mut writer, mut reader) = ring(100);
        for _ in 0..3 {
            push(&mut writer, b"x").unwrap();
        }
        assert_eq!(read(&mut reader, 9), (vec![vec![b'x']; 2], false));
        assert_eq!(read(&mut reader, 9), (vec![vec![b'x']; 1], true));
        assert!(reader.is_empty());
    }

    #[test]
    fn uses_the_large_ring_only_while_the_reader_is_behind() {
        // An entry of one byte takes eight with its length.
        let (mut writer, mut reader) = rings(16, 104);
        for text in [b"1", b"2", b"3"] {
            push(&mut writer, text).unwrap();
        }
        assert_eq!((reader.small.slots(), reader.large.slots()), (16, 8));
        assert_eq!(read(&mut reader, 16), (vec![vec![b'1'], vec![b'2']], false));
        push(&mut writer, b"4").unwrap();
        assert_eq!(reader.large.slots(), 16, "the fourth must not overtake the third");
        assert_eq!(read(&mut reader, usize::MAX), (vec![vec![b'3'], vec![b'4']], true));
        push(&mut writer, b"5").unwrap();
        assert_eq!((reader.small.slots(), reader.large.slots()), (8, 0));
    }

    proptest! {
        #[test]
        fn hands_out_what_went_in_wherever_the_memory_ends(
            entries in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..60),
            size in 48usize..120,
            small in 0usize..120,
        ) {
            let (mut writer, mut reader) = rings(small, size);
            let mut out = Vec::new();
            for entry in &entries {
                while push(&mut writer, entry) == Err(Full) {
                    let (some, _) = read(&mut reader, size / 2);
                    prop_assert!(!some.is_empty());
                    out.extend(some);
                }
            }
            while !reader.is_empty() {
                out.extend(read(&mut reader, usize::MAX).0);
            }
            prop_assert_eq!(out, entries);
        }
    }
}
