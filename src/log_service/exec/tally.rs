//! [`Facts`]: what a row counts for. [`Tally`]: what many rows came to.

use arrow_array::RecordBatch;
use arrow_array::types::{UInt16Type, UInt32Type, UInt64Type};
use arrow_array::{Array as _, PrimitiveArray, StringArray};
use serde::{Deserialize, Serialize};

use super::column::{Column, Keys};
use crate::log_service::read::{Quantiles, Series};

/// The columns that [`Facts`] looks at.
pub(super) const FACTS: &[&str] =
    &["kind", "status", "end_by", "end_at", "sw", "dur_us", "t_self_us", "tx_body_b"];

/// What durations consist of, in the order in which it happens.
pub(crate) const PHASES: [&str; 8] = [
    "t_head_us",
    "t_policy_us",
    "t_queue_us",
    "t_conn_us",
    "t_send_us",
    "t_wait_us",
    "t_resp_us",
    "t_self_us",
];

/// For 95 % confidence, in standard errors.
pub(super) const CONFIDENCE: f64 = 1.96;

/// What one request counts for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fact {
    /// So many requests the row stands for.
    pub(super) weight: u64,
    pub(super) is_error: bool,
    pub(super) bytes: u64,
    /// What the proxy itself took, microseconds.
    pub(super) own: u64,
    /// Microseconds; `None` for a long-lived exchange, whose life says nothing about how fast answers are.
    pub(super) micros: Option<u64>,
}

/// A batch seen as requests.
pub(super) struct Facts<'b> {
    kinds: Words<'b, Kind>,
    status: Option<&'b PrimitiveArray<UInt16Type>>,
    ended_by_us: Words<'b, bool>,
    is_tunnel: Words<'b, bool>,
    weight: Option<&'b PrimitiveArray<UInt32Type>>,
    micros: Option<&'b PrimitiveArray<UInt64Type>>,
    own: Option<&'b PrimitiveArray<UInt64Type>>,
    bytes: Option<&'b PrimitiveArray<UInt64Type>>,
    /// What is no request counts, too.
    with_lines: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Request,
    /// The end of a long-lived exchange.
    Close,
    Other,
    /// Entries of others have no kind; with a status they are requests.
    Untold,
}

/// What each word of a dictionary means.
struct Words<'b, T> {
    keys: Option<&'b Keys>,
    meanings: Vec<T>,
    absent: T,
}

impl<'b, T: Copy> Words<'b, T> {
    fn of(batch: &'b RecordBatch, name: &str, absent: T, meaning: impl Fn(&str) -> T) -> Self {
        let Some(Column::Words(keys, words)) = Column::of(batch, name) else {
            return Self { keys: None, meanings: Vec::new(), absent };
        };
        Self { keys: Some(keys), meanings: meanings(words, meaning), absent }
    }

    #[inline]
    fn at(&self, row: usize) -> T {
        let key = self.keys.filter(|keys| keys.is_valid(row)).map(|keys| keys.value(row));
        let meaning = key.and_then(|key| self.meanings.get(usize::try_from(key).ok()?));
        meaning.copied().unwrap_or(self.absent)
    }
}

fn meanings<T>(words: &StringArray, meaning: impl Fn(&str) -> T) -> Vec<T> {
    (0..words.len()).map(|at| meaning(words.value(at))).collect()
}

impl<'b> Facts<'b> {
    pub(super) fn of(batch: &'b RecordBatch) -> Self {
        let kind = |word: &str| match word {
            "request" => Kind::Request,
            "close" => Kind::Close,
            "" => Kind::Untold,
            _ => Kind::Other,
        };
        let wide = |name: &str| match Column::of(batch, name) {
            Some(Column::U64(array)) => Some(array),
            _ => None,
        };
        Self {
            kinds: Words::of(batch, "kind", Kind::Untold, kind),
            status: match Column::of(batch, "status") {
                Some(Column::U16(array)) => Some(array),
                _ => None,
            },
            ended_by_us: Words::of(batch, "end_by", false, |word| matches!(word, "upstream" | "proxy")),
            is_tunnel: Words::of(batch, "end_at", false, |word| word == "tunnel"),
            weight: match Column::of(batch, "sw") {
                Some(Column::U32(array)) => Some(array),
                _ => None,
            },
            micros: wide("dur_us"),
            own: wide("t_self_us"),
            bytes: wide("tx_body_b"),
            with_lines: false,
        }
    }

    /// Every entry counts, whether a request or not.
    pub(super) fn with_lines(self, with_lines: bool) -> Self {
        Self { with_lines, ..self }
    }

