//! [`Sampler`]: what the machine and this process use, read from `/proc` (proc(5)); Linux only.
//!
//! What cannot be read is absent: some containers hide parts of it. Reading may block: keep it off the event loops.

use std::path::Path;
use std::time::{Duration, Instant};

use procfs::process::{LimitValue, Process};
use procfs::{Current, CurrentSI, KernelStats, LoadAverage, Meminfo};
use serde::Serialize;

/// The interface that never leaves the machine.
const LOOPBACK: &str = "lo";

/// Facts of one moment, or of the time since the reading before. Bytes end in `_b`, shares of 100 in `_pct`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Machine {
    /// Processors that are online.
    pub cpus: Option<usize>,
    /// Of all processors together, 0 to 100: everything but idling and waiting for disks.
    pub cpu_pct: Option<f64>,
    pub cpu_user_pct: Option<f64>,
    pub cpu_system_pct: Option<f64>,
    pub cpu_iowait_pct: Option<f64>,
    /// Taken by other guests of the same host.
    pub cpu_steal_pct: Option<f64>,
    /// Of this process, where 100 is one processor.
    pub own_cpu_pct: Option<f64>,
    pub mem_total_b: Option<u64>,
    /// What could be had without swapping.
    pub mem_avail_b: Option<u64>,
    pub mem_used_pct: Option<f64>,
    pub swap_used_b: Option<u64>,
    /// Resident, of this process.
    pub rss_b: Option<u64>,
    pub load1: Option<f64>,
    pub load5: Option<f64>,
    pub load15: Option<f64>,
    /// Open files of this process, and how many it may open.
    pub fds: Option<usize>,
    pub fds_limit: Option<u64>,
    pub disk_total_b: Option<u64>,
    /// What this process may still write.
    pub disk_free_b: Option<u64>,
    pub disk_used_pct: Option<f64>,
    /// All interfaces but the loopback, since the reading before.
    #[serde(flatten)]
    pub net: Option<Net>,
}

/// Bytes, packets, errors and dropped packets, in and out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Net {
    pub net_rx_b: u64,
    pub net_tx_b: u64,
    pub net_rx_packets: u64,
    pub net_tx_packets: u64,
    pub net_rx_errors: u64,
    pub net_tx_errors: u64,
    pub net_rx_dropped: u64,
    pub net_tx_dropped: u64,
    /// Errors in and out.
    pub net_errors: u64,
}

/// Ticks of all processors since the machine was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cpu {
    user: u64,
    system: u64,
    idle: u64,
    iowait: u64,
    steal: u64,
}

/// Counters, of which two make a rate.
#[derive(Clone, Copy, Debug)]
struct Reading {
    at: Instant,
    /// Processors, and what they did.
    cpu: Option<(usize, Cpu)>,
    /// Seconds of processor that this process has used.
    own: Option<f64>,
    net: Option<Net>,
}

/// Reads again and again; keeps the counters of the last time.
#[derive(Debug)]
pub struct Sampler {
    last: Reading,
}

impl Sampler {
    /// Reads the counters that the first [`Self::sample`] is compared with.
    pub fn new() -> Self {
        Self { last: Reading::now() }
    }

    /// What is now, and what happened since the last call. `disk` is any file of the file system that is meant.
    pub fn sample(&mut self, disk: &Path) -> (Machine, Duration) {
        let now = Reading::now();
        let last = std::mem::replace(&mut self.last, now);
        let mut machine = Machine::default();
        machine.rates(&last, &now);
        machine.memory();
        machine.own();
        machine.disk(disk);
        if let Ok(load) = LoadAverage::current() {
            let load = [load.one, load.five, load.fifteen].map(|load| Some(hundredths(load.into())));
            [machine.load1, machine.load5, machine.load15] = load;
        }
        (machine, now.at.duration_since(last.at))
    }
}

impl Default for Sampler {
    fn default() -> Self {
        Self::new()
    }
}

impl Reading {
    fn now() -> Self {
        Self { at: Instant::now(), cpu: cpu(), own: own_seconds(), net: net() }
    }
}

