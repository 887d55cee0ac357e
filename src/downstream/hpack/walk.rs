//! [`Walk`]: the rules about a message as a whole (RFC 9113 sections 8.1 to 8.5).

use super::Part;
use super::class::{Class, Entry};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Connect,
    Ordinary,
    Unknown,
}

impl Method {
    pub(super) fn of(text: &[u8]) -> Self {
        if text == b"CONNECT" { Self::Connect } else { Self::Ordinary }
    }

    /// Pseudo fields without which a message of this method is malformed (RFC 9113 sections 8.3.1 and 8.5).
    pub(super) fn needs(self) -> u8 {
        match self {
            Self::Connect => Walk::METHOD | Walk::AUTHORITY,
            Self::Ordinary => Walk::METHOD | Walk::SCHEME | Walk::PATH,
            Self::Unknown => Walk::METHOD,
        }
    }
}

/// What was seen of one message.
pub(super) struct Walk {
    pub(super) part: Part,
    pub(super) pseudo: u8,
    pub(super) is_field_seen: bool,
    /// What an index stands for is known of GET and POST only.
    pub(super) method: Method,
    pub(super) malformed: Option<&'static str>,
}

impl Walk {
    const METHOD: u8 = Class::Method.bit();
    const SCHEME: u8 = Class::Scheme.bit();
    const PATH: u8 = Class::Path.bit();
    const AUTHORITY: u8 = Class::Authority.bit();

    pub(super) fn new(part: Part) -> Self {
        Self { part, pseudo: 0, is_field_seen: false, method: Method::Unknown, malformed: None }
    }

    #[inline]
    pub(super) fn see_indexed(&mut self, index: usize, entry: Entry) {
        if index == 2 || index == 3 {
            self.method = Method::Ordinary;
        }
        self.see(entry);
    }

    #[inline]
    pub(super) fn see(&mut self, entry: Entry) {
        match entry {
            Entry { class: Class::Field, is_sound: true } => self.is_field_seen = true,
            special => self.see_special(special),
        }
    }

    pub(super) fn see_special(&mut self, entry: Entry) {
        if !entry.is_sound {
            self.malformed.get_or_insert("invalid field value");
        }
        match entry.class {
            Class::Field | Class::Te | Class::Length => self.is_field_seen = true,
            Class::Method | Class::Scheme | Class::Path | Class::Authority => self.see_pseudo(entry.class),
            Class::Hop => self.refuse("connection field in HTTP/2"),
            Class::Protocol => self.refuse("extended CONNECT is not served"),
            Class::Status => self.refuse(":status in a request"),
            Class::Broken => self.refuse("invalid field name"),
        }
    }

    pub(super) fn see_pseudo(&mut self, class: Class) {
        let bit = class.bit();
        if self.part == Part::Trailers {
            self.refuse("pseudo field in trailers");
        } else if self.is_field_seen {
            self.refuse("pseudo field after a field");
        } else if self.pseudo & bit != 0 {
            self.refuse("pseudo field twice");
        }
        self.pseudo |= bit;
    }

    pub(super) fn refuse(&mut self, why: &'static str) {
        self.malformed.get_or_insert(why);
    }

    pub(super) fn verdict(mut self) -> Option<&'static str> {
        let needed = self.method.needs();
        if self.part == Part::Head && self.pseudo & needed != needed {
            self.refuse("pseudo field missing");
        }
        if self.method == Method::Connect && self.pseudo != needed {
            self.refuse("CONNECT with scheme or path");
        }
        self.malformed
    }
}
