//! The responses of the file room.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::ops::Range;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode};

use super::body::{Piece, Source, pieces, single};
use super::condition::{Outcome, Validators};
use super::open::{Meta, Open};
use super::range::Ranges;
use super::{Ask, Settings};
use crate::exchange::failure::{Failure, Kind};
use crate::filter::compress::{self, Codec, vary_by_encoding};
use crate::http::Body;

/// 405: files are for reading (RFC 9110 section 15.5.6).
pub(super) fn method_not_allowed() -> Response<Body> {
    let mut response = bare(StatusCode::METHOD_NOT_ALLOWED);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    response
}

/// Leads from a directory's name to the directory. The target is relative to the last segment, so that neither
/// a stripped prefix nor a path that begins with two slashes can lead to another place.
pub(super) fn add_slash(ask: &Ask<'_>) -> Result<Response<Body>, Failure> {
    let name = ask.public_path.rsplit('/').next().unwrap_or_default();
    let target = match ask.query {
        Some(query) => format!("./{name}/?{query}"),
        None => format!("./{name}/"),
    };
    let target = HeaderValue::from_str(&target)
        .map_err(|_| Failure::refuse(Kind::BadRequest, "the path does not fit into a header"))?;
    let mut response = bare(StatusCode::MOVED_PERMANENTLY);
    response.headers_mut().insert(header::LOCATION, target);
    Ok(response)
}

/// The file, or what the conditions and ranges of the request make of it.
pub(super) fn file(settings: &Settings, ask: &Ask<'_>, asked: &Open) -> Response<Body> {
    let (file, codec) = select(ask, asked);
    let meta = file.meta();
    let answer = Answer { settings, ask, asked, file, codec, meta: &meta };
    let validators = Validators { etag: meta.etag.as_bytes(), modified: meta.modified() };
    match validators.check(ask.headers) {
        Outcome::Failed => bare(StatusCode::PRECONDITION_FAILED),
        Outcome::NotModified => answer.not_modified(),
        Outcome::Proceed => answer.content(&validators),
    }
}

/// The file itself, or a compressed sibling that the client takes and that is still there.
fn select<'a>(ask: &Ask<'_>, asked: &'a Open) -> (&'a Open, Option<Codec>) {
    let mut order = [Codec::Gzip; 3];
    let count = asked.siblings.len().min(order.len());
    for (place, (codec, _)) in order.iter_mut().zip(&asked.siblings) {
        *place = *codec;
    }
    let chosen = ask.wanted.choose(&order[..count]);
    let sibling = asked.siblings.iter().find(|(codec, file)| Some(*codec) == chosen && file.refresh());
    sibling.map_or((asked, None), |(codec, sibling)| (sibling, Some(*codec)))
}

struct Answer<'a> {
    settings: &'a Settings,
    ask: &'a Ask<'a>,
    /// What the path names.
    asked: &'a Open,
    /// What is sent: the same, or a compressed sibling.
    file: &'a Open,
    codec: Option<Codec>,
    meta: &'a Meta,
}

