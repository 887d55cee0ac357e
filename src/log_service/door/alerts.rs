//! `GET /alerts`: how every alarm stands. `POST /alerts/test?name=NAME`: sends a message to all that it tells, once, and says what
//! came of it. `POST /alerts/silence?name=NAME&for=1h`: nobody is told of it for so long; `for=0s` ends that.

use std::sync::Arc;

use http::{Method, StatusCode};
use serde_json::json;

use super::answer::{self, Answer};
use super::{Desk, tail};
use crate::log_service::alert::Ask;
use crate::units::Duration;

/// Longer is a matter for the configuration.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);

pub(super) async fn answer(method: &Method, path: &str, query: Option<&str>, desk: &Arc<Desk>) -> Answer {
    let told = match (method, path) {
        (&Method::GET, "/alerts") => desk.alerts.ask(Ask::List).await.map(Ok),
        (&Method::POST, "/alerts/test" | "/alerts/silence") => {
            let (name, time) = match wanted(query.unwrap_or_default(), path) {
                Ok(wanted) => wanted,
                Err(reason) => return answer::refusal(StatusCode::BAD_REQUEST, &reason),
            };
            match time {
                None => desk.alerts.ask(|reply| Ask::Test(name, reply)).await,
                Some(time) => desk.alerts.ask(|reply| Ask::Silence(name, time.to_std(), reply)).await,
            }
        }
        (_, "/alerts" | "/alerts/test" | "/alerts/silence") => {
            return answer::refusal(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
        }
        _ => {
            return answer::refusal(
                StatusCode::NOT_FOUND,
                "there is GET /alerts, POST /alerts/test, /alerts/silence",
            );
        }
    };
    match told {
        Some(Ok(told)) => answer::json(StatusCode::OK, &told),
        Some(Err(reason)) => answer::json(StatusCode::NOT_FOUND, &json!({ "error": reason })),
        None => answer::refusal(StatusCode::SERVICE_UNAVAILABLE, "the log service is stopping"),
    }
}

/// The name of the alarm, and for a silence how long.
fn wanted(query: &str, path: &str) -> Result<(String, Option<Duration>), String> {
    let mut values = tail::arguments(query)?;
    let name = values.remove("name").filter(|name| !name.is_empty()).ok_or("`name` is missing")?;
    let time = values.remove("for");
    if let Some(unknown) = values.keys().next() {
        return Err(format!("unknown argument `{unknown}`: there is name, for"));
    }
    if path == "/alerts/test" {
        return if time.is_none() { Ok((name, None)) } else { Err("a test has no `for`".to_owned()) };
    }
    let time = time.ok_or("`for` is missing: for=1h")?;
    let time: Duration = time.parse().map_err(|error| format!("for: {error}"))?;
    if time > LONGEST {
        return Err("for: 30d is the longest; what lasts stands in the configuration".to_owned());
    }
    Ok((name, Some(time)))
}
