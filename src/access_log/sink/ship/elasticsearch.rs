//! Elasticsearch's and OpenSearch's `_bulk`: an answer for each document, and its `_id` as the key, so that what is sent
//! again is not there twice.
//!
//! | answer | consequence |
//! |---|---|
//! | item 2xx, 409 | taken: an earlier try landed |
//! | item 429, 503 | that item again, later |
//! | item 5xx | that item again; after several tries, while others are taken, refused |
//! | item 401, 403, 404 (no right to the index, it is blocked, it is not there) | the same: where none is taken all are held |
//! | item other 4xx | refused |
//! | whole 413 | halved |
//! | whole 400, 422 | halved, down to the one that is refused |
//! | whole 401, 403, 404, other 4xx | held: credentials or address are to be mended |
//! | whole 429, 5xx, no or half an answer | again, later |

use http::StatusCode;
use serde::Deserialize;

use super::post::{Answer, Post};
use super::{Failed, Load, Verdict};
use crate::access_log::Error;
use crate::access_log::shipping::ShippingSettings;
use crate::record::id;

#[derive(Debug)]
pub(super) struct Elasticsearch {
    post: Post,
    path: String,
}

/// The parts of the answer that `filter_path` asks for.
#[derive(Deserialize)]
struct Outcome {
    errors: bool,
    #[serde(default)]
    items: Vec<Action>,
}

#[derive(Deserialize)]
struct Action {
    create: ItemOutcome,
}

#[derive(Deserialize)]
struct ItemOutcome {
    status: u16,
    error: Option<Trouble>,
}

/// An object, or in old versions a text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Trouble {
    Object {
        #[serde(default, rename = "type")]
        kind: String,
        #[serde(default)]
        reason: Option<String>,
    },
    Text(String),
}

impl Elasticsearch {
    pub(super) fn new(settings: &ShippingSettings, index: &str) -> Result<Self, Error> {
        let post = Post::new(settings, "application/x-ndjson")?;
        let path = format!("/{index}/_bulk?filter_path=took,errors,items.*.status,items.*.error");
        Ok(Self { post, path })
    }

    pub(super) fn disconnect(&mut self) {
        self.post.disconnect();
    }

    pub(super) async fn send(&mut self, load: Load<'_>) -> Verdict {
        match self.post.send(&self.path, body(load)).await {
            Ok(answer) => judge(&answer, load.len()),
            Err(verdict) => verdict,
        }
    }
}

/// `create`, as data streams take nothing else.
fn body(load: Load<'_>) -> Vec<u8> {
    let mut body = Vec::with_capacity(load.bytes() + load.len() * 64);
    for (item, line) in load.iter() {
        body.extend_from_slice(b"{\"create\":{\"_id\":\"");
        body.extend_from_slice(&id::text(&item.id));
        if item.is_open {
            body.extend_from_slice(id::OPEN);
        }
        body.extend_from_slice(b"\"}}\n");
        body.extend_from_slice(line);
        body.push(b'\n');
    }
    body
}

fn judge(answer: &Answer, sent: usize) -> Verdict {
    let status = answer.status;
    match status {
        StatusCode::OK | StatusCode::CREATED => judge_items(answer, sent),
        StatusCode::PAYLOAD_TOO_LARGE => Verdict::TooLarge,
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => {
            Verdict::Refused { status: status.as_u16(), why: answer.words() }
        }
        _ => Verdict::Later { why: answer.words(), after: answer.retry_after() },
    }
}

/// An answer that is no answer, or not for all of them, says nothing: with their ids they can all go again.
fn judge_items(answer: &Answer, sent: usize) -> Verdict {
    let outcome = match serde_json::from_slice::<Outcome>(&answer.body) {
        Ok(outcome) => outcome,
        Err(error) => {
            return Verdict::Later { why: format!("its answer is not that of _bulk: {error}"), after: None };
        }
    };
    if !outcome.errors {
        return Verdict::Taken;
    }
    if outcome.items.len() != sent {
        let why = format!("it answers for {} of {sent} documents", outcome.items.len());
        return Verdict::Later { why, after: None };
    }
    let failed = outcome.items.into_iter().enumerate();
    Verdict::Items(failed.filter_map(|(place, item)| Some((place, failure(item.create)?))).collect())
}

fn failure(item: ItemOutcome) -> Option<Failed> {
    let why = |error: Option<Trouble>| match error {
        Some(Trouble::Object { kind, reason }) => format!("{kind}: {}", reason.unwrap_or_default()),
        Some(Trouble::Text(text)) => text,
        None => String::new(),
    };
    match item.status {
        200..=299 | 409 => None,
        429 | 503 => Some(Failed::Later { why: why(item.error) }),
        status @ (401 | 403 | 404 | 500..) => Some(Failed::Broken { status, why: why(item.error) }),
        status => Some(Failed::Refused { status, why: why(item.error) }),
    }
}
