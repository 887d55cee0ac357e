//! Files put one by one: what each answer leads to.

use super::super::shipper::Shipper;
use super::*;
use crate::log_service::store::ClosedFile;

struct Stage {
    data: tempfile::TempDir,
    server: Server,
    shipper: Shipper,
    files: Vec<ClosedFile>,
}

impl Stage {
    /// With so many files, of hours that follow each other.
    async fn new(files: u64, steps: impl IntoIterator<Item = Step>) -> Self {
        let (data, server) = (tempfile::tempdir().unwrap(), Server::start(steps).await);
        let file = |number: u64| {
            let path = data.path().join(format!("{number}.parquet"));
            std::fs::write(&path, format!("rows of {number} ").repeat(100_000)).unwrap();
            ClosedFile::at(path, (number, 494_000 + number as i64))
        };
        let files = (1..=files).map(file).collect();
        let shipper = Shipper::open(&settings(server.port), data.path(), Duration::ZERO);
        Self { data, server, shipper, files }
    }

    /// Tries until nothing is left to try; says in which order files were tried.
    async fn ship(&mut self) -> Vec<u64> {
        let mut tried = Vec::new();
        while let Some(file) = self.shipper.next(self.files.clone()) {
            tried.push(file.number);
            self.shipper.ship(&file).await;
            assert!(tried.len() < 100, "{tried:?}");
        }
        tried
    }

    fn told(&self) -> serde_json::Value {
        self.shipper.standing().told(&self.files)
    }
}

#[tokio::test]
async fn a_file_is_put_once_under_its_name_and_written_down() {
    let mut stage = Stage::new(2, []).await;
    assert_eq!(stage.ship().await, [1, 2]);
    let objects = stage.server.objects();
    assert_eq!(objects.len(), 2);
    let (name, body) = objects.iter().next().unwrap();
    assert!(name.starts_with("/logs/edge/d%3D2026-05-10/h%3D09/00000001.l1."), "{name}");
    assert_eq!(*body, std::fs::read(&stage.files[0].path).unwrap());
    assert_eq!(stage.told()["state"], "ok");
    assert_eq!(stage.told()["taken_files"], 2);
    assert_eq!(ledger(stage.data.path()).lines().count(), 3);
    let shown = format!("{}{}", stage.told(), ledger(stage.data.path()));
    assert!(!shown.contains(SECRET) && !shown.contains(ACCESS));
    // The next run knows.
    let next = Shipper::open(&settings(stage.server.port), stage.data.path(), Duration::ZERO);
    assert!(next.next(stage.files.clone()).is_none());
}

#[tokio::test]
async fn what_passes_is_tried_again_until_it_is_taken() {
    let steps = [
        Step::Answer(503, "SlowDown"),
        Step::Answer(500, "InternalError"),
        Step::Answer(429, ""),
        Step::HangUp,
        Step::Answer(400, "RequestTimeout"),
        Step::Early(503, "ServiceUnavailable"),
    ];
    let mut stage = Stage::new(1, steps).await;
    assert_eq!(stage.ship().await, [1; 7]);
    assert_eq!(stage.server.objects().len(), 1);
}

#[tokio::test]
async fn a_sink_that_refuses_everything_is_told_and_holds_everything() {
    for (status, code) in [(403, "SignatureDoesNotMatch"), (404, "NoSuchBucket"), (301, "PermanentRedirect")]
    {
        let mut stage = Stage::new(2, [Step::Answer(status, code); 6]).await;
        for _ in 0..6 {
            let file = stage.shipper.next(stage.files.clone()).unwrap();
            assert_eq!(file.number, 1);
            stage.shipper.ship(&file).await;
        }
        let told = stage.told();
        assert_eq!(
            (&told["state"], &told["tries"], &told["waiting_files"]),
            (&"held".into(), &6.into(), &2.into())
        );
        assert_eq!(told["err"], format!("it answers {status}: {code}, said"));
        assert_eq!(told["oldest"], "2026-05-10T09:00:00Z");
        assert_eq!(stage.ship().await, [1, 2]);
        assert_eq!((&stage.told()["state"], &stage.told()["waiting_files"]), (&"ok".into(), &0.into()));
    }
}

#[tokio::test]
async fn a_file_that_is_refused_is_put_aside_and_told_while_the_others_go_on() {
    let mut stage = Stage::new(3, [Step::Answer(400, "EntityTooLarge")]).await;
    assert_eq!(stage.ship().await, [1, 2, 3]);
    let told = stage.told();
    assert_eq!(
        (&told["state"], &told["refused_files"], &told["waiting_files"]),
        (&"refused".into(), &1.into(), &1.into())
    );
    assert_eq!(told["refused"][0]["err"], "it answers 400: EntityTooLarge, said");
    assert!(!stage.shipper.shipped().has(1), "retention keeps it");
    // The next run tries it once more.
    stage.shipper = Shipper::open(&settings(stage.server.port), stage.data.path(), Duration::ZERO);
    assert_eq!(stage.ship().await, [1]);
}

#[tokio::test]
async fn a_file_that_never_arrives_holds_up_nobody() {
    let mut stage = Stage::new(3, [Step::Answer(400, "BadDigest"); 4]).await;
    stage.server.seen.lock().unwrap().steps.extend([
        Step::Answer(200, ""),
        Step::Answer(200, ""),
        Step::Answer(400, "BadDigest"),
    ]);
    assert_eq!(stage.ship().await, [1, 1, 1, 1, 2, 3, 1, 1]);
}

#[tokio::test]
async fn a_server_that_says_nothing_is_left_after_the_timeout() {
    let mut stage = Stage::new(1, [Step::Silence]).await;
    let quick = Settings { timeout: Duration::from_millis(200), ..settings(stage.server.port) };
    stage.shipper = Shipper::open(&quick, stage.data.path(), Duration::ZERO);
    assert_eq!(stage.ship().await, [1, 1]);
}

#[tokio::test]
async fn without_a_server_everything_waits() {
    let mut stage = Stage::new(1, []).await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    stage.shipper = Shipper::open(&settings(gone), stage.data.path(), Duration::ZERO);
    let file = stage.shipper.next(stage.files.clone()).unwrap();
    stage.shipper.ship(&file).await;
    let told = stage.told();
    assert_eq!(told["state"], "retrying");
    assert!(told["err"].as_str().unwrap().starts_with("cannot reach 127.0.0.1"), "{told}");
}

#[tokio::test]
async fn another_bucket_gets_all_files() {
    let mut stage = Stage::new(2, []).await;
    stage.ship().await;
    let other = Settings { bucket: "other".to_owned(), ..settings(stage.server.port) };
    stage.shipper = Shipper::open(&other, stage.data.path(), Duration::ZERO);
    assert_eq!(stage.ship().await, [1, 2]);
    assert_eq!(stage.server.objects().keys().filter(|name| name.starts_with("/other/")).count(), 2);
}
