//! Against a scripted server that speaks S3 as far as a PUT needs it.

mod service;
mod tries;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::place::Place;
use super::settings::Settings;
use super::shipper::pause;
use crate::config::log_sink::Remote;
use crate::log_service::Secret;
use crate::tls::client::Roots;

pub(super) const ACCESS: &str = "AKIAIOSFODNN7EXAMPLE";
pub(super) const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

pub(super) fn settings(port: u16) -> Settings {
    let to = Remote { host: "127.0.0.1".to_owned(), port, is_tls: false, path: String::new() };
    Settings {
        name: "archive".to_owned(),
        to,
        bucket: "logs".to_owned(),
        region: "eu-west-1".to_owned(),
        prefix: "edge/".to_owned(),
        access_key: Secret(ACCESS.into()),
        secret_key: Secret(SECRET.into()),
        roots: Roots::Public,
        identity: None,
        timeout: Duration::from_secs(5),
        retry_max: Duration::from_millis(2),
    }
}

/// What the server does with the next request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Answer(u16, &'static str),
    /// Answers before the body has come, and hangs up.
    Early(u16, &'static str),
    HangUp,
    /// Takes everything and says nothing.
    Silence,
}

#[derive(Default)]
pub(super) struct Seen {
    pub(super) steps: VecDeque<Step>,
    /// When there are no steps left; otherwise everything is taken.
    pub(super) then: Option<Step>,
    /// Every target that was asked for, without its query, in order.
    pub(super) asked: Vec<String>,
    pub(super) objects: BTreeMap<String, Vec<u8>>,
    pub(super) queries: Vec<String>,
}

#[derive(Clone)]
pub(super) struct Server {
    pub(super) seen: Arc<Mutex<Seen>>,
    pub(super) port: u16,
}

impl Server {
    pub(super) async fn start(steps: impl IntoIterator<Item = Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Seen { steps: steps.into_iter().collect(), ..Seen::default() };
        let server = Self { seen: Arc::new(Mutex::new(seen)), port };
        let own = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let own = own.clone();
                tokio::spawn(async move { Box::pin(own.serve(stream)).await });
            }
        });
        server
    }

    async fn serve(&self, mut stream: TcpStream) -> Option<()> {
        let (mut text, mut buffer) = (Vec::new(), [0; 65536]);
        let end = loop {
            let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
            text.extend(&buffer[..read]);
            if let Some(end) = text.windows(4).position(|part| part == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let head = String::from_utf8(text[..end].to_vec()).unwrap();
        let target = head.split(' ').nth(1).unwrap().to_owned();
        let (path, query) = target.split_once('?').unwrap();
        let field = |name: &str| {
            head.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).map(str::to_owned)
        };
        let step = {
            let mut seen = self.seen.lock().unwrap();
            seen.asked.push(path.to_owned());
            seen.queries.push(query.to_owned());
            let step = seen.steps.pop_front();
            step.or(seen.then).unwrap_or(Step::Answer(200, ""))
        };
        if let Step::Early(status, code) = step {
            return answer(&mut stream, status, code).await;
        }
        let length: usize = field("content-length").unwrap().parse().unwrap();
        while text.len() < end + length {
            let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
            text.extend(&buffer[..read]);
        }
        let body = text[end..].to_vec();
        let checksum = BASE64_STANDARD.encode(digest(&SHA256, &body).as_ref());
        assert_eq!(field("x-amz-checksum-sha256"), Some(checksum));
        match step {
            Step::Answer(status, code) => {
                if status == 200 {
                    self.seen.lock().unwrap().objects.insert(path.to_owned(), body);
                }
                answer(&mut stream, status, code).await
            }
            Step::Silence => std::future::pending().await,
            Step::HangUp | Step::Early(..) => None,
        }
    }

    pub(super) fn asked(&self) -> Vec<String> {
        self.seen.lock().unwrap().asked.clone()
    }

    pub(super) fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        self.seen.lock().unwrap().objects.clone()
    }
}

async fn answer(stream: &mut TcpStream, status: u16, code: &str) -> Option<()> {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>said</Message></Error>");
    let text =
        format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nRetry-After: 0\r\n\r\n{body}", body.len());
    stream.write_all(text.as_bytes()).await.ok()
}

pub(super) async fn until(what: &str, is_so: impl Fn() -> bool) {
    let end = tokio::time::Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(tokio::time::Instant::now() < end, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub(super) fn moment(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The published example of a signature in the query: "Authenticating Requests: Using Query Parameters".
#[test]
fn a_signature_is_that_of_the_published_example() {
    let url = "https://examplebucket.s3.amazonaws.com/test.txt".parse().unwrap();
    let none = std::iter::empty();
    let signed = rusty_s3::signing::sign(
        &moment("2013-05-24T00:00:00Z"),
        rusty_s3::Method::Get,
        url,
        ACCESS,
        SECRET,
        None,
        "us-east-1",
        86400,
        none.clone(),
        none,
    );
    let signature = "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
    assert!(signed.as_str().ends_with(signature), "{signed}");
}

/// The signature was made by botocore 1.44.5 of the same request.
#[test]
fn a_put_is_signed_as_by_the_software_of_aws() {
    let mut settings = settings(9000);
    settings.to.path = "/base".to_owned();
    let place = Place::new(&settings).unwrap();
    let object = "edge 1/d=2026-11-21/h=09/00000012.l1.0123456789ab.parquet";
    let checksum = "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=";
    let signed = place.signed(object, checksum, &moment("2026-11-22T09:00:00Z"));
    assert_eq!(
        signed.as_str(),
        "http://127.0.0.1:9000/base/logs/edge%201/d%3D2026-11-21/h%3D09/00000012.l1.0123456789ab.parquet\
         ?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20261122%2Feu-west-1%2Fs3%2Faws4_request\
         &X-Amz-Date=20261122T090000Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host%3Bx-amz-checksum-sha256\
         &X-Amz-Signature=9a73b7878113cb9c252fc59911a98dff4c87f8420d748879c9295e1298631d7f"
    );
}

#[test]
fn an_object_is_called_by_its_hour_and_its_content() {
    let place = Place::new(&settings(1)).unwrap();
    let object = place.object("d=2026-11-21/h=09/00000012.l1.parquet", &"0123456789abcdef".repeat(4));
    assert_eq!(object, "edge/d=2026-11-21/h=09/00000012.l1.0123456789ab.parquet");
}

#[test]
fn a_pause_doubles_up_to_its_bound_and_chance_takes_at_most_half() {
    let pauses = |chance| [1, 2, 3, 9, 10, 1000].map(|tries| pause(tries, Duration::from_secs(30), chance));
    assert_eq!(pauses(1.0).map(|pause| pause.as_millis()), [100, 200, 400, 25_600, 30_000, 30_000]);
    assert_eq!(pauses(0.0).map(|pause| pause.as_millis()), [50, 100, 200, 12_800, 15_000, 15_000]);
}

#[test]
fn secrets_are_in_nothing_that_is_shown() {
    let shown = format!("{:?}", settings(1));
    assert!(!shown.contains(SECRET) && !shown.contains(ACCESS), "{shown}");
}

pub(super) fn ledger(data: &Path) -> String {
    std::fs::read_to_string(data.join("sinks/archive.jsonl")).unwrap_or_default()
}
