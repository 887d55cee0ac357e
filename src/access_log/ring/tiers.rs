//! The order of the two lanes: [`Writer`] and [`Reader`] over anything that has the ends of a lane.
//!
//! Also read by the model under loom (`tests/loom`), which puts its own lanes below; so it names nothing of the program.

/// Bytes in front of each entry: checksum, length, position.
pub(super) const PREFIX: usize = 12;
/// Where entries begin: at multiples of this, so that their contents stay aligned.
pub(super) const ALIGN: usize = 8;

/// Where bytes go into a lane.
pub(super) trait Produce {
    /// Whether `count` bytes find room.
    fn has_room(&mut self, count: usize) -> bool;
    /// Whether the reader has given back everything.
    fn is_empty(&self) -> bool;
    /// Bytes ever put in.
    fn position(&self) -> u64;
    /// Puts in all of `bytes` or, without room for them, none.
    fn push(&mut self, bytes: &[u8]) -> bool;
}

/// Where bytes come out of a lane.
pub(super) trait Consume {
    /// Looks what has come; the number of bytes to read.
    fn look(&mut self) -> usize;
    fn is_empty(&self) -> bool;
    /// What the last look has shown and is not yet read: up to the end of the memory, and from its beginning.
    fn seen(&self) -> (&[u8], &[u8]);
    /// `count` bytes are read; they are not yet given back.
    fn advance(&mut self, count: usize);
    /// Gives back what is read.
    fn commit(&mut self);
}

/// The core's end.
#[derive(Debug)]
pub(super) struct Tails<P> {
    pub(super) small: P,
    pub(super) large: P,
    /// The large lane is in use: nothing may overtake what stands in it.
    pub(super) is_small_full: bool,
}

impl<P: Produce> Tails<P> {
    /// Adds an entry of whole [`ALIGN`]s; `seal` gets it with its position first. Tells whether there was room.
    #[inline]
    pub(super) fn push(&mut self, entry: &mut [u8], seal: impl FnOnce(&mut [u8], u64)) -> bool {
        if !self.is_small_full || self.large.is_empty() {
            self.is_small_full = !self.small.has_room(entry.len());
        }
        let lane = if self.is_small_full { &mut self.large } else { &mut self.small };
        if !lane.has_room(entry.len()) {
            return false;
        }
        seal(entry, lane.position());
        lane.push(entry)
    }

    /// Bytes ever put into the ring.
    #[inline]
    pub(super) fn position(&self) -> u64 {
        self.small.position() + self.large.position()
    }
}

/// The collector's end.
#[derive(Debug)]
pub(super) struct Heads<C> {
    pub(super) small: C,
    pub(super) large: C,
    /// The entry that goes over the end of the memory.
    pub(super) straddling: Vec<u8>,
}

impl<C: Consume> Heads<C> {
    /// Hands out entries in order, until about `limit` bytes are read. Tells whether everything that stood in the ring
    /// was read.
    pub(super) fn drain(&mut self, limit: usize, mut each: impl FnMut(&[u8])) -> bool {
        // Looked at before the small lane: what stands here now was written after all that will be found there.
        let in_large = self.large.look();
        let in_small = self.small.look();
        let read = take(&mut self.small, in_small, limit, &mut self.straddling, &mut each);
        let left = limit.saturating_sub(read);
        read == in_small && in_large == take(&mut self.large, in_large, left, &mut self.straddling, &mut each)
    }

    /// Gives back what was drained: it is safe elsewhere.
    pub(super) fn commit(&mut self) {
        // In the order in which it was written: a process that dies in between leaves no hole.
        self.small.commit();
        self.large.commit();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.small.is_empty() && self.large.is_empty()
    }
}

/// Hands out the entries of the first `available` bytes, until about `limit` bytes are read; the number of these.
fn take<C: Consume>(
    lane: &mut C,
    available: usize,
    limit: usize,
    straddling: &mut Vec<u8>,
    each: &mut impl FnMut(&[u8]),
) -> usize {
    let halves = lane.seen();
    let mut at = 0;
    while at < available.min(limit) {
        let Some(end) = entry_end(halves, at) else { break };
        each(piece(halves, at + PREFIX, end, straddling));
        at = end.next_multiple_of(ALIGN);
    }
    lane.advance(at);
    at
}

/// Where the entry at `at` ends; `None` if that is beyond what there is, which never happens.
fn entry_end((first, second): (&[u8], &[u8]), at: usize) -> Option<usize> {
    // The first word holds checksum and length; entries begin at whole words, and so does the end of the memory.
    let whole = if at < first.len() { &first[at..] } else { second.get(at - first.len()..)? };
    let [_, _, _, _, length @ ..] = *whole.first_chunk::<ALIGN>()?;
    let end = at + PREFIX + u32::from_le_bytes(length) as usize;
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
