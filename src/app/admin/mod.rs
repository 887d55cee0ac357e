//! The admin socket: HTTP/1.1 with JSON over a Unix socket of our own.
//!
//! `GET /status` · `GET /open` · `POST /reload` · `POST /stop` · `POST /logs/reopen`. State changes need
//! `content-type: application/json`, and each one is logged with the user who asked.
//!
//! Invariants: who may connect is decided by the file's permissions alone (0660). One instance per socket path,
//! held by a lock on a file beside it, so neither a crash nor two starts at once confuse anybody. A bounded number
//! of connections, one request each, with a deadline.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::{self, File, OpenOptions, Permissions};
use std::future::Future;
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use crate::access_log::recovery::OpenEntry;
use crate::worker::WorkerStatus;

const MODE: u32 = 0o660;
const MAX_CONNECTIONS: usize = 16;
/// For a whole connection; a reload may have to wait for disks and names.
const DEADLINE: Duration = Duration::from_secs(60);
/// What fits into the kernel's address structure, with its final zero.
const LONGEST_PATH: usize = 107;

/// What an action leads to: a sentence for the user, good or bad.
pub type Outcome = Pin<Box<dyn Future<Output = Result<String, String>> + Send>>;

/// What the socket can do. The owner fills it in; nothing here blocks.
pub struct Actions {
    pub status: Box<dyn Fn() -> Status + Send + Sync>,
    /// What is under way.
    pub open: Box<dyn Fn() -> Open + Send + Sync>,
    /// Loads the configuration again. The error says why the old one stays.
    pub reload: Box<dyn Fn() -> Outcome + Send + Sync>,
    /// Begins to drain and stop; returns at once.
    pub stop: Box<dyn Fn() + Send + Sync>,
    pub reopen_logs: Box<dyn Fn() -> Outcome + Send + Sync>,
}

/// Version of the shape of [`Status`]: fields are only ever added within one.
const STATUS_VERSION: u8 = 1;

/// Answer of `GET /status`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Set by the socket.
    pub v: u8,
    pub version: String,
    pub pid: u32,
    pub uptime_s: u64,
    pub config: String,
    /// Configurations loaded since the start, the first one included.
    pub plans: u64,
    pub listeners: Vec<ListenerStatus>,
    pub connections: Count,
    pub requests: Count,
    pub upstreams: Vec<UpstreamStatus>,
    pub log: LogStatus,
}

/// Answer of `GET /open`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Open {
    /// Set by the socket: the version of [`Status`].
    pub v: u8,
    /// The oldest exchanges that are under way.
    pub open: Vec<OpenEntry>,
    /// How many more there are.
    pub beyond: u64,
}

/// An address that is listened on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ListenerStatus {
    /// `http` or `https`.
    pub name: String,
    pub address: String,
}

/// How many now, and since the start.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Count {
    pub open: u64,
    pub total: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct UpstreamStatus {
    pub name: String,
    pub endpoints: Vec<EndpointStatus>,
    pub workers: Vec<WorkerStatus>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointStatus {
    pub address: String,
    pub worker: Option<String>,
    pub up: bool,
    pub healthy: bool,
    pub ejected: bool,
    pub in_flight: u64,
    pub requests: u64,
    pub ejections: u64,
}

/// The access log's counters, all since the start.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LogStatus {
    /// Of requests and connections.
    pub records: u64,
    /// Other entries: events of this process, and lines of workers.
    pub lines: u64,
    /// Entries of all kinds that were acknowledged by the log service or written to the file.
    pub delivered: u64,
    /// Lost, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Left out by sampling; those that were kept carry a weight.
    pub sampled: u64,
    /// Rings of earlier starts that were damaged or gone at this one.
    pub rings_lost: u64,
    /// Requests that waited for room in the log (`on_full = "block"`), and those of them that went on without.
    pub waited: u64,
    pub waited_in_vain: u64,
    /// Bytes that wait in the spool.
    pub waiting_bytes: u64,
    /// How far the spool is filled, in thousandths.
    pub spool_fill: u64,
    /// What keeps a place from taking records, by place; they wait.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub failing: BTreeMap<String, String>,
    /// What records leave out because the spool fills: `none`, `detail`, `sample`, `mini`, `full`.
    pub pressure: String,
    /// Each place that takes records, in the order of the configuration.
    pub sinks: Vec<SinkStatus>,
}

/// One place that takes records; counters since the start.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SinkStatus {
    /// `stdout`, `file:PATH`, `unix:PATH`, `http://HOST:PORT`, or `sink:NAME`.
    pub name: String,
    pub delivered: u64,
    pub delivered_bytes: u64,
    pub batches: u64,
    /// Deliveries that failed and were tried again.
    pub retries: u64,
    /// Refused for ever by the other side: in the dead-letter file.
    pub refused: u64,
    /// Lost for this place.
    pub dropped: u64,
    /// Bytes of the spool that it has still to take.
    pub waiting_bytes: u64,
    /// Why it takes nothing at the moment, if so.
    pub trouble: Option<String>,
}

/// Why the admin socket cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error("already running: another tollgate holds {}", path.display())]
    Running { path: PathBuf },
    #[error("{} exists and is not a socket; not touching it", path.display())]
    NotASocket { path: PathBuf },
    #[error("{}: the path of a socket must not be longer than {LONGEST_PATH} bytes", path.display())]
    TooLong { path: PathBuf },
    #[error("{}: {action}", path.display())]
    Io { path: PathBuf, action: &'static str, source: io::Error },
}

