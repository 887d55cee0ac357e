//! The whole of it: a real service with its store and door, and a real server that is told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::super::outbox::Outcome;
use super::super::target::Target;
use super::super::{Settings as Alerts, keep};
use super::*;
use crate::log_service::client::{self, Address, Credentials, Roots, Service as Client};
use crate::log_service::read::Flow;
use crate::log_service::{Listen, LogService, Settings};

/// Takes everything; gives what it was sent as JSON.
async fn channel() -> (u16, Arc<Mutex<Vec<Value>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut text, mut room) = (Vec::new(), [0; 8192]);
            let body = loop {
                let count = stream.read(&mut room).await.unwrap();
                text.extend_from_slice(&room[..count]);
                let whole = text.windows(4).position(|four| four == b"\r\n\r\n");
                if let Some(Ok(body)) = whole.map(|at| serde_json::from_slice(&text[at + 4..])) {
                    break body;
                }
            };
            told.lock().unwrap().push(body);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        }
    });
    (port, seen)
}

struct Running {
    client: Client,
    stop: oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<()>,
}

async fn start(data: &std::path::Path, tables: &str) -> Running {
    start_with(data, tables, |_| {}).await
}

async fn start_with(data: &std::path::Path, tables: &str, change: impl FnOnce(&mut Alerts)) -> Running {
    let service = service(tables);
    let mut settings = Settings::new(data.to_owned());
    let socket = data.with_extension("sock");
    settings.http = vec![Listen::Unix(socket.clone())];
    settings.alerts = Alerts { every: Duration::from_millis(50), ..Alerts::of(&service) };
    change(&mut settings.alerts);
    let running = LogService::start(settings).await.unwrap();
    let (stop, stopped) = oneshot::channel();
    let ended = tokio::spawn(async {
        running.run(async { drop(stopped.await) }).await.unwrap();
    });
    let credentials = Credentials { roots: Roots::Public, identity: None, token: None };
    let client = Client::new(Address::Unix(socket), &credentials).unwrap();
    Running { client, stop, ended }
}

impl Running {
    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.ended.await.unwrap();
    }

    async fn send(&self, status: u16, count: usize) {
        let now = Timestamp::now();
        let line = |at| {
            json!({"kind": "request", "ts": now.to_string(), "id": format!("01a1fd62-5978-7cdd-9c2e-51f0b7c1{at:04x}"),
                "status": status, "host": "shop.example", "path": "/api/pay", "route": "/api/*", "method": "GET",
                "dur_us": 500}).to_string()
        };
        let body: Vec<String> = (0..count).map(line).collect();
        client::post(&self.client, "/logs", "application/x-ndjson", Bytes::from(body.join("\n")))
            .await
            .unwrap();
    }

    async fn rows(&self, filter: &str) -> Vec<Value> {
        let target = format!("/logs/search?q={}", filter.replace(' ', "%20"));
        let mut rows = Vec::new();
        let mut on_line = |line: &mut [u8]| {
            rows.extend(serde_json::from_slice::<Value>(line).ok().filter(|row| row.get("recv").is_some()));
            Flow::Continue(())
        };
        client::get(&self.client, &target, &mut on_line).await.unwrap();
        rows
    }

    async fn alerts(&self) -> Value {
        client::answer(&self.client, "/alerts", &mut |_, _| {}).await.unwrap()
    }

    async fn until(&self, what: &str, is_so: impl AsyncFn() -> bool) {
        let look = async {
            while !is_so().await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), look).await.unwrap_or_else(|_| panic!("never {what}"));
    }
}

fn tables(port: u16) -> String {
    format!(
        "[alert.errors]\nwhen = \"error_share > 50%\"\nfor = \"0s\"\nby = \"route\"\nnotify = [\"ops\"]\n\
         [alert.slow]\nwhen = \"p99 > 1s\"\nnotify = [\"ops\"]\n\
         [notify.ops]\nwebhook = \"http://127.0.0.1:{port}/S3CRET\"\n"
    )
}

