//! Compression of responses: which codec, whether at all, and the header changes that go with it.
//!
//! [`Wanted`] is what the client takes, [`Settings::apply`] decides and wraps the body. The bytes are made by
//! `async-compression` in [`encoded`]; nothing here knows how a codec works.
//!
//! Invariant: what leaves is either the response as it came (perhaps with one more `Vary`), or a response whose
//! `Content-Encoding`, `ETag`, `Vary` and length headers all speak of the compressed form.

mod encoded;
mod encoder;
mod types;
mod wanted;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body::Body as _;

use crate::http::Body;
use encoded::Encoded;
use encoder::Encoder;
pub use types::{TYPES, Types};
pub use wanted::Wanted;

/// A content coding that we can apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    Zstd,
    Brotli,
    Gzip,
}

impl Codec {
    pub const ALL: [Self; 3] = [Self::Zstd, Self::Brotli, Self::Gzip];

    /// The name in `Accept-Encoding`, `Content-Encoding`, config and log.
    pub fn token(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    /// The codec of a name as it stands in the config.
    pub fn from_token(token: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.token() == token)
    }

    pub fn value(self) -> HeaderValue {
        HeaderValue::from_static(self.token())
    }
}

/// Effort per codec. Meant for answers that are made on the fly, so the defaults are low.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Levels {
    /// 1 to 19.
    pub zstd: i32,
    /// 0 to 11.
    pub brotli: i32,
    /// 1 to 9. Level 2 of zlib-rs makes smaller output than level 1 of zlib in about half the time; level 3 makes
    /// about the output of level 4 of zlib, also in half the time (JSON of 110 kB).
    pub gzip: i32,
}

impl Default for Levels {
    fn default() -> Self {
        Self { zstd: 3, brotli: 4, gzip: 2 }
    }
}

/// What a site or route compresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// In our order of preference; it decides between codecs that the client likes equally.
    pub codecs: Vec<Codec>,
    pub levels: Levels,
    /// Bytes below which it is not worth it.
    pub min_size: u64,
    pub types: Types,
    /// Also responses that set a cookie. Off: secrets and attacker text in one compressed body leak (BREACH).
    pub set_cookie: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            codecs: Codec::ALL.to_vec(),
            levels: Levels::default(),
            min_size: 1024,
            types: Types::default(),
            set_cookie: false,
        }
    }
}

/// Bodies up to this size that are whole in memory are compressed in one go, with a known length.
const ONE_GO: usize = 128 << 10;

impl Settings {
    /// Compresses the response where it may and the client takes it; also says with which codec.
    /// A response to `HEAD` gets the headers that `GET` would have got.
    pub fn apply(
        &self,
        wanted: Wanted,
        method: &Method,
        mut response: Response<Body>,
    ) -> (Response<Body>, Option<Codec>) {
        if !self.may_compress(method, &response) {
            return (response, None);
        }
        vary_by_encoding(response.headers_mut());
        let Some(codec) = wanted.choose(&self.codecs) else { return (response, None) };
        if *method == Method::HEAD {
            change_headers(response.headers_mut(), codec);
            return (response, Some(codec));
        }
        self.compress(codec, response)
    }

    /// Whether a response of this type and length (`None`: unknown) would be compressed for this client, so far
    /// as one can know before it is made.
    pub fn would_take(&self, wanted: Wanted, content_type: &HeaderValue, length: Option<u64>) -> bool {
        wanted.choose(&self.codecs).is_some() && self.takes(content_type, length)
    }

    /// Whether this type and length are worth compressing for a client that takes it.
    pub fn takes(&self, content_type: &HeaderValue, length: Option<u64>) -> bool {
        length.is_none_or(|length| length >= self.min_size) && self.types.contain(content_type)
    }

    fn may_compress(&self, method: &Method, response: &Response<Body>) -> bool {
        let headers = response.headers();
        let Some(content_type) = headers.get(header::CONTENT_TYPE) else { return false };
        has_whole_body(response.status())
            && self.takes(content_type, length(method, response))
            && !is_encoded(headers)
            && !headers.contains_key(header::CONTENT_RANGE)
            && (self.set_cookie || !headers.contains_key(header::SET_COOKIE))
            && !forbids_transform(headers)
    }

