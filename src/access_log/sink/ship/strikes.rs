//! [`Strikes`]: what may be concluded when a receiver hangs up on a group again and again, where the protocol has no word for
//! a refusal.
//!
//! A receiver that is restarted hangs up as well, so nothing is refused for that alone: the group is halved, which costs nothing,
//! and a record that stands alone at last is refused only when the receiver has taken others meanwhile.

use super::Verdict;

/// A group that was hung up on so often in a row is halved.
const HALVE: u32 = 3;
/// A record alone is refused.
const REFUSE: u32 = 8;

#[derive(Debug, Default)]
pub(super) struct Strikes {
    in_a_row: u32,
    /// Others were taken since the first of them.
    takes_others: bool,
}

impl Strikes {
    /// The receiver has taken a group.
    pub(super) fn taken(&mut self) {
        self.takes_others = true;
        self.in_a_row = 0;
    }

    /// The receiver cannot be reached, or does not let us in: it is not the group.
    pub(super) fn away(&mut self) {
        self.in_a_row = 0;
    }

    /// The receiver had all `count` records and hung up without a word.
    pub(super) fn hung_up(&mut self, count: usize, why: String) -> Verdict {
        self.in_a_row += 1;
        if count > 1 && self.in_a_row >= HALVE {
            *self = Self::default();
            return Verdict::TooLarge;
        }
        if count <= 1 && self.in_a_row >= REFUSE && self.takes_others {
            *self = Self::default();
            return Verdict::Refused { status: 0, why };
        }
        Verdict::Later { why, after: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(strikes: &mut Strikes, count: usize, times: u32) -> Verdict {
        (1..times).for_each(|_| assert!(matches!(strikes.hung_up(count, String::new()), Verdict::Later { .. })));
        strikes.hung_up(count, String::new())
    }

    #[test]
    fn a_record_is_refused_only_when_the_receiver_takes_others() {
        let mut strikes = Strikes::default();
        assert_eq!(times(&mut strikes, 2, HALVE), Verdict::TooLarge);
        assert!(matches!(times(&mut strikes, 1, 100), Verdict::Later { .. }));
        strikes.taken();
        assert!(matches!(times(&mut strikes, 1, REFUSE), Verdict::Refused { .. }));
    }

    #[test]
    fn a_receiver_that_goes_away_in_between_begins_anew() {
        let mut strikes = Strikes::default();
        strikes.taken();
        (0..100).for_each(|_| {
            assert!(matches!(strikes.hung_up(1, String::new()), Verdict::Later { .. }));
            strikes.away();
        });
    }
}
