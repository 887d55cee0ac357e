//! What becomes of a message: pure on an injected clock, and over real sockets.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::super::message::{Message, State};
use super::super::outbox::{Next, Outbox, Outcome};
use super::super::target::Target;
use super::*;

fn message() -> Message {
    Message::test(&rule("when = \"errors > 5\""), 1, NOW)
}

fn failed(after: Option<u64>) -> Outcome {
    Outcome::Failed("it answers 500".to_owned(), after.map(Duration::from_secs))
}

#[test]
fn pauses_grow_and_after_an_hour_it_is_given_up() {
    let mut outbox = Outbox::default();
    outbox.put("ops", message(), NOW);
    let (mut now, mut pauses) = (NOW, Vec::new());
    loop {
        let parcel = outbox.due(now).pop().unwrap();
        assert!(outbox.due(now).is_empty(), "one try at a time");
        match outbox.done(parcel.number, &failed(None), now, 0.5) {
            Next::Again(due) => {
                assert!(outbox.due(due - 1).is_empty());
                pauses.push((due - now) / 1000);
                now = due;
            }
            Next::GivenUp => break,
            Next::Done => panic!("it was not taken"),
        }
    }
    assert_eq!(pauses[..10], [0, 1, 3, 6, 12, 24, 48, 96, 192, 225]);
    assert!(now - NOW <= 60 * MINUTE && now - NOW > 55 * MINUTE, "{}", now - NOW);
    assert!(outbox.due(now + 60 * MINUTE).is_empty());
}

#[test]
fn chance_spreads_those_who_come_back() {
    let due_with = |chance| {
        let mut outbox = Outbox::default();
        outbox.put("ops", message(), NOW);
        let number = outbox.due(NOW)[0].number;
        outbox.done(number, &failed(None), NOW, chance)
    };
    assert_eq!((due_with(0.0), due_with(1.0)), (Next::Again(NOW + 500), Next::Again(NOW + 1000)));
}

#[test]
fn what_a_server_asks_for_is_waited_for() {
    let mut outbox = Outbox::default();
    outbox.put("ops", message(), NOW);
    let number = outbox.due(NOW)[0].number;
    assert_eq!(outbox.done(number, &failed(Some(30)), NOW, 0.0), Next::Again(NOW + 30 * SECOND));
}

#[test]
fn a_refusal_is_final_and_holds_nobody_up() {
    let mut outbox = Outbox::default();
    outbox.put("ops", message(), NOW);
    outbox.put("ops", message(), NOW);
    let first = outbox.due(NOW).pop().unwrap();
    assert_eq!(outbox.done(first.number, &Outcome::Refused("404".to_owned()), NOW, 0.5), Next::GivenUp);
    let second = outbox.due(NOW).pop().unwrap();
    assert!(second.number > first.number);
    assert_eq!(outbox.done(second.number, &Outcome::Taken, NOW, 0.5), Next::Done);
}

#[test]
fn messages_arrive_in_order_and_targets_do_not_wait_for_each_other() {
    let mut outbox = Outbox::default();
    for to in ["ops", "web", "ops"] {
        outbox.put(to, message(), NOW);
    }
    let due = outbox.due(NOW);
    assert_eq!(due.iter().map(|parcel| parcel.to.as_str()).collect::<Vec<_>>(), ["ops", "web"]);
    outbox.done(due[0].number, &failed(Some(60)), NOW, 0.5);
    outbox.done(due[1].number, &Outcome::Taken, NOW, 0.5);
    assert!(outbox.due(NOW + SECOND).is_empty(), "the second waits behind the first");
}

#[test]
fn what_stands_behind_another_wakes_nobody() {
    let mut outbox = Outbox::default();
    outbox.put("ops", message(), NOW);
    outbox.put("ops", message(), NOW);
    let first = outbox.due(NOW).pop().unwrap();
    assert_eq!(outbox.next_due(), None, "the first is under way");
    outbox.done(first.number, &failed(Some(60)), NOW, 0.5);
    assert_eq!(outbox.next_due(), Some(NOW + 60 * SECOND), "the first waits");
}

#[test]
fn a_full_queue_drops_the_oldest_that_is_not_under_way() {
    let mut outbox = Outbox::default();
    outbox.put("ops", message(), NOW);
    let under_way = outbox.due(NOW)[0].number;
    for _ in 1..64 {
        assert!(outbox.put("ops", message(), NOW).is_none());
    }
    let dropped = outbox.put("ops", message(), NOW).unwrap();
    assert!(dropped.number > under_way && outbox.waiting("ops") == 64);
}