impl Machine {
    fn rates(&mut self, last: &Reading, now: &Reading) {
        self.cpus = now.cpu.map(|(cpus, _)| cpus);
        if let (Some((_, last)), Some((_, now))) = (last.cpu, now.cpu) {
            self.cpu(now.since(last));
        }
        let seconds = now.at.duration_since(last.at).as_secs_f64();
        if let (Some(last), Some(now)) = (last.own, now.own)
            && seconds > 0.0
        {
            self.own_cpu_pct = Some(hundredths((now - last).max(0.0) / seconds * 100.0));
        }
        self.net = last.net.zip(now.net).map(|(last, now)| now.since(last));
    }

    fn cpu(&mut self, spent: Cpu) {
        let all = spent.user + spent.system + spent.idle + spent.iowait + spent.steal;
        if all == 0 {
            return;
        }
        let share = |ticks: u64| Some(hundredths(ticks as f64 / all as f64 * 100.0));
        self.cpu_pct = share(all - spent.idle - spent.iowait);
        self.cpu_user_pct = share(spent.user);
        self.cpu_system_pct = share(spent.system);
        self.cpu_iowait_pct = share(spent.iowait);
        self.cpu_steal_pct = share(spent.steal);
    }

    fn memory(&mut self) {
        let Ok(memory) = Meminfo::current() else { return };
        self.mem_total_b = Some(memory.mem_total);
        self.mem_avail_b = memory.mem_available;
        self.mem_used_pct = memory
            .mem_available
            .and_then(|available| used_pct(memory.mem_total.saturating_sub(available), memory.mem_total));
        self.swap_used_b = Some(memory.swap_total.saturating_sub(memory.swap_free));
    }

    fn own(&mut self) {
        let Ok(own) = Process::myself() else { return };
        self.rss_b = own.statm().ok().map(|memory| memory.resident.saturating_mul(procfs::page_size()));
        self.fds = own.fd_count().ok();
        self.fds_limit = own.limits().ok().and_then(|limits| match limits.max_open_files.soft_limit {
            LimitValue::Value(limit) => Some(limit),
            LimitValue::Unlimited => None,
        });
    }

    fn disk(&mut self, disk: &Path) {
        let Ok(disk) = rustix::fs::statvfs(disk) else { return };
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        self.disk_total_b = Some(bytes(disk.f_blocks));
        self.disk_free_b = Some(bytes(disk.f_bavail));
        // As df(1): of what is not kept for root.
        let used = disk.f_blocks.saturating_sub(disk.f_bfree);
        self.disk_used_pct = used_pct(used, used.saturating_add(disk.f_bavail));
    }
}

impl Cpu {
    /// Some counters may go back a little (proc_stat(5)).
    fn since(self, last: Self) -> Self {
        Self {
            user: self.user.saturating_sub(last.user),
            system: self.system.saturating_sub(last.system),
            idle: self.idle.saturating_sub(last.idle),
            iowait: self.iowait.saturating_sub(last.iowait),
            steal: self.steal.saturating_sub(last.steal),
        }
    }
}

impl Net {
    /// An interface that has gone takes its counts with it.
    fn since(self, last: Self) -> Self {
        Self {
            net_rx_b: self.net_rx_b.saturating_sub(last.net_rx_b),
            net_tx_b: self.net_tx_b.saturating_sub(last.net_tx_b),
            net_rx_packets: self.net_rx_packets.saturating_sub(last.net_rx_packets),
            net_tx_packets: self.net_tx_packets.saturating_sub(last.net_tx_packets),
            net_rx_errors: self.net_rx_errors.saturating_sub(last.net_rx_errors),
            net_tx_errors: self.net_tx_errors.saturating_sub(last.net_tx_errors),
            net_rx_dropped: self.net_rx_dropped.saturating_sub(last.net_rx_dropped),
            net_tx_dropped: self.net_tx_dropped.saturating_sub(last.net_tx_dropped),
            net_errors: self.net_errors.saturating_sub(last.net_errors),
        }
    }
}

