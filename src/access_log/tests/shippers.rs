//! The sinks `forward` and `lumberjack`, against receivers that do what the test says.

use std::net::SocketAddr;
use std::sync::Mutex;

use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::shipping::{dead, shipping, start, write_paths, write_ten};
use super::*;
use crate::access_log::{Credentials, ShippingSettings, Target, Token};
use crate::wire::forward::{self, Piece, handshake};
use crate::wire::lumberjack::{self, Frame};

/// What a receiver does with the next group.
#[derive(Clone, Copy, Debug)]
enum Act {
    Acknowledge,
    /// It hangs up without a word.
    HangUp,
    /// The connection is reset.
    Reset,
    /// No answer, ever.
    Silence,
    /// Something that is no acknowledgement of this.
    Nonsense,
    /// So many of the group are acknowledged, then it hangs up (Lumberjack).
    Partly(u32),
    /// It says twice that it is still at it, longer than a sender waits (Lumberjack).
    Slowly,
}

/// What is done with each group, by its number and content.
type Script = dyn Fn(usize, &Group) -> Act + Send + std::marker::Sync;

/// Groups as they came, each with the paths of its records.
#[derive(Clone, Default)]
struct Receiver {
    groups: Arc<Mutex<Vec<Group>>>,
}

#[derive(Clone, Debug, Default)]
struct Group {
    paths: Vec<String>,
    events: Vec<Value>,
    chunk: Option<Vec<u8>>,
    is_taken: bool,
}

impl Receiver {
    /// Does what `act` says with each group, by its number and content.
    async fn start(
        is_forward: bool,
        key: Option<&'static str>,
        act: impl Fn(usize, &Group) -> Act + Send + std::marker::Sync + 'static,
    ) -> (Self, SocketAddr) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (receiver, act) = (Self::default(), Arc::new(act));
        let serving = receiver.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (receiver, act) = (serving.clone(), Arc::clone(&act));
                tokio::spawn(async move {
                    match is_forward {
                        true => receiver.forward(stream, key, &*act).await,
                        false => receiver.lumberjack(stream, &*act).await,
                    }
                });
            }
        });
        (receiver, address)
    }

    async fn forward(&self, stream: TcpStream, key: Option<&str>, act: &Script) {
        let mut reader = forward::Reader::new(BufReader::new(stream), 1 << 20);
        if let Some(key) = key {
            let nonce = handshake::nonce().unwrap();
            reader.whole().unwrap().write_all(&handshake::helo(&nonce)).await.unwrap();
            let Ok(ping) = reader.value(handshake::MAX_MESSAGE).await else { return };
            let (pong, let_in) = handshake::pong(&ping, &nonce, key, "receiver");
            reader.whole().unwrap().write_all(&pong).await.unwrap();
            if let_in.is_err() {
                return;
            }
        }
        while let Ok(true) = reader.ready().await {
            let mut group = Group::default();
            loop {
                match reader.next().await {
                    Ok(Piece::Entry(text)) => group.push(&text),
                    Ok(Piece::End(chunk)) => break group.chunk = chunk.map(|chunk| chunk.to_vec()),
                    other => panic!("{other:?}"),
                }
            }
            let act = self.judge(&group, act);
            let stream = reader.whole().unwrap();
            let answer = match act {
                Act::Acknowledge => forward::ack(group.chunk.as_ref().unwrap()),
                Act::Nonsense => forward::ack(b"\xa3abc"),
                other => return end(stream.get_ref(), other).await,
            };
            let _ = stream.write_all(&answer).await;
        }
    }

    async fn lumberjack(&self, stream: TcpStream, act: &Script) {
        let (reading, mut writing) = stream.into_split();
        let mut reader = lumberjack::Reader::new(BufReader::new(reading), 1 << 20);
        let (mut group, mut count) = (Group::default(), 0);
        while let Ok(true) = reader.ready().await {
            match reader.next().await.unwrap() {
                None => {}
                Some(Frame::Window(window)) => count = window,
                Some(Frame::Event { text, .. }) => group.push(&text.unwrap()),
            }
            if count == 0 || group.events.len() < count as usize {
                continue;
            }
            let group = std::mem::take(&mut group);
            let acks: Vec<u32> = match self.judge(&group, act) {
                // Said twice, the second would be one for the next window.
                Act::Acknowledge if count == 1 => vec![1],
                Act::Acknowledge => vec![1, count],
                Act::Nonsense => vec![count + 1],
                Act::Partly(some) => {
                    let _ = writing.write_all(&lumberjack::ack(b'2', some)).await;
                    return;
                }
                Act::Slowly => {
                    for _ in 0..2 {
                        tokio::time::sleep(PATIENCE * 2 / 3).await;
                        writing.write_all(&lumberjack::ack(b'2', 0)).await.unwrap();
                    }
                    vec![count]
                }
                other => return end(writing.as_ref(), other).await,
            };
            for seq in acks {
                let _ = writing.write_all(&lumberjack::ack(b'2', seq)).await;
            }
        }
    }

    fn judge(&self, group: &Group, act: &Script) -> Act {
        let mut groups = self.groups.lock().unwrap();
        let act = act(groups.len(), group);
        let is_taken = matches!(act, Act::Acknowledge | Act::Slowly);
        groups.push(Group { is_taken, ..group.clone() });
        act
    }

    fn groups(&self) -> Vec<Group> {
        self.groups.lock().unwrap().clone()
    }

    /// The paths that were acknowledged, in order.
    fn taken(&self) -> Vec<String> {
        let taken = self.groups().into_iter().filter(|group| group.is_taken);
        taken.flat_map(|group| group.paths).collect()
    }
}

