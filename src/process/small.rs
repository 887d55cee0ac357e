//! Small vectored writes as one plain write: a copy of a few hundred bytes costs less than what the kernel does more
//! for `writev(2)` than for `send(2)`.

use std::io::IoSlice;

/// Up to here copying is cheaper.
const MOST: usize = 2048;

/// Joins `slices` and hands them to `write`, when there are several and they are small.
pub fn write<T>(slices: &[IoSlice<'_>], write: impl FnOnce(&[u8]) -> T) -> Option<T> {
    let length: usize = slices.iter().map(|slice| slice.len()).sum();
    if slices.len() < 2 || length > MOST {
        return None;
    }
    let mut joined = [0; MOST];
    let mut at = 0;
    for slice in slices {
        joined[at..at + slice.len()].copy_from_slice(slice);
        at += slice.len();
    }
    Some(write(&joined[..length]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_small_slices_in_order() {
        let slices = [IoSlice::new(b"head"), IoSlice::new(b""), IoSlice::new(b"body")];
        assert_eq!(write(&slices, <[u8]>::to_vec), Some(b"headbody".to_vec()));
    }

    #[test]
    fn leaves_single_and_large_ones_alone() {
        assert_eq!(write(&[IoSlice::new(b"x")], <[u8]>::len), None);
        let large = vec![0; MOST];
        assert_eq!(write(&[IoSlice::new(&large), IoSlice::new(b"x")], <[u8]>::len), None);
    }
}
