//! Where records end: the three kinds of sinks, and [`Delivery`], the one loop that all of them share.
//!
//! A sink takes a parcel whole or not at all, and knows nothing of the spool, retries and gaps; the loop knows nothing of
//! files and sockets.

mod company;
mod file;
mod pace;
mod parcel;
mod service;
mod ship;
mod stdout;
mod stop;
mod tries;
mod window;
mod wire;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use self::file::FileSink;
use self::pace::{Pace, Rhythm, jittered, local_pace};
use self::parcel::{Fault, Parcel};
use self::service::ServiceSink;
pub(super) use self::ship::Item;
use self::ship::ShippingSink;
use self::stdout::StdoutSink;
pub(super) use self::stop::Stop;
use super::Error;
use super::handle::{Reopen, now_us};
use super::metrics::{Reason, SinkMetrics};
use super::render::Lines;
use super::settings::{FileSettings, Form, ServiceEndpoint, SinkSettings, StdoutSettings};
use super::span::{Origin, Spans};
use super::spool::Reader;
use crate::record::frame::{self, Builder, Codec, Frame};
use crate::record::id::Random;

/// The most room that is kept from one parcel to the next; those of a backlog are larger.
const KEPT_ROOM: usize = 1 << 20;

/// A sink with its end of the spool and its counters.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) sink: Sink,
    pub(super) reader: Reader,
    pub(super) metrics: Arc<SinkMetrics>,
    pub(super) lines: Lines,
    /// Where the next lines are written: fresh memory would be given back and faulted in again with each parcel.
    pub(super) room: Vec<u8>,
    pub(super) random: Random,
    /// For the frames of what this sink has lost: this process and its control stream.
    pub(super) origin: Origin,
    pub(super) control: u16,
}

impl Delivery {
    /// Delivers until the spool is closed and read to its end, or the time to stop has run out.
    pub(super) async fn run(mut self, mut stop: Stop) {
        match self.sink.beside() {
            lanes if lanes.is_empty() => self.one_by_one(&mut stop).await,
            lanes => self.side_by_side(lanes, &mut stop).await,
        }
        self.reader.abandon();
        self.sink.finish();
    }

    async fn one_by_one(&mut self, stop: &mut Stop) {
        let pace = self.sink.pace();
        let (mut rhythm, mut unread) = (Rhythm::new(&pace), pace.backoff);
        while self.reader.wait(pace.batch_bytes, rhythm.next).await {
            let mut parcel = self.parcel(pace.batch_bytes);
            if parcel.chunk.has_failed {
                if !self.wait_for_disk(&parcel, &mut unread, &pace, stop).await {
                    break;
                }
                continue;
            }
            unread = pace.backoff;
            rhythm.beat(parcel.bytes());
            let end = match parcel.chunk.is_empty() {
                true => Ok(()),
                false => self.deliver(&mut parcel, &pace, stop).await,
            };
            if !self.conclude(parcel, end, &pace, stop).await {
                break;
            }
        }
    }

    /// Nothing is delivered that has been read half, and nothing is lost that the disk may still give. Tells whether there
    /// is time left.
    async fn wait_for_disk(
        &mut self,
        parcel: &Parcel,
        pause: &mut Duration,
        pace: &Pace,
        stop: &mut Stop,
    ) -> bool {
        self.reader.return_gaps(&parcel.chunk.gaps);
        self.metrics.retries.fetch_add(1, Ordering::Relaxed);
        let now = *pause;
        *pause = (now * 2).min(pace.backoff_max);
        stop.pause(jittered(now, self.random.next())).await
    }

    /// The front of what is under way has ended: the cursor moves over it. Tells whether to go on.
    async fn conclude(
        &mut self,
        mut parcel: Parcel,
        end: Result<(), Reason>,
        pace: &Pace,
        stop: &mut Stop,
    ) -> bool {
        match end {
            Ok(()) if parcel.chunk.is_empty() => {}
            Ok(()) => self.count(&parcel),
            Err(Reason::Stopped) => {
                self.reader.return_gaps(&parcel.chunk.gaps);
                return false;
            }
            Err(reason) => {
                if !self.give_up(&mut parcel, reason, pace, stop).await {
                    return false;
                }
                stop.pause(pace.backoff).await;
            }
        }
        self.reader.settle(&parcel.chunk);
        self.take_room(parcel);
        true
    }

    /// The memory of lines that are delivered.
    fn take_room(&mut self, mut parcel: Parcel) {
        let lines = parcel.chunks.pop().filter(|_| parcel.has_lines);
        let Some(mut lines) = lines.filter(|lines| self.room.capacity() < lines.len()) else { return };
        // Without its content it becomes a vector again without a copy, if nobody else holds it.
        lines.clear();
        self.room = lines.into();
        if self.room.capacity() > KEPT_ROOM {
            self.room = Vec::new();
        }
    }

