//! The content type of a name.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use http::HeaderValue;

/// By the extension; text is taken to be UTF-8. Unknown extensions are bytes.
pub(super) fn content_type(path: &[u8]) -> HeaderValue {
    let extension = Path::new(OsStr::from_bytes(path)).extension().and_then(OsStr::to_str);
    let guess = extension.and_then(|extension| mime_guess::from_ext(extension).first_raw());
    match guess {
        None => HeaderValue::from_static("application/octet-stream"),
        Some("text/html") => HeaderValue::from_static("text/html; charset=utf-8"),
        Some(text) if is_text(text) => with_charset(text),
        Some(other) => HeaderValue::from_static(other),
    }
}

fn is_text(essence: &str) -> bool {
    essence.starts_with("text/") || matches!(essence, "application/javascript" | "application/x-javascript")
}

fn with_charset(essence: &'static str) -> HeaderValue {
    HeaderValue::from_str(&format!("{essence}; charset=utf-8"))
        .unwrap_or_else(|_| HeaderValue::from_static(essence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_utf8_and_the_unknown_is_bytes() {
        for (path, expected) in [
            ("a/index.html", "text/html; charset=utf-8"),
            ("style.CSS", "text/css; charset=utf-8"),
            ("app.js", "text/javascript; charset=utf-8"),
            ("data.json", "application/json"),
            ("logo.svg", "image/svg+xml"),
            ("font.woff2", "font/woff2"),
            ("app.wasm", "application/wasm"),
            ("photo.jpg", "image/jpeg"),
            ("archive.tar.gz", "application/gzip"),
            ("LICENSE", "application/octet-stream"),
            ("a.unknown-thing", "application/octet-stream"),
        ] {
            assert_eq!(content_type(path.as_bytes()), expected, "{path}");
        }
    }
}
