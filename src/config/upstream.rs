//! `[upstream.NAME]`: a group of endpoints that requests are sent to.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::place::At;
use super::shape::{choice, either, table};
use super::timeouts::RequestTimeouts;
use super::words::{False, StatusRange, Text, UrlPath};
use super::workers::Workers;
use crate::units::{Count, Duration, Percent};

table! {
    /// A named group of endpoints. Either `servers` or `workers`, or both.
    pub struct Upstream {
        /// Addresses: `10.0.0.11:3001`, `unix:/run/app.sock`, `dns:web.internal:3000`, or a table.
        servers: default Vec<At<Server>> = &[] as &[&str];
        /// Processes that tollgate starts and keeps alive; each is an endpoint.
        workers: optional Workers;
        /// How an endpoint is picked.
        balance: default Balance = "round-robin";
        /// Active health checks; none when left out. Workers are watched anyway.
        health: optional Health;
        /// Putting aside endpoints that keep failing; `false` switches it off.
        eject: default Eject = ();
        /// Trying another endpoint.
        retry: default Retry = ();
        /// Kept connections.
        pool: default Pool = ();
        /// Requests in flight at all its endpoints together; more wait. No bound when left out.
        max_in_flight: optional Count;
        /// Requests that may wait for a slot; more are answered 503.
        queue: default Count = 1_000;
        /// The `Host` that is sent: `pass` (the client's), `upstream` (the endpoint's address), or any other text.
        host: default HostPolicy = "pass";
        /// Timeouts of requests to this upstream.
        timeouts: optional RequestTimeouts;
    }
}

either! {
    /// An entry of `servers`.
    pub enum Server {
        Address(ServerAddress),
        Table(ServerTable),
    }
}

table! {
    /// An endpoint with more to say than its address.
    pub struct ServerTable {
        /// Its address.
        addr: required ServerAddress;
        /// Its share of the requests beside the others.
        weight: default Count = 1;
        /// Used only when no other endpoint is.
        backup: default bool = false;
    }
}

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServerAddress {
    Tcp(SocketAddr),
    Unix(PathBuf),
    /// Resolved at the start and every 30 seconds; each address is an endpoint.
    Dns {
        host: String,
        port: u16,
    },
}

impl Server {
    pub fn address(&self) -> &ServerAddress {
        match self {
            Self::Address(address) => address,
            Self::Table(table) => &table.addr,
        }
    }

    pub fn weight(&self) -> u32 {
        match self {
            Self::Address(_) => 1,
            Self::Table(table) => table.weight.get(),
        }
    }

    pub fn is_backup(&self) -> bool {
        matches!(self, Self::Table(table) if *table.backup)
    }
}

choice! {
    /// How an endpoint is picked.
    pub enum Balance ("balance method") {
        /// In turn, by weight, smoothly.
        RoundRobin = "round-robin",
        /// The one with the fewest requests in flight, by weight.
        LeastConn = "least-conn",
        /// The better of two that are drawn.
        RandomTwo = "random-two",
    }
}

table! {
    /// Active health checks: a GET to every endpoint.
    pub struct Health {
        /// What is asked for.
        path: default UrlPath = "/";
        /// Pause between two checks.
        every: default Duration = "2s";
        /// How long an answer may take.
        timeout: default Duration = "2s";
        /// Failed checks in a row until the endpoint is left out.
        fall: default Count = 3;
        /// Good checks in a row until it is back.
        rise: default Count = 2;
        /// Statuses that are good.
        ok: default StatusRange = "200-399";
    }
}

either! {
    /// Passive ejection.
    pub enum Eject {
        Off(False),
        Table(EjectTable),
    }
}

table! {
    /// Putting aside endpoints that keep failing.
    pub struct EjectTable {
        /// Failures in a row: no connection, no answer, or a status of 500 and above.
        failures: default Count = 5;
        /// For how long, times the number of ejections in a row, at most 300s.
        duration as "for": default Duration = "30s";
        /// Share of the endpoints that may be put aside at a time; one always may when there are two or more.
        max_percent: default Percent = "10%";
    }
}

impl Eject {
    /// None when it is off.
    pub fn settings(&self) -> Option<&EjectTable> {
        match self {
            Self::Off(_) => None,
            Self::Table(table) => Some(table),
        }
    }
}

table! {
    /// Trying another endpoint, only where that cannot do a thing twice.
    pub struct Retry {
        /// Tries in all; 1 is none beyond the first.
        tries: default Count = 2;
        /// After what: `connect` (no connection), `closed` (a kept connection that ended before the answer: when it had been idle for more than 250 ms and the request is idempotent and has no body, or when none of the request had been written), or a status of 500 and above that an idempotent request without a body got.
        on: default Vec<At<RetryOn>> = &["connect", "closed"] as &[&str];
        /// Retries, as a share of the requests of this upstream; three at once are always allowed.
        budget: default Percent = "20%";
    }
}

/// After what another endpoint is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryOn {
    Connect,
    Closed,
    Status(u16),
}

table! {
    /// Kept connections, for each core and endpoint.
    pub struct Pool {
        /// Idle connections that are kept; 0 keeps none.
        idle: default u32 = 256;
        /// Connections that are made at once; further requests wait for one of them, or for one that is given back.
        connecting: default Count = 32;
        /// How long an idle one is kept.
        idle_timeout: default Duration = "60s";
        /// How old one may become.
        max_age: default Duration = "1h";
    }
}

/// The `Host` that an upstream gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPolicy {
    Pass,
    Upstream,
    Text(Text),
}
