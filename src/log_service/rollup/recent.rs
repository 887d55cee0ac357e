//! The minutes that alarms look at, cell by cell.

use std::io;
use std::ops::ControlFlow;

use sketches_ddsketch::DDSketch;

use super::cell::Packed;
use super::counted::{Counted, Wanted};

/// Requests of one minute that have everything in common that is counted apart.
pub(crate) struct Recent<'c>(&'c Packed);

impl<'c> Recent<'c> {
    /// Since the Unix epoch.
    pub(crate) fn minute(&self) -> i64 {
        self.0.minute
    }

    pub(crate) fn host(&self) -> &'c str {
        &self.0.key.host
    }

    pub(crate) fn route(&self) -> &'c str {
        &self.0.key.route
    }

    pub(crate) fn upstream(&self) -> &'c str {
        &self.0.key.upstream
    }

    /// First digit of the status; 0 without one.
    pub(crate) fn class(&self) -> u8 {
        self.0.key.class
    }

    pub(crate) fn reason(&self) -> &'c str {
        &self.0.key.reason
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.count
    }

    /// Microseconds.
    pub(crate) fn durations(&self) -> DDSketch {
        self.0.durations()
    }
}

/// Gives every cell of these minutes since the Unix epoch, the second not included, to sums that `begin` makes; again from the
/// beginning when a file has gone meanwhile. Returns with them how many files could not be read.
pub(crate) fn recent<T>(
    counted: &Counted,
    (since, until): (i64, i64),
    begin: &dyn Fn() -> T,
    each: &mut dyn FnMut(&mut T, &Recent<'_>),
) -> io::Result<(T, usize)> {
    let wanted = Wanted { since, until, first_hour: since.div_euclid(60), with_hours: false };
    counted.each(wanted, begin, &mut |sums, cell| {
        each(sums, &Recent(cell));
        ControlFlow::Continue(())
    })
}
