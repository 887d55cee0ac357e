//! A raw HTTP/1 client: sends exactly the bytes that it is given, over TCP or TLS, whole or byte by byte.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::DEADLINE;

/// How the bytes of a request are cut into writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Whole,
    ByteByByte,
}

/// A byte stream with a TCP socket below it.
pub(crate) trait Stream: Read + Write + Send {
    fn socket(&self) -> &TcpStream;
}

impl Stream for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Stream for StreamOwned<ClientConnection, TcpStream> {
    fn socket(&self) -> &TcpStream {
        &self.sock
    }
}

/// One HTTP/1 connection.
pub(crate) struct Http1 {
    pub(crate) reader: Reader<Box<dyn Stream>>,
}

impl Http1 {
    pub(crate) fn plain(address: SocketAddr) -> Self {
        Self::over(Box::new(tcp(address)))
    }

    /// A connection whose handshake is complete.
    pub(crate) fn tls(address: SocketAddr, name: &str, config: &Arc<ClientConfig>) -> io::Result<Self> {
        Ok(Self::over(Box::new(tls(address, name, config)?)))
    }

    pub(crate) fn over(stream: Box<dyn Stream>) -> Self {
        Self { reader: Reader::new(stream) }
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        self.reader.inner.socket()
    }

    /// Sends bytes as they are. A peer that already hung up is no error: its answer is what the test looks at.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.send_way(bytes.as_ref(), Way::Whole);
        self
    }

    pub(crate) fn send_way(&mut self, bytes: &[u8], way: Way) {
        let size = if way == Way::Whole { bytes.len().max(1) } else { 1 };
        for piece in bytes.chunks(size) {
            if self.reader.inner.write_all(piece).and_then(|()| self.reader.inner.flush()).is_err() {
                return;
            }
        }
    }

    /// Sends bytes and says whether the connection took them.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.inner.write_all(bytes)?;
        self.reader.inner.flush()
    }

    /// Sends a request and reads its answer.
    #[track_caller]
    pub(crate) fn ask(&mut self, request: impl AsRef<[u8]>) -> Answer {
        let head = request.as_ref().starts_with(b"HEAD ");
        self.send(request);
        self.reader.answer(head).unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    #[track_caller]
    pub(crate) fn answer(&mut self) -> Answer {
        self.reader.answer(false).unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    /// Whether the peer has closed (or reset) the connection within `time`; whatever still arrives is dropped.
    pub(crate) fn closes_within(&mut self, time: Duration) -> bool {
        let end = Instant::now() + time;
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            let _ = self.socket().set_read_timeout(Some(left));
            match self.reader.fill() {
                Ok(true) => self.reader.buffer.clear(),
                Ok(false) => return true,
                Err(error) if is_timeout(&error) => return false,
                Err(_) => return true,
            }
        }
        false
    }

    /// Drops the connection with a reset instead of an orderly end.
    pub(crate) fn reset(self) {
        reset(self.socket());
    }
}

/// Makes the coming close of `socket` a reset.
pub(crate) fn reset(socket: &TcpStream) {
    let _ = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO));
}

pub(crate) fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap_or_else(|e| panic!("cannot connect to {address}: {e}"));
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

pub(crate) fn tls(
    address: SocketAddr,
    name: &str,
    config: &Arc<ClientConfig>,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let mut session = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
    let mut socket = tcp(address);
    while session.is_handshaking() {
        session.complete_io(&mut socket)?;
    }
    Ok(StreamOwned::new(session, socket))
}

/// One connection for one request: everything that came back until the peer closed or fell silent.
pub(crate) fn one_shot(mut connection: Http1, request: &[u8], way: Way) -> (Result<Answer, io::Error>, bool) {
    connection.send_way(request, way);
    let answer = connection.reader.answer(request.starts_with(b"HEAD "));
    let closed = connection.closes_within(Duration::from_secs(3));
    (answer, closed)
}

pub(crate) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Names and values as they came.
pub(crate) type Fields = Vec<(String, String)>;

/// What came back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
    /// Status codes of the interim (1xx) answers before.
    pub(crate) interim: Vec<u16>,
    /// The body ended as its framing promised.
    pub(crate) complete: bool,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let hits = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        hits.map(|(_, value)| value.as_str()).collect()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub(crate) fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// Reads HTTP/1 messages from a stream.
pub(crate) struct Reader<R> {
    pub(crate) inner: R,
    pub(crate) buffer: Vec<u8>,
}

