//! An entry as one line for people: the form that `logs tail` prints, and the log itself on a terminal.
//!
//! It is made from the stored JSON, not from [`Record`](super::Record): so what a log service, a file and a running
//! proxy show is the same to the letter. Invariant: text from outside reaches the line only through [`Safe`]; the only
//! escapes in it are the styles of [`style`].

pub mod safe;
pub mod style;
pub mod words;

use std::fmt::Write;

use serde_json::Value;

pub use safe::Safe;
use style::{BOLD, DIM, RED, YELLOW, style_of};
use words::{NOTHING, duration_or_nothing, number, short_id, size, text, time_of_day};

/// Longest path and the like in the short form; what is cut is in the wide form.
const SHORT_TEXT: usize = 120;

/// Renders an entry, without a line feed; `json` is its stored text. `wide` adds what is often left unsaid.
pub fn render(entry: &Value, json: &str, wide: bool) -> String {
    let mut out = String::new();
    let rendered = match text(entry, "kind") {
        Some("app") => app(&mut out, entry),
        Some("gap") => gap(&mut out, entry),
        Some("request" | "open" | "close" | "conn" | "progress") => request(&mut out, entry, wide),
        Some("start" | "stop" | "reload") => event(&mut out, entry),
        Some("host") => host(&mut out, entry),
        _ if entry.get("status").is_some() && entry.get("method").is_some() => request(&mut out, entry, wide),
        _ => foreign(&mut out, entry, json),
    };
    // Writing to a String cannot fail.
    rendered.map_or_else(|_| String::new(), |()| out)
}

type Rendered = Result<(), std::fmt::Error>;

fn request(out: &mut String, entry: &Value, wide: bool) -> Rendered {
    let status = number(entry, "status").unwrap_or(0);
    let style = style_of(status);
    let shown = if status == 0 { format!("{NOTHING:>3}") } else { format!("{status:>3}") };
    write!(out, "{DIM}{}{DIM:#} {style}{shown}{style:#}", Safe(&time_of_day(entry)))?;
    target(out, entry, wide)?;
    write!(out, " {}", duration_or_nothing(number(entry, "dur_us")))?;
    upstream(out, entry)?;
    outcome(out, entry)?;
    if wide {
        details(out, entry)?;
    }
    let id = text(entry, "id").unwrap_or(NOTHING);
    let id = if wide { id.to_owned() } else { short_id(id) };
    write!(out, "  {DIM}{}{DIM:#}", Safe(&id))
}

fn target(out: &mut String, entry: &Value, wide: bool) -> Rendered {
    let kind = text(entry, "kind").filter(|kind| *kind != "request");
    if let Some(kind) = kind {
        write!(out, " [{}]", Safe(kind))?;
    }
    let path = text(entry, "path");
    if let Some(method) = text(entry, "method").or(path.map(|_| NOTHING)) {
        // Logs of other proxies often have no host; a dash before the path would be read as part of it.
        let host = text(entry, "host").unwrap_or(if path.is_some() { "" } else { NOTHING });
        let path = text(entry, "path").unwrap_or("");
        let path = if wide { path } else { cut(path) };
        write!(out, " {} {BOLD}{}{}{BOLD:#}", Safe(method), Safe(host), Safe(path))?;
        if path.len() < text(entry, "path").unwrap_or("").len() {
            out.push('…');
        }
        if let Some(query) = text(entry, "query").filter(|_| wide) {
            write!(out, "?{}", Safe(query))?;
        }
    } else if let Some(ip) = text(entry, "client_ip") {
        write!(out, " {}", Safe(ip))?;
    }
    Ok(())
}

fn upstream(out: &mut String, entry: &Value) -> Rendered {
    let Some(name) = text(entry, "upstream") else { return Ok(()) };
    write!(out, "  {}", Safe(name))?;
    if let Some(address) = text(entry, "worker").or_else(|| text(entry, "up_addr")) {
        write!(out, "@{}", Safe(address))?;
    }
    if let Some(tries) = number(entry, "tries").filter(|tries| *tries > 1) {
        write!(out, " {YELLOW}{tries} tries{YELLOW:#}")?;
    }
    let (wait, resp) = (number(entry, "t_wait_us"), number(entry, "t_resp_us"));
    write!(out, "  wait {}/resp {}", duration_or_nothing(wait), duration_or_nothing(resp))
}

