//! The byte ring between a core and the collector: one producer, one consumer, entries of any length.
//!
//! The only thing behind this interface is memory that dies with the process. A mapped file that survives it takes
//! the same place: an entry is visible to the reader as a whole or not at all.

use rtrb::{Consumer, Producer, RingBuffer};

/// Bytes in front of each entry: its length.
const PREFIX: usize = 4;

/// A ring of `bytes`, including four per entry.
pub(super) fn ring(bytes: usize) -> (Writer, Reader) {
    let (producer, consumer) = RingBuffer::new(bytes);
    (Writer { producer, entry: Vec::with_capacity(2048) }, Reader { consumer, straddling: Vec::new() })
}

/// The core's end.
#[derive(Debug)]
pub(super) struct Writer {
    producer: Producer<u8>,
    /// Reused for each entry.
    entry: Vec<u8>,
}

/// The ring has no room for the entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Writer {
    /// Adds the entry that `write` appends to the buffer it is given.
    pub(super) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), Full> {
        self.entry.clear();
        self.entry.extend_from_slice(&[0; PREFIX]);
        write(&mut self.entry);
        let length = u32::try_from(self.entry.len() - PREFIX).map_err(|_| Full)?;
        self.entry[..PREFIX].copy_from_slice(&length.to_le_bytes());
        self.producer.push_entire_slice(&self.entry).map_err(|_| Full)
    }
}

/// The collector's end.
#[derive(Debug)]
pub(super) struct Reader {
    consumer: Consumer<u8>,
    /// The entry that goes over the end of the memory.
    straddling: Vec<u8>,
}

impl Reader {
    /// Hands out entries in order, until about `limit` bytes are read. Tells whether the ring was read to its end.
    pub(super) fn drain(&mut self, limit: usize, mut each: impl FnMut(&[u8])) -> bool {
        let available = self.consumer.slots();
        let Ok(chunk) = self.consumer.read_chunk(available) else { return true };
        let halves = chunk.as_slices();
        let mut at = 0;
        while at < available.min(limit) {
            let Some(end) = entry_end(halves, at) else { break };
            each(piece(halves, at + PREFIX, end, &mut self.straddling));
            at = end;
        }
        chunk.commit(at);
        at == available
    }

    pub(super) fn is_empty(&self) -> bool {
        self.consumer.is_empty()
    }
}

/// Where the entry at `at` ends; `None` if that is beyond what there is, which never happens.
fn entry_end((first, second): (&[u8], &[u8]), at: usize) -> Option<usize> {
    let mut prefix = [0; PREFIX];
    for (offset, byte) in prefix.iter_mut().enumerate() {
        let at = at + offset;
        *byte = *first.get(at).or_else(|| second.get(at - first.len()))?;
    }
    let end = at + PREFIX + u32::from_le_bytes(prefix) as usize;
    (end <= first.len() + second.len()).then_some(end)
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

    fn read(reader: &mut Reader, limit: usize) -> (Vec<Vec<u8>>, bool) {
        let mut entries = Vec::new();
        let emptied = reader.drain(limit, |entry| entries.push(entry.to_vec()));
        (entries, emptied)
    }

    #[test]
    fn refuses_what_does_not_fit_and_goes_on_when_read() {
        let (mut writer, mut reader) = ring(16);
        assert_eq!(writer.push(|out| out.extend_from_slice(b"12345678")), Ok(()));
        assert_eq!(writer.push(|out| out.push(b'x')), Err(Full));
        assert_eq!(read(&mut reader, usize::MAX), (vec![b"12345678".to_vec()], true));
        assert_eq!(writer.push(|out| out.push(b'x')), Ok(()));
        assert_eq!(read(&mut reader, usize::MAX), (vec![b"x".to_vec()], true));
    }

    #[test]
    fn stops_at_the_limit_and_says_that_there_is_more() {
        let (mut writer, mut reader) = ring(100);
        for _ in 0..3 {
            writer.push(|out| out.push(b'x')).unwrap();
        }
        assert_eq!(read(&mut reader, 6), (vec![vec![b'x']; 2], false));
        assert_eq!(read(&mut reader, 6), (vec![vec![b'x']; 1], true));
        assert!(reader.is_empty());
    }

    proptest! {
        #[test]
        fn hands_out_what_went_in_wherever_the_memory_ends(
            entries in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..60),
            size in 44usize..120,
        ) {
            let (mut writer, mut reader) = ring(size);
            let mut out = Vec::new();
            for entry in &entries {
                while writer.push(|buffer| buffer.extend_from_slice(entry)) == Err(Full) {
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
