//! `POST /frames`: whole frames ([`crate::record::frame`]) one after the other, `application/vnd.tollgate.frames`.
//!
//! 200 `{"accepted":n,"duplicates":n}` when everything new in them is durable. 400 when a frame was bad:
//! `{"error":"…","accepted":n,"duplicates":n,"rejected":n,"bad":[{"frame":2,"offset":4711,"reason":"…"}]}`; the good ones
//! are durable all the same, and sending the bad ones again is of no use. 503 with `Retry-After` and
//! `{"code":"full"|"failed"|"slow_down"|"stopping","error":"…"}` when nothing was stored: all may be sent again, and whatever
//! arrives twice is stored once. Any number of connections may send at the same time.

use std::sync::Arc;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use serde_json::json;

use super::answer::{self, Answer};
use super::{Desk, http as door};
use crate::log_service::frames::{self, Split};
use crate::log_service::store::Appended;

pub(super) async fn take(request: Request<Incoming>, from: &Arc<str>, desk: &Desk) -> Answer {
    let body = match door::body_of(request, desk).await {
        Ok(body) => body,
        Err(refusal) => return *refusal,
    };
    let mut split = frames::split(&body.bytes, desk.limits.entry_bytes);
    match desk.store_frames(&mut split, from).await {
        Ok(appended) => answer_of(appended, &split),
        Err(error) => answer::not_stored(error),
    }
}

fn answer_of(appended: Appended, split: &Split) -> Answer {
    let Appended { accepted, duplicates } = appended;
    let Some(bad) = split.bad.first() else {
        return answer::json(StatusCode::OK, &json!({ "accepted": accepted, "duplicates": duplicates }));
    };
    let told = json!({
        "error": format!("frame {} at byte {}: {}", bad.frame, bad.offset, bad.reason),
        "accepted": accepted,
        "duplicates": duplicates,
        "rejected": split.bad_count,
        "bad": split.bad,
    });
    answer::json(StatusCode::BAD_REQUEST, &told)
}
