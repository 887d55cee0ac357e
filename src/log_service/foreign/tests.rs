//! Real lines (made by nginx 1.22, HAProxy 2.6 and Caddy 2.6; Traefik's as its documentation gives them) and hostile
//! ones.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::log_service::query::Query;
use crate::log_service::read::{Flow, Window};

fn read(line: &str) -> (Format, Value) {
    match Format::detect(line.as_bytes()) {
        Some((format, Read::Record(value))) => (format, value),
        other => panic!("{line}: {other:?}"),
    }
}

#[track_caller]
fn has(value: &Value, members: &Value) {
    for (name, expected) in members.as_object().unwrap() {
        assert_eq!(&value[name], expected, "{name} of {value}");
    }
}

#[test]
fn combined_lines_of_nginx_and_apache() {
    let (format, value) = read(
        r#"203.0.113.9 - bob [22/Nov/2026:05:49:18 +0100] "GET /a?token=hunter2&q=1 HTTP/2.0" 200 6 "http://ref.example/?a=b" "curl \x22quoted\x22 \x5C \xC3\xA9""#,
    );
    assert_eq!(format, Format::Combined);
    has(
        &value,
        &json!({"kind": "request", "proxy": "combined", "ts": "2026-11-22T04:49:18.000000Z", "client_ip": "203.0.113.9", "user": "bob",
            "method": "GET", "path": "/a", "query": "token=REDACTED&q=1", "proto": "2", "status": 200, "tx_body_b": 6,
            "referer": "http://ref.example/?a=b", "ua": "curl \"quoted\" \\ é", "host": null}),
    );
    let (_, common) = read(r#"::1 - - [22/Nov/2026:04:49:18 +0000] "HEAD / HTTP/1.0" 404 -"#);
    has(&common, &json!({"client_ip": "::1", "method": "HEAD", "tx_body_b": null, "status": 404}));
    let (_, vhost) =
        read(r#"Shop.example:443 1.2.3.4 - - [22/Nov/2026:04:49:18 +0000] "GET / HTTP/1.1" 499 0 "-" "-""#);
    has(&vhost, &json!({"host": "shop.example", "end_by": "client", "reason": "client_abort", "ua": null}));
    let (_, timed) = read(
        r#"1.2.3.4 - - [22/Nov/2026:04:49:18 +0000] "GET / HTTP/1.1" 200 6 "-" "x" rt=0.123 uct="0.001" uht="-" own=7"#,
    );
    has(&timed, &json!({"dur_us": 123_000, "t_conn_us": 1000, "t_wait_us": null, "own": "7"}));
}

#[test]
fn what_is_no_request_is_a_connection() {
    let (_, tls) = read(r#"1.2.3.4 - - [22/Nov/2026:04:49:18 +0000] "\x16\x03\x01\x02" 400 157 "-" "-""#);
    has(
        &tls,
        &json!({"kind": "conn", "status": 400, "reason": "http_request_error", "method": null, "path": null}),
    );
    let (_, bad) = read(
        r#"127.0.0.1:1 [22/Nov/2026:04:49:54.444] http-in http-in/<NOSRV> -1/-1/-1/-1/0 400 0 - - PR-- 1/1/0/0/0 0/0 "<BADREQ>""#,
    );
    has(&bad, &json!({"kind": "conn", "end_by": "proxy", "end_at": "head", "tries": 0, "t_head_us": null}));
}

#[test]
fn haproxy_lines_with_and_without_a_syslog_header() {
    let line = r##"10.0.1.2:33317 [06/Feb/2009:12:14:14.655] http-in~ static/srv1 10/0/30/69/109 200 2750 - - sH-- 1/2/3/4/+2 5/6 {1wt.eu} {} "GET https://Shop.example:8443/a#22b HTTP/1.1""##;
    let expected = json!({"proxy": "haproxy", "ts": "2009-02-06T12:14:14.655000Z", "client_ip": "10.0.1.2", "client_port": 33317,
        "listener": "http-in", "scheme": "https", "upstream": "static", "up_addr": "srv1", "t_head_us": 10_000, "t_queue_us": 0,
        "t_conn_us": 30_000, "t_wait_us": 69_000, "t_resp_us": 0, "dur_us": 109_000, "status": 200, "tx_body_b": 2750, "n_conn": 1,
        "feconn": 2, "beconn": 3, "up_req": 4, "tries": 3, "srv_queue": 5, "n_queue": 6, "captured_req": "1wt.eu",
        "end_by": "upstream", "end_at": "wait", "reason": "http_response_timeout", "host": "shop.example", "path": "/a\"b"});
    for head in [
        "",
        "<134>Feb  6 12:14:14 haproxy[14389]: ",
        "Feb  6 12:14:14 host haproxy[1]: ",
        "<134>1 2009-02-06T12:14:14Z h haproxy 1 - - ",
    ] {
        let (format, value) = read(&format!("{head}{line}"));
        assert_eq!(format, Format::Haproxy, "{head}");
        has(&value, &expected);
    }
    let tls = line.replace("HTTP/1.1\"", "HTTP/1.1\" 0/0/0/0/0 sni.example/TLSv1.3/TLS_AES_128_GCM_SHA256");
    has(
        &read(&tls).1,
        &json!({"tls_sni": "sni.example", "tls_ver": "1.3", "tls_cipher": "TLS_AES_128_GCM_SHA256"}),
    );
}

#[test]
fn json_of_nginx_keeps_what_the_record_has_no_place_for() {
    let (format, value) = read(
        r#"{"time_iso8601":"2026-11-22T04:49:18+00:00","remote_addr":"127.0.0.1","remote_user":"","request":"GET /two HTTP/1.1","status":"502","body_bytes_sent":"6","request_time":"0.250","http_user_agent":"curl","host":"h","upstream_addr":"127.0.0.1:1, 127.0.0.1:2","upstream_status":"502, 200","upstream_connect_time":"0.001, 0.002","upstream_header_time":"-, 0.102","upstream_response_time":"0.001, 0.202","request_id":"ab","my_own":{"deep":[1]}}"#,
    );
    assert_eq!(format, Format::NginxJson);
    has(
        &value,
        &json!({"proxy": "nginx", "status": 502, "dur_us": 250_000, "up_addr": "127.0.0.1:2", "tries": 2, "up_status": 200,
            "t_wait_us": 100_000, "t_resp_us": 100_000, "rid": "ab", "my_own": {"deep": [1]}, "user": null}),
    );
    let broken: &[u8] =
        b"{\"time_iso8601\":\"2026-11-22T04:49:18+00:00\",\"request\":\"\xff\",\"status\":400}";
    assert!(matches!(Format::detect(broken), Some((Format::NginxJson, Read::Record(_)))));
}

#[test]
fn caddy() {
    let (format, value) = read(
        r#"{"level":"info","ts":1795322962.25,"logger":"http.log.access.log0","msg":"handled request","request":{"remote_ip":"10.0.0.1","remote_port":"47476","client_ip":"203.0.113.9","proto":"HTTP/2.0","method":"GET","host":"Shop.example:8443","uri":"/a?b=c","headers":{"User-Agent":["curl"]},"tls":{"resumed":true,"version":772,"cipher_suite":4865,"proto":"h2","server_name":"shop.example"}},"bytes_read":3,"user_id":"u","duration":0.000757904,"size":6,"status":200,"resp_headers":{"Content-Type":["text/html"]},"extra":1}"#,
    );
    assert_eq!(format, Format::Caddy);
    has(
        &value,
        &json!({"ts": "2026-11-22T04:49:22.250000Z", "client_ip": "203.0.113.9", "client_port": 47476, "host": "shop.example", "path": "/a",
            "query": "b=c", "proto": "2", "scheme": "https", "ua": "curl", "dur_us": 758, "tx_body_b": 6, "rx_body_b": 3, "user": "u",
            "resp_type": "text/html", "tls_ver": "1.3", "tls_cipher": "TLS13_AES_128_GCM_SHA256", "tls_resumed": true,
            "tls_alpn": "h2", "tls_sni": "shop.example", "extra": 1, "level": null, "err": null}),
    );
    let other = Format::detect(br#"{"level":"info","ts":1,"msg":"serving initial configuration"}"#);
    assert_eq!(other, Some((Format::Tollgate, Read::Own)), "Caddy's other lines are entries");
}

#[test]
fn traefik_in_both_forms() {
    let (format, value) = read(
        r#"192.0.2.1 - - [10/Oct/2026:13:55:36 +0000] "GET /a HTTP/1.1" 200 2326 "-" "curl" 42 "web@docker" "http://10.0.0.8:80" 12ms"#,
    );
    assert_eq!(format, Format::Traefik);
    has(
        &value,
        &json!({"RequestCount": 42, "route": "web@docker", "up_addr": "10.0.0.8:80", "dur_us": 12_000, "tx_body_b": 2326}),
    );
    let (format, value) = read(
        r#"{"ClientAddr":"192.0.2.1:5","ClientHost":"192.0.2.1","ClientPort":"5","ClientUsername":"-","DownstreamContentSize":75,"DownstreamStatus":504,"Duration":1964899,"OriginDuration":1694568,"OriginStatus":404,"Overhead":270331,"RequestAddr":"a","RequestCount":1,"RequestHost":"a.example","RequestMethod":"GET","RequestPath":"/x?y=z","RequestProtocol":"HTTP/1.1","RequestScheme":"http","RetryAttempts":1,"RouterName":"r@docker","ServiceAddr":"10.0.0.8:80","ServiceName":"s@docker","ServiceURL":{"Host":"10.0.0.8:80"},"StartUTC":"2026-02-28T12:11:34.10912886Z","entryPointName":"http","request_X-Own":"o","level":"info","msg":"","time":"2026-02-28T12:11:34Z"}"#,
    );
    assert_eq!(format, Format::TraefikJson);
    has(
        &value,
        &json!({"ts": "2026-02-28T12:11:34.109128Z", "client_port": 5, "status": 504, "dur_us": 1965, "t_self_us": 270, "t_wait_us": 1695,
            "up_status": 404, "tries": 2, "query": "y=z", "route": "r@docker", "upstream": "s@docker", "request_X-Own": "o", "user": null}),
    );
}

#[test]
fn the_same_line_has_the_same_id_which_tells_its_time() {
    let line = r#"1.2.3.4 - - [22/Nov/2026:04:49:18 +0000] "GET / HTTP/1.1" 200 6 "-" "x""#;
    let (one, again, other) = (read(line).1, read(line).1, read(&line.replace("GET", "PUT")).1);
    assert_eq!(one["id"], again["id"]);
    assert_ne!(one["id"], other["id"]);
    let id = uuid::Uuid::parse_str(one["id"].as_str().unwrap()).unwrap();
    assert_eq!((id.get_version_num(), id.get_timestamp().unwrap().to_unix().0), (7, 1_795_322_958));
}

fn walk(input: &[u8], format: Option<Format>) -> (u64, u64, Told) {
    let mut walk = Walk::new(&Query::all(), Window::default(), format);
    let mut rows = 0;
    let read = walk.read("f", input, &mut |_| {
        rows += 1;
        Flow::Continue(())
    });
    assert!(read.unwrap().is_continue());
    let (report, told) = walk.report();
    assert_eq!(report.rows, rows);
    (rows, report.lines, told)
}

#[test]
fn mixed_cut_and_endless_lines_are_counted_and_the_rest_is_read() {
    let good = r#"1.2.3.4 - - [22/Nov/2026:04:49:18 +0000] "GET / HTTP/1.1" 200 6 "-" "x""#;
    let mut input = Vec::new();
    for line in [
        good.as_bytes(),
        &good.as_bytes()[..50],
        b"",
        br#"{"kind":"request","ts":"2026-11-22T04:49:18Z","status":200}"#,
        b"\x00\xff\x1b[2J",
        br#"{"kind":"report","rows":1}"#,
        &vec![b'x'; 3 << 20],
        b"{\"cut",
        good.as_bytes(),
    ] {
        input.extend_from_slice(line);
        input.push(b'\n');
    }
    input.extend_from_slice(good.as_bytes());
    let (rows, _, told) = walk(&input, None);
    assert_eq!((rows, told.unread, told.first_unread.as_deref()), (4, 4, Some("f:2")));
    assert_eq!(told.formats, [(Format::Tollgate, 1), (Format::Combined, 3)].into());
    assert_eq!(walk(&input, Some(Format::Haproxy)).0, 0, "only the format that was named");
}

#[test]
fn compressed_logs_are_told_by_their_beginning() {
    use std::io::{Read as _, Write as _};
    let directory = tempfile::tempdir().unwrap();
    let text = b"one\ntwo\n";
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text).unwrap();
    // Two members in one file, as `cat a.gz b.gz` makes.
    let gzip = gzip.finish().unwrap().repeat(2);
    let zstd = zstd::encode_all(&text[..], 1).unwrap();
    for (name, bytes, expected) in
        [("plain.gz", text.to_vec(), 1), ("a", gzip, 2), ("b", zstd, 1), ("empty", Vec::new(), 0)]
    {
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let mut read = Vec::new();
        open(&path, |_| {}).unwrap().read_to_end(&mut read).unwrap();
        assert_eq!(read, text.repeat(expected), "{name}");
    }
}

proptest! {
    #[test]
    fn no_line_panics(line in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Format::detect(&line);
        NAMES.iter().for_each(|(format, _)| drop(format.read(&line)));
    }

    #[test]
    fn no_change_of_a_good_line_panics(at in 0usize..400, byte in any::<u8>(), cut in 0usize..400, which in 0usize..4) {
        let mut line = [
            r#"h 1.2.3.4 - - [22/Nov/2026:04:49:18 +0000] "GET /\x41 HTTP/1.1" 200 6 "-" "x" rt=1.0 42 "web@docker" "http://10.0.0.8:80" 12ms"#,
            r#"1.2.3.4:5 [22/Nov/2026:04:49:54.444] a b/c 1/1/1/1/0 400 0 - - PR-- 1/1/0/0/0 0/0 {x} {y} "GET /#41 HTTP/1.1""#,
            r#"{"ts":1795322962.1,"logger":"x","request":{"remote_ip":"1.2.3.4","headers":{"User-Agent":[1]},"tls":{"version":1}},"status":99999,"duration":"1e9s"}"#,
            r#"{"ClientHost":"1.2.3.4","StartUTC":"2026-02-28T12:11:34.1Z","Duration":-5,"DownstreamStatus":{},"RetryAttempts":18446744073709551615,"ServiceAddr":"x"}"#,
        ][which].as_bytes().to_vec();
        let length = line.len();
        line[at % length] = byte;
        line.truncate(length - cut % length);
        let _ = Format::detect(&line);
        NAMES.iter().for_each(|(format, _)| drop(format.read(&line)));
    }
}
