//! `Cookie` between HTTP/2, which may split it, and HTTP/1, which may not.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

/// Joins the lines of `Cookie` into one with `; ` (RFC 9113 section 8.2.3), as HTTP/1 origins need it. Costs one look-up
/// when there is at most one line.
pub fn join_cookies(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(COOKIE).iter();
    let (Some(first), Some(second)) = (lines.next(), lines.next()) else { return };
    let mut all = first.as_bytes().to_vec();
    for line in std::iter::once(second).chain(lines) {
        all.extend_from_slice(b"; ");
        all.extend_from_slice(line.as_bytes());
    }
    // Valid in each part, so valid as a whole; otherwise the lines stay as they are.
    if let Ok(mut value) = HeaderValue::from_maybe_shared(bytes::Bytes::from(all)) {
        value.set_sensitive(true);
        headers.insert(COOKIE, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_split_cookies_in_order() {
        let mut headers = HeaderMap::new();
        join_cookies(&mut headers);
        assert!(headers.is_empty());
        for (line, joined) in [("a=1", "a=1"), ("b=2; c=3", "a=1; b=2; c=3"), ("d=4", "a=1; b=2; c=3; d=4")] {
            headers.append(COOKIE, line.parse().unwrap());
            join_cookies(&mut headers);
            assert_eq!(headers.get_all(COOKIE).iter().collect::<Vec<_>>(), [joined]);
        }
    }
}
