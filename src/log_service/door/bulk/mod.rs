//! Elasticsearch's way in: `POST|PUT /_bulk`, `/{index}/_bulk`, and for one document `/{index}/_doc[/{id}]`,
//! `/{index}/_create/{id}`. Everything that is answered 201 is durable.
//!
//! `create` and `index` store a document ([`document`] says as what); `update` and `delete` are refused item by item, as a data
//! stream refuses them. A document with an `_id` that came lately ([`seen`]) is not stored again: a second `create` is a 409,
//! the same text indexed again a 200 with `noop`; another text is stored beside the first. A bad item never stands in the
//! way of the others. The whole request is refused with 413 when it is too large, 429 when there is no room, 400 when
//! its lines cannot be told apart; nothing of it is stored then.

mod answer;
mod document;
mod greetings;
mod seen;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use http::header::HOST;
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use tokio::sync::OwnedSemaphorePermit;

use self::answer::{Done, Fault, Style, Told};
use self::greetings::Asked;
pub(super) use self::seen::Seen;
use self::seen::{Claim, Key};
use super::answer::Answer;
use super::body::{self, Refused};
use super::{Desk, Door};
use crate::log_service::entry::{Entry, Trust};
use crate::log_service::store::{AppendError, Counts};
use crate::wire::bulk::{self, Action, Item};

/// Longest `_id` and longest name of an index, as Elasticsearch has it; bytes.
const MAX_ID: usize = 512;
const MAX_INDEX: usize = 255;

/// Whether a path is one of Elasticsearch's.
pub(super) fn serves(path: &str) -> bool {
    path == "/" || path.starts_with("/_") || Call::of(&Method::POST, path).is_some()
}

/// A refusal at the door.
pub(super) fn refusal(status: StatusCode, reason: &str) -> Answer {
    let kind =
        if status == StatusCode::UNAUTHORIZED { "security_exception" } else { "illegal_argument_exception" };
    Style::default().fault(&Fault::new(status, kind, reason))
}

/// Answers a request to such a path.
pub(super) async fn answer(
    request: Request<Incoming>,
    from: &Arc<str>,
    desk: Arc<Desk>,
    door: &Door,
) -> Answer {
    let style = Style::of(request.headers(), request.uri().query());
    let path = request.uri().path().to_owned();
    let to = (desk, door);
    match Call::of(request.method(), &path) {
        Some(Call::Bulk { index }) => take(request, index.as_deref(), from, to, &style).await,
        Some(Call::One(one)) => take_one(request, one, from, to, &style).await,
        None => {
            let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
            let (method, body_bytes) = (request.method(), to.0.limits.body_bytes);
            Asked { method, path: &path, host, body_bytes }.answer(&style)
        }
    }
}

/// A call that stores.
enum Call<'p> {
    Bulk { index: Option<Cow<'p, str>> },
    One(One<'p>),
}

/// Where one document goes.
struct One<'p> {
    action: Action,
    index: Cow<'p, str>,
    id: Option<Cow<'p, str>>,
}

impl<'p> Call<'p> {
    fn of(method: &Method, path: &'p str) -> Option<Self> {
        let mut parts =
            path.strip_prefix('/')?.split('/').map(|part| percent_decode_str(part).decode_utf8_lossy());
        let parts = [parts.next(), parts.next(), parts.next(), parts.next()];
        let may_store = matches!(*method, Method::POST | Method::PUT);
        let is_name = |name: &str| !name.is_empty() && !name.starts_with('_');
        match parts {
            _ if !may_store => None,
            [Some(bulk), None, None, None] if bulk == "_bulk" => Some(Self::Bulk { index: None }),
            [Some(index), Some(bulk), None, None] if bulk == "_bulk" && is_name(&index) => {
                Some(Self::Bulk { index: Some(index) })
            }
            [Some(index), Some(doc), id, None] if doc == "_doc" && is_name(&index) => {
                Some(Self::One(One { action: Action::Index, index, id }))
            }
            [Some(index), Some(create), Some(id), None] if create == "_create" && is_name(&index) => {
                Some(Self::One(One { action: Action::Create, index, id: Some(id) }))
            }
            _ => None,
        }
    }
}

