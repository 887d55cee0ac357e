//! What of a query can be known without its rows: the window of time and whole values of a few columns.
//!
//! A condition is used only when every row that matches must have the value in the column itself. A test that ignores
//! case may also match what stands in `body` in another spelling, so it is not used when the value has letters.

use std::net::IpAddr;

use serde_json::Value;

use super::check::Check;
use super::member::bytes_of;
use crate::log_service::part::Prune;
use crate::log_service::query::{Field, Node, Pattern};
use crate::log_service::read::Window;
use crate::record::{Id, id};

/// The window in microseconds, both ends included; `None` when it is open on both sides.
pub(super) fn micros(window: Window) -> Option<(i64, i64)> {
    if window.since.is_none() && window.until.is_none() {
        return None;
    }
    let up = |time: jiff::Timestamp| {
        let nanos = time.as_nanosecond();
        // Never beyond what jiff holds, which fits.
        i64::try_from(nanos.div_euclid(1_000)).unwrap_or(i64::MAX) + i64::from(nanos.rem_euclid(1_000) > 0)
    };
    let first = window.since.map_or(i64::MIN, up);
    // The window ends before `until`.
    let last = window.until.map_or(i64::MAX, |until| up(until) - 1);
    Some((first, last))
}

pub(super) fn of(root: &Node, window: Option<(i64, i64)>) -> Prune {
    let mut prune = Prune { ts: window, newest_first: true, ..Prune::default() };
    add(root, &mut prune);
    prune
}

/// Goes down where everything must hold.
fn add(node: &Node, prune: &mut Prune) {
    match node {
        Node::All(nodes) => nodes.iter().for_each(|node| add(node, prune)),
        Node::Any(nodes) if nodes.len() == 1 => nodes.iter().for_each(|node| add(node, prune)),
        Node::Compare(field, order, bound) if only_member(field) == Some("ts") => {
            // What `body` says may be finer than the column by less than a microsecond.
            let Some((first, last)) = Check::Compare(*order, *bound).for_times() else { return };
            let (first, last) = (first.saturating_sub(1), last.saturating_add(1));
            let (from, to) = prune.ts.unwrap_or((i64::MIN, i64::MAX));
            prune.ts = Some((from.max(first), to.min(last)));
        }
        Node::Fits(field, patterns) => {
            if let ([pattern], Some(member)) = (patterns.as_slice(), only_member(field)) {
                prune.keys.extend(key(member, pattern));
                prune.id = prune.id.or(whole_id(member, pattern));
            }
        }
        _ => {}
    }
}

fn only_member(field: &Field) -> Option<&str> {
    let mut members = field.members();
    members.next().filter(|_| members.next().is_none())
}

/// The id that a row must have. Whatever way an object writes its id, the column has what it reads as.
fn whole_id(member: &str, pattern: &Pattern) -> Option<Id> {
    let (Pattern::Exactly(text) | Pattern::Like(text)) = pattern else { return None };
    if member != "id" {
        return None;
    }
    id::parse(text.as_bytes())
}

fn key(member: &str, pattern: &Pattern) -> Option<(&'static str, Vec<u8>)> {
    let text: &str = match pattern {
        Pattern::Exactly(text) => text,
        Pattern::Like(text) if !text.bytes().any(|byte| byte.is_ascii_alphabetic()) => text,
        _ => return None,
    };
    match member {
        "rid" => {
            // A value that is no text would be compared as it is written.
            let may_be_other = serde_json::from_str::<Value>(text).is_ok();
            (!may_be_other).then(|| ("rid", text.as_bytes().to_vec()))
        }
        "trace_id" => {
            let is_written_so = text.len() == 32
                && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
            is_written_so.then(|| ("trace_id", bytes_of(text)))
        }
        "client_ip" => text.parse::<IpAddr>().is_ok().then(|| ("client_ip", text.as_bytes().to_vec())),
        _ => None,
    }
}
