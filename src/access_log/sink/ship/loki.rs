//! Loki's push: one line per record, with its time, few labels, and what is worth filtering by as structured metadata.
//!
//! The same line at the same time is there once, however often it is sent.
//!
//! | answer | consequence |
//! |---|---|
//! | 2xx | taken |
//! | 400, 422 (too old, out of order) | halved, down to the one that is refused |
//! | 413 | halved |
//! | 401, 403, 404, other 4xx | held: credentials or address are to be mended |
//! | 429, 5xx, no answer | again, later |
//!
//! Source: Grafana Loki, "HTTP API: Ingest logs".

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::json;

use super::post::{Answer, Post};
use super::{Item, Load, Verdict};
use crate::access_log::Error;
use crate::access_log::shipping::ShippingSettings;
use crate::record::id;
use crate::record::members::Members;

const PATH: &str = "/loki/api/v1/push";
/// Members of a native line that stand beside it. Any other is found by `| json`.
const METADATA: [&str; 14] = [
    "kind",
    "method",
    "host",
    "path",
    "site",
    "route",
    "upstream",
    "worker",
    "end_by",
    "reason",
    "level",
    "trace_id",
    "rid",
    "client_ip",
];
/// What a line calls the proxy that wrote it, in each form of objects.
const PROXY: [&str; 2] = ["proxy", "observer.name"];

#[derive(Debug)]
pub(super) struct Loki {
    post: Post,
    labels: BTreeMap<String, String>,
}

impl Loki {
    pub(super) fn new(settings: &ShippingSettings, labels: &[(String, String)]) -> Result<Self, Error> {
        let labels = [("job".to_owned(), "tollgate".to_owned())].into_iter().chain(labels.iter().cloned());
        Ok(Self { post: Post::new(settings, "application/json")?, labels: labels.collect() })
    }

    pub(super) fn disconnect(&mut self) {
        self.post.disconnect();
    }

    pub(super) async fn send(&mut self, load: Load<'_>) -> Verdict {
        match self.post.send(PATH, self.body(load)).await {
            Ok(answer) => judge(&answer),
            Err(verdict) => verdict,
        }
    }

    fn body(&self, load: Load<'_>) -> Vec<u8> {
        let mut streams: BTreeMap<Option<String>, Vec<serde_json::Value>> = BTreeMap::new();
        for (item, line) in load.iter() {
            let members = Members::of(line).unwrap_or_default();
            let proxy = PROXY.iter().find_map(|name| members.text(name)).map(|proxy| proxy.into_owned());
            let nanos = i128::from(item.ts_us) * 1000;
            let value = json!([nanos.to_string(), String::from_utf8_lossy(line), metadata(item, &members)]);
            streams.entry(proxy).or_default().push(value);
        }
        let streams: Vec<serde_json::Value> = streams
            .into_iter()
            .map(|(proxy, values)| {
                let mut labels = self.labels.clone();
                if let Some(proxy) = proxy {
                    labels.entry("proxy".to_owned()).or_insert(proxy);
                }
                json!({ "stream": labels, "values": values })
            })
            .collect();
        json!({ "streams": streams }).to_string().into_bytes()
    }
}

fn metadata(item: &Item, members: &Members<'_>) -> BTreeMap<&'static str, String> {
    let named = METADATA.iter().filter_map(|name| Some((*name, members.text(name)?.into_owned())));
    let mut metadata: BTreeMap<&'static str, String> = named.collect();
    metadata.insert("id", String::from_utf8_lossy(&id::text(&item.id)).into_owned());
    if item.status > 0 {
        metadata.insert("status", item.status.to_string());
    }
    metadata
}

fn judge(answer: &Answer) -> Verdict {
    match answer.status {
        status if status.is_success() => Verdict::Taken,
        StatusCode::PAYLOAD_TOO_LARGE => Verdict::TooLarge,
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => {
            Verdict::Refused { status: answer.status.as_u16(), why: answer.words() }
        }
        _ => Verdict::Later { why: answer.words(), after: answer.retry_after() },
    }
}
