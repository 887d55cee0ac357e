use http::HeaderValue;
use proptest::prelude::*;

use super::*;

type Table = RouteTable<&'static str, usize>;

fn route(path: &str, conditions: Vec<Condition>) -> RouteSpec<usize> {
    RouteSpec { name: path.to_owned(), path: PathPattern::parse(path).unwrap(), conditions, value: 0 }
}

fn site(hosts: &[&str], routes: Vec<RouteSpec<usize>>) -> SiteSpec<&'static str, usize> {
    let hosts: Vec<_> = hosts.iter().map(|host| HostPattern::parse(host).unwrap()).collect();
    let mut routes = routes;
    for (at, route) in routes.iter_mut().enumerate() {
        route.value = at;
    }
    SiteSpec { name: hosts.first().map_or(String::new(), ToString::to_string), hosts, value: "site", routes }
}

fn paths(paths: &[&str]) -> Table {
    let routes = paths.iter().map(|path| route(path, vec![])).collect();
    RouteTable::build(vec![site(&["*"], routes)]).unwrap()
}

fn methods(names: &[&str]) -> Condition {
    Condition::Method(names.iter().map(|name| name.parse().unwrap()).collect())
}

fn header(name: &'static str, value: &str) -> Condition {
    Condition::Header(http::HeaderName::from_static(name), ValuePattern::parse(value).unwrap())
}

fn query(name: &str, value: &str) -> Condition {
    Condition::Query(name.to_owned(), ValuePattern::parse(value).unwrap())
}

/// The winner's name for a GET without fields.
fn winner<'t>(table: &'t Table, host: &str, path: &str) -> Option<&'t str> {
    let headers = HeaderMap::new();
    let head = Head { method: &Method::GET, headers: &headers, query: None };
    match table.find(host, path, &head) {
        Outcome::Found(found) => Some(&found.route.name),
        _ => None,
    }
}

#[test]
fn most_specific_path_wins_whatever_the_order() {
    let all = ["/*", "/a/b/*", "/a/*", "/a/b/c", "~^/a/b/[0-9]+$"];
    for turn in 0..all.len() {
        let mut order = all;
        order.rotate_left(turn);
        let table = paths(&order);
        for (path, name) in [
            ("/", "/*"),
            ("/x", "/*"),
            ("/a", "/*"),
            ("/a/", "/a/*"),
            ("/a/x", "/a/*"),
            ("/a/b", "/a/*"),
            ("/a/b/", "/a/b/*"),
            ("/a/b/c", "/a/b/c"),
            ("/a/b/c/", "/a/b/*"),
            ("/a/b/cc", "/a/b/*"),
            ("/a/b/7", "~^/a/b/[0-9]+$"),
            ("/a/bb", "/a/*"),
            ("/a/bb/x", "/a/*"),
        ] {
            assert_eq!(winner(&table, "h", path), Some(name), "{path} in {order:?}");
        }
    }
}

#[test]
fn regular_expressions_go_in_file_order() {
    let table = paths(&["~b$", "~^/a", "/*"]);
    assert_eq!(winner(&table, "", "/ab"), Some("~b$"));
    assert_eq!(winner(&table, "", "/ac"), Some("~^/a"));
}

