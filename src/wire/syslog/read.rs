//! [`Message`]: one message as the fields of an entry.
//!
//! `syslog_loose` reads: RFC 5424 first, then what of RFC 3164 is recognised. Of what is neither, the text is the message.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::value::RawValue;
use syslog_loose::{ProcId, SyslogFacility, SyslogSeverity, Variant, decompose_pri};

use super::LEVELS;
use crate::record::escape::{json_string, member_name};

/// What stands in front of a message that is a JSON object (Common Event Expression, as rsyslog writes it).
const COOKIE: &str = "@cee:";
/// Deeper or larger priorities do not exist: facility 23, severity 7.
const MAX_PRI: u8 = 191;

/// One message.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    facility: Option<SyslogFacility>,
    severity: Option<SyslogSeverity>,
    time: Option<Timestamp>,
    hostname: Option<&'a str>,
    app: Option<&'a str>,
    procid: Option<ProcId<&'a str>>,
    msgid: Option<&'a str>,
    elements: Vec<syslog_loose::StructuredElement<&'a str>>,
    text: &'a str,
}

impl<'a> Message<'a> {
    /// Reads any text. A date without a year and a time zone (RFC 3164) is in this machine's zone, as near as possible to
    /// `now`.
    pub fn parse(text: &'a str, now: Timestamp) -> Self {
        let year = |(month, ..): syslog_loose::IncompleteDate| year_of(month, now);
        match syslog_loose::parse_message_with_year_exact(text, year, Variant::Either) {
            Ok(read) => Self {
                facility: read.facility,
                severity: read.severity,
                time: read
                    .timestamp
                    .and_then(|time| Timestamp::from_microsecond(time.timestamp_micros()).ok()),
                hostname: read.hostname,
                app: read.appname,
                procid: read.procid,
                msgid: read.msgid,
                elements: read.structured_data,
                text: read.msg.trim_start_matches('\u{feff}'),
            },
            Err(_) => Self::of_text(text),
        }
    }

    /// What is no syslog, but may begin with a priority.
    fn of_text(text: &'a str) -> Self {
        let pri = text.strip_prefix('<').and_then(|rest| rest.split_once('>'));
        let pri = pri.and_then(|(pri, rest)| Some((pri.parse::<u8>().ok()?, rest)));
        let pri = pri.filter(|(pri, _)| *pri <= MAX_PRI);
        let (facility, severity) = pri.map_or((None, None), |(pri, _)| decompose_pri(pri));
        let text = pri.map_or(text, |(_, rest)| rest).trim();
        Self {
            facility,
            severity,
            time: None,
            hostname: None,
            app: None,
            procid: None,
            msgid: None,
            elements: Vec::new(),
            text,
        }
    }

    /// Takes out the elements of structured data for whose name `is_it` says yes. Tells whether there was one.
    pub fn take_element(&mut self, is_it: impl Fn(&str) -> bool) -> bool {
        let before = self.elements.len();
        self.elements.retain(|element| !is_it(element.id));
        self.elements.len() < before
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && self.elements.is_empty() && self.app.is_none() && self.msgid.is_none()
    }

    /// As a JSON object on one line: `ts`, `level`, `hostname`, `app`, `procid`, `msgid`, `facility`, `severity`, each
    /// parameter of structured data as `sd.ID.NAME` (an array when it stands there more than once), and `msg`. With
    /// `is_merged`, a text that is a JSON object gives its members instead of `msg`; what the header says under the same
    /// name is `syslog.NAME` then.
    pub fn to_json(&self, is_merged: bool) -> Vec<u8> {
        let merged = if is_merged { members(self.text) } else { None };
        let mut object = Object::new(merged.as_ref());
        self.header(&mut object);
        for (name, values) in self.params() {
            match &values[..] {
                [value] => object.text(&name, value),
                values => object.raw(&name, |out| texts(values, out)),
            }
        }
        match &merged {
            Some(members) => members.iter().for_each(|(name, value)| object.member(name, value)),
            None => object.text("msg", self.text),
        }
        object.finish()
    }

