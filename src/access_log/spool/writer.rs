//! [`Writer`]: the collector's end.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Spool;
use super::ends::{End, Ends};
use super::segment::{Place, Segment};
use super::sync::OnceSafe;
use crate::access_log::metrics::{Metrics, Reason};
use crate::access_log::settings::Sync;
use crate::record::frame::Stream;

/// After a failure the disk is tried again when this has passed; until then segments are memory.
const AGAIN: Duration = Duration::from_secs(1);
/// Memory is freed in this many parts.
const PARTS: u64 = 8;

#[derive(Debug)]
pub(in crate::access_log) struct Writer {
    pub(super) spool: Arc<Spool>,
    current: Option<Current>,
    failed: Option<Failed>,
    /// What is there and what was appended.
    ends: Ends,
    /// How many failed syncs it has heeded.
    failed_syncs: u64,
    careful: Option<Careful>,
}

/// While something is appended for which something else is given up.
#[derive(Debug)]
struct Careful {
    /// How many syncs had failed before.
    failed_syncs: u64,
    is_on_disk: bool,
}

/// The segment on disk that is being written.
#[derive(Debug)]
struct Current {
    file: Arc<File>,
    len: u64,
}

#[derive(Debug)]
struct Failed {
    at: Instant,
    reason: Reason,
}

impl Writer {
    pub(super) fn new(spool: Arc<Spool>, ends: Ends) -> Self {
        Self { spool, current: None, failed: None, ends, failed_syncs: 0, careful: None }
    }

    /// These streams of dead processes have got so far: what of them is neither with a sink nor in the spool is lost. Call
    /// it before anything is appended.
    pub(in crate::access_log) fn expect(&mut self, past: &[End]) {
        for End { proxy, boot, core, last } in past.iter().filter(|end| end.last > 0) {
            self.ends.reach(&Stream { proxy, boot: *boot, core: *core }, *last);
        }
        self.spool.lock().past.clone_from(&self.ends.streams);
        self.note_segments();
    }

    /// How far each stream has come, as far as is known.
    pub(in crate::access_log) fn ends(&self) -> &[End] {
        &self.ends.streams
    }

    /// Writes down what there is. Nothing depends on it but that damage is noticed.
    fn note_segments(&mut self) {
        if self.spool.settings.dir.is_none() || self.spool.sinks.is_empty() {
            return;
        }
        self.ends.set_segments(self.spool.lock().segments.iter());
        self.spool.leave(|chores| chores.ends = Some(self.ends.clone()));
    }

    /// Appends whole frames and wakes the sinks. Never fails: what the disk does not take is kept in memory.
    pub(in crate::access_log) fn append(&mut self, frames: &[u8]) {
        if frames.is_empty() || self.spool.sinks.is_empty() {
            return;
        }
        if !self.append_to_disk(frames) {
            self.append_to_memory(frames);
            self.careful.iter_mut().for_each(|careful| careful.is_on_disk = false);
        }
        self.spool.mark(frames.len());
        if self.spool.settings.dir.is_some() {
            self.ends.note(frames);
        }
        self.spool.changed.iter().for_each(tokio::sync::Notify::notify_one);
    }

    /// Why the disk does not take anything, if so.
    pub(in crate::access_log) fn failing(&self) -> Option<Reason> {
        self.failed.as_ref().map(|failed| failed.reason)
    }

    /// Tells the metrics how things stand, makes room where that harms nobody who keeps up, and returns how far the
    /// spool is filled, in thousandths: 0 while there is a sink that keeps up, as nothing needs to be saved then.
    pub(in crate::access_log) fn fill(&self, metrics: &Metrics) -> u64 {
        let mut fill = self.spool.publish(metrics);
        while fill >= 1000 && self.spool.give_up_oldest() {
            fill = self.spool.publish(metrics);
        }
        if self.spool.has_one_near(&self.spool.lock()) { 0 } else { fill }
    }

    /// Tells the metrics how things stand.
    pub(in crate::access_log) fn publish(&self, metrics: &Metrics) {
        self.spool.publish(metrics);
    }

    /// Whether a sink is behind by more than a segment.
    pub(in crate::access_log) fn has_laggard(&self) -> bool {
        let state = self.spool.lock();
        state.seats.iter().any(|seat| state.lag(seat.at) > self.spool.settings.segment)
    }

    /// What comes next is still kept elsewhere, until [`Self::once_safe`].
    pub(in crate::access_log) fn begin_careful(&mut self) {
        let failed_syncs = self.spool.failed_syncs.load(Ordering::Acquire);
        self.careful = Some(Careful { failed_syncs, is_on_disk: true });
    }

    /// Does `act`, which gives up what was kept elsewhere, when the disk has all of it for sure. That is not waited for
    /// where a thread syncs. It is not done at all if the disk has failed meanwhile.
    pub(in crate::access_log) fn once_safe(&mut self, act: impl FnOnce() + Send + 'static) {
        let Some(Careful { failed_syncs, is_on_disk: true }) = self.careful.take() else { return };
        let current = self.current.as_ref().map(|current| Arc::clone(&current.file));
        let once_safe = OnceSafe { current, failed_syncs, act: Box::new(act) };
        self.spool.leave(|chores| chores.once_safe = Some(once_safe));
        self.spool.hurry();
    }

