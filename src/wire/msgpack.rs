//! MessagePack (<https://github.com/msgpack/msgpack/blob/master/spec.md>) as far as logs need it: where a value ends,
//! found while its bytes arrive; a value as JSON; and the members of a value that was found whole.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rmp::Marker;

use super::Refused;

/// The store's own JSON reader takes 128.
const MAX_DEPTH: usize = 100;

/// Not MessagePack.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotMsgpack;

const CUT: Refused = Refused::Form("it is not MessagePack");

/// Finds the end of a value in bytes that come in pieces. Holds none of them.
#[derive(Debug)]
pub(super) struct Scan {
    /// A marker with its length, as far as it has come.
    head: [u8; 5],
    head_len: usize,
    /// Bytes of the present value that are still to come.
    payload: u64,
    /// Values that are still to come.
    values: u64,
}

impl Scan {
    pub(super) fn new() -> Self {
        Self { head: [0; 5], head_len: 0, payload: 0, values: 1 }
    }

    pub(super) fn is_done(&self) -> bool {
        self.values == 0 && self.payload == 0
    }

    /// Looks at further bytes: how many of them belong to the value.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<usize, NotMsgpack> {
        let mut used = 0;
        while !self.is_done() && used < bytes.len() {
            if self.payload > 0 {
                let there = (bytes.len() - used).min(usize::try_from(self.payload).unwrap_or(usize::MAX));
                self.payload -= there as u64;
                used += there;
                continue;
            }
            // A head is complete with five bytes at most, so there is a place for this one.
            self.head[self.head_len] = bytes[used];
            self.head_len += 1;
            used += 1;
            if let Some(Opened { payload, items }) = open(&self.head[..self.head_len])? {
                self.head_len = 0;
                self.payload = payload;
                self.values = (self.values - 1).saturating_add(items);
            }
        }
        Ok(used)
    }
}

/// What follows a head.
struct Opened {
    payload: u64,
    items: u64,
}

/// What a head says; `None` while it is not complete.
fn open(head: &[u8]) -> Result<Option<Opened>, NotMsgpack> {
    let (&marker, rest) = head.split_first().ok_or(NotMsgpack)?;
    let length = |size: usize| {
        let bytes = rest.get(..size)?;
        Some(bytes.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)))
    };
    let bytes = |payload| Some(Opened { payload, items: 0 });
    let items = |items| Some(Opened { payload: 0, items });
    Ok(match Marker::from_u8(marker) {
        Marker::FixPos(_) | Marker::FixNeg(_) | Marker::Null | Marker::False | Marker::True => bytes(0),
        Marker::U8 | Marker::I8 => bytes(1),
        Marker::U16 | Marker::I16 => bytes(2),
        Marker::U32 | Marker::I32 | Marker::F32 => bytes(4),
        Marker::U64 | Marker::I64 | Marker::F64 => bytes(8),
        Marker::FixStr(length) => bytes(length.into()),
        Marker::Str8 | Marker::Bin8 => length(1).and_then(bytes),
        Marker::Str16 | Marker::Bin16 => length(2).and_then(bytes),
        Marker::Str32 | Marker::Bin32 => length(4).and_then(bytes),
        // One byte more: the type.
        Marker::FixExt1 => bytes(2),
        Marker::FixExt2 => bytes(3),
        Marker::FixExt4 => bytes(5),
        Marker::FixExt8 => bytes(9),
        Marker::FixExt16 => bytes(17),
        Marker::Ext8 => length(1).and_then(|length| bytes(length + 1)),
        Marker::Ext16 => length(2).and_then(|length| bytes(length + 1)),
        Marker::Ext32 => length(4).and_then(|length| bytes(length + 1)),
        Marker::FixArray(count) => items(count.into()),
        Marker::Array16 => length(2).and_then(items),
        Marker::Array32 => length(4).and_then(items),
        Marker::FixMap(count) => items(2 * u64::from(count)),
        Marker::Map16 => length(2).and_then(|count| items(2 * count)),
        Marker::Map32 => length(4).and_then(|count| items(2 * count)),
        Marker::Reserved => return Err(NotMsgpack),
    })
}

