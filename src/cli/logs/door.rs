//! Asking a running service for rows.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::CommandError;
use super::progress::Served;
use super::source::{Asked, runtime};
use crate::log_service::client::{self, ClientError, Service};
use crate::log_service::exec::Sort;
use crate::log_service::read::{Flow, Report, Row};

/// The path and query that ask a service for this.
pub(super) fn target(path: &str, asked: &Asked, count: Option<usize>) -> String {
    let mut target = format!("{path}?q={}", utf8_percent_encode(&asked.text, NON_ALPHANUMERIC));
    let times = [("since", asked.window.since), ("until", asked.window.until)];
    for (name, time) in times.iter().filter_map(|(name, time)| Some((name, (*time)?))) {
        target.push_str(&format!("&{name}={time}"));
    }
    if let Some(count) = count {
        target.push_str(&format!("&n={count}"));
    }
    target
}

/// Rows of a service, by its search.
pub(super) fn ask(
    service: &Service,
    asked: &Asked,
    first: Option<(usize, Sort)>,
    on_row: &mut dyn FnMut(&Row<'_>) -> Flow,
) -> Result<Report, CommandError> {
    let mut report = None;
    let mut failed = None;
    let mut target = target("/logs/search", asked, first.map(|(count, _)| count));
    if matches!(first, Some((_, Sort::Slowest))) {
        target.push_str("&sort=dur");
    }
    let mut progress = Served::new(first.is_none());
    let mut on_line = |line: &mut [u8]| {
        let Ok(text) = std::str::from_utf8(line) else { return Flow::Continue(()) };
        let Ok(value) = serde_json::from_str::<Value>(text) else { return Flow::Continue(()) };
        if let Some((done, whole)) = client::progress(&value) {
            progress.show(done, whole);
            return Flow::Continue(());
        }
        match value["kind"].as_str() {
            // The service's own two kinds carry no receive time; entries always do.
            Some("report") if value.get("recv").is_none() => report = serde_json::from_str(text).ok(),
            Some("error") if value.get("recv").is_none() => {
                failed = value["error"].as_str().map(str::to_owned)
            }
            _ => return on_row(&Row { json: text, value: &value }),
        }
        Flow::Continue(())
    };
    let asked = runtime()?.block_on(client::get(service, &target, &mut on_line));
    drop(progress);
    asked?;
    match (report, failed) {
        (_, Some(failed)) => Err(CommandError::Usage(format!("the log service failed: {failed}"))),
        (Some(report), None) => Ok(report),
        (None, None) => Err(ClientError::Broken("the answer was cut short".into()).into()),
    }
}
