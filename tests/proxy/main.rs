//! What the running proxy promises: a real process between recording origins and clients that send any bytes.
//!
//! One file per promise; `support` is the harness. Everything is on loopback and on port 0, and nothing waits by
//! sleeping: conditions are polled with a deadline.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

mod framing;
