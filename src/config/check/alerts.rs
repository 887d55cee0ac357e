//! What alarms say against themselves, and whom they tell.

use super::super::alert::{Alert, AlertBy, Alerts, Notify};
use super::super::node::Entry;
use super::super::read::Sink;
use super::super::words::{Name, Text};
use super::super::{At, Diagnostic, Named, codes};
use super::names::dangling;
use super::{names_of, without_effect};
use crate::units::Duration;

/// Rollups are looked through every 10 s.
const LONGEST: Duration = Duration::from_secs(3600);
const SHORTEST: Duration = Duration::from_secs(10);

/// `declared`: the tables of those who are told, also those that were not understood.
pub(in crate::config) fn check(alerts: &Alerts, declared: &[Entry], sink: &mut Sink) {
    let told: Vec<_> = alerts.rules.iter().flat_map(|alert| alert.body.notify.iter()).collect();
    dangling("notify", codes::NO_NOTIFY, &told, &names_of(declared), sink);
    for alert in &alerts.rules {
        kind(&alert.body, sink);
        values(&alert.body, sink);
    }
    for notify in &alerts.notifies {
        target(notify, sink);
    }
}

/// Requests and machines are told apart by other things.
fn kind(alert: &Alert, sink: &mut Sink) {
    let (metric, by) = (alert.when.metric, &alert.by);
    let is_of_requests = metric.is_of_requests();
    let fits = match by.value {
        AlertBy::Whole => true,
        AlertBy::Proxy => !is_of_requests,
        AlertBy::Host | AlertBy::Route | AlertBy::Upstream => is_of_requests,
    };
    if !fits {
        let message = format!("`{}` is not told apart by `{}`", metric.word(), by.value.word());
        let known = if is_of_requests { "`host`, `route` and `upstream`" } else { "`proxy`" };
        sink.push(without_effect(&by.place, message).help(format!("there is {known}")));
    }
    if is_of_requests {
        return;
    }
    let message = format!("`{}` is of machines, not of requests", metric.word());
    if let Some(filter) = &alert.filter {
        sink.push(without_effect(&filter.place, message.clone()));
    }
    if alert.at_least.is_written() {
        sink.push(without_effect(&alert.at_least.place, message));
    }
}

fn values(alert: &Alert, sink: &mut Sink) {
    let (when, over) = (&alert.when, &alert.over);
    if !(SHORTEST..=LONGEST).contains(&over.value) {
        let wrong = Diagnostic::error(codes::BAD_VALUE, "`over` is 10s to 1h").at(&over.place, "");
        sink.push(wrong.help("counts are looked at every 10 s; what is slower is a matter for `logs stats`"));
    }
    let Some(until) = &alert.until else { return };
    if until.metric != when.metric || until.is_rate != when.is_rate {
        let message = format!("`until` is of `{}`, `when` of `{}`", until.metric.word(), when.metric.word());
        let wrong = Diagnostic::error(codes::OUT_OF_ORDER, message).at(&until.place, "");
        sink.push(wrong.also(&when.place, "").help("both are of one metric, written in the same unit"));
        return;
    }
    let crosses = if when.sign.is_upper() { until.bound > when.bound } else { until.bound < when.bound };
    if until.sign.is_upper() == when.sign.is_upper() || crosses {
        let wrong = Diagnostic::error(codes::OUT_OF_ORDER, "`until` can be so while `when` is");
        let example = if when.sign.is_upper() {
            "when = \"… > 5%\", until = \"… < 2%\""
        } else {
            "when = \"… < 5\", until = \"… > 9\""
        };
        sink.push(wrong.at(&until.place, "").also(&when.place, "").help(format!("such as {example}")));
    }
}

fn target(notify: &Named<Name, Notify>, sink: &mut Sink) {
    let (name, body) = (&notify.name, &notify.body);
    if sink.is_broken_at(&name.place, &["slack", "webhook", "command"]) {
        return;
    }
    let ways = [body.slack.is_some(), body.webhook.is_some(), body.command.is_some()];
    let count = ways.into_iter().filter(|way| *way).count();
    if count != 1 {
        let what = if count == 0 { "sends nowhere" } else { "sends to several places" };
        let wrong = Diagnostic::error(codes::NOBODY_TOLD, format!("notify `{}` {what}", name.value));
        sink.push(wrong.at(&name.place, "").help(
            "write one of `slack`, `webhook` and `command`; an alarm can name several of these tables",
        ));
        return;
    }
    let is_empty = |command: &[At<Text>]| command.first().is_none_or(|program| program.is_empty());
    if let Some(command) = body.command.as_ref().filter(|command| is_empty(&command.value)) {
        let wrong = Diagnostic::error(codes::BAD_VALUE, "the command is empty").at(&command.place, "");
        sink.push(wrong.help("write the program and its arguments: `[\"/usr/local/bin/page\", \"ops\"]`"));
    }
    if let Some(token) = body.token.as_ref().filter(|_| body.webhook.is_none()) {
        sink.push(without_effect(&token.place, "`token` goes with `webhook`"));
    }
    if let Some(ca) = body.ca.as_ref().filter(|_| body.command.is_some()) {
        sink.push(without_effect(&ca.place, "`ca` goes with a URL"));
    }
}
