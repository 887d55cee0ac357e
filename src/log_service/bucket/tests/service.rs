//! A whole service: hours that are closed, merged, put, and dropped when their time has come.

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::log_service::directory::Directory;
use crate::log_service::exec::{Control, Question};
use crate::log_service::{LogService, Settings as Service};

/// Files of an earlier version, of hours long ago: ten rows each, one of them an error.
fn hours(data: &Path, hours: std::ops::Range<u32>) {
    for hour in hours {
        let folder = data.join("2026-11-01");
        std::fs::create_dir_all(&folder).unwrap();
        let row = |n: u32| {
            let status = if n == 0 { 502 } else { 200 };
            format!(
                "{{\"recv\":\"2026-11-01T{hour:02}:00:{n:02}Z\",\"from\":\"unix:1\",\"kind\":\"request\",\"status\":{status}}}\n"
            )
        };
        std::fs::write(folder.join(format!("{hour:02}.jsonl")), (0..10).map(row).collect::<String>())
            .unwrap();
    }
}

struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    async fn start(data: &Path, port: u16, keep_hours: u32) -> Self {
        let mut service = Service::new(data.to_owned());
        service.limits.compact_every = Duration::from_millis(20);
        service.limits.free_bytes = Some(0);
        service.limits.keep_hours = keep_hours;
        service.limits.keep_error_hours = keep_hours;
        service.buckets = vec![settings(port)];
        let service = LogService::start(service).await.unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move { service.run(async { drop(stopped.await) }).await.unwrap() });
        Self { stop, task }
    }

    async fn stop(self) {
        drop(self.stop);
        self.task.await.unwrap();
    }
}

const YEARS: u32 = 100 * 8766;

#[tokio::test]
async fn every_closed_hour_arrives_once_also_when_the_service_ends_in_the_middle() {
    let data = tempfile::tempdir().unwrap();
    hours(data.path(), 0..3);
    let server = Server::start([Step::Answer(200, ""), Step::Answer(200, "")]).await;
    server.seen.lock().unwrap().then = Some(Step::Answer(503, "SlowDown"));
    let running = Running::start(data.path(), server.port, YEARS).await;
    until("two objects", || server.objects().len() == 2 && server.asked().len() > 5).await;
    running.stop().await;
    assert_eq!(server.objects().len(), 2);
    server.seen.lock().unwrap().asked.clear();
    server.seen.lock().unwrap().then = None;
    let running = Running::start(data.path(), server.port, YEARS).await;
    until("all objects", || server.objects().len() == 6).await;
    running.stop().await;
    assert_eq!(server.asked().len(), 4, "what was taken is not put again");
    let names: Vec<String> = server.objects().into_keys().collect();
    for hour in ["00", "01", "02"] {
        let of_hour = names.iter().filter(|name| name.contains(&format!("/d%3D2026-11-01/h%3D{hour}/")));
        assert_eq!(of_hour.count(), 2, "{names:?}");
    }
}

/// Files of closed hours.
fn closed(data: &Path) -> usize {
    let in_hour = |hour: &str| {
        let files = std::fs::read_dir(data.join("d=2026-11-01").join(hour)).into_iter().flatten().flatten();
        files.filter(|file| file.path().to_string_lossy().ends_with("l1.parquet")).count()
    };
    in_hour("h=00") + in_hour("h=01")
}

#[tokio::test]
async fn a_file_past_its_age_stays_until_it_is_taken() {
    let data = tempfile::tempdir().unwrap();
    hours(data.path(), 0..2);
    let server = Server::start([]).await;
    server.seen.lock().unwrap().then = Some(Step::Answer(403, "AccessDenied"));
    let running = Running::start(data.path(), server.port, 1).await;
    until("both hours", || closed(data.path()) == 2).await;
    let tries = server.asked().len();
    // The store looks for what is too old far more often meanwhile.
    until("tries", || server.asked().len() > tries + 100).await;
    assert_eq!(closed(data.path()), 2);
    server.seen.lock().unwrap().then = None;
    until("objects", || server.objects().len() == 4).await;
    until("retention", || closed(data.path()) == 0).await;
    running.stop().await;
    assert!(!ledger(data.path()).contains("\"lost_files\":4"));
}

