//! Shipping to a log service: one batch on its way at a time, taken only when the service says that it has it. Frames go as they
//! are; a service that does not know them gets lines.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use http::{Request, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustix::fs::{Access, access};
use rustls::ClientConfig;

use super::wire::Wire;
use super::{Fault, Pace, Reason};
use crate::access_log::{Error, ServiceEndpoint, ServiceSettings};
use crate::http::client::{AGENT, authority, bearer, retry_after};
use crate::tls::client::client_config;

/// The longest answer that is read; a longer one costs the connection.
const ANSWER: usize = 64 << 10;

/// Where and as what frames and lines are sent.
const FRAMES: (&str, &str) = ("/frames", "application/vnd.tollgate.frames");
const LINES: (&str, &str) = ("/logs", "application/x-ndjson");

#[derive(Debug)]
pub(in crate::access_log) struct ServiceSink {
    settings: ServiceSettings,
    host: String,
    tls: Option<Arc<ClientConfig>>,
    authorization: Option<HeaderValue>,
    connection: Option<SendRequest<Parts>>,
    /// Until the service says otherwise; asked anew with each connection, as it may be another service by then.
    knows_frames: bool,
    /// Why the last batch was not taken, in words that may be shown.
    trouble: String,
}

impl ServiceSink {
    pub(super) fn new(settings: ServiceSettings) -> Result<Self, Error> {
        let tls = tls(&settings)?;
        let authorization =
            settings.token.as_ref().map(|token| bearer(&token.0).ok_or(Error::Token)).transpose()?;
        let host = match &settings.endpoint {
            ServiceEndpoint::Unix(_) => "localhost".into(),
            ServiceEndpoint::Http { host, port, .. } => authority(host, *port),
        };
        Ok(Self {
            settings,
            host,
            tls,
            authorization,
            connection: None,
            knows_frames: true,
            trouble: String::new(),
        })
    }

    /// Another way to the same service, with a connection of its own.
    pub(super) fn beside(&self) -> Self {
        Self {
            settings: self.settings.clone(),
            host: self.host.clone(),
            tls: self.tls.clone(),
            authorization: self.authorization.clone(),
            connection: None,
            knows_frames: true,
            trouble: String::new(),
        }
    }

    /// How many batches may be under way.
    pub(super) fn window(&self) -> usize {
        self.settings.window
    }

    pub(super) fn trouble(&self) -> &str {
        &self.trouble
    }

    pub(super) fn pace(&self) -> Pace {
        Pace {
            batch_bytes: self.settings.batch_bytes,
            linger: self.settings.linger,
            timeout: self.settings.timeout,
            backoff: self.settings.backoff,
            backoff_max: self.settings.backoff_max,
        }
    }

    pub(super) fn knows_frames(&self) -> bool {
        self.knows_frames
    }

    pub(super) fn disconnect(&mut self) {
        self.connection = None;
        self.trouble = "it does not answer in time".to_owned();
    }

    /// Sends all of it and waits for the answer: 200 or 204 means that the service keeps it.
    pub(super) async fn ship(&mut self, chunks: &[Bytes], are_lines: bool) -> Result<(), Fault> {
        // Back in its place only when the exchange has ended well.
        let connection = self.connection.take().filter(|connection| !connection.is_closed());
        let mut connection = match connection {
            Some(connection) => connection,
            None => {
                self.knows_frames = true;
                self.connect().await.map_err(|error| {
                    self.trouble = self.unreachable(&error);
                    Fault::passing(Reason::ServiceDown)
                })?
            }
        };
        let answer = self.exchange(&mut connection, chunks, are_lines).await;
        let (status, after) = answer.map_err(|error| {
            self.trouble = format!("it broke off: {}", plain(&*error));
            Fault::passing(Reason::ServiceDown)
        })?;
        self.connection = Some(connection);
        if !are_lines && is_older(status) {
            self.knows_frames = false;
            return Err(Fault::Lines);
        }
        judge(status, after).inspect_err(|_| self.trouble = refusal(status))
    }

    /// Why it cannot be reached. Nobody may listen because nobody can make the socket.
    fn unreachable(&self, error: &std::io::Error) -> String {
        use std::io::ErrorKind::{ConnectionRefused, NotFound};
        let place = match &self.settings.endpoint {
            ServiceEndpoint::Unix(path) if matches!(error.kind(), NotFound | ConnectionRefused) => {
                path.parent()
            }
            _ => None,
        };
        let wrong = place.and_then(|place| Some((place, access(place, Access::WRITE_OK).err()?)));
        match wrong {
            Some((place, why)) => {
                format!("nobody listens there, and {} cannot be written: {why}", place.display())
            }
            None => format!("cannot reach it: {}", plain(error)),
        }
    }

