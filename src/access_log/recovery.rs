//! What a start does with the log of a process that died: its records go on under their own numbers, and what was under
//! way is kept readable beside them.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ring::{Directory, DirectoryError, Harm, Item, Recovered, recover};
use super::spool::End;
use super::{Error, OpenExchange};
use crate::process::directory;
use crate::process::replace::replace;
use crate::record::binary::{self, Decoded, Tries};
use crate::record::id::{self, IdSource};
use crate::record::json::{self, Gap, Renderer, Stamp};

/// The file that tells of the last death, in the directory of the rings.
const CRASH_FILE: &str = "crash.json";
/// Most exchanges that it lists; the rest is counted.
pub const MOST_LISTED: usize = 2048;
/// A start behind more dead processes than this waits until the disk has what they have left.
const MOST_DEAD: usize = 4;
/// Longest of these files that is read.
const LONGEST_FILE: u64 = 16 << 20;
/// Version of the shape of [`Crash`]: fields are only ever added within one.
const VERSION: u8 = 1;

/// An exchange that is or was under way, for people and scripts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OpenEntry {
    pub id: String,
    /// First byte of the request.
    pub ts: String,
    /// How long it has been going on, in microseconds; at a death: how long it had been.
    pub age_us: u64,
    /// The phase that it is in, as `end_at` would say.
    pub at: String,
    pub method: String,
    pub scheme: String,
    pub host: String,
    /// Its beginning.
    pub path: String,
    pub path_goes_on: bool,
    pub client_ip: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_port: Option<u16>,
    pub core: u16,
    pub conn: u64,
    pub conn_req: u32,
}

impl OpenEntry {
    /// As it stands at `now_us`, microseconds since the Unix epoch.
    pub fn new(core: u16, open: &OpenExchange, now_us: i64) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            id: text(&id::text(&open.id)),
            ts: time(open.ts_us),
            age_us: now_us.saturating_sub(open.ts_us).max(0).unsigned_abs(),
            at: json::end_at(open.at).to_owned(),
            method: text(&open.method),
            scheme: if open.is_tls { "https" } else { "http" }.to_owned(),
            host: text(&open.host),
            path: text(&open.path),
            path_goes_on: open.is_cut,
            client_ip: open.client_ip.to_string(),
            client_port: open.client_port,
            core,
            conn: open.conn,
            conn_req: open.conn_req,
        }
    }
}

/// What was under way at the last death.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Crash {
    pub v: u8,
    pub proxy: String,
    /// Start of the process that died, milliseconds since the Unix epoch.
    pub boot: u64,
    pub pid: u32,
    /// When it was last seen alive.
    pub died: String,
    /// Finished records that were still in its memory.
    pub records: u64,
    pub in_flight: Vec<OpenEntry>,
    /// How many more were under way.
    pub beyond: u64,
}

impl Crash {
    /// Of the last of the dead processes; `None` if there is none, or if it ended in order: then the start before this one
    /// has told of those before it.
    pub fn of(recovered: &[Recovered]) -> Option<Self> {
        let boot = recovered.iter().map(|one| one.boot).max()?;
        let cores = || recovered.iter().filter(|one| one.boot == boot);
        if cores().all(Recovered::is_orderly) {
            return None;
        }
        let died_us = cores().map(|one| one.died_us).max()?;
        let entry = |core| move |open: &OpenExchange| OpenEntry::new(core, open, died_us);
        let mut in_flight: Vec<OpenEntry> =
            cores().flat_map(|one| one.in_flight.iter().map(entry(one.core))).collect();
        in_flight.sort_by_key(|open| std::cmp::Reverse(open.age_us));
        let unlisted = in_flight.len().saturating_sub(MOST_LISTED) as u64;
        in_flight.truncate(MOST_LISTED);
        let first = cores().next()?;
        Some(Self {
            v: VERSION,
            proxy: first.proxy.clone(),
            boot,
            pid: first.pid,
            died: time(died_us),
            records: cores().map(|one| one.entries.len() as u64).sum(),
            in_flight,
            beyond: cores().map(|one| one.beyond).sum::<u64>() + unlisted,
        })
    }

    /// The last death that was found in the directory `dir` of rings; `None` if there never was one.
    ///
    /// # Errors
    /// The file cannot be read, or is none of ours.
    pub fn read(dir: &Path) -> io::Result<Option<Self>> {
        let path = dir.join(CRASH_FILE);
        match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
            Ok(found) if found.len() > LONGEST_FILE => return Err(io::Error::other("it is too long")),
            Ok(_) => {}
        }
        Ok(Some(serde_json::from_slice(&fs::read(path)?)?))
    }

    fn write(&self, dir: &Path) -> io::Result<()> {
        replace(&dir.join(CRASH_FILE), serde_json::to_vec(self)?)
    }
}

/// Where the rings are within the data directory of the log.
pub fn directory(data: &Path) -> PathBuf {
    data.join("spool")
}

/// Locks the directory for this process; `None` (and a warning) where the disk is full, or another has it: that is no
/// reason not to serve.
///
/// # Errors
/// It cannot be made or written for a reason that does not pass by itself.
pub(super) fn take(path: &Path) -> Result<Option<Directory>, DirectoryError> {
    let reason = match Directory::open(path) {
        Ok(directory) => return Ok(Some(directory)),
        Err(DirectoryError::InUse { .. }) => "another process has it".to_owned(),
        Err(DirectoryError::Io { source, .. }) if directory::is_full(&source) => source.to_string(),
        Err(error) => return Err(error),
    };
    let path = path.display();
    tracing::warn!(%path, reason, "the log cannot be kept there: what it holds dies with the process");
    Ok(None)
}

