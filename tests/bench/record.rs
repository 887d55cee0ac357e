//! What one record costs, in nanoseconds: `cargo bench --bench record`.
//!
//! With `count` every part runs a few times only, for a tool that counts instructions. The parts are functions of
//! their own, so that its report names them:
//!
//! ```text
//! valgrind --tool=callgrind BENCH count       (BENCH: the program that cargo names)
//! callgrind_annotate --inclusive=yes callgrind.out.PID
//! ```
//!
//! `render_batch` runs once per 64 records, `end_exchange` and `write_to_ring` once per record; all that the
//! collector's thread does stands under `Collector::turn`.

#[path = "notebook.rs"]
mod notebook;
#[path = "samples.rs"]
mod samples;

use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use http::Response;
use tollgate::access_log::follow::Followed;
use tollgate::access_log::{CoreLog, Metrics};
use tollgate::record::Record;
use tollgate::record::binary::{self, Cut, Decoded, Tries};
use tollgate::record::id::IdSource;
use tollgate::record::json::{Renderer, Stamp};
use tollgate::record::redact::Redactor;

use self::notebook::{Desk, open_log, wait_for};
use self::samples::{plain, typical};

/// How often a part runs.
#[derive(Clone, Copy)]
struct Effort {
    rounds: u32,
    times: u32,
}

const TO_TIME: Effort = Effort { rounds: 7, times: 300_000 };
const TO_COUNT: Effort = Effort { rounds: 1, times: 1_000 };
/// Fewer than the ring takes.
const WRITES: u32 = 4_000;
/// Records that the collector finds together in a ring.
const BATCH: usize = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let is_counting = std::env::args().any(|argument| argument == "count");
    let effort = if is_counting { TO_COUNT } else { TO_TIME };
    small_parts(effort)?;
    batches(effort);
    let (log, metrics, collector) = open_log()?;
    write_to_log(effort, &log, &metrics);
    end_exchanges(effort, log, metrics);
    drop(collector);
    Ok(())
}

fn small_parts(effort: Effort) -> Result<(), Box<dyn Error>> {
    let record = typical();
    let mut frame_bytes = Vec::with_capacity(binary::MAX_LEN);
    let mut line = Vec::with_capacity(4096);
    let ids = IdSource::new(0)?;
    effort.measure("id", || {
        black_box(ids.next(black_box(1_795_252_443_512_804)));
    });
    let (redactor, mut scratch) = (Redactor::default(), Vec::new());
    effort.measure("redact, nothing to hide", || {
        black_box(redactor.query(black_box(b"page=2&sort=asc&category=shoes"), &mut scratch));
    });
    effort.measure("encode", || {
        frame_bytes.clear();
        binary::encode(black_box(&record), black_box(88_213), &mut frame_bytes);
    });
    effort.measure("decode", || {
        let mut tries = Tries::default();
        let _ = black_box(binary::decode(black_box(&frame_bytes), &mut tries));
    });
    let mut renderer = Renderer::default();
    effort.measure("json", || {
        line.clear();
        renderer.record(black_box(&record), &stamp(88_213, Cut::default()), &mut line);
    });
    println!("frame {} bytes, line {} bytes", frame_bytes.len(), line.len());
    Ok(())
}

/// The collector's work without its thread: frames become lines of one buffer.
fn batches(effort: Effort) {
    for (name, make) in
        [("proxied, HTTP/1.1", plain as fn(u64) -> Record<'static>), ("all fields", |_| typical())]
    {
        let frames: Vec<Vec<u8>> = (0..BATCH as u64)
            .map(|at| {
                let mut bytes = Vec::new();
                binary::encode(&make(at), 88_213 + at, &mut bytes);
                bytes
            })
            .collect();
        let (mut renderer, mut lines) = (Renderer::default(), Vec::with_capacity(BATCH * 2048));
        let per_batch = Effort { times: effort.times / 64, ..effort };
        let best = per_batch.best(|| {
            lines.clear();
            match name {
                "all fields" => render_full_batch(black_box(&frames), &mut renderer, &mut lines),
                _ => render_batch(black_box(&frames), &mut renderer, &mut lines),
            }
        });
        println!("{:<36} {:8.1} ns", format!("decode + json, {name}"), best / BATCH as f64);
        println!("    frame {} bytes, line {} bytes", frames[0].len(), lines.len() / BATCH);
    }
}

#[inline(never)]
fn render_batch(frames: &[Vec<u8>], renderer: &mut Renderer, lines: &mut Vec<u8>) {
    for bytes in frames {
        let (mut tries, mut decoded) = (Tries::default(), Decoded::default());
        if binary::decode_into(&mut decoded, bytes, &mut tries).is_ok() {
            renderer.decoded(&decoded, &stamp(decoded.seq, decoded.cut), lines);
        }
    }
}

#[inline(never)]
fn render_full_batch(frames: &[Vec<u8>], renderer: &mut Renderer, lines: &mut Vec<u8>) {
    render_batch(frames, renderer, lines);
}

/// The whole cost on the core: sequence number, encoding, ring. The ring takes a round, and is emptied between rounds.
fn write_to_log(effort: Effort, log: &CoreLog, metrics: &Metrics) {
    let rounds = Effort { rounds: effort.rounds * 10, times: WRITES };
    let mut at = 0;
    let best = rounds.best_after(
        || {
            write_to_ring(log, black_box(&plain(at)));
            at += 1;
        },
        || wait_for(metrics, log, 0),
    );
    println!("{:<36} {best:8.1} ns", "write to the log");
    assert_eq!(metrics.dropped_total(), 0, "the ring takes a round");
}

#[inline(never)]
fn write_to_ring(log: &CoreLog, record: &Record<'_>) {
    log.write(record);
}

/// From a notebook that is full to its record in the ring. The time is with the making of the notebook; the count of
/// `end_exchange` is without.
fn end_exchanges(effort: Effort, log: CoreLog, metrics: Arc<Metrics>) {
    let desk = Desk::new(log, metrics);
    let rounds = Effort { rounds: effort.rounds * 10, times: WRITES };
    let best = rounds.best_after(|| end_exchange(&desk, desk.follow(desk.exchange())), || desk.wait(0));
    println!("{:<36} {best:8.1} ns", "an exchange to its record");
}

#[inline(never)]
fn end_exchange(desk: &Desk, answer: Response<Followed>) {
    desk.end(answer);
}

impl Effort {
    fn measure(self, name: &str, work: impl FnMut()) {
        println!("{name:<36} {:8.1} ns", self.best(work));
    }

    fn best(self, work: impl FnMut()) -> f64 {
        self.best_after(work, || ())
    }

    /// Nanoseconds per call in the best round; `between` rounds is not timed.
    fn best_after(self, mut work: impl FnMut(), mut between: impl FnMut()) -> f64 {
        let mut best = f64::MAX;
        for _ in 0..self.rounds {
            let start = Instant::now();
            (0..self.times).for_each(|_| work());
            best = best.min(start.elapsed().as_nanos() as f64 / f64::from(self.times));
            between();
        }
        best
    }
}

fn stamp(seq: u64, cut: Cut) -> Stamp<'static> {
    Stamp { proxy: "edge-1", boot: 1_795_252_000_000, core: 1, seq, cut }
}
