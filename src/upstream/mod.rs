//! A group of endpoints that we send to: endpoint choice, connection pool, health, retry.

pub mod endpoint;
