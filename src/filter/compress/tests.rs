use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use async_compression::tokio::write as decode;
use http_body::Frame;
use http_body_util::BodyExt as _;
use proptest::prelude::*;
use tokio::io::AsyncWriteExt as _;

use super::*;
use crate::http::{BodyError, sendfile};

fn wanted(value: &str) -> Wanted {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_str(value).unwrap());
    Wanted::parse(&headers)
}

fn text(len: usize) -> Bytes {
    let words = ["{\"id\":", "12345", ",\"name\":\"tollgate\"", "},", "\"list\":[1,2,3]", "\n"];
    let mut out = String::new();
    for round in 0.. {
        out.push_str(words[(round * 7 + round / 5) % words.len()]);
        out.push_str(&round.to_string());
        if out.len() >= len {
            break;
        }
    }
    out.truncate(len);
    out.into()
}

fn response(body: Body) -> Response<Body> {
    Response::builder().header("content-type", "application/json").body(body).unwrap()
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

async fn collect(body: Body) -> Bytes {
    body.collect().await.unwrap().to_bytes()
}

async fn decoded(codec: Codec, bytes: &[u8]) -> Vec<u8> {
    macro_rules! through {
        ($decoder:ident) => {{
            let mut decoder = decode::$decoder::new(Vec::new());
            decoder.write_all(bytes).await.unwrap();
            decoder.flush().await.unwrap();
            decoder.into_inner()
        }};
    }
    match codec {
        Codec::Zstd => through!(ZstdDecoder),
        Codec::Brotli => through!(BrotliDecoder),
        Codec::Gzip => through!(GzipDecoder),
    }
}

/// A body whose frames the test supplies one by one.
#[derive(Clone, Default)]
struct Script(Rc<RefCell<VecDeque<Option<Frame<Bytes>>>>>);

impl Script {
    fn data(&self, bytes: impl Into<Bytes>) {
        self.0.borrow_mut().push_back(Some(Frame::data(bytes.into())));
    }

    fn end(&self) {
        self.0.borrow_mut().push_back(None);
    }
}

impl http_body::Body for Script {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.0.borrow_mut().pop_front() {
            Some(frame) => Poll::Ready(frame.map(Ok)),
            None => Poll::Pending,
        }
    }
}

#[test]
fn reads_accept_encoding_with_weights() {
    use Codec::{Brotli, Gzip, Zstd};
    let order = [Zstd, Brotli, Gzip];
    for (value, expected) in [
        ("gzip, deflate, br, zstd", Some(Zstd)),
        ("gzip", Some(Gzip)),
        ("GZIP", Some(Gzip)),
        ("x-gzip", Some(Gzip)),
        ("br;q=0.5, gzip;q=0.8", Some(Gzip)),
        ("br;q=0.5,gzip;q=0.500", Some(Brotli)),
        ("*", Some(Zstd)),
        ("*;q=0.1, zstd;q=0", Some(Brotli)),
        ("gzip;q=0, *;q=0", None),
        ("gzip;q=0", None),
        ("identity", None),
        ("identity;q=1, gzip;q=0.5", None),
        ("identity;q=0.5, gzip", Some(Gzip)),
        ("identity;q=0.5, gzip;q=0.5", Some(Gzip)),
        ("identity;q=0, gzip", Some(Gzip)),
        ("identity;q=0", None),
        ("", None),
        ("gzip;q=2", None),
        ("gzip;q=0.1234", None),
        ("gzip;q=.5", None),
        ("gzip;q=1.001", None),
        ("gzip ; q=1 ; x=y,,br;q=", Some(Gzip)),
        ("deflate, compress", None),
    ] {
        assert_eq!(wanted(value).choose(&order), expected, "{value:?}");
    }
    assert_eq!(Wanted::parse(&HeaderMap::new()).choose(&order), None);
    assert_eq!(wanted("gzip, br").choose(&[Gzip, Brotli]), Some(Gzip));
}

