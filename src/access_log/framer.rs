//! [`Framer`]: what the collector drains, as frames: one row of frames per core, one for everything that no core wrote.

use std::time::{Duration, Instant};

use super::handle::{Entry, Stream, What, now_us};
use super::metrics::Reason;
use super::render::gap_object;
use super::ring::{Item, Recovered};
use super::span::{Origin, Span};
use crate::record::Record;
use crate::record::binary::{self, Cut};
use crate::record::frame::{Builder, Codec, Form};
use crate::record::id::IdSource;
use crate::record::json::{AppLine, Notice, Renderer, Stamp};

/// A frame is closed when it has this many bytes, at a jump of the numbers, or at the end of a turn.
const FRAME: usize = 256 << 10;
/// Only a frame that would say nothing but what sampling left out waits so long for a record that is kept: at a low rate there would
/// be more of such frames than sampling saves.
const HOLD: Duration = Duration::from_secs(1);

/// Makes the frames of one process. What is finished stands in [`Self::frames`] until it is taken.
#[derive(Debug)]
pub(super) struct Framer {
    origin: Origin,
    ids: IdSource,
    renderer: Renderer,
    cores: Vec<Core>,
    /// Stream of everything that no core wrote: one beyond the last core.
    control: Builder,
    control_seq: u64,
    codec: Codec,
    frames: Vec<u8>,
}

/// The frame in making of one core.
#[derive(Debug, Default)]
struct Core {
    builder: Builder,
    /// First and last of the numbers that sampling left out of this frame, and how many.
    sampled: Option<(u64, u64, u64)>,
    /// Since when it has nothing else.
    held: Option<Instant>,
}

