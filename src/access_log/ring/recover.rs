//! Reading the rings of dead processes. A second reader of the layout: it maps nothing and trusts nothing.

use std::fs;
use std::path::{Path, PathBuf};

use super::harm::{self, Harm};
use super::layout::{self, Identity, Lane, Layout, NotARing, Word, number};
use super::tiers::{ALIGN, PREFIX};
use super::{Directory, LONGEST, checksum, directory, tag};
use crate::access_log::flight::{self, OpenExchange};
use crate::access_log::metrics::Reason;
use crate::record::binary::{self, Decoded, Tries};
use crate::record::{EndAt, EndBy, Kind, Proto, Record};

/// What a dead process left in the ring of one core.
#[derive(Debug)]
pub struct Recovered {
    pub proxy: String,
    /// Start of the process, milliseconds since the Unix epoch.
    pub boot: u64,
    pub core: u16,
    pub pid: u32,
    /// Records in their binary form, in order; those that had been drained but not given back among them.
    pub entries: Vec<Vec<u8>>,
    /// Places where something else stood than an entry: a power cut, never a kill.
    pub torn: u64,
    /// Such a place is the newest: nobody knows what stood behind the last entry.
    pub(in crate::access_log) is_end_torn: bool,
    /// Numbers up to here need nothing more.
    pub accounted: u64,
    /// Numbers from behind these up to here sampling left out, and nothing says so yet.
    pub(in crate::access_log) left_out: u64,
    /// The last number that found no room in the ring.
    pub refused: u64,
    /// The stream that no core wrote, and its last number that went into the spool; 0 when there was none.
    pub control: (u16, u64),
    /// About when it died (at least: when it was last seen alive), microseconds since the Unix epoch.
    pub died_us: i64,
    /// The exchanges that were under way, oldest first.
    pub in_flight: Vec<OpenExchange>,
    /// How many more there were than the table holds.
    pub beyond: u64,
    /// Its log was closed before it ended.
    is_closed: bool,
    path: PathBuf,
}

/// One step of the stream that a [`Recovered`] continues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A record in its binary form.
    Record { seq: u64, bytes: Vec<u8> },
    /// Numbers that will never come.
    Gap { first: u64, last: u64, reason: Reason },
}

/// Reads all rings in `directory` that dead processes have left: call it before making new ones. Each stays, put aside
/// under another name, until [`Recovered::remove`]. Also tells of rings that cannot be read, and of those that are gone.
pub fn recover(directory: &Directory) -> (Vec<Recovered>, Vec<Harm>) {
    let (mut found, mut harms) = (Vec::new(), harm::missing(directory.path()));
    for path in directory.rings() {
        match read(&path) {
            Ok(recovered) => found.push(recovered.put_aside()),
            Err(harm) => harms.push(harm),
        }
    }
    for Harm { reason, text, .. } in &harms {
        tracing::error!(dir = %directory.path().display(), reason, "{text}");
    }
    // Whoever only looks does not use it up.
    harm::remember(directory.path(), &harms);
    found.sort_by_key(|one| (one.boot, one.core));
    (found, harms)
}

/// Whether a process that did not end in order has left rings in `dir` that no start has found yet. Changes nothing.
pub fn has_unfound(dir: &Path) -> bool {
    let is_orderly = |path: &PathBuf| {
        let image = fs::read(path).unwrap_or_default();
        Recovered::of(&image, path.clone()).is_ok_and(|one| one.is_orderly())
    };
    directory::left_in(dir).iter().any(|path| !is_orderly(path))
}

fn read(path: &Path) -> Result<Recovered, Harm> {
    let image = fs::read(path).map_err(|error| Harm::damaged(path, &error))?;
    Recovered::of(&image, path.to_owned()).map_err(|error| Harm::damaged(path, &error))
}

