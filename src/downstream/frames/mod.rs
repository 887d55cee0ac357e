//! [`Inspector`]: walks the frames of an HTTP/2 client before the library sees them (RFC 9113 section 4.1).
//!
//! It counts them for the [`FrameMeter`], and lets the [`Follower`] read every header block. Whatever is sound passes
//! in place; a header block is held back until it is whole, and handed on rewritten when it is malformed. Where the
//! library has the wrong code for a broken connection, it is ended here; for what else follows no protocol the
//! inspector steps aside.

mod layout;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, BufMut, BytesMut};

use layout::{
    CONTINUATION, DATA, END_STREAM, ENDED, Frames, HEADER, HEADERS, Head, Opening, PUSH_PROMISE, PUSHED,
    RST_STREAM, SETTINGS, SMALLEST_MAX_FRAME, check_settings, check_size, put_block,
};
pub use layout::{Code, Fatal};

use super::hpack::{Follower, Part};
use super::meter::{FrameMeter, Kind};
use super::wire::{Limits, Malformed};

const PREFACE: usize = 24;

/// See the module.
pub struct Inspector {
    limits: Arc<Limits>,
    preface_left: usize,
    payload_left: usize,
    last_stream: u32,
    /// Streams whose request has not ended; the oldest are forgotten when they are too many.
    open: VecDeque<u32>,
    /// Streams that the client jumped over once: they were never open.
    gap: Range<u32>,
    /// What is neither open nor in the gap is known to have ended.
    is_sure: bool,
    /// Request heads that went on to the library unchanged.
    heads: u64,
    meter: FrameMeter,
    follower: Follower,
    /// From the start of a frame that cannot be judged yet.
    pending: BytesMut,
    /// Bytes of `pending` that are whole frames of one block, already counted.
    walked: usize,
    /// CONTINUATIONs among them.
    continuations: u32,
    /// Judged bytes that did not stay in place.
    ready: BytesMut,
    /// Header blocks are no longer followed.
    is_aside: bool,
    malformed: Vec<Malformed>,
}

enum Step {
    /// So many bytes may go on.
    Pass(usize),
    /// So many bytes were rewritten into `ready`.
    Replaced(usize),
    /// More bytes are needed.
    Hold,
}

impl Inspector {
    pub fn new(limits: Arc<Limits>) -> Self {
        Self {
            limits,
            preface_left: PREFACE,
            payload_left: 0,
            last_stream: 0,
            open: VecDeque::new(),
            gap: 0..0,
            is_sure: true,
            heads: 0,
            meter: FrameMeter::default(),
            follower: Follower::default(),
            pending: BytesMut::new(),
            walked: 0,
            continuations: 0,
            ready: BytesMut::new(),
            is_aside: false,
            malformed: Vec::new(),
        }
    }

    /// Judges bytes that came while nothing was held; gives how many may go on in place. The others were taken.
    ///
    /// # Errors
    /// The client floods or breaks the framing: the connection must end.
    pub fn on_read(&mut self, bytes: &[u8]) -> Result<usize, Fatal> {
        let mut at = self.skip(bytes.len());
        while at < bytes.len() {
            match self.step(&bytes[at..])? {
                Step::Pass(count) => at += count,
                Step::Replaced(count) => {
                    self.on_more(&bytes[at + count..])?;
                    return Ok(at);
                }
                Step::Hold => {
                    self.pending.extend_from_slice(&bytes[at..]);
                    return Ok(at);
                }
            }
        }
        Ok(at)
    }

    /// Judges further bytes while something is held or ready.
    ///
    /// # Errors
    /// The client floods or breaks the framing: the connection must end.
    pub fn on_more(&mut self, bytes: &[u8]) -> Result<(), Fatal> {
        let mut pending = std::mem::take(&mut self.pending);
        pending.extend_from_slice(bytes);
        loop {
            let skipped = self.skip(pending.len());
            self.ready.put_slice(&pending[..skipped]);
            pending.advance(skipped);
            if pending.is_empty() {
                return Ok(());
            }
            match self.step(&pending)? {
                Step::Pass(count) => {
                    self.ready.put_slice(&pending[..count]);
                    pending.advance(count);
                }
                Step::Replaced(count) => pending.advance(count),
                Step::Hold => {
                    self.pending = pending;
                    return Ok(());
                }
            }
        }
    }

