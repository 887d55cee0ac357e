use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn entry() -> Value {
    json!({
        "kind": "request", "ts": "2026-11-21T09:14:03.512804Z", "id": "01a1fd62-5978-7cdd-9c2e-51f0b7c1a9d4",
        "rid": "from-cdn-7", "client_ip": "203.0.113.9", "method": "GET", "host": "shop.example",
        "path": "/api/Cart", "proto": "2", "status": 504, "tx_body_b": 2_000_000, "dur_us": 30_004_112,
        "upstream": "cart", "ua": "curl/8.5 (test)", "up_reused": true, "err": "no answer", "x": {"tenant": "acme"},
    })
}

fn matches(query: &str) -> bool {
    Query::parse(query).unwrap_or_else(|error| panic!("{error}")).matches(&entry())
}

#[test]
fn these_match() {
    for query in [
        "",
        "  ",
        "status:504",
        "status=504",
        "status:5xx",
        "status:50*",
        "status>=500",
        "status < 505",
        "status!=200",
        "-status:200",
        "--status:504",
        "method:get",
        "method:(PUT GET)",
        "host:*.example",
        "host:SHOP.example",
        "path:/api/*",
        "path=/api/Cart",
        "path:\"/api/cart\"",
        "path~^/api/(Cart|x)$",
        "path!~admin",
        "dur>1s",
        "dur>=30004ms",
        "dur<1m",
        "dur_us>1000",
        "dur:>1s",
        "tx>1MB",
        "tx<2MiB",
        "tx=2MB",
        "ip:203.0.113.0/24",
        "ip=203.0.113.9",
        "id:01a1fd62*",
        "id:from-cdn-7",
        "cart",
        "CURL",
        "answer",
        "\"(test)\"",
        "up_reused:true",
        "x.tenant:acme",
        "proto:2",
        "upstream:*",
        "-reason:*",
        "ts>2026-11-21",
        "ts<2026-11-21T09:14:04",
        "status:200 or method:GET",
        "(status:200 or status:504) cart",
        "-(status:200 method:GET)",
        "or:1 or cart",
        "path:\"/api/cart\"status:504",
        "status:(1xx 5xx)",
        "curl*test",
        "-gone:1",
    ] {
        assert!(matches(query), "{query}");
    }
}

#[test]
fn these_do_not() {
    for query in [
        "status:200",
        "status:5x",
        "status!=504",
        "-status:504",
        "method=get",
        "method:(PUT POST)",
        "host:*.org",
        "path:/api",
        "path=/api/cart",
        "path:\"/api/*\"",
        "path~^api",
        "dur>1m",
        "tx>2MB",
        "ip:10.0.0.0/8",
        "id:01a1fd63*",
        "basket",
        "shop.example",
        "up_reused:false",
        "x.tenant:other",
        "reason:*",
        "ts>2026-11-22",
        "status:504 method:PUT",
        "-(status:504 method:GET)",
        "status>x.y or gone>5",
    ] {
        if let Ok(query) = Query::parse(query) {
            assert!(!query.matches(&entry()), "{query:?}");
        }
    }
}

#[test]
fn errors_name_the_column() {
    for (query, column) in [
        ("status:", 8),
        ("(status:504", 1),
        ("status:504)", 11),
        ("path~[", 6),
        ("dur>5", 5),
        ("dur>5x", 5),
        ("status:(", 8),
        ("status:()", 8),
        (":5", 1),
        ("a or", 5),
        ("or", 1),
        ("path:\"x", 6),
        ("ip:10.0.0.0/99", 4),
        ("status>many", 8),
        ("- x", 2),
        ("ts>soon", 4),
        ("()", 2),
    ] {
        let error = Query::parse(query).expect_err(query);
        assert_eq!(error.column, column, "{error}");
    }
}

#[test]
fn an_error_says_nothing_to_the_terminal_itself() {
    for text in ["dur>>>_\u{8}", "dur>1s\u{1}\u{0}", "status:\u{1b}[2J"] {
        if let Err(error) = Query::parse(text) {
            let shown = error.to_string();
            assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "{shown:?}");
        }
    }
    assert!(Query::parse("dur>>>_\u{8}").is_err());
}

#[test]
fn an_error_points_at_its_place() {
    let error = Query::parse("status:504 dur>5").unwrap_err();
    let expected = "filter, column 16: which unit? write 5ms or 5s\n  status:504 dur>5\n                 ^";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn mistyped_fields_are_noticed() {
    let query = Query::parse("stauts:504 path:/x x.any:1").unwrap();
    let unknown: Vec<_> = query.unknown_fields().map(|field| (field.name(), field.nearest())).collect();
    assert_eq!(unknown, [("stauts", Some("status"))]);
}

#[test]
fn nesting_and_length_are_bounded() {
    assert!(Query::parse(&"(".repeat(5000)).is_err());
    assert!(Query::parse(&"-".repeat(5000)).is_err());
    assert!(Query::parse(&"a ".repeat(5000)).is_err());
}

proptest! {
    #[test]
    fn never_panics(text in r#"([a-z]{1,4}|[:=<>~!()"*\\ -]|5xx|[0-9]{1,3}(ms|MB)?|or|\PC){0,30}"#) {
        if let Ok(query) = Query::parse(&text) {
            query.matches(&entry());
        }
    }

    #[test]
    fn a_quoted_value_matches_itself(value in "\\PC{0,20}") {
        let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
        let query = Query::parse(&format!("path=\"{quoted}\"")).unwrap();
        let entry = json!({ "path": value });
        prop_assert!(query.matches(&entry));
    }

    #[test]
    fn a_negated_query_matches_the_rest(status in 100u16..600, bound in 100u16..600) {
        let entry = json!({ "status": status });
        let query = Query::parse(&format!("status>={bound}")).unwrap();
        let negated = Query::parse(&format!("-status>={bound}")).unwrap();
        prop_assert_ne!(query.matches(&entry), negated.matches(&entry));
        prop_assert_eq!(query.matches(&entry), status >= bound);
    }
}