    /// `None` for what does not count: the opening of a tunnel, a process event, a worker's line.
    #[inline]
    pub(super) fn at(&self, row: usize) -> Option<Fact> {
        let status = self.status.filter(|array| array.is_valid(row)).map(|array| array.value(row));
        let kind = self.kinds.at(row);
        let is_request = match kind {
            Kind::Request | Kind::Close => true,
            Kind::Other => false,
            Kind::Untold => status.is_some(),
        };
        if !is_request && !self.with_lines {
            return None;
        }
        let number = |array: Option<&PrimitiveArray<UInt64Type>>| {
            array.filter(|array| array.is_valid(row)).map(|array| array.value(row))
        };
        let weight =
            self.weight.filter(|array| array.is_valid(row)).map_or(1, |array| array.value(row).max(1));
        let status = status.unwrap_or(0);
        let is_long = kind == Kind::Close || self.is_tunnel.at(row);
        Some(Fact {
            weight: weight.into(),
            is_error: status >= 500 || (status == 0 && self.ended_by_us.at(row)),
            bytes: number(self.bytes).unwrap_or(0),
            own: number(self.own).unwrap_or(0),
            micros: if is_long { None } else { number(self.micros) },
        })
    }
}

/// What requests came to. Rows that stand for more than themselves (`sw`) count as many.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Rows, whatever they stand for.
    pub(crate) rows: u64,
    pub(crate) count: u64,
    pub(crate) errors: u64,
    pub(crate) bytes: u64,
    /// What the proxy itself took, microseconds.
    pub(crate) own: u64,
    pub(crate) durations: Quantiles,
    /// Variance of `count` that comes from sampling: of a row kept with probability 1/w, w·(w-1).
    variance: f64,
    /// The sum of the squares of the weights, less one for each row.
    more_squares: f64,
    /// Requests over time, where that was asked for.
    pub(super) series: Option<Box<Series>>,
}

impl Tally {
    #[inline]
    pub(super) fn add(&mut self, fact: &Fact) {
        self.rows += 1;
        self.count += fact.weight;
        self.errors += if fact.is_error { fact.weight } else { 0 };
        self.bytes = self.bytes.saturating_add(fact.bytes.saturating_mul(fact.weight));
        self.own = self.own.saturating_add(fact.own.saturating_mul(fact.weight));
        if fact.weight > 1 {
            let weight = fact.weight as f64;
            self.variance += weight * (weight - 1.0);
            self.more_squares += weight * weight - 1.0;
        }
        if let Some(micros) = fact.micros {
            self.durations.add_many(micros, fact.weight);
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        self.count += other.count;
        self.errors += other.errors;
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.own = self.own.saturating_add(other.own);
        self.durations.merge(&other.durations);
        self.variance += other.variance;
        self.more_squares += other.more_squares;
    }

    /// Counts a request in its span of time; `micros` is when it began.
    pub(super) fn note_time(&mut self, micros: i64, step: Option<i64>, weight: u64) {
        self.series.get_or_insert_default().add(micros, step, weight);
    }

    /// How far `count` may be off because of sampling, with 95 % confidence; 0 when nothing was sampled.
    pub(crate) fn count_off(&self) -> u64 {
        (CONFIDENCE * self.variance.sqrt()).ceil() as u64
    }

    /// So many independent rows would be as good to conclude from.
    pub(crate) fn independent(&self) -> f64 {
        let squares = self.rows as f64 + self.more_squares;
        if squares > 0.0 { (self.count as f64).powi(2) / squares } else { 0.0 }
    }

    /// Errors among all, 0 to 1.
    pub(crate) fn error_share(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.errors as f64 / self.count as f64 }
    }

    /// Time spent in all requests, microseconds.
    pub(crate) fn time(&self) -> u64 {
        u64::try_from(self.durations.sum()).unwrap_or(u64::MAX)
    }

    pub(crate) fn figures(&self) -> Figures {
        let at = |share| self.durations.at(share);
        Figures {
            rows: self.rows,
            count: self.count,
            count_off: Some(self.count_off()).filter(|off| *off > 0),
            errors: self.errors,
            err_share: self.error_share(),
            bytes: self.bytes,
            time_us: self.time(),
            self_us: self.own,
            mean_us: (self.durations.count() > 0).then(|| self.durations.mean()),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: at(1.0),
        }
    }
}

/// A tally as it is told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Figures {
    /// Rows read; fewer than `count` when the log is sampled.
    pub(crate) rows: u64,
    pub(crate) count: u64,
    /// `±`: how far `count` may be off because of sampling, with 95 % confidence. Absent when nothing was sampled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) count_off: Option<u64>,
    pub(crate) errors: u64,
    /// 0 to 1.
    pub(crate) err_share: f64,
    pub(crate) bytes: u64,
    /// Sum of the durations.
    pub(crate) time_us: u64,
    /// The part of it that the proxy itself took.
    pub(crate) self_us: u64,
    pub(crate) mean_us: Option<u64>,
    pub(crate) p50_us: Option<u64>,
    pub(crate) p90_us: Option<u64>,
    pub(crate) p99_us: Option<u64>,
    pub(crate) p999_us: Option<u64>,
    pub(crate) max_us: Option<u64>,
}
