//! What the running proxy promises: a real process between recording origins and clients that send any bytes.
//!
//! One file per promise; `support` is the harness. Everything is on loopback and on port 0, and nothing waits by
//! sleeping: conditions are polled with a deadline.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

mod balance;
mod bodies;
mod compression;
mod connecting;
mod connection_header;
mod cores;
mod crash;
mod drain;
mod expect;
mod files;
mod floods;
mod forwarding;
mod framing;
mod framing_cases;
mod goodbye;
mod h2;
mod host;
mod limits;
mod log_full;
mod matrix;
mod methods;
mod paths;
mod rate_limit;
mod real;
mod record;
mod record_fields;
mod reload;
mod retry;
mod sampling;
mod slow;
mod timeouts;
mod tls;
mod trailers;
mod upgrade;
mod workers;