#[test]
fn a_newer_message_takes_the_place_of_waiting_reminders_of_its_alarm_only() {
    let of = |alert: &str, state: State| Message { alert: alert.to_owned(), state, ..message() };
    let mut outbox = Outbox::default();
    for (to, message) in [
        ("ops", of("a", State::Firing)),
        ("ops", of("a", State::Reminder)),
        ("ops", of("b", State::Reminder)),
        ("web", of("a", State::Reminder)),
        ("ops", of("a", State::Reminder)),
    ] {
        outbox.put(to, message, NOW);
    }
    let under_way: Vec<u64> = outbox.due(NOW).iter().map(|parcel| parcel.number).collect();
    let resolved = of("a", State::Resolved);
    let gone = ["ops", "web"].map(|to| outbox.supersede(to, &resolved).len());
    assert_eq!(gone, [2, 0], "what is under way stays");
    outbox.put("ops", resolved, NOW);
    for number in under_way {
        outbox.done(number, &Outcome::Taken, NOW, 0.5);
    }
    let mut sent = Vec::new();
    while let Some(parcel) = outbox.due(NOW).pop() {
        outbox.done(parcel.number, &Outcome::Taken, NOW, 0.5);
        sent.push((parcel.message.alert, parcel.message.state));
    }
    assert_eq!(sent, [("b".to_owned(), State::Reminder), ("a".to_owned(), State::Resolved)]);
}

#[test]
fn a_restart_sends_what_was_on_its_way_again() {
    let mut outbox = Outbox::default();
    outbox.put("ops", message(), NOW);
    outbox.due(NOW);
    let text = serde_json::to_string(&outbox).unwrap();
    let mut again: Outbox = serde_json::from_str(&text).unwrap();
    assert_eq!(again.due(NOW).len(), 1);
    assert!(again.event() > 1);
}

/// Answers each connection with the next of these texts, the last one for ever; an empty one is a reset. Gives its port and
/// what it was sent.
async fn scripted(answers: &[&str]) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (told, answers) = (Arc::clone(&seen), answers.iter().map(ToString::to_string).collect::<Vec<_>>());
    tokio::spawn(async move {
        for at in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answer = &answers[at.min(answers.len() - 1)];
            if answer.is_empty() {
                socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
                continue;
            }
            let mut text = Vec::new();
            let mut room = [0; 4096];
            while !is_whole(&text) {
                let count = stream.read(&mut room).await.unwrap();
                assert!(count > 0);
                text.extend_from_slice(&room[..count]);
            }
            told.lock().unwrap().push(String::from_utf8(text).unwrap());
            if answer != "hang" {
                let (status, rest) = answer.split_once("\r\n").unwrap_or((answer, ""));
                let (head, body) = rest.split_once("\r\n\r\n").unwrap_or((rest, ""));
                let head = if head.is_empty() { String::new() } else { format!("{head}\r\n") };
                let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\n{head}\r\n{body}");
                stream.write_all(answer.as_bytes()).await.unwrap();
            } else {
                std::mem::forget(stream);
            }
        }
    });
    (port, seen)
}

fn is_whole(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    body.len() >= length.parse().unwrap()
}

fn target(keys: &str) -> Target {
    let service = service(&format!("[notify.ops]\n{keys}"));
    Target::of(&service.alerts.notifies[0], &service)
}

fn words(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Taken => "taken",
        Outcome::Refused(why) | Outcome::Failed(why, _) => why,
    }
}

#[tokio::test]
async fn each_answer_of_a_server_means_something() {
    let slow_down = "429 Too Many Requests\r\nretry-after: 7\r\ncontent-length: 12\r\n\r\nrate_limited";
    let cases = [
        ("200 OK\r\ncontent-length: 2\r\n\r\nok", "taken", None),
        ("204 No Content", "taken", None),
        (slow_down, "it answers 429 Too Many Requests: rate_limited", Some(true)),
        (
            "500 Internal Server Error\r\ncontent-length: 0",
            "it answers 500 Internal Server Error",
            Some(true),
        ),
        ("503 Service Unavailable", "it answers 503 Service Unavailable", Some(true)),
        (
            "404 Not Found\r\ncontent-length: 10\r\n\r\nno_service",
            "it answers 404 Not Found: no_service",
            Some(false),
        ),
        ("302 Found\r\nlocation: https://elsewhere/", "it answers 302 Found", Some(false)),
        (
            "403 Forbidden\r\ncontent-length: 16\r\n\r\nno: /hooks/S3CRET",
            "it answers 403 Forbidden",
            Some(false),
        ),
    ];
    for (answer, wanted, again) in cases {
        let (port, _) = scripted(&[answer]).await;
        let outcome =
            target(&format!("slack = \"http://127.0.0.1:{port}/hooks/S3CRET\"")).deliver(&message()).await;
        assert!(words(&outcome).starts_with(wanted), "{answer}: {outcome:?}");
        assert!(!format!("{outcome:?}").contains("S3CRET"), "{outcome:?}");
        let is_again = match outcome {
            Outcome::Taken => None,
            Outcome::Failed(_, after) => {
                assert_eq!(after, (answer == slow_down).then(|| Duration::from_secs(7)));
                Some(true)
            }
            Outcome::Refused(_) => Some(false),
        };
        assert_eq!(is_again, again, "{answer}");
    }
}

