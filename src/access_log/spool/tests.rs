//! Writer and readers over real files.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::access_log::settings::Sync;
use crate::access_log::span::Origins;
use crate::record::frame::{Builder, Codec, Form, Stream};

const STREAM: Stream<'static> = Stream { proxy: "edge-1", boot: 7, core: 0 };

/// First and last, of each frame or gap.
type Numbers = Vec<(u64, u64)>;

fn settings(dir: &Path) -> SpoolSettings {
    SpoolSettings { dir: Some(dir.into()), segment: 1000, sync: Sync::System, ..SpoolSettings::default() }
}

fn open_with(settings: SpoolSettings, sinks: &[&str]) -> (Writer, Vec<Reader>) {
    let named = |name: &&str| Arc::new(SinkMetrics { name: (*name).into(), ..SinkMetrics::default() });
    open(settings, sinks.iter().map(named).collect())
}

fn open_in(dir: &Path, sinks: &[&str]) -> (Writer, Vec<Reader>) {
    open_with(settings(dir), sinks)
}

/// A frame with the numbers `first..first + 3`, and something to fill it.
fn frame(first: u64, filling: usize) -> Vec<u8> {
    let (mut builder, mut frame) = (Builder::default(), Vec::new());
    for seq in first..first + 3 {
        builder.push(Form::Json, Some(seq), 0, &vec![b'x'; filling]);
    }
    builder.finish(&STREAM, Codec::Raw, &mut frame);
    frame
}

/// Everything that is there to read: numbers of frames, and ranges of gaps.
fn read_all(reader: &mut Reader) -> (Numbers, Numbers) {
    let (mut frames, mut gaps) = (Vec::new(), Vec::new());
    let deadline = Instant::now() + std::time::Duration::from_secs(20);
    while reader.has_more() {
        assert!(Instant::now() < deadline, "the reader stands still");
        let chunk = reader.read(500, |_| ());
        frames.extend(chunk.frames.iter().filter_map(|(carried, _)| carried.numbers));
        gaps.extend(chunk.gaps.iter().filter_map(|span| span.range));
        reader.settle(&chunk);
    }
    (frames, gaps)
}

/// The frames from number `first` to `last`.
fn frames(first: u64, last: u64) -> Vec<(u64, u64)> {
    (first..=last).step_by(3).map(|first| (first, first + 2)).collect()
}

fn append_all(writer: &mut Writer, first: u64, last: u64) {
    (first..=last).step_by(3).for_each(|first| writer.append(&frame(first, 100)));
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|ending| ending == "spool")).collect();
    segments.sort();
    segments
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 4;
    fs::write(path, bytes).unwrap();
}

#[test]
fn every_sink_reads_everything_and_what_all_have_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, mut readers) = open_in(dir.path(), &["a", "b"]);
    append_all(&mut writer, 1, 60);
    let before = segments(dir.path()).len();
    assert!(before > 5, "{before}");
    assert_eq!(read_all(&mut readers[0]), (frames(1, 60), vec![]));
    assert_eq!(segments(dir.path()).len(), before, "the other sink has not read them");
    assert_eq!(read_all(&mut readers[1]), (frames(1, 60), vec![]));
    assert_eq!(segments(dir.path()).len(), 1, "the last one is still written");
}

/// The sink has everything before a segment is complete, so its own steps find nothing to delete.
#[test]
fn a_sink_that_keeps_up_leaves_no_segments_behind() {
    for sync in [Sync::System, Sync::Always, Sync::Every(std::time::Duration::from_millis(1))] {
        let dir = tempfile::tempdir().unwrap();
        let (mut writer, mut readers) = open_with(SpoolSettings { sync, ..settings(dir.path()) }, &["a"]);
        let mut most = 0;
        for first in (1..=300).step_by(3) {
            writer.append(&frame(first, 100));
            assert_eq!(read_all(&mut readers[0]).0, frames(first, first + 2));
            most = most.max(segments(dir.path()).len());
        }
        if !matches!(sync, Sync::Every(_)) {
            assert!(most <= 2, "{most} segments at once");
        }
        let deadline = Instant::now() + std::time::Duration::from_secs(20);
        while segments(dir.path()).len() > 1 {
            assert!(Instant::now() < deadline, "{:?}", segments(dir.path()));
            std::thread::park_timeout(std::time::Duration::from_millis(5));
        }
        writer.close();
        writer.settle();
        assert_eq!(segments(dir.path()).len(), 0, "{sync:?}");
    }
}

