//! `[log]`: where the records go.

use std::path::PathBuf;

use http::Uri;

use super::log_input::LogInput;
use super::log_sink::LogSink;
use super::place::At;
use super::read::Map;
use super::shape::{choice, either, table};
use super::words::{Name, Text};
use crate::units::{Count, Duration, Percent, Size};

table! {
    /// Where the access records go. Several places at once are fine.
    pub struct Log {
        /// The log service: `embedded` (kept and searched on this machine), `none`, `unix:PATH`, or its URL.
        service: default LogService = "embedded";
        /// A secret that is sent to the log service with each batch (`Authorization: Bearer`): `"${LOG_TOKEN}"`.
        token: optional Text;
        /// A PEM file of the authorities that vouch for a log service over https; the public ones when it is left out.
        ca: optional Text;
        /// A PEM file with the certificate that a log service over https is shown, leaf first; together with `key`.
        cert: optional Text;
        /// The private key of `cert`, PEM.
        key: optional Text;
        /// Where the embedded log service keeps its data.
        data: default Text = "run/logs";
        /// What the embedded log service keeps, and for how long.
        keep: default Keep = ();
        /// Memory that the embedded log service takes, about; 256 MiB at least. What does not fit waits in the spool, or is counted together in an answer, which then says so.
        memory: default Size = "512MiB";
        /// A file of JSON lines.
        file: optional Text;
        /// When the file is put aside.
        rotate: default Rotate = ();
        /// One line per request on the standard output: JSON with `true` or `json`, `line` for people, `combined` as Apache and nginx write it.
        stdout: default Stdout = false;
        /// How often a `host` record tells what the machine, tollgate and its workers use: CPU, memory, disk, network, lag, restarts. `0s` for never.
        host: default Duration = "10s";
        /// What is never kept, beyond the credentials that never are: `query.NAME`.
        redact: default Vec<At<Redact>> = &[] as &[&str];
        /// What waits on disk for a place that is away or slow.
        spool: default Spool = ();
        /// What may wait in memory where the spool cannot be written; more is dropped, counted, and reported as a gap.
        buffer: default Size = "64MiB";
        /// Keeps only a part of the quick successes; all records are kept when it is left out.
        sample: optional LogSample;
        /// Further places that take the records, by name.
        sink: default Map<Name, LogSink> = ();
        /// Doors of the log service for what others send, by name: of the embedded one, or of `tollgate -c FILE logs serve`.
        input: default Map<Name, LogInput> = ();
    }
}

table! {
    /// Records between the cores and the places that take them: files that survive a crash. Deleted when all have them.
    pub struct Spool {
        /// Its directory; `spool` in that of `data` when left out.
        dir: optional Text;
        /// Most that may wait. As it fills, records leave out more and more: from 70% what clients say about themselves, from 85% nine of ten quick successes, from 95% nearly everything; when it is full, new ones are dropped, counted, and reported as a gap.
        size: default Size = "4GiB";
        /// When what is written is put on the disk: `always` (before anyone sees it), at an interval such as `200ms`, or `os` (when the system likes). It survives the death of tollgate in any case, and that of the machine from then on.
        sync: default SpoolSync = "200ms";
        /// What happens as it fills: `degrade` (see `size`); `block`: new requests wait up to `block_for` for room before records lose anything, then it is as with `degrade`; or `fail_closed`: every request is recorded whole, and answered 503 while there is no room for its record.
        on_full: default OnFull = "degrade";
        /// With `on_full = "block"`: how long a request waits at most; 5 s is the longest. While it waits it holds its places under limits of concurrency. Requests that are refused before they go anywhere (404, 429, redirects to https) do not wait.
        block_for: default Duration = "100ms";
        /// Size at which a new file is begun.
        segment: default Size = "64MiB";
    }
}

table! {
    /// What the embedded log service keeps. The oldest hours go first, the current one never; times are rounded up to days.
    pub struct Keep {
        /// Age after which requests go.
        age: default Duration = "30d";
        /// The same for errors and requests of 1 s and more.
        errors: default Duration = "90d";
        /// The same for counts by the hour (`/rollups`).
        rollups: default Duration = "400d";
        /// Size of all files together.
        size: default Size = "16GiB";
        /// What stays free on the disk; a twentieth of it, at most 1 GiB, when left out.
        free: optional Size;
    }
}

table! {
    /// Sampling by outcome. Whatever failed (status 400 and above too), was slow, retried or limited is always kept, and files, redirects and fixed answers are sampled like others; each record that is kept of the rest says in `sw` how many it stands for.
    pub struct LogSample {
        /// The share of the rest that is kept; rounded to one in a whole number.
        rate: required Percent;
        /// From this duration on a request is slow.
        slow: default Duration = "1s";
    }
}

choice! {
    /// What happens when the spool fills.
    pub enum OnFull ("answer to a full spool") {
        Degrade = "degrade",
        Block = "block",
        FailClosed = "fail_closed",
    }
}

/// When the spool is put on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpoolSync {
    Always,
    Every(Duration),
    System,
}

/// Which log service takes the records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogService {
    Embedded,
    None,
    Unix(PathBuf),
    Url(Uri),
}

either! {
    /// Whether there are lines on the standard output, and which.
    pub enum Stdout {
        Switch(bool),
        Form(StdoutForm),
    }
}

choice! {
    /// The form of a line.
    pub enum StdoutForm ("form") {
        Json = "json",
        Line = "line",
        Combined = "combined",
    }
}

impl Stdout {
    /// None when there are none.
    pub fn form(&self) -> Option<StdoutForm> {
        match self {
            Self::Switch(false) => None,
            Self::Switch(true) => Some(StdoutForm::Json),
            Self::Form(form) => Some(*form),
        }
    }
}

table! {
    /// Rotation of `log.file`.
    pub struct Rotate {
        /// Size at which a new file is begun.
        size: default Size = "100MiB";
        /// How many old files are kept.
        keep: default Count = 10;
    }
}

/// A part of a request that is replaced before it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redact {
    /// The value of a query parameter.
    Query(String),
}
