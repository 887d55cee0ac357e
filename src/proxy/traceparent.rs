//! `traceparent` (W3C Trace Context): passed on, joined, or taken away.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::plan::Trace;
use crate::record::Id;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// A parsed field of version 00.
struct Parent {
    trace: [u8; 16],
    span: [u8; 8],
    flags: u8,
}

/// What the record tells about the trace.
#[derive(Debug, Default)]
pub struct Ids {
    pub trace: Option<[u8; 16]>,
    /// Our hop, when it takes part.
    pub span: Option<[u8; 8]>,
    pub parent: Option<[u8; 8]>,
    pub flags: Option<u8>,
}

impl Ids {
    fn of(parent: &Parent) -> Self {
        let Parent { trace, span, flags } = *parent;
        Self { trace: Some(trace), span: None, parent: Some(span), flags: Some(flags) }
    }
}

/// Applies the plan's choice; `id` is that of the request.
pub fn pass(choice: Trace, headers: &mut HeaderMap, id: &Id) -> Ids {
    match choice {
        Trace::Off => {
            headers.remove(TRACEPARENT);
            headers.remove(TRACESTATE);
            Ids::default()
        }
        Trace::Pass => {
            let parent = headers.get(TRACEPARENT).and_then(|v| parse(v.as_bytes()));
            parent.as_ref().map(Ids::of).unwrap_or_default()
        }
        Trace::Join => join(headers, id),
    }
}

/// Our hop takes a span of its own; without a valid parent a trace begins with the request id, whose last seven
/// bytes are random, as level 2 of the recommendation asks of flag `02`.
fn join(headers: &mut HeaderMap, id: &Id) -> Ids {
    let parent = headers.get(TRACEPARENT).and_then(|v| parse(v.as_bytes()));
    let (trace, flags) = match &parent {
        Some(parent) => (parent.trace, parent.flags),
        None => {
            headers.remove(TRACESTATE);
            (*id, 0x02)
        }
    };
    let mut span = [0; 8];
    span.copy_from_slice(&id[8..]);
    headers.insert(TRACEPARENT, render(&trace, &span, flags));
    Ids { span: Some(span), ..parent.as_ref().map(Ids::of).unwrap_or_default() }
}

fn parse(text: &[u8]) -> Option<Parent> {
    let [b'0', b'0', b'-', rest @ ..] = text else { return None };
    if rest.len() != 52 || rest[32] != b'-' || rest[49] != b'-' {
        return None;
    }
    let parent =
        Parent { trace: hex(&rest[..32])?, span: hex(&rest[33..49])?, flags: hex::<1>(&rest[50..])?[0] };
    (parent.trace != [0; 16] && parent.span != [0; 8]).then_some(parent)
}

/// Lower-case hexadecimal only.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

fn render(trace: &[u8; 16], span: &[u8; 8], flags: u8) -> HeaderValue {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = Vec::with_capacity(55);
    text.extend_from_slice(b"00-");
    let mut push = |bytes: &[u8], end: Option<u8>| {
        for byte in bytes {
            text.push(DIGITS[usize::from(byte >> 4)]);
            text.push(DIGITS[usize::from(byte & 15)]);
        }
        text.extend(end);
    };
    push(trace, Some(b'-'));
    push(span, Some(b'-'));
    push(&[flags], None);
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let text = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let parent = parse(text).unwrap();
        assert_eq!(render(&parent.trace, &parent.span, parent.flags).as_bytes(), text);
    }

    #[test]
    fn refuses_zeros_capitals_other_versions_and_other_lengths() {
        let bad = [
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "00-",
        ];
        for text in bad {
            assert!(parse(text.as_bytes()).is_none(), "{text}");
        }
    }
}
