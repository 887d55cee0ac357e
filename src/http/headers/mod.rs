//! Header hygiene: what a message head must satisfy before anything reads it, and what is taken off before it goes on.
//!
//! Here: the check of a raw HTTP/1 head ([`check_raw_head`]), the check of parsed fields ([`check_request`]), removal
//! of hop-by-hop fields and of trailers that may not travel, and the decision whether an upgrade is honoured.
//! Not here: Host and path (`target`), the forwarding fields (`forwarded`), fields that the user configures (`filter`).
//!
//! Invariant: a head that passed has exactly one reading. Whatever two parsers could read differently was refused,
//! and what is sent upstream is framed by us, never copied.

mod cookies;
mod hop;
mod raw;
mod refusal;
mod request;
mod trailers;
mod upgrade;

pub use cookies::join_cookies;
pub use hop::{Seen, strip_hop_by_hop, strip_response_hop_by_hop};
pub use raw::{RawFacts, check_raw_head, find_head_end, request_line};
pub use refusal::{Fault, Refusal};
pub use request::{Framing, Settings, check_request, drop_underscore_names, expects_continue};
pub use trailers::clean_trailers;
pub use upgrade::{Upgrade, upgrade_wanted};
