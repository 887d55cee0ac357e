//! What the winning route brings with it: limits, timeouts, endpoints, changes of fields, compression.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Uri};

use super::fields::Shown;
use super::report::{
    Answer, Body, Change, Compression, Endpoint, Field, Forward, Limit, Operation, Rate, Timeout,
};
use crate::app::run::cores;
use crate::config::Config;
use crate::config::upstream::{Server, ServerAddress};
use crate::config::workers::WorkerCount;
use crate::downstream::body;
use crate::exchange::failure::Cause;
use crate::filter::compress::Wanted;
use crate::filter::rate_limit::{Key, Limit as Limiter};
use crate::http::headers::Framing;
use crate::plan::{Plan, Proxying, Route, ServerField};
use crate::upstream::balance::Balance;

pub(super) fn to_https(location: &str) -> Answer {
    let location = Field { name: "location".to_owned(), value: location.to_owned() };
    Answer {
        from: "redirect",
        status: Some(308),
        detail: Some("the site is served over https".to_owned()),
        fields: vec![location],
        ..Answer::default()
    }
}

pub(super) fn limits(route: &Route, client: IpAddr, headers: &HeaderMap) -> Vec<Limit> {
    route.limits.iter().map(|limit| view(limit, client, headers)).collect()
}

fn view(limit: &Limiter, client: IpAddr, headers: &HeaderMap) -> Limit {
    let settings = limit.settings();
    let rate = |rate: &crate::filter::rate_limit::Rate| Rate {
        count: rate.count.get(),
        per_ms: rate.per.as_millis(),
        burst: rate.burst.get(),
    };
    Limit {
        name: settings.name.to_string(),
        key: key(&settings.key, client, headers),
        rate: settings.rate.as_ref().map(rate),
        concurrency: settings.concurrency.map(std::num::NonZeroU32::get),
        dry_run: settings.dry_run,
        status: settings.status.as_u16(),
        cause: settings.cause.to_string(),
    }
}

/// Values of fields and cookies are often credentials: only whether they are there is told.
fn key(key: &Key, client: IpAddr, headers: &HeaderMap) -> String {
    match key {
        Key::ClientIp => format!("client.ip {client}"),
        Key::Header(name) if headers.contains_key(name) => format!("header.{name}"),
        Key::Header(name) => format!("header.{name} is absent: client.ip {client}"),
        Key::Cookie(name) => format!("cookie.{name}, or client.ip {client} without it"),
        Key::Site => "site".to_owned(),
        Key::Route => "route".to_owned(),
    }
}

pub(super) fn body(settings: &body::Settings, framing: Framing) -> Body {
    let idle = timeout("body", settings.idle, &settings.idle_cause);
    let rate = Timeout { name: "min_body_rate", ms: None, cause: settings.rate_cause.to_string() };
    Body {
        framing: match framing {
            Framing::Empty => "none".to_owned(),
            Framing::Length(length) => format!("{length} bytes"),
            Framing::Chunked => "chunked".to_owned(),
            Framing::Open => "until the stream ends".to_owned(),
        },
        max: settings.max,
        max_cause: settings.max_cause.to_string(),
        timeouts: vec![idle, rate],
    }
}

fn timeout(name: &'static str, after: Duration, cause: &Cause) -> Timeout {
    Timeout { name, ms: Some(after.as_millis()), cause: cause.to_string() }
}

pub(super) fn forward(
    config: &Config,
    proxying: &Proxying,
    uri: &Uri,
    upgrade: Option<&'static str>,
    fields: Vec<Change>,
) -> Forward {
    let settings = &proxying.upstream.settings;
    let all = &proxying.timeouts;
    let mut timeouts: Vec<Timeout> =
        [("connect", &all.connect), ("upstream", &all.response), ("upstream_body", &all.body)]
            .map(|(name, one)| timeout(name, one.after, &one.cause))
            .into();
    timeouts.extend(upgrade.map(|_| timeout("tunnel", proxying.tunnel.0, &proxying.tunnel.1)));
    Forward {
        upstream: settings.name.to_string(),
        balance: match settings.balance {
            Balance::RoundRobin => "round-robin",
            Balance::LeastConn => "least-conn",
            Balance::RandomTwo => "random-two",
        }
        .to_owned(),
        target: uri.to_string(),
        upgrade,
        fields,
        endpoints: endpoints(config, &settings.name),
        timeouts,
        tries: settings.retry.tries,
    }
}

/// From the configuration: workers have no port, and names no address, before something runs.
fn endpoints(config: &Config, upstream: &str) -> Vec<Endpoint> {
    let Some(named) = config.upstream(upstream) else { return Vec::new() };
    let mut endpoints: Vec<Endpoint> = named.body.servers.iter().map(|server| endpoint(server)).collect();
    if let Some(workers) = &named.body.workers {
        let count = match &workers.count.value {
            WorkerCount::Auto(_) => cores(&config.server),
            WorkerCount::Number(count) => count.to_usize(),
        };
        let command: Vec<&str> = workers.command.iter().map(|word| &*word.value).collect();
        endpoints.extend((0..count).map(|index| Endpoint {
            address: "a port of its own".to_owned(),
            weight: 1,
            backup: false,
            worker: Some(format!("{upstream}-{index}: {}", command.join(" "))),
        }));
    }
    endpoints
}

fn endpoint(server: &Server) -> Endpoint {
    let address = match server.address() {
        ServerAddress::Tcp(address) => address.to_string(),
        ServerAddress::Unix(path) => format!("unix:{}", path.display()),
        ServerAddress::Dns { host, port } => format!("dns:{host}:{port}"),
    };
    Endpoint { address, weight: server.weight(), backup: server.is_backup(), worker: None }
}

/// What happens to the fields of an upstream's answer, in this order.
pub(super) fn changes(plan: &Plan, route: &Route, shown: &Shown, rid: Option<&Bytes>) -> Vec<Operation> {
    let mut all = Vec::new();
    let mut push = |op, name: &http::HeaderName, value: Option<String>| {
        all.push(Operation { op, name: name.to_string(), value });
    };
    for changes in &route.response_headers {
        changes.remove.iter().for_each(|name| push("remove", name, None));
        changes.set.iter().for_each(|(name, value)| push("set", name, Some(shown.text(name, value))));
        changes.add.iter().for_each(|(name, value)| push("add", name, Some(shown.text(name, value))));
    }
    let id = rid.map_or("<request id>".into(), |rid| String::from_utf8_lossy(rid).into_owned());
    push("set", &plan.request_id.name, Some(id));
    match &plan.server {
        ServerField::Pass => {}
        ServerField::Remove => push("remove", &http::header::SERVER, None),
        ServerField::Replace(value) => {
            push("set", &http::header::SERVER, Some(shown.text(&http::header::SERVER, value)))
        }
    }
    all
}

/// None: the route does not compress.
pub(super) fn compression(route: &Route, wanted: Wanted) -> Option<Compression> {
    let settings = route.compress.as_ref()?;
    let codec = wanted.choose(&settings.codecs).map(|codec| codec.token());
    let why = match codec {
        Some(_) => {
            "the client's favourite among those of the route; answers of other types, and small ones, stay"
        }
        None => "the client's Accept-Encoding names none of them, or likes none",
    };
    Some(Compression {
        codec,
        offered: settings.codecs.iter().map(|codec| codec.token()).collect(),
        min_size: settings.min_size,
        why: why.to_owned(),
    })
}
