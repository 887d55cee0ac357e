//! [`Entry`]: one JSON object from a sender, checked once, kept as the text that came.

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::renames::Renames;
pub(crate) use super::renames::Trust;
use crate::record::frame;
use crate::record::json::OPEN_END;

/// Longest proxy name that is used to recognise a resent record.
const MAX_PROXY: usize = frame::MAX_PROXY;

/// One entry to store.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// A JSON object on one line.
    pub(crate) text: Bytes,
    /// Whose record it is; `None` for entries of other senders.
    pub(crate) stream: Option<Stream>,
    /// Its place in the stream; 0 when it has none, as a `gap` record may.
    pub(crate) seq: u64,
    /// The sequence numbers that a `gap` record declares lost.
    pub(crate) gap: Option<RangeInclusive<u64>>,
}

/// The place of a record among all records of all proxies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) stream: Stream,
    /// 0 when the entry names its stream but has no number, as a `gap` record may.
    pub(crate) seq: u64,
}

/// One core of one run of one proxy: its records are numbered without a gap from 1.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Stream {
    pub(crate) proxy: Box<str>,
    pub(crate) boot: u64,
    pub(crate) core: u64,
}

impl Stream {
    pub(crate) fn of(stream: &frame::Stream<'_>) -> Self {
        Self { proxy: stream.proxy.into(), boot: stream.boot, core: stream.core.into() }
    }
}

impl Entry {
    /// What the service looks at of an object that stands in a frame.
    pub(crate) fn head(text: &[u8]) -> Result<Head<'_>, serde_json::Error> {
        serde_json::from_slice(text)
    }

    /// Checks one JSON object. Readers will parse it again into a tree, so what that would refuse (bad UTF-8, lone
    /// surrogates, numbers out of range, deep nesting) is refused here. An entry that was stored parses to itself.
    pub(crate) fn parse(text: Bytes) -> Result<Self, serde_json::Error> {
        Self::of_sender(text, Trust::Believed)
    }

    /// The same of a sender who may be a stranger: then it is nobody's record, and declares nothing lost.
    pub(crate) fn of_sender(text: Bytes, trust: Trust) -> Result<Self, serde_json::Error> {
        let head: Head<'_> = serde_json::from_slice(&text)?;
        let renames = head.renames(trust);
        if renames.is_any() {
            // What is stored is read again by everybody, so what counts is what that says.
            return Self::parse(renames.write(&text)?);
        }
        let stamp = head.stamp();
        let seq = stamp.as_ref().map_or_else(|| head.seq.number().unwrap_or(0), |stamp| stamp.seq);
        let gap = head.gap();
        Ok(Self { text: on_one_line(text), stream: stamp.map(|stamp| stamp.stream), seq, gap })
    }

    pub(crate) fn stamp(&self) -> Option<Stamp> {
        self.stream.clone().map(|stream| Stamp { stream, seq: self.seq })
    }
}

/// Control bytes are illegal inside JSON strings, so every line end is white space between tokens.
fn on_one_line(text: Bytes) -> Bytes {
    if memchr::memchr2(b'\n', b'\r', &text).is_none() {
        return text;
    }
    text.iter().map(|&byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }).collect()
}

/// The few members that the service itself looks at.
#[derive(Debug, Default)]
pub(crate) struct Head<'a> {
    kind: Scalar<'a>,
    proxy: Scalar<'a>,
    boot: Scalar<'a>,
    core: Scalar<'a>,
    seq: Scalar<'a>,
    first_seq: Scalar<'a>,
    last_seq: Scalar<'a>,
    missing: Scalar<'a>,
    ts: Scalar<'a>,
    recv: Scalar<'a>,
    reason: Scalar<'a>,
    /// The sender used a name that is the service's own.
    reserved: bool,
    /// What any of several members of the same name says: rows take another one than the last, which counts here.
    claims: Claims,
}

/// Whether there is all that makes a place in a stream.
#[derive(Debug, Default)]
struct Claims {
    proxy: bool,
    boot: bool,
    core: bool,
}

