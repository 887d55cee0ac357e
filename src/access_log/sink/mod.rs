//! Where lines end: the three kinds of sinks, and [`Delivery`], the one loop that all of them share.
//!
//! A sink takes a parcel whole or not at all, and knows nothing of queues, retries and gaps; the loop knows nothing of
//! files and sockets.

mod file;
mod service;
mod stdout;
mod wire;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use self::file::FileSink;
use self::service::ServiceSink;
use self::stdout::StdoutSink;
use super::Error;
use super::handle::Reopen;
use super::metrics::{Reason, SinkMetrics};
use super::output::GapWriter;
use super::queue::{Queue, Taken};
use super::settings::{Form, ServiceEndpoint, SinkSettings};
use super::span::Spans;
use crate::record::id::Random;

/// A sink with its queue and its counters.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) sink: Sink,
    pub(super) queue: Arc<Queue>,
    pub(super) metrics: Arc<SinkMetrics>,
    pub(super) gaps: GapWriter,
    pub(super) random: Random,
}

impl Delivery {
    /// Delivers until the queue is closed and empty, or the time to stop has run out.
    pub(super) async fn run(mut self, mut stop: Stop) {
        let pace = self.sink.pace();
        while let Some(taken) = self.queue.next(pace.batch_bytes, pace.linger).await {
            let parcel = self.parcel(taken);
            let outcome = self.deliver(&parcel, &pace, &mut stop).await;
            self.queue.settle();
            match outcome {
                Ok(()) => self.count(&parcel),
                Err(reason) => {
                    self.queue.lose(&parcel.spans, reason);
                    if !stop.pause(pace.backoff).await {
                        break;
                    }
                }
            }
        }
        self.queue.abandon();
        self.sink.finish();
    }

    /// Tries until it succeeds, will never succeed, or there is no time left.
    async fn deliver(&mut self, parcel: &Parcel, pace: &Pace, stop: &mut Stop) -> Result<(), Reason> {
        let mut backoff = pace.backoff;
        while let Some(left) = stop.time_left() {
            let answer = timeout(left.min(pace.timeout), self.sink.deliver(parcel)).await;
            let fault = match answer {
                Ok(Ok(())) => {
                    self.queue.blame(Reason::QueueFull);
                    return Ok(());
                }
                Ok(Err(fault)) => fault,
                Err(_) => {
                    self.sink.interrupted();
                    Fault::passing(Reason::ServiceDown)
                }
            };
            if fault.is_final {
                return Err(fault.reason);
            }
            self.queue.blame(fault.reason);
            self.metrics.retries.fetch_add(1, Ordering::Relaxed);
            let pause = fault.after.unwrap_or_else(|| self.jittered(backoff)).min(pace.backoff_max);
            stop.pause(pause).await;
            backoff = (backoff * 2).min(pace.backoff_max);
        }
        Err(Reason::Stopped)
    }

    fn parcel(&mut self, taken: Taken) -> Parcel {
        let gap_lines = self.gaps.lines(&taken.gaps);
        let mut parcel = Parcel { chunks: Vec::with_capacity(taken.batches.len() + 1), spans: taken.gaps };
        if !gap_lines.is_empty() {
            parcel.chunks.push(gap_lines.into());
        }
        for batch in taken.batches {
            parcel.chunks.push(batch.lines.clone());
            parcel.spans.extend(&batch.spans);
        }
        parcel
    }

    fn count(&self, parcel: &Parcel) {
        self.metrics.written.fetch_add(parcel.spans.carried(), Ordering::Relaxed);
        self.metrics.written_bytes.fetch_add(parcel.bytes() as u64, Ordering::Relaxed);
        self.metrics.batches.fetch_add(1, Ordering::Relaxed);
    }

    /// Between half of it and all of it, so that many proxies do not come back at once.
    fn jittered(&self, pause: Duration) -> Duration {
        let part = (self.random.next() >> 40) as u32;
        pause / 2 + (pause / 2 / (1 << 24)) * part
    }
}

/// What goes out at once: whole lines, and which records they are.
#[derive(Debug)]
struct Parcel {
    chunks: Vec<Bytes>,
    spans: Spans,
}

impl Parcel {
    fn bytes(&self) -> usize {
        self.chunks.iter().map(Bytes::len).sum()
    }
}