impl Group {
    fn push(&mut self, text: &[u8]) {
        let event: Value = serde_json::from_slice(text).unwrap();
        self.paths.extend(event["path"].as_str().map(str::to_owned));
        self.events.push(event);
    }
}

async fn end(stream: &TcpStream, act: Act) {
    match act {
        Act::Reset => socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap(),
        Act::Silence => std::future::pending().await,
        _ => {}
    }
}

/// How long these sinks wait for an answer.
const PATIENCE: Duration = Duration::from_millis(300);

const ALL: [&str; 10] = ["/0", "/1", "/2", "/3", "/4", "/5", "/6", "/7", "/8", "/9"];

fn to_fluentd(key: Option<&str>) -> Target {
    Target::Forward { tag: "edge".into(), key: key.map(|key| Token(key.into())) }
}

/// Writes ten records to such a receiver; returns what it saw, and the dead letters.
async fn talk(
    target: Target,
    key: Option<&'static str>,
    change: impl FnOnce(&mut ShippingSettings),
    act: impl Fn(usize, &Group) -> Act + Send + std::marker::Sync + 'static,
) -> (Receiver, Vec<Value>, Arc<Metrics>) {
    let dir = tempfile::tempdir().unwrap();
    let (receiver, address) = Receiver::start(matches!(target, Target::Forward { .. }), key, act).await;
    let mut settings = ShippingSettings { timeout: PATIENCE, ..shipping(target, address, dir.path()) };
    change(&mut settings);
    let metrics = write_ten(settings).await;
    (receiver, dead(dir.path()), metrics)
}

