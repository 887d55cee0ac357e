//! Trailers: only names that are known to be harmless travel on.

use http::header::TRAILER;
use http::{HeaderMap, HeaderName, HeaderValue};

/// Keeps the trailers of the allow list and drops the others; gives the number of dropped names.
///
/// An allow list, because an origin may merge trailers into its headers (RFC 9110 section 6.5.1): whatever frames,
/// routes, authenticates or caches could then be set behind the back of every check.
pub fn clean_trailers(trailers: &mut HeaderMap) -> usize {
    let mut dropped = 0;
    while let Some(name) = trailers.keys().find(|name| !may_travel(name)).cloned() {
        trailers.remove(&name);
        dropped += 1;
    }
    dropped
}

/// Leaves in `Trailer` only the names that may travel; hyper's HTTP/1 side sends just the trailers announced there.
pub(super) fn clean_announcement(headers: &mut HeaderMap) {
    let mut kept = String::new();
    for value in headers.get_all(TRAILER) {
        let names = value.as_bytes().split(|b| *b == b',').map(<[u8]>::trim_ascii);
        for name in names.filter_map(|name| HeaderName::from_bytes(name).ok()).filter(may_travel) {
            kept.push_str(if kept.is_empty() { "" } else { ", " });
            kept.push_str(name.as_str());
        }
    }
    headers.remove(TRAILER);
    if let Ok(value) = HeaderValue::try_from(kept)
        && !value.is_empty()
    {
        headers.insert(TRAILER, value);
    }
}

/// gRPC's status, timings, digests and checksums.
fn may_travel(name: &HeaderName) -> bool {
    const NAMES: [&str; 10] = [
        "grpc-status",
        "grpc-message",
        "grpc-status-details-bin",
        "grpc-encoding",
        "server-timing",
        "digest",
        "content-digest",
        "repr-digest",
        "content-md5",
        "etag",
    ];
    let name = name.as_str();
    NAMES.contains(&name) || name.starts_with("x-amz-checksum-") || name.starts_with("x-checksum-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lets_grpc_status_and_digests_travel() {
        let mut trailers = HeaderMap::new();
        for name in ["grpc-status", "grpc-message", "content-digest", "x-amz-checksum-crc32c"] {
            trailers.insert(name, "1".parse().unwrap());
        }
        assert_eq!(clean_trailers(&mut trailers), 0);
        assert_eq!(trailers.len(), 4);
    }

    #[test]
    fn drops_every_name_that_frames_routes_or_authenticates() {
        for name in [
            "content-length",
            "transfer-encoding",
            "host",
            "authorization",
            "cookie",
            "set-cookie",
            "x-forwarded-for",
            "forwarded",
            "x-real-ip",
            "te",
            "connection",
            "x-unknown",
            "grpc_status",
        ] {
            let mut trailers = HeaderMap::new();
            trailers.append(HeaderName::from_static(name), "a".parse().unwrap());
            trailers.append(HeaderName::from_static(name), "b".parse().unwrap());
            trailers.insert("grpc-status", "0".parse().unwrap());
            assert_eq!(clean_trailers(&mut trailers), 1, "{name}");
            assert_eq!(trailers.len(), 1, "{name}");
        }
    }
}
