//! `GET /logs/tail?q=FILTER&n=50` and `GET /logs/search?q=FILTER&since=15m&until=…&n=100&sort=ts|dur`: JSON lines.
//!
//! With `n` (at most 10 000) the newest rows, oldest first, or with `sort=dur` the slowest, slowest first; without all of
//! them.
//!
//! A search ends with `{"kind":"report",…}`: without that line the answer was cut short. To a request with `Prefer:
//! progress` it says every now and then how far it is: `{"kind":"progress","looked":n,"of":n}`. A tail never ends; every
//! empty line in it only shows that the connection lives, and `{"kind":"skipped","count":n}` says that the reader was
//! too slow for n entries.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time;

use super::answer::{self, Answer, Waiting};
use super::{Desk, questions};
use crate::log_service::exec::{self, Control, ExecError, Found, Parts, Sort};
use crate::log_service::query::{Query, moment};
use crate::log_service::read::{Flow, Scan, Window};
use crate::log_service::store::{Counts, Group, Store};

/// Chunks that wait for a slow reader.
const CHUNKS: usize = 16;
const CHUNK_BYTES: usize = 64 << 10;
/// Shorter than the idle timeout, so that a living connection is never taken for a dead one.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(10);
/// A reader that takes nothing for so long is cut off.
const PATIENCE: Duration = Duration::from_secs(30);
/// Most rows that a tail may ask to begin with.
const MAX_BEGIN: usize = 10_000;

/// Asked-for rows, from the query of the URI.
struct Asked {
    query: Query,
    window: Window,
    count: Option<usize>,
    sort: Sort,
}

impl Asked {
    fn parse(query: Option<&str>) -> Result<Self, String> {
        let values = arguments(query.unwrap_or_default())?;
        let get = |name: &str| values.get(name).map(String::as_str).filter(|value| !value.is_empty());
        if let Some(unknown) =
            values.keys().find(|name| !["q", "since", "until", "n", "sort"].contains(&name.as_str()))
        {
            return Err(format!("unknown argument `{unknown}`: there is q, since, until, n, sort"));
        }
        let filter = Query::parse(get("q").unwrap_or_default()).map_err(|error| error.to_string())?;
        let now = Timestamp::now();
        let time = |text: Option<&str>| {
            text.map(|text| moment::parse(text, now)).transpose().map_err(|e| e.to_string())
        };
        let since = get("since").filter(|since| *since != "all");
        let window = Window { since: time(since)?, until: time(get("until"))? };
        let count = get("n").map(str::parse).transpose().map_err(|_| "n must be a number".to_owned())?;
        let sort = match get("sort").unwrap_or("ts") {
            "ts" => Sort::Newest,
            "dur" => Sort::Slowest,
            other => return Err(format!("sort={other}: there is ts, dur")),
        };
        if count.is_some_and(|count| count > MAX_BEGIN) {
            return Err(format!("n is at most {MAX_BEGIN}: ask again with until= the time of the last row"));
        }
        Ok(Self { query: filter, window, count, sort })
    }
}

pub(super) fn arguments(query: &str) -> Result<HashMap<String, String>, String> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = value.replace('+', " ");
        let value = percent_decode_str(&value).decode_utf8().map_err(|_| format!("`{name}` is not UTF-8"))?;
        Ok((name.to_owned(), value.into_owned()))
    });
    pairs.collect()
}

/// All matching rows, oldest first, or the newest `n`.
pub(super) async fn search(query: Option<&str>, wants_progress: bool, desk: &Arc<Desk>) -> Answer {
    let asked = match Asked::parse(query) {
        Ok(asked) => asked,
        Err(reason) => return answer::refusal(StatusCode::BAD_REQUEST, &reason),
    };
    let Some(place) = desk.search_place() else { return answer::no_search_place() };
    let (sender, receiver) = mpsc::channel(CHUNKS);
    let (waiting, store) = (Waiting::default(), desk.store.clone());
    let control = waiting.control();
    tokio::spawn(heartbeat(sender.downgrade(), wants_progress.then(|| Arc::clone(&control))));
    tokio::task::spawn_blocking(move || {
        let mut out = Chunks { sender, waiting: Vec::new() };
        if let Err(error) = find(&store, asked, &control, &mut out) {
            out.object(&json!({ "kind": "error", "error": error.to_string() }));
        }
        out.flush();
        drop(out);
        questions::release_after(&control);
        drop(place);
    });
    answer::lines(receiver, Some(waiting))
}

