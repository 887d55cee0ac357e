//! What `[log]` says against itself.

use std::time::Duration;

use super::super::log::{Log, LogService};
use super::super::read::Sink;
use super::super::{Diagnostic, codes};
use super::{log_sinks, pair, without_effect};
use crate::units::{self, Size};

/// What files are written and merged with has a fixed size.
const MIN_LOG_MEMORY: Size = Size::from_bytes(256 << 20);
/// Reading `/proc` and the workers takes about a millisecond.
const MIN_HOST: units::Duration = units::Duration::from_secs(1);

pub(in crate::config) fn check(log: &Log, sink: &mut Sink) {
    if log.rotate.is_written() && log.file.is_none() {
        sink.push(without_effect(&log.rotate.place, "`rotate` has no meaning without `file`"));
    }
    if log.data.is_written() && log.service.value != LogService::Embedded {
        sink.push(without_effect(&log.data.place, "`data` has no meaning without the embedded log service"));
    }
    if log.memory.value < MIN_LOG_MEMORY {
        let wrong = Diagnostic::error(codes::BAD_VALUE, "the embedded log service needs more `memory`");
        sink.push(wrong.at(&log.memory.place, "").help("write at least \"256MiB\""));
    }
    if log.host.as_millis() != 0 && log.host.value < MIN_HOST {
        let wrong = Diagnostic::error(codes::BAD_VALUE, "`host` records cannot come so often");
        sink.push(wrong.at(&log.host.place, "").help("write at least \"1s\", or \"0s\" for none"));
    }
    let is_embedded = log.service.value == LogService::Embedded;
    for (name, written) in [
        ("keep", log.keep.is_written().then_some(&log.keep.place)),
        ("memory", log.memory.is_written().then_some(&log.memory.place)),
    ] {
        if let Some(place) = written.filter(|_| !is_embedded) {
            let message = format!("`{name}` has no meaning without the embedded log service");
            sink.push(without_effect(place, &message));
        }
    }
    let is_https = matches!(&log.service.value, LogService::Url(url) if url.scheme_str() == Some("https"));
    for (name, key) in [("ca", &log.ca), ("cert", &log.cert), ("key", &log.key)] {
        if let Some(key) = key.as_ref().filter(|_| !is_https) {
            let message = format!("`{name}` has no meaning without a log service over https");
            sink.push(without_effect(&key.place, &message));
        }
    }
    pair(("cert", log.cert.as_ref()), ("key", log.key.as_ref()), sink);
    if log.token.as_ref().is_some_and(|token| !is_field_value(token)) {
        // Without its line: it may have the secret in it.
        let message = "the `token` of `[log]` is empty, or has bytes that no header field may have";
        sink.push(Diagnostic::error(codes::BAD_VALUE, message));
    }
    spool(log, sink);
    log_sinks::check(log, sink);
    if log.service.value == LogService::None
        && log.file.is_none()
        && log.stdout.form().is_none()
        && log.sink.is_empty()
    {
        let doubt = Diagnostic::warning(codes::LOG_NOWHERE, "the access records go nowhere")
            .at(&log.service.place, "");
        sink.push(doubt.help("add `file` or `stdout = true`, or use the embedded log service"));
    }
}

pub(super) fn is_field_value(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte == b'\t' || (b' '..0x7f).contains(&byte) || byte >= 0x80)
}

fn spool(log: &Log, sink: &mut Sink) {
    const LONGEST_BLOCK: Duration = Duration::from_secs(5);
    const LEAST: u64 = 1 << 20;
    let spool = &log.spool;
    if spool.segment.as_bytes() < LEAST {
        let wrong = Diagnostic::error(codes::BAD_VALUE, "a segment of the spool has at least 1MiB");
        sink.push(wrong.at(&spool.segment.place, ""));
    } else if spool.size.as_bytes() < spool.segment.as_bytes().saturating_mul(4) {
        let wrong = Diagnostic::error(codes::BAD_VALUE, "the spool is smaller than four of its segments");
        sink.push(wrong.at(&spool.size.place, "").help("make it larger, or `segment` smaller"));
    }
    if spool.block_for.to_std() > LONGEST_BLOCK {
        let wrong = Diagnostic::error(codes::BAD_VALUE, "requests wait for the log for 5s at most");
        sink.push(wrong.at(&spool.block_for.place, ""));
    }
    if log.buffer.as_bytes() < LEAST {
        let wrong = Diagnostic::error(codes::BAD_VALUE, "the buffer has at least 1MiB");
        sink.push(wrong.at(&log.buffer.place, ""));
    }
    if let Some(sample) = log.sample.as_ref().filter(|sample| sample.rate.as_u8() == 0) {
        let wrong = Diagnostic::error(codes::BAD_VALUE, "a share of 0% keeps no record of a success at all");
        sink.push(wrong.at(&sample.rate.place, "").help("write at least 1%"));
    }
}
