//! [`Counting`]: batches are counted as they are finished.

use std::collections::HashMap;

use arrow_array::{Array as _, RecordBatch, StringArray};

use super::cell::{Cell, Key, Packed, pack};
use super::host::Hosts;
use super::rest;
use crate::log_service::exec::{Column, Keys, Times, word};

const MINUTE_US: i64 = 60_000_000;
/// Cells of one generation while it is counted; beyond it everything new is the rest.
const MAX_CELLS: usize = 1 << 15;

/// The cells of one generation of rows.
#[derive(Default)]
pub(crate) struct Counting {
    cells: Vec<(i64, Key, Cell)>,
    places: HashMap<(i64, Key), usize>,
    hosts: Hosts,
}

impl Counting {
    /// Counts the requests and connections of a batch, and host facts.
    pub(crate) fn note(&mut self, batch: &RecordBatch) {
        let Some(rows) = Rows::of(batch) else { return };
        // By keys of the batch's dictionaries: most rows find their cell without looking at a word.
        let mut near: HashMap<Codes, usize, foldhash::fast::RandomState> = HashMap::default();
        for row in 0..batch.num_rows() {
            let kind = rows.kind.text(row);
            let proxy = rows.proxy.text(row);
            // Of a stranger's it is not known whose they are.
            if kind == "host" && !proxy.is_empty() {
                self.hosts.note(rows.minute(row), proxy, rows.body(row));
            }
            if !matches!(kind, "request" | "close" | "conn") {
                continue;
            }
            let codes = rows.codes(row);
            let place = *near.entry(codes).or_insert_with(|| self.place(codes.minute, rows.key(row)));
            if let Some((_, _, cell)) = self.cells.get_mut(place) {
                rows.add(row, kind == "request", cell);
            }
        }
    }

    fn place(&mut self, minute: i64, key: Key) -> usize {
        let is_known = self.places.contains_key(&(minute, key.clone()));
        let key = if is_known || self.cells.len() < MAX_CELLS { key } else { rest() };
        // The rest of a time that was never seen goes with what is there: absurd clocks must not take memory.
        let minute = if self.cells.len() < 2 * MAX_CELLS {
            minute
        } else {
            self.cells.first().map_or(0, |first| first.0)
        };
        *self.places.entry((minute, key.clone())).or_insert_with(|| {
            self.cells.push((minute, key, Cell::new()));
            self.cells.len() - 1
        })
    }

    /// All cells, the smallest of each minute as one.
    pub(crate) fn packed(&self) -> Vec<Packed> {
        let mut all = pack(self.cells.iter().map(|(minute, key, cell)| (*minute, key, cell)));
        all.extend(self.hosts.packed(1));
        all
    }
}

/// What tells cells apart within a batch.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Codes {
    minute: i64,
    words: [i32; 4],
    class: u8,
}

/// A column of words.
struct Words<'b>(Option<(&'b Keys, &'b StringArray)>);

impl<'b> Words<'b> {
    fn of(batch: &'b RecordBatch, name: &str) -> Self {
        match Column::of(batch, name) {
            Some(Column::Words(keys, words)) => Self(Some((keys, words))),
            _ => Self(None),
        }
    }

    /// −1 where the row has none.
    fn code(&self, row: usize) -> i32 {
        self.0.filter(|(keys, _)| keys.is_valid(row)).map_or(-1, |(keys, _)| keys.value(row))
    }

    /// Empty where the row has none.
    fn text(&self, row: usize) -> &'b str {
        self.0.and_then(|(keys, words)| word(keys, words, row)).unwrap_or_default()
    }
}

struct Rows<'b> {
    ts: &'b Times,
    kind: Words<'b>,
    host: Words<'b>,
    route: Words<'b>,
    upstream: Words<'b>,
    reason: Words<'b>,
    client_ip: Words<'b>,
    status: Option<Column<'b>>,
    sw: Option<Column<'b>>,
    rx: [Option<Column<'b>>; 2],
    tx: [Option<Column<'b>>; 2],
    dur_us: Option<Column<'b>>,
    t_wait_us: Option<Column<'b>>,
    proxy: Words<'b>,
    body: Option<Column<'b>>,
}

impl<'b> Rows<'b> {
    fn of(batch: &'b RecordBatch) -> Option<Self> {
        let Some(Column::Times(ts)) = Column::of(batch, "ts") else { return None };
        let column = |name| Column::of(batch, name);
        Some(Self {
            ts,
            kind: Words::of(batch, "kind"),
            host: Words::of(batch, "host"),
            route: Words::of(batch, "route"),
            upstream: Words::of(batch, "upstream"),
            reason: Words::of(batch, "reason"),
            client_ip: Words::of(batch, "client_ip"),
            status: column("status"),
            sw: column("sw"),
            rx: [column("rx_head_b"), column("rx_body_b")],
            tx: [column("tx_head_b"), column("tx_body_b")],
            dur_us: column("dur_us"),
            t_wait_us: column("t_wait_us"),
            proxy: Words::of(batch, "proxy"),
            body: column("body"),
        })
    }

    /// A request belongs to the minute in which it ended.
    fn minute(&self, row: usize) -> i64 {
        let span = at(&self.dur_us, row).unwrap_or(0);
        self.ts.value(row).saturating_add_unsigned(span).div_euclid(MINUTE_US)
    }

    fn body(&self, row: usize) -> &'b str {
        match self.body {
            Some(Column::Texts(texts)) if texts.is_valid(row) => texts.value(row),
            _ => "",
        }
    }

    fn codes(&self, row: usize) -> Codes {
        let minute = self.minute(row);
        let words = [&self.host, &self.route, &self.upstream, &self.reason].map(|words| words.code(row));
        Codes { minute, words, class: self.class(row) }
    }

    fn class(&self, row: usize) -> u8 {
        u8::try_from(at(&self.status, row).unwrap_or(0) / 100).unwrap_or(0)
    }

    fn key(&self, row: usize) -> Key {
        Key {
            host: self.host.text(row).into(),
            route: self.route.text(row).into(),
            upstream: self.upstream.text(row).into(),
            class: self.class(row),
            reason: self.reason.text(row).into(),
        }
    }

    /// Tunnels and connections are counted, but how long they last says nothing of how quick an answer is.
    fn add(&self, row: usize, has_times: bool, cell: &mut Cell) {
        let weight = at(&self.sw, row).unwrap_or(1).max(1);
        let sum = |columns: &[Option<Column<'_>>; 2]| {
            let bytes =
                columns.iter().fold(0u64, |sum, column| sum.saturating_add(at(column, row).unwrap_or(0)));
            bytes.saturating_mul(weight)
        };
        cell.count = cell.count.saturating_add(weight);
        cell.rx_b = cell.rx_b.saturating_add(sum(&self.rx));
        cell.tx_b = cell.tx_b.saturating_add(sum(&self.tx));
        if has_times {
            at(&self.dur_us, row).iter().for_each(|us| cell.dur_us.add_with_count(*us as f64, weight));
            at(&self.t_wait_us, row).iter().for_each(|us| cell.wait_us.add_with_count(*us as f64, weight));
        }
        let client = self.client_ip.text(row);
        if !client.is_empty() {
            cell.clients.insert(client);
        }
    }
}

fn at(column: &Option<Column<'_>>, row: usize) -> Option<u64> {
    column.as_ref().and_then(|column| column.number(row))
}