impl Recovered {
    /// Reads the `image` of a whole file.
    pub(super) fn of(image: &[u8], path: PathBuf) -> Result<Self, NotARing> {
        let (Identity { proxy, boot, core, pid }, layout) = layout::parse(image)?;
        let word = |word: Word| number::<8>(image, word as usize);
        let (mut entries, mut torn, mut is_end_torn) = (Vec::new(), 0, false);
        for lane in layout.lanes() {
            let (places, at_end) = LaneImage { image, lane }.entries(&mut entries);
            (torn, is_end_torn) = (torn + places, is_end_torn || at_end);
        }
        let pushed = written(image, &layout);
        let in_flight = flight::left(image, pushed);
        let seen = i64::try_from(word(Word::Seen)).unwrap_or(0);
        let ends = entries.iter().map(|bytes| end_of(bytes)).chain(in_flight.iter().map(|open| open.ts_us));
        let died_us = ends.fold(seen, i64::max);
        let (accounted, refused) = (word(Word::Accounted), word(Word::Refused));
        let (beyond, left_out) = (word(Word::Beyond), word(Word::LeftOut));
        let control = (word(Word::ControlCore) as u16, word(Word::ControlLast));
        Ok(Self {
            proxy,
            boot,
            core,
            pid,
            entries,
            torn,
            is_end_torn,
            accounted,
            left_out,
            refused,
            control,
            died_us,
            in_flight,
            beyond,
            is_closed: word(Word::Closed) == 1,
            path,
        })
    }

    /// Gives up the name that the new process needs.
    fn put_aside(mut self) -> Self {
        let aside = self.path.with_file_name(layout::dead_name(self.core, self.boot));
        if aside != self.path {
            match fs::rename(&self.path, &aside) {
                Ok(()) => self.path = aside,
                Err(error) => tracing::error!(%error, file = %self.path.display(), "cannot put it aside"),
            }
        }
        self
    }

    /// Whether it says nothing but that the process died.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
            && self.in_flight.is_empty()
            && self.torn == 0
            && self.refused.max(self.left_out) <= self.accounted
    }

    /// Whether the process ended in order, and only did not wait until the disk had the last of its log.
    pub fn is_orderly(&self) -> bool {
        self.is_closed && self.is_empty()
    }

    /// The last number that it tells of.
    pub(in crate::access_log) fn last(&self) -> u64 {
        let of = |item: &Item| match item {
            Item::Record { seq, .. } => *seq,
            Item::Gap { last, .. } => *last,
        };
        self.items().last().map_or(0, of).max(self.accounted)
    }

    /// Its stream from where the dead process left it: the records, the numbers that are missing among them, and one
    /// record for each exchange that was under way, with the numbers that follow. The same each time.
    pub fn items(&self) -> Vec<Item> {
        let mut items = Vec::with_capacity(self.entries.len() + self.in_flight.len());
        let mut expected = self.accounted.saturating_add(1);
        let first = self.entries.first().and_then(|bytes| seq_of(bytes));
        // What was drained and not yet given back comes again.
        expected = expected.min(first.unwrap_or(expected)).max(1);
        let left_out = self.left_out.min(first.map_or(u64::MAX, |first| first.saturating_sub(1)));
        if expected <= left_out {
            items.push(Item::Gap { first: expected, last: left_out, reason: Reason::Sampled });
            expected = left_out.saturating_add(1);
        }
        for bytes in &self.entries {
            let Some(seq) = seq_of(bytes) else { continue };
            self.miss(&mut items, expected, seq.saturating_sub(1));
            items.push(Item::Record { seq, bytes: bytes.clone() });
            expected = seq.saturating_add(1);
        }
        self.miss(&mut items, expected, self.refused);
        expected = expected.max(self.refused.max(self.accounted).saturating_add(1));
        for (seq, open) in (expected..=u64::MAX).zip(&self.in_flight) {
            let mut bytes = Vec::new();
            binary::encode(&self.crashed(open), seq, &mut bytes);
            items.push(Item::Record { seq, bytes });
        }
        items
    }

    fn miss(&self, items: &mut Vec<Item>, first: u64, last: u64) {
        if first <= last {
            let reason = if self.torn > 0 { Reason::BadFrame } else { Reason::RingFull };
            items.push(Item::Gap { first, last, reason });
        }
    }

    /// The record of an exchange that the death of the process ended.
    fn crashed<'a>(&self, open: &'a OpenExchange) -> Record<'a> {
        Record {
            kind: if open.at == EndAt::Tunnel { Kind::Close } else { Kind::Request },
            ts_us: open.ts_us,
            id: open.id,
            cfg: open.cfg,
            conn: open.conn,
            conn_req: open.conn_req,
            client_ip: Some(open.client_ip),
            client_port: open.client_port,
            method: Some(&open.method),
            scheme: Some(if open.is_tls { "https" } else { "http" }),
            host: Some(&*open.host).filter(|host| !host.is_empty()),
            path: Some(&open.path),
            proto: Some(if open.is_h2 { Proto::Http2 } else { Proto::Http11 }),
            dur_us: self.died_us.saturating_sub(open.ts_us).max(0).unsigned_abs(),
            end_by: EndBy::Proxy,
            end_at: open.at,
            reason: Some("proxy_crashed"),
            ..Record::default()
        }
    }

    /// Everything in it is safe elsewhere.
    pub fn remove(&self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, file = %self.path.display(), "cannot remove what was recovered");
        }
    }
}

