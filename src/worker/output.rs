//! What workers print, line by line. A worker never blocks on us: when the queue is full the line is dropped and
//! counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::sync::mpsc;

/// Longer lines are cut into pieces of this many bytes.
pub(super) const MAX_LINE: usize = 16 * 1024;

/// Which of its two outputs a worker wrote to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Out,
    Err,
}

/// One line that a worker printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// `app-0`.
    pub worker: Arc<str>,
    pub stream: Stream,
    /// Without its line end; bytes that are not UTF-8 are replaced. It may hold control characters.
    pub text: String,
    pub time: SystemTime,
}

/// Where lines go, for one output of one worker.
pub(super) struct Capture {
    pub(super) worker: Arc<str>,
    pub(super) stream: Stream,
    pub(super) lines: mpsc::Sender<Line>,
    pub(super) dropped: Arc<AtomicU64>,
}

impl Capture {
    /// Reads until the output is closed.
    pub(super) async fn run(self, output: impl AsyncRead + Unpin) {
        let mut reader = BufReader::new(output);
        let mut line = Vec::new();
        while let Ok(bytes) = reader.fill_buf().await {
            if bytes.is_empty() {
                break;
            }
            let end = memchr::memchr(b'\n', bytes);
            let taken = end.unwrap_or(bytes.len()).min(MAX_LINE - line.len());
            line.extend_from_slice(&bytes[..taken]);
            let is_whole = end == Some(taken);
            reader.consume(taken + usize::from(is_whole));
            if is_whole || line.len() == MAX_LINE {
                self.send(&mut line);
            }
        }
        if !line.is_empty() {
            self.send(&mut line);
        }
    }

    fn send(&self, line: &mut Vec<u8>) {
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        let text = String::from_utf8_lossy(line).into_owned();
        line.clear();
        let line =
            Line { worker: Arc::clone(&self.worker), stream: self.stream, text, time: SystemTime::now() };
        if self.lines.try_send(line).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn captured(input: &[u8], capacity: usize) -> (Vec<String>, u64) {
        let (lines, mut received) = mpsc::channel(capacity);
        let dropped = Arc::new(AtomicU64::new(0));
        let capture =
            Capture { worker: "app-0".into(), stream: Stream::Out, lines, dropped: Arc::clone(&dropped) };
        capture.run(input).await;
        let mut texts = Vec::new();
        while let Some(line) = received.recv().await {
            texts.push(line.text);
        }
        (texts, dropped.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn lines_lose_only_their_ends() {
        let (lines, _) = captured(b"one\r\n\ntwo \xff\nlast", 10).await;
        assert_eq!(lines, ["one", "", "two \u{fffd}", "last"]);
    }

    #[tokio::test]
    async fn long_lines_are_cut_and_nothing_is_lost() {
        let input = vec![b'x'; 2 * MAX_LINE + 10];
        let (lines, _) = captured(&input, 10).await;
        assert_eq!(lines.iter().map(String::len).collect::<Vec<_>>(), [MAX_LINE, MAX_LINE, 10]);
    }

    #[tokio::test]
    async fn a_full_queue_drops_lines_and_counts_them() {
        let (lines, dropped) = captured(b"1\n2\n3\n", 1).await;
        assert_eq!((lines.len(), dropped), (1, 2));
    }
}
