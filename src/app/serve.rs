//! One core: its runtime, its accept loops, its housekeeping, its end.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

use super::handover::take_in;
use super::station::Station;
use crate::access_log::CoreLog;
use crate::access_log::follow::Writer;
use crate::files::OpenFiles;
use crate::listener::gate::Gate;
use crate::listener::spread::{Inbox, Spread};
use crate::listener::{CoreSocket, EXHAUSTED_PAUSE, Settings as ListenerSettings};
use crate::plan::Plans;
use crate::process::clock::Clock;
use crate::process::deadline::Deadlines;
use crate::process::memory;
use crate::proxy::Proxy;
use crate::proxy::core::{Core, Counts};
use crate::record::id::{IdSource, Random, SeedError};
use crate::upstream::local::Locals;

/// How often a core drops stale upstream connections, follows the wall clock and gives memory back.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// What the cores are asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub enum Stage {
    Serving,
    /// Accept nothing new, finish what is open.
    Draining,
    /// End now.
    Stopping,
}

/// What a core is made of.
pub struct Seat {
    pub index: u16,
    pub sockets: Vec<(Arc<ListenerSettings>, CoreSocket)>,
    pub plan: Arc<Plans>,
    pub log: CoreLog,
    pub counts: Arc<Counts>,
    pub gate: Arc<Gate>,
    pub spread: Arc<Spread>,
    pub inbox: Inbox,
    pub stage: watch::Receiver<Stage>,
}

/// Runs a core on this thread until it has drained.
///
/// # Errors
/// The runtime or a socket could not be set up.
pub fn run(seat: Seat) -> io::Result<()> {
    let options = tokio::runtime::LocalOptions::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(options)?;
    runtime.block_on(serve(seat))
}

async fn serve(seat: Seat) -> io::Result<()> {
    let mut stage = seat.stage;
    let core = Rc::new(core(seat.index, seat.log, seat.counts)?);
    let proxy = Rc::new(Proxy { plans: seat.plan, core: Rc::clone(&core) });
    let station = Station::new(proxy, seat.gate, seat.spread);
    let counts = Arc::clone(&core.counts);
    tokio::task::spawn_local(Rc::clone(&core.deadlines).run(move |late| counts.lag.note(late)));
    tokio::task::spawn_local(keep_house(Rc::clone(&station.proxy)));
    let taking = tokio::task::spawn_local(take_in(seat.inbox, Rc::clone(&station), stage.clone()));
    let mut accepting = Vec::new();
    for (settings, socket) in seat.sockets {
        let station = Rc::clone(&station);
        accepting.push(match socket {
            CoreSocket::Tcp(socket) => {
                let socket = TcpListener::from_std(socket)?;
                tokio::task::spawn_local(accept_tcp(socket, settings, station))
            }
            CoreSocket::Unix(socket) => {
                let socket = UnixListener::from_std(socket)?;
                tokio::task::spawn_local(accept_unix(socket, settings, station))
            }
        });
    }
    let _ = stage.wait_for(|s| *s >= Stage::Draining).await;
    accepting.iter().for_each(tokio::task::JoinHandle::abort);
    station.drain();
    let ended = async {
        // First: until then there may be connections that nobody has begun to serve.
        let _ = taking.await;
        station.emptied().await;
    };
    tokio::select! {
        () = ended => {}
        _ = stage.wait_for(|s| *s >= Stage::Stopping) => station.cut(),
    }
    Ok(())
}

fn core(index: u16, log: CoreLog, counts: Arc<Counts>) -> io::Result<Core> {
    let seed = |_: SeedError| io::Error::other("the system gives no random bytes");
    let on_end = {
        let counts = Arc::clone(&counts);
        Box::new(move || Counts::step32(&counts.in_flight, -1))
    };
    Ok(Core {
        index,
        clock: Clock::new(),
        ids: IdSource::new(index).map_err(seed)?,
        random: Random::from_os(u64::from(index)).map_err(seed)?,
        deadlines: Deadlines::new(),
        locals: Locals::default(),
        files: OpenFiles::default(),
        log: Rc::new(Writer { log, on_end }),
        counts,
    })
}

async fn keep_house(proxy: Rc<Proxy>) {
    let mut tick = tokio::time::interval(HOUSEKEEPING);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut released = tokio::time::Instant::now();
    loop {
        tick.tick().await;
        let core = &proxy.core;
        let plan = proxy.plan();
        core.locals.sweep(core.deadlines.now_ms(), |id| plan.upstreams.iter().any(|u| u.id == id));
        core.files.sweep();
        core.clock.follow();
        core.counts.idle_upstream.store(core.locals.idle() as u32, Ordering::Relaxed);
        if released.elapsed() >= memory::RELEASE_EVERY {
            released = tokio::time::Instant::now();
            memory::release();
        }
    }
}

async fn accept_tcp(socket: TcpListener, settings: Arc<ListenerSettings>, station: Rc<Station>) {
    loop {
        match socket.accept().await {
            Ok((stream, sender)) => station.admit(stream, Some(sender), &settings).await,
            Err(error) => pause_if_exhausted(&error).await,
        }
    }
}

async fn accept_unix(socket: UnixListener, settings: Arc<ListenerSettings>, station: Rc<Station>) {
    loop {
        match socket.accept().await {
            Ok((stream, _)) => station.admit(stream, None, &settings).await,
            Err(error) => pause_if_exhausted(&error).await,
        }
    }
}

/// A connection that failed before it was accepted is nobody's fault; anything else means that the system is out
/// of something, and trying again at once would spin.
async fn pause_if_exhausted(error: &io::Error) {
    if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
        tracing::error!(%error, "cannot accept connections");
        tokio::time::sleep(EXHAUSTED_PAUSE).await;
    }
}
