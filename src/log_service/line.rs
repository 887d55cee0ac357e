//! One stored line: a JSON object whose first member is a checksum of the rest.
//!
//! ```text
//! {"c":"9f31c2d4","recv":"2026-11-21T09:14:03.512804Z","from":"10.0.0.7:4711", …the sender's members… }\n
//! ```
//!
//! `c` is the CRC-32C, in hex, of everything from the byte after `"c":"…",` to the byte before the line end. So
//! the file stays plain JSON lines for any tool, and a line that a crash has cut is recognised.

use crc_fast::{CrcAlgorithm, checksum};

const HEAD: &[u8] = br#"{"c":""#;
const DIGITS: usize = 8;
/// Length of `{"c":"12345678",`.
const PREFIX: usize = HEAD.len() + DIGITS + 2;

/// Appends one line, as earlier versions of the service did. `object` is the sender's JSON object, already checked and without line ends.
#[cfg(test)]
pub(crate) fn write(out: &mut Vec<u8>, recv: &str, from: &str, object: &[u8]) {
    let start = out.len();
    out.extend_from_slice(HEAD);
    out.extend_from_slice(b"00000000\",\"recv\":\"");
    out.extend_from_slice(recv.as_bytes());
    out.extend_from_slice(b"\",\"from\":\"");
    out.extend_from_slice(from.as_bytes());
    out.push(b'"');
    let members = object.get(1..).unwrap_or_default();
    if members.trim_ascii_start() != b"}" {
        out.push(b',');
    }
    out.extend_from_slice(members);
    let digits = hex(sum(&out[start + PREFIX..]));
    out[start + HEAD.len()..start + HEAD.len() + DIGITS].copy_from_slice(&digits);
    out.push(b'\n');
}

/// What a line (without its end) turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// A whole stored line, shown as the JSON object without its checksum.
    Stored(&'a [u8]),
    /// A line without checksum, as the proxy's own log file has.
    Plain(&'a [u8]),
    /// The checksum does not fit: cut or changed.
    Damaged,
}

/// Checks one line. The checksum's place is overwritten, so that the rest reads as an object of its own.
pub(crate) fn check(line: &mut [u8]) -> Line<'_> {
    if !line.starts_with(HEAD) {
        return Line::Plain(line);
    }
    if !is_whole(line) {
        return Line::Damaged;
    }
    line[PREFIX - 1] = b'{';
    Line::Stored(&line[PREFIX - 1..])
}

/// Whether a stored line (without its end) is as it was written.
pub(crate) fn is_whole(line: &[u8]) -> bool {
    let Some((head, body)) = line.split_at_checked(PREFIX) else { return false };
    head.starts_with(HEAD)
        && head.ends_with(b"\",")
        && body.ends_with(b"}")
        && head[HEAD.len()..HEAD.len() + DIGITS] == hex(sum(body))
}

fn sum(bytes: &[u8]) -> u32 {
    // A CRC-32 is 32 bits wide; the crate returns all widths as u64.
    checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

fn hex(sum: u32) -> [u8; DIGITS] {
    let mut digits = [0; DIGITS];
    for (place, digit) in digits.iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(sum >> (28 - 4 * place)) as usize & 0xf];
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(object: &str) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, "2026-11-21T09:14:03.512804Z", "unix", object.as_bytes());
        out
    }

    #[test]
    fn a_stored_line_is_json_and_comes_back() {
        for object in ["{}", "{ }", r#"{"a":1}"#, r#"{ "a" : {"b":[]} }"#] {
            let mut line = stored(object);
            assert_eq!(line.pop(), Some(b'\n'));
            serde_json::from_slice::<serde_json::Value>(&line).unwrap();
            let Line::Stored(shown) = check(&mut line) else { panic!("{object}") };
            let shown: serde_json::Value = serde_json::from_slice(shown).unwrap();
            assert_eq!((shown["from"].as_str(), shown.get("c")), (Some("unix"), None));
        }
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_recognised() {
        let line = stored(r#"{"path":"/a","n":17}"#);
        let line = &line[..line.len() - 1];
        for end in HEAD.len()..line.len() {
            assert_eq!(check(&mut line[..end].to_vec()), Line::Damaged, "cut at {end}");
        }
        for at in HEAD.len()..line.len() {
            let mut changed = line.to_vec();
            changed[at] ^= 1;
            assert_eq!(check(&mut changed), Line::Damaged, "changed at {at}");
        }
    }

    #[test]
    fn the_checksum_is_crc32c() {
        assert_eq!(sum(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn lines_of_other_writers_pass_unchecked() {
        assert_eq!(check(&mut br#"{"v":1}"#.to_vec()), Line::Plain(br#"{"v":1}"#));
    }
}