impl Head<'_> {
    /// When the entry happened, as its sender says; when it came, if the sender says nothing usable.
    pub(crate) fn time(&self) -> Option<jiff::Timestamp> {
        let parse = |scalar: &Scalar<'_>| scalar.text()?.parse().ok();
        parse(&self.ts).or_else(|| parse(&self.recv))
    }

    /// Its sequence number; a gap has none of its own.
    pub(crate) fn number(&self) -> Option<u64> {
        self.seq.number().filter(|&seq| seq != 0 && !self.is_gap())
    }

    pub(crate) fn is_gap(&self) -> bool {
        self.kind.text() == Some("gap")
    }

    pub(crate) fn is_stop(&self) -> bool {
        self.kind.text() == Some("stop")
    }

    fn renames(&self, trust: Trust) -> Renames {
        let reserved = Renames { reserved: self.reserved, ..Renames::default() };
        let Claims { proxy, boot, core } = self.claims;
        match trust {
            Trust::Believed => reserved,
            Trust::Stranger => Renames {
                place: proxy && boot && core,
                kind: self.is_gap(),
                proxy: proxy && self.kind.text() == Some("host"),
                ..reserved
            },
        }
    }

    /// How many entries a `gap` record declares lost that never had a number.
    pub(crate) fn unnumbered(&self) -> u64 {
        let counts = self.is_gap() && self.gap().is_none();
        self.missing.number().filter(|_| counts).unwrap_or(0)
    }

    /// How many records a `gap` declares.
    pub(crate) fn missing(&self) -> u64 {
        self.missing.number().unwrap_or(0)
    }

    /// From which number on a `gap` record declares an unknown number of records lost.
    pub(crate) fn open_gap(&self) -> Option<u64> {
        let is_open = self.is_gap() && self.last_seq.number().is_none() && self.missing.number().is_none();
        is_open.then(|| self.first_seq.number().unwrap_or(1).max(1))
    }

    pub(crate) fn reason(&self) -> Option<&str> {
        self.reason.text()
    }

    pub(crate) fn stamp(&self) -> Option<Stamp> {
        let proxy = self.proxy.text().filter(|proxy| proxy.len() <= MAX_PROXY)?;
        let stream = Stream { proxy: proxy.into(), boot: self.boot.number()?, core: self.core.number()? };
        Some(Stamp { stream, seq: self.seq.number().unwrap_or(0) })
    }

    pub(crate) fn gap(&self) -> Option<RangeInclusive<u64>> {
        self.is_gap().then(|| declared(self.first_seq.number()?, self.last_seq.number()?)).flatten()
    }
}

/// The numbers that a `gap` from `first` to `last` (both included) declares: those that a record may have, from 1 to before
/// [`OPEN_END`], so that they can be counted. `None` when these are none.
pub(crate) fn declared(first: u64, last: u64) -> Option<RangeInclusive<u64>> {
    Some(first.max(1)..=last.min(OPEN_END - 1)).filter(|range| !range.is_empty())
}

/// A member's value as far as the service cares.
#[derive(Debug, Default)]
enum Scalar<'a> {
    Text(Cow<'a, str>),
    /// A text that is longer than any that is looked for.
    Long,
    Number(u64),
    #[default]
    Other,
}

impl Scalar<'_> {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    fn is_text(&self) -> bool {
        matches!(self, Self::Text(_) | Self::Long)
    }

    fn number(&self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Head<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeadVisitor)
    }
}

struct HeadVisitor;

impl<'de> Visitor<'de> for HeadVisitor {
    type Value = Head<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Head<'de>, A::Error> {
        let mut head = Head::default();
        while let Some(name) = map.next_key()? {
            let value: Scalar<'de> = map.next_value()?;
            head.claims.note(&name, &value);
            match name {
                Name::Kind => head.kind = value,
                Name::Proxy => head.proxy = value,
                Name::Boot => head.boot = value,
                Name::Core => head.core = value,
                Name::Seq => head.seq = value,
                Name::FirstSeq => head.first_seq = value,
                Name::LastSeq => head.last_seq = value,
                Name::Missing => head.missing = value,
                Name::Ts => head.ts = value,
                Name::Reason => head.reason = value,
                Name::Recv => (head.recv, head.reserved) = (value, true),
                Name::Reserved => head.reserved = true,
                Name::Other => {}
            }
        }
        Ok(head)
    }
}

impl Claims {
    fn note(&mut self, name: &Name, value: &Scalar<'_>) {
        match name {
            Name::Proxy => self.proxy |= value.is_text(),
            Name::Boot => self.boot |= value.number().is_some(),
            Name::Core => self.core |= value.number().is_some(),
            _ => {}
        }
    }
}

enum Name {
    Kind,
    Proxy,
    Boot,
    Core,
    Seq,
    FirstSeq,
    LastSeq,
    Missing,
    Ts,
    Recv,
    Reason,
    Reserved,
    Other,
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_identifier(NameVisitor)
    }
}

struct NameVisitor;

