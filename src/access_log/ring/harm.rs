//! [`Harm`]: a ring whose records are lost as a whole, and how that is noticed.
//!
//! What a damaged ring held nobody can say. That one is gone is known from the file `living`: one line, the start and the
//! cores whose rings there are, written when they are made and removed at the orderly end, when all of them are empty.

use std::fs;
use std::path::Path;

use super::layout;

/// The file that tells which rings there should be.
const LIVING: &str = "living";

/// A ring that a start could not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Harm {
    /// The word in its record.
    pub reason: &'static str,
    /// What is known, for people.
    pub text: String,
}

impl Harm {
    pub(super) fn damaged(path: &Path, why: &dyn std::fmt::Display) -> Self {
        let text = format!("{}: {why}; the records that were still in it are lost", name(path));
        Self { reason: "ring_damaged", text }
    }

    fn gone(core: u16, boot: u64) -> Self {
        let file = layout::file_name(core);
        let text = format!("{file} of the start {boot} is gone; the records that were still in it are lost");
        Self { reason: "ring_gone", text }
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// The rings of `boot` that there are from now on.
pub(super) fn announce(dir: &Path, boot: u64, cores: impl Iterator<Item = u16>) {
    let mut line = boot.to_string();
    cores.for_each(|core| line.push_str(&format!(" {core}")));
    let unready = dir.join("living.new");
    let written = fs::write(&unready, line + "\n").and_then(|()| fs::rename(&unready, dir.join(LIVING)));
    if let Err(error) = written {
        tracing::debug!(%error, "cannot write down which rings there are");
    }
}

/// No ring is missed any more.
pub(super) fn forget(dir: &Path) {
    let _ = fs::remove_file(dir.join(LIVING));
}

/// What should be in `dir`, and is not, living or put aside. Call it before anything there is renamed.
pub(super) fn gone(dir: &Path) -> Vec<Harm> {
    let text = fs::read_to_string(dir.join(LIVING)).unwrap_or_default();
    let mut words = text.split_ascii_whitespace();
    let Some(boot) = words.next().and_then(|word| word.parse().ok()) else { return Vec::new() };
    let is_gone = |core: &u16| {
        let names = [layout::file_name(*core), layout::dead_name(*core, boot)];
        !names.iter().any(|name| dir.join(name).exists() || dir.join(format!("{name}.damaged")).exists())
    };
    words.filter_map(|word| word.parse().ok()).filter(is_gone).map(|core| Harm::gone(core, boot)).collect()
}
