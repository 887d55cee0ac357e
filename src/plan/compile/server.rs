//! `[server]`: what holds for all requests.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, StatusCode};

use crate::config::Config;
use crate::config::headers::{ServerHeader, Via as ViaWords};
use crate::config::log::Redact;
use crate::config::place::At;
use crate::config::server::{ErrorPage, Server, Trace as TraceWord};
use crate::config::words::Net;
use crate::downstream::wire;
use crate::http::forwarded::{Family, Trust};
use crate::http::headers;
use crate::plan::{ErrorPages, RequestId, ServerField, Trace, Via};

pub(super) fn head(server: &Server) -> headers::Settings {
    headers::Settings {
        max_fields: server.max_headers.to_usize(),
        max_bytes: server.max_header_size.to_usize(),
    }
}

pub(super) fn trust(nets: &[At<Net>]) -> Trust {
    Trust::new(nets.iter().flat_map(|net| net.0.iter().copied()).collect(), Family::Either)
}

pub(super) fn request_id(server: &Server) -> RequestId {
    RequestId { name: server.request_id.header.value.clone(), trust: trust(&server.request_id.trust) }
}

pub(super) fn trace(server: &Server) -> Trace {
    match server.trace.value {
        TraceWord::Off => Trace::Off,
        TraceWord::Pass => Trace::Pass,
        TraceWord::Join => Trace::Join,
    }
}

pub(super) fn via(server: &Server) -> Option<Via> {
    let pseudonym: Arc<str> = match &server.via.value {
        ViaWords::Switch(false) => return None,
        ViaWords::Switch(true) => format!("tollgate-{:08x}", instance()).into(),
        ViaWords::Name(name) => Arc::clone(name),
    };
    let value = |version: &str| HeaderValue::try_from(format!("{version} {pseudonym}"));
    let (Ok(http10), Ok(http11), Ok(http2)) = (value("1.0"), value("1.1"), value("2.0")) else { return None };
    Some(Via { pseudonym, http10, http11, http2 })
}

/// Tells this instance from another tollgate that the request may pass: a loop is only what comes back to us.
fn instance() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    static INSTANCE: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    *INSTANCE.get_or_init(|| RandomState::new().hash_one(std::process::id()) as u32)
}

pub(super) fn server_field(server: &Server) -> ServerField {
    match &server.server_header.value {
        ServerHeader::Remove => ServerField::Remove,
        ServerHeader::Pass => ServerField::Pass,
        ServerHeader::Replace(value) => ServerField::Replace(value.clone()),
    }
}

pub(super) fn error_pages(config: &Config) -> ErrorPages {
    let page = |page: &ErrorPage| match page {
        ErrorPage::Text(text) => {
            Some((HeaderValue::from_static("text/plain; charset=utf-8"), text.to_string().into()))
        }
        ErrorPage::File(file) => {
            let bytes = bytes::Bytes::copy_from_slice(&config.file(&file.file)?.bytes);
            let named = file.content_type.as_ref().map(|t| t.to_string());
            let guessed = || mime_guess::from_path(&*file.file.value).first_or_octet_stream().to_string();
            let content_type = HeaderValue::try_from(named.unwrap_or_else(guessed)).ok()?;
            Some((content_type, bytes))
        }
    };
    let by_status = config.server.error_pages.iter().filter_map(|(status, written)| {
        let (content_type, body) = page(&written.value)?;
        Some((StatusCode::from_u16(status.get()).ok()?, content_type, body))
    });
    ErrorPages { by_status: by_status.collect() }
}

pub(super) fn redacted(config: &Config) -> Vec<String> {
    let name = |redact: &At<Redact>| match &redact.value {
        Redact::Query(name) => name.clone(),
    };
    config.log.redact.iter().map(name).collect()
}

pub(super) fn downstream(server: &Server) -> wire::Limits {
    let timeouts = &server.timeouts;
    wire::Limits {
        handshake: timeouts.handshake.to_std(),
        header: timeouts.header.to_std(),
        idle: timeouts.idle.to_std(),
        write: timeouts.write.to_std(),
        max_headers: server.max_headers.to_usize(),
        max_header_size: server.max_header_size.to_usize(),
        max_streams: server.h2.max_streams.get(),
        park_after: Duration::from_secs(1),
        causes: wire::Causes {
            handshake: timeouts.handshake.cause("timeouts.handshake"),
            header: timeouts.header.cause("timeouts.header"),
            write: timeouts.write.cause("timeouts.write"),
            max_connections_per_ip: server.max_connections_per_ip.cause("max_connections_per_ip"),
        },
    }
}
