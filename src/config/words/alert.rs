//! The words of `[alert.NAME]` and `[notify.NAME]`.

use http::Uri;
use jiff::Timestamp;
use jiff::civil::{Date, Time, Weekday};

use super::super::alert::{
    Condition, HookUrl, Member, Metric, PageUrl, RequestFilter, RequestTest, Sign, Silence, Unit,
};
use super::super::diagnostic::nearest;
use super::super::read::{Problem, Word};
use crate::units::{Duration, Rate};

/// Tests of one filter.
const MAX_TESTS: usize = 32;
/// Parentheses in parentheses, and bytes of one filter: less than the log's own filter takes.
const MAX_DEPTH: usize = 8;
const MAX_FILTER: usize = 4 << 10;

impl Word for Condition {
    const WHAT: &'static str = "condition";
    const EXAMPLE: &'static str = "error_share > 5%";

    fn parse(text: &str) -> Result<Self, Problem> {
        let text = text.trim();
        let at = text.find(['<', '>', '=']).ok_or_else(|| no_sign(text))?;
        let (name, rest) = text.split_at(at);
        let end = rest.find(|c| !matches!(c, '<' | '>' | '=')).unwrap_or(rest.len());
        let (sign, value) = rest.split_at(end);
        let metric = metric(name.trim())?;
        let sign = match sign {
            ">" => Sign::More,
            ">=" => Sign::AtLeast,
            "<" => Sign::Less,
            "<=" => Sign::AtMost,
            other => {
                return Err(Problem::new(format!("`{other}` is not a sign"))
                    .help("there are `>`, `>=`, `<` and `<=`"));
            }
        };
        let (bound, is_rate) = number(metric, value.trim())?;
        Ok(Self { metric, sign, bound, is_rate })
    }
}

fn no_sign(text: &str) -> Problem {
    let name = text.split_whitespace().next().unwrap_or_default();
    match metric(name) {
        Err(problem) => problem,
        Ok(_) => Problem::new(format!("`{}` has no `>` or `<`", text.escape_debug()))
            .help("write metric, sign and value: `error_share > 5%`"),
    }
}

fn metric(name: &str) -> Result<Metric, Problem> {
    let known = Metric::ALL.map(Metric::word);
    Metric::ALL.into_iter().find(|metric| metric.word() == name).ok_or_else(|| {
        let problem = Problem::new(format!("there is no metric `{}`", name.escape_debug()));
        problem.help(match nearest(name, &known) {
            Some(word) => format!("did you mean `{word}`?"),
            None => format!("there are `{}`", known.join("`, `")),
        })
    })
}

/// In the metric's unit; the second says that it is per second.
fn number(metric: Metric, text: &str) -> Result<(f64, bool), Problem> {
    let wanted = |example: &str| {
        let message = format!("`{}` is no value of `{}`", text.escape_debug(), metric.word());
        Problem::new(message).help(format!("write it such as `{example}`"))
    };
    let plain = |text: &str| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        text.parse::<f64>().ok().filter(|number| digits && number.is_finite())
    };
    let value = match metric.unit() {
        Unit::Count { may_be_rate: true } if text.contains('/') => {
            let rate: Rate = text.parse()?;
            return Ok((f64::from(rate.count()) / rate.period().to_std().as_secs_f64(), true));
        }
        Unit::Count { may_be_rate } => {
            let whole = text.parse::<u32>().ok().map(f64::from);
            whole.ok_or_else(|| wanted(if may_be_rate { "20` or `10/s" } else { "20" }))?
        }
        Unit::Share => {
            let share = text.strip_suffix('%').and_then(|number| plain(number.trim_end()));
            share.filter(|share| *share <= 100.0).ok_or_else(|| wanted("5%"))? / 100.0
        }
        Unit::Time => text.parse::<Duration>()?.to_std().as_secs_f64(),
        Unit::Number => plain(text).ok_or_else(|| wanted("1.5"))?,
    };
    Ok((value, false))
}

