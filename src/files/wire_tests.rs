//! Files over a real HTTP/1 connection: its loop, hyper, the tap and a socket.

use std::cell::Cell;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream as Client};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::Request;
use hyper::body::Incoming;
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::*;
use crate::downstream::tap::Socket;
use crate::downstream::wire::{Cut, Limits, Wire};
use crate::downstream::{Arrival, Handler, Refusal, h1};
use crate::exchange::connection::Connection;
use crate::process::deadline::Deadlines;

struct Site {
    files: Files,
    open: OpenFiles,
    /// Answers as if a filter had taken the length away.
    hides_length: bool,
}

impl Handler for Site {
    type Body = Body;

    async fn handle(self: Rc<Self>, request: Request<Incoming>, arrival: Arrival) -> Response<Body> {
        assert!(arrival.wire.send_queue().is_some(), "a plain connection sends files");
        let ask = Ask {
            method: request.method(),
            path: request.uri().path(),
            public_path: request.uri().path(),
            query: None,
            headers: request.headers(),
            wanted: Wanted::default(),
            compress: None,
            open: &self.open,
            queue: arrival.wire.send_queue(),
        };
        let mut response = self.files.serve(ask).await.unwrap();
        if self.hides_length {
            response.headers_mut().remove(http::header::CONTENT_LENGTH);
            response = response.map(|body| Body::stream(Unsized(body)));
        }
        response
    }

    fn refused(&self, _: Refusal) {}
}

/// A body that does not tell its length.
struct Unsized(Body);

impl http_body::Body for Unsized {
    type Data = Bytes;
    type Error = crate::http::BodyError;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        std::pin::Pin::new(&mut self.0).poll_frame(cx)
    }
}

/// What one connection left behind.
struct Served<T> {
    client: T,
    wire: Rc<Wire>,
}

/// Serves one connection from the directory, while `client` talks on a thread of its own.
fn serve<T: Send + 'static>(
    dir: &TempDir,
    hides_length: bool,
    client: impl FnOnce(Client) -> T + Send + 'static,
) -> Served<T> {
    let files = Files::open(Settings::new(dir.path())).unwrap();
    let site = Rc::new(Site { files, open: OpenFiles::default(), hides_length });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        let talk = tokio::task::spawn_blocking(move || client(Client::connect(address).unwrap()));
        let (socket, sender) = listener.accept().await.unwrap();
        let wire = wire(sender);
        h1::serve(socket, Bytes::new(), Rc::clone(&wire), site).await;
        Served { client: talk.await.unwrap(), wire }
    })
}

fn wire(sender: SocketAddr) -> Rc<Wire> {
    let (now, deadlines) = (Instant::now(), Deadlines::new());
    let connection = Connection {
        serial: 1,
        listener: "test".into(),
        sender,
        tls: None,
        is_h2: false,
        accepted: now,
        handshake_us: None,
        neighbours: 0,
        rx: Cell::new(0),
        tx: Cell::new(0),
        requests: Cell::new(0),
        in_flight: Cell::new(0),
        idle_since: Cell::new(now),
    };
    Wire::new(Rc::new(connection), Arc::new(Limits::default()), deadlines.slot(), deadlines.slot())
}

/// Sends all requests at once, and gives all that comes back, and whether the counts and the queue agree with it.
fn exchange(dir: &TempDir, requests: &[String]) -> Vec<u8> {
    let requests = requests.concat();
    let served = serve(dir, false, move |client| talk(client, &requests));
    assert_eq!(served.wire.connection.tx.get(), served.client.len() as u64);
    assert!(served.wire.files.is_empty());
    assert_eq!(served.wire.cut.get(), None);
    served.client
}

fn talk(mut client: Client, requests: &str) -> Vec<u8> {
    client.write_all(requests.as_bytes()).unwrap();
    let mut all = Vec::new();
    client.read_to_end(&mut all).unwrap();
    all
}

fn ask(line: &str, more: &str) -> String {
    format!("{line}\r\nHost: localhost\r\n{more}\r\n")
}

fn get(path: &str, more: &str) -> String {
    ask(&format!("GET {path} HTTP/1.1"), more)
}

const CLOSE: &str = "Connection: close\r\n";

/// The head of the first response and what follows it.
fn head(response: &[u8]) -> (&str, &[u8]) {
    let head = memchr::memmem::find(response, b"\r\n\r\n").unwrap() + 4;
    (std::str::from_utf8(&response[..head]).unwrap(), &response[head..])
}

/// The head and the body of the first response, and what follows it.
fn split(response: &[u8]) -> (&str, &[u8], &[u8]) {
    let (head, rest) = head(response);
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let (body, rest) = rest.split_at(length.parse().unwrap());
    (head, body, rest)
}

/// Two large files, which travel by sendfile, and a small one, which does not. No byte of them is zero.
fn site() -> (TempDir, Vec<u8>, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    // Larger than the longest placeholder and than any socket buffer.
    let large: Vec<u8> = (0..7_000_000_u32).map(|i| (i / 251) as u8 | 1).collect();
    let medium: Vec<u8> = (0..100_000_u32).map(|i| (i / 83) as u8 | 2).collect();
    fs::write(dir.path().join("large.bin"), &large).unwrap();
    fs::write(dir.path().join("medium.bin"), &medium).unwrap();
    fs::write(dir.path().join("small.txt"), "small").unwrap();
    (dir, large, medium)
}

