//! `logs compare A B`: what is different between two sets of requests, and whether it may be chance.

mod changes;
mod side;

use std::time::Instant;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::args::{SourceArgs, TableArgs, WindowArgs};
use super::escape::{self, Safe};
use super::output::{DIM, GREEN, Output, RED, note};
use super::source::{self, Asked, Source, Told};
use super::table::{Cell, Side as Align, Table};
use super::tally::{in_words, share, short, to_json as figures_json};
use super::words::{NOTHING, count, duration, is_request, size};
use super::{CommandError, summary};
use crate::log_service::exec::{Compared, Figures, Pair, Question};
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
    pub(super) source: SourceArgs,
}

/// One of both sets, as it is printed.
struct Whole {
    name: String,
    figures: Figures,
    /// Requests per second.
    rate: f64,
}

/// What is printed.
struct Answer {
    sides: [Whole; 2],
    /// Standard deviations of the differences that are sure, by the row of the table.
    sure: Vec<(&'static str, f64)>,
    changes: Vec<Change>,
    /// Field by field: requests of both sides whose values were not told apart.
    others: Vec<(String, [u64; 2])>,
    told: Told,
}

pub(super) fn run(args: &CompareArgs) -> Result<bool, CommandError> {
    let started = Instant::now();
    let now = Timestamp::now();
    let sides = [Side::parse(&args.a, now)?, Side::parse(&args.b, now)?];
    let (source, mut asked) = source::question(&args.filter, Some(&args.window), &args.source)?;
    if let [Some(a), Some(b)] = [sides[0].window(), sides[1].window()] {
        let since = a.since.zip(b.since).map(|(a, b)| a.min(b));
        let until = a.until.zip(b.until).map(|(a, b)| a.max(b));
        asked.window = Window { since, until };
    }
    let answer = match stored(&source, &asked, &sides, args)? {
        Some(answer) => answer,
        None => walked(&source, &asked, sides, args.count)?,
    };
    let output = &mut Output::stdout();
    tell(output, &answer, args.table.json())?;
    finish(output, &answer, args.table.json(), started)?;
    Ok(answer.sides.iter().all(|side| side.figures.count > 0))
}

/// By the executor.
fn stored(
    source: &Source,
    asked: &Asked,
    sides: &[Side; 2],
    args: &CompareArgs,
) -> Result<Option<Answer>, CommandError> {
    // What A and B are told apart by is no change.
    let fields = changes::FIELDS.iter().filter(|field| !sides.iter().any(|side| side.names(field)));
    let by = fields.copied().collect::<Vec<_>>().join(",");
    let more = [
        ("a", sides[0].as_argument()),
        ("b", sides[1].as_argument()),
        ("by", by),
        ("n", MAX_PAIRS.to_string()),
    ];
    let Some(told) = source.ask::<Compared>(Question::Compare, asked, &more)? else { return Ok(None) };
    // What nearly all requests have changes as all of them do.
    let most = |part: &Figures, all: &Figures| part.count as f64 > all.count as f64 * 0.99;
    let is_all = |pair: &Pair| most(&pair.a, &told.overall.a) && most(&pair.b, &told.overall.b);
    let pairs = told.rows.iter().filter(|pair| !is_all(pair));
    let mut found: Vec<Change> = pairs.flat_map(changes::of_pair).collect();
    found.sort_by(|a, b| b.z.total_cmp(&a.z).then_with(|| b.weight().total_cmp(&a.weight())));
    found.truncate(args.count);
    let sure = told.overall.differences.iter().filter_map(|difference| {
        let name = ["errors", "p50", "p99"].into_iter().find(|name| *name == difference.of)?;
        Some((name, side::deviations(difference.chance)))
    });
    let mut sure: Vec<(&'static str, f64)> = sure.collect();
    let others = told.others.into_iter().map(|pair| (pair.field, [pair.a.count, pair.b.count])).collect();
    let figures = [told.overall.a, told.overall.b];
    let spans = [0, 1].map(|at| told.seconds[at].filter(|seconds| *seconds > 0.0));
    let rates = [0, 1].map(|at| spans[at].map_or(0.0, |seconds| figures[at].count as f64 / seconds));
    if let ([Some(a), Some(b)], true) = (spans, sides.iter().all(|side| side.window().is_some())) {
        sure.push(("rate", side::rates_apart(rates, [a, b])));
    }
    let (mut report, other) = told.reports;
    report.rows += other.rows;
    report.lines += other.lines;
    let new: Vec<_> = other.missing.into_iter().filter(|missing| !report.missing.contains(missing)).collect();
    report.missing.extend(new);
    report.unknown |= other.unknown;
    report.damaged = report.damaged.max(other.damaged);
    let [a, b] = figures;
    let told = Told::counted(report, a.rows + b.rows, a.count + b.count);
    let whole =
        |at: usize, figures: Figures| Whole { name: sides[at].name.clone(), figures, rate: rates[at] };
    Ok(Some(Answer { sides: [whole(0, a), whole(1, b)], sure, changes: found, others, told }))
}

/// Values that are asked for, those that differ first.
const MAX_PAIRS: usize = 1_000;

/// Row by row.
fn walked(source: &Source, asked: &Asked, mut sides: [Side; 2], most: usize) -> Result<Answer, CommandError> {
    let mut changes = Changes::default();
    let told = source.each(asked, &mut |row| {
        if is_request(row.value) {
            for (index, side) in sides.iter_mut().enumerate() {
                if side.add(row.value) {
                    changes.add(row.value, index);
                }
            }
        }
        Flow::Continue(())
    })?;
    let [a, b] = &sides;
    let mut sure = vec![
        ("rate", rate_certainty(a, b)),
        ("errors", share_certainty([a.group.errors, b.group.errors], [a.group.count, b.group.count])),
    ];
    for (name, at) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)] {
        sure.push((name, quantile_certainty(&a.group.durations, &b.group.durations, at)));
    }
    let found = changes.found(&sides, most);
    let whole =
        |side: &Side| Whole { name: side.name.clone(), figures: side.group.figures(), rate: side.rate() };
    Ok(Answer { sides: [whole(a), whole(b)], sure, changes: found, others: Vec::new(), told })
}