    /// The client closed: what is held goes on as it is.
    pub fn on_close(&mut self) {
        self.is_aside = true;
        let pending = std::mem::take(&mut self.pending);
        self.ready.put_slice(&pending);
    }

    /// Bytes that must be handed on before anything else is read.
    pub fn ready(&mut self) -> &mut BytesMut {
        &mut self.ready
    }

    /// Bytes are held back until more come.
    pub fn is_holding(&self) -> bool {
        !self.pending.is_empty()
    }

    pub fn is_anything_malformed(&self) -> bool {
        !self.malformed.is_empty()
    }

    /// Requests that were refused since the last call.
    pub fn take_malformed(&mut self) -> Vec<Malformed> {
        std::mem::take(&mut self.malformed)
    }

    /// Request heads that went on to the library unchanged, so far.
    pub fn heads(&self) -> u64 {
        self.heads
    }

    /// A body of this connection moved at `progress_ms`, on any clock.
    pub fn on_progress(&mut self, progress_ms: u64) {
        self.meter.on_progress(progress_ms);
    }

    /// A GOAWAY frame for the last stream seen (RFC 9113 section 6.8).
    pub fn goaway(&self, code: Code) -> [u8; 17] {
        let [a, b, c, d] = self.last_stream.to_be_bytes();
        [0, 0, 8, 7, 0, 0, 0, 0, 0, a, b, c, d, 0, 0, 0, code as u8]
    }

    /// Passes the rest of the preface or of a payload.
    fn skip(&mut self, available: usize) -> usize {
        let preface = self.preface_left.min(available);
        self.preface_left -= preface;
        let payload = self.payload_left.min(available - preface);
        self.payload_left -= payload;
        preface + payload
    }

    /// Judges the frame (for a header block: the frames) at the start of `bytes`.
    fn step(&mut self, bytes: &[u8]) -> Result<Step, Fatal> {
        let Some(head) = Head::of(bytes) else { return Ok(Step::Hold) };
        if head.kind == HEADERS && !self.is_aside {
            return self.block(bytes);
        }
        check_size(head)?;
        if head.kind == SETTINGS && !self.is_aside && head.length <= self.limits.h2.max_frame as usize {
            let Some(payload) = bytes.get(HEADER..HEADER + head.length) else { return Ok(Step::Hold) };
            check_settings(payload)?;
        }
        match head.kind {
            DATA if self.has_ended(head.stream) => return Err(ENDED),
            DATA if head.flags & END_STREAM != 0 => self.close(head.stream),
            RST_STREAM => self.close(head.stream),
            PUSH_PROMISE => return Err(PUSHED),
            _ => {}
        }
        if let Some(kind) = Kind::of(head.kind, head.flags, head.length as u32) {
            self.count(kind)?;
        }
        Ok(self.pass(bytes, HEADER + head.length))
    }

    fn pass(&mut self, bytes: &[u8], size: usize) -> Step {
        let passed = size.min(bytes.len());
        self.payload_left = size - passed;
        Step::Pass(passed)
    }

    fn count(&mut self, kind: Kind) -> Result<(), Fatal> {
        self.meter.count(kind, &self.limits.h2, Instant::now()).map_err(Fatal::flood)
    }

    /// Judges HEADERS with its CONTINUATIONs (RFC 9113 section 6.10).
    fn block(&mut self, bytes: &[u8]) -> Result<Step, Fatal> {
        let Some(first) = Head::of(bytes) else { return Ok(Step::Hold) };
        loop {
            let Some(head) = Head::of(&bytes[self.walked..]) else { return Ok(Step::Hold) };
            let is_first = self.walked == 0;
            let is_in_order = is_first || (head.kind == CONTINUATION && head.stream == first.stream);
            if !is_in_order || head.length > self.limits.h2.max_frame as usize {
                return Ok(self.step_aside(bytes));
            }
            let end = self.walked + HEADER + head.length;
            if end > self.max_block() {
                return Err(Fatal::flood("header block too large"));
            }
            if bytes.len() < end {
                return Ok(Step::Hold);
            }
            self.walked = end;
            self.continuations += u32::from(!is_first);
            if head.is_last() {
                (self.walked, self.continuations) = (0, 0);
                return self.whole(&bytes[..end], first);
            }
            if self.continuations > self.limits.h2.max_continuations {
                return Err(Fatal::flood("CONTINUATION flood"));
            }
        }
    }

