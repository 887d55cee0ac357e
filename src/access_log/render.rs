//! [`Lines`]: frames as lines, in the form that a sink wants.

use std::ops::Range;

use anstream::adapter::strip_str;

use super::handle::now_us;
use super::settings::Form;
use super::sink::Item;
use super::span::{Span, Spans};
use crate::record::binary::{self, Decoded, Tries};
use crate::record::frame::{self, Frame, FrameError};
use crate::record::id::{self, IdSource};
use crate::record::json::{Gap, Renderer, Stamp};
use crate::record::members::Members;
use crate::record::{Id, Kind, Record, combined, ecs, haproxy, line, otel};

/// Renders for one sink; keeps its memory from one frame to the next.
#[derive(Debug)]
pub(super) struct Lines {
    form: Form,
    renderer: Renderer,
    ids: IdSource,
    /// Where a compressed frame is unpacked.
    room: Vec<u8>,
    /// Where a record is written that is translated after.
    native: Vec<u8>,
}

/// What is known of an entry beside its line.
#[derive(Debug, Default)]
struct Facts {
    id: Id,
    is_open: bool,
    ts_us: i64,
    status: u16,
    seq: Option<(u16, u64)>,
}

impl Facts {
    /// What an entry says that is JSON already.
    fn of_json(object: &[u8]) -> Self {
        #[derive(serde::Deserialize)]
        struct Head<'a> {
            #[serde(default)]
            id: std::borrow::Cow<'a, str>,
            #[serde(default)]
            ts: std::borrow::Cow<'a, str>,
            core: Option<u16>,
            seq: Option<u64>,
        }
        let Ok(head) = serde_json::from_slice::<Head<'_>>(object) else { return Self::default() };
        Self {
            id: id::parse(head.id.as_bytes()).unwrap_or_default(),
            is_open: false,
            ts_us: head.ts.parse().map_or(0, |ts: jiff::Timestamp| ts.as_microsecond()),
            status: 0,
            seq: head.core.zip(head.seq),
        }
    }

    fn item(&self, place: Range<usize>) -> Item {
        let Self { id, is_open, ts_us, status, seq } = *self;
        Item { place, id, is_open, ts_us, status, seq }
    }
}

impl Lines {
    pub(super) fn new(form: Form, ids: IdSource) -> Self {
        Self { form, renderer: Renderer::default(), ids, room: Vec::new(), native: Vec::new() }
    }

    /// Appends the entries of a frame as lines; returns how many could not be read, which never happens to frames
    /// whose checksum is right.
    pub(super) fn frame(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) -> u64 {
        self.each(frame, |lines, entry| lines.entry(frame, entry, out).is_some())
    }

    /// The same, with an item for each line.
    pub(super) fn items(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>, items: &mut Vec<Item>) -> u64 {
        self.each(frame, |lines, entry| {
            let object =
                entry.as_ref().ok().filter(|entry| entry.form == frame::Form::Json).map(|entry| entry.bytes);
            let begin = out.len();
            let Some(facts) = lines.entry(frame, entry, out) else { return false };
            if out.len() > begin {
                let facts = object.map_or(facts, Facts::of_json);
                items.push(facts.item(begin..out.len() - 1));
            }
            true
        })
    }

