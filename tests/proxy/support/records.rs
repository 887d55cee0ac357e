//! The access log of a running tollgate, read back as JSON.

use std::path::PathBuf;

use serde_json::Value;

use super::eventually;

pub(crate) struct Records {
    pub(crate) file: PathBuf,
}

impl Records {
    /// All complete lines so far. A line that is no JSON fails the test.
    #[track_caller]
    pub(crate) fn all(&self) -> Vec<Value> {
        let bytes = std::fs::read(&self.file).unwrap_or_default();
        let complete = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let lines = bytes[..complete].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines
            .map(|line| serde_json::from_slice(line).unwrap_or_else(|error| bad_line(line, &error)))
            .collect()
    }

    /// Requests whose path or query holds `marker`.
    #[track_caller]
    pub(crate) fn of(&self, marker: &str) -> Vec<Value> {
        let holds = |record: &Value, field: &str| record[field].as_str().is_some_and(|s| s.contains(marker));
        let hit = |record: &Value| holds(record, "path") || holds(record, "query");
        self.all().into_iter().filter(hit).collect()
    }

    /// Waits for the first record whose path or query holds `marker`.
    #[track_caller]
    pub(crate) fn wait(&self, marker: &str) -> Value {
        eventually(&format!("a record with {marker}"), || self.of(marker).into_iter().next())
    }

    /// Waits for the first record that `wanted` accepts.
    #[track_caller]
    pub(crate) fn wait_that(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("a record: {what}"), || self.all().into_iter().find(|record| wanted(record)))
    }
}

#[track_caller]
fn bad_line(line: &[u8], error: &serde_json::Error) -> Value {
    panic!("a line of the log is no JSON ({error}): {}", line.escape_ascii())
}