/// How a sink likes to be served.
#[derive(Debug)]
struct Pace {
    batch_bytes: usize,
    linger: Duration,
    timeout: Duration,
    backoff: Duration,
    backoff_max: Duration,
}

/// Why a parcel was not taken.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    reason: Reason,
    /// Trying again is of no use.
    is_final: bool,
    /// How long to wait, if the other side said so.
    after: Option<Duration>,
}

impl Fault {
    fn passing(reason: Reason) -> Self {
        Self { reason, is_final: false, after: None }
    }

    fn lasting(reason: Reason) -> Self {
        Self { reason, is_final: true, after: None }
    }

    fn io(error: &std::io::Error) -> Self {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        match error.kind() {
            StorageFull | QuotaExceeded => Self::passing(Reason::DiskFull),
            _ => Self::passing(Reason::IoError),
        }
    }
}

#[derive(Debug)]
pub(super) enum Sink {
    Stdout(StdoutSink),
    File(FileSink),
    Service(Box<ServiceSink>),
}

impl Sink {
    pub(super) fn open(settings: SinkSettings, reopen: &Reopen) -> Result<Self, Error> {
        Ok(match settings {
            SinkSettings::Stdout(_) => Self::Stdout(StdoutSink::open()?),
            SinkSettings::File(settings) => Self::File(FileSink::open(settings, reopen.clone())?),
            SinkSettings::Service(settings) => Self::Service(Box::new(ServiceSink::new(settings))),
        })
    }

    pub(super) fn name(settings: &SinkSettings) -> String {
        match settings {
            SinkSettings::Stdout(_) => "stdout".into(),
            SinkSettings::File(file) => format!("file:{}", file.path.display()),
            SinkSettings::Service(service) => match &service.endpoint {
                ServiceEndpoint::Unix(path) => format!("unix:{}", path.display()),
                ServiceEndpoint::Http { host, port } => format!("http://{host}:{port}"),
            },
        }
    }

    /// The form of the lines and the memory for those that wait.
    pub(super) fn intake(settings: &SinkSettings) -> (Form, usize) {
        match settings {
            SinkSettings::Stdout(stdout) => (stdout.form, stdout.queue_bytes),
            SinkSettings::File(file) => (file.form, file.queue_bytes),
            SinkSettings::Service(service) => (Form::Json, service.queue_bytes),
        }
    }

    fn pace(&self) -> Pace {
        match self {
            Self::Service(service) => service.pace(),
            Self::File(_) => local_pace(Duration::from_millis(50)),
            Self::Stdout(_) => local_pace(Duration::from_millis(10)),
        }
    }

    async fn deliver(&mut self, parcel: &Parcel) -> Result<(), Fault> {
        match self {
            Self::Stdout(stdout) => stdout.write(&parcel.chunks),
            Self::File(file) => file.write(&parcel.chunks),
            Self::Service(service) => service.ship(&parcel.chunks).await,
        }
    }

    /// A delivery was given up in its middle.
    fn interrupted(&mut self) {
        if let Self::Service(service) = self {
            service.disconnect();
        }
    }

    fn finish(&mut self) {
        if let Self::File(file) = self {
            file.finish();
        }
    }
}

fn local_pace(linger: Duration) -> Pace {
    Pace {
        batch_bytes: 1 << 20,
        linger,
        timeout: Duration::MAX,
        backoff: Duration::from_millis(100),
        backoff_max: Duration::from_secs(1),
    }
}

/// Tells the sinks when to stop trying.
#[derive(Clone, Debug)]
pub(super) struct Stop(watch::Receiver<Option<Instant>>);

impl Stop {
    pub(super) fn new(deadline: watch::Receiver<Option<Instant>>) -> Self {
        Self(deadline)
    }

    /// `None` when the time has run out.
    fn time_left(&self) -> Option<Duration> {
        match *self.0.borrow() {
            None => Some(Duration::MAX),
            Some(deadline) => deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()),
        }
    }

    /// Waits; less when the end is announced meanwhile. Tells whether there is time left.
    async fn pause(&mut self, pause: Duration) -> bool {
        let is_asked = self.0.borrow_and_update().is_some();
        let Some(left) = self.time_left() else { return false };
        if is_asked {
            sleep(pause.min(left)).await;
        } else {
            let _ = timeout(pause, self.0.changed()).await;
        }
        self.time_left().is_some()
    }
}
