//! How fast the log answers: `cargo bench --bench store -- ROWS DIRECTORY`.
//!
//! Lays closed hours of a million requests each into a data directory, as the service would leave them (hours that are
//! there are kept, so that questions can be asked again), then asks and prints the times beside the bars: an id over all
//! rows, everything else over ten million. Nothing is asserted: times depend on the machine. `logs serve --data DIRECTORY`
//! serves what was laid; `tests/bench/served.py` asks it and watches its memory.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tollgate::log_service::bench::{Hour, Store, lay};
use tollgate::record::binary::encode;
use tollgate::record::{EndAt, EndBy, Id, Proto, Record, id};

/// 2026-11-15T00:00:00Z; 278 requests a second.
const START_US: i64 = 1_794_700_800_000_000;
const STEP_US: i64 = 3_600;
const HOUR_US: i64 = 3_600_000_000;
const ROWS_PER_HOUR: u64 = (HOUR_US / STEP_US) as u64;
const CORES: u64 = 4;
/// The bars of aggregations are over so many rows.
const ASKED_ROWS: u64 = 10_000_000;
const LOOKUPS: u64 = 200;
const TIMES: usize = 5;

const HOSTS: [&str; 8] = [
    "shop.example",
    "www.shop.example",
    "api.shop.example",
    "img.shop.example",
    "admin.shop.example",
    "blog.example",
    "docs.example",
    "status.example",
];
const ROUTES: [&str; 12] = [
    "/*",
    "/api/*",
    "/api/cart/*",
    "/api/search",
    "/api/login",
    "/img/*",
    "/static/*",
    "/checkout",
    "/account/*",
    "/healthz",
    "/feed.xml",
    "/ws",
];
const AGENTS: [&str; 6] = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 Version/18.1 Mobile/15E148 Safari/604.1",
    "curl/8.10.1",
    "Googlebot/2.1 (+http://www.google.com/bot.html)",
    "okhttp/4.12.0",
];

fn main() -> Result<(), Box<dyn Error>> {
    // Cargo adds arguments of its own, which begin with a dash.
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    let rows: u64 = arguments.next().as_deref().unwrap_or("1000000").parse()?;
    let directory = arguments.next().map(PathBuf::from).ok_or("say where: ROWS DIRECTORY")?;
    std::fs::create_dir_all(&directory)?;
    fill(&directory, rows)?;
    let store = Store::open(&directory, u64::MAX)?;
    println!("{} rows in {} files", store.size().0, store.size().1);
    lookups(&store, rows.div_ceil(ROWS_PER_HOUR) * ROWS_PER_HOUR)?;
    let store = Store::open(&directory, ASKED_ROWS)?;
    println!("{} rows in {} files", store.size().0, store.size().1);
    questions(&store)
}

fn fill(directory: &Path, rows: u64) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    let hour =
        Hour::new(ROWS_PER_HOUR / CORES, &mut (0..ROWS_PER_HOUR).map(|at| (core_of(at), bytes_of(at))))?;
    println!("one hour made in {:.1?}", started.elapsed());
    let (started, mut bytes, mut laid) = (Instant::now(), 0, 0);
    for hours in 0..rows.div_ceil(ROWS_PER_HOUR) {
        if let Some(more) = lay(directory, &hour, START_US / HOUR_US, hours)? {
            (bytes, laid) = (bytes + more, laid + ROWS_PER_HOUR);
        }
    }
    if laid > 0 {
        let each = started.elapsed().as_micros() as f64 / laid as f64;
        println!("{laid} rows laid: {:.1} bytes a row, {each:.2} us a row", bytes as f64 / laid as f64);
    }
    Ok(())
}

/// Rows with an id, and how many rows were looked at for them.
type ById<'s> = &'s dyn Fn(&str) -> Result<(usize, u64), String>;

fn lookups(store: &Store, rows: u64) -> Result<(), Box<dyn Error>> {
    by_id("lookup by id", rows, &|id| store.lookup(id).map(|(found, read)| (found.len(), read)))?;
    by_id("show, with all around", rows, &|id| {
        let (shown, read) = store.ask("show", &[("id", id)])?;
        Ok((shown["records"].as_array().map_or(0, Vec::len), read))
    })
}