#[test]
fn pipelined_answers_of_several_files_arrive_whole_and_in_order() {
    let (dir, large, medium) = site();
    let all = exchange(
        &dir,
        &[
            get("/large.bin", ""),
            get("/medium.bin", ""),
            get("/small.txt", ""),
            get("/medium.bin", ""),
            get("/large.bin", "Range: bytes=1000-99999\r\n"),
            get("/large.bin", "Range: bytes=0-99999,500000-599999\r\n"),
            ask("HEAD /large.bin HTTP/1.1", ""),
            get("/medium.bin", CLOSE),
        ],
    );
    let mut rest = &all[..];
    for expected in [&large[..], &medium, b"small", &medium] {
        let (head, body, after) = split(rest);
        assert!(head.starts_with("HTTP/1.1 200 "));
        assert!(body == expected);
        rest = after;
    }
    let (head_text, body, rest) = split(rest);
    assert!(head_text.starts_with("HTTP/1.1 206 "));
    assert!(body == &large[1000..100_000]);
    let (_, body, rest) = split(rest);
    for part in [&large[..100_000], &large[500_000..600_000]] {
        assert!(memchr::memmem::find(body, part).is_some());
    }
    let (head_text, rest) = head(rest);
    assert!(head_text.contains("content-length: 7000000\r\n"));
    let (_, body, rest) = split(rest);
    assert!(body == medium && rest.is_empty());
}

#[test]
fn http_1_0_gets_the_same_bytes() {
    let (dir, large, medium) = site();
    let all = exchange(&dir, &[ask("GET /large.bin HTTP/1.0", "")]);
    let (_, body, rest) = split(&all);
    assert!(body == large && rest.is_empty());

    let keep = "Connection: keep-alive\r\n";
    let all = exchange(&dir, &[ask("GET /medium.bin HTTP/1.0", keep), ask("GET /large.bin HTTP/1.0", "")]);
    let (_, body, rest) = split(&all);
    assert!(body == medium);
    let (_, body, rest) = split(rest);
    assert!(body == large && rest.is_empty());
}

#[test]
fn answers_without_a_length_hold_the_file_too() {
    let (dir, large, medium) = site();
    let all = serve(&dir, true, |client| talk(client, &ask("GET /large.bin HTTP/1.0", ""))).client;
    let (_, body) = head(&all);
    assert!(body == large);

    let all = serve(&dir, true, |client| talk(client, &get("/medium.bin", CLOSE))).client;
    let (head, mut rest) = head(&all);
    assert!(head.contains("transfer-encoding: chunked"));
    let mut got = Vec::new();
    while let Some(end) = memchr::memmem::find(rest, b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        got.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + size + 4..];
    }
    assert!(got == medium);
}

#[test]
fn a_slow_reader_gets_every_byte() {
    let (dir, large, _) = site();
    let served = serve(&dir, false, |mut client| {
        // Smaller than a packet of loopback would leave the sender to its timers.
        socket2::SockRef::from(&client).set_recv_buffer_size(256 << 10).unwrap();
        client.write_all(get("/large.bin", CLOSE).as_bytes()).unwrap();
        let (mut all, mut piece) = (Vec::new(), [0; 3001]);
        loop {
            match client.read(&mut piece).unwrap() {
                0 => return all,
                count => all.extend_from_slice(&piece[..count]),
            }
            std::thread::yield_now();
        }
    });
    let (_, body, rest) = split(&served.client);
    assert!(body == large && rest.is_empty());
    assert_eq!(served.wire.connection.tx.get(), served.client.len() as u64);
}

#[test]
fn a_reader_that_goes_away_ends_the_connection() {
    let (dir, _, _) = site();
    let served = serve(&dir, false, |mut client| {
        client.write_all(get("/large.bin", "").as_bytes()).unwrap();
        client.read_exact(&mut [0; 1000]).unwrap();
    });
    assert_eq!(served.wire.cut.get(), None);
    assert!(served.wire.connection.tx.get() < 7_000_000);
}

#[test]
fn a_file_that_shrinks_while_it_is_sent_ends_the_connection_short() {
    let dir = tempfile::tempdir().unwrap();
    let file = fs::File::create(dir.path().join("large.bin")).unwrap();
    file.set_len(1 << 30).unwrap();
    let served = serve(&dir, false, move |mut client| {
        client.write_all(get("/large.bin", "").as_bytes()).unwrap();
        // The first bytes are here, so the length is promised; no buffer holds a gigabyte.
        let mut first = [0; 1000];
        client.read_exact(&mut first).unwrap();
        file.set_len(1 << 20).unwrap();
        first.len() as u64 + io::copy(&mut client, &mut io::sink()).unwrap_or(0)
    });
    assert_eq!(served.wire.cut.get(), Some(Cut::ShortFile));
    assert!(served.client < 1 << 30);
}

#[test]
fn what_sees_the_bytes_takes_no_files() {
    type Tls = Box<tokio_rustls::server::TlsStream<tokio::net::TcpStream>>;
    const { assert!(!Tls::TAKES_FILES) };
    // HTTP/2 never asks the socket: only the HTTP/1 loop opens the queue.
    assert!(wire(SocketAddr::from(([127, 0, 0, 1], 1))).send_queue().is_none());
}
