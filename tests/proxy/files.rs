//! Static files: whole, in parts, or not again; and never anything outside of their directory.

use std::path::Path;

use crate::support::{Findings, Setup, Tollgate, equal, get, get_with};

fn gate(route: &str) -> Tollgate {
    let setup = Setup::new(format!(
        "[site.\"*\"]\nroutes = [{{ path = \"/*\", files = \"DIR/www\"{route} }}, {{ path = \"/assets/*\", files = \"DIR/www\" }}]\n"
    ));
    fill(setup.dir());
    setup.start()
}

fn fill(dir: &Path) {
    let www = dir.join("www");
    std::fs::create_dir_all(www.join("sub")).unwrap();
    std::fs::create_dir_all(www.join("bare")).unwrap();
    std::fs::create_dir_all(www.join(".git")).unwrap();
    let put = |name: &str, text: &[u8]| std::fs::write(www.join(name), text).unwrap();
    put("index.html", b"<p>index</p>");
    put("sub/index.html", b"<p>sub</p>");
    put("digits.txt", b"0123456789");
    put("page.css", b"body {}");
    put("data.json", b"{}");
    put("picture.png", b"\x89PNG");
    put(".secret", b"secret");
    put(".git/config", b"secret");
    put("with space.txt", b"spaced");
    put("packed.js", b"plain script, long enough");
    put("packed.js.gz", b"gzip bytes");
    put("packed.js.br", b"brotli bytes");
    put("empty.txt", b"");
    put("long.txt", "0123456789".repeat(1_000).as_bytes());
    std::fs::write(dir.join("outside.txt"), b"secret").unwrap();
    std::os::unix::fs::symlink("../outside.txt", www.join("link.txt")).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", www.join("absolute-link")).unwrap();
    std::os::unix::fs::symlink("digits.txt", www.join("inner-link.txt")).unwrap();
}

#[test]
fn serves_files_with_their_types() {
    let tollgate = gate("");
    let mut findings = Findings::default();
    let cases = [
        ("/", 200, "<p>index</p>", "text/html; charset=utf-8"),
        ("/index.html", 200, "<p>index</p>", "text/html; charset=utf-8"),
        ("/sub/", 200, "<p>sub</p>", "text/html; charset=utf-8"),
        ("/digits.txt", 200, "0123456789", "text/plain; charset=utf-8"),
        ("/page.css", 200, "body {}", "text/css; charset=utf-8"),
        ("/data.json", 200, "{}", "application/json"),
        ("/with%20space.txt", 200, "spaced", "text/plain; charset=utf-8"),
        ("/empty.txt", 200, "", "text/plain; charset=utf-8"),
        ("/assets/digits.txt", 200, "0123456789", "text/plain; charset=utf-8"),
        ("/inner-link.txt", 200, "0123456789", "text/plain; charset=utf-8"),
    ];
    for (path, status, text, kind) in cases {
        let answer = tollgate.get(path);
        findings.check(
            path,
            equal(
                &(answer.status, answer.text().as_str(), answer.header("content-type")),
                &(status, text, Some(kind)),
            ),
        );
        findings.check(path, equal(&answer.header("content-length"), &Some(text.len().to_string().as_str())));
    }
    let moved = tollgate.get("/sub?x=y");
    findings.check(
        "/sub",
        equal(
            &(moved.status, moved.header("location").map(|to| to.trim_start_matches('.'))),
            &(301, Some("/sub/?x=y")),
        ),
    );
    findings.settle();
}

#[test]
fn shows_nothing_that_is_hidden_or_outside() {
    let tollgate = gate("");
    let mut findings = Findings::default();
    let paths = [
        "/.secret",
        "/.git/config",
        "/.git/",
        "/.git",
        "/link.txt",
        "/absolute-link",
        "/../outside.txt",
        "/%2e%2e/outside.txt",
        "/..%2foutside.txt",
        "/sub/../../outside.txt",
        "/sub/..%2f..%2foutside.txt",
        "/%2e%2e%2foutside.txt",
        "/sub%00",
        "/digits.txt%00.html",
        "/digits.txt/",
        "/digits.txt/x",
        "/missing",
        "/bare/",
        "//etc/passwd",
        "/..;/outside.txt",
        "/\\..\\outside.txt",
        "/%5c..%5coutside.txt",
    ];
    for path in paths {
        let answer = tollgate.get(path);
        let fine = [400, 403, 404].contains(&answer.status) && !answer.text().contains("secret");
        findings
            .check(path, if fine { Ok(()) } else { Err(format!("{} {:?}", answer.status, answer.text())) });
    }
    findings.settle();
}