    fn header(&self, object: &mut Object<'_>) {
        if let Some(time) = self.time {
            object.text("ts", &format!("{time:.6}"));
        }
        let severity = self.severity.map(|severity| severity as usize);
        if let Some(level) = severity.and_then(|severity| LEVELS.get(severity)) {
            object.text("level", level);
        }
        for (name, value) in [("hostname", self.hostname), ("app", self.app)] {
            value.into_iter().for_each(|value| object.text(name, value));
        }
        match &self.procid {
            Some(ProcId::PID(number)) => object.raw("procid", |out| out.extend(number.to_string().bytes())),
            Some(ProcId::Name(name)) => object.text("procid", name),
            None => {}
        }
        self.msgid.into_iter().for_each(|msgid| object.text("msgid", msgid));
        self.facility.into_iter().for_each(|facility| object.text("facility", facility.as_str()));
        if let Some(severity) = severity {
            object.raw("severity", |out| out.extend(severity.to_string().bytes()));
        }
    }

    /// Names and values of structured data. An element without parameters is there with an empty one.
    fn params(&self) -> BTreeMap<String, Vec<String>> {
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for element in &self.elements {
            if element.params.is_empty() {
                found.entry(format!("sd.{}", element.id)).or_default().push(String::new());
            }
            for (name, value) in element.params() {
                found.entry(format!("sd.{}.{name}", element.id)).or_default().push(value);
            }
        }
        found
    }
}

/// The year in which this month is nearest to now: a message of December comes in January.
fn year_of(month: u32, now: Timestamp) -> i32 {
    let now = now.to_zoned(jiff::tz::TimeZone::UTC);
    let ahead = i32::try_from(month).unwrap_or(0) - i32::from(now.month());
    i32::from(now.year())
        + match ahead {
            7.. => -1,
            ..=-7 => 1,
            _ => 0,
        }
}

type Members = BTreeMap<String, Box<RawValue>>;

fn members(text: &str) -> Option<Members> {
    let text = text.strip_prefix(COOKIE).unwrap_or(text).trim();
    if text.starts_with('{') { serde_json::from_str(text).ok() } else { None }
}

/// A JSON object while it is written.
struct Object<'m> {
    out: Vec<u8>,
    /// Names that are taken.
    taken: Option<&'m Members>,
}

impl<'m> Object<'m> {
    fn new(taken: Option<&'m Members>) -> Self {
        Self { out: vec![b'{'], taken }
    }

    fn text(&mut self, name: &str, value: &str) {
        self.raw(name, |out| _ = json_string(value.as_bytes(), out));
    }

    /// A member of the header.
    fn raw(&mut self, name: &str, value: impl FnOnce(&mut Vec<u8>)) {
        let mut name = Cow::Borrowed(name);
        while self.taken.is_some_and(|taken| taken.contains_key(&*name)) {
            name = format!("syslog.{name}").into();
        }
        self.name(&name);
        value(&mut self.out);
    }

    /// A member of the text.
    fn member(&mut self, name: &str, value: &RawValue) {
        self.name(name);
        self.out.extend_from_slice(value.get().as_bytes());
    }

    fn name(&mut self, name: &str) {
        member_name(name, &mut self.out);
    }

    fn finish(mut self) -> Vec<u8> {
        self.out.push(b'}');
        self.out
    }
}

