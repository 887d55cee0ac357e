//! The notebook of a plain proxied request, and the log that it ends in.

use std::cell::Cell;
use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::{HeaderValue, Method, Response, Uri, Version};
use tollgate::access_log::follow::{Followed, Live, Writer};
use tollgate::access_log::{Arriving, CoreLog, FileSettings, Metrics, Running, Settings, SinkSettings, open};
use tollgate::downstream::wire::{Limits, Wire};
use tollgate::exchange::connection::Connection;
use tollgate::exchange::flight::Flight;
use tollgate::exchange::{End, Exchange, Marks, Traffic, Upstream};
use tollgate::http::Body;
use tollgate::process::deadline::Deadlines;
use tollgate::record::redact::Redactor;

type Collected = (CoreLog, Arc<Metrics>, Running);

/// The log of one core, collected into nothing for as long as the last part is kept.
pub(crate) fn open_log() -> Result<Collected, Box<dyn Error>> {
    let sinks = vec![SinkSettings::File(FileSettings { rotate_bytes: 0, ..FileSettings::new("/dev/null") })];
    let (mut logs, collector) = open(Settings::new("edge-1", sinks), 1)?;
    let running = collector.spawn()?;
    let log = logs.pop().ok_or("one core, one log")?;
    Ok((log, running.metrics(), running))
}

/// Waits until the collector has all but `behind` of the records that `log` was given.
pub(crate) fn wait_for(metrics: &Metrics, log: &CoreLog, behind: u64) {
    while metrics.records.load(Ordering::Relaxed) + behind < log.last_seq() {
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// One connection, and what its exchanges need to become records.
pub(crate) struct Desk {
    pub(crate) metrics: Arc<Metrics>,
    writer: Rc<Writer>,
    redactor: Arc<Redactor>,
    connection: Rc<Connection>,
    wire: Rc<Wire>,
    /// Site, route, upstream and its address, as the plan holds them.
    texts: [Arc<str>; 4],
    traffic: Rc<Traffic>,
}

impl Desk {
    pub(crate) fn new(log: CoreLog, metrics: Arc<Metrics>) -> Self {
        let connection = connection(SocketAddr::from(([127, 0, 0, 1], 51_000)));
        let deadlines = Deadlines::new();
        let limits = Arc::new(Limits::default());
        let wire = Wire::new(Rc::clone(&connection), limits, deadlines.slot(), deadlines.slot());
        Self {
            metrics,
            writer: Rc::new(Writer { log, on_end: Box::new(|| ()) }),
            redactor: Arc::default(),
            connection,
            wire,
            texts: ["*", "/*", "app", "127.0.0.1:9001"].map(Arc::from),
            traffic: Rc::new(Traffic { rx: Cell::new(2048), tx: Cell::new(512) }),
        }
    }

    pub(crate) fn exchange(&self) -> Box<Exchange> {
        let mut exchange =
            exchange(&self.connection, self.connection.sender_ip(), &self.texts, &self.traffic);
        exchange.flight = self.enter();
        exchange
    }

    /// A place in the in-flight table for it.
    pub(crate) fn enter(&self) -> Flight {
        self.writer.enter(&Arriving {
            id: [1; 16],
            ts_us: 1_795_252_443_512_804,
            conn: self.connection.serial,
            conn_req: 12,
            cfg: 0x9f31_c200_1234_5678,
            client_ip: self.connection.sender_ip(),
            client_port: Some(51_000),
            is_tls: false,
            is_h2: false,
            method: b"GET",
            host: b"localhost:8080",
            path: b"/api/cart/items/118",
        })
    }

    /// Its answer, without a body.
    pub(crate) fn follow(&self, exchange: Box<Exchange>) -> Response<Followed> {
        self.wire.begin();
        let (writer, redactor) = (Rc::clone(&self.writer), Arc::clone(&self.redactor));
        Live::new(*exchange, writer, redactor, Rc::clone(&self.wire)).follow(Response::new(Body::Empty))
    }

    /// The answer is complete, then its last byte is with the kernel.
    pub(crate) fn end(&self, answer: Response<Followed>) {
        drop(answer);
        self.wire.flush_endings(true);
    }

    /// Waits for the collector, see [`wait_for`].
    pub(crate) fn wait(&self, behind: u64) {
        wait_for(&self.metrics, &self.writer.log, behind);
    }
}

fn connection(sender: SocketAddr) -> Rc<Connection> {
    let now = Instant::now();
    Rc::new(Connection {
        serial: 4711,
        listener: "http".into(),
        sender,
        tls: None,
        is_h2: false,
        accepted: now,
        handshake_us: None,
        neighbours: 64,
        rx: Cell::new(0),
        tx: Cell::new(0),
        requests: Cell::new(12),
        in_flight: Cell::new(0),
        idle_since: Cell::new(now),
    })
}

/// As it stands when the last byte of its answer has left.
fn exchange(
    connection: &Rc<Connection>,
    client_ip: IpAddr,
    [site, route, name, address]: &[Arc<str>; 4],
    traffic: &Rc<Traffic>,
) -> Box<Exchange> {
    let now = connection.accepted;
    let after = |us| now + Duration::from_micros(us);
    let marks = Marks {
        first_byte: now,
        head: after(3),
        policy: Some(after(9)),
        // The connection was there.
        picked: Some(after(9)),
        connected: Some(after(9)),
        sent: Some(after(31)),
        answered: Some(after(212)),
        failed: None,
    };
    Box::new(Exchange {
        id: [1; 16],
        connection: Rc::clone(connection),
        number: 12,
        ts_us: 1_795_252_443_512_804,
        marks,
        idle_us: Some(120),
        method: Method::GET,
        uri: Uri::from_static("/api/cart/items/118"),
        version: Version::HTTP_11,
        host: Some(HeaderValue::from_static("localhost:8080")),
        client_ip,
        client_port: Some(51_000),
        user_agent: Some(HeaderValue::from_static("h2load nghttp2/1.52.0")),
        referer: None,
        request_type: None,
        response_type: Some(HeaderValue::from_static("text/plain")),
        rid: None,
        rid_in: None,
        trace_id: None,
        span_id: None,
        parent_id: None,
        trace_flags: None,
        configuration: 0x9f31_c200_1234_5678,
        site: Some(Arc::clone(site)),
        route: Some(Arc::clone(route)),
        status: 200,
        is_own: false,
        encoding: None,
        head_bytes: 96,
        body_in: None,
        tx_before: 0,
        body_out: 612,
        limit: None,
        limit_rule: None,
        upstream: upstream(name, address, traffic),
        in_flight_before: 12,
        end: End::default(),
        flight: Flight::default(),
    })
}

fn upstream(name: &Arc<str>, address: &Arc<str>, traffic: &Rc<Traffic>) -> Upstream {
    Upstream {
        name: Some(Arc::clone(name)),
        address: Some(Arc::clone(address)),
        status: Some(200),
        is_reused: Some(true),
        pick: Some("least"),
        tries: 1,
        load: Some(3),
        traffic: Some((Rc::clone(traffic), 1024, 256)),
        ..Upstream::default()
    }
}
