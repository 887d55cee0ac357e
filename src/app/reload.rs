//! [`Control`]: what changes while the program serves. A reload builds a whole new plan beside the old one and swaps
//! it; any error leaves everything as it was.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinHandle;

use super::ground::{self, LOCAL_CA, Purpose};
use super::names::{self, Names};
use super::run::Loader;
use super::workers::Workers;
use super::{log_child, log_settings};
use crate::access_log;
use crate::config::Config;
use crate::config::log::LogService;
use crate::exchange::chain;
use crate::plan::Plans;
use crate::plan::compile::compile_for;
use crate::plan::ground::Ground;
use crate::record::Kind;
use crate::tls::{CertPair, Tickets};
use crate::upstream::{Upstream, health};
use crate::worker::{Line, Supervisor, WorkerStatus};

/// Old workers get no new requests after the swap; they may finish what they have before they are ended.
const RETIRE_AFTER: Duration = Duration::from_secs(1);

/// How often the local certificate is looked at. It has a month left when it is renewed.
const RENEW_EVERY: Duration = Duration::from_hours(24);

/// What the running plan was made of.
pub struct Loaded {
    pub config: Config,
    pub tickets: Option<Tickets>,
    pub workers: Workers,
    /// What the names of servers were last known to mean.
    pub names: Names,
    /// The local certificate that is served.
    pub local: Option<CertPair>,
    /// The port that https is served on; only a restart changes it.
    pub https_port: Option<u16>,
    /// What the program was started with.
    fixed: Fixed,
}

impl Loaded {
    /// What a reload needs of the ground that the first plan stands on.
    pub fn new(config: Config, workers: Workers, ground: Ground) -> Self {
        let Ground { tickets, names, local, https_port, .. } = ground;
        let fixed = Fixed::of(&config);
        Self { config, tickets, workers, names, local, https_port, fixed }
    }
}

/// See the module.
pub struct Control {
    loaded: Mutex<Loaded>,
    loader: Loader,
    pub plan: Arc<Plans>,
    lines: mpsc::Sender<Line>,
    /// How the embedded log service is started.
    log_service: watch::Sender<log_child::Settings>,
    log: access_log::Handle,
    cores: usize,
    checks: std::sync::Mutex<HashMap<usize, JoinHandle<()>>>,
    pub born: Instant,
    pub plans: AtomicU64,
    pub source: String,
}

impl Control {
    pub fn new(
        loaded: Loaded,
        loader: Loader,
        plan: Arc<Plans>,
        (lines, log_service): (mpsc::Sender<Line>, watch::Sender<log_child::Settings>),
        log: access_log::Handle,
        cores: usize,
    ) -> Self {
        let source = loaded.config.sources.main().to_owned();
        Self {
            loaded: Mutex::new(loaded),
            loader,
            plan,
            lines,
            log_service,
            log,
            cores,
            checks: std::sync::Mutex::default(),
            born: Instant::now(),
            plans: AtomicU64::new(1),
            source,
        }
    }

    /// Loads, compiles and swaps.
    ///
    /// # Errors
    /// What is wrong, as text for the user; the running plan was not touched.
    pub async fn reload(&self) -> Result<String, String> {
        let mut loaded = self.loaded.lock().await;
        let outcome = self.replace(&mut loaded).await;
        if let Err(reason) = &outcome {
            self.log.event(
                Kind::Reload,
                self.plan.load_full().configuration,
                Some(format!("refused: {reason}")),
            );
        }
        outcome
    }

    async fn replace(&self, loaded: &mut Loaded) -> Result<String, String> {
        const KEPT: &str = "the running configuration was not changed";
        let refused = |found: &crate::config::Diagnostics| {
            format!("{}{}; {KEPT}", found.render(false), found.summary().trim_end_matches('.'))
        };
        let config = (self.loader)().map_err(|found| refused(&found))?;
        let fixed = loaded.fixed.change(&Fixed::of(&config));
        let intended =
            loaded.workers.intend(&config, self.cores).map_err(|e| format!("{}; {KEPT}", chain(&e)))?;
        let mut ground =
            ground::gather(&config, Purpose::Run).map_err(|error| format!("{}; {KEPT}", chain(&error)))?;
        let old = self.plan.load_full();
        ground.tickets.clone_from(&loaded.tickets);
        ground.workers = intended.endpoints(Some(&old));
        ground.https_port = loaded.https_port;
        ground.old = Some(old);
        for (name, known) in &loaded.names {
            ground.names.entry(name.clone()).or_insert_with(|| known.clone());
        }
        let (plans, found) =
            compile_for(self.cores, &config, &mut ground).map_err(|found| refused(&found))?;
        let configuration = plans[0].configuration;

        // New workers serve before the plan that uses them does.
        let retired = loaded.workers.start(intended, &self.plan, &self.lines).await;
        self.plan.store(plans);
        let service = log_settings::log_child(&config);
        self.log_service.send_if_modified(|running| running.take(service));
        loaded.config = config;
        loaded.names = ground.names;
        loaded.local = ground.local;
        self.plans.fetch_add(1, Ordering::Relaxed);
        self.start_checks();
        retire(retired);
        self.log.event(Kind::Reload, configuration, None);
        Ok(summary(found.warnings(), fixed))
    }

