//! What a start says of rings that it cannot read.

use super::*;

/// All lines of a start and its end, and how many rings it counts as lost.
async fn start(spool: &Path, file: &Path) -> (Vec<Value>, u64) {
    let (_logs, collector) =
        open(on_disk(vec![SinkSettings::File(FileSettings::new(file))], spool), 2).unwrap();
    let running = collector.spawn().unwrap();
    let metrics = running.metrics();
    running.stop(GRACE).await;
    (lines_of(file), metrics.rings_lost.load(Ordering::Relaxed))
}

#[tokio::test]
async fn a_ring_that_is_damaged_or_gone_is_a_record_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (file, spool) = (dir.path().join("access.log"), dir.path().join("spool"));
    // As if it had been killed: nobody has emptied the rings.
    let sink = || vec![SinkSettings::File(FileSettings::new(&file))];
    drop(open(on_disk(sink(), &spool), 2).unwrap());
    std::fs::write(spool.join("ring.0"), "no ring").unwrap();
    std::fs::remove_file(spool.join("ring.1")).unwrap();
    let (lines, lost) = start(&spool, &file).await;
    let told: Vec<_> =
        of_kind(&lines, "log").iter().map(|line| (line["reason"].clone(), line["level"].clone())).collect();
    assert_eq!(told, [("ring_gone".into(), "warn".into()), ("ring_damaged".into(), "warn".into())]);
    assert!(lines[0]["msg"].as_str().unwrap().contains("ring.1"), "{}", lines[0]);
    assert_eq!(lost, 2);
    // Told once: the orderly end between them leaves nothing to miss.
    let (lines, lost) = start(&spool, &file).await;
    assert_eq!((of_kind(&lines, "log").len(), lost), (2, 0));
}

#[tokio::test]
async fn a_killed_process_whose_rings_are_there_has_lost_none() {
    let dir = tempfile::tempdir().unwrap();
    let (file, spool) = (dir.path().join("access.log"), dir.path().join("spool"));
    let sink = vec![SinkSettings::File(FileSettings::new(&file))];
    let (logs, collector) = open(on_disk(sink, &spool), 2).unwrap();
    write(&logs[0], 3);
    drop((logs, collector));
    let (lines, lost) = start(&spool, &file).await;
    assert_eq!((of_kind(&lines, "request").len(), of_kind(&lines, "log").len(), lost), (3, 0, 0));
}
