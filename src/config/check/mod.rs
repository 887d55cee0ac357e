//! The checks that need nothing but the configuration: names, routes, listeners, keys that do not go together.
//!
//! Not here: what needs certificates, sockets or other rooms; the plan adds that.

pub(super) mod alerts;
mod headers;
pub(super) mod log;
mod log_sinks;
mod names;
mod routes;
mod server;
mod shadow;
mod upstreams;

use std::sync::Arc;

use super::node::Entry;
use super::read::Sink;
use super::words::Text;
use super::{At, Config, Diagnostic, Place, Severity, codes};

/// The names that are written, also those of tables that were not understood.
pub(super) struct Declared {
    limits: Vec<(Arc<str>, Place)>,
    upstreams: Vec<(Arc<str>, Place)>,
}

impl Declared {
    pub(super) fn new(limits: &[Entry], upstreams: &[Entry]) -> Self {
        Self { limits: names_of(limits), upstreams: names_of(upstreams) }
    }
}

fn names_of(entries: &[Entry]) -> Vec<(Arc<str>, Place)> {
    entries.iter().map(|entry| (Arc::clone(&entry.key), entry.key_place.clone())).collect()
}

/// Adds whatever is wrong or doubtful to `sink`.
pub(super) fn check(config: &Config, declared: &Declared, sink: &mut Sink) {
    let sites_understood = !sink.found.iter().any(is_error_in_a_site);
    names::check(config, declared, sites_understood, sink);
    server::check(config, sink);
    upstreams::check(config, sink);
    routes::check(config, sink);
    shadow::check(config, sink);
    headers::check(config, sink);
}

fn is_error_in_a_site(one: &Diagnostic) -> bool {
    one.severity == Severity::Error && one.place.spot().is_some_and(|spot| spot.key.starts_with("site"))
}

/// Two keys that say something only together.
fn pair(one: (&str, Option<&At<Text>>), other: (&str, Option<&At<Text>>), sink: &mut Sink) {
    let (((_, Some(written)), (lacking, None)) | ((lacking, None), (_, Some(written)))) = (one, other) else {
        return;
    };
    if sink.is_broken_beside(&written.place, lacking) {
        return;
    }
    let message = format!("`{lacking}` is missing beside it");
    sink.push(Diagnostic::error(codes::MISSING_KEY, message).at(&written.place, ""));
}

/// A key that the rest of its table makes meaningless.
fn without_effect(place: &Place, message: impl Into<String>) -> Diagnostic {
    Diagnostic::error(codes::KEY_WITHOUT_EFFECT, message).at(place, "")
}
