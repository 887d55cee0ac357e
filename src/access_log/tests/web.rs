//! Sinks over HTTP whose answers have rules of their own: Loki, OTLP, ClickHouse.

use std::sync::Mutex;

use super::scripted::{Asked, Reply, Scripted};
use super::shipping::{dead, shipping, write_ten};
use super::*;
use crate::wire::otlp::Form as Wire;
use crate::wire::otlp::message::{Answer as Told, LogRecord, PartialSuccess, Value as Attribute};

/// Writes ten records to a server that answers by `reply`; returns what it was asked and the dead letters.
async fn talk(
    target: Target,
    change: impl FnOnce(&mut ShippingSettings),
    reply: impl FnMut(&Asked) -> Reply + Send + 'static,
) -> (Vec<Asked>, Vec<Value>, Arc<Metrics>) {
    let dir = tempfile::tempdir().unwrap();
    let server = Scripted::start(reply);
    let mut settings = shipping(target, server.address, dir.path());
    change(&mut settings);
    let metrics = write_ten(settings).await;
    (server.asked(), dead(dir.path()), metrics)
}

/// Answers in turn, then the last of them for ever.
fn script(replies: Vec<Reply>) -> impl FnMut(&Asked) -> Reply + Send + 'static {
    let replies = Mutex::new(replies.into_iter());
    move |_| replies.lock().unwrap().next().unwrap_or(Reply::Status(200))
}

/// Paths of dead letters.
fn refused(dead: &[Value]) -> Vec<&str> {
    dead.iter().map(|letter| letter["record"]["path"].as_str().unwrap_or_default()).collect()
}

fn full(status: u16, text: &str) -> Reply {
    Reply::Full(status, Vec::new(), text.to_owned())
}

fn loki() -> Target {
    Target::Loki { labels: vec![("env".to_owned(), "test".to_owned())] }
}

/// `(time, line, metadata)` of all entries.
fn pushed(asked: &Asked) -> Vec<(String, Value, Value)> {
    let body: Value = serde_json::from_slice(&asked.body).unwrap();
    let streams = body["streams"].as_array().unwrap().clone();
    let values = streams.iter().flat_map(|stream| stream["values"].as_array().unwrap().clone());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    values.map(|one| (text(&one[0]), serde_json::from_str(&text(&one[1])).unwrap(), one[2].clone())).collect()
}

#[tokio::test]
async fn loki_gets_lines_with_few_labels_and_metadata() {
    let tenant = |settings: &mut ShippingSettings| {
        settings.headers = vec![("x-scope-orgid".parse().unwrap(), "shop".parse().unwrap())];
    };
    let (asked, dead, _) = talk(loki(), tenant, |_| Reply::Status(204)).await;
    assert_eq!(
        (asked[0].target.as_str(), &*asked[0].headers["x-scope-orgid"]),
        ("/loki/api/v1/push", "shop")
    );
    assert_eq!(asked[0].headers["content-type"], "application/json");
    assert_eq!(asked[0].headers["content-encoding"], "gzip");
    let body: Value = serde_json::from_slice(&asked[0].body).unwrap();
    let labels = serde_json::json!({ "job": "tollgate", "env": "test", "proxy": "edge-1" });
    assert_eq!(body["streams"][0]["stream"], labels);
    let entries: Vec<_> = asked.iter().flat_map(pushed).collect();
    let (time, line, metadata) = entries.iter().find(|(_, line, _)| line["path"] == "/3").unwrap();
    assert!(time.bytes().all(|digit| digit.is_ascii_digit()), "{time}");
    assert_eq!((&metadata["status"], &metadata["id"]), (&"200".into(), &line["id"]));
    assert!(metadata.as_object().unwrap().values().all(Value::is_string));
    assert!(dead.is_empty());
}

#[tokio::test]
async fn what_loki_finds_too_old_is_found_among_the_others() {
    let too_old = |asked: &Asked| match pushed(asked).iter().any(|(_, line, _)| line["path"] == "/5") {
        true => full(400, "entry for stream '{}' has timestamp too old"),
        false => Reply::Status(204),
    };
    let (asked, dead, _) = talk(loki(), |_| {}, too_old).await;
    assert_eq!(refused(&dead), ["/5"]);
    assert!(dead[0]["why"].as_str().unwrap().contains("too old"), "{dead:?}");
    let taken = asked.iter().map(pushed).filter(|all| all.iter().all(|(_, line, _)| line["path"] != "/5"));
    assert_eq!(taken.flatten().filter(|(_, line, _)| line["path"].is_string()).count(), 9);
}

