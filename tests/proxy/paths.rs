//! One canonical path, computed once: what is matched is what the origin gets, and what is ambiguous is refused.

use crate::support::client::one_shot;
use crate::support::{Findings, Origin, Setup, Tollgate, Way, equal};

const CANONICAL: &[(&str, &str)] = &[
    ("/", "/"),
    ("/a/b", "/a/b"),
    ("/a/b/", "/a/b/"),
    ("/a/./b", "/a/b"),
    ("/a/../b", "/b"),
    ("/a/b/..", "/a/"),
    ("/a/b/.", "/a/b/"),
    ("/a/%2e/b", "/a/b"),
    ("/a/%2E%2e/b", "/b"),
    ("/a/.%2e/b", "/b"),
    ("//a//b", "/a/b"),
    ("/%61%62", "/ab"),
    ("/%7Euser", "/~user"),
    ("/a%20b", "/a%20b"),
    ("/%e2%82%ac", "/%E2%82%AC"),
    ("/a%3fb", "/a%3Fb"),
    ("/caf%e9", "/caf%E9"),
    ("/a?b/../c", "/a?b/../c"),
    ("/a?q=%2f%2e%00", "/a?q=%2f%2e%00"),
    ("/a;v=1", "/a;v=1"),
    ("/a?", "/a?"),
    ("/Case", "/Case"),
];

const REFUSED: &[&str] = &[
    "/..",
    "/../a",
    "/a/../../b",
    "/%2e%2e/a",
    "/a%2fb",
    "/a%2Fb",
    "/a%5cb",
    "/a\\b",
    "/a/..\\b",
    "/a%00b",
    "/a/..;/b",
    "/a/..;x=1/b",
    "/a/;../b",
    "/a#b",
    "/a%",
    "/a%4",
    "/a%zz",
    "/a%c0%ae",
    "/a%c0%af",
    "/a%0d%0ab",
    "/a\x7f",
    "*",
    "a",
    "a/b",
    "/a|\"<>{}^`",
];

#[test]
fn sends_the_canonical_path() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).start();
    let mut findings = Findings::default();
    for (sent, wanted) in CANONICAL {
        origin.forget();
        let status = tollgate.get(sent).status;
        let target = origin.requests().pop().map_or_else(|| format!("nothing ({status})"), |got| got.target);
        findings.check(sent, equal(&target.as_str(), wanted));
    }
    findings.settle();
}

#[test]
fn refuses_ambiguous_paths() {
    let origin = Origin::start();
    let tollgate = Setup::proxy(origin.address).start();
    let mut findings = Findings::default();
    for path in REFUSED {
        origin.forget();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let (answer, _) = one_shot(tollgate.plain(), request.as_bytes(), Way::Whole);
        let seen = (answer.map_or(0, |answer| answer.status), origin.count());
        // What nobody forbids may also pass, if it passes as it is.
        let tolerated = *path == "/a|\"<>{}^`" && seen.1 == 1 && origin.dirt().is_empty();
        findings.check(path, if tolerated { Ok(()) } else { equal(&seen, &(400, 0)) });
    }
    findings.settle();
}

fn guarded() -> (Origin, Tollgate) {
    let origin = Origin::start();
    let setup = Setup::new(format!(
        "[upstream.app]\nservers = [\"{}\"]\n[site.\"*\"]\nroutes = [\n\
         {{ path = \"/admin/*\", respond = \"no\", status = 403 }},\n\
         {{ path = \"/admin\", respond = \"no\", status = 403 }},\n\
         {{ path = \"/open/*\", proxy = \"app\", encoded_slash = \"pass\" }},\n\
         {{ path = \"/*\", proxy = \"app\" }},\n]\n",
        origin.address
    ));
    (origin, setup.start())
}

#[test]
fn never_lets_a_disguised_path_around_a_rule() {
    let (origin, tollgate) = guarded();
    let mut findings = Findings::default();
    let disguises = [
        "/admin",
        "/admin/",
        "/admin/x",
        "//admin/x",
        "/./admin/x",
        "/x/../admin/x",
        "/%61dmin/x",
        "/admin%2fx",
        "/x/%2e%2e/admin/x",
        "/x/..;/admin/x",
        "/admin/./x",
        "/%2fadmin/x",
        "/admin/x/../y",
        "/open/../admin/x",
        "/open/%2e%2e/admin/x",
        "/open/..%2fadmin/x",
        "/open%2f../admin/x",
        "/\\admin/x",
        "/admin%5cx",
        "http://localhost/admin/x",
        "http://localhost//admin/x",
    ];
    for path in disguises {
        origin.forget();
        let status = tollgate.get(path).status;
        let leaked = origin.requests().into_iter().map(|got| got.target).collect::<Vec<_>>();
        let fine = leaked.is_empty() && [400, 403].contains(&status);
        findings.check(path, if fine { Ok(()) } else { Err(format!("{status}, at the origin: {leaked:?}")) });
    }
    findings.settle();
}

