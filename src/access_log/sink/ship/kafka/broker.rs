//! [`Broker`]: a connection to one broker, on which one request is answered after the other.

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{ApiVersionsRequest, SaslAuthenticateRequest, SaslHandshakeRequest};
use kafka_protocol::protocol::{Request, StrBytes, VersionRange};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::access_log::shipping::Credentials;
use crate::access_log::sink::wire::Wire;
use crate::wire::kafka::{request, response};

/// The longest answer that is read.
const LONGEST: usize = 16 << 20;
/// The newest version in which topics have their names and not a number.
const NAMED: i16 = 12;

#[derive(Debug)]
pub(super) struct Broker {
    wire: Wire,
    correlation: i32,
    /// What it understands, by the number of the request.
    versions: BTreeMap<i16, VersionRange>,
}

impl Broker {
    /// Asks what it understands, and says who we are.
    ///
    /// # Errors
    /// Why it cannot be used, in words that may be shown.
    pub(super) async fn greet(wire: Wire, credentials: &Credentials) -> Result<Self, String> {
        let mut broker = Self { wire, correlation: 0, versions: BTreeMap::new() };
        let told = broker.ask(&ApiVersionsRequest::default(), 0).await?;
        fails(told.error_code, "ApiVersions")?;
        let range = |min, max| VersionRange { min, max };
        broker.versions =
            told.api_keys.iter().map(|api| (api.api_key, range(api.min_version, api.max_version))).collect();
        if let Credentials::User { name, password } = credentials {
            broker.authenticate(name, &password.0).await?;
        }
        Ok(broker)
    }

    /// SASL PLAIN (RFC 4616).
    async fn authenticate(&mut self, name: &str, password: &str) -> Result<(), String> {
        let plain = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str("PLAIN"));
        let told = self.call(&plain).await?;
        fails(told.error_code, "the broker does not know SASL PLAIN")?;
        let bytes = Bytes::from(format!("\0{name}\0{password}"));
        let told = self.call(&SaslAuthenticateRequest::default().with_auth_bytes(bytes)).await?;
        fails(told.error_code, "`user` and `password` were refused")
    }

    /// The answer to a request, in the newest version that both sides know.
    ///
    /// # Errors
    /// The connection is of no use any more.
    pub(super) async fn call<R: Request>(&mut self, asked: &R) -> Result<R::Response, String> {
        let own = VersionRange { min: R::VERSIONS.min, max: R::VERSIONS.max.min(NAMED) };
        let both = self.versions.get(&R::KEY).map(|its| own.intersect(its)).filter(|both| !both.is_empty());
        let both =
            both.ok_or_else(|| format!("the broker does not know request {} in our versions", R::KEY))?;
        self.ask(asked, both.max).await
    }

    async fn ask<R: Request>(&mut self, asked: &R, version: i16) -> Result<R::Response, String> {
        self.correlation = self.correlation.wrapping_add(1);
        let bytes = request(asked, version, self.correlation).map_err(|error| error.to_string())?;
        let frame = self.exchange(&bytes).await.map_err(|error| format!("it broke off: {error}"))?;
        response::<R>(frame, version, self.correlation).map_err(|error| error.to_string())
    }

    async fn exchange(&mut self, bytes: &[u8]) -> std::io::Result<Bytes> {
        self.wire.write_all(bytes).await?;
        self.wire.flush().await?;
        let length = self.wire.read_u32().await? as usize;
        if length > LONGEST {
            return Err(std::io::Error::other("the answer is too long"));
        }
        let mut frame = vec![0; length];
        self.wire.read_exact(&mut frame).await?;
        Ok(frame.into())
    }
}

/// 0 is no error.
fn fails(code: i16, what: &str) -> Result<(), String> {
    match ResponseError::try_from_code(code) {
        None => Ok(()),
        Some(error) => Err(format!("{what}: {error}")),
    }
}
