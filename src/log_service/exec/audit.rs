//! `audit`: what each proxy and core sent, what of it is stored, what was sampled and what is lost.
//!
//! Told from the extents of the parts, without reading a row; to `verify` is to read every row of every column, and to
//! count the numbered ones again.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use arrow_array::Array as _;
use serde::{Deserialize, Serialize};

use super::column::Column;
use super::complete;
use super::control::{Control, ExecError};
use super::filter::Filter;
use super::parts::Parts;
use super::scan::read;
use crate::log_service::columns;
use crate::log_service::intervals::Intervals;
use crate::log_service::part::{Extent, Prune};
use crate::log_service::query::Query;
use crate::log_service::read::{Report, Window};

/// Streams and ranges that are told apart.
const MAX_STREAMS: usize = 10_000;
const MAX_RANGES: usize = 50_000;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Audited {
    pub(crate) streams: Vec<AuditedStream>,
    /// Entries that carry no number of their own: lines of applications, of other services, declared losses.
    pub(crate) unnumbered: u64,
    /// Numbered rows that were found, where the files say how many there should be; only after verifying.
    pub(crate) verified: Option<(u64, u64)>,
    pub(crate) report: Report,
}

/// One core of one run of a proxy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct AuditedStream {
    pub(crate) proxy: String,
    pub(crate) boot: u64,
    pub(crate) core: u64,
    pub(crate) stored: u64,
    /// Left out by the proxy on purpose.
    pub(crate) sampled: u64,
    /// Lost, by the reason that the proxy gave; zero where nobody knows how many.
    pub(crate) lost: BTreeMap<String, u64>,
    /// Lost, and nobody says why.
    pub(crate) unexplained: u64,
    /// Lowest and highest number that is known of.
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// Times of the parts that hold it, microseconds: it lies between them.
    pub(crate) from_us: Option<i64>,
    pub(crate) to_us: Option<i64>,
}

type Key = (String, u64, u64);

#[derive(Default)]
struct Audit {
    streams: BTreeMap<Key, (Intervals, AuditedStream)>,
    rows: u64,
    numbered: u64,
    /// Records that only declare a loss.
    gaps: u64,
    is_full: bool,
}

/// What is known of each stream in a window. Parts are looked at as a whole: what lies in one that reaches into the window
/// counts.
pub(crate) fn audit(
    parts: &Parts,
    window: Window,
    verify: bool,
    control: &Control,
) -> Result<Audited, ExecError> {
    let window = Filter::new(&Query::all(), window).window();
    let prune = Prune { ts: window, ..Prune::default() };
    let mut audit = Audit::default();
    for part in parts.admitted(&prune) {
        audit.add(part.extent());
    }
    // Of all parts together: those of an hour share what is known of a stream, and one may count numbers of another.
    for (_, stream) in audit.streams.values_mut() {
        stream.stored = stream.stored.saturating_sub(stream.sampled);
    }
    let verified = if verify { Some((read_all(parts, &prune, control)?, audit.numbered)) } else { None };
    let mut report = complete::report(parts, window);
    report.unknown |= audit.is_full;
    (report.rows, report.lines) = (audit.rows, control.progress().0);
    for missing in &report.missing {
        let key = (missing.proxy.clone(), missing.boot, missing.core);
        let Some((_, stream)) = audit.streams.get_mut(&key) else { continue };
        match missing.why.as_deref() {
            Some(_) if missing.is_sampled() => stream.sampled += missing.count(),
            Some(why) => *stream.lost.entry(why.to_owned()).or_default() += missing.count(),
            None => stream.unexplained += missing.count(),
        }
        stream.last = stream.last.max(if missing.is_open() { 0 } else { missing.to });
        stream.first = stream.first.min(missing.from);
    }
    let unnumbered = audit.rows.saturating_sub(audit.numbered).saturating_sub(audit.gaps);
    let streams = audit.streams.into_values().map(|(_, stream)| stream).collect();
    Ok(Audited { streams, unnumbered, verified, report })
}

impl Audit {
    fn add(&mut self, extent: &Extent) {
        self.rows += extent.rows;
        for told in &extent.streams {
            if told.numbers.is_empty() && told.gaps.is_empty() {
                continue;
            }
            let key = (told.proxy.clone(), told.boot, u64::from(told.core));
            if self.streams.len() >= MAX_STREAMS && !self.streams.contains_key(&key) {
                self.is_full = true;
                continue;
            }
            let (known, stream) = self.streams.entry(key).or_insert_with_key(|(proxy, boot, core)| {
                let first = u64::MAX;
                let stream = AuditedStream {
                    proxy: proxy.clone(),
                    boot: *boot,
                    core: *core,
                    first,
                    ..Default::default()
                };
                (Intervals::bounded(MAX_RANGES), stream)
            });
            for &(from, to) in &told.numbers {
                let new: u64 =
                    known.missing_in(&(from..=to)).iter().map(|range| range.end() - range.start() + 1).sum();
                stream.stored += new;
                known.insert_range(from..=to);
                (stream.first, stream.last) = (stream.first.min(from), stream.last.max(to));
            }
            self.numbered += told.numbered_rows();
            self.gaps += told.declaring_rows();
            stream.sampled = stream.sampled.saturating_add(told.sampled);
            stream.from_us = stream.from_us.into_iter().chain([extent.min_ts]).min();
            stream.to_us = stream.to_us.into_iter().chain([extent.max_ts]).max();
        }
    }
}

/// Reads everything, and counts the rows that have a number.
fn read_all(parts: &Parts, prune: &Prune, control: &Control) -> Result<u64, ExecError> {
    let mut numbered = 0;
    let everything = Prune::default();
    control.expect(parts.admitted(prune).map(|part| part.extent().rows).sum());
    for part in parts.admitted(prune) {
        let _ = read(part, columns::NAMES, &everything, control, &mut |batch| {
            if let Some(Column::U64(numbers)) = Column::of(batch, "seq") {
                numbered += (0..numbers.len())
                    .filter(|row| numbers.is_valid(*row) && numbers.value(*row) > 0)
                    .count() as u64;
            }
            ControlFlow::Continue(())
        })?;
    }
    Ok(numbered)
}