#[test]
fn what_comes_out_decodes_to_what_went_in() {
    for codec in Codec::ALL {
        for size in [1024, 5000, 100_000, 3_000_000] {
            let (plain, script) = (text(size), Script::default());
            plain.chunks(70_001).for_each(|chunk| script.data(Bytes::copy_from_slice(chunk)));
            script.end();
            for body in [Body::Full(plain.clone()), Body::stream(script)] {
                let settings = Settings { codecs: vec![codec], ..Settings::default() };
                let (out, used) = settings.apply(wanted("*"), &Method::GET, response(body));
                assert_eq!(used, Some(codec));
                assert_eq!(out.headers()["content-encoding"], codec.token());
                let bytes = run(collect(out.into_body()));
                assert!(bytes.len() < plain.len() / 2, "{codec:?} {size}: {}", bytes.len());
                assert_eq!(run(decoded(codec, &bytes)), plain, "{codec:?} {size}");
            }
        }
    }
}

#[test]
fn headers_speak_of_the_compressed_form() {
    let mut plain = response(Body::Full(text(5000)));
    for (name, value) in [
        ("etag", "\"abc\""),
        ("content-length", "5000"),
        ("accept-ranges", "bytes"),
        ("content-digest", "sha-256=:AAAA:"),
        ("vary", "Origin"),
    ] {
        plain.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    let (out, _) = Settings::default().apply(wanted("gzip"), &Method::GET, plain);
    let headers = out.headers();
    assert_eq!(headers["etag"], "W/\"abc\"");
    for gone in ["content-length", "accept-ranges", "content-digest"] {
        assert!(!headers.contains_key(gone), "{gone}");
    }
    let vary: Vec<_> = headers.get_all("vary").iter().collect();
    assert_eq!(vary, ["Origin", "Accept-Encoding"]);
}

#[test]
fn head_shows_the_headers_of_get_without_a_body() {
    let mut plain = response(Body::Empty);
    plain.headers_mut().insert("content-length", HeaderValue::from_static("5000"));
    let (out, used) = Settings::default().apply(wanted("gzip"), &Method::HEAD, plain);
    assert_eq!(used, Some(Codec::Gzip));
    assert_eq!(out.headers()["content-encoding"], "gzip");
    assert!(!out.headers().contains_key("content-length"));
    assert!(matches!(out.body(), Body::Empty));
}

#[test]
fn varies_also_when_this_client_takes_no_codec() {
    let (out, used) =
        Settings::default().apply(wanted("identity"), &Method::GET, response(text(5000).into()));
    assert_eq!(used, None);
    assert_eq!(out.headers()["vary"], "Accept-Encoding");
    assert!(!out.headers().contains_key("content-encoding"));
    assert_eq!(run(collect(out.into_body())), text(5000));
}

#[test]
fn leaves_alone_what_must_not_be_touched() {
    let with = |name: &'static str, value: &'static str| {
        let mut plain = response(text(5000).into());
        plain.headers_mut().insert(name, HeaderValue::from_static(value));
        plain
    };
    let status = |code: u16| {
        let mut plain = response(text(5000).into());
        *plain.status_mut() = StatusCode::from_u16(code).unwrap();
        plain
    };
    let mut untyped = response(text(5000).into());
    untyped.headers_mut().remove("content-type");
    let cases = [
        with("content-encoding", "br"),
        with("content-range", "bytes 0-4999/9999"),
        with("cache-control", "public, No-Transform"),
        with("set-cookie", "sid=1"),
        with("content-type", "image/png"),
        with("content-type", "application/grpc+json"),
        status(204),
        status(206),
        status(304),
        response(text(1023).into()),
        untyped,
    ];
    for plain in cases {
        let before = (plain.status(), plain.headers().clone());
        let (out, used) = Settings::default().apply(wanted("gzip"), &Method::GET, plain);
        assert_eq!(used, None, "{before:?}");
        assert_eq!((out.status(), out.headers().clone()), before);
    }
}

#[test]
fn sends_what_does_not_become_smaller_as_it_is() {
    let noise: Vec<u8> =
        (0..5000_u64).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31) >> 13) as u8).collect();
    let tight = Settings { types: Types::new(["*"]), ..Settings::default() };
    let (out, used) = tight.apply(wanted("gzip"), &Method::GET, response(Bytes::from(noise.clone()).into()));
    let bytes = run(collect(out.into_body()));
    assert!(bytes.len() <= noise.len());
    assert_eq!(used.is_none(), bytes == noise);
}