#[test]
fn passes_encoded_slashes_where_a_route_allows_it() {
    let (origin, tollgate) = guarded();
    assert_eq!(tollgate.get("/open/a%2Fb").status, 200);
    assert_eq!(origin.last().target, "/open/a%2Fb");
    assert_eq!(tollgate.get("/closed/a%2Fb").status, 400);
}

#[test]
fn picks_the_most_specific_path_whatever_the_order() {
    let routes = ["/*", "/a/*", "/a/b", "/a/b/*", "/c"];
    let lines = routes.map(|path| format!("  {{ path = \"{path}\", respond = \"{path}\" }},\n")).concat();
    let tollgate = Setup::new(format!("[site.\"*\"]\nroutes = [\n{lines}]\n")).start();
    let mut findings = Findings::default();
    let cases = [
        ("/", "/*"),
        ("/a", "/*"),
        ("/a/", "/a/*"),
        ("/a/x", "/a/*"),
        ("/a/b", "/a/b"),
        ("/a/b/", "/a/b/*"),
        ("/a/b/c", "/a/b/*"),
        ("/a/bc", "/a/*"),
        ("/c", "/c"),
        ("/c/", "/*"),
        ("/cc", "/*"),
    ];
    for (path, route) in cases {
        findings.check(path, equal(&tollgate.get(path).text(), &route.to_owned()));
    }
    findings.settle();
}

#[test]
fn matches_by_method_header_and_query() {
    let tollgate = Setup::new(
        "[site.\"*\"]\nroutes = [\n  { path = \"/*\", respond = \"plain\" },\n\
         { path = \"/*\", when = { method = [\"POST\", \"PUT\"] }, respond = \"method\" },\n\
         { path = \"/*\", when = { header = { x-v = \"2*\" } }, respond = \"header\" },\n\
         { path = \"/*\", when = { method = [\"POST\"], query = { beta = \"1\" } }, respond = \"both\" },\n\
         { path = \"~^/r/[0-9]+$\", respond = \"regex\" },\n]\n",
    )
    .start();
    let ask = |line: &str, head: &str| {
        tollgate.plain().ask(format!("{line} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n{head}\r\n")).text()
    };
    assert_eq!(ask("GET /", ""), "plain");
    assert_eq!(ask("POST /", ""), "method");
    assert_eq!(ask("GET /", "X-V: 2.1\r\n"), "header");
    assert_eq!(ask("GET /", "X-V: 3\r\n"), "plain");
    assert_eq!(ask("POST /?beta=1", ""), "both");
    assert_eq!(ask("POST /?beta=12", ""), "method");
    assert_eq!(ask("GET /r/12", ""), "regex");
    assert_eq!(ask("GET /r/x", ""), "plain");
}

#[test]
fn strips_rewrites_and_redirects_paths() {
    let origin = Origin::start();
    let tollgate = Setup::new(format!(
        "[upstream.app]\nservers = [\"{}\"]\n[site.\"*\"]\nroutes = [\n\
         {{ path = \"/api/*\", proxy = \"app\", strip_prefix = true }},\n\
         {{ path = \"/old/*\", proxy = \"app\", rewrite = \"/new/*\" }},\n\
         {{ path = \"/v1/*\", redirect = \"/v2/*\", status = 308 }},\n\
         {{ path = \"/away\", redirect = \"https://example.com/\" }},\n\
         {{ path = \"/teapot\", respond = \"short\", status = 418, content_type = \"text/html\" }},\n]\n",
        origin.address
    ))
    .start();
    for (sent, got) in [("/api/a/b?c=d", "/a/b?c=d"), ("/api/", "/"), ("/old/x%20y?z", "/new/x%20y?z")] {
        assert_eq!(tollgate.get(sent).status, 200, "{sent}");
        assert_eq!(origin.last().target, got);
    }
    let moved = tollgate.get("/v1/a/b?c=d");
    assert_eq!((moved.status, moved.header("location")), (308, Some("/v2/a/b?c=d")));
    let away = tollgate.get("/away");
    assert_eq!((away.status, away.header("location")), (307, Some("https://example.com/")));
    let teapot = tollgate.get("/teapot");
    assert_eq!(
        (teapot.status, teapot.header("content-type"), teapot.text().as_str()),
        (418, Some("text/html"), "short")
    );
    // What a path brings along can never leave our own host.
    let trap = tollgate.get("/v1//evil.example/");
    assert!(!trap.header("location").unwrap_or("").starts_with("//"), "{trap:?}");
    assert_eq!(tollgate.get("/nowhere").status, 404);
}
