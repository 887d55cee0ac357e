//! Listeners, hosts, and what `[server]` and `[limit.NAME]` say against themselves.

use super::super::read::Sink;
use super::super::site::{Site, Tls, TlsSource};
use super::super::words::{Host, Listen, Net};
use super::super::{At, Config, Diagnostic, Named, codes};
use super::without_effect;

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
    super::log::check(&config.log, sink);
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