impl Visitor<'_> for NameVisitor {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Name, E> {
        Ok(match name {
            "kind" => Name::Kind,
            "proxy" => Name::Proxy,
            "boot" => Name::Boot,
            "core" => Name::Core,
            "seq" => Name::Seq,
            "first_seq" => Name::FirstSeq,
            "last_seq" => Name::LastSeq,
            "missing" => Name::Missing,
            "ts" => Name::Ts,
            "reason" => Name::Reason,
            "recv" => Name::Recv,
            "c" | "from" => Name::Reserved,
            _ => Name::Other,
        })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // `IgnoredAny` would let through escapes, numbers and nesting that a tree parser refuses.
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Other)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Other)
    }

    fn visit_u64<E>(self, number: u64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Number(number))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Scalar<'de>, E> {
        Ok(if text.len() <= MAX_PROXY { Scalar::Text(Cow::Owned(text.to_owned())) } else { Scalar::Long })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Scalar<'de>, A::Error> {
        while items.next_element::<Scalar<'de>>()?.is_some() {}
        Ok(Scalar::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar<'de>, A::Error> {
        // Names are checked by being read as text; values by this same visitor.
        while map.next_key::<Name>()?.is_some() {
            map.next_value::<Scalar<'de>>()?;
        }
        Ok(Scalar::Other)
    }
}

