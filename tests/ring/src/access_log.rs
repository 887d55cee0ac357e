//! In the place of `src/access_log/mod.rs`.

#[path = "../../../src/access_log/core_log.rs"]
pub mod core_log;
#[path = "../../../src/access_log/flight/mod.rs"]
pub mod flight;
#[path = "../../../src/access_log/handle.rs"]
mod handle;
#[path = "../../../src/access_log/metrics.rs"]
mod metrics;
#[path = "../../../src/access_log/pressure.rs"]
mod pressure;
#[path = "../../../src/access_log/ring/mod.rs"]
pub mod ring;
#[path = "../../../src/access_log/room.rs"]
mod room;

use std::sync::Arc;

use self::core_log::{CoreLog, Source};

/// A log in memory with a ring of `bytes`.
///
/// # Errors
/// There is no memory.
pub fn log(bytes: usize) -> std::io::Result<(CoreLog, impl FnMut())> {
    let identity = ring::Identity { proxy: "count".to_owned(), boot: 1, core: 0, pid: 1 };
    let ends = ring::ring(None, &identity, bytes)?;
    let (log, mut source) = core_log::pair(ends, (true, false), &Arc::default(), &Arc::default());
    let drain = move || {
        let Source { reader, expected } = &mut source;
        reader.drain(usize::MAX, |_| *expected += 1);
        source.commit(None);
    };
    Ok((log, drain))
}
