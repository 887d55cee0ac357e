//! The forms in which others send and take log entries: syslog, Fluentd's forward, Lumberjack, OTLP, Elasticsearch's bulk.
//!
//! Bytes in, bytes out, both directions of a form in one file: `access_log` writes them to its sinks, `log_service` reads
//! them at its doors. Not here: sockets, retries, what becomes of an entry.

pub mod bulk;
pub mod otlp;
