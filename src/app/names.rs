//! Names of servers (`dns:HOST:PORT`), resolved at the start and again every [`EVERY`]: each address is an endpoint.
//!
//! A name that cannot be resolved keeps the addresses that it had: a resolver that is away must not take an upstream
//! with it.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::config::upstream::ServerAddress;
use crate::plan::Plan;
use crate::plan::compile::servers;
use crate::upstream::endpoint::Endpoint;

/// How long the addresses of a name count. The system's resolver does not tell their own time to live.
pub const EVERY: Duration = Duration::from_secs(30);

/// Host and port.
pub type Name = (String, u16);

/// Addresses by name, in their own order, so that a resolver that shuffles them changes nothing.
pub type Names = HashMap<Name, Vec<SocketAddr>>;

/// The names that the servers of `config` have.
pub fn wanted(config: &Config) -> Vec<Name> {
    let servers = config.upstreams.iter().flat_map(|upstream| upstream.body.servers.iter());
    let mut names: Vec<Name> = servers
        .filter_map(|server| match server.address() {
            ServerAddress::Dns { host, port } => Some((host.clone(), *port)),
            _ => None,
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Asks the system's resolver about each. Blocks.
pub fn look_up(names: Vec<Name>) -> Vec<(Name, io::Result<Vec<SocketAddr>>)> {
    let ask = |name: Name| {
        let found = (name.0.as_str(), name.1).to_socket_addrs().map(Iterator::collect);
        (name, found)
    };
    names.into_iter().map(ask).collect()
}

/// Takes over what was found.
pub fn learn(names: &mut Names, found: Vec<(Name, io::Result<Vec<SocketAddr>>)>) {
    for (name, found) in found {
        match found {
            Ok(mut addresses) if !addresses.is_empty() => {
                addresses.sort();
                addresses.dedup();
                names.insert(name, addresses);
            }
            Ok(_) => {
                let so = consequence(names.contains_key(&name));
                tracing::error!(name = %name.0, "the name of a server has no address; {so}");
            }
            Err(error) => {
                let so = consequence(names.contains_key(&name));
                tracing::error!(name = %name.0, %error, "cannot resolve the name of a server; {so}");
            }
        }
    }
}

fn consequence(is_known: bool) -> &'static str {
    if is_known { "keeping what was known" } else { "nothing goes there until it can be resolved" }
}

/// Puts the addresses into the upstreams of the running plan; those that stay keep their state, and workers are not
/// touched. Returns the upstreams that changed.
pub fn apply(plan: &Plan, config: &Config, names: &Names) -> Vec<Arc<str>> {
    let mut changed = Vec::new();
    for named in &config.upstreams {
        if !named.body.servers.iter().any(|server| matches!(server.address(), ServerAddress::Dns { .. })) {
            continue;
        }
        let Some(upstream) = plan.upstreams.iter().find(|u| *u.settings.name == *named.name.value) else {
            continue;
        };
        let fresh = servers(&named.body, names);
        if is_same(&upstream.endpoints(), &fresh) {
            continue;
        }
        upstream.change_endpoints(|now| {
            let workers = now.iter().filter(|endpoint| endpoint.worker.is_some());
            workers.chain(&fresh).cloned().collect()
        });
        changed.push(Arc::clone(&upstream.settings.name));
    }
    changed
}

fn is_same(now: &[Arc<Endpoint>], fresh: &[Arc<Endpoint>]) -> bool {
    let mut servers = now.iter().filter(|endpoint| endpoint.worker.is_none());
    let all = fresh.iter().all(|fresh| servers.next().is_some_and(|old| old.is_same(fresh)));
    all && servers.next().is_none()
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::config;
    use crate::plan::compile::compile;
    use crate::plan::ground::Ground;
    use crate::upstream::endpoint::Address;

    const TEXT: &str = "
[server]
http = \"127.0.0.1:8080\"
[log]
service = \"none\"
stdout = true
[upstream.app]
servers = [\"127.0.0.1:1\", { addr = \"dns:app.test:80\", weight = 2 }]
[upstream.fixed]
servers = [\"127.0.0.1:2\"]
[site.\"*\"]
routes = [{ path = \"/a\", proxy = \"app\" }, { path = \"/b\", proxy = \"fixed\" }]
";

    fn address(last: u8) -> SocketAddr {
        ([192, 0, 2, last], 80).into()
    }

    fn found(addresses: &[u8]) -> Vec<(Name, io::Result<Vec<SocketAddr>>)> {
        vec![(("app.test".to_owned(), 80), Ok(addresses.iter().map(|last| address(*last)).collect()))]
    }

    fn running() -> (Config, Names, Plan) {
        let config = config::from_text("test.toml", TEXT, &|_| None).unwrap();
        let mut names = Names::new();
        learn(&mut names, found(&[2, 1]));
        let mut ground = Ground::bare(0);
        ground.names.clone_from(&names);
        let (plan, _) = compile(&config, &ground).unwrap_or_else(|found| panic!("{found}"));
        (config, names, plan)
    }

    fn addresses(plan: &Plan) -> Vec<String> {
        plan.upstreams[0].endpoints().iter().map(|endpoint| endpoint.name.to_string()).collect()
    }

    #[test]
    fn names_are_known_once() {
        let (config, ..) = running();
        assert_eq!(wanted(&config), [("app.test".to_owned(), 80)]);
    }

    #[test]
    fn the_order_of_addresses_changes_nothing() {
        let (config, mut names, plan) = running();
        let before = plan.upstreams[0].endpoints().clone();
        learn(&mut names, found(&[1, 2, 2]));
        assert!(apply(&plan, &config, &names).is_empty());
        assert!(Arc::ptr_eq(&before, &plan.upstreams[0].endpoints()));
    }

    #[test]
    fn addresses_that_stay_keep_their_state_and_workers_are_not_touched() {
        let (config, mut names, plan) = running();
        let app = &plan.upstreams[0];
        let worker =
            Endpoint::new(Address::Tcp(([127, 0, 0, 1], 9).into()), 1, false, Some("app-0".into()), true);
        let worker = Arc::new(worker);
        app.change_endpoints(|now| now.iter().chain([&worker]).cloned().collect());
        app.endpoints()[2].in_flight.add(7);
        learn(&mut names, found(&[3, 2]));
        assert_eq!(apply(&plan, &config, &names), ["app".into()]);
        assert_eq!(addresses(&plan), ["127.0.0.1:9", "127.0.0.1:1", "192.0.2.2:80", "192.0.2.3:80"]);
        let endpoints = app.endpoints();
        assert_eq!((endpoints[2].in_flight.sum(), endpoints[3].weight), (7, 2));
        assert!(Arc::ptr_eq(&endpoints[0], &worker));
    }

    #[test]
    fn a_name_that_cannot_be_resolved_keeps_its_addresses() {
        let (config, mut names, plan) = running();
        let name = ("app.test".to_owned(), 80);
        learn(&mut names, vec![(name.clone(), Err(io::ErrorKind::TimedOut.into())), (name, Ok(Vec::new()))]);
        assert!(apply(&plan, &config, &names).is_empty());
        assert_eq!(addresses(&plan), ["127.0.0.1:1", "192.0.2.1:80", "192.0.2.2:80"]);
    }
}