async fn take(
    request: Request<Incoming>,
    index: Option<&str>,
    from: &Arc<str>,
    (desk, door): (Arc<Desk>, &Door),
    style: &Style,
) -> Answer {
    let begun = Instant::now();
    let held = match body::of(request, &desk).await {
        Ok(held) => held,
        Err(refused) => return style.fault(&of_body(refused)),
    };
    let (room, drafts) = match bulk::items(&held.bytes, desk.limits.batch_entries)
        .map_err(|error| of_form(&error))
        .and_then(|items| Ok((room_for(items.len(), index, &desk)?, drafts(items, index, (&desk, door))?)))
    {
        Ok(drafts) => drafts,
        Err(fault) => return style.fault(&fault),
    };
    match keep(drafts, (held, room), from, desk).await {
        Ok(told) => style.items(begun.elapsed().as_millis(), &told),
        Err(error) => style.fault(&Fault::not_stored(error)),
    }
}

async fn take_one(
    request: Request<Incoming>,
    one: One<'_>,
    from: &Arc<str>,
    (desk, door): (Arc<Desk>, &Door),
    style: &Style,
) -> Answer {
    let held = match body::of(request, &desk).await {
        Ok(held) => held,
        Err(refused) => return style.fault(&of_body(refused)),
    };
    let (index, id) = (Some(one.index.into_owned()), one.id.map(Cow::into_owned));
    let item = Item { action: one.action, index, id, document: Some(&held.bytes) };
    let told = match drafts(vec![item], None, (&desk, door)) {
        Ok(drafts) => keep(drafts, held, from, desk).await,
        Err(fault) => return style.fault(&fault),
    };
    match told.map(|mut told| told.pop()) {
        Ok(Some(Told { result: Err(fault), .. })) => style.fault(&fault),
        Ok(Some(told)) => style.json(told.status(), told.to_json()),
        Ok(None) => style.fault(&of_form(&bulk::Malformed::Empty)),
        Err(error) => style.fault(&Fault::not_stored(error)),
    }
}

/// Permission to hold what is made of so many items besides their text. Small documents are less than what is known of them;
/// an index that the path names is with each of them, in its entry and in its part of the answer.
fn room_for(items: usize, index: Option<&str>, desk: &Desk) -> Result<OwnedSemaphorePermit, Fault> {
    let each = DRAFT_BYTES + 3 * index.map_or(0, str::len);
    let most = desk.limits.body_bytes_held() / each;
    if items > most {
        return Err(of_form(&bulk::Malformed::TooMany(most)));
    }
    let bytes = u32::try_from(items.saturating_mul(each)).unwrap_or(u32::MAX);
    Arc::clone(&desk.room).try_acquire_many_owned(bytes).map_err(|_| of_body(Refused::Full))
}

/// With its names and its part of the answer.
const DRAFT_BYTES: usize = size_of::<Draft>() + 128;

/// An item before it is stored.
struct Draft {
    told: Told,
    entry: Option<Entry>,
    key: Option<Key>,
}

/// Looks at each item.
///
/// # Errors
/// One that names no index: what the sender means is not known.
fn drafts(
    items: Vec<Item<'_>>,
    index: Option<&str>,
    (desk, door): (&Desk, &Door),
) -> Result<Vec<Draft>, Fault> {
    let missing = |place| {
        let reason = format!("Validation Failed: {place}: index is missing;");
        Fault::new(StatusCode::BAD_REQUEST, "action_request_validation_exception", reason)
    };
    let draft = |(place, item): (usize, Item<'_>)| {
        let index = item.index.as_deref().or(index).filter(|index| !index.is_empty());
        let index = index.ok_or_else(|| missing(place + 1))?.to_owned();
        let looked = look(&item, &index, (desk, door.trust));
        let Item { action, id, .. } = item;
        let (entry, result) = match looked {
            Ok(entry) => (Some(entry), Ok(Done::Created)),
            Err(fault) => (None, Err(fault)),
        };
        // An empty id is none: two documents that have it are not the same.
        let id = id.filter(|id| !id.is_empty());
        let key = entry
            .as_ref()
            .zip(id.as_deref())
            .map(|(entry, id)| key_of(action, (&index, id), door.scope(), entry));
        Ok(Draft { key, entry, told: Told { action, index, id, result } })
    };
    items.into_iter().enumerate().map(draft).collect()
}

fn key_of(action: Action, target: (&str, &str), scope: &str, entry: &Entry) -> Key {
    let content = match action {
        Action::Create => None,
        _ => serde_json::from_slice(&entry.text).ok(),
    };
    Key::of(action, target, (scope, entry.stamp()), &content.unwrap_or_default())
}

