//! `alerts.json` in the data directory: what alarms remember over restarts.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::engine::Memory;
use super::outbox::Outbox;
use crate::process::replace::durably;

/// No such file is that large.
const MAX_LEN: u64 = 64 << 20;

#[derive(Default, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) memory: Memory,
    pub(super) outbox: Outbox,
}

fn path(data: &Path) -> PathBuf {
    data.join("alerts.json")
}

/// What an earlier run left. What cannot be read is put aside and said: then everything begins anew.
pub(super) fn load(data: &Path) -> (Kept, Option<String>) {
    let path = path(data);
    let read = match fs::metadata(&path).map(|facts| facts.len()) {
        Ok(len) if len > MAX_LEN => Err("too long".to_owned()),
        Ok(_) => fs::read(&path).map_err(|error| error.to_string()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return (Kept::default(), None),
        Err(error) => Err(error.to_string()),
    };
    let kept = read.and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| error.to_string()));
    match kept {
        Ok(kept) => (kept, None),
        Err(why) => {
            // Whatever becomes of it: the next save takes its place.
            let _ = fs::rename(&path, path.with_extension("json.damaged"));
            (Kept::default(), Some(why))
        }
    }
}

/// Writes it whole or not at all; durable when this returns. It may hold what requests looked like: for the owner only.
pub(super) fn save(data: &Path, text: &[u8]) -> io::Result<()> {
    durably(&path(data), text, 0o640)
}
