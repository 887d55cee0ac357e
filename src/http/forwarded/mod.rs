//! Who the client is, and how the origin learns it: `X-Forwarded-*`, `X-Real-IP` and `Forwarded` (RFC 7239).
//!
//! Here: which addresses are believed, the walk along the chain of proxies, removal of what a client may not claim, and
//! our own entries. Not here: the names of trusted networks (`config`), `X-Request-Id` (`exchange`).
//!
//! Invariant: nothing that an untrusted sender wrote in these fields reaches the origin or decides anything.

mod chain;
mod parse;
mod rewrite;

use std::net::IpAddr;

use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;

use super::headers::Refusal;

pub use parse::{Element, Node, parse_forwarded};
pub use rewrite::{Hop, Send, rewrite};

/// Which senders may speak for someone else. The default trusts nobody.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    nets: Vec<IpNet>,
    family: Family,
}

/// Which field the trusted proxies maintain. The other one is then as untrusted as the client that wrote it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// `X-Forwarded-*` where present, else `Forwarded`.
    #[default]
    Either,
    XForwarded,
    Forwarded,
}

impl Trust {
    /// `nets` is a plain list: words such as `private` are expanded by the caller.
    pub fn new(nets: Vec<IpNet>, family: Family) -> Self {
        Self { nets, family }
    }

    /// Believes this sender. An IPv4 address that is mapped into IPv6 counts as IPv4.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.nets.iter().any(|net| net.contains(&ip))
    }
}

/// Scheme on which the client came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proto {
    Http,
    Https,
}

impl Proto {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// The client, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    pub ip: IpAddr,
    /// Where the trusted chain names one; never the port of the TCP connection.
    pub port: Option<u16>,
    /// The sender on the TCP connection is trusted: what it forwards is kept, and `ip` may be another's.
    pub trusted: bool,
    /// Scheme that the trusted chain names.
    pub proto: Option<Proto>,
    /// Host that the trusted chain names; valid and canonical.
    pub host: Option<HeaderValue>,
    /// The field that was believed; the others are dropped before the request goes on.
    pub chain: Chain,
}

/// Which field told of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chain {
    /// None: the sender is the client, or nobody vouches for it.
    Sender,
    XForwarded,
    Forwarded,
}

impl Client {
    fn plain(ip: IpAddr, trusted: bool, chain: Chain) -> Self {
        Self { ip, port: None, trusted, proto: None, host: None, chain }
    }
}

/// Finds the client behind `sender`, the address on the TCP connection: the chain is walked from its right end, and
/// the first address that is not trusted is the client. An entry that is no address (`unknown`, `_hidden`) ends the
/// walk at the proxy that wrote it. A `Forwarded` that breaks its grammar is refused: it has no certain last entry.
///
/// Without trust this looks at no header.
pub fn resolve(headers: &HeaderMap, sender: IpAddr, trust: &Trust) -> Result<Client, Refusal> {
    let sender = sender.to_canonical();
    if trust.nets.is_empty() || !trust.contains(sender) {
        return Ok(Client::plain(sender, false, Chain::Sender));
    }
    match trust.family {
        Family::XForwarded => Ok(chain::from_x_forwarded(headers, sender, trust)),
        Family::Forwarded => chain::from_forwarded(headers, sender, trust),
        Family::Either if headers.contains_key(chain::X_FORWARDED_FOR) => {
            Ok(chain::from_x_forwarded(headers, sender, trust))
        }
        Family::Either if headers.contains_key(http::header::FORWARDED) => {
            chain::from_forwarded(headers, sender, trust)
        }
        Family::Either => Ok(chain::from_x_forwarded(headers, sender, trust)),
    }
}

#[cfg(test)]
mod tests;
