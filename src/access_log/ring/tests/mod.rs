//! The ring as one process sees it, as the next one finds it, and as a kill at any moment leaves it.

mod kill;

use std::path::Path;

use proptest::prelude::*;

use super::tiers::{Consume, Produce};
use super::*;
use crate::access_log::flight::{Arriving, Table};
use crate::access_log::metrics::Reason;
use crate::record::binary::{Decoded, Tries};
use crate::record::{EndAt, EndBy, Kind, Record};

fn identity(core: u16) -> Identity {
    Identity { proxy: "edge-1".to_owned(), boot: 1_795_252_000_000, core, pid: 4711 }
}

fn in_memory(layout: &Layout) -> (Writer, Reader) {
    ends(Mapped::new(None, layout).unwrap(), layout, None)
}

fn push(writer: &mut Writer, entry: &[u8]) -> Result<(), Full> {
    writer.push(|room| {
        room[..entry.len()].copy_from_slice(entry);
        entry.len()
    })
}

/// Drains and gives back.
fn read(reader: &mut Reader, limit: usize) -> (Vec<Vec<u8>>, bool) {
    let mut entries = Vec::new();
    let emptied = reader.drain(limit, |entry| entries.push(entry.to_vec()));
    reader.commit((0, 0), 0);
    (entries, emptied)
}

#[test]
fn refuses_what_does_not_fit_and_goes_on_when_it_is_given_back() {
    let (mut writer, mut reader) = in_memory(&Layout { small: 16, large: 32 });
    assert_eq!(push(&mut writer, b"12345678901234567890"), Ok(()));
    assert_eq!(push(&mut writer, b"x"), Err(Full));
    assert!(reader.drain(usize::MAX, |entry| assert_eq!(entry, b"12345678901234567890")));
    assert_eq!(push(&mut writer, b"x"), Err(Full), "read, and not yet given back");
    reader.commit((0, 0), 0);
    assert_eq!(push(&mut writer, b"x"), Ok(()));
    assert_eq!(read(&mut reader, usize::MAX), (vec![b"x".to_vec()], true));
}

#[test]
fn stops_at_the_limit_and_says_that_there_is_more() {
    let (mut writer, mut reader) = in_memory(&Layout { small: 64, large: 128 });
    for _ in 0..3 {
        push(&mut writer, b"x").unwrap();
    }
    assert_eq!(read(&mut reader, 17), (vec![vec![b'x']; 2], false));
    assert_eq!(read(&mut reader, 17), (vec![vec![b'x']; 1], true));
    assert!(reader.is_empty());
}

#[test]
fn uses_the_large_lane_only_while_the_reader_is_behind() {
    // An entry of one byte takes sixteen with what stands in front.
    let (mut writer, mut reader) = in_memory(&Layout { small: 32, large: 128 });
    let waiting = |reader: &mut Reader| (reader.heads.small.look(), reader.heads.large.look());
    for text in [b"1", b"2", b"3"] {
        push(&mut writer, text).unwrap();
    }
    assert_eq!(waiting(&mut reader), (32, 16));
    assert_eq!(read(&mut reader, 32), (vec![vec![b'1'], vec![b'2']], false));
    push(&mut writer, b"4").unwrap();
    assert_eq!(waiting(&mut reader), (0, 32), "the fourth must not overtake the third");
    assert_eq!(read(&mut reader, usize::MAX), (vec![vec![b'3'], vec![b'4']], true));
    push(&mut writer, b"5").unwrap();
    assert_eq!(waiting(&mut reader), (16, 0));
    assert!(writer.tails.large.is_empty());
}

proptest! {
    #[test]
    fn hands_out_what_went_in_wherever_the_memory_ends(
        entries in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..60),
        size in 6u32..9,
        small in 4u32..8,
        commits in proptest::collection::vec(any::<bool>(), 60),
    ) {
        let (mut writer, mut reader) = in_memory(&Layout { small: 1 << small, large: 1 << size });
        let (mut out, mut commits) = (Vec::new(), commits.into_iter().cycle());
        for entry in &entries {
            while push(&mut writer, entry) == Err(Full) {
                reader.drain(1 << (size - 1), |entry| out.push(entry.to_vec()));
                if commits.next() == Some(true) {
                    reader.commit((0, 0), 0);
                }
            }
        }
        while !reader.is_empty() {
            reader.drain(usize::MAX, |entry| out.push(entry.to_vec()));
        }
        prop_assert_eq!(out, entries);
    }
}