#[test]
fn a_start_goes_on_behind_what_each_sink_has() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (mut writer, mut readers) = open_in(dir.path(), &["a", "b"]);
        append_all(&mut writer, 1, 30);
        read_all(&mut readers[0]);
        append_all(&mut writer, 31, 33);
    }
    let (mut writer, mut readers) = open_in(dir.path(), &["a", "b", "new"]);
    append_all(&mut writer, 34, 36);
    assert_eq!(read_all(&mut readers[0]).0, frames(31, 36));
    assert_eq!(read_all(&mut readers[1]).0, frames(1, 36));
    assert_eq!(read_all(&mut readers[2]).0, frames(1, 36));
}

#[test]
fn what_the_disk_does_not_give_is_tried_again_and_not_lost() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (mut writer, _) = open_in(dir.path(), &["a"]);
        append_all(&mut writer, 1, 30);
    }
    let (_writer, mut readers) = open_in(dir.path(), &["a"]);
    let reader = &mut readers[0];
    for _ in 0..3 {
        reader.spool.read_faults.store(1, Ordering::Relaxed);
        let failed = reader.read(500, |_| panic!("nothing can be read"));
        assert!(failed.has_failed && failed.frames.is_empty());
        let chunk = reader.read(500, |_| ());
        assert!(!chunk.has_failed && !chunk.frames.is_empty());
        reader.settle(&chunk);
    }
    let (rest, gaps) = read_all(reader);
    assert!(rest.last() == Some(&(28, 30)) && gaps.is_empty(), "{rest:?} {gaps:?}");
    assert_eq!(reader.spool.sinks[0].dropped.total(), 0);
}

#[test]
fn a_torn_end_is_cut_off_and_damage_in_the_middle_is_declared() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (mut writer, _) = open_with(SpoolSettings { segment: 1 << 20, ..settings(dir.path()) }, &["a"]);
        append_all(&mut writer, 1, 30);
    }
    let path = &segments(dir.path())[0];
    let one = frame(1, 100).len();
    flip(path, one * 3 + 80);
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() - 10]).unwrap();
    let (mut writer, mut readers) = open_in(dir.path(), &["a"]);
    assert_eq!(fs::metadata(path).unwrap().len(), one as u64 * 9);
    append_all(&mut writer, 31, 33);
    let (found, gaps) = read_all(&mut readers[0]);
    assert_eq!(found, [frames(1, 9), frames(13, 27), frames(31, 33)].concat());
    // The torn frame was never announced to anybody: what is missing is known from the next one.
    assert_eq!(gaps, [(10, 12)]);
}

#[test]
fn a_cursor_that_is_damaged_or_ahead_begins_at_the_oldest_segment() {
    for damage in ["damaged", "ahead", "gone"] {
        let dir = tempfile::tempdir().unwrap();
        {
            let (mut writer, mut readers) = open_in(dir.path(), &["a", "b"]);
            append_all(&mut writer, 1, 30);
            read_all(&mut readers[0]);
        }
        let named = |path: &PathBuf| path.to_string_lossy().contains("/a-");
        let entries = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let path = entries.into_iter().find(named).unwrap();
        match damage {
            "damaged" => fs::write(&path, vec![7; 544]).unwrap(),
            "gone" => fs::remove_file(&path).unwrap(),
            _ => {
                let (mut cursor, _) = Cursor::open(dir.path(), "a").unwrap();
                cursor.store(Position { segment: 999, offset: 5 }, [].into_iter()).unwrap();
            }
        }
        let (_writer, mut readers) = open_in(dir.path(), &["a", "b"]);
        assert_eq!(read_all(&mut readers[0]).0, frames(1, 30), "{damage}");
    }
}

