//! [`Output`]: renders what the collector drains, once per form, into batches for the queues of that form.

use std::sync::Arc;

use anstream::adapter::strip_str;

use super::handle::{Entry, Stream, What, now_us};
use super::metrics::Reason;
use super::queue::{Batch, Queue};
use super::recovery::Past;
use super::ring::Recovered;
use super::settings::Form;
use super::span::{Span, Spans};
use crate::record::binary::{Cut, Decoded};
use crate::record::id::IdSource;
use crate::record::json::{AppLine, Gap, Renderer, Stamp};
use crate::record::{Record, combined, line};

/// A batch is closed when it has this many bytes, or at the end of a turn.
const BATCH: usize = 256 << 10;

/// Name and start of this process, as every line carries them.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) proxy: Arc<str>,
    pub(super) boot: u64,
}

#[derive(Debug)]
pub(super) struct Output {
    origin: Origin,
    /// Stream of everything that no core wrote: one beyond the last core.
    control: u16,
    control_seq: u64,
    ids: IdSource,
    outlets: Vec<Outlet>,
}

/// The batch in making of one form, and who gets it.
#[derive(Debug)]
struct Outlet {
    form: Form,
    renderer: Renderer,
    lines: Vec<u8>,
    spans: Spans,
    queues: Vec<Arc<Queue>>,
}

impl Output {
    pub(super) fn new(origin: Origin, control: u16, ids: IdSource) -> Self {
        Self { origin, control, control_seq: 0, ids, outlets: Vec::new() }
    }

    pub(super) fn set_control(&mut self, control: u16) {
        self.control = control;
    }

    pub(super) fn add_queue(&mut self, form: Form, queue: Arc<Queue>) {
        match self.outlets.iter_mut().find(|outlet| outlet.form == form) {
            Some(outlet) => outlet.queues.push(queue),
            None => self.outlets.push(Outlet::new(form, queue)),
        }
    }

    pub(super) fn record(&mut self, core: u16, decoded: &Decoded<'_>) {
        let stamp = stamp(&self.origin, core, decoded.seq, decoded.cut);
        for outlet in &mut self.outlets {
            outlet.record(decoded, &stamp);
        }
    }

