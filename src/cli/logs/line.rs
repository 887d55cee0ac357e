//! One entry as one line, in the form that was asked for.

use std::sync::LazyLock;

use serde_json::Value;

use super::args::Form;
use super::escape;
use super::output::DIM;
use super::words;
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
    match date(entry).filter(|date| *date != *TODAY) {
        Some(date) => format!("{DIM}{date}{DIM:#} {line}"),
        None => line,
    }
}

/// `2026-11-21`, of the same zone as the time of day.
fn date(entry: &Value) -> Option<String> {
    Some(words::time(entry)?.strftime("%Y-%m-%d").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn date_and_time_of_day_are_of_one_zone() {
        let entry = serde_json::json!({ "ts": "2026-11-20T00:30:00+02:00", "from": "a", "msg": "hi" });
        let line = anstream::adapter::strip_str(&render(&entry, "", Form::Line)).to_string();
        assert_eq!(line, "2026-11-19 22:30:00.000 a hi");
    }
}
