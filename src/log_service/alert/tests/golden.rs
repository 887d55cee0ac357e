//! `slack.golden`: every message as a reader of the channel sees it. `UPDATE=1` writes it; read the difference before you keep it.

use std::fmt::Write as _;
use std::sync::Arc;

use super::super::engine::{Change, What};
use super::super::message::{Message, Sample};
use super::super::slack;
use super::*;

const GOLDEN: &str = "src/log_service/alert/tests/slack.golden";

/// A rule of each metric, what it is about, and a value.
const CASES: [(&str, &str, f64); 17] = [
    ("when = \"errors > 20\"\nover = \"5m\"", "", 34.0),
    ("when = \"error_share > 5%\"\nuntil = \"error_share < 2%\"\nby = \"route\"", "/api/*", 0.124),
    ("when = \"requests < 1\"\nover = \"5m\"", "", 0.0),
    ("when = \"p50 > 100ms\"\nby = \"host\"", "shop.example", 0.152),
    ("when = \"p90 > 400ms\"\nby = \"upstream\"", "cart", 0.8123),
    ("when = \"p99 > 1s\"\nby = \"upstream\"", "cart", 2.25),
    ("when = \"p99.9 > 5s\"", "", 31.0),
    ("when = \"mean > 250ms\"", "", 0.312),
    ("when = \"restarts >= 3\"\nover = \"10m\"\nby = \"proxy\"", "edge-1", 4.0),
    ("when = \"cpu > 90%\"\nby = \"proxy\"", "edge-1", 0.973),
    ("when = \"memory > 90%\"", "", 0.951),
    ("when = \"load > 4\"", "", 7.25),
    ("when = \"fds > 80%\"", "", 0.8),
    ("when = \"spool_age > 1m\"", "", 754.0),
    ("when = \"sinks_stuck > 0\"", "", 2.0),
    ("when = \"missing > 0\"", "", 12.0),
    ("when = \"certificate < 14d\"", "", 13.4 * 86_400.0),
];

fn told(keys: &str, key: &str, value: Option<f64>, what: What) -> Message {
    let rule = Arc::new(rule(keys));
    let at = NOW + if what == What::Firing { 2 * MINUTE } else { 42 * MINUTE };
    let is_sampled = what == What::Firing && rule.when.metric.is_of_requests() && rule.when.sign.is_upper();
    let change = Change { rule, key: key.into(), what, since: NOW, at, value, is_silent: false };
    let samples = ["d4", "e5", "f6"].map(|end| Sample {
        id: format!("01a1fd62-5978-7cdd-9c2e-51f0b7c1a9{end}"),
        line: "502 GET shop.example/api/pay 531us connection_refused".to_owned(),
    });
    Message::of(&change, 17, if is_sampled { samples.to_vec() } else { Vec::new() })
}

fn resolved(keys: &str, value: f64) -> f64 {
    if rule(keys).when.sign.is_upper() { value / 4.0 } else { value * 5.0 + 120.0 }
}

#[test]
fn every_message_looks_as_agreed() {
    let mut text = String::new();
    let mut add = |title: &str, message: &Message| {
        writeln!(text, "== {title}\n{}", slack::shown(&slack::body(message))).unwrap();
    };
    for (keys, key, value) in CASES {
        let metric = rule(keys).when.metric.word();
        add(&format!("{metric}, firing"), &told(keys, key, Some(value), What::Firing));
        add(&format!("{metric}, reminder"), &told(keys, key, Some(value), What::Reminder));
        add(&format!("{metric}, resolved"), &told(keys, key, Some(resolved(keys, value)), What::Resolved));
    }
    let own = "when = \"error_share > 5%\"\ntext = \"Is <cart> up & well? Ask #shop.\"\nlink = \"https://wiki.example/cart?a=1&b=2\"";
    add("with text and link", &told(own, "", Some(0.5), What::Firing));
    add("over because nobody asks any more", &told(own, "", None, What::Resolved));
    add("test", &Message::test(&rule(own), 1, NOW));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(GOLDEN, text).unwrap();
        return;
    }
    assert_eq!(text, std::fs::read_to_string(GOLDEN).unwrap());
}

#[test]
fn what_clients_wrote_is_no_markup_and_calls_nobody() {
    let mut message =
        told("when = \"errors > 20\"\nby = \"route\"", "<!channel> & <@U1>", Some(30.0), What::Firing);
    message.samples[0].line = "502 GET x/<!here>*a*`b`\n> _c_ ~d~ @all \u{202e}".to_owned();
    message.samples[0].id = "`x`".to_owned();
    let body = slack::body(&message);
    let text = body["attachments"][0]["text"].as_str().unwrap();
    let first = text.lines().next().unwrap();
    assert_eq!(first, "`'x'` 502 GET x/&lt;!here&gt;\u{200b}*a*\u{200b}`b\u{200b}`");
    let whole = body.to_string();
    assert!(!whole.contains("<!") && !whole.contains("<@") && !whole.contains('\u{202e}'), "{whole}");
    assert!(body["text"].as_str().unwrap().contains("&lt;!channel&gt; &amp; &lt;\u{200b}@U1&gt;"));
}

#[test]
fn long_texts_are_cut() {
    let mut message =
        told("when = \"errors > 20\"\nby = \"route\"", &"ä&".repeat(50_000), Some(30.0), What::Firing);
    message.samples.iter_mut().for_each(|sample| sample.line = "<".repeat(10_000));
    message.text = Some("x".repeat(100_000));
    let body = slack::body(&message).to_string();
    assert!(body.len() < 12_000, "{}", body.len());
}
