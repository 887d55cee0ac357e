use governor::clock::FakeRelativeClock;

use super::*;

fn settings(count: u32, burst: u32) -> Settings {
    let rate = Rate { count: n(count), per: Duration::from_secs(1), burst: n(burst) };
    Settings {
        name: "per-client".into(),
        key: Key::ClientIp,
        rate: Some(rate),
        concurrency: None,
        capacity: 1000,
        dry_run: false,
        status: StatusCode::TOO_MANY_REQUESTS,
        cause: "limit.per-client @tollgate.toml:3".into(),
    }
}

fn n(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

fn limit(settings: Settings, clock: &FakeRelativeClock) -> Limit<FakeRelativeClock> {
    Limit::with_clock(settings, None, clock.clone()).unwrap()
}

fn from<'a>(ip: &str, headers: &'a HeaderMap) -> KeyInput<'a> {
    KeyInput { client_ip: ip.parse().unwrap(), headers, site: "example.com", route: "/api/*" }
}

fn allows(limit: &Limit<FakeRelativeClock>, input: &KeyInput<'_>) -> bool {
    matches!(limit.check(input), Verdict::Allowed(_))
}

#[test]
fn grants_the_burst_then_the_rate() {
    let (clock, headers) = (FakeRelativeClock::default(), HeaderMap::new());
    let (limit, client) = (limit(settings(10, 3), &clock), from("192.0.2.1", &headers));
    assert_eq!((0..10).filter(|_| allows(&limit, &client)).count(), 3);
    clock.advance(Duration::from_millis(99));
    assert!(!allows(&limit, &client));
    clock.advance(Duration::from_millis(1));
    assert!(allows(&limit, &client));
    assert!(!allows(&limit, &client));
    clock.advance(Duration::from_secs(60));
    assert_eq!((0..10).filter(|_| allows(&limit, &client)).count(), 3);
}

#[test]
fn tells_what_remains_and_when_to_come_back() {
    let (clock, headers) = (FakeRelativeClock::default(), HeaderMap::new());
    let (limit, client) = (limit(settings(2, 2), &clock), from("192.0.2.1", &headers));
    let Verdict::Allowed(Some(standing)) = limit.check(&client) else { panic!("refused") };
    assert_eq!((standing.limit, standing.remaining), (2, 1));
    assert_eq!(standing.reset, Duration::from_millis(500));
    assert!(allows(&limit, &client));
    let Verdict::Refused { retry_after, .. } = limit.check(&client) else { panic!("allowed") };
    assert_eq!(retry_after, Duration::from_millis(500));
}

#[test]
fn one_ipv6_client_is_a_64_and_a_mapped_address_is_its_ipv4() {
    let (clock, headers) = (FakeRelativeClock::default(), HeaderMap::new());
    let limit = limit(settings(1, 1), &clock);
    assert!(allows(&limit, &from("2001:db8:0:1::1", &headers)));
    assert!(!allows(&limit, &from("2001:db8:0:1:ffff::2", &headers)));
    assert!(allows(&limit, &from("2001:db8:0:2::1", &headers)));
    assert!(allows(&limit, &from("192.0.2.1", &headers)));
    assert!(!allows(&limit, &from("::ffff:192.0.2.1", &headers)));
}

#[test]
fn keys_by_header_and_cookie_fall_back_to_the_address() {
    let clock = FakeRelativeClock::default();
    let mut headers = HeaderMap::new();
    headers.insert("x-api-key", HeaderValue::from_static("alice"));
    headers.insert("cookie", HeaderValue::from_static("a=1; sid=alice; b=2"));
    let nothing = HeaderMap::new();
    let keys = [Key::Header(HeaderName::from_static("x-api-key")), Key::Cookie("sid".into())];
    for key in keys {
        let limit = limit(Settings { key, ..settings(1, 1) }, &clock);
        assert!(allows(&limit, &from("192.0.2.1", &headers)));
        assert!(!allows(&limit, &from("192.0.2.2", &headers)));
        assert!(allows(&limit, &from("192.0.2.1", &nothing)));
        assert!(!allows(&limit, &from("192.0.2.1", &nothing)));
        assert!(allows(&limit, &from("192.0.2.3", &nothing)));
    }
}

#[test]
fn all_limits_must_pass() {
    let (clock, headers) = (FakeRelativeClock::default(), HeaderMap::new());
    let site = Settings { name: "per-site".into(), key: Key::Site, ..settings(1, 2) };
    let limits = [Arc::new(limit(settings(1, 5), &clock)), Arc::new(limit(site, &clock))];
    assert!(check(&limits, &from("192.0.2.1", &headers)).is_ok());
    let second = check(&limits, &from("192.0.2.2", &headers)).unwrap();
    assert_eq!(second.standing.unwrap().remaining, 0);
    let refusal = check(&limits, &from("192.0.2.3", &headers)).unwrap_err();
    assert_eq!(&*refusal.limit, "per-site");
    assert_eq!(refusal.failure().kind, Kind::RateLimited);
    assert_eq!(refusal.failure().cause.unwrap(), refusal.cause);
}

