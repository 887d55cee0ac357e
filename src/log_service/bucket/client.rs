//! [`Client`]: puts one file, streamed from the disk, with its checksum.

use std::fs::File;
use std::io::{self, Seek as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::digest::Digest;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http::Request;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT};
use http_body_util::StreamBody;
use hyper::body::Frame;
use jiff::Timestamp;
use rustls::ClientConfig;
use tokio::time::{self, Instant};
use tokio_util::io::ReaderStream;

use super::answer::{Outcome, judge};
use super::ledger::Taken;
use super::place::{CHECKSUM, Place, PlaceError};
use super::settings::Settings;
use crate::exchange::chain;
use crate::http::client::AGENT;
use crate::log_service::Secret;
use crate::log_service::outbound::{self, Answered, Broken, Wire};
use crate::log_service::store::{ClosedFile, digest_of};
use crate::record::escape::hex_text;
use crate::tls::TlsError;
use crate::tls::client::client_config;

/// Bytes that are read at a time.
const CHUNK: usize = 256 << 10;
/// Most bytes per second: an hour's file must not take the line from the requests that the next hours are about.
const RATE: u64 = 32 << 20;
/// Most that one PUT may have (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
const MAX_OBJECT: u64 = 5 << 30;

/// A sink of this kind cannot work.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error("its certificates cannot be used: {0}")]
    Tls(#[from] TlsError),
}

pub(super) struct Client {
    place: Place,
    host: String,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
    secret_key: Secret,
    timeout: Duration,
}

/// A file that is open, and what is in it.
struct Opened {
    file: File,
    bytes: u64,
    sha256: Digest,
}

impl Client {
    pub(super) fn new(settings: &Settings) -> Result<Self, ClientError> {
        let tls = match settings.to.is_tls {
            true => Some(client_config(&settings.roots, settings.identity.as_deref(), &[b"http/1.1"])?),
            false => None,
        };
        Ok(Self {
            place: Place::new(settings)?,
            host: settings.to.host.trim_matches(['[', ']']).to_owned(),
            port: settings.to.port,
            tls,
            secret_key: settings.secret_key.clone(),
            timeout: settings.timeout,
        })
    }

    /// Puts a file. Of one that was taken the second part says what goes into the ledger. Nothing is read while nobody is there.
    pub(super) async fn put(&self, file: &ClosedFile) -> (Outcome, Option<Taken>) {
        let stream = match self.connect().await {
            Ok(stream) => stream,
            Err(why) => return (Outcome::Busy(why, None), None),
        };
        let path = file.path.clone();
        let opened = match tokio::task::spawn_blocking(move || open(&path)).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => return (Outcome::Refused(format!("it cannot be read: {error}")), None),
            Err(_) => return (Outcome::Refused("it cannot be read".to_owned()), None),
        };
        if opened.bytes > MAX_OBJECT {
            return (
                Outcome::Refused("it is larger than 5 GiB, the most that one request may have".to_owned()),
                None,
            );
        }
        let sha256 = hex_text(opened.sha256.as_ref());
        let taken = Taken {
            file: file.number,
            bytes: opened.bytes,
            object: self.place.object(&file.name, &sha256),
            sha256,
            at: Timestamp::now().to_string(),
        };
        match self.send(stream, opened, &taken.object).await {
            Ok(answered) => match judge(&answered, &[&self.secret_key.0]) {
                Outcome::Taken => (Outcome::Taken, Some(taken)),
                other => (other, None),
            },
            Err(why) => (Outcome::Busy(why, None), None),
        }
    }

    async fn connect(&self) -> Result<Box<dyn Wire>, String> {
        let connecting = outbound::connect(&self.host, self.port, self.tls.as_ref());
        match time::timeout(self.timeout, connecting).await {
            Ok(connected) => connected.map_err(|error| format!("cannot reach {}: {error}", self.host)),
            Err(_) => Err(format!("cannot reach {} in {:?}", self.host, self.timeout)),
        }
    }

    async fn send(&self, stream: Box<dyn Wire>, opened: Opened, object: &str) -> Result<Answered, String> {
        let moved = Arc::new(AtomicU64::new(0));
        let request = self.request(opened, object, Arc::clone(&moved));
        let exchanged = async { outbound::exchange(stream, request?).await };
        tokio::select! {
            answered = exchanged => answered.map_err(|error| format!("{} broke off: {}", self.host, chain(&*error))),
            () = stalled(&moved, self.timeout) => Err(format!("nothing moved to {} for {:?}", self.host, self.timeout)),
        }
    }

    fn request(
        &self,
        opened: Opened,
        object: &str,
        moved: Arc<AtomicU64>,
    ) -> Result<Request<StreamBody<impl Stream<Item = io::Result<Frame<Bytes>>> + Send + use<>>>, Broken>
    {
        let checksum = BASE64_STANDARD.encode(opened.sha256.as_ref());
        let url = self.place.signed(object, &checksum, &Timestamp::now());
        let authority = url.authority().to_owned();
        let target = &url[url::Position::BeforePath..];
        let body = StreamBody::new(stream(opened.file, opened.bytes, moved));
        Ok(Request::put(target)
            .header(HOST, authority)
            .header(USER_AGENT, AGENT)
            .header(CONTENT_TYPE, "application/vnd.apache.parquet")
            .header(CONTENT_LENGTH, opened.bytes)
            .header(CHECKSUM, checksum)
            .body(body)?)
    }
}

/// Opens a file and reads it once: what is sent afterwards is the same file, whatever becomes of its name.
fn open(path: &std::path::Path) -> io::Result<Opened> {
    let mut file = File::open(path)?;
    let (sha256, bytes) = digest_of(&mut file, || Ok::<(), io::Error>(()))?;
    file.rewind()?;
    Ok(Opened { file, bytes, sha256 })
}

/// The content, at most at the rate that is left to it.
fn stream(
    file: File,
    bytes: u64,
    moved: Arc<AtomicU64>,
) -> impl Stream<Item = io::Result<Frame<Bytes>>> + Send + use<> {
    let file = tokio::io::AsyncReadExt::take(tokio::fs::File::from_std(file), bytes);
    let begun = Instant::now();
    ReaderStream::with_capacity(file, CHUNK).then(move |chunk| {
        let sent = moved.load(Ordering::Relaxed);
        let due = begun + Duration::from_micros(sent.saturating_mul(1_000_000) / RATE);
        moved.fetch_add(chunk.as_ref().map_or(0, |chunk| chunk.len() as u64), Ordering::Relaxed);
        async move {
            time::sleep_until(due).await;
            chunk.map(Frame::data)
        }
    })
}

/// Ready when nothing has moved for this time; the answer, too, has as long.
async fn stalled(moved: &AtomicU64, timeout: Duration) {
    let mut seen = u64::MAX;
    loop {
        let now = moved.load(Ordering::Relaxed);
        if now == seen {
            return;
        }
        seen = now;
        time::sleep(timeout).await;
    }
}
