//! Conditional requests: RFC 9110 section 13.

use std::time::{Duration, SystemTime};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// What the conditions of a request say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Proceed,
    /// 304: the client has this content already.
    NotModified,
    /// 412: the content is not the one that the client speaks of.
    Failed,
}

/// The validators of the content that would be sent.
#[derive(Clone, Copy)]
pub(super) struct Validators<'a> {
    /// Strong, with its quotes.
    pub(super) etag: &'a [u8],
    /// To the second.
    pub(super) modified: SystemTime,
}

impl Validators<'_> {
    /// Evaluates the conditions of a `GET` or `HEAD` in the order of RFC 9110 section 13.2.2.
    pub(super) fn check(&self, headers: &HeaderMap) -> Outcome {
        if headers.contains_key(header::IF_MATCH) {
            if !any_tag(headers, &header::IF_MATCH, |tag| tag == self.etag) {
                return Outcome::Failed;
            }
        } else if date(headers, &header::IF_UNMODIFIED_SINCE).is_some_and(|date| self.modified > date) {
            return Outcome::Failed;
        }
        if headers.contains_key(header::IF_NONE_MATCH) {
            if any_tag(headers, &header::IF_NONE_MATCH, |tag| opaque(tag) == opaque(self.etag)) {
                return Outcome::NotModified;
            }
        } else if date(headers, &header::IF_MODIFIED_SINCE).is_some_and(|date| self.modified <= date) {
            return Outcome::NotModified;
        }
        Outcome::Proceed
    }

    /// Whether a range may be sent: no `If-Range`, or one that names this very content (section 13.1.5). A date
    /// names it only when a second has passed since, for within one second the content may change twice.
    pub(super) fn allow_range(&self, headers: &HeaderMap, now: SystemTime) -> bool {
        let Some(value) = headers.get(header::IF_RANGE) else { return true };
        if value.as_bytes().contains(&b'"') {
            return value.as_bytes() == self.etag;
        }
        let settled = now.duration_since(self.modified).is_ok_and(|age| age >= Duration::from_secs(1));
        settled && parse_date(value) == Some(self.modified)
    }
}

/// A date that is malformed, or given twice, counts as not there.
fn date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    let mut values = headers.get_all(name).iter();
    let only = values.next().filter(|_| values.next().is_none())?;
    parse_date(only)
}

fn parse_date(value: &HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(value.to_str().ok()?).ok()
}

/// Whether any listed tag matches. `*` matches whatever exists; a list that is malformed matches up to there.
fn any_tag(headers: &HeaderMap, name: &HeaderName, matches: impl Fn(&[u8]) -> bool) -> bool {
    headers.get_all(name).iter().any(|value| {
        let value = value.as_bytes().trim_ascii();
        value == b"*" || Tags(value).any(&matches)
    })
}

/// The entity tags of a list (RFC 9110 section 8.8.3). Commas may stand inside of a tag.
struct Tags<'a>(&'a [u8]);

impl<'a> Iterator for Tags<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let start = self.0.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b','))?;
        let rest = &self.0[start..];
        let prefix = if rest.starts_with(b"W/") { 3 } else { 1 };
        if rest.get(prefix - 1) != Some(&b'"') {
            return None;
        }
        let end = prefix + memchr::memchr(b'"', &rest[prefix..])? + 1;
        self.0 = &rest[end..];
        Some(&rest[..end])
    }
}

/// A tag without its mark of weakness.
fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use super::Outcome::{Failed, NotModified, Proceed};
    use super::*;

    const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn validators() -> Validators<'static> {
        Validators { etag: b"\"a,b\"", modified: httpdate::parse_http_date(THEN).unwrap() }
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn conditions_are_evaluated_in_the_order_of_the_rfc() {
        let (im, inm) = ("if-match", "if-none-match");
        let (ims, ius) = ("if-modified-since", "if-unmodified-since");
        let cases: &[(&[(&'static str, &'static str)], Outcome)] = &[
            (&[], Proceed),
            (&[(inm, "\"a,b\"")], NotModified),
            (&[(inm, "W/\"a,b\"")], NotModified),
            (&[(inm, "\"x\", W/\"a,b\"")], NotModified),
            (&[(inm, "\"x\""), (inm, "\"a,b\"")], NotModified),
            (&[(inm, "*")], NotModified),
            (&[(inm, "\"x\"")], Proceed),
            (&[(inm, "a,b")], Proceed),
            (&[(inm, "\"a")], Proceed),
            (&[(inm, "")], Proceed),
            (&[(ims, THEN)], NotModified),
            (&[(ims, AFTER)], NotModified),
            (&[(ims, BEFORE)], Proceed),
            (&[(ims, "yesterday")], Proceed),
            (&[(ims, THEN), (ims, THEN)], Proceed),
            (&[(inm, "\"x\""), (ims, AFTER)], Proceed),
            (&[(im, "\"a,b\"")], Proceed),
            (&[(im, "*")], Proceed),
            (&[(im, "W/\"a,b\"")], Failed),
            (&[(im, "\"x\"")], Failed),
            (&[(im, "\"x\""), (inm, "\"a,b\"")], Failed),
            (&[(im, "\"a,b\""), (inm, "\"a,b\"")], NotModified),
            (&[(im, "\"a,b\""), (ius, BEFORE)], Proceed),
            (&[(ius, BEFORE)], Failed),
            (&[(ius, THEN)], Proceed),
            (&[(ius, "never")], Proceed),
        ];
        for (pairs, expected) in cases {
            assert_eq!(validators().check(&headers(pairs)), *expected, "{pairs:?}");
        }
    }

    #[test]
    fn if_range_names_this_very_content() {
        for (value, expected) in [
            ("\"a,b\"", true),
            ("W/\"a,b\"", false),
            ("\"x\"", false),
            (THEN, true),
            (BEFORE, false),
            (AFTER, false),
            ("garbage", false),
        ] {
            let headers = headers(&[("if-range", value)]);
            assert_eq!(validators().allow_range(&headers, SystemTime::now()), expected, "{value}");
        }
        assert!(validators().allow_range(&HeaderMap::new(), SystemTime::now()));
    }

    #[test]
    fn a_date_of_this_very_second_is_too_weak_for_a_range() {
        let headers = headers(&[("if-range", THEN)]);
        let modified = validators().modified;
        assert!(!validators().allow_range(&headers, modified + Duration::from_millis(999)));
        assert!(validators().allow_range(&headers, modified + Duration::from_secs(1)));
    }
}
