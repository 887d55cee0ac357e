use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

type Calls = Arc<Mutex<Vec<&'static str>>>;

fn actions(calls: &Calls) -> Actions {
    let note = |what: &'static str| {
        let calls = Arc::clone(calls);
        move || calls.lock().unwrap().push(what)
    };
    let (reload, reopen) = (note("reload"), note("reopen"));
    Actions {
        status: Box::new(|| Status { version: "9.9".to_owned(), ..Status::default() }),
        open: Box::new(|| Open { beyond: 7, ..Open::default() }),
        reload: Box::new(move || {
            reload();
            Box::pin(async { Err("tollgate.toml:3: nonsense".to_owned()) })
        }),
        stop: Box::new(note("stop")),
        reopen_logs: Box::new(move || {
            reopen();
            Box::pin(async { Ok("reopened".to_owned()) })
        }),
    }
}

async fn ask(path: &Path, request: &str) -> (String, serde_json::Value) {
    let mut stream = UnixStream::connect(path).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), serde_json::from_str(body).unwrap())
}

fn post(path: &str, kind: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: {kind}\r\ncontent-length: 0\r\n\r\n")
}

#[tokio::test]
async fn answers_status_and_changes_state_only_for_json_posts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run/control.sock");
    let calls = Calls::default();
    let server = tokio::spawn(Admin::bind(&path).unwrap().serve(actions(&calls)));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);

    let (line, status) = ask(&path, "GET /status HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!((&*line, &status["version"]), ("HTTP/1.1 200 OK", &"9.9".into()));
    assert_eq!(status["v"], STATUS_VERSION);
    let (line, open) = ask(&path, "GET /open HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!((&*line, &open["beyond"]), ("HTTP/1.1 200 OK", &7.into()));
    let (line, _) = ask(&path, &post("/stop", "text/plain")).await;
    assert_eq!(line, "HTTP/1.1 415 Unsupported Media Type");
    let (line, _) = ask(&path, "GET /stop HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(line, "HTTP/1.1 405 Method Not Allowed");
    assert!(calls.lock().unwrap().is_empty());

    let (line, reply) = ask(&path, &post("/reload", "application/json")).await;
    assert_eq!((&*line, &reply["error"]), ("HTTP/1.1 409 Conflict", &"tollgate.toml:3: nonsense".into()));
    let (_, reply) = ask(&path, &post("/logs/reopen", "application/json")).await;
    assert_eq!(reply["message"], "reopened");
    let (line, _) = ask(&path, &post("/stop", "application/json")).await;
    assert_eq!(line, "HTTP/1.1 200 OK");
    assert_eq!(*calls.lock().unwrap(), ["reload", "reopen", "stop"]);
    let (line, _) = ask(&path, &post("/nothing", "application/json")).await;
    assert_eq!(line, "HTTP/1.1 404 Not Found");

    server.abort();
    assert!(server.await.unwrap_err().is_cancelled());
    assert!(!path.exists(), "the socket is removed at the end");
}

#[tokio::test]
async fn a_second_instance_is_told_that_one_is_running() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    let first = Admin::bind(&path).unwrap();
    assert!(matches!(Admin::bind(&path), Err(AdminError::Running { .. })));
    fs::remove_file(path.with_extension("lock")).unwrap();
    assert!(matches!(Admin::bind(&path), Err(AdminError::Running { .. })), "it also listens");
    drop(first);
    Admin::bind(&path).unwrap();
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_other_files_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    drop(Admin::bind(&path).unwrap());
    fs::write(&path, "precious").unwrap();
    assert!(matches!(Admin::bind(&path), Err(AdminError::NotASocket { .. })));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn an_overlong_path_is_refused() {
    let path = Path::new("/tmp").join("x".repeat(120));
    assert!(matches!(Admin::bind(&path), Err(AdminError::TooLong { .. })));
}
