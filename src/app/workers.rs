//! The workers of the upstreams, and how they meet the balancer: an endpoint is up exactly while its worker serves.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use crate::access_log;
use crate::config::upstream::Upstream as UpstreamWords;
use crate::config::words::Name;
use crate::config::workers::{WorkerCount, Workers as Words};
use crate::config::{Config, Named};
use crate::plan::{Plan, Plans};
use crate::upstream::Upstream;
use crate::upstream::endpoint::{Address, Endpoint};
use crate::worker::{
    Event, Hooks, Line, Prepared, Ready, Restart, Settings, State, Stream, Supervisor, WorkerError,
    WorkerStatus, exec,
};

/// Lines that may wait for the log.
const LINES: usize = 1024;

/// Workers that run, by upstream, each with the words that made them.
#[derive(Default)]
pub struct Workers {
    running: HashMap<String, (String, Supervisor, Vec<Arc<Endpoint>>)>,
}

/// Workers that are to run under a new plan.
#[derive(Default)]
pub struct Intended {
    fresh: Vec<(String, String, Prepared, Vec<Arc<Endpoint>>)>,
    endpoints: HashMap<String, Vec<Arc<Endpoint>>>,
}

impl Intended {
    /// The endpoints of all workers, by upstream. Workers that go on stay where `running` has them: they may have moved
    /// to other ports since they were started.
    pub fn endpoints(&self, running: Option<&Plan>) -> HashMap<String, Vec<Arc<Endpoint>>> {
        let mut all = self.endpoints.clone();
        let upstreams = running.iter().flat_map(|plan| &plan.upstreams);
        for upstream in upstreams {
            let name = &*upstream.settings.name;
            let is_fresh = self.fresh.iter().any(|(fresh, ..)| fresh == name);
            if let Some(endpoints) = all.get_mut(name).filter(|_| !is_fresh) {
                let now = upstream.endpoints();
                *endpoints = now.iter().filter(|endpoint| endpoint.worker.is_some()).cloned().collect();
            }
        }
        all
    }
}

impl Workers {
    /// Reserves ports for workers that do not run yet; those with the same words as before go on.
    ///
    /// # Errors
    /// No ports.
    pub fn intend(&self, config: &Config, cores: usize) -> Result<Intended, WorkerError> {
        let mut intended = Intended::default();
        for named in &config.upstreams {
            let Some(words) = &named.body.workers else { continue };
            let name = named.name.value.to_string();
            let key = format!("{words:?}");
            if let Some((running, _, endpoints)) = self.running.get(&name)
                && *running == key
            {
                intended.endpoints.insert(name, endpoints.clone());
                continue;
            }
            let prepared = Supervisor::prepare(settings(named, words, cores))?;
            let endpoints = endpoints(&prepared);
            intended.endpoints.insert(name.clone(), endpoints.clone());
            intended.fresh.push((name, key, prepared, endpoints));
        }
        Ok(intended)
    }

    /// Starts what is new and waits until it serves (or has died once); returns what is no longer wanted.
    pub async fn start(
        &mut self,
        intended: Intended,
        plan: &Arc<Plans>,
        lines: &mpsc::Sender<Line>,
    ) -> Vec<Supervisor> {
        let mut old = Vec::new();
        let mut started = Vec::new();
        for (name, key, prepared, endpoints) in intended.fresh {
            let hooks = hooks(&name, &endpoints, plan);
            let supervisor = prepared.start(&hooks, lines);
            if let Some((_, supervisor, _)) = self.running.remove(&name) {
                old.push(supervisor);
            }
            self.running.insert(name.clone(), (key, supervisor, endpoints));
            started.push(name);
        }
        for name in started {
            if let Some((_, supervisor, _)) = self.running.get(&name) {
                supervisor.settled().await;
            }
        }
        let gone: Vec<String> =
            self.running.keys().filter(|name| !intended.endpoints.contains_key(*name)).cloned().collect();
        old.extend(
            gone.iter().filter_map(|name| self.running.remove(name)).map(|(_, supervisor, _)| supervisor),
        );
        old
    }

    /// Ends all workers.
    pub async fn stop(&self) {
        futures_util::future::join_all(self.running.values().map(|(_, supervisor, _)| supervisor.stop()))
            .await;
    }

    pub fn status(&self, upstream: &str) -> Vec<WorkerStatus> {
        self.running.get(upstream).map(|(_, supervisor, _)| supervisor.status()).unwrap_or_default()
    }
}

