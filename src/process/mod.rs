//! Clock, coarse deadlines, signals, the limit of open files, files that are replaced, directories that are made, the executor of one core and how
//! late it is, and what the machine has.
//!
//! Nothing here knows HTTP. Invariant: a deadline never fires early, and fires at most two ticks late.

pub mod bell;
pub mod clock;
pub mod deadline;
pub mod directory;
pub mod executor;
pub mod lag;
pub mod machine;
pub mod memory;
pub mod open_files;
pub mod replace;
pub mod signals;
pub mod small;