#[test]
fn patterns_take_the_canonical_form() {
    let table = paths(&["/%7ejoe/a b", "/caf\u{e9}/*", "/x{y}/*"]);
    assert_eq!(winner(&table, "", "/~joe/a%20b"), Some("/%7ejoe/a b"));
    assert_eq!(winner(&table, "", "/caf%C3%A9/x"), Some("/caf\u{e9}/*"));
    assert_eq!(winner(&table, "", "/x%7By%7D/z"), Some("/x{y}/*"));
    for bad in ["", "a", "/a*", "/a/*/b", "/*/*", "/../a", "/a\\b", "~(", "*"] {
        assert!(PathPattern::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn more_conditions_beat_fewer_and_failed_ones_fall_back() {
    let table = RouteTable::build(vec![site(
        &["*"],
        vec![
            route("/a/*", vec![]),
            route("/a/*", vec![methods(&["GET", "POST"])]),
            route("/a/*", vec![methods(&["POST"]), header("x-v", "2*")]),
            route("/a/b", vec![methods(&["PUT"])]),
            route("/a/*", vec![query("q", "a b")]),
            route("/*", vec![]),
        ],
    )])
    .unwrap();
    let find = |method: &str, path: &str, version: Option<&'static str>, query: Option<&str>| {
        let mut headers = HeaderMap::new();
        if let Some(version) = version {
            headers.insert("x-v", HeaderValue::from_static(version));
        }
        let method: Method = method.parse().unwrap();
        match table.find("h", path, &Head { method: &method, headers: &headers, query }) {
            Outcome::Found(found) => Some(found.route.value),
            _ => None,
        }
    };
    assert_eq!(find("POST", "/a/b", Some("2.1"), None), Some(2));
    assert_eq!(find("POST", "/a/b", Some("1.2"), None), Some(1));
    assert_eq!(find("PUT", "/a/b", None, None), Some(3));
    assert_eq!(find("PUT", "/a/c", None, None), Some(0));
    assert_eq!(find("PUT", "/a/c", None, Some("x=1&q=a+b")), Some(4));
    assert_eq!(find("PUT", "/a/c", None, Some("%71=a%20b")), Some(4));
    assert_eq!(find("PUT", "/a/c", None, Some("q=a")), Some(0));
    assert_eq!(find("PUT", "/b", None, None), Some(5));
}

#[test]
fn exact_route_with_a_failed_condition_falls_back_to_its_prefix() {
    let routes = vec![route("/a", vec![methods(&["POST"])]), route("/*", vec![])];
    let table = RouteTable::build(vec![site(&["*"], routes)]).unwrap();
    assert_eq!(winner(&table, "", "/a"), Some("/*"));
}

#[test]
fn failed_conditions_fall_back_one_prefix_at_a_time() {
    let never = || vec![methods(&["PUT"])];
    let routes = vec![
        route("/*", vec![]),
        route("/a/*", vec![]),
        route("/a/b/*", never()),
        route("/a/b/c/*", never()),
    ];
    let table = RouteTable::build(vec![site(&["*"], routes)]).unwrap();
    assert_eq!(winner(&table, "", "/a/b/c/d"), Some("/a/*"));
}

#[test]
fn conditions_do_not_lift_an_expression_above_an_earlier_one() {
    let get = || vec![methods(&["GET"])];
    let routes = vec![route("~b", vec![]), route("~a", get()), route("~b", get())];
    let table = RouteTable::build(vec![site(&["*"], routes)]).unwrap();
    let headers = HeaderMap::new();
    let head = Head { method: &Method::GET, headers: &headers, query: None };
    let Outcome::Found(found) = table.find("h", "/ab", &head) else { panic!("no route") };
    assert_eq!(found.route.index, 2);
    assert_eq!(winner(&table, "", "/a"), Some("~a"));
    let head = Head { method: &Method::PUT, ..head };
    let Outcome::Found(found) = table.find("h", "/ab", &head) else { panic!("no route") };
    assert_eq!(found.route.index, 0);
}

#[test]
fn refuses_equal_routes_and_hosts() {
    let twice =
        |a: RouteSpec<usize>, b: RouteSpec<usize>| RouteTable::build(vec![site(&["*"], vec![a, b])]).is_err();
    assert!(twice(route("/a", vec![]), route("/%61", vec![])));
    assert!(twice(route("~a", vec![]), route("~a", vec![])));
    assert!(twice(route("/a", vec![methods(&["GET", "PUT"])]), route("/a", vec![methods(&["PUT", "GET"])])));
    assert!(!twice(route("/a", vec![methods(&["GET"])]), route("/a", vec![methods(&["PUT"])])));
    assert!(!twice(route("/a/", vec![]), route("/a/*", vec![])));
    let hosts = RouteTable::build(vec![site(&["a"], vec![]), site(&["b", "A."], vec![])]);
    assert_eq!(hosts.unwrap_err(), BuildError::HostTwice("a".to_owned()));
    assert!(RouteTable::build(vec![site(&["a", "A"], vec![])]).is_ok());
}

#[test]
fn tells_no_site_from_no_route() {
    let table =
        RouteTable::build(vec![site(&["a"], vec![route("/x", vec![])]), site(&["b"], vec![])]).unwrap();
    let headers = HeaderMap::new();
    let head = Head { method: &Method::GET, headers: &headers, query: None };
    assert!(matches!(table.find("a", "/x", &head), Outcome::Found(_)));
    assert!(matches!(table.find("a", "/y", &head), Outcome::NoRoute(site) if site.index == 0));
    assert!(matches!(table.find("b", "/x", &head), Outcome::NoRoute(site) if site.index == 1));
    assert!(matches!(table.find("c", "/x", &head), Outcome::NoSite));
    assert!(matches!(table.find("", "/x", &head), Outcome::NoSite));
    assert!(matches!(table.find("a", "*", &head), Outcome::NoRoute(_)));
}

#[test]
fn tells_the_methods_that_would_have_found_a_route() {
    let routes = vec![
        route("/a", vec![methods(&["POST", "PUT"])]),
        route("/a", vec![methods(&["PATCH"]), header("x", "1")]),
        route("/*", vec![methods(&["PUT"])]),
        route("/b", vec![header("x", "1")]),
    ];
    let table = RouteTable::build(vec![site(&["*"], routes)]).unwrap();
    let headers = HeaderMap::new();
    let head = Head { method: &Method::GET, headers: &headers, query: None };
    let Outcome::NoRoute(site) = table.find("h", "/a", &head) else { panic!("found") };
    assert_eq!(site.allowed_methods("/a", &head), [Method::POST, Method::PUT]);
    assert_eq!(site.allowed_methods("*", &head), [] as [Method; 0]);
}

#[test]
fn gives_the_rest_of_the_path() {
    let table = paths(&["/x/*", "/y", "~^/z", "/*"]);
    let headers = HeaderMap::new();
    let head = Head { method: &Method::GET, headers: &headers, query: None };
    for (path, rest, stripped) in [
        ("/x/a/b", "a/b", "/a/b"),
        ("/x/", "", "/"),
        ("/y", "", "/"),
        ("/z1/2", "z1/2", "/z1/2"),
        ("/q/r", "q/r", "/q/r"),
        ("/", "", "/"),
    ] {
        let Outcome::Found(found) = table.find("h", path, &head) else { panic!("{path}") };
        assert_eq!((found.rest(), found.stripped()), (rest, stripped), "{path}");
    }
}

#[test]
fn most_specific_host_wins() {
    let of = |hosts: &[&str]| site(hosts, vec![route("/*", vec![])]);
    let table = RouteTable::build(vec![
        of(&["*"]),
        of(&["*.example.com"]),
        of(&["*.b.example.com"]),
        of(&["www.example.com", "[0::1]"]),
    ])
    .unwrap();
    for (host, site) in [
        ("www.example.com", 3),
        ("[::1]", 3),
        ("a.example.com", 1),
        ("x.a.example.com", 1),
        ("b.example.com", 1),
        ("x.b.example.com", 2),
        ("example.com", 0),
        ("badexample.com", 0),
        ("", 0),
    ] {
        assert_eq!(table.site(host).map(|site| site.index), Some(site), "{host}");
    }
    for bad in ["", "*.*", "a.*", "*a", "a:80", "a/b", "*."] {
        assert_eq!(HostPattern::parse(bad), None, "{bad}");
    }
}

#[test]
fn explains_every_route() {
    let routes = vec![
        route("/*", vec![]),
        route("/a/*", vec![methods(&["POST"])]),
        route("/a/*", vec![methods(&["GET"])]),
        route("/b", vec![]),
        route("/a/*", vec![]),
    ];
    let table = RouteTable::build(vec![site(&["h"], routes)]).unwrap();
    let headers = HeaderMap::new();
    let head = Head { method: &Method::GET, headers: &headers, query: None };
    let verdicts: Vec<_> = table.explain("h", "/a/x", &head).iter().map(|one| one.verdict).collect();
    let lost = Verdict::Lost;
    assert_eq!(
        verdicts,
        [
            lost(Lost::Outranked),
            lost(Lost::Condition(0)),
            Verdict::Won,
            lost(Lost::Path),
            lost(Lost::Outranked)
        ]
    );
    assert!(table.explain("other", "/", &head).is_empty());
}

#[test]
fn many_hosts_change_nothing() {
    let sites = (0..5000)
        .map(|at| site(&[&format!("h{at}.example"), &format!("*.w{at}.example")], vec![route("/*", vec![])]))
        .collect();
    let table = RouteTable::build(sites).unwrap();
    for at in [0, 99, 100, 101, 4999] {
        assert_eq!(table.site(&format!("h{at}.example")).map(|site| site.index), Some(at));
        assert_eq!(table.site(&format!("a.b.w{at}.example")).map(|site| site.index), Some(at));
        assert_eq!(table.site(&format!("w{at}.example")).map(|site| site.index), None);
    }
}

/// Few letters, so that random names meet.
fn host_text() -> impl Strategy<Value = String> {
    "[abAB]{1,2}(\\.[abAB]{1,2}){0,3}\\.?"
}

/// The rank that the documentation promises, for the naive walk.
fn rank(pattern: &HostPattern) -> (u8, usize) {
    match pattern {
        HostPattern::Exact(_) => (2, 0),
        HostPattern::Wildcard(suffix) => (1, suffix.len()),
        HostPattern::Any => (0, 0),
    }
}

fn path_rank(path: &PathPattern) -> (u8, usize) {
    match path {
        PathPattern::Exact(_) => (2, 0),
        PathPattern::Regex(_) => (1, 0),
        PathPattern::Prefix(prefix) => (0, prefix.len()),
    }
}

proptest! {
    #[test]
    fn host_index_equals_the_naive_walk(
        names in proptest::collection::vec((host_text(), any::<bool>()), 0..30),
        any in any::<bool>(),
        asked in host_text(),
    ) {
        let mut patterns: Vec<HostPattern> = Vec::new();
        for (name, wildcard) in names {
            let text = if wildcard { format!("*.{name}") } else { name };
            let pattern = HostPattern::parse(&text).unwrap();
            if !patterns.contains(&pattern) {
                patterns.push(pattern);
            }
        }
        if any {
            patterns.push(HostPattern::Any);
        }
        let sites = patterns.iter().map(|one| SiteSpec { name: one.to_string(), hosts: vec![one.clone()], value: "", routes: vec![] });
        let table = Table::build(sites.collect()).unwrap();
        let host = crate::http::target::Host::parse(&asked).unwrap();
        let naive = (0..patterns.len()).filter(|&at| patterns[at].matches(host.name())).max_by_key(|&at| rank(&patterns[at]));
        prop_assert_eq!(table.site(host.name()).map(|site| site.index), naive);
    }

    #[test]
    fn path_index_equals_the_naive_walk(
        specs in proptest::collection::vec(("(/[ab]{1,2}|/a){0,3}", 0..4u8, any::<bool>()), 0..20),
        path in "(/[ab]{1,2}|/a){0,4}/?",
        post in any::<bool>(),
    ) {
        let mut routes: Vec<RouteSpec<usize>> = Vec::new();
        for (text, kind, conditional) in specs {
            let text = match kind {
                0 => if text.is_empty() { "/".to_owned() } else { text },
                1 => format!("~^{text}.$"),
                2 => format!("{text}/"),
                _ => format!("{text}/*"),
            };
            let conditions = if conditional { vec![methods(&["POST"])] } else { vec![] };
            let new = route(&text, conditions);
            let known = |old: &RouteSpec<usize>| old.path.same(&new.path) && old.conditions.len() == new.conditions.len();
            if !routes.iter().any(known) {
                routes.push(new);
            }
        }
        let path = if path.starts_with('/') { path } else { "/".to_owned() };
        let table = RouteTable::build(vec![site(&["*"], routes)]).unwrap();
        let headers = HeaderMap::new();
        let method = if post { Method::POST } else { Method::GET };
        let head = Head { method: &method, headers: &headers, query: None };
        let all = table.sites()[0].routes();
        let fits = |route: &&Route<usize>| route.path.matches(&path) && route.conditions.iter().all(|one| one.holds(&head));
        // Twins of one expression stand together, at the place of the first.
        let place = |route: &Route<usize>| match route.path {
            PathPattern::Regex(_) => all.iter().position(|other| other.path.same(&route.path)),
            _ => Some(0),
        };
        let naive = all
            .iter()
            .filter(fits)
            .max_by_key(|route| (path_rank(&route.path), std::cmp::Reverse(place(route)), route.conditions.len()))
            .map(|route| route.index);
        let found = match table.find("h", &path, &head) {
            Outcome::Found(found) => Some(found.route.index),
            _ => None,
        };
        prop_assert_eq!(found, naive);
        let won: Vec<usize> = table.explain("h", &path, &head).iter().filter(|one| one.verdict == Verdict::Won).map(|one| one.index).collect();
        prop_assert_eq!(won, naive.into_iter().collect::<Vec<_>>());
    }
}