#[test]
fn answers_304_to_what_the_client_has() {
    let tollgate = gate("");
    let first = tollgate.get("/digits.txt");
    let (etag, modified) =
        (first.header("etag").unwrap().to_owned(), first.header("last-modified").unwrap().to_owned());
    let mut findings = Findings::default();
    let old = "Mon, 01 Jan 1990 00:00:00 GMT";
    let cases = [
        (format!("If-None-Match: {etag}"), 304),
        (format!("If-None-Match: \"x\", {etag}"), 304),
        (format!("If-None-Match: W/{}", etag.trim_start_matches("W/")), 304),
        ("If-None-Match: *".to_owned(), 304),
        ("If-None-Match: \"other\"".to_owned(), 200),
        (format!("If-Modified-Since: {modified}"), 304),
        (format!("If-Modified-Since: {old}"), 200),
        ("If-Modified-Since: nonsense".to_owned(), 200),
        (format!("If-None-Match: \"other\"\r\nIf-Modified-Since: {modified}"), 200),
        (format!("If-Match: {etag}"), 200),
        ("If-Match: \"other\"".to_owned(), 412),
        (format!("If-Unmodified-Since: {modified}"), 200),
        (format!("If-Unmodified-Since: {old}"), 412),
    ];
    for (line, status) in cases {
        let mut connection = tollgate.plain();
        let answer = connection.ask(get_with("/digits.txt", &format!("{line}\r\n")));
        findings.check(&line, equal(&answer.status, &status));
        if status == 304 {
            findings.check(&line, equal(&answer.header("etag"), &Some(etag.as_str())));
        }
        findings.check(&line, equal(&connection.ask(get("/digits.txt")).text().as_str(), &"0123456789"));
    }
    findings.settle();
}

#[test]
fn serves_ranges() {
    let tollgate = gate("");
    let etag = tollgate.get("/digits.txt").header("etag").unwrap().to_owned();
    let mut findings = Findings::default();
    let cases = [
        ("bytes=0-3", 206, "0123", Some("bytes 0-3/10")),
        ("bytes=7-", 206, "789", Some("bytes 7-9/10")),
        ("bytes=-2", 206, "89", Some("bytes 8-9/10")),
        ("bytes=5-99", 206, "56789", Some("bytes 5-9/10")),
        ("bytes=-99", 206, "0123456789", Some("bytes 0-9/10")),
        ("bytes=10-", 416, "", Some("bytes */10")),
        ("bytes=-0", 416, "", Some("bytes */10")),
        ("bytes=5-3", 200, "0123456789", None),
        ("lines=1-2", 200, "0123456789", None),
        ("bytes=a-b", 200, "0123456789", None),
        ("bytes=", 200, "0123456789", None),
        ("bytes=99999999999999999999-", 416, "", Some("bytes */10")),
    ];
    for (range, status, text, content_range) in cases {
        let answer = tollgate.plain().ask(get_with("/digits.txt", &format!("Range: {range}\r\n")));
        let huge = range.contains("9999999999") && answer.status == 200;
        if huge {
            continue;
        }
        findings
            .check(range, equal(&(answer.status, answer.header("content-range")), &(status, content_range)));
        if status != 416 {
            findings.check(range, equal(&answer.text().as_str(), &text));
        }
    }
    let if_range = |tag: &str| {
        tollgate
            .plain()
            .ask(get_with("/digits.txt", &format!("Range: bytes=0-3\r\nIf-Range: {tag}\r\n")))
            .status
    };
    findings.check("If-Range that holds", equal(&if_range(&etag), &206));
    findings.check("If-Range that does not", equal(&if_range("\"other\""), &200));
    findings.settle();
}

#[test]
fn serves_several_ranges_but_not_an_attack() {
    let tollgate = gate("");
    let answer = tollgate.plain().ask(get_with("/long.txt", "Range: bytes=0-1,5004-5005,9998-\r\n"));
    assert_eq!(answer.status, 206);
    let kind = answer.header("content-type").unwrap_or("").to_owned();
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").expect("multipart").trim_matches('"');
    let text = answer.text();
    for part in [
        "bytes 0-1/10000",
        "bytes 5004-5005/10000",
        "bytes 9998-9999/10000",
        "\r\n\r\n01\r\n",
        "\r\n\r\n45\r\n",
        "\r\n\r\n89\r\n",
    ] {
        assert!(text.contains(part), "{part:?} in {text:?}");
    }
    assert!(text.trim_end().ends_with(&format!("--{boundary}--")));
    let many = (0..200).map(|_| "0-9").collect::<Vec<_>>().join(",");
    let attack = tollgate.plain().ask(get_with("/digits.txt", &format!("Range: bytes={many}\r\n")));
    assert!(
        [200, 206, 416].contains(&attack.status) && attack.body.len() < 200,
        "{} bytes",
        attack.body.len()
    );
}

