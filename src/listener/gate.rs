//! [`Gate`]: how many connections there may be, in all and per address. Shared by the cores.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Locked once per connection, never per request; shards keep the cores apart.
const SHARDS: usize = 16;

/// See the module. The table holds an entry only while its address has a connection, so the connection limit
/// bounds it.
#[derive(Default)]
pub struct Gate {
    open: AtomicU32,
    shards: [Mutex<HashMap<u128, u32>>; SHARDS],
}

/// The place of one connection, free again when dropped.
pub struct Entered {
    gate: Arc<Gate>,
    key: Option<u128>,
}

impl Gate {
    /// A place for a connection from `ip` (none for a Unix socket), unless `max` or `max_per_ip` is reached.
    pub fn enter(self: &Arc<Self>, ip: Option<IpAddr>, max: u32, max_per_ip: u32) -> Option<Entered> {
        let add = |now| (now < max).then_some(now + 1);
        self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).ok()?;
        // From here on dropping gives the place back.
        let mut entered = Entered { gate: Arc::clone(self), key: None };
        if let Some(key) = ip.map(key) {
            let mut shard = self.shard(key).lock().unwrap_or_else(PoisonError::into_inner);
            let count = shard.entry(key).or_insert(0);
            if *count >= max_per_ip {
                return None;
            }
            *count += 1;
            entered.key = Some(key);
        }
        Some(entered)
    }

    /// Connections open now.
    pub fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    fn shard(&self, key: u128) -> &Mutex<HashMap<u128, u32>> {
        let mixed = (key ^ (key >> 64)) as u64;
        &self.shards[(mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60) as usize]
    }
}

/// One IPv6 host has a /64 of addresses: it is one client.
fn key(ip: IpAddr) -> u128 {
    match ip.to_canonical() {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip) & !u128::from(u64::MAX),
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.gate.open.fetch_sub(1, Ordering::Relaxed);
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
    fn counts_in_all_and_per_address_and_forgets() {
        let gate = Arc::new(Gate::default());
        let ip: IpAddr = [127, 0, 0, 1].into();
        let other: IpAddr = [127, 0, 0, 2].into();
        let first = gate.enter(Some(ip), 2, 1).unwrap();
        assert!(gate.enter(Some(ip), 2, 1).is_none(), "one per address");
        let second = gate.enter(Some(other), 2, 1).unwrap();
        assert!(gate.enter(None, 2, 1).is_none(), "two in all");
        drop((first, second));
        assert_eq!(gate.open(), 0);
        assert!(gate.shards.iter().all(|s| s.lock().unwrap().is_empty()));
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_client() {
        let gate = Arc::new(Gate::default());
        let _held = gate.enter(Some("2001:db8::1".parse().unwrap()), 9, 1).unwrap();
        assert!(gate.enter(Some("2001:db8::2".parse().unwrap()), 9, 1).is_none());
        assert!(gate.enter(Some("2001:db8:0:1::1".parse().unwrap()), 9, 1).is_some());
    }
}
