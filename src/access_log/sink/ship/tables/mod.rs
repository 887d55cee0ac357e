//! Every row of the retry tables of the forms that go over HTTP: a server answers what the row says, and it is looked at
//! what becomes of eight records. The clock is the test's own and moves only while the sink pauses: no row takes its time.

mod clickhouse;
mod elasticsearch;
mod http;
mod loki;
mod otlp;

use std::future::Future;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::*;
use crate::access_log::settings::SpoolSettings;
use crate::access_log::shipping::DeadLetter;
use crate::access_log::sink::tries::Tries;
use crate::access_log::sink::{Sink, Stop};
use crate::access_log::spool;
use crate::access_log::tests::scripted::{Asked, Reply, Scripted};

const RECORDS: usize = 8;
/// More than any row needs: then all is taken, so that one that does not hold ends as well.
const MOST_REQUESTS: u32 = 100;
const BACKOFF: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// The first pause where nobody says how long.
const FIRST: RangeInclusive<Duration> = Duration::from_millis(500)..=BACKOFF;

/// Holds the clock while it is there: bytes of a socket take their time, and none of the clock's.
#[derive(Clone, Default)]
struct Ice(Arc<Mutex<Option<mpsc::Sender<()>>>>);

impl Ice {
    fn freeze(&self) {
        let (held, melts) = mpsc::channel();
        *self.0.lock().unwrap() = Some(held);
        // The clock does not go on by itself while a thread works for the runtime.
        tokio::task::spawn_blocking(move || melts.recv());
    }

    fn melt(&self) {
        self.0.lock().unwrap().take();
    }
}

/// A delivery, with the pauses that it makes.
struct OnIce<F> {
    delivery: Pin<Box<F>>,
    metrics: Arc<SinkMetrics>,
    ice: Ice,
    failures: u64,
    since: Option<Instant>,
    pauses: Vec<Duration>,
}

impl<F: Future> Future for OnIce<F> {
    type Output = (F::Output, Vec<Duration>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(since) = self.since.take() {
            self.pauses.push(since.elapsed());
            self.ice.freeze();
        }
        if let Poll::Ready(end) = self.delivery.as_mut().poll(cx) {
            return Poll::Ready((end, std::mem::take(&mut self.pauses)));
        }
        let failures = self.metrics.retries.load(Ordering::Relaxed);
        if std::mem::replace(&mut self.failures, failures) < failures {
            self.since = Some(Instant::now());
            self.ice.melt();
        }
        Poll::Pending
    }
}

impl<F> Drop for OnIce<F> {
    fn drop(&mut self) {
        self.ice.melt();
    }
}

/// What has become of the records.
struct Seen {
    /// The numbers of the records of each request.
    asked: Vec<Vec<usize>>,
    requests: Vec<Asked>,
    pauses: Vec<Duration>,
    letters: Vec<Value>,
    refused: u64,
}

/// Delivers eight records at once to a server that answers `reply`, or, where that is none, that it has them.
async fn run(target: &Target, mut reply: impl FnMut(&Asked) -> Option<Reply> + Send + 'static) -> Seen {
    let directory = tempfile::tempdir().unwrap();
    let (ice, taken) = (Ice::default(), target.clone());
    let melting = ice.clone();
    let mut left = MOST_REQUESTS;
    let requests = Arc::new(Mutex::new(Vec::new()));
    let asked_for = Arc::clone(&requests);
    let server = Scripted::start(move |asked| {
        left -= 1;
        // Before the clock goes on: the sink may ask again at once.
        asked_for.lock().unwrap().push(asked.clone());
        let reply = if left > 0 { reply(asked) } else { None };
        let reply = reply.unwrap_or_else(|| took(&taken));
        if matches!(reply, Reply::Silence) {
            // The sink waits for it, on its clock.
            melting.melt();
        }
        reply
    });
    let dead = directory.path().join("dead.jsonl");
    let settings = ShippingSettings {
        target: target.clone(),
        backoff: BACKOFF,
        backoff_max: BACKOFF_MAX,
        dead_letter: Some(DeadLetter { path: dead.clone(), rotate_bytes: 0, keep: 0 }),
        ..tests::settings(server.address.port())
    };
    let metrics = Arc::new(SinkMetrics::default());
    let (_writer, readers) = spool::open(SpoolSettings::default(), vec![Arc::clone(&metrics)]);
    let shipping = ShippingSink::new(settings, &Reopen::default(), Arc::clone(&metrics)).unwrap();
    let pace = shipping.pace();
    let mut tries = Tries::new(Arc::clone(&metrics), readers[0].blame(), pace, 7);
    let (mut sink, mut parcel) = (Sink::Shipping(Box::new(shipping)), parcel());
    let (_tell, stop) = watch::channel(None);
    let mut stop = Stop::new(stop);
    let delivery = Box::pin(tries.deliver(&mut sink, &mut parcel, &mut stop));
    ice.freeze();
    let on_ice =
        OnIce { delivery, metrics: Arc::clone(&metrics), ice, failures: 0, since: None, pauses: Vec::new() };
    let (end, pauses) = on_ice.await;
    assert!(end.is_ok(), "{end:?}");
    let letters = std::fs::read_to_string(dead).unwrap_or_default();
    let letters: Vec<Value> = letters.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let requests: Vec<Asked> = requests.lock().unwrap().clone();
    let refused = metrics.refused.load(Ordering::Relaxed);
    assert_eq!(
        metrics.retries.load(Ordering::Relaxed),
        pauses.len() as u64,
        "each failure is followed by a pause"
    );
    assert_eq!(refused, parcel.todo.refused);
    Seen { asked: requests.iter().map(records).collect(), requests, pauses, letters, refused }
}

