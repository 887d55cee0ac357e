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

/// What users of KQL and of Lucene's query strings type, and what is written for the same here.
const SAME: &[(&str, &str)] = &[
    ("status:504 AND path:/api/cart", "status:504 path:/api/cart"),
    ("status:504 and path:/bad", "status:504 path:/bad"),
    ("status:504 && path:/api/*", "status:504 path:/api/*"),
    ("status:504 AND path:/api/* AND method:get", "status:504 path:/api/* method:get"),
    ("+status:504 +path:/bad -method:GET", "status:504 path:/bad -method:GET"),
    ("+(status:504)", "status:504"),
    ("status:200 || method:GET", "status:200 or method:GET"),
    ("status:200 OR method:GET", "status:200 or method:GET"),
    ("NOT status:200", "-status:200"),
    ("not status:504", "-status:504"),
    ("!status:200", "-status:200"),
    ("! status:504", "-status:504"),
    ("NOT NOT status:504", "status:504"),
    ("NOT -status:504", "status:504"),
    ("NOT(status:504 method:PUT)", "-(status:504 method:PUT)"),
    ("status:504 NOT method:GET", "status:504 -method:GET"),
    ("not status:200 and not method:PUT", "-status:200 -method:PUT"),
    ("status:200 or status:504 and method:PUT", "status:200 or (status:504 method:PUT)"),
    ("method:GET and status:200 or status:504", "(method:GET status:200) or status:504"),
    ("not status:504 or method:GET", "(-status:504) or method:GET"),
    ("not (status:504 or method:PUT)", "-(status:504 or method:PUT)"),
    ("cart AND curl", "cart curl"),
    ("cart AND \"and\"", "cart \"and\""),
    ("status: 504", "status:504"),
    ("status:[500 TO 599]", "status>=500 status<=599"),
    ("status:[504 TO 504]", "status:504"),
    ("status:{504 TO 599}", "status>504 status<599"),
    ("status:{503 TO 505}", "status:504"),
    ("status:[500 TO 504}", "status>=500 status<504"),
    ("status:{500 TO 504]", "status>500 status<=504"),
    ("status:[500 TO *]", "status>=500"),
    ("status:[* TO 504}", "status<504"),
    ("status:[* TO *]", "status:*"),
    ("reason:[* TO *]", "reason:*"),
    ("status:[ 500 to 599 ]cart", "(status>=500 status<=599) cart"),
    ("-status:[500 TO 599]", "-(status>=500 status<=599)"),
    ("NOT status:[200 TO 299] AND cart", "-status:2xx cart"),
    ("dur:[30s TO 31s]", "dur>=30s dur<=31s"),
    ("dur_us:{* TO 30004112}", "dur_us<30004112"),
    ("tx:[1MB TO 2MB]", "tx>=1MB tx<=2MB"),
    ("ts:[2026-11-21 TO 2026-11-21]", "ts>=2026-11-21 ts<2026-11-22"),
    ("ts:[2026-11-20 TO 2026-11-21}", "ts>=2026-11-20 ts<2026-11-21"),
    ("ts:[\"2026-11-21 09:14:03\" TO \"2026-11-21 09:15\"]", "ts>=2026-11-21T09:14:03 ts<=2026-11-21T09:15"),
    ("ts:{2026-11-21T09:14:03.512804Z TO now}", "ts>2026-11-21T09:14:03.512804Z ts<now"),
    ("ts:2026-11-21", "ts>=2026-11-21 ts<2026-11-22"),
    ("ts:2026-11-21T10:14:03.512804+01:00", "ts:\"2026-11-21T09:14:03.512804Z\""),
    ("status:(500 OR 504)", "status:(500 504)"),
    ("method:(put or get)", "method:(put get)"),
    ("method:(not put)", "-method:put"),
    ("status:(>=500 AND <600)", "status>=500 status<600"),
    ("status:(>=500 && !504)", "status>=500 -status:504"),
    ("status:([200 TO 299] 504)", "status:(2xx 504)"),
    ("ua:(curl* and *test*)", "ua:curl* ua:*test*"),
    ("ua:(wget or curl* and not *test*)", "ua:wget or (ua:curl* -ua:*test*)"),
    ("ua:((wget or curl*) and *x*)", "(ua:wget or ua:curl*) ua:*x*"),
    ("status: >=500", "status>=500"),
    ("status:0504", "status:504"),
    ("tx_body_b:2M", "tx=2MB"),
    ("id:01a1fd62…a9d4", "id:01a1fd62*a9d4"),
];

#[test]
fn what_users_of_kibana_write_means_what_it_means_there() {
    let other =
        json!({"status": 200, "method": "PUT", "path": "/bad", "ua": "wget", "ts": "2026-11-22T00:00:00Z"});
    let words = json!({"msg": "this and that or not"});
    for (theirs, ours) in SAME {
        let [theirs, ours] =
            [theirs, ours].map(|text| Query::parse(text).unwrap_or_else(|error| panic!("{error}")));
        for entry in [&entry(), &other, &words, &json!({})] {
            assert_eq!(theirs.matches(entry), ours.matches(entry), "{theirs:?} {entry}");
        }
    }
}

