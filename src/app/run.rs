//! From a good configuration to a serving program, and back down in order.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use super::log_settings::{data_dir, log_child, log_settings, make_data};
use super::reload::{Control, Loaded};
use super::serve::{self, Seat, Stage};
use super::workers::{self, Workers};
use super::{admin, ground, host, status};
use crate::access_log::{self, CoreLog};
use crate::config::log::LogService;
use crate::config::read::OneOrMany;
use crate::config::server::{Cores, Server};
use crate::config::words::Listen;
use crate::config::{Config, Diagnostics};
use crate::listener::gate::Gate;
use crate::listener::spread::Spread;
use crate::listener::{self, Address, BindError, Bound};
use crate::plan::Plans;
use crate::plan::compile::compile_for;
use crate::process::open_files;
use crate::process::signals::{Request, Signals};
use crate::proxy::core::Counts;
use crate::record::Kind;
use crate::tls::Tickets;

/// How a configuration is found again on reload.
pub type Loader = Box<dyn Fn() -> Result<Config, Diagnostics> + Send + Sync>;

/// Threads of the control runtime: health checks, workers, the admin socket.
const CONTROL_THREADS: usize = 2;
/// Files that a core opens beside those of its connections: what it serves from, its listeners, its part of the log.
const FILES_PER_CORE: u64 = 1024;
/// How long the log may take to deliver what it has at the end.
const LOG_GRACE: Duration = Duration::from_secs(5);

