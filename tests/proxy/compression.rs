//! Answers are compressed when the client wants it, when it pays, and never when it would break something.

use std::io::Read;

use crate::support::client::Answer;
use crate::support::{Findings, Origin, Setup, Tollgate, equal, get, get_with};

fn text() -> String {
    (0..2_000).map(|n| format!("line {n} of a text that compresses well\n")).collect()
}

fn origin() -> Origin {
    Origin::with(|talk| {
        let (kind, text) = (("Content-Type", "text/plain; charset=utf-8"), text());
        let body = text.as_bytes();
        match talk.path() {
            "/small" => talk.answer(200, &[kind], b"small"),
            "/png" => talk.answer(200, &[("Content-Type", "image/png")], body),
            "/encoded" => talk.answer(200, &[kind, ("Content-Encoding", "x-own")], body),
            "/no-transform" => talk.answer(200, &[kind, ("Cache-Control", "public, no-transform")], body),
            "/partial" => talk.answer(206, &[kind, ("Content-Range", "bytes 0-75999/99999")], body),
            "/strong" => talk.answer(200, &[kind, ("ETag", "\"abc\""), ("Accept-Ranges", "bytes")], body),
            "/weak" => talk.answer(200, &[kind, ("ETag", "W/\"abc\""), ("Vary", "Cookie")], body),
            "/error" => talk.answer(404, &[kind], body),
            "/chunked" => {
                talk.send(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
                );
                for piece in body.chunks(1_000) {
                    talk.send(format!("{:x}\r\n", piece.len()));
                    talk.send([piece, b"\r\n"].concat());
                }
                talk.send("0\r\n\r\n");
            }
            _ => talk.answer(200, &[kind], body),
        }
    })
}

fn gate() -> (Origin, Tollgate) {
    let origin = origin();
    let tollgate = Setup::new(format!(
        "[upstream.app]\nservers = [\"{}\"]\n[site.\"*\"]\ncompress = [\"zstd\", \"br\", \"gzip\"]\n\
         routes = [{{ path = \"/*\", proxy = \"app\" }}, {{ path = \"/plain\", proxy = \"app\", compress = false }}]\n",
        origin.address
    ))
    .start();
    (origin, tollgate)
}

fn ask(tollgate: &Tollgate, path: &str, accept: &str) -> Answer {
    tollgate.plain().ask(get_with(path, &format!("Accept-Encoding: {accept}\r\n")))
}

#[test]
fn chooses_by_quality_then_by_our_order() {
    let (_origin, tollgate) = gate();
    let mut findings = Findings::default();
    let cases = [
        ("gzip", Some("gzip")),
        ("br", Some("br")),
        ("zstd", Some("zstd")),
        ("gzip, br, zstd", Some("zstd")),
        ("gzip, deflate, br", Some("br")),
        ("gzip;q=1.0, br;q=0.5", Some("gzip")),
        ("GZIP", Some("gzip")),
        ("x-gzip", Some("gzip")),
        ("gzip;q=0", None),
        ("gzip;q=0, *", Some("zstd")),
        ("*", Some("zstd")),
        ("*;q=0", None),
        ("identity", None),
        ("identity;q=1, gzip;q=0.5", None),
        ("deflate", None),
        ("", None),
        ("gzip;q=nonsense", None),
    ];
    for (accept, wanted) in cases {
        let answer = ask(&tollgate, "/", accept);
        // An x-gzip wish may as well be ignored.
        if accept == "x-gzip" && answer.header("content-encoding").is_none() {
            continue;
        }
        findings.check(accept, equal(&answer.header("content-encoding"), &wanted));
    }
    findings.settle();
}

#[test]
fn what_was_compressed_is_the_same_text() {
    let (_origin, tollgate) = gate();
    for path in ["/", "/chunked"] {
        let answer = ask(&tollgate, path, "gzip");
        assert_eq!(answer.header("content-encoding"), Some("gzip"), "{path}");
        assert!(answer.body.len() * 4 < text().len(), "{} bytes", answer.body.len());
        let mut plain = String::new();
        flate2::read::GzDecoder::new(answer.body.as_slice()).read_to_string(&mut plain).unwrap();
        assert_eq!(plain, text());
        assert!(answer.complete);
    }
    for coding in ["br", "zstd"] {
        let answer = ask(&tollgate, "/", coding);
        let magic = coding == "br" || answer.body.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]);
        assert!(answer.complete && magic && answer.body.len() * 4 < text().len(), "{coding}");
    }
}

