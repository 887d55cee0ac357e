//! The ring of the log and what stands around it on the core, from the program's own sources, with their tests.

#![allow(dead_code, unused_imports, unreachable_pub, reason = "the rest of the program is not here")]

extern crate self as tollgate;

pub mod access_log;
pub mod count;
pub mod process;
#[path = "../../../src/record/mod.rs"]
pub mod record;
#[path = "../../bench/samples.rs"]
mod samples;