fn by_id(name: &str, rows: u64, look: ById<'_>) -> Result<(), Box<dyn Error>> {
    let mut times = Vec::new();
    let mut looked = 0;
    for try_number in 0..LOOKUPS {
        let at = mixed(try_number) % rows.max(1);
        let text = String::from_utf8(id::text(&id_of(at)).to_vec())?;
        // The second time the pages are in memory.
        for _ in 0..2 {
            let started = Clock::start()?;
            let (found, read) = look(&text)?;
            times.push(started.stop()?);
            looked = looked.max(read);
            if found != 1 {
                return Err(format!("{found} rows for {text}").into());
            }
        }
    }
    let first: Vec<Time> = times.iter().step_by(2).copied().collect();
    print(&format!("{name}, first"), &first, looked, "");
    let warm: Vec<Time> = times.iter().skip(1).step_by(2).copied().collect();
    print(&format!("{name}, warm"), &warm, looked, "10 ms over 100 M rows");
    Ok(())
}

/// Names and values, as over HTTP.
type Arguments<'a> = &'a [(&'a str, &'a str)];

fn questions(store: &Store) -> Result<(), Box<dyn Error>> {
    let questions: [(&str, &str, Arguments<'_>); 11] = [
        ("top route --by p99", "top", &[("fields", "route"), ("by", "p99")]),
        ("top host,status", "top", &[("fields", "host,status")]),
        ("top path --by count", "top", &[("fields", "path")]),
        ("top client_ip --by bytes", "top", &[("fields", "client_ip"), ("by", "bytes")]),
        ("search, newest 100", "search", &[]),
        ("search status:504", "search", &[("q", "status:504")]),
        ("search --sort dur", "search", &[("sort", "dur")]),
        ("search a part of the path", "search", &[("q", "items/4711x")]),
        ("search ip:10.1.2.0/24", "search", &[("q", "ip:10.1.2.0/24")]),
        ("stats", "stats", &[]),
        ("explain status:5xx", "explain", &[("q", "status:5xx")]),
    ];
    for (name, question, arguments) in questions {
        let mut times = Vec::new();
        let mut looked = 0;
        for _ in 0..TIMES {
            let started = Clock::start()?;
            let (answer, rows) = store.ask(question, arguments)?;
            times.push(started.stop()?);
            looked = rows;
            if !answer["report"]["missing"].as_array().is_some_and(Vec::is_empty) {
                return Err(format!("{name}: {}", answer["report"]).into());
            }
        }
        let bar = if question == "top" { "1 s over 10 M rows" } else { "" };
        print(name, &times, looked, bar);
    }
    Ok(())
}

/// By the clock, and on the processor.
type Time = (Duration, Duration);

/// What an answer takes. The time on the processor says more when others use the machine too.
struct Clock(Instant, Duration);

impl Clock {
    fn start() -> Result<Self, Box<dyn Error>> {
        Ok(Self(Instant::now(), on_processor()?))
    }

    fn stop(self) -> Result<Time, Box<dyn Error>> {
        Ok((self.0.elapsed(), on_processor()?.saturating_sub(self.1)))
    }
}

fn on_processor() -> Result<Duration, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(Duration::from_nanos(text.split_whitespace().next().ok_or("no schedstat")?.parse()?))
}

fn print(name: &str, times: &[Time], looked: u64, bar: &str) {
    let sorted = |of: fn(&Time) -> Duration| {
        let mut times: Vec<Duration> = times.iter().map(of).collect();
        times.sort();
        times
    };
    let (clock, processor) = (sorted(|time| time.0), sorted(|time| time.1));
    let (median, slowest) = (clock[clock.len() / 2], clock[clock.len() - 1]);
    let p99 = clock[clock.len() * 99 / 100];
    let processor = processor[processor.len() / 2];
    println!(
        "{name:<28} {median:>10.2?} (p99 {p99:.2?}, slowest {slowest:.2?}, CPU {processor:.2?}), {looked} rows looked at   {bar}"
    );
}