#[test]
fn words_and_values_that_look_like_operators() {
    let entry =
        json!({"msg": "this and that! or (not) && [a", "user": "-", "and": 1, "not": {"x": 2}, "tag": "[a"});
    for query in [
        "\"and\"",
        "\"or\" \"not\"",
        "\"&&\"",
        "\"!\"",
        "and:1",
        "not.x:2",
        "nota:1 or and:1",
        "ando or that",
        "user:-",
        "user:(- x)",
        "tag:[a",
        "tag:([a)",
        "msg:*[a",
    ] {
        assert!(Query::parse(query).unwrap_or_else(|error| panic!("{error}")).matches(&entry), "{query}");
    }
}

#[test]
fn what_no_value_can_be_is_an_error_that_says_what_to_write() {
    for (query, column, says) in [
        ("status:abc", 8, "write status:500, status:5xx, status:5*, status>=500 or status:[500 TO 599]"),
        ("cart AND status:500-599", 17, "write status:[500 TO 599]"),
        ("status:500..599", 8, "write status:[500 TO 599]"),
        ("status:500,404", 8, "write status:(500 404)"),
        ("status:(500 abc)", 13, "`abc` is not a number"),
        ("status:(500", 8, "this list is never closed"),
        ("status:[500 599]", 8, "[500 TO 599]"),
        ("status:[500 TO 599", 8, "this range is never closed"),
        ("status:[500 TO ]", 16, "`*` leaves it open"),
        ("status:[abc TO 599]", 9, "`abc` is not a number"),
        ("status:[599 TO 500]", 8, "ends (500) before it begins (599)"),
        ("path:[a TO b]", 7, "`a` is not a number"),
        ("status:5?", 8, "status:5*"),
        ("status=5xx", 8, "status:5xx"),
        ("-status!=5*", 10, "status:5*"),
        ("status:", 8, "a value is missing"),
        ("dur_us:x", 8, "dur_us>800ms"),
        ("dur:5", 5, "write 5ms or 5s"),
        ("dur:[1 TO 5]", 6, "write 1ms or 1s"),
        ("dur:1s-2s", 5, "dur:[1s TO 2s]"),
        ("tx:many", 4, "tx>1MB"),
        ("conn:a", 6, "conn:7"),
        ("up_reused:yes", 11, "true"),
        ("ts:yesterday", 4, "ts:2026-11-21"),
        ("ts:[soon TO *]", 5, "`soon` is no time"),
        ("id:a;b", 4, "is no id"),
        ("id:a,b", 4, "is no id"),
        ("trace_id:xyz", 10, "hexadecimal"),
        ("ip:abc", 4, "`abc` is no address; write ip:203.0.113.9, ip:10.0.* or ip:10.0.0.0/8"),
        ("client_ip:10.0.0", 11, "is no address"),
        ("peer_ip=10.0.*", 9, "is no address"),
        ("ip:abc*z", 4, "is no address"),
        ("load1:high", 7, "load1>=7"),
        ("cert_days:(7 soon)", 14, "is not a number"),
        ("_exists_:reason", 1, "`reason:*`"),
        ("rl_delay_us:x", 13, "rl_delay_us:20ms"),
    ] {
        let error = Query::parse(query).expect_err(query);
        assert_eq!(error.column, column, "{error}");
        assert!(error.reason.contains(says), "{error}");
    }
    // What applications have by these names.
    let entry = json!({
        "status": "done", "trace_id": "a b", "up_reused": "yes", "id": "<x>", "client_ip": "lb-1", "load1": "high",
    });
    for query in [
        "status:\"DONE\"",
        "status~^d",
        "trace_id=\"a b\"",
        "up_reused:(\"yes\" true)",
        "id:\"<x>\"",
        "ip:\"LB-1\"",
        "load1:\"high\"",
    ] {
        assert!(Query::parse(query).unwrap().matches(&entry), "{query}");
    }
}

#[test]
fn an_address_is_found_however_it_is_written() {
    let of = |address: &str| json!({ "client_ip": address });
    for (query, address, is_found) in [
        ("ip:10.0.0.1", "10.0.0.1", true),
        ("ip:10.0.0.1", "10.0.0.11", false),
        ("ip:10.0.*", "10.0.200.7", true),
        ("ip:2001:db8::1", "2001:db8::1", true),
        ("ip:2001:DB8:0:0::1", "2001:db8::1", true),
        ("ip:2001:db8::1", "2001:0db8::0001", true),
        ("ip:2001:db8::1", "2001:db8::11", false),
        ("ip:2001:db8:*", "2001:db8::1", true),
        ("ip:2001:db8::/32", "2001:db8:ffff::1", true),
        ("ip:::ffff:10.0.0.1", "10.0.0.1", true),
        ("ip:10.0.0.1", "abc", false),
    ] {
        let query = Query::parse(query).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(query.matches(&of(address)), is_found, "{query:?} {address}");
    }
}