fn encode(seq: u64, path: &str) -> impl FnOnce(&mut [u8; LONGEST]) -> usize {
    move |room| binary::encode_into(room, &Record { path: Some(path.as_bytes()), ..Record::default() }, seq)
}

fn arriving(id: u8) -> Arriving<'static> {
    Arriving {
        id: [id; 16],
        ts_us: 1_795_252_443_512_804,
        conn: 7,
        conn_req: 3,
        cfg: 9,
        client_ip: [192, 0, 2, 7].into(),
        client_port: Some(51_000),
        is_tls: true,
        is_h2: false,
        method: b"POST",
        host: b"shop.example",
        path:
            b"/poison/a-path-that-is-longer-than-a-slot-has-room-for/so-that-its-end-is-not-to-be-seen/here",
    }
}

/// A process that dies: nothing of it runs to its end, and its lock is gone.
fn die(writer: Writer, reader: Reader) {
    std::mem::forget((writer, reader));
}

fn open(path: &Path) -> Directory {
    Directory::open(path).unwrap()
}

#[test]
fn what_sampling_left_out_is_declared_by_whoever_finds_the_ring_unless_it_is_still_there() {
    let left_out = |first, last| Item::Gap { first, last, reason: Reason::Sampled };
    let no_room = |first, last| Item::Gap { first, last, reason: Reason::RingFull };
    // What was given back, what stands in the ring, and the last number that found no room.
    for (left, in_ring, refused, wanted) in [
        ((1, 3), vec![], 0, vec![left_out(2, 3)]),
        ((1, 3), vec![4], 5, vec![left_out(2, 3), no_room(5, 5)]),
        ((1, 3), vec![5], 0, vec![left_out(2, 3), no_room(4, 4)]),
        ((1, 3), vec![], 5, vec![left_out(2, 3), no_room(4, 5)]),
        ((3, 0), vec![], 0, vec![]),
        ((3, 3), vec![4], 0, vec![]),
        // It died before the places were given back.
        ((1, 3), vec![2, 3], 0, vec![]),
        ((1, 3), vec![3], 0, vec![left_out(2, 2)]),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let directory = open(dir.path());
        let (mut writer, mut reader) = ring(Some(&directory), &identity(1), 64 << 10).unwrap();
        reader.commit(left, 1);
        in_ring.iter().for_each(|seq| writer.push(encode(*seq, "/")).unwrap());
        writer.refuse(refused);
        die(writer, reader);
        let (found, _) = recover(&directory);
        let items: Vec<Item> = found[0].items();
        let gaps: Vec<Item> = items.iter().filter(|item| matches!(item, Item::Gap { .. })).cloned().collect();
        assert_eq!(
            (&gaps, items.len()),
            (&wanted, wanted.len() + in_ring.len()),
            "{left:?} {in_ring:?} {refused}"
        );
        assert_eq!(found[0].is_empty(), items.is_empty());
    }
}

#[test]
fn the_next_process_finds_what_was_not_given_back_and_what_was_under_way() {
    let dir = tempfile::tempdir().unwrap();
    let directory = open(dir.path());
    let (mut writer, mut reader) = ring(Some(&directory), &identity(1), 64 << 10).unwrap();
    let table = Table::new(writer.mapped());
    writer.push(encode(1, "/given-back")).unwrap();
    reader.drain(usize::MAX, |_| ());
    reader.commit((1, 0), 1_795_252_443_612_804);
    writer.push(encode(2, "/drained")).unwrap();
    reader.drain(usize::MAX, |_| ());
    writer.push(encode(4, "/after-one-that-found-no-room")).unwrap();
    writer.refuse(5);
    // Recorded, and its slot not yet given back.
    let recorded = table.enter(&arriving(1));
    table.close(recorded, writer.position());
    writer.push(encode(6, "/recorded")).unwrap();
    // Its record did not get into the ring.
    let closing = table.enter(&arriving(2));
    table.reach(closing, EndAt::Resp);
    table.close(closing, writer.position());
    table.leave(table.enter(&arriving(4)));
    let waiting = table.enter(&arriving(3));
    table.reach(waiting, EndAt::Wait);
    die(writer, reader);

    let (found, harms) = recover(&directory);
    assert_eq!(harms, []);
    let [found] = &found[..] else { panic!("{found:?}") };
    assert_eq!((&*found.proxy, found.boot, found.core, found.pid), ("edge-1", 1_795_252_000_000, 1, 4711));
    assert_eq!((found.torn, found.accounted, found.refused), (0, 1, 5));
    let items = found.items();
    let gap = |first, last| Item::Gap { first, last, reason: Reason::RingFull };
    let seqs: Vec<String> = items
        .iter()
        .map(|item| match item {
            Item::Record { seq, .. } => seq.to_string(),
            Item::Gap { first, last, .. } => format!("{first}-{last} missing"),
        })
        .collect();
    assert_eq!(seqs, ["2", "3-3 missing", "4", "5-5 missing", "6", "7", "8"]);
    assert_eq!(items[1], gap(3, 3));
    let crashed: Vec<&Vec<u8>> = items.iter().rev().take(2).map(bytes).collect();
    for (bytes, id, at) in [(crashed[1], 2, EndAt::Resp), (crashed[0], 3, EndAt::Wait)] {
        let (mut tries, mut decoded) = (Tries::default(), Decoded::default());
        binary::decode_into(&mut decoded, bytes, &mut tries).unwrap();
        let record = &decoded.record;
        assert_eq!(
            (record.id, record.kind, record.end_by, record.end_at),
            ([id; 16], Kind::Request, EndBy::Proxy, at)
        );
        assert_eq!((record.reason, record.dur_us), (Some("proxy_crashed"), 100_000));
        assert_eq!((record.method, record.host), (Some(&b"POST"[..]), Some(&b"shop.example"[..])));
        assert_eq!(record.path.unwrap(), &arriving(0).path[..80]);
    }
}