fn finish(output: &mut Output, answer: &Answer, json: bool, started: Instant) -> Result<(), CommandError> {
    output.flush()?;
    for side in answer.sides.iter().filter(|side| side.figures.count == 0) {
        note(&format!("note: no request is in {}", Safe(&side.name)));
    }
    others_told(&answer.others).iter().for_each(|text| note(text));
    summary::end(output, json, &answer.told, started)?;
    Ok(())
}

/// What is not known of values for want of memory.
fn others_told(others: &[(String, [u64; 2])]) -> Vec<String> {
    let told = others.iter().map(|(field, counts)| {
        let [a, b] = counts.map(count);
        format!(
            "note: {}: {a} requests of A and {b} of B have values that were not told apart; nothing is said of these",
            Safe(field)
        )
    });
    told.collect()
}

fn tell(output: &mut Output, answer: &Answer, json: bool) -> Result<(), CommandError> {
    let Answer { sides, changes, .. } = answer;
    if json {
        output
            .line(&escape::json(&json!({ "a": to_json(&sides[0]), "b": to_json(&sides[1]) }).to_string()))?;
        for change in changes {
            output.line(&escape::json(&change.to_json().to_string()))?;
        }
        return Ok(());
    }
    for line in whole(answer).lines() {
        output.line(&line)?;
    }
    if sides.iter().any(|side| side.figures.count == 0) {
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
fn whole(answer: &Answer) -> Table {
    let [a, b] = &answer.sides;
    let names = [0, 1].map(|at| format!("{} {}", ["A", "B"][at], Safe(&answer.sides[at].name)));
    let mut table = Table::new(&[
        ("", Align::Left),
        (&names[0], Align::Right),
        (&names[1], Align::Right),
        ("change", Align::Right),
        ("sure", Align::Right),
    ]);
    let mut row = |name: &str, texts: [String; 2], numbers: [f64; 2], bad: Option<bool>| {
        let [first, second] = texts;
        let z = answer.sure.iter().find(|(sure, _)| *sure == name).map_or(0.0, |(_, z)| *z);
        table.row(vec![
            name.to_owned().into(),
            first.into(),
            second.into(),
            ratio(numbers[0], numbers[1], bad),
            certainty(z).into(),
        ]);
    };
    let counts = [a, b].map(|side| side.figures.count);
    row("requests", counts.map(count), counts.map(|count| count as f64), None);
    let rates = [a.rate, b.rate];
    row("rate", rates.map(|rate| if rate > 0.0 { in_words(rate) } else { NOTHING.to_owned() }), rates, None);
    let shares = [a, b].map(|side| share(side.figures.errors, side.figures.count));
    row("errors", shares.map(|share| format!("{share:.2} %")), shares, Some(true));
    let times = |side: &Whole| [side.figures.p50_us, side.figures.p90_us, side.figures.p99_us];
    for (name, pair) in ["p50", "p90", "p99"].into_iter().zip(times(a).into_iter().zip(times(b))) {
        if let (Some(first), Some(second)) = pair {
            row(name, [first, second].map(duration), [first as f64, second as f64], Some(true));
        }
    }
    let means = [a, b].map(|side| side.figures.bytes as f64 / (side.figures.count as f64).max(1.0));
    row("bytes each", means.map(|mean| size(mean as u64)), means, None);
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

fn to_json(side: &Whole) -> Value {
    let mut value = figures_json(&side.figures);
    value["name"] = side.name.as_str().into();
    value["rate"] = side.rate.into();
    value
}