#[test]
fn serves_only_get_and_head() {
    let tollgate = gate("");
    let mut connection = tollgate.plain();
    let head = connection.ask("HEAD /digits.txt HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((head.status, head.header("content-length")), (200, Some("10")));
    assert_eq!(connection.ask(get("/digits.txt")).text(), "0123456789");
    for method in ["POST", "PUT", "DELETE"] {
        let answer = tollgate
            .plain()
            .ask(format!("{method} /digits.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!(answer.status, 405);
        assert!(answer.header("allow").is_some_and(|allow| allow.contains("GET") && allow.contains("HEAD")));
    }
}

#[test]
fn sends_precompressed_siblings_to_those_who_take_them() {
    let tollgate = gate("");
    let ask = |accept: &str| {
        tollgate.plain().ask(get_with("/packed.js", &format!("Accept-Encoding: {accept}\r\n")))
    };
    let plain = tollgate.get("/packed.js");
    let (gzip, brotli) = (ask("gzip"), ask("gzip, br"));
    assert_eq!((gzip.header("content-encoding"), gzip.text().as_str()), (Some("gzip"), "gzip bytes"));
    assert_eq!((brotli.header("content-encoding"), brotli.text().as_str()), (Some("br"), "brotli bytes"));
    assert_eq!(
        (plain.header("content-encoding"), plain.text().as_str()),
        (None, "plain script, long enough")
    );
    for answer in [&plain, &gzip, &brotli] {
        assert!(answer.header("content-type").is_some_and(|kind| kind.contains("javascript")), "{answer:?}");
        assert!(answer.all("vary").join(",").to_ascii_lowercase().contains("accept-encoding"));
    }
    let tags = [&plain, &gzip, &brotli].map(|answer| answer.header("etag").unwrap_or("").to_owned());
    assert!(tags[0] != tags[1] && tags[1] != tags[2] && tags[0] != tags[2], "{tags:?}");
}

#[test]
fn falls_back_for_single_page_applications() {
    let tollgate = gate(", try = [\"/index.html\"], cache = \"1h\"");
    for path in ["/some/deep/route", "/missing"] {
        let answer = tollgate.get(path);
        assert_eq!((answer.status, answer.text().as_str()), (200, "<p>index</p>"), "{path}");
    }
    let answer = tollgate.get("/digits.txt");
    assert_eq!(answer.text(), "0123456789");
    assert!(answer.header("cache-control").is_some_and(|value| value.contains("max-age=3600")), "{answer:?}");
    assert!(!tollgate.get("/.secret").text().contains("secret"));
}

#[test]
fn streams_a_large_file_in_little_memory_over_plain_tls_and_h2() {
    let size: usize = 64 << 20;
    let setup = Setup::new("");
    let tls = setup.certificate("site", &["localhost"]);
    std::fs::create_dir(setup.dir().join("www")).unwrap();
    let bytes: Vec<u8> = (0..size).map(|n| u8::try_from(n % 251).unwrap()).collect();
    std::fs::write(setup.dir().join("www/large.bin"), &bytes).unwrap();
    let site = format!(
        "[site.\"localhost\"]\ntls = {tls}\nredirect_http = false\nroutes = [{{ path = \"/*\", files = \"DIR/www\" }}]\n"
    );
    let tollgate = setup.https().and(site).start();
    assert_eq!(tollgate.get("/missing").status, 404);
    let before = tollgate.memory_kib();
    for (name, mut connection) in [("plain", tollgate.plain()), ("tls", tollgate.tls())] {
        let answer = connection.ask(get("/large.bin"));
        assert!(answer.body == bytes, "{name}: the file arrived changed");
        let range = connection.ask(get_with("/large.bin", "Range: bytes=1000000-33999999\r\n"));
        assert!(range.body == bytes[1_000_000..34_000_000], "{name}: the range arrived changed");
    }
    let mut h2 = crate::support::legal_h2::LegalH2::tls(tollgate.https(), "localhost");
    let answer = h2.ask(crate::support::legal_h2::get("https", "/large.bin")).unwrap();
    assert!(answer.body == bytes, "h2: the file arrived changed");
    let grown = tollgate.memory_kib().saturating_sub(before);
    assert!(grown < 16 * 1024, "memory grew by {grown} KiB");
}

#[test]
fn a_file_that_shrinks_under_a_reader_is_recorded_as_our_doing() {
    let setup = Setup::new("[site.\"*\"]\nroutes = [{ path = \"/*\", files = \"DIR/www\" }]\n");
    std::fs::create_dir(setup.dir().join("www")).unwrap();
    let file = std::fs::File::create(setup.dir().join("www/large.bin")).unwrap();
    // No socket buffers hold this much, so most of it is unsent when its first bytes arrive.
    file.set_len(256 << 20).unwrap();
    let tollgate = setup.start();
    let mut connection = tollgate.plain();
    connection.send(get("/large.bin"));
    connection.socket().peek(&mut [0]).unwrap();
    file.set_len(1 << 20).unwrap();
    let mut socket = connection.socket();
    let got = std::io::copy(&mut socket, &mut std::io::sink()).unwrap_or(0);
    assert!(got < 256 << 20);
    let record = tollgate.records().wait("large.bin");
    assert_eq!(
        (record["status"].as_u64(), record["end_by"].as_str()),
        (Some(200), Some("proxy")),
        "{record}"
    );
    assert!(record["err"].as_str().is_some_and(|err| err.contains("shorter")), "{record}");
}
