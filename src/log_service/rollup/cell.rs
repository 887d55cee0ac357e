//! What is counted of one key in one minute, live and packed.

use std::collections::BTreeMap;

use cardinality_estimator::CardinalityEstimator;
use serde::{Deserialize, Serialize};
use sketches_ddsketch::{Config, DDSketch};

use super::host::Host;
use super::{MAX_KEYS, rest};

/// What rows have in common. A member is empty where the row has none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Key {
    pub(super) host: Box<str>,
    pub(super) route: Box<str>,
    pub(super) upstream: Box<str>,
    /// First digit of the status; 0 when there was none.
    pub(super) class: u8,
    pub(super) reason: Box<str>,
}

pub(super) type Clients = CardinalityEstimator<str>;

/// Counters of one key in one minute.
pub(super) struct Cell {
    pub(super) count: u64,
    pub(super) rx_b: u64,
    pub(super) tx_b: u64,
    pub(super) dur_us: DDSketch,
    pub(super) wait_us: DDSketch,
    pub(super) clients: Clients,
}

impl Cell {
    pub(super) fn new() -> Self {
        let sketch = || DDSketch::new(Config::defaults());
        Self { count: 0, rx_b: 0, tx_b: 0, dur_us: sketch(), wait_us: sketch(), clients: Clients::new() }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.rx_b = self.rx_b.saturating_add(other.rx_b);
        self.tx_b = self.tx_b.saturating_add(other.tx_b);
        // Fails only between sketches of different accuracy: there is one.
        let _ = self.dur_us.merge(&other.dur_us);
        let _ = self.wait_us.merge(&other.wait_us);
        self.clients.merge(&other.clients);
    }
}

/// Packs cells, each with its minute: of each minute the largest, and the others as one with those that were not told
/// apart before.
pub(super) fn pack<'c>(cells: impl Iterator<Item = (i64, &'c Key, &'c Cell)>) -> Vec<Packed> {
    let mut minutes: BTreeMap<i64, Vec<(&Key, &Cell)>> = BTreeMap::new();
    for (minute, key, cell) in cells {
        minutes.entry(minute).or_default().push((key, cell));
    }
    let (mut all, untold) = (Vec::new(), rest());
    for (minute, mut cells) in minutes {
        cells.sort_unstable_by(|(a_key, a), (b_key, b)| b.count.cmp(&a.count).then_with(|| a_key.cmp(b_key)));
        let mut small = cells.split_off(cells.len().min(MAX_KEYS));
        if !small.is_empty() {
            small.extend(cells.extract_if(.., |(key, _)| **key == untold));
            let mut others = Cell::new();
            small.iter().for_each(|(_, cell)| others.merge(cell));
            all.push(Packed::new(minute, untold.clone(), &others));
        }
        all.extend(cells.into_iter().map(|(key, cell)| Packed::new(minute, key.clone(), cell)));
    }
    all
}

/// A cell that takes little room: the sketches as bytes.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Packed {
    /// Minutes since the Unix epoch.
    pub(super) minute: i64,
    pub(super) key: Key,
    pub(super) count: u64,
    pub(super) rx_b: u64,
    pub(super) tx_b: u64,
    dur_us: Vec<u8>,
    wait_us: Vec<u8>,
    clients: Clients,
    /// Then these are host facts of the minute, and all else is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) host: Option<Box<Host>>,
}

impl Packed {
    pub(super) fn new(minute: i64, key: Key, cell: &Cell) -> Self {
        Self {
            minute,
            key,
            count: cell.count,
            rx_b: cell.rx_b,
            tx_b: cell.tx_b,
            dur_us: cell.dur_us.to_java_bytes(),
            wait_us: cell.wait_us.to_java_bytes(),
            clients: cell.clients.clone(),
            host: None,
        }
    }

    /// Host facts.
    pub(super) fn of_host(minute: i64, host: Host) -> Self {
        Self { host: Some(Box::new(host)), ..Self::new(minute, Key::default(), &Cell::new()) }
    }

    /// Bytes in memory, roughly.
    pub(super) fn bytes(&self) -> usize {
        let key = &self.key;
        let texts = key.host.len() + key.route.len() + key.upstream.len() + key.reason.len();
        let host = self.host.as_ref().map_or(0, |host| size_of::<Host>() + host.proxy.len());
        size_of::<Self>() + host + texts + self.dur_us.len() + self.wait_us.len() + self.clients.size_of()
    }

    /// Microseconds.
    pub(super) fn durations(&self) -> DDSketch {
        sketch(&self.dur_us)
    }

    pub(super) fn open(&self) -> Cell {
        Cell {
            count: self.count,
            rx_b: self.rx_b,
            tx_b: self.tx_b,
            dur_us: self.durations(),
            wait_us: sketch(&self.wait_us),
            clients: self.clients.clone(),
        }
    }
}

/// What does not decode was not written by us: the checksum of its file says so before.
fn sketch(bytes: &[u8]) -> DDSketch {
    DDSketch::from_java_bytes(bytes).unwrap_or_else(|_| DDSketch::new(Config::defaults()))
}
