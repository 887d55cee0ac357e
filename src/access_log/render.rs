//! [`Lines`]: frames as lines, in the form that a sink wants.

use anstream::adapter::strip_str;

use super::handle::now_us;
use super::settings::Form;
use super::span::{Span, Spans};
use crate::record::binary::{self, Decoded, Tries};
use crate::record::frame::{self, Frame, FrameError};
use crate::record::id::IdSource;
use crate::record::json::{Gap, Renderer, Stamp};
use crate::record::{combined, line};

/// Renders for one sink; keeps its memory from one frame to the next.
#[derive(Debug)]
pub(super) struct Lines {
    form: Form,
    renderer: Renderer,
    ids: IdSource,
    /// Where a compressed frame is unpacked.
    room: Vec<u8>,
}

impl Lines {
    pub(super) fn new(form: Form, ids: IdSource) -> Self {
        Self { form, renderer: Renderer::default(), ids, room: Vec::new() }
    }

    /// Appends the entries of a frame as lines; returns how many could not be read, which never happens to frames
    /// whose checksum is right.
    pub(super) fn frame(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) -> u64 {
        let mut room = std::mem::take(&mut self.room);
        let mut bad = 0;
        match frame.entries(&mut room) {
            Ok(entries) => entries.for_each(|entry| bad += u64::from(!self.entry(frame, entry, out))),
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
    ) -> bool {
        match entry {
            Ok(entry) if entry.form == frame::Form::Record => self.record(frame, entry.bytes, out),
            Ok(entry) => {
                self.json(entry.bytes, out);
                true
            }
            Err(_) => false,
        }
    }

    #[inline]
    fn record(&mut self, frame: &Frame<'_>, bytes: &[u8], out: &mut Vec<u8>) -> bool {
        let (mut tries, mut decoded) = (Tries::default(), Decoded::default());
        if binary::decode_into(&mut decoded, bytes, &mut tries).is_err() {
            return false;
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
        }
        true
    }

    /// An entry that is JSON already.
    fn json(&self, object: &[u8], out: &mut Vec<u8>) {
        match self.form {
            Form::Json => {
                out.extend_from_slice(object);
                out.push(b'\n');
            }
            Form::Combined => {}
            Form::Line { colours } => for_people(object, colours, out),
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
