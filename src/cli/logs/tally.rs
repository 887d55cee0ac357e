//! [`Group`]: what is counted about a set of requests.

use serde_json::{Value, json};

use super::args::By;
use super::words::{is_error, number, text};
use crate::log_service::exec::Figures;
use crate::log_service::read::Quantiles;

/// Phases of a request in the order in which they happen, with their members; last what tollgate took itself, which has
/// `policy` in it and lies between the others.
pub(super) const PHASES: &[(&str, &str)] = &[
    ("head", "t_head_us"),
    ("policy", "t_policy_us"),
    ("queue", "t_queue_us"),
    ("dns", "t_dns_us"),
    ("connect", "t_conn_us"),
    ("uptls", "t_uptls_us"),
    ("send", "t_send_us"),
    ("wait", "t_wait_us"),
    ("resp", "t_resp_us"),
    ("self", "t_self_us"),
];
/// Longest text of a table.
const SHORT: usize = 56;

/// Counts, errors, bytes and durations of requests. A row that was sampled counts as often as its weight says.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    rows: u64,
    pub(super) count: u64,
    pub(super) errors: u64,
    pub(super) bytes: u64,
    /// Microseconds of all requests together, and of the proxy's own part of them.
    pub(super) time: u64,
    pub(super) own: u64,
    pub(super) durations: Quantiles,
    /// Variance of `count` that comes from sampling.
    spread: f64,
}

impl Group {
    pub(super) fn add(&mut self, entry: &Value) {
        let weight = weight(entry);
        let sum = |sum: u64, number: u64| sum.saturating_add(number.saturating_mul(weight));
        self.rows += 1;
        self.count = sum(self.count, 1);
        self.errors = sum(self.errors, u64::from(is_error(entry)));
        self.bytes = sum(self.bytes, number(entry, "tx_body_b").unwrap_or(0));
        self.own = sum(self.own, number(entry, "t_self_us").unwrap_or(0));
        self.spread += weight as f64 * (weight - 1) as f64;
        // A tunnel's life says nothing about how fast answers are.
        if let Some(duration) = number(entry, "dur_us").filter(|_| text(entry, "kind") != Some("close")) {
            self.time = sum(self.time, duration);
            self.durations.add_many(duration, weight);
        }
    }

    /// As the executor tells it.
    pub(super) fn figures(&self) -> Figures {
        let at = |share| self.durations.at(share);
        Figures {
            rows: self.rows,
            count: self.count,
            count_off: Some(self.error_of_count()).filter(|off| *off > 0),
            errors: self.errors,
            err_share: share(self.errors, self.count) / 100.0,
            bytes: self.bytes,
            time_us: self.time,
            self_us: self.own,
            mean_us: (self.durations.count() > 0).then(|| self.durations.mean()),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: at(1.0),
        }
    }

    /// Half of the interval in which the true count lies with 95 % certainty; 0 when nothing was sampled.
    pub(super) fn error_of_count(&self) -> u64 {
        (1.96 * self.spread.sqrt()).round() as u64
    }
}

/// What groups are sorted by.
pub(super) fn rank(figures: &Figures, by: By) -> f64 {
    match by {
        By::Count => figures.count as f64,
        By::Errors => figures.errors as f64,
        By::Share => share(figures.errors, figures.count),
        By::P50 => figures.p50_us.unwrap_or(0) as f64,
        By::P99 => figures.p99_us.unwrap_or(0) as f64,
        By::Time => figures.time_us as f64,
        By::Bytes => figures.bytes as f64,
        By::Own => figures.self_us as f64,
    }
}

pub(super) fn to_json(figures: &Figures) -> Value {
    json!({
        "count": figures.count, "count_error": figures.count_off.unwrap_or(0), "errors": figures.errors,
        "bytes": figures.bytes, "time_us": figures.time_us, "self_us": figures.self_us, "p50_us": figures.p50_us,
        "p90_us": figures.p90_us, "p99_us": figures.p99_us, "max_us": figures.max_us,
    })
}

/// How many requests a row stands for.
pub(super) fn weight(entry: &Value) -> u64 {
    let weight = entry.get("sw").and_then(Value::as_f64).filter(|weight| (1.0..1e9).contains(weight));
    // In range by the line above.
    weight.map_or(1, |weight| weight.round() as u64)
}

/// Events per second as people say it: `13.7/s`, `1.9/min`, `0.2/h`.
pub(super) fn in_words(per_second: f64) -> String {
    match per_second {
        rate if rate >= 0.5 => format!("{rate:.1}/s"),
        rate if rate * 60.0 >= 0.5 => format!("{:.1}/min", rate * 60.0),
        rate => format!("{:.1}/h", rate * 3600.0),
    }
}

/// The first characters of a long text, for a table; all of it is in the JSON form.
pub(super) fn short(text: &str) -> String {
    match text.char_indices().nth(SHORT) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// In percent; only for looking at.
pub(super) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sampled_row_counts_for_all_it_stands_for() {
        let mut group = Group::default();
        group.add(&json!({"status": 200, "dur_us": 10, "sw": 100.0, "tx_body_b": 5}));
        group.add(&json!({"status": 500, "dur_us": 1000, "sw": -3}));
        assert_eq!((group.count, group.errors, group.bytes, group.time), (101, 1, 500, 2000));
        assert_eq!((group.durations.at(0.5), group.error_of_count()), (Some(10), 195));
    }
}