    /// Follows what changes by itself, until it is aborted: addresses of names, the local certificate.
    pub async fn follow(self: Arc<Self>) {
        let mut names = tokio::time::interval(names::EVERY);
        let mut certificates = tokio::time::interval(RENEW_EVERY);
        for tick in [&mut names, &mut certificates] {
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            // The first one is at once, and everything is fresh.
            tick.tick().await;
        }
        loop {
            tokio::select! {
                _ = names.tick() => self.resolve_again().await,
                _ = certificates.tick() => {
                    if let Err(reason) = self.renew(Path::new(LOCAL_CA), ground::unix_time()).await {
                        tracing::error!(%reason, "cannot renew the local certificate");
                    }
                }
            }
        }
    }

    async fn resolve_again(&self) {
        let wanted = names::wanted(&self.loaded.lock().await.config);
        if wanted.is_empty() {
            return;
        }
        // The resolver may take long: a reload need not wait for it.
        let Ok(found) = tokio::task::spawn_blocking(|| names::look_up(wanted)).await else { return };
        let mut loaded = self.loaded.lock().await;
        names::learn(&mut loaded.names, found);
        for upstream in names::apply(&self.plan.load_full(), &loaded.config, &loaded.names) {
            tracing::info!(%upstream, "the addresses of an upstream changed");
        }
    }

    /// Serves a new local certificate when the old one has little time left. The configuration is the one that runs:
    /// what its files say by now is for a reload. Tells whether there was something to do.
    async fn renew(&self, dir: &Path, now: u64) -> Result<bool, String> {
        let mut loaded = self.loaded.lock().await;
        let (config, dir) = (loaded.config.clone(), dir.to_owned());
        let look = move || ground::local_pair(&dir, &config, Purpose::Run, now);
        let pair = tokio::task::spawn_blocking(look).await.map_err(|error| error.to_string())?;
        let pair = pair.map_err(|error| chain(&error))?;
        let chain_of = |pair: &Option<CertPair>| pair.as_ref().map(|pair| pair.chain.clone());
        if chain_of(&pair) == chain_of(&loaded.local) {
            return Ok(false);
        }
        let mut ground = ground::gather(&loaded.config, Purpose::Check).map_err(|error| chain(&error))?;
        let old = self.plan.load_full();
        let intended = loaded.workers.intend(&loaded.config, self.cores).map_err(|error| chain(&error))?;
        ground.local.clone_from(&pair);
        ground.tickets.clone_from(&loaded.tickets);
        ground.workers = intended.endpoints(Some(&old));
        ground.names.clone_from(&loaded.names);
        ground.https_port = loaded.https_port;
        ground.old = Some(old);
        let compiled = compile_for(self.cores, &loaded.config, &mut ground);
        let (plans, _) = compiled.map_err(|found| found.summary())?;
        self.plan.store(plans);
        loaded.local = pair;
        self.start_checks();
        tracing::info!("the local certificate was renewed");
        Ok(true)
    }

    /// Starts the health checks of new upstreams and ends those of upstreams that are gone.
    pub fn start_checks(&self) {
        let plan = self.plan.load_full();
        let key = |upstream: &Arc<Upstream>| Arc::as_ptr(upstream) as usize;
        let mut checks = self.checks.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        checks.retain(|known, check| {
            let stays = plan.upstreams.iter().any(|upstream| key(upstream) == *known);
            if !stays {
                check.abort();
            }
            stays
        });
        for upstream in &plan.upstreams {
            if let Some(settings) = &upstream.settings.health {
                let start = || tokio::spawn(health::run(Arc::clone(upstream), settings.clone()));
                checks.entry(key(upstream)).or_insert_with(start);
            }
        }
    }

    pub async fn stop_workers(&self) {
        self.loaded.lock().await.workers.stop().await;
    }

    pub fn drain_timeout(&self) -> Duration {
        self.plan.load_full().drain
    }

    /// The workers of an upstream; empty while a reload is under way.
    pub fn workers(&self, upstream: &str) -> Vec<WorkerStatus> {
        self.loaded.try_lock().map(|loaded| loaded.workers.status(upstream)).unwrap_or_default()
    }
}

fn retire(old: Vec<Supervisor>) {
    tokio::spawn(async move {
        tokio::time::sleep(RETIRE_AFTER).await;
        for supervisor in old {
            supervisor.stop().await;
        }
    });
}

/// What only a restart can change.
#[derive(PartialEq)]
struct Fixed {
    listens: String,
    cores: String,
    admin: String,
    /// What the log is made of, wherever it is written.
    log: access_log::Settings,
    /// Everything else of the embedded service is changed by starting it again.
    data: Option<PathBuf>,
    host: crate::units::Duration,
}

