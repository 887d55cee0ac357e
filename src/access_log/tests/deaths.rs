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
        let directory = recovery::take(&spool).unwrap();
        let past = recovery::recover_all(&directory);
        let collector = Collector::open(settings(), 7, 1, Arc::default()).unwrap();
        collector.spool().hold_syncs().extend([fails; 4]);
        let collector = collector.with_past(Some(directory), past);
        let place = collector.directory.as_ref().and_then(|one| recovery::place_for_rings(one, true));
        assert_eq!((place.is_none(), rings_in(&spool)), (fails, rings));
    }
}
