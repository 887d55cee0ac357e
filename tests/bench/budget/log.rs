//! From a notebook to its record in the ring of the log.

use std::error::Error;
use std::hint::black_box;

use tollgate::exchange::Exchange;
use tollgate::record::EndAt;

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
    meter.row("in-flight table, in, five phases, out", 50, || flight(&desk));
    desk.wait(0);
    assert_eq!(desk.metrics.dropped_total(), 0, "the ring takes what may wait");
    Ok(())
}

/// As a proxied exchange does it.
#[inline(never)]
fn flight(desk: &Desk) {
    let flight = desk.enter();
    for at in [EndAt::Queue, EndAt::Connect, EndAt::Body, EndAt::Wait, EndAt::Resp] {
        flight.reach(black_box(at));
    }
}

#[inline(never)]
fn record(desk: &Desk, exchange: Option<Box<Exchange>>) {
    let Some(exchange) = exchange else { return };
    desk.end(desk.follow(exchange));
}
