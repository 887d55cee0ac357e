//! From the body of `POST /frames` to frames that can be stored: every entry of each was read once.
//!
//! A bad frame does not hold up those behind it: the reader goes on where the next good one begins, and tells which one
//! was bad and why. What reaches the write-ahead log can therefore be read again.

use bytes::Bytes;

use super::entry::{Entry, Head, Stream};
use crate::record::binary::{self, Decoded, Tries};
use crate::record::frame::{self, Form, Frame, FrameError};

/// How many bad frames are told one by one.
const TOLD: usize = 20;

/// A frame as it came, checked.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    /// The whole frame.
    pub(crate) bytes: Bytes,
    pub(crate) stream: Stream,
    /// First and last sequence number; absent when no entry has one.
    pub(crate) numbers: Option<(u64, u64)>,
    pub(crate) count: u32,
}

/// What came out of a body.
#[derive(Debug, Default)]
pub(crate) struct Split {
    pub(crate) frames: Vec<Checked>,
    /// The first bad frames.
    pub(crate) bad: Vec<BadFrame>,
    pub(crate) bad_count: usize,
}

/// A frame that was not taken.
#[derive(Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct BadFrame {
    /// Place among the frames of the body, from 1.
    pub(crate) frame: usize,
    /// Where in the body it begins.
    pub(crate) offset: usize,
    pub(crate) reason: String,
    /// The numbers that it says to carry, if that much of it can be believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) numbers: Option<(u64, u64)>,
}

/// Why a frame with a right checksum cannot be stored.
#[derive(Debug, thiserror::Error)]
enum BadContent {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("entry {0}: {1}")]
    Record(usize, binary::BinaryError),
    #[error("entry {0}: {1}")]
    Json(usize, serde_json::Error),
    #[error("entry {0}: larger than {1} bytes")]
    TooLarge(usize, usize),
    #[error("its entries do not have the numbers that its head says")]
    Numbers,
    #[error("its head says {0} entries, it has {1}")]
    Count(u32, u32),
}

/// Takes a body apart.
pub(crate) fn split(body: &Bytes, entry_bytes: usize) -> Split {
    let (mut split, mut room) = (Split::default(), Vec::new());
    let (mut at, mut place) = (0, 0);
    while at < body.len() {
        place += 1;
        let frame = match Frame::parse(&body[at..]) {
            Ok(frame) => frame,
            Err(error) => {
                split.refuse(place, at, error.to_string(), None);
                // Behind what cannot be read only a good frame is worth looking for.
                let Some(next) = frame::find(body, at + 1) else { break };
                at = next;
                continue;
            }
        };
        match check(&frame, entry_bytes, &mut room) {
            Ok(()) => split.frames.push(Checked::new(&frame, body.slice(at..at + frame.len))),
            Err(error) => split.refuse(place, at, error.to_string(), frame.numbers),
        }
        at += frame.len;
    }
    split
}

/// Reads every entry once.
fn check(frame: &Frame<'_>, entry_bytes: usize, room: &mut Vec<u8>) -> Result<(), BadContent> {
    let mut count = 0;
    let mut numbers = Numbers::of(frame);
    for (entry, place) in frame.entries(room)?.zip(1..) {
        let entry = entry?;
        count += 1;
        let seq = match entry.form {
            Form::Record => {
                let (mut decoded, mut tries) = (Decoded::default(), Tries::default());
                binary::decode_into(&mut decoded, entry.bytes, &mut tries)
                    .map_err(|error| BadContent::Record(place, error))?;
                Some(decoded.seq)
            }
            Form::Json if entry.bytes.len() > entry_bytes => {
                return Err(BadContent::TooLarge(place, entry_bytes));
            }
            Form::Json => {
                let head = Entry::head(entry.bytes).map_err(|error| BadContent::Json(place, error))?;
                numbers.declare(&head);
                head.number()
            }
        };
        seq.map_or(Ok(()), |seq| numbers.note(seq))?;
    }
    if count != frame.count {
        return Err(BadContent::Count(frame.count, count));
    }
    numbers.check()
}

/// Whether the entries have the numbers that the head says: without a hole, but for those that a gap of the same frame
/// declares, as sampling left them out.
struct Numbers<'f> {
    frame: &'f Frame<'f>,
    /// Those that the head says and that have not come yet.
    left: Option<(u64, u64)>,
    /// From the first hole to the end of the last one.
    holes: Option<(u64, u64)>,
    declared: Vec<(u64, u64)>,
}

impl<'f> Numbers<'f> {
    fn of(frame: &'f Frame<'f>) -> Self {
        Self { frame, left: frame.numbers, holes: None, declared: Vec::new() }
    }

    fn note(&mut self, seq: u64) -> Result<(), BadContent> {
        let (next, last) =
            self.left.filter(|(next, last)| (*next..=*last).contains(&seq)).ok_or(BadContent::Numbers)?;
        if next < seq {
            self.hole(next, seq - 1);
        }
        self.left = (seq < last).then(|| (seq + 1, last));
        Ok(())
    }

    fn hole(&mut self, from: u64, to: u64) {
        self.holes = Some((self.holes.map_or(from, |(first, _)| first), to));
    }

