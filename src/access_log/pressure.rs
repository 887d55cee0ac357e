//! The pressure ladder: what is left out while the spool fills, so that what matters still fits.

/// A step of the ladder; each leaves out what the ones before it do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Step {
    /// Nothing.
    #[default]
    Whole,
    /// From 70 %: what the client says about itself, and the words of TLS (`detail = 1`).
    Detail,
    /// From 85 %: of the quick successes all but one in ten, which carries the weight (`sw`).
    Sample,
    /// From 95 %: all but who, what, when and how it ended (`detail = 2`).
    Mini,
    /// Nothing is taken out of the rings any more; what does not fit into them is dropped and counted.
    Full,
}

/// Fill, in thousandths, from which a step is taken.
const FROM: [(Step, u64); 4] =
    [(Step::Full, 1000), (Step::Mini, 950), (Step::Sample, 850), (Step::Detail, 700)];
/// So much less it must be before a step is taken back.
const SLACK: u64 = 20;

impl Step {
    pub const ALL: [Self; 5] = [Self::Whole, Self::Detail, Self::Sample, Self::Mini, Self::Full];

    /// The word in records and in `status`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Whole => "none",
            Self::Detail => "detail",
            Self::Sample => "sample",
            Self::Mini => "mini",
            Self::Full => "full",
        }
    }

    /// The step to take at this fill (thousandths) after `self`.
    pub(super) fn next(self, fill: u64) -> Self {
        let reached =
            |fill: u64| FROM.iter().find(|(_, from)| fill >= *from).map_or(Self::Whole, |(step, _)| *step);
        let up = reached(fill);
        if up >= self { up } else { reached(fill + SLACK).min(self) }
    }

    pub(super) fn says(self) -> &'static str {
        match self {
            Self::Whole => "the spool has room again: records are whole",
            Self::Detail => "the spool is filling: records leave out what clients say about themselves",
            Self::Sample => {
                "the spool is filling: one in ten of the quick successes is kept, with its weight"
            }
            Self::Mini => "the spool is nearly full: records say only who, what, when and how it ended",
            Self::Full => "the spool is full: what no longer fits into the rings is dropped and counted",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn climbs_at_once_and_comes_down_with_some_slack() {
        use Step::{Detail, Full, Mini, Sample, Whole};
        let steps: Vec<Step> = [0, 699, 700, 690, 681, 679, 960, 1000, 990, 940, 840, 100]
            .iter()
            .scan(Whole, |step, fill| {
                *step = step.next(*fill);
                Some(*step)
            })
            .collect();
        let expected = [Whole, Whole, Detail, Detail, Detail, Whole, Mini, Full, Full, Mini, Sample, Whole];
        assert_eq!(steps, expected);
    }
}