fn bytes(item: &Item) -> &Vec<u8> {
    let Item::Record { bytes, .. } = item else { panic!("{item:?}") };
    bytes
}

#[test]
fn what_was_recovered_stays_until_it_is_removed_and_does_not_stand_in_the_way() {
    let dir = tempfile::tempdir().unwrap();
    let directory = open(dir.path());
    let (mut writer, reader) = ring(Some(&directory), &identity(0), 64 << 10).unwrap();
    writer.push(encode(1, "/a")).unwrap();
    die(writer, reader);
    assert_eq!(recover(&directory).0.len(), 1);
    let next = Identity { boot: 1_795_252_000_001, ..identity(0) };
    let (writer, reader) = ring(Some(&directory), &next, 64 << 10).unwrap();
    die(writer, reader);
    let (both, _) = recover(&directory);
    let boots: Vec<(u64, bool)> = both.iter().map(|one| (one.boot, one.is_empty())).collect();
    assert_eq!(boots, [(1_795_252_000_000, false), (1_795_252_000_001, true)]);
    both.iter().for_each(Recovered::remove);
    assert!(recover(&directory).0.is_empty());
}

#[test]
fn bytes_behind_the_end_of_a_ring_cost_none_of_its_records() {
    let dir = tempfile::tempdir().unwrap();
    let directory = open(dir.path());
    let (mut writer, reader) = ring(Some(&directory), &identity(0), 64 << 10).unwrap();
    writer.push(encode(1, "/a")).unwrap();
    die(writer, reader);
    let path = dir.path().join("ring.0");
    let image = std::fs::read(&path).unwrap();
    std::fs::write(&path, [image, vec![0xa5; 777]].concat()).unwrap();
    let (found, harms) = recover(&directory);
    assert_eq!((found.len(), harms), (1, vec![]));
    assert_eq!((found[0].entries.len(), found[0].torn, found[0].is_end_torn), (1, 0, false));
}

#[test]
fn whose_newest_page_is_torn_says_that_its_end_is_not_known() {
    let dir = tempfile::tempdir().unwrap();
    let directory = open(dir.path());
    let (mut writer, reader) = ring(Some(&directory), &identity(0), 64 << 10).unwrap();
    writer.push(encode(1, "/first")).unwrap();
    let first = writer.position() as usize;
    writer.push(encode(2, "/second")).unwrap();
    die(writer, reader);
    let path = dir.path().join("ring.0");
    let mut image = std::fs::read(&path).unwrap();
    let at = image.windows(7).position(|bytes| bytes == b"/second").unwrap();
    assert!(at > first);
    image[at] ^= 1;
    std::fs::write(&path, image).unwrap();
    let (found, _) = recover(&directory);
    assert_eq!((found[0].torn, found[0].is_end_torn, found[0].last()), (1, true, 1));
}

