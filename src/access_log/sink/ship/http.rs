//! Lines by `POST`: anything that takes NDJSON and answers 2xx when it has it.
//!
//! 413 is halved; 400, 415 and 422 are halved down to the record that is refused; everything else, 401, 403 and 404 too, is
//! tried again: somebody has to mend it, and the spool holds meanwhile.

use http::StatusCode;

use super::post::Post;
use super::{Load, Verdict};
use crate::access_log::shipping::ShippingSettings;
use crate::access_log::{Error, Form};

#[derive(Debug)]
pub(super) struct Http {
    post: Post,
}

impl Http {
    pub(super) fn new(settings: &ShippingSettings) -> Result<Self, Error> {
        let media = match settings.form {
            Form::Combined | Form::Haproxy { .. } | Form::Line { .. } => "text/plain; charset=utf-8",
            Form::Json | Form::Ecs | Form::Otel => "application/x-ndjson",
        };
        Ok(Self { post: Post::new(settings, media)? })
    }

    pub(super) fn disconnect(&mut self) {
        self.post.disconnect();
    }

    pub(super) async fn send(&mut self, load: Load<'_>) -> Verdict {
        let mut body = Vec::with_capacity(load.bytes());
        for (_, line) in load.iter() {
            body.extend_from_slice(line);
            body.push(b'\n');
        }
        let answer = match self.post.send("", body).await {
            Ok(answer) => answer,
            Err(verdict) => return verdict,
        };
        match answer.status {
            status if status.is_success() => Verdict::Taken,
            StatusCode::PAYLOAD_TOO_LARGE => Verdict::TooLarge,
            StatusCode::BAD_REQUEST
            | StatusCode::UNSUPPORTED_MEDIA_TYPE
            | StatusCode::UNPROCESSABLE_ENTITY => {
                Verdict::Refused { status: answer.status.as_u16(), why: answer.words() }
            }
            _ => Verdict::Later { why: answer.words(), after: answer.retry_after() },
        }
    }
}