fn parcel() -> Parcel {
    let (mut text, mut items) = (String::new(), Vec::new());
    for number in 0..RECORDS {
        let line = json!({ "kind": "request", "proxy": "edge-1", "path": format!("record-{number}"), "status": 200 });
        let begin = text.len();
        text.push_str(&line.to_string());
        items.push(Item {
            place: begin..text.len(),
            id: [number as u8 + 1; 16],
            is_open: false,
            ts_us: 1_795_338_840_000_000,
            status: 200,
            seq: Some((0, number as u64)),
        });
        text.push('\n');
    }
    Parcel { chunks: vec![Bytes::from(text)], has_lines: true, items, ..Parcel::default() }
}

/// Which records are in it, whatever the form.
fn records(asked: &Asked) -> Vec<usize> {
    let is_there =
        |number: &usize| memchr::memmem::find(&asked.body, format!("record-{number}").as_bytes()).is_some();
    (0..RECORDS).filter(is_there).collect()
}

fn all() -> Vec<usize> {
    (0..RECORDS).collect()
}

/// What a server answers that has all of it.
fn took(target: &Target) -> Reply {
    match target {
        Target::Elasticsearch { .. } => full(200, r#"{"took":1,"errors":false}"#),
        Target::Loki { .. } | Target::Http => Reply::Status(204),
        _ => Reply::Status(200),
    }
}

fn full(status: u16, text: &str) -> Reply {
    Reply::Full(status, Vec::new(), text.to_owned())
}

/// What the table says of an answer.
#[derive(Clone, Debug)]
enum Then {
    /// The records do not go again.
    Taken,
    /// All of them go again, after such a pause.
    Again(RangeInclusive<Duration>),
    /// As long as it is answered, all of them go again, with pauses that grow.
    Held,
    /// As long as it is answered, every third try is with half of them, down to an eighth; nothing is given up.
    Eased,
    /// The first half goes alone, then the second.
    Halved,
    /// Halved, down to the one that is a dead letter with this status, and these words in its reason.
    Refused(u16, &'static str),
}

struct Row {
    name: String,
    reply: Arc<dyn Fn() -> Reply + Send + Sync>,
    then: Then,
}

fn row(name: impl Into<String>, reply: impl Fn() -> Reply + Send + Sync + 'static, then: Then) -> Row {
    Row { name: name.into(), reply: Arc::new(reply), then }
}

/// The same for each of these statuses.
fn rows(statuses: impl IntoIterator<Item = u16>, then: fn(u16) -> Then) -> Vec<Row> {
    let of = |status: u16| row(status.to_string(), move || full(status, "so it is"), then(status));
    statuses.into_iter().map(of).collect()
}

fn refused(status: u16) -> Then {
    Then::Refused(status, "so it is")
}

/// 503 with this `Retry-After`.
fn after(text: impl Fn() -> String + Send + Sync) -> impl Fn() -> Reply + Send + Sync {
    move || Reply::Full(503, vec![("retry-after", text())], String::new())
}

fn date(seconds_later: u64) -> String {
    httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(seconds_later))
}

/// Whatever the form: no answer, half of one, and how long who asks for a pause is waited for.
fn common() -> Vec<Row> {
    let seconds = |seconds: u64| Duration::from_secs(seconds);
    // Whole milliseconds: the timer has no finer ones.
    let exactly = |pause: u64| Then::Again(seconds(pause)..=seconds(pause) + Duration::from_millis(2));
    vec![
        row("half an answer", || Reply::Half, Then::Again(FIRST)),
        row("a reset", || Reply::Reset, Then::Again(FIRST)),
        row("resets without end", || Reply::Reset, Then::Eased),
        row("503", || Reply::Status(503), Then::Again(FIRST)),
        row("in 7 s", after(|| "7".to_owned()), exactly(7)),
        // A date has whole seconds, and those of the machine go on.
        row("at a time", after(|| date(20)), Then::Again(seconds(10)..=seconds(20))),
        row("at once", after(|| "0".to_owned()), exactly(1)),
        row("in an hour", after(|| "3600".to_owned()), exactly(30)),
        row("at a time of tomorrow", after(|| date(86_400)), exactly(30)),
        row("in the past", after(|| "Sun, 06 Nov 1994 08:49:37 GMT".to_owned()), Then::Again(FIRST)),
        row("no time", after(|| "soon".to_owned()), Then::Again(FIRST)),
    ]
}

async fn check(target: Target, table: Vec<Row>) {
    for Row { name, reply, then } in table {
        let at = format!("{target:?}: {name}");
        match then {
            Then::Taken => {
                let seen = run(&target, move |_| Some(reply())).await;
                assert_eq!(seen.asked, [all()], "{at}");
                assert!(seen.letters.is_empty() && seen.pauses.is_empty(), "{at}");
            }
            Then::Again(pause) => {
                let mut left = 1;
                let seen = run(&target, move |_| times(&mut left, &*reply)).await;
                assert_eq!(seen.asked, [all(), all()], "{at}");
                assert!(pause.contains(&seen.pauses[0]) && seen.pauses.len() == 1, "{at}: {:?}", seen.pauses);
                assert_eq!((seen.letters.len(), seen.refused), (0, 0), "{at}");
            }
            Then::Held => {
                const TIMES: usize = 20;
                let mut left = TIMES;
                let seen = run(&target, move |_| times(&mut left, &*reply)).await;
                assert_eq!(seen.asked, vec![all(); TIMES + 1], "{at}");
                for (number, pause) in seen.pauses.iter().enumerate() {
                    let longest = (BACKOFF * (1 << number.min(5))).min(BACKOFF_MAX);
                    let pauses = longest / 2..=longest + Duration::from_millis(2);
                    assert!(pauses.contains(pause), "{at}: {:?}", seen.pauses);
                }
                assert_eq!((seen.letters.len(), seen.refused), (0, 0), "{at}");
            }
            Then::Eased => {
                const TIMES: usize = 20;
                let mut left = TIMES;
                let seen = run(&target, move |_| times(&mut left, &*reply)).await;
                let firsts = |asked: &Vec<usize>| *asked == (0..asked.len()).collect::<Vec<_>>();
                let (tries, taken) = seen.asked.split_at(TIMES);
                let sizes: Vec<usize> = tries.iter().map(Vec::len).collect();
                assert_eq!(sizes[..10], [8, 8, 8, 4, 4, 4, 2, 2, 2, 1], "{at}");
                assert!(sizes[10..].iter().all(|size| *size == 1) && tries.iter().all(firsts), "{at}");
                assert_eq!(taken, [vec![0], vec![1], vec![2, 3], vec![4, 5, 6, 7]], "{at}");
                assert_eq!((seen.letters.len(), seen.refused), (0, 0), "{at}");
            }
            Then::Halved => {
                let many = move |asked: &Asked| (records(asked).len() > 2).then(|| reply());
                let seen = run(&target, many).await;
                let halves =
                    [vec![0, 1, 2, 3], vec![0, 1], vec![2, 3], vec![4, 5, 6, 7], vec![4, 5], vec![6, 7]];
                assert_eq!((&seen.asked[0], &seen.asked[1..]), (&all(), &halves[..]), "{at}");
                assert!(seen.letters.is_empty() && seen.pauses.is_empty(), "{at}");
            }
            Then::Refused(status, words) => {
                let bad = move |asked: &Asked| records(asked).contains(&3).then(|| reply());
                let seen = run(&target, bad).await;
                let halves = [vec![0, 1, 2, 3], vec![0, 1], vec![2, 3], vec![2], vec![3], vec![4, 5, 6, 7]];
                assert_eq!((&seen.asked[0], &seen.asked[1..]), (&all(), &halves[..]), "{at}");
                assert_letter(&seen, status, words, &at);
                assert!(seen.pauses.is_empty(), "{at}");
            }
        }
    }
}

/// Record 3 is the only one that is refused.
fn assert_letter(seen: &Seen, status: u16, words: &str, at: &str) {
    assert_eq!((seen.letters.len(), seen.refused), (1, 1), "{at}: {:?}", seen.letters);
    let letter = &seen.letters[0];
    assert_eq!((&letter["status"], &letter["record"]["path"]), (&status.into(), &"record-3".into()), "{at}");
    assert!(letter["why"].as_str().unwrap().contains(words), "{at}: {letter}");
}

fn times(left: &mut usize, reply: &(dyn Fn() -> Reply + Send + Sync)) -> Option<Reply> {
    *left = left.checked_sub(1)?;
    Some(reply())
}

/// 413, down to one record; and a server that never answers.
async fn check_size_and_silence(target: Target) {
    let bad = |asked: &Asked| records(asked).contains(&3).then_some(Reply::Status(413));
    let seen = run(&target, bad).await;
    assert_letter(&seen, 413, "it is too large for the other side, even alone", &format!("{target:?}"));

    let mut left = 1;
    let seen = run(&target, move |_| times(&mut left, &|| Reply::Silence)).await;
    assert_eq!(seen.asked, [all(), vec![0, 1, 2, 3], vec![4, 5, 6, 7]], "maybe it was too much at once");
    assert!(seen.pauses.len() == 1 && FIRST.contains(&seen.pauses[0]), "{target:?}: {:?}", seen.pauses);
    assert!(seen.letters.is_empty(), "{target:?}");
}
