//! Sinks of type `syslog` and `packets`: receivers that say nothing, that answer, and that die in the middle.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use super::shipping::{shipping, start, write_paths};
use super::*;
use crate::wire::packet::{END, Frames};
use crate::wire::syslog::Framing;

fn syslog() -> Target {
    Target::Syslog { facility: 16, app_name: "edge".into() }
}

/// What came on all connections, one after the other.
type Came = Arc<Mutex<Vec<Vec<u8>>>>;

/// Takes connections: reads `most` bytes of the first and lets it break, reads all of the others.
fn receiver(most: usize) -> (std::net::SocketAddr, Came) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let (address, came) = (listener.local_addr().unwrap(), Came::default());
    let keeping = Arc::clone(&came);
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            keeping.lock().unwrap().push(Vec::new());
            let mut part = [0; 512];
            while let Ok(read @ 1..) = stream.read(&mut part) {
                let mut came = keeping.lock().unwrap();
                came[number].extend_from_slice(&part[..read]);
                if number == 0 && came[0].len() >= most {
                    // Closed with bytes that were not read: the sender sees a reset.
                    let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                    break;
                }
            }
        }
    });
    (address, came)
}

/// The paths of whole messages on one connection.
fn paths(bytes: &[u8]) -> BTreeSet<String> {
    let mut framing = Framing::new(8 << 10);
    framing.buffer.extend_from_slice(bytes);
    let mut paths = BTreeSet::new();
    while let Ok(Some(message)) = framing.message() {
        let text = String::from_utf8(message.to_vec()).unwrap();
        let object: Value = serde_json::from_str(&text[text.find('{').unwrap()..]).unwrap();
        paths.extend(object["path"].as_str().map(str::to_owned));
    }
    paths
}

#[tokio::test]
async fn what_a_receiver_that_broke_may_not_have_goes_to_the_next_connection() {
    let dir = tempfile::tempdir().unwrap();
    let (address, came) = receiver(700);
    let (log, running) = start(shipping(syslog(), address, dir.path()));
    for round in 0..20 {
        write_paths(&log, 10);
        drained(&running.metrics(), 10 * (round + 1)).await;
    }
    let all: BTreeSet<String> = (0..10).map(|number| format!("/{number}")).collect();
    // All that the first connection took come again.
    let messages = || -> usize {
        let came = came.lock().unwrap();
        came.iter().skip(1).map(|bytes| String::from_utf8_lossy(bytes).matches("\"path\":").count()).sum()
    };
    until("all but at most one, which was read whole, on the next connection", || messages() >= 199).await;
    assert!(came.lock().unwrap().iter().skip(1).any(|bytes| paths(bytes) == all));
    running.stop(GRACE).await;
}

/// A service for packets that answers each by what the test says; `None` is no answer. Keeps what came.
fn service(
    mut answer: impl FnMut(&Value) -> Option<i64> + Send + 'static,
) -> (std::net::SocketAddr, Arc<Mutex<Vec<Value>>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let (address, came) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<Value>>>::default());
    let keeping = Arc::clone(&came);
    thread::spawn(move || {
        for stream in listener.incoming() {
            serve(stream.unwrap(), &mut answer, &keeping);
        }
    });
    (address, came)
}

fn serve(mut stream: TcpStream, answer: &mut impl FnMut(&Value) -> Option<i64>, came: &Mutex<Vec<Value>>) {
    let (mut frames, mut part) = (Frames::new(16 << 10), [0; 4096]);
    while let Ok(read @ 1..) = stream.read(&mut part) {
        frames.buffer.extend_from_slice(&part[..read]);
        let (packets, is_lost) = frames.take();
        assert!(!is_lost && packets.iter().all(|packet| packet.is_ascii()));
        for packet in packets {
            let packet: Value = serde_json::from_slice(&packet).unwrap();
            let code = answer(&packet).filter(|_| packet["key"] != 0);
            if let Some(code) = code {
                let said = format!(r#"{{"key":{},"errorcode":{code},"errormessage":"so"}}"#, packet["key"]);
                stream.write_all(&[said.as_bytes(), END].concat()).unwrap();
            }
            came.lock().unwrap().push(packet);
        }
    }
}

fn packets() -> Target {
    Target::Packets { is_distributor: false }
}

#[tokio::test]
async fn a_record_counts_when_the_answer_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut is_first = true;
    let (address, came) = service(move |packet| {
        Some(match packet["params"]["path"].as_str() {
            Some("/3") if std::mem::take(&mut is_first) => 3,
            Some("/5") => 1,
            _ => 0,
        })
    });
    let (log, running) = start(shipping(packets(), address, dir.path()));
    write_paths(&log, 10);
    drained(&running.metrics(), 10).await;
    let report = running.stop(GRACE).await;
    assert!(report.undelivered.is_empty() && report.waiting.is_empty(), "{report:?}");
    let came = came.lock().unwrap();
    let times = |path: &str| came.iter().filter(|packet| packet["params"]["path"] == *path).count();
    assert_eq!((times("/3"), times("/5"), times("/7")), (2, 1, 1));
    let keys: BTreeSet<u64> = came.iter().map(|packet| packet["key"].as_u64().unwrap()).collect();
    assert!(keys.len() == came.len() && !keys.contains(&0), "each has a key of its own");
    let dead = lines_of(&dir.path().join("dead.jsonl"));
    assert_eq!(
        (dead.len(), &dead[0]["record"]["path"], &dead[0]["why"]),
        (1, &"/5".into(), &"errorcode 1: so".into())
    );
}

#[tokio::test]
async fn a_receiver_without_answers_is_asked_for_one_once() {
    let dir = tempfile::tempdir().unwrap();
    let (address, came) = service(|_| None);
    let (log, running) = start(shipping(packets(), address, dir.path()));
    write_paths(&log, 10);
    drained(&running.metrics(), 10).await;
    let report = running.stop(GRACE).await;
    assert!(report.undelivered.is_empty() && report.waiting.is_empty(), "{report:?}");
    // It says nothing, so we may be done before it has read what the socket took.
    until("it has read all of it", || came.lock().unwrap().len() >= 11).await;
    let came = came.lock().unwrap();
    let asked = came.iter().filter(|packet| packet["key"] != 0).count();
    assert_eq!((came.len(), asked), (11, 1), "ten and the stop");
}

#[tokio::test]
async fn what_a_slow_receiver_has_answered_does_not_go_again() {
    const WINDOW: usize = 128;
    const TIMEOUT: Duration = Duration::from_secs(1);
    let dir = tempfile::tempdir().unwrap();
    let mut count = 0;
    let (address, came) = service(move |_| {
        count += 1;
        // Each window is answered in time, all of them together are not.
        if count % WINDOW == 0 {
            thread::park_timeout(TIMEOUT * 35 / 100);
        }
        Some(0)
    });
    let far = shipping(packets(), address, dir.path());
    let far = ShippingSettings { timeout: TIMEOUT, linger: Duration::from_millis(200), ..far };
    let (log, running) = start(far);
    for _ in 0..3 {
        write_paths(&log, 200);
    }
    drained(&running.metrics(), 600).await;
    let report = running.stop(GRACE).await;
    assert!(report.undelivered.is_empty() && report.waiting.is_empty(), "{report:?}");
    assert_eq!(came.lock().unwrap().len(), 601, "all of them once, and the stop");
}
