//! Everything built and ready, immutable, swapped whole: [`Plan`].
//!
//! An exchange loads the plan once and keeps it to its end, so a reload never changes a request half-way.
//! [`compile`] makes a plan from the configuration without any I/O.

pub mod compile;
pub mod ground;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::downstream::{body, wire};
use crate::exchange::failure::Cause;
use crate::files::Files;
use crate::filter::compress::{self, Wanted};
use crate::filter::{headers as header_changes, rate_limit::Limit};
use crate::http::forwarded::{self, Trust};
use crate::http::headers;
use crate::http::target::EncodedSlash;
use crate::record::redact::Redactor;
use crate::route::RouteTable;
use crate::tls;
use crate::upstream::Upstream;
use crate::upstream::send::Timeouts;

/// See the module.
pub struct Plan {
    /// Hash of the configuration, as records carry it.
    pub configuration: u64,
    pub table: RouteTable<Arc<Site>, Arc<Route>>,
    pub head: Head,
    pub trust: Trust,
    pub forwarded: forwarded::Send,
    pub request_id: RequestId,
    pub trace: Trace,
    pub via: Option<Via>,
    pub server: ServerField,
    pub errors: ErrorPages,
    pub redactor: Arc<Redactor>,
    pub tls: Option<tls::Server>,
    pub upstreams: Vec<Arc<Upstream>>,
    pub limits: Vec<Arc<Limit>>,
    pub downstream: Arc<wire::Limits>,
    pub max_connections: u32,
    pub max_connections_per_ip: u32,
    pub h2c: bool,
    pub drain: Duration,
}

/// The running plans: one for each core, all of the same configuration.
pub struct Plans {
    by_core: Box<[ArcSwap<Plan>]>,
}

impl Plans {
    /// `plans` has one for each core, and at least one.
    pub fn new(plans: Vec<Arc<Plan>>) -> Self {
        Self { by_core: plans.into_iter().map(ArcSwap::new).collect() }
    }

    /// The plan that a core follows.
    pub fn of(&self, core: u16) -> Arc<Plan> {
        self.by_core[usize::from(core) % self.by_core.len()].load_full()
    }

    /// Any of them: for those who only look.
    pub fn load_full(&self) -> Arc<Plan> {
        self.of(0)
    }

    /// Replaces all of them. What has begun under an old one ends under it.
    pub fn store(&self, plans: Vec<Arc<Plan>>) {
        for (slot, plan) in self.by_core.iter().zip(plans) {
            slot.store(plan);
        }
    }
}

/// Limits of a request head.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    pub settings: headers::Settings,
    pub max_target: usize,
}

/// The request id field, and who may set it.
pub struct RequestId {
    pub name: HeaderName,
    pub trust: Trust,
}

/// What happens to `traceparent` (W3C Trace Context).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trace {
    /// Taken away.
    Off,
    /// Goes on untouched; its ids are written down.
    Pass,
    /// Our hop becomes the parent; a trace is begun when there is none.
    Join,
}

/// `Via` (RFC 9110 section 7.6.3) with a pseudonym by which a loop is noticed.
pub struct Via {
    pub pseudonym: Arc<str>,
    pub http10: HeaderValue,
    pub http11: HeaderValue,
    pub http2: HeaderValue,
}

/// What happens to the `Server` field of answers.
pub enum ServerField {
    Remove,
    Pass,
    Replace(HeaderValue),
}

/// Bodies of error answers by status; anything not here gets the built-in page.
#[derive(Default)]
pub struct ErrorPages {
    pub by_status: Vec<(StatusCode, HeaderValue, bytes::Bytes)>,
}

/// A site as the walk needs it.
pub struct Site {
    pub name: Arc<str>,
    /// Where the configuration has it: `tollgate.toml:22`.
    pub place: Arc<str>,
    pub has_tls: bool,
    /// Over http: answer with a redirect to https on this port.
    pub redirect_to: Option<u16>,
}

/// A route, ready to walk.
pub struct Route {
    pub name: Arc<str>,
    /// Where the configuration has it: `tollgate.toml:26`.
    pub place: Arc<str>,
    /// The path ends in `*`: what that stands for is what files are looked for by.
    pub is_prefix: bool,
    pub site: Arc<Site>,
    pub action: Action,
    pub encoded_slash: EncodedSlash,
    pub limits: Vec<Arc<Limit>>,
    pub body: Arc<body::Settings>,
    pub compress: Option<Arc<compress::Settings>>,
    pub request_headers: Vec<Arc<header_changes::Settings>>,
    pub response_headers: Vec<Arc<header_changes::Settings>>,
    pub path: PathChange,
}

impl Route {
    /// Which codecs the client takes, where that matters.
    pub fn wanted(&self, headers: &HeaderMap) -> Wanted {
        match self.compress.is_some() || matches!(self.action, Action::Files(_)) {
            true => Wanted::parse(headers),
            false => Wanted::default(),
        }
    }
}

/// What answers on a route.
pub enum Action {
    Proxy(Box<Proxying>),
    /// Location; `true`: the rest of the path and the query are appended.
    Redirect {
        target: Arc<str>,
        carries_rest: bool,
        status: StatusCode,
    },
    Respond {
        status: StatusCode,
        content_type: HeaderValue,
        text: bytes::Bytes,
    },
    Files(Arc<Files>),
}

impl Action {
    /// Whether the answer depends on what the route's prefix leaves of the path.
    pub fn needs_rest(&self) -> bool {
        matches!(self, Self::Redirect { carries_rest: true, .. } | Self::Files(_))
    }
}

/// How a route talks to its upstream.
pub struct Proxying {
    pub upstream: Arc<Upstream>,
    pub timeouts: Arc<Timeouts>,
    pub tunnel: (Duration, Cause),
    /// The Host that the upstream gets instead of the client's.
    pub host: Option<HeaderValue>,
}

/// How the path changes on its way to the upstream or the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathChange {
    Keep,
    /// Takes this prefix away.
    Strip(Arc<str>),
    /// A new path; `true`: the rest behind the route's prefix is appended.
    Rewrite(Arc<str>, bool),
}
