//! Compaction: many small files become few. The files of a closed hour become one L1 file of its normal rows and one of
//! its errors and slow requests, which is kept longer; when an open hour gathers many, they are merged meanwhile.
//!
//! One job at a time, on a thread of low priority that works only part of its time, and holds a few batches per file.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int32Type, UInt16Type, UInt64Type};
use arrow_array::{BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;
use jiff::Timestamp;

use super::files::{Draft, Files, Live, Written, hour_of};
use super::manifest::FileKind;
use super::retention;
use crate::log_service::columns::union_of_streams;
use crate::log_service::parquet::{Merge, StoredFile};
use crate::log_service::part::{Part as _, StreamExtent};
use crate::process::memory;

/// Most files merged at a time; more are merged in several rounds.
pub(crate) const MAX_MERGE: usize = 16;
/// An L0 file of so many rows waits for its hour to close.
const LARGE_ROWS: u64 = 1 << 20;
/// Low enough to yield to everything else.
const NICE: i32 = 15;

/// How compaction works.
#[derive(Clone)]
pub(crate) struct Settings {
    /// A request that lasted so long is kept with the errors; microseconds.
    pub(crate) slow_us: u64,
    /// How long after its end an hour is closed: rows may be on their way from memory to a file.
    pub(crate) grace: Duration,
    /// Share of its time that the thread works, 1 to 100 percent.
    pub(crate) work_percent: u32,
    /// Files merged at a time, at least 2: a page and a dictionary of each column of each are in memory.
    pub(crate) most_files: usize,
    /// Time between two looks for work.
    pub(crate) pause: Duration,
    pub(crate) retention: retention::Settings,
    pub(crate) clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            slow_us: 1_000_000,
            grace: Duration::from_secs(600),
            work_percent: 50,
            most_files: MAX_MERGE,
            pause: Duration::from_secs(30),
            retention: retention::Settings::default(),
            clock: Arc::new(Timestamp::now),
        }
    }
}

/// What to merge.
pub(super) struct Job {
    pub(super) hour: i64,
    pub(super) inputs: Vec<Arc<Live>>,
    /// The hour is closed and this is all of it.
    pub(super) is_last: bool,
}

/// The next job, the oldest hour first; `now` in microseconds.
pub(super) fn plan(files: &[Arc<Live>], settings: &Settings, now: i64) -> Option<Job> {
    let grace = i64::try_from(settings.grace.as_micros()).unwrap_or(i64::MAX);
    // The newest hour that is closed.
    let closed = hour_of(now.saturating_sub(grace)) - 1;
    let mut hours: Vec<i64> = l0(files).map(|live| live.entry.hour).collect();
    hours.sort_unstable();
    hours.dedup();
    hours.into_iter().find_map(|hour| {
        let of_hour = l0(files).filter(|live| live.entry.hour == hour);
        let is_closed = hour <= closed;
        let mut inputs: Vec<_> = of_hour
            .filter(|live| is_closed || live.file.extent().rows < LARGE_ROWS)
            .map(Arc::clone)
            .collect();
        let is_last = is_closed && inputs.len() <= settings.most_files;
        // Small ones first, else the same rows are merged again and again.
        inputs.sort_by_key(|live| live.file.extent().rows);
        inputs.truncate(settings.most_files);
        (is_last || inputs.len() == settings.most_files).then_some(Job { hour, inputs, is_last })
    })
}

fn l0(files: &[Arc<Live>]) -> impl Iterator<Item = &Arc<Live>> {
    files.iter().filter(|live| live.entry.kind == FileKind::L0)
}

/// Does one job. `pace` is called after each batch; an error of it ends the job, and nothing has changed.
pub(super) fn run(
    files: &Files,
    job: &Job,
    slow_us: u64,
    pace: &mut dyn FnMut() -> io::Result<()>,
) -> io::Result<()> {
    let inputs: Vec<Arc<StoredFile>> = job.inputs.iter().map(|live| Arc::clone(&live.file)).collect();
    let mut output = Output::new(files, job.hour);
    for batch in Merge::of_files(&inputs)? {
        let batch = batch?;
        if job.is_last {
            output.write_closed(&batch, slow_us)?;
        } else {
            output.write(FileKind::L0, &batch)?;
        }
        pace()?;
    }
    let streams = union_of_streams(inputs.iter().map(|file| file.extent()));
    files.replace(&job.inputs, output.finish(streams)?)
}

pub(super) struct Output<'f> {
    files: &'f Files,
    hour: i64,
    normal: Option<Draft>,
    errors: Option<Draft>,
}

impl<'f> Output<'f> {
    pub(super) fn new(files: &'f Files, hour: i64) -> Self {
        Self { files, hour, normal: None, errors: None }
    }

    /// Rows of an hour that is closed.
    pub(super) fn write_closed(&mut self, batch: &RecordBatch, slow_us: u64) -> io::Result<()> {
        let mask = is_kept_longer(batch, slow_us);
        self.write(FileKind::Err, &select(batch, &mask)?)?;
        self.write(FileKind::L1, &select(batch, &inverse(&mask))?)
    }

    fn write(&mut self, kind: FileKind, batch: &RecordBatch) -> io::Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let draft = if kind == FileKind::Err { &mut self.errors } else { &mut self.normal };
        if draft.is_none() {
            *draft = Some(self.files.begin(kind, self.hour)?);
        }
        draft.as_mut().map_or(Ok(()), |draft| draft.writer.write(batch))
    }

    /// The numbers of all rows stand with the normal file: when it is dropped before the other, nobody must take the rows
    /// that went with it for lost.
    pub(super) fn finish(self, streams: (Vec<StreamExtent>, u64)) -> io::Result<Vec<Written>> {
        let mut streams = Some(streams);
        let mut written = Vec::new();
        for draft in [self.normal, self.errors].into_iter().flatten() {
            written.push(draft.finish(Some(streams.take().unwrap_or_default()))?);
        }
        Ok(written)
    }
}