/// Bytes that ever went into the lanes.
fn written(image: &[u8], layout: &Layout) -> u64 {
    layout.lanes().iter().map(|lane| number::<8>(image, lane.write_at)).fold(0, u64::wrapping_add)
}

fn seq_of(bytes: &[u8]) -> Option<u64> {
    let mut tries = Tries::default();
    binary::decode(bytes, &mut tries).ok().map(|decoded| decoded.seq)
}

fn end_of(bytes: &[u8]) -> i64 {
    let (mut tries, mut decoded) = (Tries::default(), Decoded::default());
    match binary::decode_into(&mut decoded, bytes, &mut tries) {
        Ok(()) => decoded.record.ts_us.saturating_add_unsigned(decoded.record.dur_us),
        Err(_) => 0,
    }
}

/// One lane of a file.
struct LaneImage<'a> {
    image: &'a [u8],
    lane: Lane,
}

impl LaneImage<'_> {
    /// Appends what stands in the lane; returns the number of places where there was something else, and whether the lane
    /// ends with one.
    fn entries(&self, entries: &mut Vec<Vec<u8>>) -> (u64, bool) {
        let read = number::<8>(self.image, self.lane.read_at);
        let write = number::<8>(self.image, self.lane.write_at);
        // Positions are under no checksum.
        let is_ahead = write.checked_sub(read).is_some_and(|count| count <= self.lane.bytes as u64);
        if !is_ahead || !read.is_multiple_of(ALIGN as u64) {
            return (1, true);
        }
        let (mut at, mut torn, mut was_good) = (read, 0, true);
        while at < write {
            match self.entry(at, write) {
                Some((entry, next)) => {
                    entries.push(entry);
                    (at, was_good) = (next, true);
                }
                None => {
                    torn += u64::from(was_good);
                    (at, was_good) = (at.saturating_add(ALIGN as u64), false);
                }
            }
        }
        (torn, !was_good)
    }

    /// The entry at `at`, if there is a whole one, and where the next begins.
    fn entry(&self, at: u64, write: u64) -> Option<(Vec<u8>, u64)> {
        let prefix = self.copy(at, PREFIX);
        let length = number::<4>(&prefix, 4) as usize;
        let end = at.checked_add((PREFIX + length) as u64)?;
        if length > LONGEST || end > write || number::<4>(&prefix, 8) as u32 != tag(at) {
            return None;
        }
        let next = end.checked_next_multiple_of(ALIGN as u64)?;
        let mut sealed = self.copy(at, (next - at) as usize);
        sealed[..4].fill(0);
        let is_whole = next <= write && checksum(&sealed) == number::<4>(&prefix, 0) as u32;
        sealed.truncate(PREFIX + length);
        is_whole.then(|| (sealed.split_off(PREFIX), next))
    }

    /// `count` bytes from `position` on, around the end of the lane.
    fn copy(&self, position: u64, count: usize) -> Vec<u8> {
        let lane = &self.image[self.lane.at..self.lane.at + self.lane.bytes];
        let at = (position & (self.lane.bytes as u64 - 1)) as usize;
        let first = count.min(lane.len() - at);
        [&lane[at..at + first], &lane[..count - first]].concat()
    }
}
