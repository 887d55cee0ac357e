//! The ways in: HTTP on TCP and Unix sockets, `¶` packets on TCP, and the protocols of shippers.
//!
//! Everything here is bounded: connections per socket, bytes held for all bodies and packets together, time for a
//! head, a body and for silence, live tails and searches.

mod alerts;
mod answer;
mod body;
mod bulk;
mod forward;
mod frames;
mod http;
pub(super) mod io;
mod lines;
mod lumberjack;
mod otlp;
mod packets;
#[cfg(test)]
mod persist_tests;
mod persist;
mod portion;
mod questions;
mod refusals;
mod rollups;
mod room;
mod shipper;
#[cfg(test)]
mod shipper_tests;
mod silent;
mod sockets;
#[cfg(test)]
mod stranger_tests;
mod syslog;
#[cfg(test)]
mod syslog_tests;
mod tail;
#[cfg(test)]
mod tests;
mod tls;

use std::collections::BTreeSet;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use self::refusals::Refusals;
use self::sockets::{Socket, Stream};
use self::tls::Handshake;
use super::batch::{Bounds, Parsed};
use super::entry::Trust;
use super::frames::Split;
use super::store::{AppendError, Appended, Counts, Running, Store};
use super::{InputKind, InputSettings, Limits, Listen, Secret, ServiceError, Settings, Token};
use super::{alert, bucket};

/// The ways to what works beside the doors.
type Handles = (alert::Handle, bucket::BucketDesk);

/// After an accept error (out of descriptors) the kernel would report the same again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Tails that look back at once; others wait for them. With the questions these are fewer than the runtime's threads for
/// such work, which looks at the disk need, too.
const BEGINNINGS: usize = 2;

/// All bound sockets.
pub(crate) struct Doors {
    http: Vec<Socket>,
    packets: Option<Socket>,
    inputs: Vec<(Socket, Arc<Door>)>,
    desk: Arc<Desk>,
}

/// What is particular to one way in.
struct Door {
    /// As the configuration calls it; empty for the service's own.
    name: String,
    kind: InputKind,
    /// What senders must show, any of these. Empty: everybody who reaches the address is let in.
    tokens: Vec<Token>,
    /// The same as it was written, for protocols that need it so.
    secret: Option<Secret>,
    tls: Option<Handshake>,
    /// Whether its senders are believed about whose records they bring.
    trust: Trust,
    refusals: Refusals,
}

impl Door {
    /// HTTP for everybody who reaches it: the service's own, where proxies send.
    fn open() -> Self {
        Self {
            name: String::new(),
            kind: InputKind::Http,
            tokens: Vec::new(),
            secret: None,
            tls: None,
            trust: Trust::Believed,
            refusals: Refusals::default(),
        }
    }

    fn of(input: &InputSettings) -> Result<Self, ServiceError> {
        Ok(Self {
            name: input.name.clone(),
            kind: input.kind,
            tokens: input.secret.iter().map(Secret::token).collect(),
            secret: input.secret.clone(),
            tls: input.tls.as_ref().map(Handshake::new).transpose()?,
            trust: if input.trusted { Trust::Believed } else { Trust::Stranger },
            refusals: Refusals::default(),
        })
    }

    /// Whether it is there for senders only: who may write need not be one who may read.
    fn is_input(&self) -> bool {
        !self.name.is_empty()
    }

    /// Among whose documents those of this door are known again: its own, or those of all who are believed.
    fn scope(&self) -> &str {
        match self.trust {
            Trust::Believed => "",
            Trust::Stranger => &self.name,
        }
    }

    /// Whether a request with this `Authorization` may come in: the token as `Bearer`, as an `ApiKey` (also behind `ID:`,
    /// in base64, as Elasticsearch writes its keys), or as the password of `Basic`, whoever the user is.
    fn admits(&self, shown: Option<&str>) -> bool {
        let shown = shown.and_then(|value| value.split_once(' '));
        let shown: Vec<Token> = shown.map(|(scheme, rest)| secrets(scheme, rest.trim())).unwrap_or_default();
        self.tokens.is_empty() || shown.iter().fold(false, |found, shown| found | self.knows(shown))
    }