impl Word for RequestFilter {
    const WHAT: &'static str = "filter";
    const EXAMPLE: &'static str = "host:shop.example";

    /// How the conditions go together is only checked here: the log's own filter, which takes all of this, tells it.
    fn parse(text: &str) -> Result<Self, Problem> {
        if text.len() > MAX_FILTER {
            return Err(Problem::new(format!("longer than {MAX_FILTER} bytes")));
        }
        let mut reading = Reading::default();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let (word, after) = split_word(rest);
            reading.take(word, after)?;
            rest = after.trim_start();
        }
        reading.end()
    }
}

/// How far a filter has been read.
#[derive(Default)]
struct Reading<'t> {
    tests: Vec<RequestTest>,
    depth: usize,
    /// Something stands before, in the same parentheses.
    has_before: bool,
    /// The operator that a condition must follow.
    wants: Option<&'t str>,
}

impl<'t> Reading<'t> {
    fn take(&mut self, word: &'t str, after: &str) -> Result<(), Problem> {
        match word.to_ascii_lowercase().as_str() {
            "-" if after.is_empty() || after.starts_with(char::is_whitespace) => Err(nothing("after", word)),
            "-" | "!" | "not" => self.want(word),
            "and" | "&&" | "or" | "||" if !self.has_before || self.wants.is_some() => {
                Err(nothing("before", word))
            }
            "and" | "&&" | "or" | "||" => self.want(word),
            "(" if self.depth == MAX_DEPTH => Err(Problem::new("nested too deeply")),
            "(" => {
                (self.depth, self.has_before, self.wants) = (self.depth + 1, false, None);
                Ok(())
            }
            ")" if self.depth == 0 => Err(Problem::new("this `)` has no `(`")),
            ")" if !self.has_before || self.wants.is_some() => Err(nothing("before", word)),
            ")" => {
                self.depth -= 1;
                Ok(())
            }
            _ if after.starts_with('(') => Err(no_such_sign(word)),
            _ => {
                self.tests.push(test(word)?);
                (self.has_before, self.wants) = (true, None);
                Ok(())
            }
        }
    }

    fn want(&mut self, word: &'t str) -> Result<(), Problem> {
        self.wants = Some(word);
        Ok(())
    }

    fn end(self) -> Result<RequestFilter, Problem> {
        match (self.tests.len(), self.wants) {
            (_, Some(operator)) => Err(nothing("after", operator)),
            _ if self.depth > 0 => Err(Problem::new("a `(` is never closed")),
            (0, _) => Err(Problem::new("the filter is empty")),
            (1..=MAX_TESTS, _) => Ok(RequestFilter(self.tests)),
            _ => Err(Problem::new(format!("more than {MAX_TESTS} conditions"))),
        }
    }
}

/// A sign that negates, a parenthesis, or what there is up to white space or one of these.
fn split_word(text: &str) -> (&str, &str) {
    let ends = |c: char| c.is_whitespace() || matches!(c, '(' | ')');
    let length = text.find(ends).unwrap_or(text.len());
    text.split_at(if text.starts_with(['-', '!', '(', ')']) { 1 } else { length })
}

fn nothing(side: &str, operator: &str) -> Problem {
    Problem::new(format!("a condition is missing {side} `{}`", operator.escape_debug()))
}

fn no_such_sign(value: &str) -> Problem {
    let problem = Problem::new(format!("`{}` has a sign that filters do not take", value.escape_debug()));
    problem.help("write `*` in its place")
}

