//! Copies of short texts.

/// Copies up to 32 bytes, as most texts have, without a call: two halves that overlap. `to` is as long as `from`.
/// Tells whether it did; longer texts are worth the call.
#[inline(always)]
pub(super) fn copy_short(from: &[u8], to: &mut [u8]) -> bool {
    match from.len() {
        33.. => false,
        16.. => copy_halves::<16>(from, to),
        8.. => copy_halves::<8>(from, to),
        4.. => copy_halves::<4>(from, to),
        2.. => copy_halves::<2>(from, to),
        _ => copy_halves::<1>(from, to) || from.is_empty(),
    }
}

/// Does nothing if a half is longer than the whole.
#[inline(always)]
fn copy_halves<const N: usize>(from: &[u8], to: &mut [u8]) -> bool {
    let (Some(first), Some(last)) = (from.first_chunk::<N>(), from.last_chunk::<N>()) else { return false };
    to.first_chunk_mut().into_iter().for_each(|to| *to = *first);
    to.last_chunk_mut().into_iter().for_each(|to| *to = *last);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_every_length_up_to_32() {
        let from: Vec<u8> = (1..=40).collect();
        for length in 0..=40 {
            let mut to = vec![0; length];
            assert_eq!(copy_short(&from[..length], &mut to), length <= 32);
            if length <= 32 {
                assert_eq!(to, from[..length]);
            }
        }
    }
}