fn cpu() -> Option<(usize, Cpu)> {
    let KernelStats { total: all, cpu_time, .. } = KernelStats::current().ok()?;
    let cpu = Cpu {
        // What guests of this machine take is in it already.
        user: all.user.saturating_add(all.nice),
        system: all.system.saturating_add(all.irq.unwrap_or(0)).saturating_add(all.softirq.unwrap_or(0)),
        idle: all.idle,
        iowait: all.iowait.unwrap_or(0),
        steal: all.steal.unwrap_or(0),
    };
    Some((cpu_time.len(), cpu))
}

fn own_seconds() -> Option<f64> {
    let own = Process::myself().ok()?.stat().ok()?;
    Some(own.utime.saturating_add(own.stime) as f64 / procfs::ticks_per_second() as f64)
}

fn net() -> Option<Net> {
    let all = procfs::net::dev_status().ok()?;
    let outside = all.values().filter(|device| device.name != LOOPBACK);
    Some(outside.fold(Net::default(), |sum, device| Net {
        net_rx_b: sum.net_rx_b.saturating_add(device.recv_bytes),
        net_tx_b: sum.net_tx_b.saturating_add(device.sent_bytes),
        net_rx_packets: sum.net_rx_packets.saturating_add(device.recv_packets),
        net_tx_packets: sum.net_tx_packets.saturating_add(device.sent_packets),
        net_rx_errors: sum.net_rx_errors.saturating_add(device.recv_errs),
        net_tx_errors: sum.net_tx_errors.saturating_add(device.sent_errs),
        net_rx_dropped: sum.net_rx_dropped.saturating_add(device.recv_drop),
        net_tx_dropped: sum.net_tx_dropped.saturating_add(device.sent_drop),
        net_errors: sum.net_errors.saturating_add(device.recv_errs).saturating_add(device.sent_errs),
    }))
}

/// As its kernel knows it.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn used_pct(used: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| hundredths(used as f64 / of as f64 * 100.0))
}

/// More digits say nothing and take room.
pub fn hundredths(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_the_time_in_between() {
        let start = Instant::now();
        let net = Net { net_rx_b: 500, net_tx_b: 9, ..Net::default() };
        let cpu = Cpu { user: 100, system: 50, idle: 800, iowait: 50, steal: 0 };
        let last = Reading { at: start, cpu: Some((2, cpu)), own: Some(2.0), net: Some(net) };
        let cpu = Cpu { user: 130, system: 60, idle: 850, iowait: 45, steal: 10 };
        let net = Net { net_rx_b: 800, net_tx_b: 3, ..Net::default() };
        let at = start + Duration::from_secs(10);
        let mut machine = Machine::default();
        machine.rates(&last, &Reading { at, cpu: Some((2, cpu)), own: Some(7.0), net: Some(net) });
        assert_eq!(
            (machine.cpu_pct, machine.cpu_user_pct, machine.cpu_steal_pct),
            (Some(50.0), Some(30.0), Some(10.0))
        );
        assert_eq!((machine.cpu_iowait_pct, machine.own_cpu_pct), (Some(0.0), Some(50.0)));
        assert_eq!(machine.cpus, Some(2));
        assert_eq!(machine.net.map(|net| (net.net_rx_b, net.net_tx_b)), Some((300, 0)));
    }

    #[test]
    fn what_cannot_be_compared_or_read_is_absent() {
        let at = Instant::now();
        let nothing = Reading { at, cpu: None, own: None, net: None };
        let mut machine = Machine::default();
        machine.rates(&nothing, &nothing);
        machine.disk(Path::new("/no/such/directory"));
        assert_eq!(machine, Machine::default());
    }

    #[test]
    fn this_machine_is_read() {
        let kept = vec![1_u8; 64 << 20];
        let (machine, _) = Sampler::new().sample(Path::new("/"));
        assert!(machine.rss_b.is_some_and(|rss| rss > kept.len() as u64 / 2), "{machine:?}");
        assert!(
            machine
                .fds
                .is_some_and(|fds| fds >= 3 && machine.fds_limit.is_some_and(|limit| limit >= fds as u64))
        );
        assert!(machine.mem_avail_b < machine.mem_total_b && machine.disk_free_b <= machine.disk_total_b);
        assert!(machine.load1.is_some() && machine.net.is_some());
    }
}