/// One step of a value: a scalar, or how many items follow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Token<'a> {
    Nil,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    F32(f32),
    F64(f64),
    /// Texts, and bytes: older senders know no difference.
    Text(&'a [u8]),
    Ext(i8, &'a [u8]),
    Array(u32),
    Map(u32),
}

/// Takes the next step off the front; `None` when there is no whole one.
pub(super) fn token<'a>(input: &mut &'a [u8]) -> Option<Token<'a>> {
    let marker = Marker::from_u8(number::<1>(input)?[0]);
    Some(match marker {
        Marker::Null => Token::Nil,
        Marker::False => Token::Bool(false),
        Marker::True => Token::Bool(true),
        Marker::FixPos(value) => Token::Unsigned(value.into()),
        Marker::FixNeg(value) => Token::Signed(value.into()),
        Marker::U8 => Token::Unsigned(u8::from_be_bytes(number(input)?).into()),
        Marker::U16 => Token::Unsigned(u16::from_be_bytes(number(input)?).into()),
        Marker::U32 => Token::Unsigned(u32::from_be_bytes(number(input)?).into()),
        Marker::U64 => Token::Unsigned(u64::from_be_bytes(number(input)?)),
        Marker::I8 => Token::Signed(i8::from_be_bytes(number(input)?).into()),
        Marker::I16 => Token::Signed(i16::from_be_bytes(number(input)?).into()),
        Marker::I32 => Token::Signed(i32::from_be_bytes(number(input)?).into()),
        Marker::I64 => Token::Signed(i64::from_be_bytes(number(input)?)),
        Marker::F32 => Token::F32(f32::from_be_bytes(number(input)?)),
        Marker::F64 => Token::F64(f64::from_be_bytes(number(input)?)),
        Marker::FixStr(length) => Token::Text(bytes(input, length.into())?),
        Marker::Str8 | Marker::Bin8 => sized(input, 1).and_then(|length| text(input, length))?,
        Marker::Str16 | Marker::Bin16 => sized(input, 2).and_then(|length| text(input, length))?,
        Marker::Str32 | Marker::Bin32 => sized(input, 4).and_then(|length| text(input, length))?,
        Marker::FixExt1 => ext(input, 1)?,
        Marker::FixExt2 => ext(input, 2)?,
        Marker::FixExt4 => ext(input, 4)?,
        Marker::FixExt8 => ext(input, 8)?,
        Marker::FixExt16 => ext(input, 16)?,
        Marker::Ext8 => sized(input, 1).and_then(|length| ext(input, length))?,
        Marker::Ext16 => sized(input, 2).and_then(|length| ext(input, length))?,
        Marker::Ext32 => sized(input, 4).and_then(|length| ext(input, length))?,
        Marker::FixArray(count) => Token::Array(count.into()),
        Marker::Array16 => Token::Array(sized(input, 2)?),
        Marker::Array32 => Token::Array(sized(input, 4)?),
        Marker::FixMap(count) => Token::Map(count.into()),
        Marker::Map16 => Token::Map(sized(input, 2)?),
        Marker::Map32 => Token::Map(sized(input, 4)?),
        Marker::Reserved => return None,
    })
}

fn number<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (number, rest) = input.split_first_chunk()?;
    *input = rest;
    Some(*number)
}

fn bytes<'a>(input: &mut &'a [u8], length: u32) -> Option<&'a [u8]> {
    let (bytes, rest) = input.split_at_checked(usize::try_from(length).ok()?)?;
    *input = rest;
    Some(bytes)
}

fn sized(input: &mut &[u8], size: u32) -> Option<u32> {
    Some(bytes(input, size)?.iter().fold(0, |sum, &byte| sum << 8 | u32::from(byte)))
}

fn text<'a>(input: &mut &'a [u8], length: u32) -> Option<Token<'a>> {
    Some(Token::Text(bytes(input, length)?))
}

