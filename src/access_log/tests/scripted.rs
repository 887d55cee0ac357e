//! A foreign log service over HTTP that answers what the test says, and keeps what it was asked.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use flate2::read::GzDecoder;

/// One request; the body as it was before compression.
#[derive(Clone, Debug)]
pub(in crate::access_log) struct Asked {
    pub(in crate::access_log) target: String,
    pub(in crate::access_log) headers: BTreeMap<String, String>,
    pub(in crate::access_log) body: Vec<u8>,
}

impl Asked {
    pub(in crate::access_log) fn lines(&self) -> Vec<&str> {
        std::str::from_utf8(&self.body).unwrap().lines().collect()
    }
}

pub(in crate::access_log) enum Reply {
    Status(u16),
    Full(u16, Vec<(&'static str, String)>, String),
    /// The head promises more than comes.
    Half,
    /// The connection is reset after the request was read.
    Reset,
    /// No answer, ever.
    Silence,
}

#[derive(Clone)]
pub(in crate::access_log) struct Scripted {
    pub(in crate::access_log) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    /// Longer bodies are answered 413 without being read.
    most: usize,
}

impl Scripted {
    /// Answers each request by `answer`; ends with the test process.
    pub(in crate::access_log) fn start(answer: impl FnMut(&Asked) -> Reply + Send + 'static) -> Self {
        Self::on(TcpListener::bind(("127.0.0.1", 0)).unwrap(), answer)
    }

    pub(in crate::access_log) fn on(
        listener: TcpListener,
        answer: impl FnMut(&Asked) -> Reply + Send + 'static,
    ) -> Self {
        Self::serving(listener, usize::MAX, answer)
    }

    /// Answers longer bodies with 413 after their head, and closes the connection on what comes of them.
    pub(super) fn with_limit(most: usize, answer: impl FnMut(&Asked) -> Reply + Send + 'static) -> Self {
        Self::serving(TcpListener::bind(("127.0.0.1", 0)).unwrap(), most, answer)
    }

    fn serving(
        listener: TcpListener,
        most: usize,
        answer: impl FnMut(&Asked) -> Reply + Send + 'static,
    ) -> Self {
        let scripted = Self { address: listener.local_addr().unwrap(), asked: Arc::default(), most };
        let (serving, answer) = (scripted.clone(), Arc::new(Mutex::new(answer)));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (serving, answer) = (serving.clone(), Arc::clone(&answer));
                thread::spawn(move || serving.serve(stream.unwrap(), &answer));
            }
        });
        scripted
    }

    pub(in crate::access_log) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    fn serve(&self, stream: TcpStream, answer: &Mutex<impl FnMut(&Asked) -> Reply>) {
        let mut reader = BufReader::new(stream);
        while let Some(asked) = read(&mut reader, self.most) {
            let reply = (answer.lock().unwrap())(&asked);
            self.asked.lock().unwrap().push(asked);
            let stream = reader.get_mut();
            let written = match reply {
                Reply::Status(status) => write!(stream, "HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n"),
                Reply::Full(status, headers, body) => {
                    let mut head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n", body.len());
                    headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
                    write!(stream, "{head}\r\n{body}")
                }
                Reply::Half => {
                    return drop(stream.write_all(b"HTTP/1.1 200 x\r\ncontent-length: 500\r\n\r\n{\"took\""));
                }
                Reply::Reset => {
                    let _ = socket2::SockRef::from(&*stream).set_linger(Some(std::time::Duration::ZERO));
                    return;
                }
                Reply::Silence => {
                    // Until the other side gives up.
                    let _ = stream.read(&mut [0; 1]);
                    return;
                }
            };
            if written.is_err() {
                return;
            }
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>, most: usize) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let target = line.split(' ').nth(1)?.to_owned();
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length")?.parse().ok()?;
    if length > most {
        // The reset overtakes the rest.
        let said = "HTTP/1.1 413 x\r\ncontent-length: 900\r\nconnection: close\r\n\r\ntoo large";
        let _ = reader.get_mut().write_all(said.as_bytes());
        return None;
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    if headers.get("content-encoding").is_some_and(|coding| coding == "gzip") {
        let mut plain = Vec::new();
        GzDecoder::new(&body[..]).read_to_end(&mut plain).ok()?;
        body = plain;
    }
    Some(Asked { target, headers, body })
}
