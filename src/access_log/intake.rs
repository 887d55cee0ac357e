//! [`Intake`]: out of the rings into frames.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::core_log::Source;
use super::framer::Framer;
use super::metrics::{Metrics, Reason};
use super::shed::{Kept, Shedder};
use crate::record::binary;

/// What becomes of a record that comes out of a ring.
#[derive(Debug)]
pub(super) struct Intake {
    pub(super) framer: Framer,
    pub(super) shedder: Shedder,
    pub(super) metrics: Arc<Metrics>,
    /// Why records may be missing in the rings.
    pub(super) why: Reason,
}

impl Intake {
    /// Takes a share out of one ring; declares every number that did not come. Tells whether the ring was emptied.
    pub(super) fn drain(&mut self, core: u16, source: &mut Source, share: usize) -> bool {
        // Before the ring: then the ring shows everything that came before the refused record.
        let refused = source.reader.refused();
        let Source { reader, expected } = source;
        let (mut records, mut sampled) = (0, 0);
        let emptied = reader.drain(share, |bytes| {
            records += 1;
            sampled += u64::from(!self.record(core, expected, bytes));
        });
        self.metrics.records.fetch_add(records, Ordering::Relaxed);
        if sampled > 0 {
            self.metrics.sampled.fetch_add(sampled, Ordering::Relaxed);
        }
        if emptied {
            self.tell_missing(core, expected, refused);
        }
        emptied
    }

    /// Tells whether the record was kept; one that is none is declared.
    #[inline]
    fn record(&mut self, core: u16, expected: &mut u64, bytes: &[u8]) -> bool {
        let Some((seq, ts_us)) = binary::heading(bytes).filter(|(seq, _)| seq >= expected) else {
            self.bad(core, expected);
            return true;
        };
        self.tell_missing(core, expected, seq - 1);
        *expected = seq.saturating_add(1);
        match self.shedder.keep(bytes, seq) {
            Kept::As(bytes) => {
                self.framer.record(core, (seq, ts_us), bytes);
                true
            }
            Kept::Out => {
                self.framer.left_out(core, seq);
                false
            }
        }
    }

    #[cold]
    fn bad(&mut self, core: u16, expected: &mut u64) {
        self.metrics.dropped.add(Reason::BadFrame, 1);
        self.framer.gap(core, Some((*expected, *expected)), 1, Reason::BadFrame);
        *expected += 1;
    }

    /// Declares the numbers from `expected` to `last`, if there are any.
    #[inline]
    fn tell_missing(&mut self, core: u16, expected: &mut u64, last: u64) {
        if last >= *expected {
            self.framer.gap(core, Some((*expected, last)), last - *expected + 1, self.why);
            *expected = last + 1;
        }
    }
}
