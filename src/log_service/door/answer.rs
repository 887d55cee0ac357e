//! Answers of the HTTP door.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body::{Frame, SizeHint};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::log_service::exec::Control;
use crate::log_service::store::AppendError;

pub(super) type Answer = Response<Body>;

/// A whole answer, or one that is made while it is sent.
pub(super) enum Body {
    Whole(Option<Bytes>),
    Stream(
        mpsc::Receiver<Bytes>,
        #[allow(dead_code, reason = "does its work when it is dropped")] Option<Waiting>,
    ),
}

/// Stops a scan when nobody waits for its answer any more.
#[derive(Default)]
pub(super) struct Waiting(Arc<Control>);

impl Waiting {
    pub(super) fn control(&self) -> Arc<Control> {
        Arc::clone(&self.0)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(receiver, _) => {
                receiver.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Stream(..) => SizeHint::default(),
        }
    }
}

pub(super) fn json(status: StatusCode, value: &Value) -> Answer {
    text(status, format!("{value}\n"))
}

/// JSON that is written already.
pub(super) fn text(status: StatusCode, text: String) -> Answer {
    whole(status, HeaderValue::from_static("application/json"), text.into())
}

pub(super) fn whole(status: StatusCode, media: HeaderValue, body: Bytes) -> Answer {
    let mut answer = Response::new(Body::Whole(Some(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, media);
    answer
}

/// JSON lines as they come.
pub(super) fn lines(receiver: mpsc::Receiver<Bytes>, waiting: Option<Waiting>) -> Answer {
    let mut answer = Response::new(Body::Stream(receiver, waiting));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    answer
}

pub(super) fn refusal(status: StatusCode, reason: &str) -> Answer {
    json(status, &serde_json::json!({ "error": reason }))
}

/// 503 with the advice to come again. `code` is for programs, `reason` for people.
pub(super) fn later(code: &str, reason: &str, seconds: u16) -> Answer {
    let told = serde_json::json!({ "error": reason, "code": code });
    let mut answer = json(StatusCode::SERVICE_UNAVAILABLE, &told);
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    answer
}

/// So many look through the store already.
pub(super) fn no_search_place() -> Answer {
    later("slow_down", "too many searches are running", 2)
}

/// Nothing of what was sent is stored; all of it may be sent again.
pub(super) fn not_stored(error: AppendError) -> Answer {
    let (code, seconds) = match error {
        AppendError::Full => ("full", 10),
        AppendError::Failed => ("failed", 5),
        AppendError::Behind => ("slow_down", 1),
        AppendError::Closed => ("stopping", 2),
    };
    later(code, &error.to_string(), seconds)
}
