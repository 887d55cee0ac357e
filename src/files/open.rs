//! Files that a core keeps open for a moment, with what their headers say.

use std::cell::{OnceCell, RefCell};
use std::hash::BuildHasher;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::HeaderValue;
use rustix::fs::{Stat, fstat};

use super::root::Root;
use crate::filter::compress::Codec;

/// An open file.
pub(super) struct Open {
    pub(super) fd: Arc<OwnedFd>,
    pub(super) content_type: HeaderValue,
    pub(super) remote: bool,
    /// The same content, compressed beforehand.
    pub(super) siblings: Vec<(Codec, Open)>,
    meta: RefCell<Rc<Meta>>,
}

/// What is known about the content of a file at one moment.
pub(super) struct Meta {
    pub(super) size: u64,
    stamp: (i64, u64),
    /// `Content-Length` of the whole.
    pub(super) length: HeaderValue,
    /// Strong: made of the time of change, in nanoseconds, and the size.
    pub(super) etag: HeaderValue,
    last_modified: OnceCell<Option<HeaderValue>>,
    /// All of a small file.
    content: OnceCell<Bytes>,
}

/// Files up to this size are kept in memory while they are open: 2 MiB per core at most.
const KEPT_BYTES: u64 = 8 << 10;
/// A file that was changed this recently may change again without a newer time of change, so it is not kept.
const SETTLED: Duration = Duration::from_secs(2);

impl Open {
    pub(super) fn new(
        fd: Arc<OwnedFd>,
        stat: &Stat,
        content_type: HeaderValue,
        remote: bool,
        siblings: Vec<(Codec, Self)>,
    ) -> Self {
        let meta = RefCell::new(Rc::new(Meta::new(stat)));
        Self { fd, content_type, remote, siblings, meta }
    }

    /// What was known when [`refresh`](Self::refresh) was last called, or the file opened.
    pub(super) fn meta(&self) -> Rc<Meta> {
        Rc::clone(&self.meta.borrow())
    }

    /// Asks the kernel for the state of the file now, and says whether it still has a name: it has none when it
    /// was deleted, or another file took its place. Remote files are not asked for: that could take long.
    pub(super) fn refresh(&self) -> bool {
        if self.remote {
            return true;
        }
        let Ok(stat) = fstat(&*self.fd) else { return false };
        let mut meta = self.meta.borrow_mut();
        if !meta.is_of(&stat) {
            *meta = Rc::new(Meta::new(&stat));
        }
        stat.st_nlink > 0
    }
}

impl Meta {
    fn new(stat: &Stat) -> Self {
        let (size, stamp) = (size(stat), stamp(stat));
        let nanos = i128::from(stamp.0) * 1_000_000_000 + i128::from(stamp.1);
        let etag = format!("\"{nanos:x}-{size:x}\"");
        // Hex digits, dashes and quotes are valid in any header.
        let etag = HeaderValue::from_str(&etag).unwrap_or(HeaderValue::from_static("W/\"\""));
        Self {
            size,
            stamp,
            length: HeaderValue::from(size),
            etag,
            last_modified: OnceCell::new(),
            content: OnceCell::new(),
        }
    }

    fn is_of(&self, stat: &Stat) -> bool {
        self.stamp == stamp(stat) && self.size == size(stat)
    }

    /// To the second, as headers count. A time before 1970 counts as 1970.
    pub(super) fn modified(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(u64::try_from(self.stamp.0).unwrap_or(0))
    }

    /// All of the file, if it is small, read by `read` unless it was before.
    pub(super) fn content(&self, read: impl FnOnce(usize) -> Option<Bytes>) -> Option<Bytes> {
        if self.size > KEPT_BYTES {
            return None;
        }
        if let Some(content) = self.content.get() {
            return Some(content.clone());
        }
        let content = read(self.size as usize)?;
        if SystemTime::now().duration_since(self.modified()).is_ok_and(|age| age > SETTLED) {
            let _ = self.content.set(content.clone());
        }
        Some(content)
    }

    /// `None` for a time that a header cannot hold (after the year 9999).
    pub(super) fn last_modified(&self) -> Option<&HeaderValue> {
        const YEAR_9999: i64 = 253_402_300_799;
        let render = || HeaderValue::from_str(&httpdate::fmt_http_date(self.modified())).ok();
        let value = self.last_modified.get_or_init(|| (self.stamp.0 <= YEAR_9999).then(render).flatten());
        value.as_ref()
    }
}

fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

#[allow(clippy::unnecessary_cast, reason = "the types of stat differ between architectures")]
fn stamp(stat: &Stat) -> (i64, u64) {
    (stat.st_mtime as i64, stat.st_mtime_nsec as u64)
}

/// Files that were opened a moment ago. One per core; holds at most [`SLOTS`] files, each for the given time, after
/// which its path is looked up again. A file changed in place is noticed at once, one that was replaced by a new
/// file of its name after that time at the latest.
pub struct OpenFiles {
    slots: RefCell<Box<[Option<Slot>]>>,
    hasher: foldhash::fast::RandomState,
    keep: Duration,
}

/// How many files a core keeps open, each with up to three compressed siblings; a path has one place, which it may
/// have to leave to another.
const SLOTS: usize = 256;

struct Slot {
    root: Arc<Root>,
    path: Box<[u8]>,
    until: Instant,
    file: Rc<Open>,
}

impl Default for OpenFiles {
    fn default() -> Self {
        Self::new(Duration::from_secs(1))
    }
}

impl OpenFiles {
    /// Keeps files open for this long after they were opened.
    pub fn new(keep: Duration) -> Self {
        let slots = std::iter::repeat_with(|| None).take(SLOTS).collect();
        Self { slots: RefCell::new(slots), hasher: foldhash::fast::RandomState::default(), keep }
    }

    /// Closes what was not looked up again in time. Call it every few seconds, so that deleted files do not keep
    /// their space when no request comes.
    pub fn sweep(&self) {
        let now = Instant::now();
        for slot in &mut *self.slots.borrow_mut() {
            slot.take_if(|slot| slot.until <= now);
        }
    }

    pub(super) fn get(&self, root: &Arc<Root>, path: &[u8]) -> Option<Rc<Open>> {
        let slots = self.slots.borrow();
        let slot = slots[self.place(root, path)].as_ref()?;
        let same = Arc::ptr_eq(&slot.root, root) && *slot.path == *path;
        let good = same && slot.until > Instant::now() && slot.file.refresh();
        good.then(|| Rc::clone(&slot.file))
    }

    pub(super) fn put(&self, root: &Arc<Root>, path: &[u8], file: &Rc<Open>) {
        let slot = Slot {
            root: Arc::clone(root),
            path: path.into(),
            until: Instant::now() + self.keep,
            file: Rc::clone(file),
        };
        self.slots.borrow_mut()[self.place(root, path)] = Some(slot);
    }

    fn place(&self, root: &Arc<Root>, path: &[u8]) -> usize {
        self.hasher.hash_one((Arc::as_ptr(root), path)) as usize % SLOTS
    }
}
