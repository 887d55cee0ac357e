//! [`Harm`]: a ring whose records are lost as a whole, and how that is noticed.
//!
//! What a damaged ring held nobody can say; it is put aside as `ring.CORE.BOOT.damaged`. That one is gone is known from the
//! file `living`: a line for each start, its number and the cores whose rings there are. A start adds its line when they
//! are made, and takes those of others away when the log has what was lost of them; the orderly end takes its own, before
//! it removes the rings.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::layout;
use crate::process::replace::replace;

/// The file that tells which rings there should be.
const LIVING: &str = "living";
/// Most starts that it tells of: the newest.
const MOST: usize = 16;

/// The cores of each start.
type Starts = BTreeMap<u64, BTreeSet<u16>>;

/// A ring that a start could not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Harm {
    /// The word in its record.
    pub reason: &'static str,
    /// What is known, for people.
    pub text: String,
    core: u16,
    /// Zero when nobody knows.
    boot: u64,
}

impl Harm {
    /// Puts the ring aside under a name that hides no other.
    pub(super) fn damaged(path: &Path, why: &dyn std::fmt::Display) -> Self {
        let (core, boot) = identity(path);
        if let Err(error) = fs::rename(path, path.with_file_name(damaged_name(core, boot))) {
            tracing::warn!(%error, file = %path.display(), "cannot put it aside");
        }
        Self::known(core, boot, &name(path), why)
    }

    pub(in crate::access_log) fn core(&self) -> u16 {
        self.core
    }

    /// The start whose ring it was; zero when nobody knows.
    pub(in crate::access_log) fn boot(&self) -> u64 {
        self.boot
    }

    fn known(core: u16, boot: u64, name: &str, why: &dyn std::fmt::Display) -> Self {
        let text = format!("{name}: {why}; the records that were still in it are lost");
        Self { reason: "ring_damaged", text, core, boot }
    }

    fn gone(core: u16, boot: u64) -> Self {
        let file = layout::file_name(core);
        let text = format!("{file} of the start {boot} is gone; the records that were still in it are lost");
        Self { reason: "ring_gone", text, core, boot }
    }

    /// What became of a ring that there should be.
    fn of(dir: &Path, core: u16, boot: u64) -> Option<Self> {
        let living = dir.join(layout::file_name(core));
        // One of another start is another; one that says nothing will be found to be damaged.
        let is_living = living.exists() && layout::boot_of(&living).ok().is_none_or(|found| found == boot);
        let damaged = damaged_name(core, boot);
        match () {
            () if is_living || dir.join(layout::dead_name(core, boot)).exists() => None,
            () if dir.join(&damaged).exists() => {
                Some(Self::known(core, boot, &damaged, &"it could not be read"))
            }
            () => Some(Self::gone(core, boot)),
        }
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn damaged_name(core: u16, boot: u64) -> String {
    format!("{}.damaged", layout::dead_name(core, boot))
}

/// Core and start of a ring that cannot be read: by its name, its header, or what there should be.
fn identity(path: &Path) -> (u16, u64) {
    let name = name(path);
    let mut parts = name.split('.').skip(1);
    let core = parts.next().and_then(|part| part.parse().ok()).unwrap_or(u16::MAX);
    let boot = parts.next().and_then(|part| part.parse().ok()).or_else(|| layout::boot_of(path).ok());
    let newest = || {
        let starts = read(path.parent()?);
        starts.into_iter().rev().find(|(_, cores)| cores.contains(&core)).map(|(boot, _)| boot)
    };
    (core, boot.or_else(newest).unwrap_or(0))
}

/// The rings of `boot` that there are from now on.
pub(super) fn announce(dir: &Path, boot: u64, cores: impl Iterator<Item = u16>) {
    change(dir, |starts| starts.entry(boot).or_default().extend(cores));
}

/// These are missed until another start has told of them.
pub(super) fn remember(dir: &Path, harms: &[Harm]) {
    change(dir, |starts| {
        for harm in harms {
            starts.entry(harm.boot).or_default().insert(harm.core);
        }
    });
}

/// No ring of `boot` is missed any more.
pub(super) fn forget(dir: &Path, boot: u64) {
    change(dir, |starts| drop(starts.remove(&boot)));
}

/// No ring of another start than `boot` is missed any more. Call it before they are removed.
pub(in crate::access_log) fn forget_others(dir: &Path, boot: u64) {
    change(dir, |starts| starts.retain(|other, _| *other == boot));
}

/// No ring is missed any more but these.
pub(super) fn forget_but(dir: &Path, harms: &[Harm]) {
    change(dir, |starts| starts.clear());
    remember(dir, harms);
}

/// What should be in `dir`, and is not, living or put aside. Call it before anything there is renamed.
pub(super) fn missing(dir: &Path) -> Vec<Harm> {
    let rings =
        read(dir).into_iter().flat_map(|(boot, cores)| cores.into_iter().map(move |core| (core, boot)));
    rings.filter_map(|(core, boot)| Harm::of(dir, core, boot)).collect()
}

fn read(dir: &Path) -> Starts {
    let text = fs::read_to_string(dir.join(LIVING)).unwrap_or_default();
    let line = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let boot = words.next()?.parse().ok()?;
        Some((boot, words.filter_map(|word| word.parse().ok()).collect()))
    };
    text.lines().filter_map(line).collect()
}

fn change(dir: &Path, by: impl FnOnce(&mut Starts)) {
    let before = read(dir);
    let mut starts = before.clone();
    by(&mut starts);
    starts.retain(|_, cores| !cores.is_empty());
    while starts.len() > MOST {
        starts.pop_first();
    }
    if starts != before
        && let Err(error) = write(&dir.join(LIVING), &starts)
    {
        tracing::debug!(%error, "cannot write down which rings there are");
    }
}

fn write(path: &Path, starts: &Starts) -> std::io::Result<()> {
    if starts.is_empty() {
        return fs::remove_file(path);
    }
    let mut text = String::new();
    for (boot, cores) in starts {
        text.push_str(&boot.to_string());
        cores.iter().for_each(|core| text.push_str(&format!(" {core}")));
        text.push('\n');
    }
    replace(path, text)
}
