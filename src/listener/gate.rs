//! [`Gate`]: how many connections there may be, in all and per address. Shared by the cores.
//!
//! Beyond the number of one address a connection is turned away; beyond the number in all it waits. Each accept loop
//! waits with the one connection that it has in hand, and accepts no further: the rest waits in the kernel's queue.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

/// Locked once per connection, never per request; shards keep the cores apart.
const SHARDS: usize = 16;

/// A waiting accept loop looks again after this long: a reload may have raised the limit.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// See the module. The table holds an entry only while its address has a connection that is open or waits at an
/// accept loop, so the connection limit bounds it.
#[derive(Default)]
pub struct Gate {
    open: AtomicU32,
    shards: [Mutex<HashMap<Key, u32>>; SHARDS],
    /// A place has become free.
    freed: Notify,
}

/// Who counts as one client: an IPv4 address, or the /64 of an IPv6 one, for one host has all addresses of it. Bytes,
/// because every idle connection keeps one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    V4([u8; 4]),
    V6([u8; 8]),
}

/// One connection at the gate, counted until dropped.
pub struct Entered {
    gate: Arc<Gate>,
    key: Option<Key>,
    has_place: bool,
}

impl Gate {
    /// Counts a connection from `ip` (none for a Unix socket), unless the address has `max_per_ip` already. It may be
    /// served once it has its [`Entered::place`].
    pub fn enter(self: &Arc<Self>, ip: Option<IpAddr>, max_per_ip: u32) -> Option<Entered> {
        let key = ip.map(Key::of);
        if let Some(key) = key {
            let mut shard = self.shard(key).lock().unwrap_or_else(PoisonError::into_inner);
            let count = shard.entry(key).or_insert(0);
            if *count >= max_per_ip {
                if *count == 0 {
                    shard.remove(&key);
                }
                return None;
            }
            *count += 1;
        }
        Some(Entered { gate: Arc::clone(self), key, has_place: false })
    }

    /// Connections open now.
    pub fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    fn shard(&self, key: Key) -> &Mutex<HashMap<Key, u32>> {
        let bits = match key {
            Key::V4(bytes) => u64::from(u32::from_be_bytes(bytes)),
            Key::V6(bytes) => u64::from_be_bytes(bytes),
        };
        &self.shards[(bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60) as usize]
    }
}

impl Key {
    fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::V4(ip.octets()),
            IpAddr::V6(ip) => Self::V6(((u128::from(ip) >> 64) as u64).to_be_bytes()),
        }
    }
}

impl Entered {
    /// Takes a place among all open connections; waits while there are `max()` of them.
    pub async fn place(&mut self, max: impl Fn() -> u32) {
        while !self.take_place(max()) {
            let _ = timeout(LOOK_AGAIN, self.gate.freed.notified()).await;
        }
    }

    fn take_place(&mut self, max: u32) -> bool {
        let add = |now| (now < max).then_some(now + 1);
        self.has_place = self.gate.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok();
        self.has_place
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if self.has_place {
            self.gate.open.fetch_sub(1, Ordering::Relaxed);
            // Kept for the next one to wait when nobody does: no place is freed unseen.
            self.gate.freed.notify_one();
        }
        let Some(key) = self.key else { return };
        let mut shard = self.gate.shard(key).lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut entry) = shard.entry(key) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_per_address_and_forgets() {
        let gate = Arc::new(Gate::default());
        let ip: IpAddr = [127, 0, 0, 1].into();
        let first = gate.enter(Some(ip), 1).unwrap();
        assert!(gate.enter(Some(ip), 1).is_none(), "one per address");
        let second = gate.enter(Some([127, 0, 0, 2].into()), 1).unwrap();
        drop((first, second));
        assert!(gate.enter(Some(ip), 0).is_none());
        assert!(gate.shards.iter().all(|s| s.lock().unwrap().is_empty()));
    }

    #[tokio::test]
    async fn waits_for_a_place_and_takes_the_next_that_is_free() {
        let gate = Arc::new(Gate::default());
        let mut first = gate.enter(None, 1).unwrap();
        first.place(|| 1).await;
        let mut second = gate.enter(None, 1).unwrap();
        let early = timeout(Duration::ZERO, second.place(|| 1)).await;
        assert!(early.is_err() && gate.open() == 1, "one in all");
        let freeing = async { drop(first) };
        let waiting = timeout(Duration::from_secs(10), second.place(|| 1));
        let (_, placed) = tokio::join!(freeing, waiting);
        assert!(placed.is_ok());
        drop(second);
        assert_eq!(gate.open(), 0);
    }

    #[tokio::test]
    async fn a_raised_limit_is_seen_while_waiting() {
        let gate = Arc::new(Gate::default());
        let mut first = gate.enter(None, 1).unwrap();
        first.place(|| 1).await;
        let max = AtomicU32::new(1);
        let mut second = gate.enter(None, 1).unwrap();
        let raising = async { max.store(2, Ordering::Relaxed) };
        let waiting = timeout(Duration::from_secs(10), second.place(|| max.load(Ordering::Relaxed)));
        let (placed, ()) = tokio::join!(waiting, raising);
        assert!(placed.is_ok());
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_client() {
        let gate = Arc::new(Gate::default());
        let _held = gate.enter(Some("2001:db8::1".parse().unwrap()), 1).unwrap();
        assert!(gate.enter(Some("2001:db8::2".parse().unwrap()), 1).is_none());
        assert!(gate.enter(Some("2001:db8:0:1::1".parse().unwrap()), 1).is_some());
    }
}
