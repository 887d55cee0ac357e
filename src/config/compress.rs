//! `compress`: a list of codecs, or a table.

use super::place::At;
use super::shape::{choice, either, table};
use super::words::{False, MediaType};
use crate::units::Size;

either! {
    /// Compression of answers.
    pub enum Compress {
        Off(False),
        Codecs(Vec<At<Codec>>),
        Table(CompressTable),
    }
}

choice! {
    /// A content coding.
    pub enum Codec ("codec") {
        Zstd = "zstd",
        Brotli = "br",
        Gzip = "gzip",
    }
}

table! {
    /// Compression of answers, in full.
    pub struct CompressTable {
        /// Codecs in order of preference.
        codecs: default Vec<At<Codec>> = &["zstd", "br", "gzip"] as &[&str];
        /// Media types; `text/*` is all of a kind.
        types: default Vec<At<MediaType>> = TYPES;
        /// Smaller answers are left as they are.
        min_size: default Size = "1KiB";
        /// Effort, from 1 to 9; each codec's own when left out (zstd 3, br 4, gzip 2).
        level: optional Level;
    }
}

/// Effort of a codec, from 1 to 9.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(pub u8);

/// What is compressed unless `types` says otherwise.
pub const TYPES: &[&str] = &[
    "text/*",
    "application/json",
    "application/*+json",
    "application/javascript",
    "application/xml",
    "application/*+xml",
    "application/x-ndjson",
    "application/wasm",
    "application/manifest+json",
    "image/svg+xml",
    "image/x-icon",
    "font/ttf",
    "font/otf",
];

impl Compress {
    /// Everything spelt out; None when it is off. A bare list of codecs has the defaults of the table.
    pub fn settings(&self) -> Option<CompressTable> {
        match self {
            Self::Off(_) => None,
            Self::Table(table) => Some(table.clone()),
            Self::Codecs(codecs) => {
                let mut table = super::read::defaults::<CompressTable>()?;
                table.codecs.value.clone_from(codecs);
                Some(table)
            }
        }
    }
}
