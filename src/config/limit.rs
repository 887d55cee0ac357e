//! `[limit.NAME]`: what one client, or one something else, may do.

use http::HeaderName;

use super::shape::table;
use super::words::Status;
use crate::units::{Count, Rate};

table! {
    /// A named limit; sites and routes name it. At least one of `rate` and `concurrency`.
    pub struct Limit {
        /// What is counted: `client.ip` (IPv6 by /64), `header.NAME`, `cookie.NAME`, `site`, `route`.
        key: default LimitKey = "client.ip";
        /// Requests over time.
        rate: optional Rate;
        /// Requests that may come at once before `rate` holds; as many as the `rate` counts when left out.
        burst: optional Count;
        /// Requests of one key in flight at once.
        concurrency: optional Count;
        /// Keys that are remembered; the table never grows beyond.
        keys: default Count = 100_000;
        /// Count and record, but refuse nothing.
        dry_run: default bool = false;
        /// Status of a refusal.
        status: default Status = 429;
    }
}

/// What a limit counts by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitKey {
    ClientIp,
    Header(HeaderName),
    Cookie(String),
    Site,
    Route,
}
