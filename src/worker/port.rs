//! Ports for workers. Free ones are taken from below the range that the kernel gives to outgoing connections:
//! else, while a worker restarts, one of our own connections could get its port as source port, and a connection
//! attempt to the dead worker could even succeed, with itself.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;

use socket2::{Domain, Socket, Type};

use super::{PortChoice, WorkerError};

const LOWEST: u16 = 20_000;
const TRIES: usize = 200;

/// A port that nobody else gets while this lives. It is bound but does not listen: connections are refused.
#[derive(Debug)]
pub(super) struct Reserved {
    pub(super) address: SocketAddr,
    _socket: Option<Socket>,
}

/// Ports for `count` workers.
pub(super) fn reserve(
    choice: PortChoice,
    count: usize,
    upstream: &str,
) -> Result<Vec<Reserved>, WorkerError> {
    match choice {
        PortChoice::Free => (0..count)
            .map(|_| free().map_err(|source| WorkerError::NoPort { upstream: upstream.into(), source }))
            .collect(),
        PortChoice::From(from) => fixed(from, count).ok_or_else(|| WorkerError::PortsOutOfRange {
            upstream: upstream.into(),
            from,
            count,
        }),
    }
}

/// Whether a worker could listen there now.
pub(super) fn is_free(address: SocketAddr) -> bool {
    bind(address).is_ok()
}

/// A free port on 127.0.0.1.
pub(super) fn free() -> io::Result<Reserved> {
    let range = LOWEST..ephemeral_start();
    let mut outcome = Err(io::ErrorKind::AddrInUse.into());
    for _ in 0..TRIES {
        outcome = claim(local(pick(&range))).and_then(reserved);
        if outcome.is_ok() {
            return outcome;
        }
    }
    // All of them taken, or the kernel's range starts so low that there is nothing below it.
    bind(local(0)).and_then(reserved).or(outcome)
}

fn fixed(from: u16, count: usize) -> Option<Vec<Reserved>> {
    let offsets = 0..u16::try_from(count).ok()?;
    offsets
        .map(|offset| Some(Reserved { address: local(from.checked_add(offset)?), _socket: None }))
        .collect()
}

fn reserved(socket: Socket) -> io::Result<Reserved> {
    let address = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
    Ok(Reserved { address, _socket: Some(socket) })
}

/// Binds a port that no socket holds. `SO_REUSEADDR` alone would give it to a second one that does not listen either.
fn claim(address: SocketAddr) -> io::Result<Socket> {
    Socket::new(Domain::IPV4, Type::STREAM, None)?.bind(&address.into())?;
    bind(address)
}

fn bind(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    // As servers do: connections of an earlier life may linger.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn pick(range: &Range<u16>) -> u16 {
    let width = u64::from(range.end.saturating_sub(range.start)).max(1);
    // The seed of a hash map is random enough here.
    let offset = RandomState::new().hash_one(0_u8) % width;
    range.start.saturating_add(u16::try_from(offset).unwrap_or(0))
}

/// First port of the kernel's range for outgoing connections.
fn ephemeral_start() -> u16 {
    const USUAL: u16 = 32_768;
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    text.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(USUAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_ports_differ_and_refuse_connections() {
        let ports = reserve(PortChoice::Free, 20, "app").unwrap();
        let mut numbers: Vec<u16> = ports.iter().map(|port| port.address.port()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 20);
        let error = std::net::TcpStream::connect(ports[0].address).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_reserved_port_cannot_be_reserved_again() {
        let held = free().unwrap();
        assert_eq!(claim(held.address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_port_with_a_listener_is_not_free() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(!is_free(listener.local_addr().unwrap()));
    }

    #[test]
    fn fixed_ports_follow_each_other_and_end_at_the_last_one() {
        let ports = reserve(PortChoice::From(3000), 3, "app").unwrap();
        assert_eq!(ports.iter().map(|port| port.address.port()).collect::<Vec<_>>(), [3000, 3001, 3002]);
        assert!(matches!(
            reserve(PortChoice::From(65_535), 2, "app"),
            Err(WorkerError::PortsOutOfRange { .. })
        ));
    }
}
