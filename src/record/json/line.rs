//! [`Line`]: one line of JSON while it is written.

use std::io::Write as _;
use std::net::IpAddr;

use super::Stamp;
use crate::record::escape::{hex, json_string};
use crate::record::frame::Cut;

/// A line in the making. A key comes as `,"name":`; it is known when compiled, and what writes it is inlined so that
/// copying it is a few plain stores.
pub(super) struct Line<'o> {
    pub(super) out: &'o mut Vec<u8>,
}

impl Line<'_> {
    pub(super) fn stamp(&mut self, stamp: &Stamp<'_>) {
        self.source(stamp.proxy, stamp.boot, stamp.core);
        self.number(super::key!("seq"), Some(stamp.seq));
    }

    pub(super) fn source(&mut self, proxy: &str, boot: u64, core: u16) {
        self.text(super::key!("proxy"), Some(proxy));
        self.number(super::key!("boot"), Some(boot));
        self.number(super::key!("core"), Some(core));
    }

    pub(super) fn raw_number(&mut self, number: u64) {
        self.out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    #[inline(always)]
    pub(super) fn number(&mut self, key: &[u8], number: Option<impl Into<u64>>) {
        if let Some(number) = number {
            self.out.extend_from_slice(key);
            self.raw_number(number.into());
        }
    }

    #[inline(always)]
    pub(super) fn flag(&mut self, key: &[u8], flag: Option<bool>) {
        if let Some(flag) = flag {
            self.out.extend_from_slice(key);
            self.out.extend_from_slice(if flag { b"true" } else { b"false" });
        }
    }

    /// A word of our own, which needs no escaping.
    #[inline(always)]
    pub(super) fn word(&mut self, key: &[u8], word: &str) {
        self.out.extend_from_slice(key);
        self.out.push(b'"');
        self.out.extend_from_slice(word.as_bytes());
        self.out.push(b'"');
    }

    #[inline(always)]
    pub(super) fn text(&mut self, key: &[u8], text: Option<&str>) {
        if let Some(text) = text {
            self.out.extend_from_slice(key);
            json_string(text.as_bytes(), self.out);
        }
    }

    #[inline(always)]
    pub(super) fn bytes(&mut self, key: &[u8], bytes: Option<&[u8]>) {
        let Some(bytes) = bytes else { return };
        self.out.extend_from_slice(key);
        if !json_string(bytes, self.out) {
            // `,"name":` becomes `,"name_hex":"…"`.
            self.out.extend_from_slice(key.strip_suffix(b"\":").unwrap_or(key));
            self.out.extend_from_slice(b"_hex\":\"");
            hex(bytes, self.out);
            self.out.push(b'"');
        }
    }

    pub(super) fn hex(&mut self, key: &[u8], bytes: Option<&[u8]>) {
        if let Some(bytes) = bytes {
            self.out.extend_from_slice(key);
            self.out.push(b'"');
            hex(bytes, self.out);
            self.out.push(b'"');
        }
    }

    #[inline(always)]
    pub(super) fn ip(&mut self, key: &[u8], ip: Option<IpAddr>) {
        let Some(ip) = ip else { return };
        self.out.extend_from_slice(key);
        self.out.push(b'"');
        match ip {
            IpAddr::V4(ip) => {
                let [a, b, c, d] = ip.octets();
                self.raw_number(u64::from(a));
                for octet in [b, c, d] {
                    self.out.push(b'.');
                    self.raw_number(u64::from(octet));
                }
            }
            // Writing to a Vec cannot fail.
            IpAddr::V6(ip) => drop(write!(self.out, "{ip}")),
        }
        self.out.push(b'"');
    }

    pub(super) fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.out.push(b'[');
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            write(self, item);
        }
        self.out.push(b']');
    }

    pub(super) fn cut(&mut self, cut: Cut) {
        if !cut.is_empty() {
            self.out.extend_from_slice(super::key!("cut"));
            let names: Vec<&str> = cut.names().collect();
            self.list(&names, |line, name| {
                json_string(name.as_bytes(), line.out);
            });
        }
    }

    pub(super) fn end(self) {
        self.out.extend_from_slice(b"}\n");
    }
}
