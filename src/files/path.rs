//! From the path of a request to a name beneath the root.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::exchange::failure::{Failure, Kind};

/// Decodes a canonical path and takes off its leading slash. A slash at the end stays.
///
/// # Errors
/// `NotFound` for an encoded slash or NUL, for dot segments, and for hidden names unless `dotfiles`.
pub(super) fn decode(path: &str, dotfiles: bool) -> Result<Cow<'_, [u8]>, Failure> {
    let encoded = path.strip_prefix('/').unwrap_or(path);
    let decoded: Cow<'_, [u8]> = percent_decode_str(encoded).into();
    if decoded.contains(&0) || slashes(&decoded) != slashes(encoded.as_bytes()) {
        return Err(Failure::refuse(Kind::NotFound, "the path has an encoded slash or NUL"));
    }
    for (place, segment) in decoded.split(|&byte| byte == b'/').enumerate() {
        let hidden = segment.starts_with(b".") && !dotfiles && !(place == 0 && segment == b".well-known");
        if hidden || matches!(segment, b"." | b"..") {
            return Err(Failure::refuse(Kind::NotFound, "the path names a hidden file"));
        }
    }
    Ok(match decoded {
        Cow::Borrowed(bytes) => Cow::Borrowed(relative(bytes)),
        Cow::Owned(bytes) if bytes.starts_with(b"/") => Cow::Owned(relative(&bytes).to_vec()),
        owned @ Cow::Owned(_) => owned,
    })
}

/// Without slashes at the beginning: the kernel would take such a path from the file system's root.
pub(super) fn relative(mut path: &[u8]) -> &[u8] {
    while let Some(rest) = path.strip_prefix(b"/") {
        path = rest;
    }
    path
}

fn slashes(path: &[u8]) -> usize {
    memchr::memchr_iter(b'/', path).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_what_is_harmless() {
        for (path, expected) in [
            ("/a/b.txt", "a/b.txt"),
            ("/a%20b/%C3%A4.txt", "a b/ä.txt"),
            ("/dir/", "dir/"),
            ("/", ""),
            ("", ""),
            ("//etc/passwd", "etc/passwd"),
            ("//%61", "a"),
            ("/.well-known/security.txt", ".well-known/security.txt"),
            ("/a..b", "a..b"),
        ] {
            assert_eq!(&*decode(path, false).unwrap(), expected.as_bytes(), "{path}");
        }
    }

    #[test]
    fn refuses_what_hides_or_climbs() {
        for path in [
            "/.env",
            "/a/.git/config",
            "/%2egit/config",
            "/../etc/passwd",
            "/a/%2e%2e/b",
            "/a%2fb",
            "/a%2Fb",
            "/a%00.txt",
            "/a/.well-known/x",
            "/./a",
        ] {
            assert_eq!(decode(path, false).unwrap_err().kind, Kind::NotFound, "{path}");
        }
        assert!(decode("/.env", true).is_ok());
        assert!(decode("/../a", true).is_err());
    }
}
