//! Which content types are worth compressing.

use http::HeaderValue;

/// What is compressed unless the config says otherwise: text, and what is text in disguise.
pub const TYPES: &[&str] = &[
    "text/*",
    "*+json",
    "*+xml",
    "*+text",
    "application/json",
    "application/javascript",
    "application/x-javascript",
    "application/ecmascript",
    "application/xml",
    "application/x-ndjson",
    "application/x-yaml",
    "application/yaml",
    "application/toml",
    "application/graphql",
    "application/rtf",
    "application/wasm",
    "application/x-sh",
    "application/x-tar",
    "application/vnd.ms-fontobject",
    "application/x-font-ttf",
    "font/ttf",
    "font/otf",
    "font/sfnt",
    "image/bmp",
    "image/x-icon",
    "image/vnd.microsoft.icon",
];

/// A set of content types: `text/html`, `text/*` or `*+json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Types {
    exact: Vec<Box<str>>,
    prefixes: Vec<Box<str>>,
    suffixes: Vec<Box<str>>,
}

impl Default for Types {
    fn default() -> Self {
        Self::new(TYPES.iter().copied())
    }
}

impl Types {
    /// Sorts the patterns by their kind. Any text is a valid pattern; one without star matches exactly.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Self {
        let mut types = Self { exact: Vec::new(), prefixes: Vec::new(), suffixes: Vec::new() };
        for pattern in patterns {
            if let Some(prefix) = pattern.strip_suffix('*') {
                types.prefixes.push(prefix.into());
            } else if let Some(suffix) = pattern.strip_prefix('*') {
                types.suffixes.push(suffix.into());
            } else {
                types.exact.push(pattern.into());
            }
        }
        types
    }

    /// Whether the type is in the set. gRPC never is: it has a compression of its own inside.
    pub fn contain(&self, content_type: &HeaderValue) -> bool {
        let essence = essence(content_type.as_bytes());
        let starts = |prefix: &str| {
            essence.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix.as_bytes()))
        };
        let ends = |suffix: &str| {
            let from = essence.len().checked_sub(suffix.len());
            from.is_some_and(|from| essence[from..].eq_ignore_ascii_case(suffix.as_bytes()))
        };
        let known = self.prefixes.iter().any(|prefix| starts(prefix))
            || self.exact.iter().any(|exact| essence.eq_ignore_ascii_case(exact.as_bytes()))
            || self.suffixes.iter().any(|suffix| ends(suffix));
        known && !starts("application/grpc")
    }
}

/// A content type without its parameters.
pub(super) fn essence(content_type: &[u8]) -> &[u8] {
    let end = memchr::memchr(b';', content_type).unwrap_or(content_type.len());
    content_type[..end].trim_ascii()
}