#[tokio::test]
async fn loki_is_asked_again_when_it_has_too_much_to_do() {
    let replies = [429, 500, 503, 401].map(Reply::Status);
    let (_, dead, metrics) = talk(loki(), |_| {}, script(replies.into())).await;
    assert!(dead.is_empty());
    assert_eq!(metrics.sinks[0].retries.load(Ordering::Relaxed), 4);
}

fn exported(asked: &Asked) -> Vec<LogRecord> {
    let mut records = Vec::new();
    let mut each = |_: &_, record: Result<LogRecord, usize>| records.push(record.unwrap());
    Wire::Protobuf.records(&asked.body, 1 << 20, &mut each).unwrap();
    records
}

fn attribute<'r>(record: &'r LogRecord, name: &str) -> Option<&'r Attribute> {
    record.attributes.iter().find(|one| one.key == name)?.value.as_ref()?.value.as_ref()
}

fn exports(asked: &Asked, path: &str) -> bool {
    let path = Attribute::StringValue(path.to_owned());
    exported(asked).iter().any(|record| attribute(record, "url.path") == Some(&path))
}

#[tokio::test]
async fn otlp_has_the_names_of_its_conventions() {
    let (asked, dead, _) = talk(Target::Otlp, |_| {}, |_| Reply::Status(200)).await;
    assert_eq!(asked[0].target, "/v1/logs");
    assert_eq!(asked[0].headers["content-type"], "application/x-protobuf");
    let mut services = Vec::new();
    let mut each =
        |origin: &crate::wire::otlp::read::Origin, _| services.push(origin.resource.attributes.clone());
    Wire::Protobuf.records(&asked[0].body, 1 << 20, &mut each).unwrap();
    assert_eq!(
        (services[0][0].key.as_str(), services[0][1].key.as_str()),
        ("service.name", "service.instance.id")
    );
    let records: Vec<_> = asked.iter().flat_map(exported).collect();
    let record = records.iter().find(|record| attribute(record, "url.path").is_some()).unwrap();
    assert_eq!((record.severity_number, record.event_name.as_str()), (9, "tollgate.request"));
    assert_eq!(attribute(record, "http.response.status_code"), Some(&Attribute::IntValue(200)));
    assert!(record.time_unix_nano > 0 || record.observed_time_unix_nano == record.time_unix_nano);
    assert!(dead.is_empty());
}