fn outcome(out: &mut String, entry: &Value) -> Rendered {
    let reason = text(entry, "reason").filter(|reason| *reason != "proxy_internal_response");
    let Some(reason) = reason else { return Ok(()) };
    let end_by = text(entry, "end_by").unwrap_or(NOTHING);
    write!(out, "  {RED}{}:{}{RED:#}", Safe(end_by), Safe(reason))?;
    match text(entry, "cause") {
        Some(cause) => write!(out, " ({})", Safe(cause)),
        None => Ok(()),
    }
}

fn details(out: &mut String, entry: &Value) -> Rendered {
    let client = text(entry, "client_ip").unwrap_or(NOTHING);
    let proto = text(entry, "proto").unwrap_or(NOTHING);
    write!(out, "  from {} http/{}", Safe(client), Safe(proto))?;
    let sizes = [("rx", "rx_body_b"), ("tx", "tx_body_b")];
    for (name, value) in sizes.iter().filter_map(|(name, field)| Some((name, number(entry, field)?))) {
        write!(out, " {name} {}", size(value))?;
    }
    for name in ["route", "enc", "rl_rule", "err", "referer", "ua"] {
        if let Some(value) = text(entry, name) {
            write!(out, " {name}={}", Safe(value))?;
        }
    }
    Ok(())
}

fn app(out: &mut String, entry: &Value) -> Rendered {
    let worker = text(entry, "worker").unwrap_or(NOTHING);
    let stream = text(entry, "stream").unwrap_or("");
    let line = text(entry, "line").unwrap_or("");
    write!(
        out,
        "{DIM}{}{DIM:#} {} {DIM}{}{DIM:#} | ",
        Safe(&time_of_day(entry)),
        Safe(worker),
        Safe(stream)
    )?;
    write!(out, "{}", Safe(line.trim_end()))
}

fn gap(out: &mut String, entry: &Value) -> Rendered {
    let proxy = text(entry, "proxy").unwrap_or(NOTHING);
    let core = number(entry, "core").unwrap_or(0);
    let missing =
        number(entry, "missing").map_or_else(|| "an unknown number".to_owned(), |count| count.to_string());
    let reason = text(entry, "reason").unwrap_or("no reason given");
    let time = time_of_day(entry);
    let time = Safe(&time);
    write!(out, "{DIM}{time}{DIM:#} {RED}gap{RED:#} {} core {core}: {missing} lost", Safe(proxy))?;
    match (number(entry, "first_seq"), number(entry, "last_seq")) {
        (Some(first), Some(last)) => write!(out, " ({first}–{last})")?,
        (Some(first), None) => write!(out, " (from {first} on)")?,
        _ => {}
    }
    write!(out, ", {}", Safe(reason))
}

fn event(out: &mut String, entry: &Value) -> Rendered {
    let kind = text(entry, "kind").unwrap_or(NOTHING);
    let proxy = text(entry, "proxy").unwrap_or(NOTHING);
    write!(out, "{DIM}{}{DIM:#} {BOLD}{}{BOLD:#} {}", Safe(&time_of_day(entry)), Safe(kind), Safe(proxy))?;
    match text(entry, "err") {
        Some(err) => write!(out, " {}", Safe(err)),
        None => Ok(()),
    }
}

/// What people look at first; the rest is in `logs stats --host`.
fn host(out: &mut String, entry: &Value) -> Rendered {
    let proxy = text(entry, "proxy").unwrap_or(NOTHING);
    write!(out, "{DIM}{}{DIM:#} {BOLD}host{BOLD:#} {}", Safe(&time_of_day(entry)), Safe(proxy))?;
    let float = |name: &str| entry.get(name).and_then(Value::as_f64);
    for (name, member) in [("cpu", "cpu_pct"), ("memory", "mem_used_pct"), ("disk", "disk_used_pct")] {
        if let Some(share) = float(member) {
            write!(out, "  {name} {share:.0} %")?;
        }
    }
    if let Some(load) = float("load1") {
        write!(out, "  load {load:.2}")?;
    }
    for (name, member) in [("rss", "rss_b"), ("spool", "spool_b")] {
        if let Some(bytes) = number(entry, member) {
            write!(out, "  {name} {}", size(bytes))?;
        }
    }
    write!(out, "  lag {}", duration_or_nothing(number(entry, "lag_max_us")))?;
    for (name, member) in [("conns", "conns"), ("in flight", "in_flight")] {
        if let Some(count) = number(entry, member) {
            write!(out, "  {name} {count}")?;
        }
    }
    match number(entry, "restarts_new").filter(|restarts| *restarts > 0) {
        Some(restarts) => write!(out, "  {RED}{restarts} restarts{RED:#}"),
        None => Ok(()),
    }
}