fn ext<'a>(input: &mut &'a [u8], length: u32) -> Option<Token<'a>> {
    let kind = i8::from_be_bytes(number(input)?);
    Some(Token::Ext(kind, bytes(input, length)?))
}

/// Takes one whole value off the front.
pub(super) fn whole<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut scan = Scan::new();
    let used = scan.feed(input).ok().filter(|_| scan.is_done())?;
    let (value, rest) = input.split_at_checked(used)?;
    *input = rest;
    Some(value)
}

/// The members of a map, each with its name; `None` when it is no whole map with texts as names.
pub(super) fn members(mut value: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let Token::Map(count) = token(&mut value)? else { return None };
    let mut found = Vec::new();
    for _ in 0..count {
        let Token::Text(name) = token(&mut value)? else { return None };
        found.push((name, whole(&mut value)?));
    }
    Some(found)
}

/// The value as text, if that is what it is.
pub(super) fn as_text(mut value: &[u8]) -> Option<&[u8]> {
    match token(&mut value)? {
        Token::Text(text) => Some(text),
        _ => None,
    }
}

/// Writes one value as JSON behind `out`, which grows to `max` bytes at most. What JSON does not have becomes: bytes that
/// are no UTF-8 the replacement character, numbers that are none `null`, extensions their bytes in Base64.
pub(super) fn to_json(input: &mut &[u8], out: &mut Vec<u8>, max: usize) -> Result<(), Refused> {
    value(input, out, max, 0)
}

fn value(input: &mut &[u8], out: &mut Vec<u8>, max: usize, depth: usize) -> Result<(), Refused> {
    if depth > MAX_DEPTH {
        return Err(Refused::Deep(MAX_DEPTH));
    }
    match token(input).ok_or(CUT)? {
        Token::Nil => out.extend_from_slice(b"null"),
        Token::Bool(value) => json(out, &value)?,
        Token::Unsigned(value) => json(out, &value)?,
        Token::Signed(value) => json(out, &value)?,
        Token::F32(value) => json(out, &value)?,
        Token::F64(value) => json(out, &value)?,
        Token::Text(text) => json(out, &String::from_utf8_lossy(text))?,
        Token::Ext(_, bytes) => json(out, &BASE64_STANDARD.encode(bytes))?,
        Token::Array(count) => {
            out.push(b'[');
            for index in 0..count {
                if index > 0 {
                    out.push(b',');
                }
                value(input, out, max, depth + 1)?;
            }
            out.push(b']');
        }
        Token::Map(count) => {
            out.push(b'{');
            for index in 0..count {
                if index > 0 {
                    out.push(b',');
                }
                json(out, &name(input)?)?;
                out.push(b':');
                value(input, out, max, depth + 1)?;
            }
            out.push(b'}');
        }
    }
    if out.len() > max { Err(Refused::Large(max)) } else { Ok(()) }
}

/// The name of a member.
pub(super) fn name(input: &mut &[u8]) -> Result<String, Refused> {
    Ok(match token(input).ok_or(CUT)? {
        Token::Text(text) => String::from_utf8_lossy(text).into_owned(),
        Token::Unsigned(number) => number.to_string(),
        Token::Signed(number) => number.to_string(),
        Token::Bool(value) => value.to_string(),
        _ => return Err(Refused::Form("the name of a member is no text")),
    })
}

/// Writes a scalar.
pub(super) fn json(out: &mut Vec<u8>, value: &impl serde::Serialize) -> Result<(), Refused> {
    serde_json::to_writer(out, value).map_err(|_| Refused::Form("it cannot be JSON"))
}

/// Writes JSON as MessagePack: the other direction of [`to_json`].
pub(super) fn of_json(value: &serde_json::Value, out: &mut Vec<u8>) {
    use serde_json::Value;
    match value {
        Value::Null => out.push(Marker::Null.to_u8()),
        Value::Bool(value) => out.push(if *value { Marker::True } else { Marker::False }.to_u8()),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => write(rmp::encode::write_uint(out, number)),
            (None, Some(number)) => write(rmp::encode::write_sint(out, number)),
            _ => write(rmp::encode::write_f64(out, number.as_f64().unwrap_or_default())),
        },
        Value::String(text) => string(out, text),
        Value::Array(items) => {
            write(rmp::encode::write_array_len(out, length(items.len())));
            items.iter().for_each(|item| of_json(item, out));
        }
        Value::Object(members) => {
            map(out, members.len());
            for (name, value) in members {
                string(out, name);
                of_json(value, out);
            }
        }
    }
}