#[tokio::test]
async fn errors_are_told_with_samples_recorded_listed_and_remembered() {
    let (port, seen) = channel().await;
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("logs");
    let running = start(&data, &tables(port)).await;
    running.send(200, 1).await;
    running.send(502, 9).await;
    running.until("told", async || !seen.lock().unwrap().is_empty()).await;
    let told = seen.lock().unwrap()[0].clone();
    assert_eq!(
        (&told["alert"], &told["state"], &told["route"]),
        (&"errors".into(), &"firing".into(), &"/api/*".into())
    );
    assert_eq!((&told["value"], &told["value_text"]), (&0.9.into(), &"90%".into()));
    let samples: Vec<String> = serde_json::from_value(told["samples"].clone()).unwrap();
    assert_eq!(samples.len(), 3);
    for id in samples {
        assert_eq!(running.rows(&format!("id:{id} status:5xx")).await.len(), 1, "{id}");
    }
    running.until("recorded", async || running.rows("kind:alert delivery:sent").await.len() == 1).await;
    let rows = running.rows("kind:alert").await;
    assert_eq!(rows.iter().filter(|row| row["state"] == "firing").count(), 2, "{rows:?}");
    assert!(rows.iter().all(|row| row["event"] == told["event"]), "{rows:?}");
    let listed = running.alerts().await;
    assert_eq!(listed["alerts"][0]["state"], "firing");
    assert_eq!(
        (&listed["alerts"][0]["key"], &listed["alerts"][1]["state"]),
        (&"/api/*".into(), &"ok".into())
    );
    assert!(!format!("{listed}{rows:?}").contains("S3CRET"));
    running.stop().await;

    let again = start(&data, &tables(port)).await;
    assert_eq!(again.alerts().await["alerts"][0]["state"], "firing");
    // It looks a few times, and tells nothing anew.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(seen.lock().unwrap().len(), 1);
    again.stop().await;
}

#[tokio::test]
async fn a_test_and_a_silence_are_asked_for_at_the_door() {
    let (port, seen) = channel().await;
    let directory = tempfile::tempdir().unwrap();
    let running = start(&directory.path().join("logs"), &tables(port)).await;
    let post = async |target: &'static str| {
        client::post(&running.client, target, "application/json", Bytes::new()).await
    };
    let tested = post("/alerts/test?name=errors").await.unwrap();
    assert_eq!(tested["deliveries"][0], json!({"to": "ops", "form": "webhook", "sent": true, "err": null}));
    assert_eq!(seen.lock().unwrap().pop().unwrap()["state"], "test");
    post("/alerts/silence?name=errors&for=1h").await.unwrap();
    running.send(502, 9).await;
    running.until("firing", async || running.alerts().await["alerts"][0]["state"] == "firing").await;
    running
        .until("recorded", async || !running.rows("kind:alert state:firing silent:true").await.is_empty())
        .await;
    assert!(seen.lock().unwrap().is_empty(), "nobody is told");
    post("/alerts/silence?name=errors&for=0s").await.unwrap();
    running.until("told", async || !seen.lock().unwrap().is_empty()).await;
    assert_eq!(seen.lock().unwrap()[0]["state"], "reminder");
    for wrong in [
        "/alerts/test?name=none",
        "/alerts/silence?name=errors",
        "/alerts/silence?name=errors&for=99d",
        "/alerts/x",
    ] {
        assert!(post(wrong).await.is_err(), "{wrong}");
    }
    running.stop().await;
}

#[tokio::test]
async fn a_damaged_file_is_put_aside_and_told() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("logs");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("alerts.json"), "{\"memory\": ").unwrap();
    let running = start(&data, &tables(9)).await;
    running.until("told", async || running.rows("kind:alert state:damaged").await.len() == 1).await;
    assert!(data.join("alerts.json.damaged").exists());
    running.stop().await;
    assert!(keep::load(&data).1.is_none());
}

#[tokio::test]
async fn a_try_that_panics_is_a_failed_one_and_the_next_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let told = Arc::new(Mutex::new(0));
    let count = Arc::clone(&told);
    let ops = Target::injected("ops", move |_| {
        *count.lock().unwrap() += 1;
        // Not while it is locked.
        let number = *count.lock().unwrap();
        assert!(number > 1, "the first one panics");
        Outcome::Taken
    });
    let change = |alerts: &mut Alerts| alerts.targets = vec![ops];
    let running = start_with(&directory.path().join("logs"), &tables(9), change).await;
    running.send(502, 9).await;
    running.until("told", async || *told.lock().unwrap() == 2).await;
    running.until("recorded", async || running.rows("kind:alert delivery:sent").await.len() == 1).await;
    let failed = running.rows("kind:alert delivery:failed").await;
    assert_eq!(
        (failed.len(), &failed[0]["err"], &failed[0]["try"]),
        (1, &"the try broke off: a panic".into(), &1.into())
    );
    assert!(running.alerts().await["targets"][0]["waiting"] == 0);
    running.stop().await;
}

#[tokio::test]
async fn who_asks_for_a_test_that_panics_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let ops = Target::injected("ops", |_| panic!("always"));
    let change = |alerts: &mut Alerts| alerts.targets = vec![ops];
    let running = start_with(&directory.path().join("logs"), &tables(9), change).await;
    let tested = client::post(&running.client, "/alerts/test?name=errors", "application/json", Bytes::new());
    let told = json!({"to": "ops", "form": "injected", "sent": false, "err": "the try broke off: a panic"});
    assert_eq!(tested.await.unwrap()["deliveries"][0], told);
    running.stop().await;
}
