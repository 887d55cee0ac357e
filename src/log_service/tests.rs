//! The service as its clients see it: real sockets, a real directory.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

struct Service {
    http: SocketAddr,
    packets: SocketAddr,
    unix: PathBuf,
    data: tempfile::TempDir,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Result<(), ServiceError>>,
}

async fn start() -> Service {
    start_with(|_| {}).await
}

async fn start_with(change: impl FnOnce(&mut Settings)) -> Service {
    let data = tempfile::tempdir().unwrap();
    let unix = data.path().join("sock/logs.sock");
    let mut settings = Settings::new(data.path().join("logs"));
    settings.http = vec![Listen::Tcp(([127, 0, 0, 1], 0).into()), Listen::Unix(unix.clone())];
    settings.packets = Some(([127, 0, 0, 1], 0).into());
    change(&mut settings);
    let service = LogService::start(settings).await.unwrap();
    let Listen::Tcp(http) = service.http()[0] else { panic!("not tcp") };
    let packets = service.packets().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let ended = tokio::spawn(service.run(async { drop(stopped.await) }));
    Service { http, packets, unix, data, stop, ended }
}

impl Service {
    fn logs(&self) -> PathBuf {
        self.data.path().join("logs")
    }

    async fn send(&self, request: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(self.http).await.unwrap();
        exchange(&mut stream, request).await
    }

    async fn post(&self, content_type: &str, body: &str) -> (u16, Value) {
        let length = body.len();
        self.send(&format!("POST /logs HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n{body}")).await
    }

    async fn get(&self, target: &str) -> (u16, Value) {
        self.send(&format!("GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")).await
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        tokio::time::timeout(PATIENCE, self.ended).await.unwrap().unwrap().unwrap();
    }
}

async fn exchange(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin), request: &str) -> (u16, Value) {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or(Value::String(body.to_owned())))
}