fn settings(named: &Named<Name, UpstreamWords>, words: &Words, cores: usize) -> Settings {
    let command = words.command.iter().map(|word| word.value.to_string()).collect();
    let count = match &words.count.value {
        WorkerCount::Auto(_) => cores,
        WorkerCount::Number(count) => count.to_usize(),
    };
    Settings {
        launcher: exec::launcher(std::path::Path::new("/proc/self/exe")),
        env: words.env.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        cwd: words.cwd.as_ref().map_or_else(|| PathBuf::from("."), |cwd| PathBuf::from(&*cwd.value)),
        ready: match &words.ready {
            Some(path) => Ready::Http { path: path.to_string() },
            None => Ready::Connect,
        },
        ready_timeout: words.ready_timeout.to_std(),
        stop_timeout: words.stop_timeout.to_std(),
        restart: Restart {
            first_delay: words.restart.delay.to_std(),
            max_delay: words.restart.max_delay.to_std(),
            steady_after: words.restart.reset_after.to_std(),
            max_quick_deaths: words.restart.max_quick_deaths.get(),
            ..Restart::default()
        },
        memory_limit: words.max_memory.as_ref().map(|size| size.as_bytes()),
        ..Settings::new(&named.name.value, command, count)
    }
}

fn endpoints(prepared: &Prepared) -> Vec<Arc<Endpoint>> {
    let pairs = prepared.addresses().into_iter().zip(prepared.names());
    pairs
        .map(|(address, name)| Arc::new(Endpoint::new(Address::Tcp(address), 1, false, Some(name), false)))
        .collect()
}

/// What the supervisor tells: up while serving. A new port makes a new endpoint.
fn hooks(name: &str, endpoints: &[Arc<Endpoint>], plan: &Arc<Plans>) -> Hooks {
    let current: Arc<Vec<ArcSwap<Endpoint>>> =
        Arc::new(endpoints.iter().map(|e| ArcSwap::new(Arc::clone(e))).collect());
    let asked = Arc::clone(&current);
    let (name, plan) = (name.to_owned(), Arc::clone(plan));
    Hooks {
        on_change: Arc::new(move |event: Event| on_change(&name, &current, &plan, &event)),
        in_flight: Arc::new(move |index| {
            asked.get(index).map_or(0, |endpoint| endpoint.load().in_flight.sum() as u32)
        }),
    }
}

fn on_change(name: &str, current: &[ArcSwap<Endpoint>], plan: &Plans, event: &Event) {
    let Some(slot) = current.get(event.index) else { return };
    let mut endpoint = slot.load_full();
    let plan = plan.load_full();
    let upstream: Option<&Arc<Upstream>> = plan.upstreams.iter().find(|u| *u.settings.name == *name);
    if endpoint.address != Address::Tcp(event.address) {
        let address = Address::Tcp(event.address);
        let moved = Endpoint::new(address, endpoint.weight, endpoint.backup, endpoint.worker.clone(), false);
        let moved = Arc::new(moved);
        if let Some(upstream) = upstream {
            let exchange = |e: &Arc<Endpoint>| {
                if Arc::ptr_eq(e, &endpoint) { Arc::clone(&moved) } else { Arc::clone(e) }
            };
            upstream.change_endpoints(|all| all.iter().map(exchange).collect());
        }
        slot.store(Arc::clone(&moved));
        endpoint = moved;
    }
    let is_up = event.state == State::Serving;
    endpoint.up.store(is_up, Ordering::Relaxed);
    if is_up {
        endpoint.failures.store(0, Ordering::Relaxed);
        endpoint.ejected_until_ms.store(0, Ordering::Relaxed);
        if let Some(upstream) = upstream {
            upstream.changed.notify_waiters();
        }
    }
    tracing::info!(upstream = %name, worker = event.index, state = ?event.state, restarts = event.restarts, "worker");
}

/// Carries what workers print to the log, for as long as somebody prints.
pub fn lines(log: access_log::Handle) -> mpsc::Sender<Line> {
    let (sender, mut receiver) = mpsc::channel::<Line>(LINES);
    tokio::spawn(async move {
        while let Some(line) = receiver.recv().await {
            let stream = match line.stream {
                Stream::Out => access_log::Stream::Stdout,
                Stream::Err => access_log::Stream::Stderr,
            };
            log.line(&line.worker, stream, line.text.as_bytes());
        }
    });
    sender
}
