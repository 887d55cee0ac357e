//! `GET /logs/show|top|stats|explain|compare`: see [`crate::log_service::exec`]; one JSON object with its `report`.

use std::sync::Arc;

use http::StatusCode;
use jiff::Timestamp;

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
    let waiting = Waiting(Arc::default());
    let (store, control) = (desk.store.clone(), Arc::clone(&waiting.0));
    let told = tokio::task::spawn_blocking(move || {
        let _place = place;
        exec::answer(question, &values, Timestamp::now(), &Parts::new(store.parts()), &control)
    });
    match told.await {
        Ok(Ok(told)) => answer::json(StatusCode::OK, &told),
        Ok(Err(AnswerError::Question(reason))) => answer::refusal(StatusCode::BAD_REQUEST, &reason),
        Ok(Err(error)) => {
            tracing::error!(%error, "a question to the log could not be answered");
            answer::refusal(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string())
        }
        Err(_) => answer::refusal(StatusCode::INTERNAL_SERVER_ERROR, "the question could not be answered"),
    }
}
