//! A child process pushes and is killed at any moment; what its pushes returned for must be there afterwards.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use super::*;
use crate::record::id::Random;

const DIRECTORY: &str = "TOLLGATE_TEST_RING";
const DRAINED: &str = "drained";
const ROUNDS: u64 = 60;
/// Bytes of each number that a child tells.
const WORD: usize = 8;

/// The path says what belongs to the number, so that a mixture of two records is seen.
fn path(seq: u64) -> String {
    format!("/{seq}/{}", "x".repeat((seq * 37 % 3000) as usize))
}

fn id(seq: u64) -> [u8; 16] {
    u128::from(seq).to_be_bytes()
}

/// The child: pushes for ever, and tells each number when its push has returned. A second thread drains.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(DIRECTORY) else { return };
    let dir = Path::new(&dir);
    let directory = open(dir);
    let (mut writer, reader) = ring(Some(&directory), &identity(0), 256 << 10).unwrap();
    let table = Table::new(writer.mapped());
    let drained = std::fs::File::create(dir.join(DRAINED)).unwrap();
    std::thread::spawn(move || drain(reader, drained));
    let mut told = std::io::stderr().lock();
    for seq in 1_u64.. {
        let place = table.enter(&Arriving { id: id(seq), ..arriving(0) });
        loop {
            table.close(place, writer.position());
            let record = Record { id: id(seq), ..Record::default() };
            let path = path(seq);
            let record = Record { path: Some(path.as_bytes()), ..record };
            if writer.push(|room| binary::encode_into(room, &record, seq)).is_ok() {
                break;
            }
            std::thread::yield_now();
        }
        table.leave(place);
        told.write_all(&seq.to_le_bytes()).unwrap();
    }
}

fn drain(mut reader: Reader, mut drained: std::fs::File) {
    let mut accounted = 0;
    loop {
        let mut numbers = Vec::new();
        reader.drain(64 << 10, |entry| {
            accounted = checked(entry);
            numbers.extend_from_slice(&accounted.to_le_bytes());
        });
        drained.write_all(&numbers).unwrap();
        reader.commit((accounted, 0), 1);
    }
}

/// The number of a record that is whole.
fn checked(entry: &[u8]) -> u64 {
    let (mut tries, mut decoded) = (Tries::default(), Decoded::default());
    binary::decode_into(&mut decoded, entry, &mut tries).unwrap();
    let seq = decoded.seq;
    assert_eq!((decoded.record.id, decoded.record.path.unwrap()), (id(seq), path(seq).as_bytes()));
    seq
}

fn words(bytes: &[u8]) -> impl DoubleEndedIterator<Item = u64> {
    bytes.chunks_exact(WORD).map(|word| u64::from_le_bytes(word.try_into().unwrap()))
}

#[test]
fn a_kill_at_any_moment_loses_nothing_whose_push_has_returned() {
    let random = Random::from_os(0).unwrap();
    let (mut recovered, mut in_flight) = (0, 0);
    for round in 0..ROUNDS {
        let dir = tempfile::tempdir().unwrap();
        let told = killed(dir.path(), random.next() % 3000);
        let drained: Vec<u64> = words(&std::fs::read(dir.path().join(DRAINED)).unwrap()).collect();
        let (found, _) = recover(&open(dir.path()));
        let [found] = &found[..] else { panic!("round {round}: {found:?}") };
        assert_eq!(found.torn, 0, "round {round}");
        let left: Vec<u64> = found.entries.iter().map(|entry| checked(entry)).collect();
        assert!(left.windows(2).all(|pair| pair[1] == pair[0] + 1), "round {round}: {left:?}");
        assert!(drained.iter().copied().eq(1..=drained.len() as u64), "round {round}");
        // Where the reader left off or before, to the last that was told or the one after.
        let first = left.first().copied().unwrap_or(drained.len() as u64 + 1);
        let last = left.last().copied().unwrap_or(drained.len() as u64);
        assert!(first <= drained.len() as u64 + 1, "round {round}: {first} after {}", drained.len());
        assert!((told..=told + 1).contains(&last), "round {round}: told {told}, found {last}");
        assert!(found.accounted <= drained.len() as u64, "round {round}");
        // At most one was under way; if its record is there it is not in flight.
        let open: Vec<_> = found.in_flight.iter().map(|open| open.id).collect();
        assert!(open.is_empty() || open == [id(last + 1)], "round {round}: {open:?} beside {last}");
        recovered += left.len();
        in_flight += open.len();
    }
    eprintln!("{ROUNDS} kills: {recovered} records and {in_flight} exchanges recovered");
    assert!(recovered > 0, "the reader was never behind");
}

/// Lets a child push about `count` records and kills it; the last number that it told.
fn killed(dir: &Path, count: u64) -> u64 {
    let test = module_path!().split_once("::").unwrap().1.to_owned() + "::child";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &test, "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, dir)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = child.stderr.take().unwrap();
    let mut bytes = vec![0; (count as usize + 1) * WORD];
    told.read_exact(&mut bytes).unwrap();
    child.kill().unwrap();
    told.read_to_end(&mut bytes).unwrap();
    child.wait().unwrap();
    words(&bytes).next_back().unwrap()
}
