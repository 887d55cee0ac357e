//! Alarms: rules of the configuration held against what is counted, every 10 s, and whom they tell.
//!
//! ```text
//! rollups ─▸ facts ─┐
//! hosts ──▸ host ───┴▸ engine (pure) ─▸ change ─▸ entries ─▸ the log itself
//!                                         └▸ message ─▸ outbox (pure) ─▸ slack, webhook, command
//! ```
//!
//! What they remember and what is on its way is in `alerts.json` in the data directory ([`keep`]), so that a restart neither forgets
//! an alarm nor tells it anew. A message whose answer a crash cut off is sent again.
//!
//! Invariants: URLs and tokens of those who are told are in no log, error or answer; what requests look like reaches a
//! message only escaped; every table is bounded, and what had no room is told.

mod command;
mod engine;
mod entries;
mod facts;
mod hook;
mod host;
mod keep;
mod message;
mod outbox;
mod quiet;
mod rule;
mod samples;
mod slack;
mod target;
#[cfg(test)]
mod tests;
mod value;
mod watch;

use std::time::Duration;

pub(crate) use watch::{Ask, Handle, Watch};

use crate::config::Service;
use rule::Rule;
use target::Target;

/// Milliseconds since the Unix epoch.
type Moment = i64;

/// What is watched for, and who is told.
#[derive(Clone, Debug)]
pub struct Settings {
    rules: Vec<Rule>,
    targets: Vec<Target>,
    /// Time between two looks.
    every: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { rules: Vec::new(), targets: Vec::new(), every: Duration::from_secs(10) }
    }
}

impl Settings {
    pub(super) fn of(config: &Service) -> Self {
        let alerts = &config.alerts;
        Self {
            rules: alerts.rules.iter().map(Rule::of).collect(),
            targets: alerts.notifies.iter().map(|notify| Target::of(notify, config)).collect(),
            ..Self::default()
        }
    }
}
