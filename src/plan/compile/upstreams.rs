//! `[upstream.NAME]`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use http::StatusCode;

use crate::config::place::At;
use crate::config::upstream::{self as words, HostPolicy, RetryOn as RetryWords, ServerAddress};
use crate::config::words::Name;
use crate::config::{Config, Named};
use crate::plan::ground::Ground;
use crate::upstream::balance::Balance;
use crate::upstream::endpoint::{Address, Endpoint};
use crate::upstream::{Pool, Retry, RetryOn, Settings, Upstream, eject, health};

/// An upstream of the old plan stays when nothing about it changed; endpoints stay one by one.
pub(super) fn compile(config: &Config, ground: &Ground) -> Vec<Arc<Upstream>> {
    config.upstreams.iter().map(|named| upstream(named, ground)).collect()
}

fn upstream(named: &Named<Name, words::Upstream>, ground: &Ground) -> Arc<Upstream> {
    let settings = settings(named);
    let endpoints = endpoints(named, ground);
    let old = ground.old.as_ref().map_or(&[][..], |plan| &plan.upstreams);
    match old.iter().find(|old| old.settings == settings) {
        Some(old) => old.with_endpoints(endpoints),
        None => Upstream::new(settings, endpoints),
    }
}

fn endpoints(named: &Named<Name, words::Upstream>, ground: &Ground) -> Vec<Arc<Endpoint>> {
    let mut endpoints = ground.workers.get(&*named.name.value).cloned().unwrap_or_default();
    endpoints.extend(servers(&named.body, &ground.names));
    endpoints
}

/// An endpoint for each of `servers`, and for each address of those that are names.
pub fn servers(
    words: &words::Upstream,
    names: &HashMap<(String, u16), Vec<SocketAddr>>,
) -> Vec<Arc<Endpoint>> {
    let mut endpoints = Vec::new();
    for server in words.servers.iter() {
        let make =
            |address| Arc::new(Endpoint::new(address, server.weight(), server.is_backup(), None, true));
        match server.address() {
            ServerAddress::Tcp(address) => endpoints.push(make(Address::Tcp(*address))),
            ServerAddress::Unix(path) => endpoints.push(make(Address::Unix(path.clone()))),
            ServerAddress::Dns { host, port } => {
                let addresses = names.get(&(host.clone(), *port));
                endpoints.extend(addresses.into_iter().flatten().map(|a| make(Address::Tcp(*a))));
            }
        }
    }
    endpoints
}

fn settings(named: &Named<Name, words::Upstream>) -> Settings {
    let words = &named.body;
    Settings {
        name: Arc::from(&*named.name.value),
        balance: match words.balance.value {
            words::Balance::RoundRobin => Balance::RoundRobin,
            words::Balance::LeastConn => Balance::LeastConn,
            words::Balance::RandomTwo => Balance::RandomTwo,
        },
        pool: Pool {
            idle: *words.pool.idle as usize,
            connecting: words.pool.connecting.get() as usize,
            idle_timeout: words.pool.idle_timeout.to_std(),
            max_age: words.pool.max_age.to_std(),
        },
        retry: Retry {
            tries: u8::try_from(words.retry.tries.get()).unwrap_or(u8::MAX),
            on: retry_on(&words.retry.on.value),
            budget_percent: words.retry.budget.as_u8().into(),
            min_concurrent: 3,
        },
        eject: words.eject.settings().map(|eject| eject::Settings {
            failures: eject.failures.get(),
            base: eject.duration.to_std(),
            max_percent: eject.max_percent.as_u8().into(),
            ..eject::Settings::default()
        }),
        health: words.health.as_ref().map(|health| health::Settings {
            path: health.path.to_string(),
            every: health.every.to_std(),
            timeout: health.timeout.to_std(),
            fall: health.fall.get(),
            rise: health.rise.get(),
            ok: health.ok.first..=health.ok.last,
        }),
        max_in_flight: words.max_in_flight.as_ref().map(|n| n.get()),
        queue: words.queue.get(),
        host_is_endpoint: words.host.value == HostPolicy::Upstream,
    }
}

fn retry_on(words: &[At<RetryWords>]) -> RetryOn {
    let has = |word| words.iter().any(|on| on.value == word);
    let status = |on: &At<RetryWords>| match on.value {
        RetryWords::Status(status) => StatusCode::from_u16(status).ok(),
        RetryWords::Connect | RetryWords::Closed => None,
    };
    RetryOn {
        connect: has(RetryWords::Connect),
        closed: has(RetryWords::Closed),
        statuses: words.iter().filter_map(status).collect(),
    }
}