impl Answer<'_> {
    fn content(&self, validators: &Validators<'_>) -> Response<Body> {
        match self.ranges(validators) {
            Ranges::Whole => self.whole(),
            Ranges::Unsatisfiable => self.unsatisfiable(),
            Ranges::Parts(parts) => match &*parts {
                [part] => self.part(part.clone()),
                parts => self.parts(parts),
            },
        }
    }

    /// Ranges count for `GET` only (RFC 9110 section 14.2), and only when there is one field of them.
    fn ranges(&self, validators: &Validators<'_>) -> Ranges {
        let mut fields = self.ask.headers.get_all(header::RANGE).iter();
        match (fields.next(), fields.next()) {
            (Some(value), None)
                if *self.ask.method == Method::GET
                    && validators.allow_range(self.ask.headers, SystemTime::now()) =>
            {
                Ranges::parse(value.as_bytes(), self.meta.size, self.settings.max_ranges)
            }
            _ => Ranges::Whole,
        }
    }

    fn whole(&self) -> Response<Body> {
        let queue = self.ask.queue.filter(|_| !self.will_be_compressed());
        let body = match *self.ask.method {
            Method::HEAD => Body::Empty,
            _ if self.meta.size == 0 => Body::Empty,
            _ => match self.meta.content(|len| self.source().read_whole(0, len)) {
                Some(content) => Body::Full(content),
                None => single(&self.source(), 0, self.meta.size, queue),
            },
        };
        let mut response = self.response(StatusCode::OK, body);
        response.headers_mut().insert(header::CONTENT_TYPE, self.file.content_type.clone());
        response.headers_mut().insert(header::CONTENT_LENGTH, self.meta.length.clone());
        response
    }

    fn part(&self, part: Range<u64>) -> Response<Body> {
        let len = part.end - part.start;
        let body = single(&self.source(), part.start, len, self.ask.queue);
        let mut response = self.response(StatusCode::PARTIAL_CONTENT, body);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, self.file.content_type.clone());
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(len));
        insert_text(headers, header::CONTENT_RANGE, &self.content_range(&part));
        response
    }

    /// Several ranges in a multipart body (RFC 9110 section 14.6).
    fn parts(&self, parts: &[Range<u64>]) -> Response<Body> {
        let boundary = boundary();
        let media = self.file.content_type.to_str().unwrap_or("application/octet-stream");
        let mut list = VecDeque::with_capacity(parts.len() * 2 + 1);
        for part in parts {
            let range = self.content_range(part);
            let head = format!("\r\n--{boundary}\r\nContent-Type: {media}\r\nContent-Range: {range}\r\n\r\n");
            list.push_back(Piece::Text(head.into()));
            list.push_back(Piece::File { offset: part.start, len: part.end - part.start });
        }
        list.push_back(Piece::Text(Bytes::from(format!("\r\n--{boundary}--\r\n"))));
        let length: u64 = list.iter().map(Piece::len).sum();
        let mut response = self.response(StatusCode::PARTIAL_CONTENT, pieces(&self.source(), list));
        let headers = response.headers_mut();
        insert_text(headers, header::CONTENT_TYPE, &format!("multipart/byteranges; boundary={boundary}"));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        response
    }

    /// RFC 9110 section 15.5.17.
    fn unsatisfiable(&self) -> Response<Body> {
        let mut response = bare(StatusCode::RANGE_NOT_SATISFIABLE);
        let size = format!("bytes */{}", self.meta.size);
        insert_text(response.headers_mut(), header::CONTENT_RANGE, &size);
        self.vary(response.headers_mut());
        response
    }

    /// RFC 9110 section 15.4.5: the headers that a cache needs to go on using what it has.
    fn not_modified(&self) -> Response<Body> {
        let mut response = bare(StatusCode::NOT_MODIFIED);
        self.validate(response.headers_mut());
        response
    }

    /// A response with the headers that all contents share.
    fn response(&self, status: StatusCode, body: Body) -> Response<Body> {
        let mut headers = HeaderMap::with_capacity(12);
        self.validate(&mut headers);
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        if let Some(codec) = self.codec {
            headers.insert(header::CONTENT_ENCODING, codec.value());
        }
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }

    fn validate(&self, headers: &mut HeaderMap) {
        headers.insert(header::ETAG, self.meta.etag.clone());
        if let Some(date) = self.meta.last_modified() {
            headers.insert(header::LAST_MODIFIED, date.clone());
        }
        if let Some(value) = &self.settings.cache_control {
            headers.insert(header::CACHE_CONTROL, value.clone());
        }
        self.vary(headers);
    }

    fn vary(&self, headers: &mut HeaderMap) {
        if !self.asked.siblings.is_empty() || self.may_be_compressed() {
            vary_by_encoding(headers);
        }
    }

    /// Whether the compression filter compresses this for clients that take it.
    fn may_be_compressed(&self) -> bool {
        let takes =
            |compress: &compress::Settings| compress.takes(&self.file.content_type, Some(self.meta.size));
        self.codec.is_none() && self.ask.compress.is_some_and(takes)
    }

    fn will_be_compressed(&self) -> bool {
        self.may_be_compressed()
            && self.ask.compress.is_some_and(|compress| self.ask.wanted.choose(&compress.codecs).is_some())
    }

    fn content_range(&self, part: &Range<u64>) -> String {
        format!("bytes {}-{}/{}", part.start, part.end - 1, self.meta.size)
    }

    fn source(&self) -> Source {
        Source { fd: self.file.fd.clone(), remote: self.file.remote }
    }
}

fn bare(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    response
}

/// Inserts text that consists of digits, letters and punctuation only, so that it always fits.
fn insert_text(headers: &mut HeaderMap, name: header::HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

/// New for each response, so that no file can hold the boundary of its own transfer.
fn boundary() -> String {
    let seed = RandomState::new();
    format!("{:016x}{:016x}", seed.hash_one(0), seed.hash_one(1))
}