#[test]
fn a_refusal_says_whole_seconds_and_at_least_one() {
    let (clock, headers) = (FakeRelativeClock::default(), HeaderMap::new());
    let limits = [Arc::new(limit(settings(10, 15), &clock))];
    let client = from("192.0.2.1", &headers);
    for _ in 0..15 {
        check(&limits, &client).unwrap();
    }
    let mut out = HeaderMap::new();
    check(&limits, &client).unwrap_err().write(&mut out);
    assert_eq!(out["retry-after"], "1");
    assert_eq!(out["ratelimit-limit"], "15");
    assert_eq!(out["ratelimit-remaining"], "0");
    assert_eq!(out["ratelimit-reset"], "2");
    assert_eq!(out["ratelimit-policy"], "15;w=2");
}

#[test]
fn dry_run_lets_pass_and_says_so() {
    let (clock, headers) = (FakeRelativeClock::default(), HeaderMap::new());
    let limits = [Arc::new(limit(Settings { dry_run: true, ..settings(1, 1) }, &clock))];
    let client = from("192.0.2.1", &headers);
    assert_eq!(check(&limits, &client).unwrap().verdict(), LimitVerdict::Ok);
    let watched = check(&limits, &client).unwrap();
    assert_eq!(watched.verdict(), LimitVerdict::DryRun);
    assert_eq!(watched.dry_run.as_deref(), Some("per-client"));
}

#[test]
fn concurrency_counts_requests_under_way_and_a_dropped_request_frees_its_place() {
    let (clock, headers) = (FakeRelativeClock::default(), HeaderMap::new());
    let only = Settings { rate: None, concurrency: Some(n(2)), ..settings(1, 1) };
    let limits = [Arc::new(limit(only, &clock))];
    let client = from("192.0.2.1", &headers);
    let first = check(&limits, &client).unwrap();
    let _second = check(&limits, &client).unwrap();
    assert!(check(&limits, &client).is_err());
    assert!(check(&limits, &from("192.0.2.2", &headers)).is_ok());
    drop(first);
    assert!(check(&limits, &client).is_ok());
}

#[test]
fn a_refusal_by_a_later_limit_frees_the_places_of_earlier_ones() {
    let (clock, headers) = (FakeRelativeClock::default(), HeaderMap::new());
    let places = Settings { rate: None, concurrency: Some(n(1)), ..settings(1, 1) };
    let limits = [Arc::new(limit(places, &clock)), Arc::new(limit(settings(1, 1), &clock))];
    let client = from("192.0.2.1", &headers);
    drop(check(&limits, &client).unwrap());
    assert_eq!(&*check(&limits, &client).unwrap_err().limit, "per-client");
    assert!(limits[0].enter(&client).unwrap().is_some());
}

#[test]
fn state_outlives_a_reload_that_changes_only_what_is_shown() {
    let (clock, headers) = (FakeRelativeClock::default(), HeaderMap::new());
    let old = limit(settings(1, 1), &clock);
    let client = from("192.0.2.1", &headers);
    assert!(allows(&old, &client));

    let moved = Settings { cause: "limit.per-client @tollgate.toml:9".into(), ..settings(1, 1) };
    let kept = Limit::with_clock(moved, Some(&old), clock.clone()).unwrap();
    assert!(!allows(&kept, &client));
    assert_eq!(&*kept.settings().cause, "limit.per-client @tollgate.toml:9");

    let fresh = Limit::with_clock(settings(2, 1), Some(&old), clock.clone()).unwrap();
    assert!(allows(&fresh, &client));
}

#[test]
fn refuses_settings_that_make_no_limit() {
    let bad = |settings| Limit::new(settings, None).err();
    assert_eq!(bad(Settings { rate: None, ..settings(1, 1) }), Some(BadLimit::Nothing));
    let rate =
        |per, burst| Settings { rate: Some(Rate { count: n(1), per, burst: n(burst) }), ..settings(1, 1) };
    assert_eq!(bad(rate(Duration::ZERO, 1)), Some(BadLimit::NoPeriod));
    assert_eq!(bad(rate(Duration::from_secs(86_400), 1_000_000)), Some(BadLimit::TooLong));
    assert_eq!(bad(rate(Duration::from_secs(86_400), 1000)), None);
}
