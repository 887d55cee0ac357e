//! Connections that change the core between their acceptance and their first byte.

use std::io;
use std::rc::Rc;

use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;

use super::serve::Stage;
use super::station::Station;
use crate::downstream::tap::Socket;
use crate::listener::Stream;
use crate::listener::spread::{Handed, Inbox};

/// A socket that can leave its core.
pub(super) trait Accepted: Socket {
    /// Takes the socket out of this core's event loop.
    ///
    /// # Errors
    /// The event loop does not let go; the connection is closed.
    fn release(self) -> io::Result<Stream>;
}

impl Accepted for TcpStream {
    fn release(self) -> io::Result<Stream> {
        self.into_std().map(Stream::Tcp)
    }
}

impl Accepted for UnixStream {
    fn release(self) -> io::Result<Stream> {
        self.into_std().map(Stream::Unix)
    }
}

/// Serves what other cores hand over, until the drain begins and all that was on its way by then has come.
pub(super) async fn take_in(mut inbox: Inbox, station: Rc<Station>, mut stage: watch::Receiver<Stage>) {
    loop {
        tokio::select! {
            handed = inbox.recv() => match handed {
                Some(handed) => take(&station, handed),
                None => return,
            },
            // From here on the others keep what they have. What is in the queue still comes out of it.
            _ = stage.wait_for(|s| *s >= Stage::Draining), if !inbox.is_closed() => inbox.close(),
        }
    }
}

fn take(station: &Rc<Station>, handed: Handed) {
    let Handed { stream, sender, settings, open } = handed;
    let taken = match stream {
        Stream::Tcp(stream) => {
            TcpStream::from_std(stream).map(|socket| station.begin(socket, sender, &settings, open))
        }
        Stream::Unix(stream) => {
            UnixStream::from_std(stream).map(|socket| station.begin(socket, sender, &settings, open))
        }
    };
    if let Err(error) = taken {
        tracing::error!(%error, "cannot serve a connection");
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpListener, TcpStream as Client};
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::serve::{self, Seat};
    use super::*;
    use crate::access_log;
    use crate::config;
    use crate::listener::gate::Gate;
    use crate::listener::spread::{Open, Spread};
    use crate::listener::{Address, Settings};
    use crate::plan::Plans;
    use crate::plan::compile::compile_for;
    use crate::plan::ground::Ground;

    const TEXT: &str = "[server]\nhttp = \"127.0.0.1:8080\"\n[log]\nservice = \"none\"\nstdout = true\n[site.\"*\"]\nroutes = [{ path = \"/*\", respond = \"hi\" }]\n";
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    const ADDRESS: Ipv4Addr = Ipv4Addr::LOCALHOST;
    const COUNT: usize = 5;

    /// Core 1 of two, with connections on their way to it that have sent their request.
    struct Fixture {
        seat: Seat,
        gate: Arc<Gate>,
        clients: Vec<Client>,
        stage: watch::Sender<Stage>,
    }

    fn fixture() -> Fixture {
        let config = config::from_text("test.toml", TEXT, &|_| None).unwrap();
        let compiled = compile_for(2, &config, &mut Ground::bare(0));
        let (plans, _) = compiled.unwrap_or_else(|found| panic!("{found}"));
        let (mut logs, _) = access_log::open(access_log::Settings::new("test", Vec::new()), 2).unwrap();
        let (gate, (spread, mut inboxes)) = (Arc::<Gate>::default(), Spread::new(2));
        let clients = (0..COUNT).map(|_| hand_over(&spread, &gate)).collect();
        let (stage, stage_seen) = watch::channel(Stage::Serving);
        let seat = Seat {
            index: 1,
            sockets: Vec::new(),
            plan: Arc::new(Plans::new(plans)),
            log: logs.remove(1),
            counts: Arc::default(),
            gate: Arc::clone(&gate),
            spread,
            inbox: inboxes.remove(1),
            stage: stage_seen,
        };
        Fixture { seat, gate, clients, stage }
    }

    fn hand_over(spread: &Spread, gate: &Arc<Gate>) -> Client {
        let listener = TcpListener::bind((ADDRESS, 0)).unwrap();
        let mut client = Client::connect(listener.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        client.write_all(REQUEST).unwrap();
        let (stream, sender) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let load = spread.load(0);
        let enter = || gate.enter(Some(ADDRESS.into()), u32::MAX).unwrap();
        let _fuller: Vec<_> = (0..COUNT + 3).map(|_| Open::new(&load, enter())).collect();
        let address = Address::Tcp(listener.local_addr().unwrap());
        let settings = Settings { name: "http".into(), address, is_tls: false };
        spread.passage(&load).unwrap().send(Stream::Tcp(stream), Some(sender), settings.into(), enter());
        client
    }

    /// All that came back until the other side closed.
    fn rest(mut client: Client) -> String {
        let mut text = String::new();
        let _ = client.read_to_string(&mut text);
        text
    }

    #[track_caller]
    fn is_empty(gate: &Arc<Gate>) {
        assert!(gate.enter(Some(ADDRESS.into()), 1).is_some(), "the address has none left");
    }

    #[test]
    fn a_drain_serves_what_was_on_its_way() {
        let Fixture { seat, gate, clients, stage } = fixture();
        stage.send(Stage::Draining).unwrap();
        let load = seat.spread.load(1);
        serve::run(seat).unwrap();
        for client in clients {
            let answer = rest(client);
            assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("hi"), "{answer:?}");
        }
        assert_eq!(load.open(), 0);
        is_empty(&gate);
    }

    #[test]
    fn a_stop_closes_what_was_on_its_way() {
        let Fixture { seat, gate, clients, stage } = fixture();
        stage.send(Stage::Stopping).unwrap();
        let load = seat.spread.load(1);
        serve::run(seat).unwrap();
        for client in clients {
            rest(client);
        }
        assert_eq!(load.open(), 0);
        is_empty(&gate);
    }

    #[test]
    fn nothing_is_handed_to_a_core_that_has_ended() {
        let Fixture { seat, gate, stage, .. } = fixture();
        let spread = Arc::clone(&seat.spread);
        stage.send(Stage::Draining).unwrap();
        serve::run(seat).unwrap();
        let own = spread.load(0);
        let enter = || gate.enter(Some(ADDRESS.into()), u32::MAX).unwrap();
        let _many: Vec<_> = (0..100).map(|_| Open::new(&own, enter())).collect();
        assert!(spread.passage(&own).is_none());
    }
}
