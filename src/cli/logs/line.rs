//! One entry as one line, in the form that was asked for.

use std::sync::LazyLock;

use serde_json::Value;

use super::args::Form;
use super::escape;
use super::output::DIM;
use super::words::text;
use crate::record::line;

/// The day on which this command runs.
static TODAY: LazyLock<String> = LazyLock::new(|| jiff::Timestamp::now().strftime("%Y-%m-%d").to_string());

/// Renders an entry; `json` is its stored text. What did not happen today has its date in front.
pub(super) fn render(entry: &Value, json: &str, form: Form) -> String {
    let wide = match form {
        Form::Json => return escape::json(json).into_owned(),
        Form::Line => false,
        Form::Wide => true,
    };
    let line = line::render(entry, json, wide);
    match date(entry).filter(|date| *date != TODAY.as_str()) {
        Some(date) => format!("{DIM}{date}{DIM:#} {line}"),
        None => line,
    }
}

/// `2026-11-21` out of RFC 3339 text.
fn date(entry: &Value) -> Option<&str> {
    let time = text(entry, "ts").or_else(|| text(entry, "recv"))?;
    let date = time.get(..10).filter(|_| time.as_bytes().get(10) == Some(&b'T') && time.len() >= 23)?;
    date.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-').then_some(date)
}
