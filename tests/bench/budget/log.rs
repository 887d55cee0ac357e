//! From a notebook to its record in the ring of the log.

use std::error::Error;

use tollgate::exchange::Exchange;

use super::meter::Meter;
use super::notebook::{Desk, open_log};

/// Records that may wait for the collector: fewer than the ring takes.
const AHEAD: u64 = 2_000;

pub(crate) fn rows(meter: &Meter) -> Result<(), Box<dyn Error>> {
    let (log, metrics, _collector) = open_log()?;
    let desk = Desk::new(log, metrics);
    let make = || {
        desk.wait(AHEAD);
        Some(desk.exchange())
    };
    meter.row_on("record, to the ring of the log", 250, make, |exchange| record(&desk, exchange.take()));
    desk.wait(0);
    assert_eq!(desk.metrics.dropped_total(), 0, "the ring takes what may wait");
    Ok(())
}

#[inline(never)]
fn record(desk: &Desk, exchange: Option<Box<Exchange>>) {
    let Some(exchange) = exchange else { return };
    desk.end(desk.follow(exchange));
}