#[test]
fn a_dead_process_that_no_start_has_found_is_known_without_taking_its_rings() {
    let dir = tempfile::tempdir().unwrap();
    assert!(!has_unfound(dir.path()));
    let directory = open(dir.path());
    let (mut writer, reader) = ring(Some(&directory), &identity(0), 64 << 10).unwrap();
    writer.push(encode(1, "/a")).unwrap();
    assert!(!has_unfound(dir.path()), "it lives");
    die(writer, reader);
    drop(directory);
    assert!(has_unfound(dir.path()) && has_unfound(dir.path()), "whoever looks changes nothing");
    let directory = open(dir.path());
    assert_eq!(recover(&directory).0.len(), 1);
    drop(directory);
    assert!(!has_unfound(dir.path()), "a start has found it");
}

#[test]
fn the_orderly_end_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let directory = open(dir.path());
    let (mut writer, mut reader) = ring(Some(&directory), &identity(0), 64 << 10).unwrap();
    writer.push(encode(1, "/a")).unwrap();
    read(&mut reader, usize::MAX);
    reader.finish();
    assert!(recover(&directory).0.is_empty());
}

#[test]
fn a_directory_belongs_to_one_living_process() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    assert!(matches!(Directory::open(dir.path()), Err(DirectoryError::InUse { .. })));
    drop(first);
    open(dir.path());
}

#[test]
fn without_a_place_to_write_the_ring_is_memory() {
    let dir = tempfile::tempdir().unwrap();
    let directory = open(dir.path());
    std::fs::create_dir(dir.path().join("ring.0")).unwrap();
    let (mut writer, mut reader) = ring(Some(&directory), &identity(0), 64 << 10).unwrap();
    push(&mut writer, b"x").unwrap();
    assert_eq!(read(&mut reader, usize::MAX), (vec![b"x".to_vec()], true));
    assert!(reader.file.is_none());
}

#[test]
fn a_ring_that_is_damaged_or_gone_is_told_once_and_one_that_was_put_aside_is_not_gone() {
    let dir = tempfile::tempdir().unwrap();
    let directory = open(dir.path());
    for core in 0..4 {
        let (writer, reader) = ring(Some(&directory), &identity(core), 64 << 10).unwrap();
        die(writer, reader);
    }
    directory.announce(identity(0).boot, 0..4);
    std::fs::remove_file(dir.path().join("ring.1")).unwrap();
    std::fs::write(dir.path().join("ring.2"), "no ring").unwrap();
    std::fs::rename(dir.path().join("ring.3"), dir.path().join("ring.3.1795252000000")).unwrap();
    let (found, harms) = recover(&directory);
    assert_eq!(found.iter().map(|one| one.core).collect::<Vec<_>>(), [0, 3]);
    let told: Vec<(&str, bool)> = harms
        .iter()
        .map(|harm| {
            (
                harm.reason,
                harm.text.contains(["ring.1", "ring.2"][usize::from(harm.reason == "ring_damaged")]),
            )
        })
        .collect();
    assert_eq!(told, [("ring_gone", true), ("ring_damaged", true)]);
    // Whoever only looks does not use it up; what was put aside as damaged is not gone.
    let reasons = || recover(&directory).1.iter().map(|harm| harm.reason).collect::<Vec<_>>();
    assert_eq!(reasons(), ["ring_gone", "ring_damaged"]);
    // Nor does who takes the others away.
    directory.forget_but(&recover(&directory).1);
    found.iter().for_each(Recovered::remove);
    assert_eq!(reasons(), ["ring_gone", "ring_damaged"]);
    // What is damaged hides no loss of another start, and a living ring is not one that is gone.
    let next = Identity { boot: identity(0).boot + 1, ..identity(2) };
    let (writer, reader) = ring(Some(&directory), &next, 64 << 10).unwrap();
    directory.announce(next.boot, 2..3);
    assert_eq!(reasons(), ["ring_gone", "ring_damaged"]);
    die(writer, reader);
    std::fs::remove_file(dir.path().join(format!("ring.2.{}", next.boot))).unwrap();
    assert_eq!(reasons(), ["ring_gone", "ring_damaged", "ring_gone"]);
    forget_others(dir.path(), next.boot);
    assert_eq!(reasons(), ["ring_gone"]);
    directory.forget(next.boot);
    assert_eq!(reasons(), [""; 0]);
}

