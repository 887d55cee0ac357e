//! Questions as they come over HTTP, and answers as JSON: the bodies of `GET /logs/search|show|top|stats|explain|compare|audit`.
//!
//! ```text
//! all:      q=FILTER  since=15m  until=TIME      since and until as on the command line; none is everything
//! search:   n=100  sort=ts|dur                   {"rows":[…],"report":{…}}
//! show:     id=ID                                {"records":[…],"lines":[…],"neighbours":[…],"report":{…}}
//! top:      fields=route,status  by=count|errors|err%|p50|p99|time|bytes|self  n=20
//! stats:    by=FIELD[,FIELD]  every=1m           without by a row per span; with it the step of the rows' counts over time
//! explain:  n=20  among=FILTER
//! audit:    since, until only  verify=1           per proxy and core
//! compare:  a=…  b=…  by=route,host  n=50             each a filter, or a window of time: FROM..TO
//! ```
//!
//! Every answer carries its completeness in `report` (of `compare`: `reports`, one per side).

use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::audit::audit;
use super::compare::compare;
use super::control::{Control, ExecError};
use super::explain::explain;
use super::groups::{Limits, Split};
use super::parts::Parts;
use super::scan::Asked;
use super::search::{Sort, search};
use super::show::{MIN_ID, WantedId, show};
use super::stats::stats;
use super::top::{By, top};
use crate::log_service::query::{Field, Query, moment};
use crate::log_service::read::Window;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    Search,
    Show,
    Top,
    Stats,
    Explain,
    Compare,
    Audit,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerError {
    /// The question is wrong; says how.
    #[error("{0}")]
    Question(String),
    #[error(transparent)]
    Exec(#[from] ExecError),
}

/// Arguments by name, already decoded.
pub(crate) struct Arguments<'a> {
    values: &'a HashMap<String, String>,
    now: Timestamp,
    limits: Limits,
}

impl Question {
    /// The last part of the path: `search`, `show`, `top`, …
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "search" => Self::Search,
            "show" => Self::Show,
            "top" => Self::Top,
            "stats" => Self::Stats,
            "explain" => Self::Explain,
            "compare" => Self::Compare,
            "audit" => Self::Audit,
            _ => return None,
        })
    }

    /// The last part of the path.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Search => "search",
            Self::Show => "show",
            Self::Top => "top",
            Self::Stats => "stats",
            Self::Explain => "explain",
            Self::Compare => "compare",
            Self::Audit => "audit",
        }
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Search => &["q", "since", "until", "n", "sort"],
            Self::Audit => &["since", "until", "verify"],
            Self::Show => &["id"],
            Self::Top => &["q", "since", "until", "n", "fields", "by"],
            Self::Stats => &["q", "since", "until", "by", "every"],
            Self::Explain => &["q", "since", "until", "n", "among"],
            Self::Compare => &["q", "since", "until", "n", "a", "b", "by"],
        }
    }
}

/// Answers a question. Blocks; for a thread of its own.
pub(crate) fn answer(
    question: Question,
    values: &HashMap<String, String>,
    now: Timestamp,
    parts: &Parts,
    limits: Limits,
    control: &Control,
) -> Result<Value, AnswerError> {
    let known = question.arguments();
    if let Some(unknown) = values.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(wrong(format!("unknown argument `{unknown}`: there is {}", known.join(", "))));
    }
    let arguments = Arguments { values, now, limits };
    match question {
        Question::Search => arguments.search(parts, control),
        Question::Show => arguments.show(parts, control),
        Question::Top => arguments.top(parts, control),
        Question::Stats => arguments.stats(parts, control),
        Question::Explain => arguments.explain(parts, control),
        Question::Compare => arguments.compare(parts, control),
        Question::Audit => arguments.audit(parts, control),
    }
}

