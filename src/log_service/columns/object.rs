//! A JSON object becomes a row.

use std::borrow::Cow;

use crc_fast::{CrcAlgorithm, checksum};
use jiff::Timestamp;
use serde_json::value::RawValue;

use super::alias::{self, Aliases};
use super::builder::{Builder, PushError};
use super::cells::text_of;
use super::{MADE_VERSION, is_made, named_id, other_ids};
use crate::record::escape::json_string;
use crate::record::members::{Member, Members};
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
        let level = one_level(&members);
        for (place, (name, value)) in members.iter().enumerate() {
            if heading.is_shown(place) {
                continue;
            }
            if let Some(word) = level.as_ref().filter(|_| *name == "level") {
                self.columns.level.set(row, word);
                put_member("level_in", value, &mut self.scratch.body);
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
        self.put_aliases(row, &Aliases::of(&members));
        self.end_row(ROW_BYTES + text.len());
        Ok(())
    }

    fn put_aliases(&mut self, row: usize, aliases: &Aliases<'_>) {
        self.columns.level.set_some(row, aliases.level.as_deref());
        aliases.rid.iter().for_each(|rid| self.columns.rid.set(row, rid));
        self.columns.trace_id.set_some(row, aliases.trace_id);
        self.columns.span_id.set_some(row, aliases.span_id);
    }
}

/// The word of a `level` that is written otherwise, when there is one and its own name is free for what was written.
fn one_level(members: &[Member<'_>]) -> Option<Cow<'static, str>> {
    let mut levels = members.iter().filter(|(name, _)| matches!(&**name, "level" | "level_in"));
    let (name, value) = levels.next()?;
    alias::other_level(value).filter(|_| *name == "level" && levels.next().is_none())
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
        let ts = ts.or_else(|| other_time(members));
        let named = only("id").and_then(|(place, text)| {
            let id = named_id(&text)?;
            let is_exact = id::text(&id) == *text.as_bytes() && !is_made(&id) && !names_other(members, &id);
            shown[2] = place.filter(|_| is_exact);
            Some(id)
        });
        let other = || other_ids().find_map(|name| named_id(&text_of(alias::find(members, name)?)?));
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

/// When it happened, as another member says or in another form.
fn other_time(members: &[Member<'_>]) -> Option<i64> {
    let names = ["ts"].into_iter().chain(alias::TIMES);
    names.filter_map(|name| alias::find(members, name)).find_map(|value| match text_of(value) {
        Some(text) => time_of(&text).map(|(us, _)| us).or_else(|| alias::epoch_us(&text)),
        None => alias::epoch_us(value.get()),
    })
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
    let mut others = other_ids().filter_map(|name| alias::find(members, name));
    others.any(|value| text_of(value).and_then(|text| named_id(&text)) == Some(*id))
}
