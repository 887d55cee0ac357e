//! All that is known about one request, for people: who, what, where, how it ended, and where the time went.

use serde_json::Value;

use crate::cli::logs::args::Form;
use crate::cli::logs::escape::Safe;
use crate::cli::logs::line;
use crate::cli::logs::output::{CYAN, DIM, RED, style_of};
use crate::cli::logs::tally::PHASES;
use crate::cli::logs::words::{NOTHING, count, duration, number, size, text};

const BAR: u64 = 40;
/// Quicker requests need nobody to blame.
const WORTH_BLAME: u64 = 10_000;

/// All about one record; `json` is its stored text.
pub(super) fn story(record: &Value, json: &str) -> Vec<String> {
    let mut story = vec![line::render(record, json, Form::Line)];
    let mut say = |name: &str, value: Option<String>| {
        story.extend(value.map(|value| format!("  {DIM}{name:<9}{DIM:#} {value}")));
    };
    let safe = |name: &str| text(record, name).map(|value| Safe(value).to_string());
    say("id", safe("id"));
    say("sent as", safe("rid"));
    say("time", safe("ts"));
    say("client", client(record));
    say("target", target(record));
    say("route", route(record));
    say("upstream", upstream(record));
    say("bytes", bytes(record));
    say("around", around(record));
    say("ended", ended(record));
    say("cause", safe("cause"));
    say("error", safe("err"));
    story.extend(waterfall(record));
    story.extend(blame(record));
    story.extend(tries(record));
    story
}

fn client(record: &Value) -> Option<String> {
    let ip = Safe(text(record, "client_ip")?);
    let port = number(record, "client_port").map(|port| format!(" port {port}")).unwrap_or_default();
    let proto = text(record, "proto").map(|proto| format!(", http/{}", Safe(proto))).unwrap_or_default();
    let tls = text(record, "tls_ver").map(|tls| format!(", tls {}", Safe(tls))).unwrap_or_default();
    let ua = text(record, "ua").map(|ua| format!(", {}", Safe(ua))).unwrap_or_default();
    Some(format!("{ip}{port}{proto}{tls}{ua}"))
}

fn target(record: &Value) -> Option<String> {
    let scheme = text(record, "scheme").unwrap_or("http");
    let query = text(record, "query").map(|query| format!("?{}", Safe(query))).unwrap_or_default();
    let host = text(record, "host").unwrap_or(NOTHING);
    let path = text(record, "path")?;
    Some(format!("{}://{}{}{query}", Safe(scheme), Safe(host), Safe(path)))
}

fn route(record: &Value) -> Option<String> {
    let route = Safe(text(record, "route")?);
    let site = text(record, "site").map(|site| format!("{} ", Safe(site))).unwrap_or_default();
    let cfg = text(record, "cfg").map(|cfg| format!(" (config {})", Safe(cfg))).unwrap_or_default();
    Some(format!("{site}{route}{cfg}"))
}

fn upstream(record: &Value) -> Option<String> {
    let name = Safe(text(record, "upstream")?);
    let address = text(record, "up_addr").map(|address| format!(" at {}", Safe(address))).unwrap_or_default();
    let worker =
        text(record, "worker").map(|worker| format!(", worker {}", Safe(worker))).unwrap_or_default();
    let pick = text(record, "pick").map(|pick| format!(", picked by {}", Safe(pick))).unwrap_or_default();
    let reused = match record.get("up_reused").and_then(Value::as_bool) {
        Some(true) => ", reused connection",
        Some(false) => ", new connection",
        None => "",
    };
    Some(format!("{name}{address}{worker}{pick}{reused}"))
}

fn bytes(record: &Value) -> Option<String> {
    let sent = number(record, "tx_body_b")?;
    let received = number(record, "rx_body_b").unwrap_or(0);
    let encoding = text(record, "enc").map(|enc| format!(" ({})", Safe(enc))).unwrap_or_default();
    Some(format!("received {}, sent {}{encoding}", size(received), size(sent)))
}

fn ended(record: &Value) -> Option<String> {
    let end_by = text(record, "end_by")?;
    let end_at = text(record, "end_at").unwrap_or(NOTHING);
    let status = number(record, "status").unwrap_or(0);
    let style = style_of(status);
    let reason =
        text(record, "reason").map(|reason| format!(", {RED}{}{RED:#}", Safe(reason))).unwrap_or_default();
    Some(format!("{style}{status}{style:#} by {} at {}{reason}", Safe(end_by), Safe(end_at)))
}

/// What else was going on when it began.
fn around(record: &Value) -> Option<String> {
    let facts = [
        ("n_conn", "connections and"),
        ("n_req", "requests on this core;"),
        ("up_req", "at that server;"),
        ("n_queue", "waiting;"),
    ];
    let counts = facts
        .iter()
        .filter_map(|(member, words)| Some(format!("{} {words}", count(number(record, member)?))));
    let lag = number(record, "lag_us").map(|lag| format!("the core was {} late;", duration(lag)));
    let conn = number(record, "conn").map(|conn| {
        let nth = number(record, "conn_req").map(|nth| format!(", request {nth} on it")).unwrap_or_default();
        format!("connection {conn}{nth}")
    });
    let parts: Vec<String> = counts.chain(lag).chain(conn).collect();
    (!parts.is_empty()).then(|| parts.join(" ").trim_end_matches(';').to_owned())
}

