//! [`Kind`]: what a field holds, so that a value which it can never have is an error and not an empty answer.

use std::net::IpAddr;

use arrow_schema::DataType;

use super::field::Field;
use super::units::Unit;
use crate::log_service::columns;
use crate::record::host;

/// What values look like, where the store has a column for nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Number(Unit),
    Flag,
    Time,
    /// Hexadecimal digits.
    Hex,
    /// Of a request: ours, or one that a client gave it.
    Id,
    /// An IP address, or a network.
    Address,
}

impl Kind {
    /// `None` for text, and for members of applications, which hold anything.
    pub(super) fn of(field: &Field) -> Option<Self> {
        let mut members = field.members();
        let first = members.next()?;
        if first == "id" {
            return Some(Self::Id);
        }
        if members.next().is_some() {
            return None;
        }
        if field.is_address() {
            return Some(Self::Address);
        }
        match columns::type_of(first) {
            Some(DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64) => {
                Some(Self::Number(field.unit()))
            }
            Some(DataType::Boolean) => Some(Self::Flag),
            Some(DataType::Timestamp(..)) => Some(Self::Time),
            Some(DataType::FixedSizeBinary(_)) => Some(Self::Hex),
            Some(_) => None,
            None => {
                let is_number =
                    host::FACTS.contains(&first) || (field.unit() != Unit::Count && field.is_known());
                is_number.then(|| Self::Number(field.unit()))
            }
        }
    }

    pub(super) fn is_number(self) -> bool {
        matches!(self, Self::Number(_))
    }

    /// Whether some value can be like the text; with `exactly` neither `*` nor a class stands for others.
    fn may_be(self, text: &str, exactly: bool) -> bool {
        let is_glob = text.contains('*') && !exactly;
        match self {
            Self::Number(unit) => {
                let is_part = |c: char| c.is_ascii_digit() || matches!(c, '*' | '.' | '-');
                let is_class = !exactly && super::pattern::status_class(text).is_some();
                unit.parse(text).is_ok() || is_class || (is_glob && text.chars().all(is_part))
            }
            Self::Flag if exactly => matches!(text, "true" | "false"),
            Self::Flag => is_glob || ["true", "false"].iter().any(|word| word.eq_ignore_ascii_case(text)),
            // Whole times do not come here.
            Self::Time => is_glob && text.chars().all(|c| c.is_ascii_digit() || "*-:.+TZtz".contains(c)),
            Self::Hex => text.chars().all(|c| c.is_ascii_hexdigit() || c == '-' || (is_glob && c == '*')),
            Self::Address if exactly => text.parse::<IpAddr>().is_ok(),
            Self::Address => {
                let is_part = |c: char| c.is_ascii_hexdigit() || matches!(c, '*' | '.' | ':');
                // Whether a network is one is seen where it is read.
                text.contains('/') || text.parse::<IpAddr>().is_ok() || (is_glob && text.chars().all(is_part))
            }
            Self::Id => {
                let is_wild = |c: char| !exactly && matches!(c, '*' | '…');
                // What a request id of a client may be made of, too.
                text.chars().all(|c| c.is_ascii_alphanumeric() || "._~:/+=@-".contains(c) || is_wild(c))
            }
        }
    }
}

/// Refuses what no value of the field can be, and says what can be written.
pub(super) fn check(kind: Kind, field: &Field, text: &str, exactly: bool) -> Result<(), String> {
    if kind.may_be(text, exactly) {
        return Ok(());
    }
    let name = field.name();
    let reason = match kind {
        Kind::Number(unit) => unit.parse(text).err().unwrap_or_else(|| format!("`{text}` is no number")),
        Kind::Flag => format!("`{text}` is neither true nor false"),
        Kind::Time => format!("`{text}` is no time"),
        Kind::Hex | Kind::Id => format!("`{text}` is no id"),
        Kind::Address => format!("`{text}` is no address"),
    };
    let hint = several(name, text).unwrap_or_else(|| examples(kind, name));
    Err(format!("{reason}; write {hint}; text of an application is quoted: {name}:\"…\""))
}

/// For what is written as ranges and lists are elsewhere.
fn several(name: &str, text: &str) -> Option<String> {
    let is_number = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    let two = |sign| text.split_once(sign).filter(|(one, other)| is_number(one) && is_number(other));
    if let Some((one, other)) = two("..").or_else(|| two("-")) {
        return Some(format!("{name}:[{one} TO {other}]"));
    }
    two(",").map(|_| format!("{name}:({})", text.replace(',', " ")))
}

fn examples(kind: Kind, name: &str) -> String {
    match kind {
        Kind::Number(Unit::Count | Unit::Moment) if name.ends_with("status") => {
            format!("{name}:500, {name}:5xx, {name}:5*, {name}>=500 or {name}:[500 TO 599]")
        }
        Kind::Number(Unit::Count | Unit::Moment) => format!("{name}:7, {name}>=7 or {name}:[1 TO 7]"),
        Kind::Number(Unit::Bytes) => format!("{name}:10kB, {name}>1MB or {name}:[1kB TO 1MB]"),
        Kind::Number(Unit::Micros { .. } | Unit::Seconds) => {
            format!("{name}:20ms, {name}>800ms or {name}:[100ms TO 1s]")
        }
        Kind::Flag => format!("{name}:true or {name}:false"),
        Kind::Time => {
            format!("{name}:2026-11-21, {name}:2026-11-21T09:*, {name}>=15m or {name}:[09:00 TO 09:15]")
        }
        Kind::Hex => format!("{name}:4bf92f35*, of hexadecimal digits"),
        Kind::Id => format!("{name}:01a1fd62*, or all of it"),
        Kind::Address => format!("{name}:203.0.113.9, {name}:10.0.* or {name}:10.0.0.0/8"),
    }
}
