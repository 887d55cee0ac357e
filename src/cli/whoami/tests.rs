use tokio::io::AsyncReadExt;
use tokio::sync::oneshot;
use tokio::task::LocalSet;

use super::*;

/// Sends one request (with `connection: close`) and returns the whole answer.
async fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn get(address: SocketAddr, target: &str) -> String {
    ask(address, &format!("GET {target} HTTP/1.1\r\nhost: a\r\nx-seen: yes\r\nconnection: close\r\n\r\n"))
        .await
}

async fn with_server<T>(test: impl AsyncFnOnce(SocketAddr, oneshot::Sender<()>) -> T) -> T {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let who = Who { worker: Some("3".to_owned()), pid: 77 };
    let test = async {
        let (_, outcome) = tokio::join!(
            serve(listener, who, async {
                let _ = stopped.await;
            }),
            test(address, stop),
        );
        outcome
    };
    let all = LocalSet::new();
    tokio::time::timeout(Duration::from_secs(20), all.run_until(test)).await.unwrap()
}

#[tokio::test]
async fn tells_what_it_received() {
    with_server(async |address, _stop| {
        let text = get(address, "/a/b?c").await;
        assert!(text.contains("x-worker: 3\r\n"), "{text}");
        assert!(text.contains("\nWorker: 3\nPid: 77\n"), "{text}");
        assert!(text.contains("\nGET /a/b?c HTTP/1.1\nhost: a\nx-seen: yes\n"), "{text}");
        let json = get(address, "/?format=json").await;
        let value: serde_json::Value = serde_json::from_str(json.split_once("\r\n\r\n").unwrap().1).unwrap();
        assert_eq!(value["headers"]["x-seen"][0], "yes");
        assert_eq!((&value["method"], &value["worker"]), (&"GET".into(), &"3".into()));
    })
    .await;
}

#[tokio::test]
async fn tells_nothing_before_the_whole_request_is_there() {
    with_server(async |address, _stop| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n";
        stream.write_all(head).await.unwrap();
        let mut asked = [0; 25];
        stream.read_exact(&mut asked).await.unwrap();
        assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(b"body").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn answers_as_the_path_says() {
    with_server(async |address, _stop| {
        assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200 OK\r\n"));
        let head = ask(address, "HEAD / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        assert!(head.contains("content-length: ") && head.ends_with("\r\n\r\n"), "{head}");
        assert!(get(address, "/status/418").await.starts_with("HTTP/1.1 418 "));
        assert!(get(address, "/status/204").await.ends_with("\r\n\r\n"));
        assert!(get(address, "/status/100").await.starts_with("HTTP/1.1 400 "));
        assert!(get(address, "/delay/1").await.ends_with("waited 1ms\n"));
        let bytes = get(address, "/bytes/200000").await;
        assert_eq!(bytes.split_once("\r\n\r\n").unwrap().1.len(), 200_000);
        assert!(bytes.contains("content-length: 200000\r\n"));
        let events = get(address, "/sse?n=3&every=1ms").await;
        assert!(events.contains("content-type: text/event-stream\r\n"), "{events}");
        assert_eq!(events.matches("data: ").count(), 3, "{events}");
    })
    .await;
}

#[tokio::test]
async fn echo_gives_the_body_back() {
    with_server(async |address, _stop| {
        let request = "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-type: a/b\r\ncontent-length: 5\r\n\
                       connection: close\r\n\r\nhello";
        let answer = ask(address, request).await;
        assert!(answer.contains("content-type: a/b\r\n") && answer.contains("hello"), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn an_upgraded_connection_gives_every_byte_back() {
    with_server(async |address, _stop| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = "GET /upgrade HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nearly";
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(b" and late").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 101 ") && answer.contains("upgrade: echo\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nearly and late"), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn a_stop_lets_open_exchanges_end() {
    with_server(async |address, stop| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /sse?n=3&every=20ms HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        stream.readable().await.unwrap();
        stop.send(()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer.matches("data: ").count(), 3, "{answer}");
    })
    .await;
}

#[test]
fn durations_have_units() {
    assert_eq!(duration("100ms"), Some(Duration::from_millis(100)));
    assert_eq!(duration("2s"), Some(Duration::from_secs(2)));
    assert_eq!(duration("7"), Some(Duration::from_millis(7)));
    assert_eq!(duration("x"), None);
    assert_eq!(duration("3h"), None);
}
