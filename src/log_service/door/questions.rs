//! `GET /logs/show|top|stats|explain|compare`: see [`crate::log_service::exec`]; one JSON object with its `report`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};
use tokio::time;

use super::answer::{self, Answer};
use super::{Desk, tail};
use crate::log_service::exec::{self, AnswerError, Control, Parts, Question};

/// Stops the scan when nobody waits for its answer any more.
struct Waiting(Arc<Control>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.stop();
    }
}

pub(super) async fn ask(question: Question, query: Option<&str>, desk: &Arc<Desk>) -> Answer {
    let values = match tail::arguments(query.unwrap_or_default()) {
        Ok(values) => values,
        Err(reason) => return answer::refusal(StatusCode::BAD_REQUEST, &reason),
    };
    let Ok(place) = Arc::clone(&desk.searches).try_acquire_owned() else {
        return answer::later("slow_down", "too many searches are running", 2);
    };
    let others = desk.limits.searches.saturating_sub(desk.searches.available_permits() + 1);
    let waiting = Waiting(Arc::default());
    let limits = exec::Limits::of_bytes(desk.limits.group_bytes(others));
    let (store, control) = (desk.store.clone(), Arc::clone(&waiting.0));
    let told = tokio::task::spawn_blocking(move || {
        let _place = place;
        let parts = Parts::new(store.parts());
        exec::answer(question, &values, Timestamp::now(), &parts, limits, &control)
    });
    answer_while(told, waiting, tail::HEARTBEAT).await
}

/// What a question comes to.
type Told = Result<Value, AnswerError>;

/// The answer when it comes within `beat`. Otherwise its head leaves at once, and an empty line each `beat` shows that somebody
/// is at work: connections on which nothing moves are closed at both ends.
async fn answer_while(mut told: JoinHandle<Told>, waiting: Waiting, beat: Duration) -> Answer {
    if let Ok(told) = time::timeout(beat, &mut told).await {
        return match value(told) {
            Ok(told) => answer::json(StatusCode::OK, &told),
            Err((status, reason)) => answer::refusal(status, &reason),
        };
    }
    let (sender, receiver) = mpsc::channel(2);
    tokio::spawn(async move {
        let _waiting = waiting;
        let mut beats = time::interval(beat.max(Duration::from_millis(1)));
        loop {
            let line = tokio::select! {
                told = &mut told => {
                    let told = value(told).unwrap_or_else(|(_, reason)| json!({ "error": reason }));
                    // Nobody is there any more: then nobody misses it.
                    let _ = sender.send(Bytes::from(format!("{told}\n"))).await;
                    return;
                }
                () = sender.closed() => return,
                _ = beats.tick() => Bytes::from_static(b"\n"),
            };
            // Full is as good as sent.
            let _ = sender.try_send(line);
        }
    });
    answer::lines(receiver)
}

fn value(told: Result<Told, JoinError>) -> Result<Value, (StatusCode, String)> {
    match told {
        Ok(Ok(told)) => Ok(told),
        Ok(Err(AnswerError::Question(reason))) => Err((StatusCode::BAD_REQUEST, reason)),
        Ok(Err(error)) => {
            tracing::error!(%error, "a question to the log could not be answered");
            Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
        }
        Err(_) => Err((StatusCode::INTERNAL_SERVER_ERROR, "the question could not be answered".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    /// The body of an answer that is not there before two signs of life are.
    async fn body(told: Told) -> String {
        let (go_on, wait) = tokio::sync::oneshot::channel::<()>();
        let task = tokio::task::spawn_blocking(move || {
            let _ = wait.blocking_recv();
            told
        });
        let answer = answer_while(task, Waiting(Arc::default()), Duration::from_millis(1)).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let mut body = answer.into_body();
        for _ in 0..2 {
            assert_eq!(&body.frame().await.unwrap().unwrap().into_data().unwrap()[..], b"\n");
        }
        go_on.send(()).unwrap();
        String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn while_a_long_question_is_answered_the_connection_shows_life() {
        let text = body(Ok(json!({ "a": 1 }))).await;
        assert_eq!(text.trim_start(), "{\"a\":1}\n");
        let text = body(Err(AnswerError::Question("no".to_owned()))).await;
        assert_eq!(text.trim_start(), "{\"error\":\"no\"}\n");
    }
}
