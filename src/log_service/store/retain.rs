//! Old hour files are deleted, so that a log never fills the disk by itself.

use std::fs;

use super::{Counts, Settings};
use crate::log_service::read::hour::{self, Hour, HourFile};

/// Deletes hour files that are too old, then the oldest until the rest fits. Never the current hour's.
pub(crate) fn retain(settings: &Settings, current: Hour, counts: &Counts) {
    let Ok(files) = hour::list(&settings.data) else { return };
    let mut total: u64 = files.iter().map(|file| file.size).sum();
    let oldest = current.minus_hours(settings.keep_hours);
    for file in files.iter().filter(|file| file.hour < current) {
        if file.hour >= oldest && total <= settings.keep_bytes {
            break;
        }
        total = total.saturating_sub(file.size);
        delete(file, counts);
    }
}

fn delete(file: &HourFile, counts: &Counts) {
    if let Err(error) = fs::remove_file(&file.path) {
        return tracing::warn!(file = %file.path.display(), %error, "an old log file cannot be deleted");
    }
    Counts::add(&counts.deleted_files, 1);
    tracing::info!(file = %file.path.display(), bytes = file.size, "deleted an old log file");
    let _ = fs::remove_file(hour::suspect_path(&file.path));
    // Fails while other hours of the day are there; that is the wish.
    file.path.parent().map(fs::remove_dir);
}
