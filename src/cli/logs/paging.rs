//! The next page of rows that are sorted.

use std::collections::HashSet;

use jiff::Timestamp;
use serde_json::Value;

use super::CommandError;
use super::source::Asked;
use crate::log_service::exec::Sort;
use crate::log_service::read::Window;

/// What is asked for behind the last of these rows, and those of them that it has again: all that are alike in what they
/// are sorted by. Rows without a duration come last, the newest first: behind one of them it goes on by time. Nothing when
/// the last row has none of that.
pub(super) fn behind(
    asked: &Asked,
    sort: Sort,
    rows: &[String],
) -> Result<Option<(Asked, HashSet<String>)>, CommandError> {
    let Some(last) = rows.last() else { return Ok(None) };
    let alike = |is_alike: &dyn Fn(&str) -> bool| {
        rows.iter().rev().take_while(|row| is_alike(row)).cloned().collect::<HashSet<String>>()
    };
    let filter = if asked.text.trim().is_empty() { String::new() } else { format!("({}) ", asked.text) };
    if sort == Sort::Slowest
        && let Some(end) = micros_of(last)
    {
        let next = Asked::new(format!("{filter}(dur_us<={end} or -dur_us:*)"), asked.window)?;
        return Ok(Some((next, alike(&|row| micros_of(row) == Some(end)))));
    }
    let Some(end) = time_of(last) else { return Ok(None) };
    let text = if sort == Sort::Newest { asked.text.clone() } else { format!("{filter}-dur_us:*") };
    let until = end.checked_add(jiff::SignedDuration::from_micros(1)).ok();
    let next = Asked::new(text, Window { until, ..asked.window })?;
    let is_alike =
        |row: &str| time_of(row) == Some(end) && (sort == Sort::Newest || micros_of(row).is_none());
    Ok(Some((next, alike(&is_alike))))
}

fn micros_of(row: &str) -> Option<u64> {
    serde_json::from_str::<Value>(row).ok()?["dur_us"].as_u64()
}

/// The time of a row.
fn time_of(row: &str) -> Option<Timestamp> {
    let value: Value = serde_json::from_str(row).ok()?;
    value["ts"].as_str().or_else(|| value["recv"].as_str())?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn behind_a_page_of_the_slowest_come_those_without_a_duration_too() {
        let row = |dur: Option<u64>| {
            let mut row = json!({"ts": "2026-11-20T09:14:03.000007Z", "status": 200});
            dur.into_iter().for_each(|dur| row["dur_us"] = dur.into());
            row
        };
        let asked = Asked::new("status:200 or status:500".to_owned(), Window::default()).unwrap();
        let next = |last: &Value| {
            let rows = [row(Some(9)).to_string(), last.to_string()];
            behind(&asked, Sort::Slowest, &rows).unwrap().unwrap()
        };
        let (timed, known) = next(&row(Some(5)));
        assert_eq!(known.len(), 1);
        for (dur, is_there) in [(Some(6), false), (Some(5), true), (Some(0), true), (None, true)] {
            assert_eq!(timed.query.matches(&row(dur)), is_there, "{dur:?}");
        }
        assert!(!timed.query.matches(&json!({"status": 404})), "the filter still holds");
        let (untimed, known) = next(&row(None));
        assert!(untimed.query.matches(&row(None)) && !untimed.query.matches(&row(Some(0))));
        assert_eq!(known, HashSet::from([row(None).to_string()]));
        let until = untimed.window.until.map(|until| until.to_string());
        assert_eq!(until.as_deref(), Some("2026-11-20T09:14:03.000008Z"));
        assert!(behind(&asked, Sort::Slowest, &[json!({"status": 200}).to_string()]).unwrap().is_none());
    }
}
