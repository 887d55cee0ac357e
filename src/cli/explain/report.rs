//! [`Report`]: everything that `explain` says, in a form that scripts may rely on.
//!
//! Within one [`VERSION`] members are only added. What does not apply is `null` or an empty list; times are
//! milliseconds, sizes bytes.

use serde::Serialize;

/// Written as `v`.
pub(super) const VERSION: u8 = 1;

#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) v: u8,
    pub(super) request: Asked,
    /// What routing, limits, upstream and log see; absent when the request was refused before.
    pub(super) canonical: Option<Canonical>,
    pub(super) client: Option<Client>,
    pub(super) site: Option<Site>,
    /// Every route of the site, in the order of the file.
    pub(super) routes: Vec<Considered>,
    /// In the order in which they are charged.
    pub(super) limits: Vec<Limit>,
    pub(super) body: Option<Body>,
    pub(super) forward: Option<Forward>,
    pub(super) answer: Answer,
    pub(super) notes: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) scheme: &'static str,
    pub(super) authority: String,
    pub(super) target: String,
    pub(super) from: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Canonical {
    pub(super) host: String,
    pub(super) port: Option<u16>,
    pub(super) path: String,
    pub(super) query: Option<String>,
    /// The path is not the one that was sent.
    pub(super) path_changed: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct Client {
    pub(super) ip: String,
    /// The address on the connection.
    pub(super) sender: String,
    pub(super) sender_is_trusted: bool,
    /// `sender`, `x-forwarded-for` or `forwarded`.
    pub(super) known_by: &'static str,
    pub(super) why: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Site {
    pub(super) name: String,
    pub(super) place: String,
    pub(super) has_tls: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct Considered {
    pub(super) path: String,
    pub(super) place: String,
    pub(super) won: bool,
    /// Why it won or lost.
    pub(super) why: String,
    /// `proxy app`, `files /srv/www`, …
    pub(super) action: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Limit {
    pub(super) name: String,
    /// What is counted, and for this request by what.
    pub(super) key: String,
    pub(super) rate: Option<Rate>,
    pub(super) concurrency: Option<u32>,
    pub(super) dry_run: bool,
    pub(super) status: u16,
    pub(super) cause: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Rate {
    pub(super) count: u32,
    pub(super) per_ms: u128,
    pub(super) burst: u32,
}

#[derive(Debug, Serialize)]
pub(super) struct Body {
    pub(super) framing: String,
    pub(super) max: u64,
    pub(super) max_cause: String,
    pub(super) timeouts: Vec<Timeout>,
}

#[derive(Debug, Serialize)]
pub(super) struct Timeout {
    pub(super) name: &'static str,
    pub(super) ms: Option<u128>,
    pub(super) cause: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Forward {
    pub(super) upstream: String,
    pub(super) balance: String,
    /// Path and query that the upstream gets.
    pub(super) target: String,
    pub(super) upgrade: Option<&'static str>,
    pub(super) fields: Vec<Change>,
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) timeouts: Vec<Timeout>,
    pub(super) tries: u8,
}

/// A field that is not what it was.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Change {
    pub(super) name: String,
    pub(super) before: Vec<String>,
    pub(super) after: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Endpoint {
    pub(super) address: String,
    pub(super) weight: u32,
    pub(super) backup: bool,
    pub(super) worker: Option<String>,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Answer {
    /// `upstream`, `files`, `redirect`, `respond`, or `tollgate` for refusals.
    pub(super) from: &'static str,
    /// Absent where the upstream decides.
    pub(super) status: Option<u16>,
    /// The record's words for a refusal.
    pub(super) reason: Option<&'static str>,
    pub(super) detail: Option<String>,
    pub(super) cause: Option<String>,
    /// Fields of an answer of our own.
    pub(super) fields: Vec<Field>,
    /// What is done to an upstream's answer.
    pub(super) changes: Vec<Operation>,
    pub(super) compression: Option<Compression>,
}

#[derive(Debug, Serialize)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) value: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Operation {
    /// `remove`, `set` or `add`.
    pub(super) op: &'static str,
    pub(super) name: String,
    pub(super) value: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Compression {
    /// The one for this client, when an answer is compressed at all.
    pub(super) codec: Option<&'static str>,
    pub(super) offered: Vec<&'static str>,
    pub(super) min_size: u64,
    pub(super) why: String,
}
