//! Counts drawn as a line of blocks.

use crate::log_service::read::Series;

const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// A series as long as `frame`, one block per step; the highest block is its highest count.
pub(super) fn draw(series: &Series, frame: &Series) -> String {
    blocks(&series.within(frame))
}

/// One block per count; nothing is a space.
pub(super) fn blocks(counts: &[u64]) -> String {
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    let block = |count: &u64| match count {
        0 => ' ',
        count => BLOCKS[((u128::from(*count) * 8 / u128::from(most)) as usize).clamp(1, 8) - 1],
    };
    counts.iter().map(block).collect()
}

/// A bar of at most `width` blocks.
pub(super) fn bar(count: u64, most: u64, width: usize) -> String {
    let filled = u128::from(count) * width as u128 / u128::from(most.max(1));
    "█".repeat((filled as usize).min(width).max(usize::from(count > 0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_what_was_counted() {
        let mut all = Series::default();
        (0..8i64).for_each(|second| all.add(second * 1_000_000, None, second.unsigned_abs()));
        assert_eq!(draw(&all, &all), " ▁▂▃▄▅▆█");
        let mut one = Series::default();
        one.add(3_000_000, None, 1);
        assert_eq!(draw(&one, &all), "   █    ");
        assert_eq!(bar(1, 1000, 20), "█");
    }
}