#[test]
fn what_is_on_its_way_is_not_given_up() {
    let settings = SpoolSettings { memory: 8000, ..SpoolSettings::default() };
    let (mut writer, mut readers) = open_with(settings, &["quick", "slow"]);
    let metrics = Metrics::default();
    append_all(&mut writer, 1, 6);
    let held = readers[1].read(10_000, |_| ());
    for first in (7..=150).step_by(3) {
        writer.append(&frame(first, 100));
        read_all(&mut readers[0]);
        writer.fill(&metrics);
    }
    readers[1].settle(&held);
    let (found, gaps) = read_all(&mut readers[1]);
    let carried: Vec<_> = held.frames.iter().filter_map(|(carried, _)| carried.numbers).collect();
    assert_eq!(gaps, [(carried.last().unwrap().1 + 1, found[0].0 - 1)]);
    assert_eq!(found, frames(found[0].0, 150));
}

/// What a start after `harm` finds in a spool of which one sink has read `read` numbers of 60.
fn after(read: u64, harm: impl Fn(&[PathBuf])) -> (Numbers, Numbers) {
    let dir = tempfile::tempdir().unwrap();
    {
        let (mut writer, mut readers) = open_in(dir.path(), &["a", "away"]);
        writer.expect(&[]);
        append_all(&mut writer, 1, read);
        read_all(&mut readers[0]);
        append_all(&mut writer, read + 1, 60);
    }
    harm(&segments(dir.path()));
    let (mut writer, mut readers) = open_in(dir.path(), &["a", "away"]);
    // As the ring says.
    let (proxy, boot, core) = (STREAM.proxy.to_owned(), STREAM.boot, STREAM.core);
    writer.expect(&[End { proxy, boot, core, last: 60 }]);
    append_all(&mut writer, 61, 63);
    read_all(&mut readers[0])
}

/// Every number after `read` is there or declared, and none is both.
fn assert_told(read: u64, (found, gaps): (Numbers, Numbers), how: &str) {
    let mut all: Numbers = [found.clone(), gaps.clone()].concat();
    all.sort_unstable();
    let mut next = read + 1;
    for (first, last) in all {
        assert_eq!(first, next, "{how}: {found:?} {gaps:?}");
        next = last + 1;
    }
    assert_eq!(next, 64, "{how}: {found:?} {gaps:?}");
}

#[test]
fn what_is_gone_while_nobody_looked_is_declared() {
    let remove = |path: &PathBuf| fs::remove_file(path).unwrap();
    let cut = |path: &PathBuf, len: u64| {
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(len).unwrap();
    };
    for read in [3, 30, 45, 57, 60] {
        assert_told(read, after(read, |_| ()), "no harm");
        let (found, gaps) = after(read, |all| all.iter().for_each(remove));
        assert_eq!((found, gaps.last().map_or(60, |gap| gap.1)), (frames(61, 63), 60), "{read}: all removed");
        let count = 60 / 6;
        for which in 0..count {
            assert_told(
                read,
                after(read, |all| all.get(which).iter().for_each(|path| remove(path))),
                "one removed",
            );
            assert_told(
                read,
                after(read, |all| all.get(which).iter().for_each(|path| cut(path, 0))),
                "one emptied",
            );
            assert_told(
                read,
                after(read, |all| all.get(which).iter().for_each(|path| cut(path, 500))),
                "one cut",
            );
        }
    }
}

#[test]
fn a_new_sink_is_not_told_of_what_was_before_it() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (mut writer, mut readers) = open_in(dir.path(), &["a"]);
        append_all(&mut writer, 1, 30);
        read_all(&mut readers[0]);
        writer.close();
        writer.settle();
    }
    for first in [31, 34] {
        let (mut writer, mut readers) = open_in(dir.path(), &["new"]);
        writer.expect(&[]);
        append_all(&mut writer, first, first + 2);
        assert_eq!(read_all(&mut readers[0]).1, []);
        writer.close();
        writer.settle();
    }
}

#[test]
fn a_segment_that_is_not_there_counts_as_consumed() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (mut writer, _) = open_in(dir.path(), &["a"]);
        append_all(&mut writer, 1, 30);
    }
    let one = frame(1, 100).len();
    let per_segment = (1000 / one) as u64;
    fs::remove_file(&segments(dir.path())[1]).unwrap();
    let (_writer, mut readers) = open_in(dir.path(), &["a"]);
    let first_gone = 1 + per_segment * 3;
    let expected = [frames(1, first_gone - 1), frames(first_gone + per_segment * 3, 30)].concat();
    assert_eq!(read_all(&mut readers[0]).0, expected);
}

