//! One core: its runtime, its accept loops, its connections, its end.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio_rustls::server::TlsStream;

use super::open::{Open, refusal, tls_facts};
use crate::access_log::CoreLog;
use crate::access_log::follow::Writer;
use crate::downstream::tap::Socket;
use crate::downstream::wire::{Cut, Wire};
use crate::downstream::{Handler, Why, h1, h2, sniff};
use crate::exchange::connection::Connection;
use crate::files::OpenFiles;
use crate::http::forwarded::{Hop, Proto};
use crate::listener::gate::{Entered, Gate};
use crate::listener::{CoreSocket, EXHAUSTED_PAUSE, Settings as ListenerSettings};
use crate::plan::{Plan, Plans};
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

/// The connections and the proxy of this core.
struct Station {
    proxy: Rc<Proxy>,
    gate: Arc<Gate>,
    serial: Cell<u64>,
    wires: RefCell<HashMap<u64, Weak<Wire>, foldhash::fast::FixedState>>,
}

async fn serve(seat: Seat) -> io::Result<()> {
    let mut stage = seat.stage;
    let station = Rc::new(station(seat.index, seat.plan, seat.log, seat.counts, seat.gate)?);
    let core = Rc::clone(&station.proxy.core);
    tokio::task::spawn_local(Rc::clone(&core.deadlines).run());
    tokio::task::spawn_local(keep_house(Rc::clone(&station.proxy)));
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
    tokio::select! {
        () = station.emptied() => {}
        _ = stage.wait_for(|s| *s >= Stage::Stopping) => station.cut(),
    }
    Ok(())
}

fn station(
    index: u16,
    plan: Arc<Plans>,
    log: CoreLog,
    counts: Arc<Counts>,
    gate: Arc<Gate>,
) -> io::Result<Station> {
    let seed = |_: SeedError| io::Error::other("the system gives no random bytes");
    let on_end = {
        let counts = Arc::clone(&counts);
        Box::new(move || Counts::step32(&counts.in_flight, -1))
    };
    let core = Rc::new(Core {
        index,
        clock: Clock::new(),
        ids: IdSource::new(index).map_err(seed)?,
        random: Random::from_os(u64::from(index)).map_err(seed)?,
        deadlines: Deadlines::new(),
        locals: Locals::default(),
        files: OpenFiles::default(),
        log: Rc::new(Writer { log, on_end }),
        counts,
    });
    let proxy = Rc::new(Proxy { plans: plan, core });
    // Serials are unique over the cores of a boot.
    let serial = Cell::new(u64::from(index) << 48);
    Ok(Station { proxy, gate, serial, wires: RefCell::default() })
}