    fn declare(&mut self, head: &Head<'_>) {
        let is_own = || head.stamp().is_some_and(|stamp| stamp.stream == Stream::of(&self.frame.stream));
        let gap = head.gap().filter(|_| is_own());
        self.declared.extend(gap.map(std::ops::RangeInclusive::into_inner));
    }

    fn check(mut self) -> Result<(), BadContent> {
        if let Some((next, last)) = self.left {
            self.hole(next, last);
        }
        let Some((from, to)) = self.holes else { return Ok(()) };
        let covers = |&(first, last): &(u64, u64)| first <= from && to <= last;
        if self.declared.iter().any(covers) { Ok(()) } else { Err(BadContent::Numbers) }
    }
}

impl Checked {
    fn new(frame: &Frame<'_>, bytes: Bytes) -> Self {
        Self { bytes, stream: Stream::of(&frame.stream), numbers: frame.numbers, count: frame.count }
    }
}

impl Split {
    fn refuse(&mut self, frame: usize, offset: usize, reason: String, numbers: Option<(u64, u64)>) {
        self.bad_count += 1;
        if self.bad.len() < TOLD {
            self.bad.push(BadFrame { frame, offset, reason, numbers });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;
    use crate::record::frame::{Builder, Codec};

    const STREAM: frame::Stream<'static> = frame::Stream { proxy: "edge", boot: 7, core: 1 };

    fn record(seq: u64) -> Vec<u8> {
        let mut out = Vec::new();
        binary::encode(&Record { path: Some(b"/a"), ..Record::default() }, seq, &mut out);
        out
    }

    fn frame(entries: &[(Form, Option<u64>, Vec<u8>)]) -> Vec<u8> {
        let (mut builder, mut out) = (Builder::default(), Vec::new());
        for (form, seq, bytes) in entries {
            builder.push(*form, *seq, 1, bytes);
        }
        builder.finish(&STREAM, Codec::Lz4, &mut out);
        out
    }

    #[test]
    fn good_frames_are_kept_and_bad_ones_named() {
        let good =
            frame(&[(Form::Record, Some(1), record(1)), (Form::Json, None, b"{\"kind\":\"gap\"}".to_vec())]);
        let lies = frame(&[(Form::Record, Some(9), record(8))]);
        let broken = frame(&[(Form::Record, Some(2), b"no".to_vec())]);
        let mut flipped = good.clone();
        flipped[70] ^= 1;
        let body = Bytes::from([good.clone(), lies, flipped, broken, good.clone()].concat());
        let split = split(&body, 1000);
        assert_eq!(split.frames.len(), 2);
        assert_eq!(split.bad.iter().map(|bad| bad.frame).collect::<Vec<_>>(), [2, 3, 4]);
        assert_eq!(split.bad[0].numbers, Some((9, 9)));
        assert_eq!((split.frames[1].numbers, split.frames[1].count), (Some((1, 1)), 2));
        assert_eq!(split.frames[1].bytes, good);
    }

    #[test]
    fn what_sampling_left_out_is_no_hole_where_the_frame_says_so() {
        let gap = |core: u16, first: u64, last: u64| {
            let text = format!(
                r#"{{"kind":"gap","proxy":"edge","boot":7,"core":{core},"first_seq":{first},"last_seq":{last},"missing":4}}"#
            );
            (Form::Json, None, text.into_bytes())
        };
        // The head says 1 to 9 or, without the last ones, to `last`.
        let sampled = |kept: &[u64], last: u64, gaps: &[(Form, Option<u64>, Vec<u8>)]| {
            let (mut builder, mut out) = (Builder::default(), Vec::new());
            builder.skip_to(1);
            for seq in kept {
                builder.skip_to(seq - 1);
                builder.push(Form::Record, Some(*seq), 1, &record(*seq));
            }
            builder.skip_to(last);
            gaps.iter().for_each(|(form, seq, bytes)| builder.push(*form, *seq, 1, bytes));
            builder.finish(&STREAM, Codec::Raw, &mut out);
            let split = split(&out.into(), 1000);
            split.frames.first().map(|frame| (frame.numbers, frame.count))
        };
        let whole = Some((Some((1, 9)), 3));
        assert_eq!(sampled(&[3, 7], 9, &[gap(1, 1, 9)]), whole);
        assert_eq!(sampled(&[], 9, &[gap(1, 1, 9)]), Some((Some((1, 9)), 1)), "all of them");
        for lies in
            [&[] as &[_], &[gap(1, 2, 9)], &[gap(1, 1, 8)], &[gap(2, 1, 9)], &[gap(1, 1, 4), gap(1, 5, 9)]]
        {
            assert_eq!(sampled(&[3, 7], 9, lies), None, "{lies:?}");
        }
        assert_eq!(sampled(&[3, 9], 7, &[gap(1, 1, 9)]), None, "behind what the head says");
    }

    #[test]
    fn a_cut_body_is_told_and_its_whole_frames_kept() {
        let good = frame(&[(Form::Record, Some(1), record(1))]);
        let body = Bytes::from([good.clone(), good[..good.len() - 1].to_vec()].concat());
        let split = split(&body, 1000);
        assert_eq!((split.frames.len(), split.bad_count, split.bad[0].offset), (1, 1, good.len()));
    }
}