#[test]
fn an_operator_without_its_condition_is_an_error() {
    for (query, column, operator) in [
        ("AND status:500", 1, "AND"),
        ("status:500 AND", 15, "AND"),
        ("status:500 && ", 15, "&&"),
        ("a AND AND b", 7, "AND"),
        ("a OR AND b", 6, "OR"),
        ("a AND OR b", 7, "AND"),
        ("|| a", 1, "||"),
        ("(a or) b", 6, "or"),
        ("(and a)", 2, "and"),
        ("NOT", 4, "NOT"),
        ("a NOT", 6, "NOT"),
        ("!", 2, "!"),
        ("(not) a", 5, "not"),
        ("NOT AND a", 5, "NOT"),
        ("-and a", 2, "and"),
        ("status:(or 500)", 9, "or"),
        ("status:(500 and)", 16, "and"),
        ("status:(not)", 12, "not"),
    ] {
        let error = Query::parse(query).expect_err(query);
        assert_eq!(error.column, column, "{error}");
        let quoted = format!("if it is to be looked for, quote it: \"{operator}\"");
        assert!(error.reason.contains("a condition is missing") && error.reason.contains(&quoted), "{error}");
    }
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
    assert!(Query::parse(&"!".repeat(5000)).is_err() && Query::parse(&"not ".repeat(2000)).is_err());
    assert!(Query::parse(&format!("status:{}", "(".repeat(5000))).is_err());
    let many = vec!["status:500"; 500].join(" and ");
    assert!(Query::parse(&many).is_ok());
}

/// A filter as a tree, and what is true of an entry by it.
#[derive(Clone, Debug)]
enum Said {
    Status(u16),
    Between(u16, bool, u16, bool),
    All(Vec<Said>),
    Any(Vec<Said>),
    Not(Box<Said>),
}

impl Said {
    fn holds(&self, status: u16) -> bool {
        match self {
            Self::Status(wanted) => status == *wanted,
            Self::Between(from, with_from, to, with_to) => {
                (status > *from || (*with_from && status == *from))
                    && (status < *to || (*with_to && status == *to))
            }
            Self::All(all) => all.iter().all(|one| one.holds(status)),
            Self::Any(any) => any.iter().any(|one| one.holds(status)),
            Self::Not(one) => !one.holds(status),
        }
    }

    /// In one of the ways in which it can be written, with no parentheses that precedence makes needless.
    fn written(&self, way: usize, inside: u8) -> String {
        let join = |all: &[Self], words: [&str; 4], binds: u8| {
            let texts: Vec<String> =
                all.iter().enumerate().map(|(at, one)| one.written(way / 4 + at, binds)).collect();
            let text = texts.join(words[way % 4]);
            if inside > binds { format!("({text})") } else { text }
        };
        match self {
            Self::Status(status) => {
                format!("{}{status}", ["status:", "status=", "status: ", "+status:"][way % 4])
            }
            Self::Between(from, with_from, to, with_to) => {
                let [open, close] = [if *with_from { '[' } else { '{' }, if *with_to { ']' } else { '}' }];
                format!("status:{open}{from} TO {to}{close}")
            }
            Self::All(all) => join(all, [" ", " AND ", " and ", " && "], 1),
            Self::Any(any) => join(any, [" or ", " OR ", " || ", " Or "], 0),
            Self::Not(one) => format!("{}{}", ["-", "NOT ", "!", "not "][way % 4], one.written(way / 4, 2)),
        }
    }
}

fn said() -> impl Strategy<Value = Said> {
    let one = prop_oneof![
        (0u16..9).prop_map(Said::Status),
        (0u16..9, 0u16..9, proptest::bool::ANY, proptest::bool::ANY).prop_map(
            |(one, other, with_from, with_to)| Said::Between(
                one.min(other),
                with_from,
                one.max(other),
                with_to
            )
        ),
    ];
    one.prop_recursive(4, 24, 4, |inner| {
        let several = || proptest::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            several().prop_map(Said::All),
            several().prop_map(Said::Any),
            inner.clone().prop_map(|one| Said::Not(Box::new(one))),
        ]
    })
}

proptest! {
    #[test]
    fn reads_what_it_is_however_it_is_written(said in said(), way in 0usize..100_000) {
        let text = said.written(way, 0);
        let query = Query::parse(&text).unwrap_or_else(|error| panic!("{error}"));
        for status in 0..9 {
            prop_assert_eq!(query.matches(&json!({"status": status})), said.holds(status), "{} of {}", status, text);
        }
    }

    #[test]
    fn never_panics(text in r#"([a-z]{1,4}|[:=<>~!()"*\\ \[\]{}&|+-]|5xx|[0-9]{1,3}(ms|MB)?|status:|ts:|or|and|not| TO |\PC){0,30}"#) {
        match Query::parse(&text) {
            Ok(query) => {
                query.matches(&entry());
            }
            Err(error) => prop_assert!((1..=text.chars().count() + 1).contains(&error.column), "{}", error),
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
