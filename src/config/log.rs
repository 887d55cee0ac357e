//! `[log]`: where the records go.

use std::path::PathBuf;

use http::Uri;

use super::place::At;
use super::shape::{choice, either, table};
use super::words::Text;
use crate::units::{Count, Size};

table! {
    /// Where the access records go. Several places at once are fine.
    pub struct Log {
        /// The log service: `embedded` (kept and searched on this machine), `none`, `unix:PATH`, or its URL.
        service: default LogService = "embedded";
        /// Where the embedded log service keeps its data.
        data: default Text = "run/logs";
        /// A file of JSON lines.
        file: optional Text;
        /// When the file is put aside.
        rotate: default Rotate = ();
        /// One line per request on the standard output: JSON with `true` or `json`, `line` for people, `combined` as Apache and nginx write it.
        stdout: default Stdout = false;
        /// What is never kept, beyond the credentials that never are: `query.NAME`.
        redact: default Vec<At<Redact>> = &[] as &[&str];
        /// What may wait in memory for a log service that is away; more is dropped, counted, and reported as a gap.
        buffer: default Size = "64MiB";
    }
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
