//! Old files go, whole ones only: by age, by their size together, and when the disk gets full.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::files::{Files, Live};
use super::manifest::{FileEntry, FileKind};
use super::shipped::Shipped;

/// What is kept.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Hours after which normal files go.
    pub(crate) keep_hours: u32,
    /// Hours after which errors and slow requests go.
    pub(crate) keep_error_hours: u32,
    /// Bytes of all files together.
    pub(crate) keep_bytes: u64,
    /// Bytes that stay free on the disk.
    pub(crate) free_bytes: u64,
    /// Sinks that take whole files: what one of them does not have goes only for want of room, and last.
    pub(crate) shipped: Vec<Arc<Shipped>>,
}

impl Settings {
    fn is_waited_for(&self, entry: &FileEntry) -> bool {
        self.shipped.iter().any(|sink| !sink.has(entry.number))
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            keep_hours: 14 * 24,
            keep_error_hours: 90 * 24,
            keep_bytes: 16 << 30,
            free_bytes: 1 << 30,
            shipped: Vec::new(),
        }
    }
}

/// No clock that is set says an hour before this one: 2020 in UTC. A machine may start in 1970.
const CLOCK_IS_SET: i64 = 50 * 8766;

/// Drops what need not be kept; never files of the hour `current`.
pub(super) fn drop_old(files: &Files, settings: &Settings, current: i64) -> io::Result<()> {
    let free = free_bytes(files);
    let old = choose(&files.list(), settings, current, free);
    if old.is_empty() {
        return Ok(());
    }
    tracing::info!(
        files = old.len(),
        bytes = old.iter().map(|live| live.entry.bytes).sum::<u64>(),
        "old log files dropped"
    );
    files.replace(&old, Vec::new())?;
    tell_lost(&old, settings);
    Ok(())
}

/// Files that went for want of room before a sink had them.
fn tell_lost(dropped: &[Arc<Live>], settings: &Settings) {
    let lost: Vec<&FileEntry> =
        dropped.iter().map(|live| &live.entry).filter(|entry| settings.is_waited_for(entry)).collect();
    if lost.is_empty() {
        return;
    }
    settings.shipped.iter().for_each(|sink| sink.drop_all(lost.iter().copied()));
    tracing::error!(
        files = lost.len(),
        bytes = lost.iter().map(|entry| entry.bytes).sum::<u64>(),
        "no room: log files dropped before every sink for files had them"
    );
}

/// The files to drop. For room, those that no sink waits for go first, normal hours before errors, and the oldest first.
fn choose(files: &[Arc<Live>], settings: &Settings, current: i64, free: u64) -> Vec<Arc<Live>> {
    let (mut chosen, mut left) = (Vec::new(), BTreeMap::new());
    for live in files.iter().filter(|live| live.entry.hour < current) {
        let is_error = live.entry.kind == FileKind::Err;
        let keep = if is_error { settings.keep_error_hours } else { settings.keep_hours };
        let hour = hour_of(live, files, current);
        let is_waited_for = settings.is_waited_for(&live.entry);
        if hour < current.saturating_sub(keep.into()) && !is_waited_for {
            chosen.push(Arc::clone(live));
        } else {
            left.insert((is_waited_for, is_error, hour, live.entry.number), live);
        }
    }
    let dropped: u64 = chosen.iter().map(|live| live.entry.bytes).sum();
    let mut total = files.iter().map(|live| live.entry.bytes).sum::<u64>().saturating_sub(dropped);
    let mut free = free.saturating_add(dropped);
    for live in left.into_values() {
        if total <= settings.keep_bytes && free >= settings.free_bytes {
            break;
        }
        total = total.saturating_sub(live.entry.bytes);
        free = free.saturating_add(live.entry.bytes);
        chosen.push(Arc::clone(live));
    }
    chosen
}

/// The hour from which the age of a file counts: that of its receipt. What was received before the clock was set is as old
/// as the next file that was written afterwards, and new as long as there is none.
fn hour_of(live: &Live, files: &[Arc<Live>], current: i64) -> i64 {
    let entry = &live.entry;
    if entry.hour >= CLOCK_IS_SET || current < CLOCK_IS_SET {
        return entry.hour;
    }
    let later = files.iter().map(|other| &other.entry).filter(|other| other.number > entry.number);
    later.map(|other| other.hour).filter(|hour| *hour >= CLOCK_IS_SET).min().unwrap_or(current)
}

