//! Syslog: messages (RFC 5424, and RFC 3164 as far as it goes) and how they stand one behind the other on TCP (RFC 6587).

mod framing;
mod read;
mod write;

pub use framing::{Framing, Unframed};
pub use read::Message;
pub use write::{Header, NIL, sd_id, write};

/// The names of the severities, 0 to 7 (RFC 5424 section 6.2.1), as loggers call their levels.
pub const LEVELS: [&str; 8] = ["emerg", "alert", "crit", "error", "warn", "notice", "info", "debug"];
