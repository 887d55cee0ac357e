//! Every route of the site, with the reason why it won or lost.

use super::report::Considered;
use crate::http::target::Canonical;
use crate::plan::{Action, Plan, Route};
use crate::route::{self, Condition, Head, Lost, PathPattern, Verdict};

pub(super) fn routes(
    plan: &Plan,
    canonical: &Canonical<'_>,
    parts: &http::request::Parts,
) -> Vec<Considered> {
    let Some(site) = plan.table.site(canonical.host.name()) else { return Vec::new() };
    let head = Head { method: &parts.method, headers: &parts.headers, query: canonical.query };
    let fates = plan.table.explain(canonical.host.name(), &canonical.path, &head);
    let winner =
        fates.iter().find(|fate| fate.verdict == Verdict::Won).and_then(|f| site.routes().get(f.index));
    let pairs = fates.iter().filter_map(|fate| Some((fate, site.routes().get(fate.index)?)));
    pairs.map(|(fate, route)| considered(route, fate.verdict, winner)).collect()
}

type Entry = route::Route<std::sync::Arc<Route>>;

fn considered(entry: &Entry, verdict: Verdict, winner: Option<&Entry>) -> Considered {
    let why = match verdict {
        Verdict::Won => won(entry),
        Verdict::Lost(Lost::Path) => "the path does not fit".to_owned(),
        Verdict::Lost(Lost::Condition(at)) => {
            format!(
                "the path fits, but not: {}",
                entry.conditions.get(at).map_or_else(String::new, condition)
            )
        }
        Verdict::Lost(Lost::Outranked) => winner.map_or_else(String::new, |winner| outranked(entry, winner)),
    };
    Considered {
        path: entry.name.clone(),
        place: entry.value.place.to_string(),
        won: verdict == Verdict::Won,
        why,
        action: action(&entry.value.action),
    }
}

fn won(entry: &Entry) -> String {
    let how = match &entry.path {
        PathPattern::Exact(_) => "exactly this path",
        PathPattern::Prefix(_) => "the longest prefix that fits",
        PathPattern::Regex(_) => "the first regular expression that matches",
    };
    match entry.conditions.len() {
        0 => how.to_owned(),
        _ => {
            let all: Vec<String> = entry.conditions.iter().map(condition).collect();
            format!("{how}, and {}", all.join(", "))
        }
    }
}

/// The rules of `route`, in its order.
fn outranked(entry: &Entry, winner: &Entry) -> String {
    let reason = match (&winner.path, &entry.path) {
        (PathPattern::Exact(_), PathPattern::Exact(_)) => "more conditions, or earlier in the file",
        (PathPattern::Exact(_), _) => "an exact path comes before every pattern",
        (PathPattern::Regex(_), PathPattern::Prefix(_)) => "a regular expression comes before prefixes",
        (PathPattern::Prefix(a), PathPattern::Prefix(b)) if a.len() > b.len() => "a longer prefix",
        _ => "more conditions, or earlier in the file",
    };
    format!("it fits, but `{}` comes first: {reason}", winner.name)
}

fn condition(condition: &Condition) -> String {
    match condition {
        Condition::Method(methods) => {
            let names: Vec<&str> = methods.iter().map(http::Method::as_str).collect();
            format!("method is {}", names.join(" or "))
        }
        Condition::Header(name, pattern) => format!("field {name} is {}", pattern.text()),
        Condition::Query(name, pattern) => format!("parameter {name} is {}", pattern.text()),
    }
}

fn action(action: &Action) -> String {
    match action {
        Action::Proxy(proxying) => format!("proxy {}", proxying.upstream.settings.name),
        Action::Redirect { target, carries_rest, status } => {
            format!("redirect {} {target}{}", status.as_u16(), if *carries_rest { "*" } else { "" })
        }
        Action::Respond { status, .. } => format!("respond {}", status.as_u16()),
        Action::Files(files) => format!("files {}", files.settings().root.display()),
    }
}