/// Bytes that the disk has left for us; as many as wanted when it does not say.
fn free_bytes(files: &Files) -> u64 {
    rustix::fs::statvfs(files.data()).map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_service::parquet::{Footers, StoredFile};
    use crate::log_service::part::Extent;
    use crate::log_service::store::Lost;

    fn live(number: u64, kind: FileKind, hour: i64, bytes: u64) -> Arc<Live> {
        let entry = FileEntry { number, kind, hour, bytes, extent: (&Extent::default()).into() };
        let footers = Arc::new(Footers::new(1));
        Arc::new(Live { file: Arc::new(StoredFile::new("none".into(), Extent::default(), footers)), entry })
    }

    fn chosen(settings: &Settings, free: u64) -> Vec<u64> {
        let files = [
            live(1, FileKind::L1, 10, 100),
            live(2, FileKind::Err, 10, 10),
            live(3, FileKind::L1, 60, 100),
            live(4, FileKind::Err, 60, 10),
            live(5, FileKind::L0, 100, 100),
        ];
        let mut numbers: Vec<u64> =
            choose(&files, settings, 100, free).iter().map(|live| live.entry.number).collect();
        numbers.sort_unstable();
        numbers
    }

    fn settings() -> Settings {
        Settings {
            keep_hours: 1000,
            keep_error_hours: 1000,
            keep_bytes: 1000,
            free_bytes: 50,
            shipped: Vec::new(),
        }
    }

    #[test]
    fn each_kind_has_its_own_age() {
        assert_eq!(chosen(&Settings { keep_hours: 50, ..settings() }, 50), [1]);
        assert_eq!(chosen(&Settings { keep_hours: 30, keep_error_hours: 80, ..settings() }, 50), [1, 2, 3]);
        assert_eq!(chosen(&settings(), 50), [0; 0]);
    }

    #[test]
    fn normal_hours_go_before_errors_and_never_the_current_hour() {
        assert_eq!(chosen(&Settings { keep_bytes: 250, ..settings() }, 50), [1]);
        assert_eq!(chosen(&Settings { keep_bytes: 119, ..settings() }, 50), [1, 2, 3]);
        assert_eq!(chosen(&Settings { keep_bytes: 0, ..settings() }, 50), [1, 2, 3, 4]);
        assert_eq!(chosen(&settings(), 0), [1]);
        assert_eq!(chosen(&Settings { free_bytes: 160, ..settings() }, 0), [1, 3]);
    }

    #[test]
    fn what_a_sink_waits_for_goes_only_for_want_of_room_and_last() {
        let sink = Arc::new(Shipped::of([2, 3]));
        let with = |settings| Settings { shipped: vec![Arc::clone(&sink)], ..settings };
        assert_eq!(
            chosen(&with(Settings { keep_hours: 30, keep_error_hours: 30, ..settings() }), 50),
            [2, 3]
        );
        assert_eq!(chosen(&with(Settings { keep_bytes: 250, ..settings() }), 50), [3]);
        assert_eq!(chosen(&with(Settings { keep_bytes: 120, ..settings() }), 50), [1, 2, 3]);
        assert_eq!(chosen(&with(Settings { keep_hours: 30, keep_bytes: 0, ..settings() }), 50), [1, 2, 3, 4]);
    }

    #[test]
    fn what_goes_before_a_sink_has_it_is_counted() {
        let sink = Arc::new(Shipped::of([2]));
        let settings = Settings { shipped: vec![Arc::clone(&sink)], ..settings() };
        tell_lost(&[live(1, FileKind::L1, 10, 100), live(2, FileKind::Err, 10, 10)], &settings);
        assert_eq!(sink.take_lost(), Lost { files: 1, bytes: 100 });
        assert_eq!(sink.take_lost(), Lost::default());
    }

    #[test]
    fn what_was_received_before_the_clock_was_set_has_the_age_of_what_came_next() {
        let now = CLOCK_IS_SET + 60_000;
        let of_1970 = live(1, FileKind::L1, 3, 100);
        let keep = Settings { keep_hours: 100, ..settings() };
        let chosen = |files: &[Arc<Live>], now| {
            let chosen = choose(files, &keep, now, 50);
            chosen.iter().map(|live| live.entry.number).collect::<Vec<u64>>()
        };
        assert_eq!(chosen(&[Arc::clone(&of_1970)], now), [0; 0]);
        let files = [of_1970, live(2, FileKind::L0, now, 100)];
        assert_eq!(chosen(&files, now), [0; 0]);
        assert_eq!(chosen(&files, now + 100), [0; 0]);
        assert_eq!(chosen(&files, now + 101), [1, 2]);
    }

    #[test]
    fn what_age_drops_counts_as_room() {
        assert_eq!(
            chosen(&Settings { keep_hours: 50, keep_bytes: 220, free_bytes: 100, ..settings() }, 0),
            [1]
        );
    }
}
