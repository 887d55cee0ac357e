//! `[alert.NAME]`: what the log service watches for; `[notify.NAME]`: whom it tells.

use std::fmt;

use http::Uri;
use jiff::Timestamp;
use jiff::civil::{Date, Time, Weekday};

use super::Named;
use super::place::At;
use super::read::OneOrMany;
use super::shape::{choice, either, table};
use super::words::{False, Glob, Name, Text};
use crate::units::Duration;

table! {
    /// An alarm: the log service looks every 10 s whether `when` is so, and tells whoever `notify` names.
    pub struct Alert {
        /// What must be so, as metric, `>`, `>=`, `<` or `<=`, and value: `error_share > 5%`, `p99 > 800ms`, `requests < 1`. All metrics are listed under "Alarms" above.
        when: required Condition;
        /// Of which time; 1 h is the longest. Counts are by the minute: of the minute in which it begins its share counts.
        over: default Duration = "1m";
        /// How long `when` must be so before anybody is told, and how long it must be over before that is told; the latter is 30 s at least, so that an alarm on the edge is told once.
        hold as "for": default Duration = "1m";
        /// When it is over, of the same metric: `error_share < 2%`. When `when` is not so, if left out.
        until: optional Condition;
        /// One alarm for each `host`, `route`, `upstream` (of requests) or `proxy` (of machines), or one for the `whole`. At most 64 fire at a time; `logs alerts` counts the others.
        by: default AlertBy = "whole";
        /// Only requests of this `host:`, `route:`, `upstream:`, class of `status:` (`5xx`) or `reason:`; `*` stands for anything, `-` in front negates: `"host:shop.example -route:/health"`. All must hold; `and`, `or`, `not` and parentheses work.
        filter as "where": optional RequestFilter;
        /// Below so many requests in `over` nothing is said, and what fires counts as over.
        at_least: default u32 = 0;
        /// When nothing is sent, in the machine's time zone: `"02:00-03:00"`, `"sat-sun"`, `"mon-fri 18:00-08:00"`, `"until 2026-12-01"`. What fires still is told afterwards. For now and once: `tollgate logs alerts silence NAME`.
        silence: default OneOrMany<Silence> = &[] as &[&str];
        /// How often it is told again while it fires; `false`: never.
        repeat: default Repeat = "4h";
        /// Who is told: names of `[notify.NAME]`. Without any it is only recorded.
        notify: default OneOrMany<Name> = &[] as &[&str];
        /// A sentence for whoever is told: what it means, what to do.
        text: optional Text;
        /// A page for whoever is told, such as a runbook; a button in Slack.
        link: optional PageUrl;
    }
}

table! {
    /// Where alarms are sent: one of `slack`, `webhook` and `command`.
    pub struct Notify {
        /// An incoming webhook of Slack or of what takes the same (Mattermost, Rocket.Chat, Discord with `/slack`). A secret: `"${SLACK_URL}"`.
        slack: optional HookUrl;
        /// Any URL; the alarm is posted as a JSON document. A secret, too.
        webhook: optional HookUrl;
        /// A program with its arguments, never a shell; it gets the same document on its standard input.
        command: optional Vec<At<Text>>;
        /// A secret for `webhook`, sent as `Authorization: Bearer`.
        token: optional Text;
        /// A PEM file of the authorities that vouch for the URL's server; the public ones when it is left out.
        ca: optional Text;
        /// How long one try may take. It is tried again for an hour, with growing pauses.
        timeout: default Duration = "10s";
    }
}

/// All alarms, and whom they tell; in the order of the files.
#[derive(Clone, Debug, Default)]
pub struct Alerts {
    pub rules: Vec<Named<Name, Alert>>,
    pub notifies: Vec<Named<Name, Notify>>,
}

impl Alerts {
    /// All that is written, wherever it stands: to know when it changes. It has secrets in it.
    pub fn words(&self) -> String {
        let rules = self.rules.iter().map(|rule| format!("{}\n{}", rule.name.value, rule.body.words()));
        let told =
            self.notifies.iter().map(|notify| format!("{}\n{}", notify.name.value, notify.body.words()));
        rules.chain(told).collect::<Vec<_>>().join("\n")
    }
}

impl Alert {
    fn words(&self) -> String {
        let texts = [&self.over.written, &self.hold.written, &self.by.written, &self.at_least.written];
        let silence = self.silence.iter().map(|one| &one.written);
        let notify = self.notify.iter().map(|one| &one.written);
        let all = std::iter::once(&self.when.written).chain(texts).chain(silence).chain(notify);
        let rest = [
            self.until.as_ref().map(|one| &one.written),
            self.filter.as_ref().map(|one| &one.written),
            self.text.as_ref().map(|one| &one.written),
            self.link.as_ref().map(|one| &one.written),
        ];
        format!("{:?} {rest:?} {:?}", all.collect::<Vec<_>>(), self.repeat.every())
    }
}

impl Notify {
    fn words(&self) -> String {
        let url = |url: &Option<At<HookUrl>>| url.as_ref().map(|url| url.uri().to_string());
        let text = |text: &Option<At<Text>>| text.as_ref().map(|text| Text::clone(&text.value));
        let command =
            self.command.iter().flat_map(|command| command.iter().map(|word| Text::clone(&word.value)));
        let command: Vec<Text> = command.collect();
        let urls = [url(&self.slack), url(&self.webhook)];
        format!("{urls:?} {command:?} {:?} {}", [text(&self.token), text(&self.ca)], self.timeout.value)
    }
}

