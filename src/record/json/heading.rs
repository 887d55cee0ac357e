//! [`Heading`]: the fields that seldom change from one line to the next, kept as text.

use std::io::Write as _;

use jiff::Timestamp;

use super::digits::Digits;
use super::line::Line;
use super::{key, text_key};
use crate::record::escape::{hex_digits, json_string};
use crate::record::{Id, VERSION};

#[derive(Debug, Default)]
pub(super) struct Heading {
    opening: Opening,
    source: Source,
    configuration: Configuration,
}

impl Heading {
    /// For a line of `kind` that comes from `(proxy, boot, core)`.
    #[inline(always)]
    pub(super) fn set(&mut self, kind: &'static str, ts_us: i64, source: (&str, u64, u16)) {
        self.opening.set(kind, ts_us.div_euclid(1_000_000));
        self.source.set(source);
    }

    /// From `{` to `core`. `ts_us` is what was set.
    #[inline(always)]
    pub(super) fn write(&self, ts_us: i64, id: &Id, line: &mut Line<'_>) {
        line.raw(&self.opening.text);
        // Less than a second.
        line.digits(b"", Digits::six(ts_us.rem_euclid(1_000_000) as u32));
        line.raw(b"Z\",\"id\":\"");
        line.id(id);
        line.raw(&self.source.text);
    }

    /// The hash of the active configuration, if there is one.
    #[inline(always)]
    pub(super) fn configuration(&mut self, hash: u64, line: &mut Line<'_>) {
        if hash != 0 {
            let kept = &mut self.configuration;
            if kept.hash != hash {
                *kept = Configuration { hash, digits: hex_digits(&hash.to_be_bytes()) };
            }
            line.raw(text_key!("cfg"));
            line.raw(kept.digits.as_flattened());
            line.raw(b"\"");
        }
    }
}

/// The beginning of a line up to the point in front of the fraction of its second.
#[derive(Debug, Default)]
struct Opening {
    kind: &'static str,
    /// Seconds since the Unix epoch.
    second: i64,
    text: Vec<u8>,
}

impl Opening {
    #[inline(always)]
    fn set(&mut self, kind: &'static str, second: i64) {
        // A word that stands in two places of the program is written once more.
        if self.second != second || !std::ptr::eq(self.kind, kind) {
            self.write(kind, second);
        }
    }

    #[cold]
    fn write(&mut self, kind: &'static str, second: i64) {
        // RFC 3339 in UTC; a time beyond the calendar shows as the epoch.
        let time = Timestamp::from_second(second).unwrap_or_default();
        self.text.clear();
        // Writing to a Vec cannot fail. The `Z` goes behind the fraction.
        let _ = write!(self.text, "{{\"v\":{VERSION},\"kind\":\"{kind}\",\"ts\":\"{time}");
        self.text.pop();
        self.text.push(b'.');
        (self.kind, self.second) = (kind, second);
    }
}

/// From the quote behind the id to `core`: the same for all lines of a core.
#[derive(Debug, Default)]
struct Source {
    proxy: String,
    boot: u64,
    core: u16,
    text: Vec<u8>,
}

impl Source {
    #[inline(always)]
    fn set(&mut self, (proxy, boot, core): (&str, u64, u16)) {
        let is_same = self.boot == boot && self.core == core && self.proxy == proxy;
        if !is_same || self.text.is_empty() {
            self.write(proxy, boot, core);
        }
    }

    #[cold]
    fn write(&mut self, proxy: &str, boot: u64, core: u16) {
        self.text.clear();
        self.text.push(b'"');
        self.text.extend_from_slice(key!("proxy"));
        json_string(proxy.as_bytes(), &mut self.text);
        // Writing to a Vec cannot fail.
        let _ = write!(self.text, ",\"boot\":{boot},\"core\":{core}");
        (self.boot, self.core) = (boot, core);
        proxy.clone_into(&mut self.proxy);
    }
}

#[derive(Debug, Default)]
struct Configuration {
    hash: u64,
    digits: [[u8; 2]; 8],
}
