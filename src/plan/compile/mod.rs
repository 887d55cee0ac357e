//! Configuration to plan, section by section. Pure; returns every diagnostic at once.

mod limits;
mod server;
mod sites;
mod tls;
mod upstreams;

pub use upstreams::servers;

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use super::ground::Ground;
use super::{Head, Plan};
use crate::config::diagnostic::Diagnostic;
use crate::config::{Config, Diagnostics, codes};
use crate::http::forwarded;
use crate::record::redact::Redactor;
use crate::route::RouteTable;

/// The longest path with its query, in bytes (414 beyond it).
const MAX_TARGET: usize = 16 * 1024;

/// Builds the plan of `config` on `ground`.
///
/// # Errors
/// All that is wrong, with the warnings of the configuration.
pub fn compile(config: &Config, ground: &Ground) -> Result<(Plan, Diagnostics), Diagnostics> {
    let mut found = config.diagnostics();
    let mut limits = limits::compile(config, ground, &mut found);
    let upstreams = upstreams::compile(config, ground);
    let tls = tls::compile(config, ground, &mut found);
    let (specs, own_limits) = sites::compile(config, ground, &upstreams, &limits, &mut found);
    limits.extend(own_limits);
    let table = RouteTable::build(specs);
    let table = match table {
        Ok(table) if found.errors() == 0 => table,
        Ok(_) => return Err(found),
        Err(error) => {
            found.push(Diagnostic::error(codes::UNFIT, error.to_string()));
            return Err(found);
        }
    };
    let server = &config.server;
    let plan = Plan {
        configuration: fingerprint(config),
        table,
        head: Head { settings: server::head(server), max_target: MAX_TARGET },
        trust: server::trust(&server.trusted_proxies),
        forwarded: forwarded::Send { forwarded: *server.forwarded, real_ip: false },
        request_id: server::request_id(server),
        trace: server::trace(server),
        via: server::via(server),
        server: server::server_field(server),
        errors: server::error_pages(config),
        redactor: Arc::new(Redactor::new(server::redacted(config))),
        tls,
        upstreams,
        limits,
        downstream: Arc::new(server::downstream(server)),
        max_connections: server.max_connections.get(),
        max_connections_per_ip: server.max_connections_per_ip.get(),
        h2c: *server.h2c,
        drain: server.timeouts.drain.to_std(),
    };
    Ok((plan, found))
}

/// Builds one plan per core. They say the same and share upstreams and limits, but nothing that a request counts
/// references of: cores that count the same reference wait for each other's cache lines.
///
/// # Errors
/// As [`compile`].
pub fn compile_for(
    cores: usize,
    config: &Config,
    ground: &mut Ground,
) -> Result<(Vec<Arc<Plan>>, Diagnostics), Diagnostics> {
    let (first, found) = compile(config, ground)?;
    let mut plans = vec![Arc::new(first)];
    // What carries over from the first plan is what all of them share.
    let old = ground.old.replace(Arc::clone(&plans[0]));
    for _ in 1..cores {
        plans.push(Arc::new(compile(config, ground)?.0));
    }
    ground.old = old;
    Ok((plans, found))
}

/// A hash over the texts of all files: the same words give the same number, in every process.
fn fingerprint(config: &Config) -> u64 {
    let mut hasher = foldhash::quality::FixedState::with_seed(0).build_hasher();
    for name in config.sources.names() {
        hasher.write(config.sources.text(name).unwrap_or_default().as_bytes());
    }
    hasher.finish()
}