/// What a start finds of those before it.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// What goes through the sinks before anything else.
    pub(super) rings: Vec<Recovered>,
    /// How far the streams had gone into the spool.
    pub(super) ends: Vec<End>,
    /// Rings that are lost.
    pub(super) harms: Vec<Harm>,
}

impl Past {
    /// Whether processes die faster than the disk takes what they leave: their rings would fill it.
    pub(super) fn is_too_much(&self) -> bool {
        self.rings.iter().map(|one| one.boot).collect::<BTreeSet<_>>().len() > MOST_DEAD
    }
}

/// Where new rings may be made; nowhere when a start had to wait for the disk, and it did not take what was there.
pub(super) fn place_for_rings(directory: &Directory, has_waited: bool) -> Option<&Directory> {
    let is_full = has_waited && directory.has_rings();
    if is_full {
        tracing::error!(
            "the disk does not take what dead processes have left: what the log holds now dies with the process"
        );
    }
    Some(directory).filter(|_| !is_full)
}

/// Reads what dead processes have left, and says so.
pub(super) fn recover_all(directory: &Directory) -> Past {
    let (recovered, harms) = examine(directory);
    let ends = |one: &Recovered| {
        [(one.core, one.accounted), one.control].map(|(core, last)| {
            let (proxy, boot) = (one.proxy.clone(), one.boot);
            End { proxy, boot, core, last }
        })
    };
    let past = Past { ends: recovered.iter().flat_map(ends).collect(), rings: recovered, harms };
    if past.is_too_much() {
        tracing::warn!("many starts have left their log here; this one waits until the disk has it");
    }
    match Crash::of(&past.rings) {
        Some(crash) => tell(&crash),
        None if past.rings.is_empty() => {}
        None => tracing::info!(
            "the last tollgate here ended in order, but did not wait until the disk had the last of its log, which goes on"
        ),
    }
    past
}

/// Reads what dead processes have left, and writes down the last death. Each stays until [`Recovered::remove`]. Also tells
/// what cannot be read or is gone.
pub fn examine(directory: &Directory) -> (Vec<Recovered>, Vec<Harm>) {
    let (recovered, harms) = recover(directory);
    if let Some(crash) = Crash::of(&recovered)
        && let Err(error) = crash.write(directory.path())
    {
        tracing::warn!(%error, "cannot write down what was under way");
    }
    (recovered, harms)
}

fn tell(crash: &Crash) {
    let (records, in_flight) = (crash.records, crash.in_flight.len());
    tracing::warn!(
        pid = crash.pid,
        died = crash.died,
        records,
        in_flight,
        "the last tollgate here did not end in order; its log goes on (tollgate logs open --crash)"
    );
}

/// A line of a dead process's stream.
pub(super) enum PastLine<'a> {
    Record(&'a Decoded<'a>, Stamp<'a>),
    Gap(Gap<'a>),
}

impl PastLine<'_> {
    pub(super) fn render(&self, renderer: &mut Renderer, lines: &mut Vec<u8>) {
        match self {
            Self::Record(decoded, stamp) => renderer.decoded(decoded, stamp, lines),
            Self::Gap(gap) => renderer.gap(gap, lines),
        }
    }
}

impl Recovered {
    /// Calls `line` for each line of the stream; `ids` name the gaps.
    pub(super) fn each(&self, ids: &mut IdSource, mut line: impl FnMut(PastLine<'_>)) {
        let (proxy, boot, core) = (&*self.proxy, self.boot, self.core);
        for item in self.items() {
            match item {
                Item::Record { bytes, .. } => {
                    let (mut tries, mut decoded) = (Tries::default(), Decoded::default());
                    // `items` hands out only what can be decoded.
                    if binary::decode_into(&mut decoded, &bytes, &mut tries).is_ok() {
                        let stamp = Stamp { proxy, boot, core, seq: decoded.seq, cut: decoded.cut };
                        line(PastLine::Record(&decoded, stamp));
                    }
                }
                Item::Gap { first, last, reason } => {
                    let (ts_us, missing) = (self.died_us, last - first + 1);
                    let (id, range) = (ids.next(ts_us), Some((first, last)));
                    line(PastLine::Gap(Gap {
                        id,
                        ts_us,
                        proxy,
                        boot,
                        core,
                        range,
                        missing,
                        reason: reason.word(),
                    }));
                }
            }
        }
    }

    /// The stream as JSON lines.
    ///
    /// # Errors
    /// The system gives no random bytes for ids.
    pub fn lines(&self) -> Result<Vec<u8>, Error> {
        let (mut ids, mut renderer, mut lines) = (IdSource::new(u16::MAX)?, Renderer::default(), Vec::new());
        self.each(&mut ids, |past| past.render(&mut renderer, &mut lines));
        Ok(lines)
    }
}

fn time(us: i64) -> String {
    Timestamp::from_microsecond(us).map_or_else(|_| us.to_string(), |time| format!("{time:.6}"))
}