choice! {
    /// What has an alarm of its own.
    pub enum AlertBy ("kind of alarm") {
        Whole = "whole",
        Host = "host",
        Route = "route",
        Upstream = "upstream",
        Proxy = "proxy",
    }
}

either! {
    /// Reminders.
    pub enum Repeat {
        Off(False),
        Every(Duration),
    }
}

impl Repeat {
    /// None when there are none.
    pub fn every(&self) -> Option<Duration> {
        match self {
            Self::Off(_) => None,
            Self::Every(pause) => Some(*pause),
        }
    }
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Metric {
    Errors,
    ErrorShare,
    Requests,
    P50,
    P90,
    P99,
    P999,
    Mean,
    Restarts,
    Cpu,
    Memory,
    Load,
    Fds,
    SpoolAge,
    SinksStuck,
    Missing,
    Certificate,
}

/// What a value is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A number of things; of requests and errors a rate, too.
    Count { may_be_rate: bool },
    /// 0 to 1, written as percent.
    Share,
    /// Seconds.
    Time,
    /// A plain number.
    Number,
}

impl Metric {
    pub const ALL: [Self; 17] = [
        Self::Errors,
        Self::ErrorShare,
        Self::Requests,
        Self::P50,
        Self::P90,
        Self::P99,
        Self::P999,
        Self::Mean,
        Self::Restarts,
        Self::Cpu,
        Self::Memory,
        Self::Load,
        Self::Fds,
        Self::SpoolAge,
        Self::SinksStuck,
        Self::Missing,
        Self::Certificate,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::ErrorShare => "error_share",
            Self::Requests => "requests",
            Self::P50 => "p50",
            Self::P90 => "p90",
            Self::P99 => "p99",
            Self::P999 => "p99.9",
            Self::Mean => "mean",
            Self::Restarts => "restarts",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Load => "load",
            Self::Fds => "fds",
            Self::SpoolAge => "spool_age",
            Self::SinksStuck => "sinks_stuck",
            Self::Missing => "missing",
            Self::Certificate => "certificate",
        }
    }

    pub fn unit(self) -> Unit {
        match self {
            Self::Errors | Self::Requests => Unit::Count { may_be_rate: true },
            Self::Restarts | Self::SinksStuck | Self::Missing => Unit::Count { may_be_rate: false },
            Self::ErrorShare | Self::Cpu | Self::Memory | Self::Fds => Unit::Share,
            Self::P50 | Self::P90 | Self::P99 | Self::P999 | Self::Mean => Unit::Time,
            Self::SpoolAge | Self::Certificate => Unit::Time,
            Self::Load => Unit::Number,
        }
    }

    /// Counted of requests, not told by machines.
    pub fn is_of_requests(self) -> bool {
        self < Self::Restarts
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    More,
    AtLeast,
    Less,
    AtMost,
}

impl Sign {
    pub fn word(self) -> &'static str {
        match self {
            Self::More => ">",
            Self::AtLeast => ">=",
            Self::Less => "<",
            Self::AtMost => "<=",
        }
    }

    /// Whether it asks for much of something.
    pub fn is_upper(self) -> bool {
        matches!(self, Self::More | Self::AtLeast)
    }
}

/// A metric, a sign and a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    pub metric: Metric,
    pub sign: Sign,
    /// Counts, shares from 0 to 1, seconds; with `is_rate` per second.
    pub bound: f64,
    pub is_rate: bool,
}

impl Condition {
    pub fn holds(&self, value: f64) -> bool {
        match self.sign {
            Sign::More => value > self.bound,
            Sign::AtLeast => value >= self.bound,
            Sign::Less => value < self.bound,
            Sign::AtMost => value <= self.bound,
        }
    }
}

/// Which requests are counted: the conditions. How they go together says the text, which the log's filter reads.
#[derive(Clone, Debug, Default)]
pub struct RequestFilter(pub Vec<RequestTest>);

#[derive(Clone, Debug)]
pub struct RequestTest {
    pub member: Member,
    pub pattern: Glob,
}

/// What requests are told apart by where they are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member {
    Host,
    Route,
    Upstream,
    Status,
    Reason,
}

impl Member {
    pub const WORDS: [(&'static str, Self); 5] = [
        ("host", Self::Host),
        ("route", Self::Route),
        ("upstream", Self::Upstream),
        ("status", Self::Status),
        ("reason", Self::Reason),
    ];
}

/// A time in which nothing is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// On these days (all when there are none) from the first time to the second, which may be on the next day.
    Weekly {
        days: Option<(Weekday, Weekday)>,
        times: Option<(Time, Time)>,
    },
    Until(Timestamp),
    /// To the beginning of this day.
    UntilDay(Date),
}

/// An address that is a secret: whoever knows it can write there. Shown by its host only.
#[derive(Clone, PartialEq, Eq)]
pub struct HookUrl(Uri);

impl HookUrl {
    /// `http` or `https` with a host.
    pub(super) fn new(uri: Uri) -> Option<Self> {
        let is_usable = matches!(uri.scheme_str(), Some("http" | "https"));
        (is_usable && uri.host().is_some_and(|host| !host.is_empty())).then_some(Self(uri))
    }

    /// All of it: not for showing.
    pub fn uri(&self) -> &Uri {
        &self.0
    }
}

impl fmt::Debug for HookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}/…", self.0.scheme_str().unwrap_or_default(), self.0.host().unwrap_or_default())
    }
}

/// A page that anybody may know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageUrl(pub Text);
