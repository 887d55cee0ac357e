//! `GET /rollups`: see [`crate::log_service::rollup`].

use std::sync::Arc;

use http::StatusCode;
use jiff::Timestamp;

use super::answer::{self, Answer};
use super::{Desk, tail};
use crate::log_service::query::moment;
use crate::log_service::rollup::{self, Asked, Bounds, RollupError};

/// Asked for when nothing else is.
const DEFAULT_SINCE: &str = "1h";

pub(super) async fn rollups(query: Option<&str>, desk: &Arc<Desk>) -> Answer {
    let (asked, is_host) = match asked(query.unwrap_or_default()) {
        Ok(asked) => asked,
        Err(reason) => return answer::refusal(StatusCode::BAD_REQUEST, &reason),
    };
    let Some(place) = desk.search_place() else { return answer::no_search_place() };
    let bounds = Bounds { rows: desk.limits.rollup_rows(), hours: desk.limits.keep_rollup_hours };
    let store = desk.store.clone();
    let told = tokio::task::spawn_blocking(move || {
        // Who has gone does not end the thread: its place is free when it has ended.
        let _place = place;
        let (counted, now) = (store.rollups(), Timestamp::now().as_microsecond());
        match is_host {
            true => rollup::host_answer(&counted, &asked, now, bounds),
            false => rollup::answer(&counted, &asked, now, bounds),
        }
    });
    match told.await {
        Ok(Ok(told)) => answer::json(StatusCode::OK, &told),
        Ok(Err(error @ RollupError::TooMany(_))) => {
            answer::refusal(StatusCode::BAD_REQUEST, &error.to_string())
        }
        Ok(Err(RollupError::Read(error))) => {
            tracing::error!(%error, "rollups cannot be read");
            answer::refusal(StatusCode::INTERNAL_SERVER_ERROR, "the rollups cannot be read")
        }
        Err(_) => answer::refusal(StatusCode::INTERNAL_SERVER_ERROR, "the rollups cannot be read"),
    }
}

/// What is asked for, and whether of host facts.
fn asked(query: &str) -> Result<(Asked, bool), String> {
    let values = tail::arguments(query)?;
    if let Some(unknown) =
        values.keys().find(|name| !["since", "until", "by", "step", "of"].contains(&name.as_str()))
    {
        return Err(format!("unknown argument `{unknown}`: there is since, until, by, step, of"));
    }
    let get = |name: &str| values.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let now = Timestamp::now();
    let time = |text| moment::parse(text, now).map_err(|error| error.to_string());
    let since = Some(get("since").unwrap_or(DEFAULT_SINCE)).filter(|since| *since != "all");
    let times = (since.map(time).transpose()?, get("until").map(time).transpose()?);
    let is_host = match get("of") {
        None | Some("requests") => false,
        Some("host") => true,
        Some(other) => return Err(format!("of `{other}`: there is requests and host")),
    };
    Ok((Asked::new(times, get("by").unwrap_or_default(), get("step").unwrap_or("1m"))?, is_host))
}