impl Framer {
    pub(super) fn new(origin: Origin, cores: usize, ids: IdSource) -> Self {
        Self {
            origin,
            ids,
            renderer: Renderer::default(),
            cores: (0..cores).map(|_| Core::default()).collect(),
            control: Builder::default(),
            control_seq: 0,
            codec: Codec::Raw,
            frames: Vec::new(),
        }
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// How the next frames are stored.
    pub(super) fn set_codec(&mut self, codec: Codec) {
        self.codec = codec;
    }

    fn control_core(&self) -> u16 {
        u16::try_from(self.cores.len()).unwrap_or(u16::MAX)
    }

    /// Adds a record in its binary form.
    #[inline]
    pub(super) fn record(&mut self, core: u16, (seq, ts_us): (u64, i64), bytes: &[u8]) {
        let Some(place) = self.cores.get_mut(usize::from(core)) else { return };
        if !place.builder.takes(Some(seq), bytes.len()) || place.builder.len() >= FRAME {
            self.close(core);
        }
        if let Some(place) = self.cores.get_mut(usize::from(core)) {
            place.builder.push(Form::Record, Some(seq), ts_us, bytes);
        }
    }

    /// Sampling left out the record with this number, the one after what was added last.
    pub(super) fn left_out(&mut self, core: u16, seq: u64) {
        let follows = |place: &&mut Core| place.builder.takes(Some(seq), 0);
        if self.cores.get_mut(usize::from(core)).as_ref().is_some_and(|place| !follows(place)) {
            self.close(core);
        }
        let Some(place) = self.cores.get_mut(usize::from(core)) else { return };
        let (first, _, count) = place.sampled.unwrap_or((seq, seq, 0));
        place.sampled = Some((first, seq, count + 1));
        place.builder.skip_to(seq);
    }

    /// Declares records that never came. `range` is absent for those without a number.
    pub(super) fn gap(&mut self, core: u16, range: Option<(u64, u64)>, missing: u64, reason: Reason) {
        // What is left undeclared are the last numbers.
        self.close(core);
        let span = Span { origin: self.origin.clone(), core, range, count: missing, reason };
        let object = gap_object(&span, &self.ids, &mut self.renderer);
        self.control_entry(None, now_us(), &object);
    }

    pub(super) fn lines_lost(&mut self, missing: u64) {
        self.gap(self.control_core(), None, missing, Reason::LinesFull);
    }

    /// A process event, a line of a worker, or facts.
    pub(super) fn entry(&mut self, entry: &Entry) {
        let (id, ts_us) = (self.ids.next(entry.ts_us), entry.ts_us);
        self.numbered(ts_us, |renderer, stamp, out| match &entry.what {
            What::Event { kind, cfg, text } => {
                let text = text.as_deref().map(str::as_bytes);
                let record = Record { kind: *kind, ts_us, id, cfg: *cfg, err: text, ..Record::default() };
                renderer.record(&record, stamp, out);
            }
            What::Line { worker, stream, line } => {
                let stream = if *stream == Stream::Stdout { "stdout" } else { "stderr" };
                renderer.app_line(&AppLine { id, ts_us, worker, stream, line }, stamp, out);
            }
            What::Host(facts) => renderer.host(ts_us, &id, facts, stamp, out),
        });
    }

    /// The rest of a dead process's stream, under its own name and numbers.
    pub(super) fn past(&mut self, past: &Recovered) {
        let Self { ids, renderer, codec, frames, .. } = self;
        let origin = Origin { proxy: past.proxy.as_str().into(), boot: past.boot };
        let stream = origin.stream(past.core);
        let mut builder = Builder::default();
        let mut push = |form, seq, ts_us, bytes: &[u8]| {
            if !builder.takes(seq, bytes.len()) || builder.len() >= FRAME {
                builder.finish(&stream, *codec, frames);
            }
            builder.push(form, seq, ts_us, bytes);
        };
        for item in past.items() {
            match item {
                Item::Record { seq, bytes } => {
                    let ts_us = binary::heading(&bytes).map_or(past.died_us, |(_, ts_us)| ts_us);
                    push(Form::Record, Some(seq), ts_us, &bytes);
                }
                Item::Gap { first, last, reason } => {
                    let (count, range) = (last - first + 1, Some((first, last)));
                    let span = Span { origin: origin.clone(), core: past.core, range, count, reason };
                    push(Form::Json, None, past.died_us, &gap_object(&span, ids, renderer));
                }
            }
        }
        builder.finish(&stream, *codec, frames);
    }

    /// The log tells about itself.
    pub(super) fn notice(&mut self, level: &str, reason: &str, text: &str) {
        let ts_us = now_us();
        let notice = Notice { id: self.ids.next(ts_us), ts_us, level, reason, text };
        self.numbered(ts_us, |renderer, stamp, out| renderer.notice(&notice, stamp, out));
    }

    /// The stream of everything that no core wrote, and its last number.
    pub(super) fn control(&self) -> (u16, u64) {
        (self.control_core(), self.control_seq)
    }

    /// The last record of all: closes every stream.
    pub(super) fn stop(&mut self, last_seq: &[u64]) {
        let ts_us = now_us();
        let id = self.ids.next(ts_us);
        self.numbered(ts_us, |renderer, stamp, out| renderer.stop(ts_us, &id, last_seq, stamp, out));
    }

    /// Closes all frames, but for those that may still [wait](HOLD) `now`, if any may; what there is then is to be written at
    /// once.
    pub(super) fn finish(&mut self, now: Option<Instant>) -> &[u8] {
        for core in 0..self.control_core() {
            if !now.is_some_and(|now| self.holds(core, now)) {
                self.close(core);
            }
        }
        self.close_control();
        &self.frames
    }

    /// First and last number of what sampling left out and no frame declares yet, once frames are finished.
    pub(super) fn left_undeclared(&self, core: u16) -> Option<(u64, u64)> {
        self.cores.get(usize::from(core))?.sampled.map(|(first, last, _)| (first, last))
    }

    fn holds(&mut self, core: u16, now: Instant) -> bool {
        let Some(place) = self.cores.get_mut(usize::from(core)) else { return false };
        let is_alone = place.sampled.is_some() && place.builder.is_empty();
        place.held = is_alone.then(|| place.held.unwrap_or(now));
        place.held.is_some_and(|since| now.duration_since(since) < HOLD)
    }

    /// The frames are written.
    pub(super) fn clear(&mut self) {
        self.frames.clear();
    }

    fn numbered(&mut self, ts_us: i64, write: impl FnOnce(&mut Renderer, &Stamp<'_>, &mut Vec<u8>)) {
        self.control_seq += 1;
        let Origin { proxy, boot } = &self.origin;
        let (core, seq) = (self.control_core(), self.control_seq);
        let stamp = Stamp { proxy, boot: *boot, core, seq, cut: Cut::default() };
        let mut object = Vec::new();
        write(&mut self.renderer, &stamp, &mut object);
        object.pop();
        self.control_entry(Some(seq), ts_us, &object);
    }

    fn control_entry(&mut self, seq: Option<u64>, ts_us: i64, object: &[u8]) {
        if !self.control.takes(seq, object.len()) || self.control.len() >= FRAME {
            self.close_control();
        }
        self.control.push(Form::Json, seq, ts_us, object);
    }

    fn close_control(&mut self) {
        let stream = self.origin.stream(self.control_core());
        self.control.finish(&stream, self.codec, &mut self.frames);
    }

    fn close(&mut self, core: u16) {
        let Self { origin, ids, renderer, cores, codec, frames, .. } = self;
        let Some(place) = cores.get_mut(usize::from(core)) else { return };
        place.held = None;
        if let Some((first, last, count)) = place.sampled.take() {
            let range = Some((first, last));
            let span = Span { origin: origin.clone(), core, range, count, reason: Reason::Sampled };
            place.builder.push(Form::Json, None, now_us(), &gap_object(&span, ids, renderer));
        }
        place.builder.finish(&origin.stream(core), *codec, frames);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::frame::Frame;

    /// Numbers and entries of the frames, which are taken.
    fn taken(framer: &mut Framer, now: Option<Instant>) -> Vec<(Option<(u64, u64)>, u32)> {
        let (mut bytes, mut told) = (framer.finish(now), Vec::new());
        while !bytes.is_empty() {
            let frame = Frame::parse(bytes).unwrap();
            told.push((frame.numbers, frame.count));
            bytes = &bytes[frame.len..];
        }
        framer.clear();
        told
    }

    fn framer() -> Framer {
        let origin = Origin { proxy: "edge-1".into(), boot: 7 };
        Framer::new(origin, 1, IdSource::new(0).unwrap())
    }

    #[test]
    fn a_frame_that_only_says_what_was_left_out_waits_for_a_record_but_not_for_ever() {
        let (mut framer, begin) = (framer(), Instant::now());
        let at = |ms| Some(begin + Duration::from_millis(ms));
        framer.left_out(0, 1);
        assert_eq!((taken(&mut framer, at(0)), framer.left_undeclared(0)), (vec![], Some((1, 1))));
        framer.left_out(0, 2);
        assert_eq!((taken(&mut framer, at(999)), framer.left_undeclared(0)), (vec![], Some((1, 2))));
        framer.record(0, (3, 1), b"a record");
        // The record, and what was left out.
        assert_eq!((taken(&mut framer, at(999)), framer.left_undeclared(0)), (vec![(Some((1, 3)), 2)], None));
        framer.left_out(0, 4);
        assert_eq!(taken(&mut framer, at(1000)), [], "it has just begun to wait");
        assert_eq!(taken(&mut framer, at(1999)), []);
        assert_eq!(
            (taken(&mut framer, at(2000)), framer.left_undeclared(0)),
            (vec![(Some((4, 4)), 1)], None)
        );
        framer.left_out(0, 5);
        assert_eq!(taken(&mut framer, None), [(Some((5, 5)), 1)], "at the end nothing waits");
    }

    #[test]
    fn numbers_that_are_missing_behind_what_was_left_out_end_its_waiting() {
        let mut framer = framer();
        framer.left_out(0, 1);
        framer.gap(0, Some((2, 2)), 1, Reason::RingFull);
        assert_eq!(framer.left_undeclared(0), None);
        assert_eq!(taken(&mut framer, Some(Instant::now())), [(Some((1, 1)), 1), (None, 1)]);
    }
}
