use super::*;
use crate::log_service::part::Extent;

fn entry(number: u64) -> FileEntry {
    FileEntry { number, kind: FileKind::L0, hour: 498_681, bytes: 7, extent: (&Extent::default()).into() }
}

fn add(number: u64) -> Edit {
    Edit {
        add: vec![entry(number)],
        wal: Some(WalPosition { segment: 1, offset: number }),
        ..Edit::default()
    }
}

fn numbers(state: &State) -> Vec<u64> {
    state.files.keys().copied().collect()
}

#[test]
fn what_was_applied_is_there_again() {
    let data = tempfile::tempdir().unwrap();
    let mut manifest = Manifest::open(data.path(), Disk::default()).unwrap();
    let stream =
        KnownStream { proxy: "e".into(), boot: 1, core: 2, numbers: vec![(1, 9)], gaps: vec![(3, 4)] };
    for number in 0..5 {
        manifest.apply(add(number)).unwrap();
    }
    manifest
        .apply(Edit {
            remove: vec![1, 3],
            add: vec![entry(7)],
            streams: vec![stream.clone()],
            ..Edit::default()
        })
        .unwrap();
    for _ in 0..2 {
        let mut again = Manifest::open(data.path(), Disk::default()).unwrap();
        assert_eq!((numbers(again.state()), again.next_number()), (vec![0, 2, 4, 7], 8));
        assert_eq!(again.state().wal, WalPosition { segment: 1, offset: 4 });
        assert_eq!(again.state().streams().collect::<Vec<_>>(), [&stream]);
        assert!(!again.is_damaged());
    }
}

#[test]
fn a_torn_tail_is_ignored_wherever_it_is_torn() {
    let data = tempfile::tempdir().unwrap();
    let path = data.path().join(NAME);
    let mut manifest = Manifest::open(data.path(), Disk::default()).unwrap();
    manifest.apply(add(0)).unwrap();
    let good = fs::read(&path).unwrap().len();
    manifest.apply(add(1)).unwrap();
    let whole = fs::read(&path).unwrap();
    for end in good..whole.len() {
        fs::write(&path, &whole[..end]).unwrap();
        let again = Manifest::open(data.path(), Disk::default()).unwrap();
        assert_eq!((numbers(again.state()), again.is_damaged()), (vec![0], false), "{end}");
    }
    let zeros = [&whole[..good], &[0; 300]].concat();
    fs::write(&path, zeros).unwrap();
    assert_eq!(numbers(Manifest::open(data.path(), Disk::default()).unwrap().state()), [0]);
}

#[test]
fn a_damaged_line_is_told_and_costs_its_own_edit_only() {
    let data = tempfile::tempdir().unwrap();
    let path = data.path().join(NAME);
    let mut manifest = Manifest::open(data.path(), Disk::default()).unwrap();
    let first = fs::read(&path).unwrap().len();
    (0..3).for_each(|number| manifest.apply(add(number)).unwrap());
    let mut bytes = fs::read(&path).unwrap();
    bytes[first + 20] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let again = Manifest::open(data.path(), Disk::default()).unwrap();
    assert_eq!((numbers(again.state()), again.is_damaged()), (vec![1, 2], true));
    assert_eq!(fs::read(data.path().join(DAMAGED)).unwrap(), bytes);
    assert!(!Manifest::open(data.path(), Disk::default()).unwrap().is_damaged());
}

#[test]
fn it_is_written_anew_before_it_grows_without_end() {
    let data = tempfile::tempdir().unwrap();
    let mut manifest = Manifest::open(data.path(), Disk::default()).unwrap();
    for number in 0..SNAPSHOT_AFTER * 2 + 10 {
        manifest.apply(Edit { remove: number.checked_sub(1).into_iter().collect(), ..add(number) }).unwrap();
    }
    let lines = fs::read(data.path().join(NAME)).unwrap().iter().filter(|&&byte| byte == b'\n').count();
    assert!(lines < 20, "{lines}");
    let again = Manifest::open(data.path(), Disk::default()).unwrap();
    assert_eq!(numbers(again.state()), [SNAPSHOT_AFTER * 2 + 9]);
}

