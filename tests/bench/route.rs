//! What the guard costs per request, in nanoseconds: raw head, parsed head, canonical request, route, forwarding
//! fields. Plain timing: the best of many rounds, so that a busy machine disturbs little.
//!
//! Budgets per plain request: canonical request 120, header checks 100, route 150, forwarding fields 300.

use std::hint::black_box;
use std::net::IpAddr;
use std::time::Instant;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use tollgate::http::forwarded::{Family, Hop, Proto, Send, Trust, resolve, rewrite};
use tollgate::http::headers::{
    Settings, check_raw_head, check_request, drop_underscore_names, find_head_end, strip_hop_by_hop,
    upgrade_wanted,
};
use tollgate::http::target::{Canonical, canonical_path};
use tollgate::route::{Head, HostPattern, Outcome, PathPattern, RouteSpec, RouteTable, SiteSpec};

const HEAD: &str = "GET /api/v1/users/42?fields=name HTTP/1.1\r\nHost: www.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: */*\r\nAccept-Encoding: gzip, br\r\n\
    Accept-Language: en\r\nCookie: sid=0123456789abcdef\r\nConnection: keep-alive\r\n\r\n";

fn main() {
    raw_head();
    target();
    headers();
    routes();
    forwarded();
}

/// Prints the best round's time for one call, less than nothing else.
fn time<T>(name: &str, mut call: impl FnMut() -> T) {
    const CALLS: u32 = 20_000;
    let mut best = f64::MAX;
    for _ in 0..25 {
        let start = Instant::now();
        for _ in 0..CALLS {
            black_box(call());
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(CALLS));
    }
    println!("{name:<44}{best:>9.1} ns");
}

fn plain_headers() -> HeaderMap {
    // One shared buffer behind all values, as the HTTP/1 parser leaves them.
    let text = bytes::Bytes::from_static(HEAD.as_bytes());
    let mut headers = HeaderMap::with_capacity(8);
    for line in HEAD.split("\r\n").skip(1).filter(|line| !line.is_empty()) {
        let Some((name, value)) = line.split_once(": ") else { continue };
        let value = text.slice_ref(value.as_bytes());
        let name: HeaderName = name.parse().unwrap_or(http::header::ACCEPT);
        let Ok(value) = HeaderValue::from_maybe_shared(value) else { continue };
        headers.append(name, value);
    }
    headers
}

fn raw_head() {
    let head = HEAD.as_bytes();
    println!("raw head of {} bytes", head.len());
    time("  find_head_end", || find_head_end(black_box(head), 0));
    time("  check_raw_head", || check_raw_head(black_box(head)).is_ok());
}

fn target() {
    let headers = plain_headers();
    let uri = Uri::from_static("/api/v1/users/42?fields=name");
    let escaped = Uri::from_static("/api/v1/caf%C3%A9/../users/42?fields=name");
    println!("canonical request");
    let of = |uri| Canonical::of(&Method::GET, uri, Version::HTTP_11, &headers, 8192).is_ok();
    time("  Canonical::of, plain", || of(black_box(&uri)));
    time("  Canonical::of, escapes and dots", || of(black_box(&escaped)));
    time("  canonical_path, plain", || canonical_path(black_box("/api/v1/users/42")).is_ok());
}

fn headers() {
    let plain = plain_headers();
    let settings = Settings::default();
    println!("headers ({} fields)", plain.len());
    time("  check_request", || check_request(black_box(&plain), Version::HTTP_11, &settings).is_ok());
    time("  upgrade_wanted, none", || {
        upgrade_wanted(&Method::GET, black_box(&plain), Version::HTTP_11).is_ok()
    });
    let mut clean = plain.clone();
    time("  drop_underscore_names, none", || drop_underscore_names(black_box(&mut clean)));
    time("  strip_hop_by_hop, Connection: keep-alive", || {
        // Insertion of the field under test is part of the time.
        clean.insert(http::header::CONNECTION, HeaderValue::from_static("keep-alive"));
        strip_hop_by_hop(black_box(&mut clean)).is_ok()
    });
    time("  strip_hop_by_hop, nothing to strip", || strip_hop_by_hop(black_box(&mut clean)).is_ok());
}

fn spec(paths: &[&str]) -> Vec<RouteSpec<usize>> {
    let parsed = paths.iter().filter_map(|path| Some((path, PathPattern::parse(path).ok()?)));
    parsed
        .map(|(name, path)| RouteSpec { name: (*name).to_owned(), path, conditions: Vec::new(), value: 0 })
        .collect()
}

fn table(sites: usize, paths: &[&str]) -> Option<RouteTable<(), usize>> {
    let names = (0..sites)
        .map(|at| if at == 0 { "www.example.com".to_owned() } else { format!("h{at}.example.com") });
    let specs = names.map(|name| SiteSpec {
        hosts: HostPattern::parse(&name).into_iter().collect(),
        name,
        value: (),
        routes: spec(paths),
    });
    RouteTable::build(specs.collect()).ok()
}

fn routes() {
    let headers = plain_headers();
    let head = Head { method: &Method::GET, headers: &headers, query: None };
    let many: Vec<String> = (0..200).map(|at| format!("/api/v{at}/*")).chain(["/*".to_owned()]).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    println!("route");
    let tables = [
        ("  find: 1 site, 2 routes", table(1, &["/api/*", "/*"])),
        (
            "  find: 1000 sites, 6 routes",
            table(1000, &["/api/*", "/", "/healthz", "/static/*", "/api/v1/*", "/*"]),
        ),
        ("  find: 1 site, 201 routes", table(1, &many)),
        ("  find: with one expression", table(1, &["~\\.php$", "/api/*", "/*"])),
    ];
    for (name, table) in tables {
        let Some(table) = table else { continue };
        time(name, || {
            let found = table.find(black_box("www.example.com"), black_box("/api/v1/users/42"), &head);
            matches!(found, Outcome::Found(_))
        });
    }
}

fn forwarded() {
    let sender = IpAddr::from([10, 1, 2, 3]);
    let hop = Hop::new(sender, Proto::Https);
    let host = HeaderValue::from_static("www.example.com");
    let nets = vec![ipnet::IpNet::from(sender)];
    let trusting = Trust::new(nets, Family::Either);
    let nobody = Trust::default();
    println!("forwarding fields (on a copy of the headers; the copy alone is the first row)");
    let plain = plain_headers();
    time("  copy of the headers", || black_box(&plain).clone());
    let run = |headers: &HeaderMap, trust: &Trust, send| {
        let mut headers = headers.clone();
        headers.reserve(4);
        let client = resolve(&headers, sender, trust).ok()?;
        rewrite(&mut headers, &client, &hop, &host, send);
        Some(headers)
    };
    let both = Send { forwarded: true, real_ip: true };
    time("  resolve + rewrite, nobody trusted", || run(black_box(&plain), &nobody, Send::default()));
    time("  the same, with Forwarded and X-Real-IP", || run(black_box(&plain), &nobody, both));
    let mut chain = plain.clone();
    chain.insert("x-forwarded-for", HeaderValue::from_static("203.0.113.9"));
    time("  resolve + rewrite, trusted chain", || run(black_box(&chain), &trusting, Send::default()));
}