    /// Bytes of one block with its frame headers; what it may expand to is the library's to limit.
    fn max_block(&self) -> usize {
        self.limits.max_header_size.saturating_mul(4).max(4 * SMALLEST_MAX_FRAME)
    }

    fn whole(&mut self, frames: &[u8], first: Head) -> Result<Step, Fatal> {
        let Some(opening) = Opening::of(&frames[HEADER..HEADER + first.length], first) else {
            return Ok(self.step_aside(frames));
        };
        let is_single = frames.len() == HEADER + first.length;
        let joined: Vec<u8>;
        let block = if is_single {
            opening.fragment
        } else {
            let rest =
                Frames(&frames[HEADER + first.length..]).flat_map(|(_, payload)| payload.iter().copied());
            joined = opening.fragment.iter().copied().chain(rest).collect();
            &joined
        };
        if self.has_ended(first.stream) {
            return Err(ENDED);
        }
        let part = self.part(first);
        let unreadable = |_| Fatal { code: Code::Compression, why: "header block cannot be decoded" };
        let found = self.follower.read(block, part).map_err(unreadable)?;
        let why = found.or(opening.is_own_parent.then_some("stream depends on itself"));
        let Some(why) = why else {
            self.heads += u64::from(part == Part::Head);
            return Ok(self.sound(frames, first, block, is_single));
        };
        self.count(Kind::Malformed)?;
        if part == Part::Head {
            self.malformed.push(Malformed { stream: first.stream, why });
        }
        let mut mended = BytesMut::with_capacity(block.len() + 32);
        self.follower.mend(block, part, &mut mended);
        put_block(first, &mended, &mut self.ready);
        Ok(Step::Replaced(frames.len()))
    }

    /// What a block is, and what its END_STREAM does to its stream.
    fn part(&mut self, first: Head) -> Part {
        let is_end = first.flags & END_STREAM != 0;
        if first.stream > self.last_stream {
            self.see_gap(first.stream);
            self.last_stream = first.stream;
            if !is_end {
                self.open(first.stream);
            }
            return Part::Head;
        }
        if !self.open.contains(&first.stream) {
            return Part::Stray;
        }
        if is_end {
            self.close(first.stream);
        }
        Part::Trailers
    }

    fn see_gap(&mut self, stream: u32) {
        let next = (self.last_stream + 1) | 1;
        if stream > next {
            self.is_sure &= self.gap.is_empty();
            self.gap = next..stream;
        }
    }

    /// The client has ended this stream itself, and must know.
    fn has_ended(&self, stream: u32) -> bool {
        let was_open = stream % 2 == 1 && stream <= self.last_stream && !self.gap.contains(&stream);
        was_open && self.is_sure && !self.is_aside && !self.open.contains(&stream)
    }

    fn open(&mut self, stream: u32) {
        if self.open.len() >= 2 * self.limits.h2.max_streams as usize {
            // Streams that we have reset stay in the list when the client lets them rest.
            self.open.pop_front();
            self.is_sure = false;
        }
        self.open.push_back(stream);
    }

    fn close(&mut self, stream: u32) {
        if let Some(at) = self.open.iter().position(|open| *open == stream) {
            self.open.remove(at);
        }
    }

    /// The library allows few CONTINUATIONs: a block in many pieces goes on in whole ones.
    fn sound(&mut self, frames: &[u8], first: Head, block: &[u8], is_single: bool) -> Step {
        if is_single {
            return Step::Pass(frames.len());
        }
        put_block(first, block, &mut self.ready);
        Step::Replaced(frames.len())
    }

    fn step_aside(&mut self, bytes: &[u8]) -> Step {
        self.is_aside = true;
        (self.walked, self.continuations) = (0, 0);
        let size = Head::of(bytes).map_or(bytes.len(), |head| HEADER + head.length);
        self.pass(bytes, size)
    }
}

#[cfg(test)]
mod tests;
