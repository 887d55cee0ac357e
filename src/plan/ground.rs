//! [`Ground`]: what a plan stands on besides the configuration. Whoever gathers it does the I/O, so that
//! [`super::compile`] is pure.

use std::collections::HashMap;
use std::net::SocketAddr;

use std::sync::Arc;

use super::Plan;
use crate::files::Files;
use crate::tls::{CertPair, Tickets};
use crate::upstream::endpoint::Endpoint;

/// See the module.
pub struct Ground {
    /// Certificate of the local CA, when a site wants one.
    pub local: Option<CertPair>,
    pub tickets: Option<Tickets>,
    /// File roots by (site, route) in the order of the configuration; what could not be opened, with its reason.
    pub roots: HashMap<(usize, usize), Result<Arc<Files>, String>>,
    /// Endpoints of workers, by upstream.
    pub workers: HashMap<String, Vec<Arc<Endpoint>>>,
    /// Addresses of `dns:` servers, by host and port.
    pub names: HashMap<(String, u16), Vec<SocketAddr>>,
    /// The port that https is served on: where plain http is sent. Without it, what the configuration says.
    pub https_port: Option<u16>,
    /// Unix time, for certificates.
    pub now: i64,
    /// The plan to carry state over from.
    pub old: Option<Arc<Plan>>,
}

impl Ground {
    /// Nothing but the time.
    pub fn bare(now: i64) -> Self {
        Self {
            local: None,
            tickets: None,
            roots: HashMap::new(),
            workers: HashMap::new(),
            names: HashMap::new(),
            https_port: None,
            now,
            old: None,
        }
    }
}
