//! `GET /logs/show|top|stats|explain|compare|audit`: see [`crate::log_service::exec`]; one JSON object with its `report`.
//!
//! A request with `Prefer: progress` whose answer takes long is answered in JSON lines: `{"kind":"progress","looked":n,"of":n}`
//! every now and then, in rows, and the object (or `{"error":"…"}`) as the last line. Without that wish there are empty lines
//! instead, every ten seconds: connections on which nothing moves are closed at both ends. A client that closes its
//! connection stops the scan.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::{JoinError, JoinHandle};
use tokio::time;

use super::answer::{self, Answer, Waiting};
use super::{Desk, tail};
use crate::log_service::exec::{self, AnswerError, Control, Parts, Question};
use crate::log_service::verify;
use crate::process::memory;

/// Answers within this time are told without progress.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often it is told how far a scan is.
pub(super) const STEP: Duration = Duration::from_millis(300);

/// To give memory back costs less than a look at so many rows, by far.
const MANY_ROWS: u64 = 1 << 18;

type Told = Result<Value, AnswerError>;

/// Whether the sender wants to hear how far a scan is (RFC 7240).
pub(super) fn wants_progress(headers: &HeaderMap) -> bool {
    let wishes = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    wishes.flat_map(|value| value.split(',')).any(|wish| wish.trim().eq_ignore_ascii_case("progress"))
}

pub(super) async fn ask(
    question: Question,
    query: Option<&str>,
    wants_progress: bool,
    desk: &Arc<Desk>,
) -> Answer {
    let values = match tail::arguments(query.unwrap_or_default()) {
        Ok(values) => values,
        Err(reason) => return answer::refusal(StatusCode::BAD_REQUEST, &reason),
    };
    let Some(place) = desk.search_place() else { return answer::no_search_place() };
    let waiting = Waiting::default();
    let told = begin(question, values, desk, waiting.control(), place);
    let pace = if wants_progress { Pace::TELLING } else { Pace::ALIVE };
    answer_while(told, waiting, pace).await
}

/// When something is said while a question is answered, and whether that is how far it is.
#[derive(Clone, Copy, Debug)]
struct Pace {
    first: Duration,
    then: Duration,
    tells: bool,
}

impl Pace {
    const TELLING: Self = Self { first: PATIENCE, then: STEP, tells: true };
    const ALIVE: Self = Self { first: tail::HEARTBEAT, then: tail::HEARTBEAT, tells: false };
}

async fn answer_while(mut told: JoinHandle<Told>, waiting: Waiting, pace: Pace) -> Answer {
    match time::timeout(pace.first, &mut told).await {
        Ok(told) => whole(told),
        Err(_) => {
            let (sender, receiver) = mpsc::channel(1);
            tokio::spawn(follow(told, waiting.control(), sender, pace));
            answer::lines(receiver, Some(waiting))
        }
    }
}

fn begin(
    question: Question,
    values: HashMap<String, String>,
    desk: &Desk,
    control: Arc<Control>,
    place: OwnedSemaphorePermit,
) -> JoinHandle<Told> {
    let others = desk.limits.searches.saturating_sub(desk.searches.available_permits() + 1);
    let limits = exec::Limits::of_bytes(desk.limits.group_bytes(others));
    let (store, data, buckets) = (desk.store.clone(), desk.data.clone(), desk.buckets.clone());
    tokio::task::spawn_blocking(move || {
        let _place = place;
        let pending = || store.unchained();
        let told = verify::answer(question, &values, (&data, &pending), &control, |values| {
            let parts = Parts::new(store.parts());
            let mut told = exec::answer(question, values, Timestamp::now(), &parts, limits, &control)?;
            if question == Question::Audit {
                told["sinks"] = buckets.told(&store).into();
            }
            Ok(told)
        });
        release_after(&control);
        told
    })
}

/// After a walk over many rows: the allocator would keep for this thread what the walk has left, and the next question may be
/// another thread's.
pub(super) fn release_after(control: &Control) {
    let (looked, _) = control.progress();
    if looked >= MANY_ROWS {
        memory::release();
    }
}

