//! One entry `[time, record]` as a JSON object: the members of the record, `ts` and `tag`.

use jiff::Timestamp;

use crate::wire::Refused;
use crate::wire::msgpack::{self, Token};

/// The extension type of EventTime: seconds and nanoseconds, both `u32`.
pub(super) const EVENT_TIME: i8 = 0;

const NO_ENTRY: Refused = Refused::Form("it is no `[time, record]`");

/// Writes the entry as one line of at most `max` bytes. A record's own `ts` stays if it is a time in RFC 3339 (it is nearer to
/// what happened), else it becomes `ts_in`; its own `tag` becomes `tag_in`.
pub(super) fn to_json(tag: &str, entry: &[u8], max: usize) -> Result<Vec<u8>, Refused> {
    let mut input = entry;
    let Some(Token::Array(2)) = msgpack::token(&mut input) else { return Err(NO_ENTRY) };
    let (time, metadata) = head(&mut input)?;
    let Some(Token::Map(count)) = msgpack::token(&mut input) else {
        return Err(Refused::Form("the record is no map"));
    };
    let mut out = vec![b'{'];
    let mut has_ts = false;
    for _ in 0..count {
        let name = msgpack::name(&mut input)?;
        let is_time = name == "ts" && is_timestamp(input);
        has_ts |= is_time;
        let name = match &*name {
            "ts" if !is_time => "ts_in",
            "tag" => "tag_in",
            name => name,
        };
        member(&mut out, name)?;
        msgpack::to_json(&mut input, &mut out, max)?;
    }
    if let Some(mut metadata) = metadata {
        member(&mut out, "metadata")?;
        msgpack::to_json(&mut metadata, &mut out, max)?;
    }
    if let Some(time) = time.filter(|_| !has_ts) {
        member(&mut out, "ts")?;
        msgpack::json(&mut out, &time.to_string())?;
    }
    member(&mut out, "tag")?;
    msgpack::json(&mut out, &tag)?;
    out.push(b'}');
    if out.len() > max { Err(Refused::Large(max)) } else { Ok(out) }
}

fn member(out: &mut Vec<u8>, name: &str) -> Result<(), Refused> {
    if out.len() > 1 {
        out.push(b',');
    }
    msgpack::json(out, &name)?;
    out.push(b':');
    Ok(())
}

/// The time, and the metadata that Fluent Bit may send beside it (`[[time, metadata], record]`).
fn head<'a>(input: &mut &'a [u8]) -> Result<(Option<Timestamp>, Option<&'a [u8]>), Refused> {
    let mut first = msgpack::whole(input).ok_or(NO_ENTRY)?;
    let mut inner = first;
    if msgpack::token(&mut inner) != Some(Token::Array(2)) {
        return Ok((time(&mut first)?, None));
    }
    let time = time(&mut inner)?;
    Ok((time, Some(inner).filter(|metadata| msgpack::token(&mut &**metadata) != Some(Token::Map(0)))))
}

/// `None`, as Fluentd has it, for nil and 0: when it came.
fn time(input: &mut &[u8]) -> Result<Option<Timestamp>, Refused> {
    let time = match msgpack::token(input) {
        Some(Token::Nil | Token::Unsigned(0)) => None,
        Some(Token::Unsigned(seconds)) => i64::try_from(seconds).ok().and_then(|s| Timestamp::new(s, 0).ok()),
        Some(Token::Signed(seconds)) => Timestamp::new(seconds, 0).ok(),
        Some(Token::F64(seconds)) => of_float(seconds),
        Some(Token::Ext(EVENT_TIME, bytes)) => event_time(bytes),
        _ => return Err(Refused::Form("the time is neither a number nor an EventTime")),
    };
    Ok(time)
}

fn of_float(seconds: f64) -> Option<Timestamp> {
    let duration = jiff::SignedDuration::try_from_secs_f64(seconds).ok()?;
    Timestamp::from_duration(duration).ok()
}

fn event_time(bytes: &[u8]) -> Option<Timestamp> {
    let (seconds, nanos) = bytes.split_first_chunk::<4>()?;
    let nanos = u32::from_be_bytes(nanos.try_into().ok()?);
    Timestamp::new(u32::from_be_bytes(*seconds).into(), i32::try_from(nanos).ok()?).ok()
}

fn is_timestamp(mut value: &[u8]) -> bool {
    let Some(Token::Text(text)) = msgpack::token(&mut value) else { return false };
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<Timestamp>().is_ok())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn entry(time: &[u8], record: &Value) -> Vec<u8> {
        let mut out = [&[0x92], time].concat();
        msgpack::of_json(record, &mut out);
        out
    }

    fn read(time: &[u8], record: &Value) -> Value {
        serde_json::from_slice(&to_json("app", &entry(time, record), 1000).unwrap()).unwrap()
    }

    const SECONDS: &[u8] = &[0xce, 0x65, 0, 0, 0];

    #[test]
    fn every_form_of_time_becomes_ts() {
        let ts = "2023-09-12T06:06:56Z";
        for (time, expected) in [
            (SECONDS, json!(ts)),
            (&[0xd7, 0, 0x65, 0, 0, 0, 0x1d, 0xcd, 0x65, 0], json!("2023-09-12T06:06:56.5Z")),
            (&[0xc7, 8, 0, 0x65, 0, 0, 0, 0, 0, 0, 0], json!(ts)),
            (&[0xcb, 0x41, 0xd9, 0x40, 0, 0, 0x20, 0, 0], json!("2023-09-12T06:06:56.5Z")),
            (&[0xc0], Value::Null),
            (&[0], Value::Null),
            (&[0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Value::Null),
        ] {
            let got = read(time, &json!({"m": 1}));
            assert_eq!(
                (&got["ts"], &got["tag"], &got["m"]),
                (&expected, &json!("app"), &json!(1)),
                "{time:x?}"
            );
        }
    }

    #[test]
    fn a_records_own_time_stays_and_other_members_of_these_names_are_kept_aside() {
        let own = json!({"ts": "2026-01-02T03:04:05.678Z", "tag": "t"});
        assert_eq!(
            read(SECONDS, &own),
            json!({"ts": "2026-01-02T03:04:05.678Z", "tag": "app", "tag_in": "t"})
        );
        let own = json!({"ts": 17});
        assert_eq!(read(SECONDS, &own), json!({"ts": "2023-09-12T06:06:56Z", "tag": "app", "ts_in": 17}));
    }

    #[test]
    fn metadata_of_fluent_bit_is_kept() {
        let time = |metadata: &[u8]| [&[0x92], SECONDS, metadata].concat();
        assert_eq!(read(&time(&[0x80]), &json!({})).get("metadata"), None);
        assert_eq!(read(&time(&[0x81, 0xa1, b'a', 1]), &json!({}))["metadata"], json!({"a": 1}));
    }

    #[test]
    fn what_is_no_entry_is_refused_with_a_reason() {
        for bad in
            [&[0x93, 1, 2, 3][..], &[0x80], &[0x92, 1, 2], &[0x92, 0xa0, 0x80], &[0x92, 1, 0x81, 0xa1], &[]]
        {
            assert!(to_json("app", bad, 1000).is_err(), "{bad:x?}");
        }
        let large = entry(SECONDS, &json!({"m": "x".repeat(1000)}));
        assert_eq!(to_json("app", &large, 1000), Err(Refused::Large(1000)));
    }
}
