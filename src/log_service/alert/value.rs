//! Values as people write them.

use crate::config::alert::{Condition, Unit};
use crate::record::line::words;

/// A value of this condition's metric.
pub(super) fn text(condition: &Condition, value: f64) -> String {
    match condition.metric.unit() {
        Unit::Count { .. } if condition.is_rate => format!("{}/s", short(value)),
        // Whole by nature; the cast saturates.
        Unit::Count { .. } => words::count(value as u64),
        Unit::Share => format!("{}%", short(value * 100.0)),
        Unit::Time => time(value),
        Unit::Number => short(value),
    }
}

/// Seconds.
fn time(seconds: f64) -> String {
    const DAY: f64 = 86_400.0;
    if seconds.abs() >= 2.0 * DAY {
        return format!("{}d", short(seconds / DAY));
    }
    if seconds < 0.0 {
        return format!("-{}", time(-seconds));
    }
    words::duration((seconds * 1e6) as u64)
}

/// Three digits are enough to look at.
fn short(value: f64) -> String {
    let digits = if value.abs() >= 100.0 {
        0
    } else if value.abs() >= 10.0 {
        1
    } else {
        2
    };
    let text = format!("{value:.digits$}");
    let cut = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    cut.to_owned()
}

#[cfg(test)]
mod tests {
    use crate::config::alert::{Metric, Sign};

    use super::*;

    #[test]
    fn values_are_in_the_unit_in_which_they_are_written() {
        let of = |metric, is_rate, value| {
            text(&Condition { metric, sign: Sign::More, bound: 0.0, is_rate }, value)
        };
        assert_eq!(of(Metric::ErrorShare, false, 0.1234), "12.3%");
        assert_eq!(of(Metric::ErrorShare, false, 1.0), "100%");
        assert_eq!(of(Metric::Requests, true, 0.1), "0.1/s");
        assert_eq!(of(Metric::Errors, false, 1204.0), "1 204");
        assert_eq!(of(Metric::P99, false, 0.8301), "830ms");
        assert_eq!(of(Metric::Certificate, false, 13.5 * 86_400.0), "13.5d");
        assert_eq!(of(Metric::Certificate, false, -3_600.0), "-1h00m");
        assert_eq!(of(Metric::Load, false, 3.999), "4");
    }
}