    /// Whether it is one of the tokens. All are looked at, so that the time tells nothing.
    fn knows(&self, shown: &Token) -> bool {
        self.tokens.iter().fold(false, |found, token| found | token.is(shown))
    }
}

/// What may be the secret in an `Authorization`.
fn secrets(scheme: &str, rest: &str) -> Vec<Token> {
    let after_colon = || {
        let text = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
        text.split_once(':').map(|(_, secret)| Token::new(secret))
    };
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" => vec![Token::new(rest)],
        "apikey" => [Some(Token::new(rest)), after_colon()].into_iter().flatten().collect(),
        "basic" => after_colon().into_iter().collect(),
        _ => Vec::new(),
    }
}

/// What all connections share.
struct Desk {
    store: Store,
    /// The service's own HTTP.
    front: Arc<Door>,
    data: PathBuf,
    alerts: alert::Handle,
    buckets: bucket::BucketDesk,
    limits: Limits,
    /// Bytes of bodies and packets that may still be taken into memory.
    room: Arc<Semaphore>,
    waiters: persist::Waiters,
    tails: Arc<Semaphore>,
    beginnings: Arc<Semaphore>,
    searches: Arc<Semaphore>,
    /// Documents of `_bulk` that came lately.
    seen: bulk::Seen,
    stopping: watch::Receiver<bool>,
    stop: watch::Sender<bool>,
}

impl Doors {
    pub(crate) async fn bind(
        settings: &Settings,
        store: &Running,
        handles: Handles,
    ) -> Result<Self, ServiceError> {
        let mut http = Vec::new();
        for listen in &settings.http {
            http.push(Socket::bind(listen).await?);
        }
        let packets = match settings.packets {
            Some(address) => Some(Socket::bind(&Listen::Tcp(address)).await?),
            None => None,
        };
        let mut inputs = Vec::new();
        for input in &settings.inputs {
            let door = Arc::new(Door::of(input)?);
            inputs.push((Socket::bind(&input.listen).await?, door));
        }
        let tls = settings.tls.as_ref().map(Handshake::new).transpose()?;
        let desk = Desk::new(settings, (tls, handles), store);
        let doors = [&desk.front].into_iter().chain(inputs.iter().map(|(_, door)| door));
        let doors = doors.filter(|door| door.kind == InputKind::Http);
        let scopes: BTreeSet<&str> = doors.map(|door| door.scope()).collect();
        let scopes: Vec<&str> = scopes.into_iter().collect();
        if let Some(newest) = desk.store.parts().last() {
            desk.seen
                .recall(newest.as_ref(), &scopes)
                .map_err(|error| ServiceError::Data(settings.data.clone(), error))?;
        }
        Ok(Self { http, packets, inputs, desk: Arc::new(desk) })
    }

    pub(crate) fn http(&self) -> Vec<Listen> {
        self.http.iter().map(Socket::address).collect()
    }

    pub(crate) fn packets(&self) -> Option<SocketAddr> {
        match self.packets.as_ref().map(Socket::address) {
            Some(Listen::Tcp(address)) => Some(address),
            _ => None,
        }
    }

    pub(crate) fn inputs(&self) -> Vec<(String, Listen)> {
        self.inputs.iter().map(|(socket, door)| (door.name.clone(), socket.address())).collect()
    }

    /// Accepts until `stop`, then waits a little for what is open.
    pub(crate) async fn serve(self, stop: impl Future<Output = ()>) {
        let Self { http, packets, inputs, desk } = self;
        let mut accepting = JoinSet::new();
        for socket in http {
            accepting.spawn(accept(socket, Arc::clone(&desk), Arc::clone(&desk.front)));
        }
        if let Some(socket) = packets {
            let door = Door { kind: InputKind::Packets, ..Door::open() };
            accepting.spawn(accept(socket, Arc::clone(&desk), Arc::new(door)));
        }
        for (socket, door) in inputs {
            accepting.spawn(accept(socket, Arc::clone(&desk), door));
        }
        stop.await;
        // All tasks watch this; with no receiver left nobody needs to know.
        let _ = desk.stop.send(true);
        let ended = async { while accepting.join_next().await.is_some() {} };
        if tokio::time::timeout(desk.limits.grace, ended).await.is_err() {
            accepting.shutdown().await;
        }
    }
}

