//! A recording origin: keeps the bytes of each connection exactly as they came, and answers what its script says.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::client::{Reader, find, reset};
use super::{DEADLINE, oracle};

/// A request as the origin read it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Got {
    /// Which connection, counted from 0.
    pub(crate) connection: usize,
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) version: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let hits = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        hits.map(|(_, value)| value.as_str()).collect()
    }
}

type Script = dyn Fn(&mut Talk<'_>) + Send + Sync;

pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

struct State {
    script: Box<Script>,
    seen: Mutex<Seen>,
    changed: Condvar,
    open: AtomicUsize,
    stopping: AtomicBool,
}

#[derive(Default)]
struct Seen {
    requests: Vec<Got>,
    raw: Vec<Vec<u8>>,
}

impl Origin {
    /// Answers every request with `200` and the text `ok`.
    pub(crate) fn start() -> Self {
        Self::with(|talk| {
            talk.read_body();
            talk.ok("ok");
        })
    }

    /// Answers as the script says; the script is called once per request, after its head.
    pub(crate) fn with(script: impl Fn(&mut Talk<'_>) + Send + Sync + 'static) -> Self {
        Self::at(TcpListener::bind("127.0.0.1:0").unwrap(), script)
    }

    pub(crate) fn at(listener: TcpListener, script: impl Fn(&mut Talk<'_>) + Send + Sync + 'static) -> Self {
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            script: Box::new(script),
            seen: Mutex::default(),
            changed: Condvar::new(),
            open: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&state);
        std::thread::spawn(move || accept(&listener, &accepting));
        Self { address, state }
    }

    pub(crate) fn requests(&self) -> Vec<Got> {
        self.seen().requests.clone()
    }

    pub(crate) fn last(&self) -> Got {
        self.seen().requests.last().cloned().expect("the origin got no request")
    }

    pub(crate) fn count(&self) -> usize {
        self.seen().requests.len()
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.seen().raw.len()
    }

    /// Connections open now.
    pub(crate) fn open(&self) -> usize {
        self.state.open.load(Ordering::SeqCst)
    }

    /// Waits until `count` requests have arrived.
    #[track_caller]
    pub(crate) fn wait_for(&self, count: usize) -> Vec<Got> {
        let (seen, timeout) = self
            .state
            .changed
            .wait_timeout_while(self.seen(), DEADLINE, |seen| seen.requests.len() < count)
            .unwrap_or_else(PoisonError::into_inner);
        assert!(!timeout.timed_out(), "the origin got {} requests, not {count}", seen.requests.len());
        seen.requests.clone()
    }

    /// What is dirty in the bytes of any connection so far; empty when nothing is.
    pub(crate) fn dirt(&self) -> Vec<String> {
        self.seen().raw.iter().filter_map(|raw| oracle::check(raw).err()).collect()
    }

    /// Forgets what came so far.
    pub(crate) fn forget(&self) {
        let mut seen = self.seen();
        seen.requests.clear();
        for raw in &mut seen.raw {
            raw.clear();
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.state.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.state.stopping.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

fn accept(listener: &TcpListener, state: &Arc<State>) {
    for stream in listener.incoming() {
        if state.stopping.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let connection = {
            let mut seen = state.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.raw.push(Vec::new());
            seen.raw.len() - 1
        };
        state.changed.notify_all();
        let state = Arc::clone(state);
        std::thread::spawn(move || {
            state.open.fetch_add(1, Ordering::SeqCst);
            let _ = serve(stream, connection, &state);
            state.open.fetch_sub(1, Ordering::SeqCst);
            state.changed.notify_all();
        });
    }
}

fn serve(stream: TcpStream, connection: usize, state: &Arc<State>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = Reader::new(Recording { stream, connection, state: Arc::clone(state) });
    loop {
        let Some((line, headers)) = reader.head()? else { return Ok(()) };
        let mut words = line.splitn(3, ' ').map(str::to_owned);
        let mut word = || words.next().unwrap_or_default();
        let (method, target, version) = (word(), word(), word());
        let got = Got { connection, method, target, version, headers, ..Got::default() };
        let index = {
            let mut seen = state.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.requests.push(got.clone());
            seen.requests.len() - 1
        };
        state.changed.notify_all();
        let body_left = got.header("transfer-encoding").is_some()
            || got.header("content-length").is_some_and(|length| length != "0");
        let mut talk =
            Talk { request: got, reader: &mut reader, state, index, body_left, close: false, failed: None };
        (state.script)(&mut talk);
        if talk.close || talk.body_left || talk.failed.is_some() {
            let _ = reader.inner.stream.shutdown(Shutdown::Write);
            return Ok(());
        }
    }
}

/// The stream below an origin's connection: every byte that it reads is kept.
pub(crate) struct Recording {
    pub(crate) stream: TcpStream,
    connection: usize,
    state: Arc<State>,
}

impl Read for Recording {
    fn read(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        let n = self.stream.read(piece)?;
        let mut seen = self.state.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.raw[self.connection].extend_from_slice(&piece[..n]);
        Ok(n)
    }
}

/// One request at the origin, with everything a script can do about it.
pub(crate) struct Talk<'a> {
    pub(crate) request: Got,
    pub(crate) reader: &'a mut Reader<Recording>,
    state: &'a State,
    index: usize,
    body_left: bool,
    close: bool,
    failed: Option<io::Error>,
}

impl Talk<'_> {
    pub(crate) fn path(&self) -> &str {
        self.request.target.split('?').next().unwrap_or("")
    }

    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        let query = self.request.target.split_once('?')?.1;
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }

    /// Reads the body as its framing says and keeps it with the request.
    pub(crate) fn read_body(&mut self) -> Vec<u8> {
        if !self.body_left {
            return Vec::new();
        }
        let read = if self.request.header("transfer-encoding").is_some() {
            self.reader.chunked()
        } else {
            let length = self.request.header("content-length").and_then(|length| length.parse().ok());
            self.reader.take(length.unwrap_or(0)).map(|body| (body, Vec::new()))
        };
        match read {
            Ok((body, trailers)) => self.keep(body, trailers),
            Err(error) => {
                self.failed = Some(error);
                Vec::new()
            }
        }
    }

    fn keep(&mut self, body: Vec<u8>, trailers: Vec<(String, String)>) -> Vec<u8> {
        self.body_left = false;
        let mut seen = self.state.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(got) = seen.requests.get_mut(self.index) {
            got.body = body.clone();
            got.trailers.clone_from(&trailers);
        }
        drop(seen);
        self.request.body.clone_from(&body);
        self.request.trailers = trailers;
        body
    }

    /// Reads and drops the body without keeping it; gives its size.
    pub(crate) fn swallow_body(&mut self) -> u64 {
        let mut left: u64 =
            self.request.header("content-length").and_then(|l| l.parse().ok()).expect("content-length");
        let total = left;
        while left > 0 {
            if self.reader.buffer.is_empty() && !matches!(self.reader.fill(), Ok(true)) {
                return total - left;
            }
            let n = (self.reader.buffer.len() as u64).min(left);
            self.reader.buffer.drain(..usize::try_from(n).unwrap());
            left -= n;
        }
        self.body_left = false;
        total
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let sent = self.reader.inner.stream.write_all(bytes.as_ref());
        let ok = sent.is_ok();
        if let Err(error) = sent {
            self.failed = Some(error);
        }
        ok
    }

    pub(crate) fn ok(&mut self, text: &str) {
        self.answer(200, &[("content-type", "text/plain")], text.as_bytes());
    }

    /// A whole answer with Content-Length; to HEAD without its body.
    pub(crate) fn answer(&mut self, status: u16, headers: &[(&str, &str)], body: &[u8]) {
        let mut head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        if self.request.method != "HEAD" {
            bytes.extend_from_slice(body);
        }
        self.send(bytes);
    }

    /// Closes the connection after this request.
    pub(crate) fn close(&mut self) {
        self.close = true;
    }

    /// Closes the connection with a reset.
    pub(crate) fn reset(&mut self) {
        reset(&self.reader.inner.stream);
        self.close = true;
        let _ = self.reader.inner.stream.shutdown(Shutdown::Both);
    }

    /// Waits until the other side has closed the connection; false when it did not within the deadline.
    pub(crate) fn wait_closed(&mut self) -> bool {
        let _ = self.reader.inner.stream.set_read_timeout(Some(DEADLINE));
        self.close = true;
        loop {
            match self.reader.fill() {
                Ok(true) => self.reader.buffer.clear(),
                Ok(false) => return true,
                Err(error) => return !super::client::is_timeout(&error),
            }
        }
    }
}