    /// The parcel as a whole will never be taken. One bad frame must not cost the others: each is tried alone. Tells
    /// whether there was time for all.
    async fn give_up(&mut self, parcel: &mut Parcel, reason: Reason, pace: &Pace, stop: &mut Stop) -> bool {
        self.reader.return_gaps(&std::mem::take(&mut parcel.chunk.gaps));
        let is_alone = parcel.has_lines || parcel.chunk.frames.len() == 1;
        for (carried, place) in &parcel.chunk.frames {
            let reason = if is_alone {
                Err(reason)
            } else {
                let bytes = parcel.chunk.bytes.slice(place.clone());
                let mut alone = Parcel { chunks: vec![bytes], ..Parcel::default() };
                self.deliver(&mut alone, pace, stop).await
            };
            match reason {
                Ok(()) => drop(self.metrics.written.fetch_add(carried.count, Ordering::Relaxed)),
                Err(Reason::Stopped) => return false,
                Err(reason) => self.reader.lose(carried, reason),
            }
        }
        true
    }

    /// Reads what comes next, as lines for a sink that wants them.
    fn parcel(&mut self, most: usize) -> Parcel {
        let (has_lines, has_items) = (self.sink.wants_lines(), self.sink.wants_items());
        let (mut rendered, mut unread) = (std::mem::take(&mut self.room), Vec::new());
        let mut items = Vec::new();
        let lines = &mut self.lines;
        let chunk = self.reader.read(most, |frame| {
            let bad = match () {
                () if has_items => lines.items(frame, &mut rendered, &mut items),
                () if has_lines => lines.frame(frame, &mut rendered),
                () => 0,
            };
            if bad > 0 {
                unread.push(bad);
            }
        });
        self.metrics.dropped.add(Reason::BadFrame, unread.iter().sum());
        let mut parcel =
            Parcel { chunks: Vec::with_capacity(2), has_lines, chunk, items, ..Parcel::default() };
        if has_items {
            // What was lost before them stands behind them: items are told apart by their time, not by their place.
            self.lines.gap_items(&parcel.chunk.gaps, &mut rendered, &mut parcel.items);
            parcel.chunks.push(rendered.into());
        } else if has_lines {
            parcel.chunks.extend(self.gap_lines(&parcel.chunk.gaps));
            parcel.chunks.push(rendered.into());
        } else {
            parcel.chunks.extend(self.gap_frame(&parcel.chunk.gaps));
            parcel.chunks.extend(parcel.chunk.runs());
        }
        parcel
    }

    /// The same parcel as lines: the other side does not know frames. The reader has checked the frames, gaps are our own.
    fn render(&mut self, parcel: &mut Parcel) {
        let mut rendered = Vec::new();
        for bytes in &parcel.chunks {
            let mut rest = &bytes[..];
            while let Ok(frame) = Frame::peek(rest) {
                self.lines.frame(&frame, &mut rendered);
                rest = &rest[frame.len..];
            }
        }
        (parcel.chunks, parcel.has_lines) = (vec![rendered.into()], true);
    }

    fn gap_lines(&mut self, gaps: &Spans) -> Option<Bytes> {
        let mut lines = Vec::new();
        self.lines.gaps(gaps, &mut lines);
        (!lines.is_empty()).then(|| lines.into())
    }

    fn gap_frame(&mut self, gaps: &Spans) -> Option<Bytes> {
        let (mut builder, mut frame) = (Builder::default(), Vec::new());
        for object in self.lines.gap_objects(gaps) {
            builder.push(frame::Form::Json, None, now_us(), &object);
        }
        builder.finish(&self.origin.stream(self.control), Codec::Raw, &mut frame);
        (!frame.is_empty()).then(|| frame.into())
    }

    fn count(&self, parcel: &Parcel) {
        let written = parcel.chunk.entries().saturating_sub(parcel.todo.refused);
        self.metrics.written.fetch_add(written, Ordering::Relaxed);
        self.metrics.written_bytes.fetch_add(parcel.bytes() as u64, Ordering::Relaxed);
        self.metrics.batches.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Debug)]
pub(super) enum Sink {
    Stdout(StdoutSink),
    File(FileSink),
    Service(Box<ServiceSink>),
    Shipping(Box<ShippingSink>),
}

