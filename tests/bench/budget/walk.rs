//! The steps that wait for nothing: id, route, limit, forwarding fields.

use std::error::Error;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use http::HeaderValue;
use http::request::Parts;
use tollgate::filter::rate_limit::{self, Admission, KeyInput};
use tollgate::http::forwarded::{Hop, Proto, resolve};
use tollgate::http::target::Canonical;
use tollgate::plan::{Action, Plan, Proxying, Route};
use tollgate::proxy::decide::{Decision, decide};
use tollgate::proxy::forward::{self, Inbound};
use tollgate::record::id::IdSource;

use super::meter::Meter;
use super::request::{self, Head};

const CLIENTS: u32 = 10_000;
/// Fields that a map has room for which was sent on before: hyper uses it again.
const ROOM: usize = 32;

pub(crate) fn rows(meter: &Meter) -> Result<(), Box<dyn Error>> {
    let (plan, head) = (request::plan()?, Head::read()?);
    let parts = head.parts(ROOM);
    let canonical = Canonical::of(&parts.method, &parts.uri, parts.version, &parts.headers, 16 * 1024)?;
    ids(meter)?;
    meter.row("route, 2 sites, 4 routes", 150, || {
        black_box(route(black_box(&plan), black_box(&canonical), &parts));
    });
    let Decision::Route { route, rest } = route(&plan, &canonical, &parts) else {
        return Err("the plan has a route".into());
    };
    limits(meter, route, &parts);
    let sender = IpAddr::from([10, 1, 2, 3]);
    let inbound = Inbound {
        id: [1; 16],
        own_id: &forward::own_id(&[1; 16]),
        sender,
        hop: &Hop::new(sender, Proto::Https),
        uri: &parts.uri,
        canonical: &canonical,
        client: &resolve(&parts.headers, sender, &plan.trust)?,
        rest: &rest,
        route,
    };
    forwards(meter, &plan, &head, &inbound)
}

fn ids(meter: &Meter) -> Result<(), Box<dyn Error>> {
    let (ids, mut now_us) = (IdSource::new(0)?, 1_795_252_443_512_804);
    meter.row("id, as a field value", 20, || {
        now_us += 23;
        black_box(id(&ids, now_us));
    });
    Ok(())
}

#[inline(never)]
fn id(ids: &IdSource, now_us: i64) -> HeaderValue {
    forward::own_id(&ids.next(now_us))
}

#[inline(never)]
fn route<'p>(plan: &'p Plan, canonical: &Canonical<'_>, parts: &Parts) -> Decision<'p> {
    decide(plan, canonical, &parts.method, &parts.headers, false)
}

/// By turns for every client that the limit knows.
fn limits(meter: &Meter, route: &Route, parts: &Parts) {
    let input = |client: u32| KeyInput {
        client_ip: Ipv4Addr::from_bits(0x0a00_0000 + client % CLIENTS).into(),
        headers: &parts.headers,
        site: &route.site.name,
        route: &route.name,
    };
    assert_eq!(route.limits.len(), 1);
    assert!((0..CLIENTS).all(|client| rate_limit::check(&route.limits, &input(client)).is_ok()));
    let mut client = 0;
    meter.row("limit, one of 10 000 clients", 100, || {
        client += 1;
        assert!(black_box(limit(route, &input(client))).is_some(), "the limit is wide");
    });
}

#[inline(never)]
fn limit(route: &Route, input: &KeyInput<'_>) -> Option<Admission> {
    rate_limit::check(&route.limits, input).ok()
}

fn forwards(meter: &Meter, plan: &Plan, head: &Head, inbound: &Inbound<'_>) -> Result<(), Box<dyn Error>> {
    let Action::Proxy(proxying) = &inbound.route.action else { return Err("the route goes upstream".into()) };
    for (name, room) in [
        ("forward, 12 fields, connection kept", ROOM),
        ("forward, 12 fields, first on connection", head.len()),
    ] {
        let make = || head.parts(room);
        meter.row_on(name, 300, make, |parts| assert!(forward(plan, parts, inbound, proxying), "goes on"));
    }
    Ok(())
}

#[inline(never)]
fn forward(plan: &Plan, parts: &mut Parts, inbound: &Inbound<'_>, proxying: &Proxying) -> bool {
    black_box(forward::request(plan, parts, inbound, proxying)).is_ok()
}