/// What an audit of the directory says of its only sink, if it knows of one.
fn audited(data: &Path) -> Option<serde_json::Value> {
    let directory = Directory::new(data.to_owned());
    let told = directory.answer(Question::Audit, &Default::default(), &Control::default()).unwrap();
    let sinks = told["sinks"].as_array().unwrap();
    assert!(sinks.len() <= 1, "{told}");
    sinks.first().cloned()
}

/// Taken and waiting files.
fn counted(told: &serde_json::Value) -> Option<(u64, u64)> {
    Some((told["taken_files"].as_u64()?, told["waiting_files"].as_u64()?))
}

/// Every file below, with its content.
fn everything(folder: &Path) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        match path.is_dir() {
            true => found.extend(everything(&path)),
            false => drop(found.insert(path.clone(), std::fs::read(path).unwrap())),
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_says_what_its_bucket_has_and_lacks_with_its_service_and_without() {
    let data = tempfile::tempdir().unwrap();
    assert_eq!(audited(data.path()), None);
    hours(data.path(), 0..3);
    let server = Server::start([]).await;
    server.seen.lock().unwrap().then = Some(Step::Answer(503, "SlowDown"));
    let running = Running::start(data.path(), server.port, YEARS).await;
    let is = |wanted| move |told: serde_json::Value| counted(&told) == Some(wanted);
    // Also of a bucket that has never taken anything.
    until("six that wait", || audited(data.path()).is_some_and(is((0, 6)))).await;
    server.seen.lock().unwrap().steps = [Step::Answer(200, ""), Step::Answer(200, "")].into();
    until("two that are taken", || audited(data.path()).is_some_and(is((2, 4)))).await;
    running.stop().await;
    let before = everything(data.path());
    let told = audited(data.path()).unwrap();
    assert_eq!(counted(&told), Some((2, 4)));
    assert_eq!(told["sink"], "archive");
    assert_eq!(told["to"], format!("http://127.0.0.1:{}/logs/edge/", server.port));
    assert_eq!(
        (&told["state"], &told["err"], &told["refused_files"]),
        (&"unknown".into(), &().into(), &().into())
    );
    let taken: Vec<String> = server.objects().into_keys().collect();
    let bytes: u64 = before
        .iter()
        .filter(|(path, _)| path.extension().is_some_and(|end| end == "parquet"))
        .map(|(_, bytes)| bytes.len() as u64)
        .sum();
    let in_bucket: u64 = server.objects().values().map(|body| body.len() as u64).sum();
    assert_eq!(
        (told["taken_bytes"].as_u64(), told["waiting_bytes"].as_u64()),
        (Some(in_bucket), Some(bytes - in_bucket))
    );
    // An hour has two files; those that were in the way went behind the others.
    let of_hour = |hour: &u32| taken.iter().filter(|name| name.contains(&format!("h%3D{hour:02}"))).count();
    let oldest = (0..3).find(|hour| of_hour(hour) < 2).unwrap();
    assert_eq!(told["oldest"], format!("2026-11-01T{oldest:02}:00:00Z"));
    assert!(ledger(data.path()).contains(told["last_taken"].as_str().unwrap()));
    assert!(before == everything(data.path()), "looking changes nothing");
    // Then a service puts all of them again.
    std::fs::write(data.path().join("sinks/archive.jsonl"), "nonsense\n").unwrap();
    let told = audited(data.path()).unwrap();
    assert_eq!((counted(&told), &told["state"]), (Some((0, 6)), &"unreadable".into()));
    assert!(told["err"].as_str().unwrap().contains("cannot be read"), "{told}");
}