/// Only for the error text of something that is no object.
pub(crate) fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::log_service::columns::ExtentBuilder;

    fn parse(text: &str) -> Result<Entry, serde_json::Error> {
        Entry::parse(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn finds_the_stamp_wherever_it_stands() {
        let entry =
            parse(r#"{"x":{"seq":9},"seq":7,"boot":5,"core":1,"proxy":"edge","a":[1,{"core":3}]}"#).unwrap();
        let stream = Stream { proxy: "edge".into(), boot: 5, core: 1 };
        assert_eq!((entry.stream, entry.seq), (Some(stream), 7));
    }

    #[test]
    fn entries_of_strangers_need_no_stamp() {
        let entry = parse(r#"{"msg":"hi","core":"none","seq":-1,"proxy":[1]}"#).unwrap();
        assert_eq!(entry.stream, None);
    }

    #[test]
    fn a_gap_declares_its_range() {
        let gap = r#"{"kind":"gap","proxy":"e","boot":1,"core":0,"first_seq":3,"last_seq":9}"#;
        assert_eq!(parse(gap).unwrap().gap, Some(3..=9));
    }

    #[test]
    fn senders_cannot_forge_receive_time_or_address() {
        let entry = parse(r#"{"fr\u006fm":"evil","recv":1,"c":"x","a":1}"#).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&entry.text).unwrap();
        assert_eq!(value, serde_json::json!({"from_in":"evil","recv_in":1,"c_in":"x","a":1}));
    }

    #[test]
    fn a_strangers_entry_has_no_place_and_keeps_every_member() {
        for (sent, stored) in [
            (
                r#"{"proxy":"e","boot":1,"core":0,"seq":3,"n":1.50}"#,
                r#"{"proxy_in":"e","boot_in":1,"core_in":0,"seq_in":3,"n":1.50}"#,
            ),
            (
                r#"{"proxy":"e","boot":1,"core":0,"seq":3,"seq":"x"}"#,
                r#"{"proxy_in":"e","boot_in":1,"core_in":0,"seq_in":3,"seq_in":"x"}"#,
            ),
            // Rows take the first that fits, whatever comes behind it.
            (
                r#"{"proxy":"e","boot":1,"core":0,"core":"x","seq":3}"#,
                r#"{"proxy_in":"e","boot_in":1,"core_in":0,"core_in":"x","seq_in":3}"#,
            ),
            (r#"{"pro\u0078y":"e","boot":1,"core":0}"#, r#"{"proxy_in":"e","boot_in":1,"core_in":0}"#),
            (r#"{"kind":"gap","missing":9}"#, r#"{"kind_in":"gap","missing":9}"#),
            (r#"{"kind":"x","kind":"g\u0061p"}"#, r#"{"kind_in":"x","kind_in":"g\u0061p"}"#),
            (r#"{"kind":"host","proxy":"e"}"#, r#"{"kind":"host","proxy_in":"e"}"#),
            (r#"{"recv":1,"kind":"gap"}"#, r#"{"recv_in":1,"kind_in":"gap"}"#),
        ] {
            let entry = Entry::of_sender(Bytes::from_static(sent.as_bytes()), Trust::Stranger).unwrap();
            assert_eq!(
                (&*entry.text, &entry.stream, &entry.gap),
                (stored.as_bytes(), &None, &None),
                "{sent}"
            );
            let again = Entry::of_sender(entry.text.clone(), Trust::Stranger).unwrap();
            assert_eq!(again.text, entry.text, "what was stored parses to itself");
        }
        let long = format!(r#"{{"proxy":"\n{}","boot":1,"core":0}}"#, "e".repeat(MAX_PROXY));
        let entry = Entry::of_sender(long.into(), Trust::Stranger).unwrap();
        assert!(
            entry.text.starts_with(b"{\"proxy_in\""),
            "a name that is too long for a stamp fits into a row"
        );
    }

    #[test]
    fn what_forms_no_place_keeps_its_name() {
        for own in [
            r#"{"seq":3,"core":1,"proxy":"corporate"}"#,
            r#"{"seq":3,"boot":1,"core":"none","proxy":"corporate"}"#,
            r#"{"kind":"stop","last_seqs":[9]}"#,
            r#"{"kind":"start","proxy":"corporate"}"#,
            r#"{"kind":"host","name":"web-1"}"#,
            r#"{"x":{"proxy":"e","boot":1,"core":0,"kind":"gap"}}"#,
        ] {
            let entry = Entry::of_sender(Bytes::from_static(own.as_bytes()), Trust::Stranger).unwrap();
            assert_eq!((&*entry.text, entry.stream), (own.as_bytes(), None));
        }
    }

    #[test]
    fn becomes_one_line() {
        let entry = parse("{\n \"a\": \"x\\ny\",\r\n \"b\": 2\n}").unwrap();
        assert!(!entry.text.contains(&b'\n') && !entry.text.contains(&b'\r'));
        let value: serde_json::Value = serde_json::from_slice(&entry.text).unwrap();
        assert_eq!(value, serde_json::json!({"a":"x\ny","b":2}));
    }

    #[test]
    fn refuses_what_a_reader_could_not_parse() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
        for bad in ["[]", "1", "{", r#"{"a":1e999}"#, r#"{"a":"\ud800"}"#, r#"{"\udc00":1}"#, "{} {}", &deep]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(Entry::parse(Bytes::from_static(b"{\"a\":\"\xff\"}")).is_err());
    }

    #[test]
    fn what_a_gap_declares_can_be_counted_however_large_its_numbers_are() {
        let edges = [0, 1, 2, u64::MAX - 1, u64::MAX];
        let pairs = edges.into_iter().flat_map(|first| edges.map(|last| (first, last)));
        for ((first, last), reason) in
            pairs.flat_map(|pair| ["sampled", "spool_full"].map(|reason| (pair, reason)))
        {
            let text = format!(
                r#"{{"kind":"gap","proxy":"e","boot":1,"core":0,"first_seq":{first},"last_seq":{last},"missing":7,"reason":"{reason}"}}"#
            );
            let entry = parse(&text).unwrap();
            let expected = (first.max(1)..=last.min(u64::MAX - 1)).into_inner();
            let expected = Some(expected).filter(|(first, last)| first <= last);
            assert_eq!(entry.gap.map(RangeInclusive::into_inner), expected, "{text}");
            let extent = ExtentBuilder::of_objects(&[&entry.text]);
            let streams = extent.streams.iter();
            let ranges = streams
                .flat_map(|one| one.numbers.iter().copied().chain(one.gaps.iter().map(|gap| (gap.0, gap.1))));
            assert_eq!(ranges.collect::<Vec<_>>(), Vec::from_iter(expected), "{text}");
            assert_eq!(extent.unnumbered, if expected.is_none() { 7 } else { 0 }, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_words_of_a_stranger_make_a_place(
            members in proptest::collection::vec(
                (
                    "proxy|boot|core|seq|kind|first_seq|last_seq|missing|from|x",
                    "[0-9]{1,6}|\"gap\"|\"host\"|\"stop\"|\"e\"|null|\\[1\\]|\\{\"boot\":1\\}",
                ),
                0..12,
            )
        ) {
            let members = members.iter().map(|(name, value)| format!("\"{name}\":{value}"));
            let text = format!("{{{}}}", members.collect::<Vec<_>>().join(","));
            let Ok(entry) = Entry::of_sender(text.clone().into(), Trust::Stranger) else { return Ok(()) };
            prop_assert_eq!((&entry.stream, &entry.gap), (&None, &None), "{}", text);
            let head: Head<'_> = serde_json::from_slice(&entry.text).unwrap();
            prop_assert_eq!(head.unnumbered(), 0);
            let extent = ExtentBuilder::of_objects(&[&entry.text]);
            prop_assert!(extent.streams.is_empty() && extent.unnumbered == 0, "{}", text);
        }

        #[test]
        fn what_is_accepted_is_readable(text in r#"[\{\}\[\]",:a-f0-9eE+\-.\\u \n]{0,40}"#) {
            let text = format!("{{\"a\":{text}}}");
            let accepted = parse(&text).is_ok();
            let tree = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text);
            prop_assert_eq!(accepted, tree.is_ok(), "{}", text);
        }
    }
}