/// Why the program could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("the configuration has errors")]
    Config(Box<Diagnostics>),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Admin(#[from] admin::AdminError),
    #[error("the log service cannot keep its data in {}", path.display())]
    Data { path: PathBuf, source: io::Error },
    #[error("the access log cannot start")]
    Log(#[from] access_log::Error),
    #[error("the local certificate authority cannot be used")]
    Local(#[from] crate::tls::local::LocalError),
    #[error(transparent)]
    Worker(#[from] crate::worker::WorkerError),
    #[error("{0}")]
    System(&'static str, #[source] io::Error),
}

/// What the user is told when everything serves.
pub struct Started {
    pub listeners: Vec<(Arc<str>, Address)>,
    pub workers: usize,
    /// The first site: where to try it.
    pub host: String,
    pub has_tls: bool,
    pub log: LogService,
    pub data: PathBuf,
}

/// Runs until a signal or the admin socket ends it. `on_start` is called once all is up.
///
/// # Errors
/// See [`RunError`]; nothing is left running.
pub fn run(config: Config, loader: Loader, on_start: impl FnOnce(&Started)) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(|error| RunError::System("cannot start the control runtime", error))?;
    runtime.block_on(serve_all(config, loader, on_start))
}

async fn serve_all(config: Config, loader: Loader, on_start: impl FnOnce(&Started)) -> Result<(), RunError> {
    let mut signals =
        Signals::listen().map_err(|error| RunError::System("cannot listen for signals", error))?;
    let cores = cores(&config.server);
    raise_open_files(&config.server, cores);
    let mut workers = Workers::default();
    let intended = workers.intend(&config, cores)?;
    let mut ground = ground::gather(&config, ground::Purpose::Run)?;
    ground.tickets = Tickets::new().ok();
    ground.workers = intended.endpoints(None);
    // Before compiling: port 0 is a number only now, and redirects to https name it.
    let bound = bind_all(&config.server, cores)?;
    ground.https_port = https_port(&bound);
    let compiled = compile_for(cores, &config, &mut ground);
    let (plans, found) = compiled.map_err(|found| RunError::Config(Box::new(found)))?;
    warn(&found);
    let admin = admin_socket(&config.server)?;

    let plan = Arc::new(Plans::new(plans));
    make_data(&config).map_err(|source| RunError::Data { path: data_dir(&config), source })?;
    let (logs, collector) = access_log::open(log_settings(&config), cores)?;
    let running_log = collector.spawn()?;
    let log = running_log.handle();
    let (stop_log, log_stopped) = watch::channel(false);
    let (wanted, log_service) = start_log_service(&config, log_stopped);
    let lines = workers::lines(log.clone());
    workers.start(intended, &plan, &lines).await;

    let (stage, stage_seen) = watch::channel(Stage::Serving);
    let counts: Vec<Arc<Counts>> = (0..cores).map(|_| Arc::default()).collect();
    let gate = Arc::new(Gate::default());
    let listeners: Vec<_> = bound.iter().map(|b| (Arc::clone(&b.settings.name), b.address.clone())).collect();
    let threads = start_cores(bound, logs, &plan, &counts, &gate, &stage_seen)?;
    log.event(Kind::Start, plan.load_full().configuration, None);

    let started = started(&config, &listeners);
    let every = config.log.host.to_std();
    let loaded = Loaded::new(config, workers, ground);
    let control = Control::new(loaded, loader, Arc::clone(&plan), (lines, wanted), log.clone(), cores);
    let control = Arc::new(control);
    control.start_checks();
    let following = tokio::spawn(Arc::clone(&control).follow());
    let (metrics, control_seen) = (running_log.metrics(), Arc::clone(&control));
    let view = Arc::new(status::View { control: control_seen, counts, gate, listeners, metrics });
    let telling = tell_host(every, Arc::clone(&view), &log, started.data.clone());
    let admin = tokio::spawn(admin.serve(actions(&control, view, &stage, log.clone())));
    on_start(&started);
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);

    let drain = wait_for_end(&mut signals, &control, &stage, &log).await;
    finish_cores(threads, &mut signals, &stage, drain).await;
    following.abort();
    telling.iter().for_each(tokio::task::JoinHandle::abort);
    control.stop_workers().await;
    deliver(running_log).await;
    let _ = stop_log.send(true);
    if let Some(service) = log_service {
        let _ = service.await;
    }
    admin.abort();
    let _ = admin.await;
    Ok(())
}

/// Starts the log service if it is embedded; gives with it the way to change how it is started.
fn start_log_service(
    config: &Config,
    stop: watch::Receiver<bool>,
) -> (watch::Sender<super::log_child::Settings>, Option<tokio::task::JoinHandle<()>>) {
    let (wanted, seen) = watch::channel(log_child(config));
    let is_embedded = matches!(config.log.service.value, LogService::Embedded);
    (wanted, is_embedded.then(|| tokio::spawn(super::log_child::keep(seen, stop))))
}

/// Starts to write host facts, unless the interval is zero.
fn tell_host(
    every: Duration,
    view: Arc<status::View>,
    log: &access_log::Handle,
    disk: PathBuf,
) -> Option<tokio::task::JoinHandle<()>> {
    (every > Duration::ZERO).then(|| tokio::spawn(host::keep(view, log.clone(), every, disk)))
}

/// Ends the log after everything that writes to it, and says what it could not deliver.
async fn deliver(log: access_log::Running) {
    let report = log.stop(LOG_GRACE).await;
    for (sink, records) in report.undelivered {
        tracing::error!(%sink, records, "records could not be delivered before the end");
    }
    for (sink, bytes) in report.waiting {
        tracing::warn!(%sink, bytes, "records wait on disk for the next start: they could not be delivered before the end");
    }
}

fn warn(found: &Diagnostics) {
    for diagnostic in found.iter() {
        tracing::warn!(code = diagnostic.code.code, "{}", diagnostic.message);
    }
}

/// Takes all the files that the system allows, and says so when that is too few: each connection may have another one
/// upstream.
fn raise_open_files(server: &Server, cores: usize) {
    let needed = u64::from(server.max_connections.get()) * 2 + FILES_PER_CORE * cores as u64;
    if let Some(limit) = open_files::raise().filter(|limit| *limit < needed) {
        let most = server.max_connections.cause("max_connections");
        // Nobody chose the default, so a small machine is not told off for it.
        if !server.max_connections.is_written() {
            return;
        }
        tracing::warn!(
            "this process may open {limit} files, and {most} may need {needed}: raise the hard limit (ulimit -Hn, or \
             LimitNOFILE= of its service), or lower max_connections"
        );
    }
}

/// Cores as configured; `auto` is what the scheduler gives us.
pub fn cores(server: &Server) -> usize {
    match &server.cores.value {
        Cores::Auto(_) => std::thread::available_parallelism().map_or(1, usize::from),
        Cores::Number(count) => count.to_usize(),
    }
}

/// Binds everything, or nothing.
fn bind_all(server: &Server, cores: usize) -> Result<Vec<Bound>, BindError> {
    let mut bound = Vec::new();
    let sides = [("http", false, &server.http), ("https", true, &server.https)];
    for (name, is_tls, listens) in sides {
        for listen in listens.iter().flat_map(|list: &crate::config::At<OneOrMany<Listen>>| list.iter()) {
            let settings = listener::Settings { name: name.into(), address: address(&listen.value), is_tls };
            bound.push(listener::bind(&settings, cores)?);
        }
    }
    Ok(bound)
}

/// Where https is served, if on TCP.
fn https_port(bound: &[Bound]) -> Option<u16> {
    bound.iter().filter(|bound| bound.settings.is_tls).find_map(|bound| match &bound.address {
        Address::Tcp(address) => Some(address.port()),
        Address::Unix(_) => None,
    })
}

fn address(listen: &Listen) -> Address {
    match listen {
        // The unspecified IPv6 address takes IPv4 too.
        Listen::Any(port) => Address::Tcp((std::net::Ipv6Addr::UNSPECIFIED, *port).into()),
        Listen::Tcp(address) => Address::Tcp(*address),
        Listen::Unix(path) => Address::Unix(path.clone()),
    }
}

fn admin_socket(server: &Server) -> Result<admin::Admin, RunError> {
    let path = match &server.admin.value {
        Listen::Unix(path) => path.clone(),
        other => {
            let error = io::Error::new(io::ErrorKind::Unsupported, format!("{other} is not a Unix socket"));
            return Err(RunError::System("the admin address must be a Unix socket", error));
        }
    };
    Ok(admin::Admin::bind(&path)?)
}

fn start_cores(
    bound: Vec<Bound>,
    logs: Vec<CoreLog>,
    plan: &Arc<Plans>,
    counts: &[Arc<Counts>],
    gate: &Arc<Gate>,
    stage: &watch::Receiver<Stage>,
) -> Result<Vec<JoinHandle<io::Result<()>>>, RunError> {
    let mut sockets: Vec<Vec<_>> = logs.iter().map(|_| Vec::new()).collect();
    for one in bound {
        let settings = Arc::new(one.settings);
        for (core, socket) in one.sockets.into_iter().enumerate() {
            sockets[core].push((Arc::clone(&settings), socket));
        }
    }
    let (spread, inboxes) = Spread::new(logs.len());
    let seats = sockets.into_iter().zip(logs).zip(counts).zip(inboxes).enumerate();
    seats
        .map(|(index, (((sockets, log), counts), inbox))| {
            let seat = Seat {
                index: index as u16,
                sockets,
                plan: Arc::clone(plan),
                log,
                counts: Arc::clone(counts),
                gate: Arc::clone(gate),
                spread: Arc::clone(&spread),
                inbox,
                stage: stage.clone(),
            };
            std::thread::Builder::new()
                .name(format!("core-{index}"))
                .spawn(move || serve::run(seat))
                .map_err(|error| RunError::System("cannot start a core", error))
        })
        .collect()
}

fn started(config: &Config, listeners: &[(Arc<str>, Address)]) -> Started {
    let first = config.sites.first();
    let is_any = |name: &str| name == "*" || name.starts_with("*.");
    let host = first.map(|site| site.name.to_string()).filter(|name| !is_any(name));
    Started {
        listeners: listeners.to_vec(),
        workers: config.upstreams.iter().filter(|upstream| upstream.body.workers.is_some()).count(),
        host: host.unwrap_or_else(|| "localhost".to_owned()),
        has_tls: first.is_some_and(|site| site.body.tls.is_some()),
        log: config.log.service.value.clone(),
        data: data_dir(config),
    }
}

fn actions(
    control: &Arc<Control>,
    view: Arc<status::View>,
    stage: &watch::Sender<Stage>,
    log: access_log::Handle,
) -> admin::Actions {
    let (control, stage) = (Arc::clone(control), stage.clone());
    let flights = log.flights();
    admin::Actions {
        status: Box::new(move || view.status()),
        open: Box::new(move || status::open(&flights)),
        reload: Box::new(move || {
            let control = Arc::clone(&control);
            Box::pin(async move { control.reload().await })
        }),
        stop: Box::new(move || {
            // Nobody listens any more only when everything has ended already.
            let _ = stage.send(Stage::Draining);
        }),
        reopen_logs: Box::new(move || {
            log.reopen();
            Box::pin(async { Ok("log files will be opened again".to_owned()) })
        }),
    }
}

/// Serves signals until the end is asked for; returns how long draining may take.
async fn wait_for_end(
    signals: &mut Signals,
    control: &Arc<Control>,
    stage: &watch::Sender<Stage>,
    log: &access_log::Handle,
) -> Duration {
    let mut asked = stage.subscribe();
    loop {
        let request = tokio::select! {
            request = signals.next() => request,
            _ = asked.wait_for(|stage| *stage >= Stage::Draining) => Request::Stop,
        };
        match request {
            Request::Stop | Request::StopNow => break,
            Request::ReopenLogs => log.reopen(),
            Request::Reload => {
                let control = Arc::clone(control);
                tokio::spawn(async move {
                    if let Err(reason) = control.reload().await {
                        tracing::error!("{reason}");
                    }
                });
            }
        }
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    let _ = stage.send(Stage::Draining);
    control.drain_timeout()
}

/// Waits for the cores to drain; a second signal or the deadline cuts what is left.
async fn finish_cores(
    threads: Vec<JoinHandle<io::Result<()>>>,
    signals: &mut Signals,
    stage: &watch::Sender<Stage>,
    drain: Duration,
) {
    let mut joined = tokio::task::spawn_blocking(move || {
        for thread in threads {
            match thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "a core failed"),
                Err(_) => tracing::error!("a core panicked"),
            }
        }
    });
    tokio::select! {
        _ = &mut joined => return,
        () = tokio::time::sleep(drain) => tracing::warn!("the drain deadline has passed; cutting what is left"),
        _ = signals.next() => tracing::warn!("asked again to stop; cutting what is left"),
    }
    let _ = stage.send(Stage::Stopping);
    let _ = joined.await;
}