fn select(batch: &RecordBatch, mask: &BooleanArray) -> io::Result<RecordBatch> {
    filter_record_batch(batch, mask).map_err(io::Error::other)
}

fn inverse(mask: &BooleanArray) -> BooleanArray {
    mask.values().iter().map(|is_set| Some(!is_set)).collect()
}

/// Which rows are errors, slow, or tell of the log itself.
fn is_kept_longer(batch: &RecordBatch, slow_us: u64) -> BooleanArray {
    let mut mask = vec![false; batch.num_rows()];
    let numbers = |name: &str| batch.column_by_name(name);
    if let Some(status) = numbers("status").and_then(|column| column.as_primitive_opt::<UInt16Type>()) {
        mask.iter_mut()
            .zip(status)
            .for_each(|(kept, status)| *kept |= status.is_some_and(|status| status >= 500));
    }
    if let Some(dur) = numbers("dur_us").and_then(|column| column.as_primitive_opt::<UInt64Type>()) {
        mask.iter_mut().zip(dur).for_each(|(kept, dur)| *kept |= dur.is_some_and(|dur| dur >= slow_us));
    }
    mark(batch, "kind", &mut mask, |kind| matches!(kind, "gap" | "start" | "stop" | "reload"));
    mark(batch, "level", &mut mask, |level| {
        ["error", "fatal", "critical"].iter().any(|name| level.eq_ignore_ascii_case(name))
    });
    // An answer by a rule (a limit) is meant; and an exchange that came to its end is none, whoever ended it.
    let mut is_cut = vec![false; batch.num_rows()];
    mark(batch, "end_at", &mut is_cut, |end_at| end_at != "done");
    let mut by_error = vec![false; batch.num_rows()];
    mark(batch, "end_by", &mut by_error, |end_by| {
        matches!(end_by, "client" | "upstream" | "proxy" | "admin")
    });
    mask.into_iter()
        .zip(is_cut.into_iter().zip(by_error))
        .map(|(kept, (cut, error))| Some(kept || cut && error))
        .collect()
}

/// Sets the rows whose word passes the test, which is asked once per word.
fn mark(batch: &RecordBatch, name: &str, mask: &mut [bool], test: impl Fn(&str) -> bool) {
    let column = batch.column_by_name(name).and_then(|column| column.as_dictionary_opt::<Int32Type>());
    let Some(column) = column else { return };
    let Some(words) = column.values().as_string_opt::<i32>() else { return };
    let passes: Vec<bool> = words.iter().map(|word| word.is_some_and(&test)).collect();
    for (row, set) in mask.iter_mut().enumerate() {
        *set |= column.key(row).and_then(|key| passes.get(key)).is_some_and(|passes| *passes);
    }
}

/// The thread that compacts and drops old files.
pub(crate) struct Compactor {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

impl Compactor {
    pub(crate) fn spawn(files: Arc<Files>, settings: Settings) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("log-compact".into()).spawn(move || {
            // Of this thread only, on Linux. Without it the thread just weighs more.
            let _ = rustix::process::nice(NICE);
            work(&files, &settings, &told);
        })?;
        Ok(Self { thread, stop })
    }

    /// Ends the job at hand, of which nothing is left, and the thread.
    pub(crate) fn stop(self) {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        if self.thread.join().is_err() {
            tracing::error!("the compaction of the log store has died");
        }
    }
}

fn work(files: &Files, settings: &Settings, stop: &AtomicBool) {
    while !stop.load(Ordering::Acquire) {
        if let Err(error) = work_once(files, settings, stop)
            && !stop.load(Ordering::Acquire)
        {
            tracing::warn!(%error, "the log store cannot be compacted; it will be tried again");
        }
        pause(settings.pause, stop);
    }
}

/// Drops what is too old, then does all jobs there are.
pub(super) fn work_once(files: &Files, settings: &Settings, stop: &AtomicBool) -> io::Result<()> {
    loop {
        let now = (settings.clock)().as_microsecond();
        retention::drop_old(files, &settings.retention, hour_of(now))?;
        let Some(job) = plan(&files.list(), settings, now) else { return Ok(()) };
        let mut pace = Pace::new(settings.work_percent, stop);
        let done = run(files, &job, settings.slow_us, &mut || pace.keep());
        memory::release();
        done?;
        tracing::debug!(hour = job.hour, files = job.inputs.len(), "log files compacted");
    }
}

/// Keeps a thread from working more than its share of the time.
struct Pace<'s> {
    percent: u32,
    stop: &'s AtomicBool,
    since: Instant,
}

impl<'s> Pace<'s> {
    fn new(percent: u32, stop: &'s AtomicBool) -> Self {
        Self { percent: percent.clamp(1, 100), stop, since: Instant::now() }
    }

    fn keep(&mut self) -> io::Result<()> {
        let worked = self.since.elapsed();
        pause(worked * (100 - self.percent) / self.percent, self.stop);
        self.since = Instant::now();
        match self.stop.load(Ordering::Acquire) {
            true => Err(io::ErrorKind::Interrupted.into()),
            false => Ok(()),
        }
    }
}

/// Ends early when the thread is told to stop.
fn pause(time: Duration, stop: &AtomicBool) {
    let until = Instant::now() + time;
    while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
        && !stop.load(Ordering::Acquire)
    {
        std::thread::park_timeout(left);
    }
}