fn sorted(mut paths: Vec<String>) -> Vec<String> {
    paths.sort();
    paths
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_is_taken_when_it_is_acknowledged_and_goes_again_with_the_same_id() {
    for (act, is_compressed) in
        [(Act::HangUp, true), (Act::Reset, false), (Act::Silence, true), (Act::Nonsense, false)]
    {
        let change = |settings: &mut ShippingSettings| settings.compress = is_compressed;
        let (receiver, dead, metrics) =
            talk(
                to_fluentd(None),
                None,
                change,
                move |number, _| if number == 0 { act } else { Act::Acknowledge },
            )
            .await;
        let groups = receiver.groups();
        assert_eq!((sorted(receiver.taken()), dead.len()), (ALL.map(str::to_owned).to_vec(), 0), "{act:?}");
        assert_eq!((&groups[0].paths, &groups[0].chunk), (&groups[1].paths, &groups[1].chunk), "{act:?}");
        assert_eq!(metrics.sinks[0].retries.load(Ordering::Relaxed), 1, "{act:?}");
        let event = groups.iter().flat_map(|group| &group.events).find(|event| event["path"] == "/1");
        assert_eq!(event.map(|event| (&event["tag"], &event["status"])), Some((&"edge".into(), &200.into())));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_with_a_shared_key_is_shown_it() {
    let user = |settings: &mut ShippingSettings| {
        settings.credentials = Credentials::User { name: "u".into(), password: Token("p".into()) };
    };
    let (receiver, _, _) = talk(to_fluentd(Some("k")), Some("k"), user, |_, _| Act::Acknowledge).await;
    assert_eq!(sorted(receiver.taken()), ALL);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_keeps_a_receiver_from_letting_us_in_is_told() {
    for (key, told) in [(Some("wrong"), "shared key mismatch"), (None, "it asks for a shared key")] {
        let dir = tempfile::tempdir().unwrap();
        let (receiver, address) = Receiver::start(true, Some("right"), |_, _| Act::Acknowledge).await;
        let settings =
            ShippingSettings { timeout: PATIENCE, ..shipping(to_fluentd(key), address, dir.path()) };
        let (log, running) = start(settings);
        write_paths(&log, 1);
        let metrics = running.metrics();
        let is_told = || metrics.sinks[0].trouble().is_some_and(|trouble| trouble.contains(told));
        until(told, is_told).await;
        assert!(receiver.groups().is_empty());
        running.stop(Duration::ZERO).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_on_which_the_receiver_hangs_up_is_found_and_blocks_nobody() {
    const BAD: [&str; 2] = ["/0", "/5"];
    for target in [to_fluentd(None), Target::Lumberjack] {
        let (receiver, dead, _) = talk(
            target,
            None,
            |_| {},
            |_, group| {
                let is_bad = |path: &String| BAD.contains(&path.as_str());
                if group.paths.iter().any(is_bad) { Act::HangUp } else { Act::Acknowledge }
            },
        )
        .await;
        let dead = dead.iter().map(|letter| letter["record"]["path"].as_str().unwrap().to_owned());
        assert_eq!(sorted(dead.collect()), BAD);
        let others = ALL.iter().filter(|path| !BAD.contains(path)).map(|path| (*path).to_owned());
        assert_eq!(sorted(receiver.taken()), others.collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_later_is_not_held_by_a_record_that_nothing_stands_behind() {
    for target in [to_fluentd(None), Target::Lumberjack] {
        let dir = tempfile::tempdir().unwrap();
        let hangs_up = |_: usize, group: &Group| match group.paths.iter().any(|path| path == "/0") {
            true => Act::HangUp,
            false => Act::Acknowledge,
        };
        let (receiver, address) =
            Receiver::start(matches!(target, Target::Forward { .. }), None, hangs_up).await;
        // Alone it would be tried ever more slowly.
        let slow = shipping(target, address, dir.path());
        let (log, running) = start(ShippingSettings { backoff_max: Duration::from_secs(3600), ..slow });
        write_paths(&log, 1);
        until("it is tried often", || receiver.groups().len() >= 8).await;
        assert!(dead(dir.path()).is_empty(), "maybe it is the receiver");
        for number in 1..=3u8 {
            let path = format!("/{number}");
            let id = [number + 1; 16];
            log.write(&Record { id, path: Some(path.as_bytes()), status: 200, ..Record::default() });
            until("the next one is taken", || receiver.taken().contains(&path)).await;
        }
        until("it is refused", || running.metrics().sinks[0].refused.load(Ordering::Relaxed) == 1).await;
        let metrics = running.metrics();
        let report = running.stop(GRACE).await;
        assert!(report.undelivered.is_empty() && report.waiting.is_empty(), "{report:?}");
        assert_eq!(sorted(receiver.taken()), ["/1", "/2", "/3"]);
        assert_eq!(dead(dir.path())[0]["record"]["path"], "/0");
        assert_eq!(metrics.sinks[0].written.load(Ordering::Relaxed), 4, "three and the stop");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_is_taken_when_it_is_acknowledged() {
    for act in [Act::HangUp, Act::Reset, Act::Silence, Act::Nonsense] {
        let (receiver, dead, metrics) = talk(
            Target::Lumberjack,
            None,
            |_| {},
            move |number, _| {
                if number == 0 { act } else { Act::Acknowledge }
            },
        )
        .await;
        assert_eq!((sorted(receiver.taken()), dead.len()), (ALL.map(str::to_owned).to_vec(), 0), "{act:?}");
        assert_eq!(metrics.sinks[0].retries.load(Ordering::Relaxed), 1, "{act:?}");
        let event = receiver.groups()[0].events[0].clone();
        assert_eq!(event["@metadata"]["beat"], "tollgate");
        assert!(event["@timestamp"].is_string());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_window_only_what_is_not_acknowledged_goes_again() {
    let (receiver, dead, _) = talk(
        Target::Lumberjack,
        None,
        |_| {},
        |_, group| match group.events.len() {
            1 => Act::Acknowledge,
            _ => Act::Partly(1),
        },
    )
    .await;
    let firsts = receiver.groups().into_iter().map(|group| group.events[0]["path"].clone());
    let paths: Vec<String> = firsts.filter_map(|path| Some(path.as_str()?.to_owned())).collect();
    assert_eq!((sorted(paths), dead.len()), (ALL.map(str::to_owned).to_vec(), 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_says_that_it_is_still_at_it_is_waited_for() {
    let (receiver, _, metrics) = talk(
        Target::Lumberjack,
        None,
        |settings| settings.linger = PATIENCE,
        |number, _| {
            if number == 0 { Act::Slowly } else { Act::Acknowledge }
        },
    )
    .await;
    assert_eq!(sorted(receiver.taken()), ALL);
    assert_eq!(metrics.sinks[0].retries.load(Ordering::Relaxed), 0);
}