/// One bar per phase, each where the one before ended.
fn waterfall(record: &Value) -> Vec<String> {
    let phases = phases(record);
    let sum = phases.iter().fold(0u64, |sum, (_, time)| sum.saturating_add(*time));
    let whole = number(record, "dur_us").unwrap_or(sum).max(sum).max(1);
    let place = |time: u64, width: u64| u128::from(time) * u128::from(width) / u128::from(whole);
    let mut begin = 0u64;
    let mut lines = Vec::new();
    for (name, time) in phases {
        let end = begin.saturating_add(time);
        // All are at most BAR, or 100.
        let (from, to, share) = (place(begin, BAR) as usize, place(end, BAR) as usize, place(time, 100));
        let bar = format!("{}{}", " ".repeat(from), "█".repeat((to - from).max(1)));
        lines
            .push(format!("  {DIM}{name:<9}{DIM:#} {:>9} {share:>3} %  {CYAN}{bar}{CYAN:#}", duration(time)));
        begin = end;
    }
    lines
}

/// Without what tollgate took itself: it lies between the others.
fn phases(record: &Value) -> Vec<(&'static str, u64)> {
    PHASES
        .iter()
        .filter(|(name, _)| *name != "self")
        .filter_map(|(name, member)| Some((*name, number(record, member)?)))
        .collect()
}

/// Where most of the time went, and so whose it is.
fn blame(record: &Value) -> Option<String> {
    let whole = number(record, "dur_us").filter(|whole| *whole >= WORTH_BLAME)?;
    let (name, time) = phases(record).into_iter().max_by_key(|(_, time)| *time)?;
    if u128::from(time) * 2 < u128::from(whole) {
        return None;
    }
    let whose = match name {
        "head" => "the client was slow to send its request",
        "send" => "the request's body took its time, from the client or to the upstream",
        "policy" => "rules and limits",
        "queue" => "it waited for a free place: capacity",
        "dns" | "connect" | "uptls" => "reaching the upstream",
        "wait" => "the upstream thought about it",
        _ => "the response took its time, from the upstream or to the client",
    };
    Some(format!("  {DIM}mostly   {DIM:#} {name}, {} of {}: {whose}", duration(time), duration(whole)))
}

fn tries(record: &Value) -> Vec<String> {
    let tries = record.get("try_log").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let lines = tries.iter().enumerate().map(|(index, attempt)| {
        let address = text(attempt, "addr").unwrap_or(NOTHING);
        let reason = text(attempt, "reason").unwrap_or(NOTHING);
        let status = number(attempt, "status").map(|status| format!(" {status}")).unwrap_or_default();
        let time = |name: &str, member: &str| {
            number(attempt, member).map(|time| format!(", {name} {}", duration(time))).unwrap_or_default()
        };
        let times = time("connect", "conn_us") + &time("wait", "wait_us");
        format!("  {DIM}try {:<5}{DIM:#} {}{status}: {}{times}", index + 1, Safe(address), Safe(reason))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;
    use serde_json::json;

    use super::*;

    #[test]
    fn phases_stand_one_after_the_other() {
        let record = json!({"dur_us": 1000, "t_head_us": 250, "t_wait_us": 500, "t_resp_us": 250});
        let lines: Vec<String> = waterfall(&record).iter().map(|line| strip_str(line).to_string()).collect();
        assert_eq!(lines[0], format!("  head          250us  25 %  {}", "█".repeat(10)));
        assert_eq!(lines[1], format!("  wait          500us  50 %  {}{}", " ".repeat(10), "█".repeat(20)));
        assert_eq!(lines[2], format!("  resp          250us  25 %  {}{}", " ".repeat(30), "█".repeat(10)));
    }

    #[test]
    fn absurd_times_do_not_overflow() {
        let record =
            json!({"dur_us": 1, "t_head_us": u64::MAX, "t_wait_us": u64::MAX, "try_log": [{"addr": 7}, 1]});
        assert_eq!((waterfall(&record).len(), tries(&record).len()), (2, 2));
    }

    #[test]
    fn says_whose_the_time_was_and_what_was_around() {
        let record = json!({"dur_us": 30_000_000, "t_wait_us": 29_000_000, "n_conn": 3, "n_req": 2, "conn": 7, "conn_req": 4});
        let blame = strip_str(&blame(&record).unwrap()).to_string();
        assert_eq!(blame, "  mostly    wait, 29.0s of 30.0s: the upstream thought about it");
        assert_eq!(
            around(&record).unwrap(),
            "3 connections and 2 requests on this core; connection 7, request 4 on it"
        );
        assert_eq!((super::blame(&json!({"dur_us": 10, "t_wait_us": 10})), around(&json!({}))), (None, None));
    }
}