fn look(item: &Item<'_>, index: &str, (desk, trust): (&Desk, Trust)) -> Result<Entry, Fault> {
    let (Action::Create | Action::Index, Some(document)) = (item.action, item.document) else {
        return Err(Fault::argument("only write ops with an op_type of create are allowed in data streams"));
    };
    let id = item.id.as_deref().filter(|id| !id.is_empty());
    if index.len() > MAX_INDEX {
        let reason = format!("Invalid index name, index name is too long, ({} > {MAX_INDEX})", index.len());
        return Err(Fault::new(StatusCode::BAD_REQUEST, "invalid_index_name_exception", reason));
    }
    if let Some(id) = id.filter(|id| id.len() > MAX_ID) {
        let reason = format!("id is too long, must be no longer than {MAX_ID} bytes but was: {}", id.len());
        return Err(Fault::argument(reason));
    }
    let most = desk.limits.entry_bytes;
    if document.len() > most {
        return Err(Fault::argument(format!("the document is larger than {most} bytes")));
    }
    let failed = |error| {
        Fault::new(StatusCode::BAD_REQUEST, "document_parsing_exception", format!("failed to parse: {error}"))
    };
    document::entry(document, (index, id), trust).map_err(failed)
}

/// Stores what is new; each draft then says what became of it. It is done to its end even if the sender goes: what is known
/// of the documents must be what became of them. So long it holds the `room`.
async fn keep<R: Send + 'static>(
    drafts: Vec<Draft>,
    room: R,
    from: &Arc<str>,
    desk: Arc<Desk>,
) -> Result<Vec<Told>, AppendError> {
    let from = Arc::clone(from);
    let kept = tokio::spawn(async move {
        let _room = room;
        store(drafts, from, &desk).await
    });
    kept.await.unwrap_or(Err(AppendError::Failed))
}

async fn store(mut drafts: Vec<Draft>, from: Arc<str>, desk: &Desk) -> Result<Vec<Told>, AppendError> {
    let refused = drafts.iter().filter(|draft| draft.entry.is_none()).count();
    let claims = desk.seen.claim(drafts.iter().map(|draft| draft.key));
    let mut claimed = Claimed { seen: &desk.seen, keys: Vec::new(), are_stored: false };
    let mut entries = Vec::with_capacity(drafts.len());
    for (draft, claim) in drafts.iter_mut().zip(&claims) {
        match claim {
            Claim::New => {
                entries.extend(draft.entry.take());
                claimed.keys.extend(draft.key);
            }
            Claim::Stored => draft.told.result = draft.told.again(),
            Claim::Coming => draft.told.result = Err(Fault::rejected("the same document is being stored")),
        }
    }
    let duplicates = claims.iter().filter(|claim| **claim == Claim::Stored).count();
    desk.store.append(entries, from).await?;
    claimed.are_stored = true;
    // Only now: a request that is not stored comes again, with all that is in it.
    Counts::add(&desk.counts().rejected, refused);
    Counts::add(&desk.counts().duplicates, duplicates);
    Ok(drafts.into_iter().map(|draft| draft.told).collect())
}

/// Documents that are new, until it is known what became of them.
struct Claimed<'s> {
    seen: &'s Seen,
    keys: Vec<Key>,
    are_stored: bool,
}

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        self.seen.settle(&self.keys, self.are_stored);
    }
}

impl Told {
    /// What came before came again.
    fn again(&self) -> Result<Done, Fault> {
        let id = self.id.as_deref().unwrap_or_default();
        match self.action {
            Action::Create => {
                let reason =
                    format!("[{id}]: version conflict, document already exists (current version [1])");
                Err(Fault::new(StatusCode::CONFLICT, "version_conflict_engine_exception", reason))
            }
            _ => Ok(Done::Again),
        }
    }
}

fn of_body(refused: Refused) -> Fault {
    let reason = refused.to_string();
    match refused {
        Refused::Full => Fault::rejected(format!("rejected execution of coordinating operation: {reason}")),
        Refused::TooLarge(_) => Fault::new(refused.status(), "content_too_long_exception", reason),
        _ => Fault::new(refused.status(), "illegal_argument_exception", reason),
    }
}

fn of_form(malformed: &bulk::Malformed) -> Fault {
    let (status, kind) = match malformed {
        bulk::Malformed::Empty => (StatusCode::BAD_REQUEST, "parse_exception"),
        bulk::Malformed::TooMany(_) => (StatusCode::PAYLOAD_TOO_LARGE, "content_too_long_exception"),
        _ => (StatusCode::BAD_REQUEST, "illegal_argument_exception"),
    };
    Fault::new(status, kind, malformed.to_string())
}

/// The value of a parameter of a query.
fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let value = pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next()?;
    let value = value.replace('+', " ");
    Some(percent_decode_str(&value).decode_utf8_lossy().into_owned())
}
