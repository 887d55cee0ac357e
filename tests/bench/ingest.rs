//! What a record costs the log service: frames over a Unix socket, until they are in its log and in memory.
//!
//! `cargo bench --bench ingest [RECORDS]` starts a service on an empty directory, sends frames of 800 records and prints the CPU
//! time of the whole process per record, without the time in which the records were made. The write of files from rows is
//! part of it. The bar of the design is 200 000 records per second and core.

#[path = "samples.rs"]
mod samples;

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tollgate::log_service::{Listen, LogService, Settings, SyncWhen};
use tollgate::record::binary;
use tollgate::record::frame::{Builder, Codec, Form, Stream};

const FRAME: u64 = 800;
/// Frames in one request.
const FRAMES: u64 = 16;
/// Clock ticks of the kernel per second, as `/proc` counts CPU time (`getconf CLK_TCK`).
const TICKS: f64 = 100.0;

fn main() -> Result<(), Box<dyn Error>> {
    let records = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(2_000_000);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let data = tempfile::tempdir()?;
    for (name, codec, sync) in
        [("raw, sync always", Codec::Raw, SyncWhen::Always), ("lz4, sync os", Codec::Lz4, SyncWhen::Never)]
    {
        let data = data.path().join(name.replace([' ', ','], "-"));
        runtime.block_on(run(name, &data, records, codec, sync))?;
    }
    Ok(())
}

async fn run(
    name: &str,
    data: &Path,
    records: u64,
    codec: Codec,
    sync: SyncWhen,
) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(data)?;
    let socket = data.join("logs.sock");
    let mut settings = Settings::new(data.join("logs"));
    settings.http = vec![Listen::Unix(socket.clone())];
    settings.sync = sync;
    let service = LogService::start(settings).await?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let service = tokio::spawn(service.run(async { drop(stopped.await) }));
    let mut stream = UnixStream::connect(&socket).await?;
    let (started, before) = (Instant::now(), cpu()?);
    let (mut seq, mut making, mut body) = (1, 0.0, Vec::new());
    while seq <= records {
        let begun = thread_cpu()?;
        body.clear();
        (0..FRAMES).for_each(|_| make(&mut seq, codec, &mut body));
        making += thread_cpu()? - begun;
        send(&mut stream, &body).await?;
    }
    drop(stream);
    let _ = stop.send(());
    service.await??;
    let sent = seq - 1;
    let each = (cpu()? - before - making) / sent as f64;
    println!(
        "{name}: {sent} records, {:.2} us of CPU each = {:.0} records/s/core ({:.1} s by the clock, making them {making:.1} s)",
        each * 1e6,
        1.0 / each,
        started.elapsed().as_secs_f64(),
    );
    println!(
        "    {:.0} bytes of files per record, at most {} of memory so far",
        bytes_in(data)? / sent as f64,
        peak()?
    );
    Ok(())
}

fn make(seq: &mut u64, codec: Codec, out: &mut Vec<u8>) {
    let mut builder = Builder::default();
    for _ in 0..FRAME {
        let mut record = if seq.is_multiple_of(10) { samples::typical() } else { samples::plain(*seq) };
        record.ts_us = 1_795_252_443_512_804 + *seq as i64 * 50;
        // As ids are made: milliseconds, then what is random.
        record.id[..6].copy_from_slice(&(record.ts_us as u64 / 1000).to_be_bytes()[2..]);
        record.id[8..].copy_from_slice(&seq.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        let mut bytes = Vec::with_capacity(512);
        binary::encode(&record, *seq, &mut bytes);
        builder.push(Form::Record, Some(*seq), record.ts_us, &bytes);
        *seq += 1;
    }
    builder.finish(&Stream { proxy: "edge-1", boot: 1_763_713_443_512, core: 0 }, codec, out);
}

async fn send(stream: &mut UnixStream, body: &[u8]) -> Result<(), Box<dyn Error>> {
    let head = format!("POST /frames HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"}\n") {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err("the service hung up".into());
        }
    }
    let answer = String::from_utf8(answer)?;
    match answer.starts_with("HTTP/1.1 200") {
        true => Ok(()),
        false => Err(answer.into()),
    }
}

/// Bytes of the files in a directory and those below.
fn bytes_in(directory: &Path) -> Result<f64, Box<dyn Error>> {
    let mut sum = 0.0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        sum += if meta.is_dir() { bytes_in(&entry.path())? } else { meta.len() as f64 };
    }
    Ok(sum)
}

/// The largest resident set of this process.
fn peak() -> Result<String, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().to_owned())
}

/// CPU seconds of this process.
fn cpu() -> Result<f64, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = text.rsplit_once(')').ok_or("no stat")?.1.split_whitespace().collect();
    Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / TICKS)
}

/// CPU seconds of this thread; nothing else runs on it between two calls without a wait.
fn thread_cpu() -> Result<f64, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds: f64 = text.split_whitespace().next().ok_or("no schedstat")?.parse()?;
    Ok(nanoseconds / 1e9)
}
