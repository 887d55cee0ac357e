//! Elasticsearch's calls as a client makes them: real sockets, a real store.

use std::io::Write as _;
use std::net::SocketAddr;

use crate::log_service::door::tests;
use crate::log_service::{Limits, Listen, LogService, Settings, Token};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

struct Service {
    address: SocketAddr,
    _running: Option<tests::Service>,
}

struct Answer {
    status: u16,
    head: String,
    body: Value,
}

async fn start(change: impl FnOnce(&mut Settings)) -> Service {
    let running = tests::start(change).await;
    Service { address: running.address(), _running: Some(running) }
}

impl Service {
    async fn call(&self, request: &str, headers: &str, body: &[u8]) -> Answer {
        let (status, head, body) = tests::call(self.address, request, headers, body).await;
        assert!(request.contains("/logs") || head.contains("x-elastic-product: Elasticsearch"), "{head}");
        Answer { status, head, body: serde_json::from_slice(&body).unwrap_or_default() }
    }

    async fn bulk(&self, body: &str) -> Answer {
        self.call("POST /_bulk", "", body.as_bytes()).await
    }

    /// How many documents are found.
    async fn stored(&self, filter: &str) -> usize {
        let ask = format!("GET /logs/search?since=all&q={filter}");
        let (status, _, answer) = tests::call(self.address, &ask, "", b"").await;
        let answer = String::from_utf8(answer).unwrap();
        assert_eq!(status, 200, "{answer}");
        answer.matches("\"index\":\"").count()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_item_is_answered_in_its_place() {
    let service = start(|settings| settings.limits.entry_bytes = 100).await;
    let body = format!(
        "{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n",
        json!({ "create": { "_index": "app", "_id": "1" } }),
        json!({ "message": "a" }),
        json!({ "index": { "_index": "app" } }),
        "no json",
        json!({ "delete": { "_index": "app", "_id": "1" } }),
        json!({ "update": { "_index": "app", "_id": "1" } }),
        json!({ "doc": {} }),
        json!({ "index": { "_index": "app" } }),
        json!({ "message": "b" }),
        json!({ "create": { "_index": "app" } }),
        json!({ "message": "x".repeat(100) }),
    );
    let answer = service.bulk(&body).await;
    assert_eq!((answer.status, &answer.body["errors"]), (200, &json!(true)));
    let items = answer.body["items"].as_array().unwrap();
    let told: Vec<(&str, u64)> = items
        .iter()
        .flat_map(|item| item.as_object().unwrap())
        .map(|(action, told)| (action.as_str(), told["status"].as_u64().unwrap()))
        .collect();
    assert_eq!(
        told,
        [("create", 201), ("index", 400), ("delete", 400), ("update", 400), ("index", 201), ("create", 400)]
    );
    assert_eq!(items[0]["create"]["_id"], "1");
    assert_eq!(items[0]["create"]["_index"], "app");
    assert_eq!(items[1]["index"]["error"]["type"], "document_parsing_exception");
    let refused = &items[2]["delete"]["error"]["reason"];
    assert_eq!(refused, "only write ops with an op_type of create are allowed in data streams");
    assert!(answer.body["took"].is_u64());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_that_comes_again_is_stored_once() {
    let service = start(|_| {}).await;
    let create = "{\"create\":{\"_index\":\"app\",\"_id\":\"7\"}}\n{\"n\":1}\n";
    assert_eq!(service.bulk(&create.repeat(2)).await.body["items"][1]["create"]["status"], 409);
    let again = service.bulk(create).await.body;
    assert_eq!(again["items"][0]["create"]["status"], 409);
    assert_eq!(again["items"][0]["create"]["error"]["type"], "version_conflict_engine_exception");
    let index = "{\"index\":{\"_index\":\"app\",\"_id\":\"8\"}}\n{\"n\":1}\n";
    assert_eq!(service.bulk(index).await.body["items"][0]["index"]["status"], 201);
    assert_eq!(service.bulk(index).await.body["items"][0]["index"]["result"], "noop");
    let changed = "{\"index\":{\"_index\":\"app\",\"_id\":\"8\"}}\n{\"n\":2}\n";
    assert_eq!(service.bulk(changed).await.body["items"][0]["index"]["status"], 201);
    assert_eq!((service.stored("").await, service.stored("_id:8").await), (3, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_created_is_known_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let document = json!({ "@timestamp": "2026-11-21T09:14:03.5+01:00", "message": "é\u{7}", "status": 200, "ratio": 0.5 });
    let create = "{\"create\":{\"_index\":\"app\",\"_id\":\"7\"}}";
    let index = "{\"index\":{\"_index\":\"app\",\"_id\":\"01a1fd62-5978-7cdd-9c2e-51f0b7c1a9d4\"}}";
    let body = format!("{create}\n{document}\n{index}\n{document}\n");
    for told in [["created", "created"], ["conflict", "created"]] {
        let mut settings = Settings::new(data.path().join("logs"));
        settings.http = vec![Listen::Tcp(([127, 0, 0, 1], 0).into())];
        let service = LogService::start(settings).await.unwrap();
        let Listen::Tcp(address) = service.http()[0] else { panic!("not tcp") };
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(service.run(async { _ = stopped.await }));
        let answer = Service { address, _running: None }.bulk(&body).await.body;
        let result = |place: usize, action: &str| {
            let item = &answer["items"][place][action];
            if item["status"] == 409 { "conflict" } else { item["result"].as_str().unwrap() }.to_owned()
        };
        assert_eq!([result(0, "create"), result(1, "index")], told);
        stop.send(()).unwrap();
        running.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_whole_stores_nothing() {
    let service =
        start(|settings| (settings.limits.body_bytes, settings.limits.batch_entries) = (1000, 5)).await;
    let good = "{\"create\":{\"_index\":\"app\"}}\n{\"n\":1}\n";
    for (body, status, kind) in [
        ("", 400, "parse_exception"),
        ("{\"create\":{\"_index\":\"app\"}}\n{\"n\":1}", 400, "illegal_argument_exception"),
        ("{\"create\":{}}\n{\"n\":1}\n", 400, "action_request_validation_exception"),
        (&format!("{good}nonsense\n{{}}\n"), 400, "illegal_argument_exception"),
        (&good.repeat(6), 413, "content_too_long_exception"),
        (&good.repeat(50), 413, "content_too_long_exception"),
    ] {
        let answer = service.bulk(body).await;
        assert_eq!((answer.status, answer.body["error"]["type"].as_str()), (status, Some(kind)), "{body}");
        assert_eq!(answer.body["status"], status);
        assert_eq!(answer.body["error"]["root_cause"][0]["type"], kind);
    }
    assert_eq!(service.stored("").await, 0);
}

/// Elasticsearch does not filter what it says of a failure, and a shipper that asks for `errors` must see one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_told_whatever_is_filtered() {
    let service = start(|_| {}).await;
    let answer = service.call("POST /_bulk?filter_path=errors,items.*.error", "", b"nonsense\n").await;
    assert_eq!((answer.status, &answer.body["status"]), (400, &json!(400)));
    assert!(answer.body["error"]["reason"].as_str().unwrap().contains("Malformed"), "{}", answer.body);
}

/// A 409 counts as stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_with_an_empty_id_are_not_the_same() {
    let service = start(|_| {}).await;
    let body = "{\"create\":{\"_index\":\"app\",\"_id\":\"\"}}\n{\"n\":1}\n".repeat(2);
    for _ in 0..2 {
        assert_eq!(service.bulk(&body).await.body["errors"], false);
    }
    assert_eq!(service.stored("").await, 4);
}

/// Fifteen bytes of a body become some hundred.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_made_of_small_documents_has_a_bound() {
    let service = start(|settings| settings.limits.held_bytes = 100_000).await;
    let body = |count| "{\"index\":{\"_index\":\"a\"}}\n{}\n".repeat(count);
    assert_eq!(service.bulk(&body(2000)).await.status, 413);
    assert_eq!(service.bulk(&body(50)).await.status, 200);
    assert_eq!(service.stored("").await, 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_a_shipper_is_told_to_come_again() {
    let good = "{\"create\":{\"_index\":\"app\",\"_id\":\"1\"}}\n{\"n\":1}\n";
    let no_bodies = start(|settings| settings.limits.held_bytes = 1).await;
    let no_rows = start(|settings| settings.limits = Limits { memory_bytes: 0, ..Limits::default() }).await;
    for service in [no_bodies, no_rows] {
        // The second try too: what was not stored does not count as known.
        for _ in 0..2 {
            let answer = service.bulk(good).await;
            let kind = answer.body["error"]["type"].as_str();
            assert_eq!((answer.status, kind), (429, Some("es_rejected_execution_exception")));
            assert!(answer.head.contains("retry-after: 1"), "{}", answer.head);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ways_of_shippers_all_store() {
    let service = start(|_| {}).await;
    let lines = b"{\"create\":{}}\n{\"message\":\"hi\"}\n";
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(lines).unwrap();
    let packed = encoder.finish().unwrap();
    let form = "content-type: application/x-ndjson\r\n";
    let gzip = "content-encoding: gzip\r\n";
    assert_eq!(service.call("POST /app/_bulk", form, lines).await.body["errors"], false);
    assert_eq!(service.call("PUT /a%2Fb/_bulk", "", lines).await.body["items"][0]["create"]["_index"], "a/b");
    assert_eq!(service.call("POST /app/_bulk", gzip, &packed).await.body["errors"], false);
    assert_eq!(service.call("POST /app/_bulk", gzip, lines).await.status, 400);
    let filtered = service.call("POST /app/_bulk?filter_path=errors,items.*.error", "", lines).await;
    assert_eq!(filtered.body, json!({ "errors": false }));
    let filtered = service.call("POST /app/_bulk?filter_path=items.*.status", "", lines).await;
    assert_eq!(filtered.body, json!({ "items": [{ "create": { "status": 201 } }] }));
    let one = service.call("POST /app/_doc", "", b"{\"message\":\"hi\"}").await;
    assert_eq!((one.status, &one.body["result"]), (201, &json!("created")));
    assert_eq!(service.call("PUT /app/_create/5", "", b"{\"message\":\"hi\"}").await.status, 201);
    let again = service.call("PUT /app/_create/5", "", b"{\"message\":\"hi\"}").await;
    assert_eq!(
        (again.status, &again.body["error"]["type"]),
        (409, &json!("version_conflict_engine_exception"))
    );
    assert_eq!(service.stored("msg:hi").await, 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_shippers_ask_first_is_answered() {
    let service = start(|_| {}).await;
    let root = service.call("GET /", "", b"").await;
    assert_eq!(root.body["tagline"], "You Know, for Search");
    assert!(root.body["version"]["number"].as_str().unwrap().starts_with("8."));
    let head = service.call("HEAD /", "", b"").await;
    assert_eq!((head.status, head.body), (200, Value::Null));
    for (call, at, wanted) in [
        ("GET /_license", "/license/type", json!("basic")),
        ("GET /_xpack", "/license/status", json!("active")),
        ("GET /_cluster/health", "/status", json!("green")),
        ("GET /_nodes/_all/http", "/_nodes/total", json!(1)),
        ("PUT /_index_template/app", "/acknowledged", json!(true)),
        ("PUT /_template/app", "/acknowledged", json!(true)),
        ("PUT /_ilm/policy/app", "/acknowledged", json!(true)),
        ("PUT /_ingest/pipeline/app", "/acknowledged", json!(true)),
        ("PUT /_data_stream/app", "/acknowledged", json!(true)),
    ] {
        let answer = service.call(call, "", b"{}").await;
        assert_eq!((answer.status, answer.body.pointer(at)), (200, Some(&wanted)), "{call}");
    }
    for path in [
        "/_index_template/app",
        "/_template/app",
        "/_ilm/policy/app",
        "/_ingest/pipeline/app",
        "/_data_stream/app",
    ] {
        for method in ["HEAD", "GET"] {
            assert_eq!(service.call(&format!("{method} {path}"), "", b"").await.status, 404, "{path}");
        }
    }
    assert_eq!(service.call("GET /_security/user", "", b"").await.status, 400);
    let media = "accept: application/vnd.elasticsearch+json; compatible-with=8\r\n";
    let answer = service.call("GET /", media, b"").await;
    assert!(answer.head.contains("content-type: application/vnd.elasticsearch+json; compatible-with=8"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_may_come_in_elasticsearchs_ways() {
    let service = start(|settings| settings.tokens = Token::of_file("secret\n")).await;
    let body = b"{\"create\":{\"_index\":\"app\"}}\n{}\n";
    for (shown, status) in [
        ("Bearer secret", 200),
        ("ApiKey secret", 200),
        // `id:secret`, `elastic:secret`, `secret:x`
        ("ApiKey aWQ6c2VjcmV0", 200),
        ("Basic ZWxhc3RpYzpzZWNyZXQ=", 200),
        ("Basic c2VjcmV0Ong=", 401),
        ("Basic secret", 401),
        ("Digest secret", 401),
    ] {
        let answer = service.call("POST /_bulk", &format!("authorization: {shown}\r\n"), body).await;
        assert_eq!(answer.status, status, "{shown}");
    }
    let refused = service.call("GET /", "", b"").await;
    assert_eq!((refused.status, &refused.body["error"]["type"]), (401, &json!("security_exception")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_browsers_are_refused_here_too() {
    let service = start(|_| {}).await;
    for call in ["GET /", "POST /_bulk", "POST /app/_doc"] {
        let answer = service.call(call, "origin: http://evil.example\r\n", b"{}").await;
        assert_eq!(answer.status, 403, "{call}");
    }
}
