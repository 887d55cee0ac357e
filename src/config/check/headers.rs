//! Header fields that belong to the proxy: framing, connection control, and what has a key of its own.

use http::HeaderName;

use super::super::headers::HeaderChanges;
use super::super::read::Sink;
use super::super::{At, Config, Diagnostic, codes};

/// RFC 9110 section 7.6.1 and framing (RFC 9112 section 6): changing them would break messages.
const NEVER: [&str; 10] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "content-length",
    "upgrade",
    "te",
    "trailer",
    "proxy-authenticate",
    "http2-settings",
];

pub(super) fn check(config: &Config, sink: &mut Sink) {
    changes(&config.server.headers, false, sink);
    changes(&config.server.request_headers, true, sink);
    for site in &config.sites {
        changes(&site.body.headers, false, sink);
        changes(&site.body.request_headers, true, sink);
        for route in site.body.routes.iter() {
            changes(&route.headers, false, sink);
            changes(&route.request_headers, true, sink);
        }
    }
}

fn changes(changes: &HeaderChanges, is_request: bool, sink: &mut Sink) {
    let written = changes.set.iter().chain(changes.add.iter()).map(|(name, _)| name);
    for name in written.chain(changes.remove.iter()) {
        if NEVER.contains(&name.as_str()) {
            sink.push(forbidden(name));
        } else if is_request && name.as_str() == "host" {
            sink.push(forbidden(name).help("write `host = \"…\"` in the upstream"));
        }
    }
}

fn forbidden(name: &At<HeaderName>) -> Diagnostic {
    let message = format!("the header field `{}` belongs to the proxy", name.as_str());
    Diagnostic::error(codes::FORBIDDEN_HEADER, message).at(&name.place, "")
}
