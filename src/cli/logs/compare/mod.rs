//! `logs compare A B`: what is different between two sets of requests, and whether it may be chance.

mod changes;
mod side;

use std::time::Instant;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::args::{SourceArgs, TableArgs, WindowArgs};
use super::escape::{self, Safe};
use super::output::{DIM, GREEN, Output, RED, note};
use super::source::{self, Told};
use super::table::{Cell, Side as Align, Table};
use super::tally::{in_words, share, short};
use super::words::{count, duration, is_request, size};
use super::{CommandError, summary};
use crate::log_service::read::{Flow, Window};
use changes::{Change, Changes};
use side::{Side, certainty, quantile_certainty, rate_certainty, share_certainty};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A and B are two times, or two filters:
  tollgate logs compare 10:00..10:15 10:15..10:30          before and after
  tollgate logs compare 25h..24h 1h..now                   yesterday at this time, and now
  tollgate logs compare cfg:9f31c2 cfg:a07be1              two configurations
  tollgate logs compare addr:10.0.0.7:80 addr:10.0.0.8:80  two servers
  tollgate logs compare proxy:nginx proxy:tollgate --from old.log new.jsonl")]
pub(super) struct CompareArgs {
    /// FROM..TO, or a filter such as cfg:9f31c2.
    a: String,
    b: String,
    /// Look only at requests that match.
    filter: Vec<String>,
    /// Show at most so many changes.
    #[arg(short = 'n', value_name = "COUNT", default_value_t = 10)]
    count: usize,
    #[command(flatten)]
    table: TableArgs,
    #[command(flatten)]
    window: WindowArgs,
    #[command(flatten)]
    source: SourceArgs,
}

pub(super) fn run(args: &CompareArgs) -> Result<bool, CommandError> {
    let started = Instant::now();
    let now = Timestamp::now();
    let mut sides = [Side::parse(&args.a, now)?, Side::parse(&args.b, now)?];
    let (source, mut asked) = source::question(&args.filter, Some(&args.window), &args.source)?;
    if let [Some(a), Some(b)] = [sides[0].window(), sides[1].window()] {
        let since = a.since.zip(b.since).map(|(a, b)| a.min(b));
        let until = a.until.zip(b.until).map(|(a, b)| a.max(b));
        asked.window = Window { since, until };
    }
    let mut changes = Changes::default();
    let told = source.each(&asked, &mut |row| {
        if is_request(row.value) {
            for (index, side) in sides.iter_mut().enumerate() {
                if side.add(row.value) {
                    changes.add(row.value, index);
                }
            }
        }
        Flow::Continue(())
    })?;
    let found = changes.found(&sides, args.count);
    let output = &mut Output::stdout();
    tell(output, &sides, &found, args.table.json())?;
    finish(output, &sides, args.table.json(), &told, started)?;
    Ok(sides.iter().all(|side| side.group.count > 0))
}

fn finish(
    output: &mut Output,
    sides: &[Side; 2],
    json: bool,
    told: &Told,
    started: Instant,
) -> Result<(), CommandError> {
    output.flush()?;
    for side in sides.iter().filter(|side| side.group.count == 0) {
        note(&format!("note: no request is in {}", Safe(&side.name)));
    }
    summary::end(output, json, told, started)?;
    Ok(())
}

fn tell(output: &mut Output, sides: &[Side; 2], changes: &[Change], json: bool) -> Result<(), CommandError> {
    if json {
        output
            .line(&escape::json(&json!({ "a": to_json(&sides[0]), "b": to_json(&sides[1]) }).to_string()))?;
        for change in changes {
            output.line(&escape::json(&change.to_json().to_string()))?;
        }
        return Ok(());
    }
    for line in whole(sides).lines() {
        output.line(&line)?;
    }
    if sides.iter().any(|side| side.group.count == 0) {
        return Ok(());
    }
    output.line("")?;
    if changes.is_empty() {
        output.line("no single value changed beyond chance")?;
        return Ok(());
    }
    let mut table = Table::new(&[
        ("", Align::Left),
        ("", Align::Left),
        ("A", Align::Right),
        ("B", Align::Right),
        ("change", Align::Right),
        ("sure", Align::Right),
    ]);
    for change in changes {
        table.row(vec![
            format!("{}={}", change.field, Safe(&short(&change.value))).into(),
            Cell::styled(change.what.to_owned(), DIM),
            change.shown(0).into(),
            change.shown(1).into(),
            ratio(change.numbers[0], change.numbers[1], change.is_bad_to_grow()),
            certainty(change.z).into(),
        ]);
    }
    for line in table.lines() {
        output.line(&line)?;
    }
    Ok(())
}

/// One row per measure of all requests.
fn whole(sides: &[Side; 2]) -> Table {
    let [a, b] = sides;
    let names = [0, 1].map(|at| format!("{} {}", ["A", "B"][at], Safe(&sides[at].name)));
    let mut table = Table::new(&[
        ("", Align::Left),
        (&names[0], Align::Right),
        (&names[1], Align::Right),
        ("change", Align::Right),
        ("sure", Align::Right),
    ]);
    let mut row = |name: &str, texts: [String; 2], numbers: [f64; 2], bad: Option<bool>, z: f64| {
        let [first, second] = texts;
        table.row(vec![
            name.to_owned().into(),
            first.into(),
            second.into(),
            ratio(numbers[0], numbers[1], bad),
            certainty(z).into(),
        ]);
    };
    let rates = [a.rate(), b.rate()];
    row(
        "requests",
        [a, b].map(|side| count(side.group.count)),
        [a, b].map(|side| side.group.count as f64),
        None,
        0.0,
    );
    row("rate", rates.map(in_words), rates, None, rate_certainty(a, b));
    let shares = [a, b].map(|side| share(side.group.errors, side.group.count));
    let z = share_certainty([a.group.errors, b.group.errors], [a.group.count, b.group.count]);
    row("errors", shares.map(|share| format!("{share:.2} %")), shares, Some(true), z);
    for (name, at) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)] {
        if let [Some(first), Some(second)] = [a, b].map(|side| side.group.durations.at(at)) {
            let z = quantile_certainty(&a.group.durations, &b.group.durations, at);
            row(name, [first, second].map(duration), [first as f64, second as f64], Some(true), z);
        }
    }
    let means = [a, b].map(|side| side.group.bytes as f64 / (side.group.count as f64).max(1.0));
    row("bytes each", means.map(|mean| size(mean as u64)), means, None, 0.0);
    table
}

/// `bad`: whether growing is bad, good, or neither.
fn ratio(a: f64, b: f64, bad: Option<bool>) -> Cell {
    let text = match (a > 0.0, b > 0.0) {
        (false, false) => "–".to_owned(),
        (false, true) => "new".to_owned(),
        (true, false) => "gone".to_owned(),
        (true, true) if b / a >= 5.0 => format!("×{:.1}", b / a),
        (true, true) => format!("{:+.1} %", (b / a - 1.0) * 100.0),
    };
    let style = match bad {
        Some(bad) if (b > a * 1.05) == bad && b != a => RED,
        Some(bad) if (b < a * 0.95) == bad && b != a => GREEN,
        _ => anstyle::Style::new(),
    };
    Cell::styled(text, style)
}

fn to_json(side: &Side) -> Value {
    let mut value = side.group.to_json();
    value["name"] = side.name.as_str().into();
    value["rate"] = side.rate().into();
    value
}
