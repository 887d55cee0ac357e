//! [`Dial`]: connections to one of several addresses, the next one after a failure.

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;

use crate::access_log::Error;
use crate::access_log::shipping::{Remote, ShippingSettings};
use crate::access_log::sink::service::plain;
use crate::access_log::sink::wire::Wire;
use crate::tls::client::client_config;

#[derive(Debug)]
pub(super) struct Dial {
    to: Vec<Remote>,
    tls: Option<Arc<ClientConfig>>,
    at: usize,
}

impl Dial {
    /// # Errors
    /// Authorities or certificate cannot be used.
    pub(super) fn new(settings: &ShippingSettings, alpn: &[&[u8]]) -> Result<Self, Error> {
        let tls = settings.to.iter().any(|remote| remote.is_tls);
        let tls =
            tls.then(|| client_config(&settings.roots, settings.identity.as_deref(), alpn)).transpose()?;
        Ok(Self { to: settings.to.clone(), tls, at: 0 })
    }

    /// The address that is used now.
    pub(super) fn remote(&self) -> Option<&Remote> {
        self.to.get(self.at)
    }

    /// To other addresses of the same service, with the same authorities and certificate.
    pub(super) fn toward(&self, to: Vec<Remote>) -> Self {
        Self { to, tls: self.tls.clone(), at: 0 }
    }

    /// A connection to the address that is used now; [`Self::reach`] says in words why there is none.
    pub(super) async fn connect(&self) -> io::Result<Wire> {
        let remote = self.remote().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let tls = self.tls.as_ref().filter(|_| remote.is_tls);
        Wire::tcp(&remote.host, remote.port, tls).await
    }

    /// A connection to the address that is used now.
    ///
    /// # Errors
    /// Why there is none, in words that may be shown.
    pub(super) async fn reach(&self) -> Result<Wire, String> {
        self.connect().await.map_err(|error| format!("cannot reach it: {}", plain(&error)))
    }

    /// The address has failed: the next one is tried.
    pub(super) fn turn(&mut self) {
        self.at = (self.at + 1) % self.to.len().max(1);
    }
}