async fn keep_house(proxy: Rc<Proxy>) {
    let mut tick = tokio::time::interval(HOUSEKEEPING);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut turns = 0_u32;
    loop {
        tick.tick().await;
        let core = &proxy.core;
        let plan = proxy.plan();
        core.locals.sweep(core.deadlines.now_ms(), |id| plan.upstreams.iter().any(|u| u.id == id));
        core.files.sweep();
        core.clock.follow();
        core.counts.idle_upstream.store(core.locals.idle() as u32, Ordering::Relaxed);
        turns = turns.wrapping_add(1);
        if turns.is_multiple_of(4) {
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

impl Station {
    /// Turns away what one address has too much of; waits while there are too many connections in all, so that
    /// nothing more is accepted meanwhile.
    async fn admit<S: Socket>(
        self: &Rc<Self>,
        socket: S,
        sender: Option<SocketAddr>,
        settings: &Arc<ListenerSettings>,
    ) {
        let max_per_ip = self.proxy.plan().max_connections_per_ip;
        let Some(mut entered) = self.gate.enter(sender.map(|s| s.ip()), max_per_ip) else {
            return self.refuse(sender, settings, &self.proxy.plan());
        };
        entered.place(|| self.proxy.plan().max_connections).await;
        let (station, settings, plan) = (Rc::clone(self), Arc::clone(settings), self.proxy.plan());
        tokio::task::spawn_local(station.connection(socket, sender, settings, plan, entered));
    }

    fn refuse(&self, sender: Option<SocketAddr>, settings: &ListenerSettings, plan: &Plan) {
        let connection = self.facts(sender, settings, Instant::now());
        let wire = self.wire(connection, plan);
        self.proxy.refused(refusal(&wire, Why::TooMany, String::new()));
    }

    fn facts(
        &self,
        sender: Option<SocketAddr>,
        settings: &ListenerSettings,
        accepted: Instant,
    ) -> Connection {
        let serial = self.serial.get() + 1;
        self.serial.set(serial);
        let sender = sender.unwrap_or(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0));
        let proto = if settings.is_tls { Proto::Https } else { Proto::Http };
        Connection {
            serial,
            listener: Arc::clone(&settings.name),
            sender,
            tls: None,
            is_h2: false,
            accepted,
            handshake_us: None,
            hop: Hop::new(sender.ip(), proto),
            neighbours: self.proxy.core.counts.connections.load(Ordering::Relaxed),
            rx: Cell::new(0),
            tx: Cell::new(0),
            requests: Cell::new(0),
            in_flight: Cell::new(0),
            idle_since: Cell::new(accepted),
        }
    }

    fn wire(&self, connection: Connection, plan: &Plan) -> Rc<Wire> {
        let deadlines = &self.proxy.core.deadlines;
        let limits = Arc::clone(&plan.downstream);
        Wire::new(Rc::new(connection), limits, deadlines.slot(), deadlines.slot())
    }

    /// One connection from its acceptance to its end. What only its beginning needs is boxed: an idle connection
    /// keeps this future, so each byte of it counts.
    async fn connection<S: Socket>(
        self: Rc<Self>,
        socket: S,
        sender: Option<SocketAddr>,
        settings: Arc<ListenerSettings>,
        plan: Arc<Plan>,
        entered: Entered,
    ) {
        let _open = Open::new(Arc::clone(&self.proxy.core.counts), entered);
        let connection = self.facts(sender, &settings, Instant::now());
        match settings.is_tls {
            true => {
                let shaken = Box::pin(self.shake(socket, connection, plan)).await;
                if let Some((stream, wire)) = shaken {
                    self.serve_wire(stream, Bytes::new(), wire).await;
                }
            }
            false => {
                let sniffed = Box::pin(self.sniffed(socket, connection, plan)).await;
                if let Some((socket, prefix, wire)) = sniffed {
                    self.serve_wire(socket, prefix, wire).await;
                }
            }
        }
    }

    /// Finds out which protocol a plain connection speaks, where more than one is allowed.
    async fn sniffed<S: Socket>(
        &self,
        mut socket: S,
        mut connection: Connection,
        plan: Arc<Plan>,
    ) -> Option<(S, Bytes, Rc<Wire>)> {
        if !plan.h2c {
            let wire = self.wire(connection, &plan);
            return Some((socket, Bytes::new(), wire));
        }
        let probe = self.wire(self.twin(&connection), &plan);
        probe.deadline.set(plan.downstream.header);
        let Some((is_h2, prefix)) = sniff(&mut socket, &probe).await else {
            self.proxy.refused(refusal(&probe, Why::Gone, String::new()));
            return None;
        };
        connection.is_h2 = is_h2;
        Some((socket, prefix, self.wire(connection, &plan)))
    }

    async fn shake<S: Socket>(
        &self,
        socket: S,
        mut connection: Connection,
        plan: Arc<Plan>,
    ) -> Option<(Box<TlsStream<S>>, Rc<Wire>)> {
        let server = plan.tls.as_ref()?;
        let deadline = self.proxy.core.deadlines.slot();
        deadline.set(plan.downstream.handshake);
        let (stream, facts) = match server.accept(socket, deadline.due()).await {
            Ok(shaken) => shaken,
            Err(error) => {
                let is_timeout = error.why == crate::tls::handshake::Why::Timeout;
                let why = if is_timeout { Why::HandshakeTimeout } else { Why::Handshake };
                let wire = self.wire(connection, &plan);
                self.proxy.refused(refusal(&wire, why, error.detail().to_owned()));
                return None;
            }
        };
        connection.handshake_us = Some(connection.accepted.elapsed().as_micros() as u32);
        connection.idle_since.set(Instant::now());
        connection.is_h2 = facts.alpn == Some("h2");
        connection.tls = Some(tls_facts(facts));
        Some((Box::new(stream), self.wire(connection, &plan)))
    }

    async fn serve_wire<S: Socket>(&self, socket: S, prefix: Bytes, wire: Rc<Wire>) {
        let serial = wire.connection.serial;
        self.wires.borrow_mut().insert(serial, Rc::downgrade(&wire));
        let handler = Rc::clone(&self.proxy);
        match wire.connection.is_h2 {
            true => Box::pin(h2::serve(socket, prefix, wire, handler)).await,
            false => h1::serve(socket, prefix, wire, handler).await,
        }
        self.wires.borrow_mut().remove(&serial);
    }

    /// Facts for a wire that only guards the sniffing of the protocol.
    fn twin(&self, connection: &Connection) -> Connection {
        Connection {
            serial: connection.serial,
            listener: Arc::clone(&connection.listener),
            sender: connection.sender,
            tls: None,
            is_h2: false,
            accepted: connection.accepted,
            handshake_us: None,
            hop: connection.hop.clone(),
            neighbours: connection.neighbours,
            rx: Cell::new(0),
            tx: Cell::new(0),
            requests: Cell::new(0),
            in_flight: Cell::new(0),
            idle_since: Cell::new(connection.accepted),
        }
    }

    /// Tells every connection to finish.
    fn drain(&self) {
        for wire in self.open_wires() {
            wire.drain();
        }
    }

    /// What is open now ends with the runtime: its records shall say why.
    fn cut(&self) {
        for wire in self.open_wires() {
            wire.cut.set(Some(Cut::Drained));
        }
    }

    fn open_wires(&self) -> Vec<Rc<Wire>> {
        self.wires.borrow().values().filter_map(Weak::upgrade).collect()
    }

    async fn emptied(&self) {
        let counts = &self.proxy.core.counts;
        while counts.connections.load(Ordering::Relaxed) > 0 {
            self.drain();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