#[test]
fn leaves_alone_what_must_stay_as_it_is() {
    let (_origin, tollgate) = gate();
    let mut findings = Findings::default();
    for path in ["/small", "/png", "/no-transform", "/partial", "/plain"] {
        let answer = ask(&tollgate, path, "gzip");
        findings.check(path, equal(&answer.header("content-encoding"), &None));
        let length = answer.body.len().to_string();
        findings.check(path, equal(&answer.header("content-length"), &Some(length.as_str())));
    }
    findings.check(
        "/encoded",
        equal(&ask(&tollgate, "/encoded", "gzip").header("content-encoding"), &Some("x-own")),
    );
    findings.settle();
}

#[test]
fn varies_also_when_it_did_not_compress_but_could_have() {
    let (_origin, tollgate) = gate();
    let varies =
        |answer: &Answer| answer.all("vary").join(", ").to_ascii_lowercase().contains("accept-encoding");
    assert!(varies(&ask(&tollgate, "/", "gzip")));
    assert!(varies(&tollgate.plain().ask(get("/"))));
    let both = ask(&tollgate, "/weak", "gzip").all("vary").join(", ").to_ascii_lowercase();
    assert!(both.contains("cookie") && both.contains("accept-encoding"), "{both}");
    assert!(!varies(&ask(&tollgate, "/png", "gzip")));
}

#[test]
fn weakens_strong_etags_and_drops_what_no_longer_holds() {
    let (_origin, tollgate) = gate();
    let strong = ask(&tollgate, "/strong", "gzip");
    assert_eq!(strong.header("etag"), Some("W/\"abc\""));
    assert_eq!((strong.header("content-length"), strong.header("accept-ranges")), (None, None));
    assert_eq!(ask(&tollgate, "/weak", "gzip").header("etag"), Some("W/\"abc\""));
    let plain = ask(&tollgate, "/strong", "identity");
    assert_eq!((plain.header("etag"), plain.header("accept-ranges")), (Some("\"abc\""), Some("bytes")));
}

#[test]
fn a_head_tells_what_a_get_would_and_has_no_body() {
    let (_origin, tollgate) = gate();
    let mut connection = tollgate.plain();
    let answer = connection.ask("HEAD /strong HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n");
    // A length, if any, must be that of the same coding as a GET's; without coding, that of the plain text.
    match answer.header("content-encoding") {
        Some(_) => assert_eq!(answer.header("content-length"), None),
        None => assert!(answer.header("etag").is_some()),
    }
    assert_eq!(connection.ask(get("/small")).text(), "small");
}

#[test]
fn the_record_says_what_was_applied() {
    let (_origin, tollgate) = gate();
    ask(&tollgate, "/?m=enc", "br");
    let record = tollgate.records().wait("m=enc");
    assert_eq!(record["enc"], "br");
    assert!(record["tx_body_b"].as_u64().unwrap() < text().len() as u64, "{record}");
    assert!(record["up_rx_b"].as_u64().unwrap() >= text().len() as u64, "{record}");
}

#[test]
fn each_event_of_a_stream_arrives_at_once() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let origin = Origin::with(move |talk| {
        talk.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
        for n in 0..3 {
            talk.send(format!("9\r\ndata: {n}\n\n\r\n"));
            let _ = wait.lock().unwrap().recv_timeout(crate::support::DEADLINE);
        }
        talk.send("0\r\n\r\n");
    });
    let tollgate = Setup::new(format!(
        "[upstream.app]\nservers = [\"{}\"]\n[site.\"*\"]\ncompress = {{ codecs = [\"gzip\"], min_size = \"1B\", types = [\"text/event-stream\"] }}\n\
         routes = [{{ path = \"/*\", proxy = \"app\" }}]\n",
        origin.address
    ))
    .start();
    let mut connection = tollgate.plain();
    connection.send(get_with("/", "Accept-Encoding: gzip\r\n"));
    let head = connection.reader.answer_start().unwrap();
    assert_eq!(head.header("content-encoding"), Some("gzip"));
    let mut decoder = flate2::write::GzDecoder::new(Vec::new());
    for n in 0..3 {
        let wanted = format!("data: {n}\n\n");
        // The next event is sent only after this one was read: nothing may be held back.
        while !decoder.get_ref().ends_with(wanted.as_bytes()) {
            let piece = connection.reader.chunk().expect("an event is held back");
            std::io::Write::write_all(&mut decoder, &piece).unwrap();
            std::io::Write::flush(&mut decoder).unwrap();
        }
        go.send(()).unwrap();
    }
}
