//! Decimal digits of numbers below a million, which most numbers of a record are: two look-ups at most.

/// The digits of a number, left-aligned, and how many they are.
#[derive(Clone, Copy)]
pub(super) struct Digits {
    word: u64,
    pub(super) length: usize,
}

impl Digits {
    /// `None` from a million on.
    #[inline(always)]
    pub(super) fn of(number: u64) -> Option<Self> {
        match SMALL.get(number as usize) {
            Some(&entry) => Some(Self { word: entry.into(), length: length(entry) }),
            None => Self::of_two_groups(number),
        }
    }

    /// Eight bytes; those behind `length` are of no use.
    #[inline(always)]
    pub(super) fn bytes(self) -> [u8; 8] {
        self.word.to_le_bytes()
    }

    #[inline(always)]
    fn of_two_groups(number: u64) -> Option<Self> {
        let high = *SMALL.get((number / 1000) as usize)?;
        let low = *PADDED.get((number % 1000) as usize)?;
        let word = u64::from(high & DIGITS) | u64::from(low) << (8 * length(high));
        Some(Self { word, length: length(high) + 3 })
    }

    /// Six digits, with zeros in front if need be; of the last six if there are more.
    #[inline(always)]
    pub(super) fn six(number: u32) -> Self {
        let group =
            |number: u32| u64::from(PADDED.get((number % 1000) as usize).copied().unwrap_or_default());
        Self { word: group(number / 1000) | group(number) << 24, length: 6 }
    }
}

/// For each number below a thousand its digits, left-aligned, and in the fourth byte how many they are.
static SMALL: [u32; 1000] = table(false);
/// For each number below a thousand three digits.
static PADDED: [u32; 1000] = table(true);
const DIGITS: u32 = 0x00ff_ffff;

#[inline(always)]
fn length(entry: u32) -> usize {
    (entry >> 24) as usize
}

const fn table(is_padded: bool) -> [u32; 1000] {
    let mut table = [0; 1000];
    let mut number = 0;
    while number < table.len() {
        let (a, b, c) = (digit(number / 100), digit(number / 10), digit(number));
        table[number] = u32::from_le_bytes(match number {
            _ if is_padded => [a, b, c, 0],
            0..10 => [c, 0, 0, 1],
            10..100 => [b, c, 0, 2],
            _ => [a, b, c, 3],
        });
        number += 1;
    }
    table
}

const fn digit(number: usize) -> u8 {
    b'0' + (number % 10) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn are_those_of_the_number_up_to_a_million() {
        for number in 0..1_000_000 {
            let digits = Digits::of(number).unwrap();
            assert_eq!(&digits.bytes()[..digits.length], number.to_string().as_bytes());
            let six = Digits::six(number as u32);
            assert_eq!(&six.bytes()[..six.length], format!("{number:06}").as_bytes());
        }
        for number in [1_000_000, u64::from(u32::MAX) + 1, u64::MAX] {
            assert!(Digits::of(number).is_none());
        }
    }
}
