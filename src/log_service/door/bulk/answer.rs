//! Answers in Elasticsearch's words and shape.

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::log_service::door::answer::{self, Answer};
use crate::log_service::store::AppendError;
use crate::wire::bulk::Action;
use crate::wire::bulk::filter_path::FilterPath;

/// Clients go on only when an answer has it.
const PRODUCT: HeaderName = HeaderName::from_static("x-elastic-product");
const COMPATIBLE: &str = "application/vnd.elasticsearch+json";

/// What an asker said about the form of the answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Style {
    media: Option<HeaderValue>,
    filter: FilterPath,
}

impl Style {
    pub(super) fn of(headers: &HeaderMap, query: Option<&str>) -> Self {
        let accept = headers.get(http::header::ACCEPT);
        let media =
            accept.filter(|accept| accept.to_str().is_ok_and(|text| text.starts_with(COMPATIBLE))).cloned();
        let filter = super::parameter(query, "filter_path").map(|text| FilterPath::parse(&text));
        Self { media, filter: filter.unwrap_or_default() }
    }

    pub(super) fn json(&self, status: StatusCode, value: Value) -> Answer {
        let value = self.filter.apply(value).unwrap_or_else(|| json!({}));
        self.dressed(answer::json(status, &value))
    }

    /// Whole: as with Elasticsearch, `filter_path` is for answers that tell of something done.
    pub(super) fn fault(&self, fault: &Fault) -> Answer {
        let reason = json!({ "type": fault.kind, "reason": fault.reason });
        let error = json!({ "root_cause": [reason], "type": fault.kind, "reason": fault.reason });
        let told = json!({ "error": error, "status": fault.status.as_u16() });
        let mut answer = self.dressed(answer::json(fault.status, &told));
        if matches!(fault.status.as_u16(), 429 | 503) {
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(fault.retry_after_s));
        }
        answer
    }

    fn dressed(&self, mut answer: Answer) -> Answer {
        let headers = answer.headers_mut();
        headers.insert(PRODUCT, HeaderValue::from_static("Elasticsearch"));
        if let Some(media) = &self.media {
            headers.insert(CONTENT_TYPE, media.clone());
        }
        answer
    }

    /// All items of a request. They are filtered one by one, so that the whole answer is never there as a tree.
    pub(super) fn items(&self, took_ms: u128, told: &[Told]) -> Answer {
        let errors = told.iter().any(|told| told.result.is_err());
        let head = json!({ "took": u64::try_from(took_ms).unwrap_or(u64::MAX), "errors": errors });
        let head = self.filter.apply(head).unwrap_or_else(|| json!({})).to_string();
        let items: Vec<String> = told.iter().filter_map(|told| self.item(told)).collect();
        // Without its last brace.
        let mut text = head.strip_suffix('}').unwrap_or_default().to_owned();
        if !items.is_empty() {
            text.push_str(if text.len() > 1 { ",\"items\":[" } else { "\"items\":[" });
            text.push_str(&items.join(","));
            text.push(']');
        }
        text.push_str("}\n");
        self.dressed(answer::text(StatusCode::OK, text))
    }

    fn item(&self, told: &Told) -> Option<String> {
        let item = json!({ told.action.name(): told.to_json() });
        if self.filter.is_all() {
            return Some(item.to_string());
        }
        let mut kept = self.filter.apply(json!({ "items": [item] }))?;
        Some(kept.pointer_mut("/items/0")?.take().to_string())
    }
}

/// What became of one item.
pub(super) struct Told {
    pub(super) action: Action,
    pub(super) index: String,
    pub(super) id: Option<String>,
    pub(super) result: Result<Done, Fault>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    Created,
    /// The same had been indexed before.
    Again,
}

impl Told {
    pub(super) fn status(&self) -> StatusCode {
        match &self.result {
            Ok(Done::Created) => StatusCode::CREATED,
            Ok(Done::Again) => StatusCode::OK,
            Err(fault) => fault.status,
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let (id, status) = (&self.id, self.status().as_u16());
        match &self.result {
            Ok(done) => json!({
                "_index": self.index, "_id": id, "_version": 1,
                "result": if *done == Done::Again { "noop" } else { "created" },
                "_shards": { "total": 1, "successful": 1, "failed": 0 }, "_seq_no": 0, "_primary_term": 1,
                "status": status,
            }),
            Err(fault) => json!({
                "_index": self.index, "_id": id, "status": status,
                "error": { "type": fault.kind, "reason": fault.reason },
            }),
        }
    }
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) status: StatusCode,
    pub(super) kind: &'static str,
    pub(super) reason: String,
    pub(super) retry_after_s: u16,
}

impl Fault {
    pub(super) fn new(status: StatusCode, kind: &'static str, reason: impl Into<String>) -> Self {
        Self { status, kind, reason: reason.into(), retry_after_s: 1 }
    }

    pub(super) fn argument(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "illegal_argument_exception", reason)
    }

    /// There is no room now; it may be sent again.
    pub(super) fn rejected(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "es_rejected_execution_exception", reason)
    }

    pub(super) fn not_stored(error: AppendError) -> Self {
        match error {
            AppendError::Behind => Self::rejected(format!("rejected execution of coordinating operation: {error}")),
            AppendError::Full => Self {
                status: StatusCode::TOO_MANY_REQUESTS,
                kind: "cluster_block_exception",
                reason: "index blocked by: [TOO_MANY_REQUESTS/12/disk usage exceeded flood-stage watermark]; the disk is full".to_owned(),
                retry_after_s: 10,
            },
            AppendError::Failed | AppendError::Closed => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable_shards_exception", error.to_string())
            }
        }
    }
}