/// Accepts on one socket; ends when the service stops and all its connections have ended.
async fn accept(socket: Socket, desk: Arc<Desk>, door: Arc<Door>) {
    let places = Arc::new(Semaphore::new(desk.limits.connections));
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            // The semaphore is never closed. While no place is free, callers wait in the kernel's bounded queue.
            let place = Arc::clone(&places).acquire_owned().await.ok();
            (place, socket.accept().await)
        };
        tokio::select! {
            () = desk.stopped() => break,
            Some(_) = connections.join_next() => {}
            (place, accepted) = next => match accepted {
                Ok((stream, from)) => {
                    let (desk, door) = (Arc::clone(&desk), Arc::clone(&door));
                    connections.spawn(async move {
                        serve(stream, from, desk, door).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the log service cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(socket);
    while connections.join_next().await.is_some() {}
}

async fn serve(stream: Stream, from: Arc<str>, desk: Arc<Desk>, door: Arc<Door>) {
    let stream = match stream.secured(door.tls.as_ref(), desk.limits.header_timeout).await {
        Ok(stream) => stream,
        Err(error) => return tracing::debug!(%from, %error, "a TLS handshake with the log service failed"),
    };
    match door.kind {
        InputKind::Http => http::serve(stream, from, desk, door).await,
        InputKind::Packets => packets::serve(stream, from, desk, door).await,
        InputKind::Forward => forward::serve(stream, from, desk, door).await,
        InputKind::Lumberjack => lumberjack::serve(stream, from, desk, door).await,
        InputKind::Syslog => syslog::serve(stream, from, desk, door).await,
        InputKind::Lines => lines::serve(stream, from, desk, door).await,
    }
}

impl Desk {
    fn new(
        settings: &Settings,
        (tls, (alerts, buckets)): (Option<Handshake>, Handles),
        store: &Running,
    ) -> Self {
        let (stop, stopping) = watch::channel(false);
        let limits = settings.limits.clone();
        Self {
            store: store.store(),
            front: Arc::new(Door { tokens: settings.tokens.clone(), tls, ..Door::open() }),
            data: settings.data.clone(),
            alerts,
            buckets,
            room: Arc::new(Semaphore::new(limits.body_bytes_held().min(Semaphore::MAX_PERMITS))),
            waiters: persist::Waiters::default(),
            tails: Arc::new(Semaphore::new(limits.tails)),
            beginnings: Arc::new(Semaphore::new(BEGINNINGS)),
            searches: Arc::new(Semaphore::new(limits.searches)),
            seen: bulk::Seen::default(),
            limits,
            stopping,
            stop,
        }
    }

    fn counts(&self) -> &Counts {
        self.store.counts()
    }

    /// A place among those that look through the store, held until the thread that does has ended.
    fn search_place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.searches).try_acquire_owned().ok()
    }

    fn bounds(&self, trust: Trust) -> Bounds {
        Bounds { entry_bytes: self.limits.entry_bytes, entries: self.limits.batch_entries, trust }
    }

    /// Stores what a sender sent; refusals are counted here, whoever tells them. Only of what is stored: a request that is
    /// not comes again, with all that is in it.
    async fn store(&self, parsed: &mut Parsed, from: &Arc<str>) -> Result<Appended, AppendError> {
        let appended = self.store.append(std::mem::take(&mut parsed.entries), Arc::clone(from)).await?;
        Counts::add(&self.counts().rejected, parsed.rejected_count);
        Ok(appended)
    }

    /// Stores frames; those that were refused are counted here, for the same reason when it is done.
    async fn store_frames(&self, split: &mut Split, from: &Arc<str>) -> Result<Appended, AppendError> {
        let appended = self.store.append_frames(std::mem::take(&mut split.frames), Arc::clone(from)).await?;
        Counts::add(&self.counts().bad_frames, split.bad_count);
        Ok(appended)
    }

    /// Ready when the service stops.
    async fn stopped(&self) {
        // An error means that the service is gone altogether.
        let _ = self.stopping.clone().wait_for(|&stopping| stopping).await;
    }
}