#[test]
fn what_a_broken_disk_does_not_take_is_kept_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("spool");
    fs::create_dir(&inner).unwrap();
    let (mut writer, mut readers) = open_in(&inner, &["a"]);
    append_all(&mut writer, 1, 30);
    read_all(&mut readers[0]);
    fs::remove_dir_all(&inner).unwrap();
    append_all(&mut writer, 31, 60);
    assert!(writer.failing().is_some());
    assert_eq!(read_all(&mut readers[0]), (frames(31, 60), vec![]));
    fs::create_dir(&inner).unwrap();
    let deadline = Instant::now() + std::time::Duration::from_secs(20);
    let mut next = 61;
    while writer.failing().is_some() {
        assert!(Instant::now() < deadline, "the disk is tried again");
        writer.append(&frame(next, 100));
        next += 3;
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
    assert_eq!(read_all(&mut readers[0]), (frames(61, next - 1), vec![]));
    assert!(!segments(&inner).is_empty());
}

#[test]
fn a_sink_that_lags_loses_the_oldest_and_is_told_when_another_keeps_up() {
    let settings = SpoolSettings { memory: 8000, ..SpoolSettings::default() };
    let (mut writer, mut readers) = open_with(settings, &["quick", "away"]);
    let metrics = Metrics::default();
    for first in (1..=150).step_by(3) {
        writer.append(&frame(first, 100));
        read_all(&mut readers[0]);
        assert_eq!(writer.fill(&metrics), 0, "nothing need be saved for the one that keeps up");
        assert!(metrics.spool_fill.load(Ordering::Relaxed) < 1000);
    }
    let (found, gaps) = read_all(&mut readers[1]);
    assert_eq!(gaps, [(1, found[0].0 - 1)]);
    assert_eq!(found, frames(found[0].0, 150));
    assert_eq!(readers[1].spool.sinks[1].dropped.get(Reason::QueueFull), gaps[0].1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn whatever_is_damaged_all_other_frames_are_read(
        lengths in proptest::collection::vec(0usize..3000, 3..12),
        flips in proptest::collection::vec(any::<proptest::sample::Index>(), 0..4),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let all: Vec<Vec<u8>> =
            (0u64..).zip(&lengths).map(|(at, length)| frame(at * 3 + 1, *length)).collect();
        {
            let (mut writer, _) = open_with(SpoolSettings { segment: 1 << 30, ..settings(dir.path()) }, &["a"]);
            all.iter().for_each(|frame| writer.append(frame));
        }
        let path = &segments(dir.path())[0];
        let total: usize = all.iter().map(Vec::len).sum();
        let ends: Vec<usize> = all.iter().scan(0, |at, frame| { *at += frame.len(); Some(*at) }).collect();
        let mut damaged = BTreeSet::new();
        for at in flips.iter().map(|flip| flip.index(total)) {
            let hit = ends.iter().position(|end| at < *end).unwrap();
            if damaged.insert(hit) {
                flip(path, at);
            }
        }
        let (_writer, mut readers) = open_in(dir.path(), &["a"]);
        let expected: Vec<(u64, u64)> =
            (0..all.len()).filter(|at| !damaged.contains(at)).map(|at| at as u64 * 3 + 1).map(|first| (first, first + 2)).collect();
        prop_assert_eq!(read_all(&mut readers[0]).0, expected);
    }
}

/// What may stand in a segment.
#[derive(Clone, Debug)]
enum Part {
    /// A frame with so much filling.
    Good(usize),
    Garbage(Vec<u8>),
    /// The beginning of a frame.
    Torn(usize, prop::sample::Index),
    /// The head of a frame that says anything of lengths and numbers.
    Lying(Vec<(usize, u8)>),
}

impl Part {
    /// As the numbers from `first` on.
    fn bytes(&self, first: u64) -> Vec<u8> {
        match self {
            Self::Good(filling) => frame(first, *filling),
            Self::Garbage(bytes) => bytes.clone(),
            Self::Torn(filling, cut) => {
                let whole = frame(first, *filling);
                whole[..cut.index(whole.len())].to_vec()
            }
            Self::Lying(changes) => {
                let mut head = frame(first, 1)[..68].to_vec();
                changes.iter().for_each(|(at, value)| head[*at] = *value);
                head
            }
        }
    }
}

fn part() -> impl Strategy<Value = Part> {
    prop_oneof![
        (0usize..900).prop_map(Part::Good),
        proptest::collection::vec(any::<u8>(), 0..200).prop_map(Part::Garbage),
        (0usize..900, any::<prop::sample::Index>()).prop_map(|(filling, cut)| Part::Torn(filling, cut)),
        proptest::collection::vec((4usize..68, any::<u8>()), 0..6).prop_map(Part::Lying),
    ]
}

fn edge() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), 0..3000_u64, (0..3_u64).prop_map(|less| u64::MAX - less)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn whatever_the_files_hold_a_start_finds_what_is_good_and_goes_on(
        parts in proptest::collection::vec((part(), 0usize..3), 0..12),
        at in (0..12_u64, edge()),
        is_far in proptest::option::of(edge()),
        last in edge(),
        number in edge(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let numbers = [1, 2, 9];
        let (mut segments, mut good) = (vec![Vec::new(); 3], vec![Vec::new(); 3]);
        for (index, (part, segment)) in (0_u64..).zip(&parts) {
            let first = index * 3 + 1;
            segments[*segment].extend(part.bytes(first));
            if matches!(part, Part::Good(_)) {
                good[*segment].push((first, first + 2));
            }
        }
        for (number, bytes) in numbers.iter().zip(&segments) {
            fs::write(segment::path(dir.path(), *number), bytes).unwrap();
        }
        // Names that are numbers, and no segments of ours.
        fs::write(dir.path().join(format!("{number}.spool.old")), "x").unwrap();
        fs::write(segment::path(dir.path(), u64::MAX), frame(5, 1)).unwrap();
        let (mut cursor, _) = Cursor::open(dir.path(), "forged").unwrap();
        let reached = cursor::Reached { proxy: 0, boot: 7, core: 0, last };
        let at = Position { segment: is_far.unwrap_or(at.0), offset: at.1 };
        cursor.store(at, [reached].into_iter()).unwrap();
        let proxy = STREAM.proxy.to_owned();
        let mut ends = Ends::default();
        ends.streams.push(End { proxy, boot: 7, core: 0, last });
        ends.write(dir.path()).unwrap();

        let (mut writer, mut readers) = open_in(dir.path(), &["new", "forged"]);
        writer.expect(&[]);
        writer.append(&frame(1000, 1));
        let mut expected = good.concat();
        expected.push((1000, 1002));
        prop_assert_eq!(read_all(&mut readers[0]).0, expected);
        let (found, _) = read_all(&mut readers[1]);
        prop_assert_eq!(found.last(), Some(&(1000, 1002)));
    }
}