impl<R: Read> Reader<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, buffer: Vec::new() }
    }

    /// Reads once; false at the end of the stream.
    pub(crate) fn fill(&mut self) -> io::Result<bool> {
        let mut piece = [0; 64 * 1024];
        let n = self.inner.read(&mut piece)?;
        self.buffer.extend_from_slice(&piece[..n]);
        Ok(n > 0)
    }

    fn need(&mut self, size: usize) -> io::Result<()> {
        while self.buffer.len() < size {
            if !self.fill()? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    pub(crate) fn take(&mut self, size: usize) -> io::Result<Vec<u8>> {
        self.need(size)?;
        Ok(self.buffer.drain(..size).collect())
    }

    pub(crate) fn line(&mut self) -> io::Result<String> {
        let mut from = 0;
        loop {
            if let Some(at) = find_bytes(&self.buffer[from..], b"\r\n") {
                let line = self.buffer.drain(..from + at + 2).collect::<Vec<_>>();
                return Ok(latin1(&line[..line.len() - 2]));
            }
            from = self.buffer.len().saturating_sub(1);
            self.need(self.buffer.len() + 1)?;
        }
    }

    /// Start line and fields of a head; `None` when the stream ended before its first byte.
    pub(crate) fn head(&mut self) -> io::Result<Option<(String, Fields)>> {
        if self.buffer.is_empty() && !self.fill()? {
            return Ok(None);
        }
        let start = self.line()?;
        Ok(Some((start, self.fields()?)))
    }

    pub(crate) fn fields(&mut self) -> io::Result<Fields> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(fields);
            }
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            fields.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
        }
    }

    pub(crate) fn chunk(&mut self) -> io::Result<Vec<u8>> {
        let line = self.line()?;
        let digits = line.split(';').next().unwrap_or("").trim();
        let size = usize::from_str_radix(digits, 16).map_err(|_| bad(&format!("chunk size {line:?}")))?;
        let data = self.take(size)?;
        if size > 0 && self.take(2)? != b"\r\n" {
            return Err(bad("a chunk does not end with CRLF"));
        }
        Ok(data)
    }

    pub(crate) fn chunked(&mut self) -> io::Result<(Vec<u8>, Fields)> {
        let mut body = Vec::new();
        loop {
            let piece = self.chunk()?;
            if piece.is_empty() {
                return Ok((body, self.fields()?));
            }
            body.extend_from_slice(&piece);
        }
    }

    fn answer_head(&mut self) -> io::Result<Answer> {
        let mut interim = Vec::new();
        loop {
            let Some((line, headers)) = self.head()? else { return Err(ErrorKind::UnexpectedEof.into()) };
            let code = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5));
            let status =
                code.and_then(|c| c.parse().ok()).ok_or_else(|| bad(&format!("status line {line:?}")))?;
            if (100..200).contains(&status) && status != 101 {
                interim.push(status);
                continue;
            }
            return Ok(Answer { status, headers, interim, complete: true, ..Answer::default() });
        }
    }

    /// Reads the head of an answer and leaves its body in the stream.
    pub(crate) fn answer_start(&mut self) -> io::Result<Answer> {
        self.answer_head()
    }

    /// Reads one answer with its body. A body that breaks off is kept with `complete: false`.
    pub(crate) fn answer(&mut self, to_head: bool) -> io::Result<Answer> {
        let mut answer = self.answer_head()?;
        if to_head || answer.status == 101 || answer.status == 204 || answer.status == 304 {
            return Ok(answer);
        }
        if let Err(error) = self.answer_body(&mut answer) {
            if is_timeout(&error) {
                return Err(error);
            }
            answer.complete = false;
        }
        Ok(answer)
    }

    fn answer_body(&mut self, answer: &mut Answer) -> io::Result<()> {
        if answer.header("transfer-encoding").is_some() {
            loop {
                let piece = self.chunk()?;
                if piece.is_empty() {
                    answer.trailers = self.fields()?;
                    return Ok(());
                }
                answer.body.extend_from_slice(&piece);
            }
        }
        if let Some(length) = answer.header("content-length") {
            let length = length.parse().map_err(|_| bad("content-length"))?;
            if let Err(error) = self.need(length) {
                answer.body = std::mem::take(&mut self.buffer);
                return Err(error);
            }
            answer.body = self.take(length)?;
            return Ok(());
        }
        while self.fill()? {}
        answer.body = std::mem::take(&mut self.buffer);
        Ok(())
    }
}

fn bad(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what.to_owned())
}

pub(crate) fn find_bytes(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|window| window == needle)
}

/// Bytes as text, one character each, so that nothing is lost.
pub(crate) fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}
