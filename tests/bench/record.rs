//! What one record costs, in nanoseconds: `cargo bench --bench record`.

use std::error::Error;
use std::hint::black_box;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tollgate::access_log::{FileSettings, Settings, SinkSettings, open};
use tollgate::record::frame::{self, Cut, Tries};
use tollgate::record::id::IdSource;
use tollgate::record::json::{Renderer, Stamp};
use tollgate::record::redact::Redactor;
use tollgate::record::{EndAt, EndBy, Proto, Record, Tls};

const ROUNDS: u32 = 7;
const TIMES: u32 = 300_000;
/// Fewer than the ring takes.
const WRITES: u32 = 5_000;

fn main() -> Result<(), Box<dyn Error>> {
    let record = typical();
    let mut frame_bytes = Vec::with_capacity(frame::MAX_LEN);
    let mut line = Vec::with_capacity(4096);
    let stamp = Stamp { proxy: "edge-1", boot: 1_795_252_000_000, core: 1, seq: 88_213, cut: Cut::default() };

    let ids = IdSource::new(0)?;
    measure("id", || {
        black_box(ids.next(black_box(1_795_252_443_512_804)));
    });
    let (redactor, mut scratch) = (Redactor::default(), Vec::new());
    measure("redact, nothing to hide", || {
        black_box(redactor.query(black_box(b"page=2&sort=asc&category=shoes"), &mut scratch));
    });
    measure("encode", || {
        frame_bytes.clear();
        frame::encode(black_box(&record), black_box(88_213), &mut frame_bytes);
    });
    measure("decode", || {
        let mut tries = Tries::default();
        let _ = black_box(frame::decode(black_box(&frame_bytes), &mut tries));
    });
    let mut renderer = Renderer::default();
    measure("json", || {
        line.clear();
        renderer.record(black_box(&record), &stamp, &mut line);
    });
    println!("frame {} bytes, line {} bytes", frame_bytes.len(), line.len());
    write_to_log(&record)
}

/// The whole cost on the core: sequence number, encoding, ring. The ring takes a round, and is emptied between rounds.
fn write_to_log(record: &Record<'_>) -> Result<(), Box<dyn Error>> {
    let sinks = vec![SinkSettings::File(FileSettings { rotate_bytes: 0, ..FileSettings::new("/dev/null") })];
    let settings = Settings::new("bench", sinks);
    let (logs, collector) = open(settings, 1)?;
    let running = collector.spawn()?;
    let metrics = running.metrics();
    let mut best = f64::MAX;
    for _ in 0..ROUNDS * 10 {
        let start = Instant::now();
        (0..WRITES).for_each(|_| logs[0].write(black_box(record)));
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(WRITES));
        while metrics.records.load(Ordering::Relaxed) < logs[0].last_seq() {
            std::thread::yield_now();
        }
    }
    println!("{:<36} {best:8.1} ns", "write to the log");
    assert_eq!(metrics.dropped_total(), 0, "the ring takes a round");
    Ok(())
}

fn measure(name: &str, mut work: impl FnMut()) {
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        (0..TIMES).for_each(|_| work());
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(TIMES));
    }
    println!("{name:<36} {best:8.1} ns");
}

fn typical() -> Record<'static> {
    Record {
        ts_us: 1_795_252_443_512_804,
        id: [1; 16],
        cfg: 0x9f31c2,
        conn: 4711,
        conn_req: 12,
        listener: "https",
        client_ip: Some([203, 0, 113, 9].into()),
        client_port: Some(51_000),
        method: Some(b"GET"),
        scheme: Some("https"),
        host: Some(b"shop.example"),
        path: Some(b"/api/cart/items/118"),
        query: Some(b"page=2&sort=asc"),
        site: Some("shop.example"),
        route: Some("/api/*"),
        proto: Some(Proto::Http2),
        h2_stream: Some(23),
        ua: Some(b"Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0"),
        status: 200,
        up_status: Some(200),
        resp_type: Some(b"application/json"),
        enc: Some("zstd"),
        rx_head_b: 412,
        tx_head_b: 233,
        tx_body_b: 1830,
        up_tx_b: Some(640),
        up_rx_b: Some(6120),
        dur_us: 4112,
        t_head_us: Some(41),
        t_policy_us: Some(1),
        t_queue_us: Some(0),
        t_send_us: Some(12),
        t_wait_us: Some(3800),
        t_resp_us: Some(120),
        t_self_us: Some(55),
        upstream: Some("cart"),
        up_addr: Some("10.0.0.7:8080"),
        worker: Some("cart-0"),
        up_reused: Some(true),
        pick: Some("least"),
        tries: 1,
        end_by: EndBy::None,
        end_at: EndAt::Done,
        tls: Some(Tls {
            version: "1.3",
            cipher: "TLS_AES_128_GCM_SHA256",
            group: Some("X25519MLKEM768"),
            alpn: Some("h2"),
            sni: Some("shop.example"),
            resumed: true,
        }),
        n_conn: Some(64),
        n_req: Some(12),
        up_req: Some(3),
        ..Record::default()
    }
}
