//! The in-flight table of a core: which exchanges are under way, and how far each is. It stands beside the ring in the
//! same memory, so that after a crash the request that did it has a name.
//!
//! A slot is taken when the head of a request is whole, its phase goes on by one store, and it is given back when the
//! record of its exchange is in the ring. No allocation, no lock, no call of the system.
//!
//! # Bytes
//!
//! 1024 slots of 32 words; a word is eight bytes in the order of the machine.
//!
//! ```text
//!  0  version: odd while the slot is being written
//!  1  phase: 0 free, else one more than the number of `end_at` (tls head body policy queue dns connect uptls send wait resp tunnel)
//!  2  0, or one more than the bytes that had gone into both lanes when its record began to go into them: with more bytes
//!     there than that, the record is in the ring and says more than the slot
//!  3  id, 16 bytes                  5  first byte of the request, Unix µs
//!  6  number of the connection      7  hash of the configuration
//!  8  address of the client, 16 bytes, IPv4 as mapped IPv6
//! 10  from the lowest byte: port u16 │ length of method u8 │ of host u8 │ of path u8 │ 1 TLS, 2 HTTP/2, 4 has port, 8 path was cut
//! 11  number of the request on its connection
//! 12  method, 16 bytes │ 14  host, 64 bytes │ 22  beginning of the path, 80 bytes
//! ```

mod slot;
mod table;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;

pub(super) use self::slot::left;
pub(super) use self::table::Table;

use super::ring::Mapped;
use crate::record::{EndAt, Id};

/// What is known of an exchange when the head of its request is whole. Texts that are too long are cut.
#[derive(Clone, Copy, Debug)]
pub struct Arriving<'a> {
    pub id: Id,
    pub ts_us: i64,
    pub conn: u64,
    pub conn_req: u32,
    pub cfg: u64,
    pub client_ip: IpAddr,
    pub client_port: Option<u16>,
    pub is_tls: bool,
    pub is_h2: bool,
    pub method: &'a [u8],
    pub host: &'a [u8],
    /// Without the query.
    pub path: &'a [u8],
}

/// An exchange that is under way, or was when its process died.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenExchange {
    pub id: Id,
    /// First byte of the request, microseconds since the Unix epoch.
    pub ts_us: i64,
    pub conn: u64,
    pub conn_req: u32,
    pub cfg: u64,
    pub client_ip: IpAddr,
    pub client_port: Option<u16>,
    pub is_tls: bool,
    pub is_h2: bool,
    pub method: Vec<u8>,
    pub host: Vec<u8>,
    pub path: Vec<u8>,
    /// The path goes on.
    pub is_cut: bool,
    /// The phase that it is in.
    pub at: EndAt,
}

/// What is under way on the cores: for any thread.
#[derive(Clone, Debug, Default)]
pub struct Flights(pub(super) Arc<[Arc<Mapped>]>);

impl Flights {
    /// The exchanges under way with their cores, oldest first. One that comes or goes meanwhile may be missing.
    pub fn open(&self) -> Vec<(u16, OpenExchange)> {
        let cores = (0..).zip(self.0.iter());
        let mut all: Vec<_> =
            cores.flat_map(|(core, mapped)| open(mapped).map(move |one| (core, one))).collect();
        all.sort_by_key(|(_, one)| one.ts_us);
        all
    }

    /// How many more there are than the tables hold.
    pub fn beyond(&self) -> u64 {
        self.0.iter().map(|mapped| table::beyond(mapped)).sum()
    }
}

/// What is under way on one core.
pub(super) fn open(mapped: &Mapped) -> impl Iterator<Item = OpenExchange> {
    mapped.slots().iter().filter_map(slot::look)
}
