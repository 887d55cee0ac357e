//! [`Hook`]: posts JSON to a URL that is a secret; what goes wrong is said without it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use http::uri::PathAndQuery;
use http::{Request, StatusCode};
use http_body_util::Full;
use rustls::ClientConfig;
use serde_json::Value;

use super::outbox::Outcome;
use crate::config::alert::HookUrl;
use crate::http::client::{AGENT, bearer};
use crate::log_service::outbound::{self, Answered};
use crate::tls::TlsError;
use crate::tls::client::{Roots, client_config};

/// How much of an answer is told.
const TOLD: usize = 120;

#[derive(Clone)]
pub(super) struct Hook {
    host: Arc<str>,
    port: u16,
    /// As it goes into the `Host` field.
    authority: Arc<str>,
    path: PathAndQuery,
    tls: Option<Arc<ClientConfig>>,
    authorization: Option<HeaderValue>,
}

impl Hook {
    /// # Errors
    /// Those of the authorities.
    pub(super) fn new(
        url: &HookUrl,
        token: Option<&str>,
        roots: impl FnOnce() -> Roots,
    ) -> Result<Self, TlsError> {
        let uri = url.uri();
        let is_tls = uri.scheme_str() == Some("https");
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = uri.port_u16();
        let authority = port.map_or_else(
            || uri.host().unwrap_or_default().to_owned(),
            |port| format!("{}:{port}", uri.host().unwrap_or_default()),
        );
        let tls = if is_tls { Some(client_config(&roots(), None, &[b"http/1.1"])?) } else { None };
        Ok(Self {
            host: host.into(),
            port: port.unwrap_or(if is_tls { 443 } else { 80 }),
            authority: authority.into(),
            path: uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")),
            tls,
            authorization: token.and_then(bearer),
        })
    }

    pub(super) async fn post(&self, body: &Value) -> Outcome {
        let stream = match outbound::connect(&self.host, self.port, self.tls.as_ref()).await {
            Ok(stream) => stream,
            Err(error) => return Outcome::Failed(format!("cannot reach {}: {error}", self.host), None),
        };
        let exchanged = match self.request(Bytes::from(body.to_string())) {
            Ok(request) => outbound::exchange(stream, request).await,
            Err(error) => Err(error.into()),
        };
        match exchanged {
            Ok(Answered { status, after, text }) => judge(status, after, &self.harmless(&text)),
            Err(error) => Outcome::Failed(format!("{} broke off: {error}", self.host), None),
        }
    }

    fn request(&self, body: Bytes) -> Result<Request<Full<Bytes>>, http::Error> {
        let mut request = Request::post(self.path.as_str())
            .header(HOST, &*self.authority)
            .header(USER_AGENT, AGENT)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        Ok(request)
    }

    /// An answer may repeat what it was asked: its words are told only without the secret, short and on one line.
    fn harmless(&self, text: &str) -> String {
        let secrets = self.path.path().split('/').chain(self.path.query()).filter(|part| part.len() > 3);
        let mut told: String =
            text.chars().take(TOLD).map(|c| if c.is_control() { ' ' } else { c }).collect();
        for secret in secrets {
            if text.contains(secret) {
                told.clear();
            }
        }
        if let Some(token) = self.authorization.as_ref().and_then(|value| value.to_str().ok()?.get(7..))
            && text.contains(token)
        {
            told.clear();
        }
        told.trim().to_owned()
    }
}

/// What an answer means: too many, too slow and "not now" pass, other refusals do not.
fn judge(status: StatusCode, after: Option<Duration>, text: &str) -> Outcome {
    if status.is_success() {
        return Outcome::Taken;
    }
    let told =
        if text.is_empty() { format!("it answers {status}") } else { format!("it answers {status}: {text}") };
    let passes = status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
        );
    if passes { Outcome::Failed(told, after) } else { Outcome::Refused(told) }
}