/// The bound socket. Dropping it removes the file.
#[derive(Debug)]
pub struct Admin {
    listener: UnixListener,
    path: PathBuf,
    _lock: File,
}

impl Admin {
    /// Takes the socket path, removing what a crashed instance left. Makes missing directories. Needs a tokio
    /// runtime.
    ///
    /// # Errors
    /// See [`AdminError`]; [`AdminError::Running`] when another instance lives.
    pub fn bind(path: &Path) -> Result<Self, AdminError> {
        let new = path.with_extension("new");
        if new.as_os_str().len().max(path.as_os_str().len()) > LONGEST_PATH {
            return Err(AdminError::TooLong { path: path.to_owned() });
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(at(parent, "cannot make the directory"))?;
        }
        let lock = lock(path)?;
        refuse_living_or_foreign(path)?;
        // Bound under another name first, so that it is never seen with wider permissions.
        let _ = fs::remove_file(&new);
        let listener = UnixListener::bind(&new).map_err(at(path, "cannot bind"))?;
        fs::set_permissions(&new, Permissions::from_mode(MODE))
            .map_err(at(path, "cannot set permissions"))?;
        fs::rename(&new, path).map_err(at(path, "cannot put the socket in place"))?;
        Ok(Self { listener, path: path.to_owned(), _lock: lock })
    }

    /// Serves until it is dropped.
    pub async fn serve(self, actions: Actions) {
        let actions = Arc::new(actions);
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            // The semaphore is never closed.
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let actions = Arc::clone(&actions);
                    tokio::spawn(async move {
                        let _ = tokio::time::timeout(DEADLINE, connection(stream, actions)).await;
                        drop(slot);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "admin socket: cannot accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        // We hold the lock, so it is ours.
        let _ = fs::remove_file(&self.path);
    }
}

fn lock(path: &Path) -> Result<File, AdminError> {
    let lock_path = path.with_extension("lock");
    let open = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&lock_path);
    let lock = open.map_err(at(&lock_path, "cannot open"))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => Err(AdminError::Running { path: path.to_owned() }),
        Err(fs::TryLockError::Error(source)) => Err(at(&lock_path, "cannot lock")(source)),
    }
}

/// The lock is ours, but somebody may have removed the old lock file, or put something else in the socket's place.
fn refuse_living_or_foreign(path: &Path) -> Result<(), AdminError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(at(path, "cannot look at it")(source)),
        Ok(found) if !found.file_type().is_socket() => Err(AdminError::NotASocket { path: path.to_owned() }),
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
            Err(AdminError::Running { path: path.to_owned() })
        }
        Ok(_) => Ok(()),
    }
}

fn at(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> AdminError {
    let path = path.to_owned();
    move |source| AdminError::Io { path, action, source }
}

async fn connection(stream: UnixStream, actions: Arc<Actions>) {
    let user = stream.peer_cred().ok().map(|credentials| credentials.uid());
    let service = service_fn(move |request| {
        let actions = Arc::clone(&actions);
        async move { Ok::<_, Infallible>(answer(&request, user, &actions).await) }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.keep_alive(false).max_headers(32);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "admin socket");
    }
}

/// The body of a request is never read: there is nothing to say in it yet.
async fn answer<B>(request: &Request<B>, user: Option<u32>, actions: &Actions) -> Response<Full<Bytes>> {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/status") => {
            json(StatusCode::OK, &Status { v: STATUS_VERSION, ..(actions.status)() })
        }
        (&Method::GET, "/open") => json(StatusCode::OK, &Open { v: STATUS_VERSION, ..(actions.open)() }),
        (&Method::POST, "/reload" | "/stop" | "/logs/reopen") if !is_json(request) => {
            say(StatusCode::UNSUPPORTED_MEDIA_TYPE, Err("content-type must be application/json".to_owned()))
        }
        (&Method::POST, path) => change(path, user, actions).await,
        (_, "/status" | "/open" | "/reload" | "/stop" | "/logs/reopen") => {
            say(StatusCode::METHOD_NOT_ALLOWED, Err("wrong method".to_owned()))
        }
        _ => unknown(),
    }
}

async fn change(path: &str, user: Option<u32>, actions: &Actions) -> Response<Full<Bytes>> {
    let outcome = match path {
        "/reload" => (actions.reload)().await,
        "/logs/reopen" => (actions.reopen_logs)().await,
        "/stop" => {
            (actions.stop)();
            Ok("stopping".to_owned())
        }
        _ => return unknown(),
    };
    tracing::info!(action = path, user, ok = outcome.is_ok(), "admin socket");
    say(if outcome.is_ok() { StatusCode::OK } else { StatusCode::CONFLICT }, outcome)
}

fn is_json<B>(request: &Request<B>) -> bool {
    request.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json")
}

fn unknown() -> Response<Full<Bytes>> {
    say(StatusCode::NOT_FOUND, Err("no such thing".to_owned()))
}

fn say(status: StatusCode, outcome: Result<String, String>) -> Response<Full<Bytes>> {
    let reply = match outcome {
        Ok(message) => Reply { message: Some(message), error: None },
        Err(error) => Reply { message: None, error: Some(error) },
    };
    json(status, &reply)
}

/// Answer of everything but `GET /status`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Reply {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Full<Bytes>> {
    // Our own types have only string keys: rendering them cannot fail.
    let mut response = Response::new(Full::new(serde_json::to_vec(value).unwrap_or_default().into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
