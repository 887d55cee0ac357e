//! Listeners, hosts, and what `[server]`, `[log]` and `[limit.NAME]` say against themselves.

use std::time::Duration;

use super::super::log::{Log, LogService};
use super::super::read::Sink;
use super::super::site::{Site, Tls, TlsSource};
use super::super::words::{Host, Listen, Net};
use super::super::{At, Config, Diagnostic, Named, codes};
use super::without_effect;
use crate::units::{self, Size};

pub(super) fn check(config: &Config, sink: &mut Sink) {
    listeners(config, sink);
    addresses(config, sink);
    hosts(config, sink);
    for site in &config.sites {
        site_tls(config, site, sink);
    }
    trust(&config.server.trusted_proxies, sink);
    trust(&config.server.request_id.trust, sink);
    http2(config, sink);
    limits(config, sink);
    log(config, sink);
}

/// The keys that listen.
const LISTENERS: &[&str] = &["http", "https"];

fn listeners(config: &Config, sink: &mut Sink) {
    let server = &config.server;
    if server.http.is_none() && server.https.is_none() && !sink.is_broken_at(&server.place, LISTENERS) {
        let wrong = Diagnostic::error(codes::NO_LISTENER, "nothing is listened on").at(&server.place, "");
        sink.push(wrong.help("add `http = \":80\"`, `https = \":443\"`, or both to `[server]`"));
    }
    if server.h2c.value && server.http.is_none() {
        sink.push(without_effect(&server.h2c.place, "`h2c` has no meaning without `http`"));
    }
    let any_tls = config
        .sites
        .iter()
        .any(|site| site.body.tls.is_some() || sink.is_broken_at(&site.name.place, &["tls"]));
    if let Some(https) = server.https.as_ref().filter(|_| !any_tls && !config.sites.is_empty()) {
        let wrong = Diagnostic::error(codes::NO_CERTIFICATE, "https is listened on, but no site has `tls`");
        sink.push(
            wrong
                .at(&https.place, "")
                .help("add `tls = \"local\"` or `tls = { cert = \"…\", key = \"…\" }` to a site"),
        );
    }
    if config.sites.is_empty() && sink.found.is_empty() {
        let doubt = Diagnostic::warning(codes::NO_SITE, "there is no site: every request is answered 404");
        sink.push(doubt.help("add a table such as `[site.\"example.com\"]`"));
    }
}

fn addresses(config: &Config, sink: &mut Sink) {
    let server = &config.server;
    let listed = server.http.iter().chain(&server.https).flat_map(|listen| listen.value.iter());
    let mut seen: Vec<&At<Listen>> = Vec::new();
    for address in listed.chain([&server.admin]) {
        match seen.iter().find(|other| clash(other, address)) {
            Some(other) => sink.push(
                Diagnostic::error(codes::ADDRESS_CLASH, format!("`{}` is listened on twice", address.value))
                    .at(&address.place, "again here")
                    .also(&other.place, "first here"),
            ),
            None => seen.push(address),
        }
    }
}

/// Port 0 is another port every time.
fn clash(one: &Listen, other: &Listen) -> bool {
    match (one, other) {
        (Listen::Unix(one), Listen::Unix(other)) => one == other,
        (Listen::Any(one), Listen::Any(other)) => one == other && *one != 0,
        (Listen::Any(port), Listen::Tcp(address)) | (Listen::Tcp(address), Listen::Any(port)) => {
            address.port() == *port && *port != 0
        }
        (Listen::Tcp(one), Listen::Tcp(other)) => {
            let same_family = one.is_ipv4() == other.is_ipv4();
            let covers = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
            one.port() == other.port() && one.port() != 0 && same_family && covers
        }
        _ => false,
    }
}

fn hosts(config: &Config, sink: &mut Sink) {
    let mut seen: Vec<&At<Host>> = Vec::new();
    let names =
        config.sites.iter().flat_map(|site| std::iter::once(&site.name).chain(site.body.aliases.iter()));
    for name in names {
        match seen.iter().find(|other| other.value == name.value) {
            Some(other) => sink.push(
                Diagnostic::error(codes::SAME_HOST, format!("two sites have the name `{}`", name.value))
                    .at(&name.place, "again here")
                    .also(&other.place, "first here"),
            ),
            None => seen.push(name),
        }
    }
}

