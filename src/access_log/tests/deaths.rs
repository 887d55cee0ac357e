//! What a start makes of those that ended before the disk had their log.

use super::*;

fn rings_in(spool: &Path) -> usize {
    let names = std::fs::read_dir(spool).unwrap().map(|entry| entry.unwrap().file_name());
    names
        .filter(|name| name.to_str().is_some_and(|name| name.starts_with("ring.") && name != "ring.lock"))
        .count()
}

/// As if so many processes had been killed, one after the other, each with a record in its ring.
fn deaths(count: usize, settings: impl Fn() -> Settings) {
    for _ in 0..count {
        let (logs, collector) = open(settings(), 1).unwrap();
        write(&logs[0], 1);
        drop((logs, collector));
    }
}

#[tokio::test]
async fn processes_that_die_faster_than_the_disk_syncs_do_not_fill_it() {
    let dir = tempfile::tempdir().unwrap();
    let (file, spool) = (dir.path().join("access.log"), dir.path().join("spool"));
    let settings = || on_disk(vec![SinkSettings::File(FileSettings::new(&file))], &spool);
    deaths(4, settings);
    drop(open(settings(), 1).unwrap());
    assert_eq!(rings_in(&spool), 5, "no start waits for some of them");
    let (_logs, collector) = open(settings(), 1).unwrap();
    assert_eq!(rings_in(&spool), 1, "the disk has what was left before there are more");
    collector.spawn().unwrap().stop(GRACE).await;
    let lines = lines_of(&file);
    let starts: std::collections::BTreeSet<_> =
        of_kind(&lines, "request").iter().map(|line| line["boot"].as_u64()).collect();
    assert_eq!((of_kind(&lines, "request").len(), starts.len()), (4, 4));
}

#[test]
fn behind_a_disk_that_does_not_take_what_was_left_there_is_no_place_for_new_rings() {
    let dir = tempfile::tempdir().unwrap();
    let (file, spool) = (dir.path().join("access.log"), dir.path().join("spool"));
    let settings = || on_disk(vec![SinkSettings::File(FileSettings::new(&file))], &spool);
    deaths(5, settings);
    for (fails, rings) in [(true, 5), (false, 0)] {
        let directory = recovery::take(&spool).unwrap().unwrap();
        let past = recovery::recover_all(&directory);
        let collector = Collector::open(settings(), 7, 1, Arc::default()).unwrap();
        collector.spool().hold_syncs().extend([fails; 4]);
        let collector = collector.with_past(Some(directory), past);
        let place = collector.directory.as_ref().and_then(|one| recovery::place_for_rings(one, true));
        assert_eq!((place.is_none(), rings_in(&spool)), (fails, rings));
    }
}

#[tokio::test]
#[expect(clippy::await_holding_lock, reason = "the disk hangs until the test ends")]
async fn who_ended_in_order_is_no_crash_though_its_disk_was_slow() {
    let dir = tempfile::tempdir().unwrap();
    let (file, spool) = (dir.path().join("access.log"), dir.path().join("spool"));
    let settings = |spool: &Path| on_disk(vec![SinkSettings::File(FileSettings::new(&file))], spool);
    let (logs, collector) = open(settings(&spool), 2).unwrap();
    let shared = collector.spool();
    let syncs = shared.hold_syncs();
    let running = collector.spawn().unwrap();
    write(&logs[0], 7);
    let metrics = running.metrics();
    drained(&metrics, 7).await;
    let (killed, ended) = (dir.path().join("killed"), dir.path().join("ended"));
    harm::killed(&spool, &killed);
    running.stop(Duration::from_millis(50)).await;
    harm::killed(&spool, &ended);
    drop(syncs);
    for (image, is_crash) in [(&killed, true), (&ended, false)] {
        assert_eq!(rings_in(image), 2);
        drop(open(settings(image), 2).unwrap());
        assert_eq!(recovery::Crash::read(image).unwrap().is_some(), is_crash);
    }
    let (_logs, collector) = open(settings(&ended), 2).unwrap();
    collector.spawn().unwrap().stop(GRACE).await;
    let lines = lines_of(&file);
    let first = lines.iter().filter_map(|line| line["boot"].as_u64()).min();
    let requests = of_kind(&lines, "request").into_iter().filter(|line| line["boot"].as_u64() == first);
    assert_eq!((requests.count(), of_kind(&lines, "gap").len()), (7, 0));
}