fn count(data: &Path) -> usize {
    read::Newest::of(data, &query::Query::all(), read::Window::default(), 1000).unwrap().rows.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn takes_object_array_and_lines_and_names_what_is_bad() {
    let service = start().await;
    let (status, told) = service.post("application/json", "{\"a\":1}").await;
    assert_eq!((status, &told["accepted"]), (200, &1.into()));
    let (_, told) = service.post("application/json", "[{\"a\":1},{\"b\":2}]").await;
    assert_eq!(told["accepted"], 2);
    let (status, told) = service.post("application/x-ndjson", "{\"a\":1}\noops\n{\"b\":2}\n").await;
    assert_eq!((status, &told["accepted"], &told["reasons"][0]["line"]), (200, &2.into(), &2.into()));
    let (status, told) = service.post("application/json", "{\"a\":").await;
    assert_eq!((status, &told["rejected"]), (400, &1.into()));
    assert_eq!(count(&service.logs()), 5);
    let (_, told) = service.get("/status").await;
    assert_eq!((&told["accepted"], &told["rejected"], &told["files"]), (&5.into(), &2.into(), &1.into()));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serves_a_unix_socket_replaces_a_stale_one_and_removes_it() {
    let service = start().await;
    let mut stream = UnixStream::connect(&service.unix).await.unwrap();
    let request = "POST /logs HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
    assert_eq!(exchange(&mut stream, request).await.0, 200);
    let newest = read::Newest::of(&service.logs(), &query::Query::all(), read::Window::default(), 1).unwrap();
    assert!(
        newest.rows[0].contains(&format!("\"from\":\"unix:{}\"", std::process::id())),
        "{:?}",
        newest.rows
    );
    let unix = service.unix.clone();
    service.stop().await;
    assert!(!unix.exists());

    let data = tempfile::tempdir().unwrap();
    let stale = data.path().join("logs.sock");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    let mut settings = Settings::new(data.path().join("logs"));
    settings.http = vec![Listen::Unix(stale.clone())];
    let first = LogService::start(settings.clone()).await.unwrap();
    settings.data = data.path().join("other");
    let second = LogService::start(settings).await;
    assert!(matches!(second, Err(ServiceError::Bind(..))), "a living socket is not taken over");
    first.run(async {}).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bounds_of_bodies_hold() {
    let service = start_with(|settings| settings.limits.body_bytes = 100).await;
    let head = "POST /logs HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n";
    let (status, _) = service.send(&format!("{head}content-length: 101\r\n\r\n")).await;
    assert_eq!(status, 413);
    let chunk = "3c\r\n".to_owned() + &" ".repeat(60) + "\r\n";
    let (status, _) =
        service.send(&format!("{head}transfer-encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n")).await;
    assert_eq!(status, 413);
    for (coding, expected) in [("br", 415), ("gzip", 400)] {
        let (status, _) =
            service.send(&format!("{head}content-encoding: {coding}\r\ncontent-length: 2\r\n\r\n{{}}")).await;
        assert_eq!(status, expected, "{coding}");
    }
    service.stop().await;
    let service = start_with(|settings| settings.limits.held_bytes = 1).await;
    assert_eq!(service.post("application/json", "{}").await.0, 503);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_bodies_heads_and_silent_connections_end() {
    let service = start_with(|settings| {
        settings.limits.body_timeout = Duration::from_millis(50);
        settings.limits.header_timeout = Duration::from_millis(50);
        settings.limits.idle_timeout = Duration::from_millis(300);
    })
    .await;
    let (status, _) = service
        .send("POST /logs HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 9\r\n\r\n{")
        .await;
    assert_eq!(status, 408);
    for address in [service.http, service.packets] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"POST").await.unwrap();
        let mut rest = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap().unwrap();
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn web_pages_can_neither_write_nor_read() {
    let service = start().await;
    let post = "POST /logs HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 2\r\n";
    assert_eq!(service.send(&format!("{post}origin: https://evil.example\r\n\r\n{{}}")).await.0, 403);
    let get = "GET /status HTTP/1.1\r\nconnection: close\r\nhost: ";
    for (host, status) in [("evil.example", 421), ("localhost:1", 200), ("127.0.0.1", 200), ("[::1]:7", 200)]
    {
        assert_eq!(service.send(&format!("{get}{host}\r\n\r\n")).await.0, status, "{host}");
    }
    assert_eq!(service.get("/logs").await.0, 405);
    assert_eq!(service.get("/other").await.0, 404);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn searches_filter_and_report() {
    let service = start().await;
    let lines: String = (1..=5u32)
        .map(|n| {
            format!(
                "{{\"proxy\":\"e\",\"boot\":1,\"core\":0,\"seq\":{},\"status\":{}}}\n",
                n + n / 4,
                500 + n
            )
        })
        .collect();
    service.post("application/x-ndjson", &lines).await;
    let (status, body) = service.get("/logs/search?q=status%3E502+-status:504&since=1h").await;
    let rows: Vec<Value> = body
        .as_str()
        .unwrap()
        .lines()
        .filter_map(|l| l.split_once('{').map(|(_, r)| serde_json::from_str(&format!("{{{r}")).unwrap()))
        .collect();
    assert_eq!((status, rows.len()), (200, 3), "{body}");
    assert_eq!(
        (&rows[2]["kind"], &rows[2]["rows"], &rows[2]["missing"][0]["from"]),
        (&"report".into(), &2.into(), &4.into())
    );
    assert_eq!(service.get("/logs/search?q=status:504&since=all").await.0, 200);
    let (status, told) = service.get("/logs/search?q=status%3E").await;
    assert_eq!(status, 400);
    assert!(told["error"].as_str().unwrap().contains("column 8"), "{told}");
    assert_eq!(service.get("/logs/search?nope=1").await.0, 400);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_shows_old_rows_then_new_ones() {
    let service = start().await;
    service.post("application/json", "{\"n\":1,\"status\":200}").await;
    let mut stream = BufReader::new(TcpStream::connect(service.http).await.unwrap());
    let request = "GET /logs/tail?n=5&q=status:200 HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    assert!(next_row(&mut stream).await.contains("\"n\":1"));
    service.post("application/x-ndjson", "{\"n\":2,\"status\":404}\n{\"n\":3,\"status\":200}").await;
    let row = next_row(&mut stream).await;
    assert!(row.contains("\"n\":3") && row.contains("\"recv\":") && !row.contains("\"c\":"), "{row}");
    service.stop().await;
}

async fn next_row(stream: &mut BufReader<TcpStream>) -> String {
    loop {
        let mut line = String::new();
        tokio::time::timeout(PATIENCE, stream.read_line(&mut line)).await.unwrap().unwrap();
        assert!(!line.is_empty(), "the tail ended");
        if line.starts_with('{') {
            return line;
        }
    }
}

async fn replies(stream: &mut TcpStream, count: usize) -> String {
    let mut text = Vec::new();
    while text.windows(2).filter(|pair| pair == &"¶".as_bytes()).count() < count {
        let read = tokio::time::timeout(PATIENCE, stream.read_buf(&mut text)).await.unwrap().unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&text));
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packets_are_stored_and_answered_byte_by_byte_and_together() {
    let service = start().await;
    let packet = r#"{"uri":"/logs","method":"POST","key":1,"params":{"msg":"a\u00b6b"}}¶"#;
    let mut stream = TcpStream::connect(service.packets).await.unwrap();
    for byte in packet.as_bytes() {
        stream.write_all(&[*byte]).await.unwrap();
    }
    let success = "{\"key\":1,\"errorcode\":0,\"errormessage\":\"success\"}¶";
    assert_eq!(replies(&mut stream, 1).await, success);
    let silent = r#"{"uri":"/logs","method":"POST","key":0,"params":[{"n":1},{"n":2}]}¶"#;
    stream.write_all(format!("{silent}{packet}{packet}").as_bytes()).await.unwrap();
    assert_eq!(replies(&mut stream, 2).await, success.repeat(2));
    assert_eq!(count(&service.logs()), 5);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_packets_are_counted_and_the_connection_goes_on_until_the_frame_is_lost() {
    let service = start_with(|settings| settings.limits.entry_bytes = 200).await;
    let mut stream = TcpStream::connect(service.packets).await.unwrap();
    let bad = concat!(
        "nonsense¶",
        r#"{"uri":"/logs","method":"POST","key":2,"params":7}¶"#,
        r#"{"uri":"/other","method":"POST","key":"x","params":{}}¶"#,
        r#"{"uri":"/logs","method":"POST","key":3,"params":{}}¶"#,
    );
    stream.write_all(bad.as_bytes()).await.unwrap();
    let told = replies(&mut stream, 3).await;
    let codes: Vec<(Value, Value)> = told
        .split_terminator('¶')
        .map(|reply| serde_json::from_str::<Value>(reply).unwrap())
        .map(|reply| (reply["key"].clone(), reply["errorcode"].clone()))
        .collect();
    assert_eq!(codes, [(2.into(), 1.into()), ("x".into(), 2.into()), (3.into(), 0.into())]);
    stream.write_all(&[b'x'; 300]).await.unwrap();
    let mut rest = Vec::new();
    // Closed or reset, depending on whether bytes were still unread: both end the connection.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap();
    let (_, status) = service.get("/status").await;
    assert_eq!((&status["bad_packets"], &status["accepted"]), (&4.into(), &1.into()));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_questions_of_one_command_read_the_log_of_a_directory_once() {
    use super::directory::Directory;
    use super::exec::{Control, Question, Sort};

    let service = start().await;
    let data = service.logs();
    service.post("application/x-ndjson", "{\"a\":1}\n{\"a\":2}\n").await;
    let seen = Directory::new(data.clone());
    let rows = |seen: &Directory| {
        let all = (&query::Query::all(), read::Window::default());
        seen.search(all, (Sort::Newest, 10), &Control::default()).unwrap().rows.len()
    };
    assert_eq!(rows(&seen), 2);
    service.post("application/x-ndjson", "{\"a\":3}\n").await;
    // Both are about the moment of the first one, as are those that hand out rows and name files.
    let told =
        seen.answer(Question::Stats, &std::collections::HashMap::default(), &Control::default()).unwrap();
    assert_eq!((told["report"]["lines"].as_u64(), rows(&seen)), (Some(2), 2), "{told}");
    assert_eq!(seen.files(None).unwrap(), (Vec::new(), 2));
    assert_eq!(rows(&Directory::new(data)), 3);
    service.stop().await;
}