fn site_tls(config: &Config, site: &Named<Host, Site>, sink: &mut Sink) {
    if site.body.routes.is_empty() && !sink.is_broken_at(&site.name.place, &["routes"]) {
        let message = format!("site `{}` has no route: every request is answered 404", site.name.value);
        sink.push(Diagnostic::warning(codes::NO_ROUTE, message).at(&site.name.place, ""));
    }
    let Some(tls) = &site.body.tls else {
        if site.body.redirect_http.is_written() {
            sink.push(without_effect(
                &site.body.redirect_http.place,
                "`redirect_http` has no meaning without `tls`",
            ));
        }
        return;
    };
    if config.server.https.is_none() && !sink.is_broken_at(&config.server.place, LISTENERS) {
        let message = format!("site `{}` has `tls`, but `[server]` has no `https`", site.name.value);
        let wrong = Diagnostic::error(codes::TLS_WITHOUT_HTTPS, message).at(&tls.place, "");
        sink.push(wrong.help("add `https = \":443\"` to `[server]`"));
    }
    if matches!(tls.value, Tls::Source(TlsSource::Acme)) {
        let wrong =
            Diagnostic::error(codes::NOT_YET, "`acme` is not available in this version").at(&tls.place, "");
        sink.push(wrong.help("use `tls = { cert = \"…\", key = \"…\" }`, or `tls = \"local\"`"));
    }
    if matches!(&tls.value, Tls::Pairs(pairs) if pairs.is_empty()) && !sink.is_broken(&tls.place) {
        sink.push(
            Diagnostic::error(codes::BAD_VALUE, "the list of certificates is empty").at(&tls.place, ""),
        );
    }
}

fn trust(nets: &[At<Net>], sink: &mut Sink) {
    for net in nets.iter().filter(|net| net.0.iter().any(|net| net.prefix_len() == 0)) {
        let doubt = Diagnostic::warning(codes::TRUST_ALL, format!("`{}` trusts everybody", net.written));
        sink.push(
            doubt
                .at(&net.place, "")
                .note("then every client may choose the address that limits and records show"),
        );
    }
}

/// RFC 9113 section 6.5.2.
fn http2(config: &Config, sink: &mut Sink) {
    let h2 = &config.server.h2;
    if !(16_384..=16_777_215).contains(&h2.max_frame.as_bytes()) {
        let wrong = Diagnostic::error(codes::BAD_VALUE, "a frame has from 16KiB to 16777215B");
        sink.push(wrong.at(&h2.max_frame.place, ""));
    }
    if !(1..=2_147_483_647).contains(&h2.window.as_bytes()) {
        let wrong = Diagnostic::error(codes::BAD_VALUE, "a window has from 1B to 2147483647B");
        sink.push(wrong.at(&h2.window.place, ""));
    }
}

fn limits(config: &Config, sink: &mut Sink) {
    for limit in &config.limits {
        let (name, body) = (&limit.name, &limit.body);
        let is_empty = body.rate.is_none() && body.concurrency.is_none();
        let is_broken = sink.is_broken_at(&name.place, &["rate", "concurrency"]);
        if is_empty && !is_broken {
            let wrong =
                Diagnostic::error(codes::NOTHING_LIMITED, format!("limit `{}` limits nothing", name.value));
            sink.push(wrong.at(&name.place, "").help("add `rate = \"10/s\"`, `concurrency = 10`, or both"));
        }
        if let Some(burst) = body.burst.as_ref().filter(|_| body.rate.is_none() && !is_broken && !is_empty) {
            sink.push(without_effect(&burst.place, "`burst` has no meaning without `rate`"));
        }
    }
}

/// What files are written and merged with has a fixed size.
const MIN_LOG_MEMORY: Size = Size::from_bytes(256 << 20);

/// Reading `/proc` and the workers takes about a millisecond.
const MIN_HOST: units::Duration = units::Duration::from_secs(1);

fn log(config: &Config, sink: &mut Sink) {
    let log = &config.log;
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
    log_identity(log, sink);
    if log.token.as_ref().is_some_and(|token| !is_field_value(token)) {
        // Without its line: it may have the secret in it.
        let message = "the `token` of `[log]` is empty, or has bytes that no header field may have";
        sink.push(Diagnostic::error(codes::BAD_VALUE, message));
    }
    spool(config, sink);
    if log.service.value == LogService::None && log.file.is_none() && log.stdout.form().is_none() {
        let doubt = Diagnostic::warning(codes::LOG_NOWHERE, "the access records go nowhere")
            .at(&log.service.place, "");
        sink.push(doubt.help("add `file` or `stdout = true`, or use the embedded log service"));
    }
}

/// What is shown to the log service is a pair.
fn log_identity(log: &Log, sink: &mut Sink) {
    let (one, missing) = match (&log.cert, &log.key) {
        (Some(cert), None) => (cert, "key"),
        (None, Some(key)) => (key, "cert"),
        _ => return,
    };
    let message = format!("`{missing}` is missing beside it");
    sink.push(Diagnostic::error(codes::MISSING_KEY, message).at(&one.place, ""));
}

fn is_field_value(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte == b'\t' || (b' '..0x7f).contains(&byte) || byte >= 0x80)
}

fn spool(config: &Config, sink: &mut Sink) {
    const LONGEST_BLOCK: Duration = Duration::from_secs(5);
    const LEAST: u64 = 1 << 20;
    let (log, spool) = (&config.log, &config.log.spool);
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
