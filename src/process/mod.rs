//! Clock, coarse deadlines, signals, the limit of open files, files that are replaced, and the executor of one core.
//!
//! Nothing here knows HTTP. Invariant: a deadline never fires early, and fires at most two ticks late.

pub mod bell;
pub mod clock;
pub mod deadline;
pub mod executor;
pub mod memory;
pub mod open_files;
pub mod replace;
pub mod signals;
pub mod small;