    async fn exchange(
        &self,
        connection: &mut SendRequest<Parts>,
        chunks: &[Bytes],
        are_lines: bool,
    ) -> Result<(StatusCode, Option<Duration>), Box<dyn std::error::Error + Send + Sync>> {
        connection.ready().await?;
        let (path, media_type) = if are_lines { LINES } else { FRAMES };
        let mut request = Request::post(path)
            .header(HOST, &self.host)
            .header(USER_AGENT, AGENT)
            .header(CONTENT_TYPE, media_type)
            .body(Parts::new(chunks))?;
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        let answer = connection.send_request(request).await?;
        let (status, after) = (answer.status(), retry_after(answer.headers()));
        Limited::new(answer.into_body(), ANSWER).collect().await?;
        Ok((status, after))
    }

    async fn connect(&self) -> std::io::Result<SendRequest<Parts>> {
        let shaken = async {
            let wire = Wire::connect(&self.settings.endpoint, self.tls.as_ref()).await?;
            http1::handshake(TokioIo::new(wire)).await.map_err(std::io::Error::other)
        };
        let (sender, connection) = shaken.await?;
        // Ends when the sender is dropped or the service goes away; its error reaches us with the answer.
        tokio::spawn(async { drop(connection.await) });
        Ok(sender)
    }
}

/// An error with its causes. None of them has seen more of the token than that there is one.
pub(super) fn plain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        source = cause.source();
    }
    text
}

/// What a status means for whoever runs this.
fn refusal(status: StatusCode) -> String {
    match status {
        StatusCode::UNAUTHORIZED => {
            format!("it answers {status}: `token` of `[log]` is not one of its tokens")
        }
        StatusCode::FORBIDDEN => format!(
            "it answers {status}: `token` of `[log]` is not one of its tokens, or that is an input without `trusted = true`"
        ),
        status => format!("it answers {status}"),
    }
}

/// What shakes hands, if the endpoint wants it.
fn tls(settings: &ServiceSettings) -> Result<Option<Arc<ClientConfig>>, Error> {
    let ServiceEndpoint::Http { is_tls: true, .. } = settings.endpoint else { return Ok(None) };
    Ok(Some(client_config(&settings.roots, settings.identity.as_deref(), &[b"http/1.1"])?))
}

/// The answer to frames of a service that does not know them.
fn is_older(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::UNSUPPORTED_MEDIA_TYPE
    )
}

fn judge(status: StatusCode, after: Option<Duration>) -> Result<(), Fault> {
    match status {
        StatusCode::OK | StatusCode::NO_CONTENT => Ok(()),
        // It would answer the same for ever; one bad batch must not hold up all others.
        StatusCode::BAD_REQUEST
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::UNSUPPORTED_MEDIA_TYPE
        | StatusCode::UNPROCESSABLE_ENTITY => Err(Fault::lasting(Reason::Rejected)),
        _ => Err(Fault::Is { reason: Reason::ServiceDown, is_final: false, after }),
    }
}

/// A body of known length, made of the batches as they are.
#[derive(Debug)]
struct Parts {
    chunks: VecDeque<Bytes>,
    left: u64,
}

impl Parts {
    fn new(chunks: &[Bytes]) -> Self {
        let left = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        Self { chunks: chunks.iter().filter(|chunk| !chunk.is_empty()).cloned().collect(), left }
    }
}

impl Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let chunk = self.chunks.pop_front();
        self.left -= chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        Poll::Ready(chunk.map(|chunk| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nobody_can_make_the_socket_that_is_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let told = |path: std::path::PathBuf| {
            let sink = ServiceSink::new(ServiceSettings::new(ServiceEndpoint::Unix(path))).unwrap();
            sink.unreachable(&std::io::ErrorKind::ConnectionRefused.into())
        };
        let gone = told(dir.path().join("gone/s.sock"));
        let expected = format!(
            "nobody listens there, and {} cannot be written: No such",
            dir.path().join("gone").display()
        );
        assert!(gone.starts_with(&expected), "{gone}");
        assert_eq!(told(dir.path().join("s.sock")), "cannot reach it: connection refused");
    }
}
