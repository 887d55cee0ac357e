//! What shippers ask before they send: who answers, under which license, with which templates.
//!
//! The answers have Elasticsearch's shape and say what is so: one node, no templates, policies or pipelines. Such things may
//! be put here, and change nothing: the store has its own types and its own `keep`.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::answer::{Fault, Style};
use crate::log_service::door::answer::Answer;

/// The version whose calls and answers these are.
const VERSION: &str = "8.17.0";
const UUID: &str = "dG9sbGdhdGUgbG9ncyBvbmU";

/// Who asks, and how it reached us.
pub(super) struct Asked<'r> {
    pub(super) method: &'r Method,
    pub(super) path: &'r str,
    /// `Host`, which is where the asker finds us again.
    pub(super) host: &'r str,
    /// Largest body that is taken.
    pub(super) body_bytes: usize,
}

impl Asked<'_> {
    pub(super) fn answer(&self, style: &Style) -> Answer {
        let is_get = matches!(*self.method, Method::GET | Method::HEAD);
        let mut parts = self.path.trim_matches('/').split('/');
        match (parts.next().unwrap_or_default(), parts.next()) {
            ("", None) if is_get => style.json(StatusCode::OK, root()),
            ("_license", None) if is_get => style.json(StatusCode::OK, license()),
            ("_xpack", None) if is_get => style.json(StatusCode::OK, xpack()),
            ("_cluster", Some("health")) if is_get => style.json(StatusCode::OK, health()),
            ("_nodes", _) if is_get => style.json(StatusCode::OK, self.nodes()),
            ("_ilm", Some("policy")) => self.kept(style, "lifecycle policy", parts.next()),
            ("_ingest", Some("pipeline")) => self.kept(style, "pipeline", parts.next()),
            ("_template" | "_index_template" | "_component_template", name) => {
                self.kept(style, "index template", name)
            }
            ("_data_stream", name) => self.kept(style, "data stream", name),
            _ => {
                let reason = format!("no handler found for uri [{}] and method [{}]", self.path, self.method);
                style.fault(&Fault::argument(reason))
            }
        }
    }

    /// There is none of them; one that is put is taken for known, and one that is deleted was not there.
    fn kept(&self, style: &Style, what: &str, name: Option<&str>) -> Answer {
        match *self.method {
            Method::PUT | Method::POST if name.is_some() => {
                style.json(StatusCode::OK, json!({ "acknowledged": true }))
            }
            Method::GET | Method::HEAD | Method::DELETE => {
                let reason = format!("{what} matching [{}] not found", name.unwrap_or("*"));
                style.fault(&Fault::new(StatusCode::NOT_FOUND, "resource_not_found_exception", reason))
            }
            _ => style.fault(&Fault::argument(format!("incorrect HTTP method for uri [{}]", self.path))),
        }
    }

    /// Clients that look for all nodes find this address.
    fn nodes(&self) -> Value {
        let node = json!({
            "name": "tollgate", "host": self.host, "transport_address": self.host, "version": VERSION,
            "roles": ["data", "ingest", "master"],
            "http": {
                "bound_address": [self.host], "publish_address": self.host,
                "max_content_length_in_bytes": self.body_bytes,
            },
        });
        json!({
            "_nodes": { "total": 1, "successful": 1, "failed": 0 },
            "cluster_name": "tollgate", "nodes": { UUID: node },
        })
    }
}

fn root() -> Value {
    json!({
        "name": "tollgate", "cluster_name": "tollgate", "cluster_uuid": UUID,
        "version": {
            "number": VERSION, "build_flavor": "default", "build_type": "tollgate", "build_hash": "unknown",
            "build_date": "2024-12-11T12:08:05.663969764Z", "build_snapshot": false, "lucene_version": "9.12.0",
            "minimum_wire_compatibility_version": "7.17.0", "minimum_index_compatibility_version": "7.0.0",
        },
        "tagline": "You Know, for Search",
    })
}

fn license() -> Value {
    json!({ "license": {
        "status": "active", "uid": UUID, "type": "basic", "issued_to": "tollgate", "issuer": "tollgate",
        "issue_date": "1970-01-01T00:00:00.000Z", "issue_date_in_millis": 0, "max_nodes": 1, "start_date_in_millis": -1,
    } })
}

fn xpack() -> Value {
    let absent = json!({ "available": false, "enabled": false });
    json!({
        "build": { "hash": "unknown", "date": "2024-12-11T12:08:05.663969764Z" },
        "license": { "uid": UUID, "type": "basic", "mode": "basic", "status": "active" },
        "features": { "ilm": absent, "security": absent, "monitoring": absent },
        "tagline": "You know, for X",
    })
}

fn health() -> Value {
    json!({
        "cluster_name": "tollgate", "status": "green", "timed_out": false, "number_of_nodes": 1, "number_of_data_nodes": 1,
        "active_primary_shards": 1, "active_shards": 1, "relocating_shards": 0, "initializing_shards": 0,
        "unassigned_shards": 0, "unassigned_primary_shards": 0, "delayed_unassigned_shards": 0,
        "number_of_pending_tasks": 0, "number_of_in_flight_fetch": 0,
        "task_max_waiting_in_queue_millis": 0, "active_shards_percent_as_number": 100.0,
    })
}
