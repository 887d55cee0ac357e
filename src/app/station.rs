//! [`Station`]: the connections of one core; lets them in, and tells them to leave.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::handover::Accepted;
use super::life::Life;
use crate::downstream::tap::Socket;
use crate::downstream::wire::{Cut, Limits, Wire};
use crate::downstream::{Handler, Refusal, Why};
use crate::exchange::connection::Connection;
use crate::listener::Settings as ListenerSettings;
use crate::listener::gate::Gate;
use crate::listener::spread::{Load, Open, Spread};
use crate::plan::Plan;
use crate::proxy::Proxy;
use crate::proxy::core::Counts;

/// See the module.
pub(super) struct Station {
    pub(super) proxy: Rc<Proxy>,
    gate: Arc<Gate>,
    spread: Arc<Spread>,
    load: Arc<Load>,
    serial: Cell<u64>,
    /// The connections that are served: not those that are parked.
    pub(super) wires: RefCell<HashMap<u64, Weak<Wire>, foldhash::fast::FixedState>>,
    /// Parked connections look at this when they are woken.
    pub(super) is_draining: Cell<bool>,
}

impl Station {
    pub(super) fn new(proxy: Rc<Proxy>, gate: Arc<Gate>, spread: Arc<Spread>) -> Rc<Self> {
        // Serials are unique over the cores of a boot.
        let serial = Cell::new(u64::from(proxy.core.index) << 48);
        let load = spread.load(proxy.core.index);
        let (wires, is_draining) = (RefCell::default(), Cell::new(false));
        Rc::new(Self { proxy, gate, spread, load, serial, wires, is_draining })
    }

    /// Turns away what one address has too much of; waits while there are too many connections in all, so that
    /// nothing more is accepted meanwhile. What is let in may be served by another core.
    pub(super) async fn admit<S: Accepted>(
        self: &Rc<Self>,
        socket: S,
        sender: Option<SocketAddr>,
        settings: &Arc<ListenerSettings>,
    ) {
        let max_per_ip = self.proxy.plan().max_connections_per_ip;
        let Some(mut entered) = self.gate.enter(sender.map(|s| s.ip()), max_per_ip) else {
            let connection = Rc::new(self.facts(sender, settings));
            return self.refuse(connection, &self.proxy.plan(), Why::TooMany, "");
        };
        entered.place(|| self.proxy.plan().max_connections).await;
        match self.spread.passage(&self.load) {
            Some(passage) => match socket.release() {
                Ok(stream) => passage.send(stream, sender, Arc::clone(settings), entered),
                Err(error) => tracing::error!(%error, "cannot hand a connection over"),
            },
            None => self.begin(socket, sender, settings, Open::new(&self.load, entered)),
        }
    }

    /// Starts to serve a connection that was let in.
    pub(super) fn begin<S: Socket>(
        self: &Rc<Self>,
        socket: S,
        sender: Option<SocketAddr>,
        settings: &ListenerSettings,
        open: Open,
    ) {
        Counts::step64(&self.proxy.core.counts.accepted);
        let connection = self.facts(sender, settings);
        let (station, plan) = (Rc::clone(self), self.proxy.plan());
        match settings.is_tls {
            true => Life::spawn(self, open, station.serve_tls(socket, connection, plan)),
            false => Life::spawn(self, open, station.serve_plain(socket, connection, plan)),
        }
    }

    /// Writes the record of a connection that brought no request.
    pub(super) fn refuse(&self, connection: Rc<Connection>, plan: &Plan, why: Why, detail: &str) {
        let wire = self.wire(connection, Arc::clone(&plan.downstream));
        let detail = detail.to_owned();
        self.proxy.refused(Refusal { wire, why, status: None, head: Bytes::new(), detail });
    }

    fn facts(&self, sender: Option<SocketAddr>, settings: &ListenerSettings) -> Connection {
        let serial = self.serial.get() + 1;
        self.serial.set(serial);
        let accepted = Instant::now();
        Connection {
            serial,
            listener: Arc::clone(&settings.name),
            sender: sender.unwrap_or(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)),
            tls: None,
            is_h2: false,
            accepted,
            handshake_us: None,
            neighbours: self.load.open(),
            rx: Cell::new(0),
            tx: Cell::new(0),
            requests: Cell::new(0),
            in_flight: Cell::new(0),
            idle_since: Cell::new(accepted),
        }
    }

    pub(super) fn wire(&self, connection: Rc<Connection>, limits: Arc<Limits>) -> Rc<Wire> {
        let deadlines = &self.proxy.core.deadlines;
        Wire::new(connection, limits, deadlines.slot(), deadlines.slot())
    }

    /// Tells every connection to finish.
    pub(super) fn drain(&self) {
        if !self.is_draining.replace(true) {
            self.proxy.core.deadlines.wake_all();
        }
        for wire in self.open_wires() {
            wire.drain();
        }
    }

    /// What is open now ends with the runtime: its records shall say why.
    pub(super) fn cut(&self) {
        for wire in self.open_wires() {
            wire.cut.set(Some(Cut::Drained));
        }
    }

    fn open_wires(&self) -> Vec<Rc<Wire>> {
        self.wires.borrow().values().filter_map(Weak::upgrade).collect()
    }

    /// Waits until every connection has ended.
    pub(super) async fn emptied(&self) {
        while self.load.open() > 0 {
            self.drain();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
