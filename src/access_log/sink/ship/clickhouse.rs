//! ClickHouse over HTTP: `INSERT INTO table FORMAT JSONEachRow`, all or nothing.
//!
//! The same rows have the same `insert_deduplication_token`, so that what is sent again because the answer was lost is there
//! once where the table deduplicates: replicated ones, and others with `non_replicated_deduplication_window`. The table of
//! `tollgate logs template clickhouse` replaces rows of the same time and id besides.
//!
//! | answer | consequence |
//! |---|---|
//! | 200 without an exception | taken |
//! | an exception that says that a row cannot be read or has a wrong type ([`OF_DATA`]) | halved, down to the row that is refused |
//! | an exception for a setting that an old server does not know (115) | without that setting, at once |
//! | 413 | halved |
//! | any other exception or status (no table, no right, too many parts, no memory), no answer | again, later |
//!
//! An exception after the head was sent comes with status 200: its code stands in the head or in the body.
//!
//! Source: ClickHouse documentation, "HTTP interface", `ErrorCodes.cpp`.

use aws_lc_rs::digest::{Context, SHA256};
use http::StatusCode;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::post::{Answer, Post};
use super::{Load, Verdict};
use crate::access_log::Error;
use crate::access_log::shipping::ShippingSettings;
use crate::record::escape::hex_text;

/// Codes of what is wrong with a row: values that cannot be parsed, do not fit, or break a constraint.
const OF_DATA: [u32; 20] =
    [6, 25, 26, 27, 32, 33, 38, 41, 53, 69, 70, 72, 117, 130, 131, 349, 376, 469, 675, 676];
const UNKNOWN_SETTING: u32 = 115;
const EXCEPTION: &str = "x-clickhouse-exception-code";

/// What is asked of a server that knows it.
const SETTINGS: [(&str, &str); 4] = [
    ("date_time_input_format", "best_effort"),
    ("input_format_skip_unknown_fields", "1"),
    ("wait_for_async_insert", "1"),
    (TOKEN, ""),
];
const TOKEN: &str = "insert_deduplication_token";

#[derive(Debug)]
pub(super) struct ClickHouse {
    post: Post,
    insert: String,
    settings: Vec<(&'static str, &'static str)>,
}

impl ClickHouse {
    pub(super) fn new(settings: &ShippingSettings, table: &str) -> Result<Self, Error> {
        let table: Vec<String> =
            table.split('.').map(|name| format!("`{}`", name.replace('`', "``"))).collect();
        let insert = format!("INSERT INTO {} FORMAT JSONEachRow", table.join("."));
        let insert = utf8_percent_encode(&insert, NON_ALPHANUMERIC).to_string();
        Ok(Self { post: Post::new(settings, "application/x-ndjson")?, insert, settings: SETTINGS.to_vec() })
    }

    pub(super) fn disconnect(&mut self) {
        self.post.disconnect();
    }

    pub(super) async fn send(&mut self, load: Load<'_>) -> Verdict {
        loop {
            let path = self.path(load);
            let answer = match self.post.send(&path, body(load)).await {
                Ok(answer) => answer,
                Err(verdict) => return verdict,
            };
            if !self.forget_setting(&answer) {
                return judge(&answer);
            }
        }
    }

    fn path(&self, load: Load<'_>) -> String {
        let mut path = format!("/?query={}", self.insert);
        for (name, value) in &self.settings {
            let token = if *name == TOKEN { token(load) } else { String::new() };
            path.push_str(&format!("&{name}={value}{token}"));
        }
        path
    }

    /// Leaves out the setting that the server says it does not know. Tells whether there was one.
    fn forget_setting(&mut self, answer: &Answer) -> bool {
        let before = self.settings.len();
        if code_of(answer) == Some(UNKNOWN_SETTING) {
            let text = String::from_utf8_lossy(&answer.body);
            self.settings.retain(|(name, _)| !text.contains(name));
        }
        self.settings.len() < before
    }
}

fn body(load: Load<'_>) -> Vec<u8> {
    let mut body = Vec::with_capacity(load.bytes());
    for (_, line) in load.iter() {
        body.extend_from_slice(line);
        body.push(b'\n');
    }
    body
}

/// Names exactly these rows: others with the same token would be dropped.
fn token(load: Load<'_>) -> String {
    let mut context = Context::new(&SHA256);
    for (item, line) in load.iter() {
        let (core, seq) = item.seq.unwrap_or_default();
        context.update(&item.id);
        context.update(&core.to_le_bytes());
        context.update(&seq.to_le_bytes());
        if item.id == [0; 16] {
            context.update(line);
        }
    }
    hex_text(&context.finish().as_ref()[..16])
}

fn judge(answer: &Answer) -> Verdict {
    let status = answer.status;
    match code_of(answer) {
        None if status == StatusCode::PAYLOAD_TOO_LARGE => Verdict::TooLarge,
        None if status.is_success() => Verdict::Taken,
        Some(code) if OF_DATA.contains(&code) => {
            Verdict::Refused { status: status.as_u16(), why: answer.words() }
        }
        _ => Verdict::Later { why: answer.words(), after: answer.retry_after() },
    }
}

/// The code of an exception: from the head, or from a body such as `Code: 27. DB::Exception: …`.
fn code_of(answer: &Answer) -> Option<u32> {
    let head = answer.headers.get(EXCEPTION).and_then(|code| code.to_str().ok()?.parse().ok());
    head.or_else(|| {
        let text = String::from_utf8_lossy(&answer.body);
        let code = text.split("Code: ").nth(1).filter(|_| text.contains("Exception"))?;
        code.split(|digit: char| !digit.is_ascii_digit()).next()?.parse().ok()
    })
}