/// Says something until it is done.
async fn follow(mut told: JoinHandle<Told>, control: Arc<Control>, sender: mpsc::Sender<Bytes>, pace: Pace) {
    let told = loop {
        let line = if pace.tells { progress_line(&control) } else { Bytes::from_static(b"\n") };
        // A reader that is too slow for this hears of it the next time.
        let _ = sender.try_send(line);
        if let Ok(told) = time::timeout(pace.then, &mut told).await {
            break told;
        }
    };
    let (_, last) = object(told);
    // Who has gone needs no answer.
    let _ = sender.send(Bytes::from(format!("{last}\n"))).await;
}

pub(super) fn progress_line(control: &Control) -> Bytes {
    let (looked, of) = control.progress();
    Bytes::from(format!("{}\n", json!({ "kind": "progress", "looked": looked, "of": of })))
}

fn whole(told: Result<Told, JoinError>) -> Answer {
    let (status, told) = object(told);
    answer::json(status, &told)
}

fn object(told: Result<Told, JoinError>) -> (StatusCode, Value) {
    let refusal = |status, reason: &str| (status, json!({ "error": reason }));
    match told {
        Ok(Ok(told)) => (StatusCode::OK, told),
        Ok(Err(AnswerError::Question(reason))) => refusal(StatusCode::BAD_REQUEST, &reason),
        Ok(Err(error)) => {
            tracing::error!(%error, "a question to the log could not be answered");
            refusal(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string())
        }
        Err(_) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "the question could not be answered"),
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::super::tests::{desk, scan_until_stopped};
    use super::*;

    #[tokio::test]
    async fn a_long_question_says_how_far_it_is_before_it_is_answered() {
        let (done, wait) = oneshot::channel::<()>();
        let told = tokio::spawn(async move {
            let _ = wait.await;
            Ok(json!({ "rows": 7 }))
        });
        let (sender, mut lines) = mpsc::channel(1);
        tokio::spawn(follow(told, Arc::default(), sender, Pace::TELLING));
        let line = lines.recv().await.unwrap();
        assert_eq!(line, "{\"kind\":\"progress\",\"looked\":0,\"of\":0}\n");
        done.send(()).unwrap();
        let mut last = line;
        while let Some(line) = lines.recv().await {
            last = line;
        }
        assert_eq!(last, "{\"rows\":7}\n");
    }

    #[tokio::test]
    async fn a_long_question_shows_life_to_those_who_do_not_want_to_hear_how_far_it_is() {
        use http_body_util::BodyExt;
        let (done, wait) = oneshot::channel::<()>();
        let told = tokio::spawn(async move {
            let _ = wait.await;
            Err(AnswerError::Question("no".to_owned()))
        });
        let beat = Duration::from_millis(1);
        let pace = Pace { first: beat, then: beat, ..Pace::ALIVE };
        let answer = answer_while(told, Waiting::default(), pace).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let mut body = answer.into_body();
        for _ in 0..2 {
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "\n");
        }
        done.send(()).unwrap();
        let rest = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        assert_eq!(rest.trim_start(), "{\"error\":\"no\"}\n");
    }

    #[tokio::test]
    async fn dropping_the_answer_of_a_question_stops_its_scan() {
        let (desk, _service, _data) = desk().await;
        let at_once = Duration::from_millis(1);
        for first in [at_once, Duration::from_hours(1)] {
            let (waiting, (stopped, hear)) = (Waiting::default(), oneshot::channel());
            let (control, asked) = (waiting.control(), Arc::clone(&desk));
            let told = tokio::task::spawn_blocking(move || {
                scan_until_stopped(&asked, &control);
                let _ = stopped.send(());
                Ok(Value::Null)
            });
            let control = waiting.control();
            let answer = answer_while(told, waiting, Pace { first, then: at_once, tells: true });
            // Before its head has left, and after.
            drop(time::timeout(Duration::from_millis(20), answer).await);
            time::timeout(Duration::from_secs(20), hear).await.unwrap().unwrap();
            scan_until_stopped(&desk, &control);
        }
    }

    #[test]
    fn progress_is_told_to_those_who_ask_for_it() {
        let wants = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("prefer", http::HeaderValue::from_static(text));
            wants_progress(&headers)
        };
        assert!(wants("progress") && wants("wait=9, Progress") && !wants("respond-async"));
    }
}
