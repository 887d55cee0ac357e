//! Limits, headers, compression: what happens around the upstream.

pub mod compress;
pub mod headers;
pub mod rate_limit;