    /// Hands out the entries of a frame; counts those for which there is no good news.
    fn each(
        &mut self,
        frame: &Frame<'_>,
        mut take: impl FnMut(&mut Self, Result<frame::Entry<'_>, FrameError>) -> bool,
    ) -> u64 {
        let mut room = std::mem::take(&mut self.room);
        let mut bad = 0;
        match frame.entries(&mut room) {
            Ok(entries) => entries.for_each(|entry| bad += u64::from(!take(self, entry))),
            Err(_) => bad = frame.count.into(),
        }
        self.room = room;
        bad
    }

    fn entry(
        &mut self,
        frame: &Frame<'_>,
        entry: Result<frame::Entry<'_>, FrameError>,
        out: &mut Vec<u8>,
    ) -> Option<Facts> {
        match entry.ok()? {
            entry if entry.form == frame::Form::Record => self.record(frame, entry.bytes, out),
            entry => {
                self.json(entry.bytes, out);
                Some(Facts::default())
            }
        }
    }

    #[inline]
    fn record(&mut self, frame: &Frame<'_>, bytes: &[u8], out: &mut Vec<u8>) -> Option<Facts> {
        let (mut tries, mut decoded) = (Tries::default(), Decoded::default());
        if binary::decode_into(&mut decoded, bytes, &mut tries).is_err() {
            return None;
        }
        let frame::Stream { proxy, boot, core } = frame.stream;
        let stamp = Stamp { proxy, boot, core, seq: decoded.seq, cut: decoded.cut };
        match self.form {
            Form::Json => self.renderer.decoded(&decoded, &stamp, out),
            Form::Combined => combined::write(&decoded.record, out),
            Form::Line { colours } => {
                let mut stored = Vec::new();
                self.renderer.decoded(&decoded, &stamp, &mut stored);
                for_people(&stored, colours, out);
            }
            Form::Ecs | Form::Otel | Form::Haproxy { .. } => {
                let mut native = std::mem::take(&mut self.native);
                native.clear();
                self.renderer.decoded(&decoded, &stamp, &mut native);
                self.translate(&native, out);
                self.native = native;
            }
        }
        let Decoded { seq, record: Record { id, kind, ts_us, status, .. }, .. } = decoded;
        Some(Facts { id, is_open: kind == Kind::Open, ts_us, status, seq: Some((core, seq)) })
    }

    /// A native line in the names of others.
    fn translate(&self, native: &[u8], out: &mut Vec<u8>) {
        // What we have written ourselves is an object.
        let Ok(members) = Members::of(native) else { return };
        match self.form {
            Form::Ecs => ecs::write(&members, out),
            Form::Otel => otel::write(&members, out),
            Form::Haproxy { has_heading } => haproxy::write(&members, has_heading, out),
            Form::Json | Form::Combined | Form::Line { .. } => {}
        }
    }

    /// An entry that is JSON already.
    fn json(&self, object: &[u8], out: &mut Vec<u8>) {
        match self.form {
            Form::Json => {
                out.extend_from_slice(object);
                out.push(b'\n');
            }
            Form::Ecs | Form::Otel => self.translate(object, out),
            Form::Combined | Form::Haproxy { .. } => {}
            Form::Line { colours } => for_people(object, colours, out),
        }
    }

    /// One line per missing span, as items.
    pub(super) fn gap_items(&mut self, gaps: &Spans, out: &mut Vec<u8>, items: &mut Vec<Item>) {
        for object in self.gap_objects(gaps) {
            let begin = out.len();
            self.json(&object, out);
            if out.len() > begin {
                items.push(Facts::of_json(&object).item(begin..out.len() - 1));
            }
        }
    }

    /// One line per missing span; nothing in forms that have no words for it.
    pub(super) fn gaps(&mut self, gaps: &Spans, out: &mut Vec<u8>) {
        for span in gaps.iter() {
            let object = gap_object(span, &self.ids, &mut self.renderer);
            self.json(&object, out);
        }
    }

    /// The same as JSON objects.
    pub(super) fn gap_objects(&mut self, gaps: &Spans) -> Vec<Vec<u8>> {
        gaps.iter().map(|span| gap_object(span, &self.ids, &mut self.renderer)).collect()
    }
}

/// The `gap` record of `span`, without a line feed.
pub(super) fn gap_object(span: &Span, ids: &IdSource, renderer: &mut Renderer) -> Vec<u8> {
    let ts_us = now_us();
    let gap = Gap {
        id: ids.next(ts_us),
        ts_us,
        proxy: &span.origin.proxy,
        boot: span.origin.boot,
        core: span.core,
        range: span.range,
        missing: span.count,
        reason: span.reason.word(),
    };
    let mut object = Vec::new();
    renderer.gap(&gap, &mut object);
    object.pop();
    object
}

/// The form for people is made from the JSON, so that it is the one that `logs tail` shows. Start and stop are left
/// out: whoever looks on has just started it; and host facts, which are for machines.
fn for_people(stored: &[u8], colours: bool, out: &mut Vec<u8>) {
    let Ok(text) = std::str::from_utf8(stored) else { return };
    let text = text.trim_end();
    let Ok(entry) = serde_json::from_str::<serde_json::Value>(text) else { return };
    if matches!(entry["kind"].as_str(), Some("start" | "stop" | "host")) {
        return;
    }
    let styled = line::render(&entry, text, false);
    match colours {
        true => out.extend_from_slice(styled.as_bytes()),
        false => strip_str(&styled).for_each(|part| out.extend_from_slice(part.as_bytes())),
    }
    out.push(b'\n');
}