fn test(text: &str) -> Result<RequestTest, Problem> {
    let known = "there are `host:`, `route:`, `upstream:`, `status:` and `reason:`";
    let Some((name, value)) = text.split_once(':') else {
        return Err(Problem::new(format!("`{}` has no `:`", text.escape_debug())).help(known));
    };
    let Some((_, member)) = Member::WORDS.into_iter().find(|(word, _)| *word == name) else {
        let problem = Problem::new(format!("alarms cannot ask for `{}`", name.escape_debug()));
        return Err(problem.help(if name == "site" { "write `host:`, which is counted" } else { known }));
    };
    let is_class = matches!(value.as_bytes(), [b'1'..=b'5', b'x', b'x']);
    if member == Member::Status && !is_class {
        let problem = Problem::new(format!("`{}` is not a class of statuses", value.escape_debug()));
        return Err(problem.help("statuses are counted by class: `2xx` to `5xx`"));
    }
    // The log's own filter reads it too, where these mean something else.
    if value.starts_with(['~', '<', '>', '=']) || value.contains(['"', '(', ')']) {
        return Err(no_such_sign(value));
    }
    Ok(RequestTest { member, pattern: Word::parse(value)? })
}

impl Word for Silence {
    const WHAT: &'static str = "silence";
    const EXAMPLE: &'static str = "02:00-03:00";

    fn parse(text: &str) -> Result<Self, Problem> {
        if let Some(end) = text.strip_prefix("until ") {
            return until(end.trim());
        }
        let (mut days, mut times) = (None, None);
        for word in text.split_whitespace() {
            let (one, other) = word.split_once('-').unwrap_or((word, word));
            match (weekday(one).zip(weekday(other)), time(one).zip(time(other))) {
                (Some(found), _) if days.is_none() && times.is_none() => days = Some(found),
                (_, Some(found)) if times.is_none() && found.0 != found.1 => times = Some(found),
                _ => return Err(no_silence(text)),
            }
        }
        if days.is_none() && times.is_none() {
            return Err(no_silence(text));
        }
        Ok(Self::Weekly { days, times })
    }
}

fn no_silence(text: &str) -> Problem {
    Problem::new(format!("`{}` is no time to be silent", text.escape_debug()))
        .help("write `02:00-03:00`, `sat-sun`, `mon-fri 18:00-08:00` or `until 2026-12-01`")
}

fn until(text: &str) -> Result<Silence, Problem> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(Silence::Until(time));
    }
    if let Ok(day) = text.parse::<Date>() {
        return Ok(Silence::UntilDay(day));
    }
    Err(no_silence(text))
}

fn weekday(word: &str) -> Option<Weekday> {
    Some(match word {
        "mon" => Weekday::Monday,
        "tue" => Weekday::Tuesday,
        "wed" => Weekday::Wednesday,
        "thu" => Weekday::Thursday,
        "fri" => Weekday::Friday,
        "sat" => Weekday::Saturday,
        "sun" => Weekday::Sunday,
        _ => return None,
    })
}

/// `HH:MM`; `24:00` is the midnight at the end.
fn time(word: &str) -> Option<Time> {
    let (hour, minute) = word.split_once(':')?;
    let two = |text: &str| (text.len() == 2).then(|| text.parse::<i8>().ok())?;
    match (two(hour)?, two(minute)?) {
        (24, 0) => Some(Time::midnight()),
        (hour, minute) => Time::new(hour, minute, 0, 0).ok(),
    }
}

impl Word for HookUrl {
    const WHAT: &'static str = "URL";
    const EXAMPLE: &'static str = "https://hooks.slack.com/services/…";

    fn parse(text: &str) -> Result<Self, Problem> {
        // It is a secret: what is wrong with it is said without it.
        let usable = text.parse::<Uri>().ok().and_then(Self::new);
        usable.ok_or_else(|| {
            Problem::new("this is not a URL with `http://` or `https://`")
                .help("put it into a variable, so that it stands in no file: \"${SLACK_URL}\"")
        })
    }
}

impl Word for PageUrl {
    const WHAT: &'static str = "URL";
    const EXAMPLE: &'static str = "https://wiki.example/runbook";

    fn parse(text: &str) -> Result<Self, Problem> {
        let uri = text.parse::<Uri>().ok();
        let is_page = uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
        if is_page && text.len() <= 2000 {
            return Ok(Self(text.into()));
        }
        Err(Problem::new(format!("`{}` is not a URL with `http://` or `https://`", text.escape_debug())))
    }
}
