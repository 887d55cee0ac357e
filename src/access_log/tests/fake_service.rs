//! A log service that does what its script says, and acknowledges everything afterwards.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

use crate::access_log::Form;
use crate::access_log::render::Lines;
use crate::record::frame::Frame;
use crate::record::id::IdSource;

pub(super) enum Answer {
    Status(u16),
    /// Closes the connection after the first bytes of the body.
    DieMidBody,
    /// Reads everything and closes the connection without a word.
    DieSilently,
    /// Acknowledges when the test says so.
    Hold(Receiver<()>),
}

#[derive(Clone, Default)]
pub(super) struct FakeService {
    acknowledged: Arc<Mutex<Vec<u8>>>,
    script: Arc<Mutex<VecDeque<Answer>>>,
    /// Knows lines only.
    is_old: bool,
}

impl FakeService {
    pub(super) fn listen(path: &Path, script: impl IntoIterator<Item = Answer>) -> Self {
        Self::default().on(path, script)
    }

    /// One that answers 404 to frames.
    pub(super) fn old(path: &Path) -> Self {
        Self { is_old: true, ..Self::default() }.on(path, [])
    }

    fn on(self, path: &Path, script: impl IntoIterator<Item = Answer>) -> Self {
        let service = self;
        service.script.lock().unwrap().extend(script);
        let listener = UnixListener::bind(path).unwrap();
        let serving = service.clone();
        // Ends with the test process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (serving, stream) = (serving.clone(), stream.unwrap());
                thread::spawn(move || serving.serve(stream));
            }
        });
        service
    }

    /// Everything that was acknowledged, in order.
    pub(super) fn lines(&self) -> Vec<Value> {
        let bytes = self.acknowledged.lock().unwrap();
        bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).map(read).collect()
    }

    /// How many answers are still to be given by the script.
    pub(super) fn script_len(&self) -> usize {
        self.script.lock().unwrap().len()
    }

    fn serve(&self, stream: UnixStream) {
        let mut reader = BufReader::new(stream);
        while let Some((has_frames, length)) = read_head(&mut reader) {
            let answer = self.script.lock().unwrap().pop_front();
            if matches!(answer, Some(Answer::DieMidBody)) {
                reader.read_exact(&mut vec![0; length.min(10)]).unwrap();
                return;
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let status = match answer {
                Some(Answer::DieSilently) => return,
                Some(Answer::Status(status)) => status,
                Some(Answer::Hold(release)) => release.recv().map_or(200, |()| 200),
                _ if self.is_old && has_frames => 404,
                _ => 200,
            };
            if status == 200 {
                let lines = if has_frames { lines_of(&body) } else { body };
                self.acknowledged.lock().unwrap().extend_from_slice(&lines);
            }
            let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n");
            if reader.get_mut().write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }
}

fn read(line: &[u8]) -> Value {
    serde_json::from_slice(line).unwrap()
}

fn lines_of(mut frames: &[u8]) -> Vec<u8> {
    let (mut lines, mut out) = (Lines::new(Form::Json, IdSource::new(0).unwrap()), Vec::new());
    while !frames.is_empty() {
        let frame = Frame::parse(frames).unwrap();
        assert_eq!(lines.frame(&frame, &mut out), 0);
        frames = &frames[frame.len..];
    }
    out
}

/// Whether the body has frames, and its length; `None` at the end of the connection.
fn read_head(reader: &mut BufReader<UnixStream>) -> Option<(bool, usize)> {
    let (mut has_frames, mut length) = (false, None);
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end().to_ascii_lowercase().split_once(": ") {
            Some(("content-length", value)) => length = value.parse().ok(),
            Some(("content-type", value)) => {
                let expected =
                    if has_frames { "application/vnd.tollgate.frames" } else { "application/x-ndjson" };
                assert_eq!(value, expected);
            }
            None if line == "\r\n" => return Some((has_frames, length.expect("a body of known length"))),
            None if line == "POST /frames HTTP/1.1\r\n" => has_frames = true,
            None => assert_eq!(line, "POST /logs HTTP/1.1\r\n"),
            _ => {}
        }
    }
}
