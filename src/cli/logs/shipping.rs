//! How far behind a sink for files of closed hours is, as `audit` tells it.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::escape::Safe;
use super::output::{GREEN, RED, YELLOW};
use super::words::{count, size};

/// What the service says of one.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Shipping {
    sink: String,
    to: String,
    state: String,
    err: Option<String>,
    waiting_files: u64,
    waiting_bytes: u64,
    oldest: Option<String>,
    taken_files: u64,
    taken_bytes: u64,
    lost_files: u64,
    lost_bytes: u64,
    /// Only the service knows.
    refused_files: Option<u64>,
    /// By its ledger, which is all that a directory has of it.
    last_taken: Option<String>,
}

impl Shipping {
    pub(super) fn to_json(&self) -> Value {
        json!({ "kind": "sink", "shipping": self })
    }

    pub(super) fn line(&self) -> String {
        let (taken, bytes) = (count(self.taken_files), size(self.taken_bytes));
        // Of a ledger that cannot be read nobody knows.
        let to = if self.to.is_empty() { "its bucket" } else { &self.to };
        let mut line = format!("sink      {}: {taken} files ({bytes}) are in {}", Safe(&self.sink), Safe(to));
        if self.waiting_files > 0 {
            let since = self.oldest.as_deref().map(|oldest| format!(", the oldest of {}", Safe(oldest)));
            let (files, bytes) = (count(self.waiting_files), size(self.waiting_bytes));
            line.push_str(&format!(
                ", {YELLOW}{files} wait ({bytes}{}){YELLOW:#}",
                since.unwrap_or_default()
            ));
        } else {
            line.push_str(&format!(", {GREEN}none waits{GREEN:#}"));
        }
        if let Some(refused) = self.refused_files.filter(|refused| *refused > 0) {
            line.push_str(&format!(", {RED}{} of them are refused{RED:#}", count(refused)));
        }
        if self.lost_files > 0 {
            let (files, bytes) = (count(self.lost_files), size(self.lost_bytes));
            line.push_str(&format!(", {RED}{files} ({bytes}) had to go before{RED:#}"));
        }
        if let Some(last) = &self.last_taken {
            line.push_str(&format!(", the last was taken at {}", Safe(last)));
        }
        if let Some(err) = &self.err {
            line.push_str(&format!(" — {RED}{}: {}{RED:#}", Safe(&self.state), Safe(err)));
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_waits_and_why_and_shows_nothing_as_it_came() {
        let told = r#"{"sink":"a","to":"https://h/b/","state":"held","err":"it answers 403\u001b[31m","waiting_files":2,
            "waiting_bytes":2048,"oldest":"2026-11-21T09:00:00Z","taken_files":3,"taken_bytes":3072,"unknown":1}"#;
        let line = serde_json::from_str::<Shipping>(told).unwrap().line();
        let plain = anstream::adapter::strip_str(&line).to_string();
        assert!(!plain.contains('\u{1b}'), "{plain:?}");
        assert!(
            plain.contains("3 files") && plain.contains("2 wait") && plain.contains("2026-11-21T09:00:00Z"),
            "{plain}"
        );
        assert!(plain.contains("held: it answers 403"), "{plain}");
    }

    #[test]
    fn a_ledger_alone_does_not_say_that_nothing_is_refused() {
        let told = r#"{"sink":"a","to":"https://h/b/","state":"unknown","err":null,"waiting_files":0,"waiting_bytes":0,
            "taken_files":1,"taken_bytes":10,"refused_files":null,"last_taken":"2026-11-22T09:00:00Z"}"#;
        let told: Shipping = serde_json::from_str(told).unwrap();
        let plain = anstream::adapter::strip_str(&told.line()).to_string();
        assert!(plain.ends_with("none waits, the last was taken at 2026-11-22T09:00:00Z"), "{plain}");
        assert_eq!(told.to_json()["shipping"]["refused_files"], Value::Null);
    }
}