/// Entries of other services: their message if they have one, else all of it.
fn foreign(out: &mut String, entry: &Value, json: &str) -> Rendered {
    let names = ["service", "service.name", "logger", "logger_name", "from"];
    let from = names.iter().find_map(|name| text(entry, name)).unwrap_or(NOTHING);
    write!(out, "{DIM}{} {}{DIM:#} ", Safe(&time_of_day(entry)), Safe(from))?;
    if let Some(level) = text(entry, "level") {
        let style = match level {
            "error" | "fatal" | "critical" | "panic" | "alert" | "emerg" => RED,
            "warn" => YELLOW,
            _ => DIM,
        };
        write!(out, "{style}{}{style:#} ", Safe(level))?;
    }
    match ["msg", "message", "log"].iter().find_map(|name| text(entry, name)) {
        Some(message) => write!(out, "{}", Safe(message)),
        None => write!(out, "{}", Safe(json)),
    }
}

fn cut(text: &str) -> &str {
    text.char_indices().nth(SHORT_TEXT).map_or(text, |(at, _)| &text[..at])
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn plain(entry: &Value) -> String {
        strip_str(&render(entry, &entry.to_string(), false)).to_string()
    }

    fn entry() -> Value {
        json!({
            "kind": "request", "ts": "2026-11-21T09:14:03.512804Z", "id": "01a1fd62-5978-7cdd-9c2e-51f0b7c1a9d4",
            "method": "GET", "host": "shop.example", "path": "/api/cart", "status": 504, "dur_us": 30_004_112,
            "upstream": "cart", "up_addr": "10.0.0.7:80", "tries": 1, "t_wait_us": 30_003_000, "end_by": "upstream",
            "reason": "http_response_timeout", "cause": "timeouts.upstream=30s @tollgate.toml:12",
        })
    }

    #[test]
    fn a_request_is_one_line() {
        assert_eq!(
            plain(&entry()),
            "09:14:03.512 504 GET shop.example/api/cart 30.0s  cart@10.0.0.7:80  wait 30.0s/resp –  \
             upstream:http_response_timeout (timeouts.upstream=30s @tollgate.toml:12)  01a1fd62…a9d4"
        );
    }

    #[test]
    fn other_kinds_have_their_own_form() {
        let app = json!({"kind": "app", "ts": "2026-11-21T09:14:03.5Z", "worker": "app-0", "stream": "stderr",
            "line": "oh \u{1b}[31mno\n"});
        assert_eq!(plain(&app), "09:14:03.500 app-0 stderr | oh \\x1b[31mno");
        let gap = json!({"kind": "gap", "proxy": "e", "core": 2, "missing": 5, "first_seq": 5, "last_seq": 9,
            "reason": "ring_full"});
        assert_eq!(plain(&gap), "– gap e core 2: 5 lost (5–9), ring_full");
        let gap = json!({"kind": "gap", "proxy": "e", "core": 2, "first_seq": 5, "reason": "ring_lost"});
        assert_eq!(plain(&gap), "– gap e core 2: an unknown number lost (from 5 on), ring_lost");
        assert_eq!(plain(&json!({"from": "10.0.0.1:1", "msg": "hi"})), "– 10.0.0.1:1 hi");
        let line = json!({"from": "a", "service.name": "cart", "level": "warn", "message": "slow"});
        assert_eq!(plain(&line), "– cart warn slow");
    }

    proptest! {
        #[test]
        fn no_member_can_inject_an_escape(text in any::<String>(), wide in any::<bool>()) {
            for kind in ["request", "app", "gap", "reload", "conn", "host", "other"] {
                let mut entry = json!({"kind": kind, "status": 200, "tries": 2});
                for name in [
                    "ts", "recv", "from", "id", "method", "host", "path", "query", "upstream", "up_addr", "worker",
                    "reason", "end_by", "cause", "client_ip", "proto", "err", "ua", "route", "line", "stream", "msg",
                    "proxy", "referer", "level", "service", "logger", "message",
                ] {
                    entry[name] = text.clone().into();
                }
                let line = render(&entry, &entry.to_string(), wide);
                let unstyled = strip_str(&line).to_string();
                prop_assert!(!unstyled.contains(char::is_control), "{unstyled:?}");
                // Our own styles are the only escapes: each is a number between `[` and `m`, or there is none.
                let mut styles = line.split('\u{1b}').skip(1).map(|rest| rest.split_once('m').map_or("", |(style, _)| style));
                let ours = styles.all(|style| ["[0", "[1", "[2", "[31", "[32", "[33", "[36"].contains(&style));
                prop_assert!(ours);
                let deceives = line.contains(['\u{9b}', '\u{202e}', '\n', '\r']);
                prop_assert!(!deceives);
            }
        }
    }
}