/// Rings of one lane with entries of about 200 bytes; the second of them is damaged in all ways.
#[test]
fn what_a_power_cut_has_torn_is_dropped_and_the_rest_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let directory = open(dir.path());
    let (mut writer, reader) = ring(Some(&directory), &identity(0), 64 << 10).unwrap();
    for seq in 1..=3 {
        writer.push(encode(seq, "/a")).unwrap();
    }
    let at = Layout::of(64 << 10).lanes()[1].at;
    let size = writer.position() as usize / 3;
    die(writer, reader);
    let path = dir.path().join("ring.0");
    let image = std::fs::read(&path).unwrap();
    for damaged in at + size..at + 2 * size - 7 {
        let mut image = image.clone();
        image[damaged] ^= 0x10;
        std::fs::write(&path, image).unwrap();
        let found = Recovered::of(&std::fs::read(&path).unwrap(), path.clone()).unwrap();
        let items = found.items();
        assert!(
            matches!(
                items[..],
                [
                    Item::Record { seq: 1, .. },
                    Item::Gap { first: 2, last: 2, reason: Reason::BadFrame },
                    Item::Record { seq: 3, .. }
                ]
            ),
            "{damaged}: {items:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_file_is_read_without_harm(
        changes in proptest::collection::vec((0usize..300_000, any::<u8>()), 0..40),
        positions in proptest::array::uniform4(any::<u64>()),
        cut in 0usize..4,
    ) {
        let layout = Layout::of(64);
        let mut image = layout::header(&identity(0), &layout);
        image.resize(layout.size(), 0);
        for (at, value) in changes {
            let at = 1024 + at % (image.len() - 1024);
            image[at] = value;
        }
        for (lane, position) in layout.lanes().iter().zip(positions.chunks(2)) {
            image[lane.write_at..lane.write_at + 8].copy_from_slice(&position[0].to_le_bytes());
            image[lane.read_at..lane.read_at + 8].copy_from_slice(&(position[0] - position[1] % 65).to_le_bytes());
        }
        image.truncate(image.len() - cut);
        if let Ok(found) = Recovered::of(&image, PathBuf::new()) {
            found.items();
        }
    }
}

/// Numbers with which sums go wrong.
fn edge() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), 0..64_u64, (0..64_u64).prop_map(|less| u64::MAX - less)]
}

/// Puts the whole entry of a record with the number `seq` at the read position of a lane, if it fits there.
fn put_entry(image: &mut [u8], lane: &layout::Lane, read: u64, seq: u64) {
    let mut entry = vec![0; PREFIX + LONGEST];
    let room = entry[PREFIX..].first_chunk_mut().unwrap();
    let length = encode(seq, "/a")(room);
    entry.truncate((PREFIX + length).next_multiple_of(ALIGN));
    seal(&mut entry, length, read);
    let at = (read % lane.bytes as u64) as usize;
    if at + entry.len() <= lane.bytes {
        image[lane.at + at..lane.at + at + entry.len()].copy_from_slice(&entry);
    }
}

proptest! {
    #[test]
    fn a_header_with_a_right_checksum_is_not_believed_either(
        changes in proptest::collection::vec((16usize..1024, any::<u8>()), 0..6),
        sizes in (0u32..11, 0u32..11),
        positions in proptest::array::uniform2((edge(), 0u64..1100)),
        words in proptest::array::uniform4(edge()),
        seqs in proptest::array::uniform2(edge()),
    ) {
        let layout = Layout { small: 1 << sizes.0, large: 1 << sizes.1 };
        let mut image = layout::header(&identity(0), &layout);
        image.resize(layout.size(), 0);
        for (at, value) in changes {
            image[at] = value;
        }
        let checksum = crc_fast::crc32_iscsi(&image[16..1024]);
        image[12..16].copy_from_slice(&checksum.to_le_bytes());
        for ((lane, (read, ahead)), seq) in layout.lanes().iter().zip(positions).zip(seqs) {
            let read = read / ALIGN as u64 * ALIGN as u64;
            put_entry(&mut image, lane, read, seq);
            image[lane.read_at..lane.read_at + 8].copy_from_slice(&read.to_le_bytes());
            image[lane.write_at..lane.write_at + 8].copy_from_slice(&read.wrapping_add(ahead).to_le_bytes());
        }
        for (word, value) in [Word::Refused, Word::Beyond, Word::Accounted, Word::Seen, Word::LeftOut].into_iter().zip(words) {
            image[word as usize..word as usize + 8].copy_from_slice(&value.to_le_bytes());
        }
        if let Ok(found) = Recovered::of(&image, PathBuf::new()) {
            for item in found.items() {
                if let Item::Gap { first, last, .. } = item {
                    prop_assert!(first <= last && last - first < u64::MAX);
                }
            }
        }
    }
}
