//! Binds addresses and accepts connections on one core.
//!
//! Each core has a socket of its own per address (`SO_REUSEPORT`): the kernel spreads connections, and no two cores
//! ever meet at an accept queue. Unix sockets have no such thing; there the cores share one. What the kernel spreads
//! unevenly, [`spread`] makes even.
//!
//! Invariant: sockets stay open over reloads, since closing one drops what waits in its queue.

pub mod gate;
pub mod spread;

use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener, TcpStream as StdTcpStream};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::process::directory;

/// Connections that may wait in the kernel to be accepted.
const BACKLOG: i32 = 4096;
/// After the process has run out of file descriptors, this long nothing is accepted.
pub const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// One address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `http` or `https`.
    pub name: Arc<str>,
    pub address: Address,
    pub is_tls: bool,
}

/// A bound socket of one core.
pub enum CoreSocket {
    Tcp(StdTcpListener),
    Unix(StdUnixListener),
}

/// An accepted connection that belongs to no core.
pub enum Stream {
    Tcp(StdTcpStream),
    Unix(StdUnixStream),
}

/// An address with a socket for each core.
pub struct Bound {
    pub settings: Settings,
    /// What the system gave: the port when the settings said 0.
    pub address: Address,
    pub sockets: Vec<CoreSocket>,
}

/// An address that could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("{name}: cannot listen on {address}")]
pub struct BindError {
    /// `http` or `https`.
    pub name: Arc<str>,
    pub address: Address,
    pub source: io::Error,
}

/// Binds `settings` once per core. The missing directories of a Unix socket are made.
///
/// # Errors
/// Address in use, or not permitted; the address is named.
pub fn bind(settings: &Settings, cores: usize) -> Result<Bound, BindError> {
    let failed =
        |source| BindError { name: Arc::clone(&settings.name), address: settings.address.clone(), source };
    let (address, sockets) = match &settings.address {
        Address::Tcp(address) => bind_tcp(*address, cores).map_err(failed)?,
        Address::Unix(path) => bind_unix(path, cores).map_err(failed)?,
    };
    Ok(Bound { settings: settings.clone(), address, sockets })
}

fn bind_tcp(address: SocketAddr, cores: usize) -> io::Result<(Address, Vec<CoreSocket>)> {
    refuse_taken(address)?;
    let first = tcp_socket(address)?;
    let actual = first.local_addr()?;
    let mut sockets = vec![CoreSocket::Tcp(first)];
    for _ in 1..cores {
        sockets.push(CoreSocket::Tcp(tcp_socket(actual)?));
    }
    Ok((Address::Tcp(actual), sockets))
}

/// `SO_REUSEPORT` would let two instances share a port without a word: bind once without it to see.
fn refuse_taken(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())
}

fn tcp_socket(address: SocketAddr) -> io::Result<StdTcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    // Accepted sockets inherit these, which saves a call for each.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(Duration::from_secs(120)))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bind_unix(path: &PathBuf, cores: usize) -> io::Result<(Address, Vec<CoreSocket>)> {
    use std::os::unix::fs::FileTypeExt;
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket());
    if is_socket && std::os::unix::net::UnixStream::connect(path).is_err() {
        std::fs::remove_file(path)?;
    }
    directory::make_parent(path, directory::SOCKETS)?;
    let listener = StdUnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    let mut sockets = Vec::with_capacity(cores);
    for _ in 1..cores {
        sockets.push(CoreSocket::Unix(listener.try_clone()?));
    }
    sockets.push(CoreSocket::Unix(listener));
    Ok((Address::Unix(path.clone()), sockets))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any() -> Settings {
        let address = Address::Tcp(([127, 0, 0, 1], 0).into());
        Settings { name: "http".into(), address, is_tls: false }
    }

    #[test]
    fn all_cores_listen_on_the_same_port() {
        let bound = bind(&any(), 3).unwrap();
        let ports = bound.sockets.iter().map(|s| match s {
            CoreSocket::Tcp(socket) => socket.local_addr().unwrap().port(),
            CoreSocket::Unix(_) => 0,
        });
        let ports: std::collections::BTreeSet<u16> = ports.collect();
        assert_eq!(ports.len(), 1);
    }

    #[test]
    fn a_taken_port_is_an_error_in_spite_of_port_sharing() {
        let bound = bind(&any(), 1).unwrap();
        let again = Settings { address: bound.address.clone(), ..any() };
        assert_eq!(bind(&again, 1).err().unwrap().source.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_stale_unix_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings { address: Address::Unix(dir.path().join("s")), ..any() };
        drop(bind(&settings, 1).unwrap());
        let live = bind(&settings, 2).unwrap();
        assert!(bind(&settings, 1).is_err());
        assert_eq!(live.sockets.len(), 2);
    }
}