/// Appends three frames for which something else is given up; whether it was.
fn take_over(writer: &mut Writer) -> Arc<AtomicBool> {
    let is_given_up = Arc::new(AtomicBool::new(false));
    writer.begin_careful();
    append_all(writer, 1, 21);
    let flag = Arc::clone(&is_given_up);
    writer.once_safe(move || flag.store(true, Ordering::Relaxed));
    is_given_up
}

#[test]
fn what_is_kept_elsewhere_is_given_up_only_when_the_disk_has_all_of_it() {
    for sync in [Sync::System, Sync::Always, Sync::Every(std::time::Duration::from_secs(3600))] {
        let dir = tempfile::tempdir().unwrap();
        let settings = SpoolSettings { sync, ..settings(dir.path()) };
        let (mut writer, _readers) = open_with(settings.clone(), &["a"]);
        let is_given_up = take_over(&mut writer);
        writer.spool.do_chores();
        assert!(is_given_up.load(Ordering::Relaxed), "{sync:?}");
    }
}

#[test]
fn what_the_disk_failed_to_sync_or_to_take_is_kept_elsewhere_for_the_next_start() {
    // Whichever sync it is that fails, of a complete segment or of the current one.
    let dir = tempfile::tempdir().unwrap();
    let sync = Sync::Every(std::time::Duration::from_secs(3600));
    let (mut writer, _readers) = open_with(SpoolSettings { sync, ..settings(dir.path()) }, &["a"]);
    *writer.spool.sync_faults.lock().unwrap() = [true].into();
    let is_given_up = take_over(&mut writer);
    (0..3).for_each(|_| writer.spool.do_chores());
    writer.close();
    writer.settle();
    assert!(!is_given_up.load(Ordering::Relaxed));
    // Nothing can be written.
    let gone = dir.path().join("gone");
    let (mut writer, _readers) = open_in(&gone, &["a"]);
    let is_given_up = take_over(&mut writer);
    writer.close();
    writer.settle();
    assert!(!is_given_up.load(Ordering::Relaxed));
}

