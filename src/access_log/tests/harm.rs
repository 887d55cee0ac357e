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
async fn what_a_lost_ring_held_is_declared_as_a_gap_without_an_end_in_its_own_stream() {
    let dir = tempfile::tempdir().unwrap();
    let (file, spool) = (dir.path().join("access.log"), dir.path().join("spool"));
    let sink = || vec![SinkSettings::File(FileSettings::new(&file))];
    let (logs, collector) = open(on_disk(sink(), &spool), 3).unwrap();
    let boot = collector.origin().boot;
    (0..3).for_each(|core| write(&logs[core], 2));
    drop((logs, collector));
    std::fs::write(spool.join("ring.0"), "no ring").unwrap();
    std::fs::remove_file(spool.join("ring.1")).unwrap();
    let (lines, _) = start(&spool, &file).await;
    let mut gaps = of_kind(&lines, "gap");
    gaps.sort_by_key(|gap| gap["core"].as_u64());
    let told: Vec<_> = gaps
        .iter()
        .map(|gap| (gap["boot"].as_u64(), gap["core"].as_u64(), gap["first_seq"].as_u64()))
        .collect();
    assert_eq!(told, [(Some(boot), Some(0), Some(1)), (Some(boot), Some(1), Some(1))]);
    for gap in &gaps {
        assert_eq!(
            (&gap["reason"], gap.get("missing"), gap.get("last_seq")),
            (&"ring_lost".into(), None, None)
        );
    }
    let (lines, _) = start(&spool, &file).await;
    assert_eq!(of_kind(&lines, "gap").len(), 2, "told once");
}

/// What a kill leaves behind at this moment.
pub(super) fn killed(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[tokio::test]
async fn what_is_gone_of_the_stream_that_no_core_writes_is_declared_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let (path, spool) = (dir.path().join("logs.sock"), dir.path().join("spool"));
    let sinks = || vec![SinkSettings::Service(to_service(&path))];
    let (_logs, collector) = open(on_disk(sinks(), &spool), 1).unwrap();
    let running = collector.spawn().unwrap();
    let (handle, metrics) = (running.handle(), running.metrics());
    let mut images = Vec::new();
    for count in 1..=3 {
        handle.line(&"app-0".into(), Stream::Stdout, b"a line");
        until("it is taken", || metrics.lines.load(Ordering::Relaxed) == count).await;
        // Its frame is appended after it is counted, and the ring is told after that.
        let ring = spool.join("ring.0");
        let told = || u64::from_le_bytes(std::fs::read(&ring).unwrap()[1192..1200].try_into().unwrap());
        until("the ring knows", || told() == count).await;
        // Before, nothing is owed to it.
        until("the sink's cursor says where it begins", || {
            let files = std::fs::read_dir(&spool).unwrap().map(|entry| entry.unwrap().path());
            let mut cursors = files.filter(|path| path.extension().is_some_and(|kind| kind == "cursor"));
            cursors.any(|path| std::fs::read(path).unwrap().iter().any(|byte| *byte != 0))
        })
        .await;
        images.push(dir.path().join(format!("killed-{count}")));
        killed(&spool, &images[count as usize - 1]);
    }
    running.stop(Duration::ZERO).await;
    for (image, last) in images.iter().zip(1..) {
        for harm in [false, true] {
            let again = dir.path().join(format!("again-{last}-{harm}"));
            killed(image, &again);
            if harm {
                // All but the first byte of the last frame.
                let segment =
                    std::fs::OpenOptions::new().write(true).open(again.join("00000001.spool")).unwrap();
                let one = segment.metadata().unwrap().len() / last;
                segment.set_len(one * (last - 1) + 1).unwrap();
            }
            let service = FakeService::listen(&path, []);
            let (_logs, collector) = open(on_disk(sinks(), &again), 1).unwrap();
            collector.spawn().unwrap().stop(GRACE).await;
            let mut lines = service.lines();
            let boot = lines.iter().filter_map(|line| line["boot"].as_u64()).min().unwrap();
            lines.retain(|line| line["boot"] == boot);
            assert_complete(&lines, 1, last);
            let gaps: Vec<_> = of_kind(&lines, "gap").iter().map(|gap| gap["reason"].clone()).collect();
            assert_eq!(gaps.len(), usize::from(harm), "{last}: {gaps:?}");
            assert!(gaps.iter().all(|reason| reason == "spool_damaged"));
            drop(service);
            let _ = std::fs::remove_file(&path);
        }
    }
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
