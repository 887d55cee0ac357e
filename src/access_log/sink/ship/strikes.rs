//! [`Strikes`]: what may be concluded when a receiver hangs up on a group again and again, where the protocol has no word for
//! a refusal.
//!
//! A receiver that is restarted hangs up as well, and so does a balancer without one behind it. So the group is halved, which
//! costs nothing; a record that stands alone at last lets the others go first; and it is refused when these are taken. Where
//! there are no others it is refused after a long time, so that it does not block what comes for ever.

use super::Verdict;

/// A group that was hung up on so often in a row is halved.
const HALVE: u32 = 3;
/// A record alone is put behind the others, or refused if they were taken.
const ENOUGH: u32 = 8;
/// It is refused whatever became of the others: with pauses of 30 s some half an hour.
const TOO_OFTEN: u32 = 8 * ENOUGH;

#[derive(Debug, Default)]
pub(super) struct Strikes {
    in_a_row: u32,
    /// It has hung up, and what became of that is not known yet.
    is_begun: bool,
    /// Others were taken since.
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
        *self = Self::default();
    }

    /// The receiver had all `count` records and hung up without a word.
    pub(super) fn hung_up(&mut self, count: usize, why: String) -> Verdict {
        if !self.is_begun {
            *self = Self { is_begun: true, ..Self::default() };
        }
        self.in_a_row += 1;
        if count > 1 && self.in_a_row >= HALVE {
            self.in_a_row = 0;
            return Verdict::TooLarge;
        }
        if count > 1 || !self.in_a_row.is_multiple_of(ENOUGH) {
            return Verdict::Later { why, after: None };
        }
        if self.takes_others || self.in_a_row >= TOO_OFTEN {
            *self = Self::default();
            return Verdict::Refused { status: 0, why };
        }
        Verdict::Behind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdicts that are not simply to try again later.
    fn verdicts(strikes: &mut Strikes, count: usize, times: u32) -> Vec<Verdict> {
        let verdicts = (0..times).map(|_| strikes.hung_up(count, String::new()));
        verdicts.filter(|verdict| !matches!(verdict, Verdict::Later { .. })).collect()
    }

    fn refused() -> Verdict {
        Verdict::Refused { status: 0, why: String::new() }
    }

    #[test]
    fn a_record_is_refused_when_the_receiver_takes_others_meanwhile() {
        let mut strikes = Strikes::default();
        strikes.taken();
        assert_eq!(verdicts(&mut strikes, 2, HALVE), [Verdict::TooLarge]);
        assert_eq!(verdicts(&mut strikes, 1, ENOUGH), [Verdict::Behind]);
        strikes.taken();
        assert_eq!(verdicts(&mut strikes, 1, ENOUGH), [refused()]);
    }

    #[test]
    fn a_record_that_nobody_is_behind_of_is_refused_after_a_long_time() {
        let mut strikes = Strikes::default();
        let told = verdicts(&mut strikes, 1, TOO_OFTEN);
        assert_eq!((told.len(), told.last()), (8, Some(&refused())));
    }

    #[test]
    fn a_receiver_that_goes_away_in_between_begins_anew() {
        let mut strikes = Strikes::default();
        for _ in 0..100 {
            assert!(verdicts(&mut strikes, 1, ENOUGH - 1).is_empty());
            strikes.away();
        }
    }
}
