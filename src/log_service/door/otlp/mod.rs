//! `POST /v1/logs`: OTLP over HTTP, in protobuf or JSON. What is answered 200 is durable, but for what `partial_success` counts.
//!
//! 400 a body that cannot be read, 413 one that is too large, 415 of another form: sending it again is of no use. 429 and 503,
//! both with `Retry-After`: nothing was stored, all of it may be sent again. [`entry`] says what becomes of a record.

mod entry;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;

use super::Desk;
use super::answer::{self, Answer};
use super::body::{self, Held, Refused};
use super::room::Room;
use crate::log_service::batch::Parsed;
use crate::log_service::entry::{Entry, Trust};
use crate::log_service::store::AppendError;
pub(super) use crate::wire::otlp::PATH;
use crate::wire::otlp::message::{Answer as Told, LogRecord, PartialSuccess, Status};
use crate::wire::otlp::read::Origin;
use crate::wire::otlp::{Form, FormError};

pub(super) async fn answer(request: Request<Incoming>, from: &Arc<str>, desk: &Desk, trust: Trust) -> Answer {
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let Some(form) = Form::of(content_type) else {
        let reason = "send application/x-protobuf or application/json";
        return refusal(Form::Json, StatusCode::UNSUPPORTED_MEDIA_TYPE, reason);
    };
    if request.method() != Method::POST {
        return refusal(form, StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
    }
    let held = match body::of(request, desk).await {
        Ok(held) => held,
        Err(refused @ Refused::Full) => {
            return later(form, StatusCode::TOO_MANY_REQUESTS, &refused.to_string(), 1);
        }
        // Senders throw away what is answered 408: they come again after 429, 502, 503 and 504 only.
        Err(refused @ Refused::Slow) => {
            return later(form, StatusCode::SERVICE_UNAVAILABLE, &refused.to_string(), 1);
        }
        Err(refused) => return refusal(form, refused.status(), &refused.to_string()),
    };
    let mut taken = match take(form, &held, (desk, trust)) {
        Ok(taken) => taken,
        Err(error) => return refusal(form, StatusCode::BAD_REQUEST, &error.to_string()),
    };
    match taken.overflow {
        None => {}
        Some(Overflow::Now) => {
            return later(form, StatusCode::TOO_MANY_REQUESTS, &Refused::Full.to_string(), 1);
        }
        Some(Overflow::Ever(most)) => {
            let reason = format!(
                "its records, each with what describes its program, are larger than {most} bytes: send fewer at once"
            );
            return refusal(form, StatusCode::PAYLOAD_TOO_LARGE, &reason);
        }
    }
    match desk.store(&mut taken.parsed, from).await {
        Ok(_) => written(form, StatusCode::OK, form.write(&taken.told())),
        Err(error) => not_stored(form, error),
    }
}

/// What came out of a body.
struct Taken<'d> {
    desk: &'d Desk,
    trust: Trust,
    parsed: Parsed,
    /// Why the first of those that were refused was.
    reason: Option<String>,
    /// Bytes of the body, and of the entries that were made.
    made: usize,
    /// For them.
    room: Room,
    overflow: Option<Overflow>,
}

/// Every record has what describes its program: a small body becomes as many times larger as it has records.
#[derive(Clone, Copy, Debug)]
enum Overflow {
    /// There is no room now.
    Now,
    /// There never is so much.
    Ever(usize),
}

fn take<'d>(form: Form, held: &Held, (desk, trust): (&'d Desk, Trust)) -> Result<Taken<'d>, FormError> {
    let mut taken = Taken {
        desk,
        trust,
        parsed: Parsed::default(),
        reason: None,
        made: held.bytes.len(),
        room: Room::default(),
        overflow: None,
    };
    form.records(&held.bytes, desk.limits.entry_bytes, &mut |origin, record| taken.record(origin, record))?;
    Ok(taken)
}

impl Taken<'_> {
    fn record(&mut self, origin: &Origin, record: Result<LogRecord, usize>) {
        if self.overflow.is_some() {
            // Nothing of it is stored.
            return;
        }
        let limits = &self.desk.limits;
        let entry = match record {
            Err(size) => Err(format!("a record of {size} bytes is larger than {}", limits.entry_bytes)),
            Ok(_) if self.parsed.entries.len() >= limits.batch_entries => {
                Err(format!("more than {} records in one request: send smaller ones", limits.batch_entries))
            }
            Ok(record) => self.entry(origin, &record),
        };
        match entry {
            Ok(entry) => self.parsed.entries.push(entry),
            Err(reason) => {
                self.parsed.rejected_count += 1;
                self.reason.get_or_insert(reason);
            }
        }
    }

    fn entry(&mut self, origin: &Origin, record: &LogRecord) -> Result<Entry, String> {
        let text = entry::text(origin, record);
        // Those that are too large, too: to make them takes its time.
        self.overflow = self.hold(text.len() + size_of::<Entry>()).err();
        let most = self.desk.limits.entry_bytes;
        if text.len() > most {
            return Err(format!("a record with what describes its program is larger than {most} bytes"));
        }
        Entry::of_sender(Bytes::from(text), self.trust).map_err(|error| error.to_string())
    }

    fn hold(&mut self, bytes: usize) -> Result<(), Overflow> {
        self.made = self.made.saturating_add(bytes);
        let most = self.desk.limits.body_bytes_held();
        if self.made > most {
            return Err(Overflow::Ever(most));
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let more = Arc::clone(&self.desk.room).try_acquire_many_owned(bytes).map_err(|_| Overflow::Now)?;
        self.room.add(more);
        Ok(())
    }

    fn told(&self) -> Told {
        let partial_success = self.reason.as_ref().map(|reason| PartialSuccess {
            rejected_log_records: i64::try_from(self.parsed.rejected_count).unwrap_or(i64::MAX),
            error_message: reason.clone(),
        });
        Told { partial_success }
    }
}

fn not_stored(form: Form, error: AppendError) -> Answer {
    let (status, seconds) = match error {
        AppendError::Behind => (StatusCode::TOO_MANY_REQUESTS, 1),
        AppendError::Full => (StatusCode::SERVICE_UNAVAILABLE, 10),
        AppendError::Failed | AppendError::Closed => (StatusCode::SERVICE_UNAVAILABLE, 5),
    };
    later(form, status, &error.to_string(), seconds)
}

fn later(form: Form, status: StatusCode, reason: &str, seconds: u16) -> Answer {
    let mut answer = refusal(form, status, reason);
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    answer
}

fn refusal(form: Form, status: StatusCode, reason: &str) -> Answer {
    let told = Status { code: code_of(status), message: reason.to_owned() };
    written(form, status, form.write(&told))
}

/// The code of gRPC that a status stands for.
fn code_of(status: StatusCode) -> i32 {
    match status.as_u16() {
        429 => 8,
        503 => 14,
        405 => 12,
        _ => 3,
    }
}

fn written(form: Form, status: StatusCode, body: Vec<u8>) -> Answer {
    answer::whole(status, HeaderValue::from_static(form.media()), body.into())
}