#[tokio::test]
async fn resets_hanging_and_nobody_there_are_tried_again() {
    let (reset, _) = scripted(&[""]).await;
    let (hang, _) = scripted(&["hang"]).await;
    // Nobody listens where somebody has just stopped.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    for port in [reset, hang, gone] {
        let target = target(&format!("webhook = \"http://127.0.0.1:{port}/S3CRET\"\ntimeout = \"300ms\""));
        let outcome = target.deliver(&message()).await;
        assert!(matches!(outcome, Outcome::Failed(_, None)), "{outcome:?}");
        assert!(!format!("{outcome:?}{target:?}").contains("S3CRET"));
    }
}

#[tokio::test]
async fn a_webhook_gets_the_document_and_the_token() {
    let (port, seen) = scripted(&["200 OK\r\ncontent-length: 0"]).await;
    let target = target(&format!("webhook = \"http://127.0.0.1:{port}/in?room=1\"\ntoken = \"t0ken\""));
    assert_eq!(target.deliver(&message()).await, Outcome::Taken);
    let seen = seen.lock().unwrap().pop().unwrap();
    let (head, body) = seen.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /in?room=1 HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("authorization: Bearer t0ken\r\n"), "{head}");
    assert!(head.contains("content-type: application/json\r\n"), "{head}");
    assert_eq!(serde_json::from_str::<serde_json::Value>(body).unwrap(), message().document());
}

#[tokio::test]
async fn https_is_verified() {
    let (port, _) = scripted(&["200 OK"]).await;
    let target = target(&format!("slack = \"https://127.0.0.1:{port}/\"\ntimeout = \"300ms\""));
    assert!(matches!(target.deliver(&message()).await, Outcome::Failed(..)), "it speaks no TLS");
}

/// A program of the shell's language, which only stands in for any program.
fn command(script: &str) -> Target {
    target(&format!("command = [\"/bin/sh\", \"-c\", '''{script}''']\ntimeout = \"500ms\""))
}

#[tokio::test]
async fn a_command_gets_the_document_on_its_input_and_facts_in_its_environment() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("told");
    let script = format!(
        "(cat; echo \"$TOLLGATE_ALERT $TOLLGATE_ALERT_STATE $CARGO_MANIFEST_DIR\") > {}",
        file.display()
    );
    assert_eq!(command(&script).deliver(&message()).await, Outcome::Taken);
    let told = std::fs::read_to_string(file).unwrap();
    let (document, facts) = told.split_once('\n').unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(document).unwrap(), message().document());
    // Nothing else of our environment, which may hold secrets.
    assert_eq!(facts.trim_end(), "a test");
}

#[tokio::test]
async fn a_command_that_fails_floods_or_hangs_is_told() {
    let failed = command("echo 'no pager' >&2; exit 3").deliver(&message()).await;
    assert_eq!(failed, Outcome::Failed("exit status: 3: no pager".to_owned(), None));
    let Outcome::Failed(flood, _) =
        command("head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 1").deliver(&message()).await
    else {
        panic!("it failed")
    };
    assert!(flood.len() < 300, "{}", flood.len());
    let hung = command("sleep 60").deliver(&message()).await;
    assert_eq!(hung, Outcome::Failed("not done within 0.5 s".to_owned(), None));
    let missing = target("command = [\"/no/such/program\"]").deliver(&message()).await;
    assert!(words(&missing).starts_with("cannot start /no/such/program"), "{missing:?}");
    // What it leaves running neither delays the answer nor stays.
    assert_eq!(command("sleep 60 & exit 0").deliver(&message()).await, Outcome::Taken);
}