fn texts(values: &[String], out: &mut Vec<u8>) {
    for (place, value) in values.iter().enumerate() {
        out.push(if place == 0 { b'[' } else { b',' });
        json_string(value.as_bytes(), out);
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn now() -> Timestamp {
        "2026-01-03T10:00:00Z".parse().unwrap()
    }

    fn read(text: &str) -> Value {
        serde_json::from_slice(&Message::parse(text, now()).to_json(true)).unwrap()
    }

    #[test]
    fn every_part_of_a_message_has_a_field() {
        let text = "<165>1 2003-10-11T22:14:15.003+02:00 mymachine evntslog 4711 ID47 \
            [exampleSDID@32473 iut=\"3\" eventSource=\"a \\\"b\\\" \\] \\\\ c\"][x@1 k=\"1\" k=\"2\"][empty@1] \u{feff}An event";
        assert_eq!(
            read(text),
            json!({
                "ts": "2003-10-11T20:14:15.003000Z", "level": "notice", "severity": 5, "facility": "local4",
                "hostname": "mymachine", "app": "evntslog", "procid": 4711, "msgid": "ID47",
                "sd.exampleSDID@32473.iut": "3", "sd.exampleSDID@32473.eventSource": "a \"b\" ] \\ c",
                "sd.x@1.k": ["1", "2"], "sd.empty@1": "", "msg": "An event",
            })
        );
        assert_eq!(
            read("<11>1 - - - - - -"),
            json!({"level": "error", "severity": 3, "facility": "user", "msg": ""})
        );
    }

    #[test]
    fn older_messages_give_what_they_have() {
        let text = "<34>Oct 11 22:14:15 mymachine su[230]: 'su root' failed";
        let mut found = read(text);
        assert!(found["ts"].as_str().unwrap().starts_with("2025-10-1"), "of last year: {found}");
        found.as_object_mut().unwrap().remove("ts");
        assert_eq!(
            found,
            json!({"level": "crit", "severity": 2, "facility": "auth", "hostname": "mymachine", "app": "su",
                "procid": 230, "msg": "'su root' failed"})
        );
        assert_eq!(
            read("<13>just text"),
            json!({"level": "notice", "severity": 5, "facility": "user", "msg": "just text"})
        );
        assert_eq!(read("no syslog at all"), json!({"msg": "no syslog at all"}));
        assert_eq!(read("<999>x"), json!({"msg": "<999>x"}));
    }

    #[test]
    fn a_date_without_a_year_is_near_to_now() {
        for (month, year) in [(12, 2025), (8, 2025), (7, 2026), (1, 2026)] {
            assert_eq!(year_of(month, now()), year, "{month}");
        }
        assert_eq!(year_of(1, "2025-12-31T00:00:00Z".parse().unwrap()), 2026);
    }

    #[test]
    fn a_message_that_is_an_object_gives_its_members() {
        for front in ["", "@cee:", "@cee: "] {
            let text = format!(
                r#"<14>1 2026-01-01T00:00:00Z h app - - - {front}{{"level":"debug","n":12345678901234567890,"o":{{"a":[1]}}}}"#
            );
            let found = Message::parse(&text, now()).to_json(true);
            let found = String::from_utf8(found).unwrap();
            assert!(
                found.contains(r#""n":12345678901234567890"#) && found.contains(r#""o":{"a":[1]}"#),
                "{found}"
            );
            let found: Value = serde_json::from_str(&found).unwrap();
            assert_eq!((&found["level"], &found["syslog.level"]), (&json!("debug"), &json!("info")));
            assert_eq!((found.get("msg"), &found["app"]), (None, &json!("app")));
        }
        let text = "<14>1 - - - - - - {\"a\":1";
        assert_eq!(read(text)["msg"], "{\"a\":1");
        let whole = Message::parse("<14>1 - - - - - - {\"a\":1}", now()).to_json(false);
        assert_eq!(serde_json::from_slice::<Value>(&whole).unwrap()["msg"], "{\"a\":1}");
    }

    #[test]
    fn an_element_can_be_taken_out() {
        let mut message = Message::parse("<14>1 - - - - - [secret@1 tag=\"x\"][b@1 k=\"v\"] m", now());
        assert!(message.take_element(|id| id == "secret@1") && !message.take_element(|id| id == "secret@1"));
        let found: Value = serde_json::from_slice(&message.to_json(true)).unwrap();
        assert_eq!((found.get("sd.secret@1.tag"), &found["sd.b@1.k"]), (None, &json!("v")));
    }

    proptest! {
        #[test]
        fn any_text_becomes_an_object(text in "(<[0-9]{1,3}>)?[ -~\\n\u{feff}é]{0,80}") {
            let found = Message::parse(&text, now()).to_json(true);
            prop_assert!(serde_json::from_slice::<Value>(&found).is_ok());
        }
    }
}