    fn compress(&self, codec: Codec, response: Response<Body>) -> (Response<Body>, Option<Codec>) {
        let known = length(&Method::GET, &response);
        let live = is_live(response.headers());
        let (mut head, body) = response.into_parts();
        let body = match body {
            Body::Full(bytes) if bytes.len() <= ONE_GO => match self.in_one_go(codec, &bytes) {
                Some(smaller) => Body::from(smaller),
                None => return (Response::from_parts(head, Body::Full(bytes)), None),
            },
            body => Body::stream(Encoded::new(body, Encoder::new(codec, self.levels, known), live)),
        };
        change_headers(&mut head.headers, codec);
        (Response::from_parts(head, body), Some(codec))
    }

    /// `None` when it would not become smaller (or the codec fails, which leaves the original intact).
    fn in_one_go(&self, codec: Codec, bytes: &Bytes) -> Option<Bytes> {
        let mut encoder = Encoder::new(codec, self.levels, Some(bytes.len() as u64));
        encoder.write(bytes).ok()?;
        encoder.finish().ok()?;
        Some(encoder.take()).filter(|encoded| encoded.len() < bytes.len())
    }
}

/// Statuses whose content is the whole representation (RFC 9110 sections 15.2, 15.3.5 to 15.3.7, 15.4.5).
fn has_whole_body(status: StatusCode) -> bool {
    !status.is_informational()
        && !matches!(
            status,
            StatusCode::NO_CONTENT
                | StatusCode::RESET_CONTENT
                | StatusCode::PARTIAL_CONTENT
                | StatusCode::NOT_MODIFIED
        )
}

/// The length that is announced, or known from the body. An empty body of a `HEAD` response tells nothing.
fn length(method: &Method, response: &Response<Body>) -> Option<u64> {
    let announced = response.headers().get(header::CONTENT_LENGTH);
    match announced.and_then(|value| value.to_str().ok()?.parse().ok()) {
        None if *method != Method::HEAD => response.body().size_hint().exact(),
        announced => announced,
    }
}

fn is_encoded(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
    codings.any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"))
}

fn forbids_transform(headers: &HeaderMap) -> bool {
    headers.get_all(header::CACHE_CONTROL).iter().any(|value| lists(value, b"no-transform"))
}

/// Whether events of this stream must reach the client at once.
fn is_live(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let essence = types::essence(content_type);
    essence.eq_ignore_ascii_case(b"text/event-stream")
        || essence.eq_ignore_ascii_case(b"application/x-ndjson")
}

/// Digests of the uncompressed bytes would be wrong from here on (RFC 9530 section 3).
const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

fn change_headers(headers: &mut HeaderMap, codec: Codec) {
    headers.insert(header::CONTENT_ENCODING, codec.value());
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::ACCEPT_RANGES);
    for name in DIGESTS {
        headers.remove(name);
    }
    weaken_etag(headers);
}

/// The compressed form is equivalent, not byte for byte the same: its tag must be weak (RFC 9110 section 8.8.1).
fn weaken_etag(headers: &mut HeaderMap) {
    let Some(tag) = headers.get_mut(header::ETAG) else { return };
    if tag.as_bytes().starts_with(b"W/") {
        return;
    }
    let weak = [b"W/", tag.as_bytes()].concat();
    // The bytes come from a valid value, so this cannot fail.
    if let Ok(weak) = HeaderValue::from_bytes(&weak) {
        *tag = weak;
    }
}

/// Names `Accept-Encoding` in `Vary` unless it is covered already (RFC 9110 section 12.5.5).
pub fn vary_by_encoding(headers: &mut HeaderMap) {
    let covers = |value| lists(value, b"accept-encoding") || lists(value, b"*");
    if !headers.get_all(header::VARY).iter().any(covers) {
        headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }
}

/// Whether a comma-separated list holds the item, ignoring case.
fn lists(value: &HeaderValue, item: &[u8]) -> bool {
    value.as_bytes().split(|&byte| byte == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(item))
}

#[cfg(test)]
mod tests;