pub(super) fn array(out: &mut Vec<u8>, count: usize) {
    write(rmp::encode::write_array_len(out, length(count)));
}

pub(super) fn map(out: &mut Vec<u8>, count: usize) {
    write(rmp::encode::write_map_len(out, length(count)));
}

pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    write(rmp::encode::write_str(out, text));
}

pub(super) fn binary(out: &mut Vec<u8>, bytes: &[u8]) {
    write(rmp::encode::write_bin(out, bytes));
}

pub(super) fn unsigned(out: &mut Vec<u8>, number: usize) {
    write(rmp::encode::write_uint(out, number as u64));
}

/// What is written here is in memory, far below 4 GiB.
fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Writing to a vector does not fail.
fn write<T, E>(_written: Result<T, E>) {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn packed(value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        of_json(value, &mut out);
        out
    }

    fn unpacked(bytes: &[u8]) -> Result<Value, Refused> {
        let mut out = Vec::new();
        to_json(&mut &*bytes, &mut out, 1 << 20)?;
        Ok(serde_json::from_slice(&out).unwrap())
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<i32>().prop_map(|quarters| Value::from(f64::from(quarters) / 4.0)),
            ".{0,40}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 20, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..20).prop_map(Value::from),
                proptest::collection::btree_map(".{0,5}", inner, 0..20)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn json_comes_back_as_it_was(value in values()) {
            prop_assert_eq!(unpacked(&packed(&value)), Ok(value));
        }

        #[test]
        fn the_end_of_a_value_is_found_however_it_arrives(value in values(), piece in 1usize..40) {
            let bytes = packed(&value);
            let (mut scan, mut used) = (Scan::new(), 0);
            for piece in [&*bytes, b"behind"].concat().chunks(piece) {
                used += scan.feed(piece).unwrap();
            }
            prop_assert!(scan.is_done());
            prop_assert_eq!(used, bytes.len());
        }

        #[test]
        fn any_bytes_are_a_value_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let found = whole(&mut &*bytes).map(<[u8]>::len);
            let mut rest = &*bytes;
            let written = to_json(&mut rest, &mut Vec::new(), 1 << 20);
            if written.is_ok() {
                prop_assert_eq!(found, Some(bytes.len() - rest.len()));
            }
        }
    }

    #[test]
    fn what_json_does_not_have_becomes_something_near() {
        let all = [
            (&b"\xa2\xff\xfe"[..], json!("\u{fffd}\u{fffd}")),
            (b"\xc4\x02hi", json!("hi")),
            (b"\xcb\x7f\xf8\0\0\0\0\0\0", Value::Null),
            (b"\xd4\x05\x2a", json!("Kg==")),
            (b"\x81\x07\x01", json!({"7": 1})),
        ];
        for (bytes, expected) in all {
            assert_eq!(unpacked(bytes), Ok(expected));
        }
    }

    #[test]
    fn bounds_hold() {
        assert_eq!(unpacked(&[0x91; 200]), Err(Refused::Deep(MAX_DEPTH)));
        assert_eq!(unpacked(&[0x81, 0x90, 0x01]), Err(Refused::Form("the name of a member is no text")));
        let long = packed(&json!(["x".repeat(90), 1]));
        assert_eq!(to_json(&mut &*long, &mut Vec::new(), 80), Err(Refused::Large(80)));
        // Four billion items are announced, none is there: nothing is reserved for them.
        assert_eq!(unpacked(&[0xdd, 0xff, 0xff, 0xff, 0xff]), Err(CUT));
        assert_eq!(Scan::new().feed(&[0xc1]), Err(NotMsgpack));
    }
}