#[test]
fn a_directory_that_is_not_synced_yet_is_tried_again_before_anything_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, _readers) = open_in(dir.path(), &["a"]);
    writer.begin_careful();
    writer.append(&frame(1, 1));
    let is_given_up = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&is_given_up);
    // The current file is all that there is to sync: the second answer is the directory's.
    *writer.spool.sync_faults.lock().unwrap() = [false, true].into();
    writer.once_safe(move || flag.store(true, Ordering::Relaxed));
    assert!(!is_given_up.load(Ordering::Relaxed));
    writer.spool.do_chores();
    assert!(is_given_up.load(Ordering::Relaxed));
}

#[test]
fn what_is_in_memory_behind_a_sink_that_ends_is_lost_once_and_what_is_on_disk_waits() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, mut readers) = open_in(dir.path(), &["a"]);
    writer.append(&frame(1, 100));
    let on_disk = writer.spool.lock().lag(Position::default());
    // The disk takes no second segment.
    fs::rename(dir.path(), dir.path().with_extension("away")).unwrap();
    append_all(&mut writer, 4, 30);
    let has_memory = |one: &Segment| matches!(one.place, Place::Memory(_));
    assert!(writer.spool.lock().segments.iter().any(has_memory));
    let in_segments = |spool: &Spool| spool.lock().bytes();
    let (disk, memory) = in_segments(&writer.spool);
    assert!(disk >= on_disk && memory > 0);
    writer.close();
    writer.spool.abandon(0);
    readers[0].abandon();
    let sink = &writer.spool.sinks[0];
    let lost = sink.dropped.get(Reason::Stopped);
    assert!(lost > 0 && lost.is_multiple_of(3), "{lost}");
    assert_eq!(sink.lag_bytes.load(Ordering::Relaxed), disk);
    writer.publish(&Metrics::default());
    assert_eq!(sink.lag_bytes.load(Ordering::Relaxed), disk);
    fs::rename(dir.path().with_extension("away"), dir.path()).unwrap();
}

#[test]
fn of_a_segment_that_is_given_up_each_sink_loses_what_it_has_not_got() {
    let dir = tempfile::tempdir().unwrap();
    let (mut writer, mut readers) = open_in(dir.path(), &["quick", "begun", "away"]);
    (1..=60).step_by(3).for_each(|first| writer.append(&frame(first, 20)));
    read_all(&mut readers[0]);
    let chunk = readers[1].read(1, |_| ());
    let begun = chunk.frames.len() as u64;
    readers[1].settle(&chunk);
    let first = writer.spool.lock().segments.front().cloned().unwrap();
    let held = first.pieces(writer.spool.path(first.number), 0, &mut Origins::default()).len() as u64;
    assert!(begun > 0 && begun < held, "{begun} of {held}");
    assert!(writer.spool.give_up_oldest());
    let lost = |at: usize| writer.spool.sinks[at].dropped.total();
    assert_eq!([lost(0), lost(1), lost(2)], [0, 3 * (held - begun), 3 * held]);
    for reader in &mut readers[1..] {
        let (frames, gaps) = read_all(reader);
        assert_eq!(gaps.last(), Some(&(if gaps[0].0 == 1 { 1 } else { 3 * begun + 1 }, 3 * held)));
        assert_eq!(frames.first(), Some(&(3 * held + 1, 3 * held + 3)));
    }
}