fn find(store: &Store, asked: Asked, control: &Control, out: &mut Chunks) -> Result<(), ExecError> {
    let parts = Parts::new(store.parts());
    let wanted = exec::Asked::new(asked.query, asked.window);
    let report = if let Some(count) = asked.count {
        let Found { mut rows, report } = exec::search(&parts, &wanted, asked.sort, count, control)?;
        if asked.sort == Sort::Newest {
            rows.reverse();
        }
        rows.iter().for_each(|row| out.line(row.as_bytes()));
        report
    } else {
        exec::rows(&parts, &wanted, control, &mut |row| {
            out.line(row.as_bytes());
            if out.sender.is_closed() { Flow::Break(()) } else { Flow::Continue(()) }
        })?
    };
    let mut report = serde_json::to_value(report).map_err(std::io::Error::from)?;
    report["kind"] = "report".into();
    out.object(&report);
    Ok(())
}

/// A long walk that finds nothing must not look like a dead connection; who wants it is told how far it is.
async fn heartbeat(sender: mpsc::WeakSender<Bytes>, progress: Option<Arc<Control>>) {
    loop {
        time::sleep(if progress.is_some() { questions::STEP } else { HEARTBEAT }).await;
        let Some(sender) = sender.upgrade() else { return };
        let beat = progress.as_deref().map_or(Bytes::from_static(b"\n"), questions::progress_line);
        // Full is as good as sent: then bytes are moving, or the connection's own watch ends it.
        if let Err(mpsc::error::TrySendError::Closed(_)) = sender.try_send(beat) {
            return;
        }
    }
}

/// Lines gathered into chunks, for a reader behind a bounded channel. Only for blocking threads.
struct Chunks {
    sender: mpsc::Sender<Bytes>,
    waiting: Vec<u8>,
}

impl Chunks {
    fn line(&mut self, line: &[u8]) {
        self.waiting.extend_from_slice(line);
        self.waiting.push(b'\n');
        if self.waiting.len() >= CHUNK_BYTES {
            self.flush();
        }
    }

    fn object(&mut self, value: &Value) {
        self.line(value.to_string().as_bytes());
    }

    fn flush(&mut self) {
        let chunk = Bytes::from(std::mem::take(&mut self.waiting));
        // A reader that has gone is noticed by the walk.
        let _ = self.sender.blocking_send(chunk);
    }
}

/// The last `n` rows, then what comes.
pub(super) async fn tail(query: Option<&str>, desk: &Arc<Desk>) -> Answer {
    let asked = match Asked::parse(query) {
        Ok(asked) => asked,
        Err(reason) => return answer::refusal(StatusCode::BAD_REQUEST, &reason),
    };
    let Ok(place) = Arc::clone(&desk.tails).try_acquire_owned() else {
        return answer::later("slow_down", "too many live tails are open", 10);
    };
    let (sender, receiver) = mpsc::channel(CHUNKS);
    let waiting = Waiting::default();
    tokio::spawn(follow(asked, Arc::clone(desk), sender, (place, waiting.control())));
    answer::lines(receiver, Some(waiting))
}

async fn follow(
    asked: Asked,
    desk: Arc<Desk>,
    sender: mpsc::Sender<Bytes>,
    (_place, control): (OwnedSemaphorePermit, Arc<Control>),
) {
    // Subscribed before looking back: a row in between is shown twice rather than never.
    let mut groups = desk.store.tail();
    // What comes while we look back may be more than is kept for us: that is told, too.
    let mut expected = desk.counts().accepted.load(Ordering::Relaxed);
    if begin(&asked, &desk, &sender, &control).await.is_none() {
        return;
    }
    loop {
        let chunk = tokio::select! {
            () = desk.stopped() => return,
            () = sender.closed() => return,
            group = groups.recv() => match group {
                Ok(group) => {
                    let chunk = chunk_of(&group, expected, &asked.query, desk.counts());
                    expected = expected.max(group.first + group.count);
                    chunk
                }
                // The next group's number tells how many lines were skipped.
                Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return,
            },
            () = time::sleep(HEARTBEAT) => Bytes::from_static(b"\n"),
        };
        if !chunk.is_empty() && sender.send_timeout(chunk, PATIENCE).await.is_err() {
            return;
        }
    }
}

