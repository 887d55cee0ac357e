//! One request and one entry of another kind, in every foreign form.

use super::members::Members;
use super::{ecs, haproxy, otel};

const REQUEST: &str = r#"{"v":1,"kind":"request","ts":"2026-11-21T09:14:03.512804Z","id":"01a1fd62-5978-7cdd-9c2e-51f0b7c1a9d4","proxy":"edge-1","boot":1795361796086,"core":3,"seq":88213,"client_ip":"203.0.113.9","client_port":4711,"listener":"https","method":"GET","scheme":"https","host":"shop.example","path":"/a \"b\"","query":"sig=REDACTED","route":"/api/*","proto":"2","status":504,"rx_head_b":200,"rx_body_b":3,"tx_head_b":100,"tx_body_b":20,"dur_us":30004112,"t_head_us":41000,"t_queue_us":0,"t_conn_us":3880,"t_wait_us":29000000,"upstream":"cart","up_addr":"10.0.0.7:8080","tries":2,"end_by":"upstream","end_at":"wait","reason":"http_response_timeout","cause":"timeouts.response=30s","tls_ver":"1.3","n_conn":9,"n_req":4,"up_req":2}"#;
const GAP: &str = r#"{"v":1,"kind":"gap","ts":"2026-11-21T09:14:03.512804Z","id":"01a1fd62-5978-7cdd-9c2e-51f0b7c1a9d5","proxy":"edge-1","missing":7,"reason":"ring_full"}"#;

fn rendered(line: &str, write: fn(&Members<'_>, &mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&Members::of(line.as_bytes()).unwrap(), &mut out);
    String::from_utf8(out).unwrap()
}

fn object(text: &str) -> serde_json::Value {
    assert!(text.ends_with("}\n") && text.matches('\n').count() == 1, "{text}");
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_request_in_ecs_has_the_names_that_kibana_knows() {
    let ecs = object(&rendered(REQUEST, ecs::write));
    for (name, expected) in [
        ("@timestamp", "2026-11-21T09:14:03.512804Z".into()),
        ("event.duration", 30_004_112_000_u64.into()),
        ("event.outcome", "failure".into()),
        ("event.id", "01a1fd62-5978-7cdd-9c2e-51f0b7c1a9d4".into()),
        ("http.request.id", "01a1fd62-5978-7cdd-9c2e-51f0b7c1a9d4".into()),
        ("http.request.bytes", 203.into()),
        ("http.response.bytes", 120.into()),
        ("http.response.status_code", 504.into()),
        ("url.path", "/a \"b\"".into()),
        ("client.ip", "203.0.113.9".into()),
        ("destination.address", "10.0.0.7:8080".into()),
        ("service.ephemeral_id", "1795361796086".into()),
        ("rule.id", "timeouts.response=30s".into()),
        ("tls.version", "1.3".into()),
        ("tollgate.t_wait_us", 29_000_000.into()),
    ] {
        let expected: serde_json::Value = expected;
        assert_eq!(ecs[name], expected, "{name}");
    }
    let gap = object(&rendered(GAP, ecs::write));
    assert_eq!((&gap["event.reason"], &gap["tollgate.missing"]), (&"ring_full".into(), &7.into()));
    assert_eq!(gap.get("event.category"), None);
}

#[test]
fn a_request_in_otel_is_a_log_record_with_attributes() {
    let otel = object(&rendered(REQUEST, otel::write));
    assert_eq!((&otel["severity_number"], &otel["severity_text"]), (&17.into(), &"ERROR".into()));
    assert_eq!(otel["body"], "GET shop.example/a \"b\" 504");
    assert_eq!(otel["trace_id"], "01a1fd6259787cdd9c2e51f0b7c1a9d4");
    assert_eq!(otel["resource"]["service.instance.id"], "edge-1");
    let attributes = &otel["attributes"];
    assert_eq!(attributes["http.response.status_code"], 504);
    assert_eq!(attributes["http.route"], "/api/*");
    assert_eq!(attributes["tollgate.upstream"], "cart");
    let gap = object(&rendered(GAP, otel::write));
    assert_eq!((&gap["severity_text"], &gap["body"]), (&"WARN".into(), &"gap ring_full".into()));
    assert_eq!(gap.get("trace_id"), None);
}

#[test]
fn a_request_in_haproxys_format_is_a_line_that_halog_reads() {
    let write = |members: &Members<'_>, out: &mut Vec<u8>| haproxy::write(members, true, out);
    let expected = "Nov 21 09:14:03 edge-1 tollgate[3]: 203.0.113.9:4711 [21/Nov/2026:09:14:03.512] https~ cart/10.0.0.7:8080 41/0/3/29000/30004 504 120 - - \
        sH-- 9/4/2/2/1 0/0 \"GET /a#20#22b#22?sig=REDACTED HTTP/2.0\"\n";
    assert_eq!(rendered(REQUEST, write), expected);
    assert_eq!(rendered(GAP, write), "");
    let own = r#"{"kind":"request","end_by":"proxy","end_at":"done","reason":"proxy_internal_response","status":404}"#;
    assert!(rendered(own, write).contains(" 404 0 - - LR-- "));
}
