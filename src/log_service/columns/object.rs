//! A JSON object becomes a row.

use std::borrow::Cow;
use std::fmt;

use crc_fast::{CrcAlgorithm, checksum};
use jiff::Timestamp;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::builder::{Builder, PushError};
use super::cells::text_of;
use super::{MADE_VERSION, OTHER_IDS, is_made, named_id};
use crate::record::escape::json_string;
use crate::record::{Id, id};

/// What a row takes beside its texts, roughly.
const ROW_BYTES: usize = 64;

impl Builder {
    /// Adds one JSON object. `recv` is microseconds since the Unix epoch, `from` the sender's address.
    ///
    /// A member named `recv` or `from` is the sender's, not ours: it gets `_in` behind its name.
    pub(crate) fn push_object(&mut self, text: &[u8], recv: i64, from: &str) -> Result<(), PushError> {
        self.check_room(text.len())?;
        let Members(members) = serde_json::from_slice(text)?;
        let row = self.rows;
        let heading = Heading::of(&members, recv, text);
        self.columns.ts.push(heading.ts);
        self.columns.id.set(row, heading.id);
        self.columns.kind.set(row, heading.kind.as_deref().unwrap_or_default());
        self.columns.recv.push(recv);
        self.columns.from.set(row, from);
        // At most one per column: of members of the same name, those behind the first that does not fit stay with it.
        let mut refused: Vec<&str> = Vec::new();
        for (place, (name, value)) in members.iter().enumerate() {
            if heading.is_shown(place) {
                continue;
            }
            let column = self.columns.of_member(name).filter(|_| !refused.contains(&&**name));
            if column.is_some_and(|column| column.put_json(row, value)) {
                continue;
            }
            if self.columns.of_member(name).is_some() && !refused.contains(&&**name) {
                refused.push(name);
            }
            put_member(name, value, &mut self.scratch.body);
        }
        self.end_row(ROW_BYTES + text.len());
        Ok(())
    }
}

fn put_member(name: &str, value: &RawValue, body: &mut Vec<u8>) {
    body.push(b',');
    match name {
        "recv" => body.extend_from_slice(b"\"recv_in\""),
        "from" => body.extend_from_slice(b"\"from_in\""),
        name => _ = json_string(name.as_bytes(), body),
    }
    body.push(b':');
    body.extend_from_slice(value.get().as_bytes());
}

/// The columns that every row has, and which members they show as they came.
struct Heading<'a> {
    ts: i64,
    id: Id,
    kind: Option<Cow<'a, str>>,
    shown: [Option<usize>; 3],
}

impl<'a> Heading<'a> {
    fn of(members: &'a [Member<'a>], recv: i64, text: &[u8]) -> Self {
        let only = |name: &str| {
            let mut places = members.iter().enumerate().rev().filter(|(_, member)| member.0 == name);
            let (place, (_, value)) = places.next()?;
            // Of members of the same name the last one counts; all of them are kept in `body`.
            let place = Some(place).filter(|_| places.next().is_none());
            Some((place, text_of(value)?))
        };
        let mut shown = [None; 3];
        let kind = only("kind").map(|(place, text)| {
            shown[0] = place.filter(|_| !text.is_empty());
            text
        });
        let ts = only("ts").and_then(|(place, text)| {
            let (us, is_exact) = time_of(&text)?;
            shown[1] = place.filter(|_| is_exact && us != recv);
            Some(us)
        });
        let named = only("id").and_then(|(place, text)| {
            let id = named_id(&text)?;
            let is_exact = id::text(&id) == *text.as_bytes() && !is_made(&id) && !names_other(members, &id);
            shown[2] = place.filter(|_| is_exact);
            Some(id)
        });
        let other = || OTHER_IDS.iter().find_map(|name| named_id(&only(name)?.1));
        let id = named.or_else(other).unwrap_or_else(|| made_id(recv, text));
        Self { ts: ts.unwrap_or(recv), id, kind, shown }
    }

    fn is_shown(&self, place: usize) -> bool {
        self.shown.contains(&Some(place))
    }
}

/// Microseconds since the Unix epoch, and whether they are written again as the same text.
fn time_of(text: &str) -> Option<(i64, bool)> {
    let us = text.parse::<Timestamp>().ok()?.as_microsecond();
    let mut again = Vec::with_capacity(text.len());
    super::render::write_time(us, &mut again);
    Some((us, again == text.as_bytes()))
}

/// The same for the same text received at the same time, so that a replay makes no second row.
fn made_id(recv: i64, text: &[u8]) -> Id {
    let us = recv.max(0).unsigned_abs();
    let high = (us / 1000) << 16 | u64::from(MADE_VERSION) << 12 | (us % 1000);
    let low = 0b10 << 62 | checksum(CrcAlgorithm::Crc64Nvme, text) >> 2;
    (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
}

/// Whether a member other than `id` names this id.
pub(super) fn names_other(members: &[Member<'_>], id: &Id) -> bool {
    let mut others = members.iter().filter(|(name, _)| OTHER_IDS.contains(&&**name));
    others.any(|(_, value)| text_of(value).and_then(|text| named_id(&text)) == Some(*id))
}

pub(super) type Member<'a> = (Cow<'a, str>, &'a RawValue);

/// The members of an object in their order, values as they are written.
#[derive(Default)]
pub(super) struct Members<'a>(pub(super) Vec<Member<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Vec::with_capacity(16);
        while let Some((Name(name), value)) = map.next_entry()? {
            members.push((name, value));
        }
        Ok(Members(members))
    }
}

struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_identifier(NameVisitor)
    }
}

struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = Name<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Borrowed(name)))
    }

    fn visit_str<E>(self, name: &str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Owned(name.to_owned())))
    }
}
