//! What a field is, as far as a malformed message is told by it, and whether its value is sound.

use super::text::Text;

/// Entries of the static table (RFC 7541 appendix A).
pub(super) const STATIC: usize = 61;

/// What a field is, as far as it matters here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Class {
    #[default]
    Field,
    Te,
    /// `content-length`.
    Length,
    /// A connection-specific field (RFC 9113 section 8.2.2).
    Hop,
    Method,
    Scheme,
    Path,
    Authority,
    Protocol,
    Status,
    /// The entry of the library is a stand-in: its name was unsound.
    Broken,
}

/// A field name as an index can give it again, and whether the value with it was sound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) class: Class,
    pub(super) is_sound: bool,
}

/// What is wrong with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// The message is malformed, and the library sees that by itself.
    Malformed,
    /// The library would end the connection.
    Fatal,
}

impl Class {
    /// The mark of a pseudo field among those seen.
    pub(super) const fn bit(self) -> u8 {
        1 << (self as u8 - Self::Method as u8)
    }

    /// Of the classes whose name must be replaced with their value: filler is no status.
    pub(super) fn name_len(self) -> usize {
        match self {
            Self::Method | Self::Status => 7,
            _ => 0,
        }
    }

    /// Checks a value; `None` when its Huffman code is invalid.
    pub(super) fn fault(self, text: &Text<'_>, scratch: &mut Vec<u8>) -> Option<Fault> {
        let may_skip =
            !matches!(self, Self::Method | Self::Status | Self::Te | Self::Length | Self::Authority);
        if may_skip && text.is_huffman && text.is_coded_plain(self == Self::Path) {
            let is_empty_path = self == Self::Path && text.bytes.is_empty();
            return Some(if is_empty_path { Fault::Malformed } else { Fault::None });
        }
        let value = text.plain(scratch)?;
        Some(match self {
            Self::Field | Self::Hop | Self::Broken if !is_value(value) => Fault::Fatal,
            Self::Field | Self::Hop | Self::Broken => malformed_unless(!is_padded(value)),
            Self::Te | Self::Length if !is_value(value) => Fault::Fatal,
            Self::Te => malformed_unless(value == b"trailers"),
            Self::Length => malformed_unless(!value.is_empty() && value.iter().all(u8::is_ascii_digit)),
            Self::Method if http::Method::from_bytes(value).is_err() => Fault::Fatal,
            Self::Status if http::StatusCode::from_bytes(value).is_err() => Fault::Fatal,
            Self::Method | Self::Status => Fault::None,
            Self::Path | Self::Authority | Self::Scheme | Self::Protocol
                if std::str::from_utf8(value).is_err() =>
            {
                Fault::Fatal
            }
            Self::Path => {
                // The URI type would drop a fragment in silence.
                let is_sound = value.iter().all(|b| !matches!(b, 0..=b' ' | b'#' | 0x7f));
                malformed_unless(is_sound && !value.is_empty())
            }
            Self::Authority => malformed_unless(value.iter().all(|b| matches!(b, b'!'..=b'~'))),
            Self::Scheme | Self::Protocol => malformed_unless(value.iter().all(|b| matches!(b, b'!'..=b'~'))),
        })
    }
}

pub(super) fn malformed_unless(is_sound: bool) -> Fault {
    if is_sound { Fault::None } else { Fault::Malformed }
}

/// What the library takes as a field value: any bytes but controls.
pub(super) fn is_value(value: &[u8]) -> bool {
    // Without an early exit it becomes vector code.
    value.iter().fold(true, |sound, b| sound & (*b >= b' ' || *b == b'\t') & (*b != 0x7f))
}

/// White space around a value (RFC 9113 section 8.2.1).
pub(super) fn is_padded(value: &[u8]) -> bool {
    matches!(value, [b' ' | b'\t', ..] | [.., b' ' | b'\t'])
}

/// Lower-case token characters (RFC 9113 section 8.2.1).
pub(super) fn is_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.iter().all(|b| {
            matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'!' | b'#'..=b'\'' | b'*' | b'+' | b'^' | b'`' | b'|' | b'~')
        })
}

pub(super) fn class_of(name: &[u8]) -> Class {
    match name {
        b"te" => Class::Te,
        b"content-length" => Class::Length,
        b"connection" | b"transfer-encoding" | b"upgrade" | b"keep-alive" | b"proxy-connection" => Class::Hop,
        b":method" => Class::Method,
        b":scheme" => Class::Scheme,
        b":path" => Class::Path,
        b":authority" => Class::Authority,
        b":protocol" => Class::Protocol,
        b":status" => Class::Status,
        name if is_name(name) => Class::Field,
        _ => Class::Broken,
    }
}

/// The classes of the static table (RFC 7541 appendix A), from index 1 on.
pub(super) const STATIC_CLASSES: [Class; STATIC] = {
    let mut classes = [Class::Field; STATIC];
    classes[0] = Class::Authority;
    classes[1] = Class::Method;
    classes[2] = Class::Method;
    classes[3] = Class::Path;
    classes[4] = Class::Path;
    classes[5] = Class::Scheme;
    classes[6] = Class::Scheme;
    let mut index = 7;
    while index < 14 {
        classes[index] = Class::Status;
        index += 1;
    }
    classes[27] = Class::Length;
    classes[56] = Class::Hop;
    classes
};