#[tokio::test]
async fn what_otlp_rejects_in_part_is_counted_with_a_sample_and_never_sent_again() {
    let told = Told {
        partial_success: Some(PartialSuccess {
            rejected_log_records: 3,
            error_message: "no room".to_owned(),
        }),
    };
    // All of it is ASCII.
    let body = String::from_utf8(Wire::Protobuf.write(&told)).unwrap();
    let first = Mutex::new(Some(body));
    let partly = move |_: &Asked| match first.lock().unwrap().take() {
        Some(body) => full(200, &body),
        None => Reply::Status(200),
    };
    let wait = |settings: &mut ShippingSettings| settings.linger = Duration::from_millis(200);
    let (asked, dead, metrics) = talk(Target::Otlp, wait, partly).await;
    let sent =
        asked.iter().flat_map(exported).filter(|record| attribute(record, "url.path").is_some()).count();
    assert_eq!((sent, dead.len()), (10, 1), "{dead:?}");
    assert_eq!(dead[0]["why"], "3 of those sent with it: no room");
    assert_eq!(metrics.sinks[0].refused.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn otlp_is_asked_again_only_where_it_says_so() {
    let replies = [429, 502, 503, 504, 401, 301, 308, 408].map(Reply::Status);
    let (_, dead, metrics) = talk(Target::Otlp, |_| {}, script(replies.into())).await;
    assert_eq!((dead.len(), metrics.sinks[0].retries.load(Ordering::Relaxed)), (0, 8));
    for status in [400, 500] {
        let bad = move |asked: &Asked| Reply::Status(if exports(asked, "/4") { status } else { 200 });
        let (asked, dead, metrics) = talk(Target::Otlp, |_| {}, bad).await;
        assert_eq!(refused(&dead), ["/4"]);
        assert_eq!(metrics.sinks[0].retries.load(Ordering::Relaxed), 0);
        assert!(asked.iter().filter(|asked| exports(asked, "/4")).count() <= 5);
    }
}

#[tokio::test]
async fn what_is_too_large_for_any_of_them_is_halved() {
    let targets = [loki(), Target::Otlp, Target::ClickHouse { table: "logs".to_owned() }];
    for target in targets {
        let most = Mutex::new(None);
        // As large as the first half of the first.
        let small = move |asked: &Asked| {
            let most = *most.lock().unwrap().get_or_insert(asked.body.len() * 3 / 4);
            Reply::Status(if asked.body.len() > most { 413 } else { 200 })
        };
        let wait = |settings: &mut ShippingSettings| settings.linger = Duration::from_millis(200);
        let (asked, dead, _) = talk(target.clone(), wait, small).await;
        assert!(dead.is_empty() && asked.len() >= 3, "{target:?} {dead:?}");
    }
}

fn clickhouse() -> Target {
    Target::ClickHouse { table: "logs.access".to_owned() }
}

fn parameter(asked: &Asked, name: &str) -> Option<String> {
    let query = asked.target.split_once('?')?.1;
    let (_, value) =
        query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name)?;
    Some(percent_encoding::percent_decode_str(value).decode_utf8().unwrap().into_owned())
}

fn exception(status: u16, code: u32, text: &str) -> Reply {
    let headers = vec![("x-clickhouse-exception-code", code.to_string())];
    Reply::Full(status, headers, format!("Code: {code}. DB::Exception: {text}"))
}

#[tokio::test]
async fn clickhouse_gets_an_insert_with_a_token_for_exactly_these_rows() {
    let database = |settings: &mut ShippingSettings| settings.to[0].path = "/?database=a".to_owned();
    let first = Mutex::new(true);
    let once_more =
        move |_: &Asked| Reply::Status(if std::mem::take(&mut *first.lock().unwrap()) { 500 } else { 200 });
    let (asked, dead, _) = talk(clickhouse(), database, once_more).await;
    assert_eq!(parameter(&asked[0], "query").unwrap(), "INSERT INTO `logs`.`access` FORMAT JSONEachRow");
    assert_eq!(parameter(&asked[0], "database").unwrap(), "a");
    assert_eq!(parameter(&asked[0], "date_time_input_format").unwrap(), "best_effort");
    assert_eq!(parameter(&asked[0], "wait_for_async_insert").unwrap(), "1");
    let token = |asked: &Asked| parameter(asked, "insert_deduplication_token").unwrap();
    assert_eq!((token(&asked[0]), asked[0].lines()), (token(&asked[1]), asked[1].lines()));
    assert!(asked.iter().skip(2).all(|other| token(other) != token(&asked[0])));
    assert!(dead.is_empty());
}

#[tokio::test]
async fn a_row_that_clickhouse_cannot_read_is_found() {
    // The status says 200 when the head was sent before the row was read.
    for in_head in [true, false] {
        let bad = move |asked: &Asked| {
            let is_bad = std::str::from_utf8(&asked.body).unwrap().contains("\"/6\"");
            let text = "Cannot parse input";
            match (is_bad, in_head) {
                (true, true) => exception(400, 27, text),
                (true, false) => full(200, &format!("Code: 27. DB::Exception: {text}")),
                (false, _) => Reply::Status(200),
            }
        };
        let (_, dead, _) = talk(clickhouse(), |_| {}, bad).await;
        assert_eq!(refused(&dead), ["/6"]);
    }
}

#[tokio::test]
async fn what_clickhouse_cannot_do_now_is_asked_again() {
    let replies = vec![
        exception(404, 60, "Table logs.access does not exist"),
        exception(500, 252, "Too many parts"),
        exception(200, 241, "Memory limit exceeded"),
        exception(403, 516, "Authentication failed"),
        Reply::Status(503),
    ];
    let (_, dead, metrics) = talk(clickhouse(), |_| {}, script(replies)).await;
    assert_eq!((dead.len(), metrics.sinks[0].retries.load(Ordering::Relaxed)), (0, 5));
}

#[tokio::test]
async fn a_setting_that_an_old_clickhouse_does_not_know_is_left_out() {
    let old = |asked: &Asked| match parameter(asked, "wait_for_async_insert") {
        Some(_) => exception(500, 115, "Unknown setting wait_for_async_insert"),
        None => Reply::Status(200),
    };
    let (asked, dead, metrics) = talk(clickhouse(), |_| {}, old).await;
    assert_eq!((dead.len(), metrics.sinks[0].retries.load(Ordering::Relaxed)), (0, 0));
    assert!(asked[1..].iter().all(|asked| parameter(asked, "insert_deduplication_token").is_some()));
}
