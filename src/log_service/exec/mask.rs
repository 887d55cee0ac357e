//! [`Mask`]: which rows of a batch.

/// A set of rows of one batch, a bit each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mask {
    words: Vec<u64>,
    rows: usize,
}

impl Mask {
    pub(crate) fn none(rows: usize) -> Self {
        Self { words: vec![0; rows.div_ceil(64)], rows }
    }

    pub(crate) fn all(rows: usize) -> Self {
        let mut mask = Self { words: vec![u64::MAX; rows.div_ceil(64)], rows };
        let rest = rows % 64;
        if rest > 0
            && let Some(last) = mask.words.last_mut()
        {
            *last = (1 << rest) - 1;
        }
        mask
    }

    /// How many rows the batch has.
    pub(crate) fn len(&self) -> usize {
        self.rows
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    pub(crate) fn has(&self, row: usize) -> bool {
        self.words.get(row / 64).is_some_and(|word| word >> (row % 64) & 1 == 1)
    }

    pub(crate) fn put(&mut self, row: usize, is_in: bool) {
        if let Some(word) = self.words.get_mut(row / 64) {
            *word = *word & !(1 << (row % 64)) | u64::from(is_in) << (row % 64);
        }
    }

    /// Those of the rows for which `test` holds; it is asked about no others.
    pub(crate) fn filtered(&self, mut test: impl FnMut(usize) -> bool) -> Self {
        let words = self.words.iter().enumerate().map(|(at, &word)| {
            let base = at * 64;
            if word == u64::MAX {
                return (0..64).fold(0, |found, bit| found | u64::from(test(base + bit)) << bit);
            }
            bits(word).fold(0, |found, bit| found | u64::from(test(base + bit)) << bit)
        });
        Self { words: words.collect(), rows: self.rows }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word |= other);
    }

    pub(crate) fn remove(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word &= !other);
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(at, &word)| bits(word).map(move |bit| at * 64 + bit))
    }
}

/// The numbers of the bits that are set, lowest first.
fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = word.trailing_zeros();
        word &= word.wrapping_sub(1);
        (bit < 64).then_some(bit as usize)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_exactly_the_rows_of_its_batch() {
        for rows in [0, 1, 63, 64, 65, 200] {
            let all = Mask::all(rows);
            assert_eq!((all.count(), all.rows().count(), all.is_empty()), (rows, rows, rows == 0));
            let thirds = all.filtered(|row| row % 3 == 0);
            assert_eq!(thirds.rows().collect::<Vec<_>>(), (0..rows).step_by(3).collect::<Vec<_>>());
            let mut rest = all.clone();
            rest.remove(&thirds);
            assert!(rest.rows().all(|row| row % 3 != 0));
            rest.add(&thirds);
            assert_eq!(rest, all);
        }
    }

    #[test]
    fn asks_only_about_its_rows() {
        let mut mask = Mask::none(130);
        mask.put(129, true);
        let mut asked = Vec::new();
        mask.filtered(|row| {
            asked.push(row);
            true
        });
        mask.put(129, false);
        assert_eq!((asked, mask.is_empty()), (vec![129], true));
    }
}