#[test]
fn types_match_exactly_by_prefix_and_by_suffix() {
    let types = Types::default();
    for (value, expected) in [
        ("text/html; charset=utf-8", true),
        ("TEXT/HTML", true),
        ("application/json", true),
        ("application/problem+json;x=y", true),
        ("image/svg+xml", true),
        ("image/jpeg", false),
        ("application/octet-stream", false),
        ("application/grpc", false),
        ("application/jsonx", false),
        ("text", false),
        ("", false),
    ] {
        assert_eq!(types.contain(&HeaderValue::from_static(value)), expected, "{value:?}");
    }
}

#[test]
fn an_event_reaches_the_client_while_the_stream_is_still_open() {
    for codec in Codec::ALL {
        let script = Script::default();
        let mut plain = response(Body::stream(script.clone()));
        plain.headers_mut().insert("content-type", HeaderValue::from_static("text/event-stream"));
        let settings = Settings { codecs: vec![codec], ..Settings::default() };
        let (out, _) = settings.apply(wanted("*"), &Method::GET, plain);
        let mut body = pin!(out.into_body());
        let mut cx = Context::from_waker(Waker::noop());
        let mut compressed = Vec::new();
        for event in 1..=3 {
            script.data(format!("data: {event}\n\n"));
            let Poll::Ready(Some(Ok(frame))) = body.as_mut().poll_frame(&mut cx) else {
                panic!("{codec:?} holds back event {event}")
            };
            compressed.extend_from_slice(&frame.into_data().unwrap());
            assert!(body.as_mut().poll_frame(&mut cx).is_pending());
            let expected: String = (1..=event).map(|e| format!("data: {e}\n\n")).collect();
            assert_eq!(run(decoded(codec, &compressed)), expected.as_bytes(), "{codec:?}");
        }
    }
}

#[test]
fn a_paused_response_is_flushed_after_a_moment() {
    let script = Script::default();
    script.data(text(3000));
    let (out, _) =
        Settings::default().apply(wanted("zstd"), &Method::GET, response(Body::stream(script.clone())));
    let frame = run(async { out.into_body().frame().await.unwrap().unwrap().into_data().unwrap() });
    assert_eq!(run(decoded(Codec::Zstd, &frame)), text(3000));
}

#[test]
fn trailers_follow_the_compressed_body() {
    let script = Script::default();
    script.data(text(3000));
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", HeaderValue::from_static("1"));
    script.0.borrow_mut().push_back(Some(Frame::trailers(trailers.clone())));
    let (out, _) = Settings::default().apply(wanted("gzip"), &Method::GET, response(Body::stream(script)));
    let collected = run(out.into_body().collect()).unwrap();
    assert_eq!(collected.trailers(), Some(&trailers));
    assert_eq!(run(decoded(Codec::Gzip, &collected.to_bytes())), text(3000));
}

#[test]
fn a_broken_source_breaks_the_compressed_body() {
    struct Broken;
    impl http_body::Body for Broken {
        type Data = Bytes;
        type Error = BodyError;
        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
            Poll::Ready(Some(Err("upstream died".into())))
        }
    }
    let (out, _) = Settings::default().apply(wanted("gzip"), &Method::GET, response(Body::stream(Broken)));
    assert_eq!(run(out.into_body().collect()).unwrap_err().to_string(), "upstream died");
}

#[test]
fn never_compresses_a_file_placeholder() {
    let script = Script::default();
    script.data(sendfile::placeholder(5000));
    script.end();
    let (out, _) = Settings::default().apply(wanted("gzip"), &Method::GET, response(Body::stream(script)));
    assert!(run(out.into_body().collect()).is_err());
}

proptest! {
    #[test]
    fn no_accept_encoding_breaks_the_parser(value in proptest::collection::vec(32_u8..127, 0..60)) {
        let chosen = wanted(std::str::from_utf8(&value).unwrap()).choose(&Codec::ALL);
        let text = String::from_utf8_lossy(&value).to_ascii_lowercase();
        let named = chosen.is_none_or(|codec| text.contains(codec.token()) || text.contains('*'));
        prop_assert!(named);
    }
}
