//! Start, reload, drain: everything that puts the rooms together into a running program.
//!
//! [`run::run`] starts, [`reload`] swaps the plan, [`serve`] is one core, [`admin`] the control socket. Invariant:
//! nothing is started or served before the whole configuration is known to be good.

pub mod admin;
pub mod ground;
mod handover;
mod host;
mod life;
pub mod log_child;
pub mod log_settings;
mod log_sinks;
pub mod names;
pub mod reload;
pub mod run;
pub mod serve;
mod station;
pub mod status;
pub mod workers;