#[test]
fn an_edit_counts_as_a_whole_or_not_at_all_at_whichever_step_the_disk_fails() {
    for once in [true, false] {
        for step in 0..12 {
            let data = tempfile::tempdir().unwrap();
            let disk = Disk::default();
            let mut manifest = Manifest::open(data.path(), disk.clone()).unwrap();
            manifest.apply(add(0)).unwrap();
            // So that the next edit writes a snapshot too.
            manifest.edits = SNAPSHOT_AFTER;
            if once {
                disk.faults.fail_at(step)
            } else {
                disk.faults.die_at(step)
            }
            let outcome = manifest.apply(Edit { remove: vec![0], ..add(1) });
            let reached = disk.faults.end() > step;
            assert_eq!(outcome.is_err(), reached, "{once} {step}");
            let read = numbers(&read_state(data.path()).unwrap());
            match &outcome {
                Ok(()) => assert_eq!(read, [1]),
                Err(error) if is_uncertain(error) => assert!(read == [0] || read == [1]),
                Err(_) => assert_eq!((read, numbers(manifest.state())), (vec![0], vec![0]), "{once} {step}"),
            }
            if !reached {
                continue;
            }
            manifest.apply(add(2)).unwrap();
            let again = Manifest::open(data.path(), Disk::default()).unwrap();
            assert_eq!((numbers(again.state()), again.is_damaged()), (vec![0, 2], false), "{once} {step}");
        }
    }
}

#[test]
fn streams_are_bounded() {
    let data = tempfile::tempdir().unwrap();
    let mut manifest = Manifest::open(data.path(), Disk::default()).unwrap();
    let stream = |boot| KnownStream { proxy: "e".into(), boot, ..KnownStream::default() };
    let first = Edit { streams: vec![stream(0)], ..Edit::default() };
    manifest.apply(first).unwrap();
    let many = (1..=MAX_STREAMS as u64).map(stream).collect();
    manifest.apply(Edit { streams: many, ..Edit::default() }).unwrap();
    assert_eq!(manifest.state().streams().count(), MAX_STREAMS);
    assert!(manifest.state().streams().all(|stream| stream.boot != 0));
}

#[test]
fn a_checksum_counts_only_as_it_was_written() {
    let lines = (0..50).map(|number| add(number).line().unwrap());
    let mut line =
        lines.into_iter().find(|line: &Vec<u8>| line[..8].iter().any(u8::is_ascii_lowercase)).unwrap();
    line.pop();
    assert!(Edit::parse(&line).is_some());
    line[..8].make_ascii_uppercase();
    assert!(Edit::parse(&line).is_none());
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(64))]
    #[test]
    fn whatever_stands_there_is_read_without_harm_and_only_whole_lines_count(
        count in 1u64..12,
        hits in proptest::collection::vec((proptest::prelude::any::<proptest::sample::Index>(), 0u8..8), 0..4),
        more in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
    ) {
        let data = tempfile::tempdir().unwrap();
        let mut text: Vec<u8> = (0..count).flat_map(|number| add(number).line().unwrap()).collect();
        let whole = text.clone();
        for (at, bit) in hits {
            let at = at.index(text.len());
            text[at] ^= 1 << bit;
        }
        text.extend(more);
        fs::write(data.path().join(NAME), &text).unwrap();
        let read = numbers(&read_state(data.path()).unwrap());
        let mut start = 0;
        for number in 0..count {
            let line = add(number).line().unwrap();
            let is_whole = text[start..start + line.len()] == whole[start..start + line.len()]
                && (start == 0 || text[start - 1] == b'\n');
            proptest::prop_assert_eq!(read.contains(&number), is_whole, "{}", number);
            start += line.len();
        }
        drop(Manifest::open(data.path(), Disk::default()).unwrap());
    }
}