    /// Declares entries that never came. `range` is absent for those without a number.
    pub(super) fn gap(&mut self, core: u16, range: Option<(u64, u64)>, missing: u64, reason: Reason) {
        let ts_us = now_us();
        let Origin { proxy, boot } = &self.origin;
        let gap = Gap {
            id: self.ids.next(ts_us),
            ts_us,
            proxy,
            boot: *boot,
            core,
            range,
            missing,
            reason: reason.word(),
        };
        for outlet in &mut self.outlets {
            outlet.write(|renderer, lines| renderer.gap(&gap, lines));
            outlet.spans.add(Span { core, range, count: missing, lost: Some(reason) });
            outlet.close_if_full();
        }
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The rest of a dead process's stream, under its own name and numbers. For the accounts of the sinks its records
    /// have none: their numbers are another process's.
    pub(super) fn of_past(&mut self, past: &Recovered) {
        let control = self.control;
        past.each(&mut self.ids, |line| {
            for outlet in &mut self.outlets {
                outlet.write_past(&line);
                outlet.spans.add(Span { core: control, range: None, count: 1, lost: None });
                outlet.close_if_full();
            }
        });
        self.flush();
    }

    pub(super) fn lines_lost(&mut self, missing: u64) {
        self.gap(self.control, None, missing, Reason::LinesFull);
    }

    pub(super) fn entry(&mut self, entry: &Entry) {
        let id = self.ids.next(entry.ts_us);
        self.control_line(|renderer, stamp, lines| match &entry.what {
            What::Event { kind, cfg, text } => {
                let text = text.as_deref().map(str::as_bytes);
                let record =
                    Record { kind: *kind, ts_us: entry.ts_us, id, cfg: *cfg, err: text, ..Record::default() };
                renderer.record(&record, stamp, lines);
            }
            What::Line { worker, stream, line } => {
                let stream = if *stream == Stream::Stdout { "stdout" } else { "stderr" };
                renderer.app_line(&AppLine { id, ts_us: entry.ts_us, worker, stream, line }, stamp, lines);
            }
        });
    }

    /// The last record of all: closes every stream.
    pub(super) fn stop(&mut self, last_seq: &[u64]) {
        let ts_us = now_us();
        let id = self.ids.next(ts_us);
        self.control_line(|renderer, stamp, lines| renderer.stop(ts_us, &id, last_seq, stamp, lines));
    }

    /// Hands out what is there.
    pub(super) fn flush(&mut self) {
        self.outlets.iter_mut().for_each(Outlet::close);
    }

    fn control_line(&mut self, mut write: impl FnMut(&mut Renderer, &Stamp<'_>, &mut Vec<u8>)) {
        self.control_seq += 1;
        let stamp = stamp(&self.origin, self.control, self.control_seq, Cut::default());
        for outlet in self.outlets.iter_mut().filter(|outlet| outlet.form != Form::Combined) {
            outlet.write(|renderer, lines| write(renderer, &stamp, lines));
            outlet.carried(&stamp);
            outlet.close_if_full();
        }
    }
}

impl Outlet {
    fn new(form: Form, queue: Arc<Queue>) -> Self {
        Self {
            form,
            renderer: Renderer::default(),
            lines: Vec::new(),
            spans: Spans::default(),
            queues: vec![queue],
        }
    }

    fn record(&mut self, decoded: &Decoded<'_>, stamp: &Stamp<'_>) {
        match self.form {
            Form::Combined => combined::write(&decoded.record, &mut self.lines),
            _ => self.write(|renderer, lines| renderer.decoded(decoded, stamp, lines)),
        }
        self.carried(stamp);
        self.close_if_full();
    }

    /// Writes a line that the renderer makes; the form for people is made from the JSON, so that it is the one that
    /// `logs tail` shows.
    fn write(&mut self, json: impl FnOnce(&mut Renderer, &mut Vec<u8>)) {
        match self.form {
            Form::Json => json(&mut self.renderer, &mut self.lines),
            Form::Combined => {}
            Form::Line { colours } => {
                let mut stored = Vec::new();
                json(&mut self.renderer, &mut stored);
                for_people(&stored, colours, &mut self.lines);
            }
        }
    }

    fn write_past(&mut self, past: &Past<'_>) {
        match (self.form, past) {
            (Form::Combined, Past::Record(decoded, _)) => {
                combined::write(&decoded.record, &mut self.lines);
            }
            _ => self.write(|renderer, lines| past.render(renderer, lines)),
        }
    }

    fn carried(&mut self, stamp: &Stamp<'_>) {
        self.spans.carry(stamp.core, stamp.seq);
    }

    fn close_if_full(&mut self) {
        if self.lines.len() >= BATCH {
            self.close();
        }
    }

    fn close(&mut self) {
        if self.lines.is_empty() && self.spans.is_empty() {
            return;
        }
        // The next batch will be of about the same size.
        let next = Vec::with_capacity(self.lines.len() + self.lines.len() / 8);
        let lines = std::mem::replace(&mut self.lines, next);
        let batch = Arc::new(Batch { lines: lines.into(), spans: std::mem::take(&mut self.spans) });
        self.queues.iter().for_each(|queue| queue.push(Arc::clone(&batch)));
    }
}

/// Start and stop are left out: whoever looks on has just started it.
fn for_people(stored: &[u8], colours: bool, out: &mut Vec<u8>) {
    let Ok(text) = std::str::from_utf8(stored) else { return };
    let text = text.trim_end();
    let Ok(entry) = serde_json::from_str::<serde_json::Value>(text) else { return };
    if matches!(entry["kind"].as_str(), Some("start" | "stop")) {
        return;
    }
    let styled = line::render(&entry, text, false);
    match colours {
        true => out.extend_from_slice(styled.as_bytes()),
        false => strip_str(&styled).for_each(|part| out.extend_from_slice(part.as_bytes())),
    }
    out.push(b'\n');
}

fn stamp(origin: &Origin, core: u16, seq: u64, cut: Cut) -> Stamp<'_> {
    Stamp { proxy: &origin.proxy, boot: origin.boot, core, seq, cut }
}

/// Renders the gaps of one sink; one per sink, as it loses on its own.
#[derive(Debug)]
pub(super) struct GapWriter {
    origin: Origin,
    form: Form,
    ids: IdSource,
    renderer: Renderer,
}

impl GapWriter {
    pub(super) fn new(origin: Origin, form: Form, ids: IdSource) -> Self {
        Self { origin, form, ids, renderer: Renderer::default() }
    }

    /// One line per missing span; nothing in forms that have no words for it.
    pub(super) fn lines(&mut self, gaps: &Spans) -> Vec<u8> {
        let mut lines = Vec::new();
        let ts_us = now_us();
        let Origin { proxy, boot } = &self.origin;
        for span in gaps.iter().filter(|_| self.form != Form::Combined) {
            let reason = span.lost.map_or("", Reason::word);
            let (core, range, missing) = (span.core, span.range, span.count);
            let gap =
                Gap { id: self.ids.next(ts_us), ts_us, proxy, boot: *boot, core, range, missing, reason };
            match self.form {
                Form::Line { colours } => {
                    let mut stored = Vec::new();
                    self.renderer.gap(&gap, &mut stored);
                    for_people(&stored, colours, &mut lines);
                }
                _ => self.renderer.gap(&gap, &mut lines),
            }
        }
        lines
    }
}