impl Sink {
    pub(super) fn open(
        settings: SinkSettings,
        reopen: &Reopen,
        metrics: &Arc<SinkMetrics>,
    ) -> Result<Self, Error> {
        Ok(match settings {
            SinkSettings::Stdout(_) => Self::Stdout(StdoutSink::open()?),
            SinkSettings::File(settings) => Self::File(FileSink::open(settings, reopen.clone())?),
            SinkSettings::Service(settings) => Self::Service(Box::new(ServiceSink::new(settings)?)),
            SinkSettings::Shipping(settings) => {
                Self::Shipping(Box::new(ShippingSink::new(*settings, reopen, Arc::clone(metrics))?))
            }
        })
    }

    pub(super) fn name(settings: &SinkSettings) -> String {
        match settings {
            SinkSettings::Stdout(StdoutSettings { name: Some(name), .. })
            | SinkSettings::File(FileSettings { name: Some(name), .. }) => format!("sink:{name}"),
            SinkSettings::Shipping(shipping) => format!("sink:{}", shipping.name),
            SinkSettings::Stdout(_) => "stdout".into(),
            SinkSettings::File(file) => format!("file:{}", file.path.display()),
            SinkSettings::Service(service) => match &service.endpoint {
                ServiceEndpoint::Unix(path) => format!("unix:{}", path.display()),
                ServiceEndpoint::Http { host, port, is_tls: false } => format!("http://{host}:{port}"),
                ServiceEndpoint::Http { host, port, is_tls: true } => format!("https://{host}:{port}"),
            },
        }
    }

    /// The form of the lines.
    pub(super) fn form(settings: &SinkSettings) -> Form {
        match settings {
            SinkSettings::Stdout(stdout) => stdout.form,
            SinkSettings::File(file) => file.form,
            SinkSettings::Service(_) => Form::Json,
            SinkSettings::Shipping(shipping) => shipping.form,
        }
    }

    /// Whether frames should be compressed for it in any case.
    pub(super) fn is_remote(settings: &SinkSettings) -> bool {
        // Those of others are sent lines, whatever the spool holds.
        matches!(settings, SinkSettings::Service(service) if service.endpoint.is_remote())
    }

    /// Whether it could be opened as far as the settings tell.
    pub(super) fn verify(settings: &SinkSettings) -> Result<(), Error> {
        match settings {
            SinkSettings::Service(service) => ServiceSink::new(service.clone()).map(drop),
            SinkSettings::Shipping(shipping) => {
                ShippingSink::new((**shipping).clone(), &Reopen::default(), Arc::default()).map(drop)
            }
            SinkSettings::Stdout(_) | SinkSettings::File(_) => Ok(()),
        }
    }

    /// The ways for batches side by side; none when they go one by one.
    fn beside(&self) -> Vec<Self> {
        let Self::Service(service) = self else { return Vec::new() };
        if service.window() < 2 {
            return Vec::new();
        }
        (0..service.window()).map(|_| Self::Service(Box::new(service.beside()))).collect()
    }

    /// Why it has just refused a parcel, in words that may be shown.
    fn trouble(&self, reason: Reason) -> &str {
        match self {
            Self::Service(service) => service.trouble(),
            Self::Shipping(shipping) => shipping.trouble(),
            Self::Stdout(_) | Self::File(_) => reason.word(),
        }
    }

    fn wants_lines(&self) -> bool {
        match self {
            Self::Stdout(_) | Self::File(_) | Self::Shipping(_) => true,
            Self::Service(service) => !service.knows_frames(),
        }
    }

    fn wants_items(&self) -> bool {
        matches!(self, Self::Shipping(_))
    }

    fn pace(&self) -> Pace {
        match self {
            Self::Service(service) => service.pace(),
            Self::Shipping(shipping) => shipping.pace(),
            // Not more than a core can miss for a moment: what comes in 50 ms of full load takes 3 ms to write.
            Self::File(_) | Self::Stdout(_) => local_pace(Duration::from_millis(10)),
        }
    }

    async fn deliver(&mut self, parcel: &mut Parcel) -> Result<(), Fault> {
        match self {
            Self::Shipping(shipping) => shipping.ship(parcel).await,
            Self::Stdout(stdout) => stdout.write(&parcel.chunks),
            Self::File(file) => file.write(&parcel.chunks),
            Self::Service(service) => service.ship(&parcel.chunks, parcel.has_lines).await,
        }
    }

    /// A delivery was given up in its middle.
    fn interrupted(&mut self) {
        match self {
            Self::Service(service) => service.disconnect(),
            Self::Shipping(shipping) => shipping.disconnect(),
            Self::Stdout(_) | Self::File(_) => {}
        }
    }

    fn finish(&mut self) {
        if let Self::File(file) = self {
            file.finish();
        }
    }
}