/// The same spread numbers each time.
fn mixed(number: u64) -> u64 {
    let mut x = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

fn core_of(at: u64) -> u16 {
    (at % CORES) as u16
}

fn time_of(at: u64) -> i64 {
    START_US + at as i64 * STEP_US
}

fn id_of(at: u64) -> Id {
    let us = time_of(at) as u64;
    let high = (us / 1000) << 16 | 0x7000 | (us % 1000 * 4096 / 1000);
    // The same in each hour, as the hours are laid.
    let low = 2 << 62 | mixed(at % ROWS_PER_HOUR) >> 2;
    (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
}

/// Few values often, many seldom.
fn skewed(random: u64, values: usize) -> usize {
    let share = (random % 1_000_000) as f64 / 1e6;
    (share * share * share * values as f64) as usize % values
}

#[expect(clippy::too_many_lines, reason = "one record with all its fields")]
fn bytes_of(at: u64) -> Vec<u8> {
    let random = mixed(at);
    let part = |shift: u32| random.rotate_right(shift);
    let route = skewed(part(3), ROUTES.len());
    let fails = part(11) % 1000 < if route == 3 { 30 } else { 4 };
    let is_static = matches!(route, 5 | 6);
    // Log-normal by the sum of four even numbers.
    let sum: f64 = [7, 19, 31, 43].iter().map(|shift| (part(*shift) % 4096) as f64 / 4096.0).sum();
    let wait =
        if fails { 30_000_000 } else { (800.0 * (1.0 + route as f64) * (sum * 1.6 - 3.2).exp()) as u64 };
    let path = match route {
        5 => format!("/img/{:x}.webp", part(23) % 40_000),
        6 => format!("/static/app.{:x}.js", part(23) % 300),
        3 => "/api/search".to_owned(),
        _ => format!("{}items/{}", ROUTES[route].trim_end_matches('*'), skewed(part(23), 200_000)),
    };
    let client = skewed(part(37), 50_000) as u32;
    let address = format!("10.0.0.{}:8080", 1 + part(41) % 6);
    let record = Record {
        ts_us: time_of(at),
        id: id_of(at),
        cfg: 0x9f31_c200_1234_5678 + at / 500_000,
        conn: at / 40 * CORES + at % CORES,
        conn_req: (at / CORES % 10) as u32 + 1,
        listener: "https",
        client_ip: Some([10, (client >> 16) as u8, (client >> 8) as u8, client as u8].into()),
        client_port: Some(30_000 + (part(5) % 30_000) as u16),
        method: Some(if part(9) % 10 == 0 { b"POST" } else { b"GET" }),
        scheme: Some("https"),
        host: Some(HOSTS[skewed(part(13), HOSTS.len())].as_bytes()),
        path: Some(path.as_bytes()),
        query: (route == 3).then_some(b"q=shoes&sort=price"),
        site: Some("shop.example"),
        route: Some(ROUTES[route]),
        proto: Some(if part(15).is_multiple_of(3) { Proto::Http11 } else { Proto::Http2 }),
        ua: Some(AGENTS[skewed(part(17), AGENTS.len())].as_bytes()),
        status: if fails {
            504
        } else if part(21).is_multiple_of(50) {
            404
        } else {
            200
        },
        up_status: (!fails && !is_static).then_some(200),
        resp_type: Some(if is_static { b"image/webp" } else { b"application/json" }),
        enc: (!is_static).then_some("zstd"),
        rx_head_b: 300 + part(25) % 200,
        tx_head_b: 233,
        tx_body_b: 200 + skewed(part(27), 100_000) as u64,
        up_tx_b: (!is_static).then_some(500 + part(25) % 200),
        up_rx_b: (!is_static).then_some(700 + skewed(part(27), 100_000) as u64),
        dur_us: wait + 120 + part(29) % 100,
        t_idle_us: Some(part(33) % 3_000_000),
        t_head_us: Some(3 + (part(35) % 40) as u32),
        t_policy_us: Some(1 + (part(39) % 8) as u32),
        t_queue_us: Some(0),
        t_send_us: Some(10 + part(45) % 20),
        t_wait_us: Some(wait),
        t_resp_us: Some(20 + part(47) % 100),
        t_self_us: Some(7 + part(49) % 10),
        upstream: (!is_static).then_some("app"),
        up_addr: (!is_static).then_some(&address),
        up_reused: (!is_static).then_some(true),
        pick: (!is_static).then_some("least"),
        tries: u8::from(!is_static),
        end_by: if fails { EndBy::Upstream } else { EndBy::None },
        end_at: if fails { EndAt::Wait } else { EndAt::Done },
        reason: fails.then_some("http_response_timeout"),
        cause: fails.then_some("timeouts.upstream=30s @tollgate.toml:12"),
        n_conn: Some(200 + (part(51) % 60) as u32),
        n_req: Some(10 + (part(53) % 30) as u32),
        up_req: Some((part(55) % 10) as u32),
        ..Record::default()
    };
    let mut bytes = Vec::with_capacity(512);
    encode(&record, at / CORES + 1, &mut bytes);
    bytes
}
