//! A whole service: hours that are closed, merged, put, and dropped when their time has come.

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
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
