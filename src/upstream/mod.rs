//! A group of endpoints that we send to: endpoint choice, connection pool, health, retry.
//!
//! Lives here: everything between a clean request and the head of its answer. Shared by all cores: [`Upstream`]
//! with its endpoints (atomics only). Per core: [`local::Local`] with idle connections and the turn of the
//! round robin. Invariant: each attempt holds one in-flight count of its endpoint for exactly as long as it
//! can still cause work there.

pub mod balance;
pub mod body;
pub mod budget;
mod connecting;
pub mod connection;
pub mod eject;
pub mod endpoint;
pub mod health;
pub mod local;
mod queue;
mod retry;
pub mod send;
pub mod striped;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::StatusCode;
use tokio::sync::Notify;

use balance::Balance;
use budget::Budget;
use endpoint::Endpoint;
use striped::Striped;

/// Checked settings of an upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub name: Arc<str>,
    pub balance: Balance,
    pub pool: Pool,
    pub retry: Retry,
    pub eject: Option<eject::Settings>,
    pub health: Option<health::Settings>,
    /// Requests in flight, over all endpoints and cores; more wait.
    pub max_in_flight: Option<u32>,
    /// Requests that may wait for an endpoint or a slot.
    pub queue: u32,
    /// The upstream sees the endpoint's own address as Host.
    pub host_is_endpoint: bool,
}

/// Idle connections kept, per core and endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    pub idle: usize,
    /// Connections that are made at once; further requests wait for one of them, or for one that is given back.
    pub connecting: usize,
    pub idle_timeout: Duration,
    pub max_age: Duration,
}

/// When a failed attempt may be made again.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// Attempts in all.
    pub tries: u8,
    pub on: RetryOn,
    /// Retries allowed as a share of the requests in flight, in percent; at least `min_concurrent` always.
    pub budget_percent: u32,
    pub min_concurrent: u32,
}

/// After what a request is sent again.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryOn {
    /// No connection could be made.
    pub connect: bool,
    /// A kept connection ended before the answer, and sending twice is harmless.
    pub closed: bool,
    /// Answers that an idempotent request without a body does not settle for.
    pub statuses: Box<[StatusCode]>,
}

impl Default for RetryOn {
    fn default() -> Self {
        Self { connect: true, closed: true, statuses: Box::default() }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: Arc::from(""),
            balance: Balance::RoundRobin,
            pool: Pool {
                idle: 256,
                connecting: 32,
                idle_timeout: Duration::from_secs(55),
                max_age: Duration::from_secs(3600),
            },
            retry: Retry { tries: 2, on: RetryOn::default(), budget_percent: 20, min_concurrent: 3 },
            eject: Some(eject::Settings::default()),
            health: None,
            max_in_flight: None,
            queue: 1024,
            host_is_endpoint: false,
        }
    }
}

/// A named group of endpoints. Survives reloads as long as its settings stay.
#[derive(Debug)]
pub struct Upstream {
    /// Unique in the process: the key of per-core state.
    pub id: u64,
    pub settings: Settings,
    endpoints: ArcSwap<Vec<Arc<Endpoint>>>,
    pub budget: Arc<Budget>,
    /// Requests that are somewhere between the queue and the end of their answer.
    pub in_flight: Striped,
    /// The same as one number, kept only under `max_in_flight`, where it must be exact.
    pub places: AtomicU32,
    pub waiting: AtomicU32,
    /// An endpoint came up, or a slot became free.
    pub changed: Notify,
}

impl Upstream {
    pub fn new(settings: Settings, endpoints: Vec<Arc<Endpoint>>) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Arc::new(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            budget: Budget::new(settings.retry.budget_percent, settings.retry.min_concurrent),
            settings,
            endpoints: ArcSwap::from_pointee(endpoints),
            in_flight: Striped::new(),
            places: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            changed: Notify::new(),
        })
    }

    /// The endpoints as of now.
    pub fn endpoints(&self) -> arc_swap::Guard<Arc<Vec<Arc<Endpoint>>>> {
        self.endpoints.load()
    }

    /// The same upstream with other endpoints; those with the same address keep their state, and the cores keep
    /// their connections to them.
    pub fn with_endpoints(self: &Arc<Self>, endpoints: Vec<Arc<Endpoint>>) -> Arc<Self> {
        let old = self.endpoints.load_full();
        if old.len() == endpoints.len() && old.iter().zip(&endpoints).all(|(a, b)| a.is_same(b)) {
            return Arc::clone(self);
        }
        let keep = |new: Arc<Endpoint>| old.iter().find(|o| o.is_same(&new)).map_or(new, Arc::clone);
        let endpoints = endpoints.into_iter().map(keep).collect();
        Arc::new(Self {
            id: self.id,
            budget: Budget::new(self.settings.retry.budget_percent, self.settings.retry.min_concurrent),
            settings: self.settings.clone(),
            endpoints: ArcSwap::new(Arc::new(endpoints)),
            in_flight: Striped::new(),
            places: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            changed: Notify::new(),
        })
    }

    /// Changes the endpoints as they are now: a change that somebody else makes meanwhile is not lost, so `change`
    /// may be called again. Those with the same address keep their state.
    pub fn change_endpoints(&self, mut change: impl FnMut(&[Arc<Endpoint>]) -> Vec<Arc<Endpoint>>) {
        self.endpoints.rcu(|old| {
            let keep = |new: Arc<Endpoint>| old.iter().find(|o| o.is_same(&new)).map_or(new, Arc::clone);
            change(old).into_iter().map(keep).collect::<Vec<_>>()
        });
        self.changed.notify_waiters();
    }
}
