//! `logs import FILE…`: sends log files to a log service.
//!
//! Each entry of a foreign log gets a number: its place among the entries of its file, in a stream named after the
//! file's first lines. So the same file, sent again or grown or renamed by rotation, brings in only what is new, and the
//! service can tell whether all of it is there.

use std::io::{self, BufRead};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::Value;
use tokio::runtime::Runtime;

use super::escape::Safe;
use super::output::note;
use super::progress::Progress;
use super::source::{self, cannot_read};
use super::words::{count, text};
use super::{CommandError, place, summary};
use crate::log_service::client::{self, Address, ClientError, Service};
use crate::log_service::foreign::{self, Format, Walk};
use crate::log_service::query::Query;
use crate::log_service::read::{Flow, Row, Window};

/// A batch is sent when it has so many bytes or entries; the service takes more.
const BATCH_BYTES: usize = 2 << 20;
const BATCH_ENTRIES: usize = 20_000;
/// How long a service that is full, stopping or starting is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(500);
/// Lines that a stream is named after; a shorter file that grows beyond them is taken for another.
const FIRST_LINES: usize = 8;
/// The proxy that foreign entries are said to be of.
const PROXY: &str = "import";

#[derive(Debug, clap::Args)]
pub(super) struct ImportArgs {
    /// Log files of tollgate, nginx, Apache, HAProxy, Caddy or Traefik, also compressed; `-` for stdin.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    /// What the files are written in, as for --from. [default: told by each line]
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Which configuration says where the log service is.
    #[arg(skip)]
    pub(super) config: PathBuf,
    /// The log service: unix:PATH, http://HOST:PORT or https://HOST:PORT. [default: that of the configuration]
    #[arg(long, value_name = "ADDRESS")]
    service: Option<Address>,
    #[command(flatten)]
    access: super::access::AccessArgs,
}

pub(super) fn run(args: &ImportArgs) -> Result<bool, CommandError> {
    let started = Instant::now();
    let mut sender = Sender::new(service(args)?)?;
    let paths = super::paths::paths(&args.files)?;
    let progress = Progress::of(&paths);
    let mut walk = Walk::new(&Query::all(), Window::default(), args.format);
    for path in &paths {
        let input = foreign::open(path, progress.counter()).map_err(|error| cannot_read(path, error))?;
        file(path, input, &mut walk, &mut sender)?;
    }
    progress.end();
    let (report, foreign) = walk.report();
    let Sent { stored, known, refused } = sender.sent;
    note(&format!(
        "{} {} stored, {} were there already, {} refused",
        count(stored),
        if stored == 1 { "entry" } else { "entries" },
        count(known),
        count(refused)
    ));
    if let Some(reason) = &sender.reason {
        note(&format!("note: the first refusal: {}", Safe(reason)));
    }
    let told = source::Told { report, foreign, ..source::Told::default() };
    summary::end(&mut super::output::Output::stdout(), false, &told, started)?;
    Ok(stored + known > 0 && refused == 0)
}

fn service(args: &ImportArgs) -> Result<Service, CommandError> {
    match &args.service {
        Some(address) => args.access.service(address),
        None => {
            let (address, known) = place::service_or_default(&args.config)?;
            args.access.service_of(&address, known)
        }
    }
}

fn file(
    path: &Path,
    mut input: Box<dyn BufRead>,
    walk: &mut Walk,
    sender: &mut Sender,
) -> Result<(), CommandError> {
    let stream = stream_of(&mut input).map_err(|error| cannot_read(path, error))?;
    let mut number = 0u64;
    let mut failed = None;
    let mut send = |row: &Row<'_>| match sender.add(&numbered(row.value, stream, &mut number)) {
        Ok(()) => Flow::Continue(()),
        Err(error) => {
            failed = Some(error);
            Flow::Break(())
        }
    };
    let read = walk.read(&path.display().to_string(), input, &mut send);
    let _ = read.map_err(|error| cannot_read(path, error))?;
    if let Some(error) = failed {
        note(&format!(
            "stopped at entry {} of {}; the same command goes on from there",
            count(number),
            Safe(&path.display().to_string())
        ));
        return Err(error);
    }
    sender.flush()
}