    /// Returns when what [`Self::once_safe`] was told is done, or cannot be.
    pub(in crate::access_log) fn wait_until_safe(&self) {
        self.spool.do_chores();
    }

    /// What the sinks share with it.
    pub(in crate::access_log) fn shared(&self) -> Arc<Spool> {
        Arc::clone(&self.spool)
    }

    /// Nothing more will come. Waits for no disk.
    pub(in crate::access_log) fn close(&mut self) {
        // So that it is deleted when every sink has it.
        self.seal();
        self.current = None;
        self.spool.lock().is_closed = true;
        self.spool.changed.iter().for_each(tokio::sync::Notify::notify_one);
    }

    /// Puts everything on the disk after the end; returns when it is there.
    pub(in crate::access_log) fn settle(&mut self) {
        if self.spool.settings.sync != Sync::System {
            self.spool.sync();
        }
        self.note_segments();
        self.spool.do_chores();
        self.spool.forget_unsafe();
        self.spool.prune();
    }

    fn append_to_disk(&mut self, frames: &[u8]) -> bool {
        if self.spool.settings.dir.is_none()
            || self.failed.as_ref().is_some_and(|failed| failed.at.elapsed() < AGAIN)
        {
            return false;
        }
        match self.write(frames) {
            Ok(()) => {
                if self.failed.take().is_some() {
                    tracing::info!("the log's spool is written to the disk again");
                }
                true
            }
            Err(error) => {
                self.fail(&error);
                false
            }
        }
    }

    fn fail(&mut self, error: &io::Error) {
        if self.failed.is_none() {
            tracing::warn!(%error, "the log's spool cannot be written; what comes is kept in memory");
        }
        self.failed = Some(Failed { at: Instant::now(), reason: Reason::of(error) });
        if let Some(current) = self.current.take() {
            // Readers stop in front of what was half written, whether it can be cut off or not.
            let _ = current.file.set_len(current.len);
        }
        self.seal();
    }

    fn write(&mut self, frames: &[u8]) -> io::Result<()> {
        let is_full = |current: &Current| {
            current.len > 0 && current.len + frames.len() as u64 > self.spool.settings.segment
        };
        let failed_syncs = self.spool.failed_syncs.load(Ordering::Acquire);
        if std::mem::replace(&mut self.failed_syncs, failed_syncs) != failed_syncs
            || self.current.as_ref().is_some_and(is_full)
        {
            self.roll();
        }
        let current = match self.current.take() {
            Some(current) => current,
            None => self.begin()?,
        };
        // Back in its place before anything can fail, so that the failure finds it.
        let Current { file, len } = self.current.insert(current);
        file.write_all_at(frames, *len)?;
        if self.spool.settings.sync == Sync::Always {
            file.sync_data()?;
        }
        *len += frames.len() as u64;
        let len = *len;
        if let Some(last) = self.spool.lock().segments.back_mut() {
            last.len = len;
        }
        self.spool.soil();
        Ok(())
    }

    /// The current segment is complete. When all have it already, nobody else will delete it.
    fn roll(&mut self) {
        let number = self.spool.lock().segments.back().map(|last| last.number);
        self.seal();
        let current = self.current.take();
        // Where nobody asks for syncs, what is kept elsewhere is the exception.
        let is_left = self.careful.is_some() || matches!(self.spool.settings.sync, Sync::Every(_));
        self.spool.leave(|chores| {
            chores.files.extend(number.zip(current).filter(|_| is_left).map(|(n, one)| (n, one.file)));
            chores.has_sealed = true;
        });
    }

    fn begin(&mut self) -> io::Result<Current> {
        self.seal();
        let number = self.spool.lock().next;
        let path = self.spool.path(number).ok_or(io::ErrorKind::NotFound)?;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o640).open(&path);
        // The number is spent, whatever comes of it.
        self.spool.lock().next = number + 1;
        let file = Arc::new(file?);
        match self.spool.settings.sync {
            Sync::Always => self.spool.sync_directory()?,
            Sync::Every(_) => self.spool.leave(|chores| chores.has_new_file = true),
            Sync::System => {}
        }
        let segment = Segment { number, len: 0, is_sealed: false, place: Place::Disk };
        self.spool.lock().segments.push_back(segment);
        *self.spool.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&file));
        self.note_segments();
        Ok(Current { file, len: 0 })
    }

    fn seal(&self) {
        if let Some(last) = self.spool.lock().segments.back_mut() {
            last.is_sealed = true;
        }
    }

    fn append_to_memory(&self, frames: &[u8]) {
        let part = (self.spool.settings.memory as u64 / PARTS).max(1);
        let mut state = self.spool.lock();
        let takes =
            |last: &Segment| !last.is_sealed && matches!(last.place, Place::Memory(_)) && last.len < part;
        if !state.segments.back().is_some_and(takes) {
            if let Some(last) = state.segments.back_mut() {
                last.is_sealed = true;
            }
            let number = state.next;
            state.next += 1;
            let place = Place::Memory(Default::default());
            state.segments.push_back(Segment { number, len: 0, is_sealed: false, place });
        }
        if let Some(Segment { len, place: Place::Memory(chunks), .. }) = state.segments.back_mut() {
            chunks.push_back((*len, Bytes::copy_from_slice(frames)));
            *len += frames.len() as u64;
        }
        drop(state);
        self.spool.prune();
    }
}