impl Arguments<'_> {
    fn search(&self, parts: &Parts, control: &Control) -> Result<Value, AnswerError> {
        let sort = match self.get("sort").unwrap_or("ts") {
            "ts" => Sort::Newest,
            "dur" => Sort::Slowest,
            other => return Err(wrong(format!("sort={other}: there is ts, dur"))),
        };
        let found = search(parts, &self.asked()?, sort, self.count(100)?, control)?;
        Ok(json!({ "rows": objects(&found.rows), "report": found.report }))
    }

    fn show(&self, parts: &Parts, control: &Control) -> Result<Value, AnswerError> {
        let wanted = WantedId::new(self.get("id").unwrap_or_default());
        let wanted = wanted.ok_or_else(|| wrong(format!("give at least {MIN_ID} characters of the id")))?;
        let shown = show(parts, &wanted, control)?;
        Ok(json!({
            "records": objects(&shown.records),
            "lines": objects(&shown.lines),
            "neighbours": objects(&shown.neighbours),
            "report": shown.report,
        }))
    }

    fn top(&self, parts: &Parts, control: &Control) -> Result<Value, AnswerError> {
        let fields = self.fields("fields");
        if fields.is_empty() {
            return Err(wrong("name a field, such as fields=path or fields=host,status".to_owned()));
        }
        let by = by(self.get("by").unwrap_or("count"))?;
        let order = (by, self.count(20)?);
        json_of(&top(parts, &self.asked()?, &fields, order, self.limits, control)?)
    }

    fn stats(&self, parts: &Parts, control: &Control) -> Result<Value, AnswerError> {
        let fields = self.fields("by");
        let step = self.get("every").map(span).transpose()?;
        let split = if fields.is_empty() { step.map(Split::Every) } else { Some(Split::Fields(fields)) };
        json_of(&stats(parts, &self.asked()?, (split, step), self.limits, control)?)
    }

    fn explain(&self, parts: &Parts, control: &Control) -> Result<Value, AnswerError> {
        let among = query(self.get("among").unwrap_or_default())?;
        json_of(&explain(parts, (&self.asked()?, &among), self.count(20)?, control)?)
    }

    fn audit(&self, parts: &Parts, control: &Control) -> Result<Value, AnswerError> {
        let verify = match self.get("verify") {
            None | Some("0") => false,
            Some("1") => true,
            Some(_) => return Err(wrong("verify is 1 or 0".to_owned())),
        };
        json_of(&audit(parts, self.asked()?.window, verify, control)?)
    }

    fn compare(&self, parts: &Parts, control: &Control) -> Result<Value, AnswerError> {
        let (a, b) = (self.side("a")?, self.side("b")?);
        let mut by = self.fields("by");
        if by.is_empty() {
            by.push(Field::named("route"));
        }
        let mut compared = compare(parts, (&a, &b), &by, self.limits, control)?;
        compared.rows.truncate(self.count(50)?);
        json_of(&compared)
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn count(&self, default: usize) -> Result<usize, AnswerError> {
        let count = self.get("n").map(str::parse).transpose();
        Ok(count.map_err(|_| wrong("n must be a number".to_owned()))?.unwrap_or(default))
    }

    fn fields(&self, name: &str) -> Vec<Field> {
        let names = self.get(name).unwrap_or_default().split(',').map(str::trim);
        names.filter(|name| !name.is_empty()).map(Field::named).collect()
    }

    fn moment(&self, text: &str) -> Result<Timestamp, AnswerError> {
        moment::parse(text, self.now).map_err(|error| wrong(error.to_string()))
    }

    fn asked(&self) -> Result<Asked, AnswerError> {
        let query = query(self.get("q").unwrap_or_default())?;
        let since = self.get("since").filter(|text| *text != "all");
        let since = since.map(|text| self.moment(text)).transpose()?;
        let until = self.get("until").map(|text| self.moment(text)).transpose()?;
        Ok(Asked::new(query, Window { since, until }))
    }

    /// One side of a comparison: what is asked of both, and a filter or a window of its own.
    fn side(&self, name: &str) -> Result<Asked, AnswerError> {
        let text = self
            .get(name)
            .ok_or_else(|| wrong(format!("say what to compare: {name}=FILTER or {name}=FROM..TO")))?;
        side(&self.asked()?, self.get("q").unwrap_or_default(), text, self.now).map_err(AnswerError::Question)
    }
}

/// Narrows what is asked (`filter` is its text) to one side of a comparison: a filter such as `cfg:9f31c2`, or a
/// window of time `FROM..TO`, of which one end may be left out.
pub(crate) fn side(asked: &Asked, filter: &str, text: &str, now: Timestamp) -> Result<Asked, String> {
    let moment = |text: &str| {
        let text = Some(text.trim()).filter(|text| !text.is_empty());
        text.map(|text| moment::parse(text, now).map_err(|error| error.to_string())).transpose()
    };
    if let Some((from, to)) = text.split_once("..")
        && let (Ok(since), Ok(until)) = (moment(from), moment(to))
    {
        return Ok(Asked::new(asked.query.clone(), Window { since, until }));
    }
    let both = if filter.trim().is_empty() { text.to_owned() } else { format!("({filter}) ({text})") };
    let query = Query::parse(&both).map_err(|error| error.to_string())?;
    Ok(Asked::new(query, asked.window))
}

/// How `top` is ordered, by its name.
pub(crate) fn by(name: &str) -> Result<By, AnswerError> {
    Ok(match name {
        "count" => By::Count,
        "errors" => By::Errors,
        "err%" => By::ErrShare,
        "p50" => By::P50,
        "p99" => By::P99,
        "time" => By::Time,
        "bytes" => By::Bytes,
        "self" => By::Own,
        other => {
            return Err(wrong(format!(
                "by={other}: there is count, errors, err%, p50, p99, time, bytes, self"
            )));
        }
    })
}

fn span(text: &str) -> Result<i64, AnswerError> {
    let span = moment::span(text).and_then(|span| i64::try_from(span.as_micros()).ok());
    span.filter(|span| *span >= 1_000_000).ok_or_else(|| wrong(format!("every={text}: write 10s, 1m, 1h")))
}

fn query(text: &str) -> Result<Query, AnswerError> {
    Query::parse(text).map_err(|error| wrong(error.to_string()))
}

fn wrong(reason: String) -> AnswerError {
    AnswerError::Question(reason)
}

fn json_of(answer: &impl serde::Serialize) -> Result<Value, AnswerError> {
    serde_json::to_value(answer).map_err(|error| AnswerError::Exec(ExecError::Read(error.into())))
}

fn objects(rows: &[String]) -> Vec<Value> {
    rows.iter().filter_map(|row| serde_json::from_str(row).ok()).collect()
}