/// Named by the first lines: the same file is the same stream whatever it is called, however much it has grown. More
/// than one line, since two servers may well begin with the same health check in the same second.
fn stream_of(input: &mut Box<dyn BufRead>) -> io::Result<u64> {
    let buffer = input.fill_buf()?;
    let end = memchr::memchr_iter(b'\n', buffer).nth(FIRST_LINES - 1);
    let end = end.or_else(|| memchr::memrchr(b'\n', buffer)).unwrap_or(buffer.len());
    let hash = digest(&SHA256, &buffer[..end]);
    let bytes = hash.as_ref().first_chunk::<8>().copied().unwrap_or_default();
    // Numbers above 2^53 are not safe in every reader of JSON.
    Ok(u64::from_be_bytes(bytes) >> 12)
}

/// Our own records keep their numbers; what the service adds by itself is taken away. Others get the next number.
fn numbered(entry: &Value, stream: u64, number: &mut u64) -> Value {
    let mut entry = entry.clone();
    let is_foreign = entry.get("seq").is_none() && matches!(text(&entry, "kind"), Some("request" | "conn"));
    if let Some(object) = entry.as_object_mut() {
        ["recv", "from", "c"].iter().for_each(|name| drop(object.remove(*name)));
        if is_foreign {
            *number += 1;
            let format = object.get("proxy").and_then(Value::as_str).unwrap_or("entries").to_owned();
            object.insert("proxy".to_owned(), format!("{PROXY}:{format}").into());
            object.insert("boot".to_owned(), stream.into());
            object.insert("core".to_owned(), 0.into());
            object.insert("seq".to_owned(), (*number).into());
        }
    }
    entry
}

#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    stored: u64,
    known: u64,
    refused: u64,
}

/// Batches on their way to the service.
struct Sender {
    service: Service,
    runtime: Runtime,
    batch: Vec<u8>,
    entries: usize,
    sent: Sent,
    /// The first refusal.
    reason: Option<String>,
    answered: bool,
}

impl Sender {
    fn new(service: Service) -> Result<Self, CommandError> {
        let runtime = source::runtime()?;
        Ok(Self {
            service,
            runtime,
            batch: Vec::new(),
            entries: 0,
            sent: Sent::default(),
            reason: None,
            answered: false,
        })
    }

    fn add(&mut self, entry: &Value) -> Result<(), CommandError> {
        serde_json::to_writer(&mut self.batch, entry).map_err(io::Error::from)?;
        self.batch.push(b'\n');
        self.entries += 1;
        if self.batch.len() >= BATCH_BYTES || self.entries >= BATCH_ENTRIES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), CommandError> {
        if self.entries == 0 {
            return Ok(());
        }
        let body = bytes::Bytes::from(std::mem::take(&mut self.batch));
        self.entries = 0;
        // Before anything was taken, a service that is not there is a mistake of the command, not of the moment.
        let patience = if self.answered { PATIENCE } else { Duration::ZERO };
        let answer = self.runtime.block_on(post(&self.service, &body, patience))?;
        self.answered = true;
        let number = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or(0);
        self.sent.stored += number("accepted");
        self.sent.known += number("duplicates");
        self.sent.refused += number("rejected");
        if self.reason.is_none() {
            self.reason = answer.pointer("/reasons/0/reason").and_then(Value::as_str).map(str::to_owned);
        }
        Ok(())
    }
}

/// Sends one batch; sent twice it is stored once.
async fn post(service: &Service, body: &bytes::Bytes, patience: Duration) -> Result<Value, CommandError> {
    let started = Instant::now();
    loop {
        let failed = match client::post(service, "/logs", "application/x-ndjson", body.clone()).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let may_pass = match &failed {
            ClientError::Refused(status, _) => status.as_u16() == 503,
            ClientError::Connect(..) | ClientError::Broken(_) => true,
            _ => false,
        };
        if !may_pass || started.elapsed() >= patience {
            return Err(failed.into());
        }
        tokio::time::sleep(PAUSE).await;
    }
}