impl Fixed {
    fn of(config: &Config) -> Self {
        let Config { server, log, .. } = config;
        let (http, https) = (&server.http, &server.https);
        let is_embedded = log.service.value == LogService::Embedded;
        Self {
            listens: format!(
                "{:?}{:?}",
                http.as_ref().map(|listen| &listen.written),
                https.as_ref().map(|listen| &listen.written)
            ),
            cores: format!("{:?}", server.cores.written),
            admin: format!("{:?}", server.admin.written),
            log: log_settings::log_settings(config),
            data: is_embedded.then(|| log_settings::data_dir(config)),
            host: log.host.value,
        }
    }

    fn change(&self, new: &Self) -> Option<&'static str> {
        match () {
            () if self.listens != new.listens => Some("the listening addresses"),
            () if self.cores != new.cores => Some("the number of cores"),
            () if self.admin != new.admin => Some("the admin socket"),
            () if self != new => Some("the log"),
            () => None,
        }
    }
}

fn summary(warnings: usize, fixed: Option<&str>) -> String {
    let mut text = "reloaded".to_owned();
    if warnings > 0 {
        text.push_str(&format!(", {warnings} warning{}", if warnings == 1 { "" } else { "s" }));
    }
    if let Some(fixed) = fixed {
        text.push_str(&format!("; {fixed} changed too, which takes a restart"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::plan::ground::Ground;

    const DAY: u64 = 86_400;
    const TEXT: &str = "
[server]
https = \"127.0.0.1:8443\"
[log]
service = \"none\"
stdout = true
[site.\"localhost\"]
tls = \"local\"
routes = [{ path = \"/*\", respond = \"hi\" }]
";

    fn running(dir: &Path, now: u64) -> Control {
        let config = config::from_text("test.toml", TEXT, &|_| None).unwrap();
        let mut ground = Ground::bare(now.cast_signed());
        ground.local = ground::local_pair(dir, &config, Purpose::Run, now).unwrap();
        let (plans, _) = compile_for(1, &config, &mut ground).unwrap_or_else(|found| panic!("{found}"));
        let (_, collector) = access_log::open(access_log::Settings::new("test", Vec::new()), 1).unwrap();
        let loaded = Loaded::new(config, Workers::default(), ground);
        let loader: Loader = Box::new(|| unreachable!("a renewal reads no configuration"));
        let service = watch::channel(log_settings::log_child(&loaded.config)).0;
        let lines = mpsc::channel(1).0;
        Control::new(loaded, loader, Arc::new(Plans::new(plans)), (lines, service), collector.handle(), 1)
    }

    #[test]
    fn the_log_has_changed_when_it_would_be_made_otherwise_and_not_when_it_stands_elsewhere() {
        let of = |log: &str| {
            let text = format!(
                "[server]\nhttp = \"127.0.0.1:0\"\n{log}\n[site.\"localhost\"]\nroutes = [{{ path = \"/*\", respond = \"hi\" }}]\n"
            );
            config::from_text("test.toml", &text, &|_| None).unwrap()
        };
        let fixed_change = |old: &Config, new: &Config| Fixed::of(old).change(&Fixed::of(new));
        let plain = of("[log]\ndata = \"d\"");
        // What only concerns the embedded service takes effect when that is started again.
        let same = [
            "\n\n# moved\n[log]\n\ndata = \"d\"",
            "[log]\ndata = \"d\"\nkeep = { age = \"31d\" }",
            "[log]\ndata = \"d\"\nmemory = \"300MiB\"",
        ];
        for log in same {
            assert_eq!(fixed_change(&plain, &of(log)), None, "{log}");
        }
        let other = [
            "buffer = \"32MiB\"",
            "file = \"f\"",
            "stdout = true",
            "sample = { rate = \"10%\", slow = \"1s\" }",
            "spool = { size = \"1GiB\" }",
            "spool = { on_full = \"block\" }",
            "spool = { on_full = \"block\", block_for = \"1s\" }",
            "spool = { sync = \"always\" }",
        ];
        for log in other {
            let log = format!("[log]\ndata = \"d\"\n{log}");
            assert_eq!(fixed_change(&plain, &of(&log)), Some("the log"), "{log}");
        }
        let block = of("[log]\nspool = { on_full = \"block\" }");
        let longer = of("[log]\nspool = { on_full = \"block\", block_for = \"1s\" }");
        assert_eq!(fixed_change(&block, &longer), Some("the log"));
    }

    #[tokio::test]
    async fn the_local_certificate_is_replaced_only_when_its_time_runs_out() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let now = ground::unix_time();
        let control = running(dir, now);
        let first = control.plan.load_full();
        assert_eq!(control.renew(dir, now + 30 * DAY).await, Ok(false));
        assert!(Arc::ptr_eq(&first, &control.plan.load_full()));
        assert_eq!(control.renew(dir, now + 80 * DAY).await, Ok(true));
        assert!(!Arc::ptr_eq(&first, &control.plan.load_full()), "the new certificate is served");
        assert_eq!(control.renew(dir, now + 81 * DAY).await, Ok(false));
    }
}
