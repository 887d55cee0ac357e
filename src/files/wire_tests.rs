//! Files over a real connection: hyper, a socket, and a writer that turns placeholders into file bytes.

use std::convert::Infallible;
use std::fs;
use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Request;
use hyper::body::Incoming;
use hyper::rt::ReadBufCursor;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tempfile::TempDir;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::http::sendfile::is_placeholder;

/// A downstream connection, as small as it can be.
struct Wire {
    tcp: TcpStream,
    queue: SendQueue,
}

impl hyper::rt::Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut bytes = [0; 1024];
        let room = cursor.remaining().min(bytes.len());
        let mut buffer = ReadBuf::new(&mut bytes[..room]);
        ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut buffer))?;
        cursor.put_slice(buffer.filled());
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.queue.poll_write(&self.tcp, cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

/// Serves one connection from the directory.
async fn serve(listener: TcpListener, dir: &TempDir) -> Result<(), hyper::Error> {
    let (files, open) = (&Files::open(Settings::new(dir.path())).unwrap(), &OpenFiles::default());
    let (tcp, _) = listener.accept().await.unwrap();
    let queue = SendQueue::default();
    let wire = Wire { tcp, queue: queue.clone() };
    let queue = &queue;
    let answer = service_fn(move |request: Request<Incoming>| async move {
        let ask = Ask {
            method: request.method(),
            path: request.uri().path(),
            public_path: request.uri().path(),
            query: None,
            headers: request.headers(),
            wanted: Wanted::default(),
            compress: None,
            open,
            queue: Some(queue),
        };
        Ok::<_, Infallible>(files.serve(ask).await.unwrap())
    });
    http1::Builder::new().serve_connection(wire, answer).await
}

/// Sends requests, and gives all that came back with the end of the connection.
fn exchange(dir: &TempDir, requests: &str) -> (Vec<u8>, Result<(), hyper::Error>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = requests.to_owned();
        let client = tokio::task::spawn_blocking(move || {
            let mut tcp = std::net::TcpStream::connect(address).unwrap();
            tcp.write_all(requests.as_bytes()).unwrap();
            let mut all = Vec::new();
            let _ = tcp.read_to_end(&mut all);
            all
        });
        let end = serve(listener, dir).await;
        (client.await.unwrap(), end)
    })
}

fn request(path: &str, more: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n")
}

/// The body of the first response, and what follows it.
fn split(response: &[u8]) -> (&str, &[u8], &[u8]) {
    let head = memchr::memmem::find(response, b"\r\n\r\n").unwrap() + 4;
    let text = std::str::from_utf8(&response[..head]).unwrap();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let end = head + length.parse::<usize>().unwrap();
    (text, &response[head..end], &response[end..])
}

#[test]
fn file_bytes_and_not_placeholders_arrive() {
    let dir = tempfile::tempdir().unwrap();
    // Larger than the longest placeholder and than any socket buffer.
    let large: Vec<u8> = (0..7_000_000_u32).map(|i| (i / 251) as u8 | 1).collect();
    fs::write(dir.path().join("large.bin"), &large).unwrap();
    fs::write(dir.path().join("small.txt"), "small").unwrap();
    let requests = [
        request("/large.bin", ""),
        request("/small.txt", ""),
        request("/large.bin", "Range: bytes=1000-99999\r\n"),
        request("/small.txt", "Connection: close\r\n"),
    ];
    let (all, end) = exchange(&dir, &requests.concat());
    end.unwrap();
    let (head, body, rest) = split(&all);
    assert!(head.starts_with("HTTP/1.1 200 "));
    assert!(body == large);
    let (_, body, rest) = split(rest);
    assert_eq!(body, b"small");
    let (head, body, rest) = split(rest);
    assert!(head.starts_with("HTTP/1.1 206 "));
    assert!(body == &large[1000..100_000]);
    let (_, body, rest) = split(rest);
    assert_eq!((body, rest), (&b"small"[..], &b""[..]));
    assert!(!is_placeholder(body));
}

#[test]
fn a_file_that_shrinks_while_it_is_sent_ends_the_connection_short() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("large.bin");
    let file = fs::File::create(&path).unwrap();
    file.set_len(1 << 30).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (got, end) = runtime.block_on(async {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = tokio::task::spawn_blocking(move || {
            let mut tcp = std::net::TcpStream::connect(address).unwrap();
            tcp.write_all(request("/large.bin", "").as_bytes()).unwrap();
            // The first bytes are here, so the length is promised; no buffer holds a gigabyte.
            let mut first = [0; 1000];
            tcp.read_exact(&mut first).unwrap();
            file.set_len(1 << 20).unwrap();
            first.len() as u64 + io::copy(&mut tcp, &mut io::sink()).unwrap_or(0)
        });
        let end = serve(listener, &dir).await;
        (client.await.unwrap(), end)
    });
    assert!(end.is_err());
    assert!(got < 1 << 30);
}
