//! The choice of an endpoint, and its connection out of the pool and back.

use std::error::Error;
use std::hint::black_box;
use std::net::TcpListener;
use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};
use tollgate::upstream::balance::Balance;
use tollgate::upstream::body::{Lease, Slot};
use tollgate::upstream::connection::Connection;
use tollgate::upstream::endpoint::{Address, Endpoint};
use tollgate::upstream::local::Locals;
use tollgate::upstream::{Settings, Upstream};

use super::meter::Meter;

const NOW_MS: u64 = 1_000;

pub(crate) fn rows(meter: &Meter) -> Result<(), Box<dyn Error>> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    // Nobody accepts: the kernel does, and no byte is sent.
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = Address::Tcp(listener.local_addr()?);
    for (name, balance, endpoints) in [
        ("pick + pool, least-conn, 2 endpoints", Balance::LeastConn, 2),
        ("pick + pool, least-conn, 16 endpoints", Balance::LeastConn, 16),
        ("pick + pool, round-robin, 2 endpoints", Balance::RoundRobin, 2),
        ("pick + pool, round-robin, 16 endpoints", Balance::RoundRobin, 16),
    ] {
        let (upstream, locals) = pool(&runtime, &address, balance, endpoints)?;
        meter.row(name, 150, || assert!(pick(black_box(&upstream), &locals).is_some(), "one idle each"));
    }
    Ok(())
}

/// An upstream with an idle connection to each of its endpoints.
fn pool(
    runtime: &Runtime,
    address: &Address,
    balance: Balance,
    count: usize,
) -> Result<(Arc<Upstream>, Locals), Box<dyn Error>> {
    let endpoint = || Arc::new(Endpoint::new(address.clone(), 1, false, None, true));
    let endpoints = (0..count).map(|_| endpoint()).collect();
    let upstream = Upstream::new(Settings { balance, ..Settings::default() }, endpoints);
    let locals = Locals::default();
    for endpoint in upstream.endpoints().iter() {
        let connection = runtime.block_on(Connection::open(endpoint, NOW_MS))?;
        locals.of(&upstream).give_back(connection, NOW_MS);
    }
    Ok((upstream, locals))
}

/// What [`tollgate::upstream::send::Sending`] does of it for a request that needs neither wait nor retry.
#[inline(never)]
fn pick(upstream: &Arc<Upstream>, locals: &Locals) -> Option<(Slot, Lease)> {
    let local = locals.of(upstream);
    let slot = Slot::take(upstream)?;
    let pick = local.turn.pick(upstream.settings.balance, &upstream.endpoints(), &[], NOW_MS)?;
    let lease = Lease::new(pick.endpoint);
    let connection = local.take(&lease.endpoint, NOW_MS)?;
    local.give_back(black_box(connection), NOW_MS);
    Some((slot, lease))
}