/// The rows to begin with; nothing when nobody waits for them any more.
async fn begin(
    asked: &Asked,
    desk: &Desk,
    sender: &mpsc::Sender<Bytes>,
    control: &Arc<Control>,
) -> Option<()> {
    // The head of the answer leaves with its first bytes; the client should know that it is connected.
    sender.send(Bytes::from_static(b"\n")).await.ok()?;
    if asked.count.unwrap_or(0) == 0 {
        return Some(());
    }
    let mut looking = pin!(look_back(asked, desk, control));
    loop {
        tokio::select! {
            text = &mut looking => return sender.send(text?).await.ok(),
            () = desk.stopped() => {
                control.stop();
                return None;
            }
            () = sender.closed() => return None,
            // Full is as good as sent.
            () = time::sleep(HEARTBEAT) => drop(sender.try_send(Bytes::from_static(b"\n"))),
        }
    }
}

/// The newest rows, oldest first, by one of few threads.
async fn look_back(asked: &Asked, desk: &Desk, control: &Arc<Control>) -> Option<Bytes> {
    let place = Arc::clone(&desk.beginnings).acquire_owned().await.ok()?;
    let count = asked.count.unwrap_or(0).min(MAX_BEGIN);
    let (query, window, store) = (asked.query.clone(), asked.window, desk.store.clone());
    let control = Arc::clone(control);
    let newest = tokio::task::spawn_blocking(move || {
        // Until the walk has ended, not only until nobody waits for it.
        let _place = place;
        let (parts, asked) = (Parts::new(store.parts()), exec::Asked::new(query, window));
        exec::search(&parts, &asked, Sort::Newest, count, &control)
    });
    let newest = newest.await.ok()?.ok()?;
    let text = newest.rows.iter().rev().flat_map(|row| [row.as_str(), "\n"]).collect::<String>();
    // Never empty.
    Some(Bytes::from(format!("{text}\n")))
}

fn chunk_of(group: &Group, expected: u64, query: &Query, counts: &Counts) -> Bytes {
    let mut chunk = Vec::new();
    let skipped = group.first.saturating_sub(expected);
    if skipped > 0 {
        Counts::add(&counts.tail_skipped, skipped);
        chunk.extend_from_slice(format!("{}\n", json!({ "kind": "skipped", "count": skipped })).as_bytes());
    }
    let mut scan = Scan::new(query.clone(), Window::default());
    for batch in &group.batches {
        // Rows go on until all are looked at.
        let _ = scan.batch(batch, &mut |_, row| {
            chunk.extend_from_slice(row.json.as_bytes());
            chunk.push(b'\n');
            Flow::Continue(())
        });
    }
    Bytes::from(chunk)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::super::answer::Body;
    use super::super::tests::desk;
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn beginnings_of_tails_take_turns_and_show_that_they_are_connected() {
        let (desk, _service, _data) = desk().await;
        let busy = Arc::clone(&desk.beginnings).acquire_many_owned(2).await.unwrap();
        assert_eq!(desk.beginnings.available_permits(), 0, "these are all");
        let mut body = tail(Some("n=2"), &desk).await.into_body();
        let mut next = async || {
            let frame = time::timeout(PATIENCE, body.frame()).await.unwrap().unwrap();
            String::from_utf8(frame.unwrap().into_data().unwrap().to_vec()).unwrap()
        };
        assert_eq!(next().await, "\n", "while it waits for its turn");
        drop(busy);
        let rows = next().await;
        assert_eq!(rows.lines().filter(|row| row.contains("/f")).count(), 2, "{rows}");
    }

    #[tokio::test]
    async fn who_leaves_a_tail_stops_its_beginning() {
        let (desk, _service, _data) = desk().await;
        let answer = tail(Some("n=2"), &desk).await;
        let Body::Stream(_, Some(waiting)) = answer.body() else { panic!("a stream that can be stopped") };
        let control = waiting.control();
        let asked = Asked::parse(Some("n=2")).unwrap();
        assert!(look_back(&asked, &desk, &control).await.is_some());
        drop(answer);
        assert!(look_back(&asked, &desk, &control).await.is_none(), "the scan was stopped");
        let all = u32::try_from(desk.limits.tails).unwrap();
        assert!(time::timeout(PATIENCE, desk.tails.acquire_many(all)).await.unwrap().is_ok());
    }
}
