//! [`Strikes`]: what may be concluded when a receiver hangs up on a group again and again, where the protocol has no word for
//! a refusal.
//!
//! A receiver that is restarted hangs up as well, and so does a balancer without one behind it. So the group is halved, which
//! costs nothing; from then on the others are tried between two tries of one that is suspected; and a record that stands alone
//! is refused only when others were taken since. Where there are none it waits for what comes next, and holds nobody.

/// A group that was hung up on so often is halved; a record alone wants company.
const HALVE: u16 = 3;
/// So often since others were taken, and a record alone is refused: with pauses from 100 ms on within a minute, longer than
/// most receivers take to restart.
const ENOUGH: u16 = 10;

/// Of one group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Strikes {
    count: u16,
    /// It was a part of one that was hung up on.
    is_suspect: bool,
    /// Others were taken since it began.
    takes_others: bool,
}

/// What becomes of a group that was hung up on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It is tried again.
    Again,
    /// It is tried again, after the others.
    Behind,
    Halve,
    /// It is the record.
    Refuse,
}

impl Strikes {
    /// The receiver had all of it and hung up without a word.
    pub(super) fn hung_up(&mut self, is_alone: bool) -> Next {
        self.count = self.count.saturating_add(1);
        match is_alone {
            false if self.count >= HALVE => Next::Halve,
            true if self.takes_others && self.count >= ENOUGH => Next::Refuse,
            true if self.count >= HALVE => Next::Behind,
            _ if self.is_suspect => Next::Behind,
            _ => Next::Again,
        }
    }

    /// The receiver has taken another group. What it did before that says nothing: maybe it was away until now.
    pub(super) fn others_taken(&mut self) {
        if !self.takes_others && (self.is_suspect || self.count > 0) {
            (self.count, self.takes_others) = (0, true);
        }
    }

    /// Those of each half of a group.
    pub(super) fn half(self) -> Self {
        Self { count: 0, is_suspect: true, ..self }
    }

    /// What is known of a record alone: it needs others to be compared with.
    pub(super) fn wants_company(self) -> bool {
        self.count >= HALVE
    }

    /// Nothing more has to come for it to be refused, if it is the record.
    pub(super) fn takes_others(self) -> bool {
        self.takes_others
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_halved_and_its_halves_let_the_others_go_first() {
        let mut strikes = Strikes::default();
        assert_eq!([(); 3].map(|()| strikes.hung_up(false)), [Next::Again, Next::Again, Next::Halve]);
        let mut half = strikes.half();
        assert_eq!([(); 3].map(|()| half.hung_up(false)), [Next::Behind, Next::Behind, Next::Halve]);
    }

    #[test]
    fn a_record_is_refused_only_when_the_receiver_takes_others_meanwhile() {
        let mut strikes = Strikes::default();
        let told: Vec<Next> = (0..10_000).map(|_| strikes.hung_up(true)).collect();
        assert!(told[2..].iter().all(|next| *next == Next::Behind) && strikes.wants_company());
        for _ in 1..ENOUGH {
            strikes.others_taken();
            assert_ne!(strikes.hung_up(true), Next::Refuse);
        }
        assert_eq!(strikes.hung_up(true), Next::Refuse);
    }

    #[test]
    fn what_was_taken_before_it_began_says_nothing() {
        let mut strikes = Strikes::default();
        strikes.others_taken();
        assert_eq!(strikes, Strikes::default());
    }
}
