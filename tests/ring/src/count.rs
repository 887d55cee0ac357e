//! What is counted: the core's record, from [`Record`] to the ring.

use std::hint::black_box;

use crate::access_log::core_log::CoreLog;
use crate::access_log::log;
use crate::record::Record;
use crate::samples::{plain, typical};

/// Records of each kind.
pub const TIMES: u64 = 2000;
/// They are taken out so often that the small lane is used, as it is when the collector keeps up.
const BATCH: u64 = 64;

/// Writes [`TIMES`] records of the kind `name`.
///
/// # Errors
/// There is no memory, or no such kind.
pub fn run(name: &str) -> std::io::Result<()> {
    let (log, mut drain) = log(4 << 20)?;
    for at in 0..TIMES {
        match name {
            "plain" => write_plain_to_ring(&log, &black_box(plain(at))),
            "typical" => write_typical_to_ring(&log, &black_box(typical())),
            _ => return Err(std::io::ErrorKind::InvalidInput.into()),
        }
        if at % BATCH == BATCH - 1 {
            drain();
        }
    }
    match log.last_seq() {
        TIMES => Ok(()),
        _ => Err(std::io::Error::other("not all were written")),
    }
}

/// A function of its own, so that the counter can be switched by its name.
#[inline(never)]
fn write_plain_to_ring(log: &CoreLog, record: &Record<'_>) {
    log.write(record);
}

/// The same, as two that do the same would be made one.
#[inline(never)]
fn write_typical_to_ring(log: &CoreLog, record: &Record<'_>) {
    log.write(black_box(record));
}
