//! Coarse deadlines of one core: setting one costs a store, not a timer.
//!
//! A connection or an exchange owns one slot of a table and moves it as its phase changes. One sweep per
//! [`TICK`] compares all slots with the clock and wakes what is due. Limits of a proxy are seconds, so a tick of
//! a tenth is fine, and neither a timer wheel nor a system call stands in the way of a request.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::clock::process_ms;

/// How often the table is swept; the precision of every deadline.
pub const TICK: Duration = Duration::from_millis(50);

const UNSET: u64 = u64::MAX;
/// The index of a deadline without a slot.
const NONE: u32 = u32::MAX;

struct Slot {
    at_ms: u64,
    waker: Option<Waker>,
}

/// The table of one core.
pub struct Deadlines {
    now_ms: Cell<u64>,
    slots: RefCell<Vec<Slot>>,
    free: RefCell<Vec<u32>>,
}

impl Deadlines {
    pub fn new() -> Rc<Self> {
        Rc::new(Self { now_ms: Cell::new(process_ms()), slots: RefCell::default(), free: RefCell::default() })
    }

    /// A new deadline, not set. It takes its slot when it is first set or waited for.
    pub fn slot(self: &Rc<Self>) -> Deadline {
        Deadline { table: Rc::clone(self), index: Cell::new(NONE) }
    }

    fn take_slot(&self) -> u32 {
        self.free.borrow_mut().pop().unwrap_or_else(|| {
            let mut slots = self.slots.borrow_mut();
            slots.push(Slot { at_ms: UNSET, waker: None });
            (slots.len() - 1) as u32
        })
    }

    /// Milliseconds of the process clock, as of the last sweep.
    pub fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    /// Sweeps for ever, once per [`TICK`]; tells `lag` how late it comes to it.
    pub async fn run(self: Rc<Self>, lag: impl Fn(Duration)) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let due = tick.tick().await;
            lag(due.elapsed());
            self.sweep(process_ms());
        }
    }

    /// Moves the clock to `now_ms` and wakes every owner whose deadline has passed.
    pub fn sweep(&self, now_ms: u64) {
        self.now_ms.set(now_ms);
        // A waker may run code that takes a slot, so the borrow ends before each wake.
        let mut index = 0;
        loop {
            let due = {
                let mut slots = self.slots.borrow_mut();
                let Some(offset) = slots[index..].iter().position(|s| s.at_ms <= now_ms && s.waker.is_some())
                else {
                    return;
                };
                index += offset + 1;
                slots[index - 1].waker.take()
            };
            if let Some(waker) = due {
                waker.wake();
            }
        }
    }

    /// Wakes every owner, to look at something else than the time.
    pub fn wake_all(&self) {
        // Taken first: a waker may run code that takes a slot.
        let wakers: Vec<Waker> = self.slots.borrow_mut().iter_mut().filter_map(|s| s.waker.take()).collect();
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// One slot; freed when dropped.
pub struct Deadline {
    table: Rc<Deadlines>,
    index: Cell<u32>,
}

impl Deadline {
    fn with_slot<T>(&self, work: impl FnOnce(&mut Slot) -> T) -> T {
        if self.index.get() == NONE {
            self.index.set(self.table.take_slot());
        }
        work(&mut self.table.slots.borrow_mut()[self.index.get() as usize])
    }

    /// Another deadline of the same core, not set.
    pub fn another(&self) -> Self {
        self.table.slot()
    }

    /// The time that is set, if any.
    fn at_ms(&self) -> u64 {
        self.table.slots.borrow().get(self.index.get() as usize).map_or(UNSET, |slot| slot.at_ms)
    }

    /// Due `after` from now, replacing what was set. Never early: the clock of the table may lag by one tick.
    pub fn set(&self, after: Duration) {
        let at = self.table.now_ms.get().saturating_add((after + TICK).as_millis() as u64);
        self.with_slot(|slot| slot.at_ms = at);
    }

    /// Due at once: wakes the waiting task.
    pub fn ring(&self) {
        let waker = self.with_slot(|slot| {
            slot.at_ms = 0;
            slot.waker.take()
        });
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// See [`Deadlines::now_ms`].
    pub fn now_ms(&self) -> u64 {
        self.table.now_ms()
    }

    /// Never due until set again.
    pub fn clear(&self) {
        if self.index.get() != NONE {
            self.with_slot(|slot| slot.at_ms = UNSET);
        }
    }

    /// Whether a time is set.
    pub fn is_set(&self) -> bool {
        self.at_ms() != UNSET
    }

    /// Whether the time has passed.
    pub fn is_due(&self) -> bool {
        self.at_ms() <= self.table.now_ms.get()
    }

    /// Ready once the time has passed; else the task is woken then.
    pub fn poll_due(&self, cx: &mut Context<'_>) -> Poll<()> {
        let now = self.table.now_ms.get();
        self.with_slot(|slot| {
            if slot.at_ms <= now {
                return Poll::Ready(());
            }
            match &mut slot.waker {
                Some(waker) if waker.will_wake(cx.waker()) => {}
                waker => *waker = Some(cx.waker().clone()),
            }
            Poll::Pending
        })
    }

    /// `future`'s output, or `None` when the deadline passes first.
    pub async fn race<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
            self.poll_due(cx).map(|()| None)
        })
        .await
    }

    /// Waits until the time has passed.
    pub async fn due(&self) {
        std::future::poll_fn(|cx| self.poll_due(cx)).await;
    }

    /// Sets the deadline and races `future` against it.
    pub async fn within<F: Future>(&self, after: Duration, future: F) -> Option<F::Output> {
        self.set(after);
        let output = self.race(Pin::new(&mut std::pin::pin!(future))).await;
        self.clear();
        output
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        if self.index.get() == NONE {
            return;
        }
        let waker = self.with_slot(|slot| {
            slot.at_ms = UNSET;
            slot.waker.take()
        });
        drop(waker);
        self.table.free.borrow_mut().push(self.index.get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn fires_only_after_its_time_has_passed() {
        let table = Deadlines::new();
        let deadline = table.slot();
        let start = table.now_ms();
        deadline.set(Duration::from_secs(1));
        table.sweep(start + 1_000);
        assert!(!deadline.is_due(), "the clock may lag by a tick, so exactly one second is too early");
        table.sweep(start + 1_000 + TICK.as_millis() as u64);
        assert!(deadline.is_due());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_cleared_deadline_never_fires() {
        let table = Deadlines::new();
        let deadline = table.slot();
        deadline.set(Duration::from_secs(1));
        deadline.clear();
        table.sweep(u64::MAX - 1);
        assert!(!deadline.is_due());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn wakes_the_waiting_task() {
        let table = Deadlines::new();
        let deadline = table.slot();
        deadline.set(Duration::ZERO);
        let waiting = async { deadline.race(std::future::pending::<()>()).await };
        let sweeping = async { table.sweep(table.now_ms() + 10_000) };
        let (output, ()) = tokio::join!(waiting, sweeping);
        assert!(output.is_none());
    }

    #[tokio::test(flavor = "current_thread")]
    #[expect(clippy::disallowed_methods, reason = "a core that is blocked is what is tested")]
    async fn tells_how_late_it_sweeps() {
        let (told, mut hears) = tokio::sync::mpsc::unbounded_channel();
        let sweeps = async move {
            tokio::task::spawn_local(Deadlines::new().run(move |late| _ = told.send(late)));
            hears.recv().await;
            // Something that does not give the core away.
            std::thread::sleep(TICK * 3);
            while hears.recv().await.is_some_and(|late| late < TICK) {}
        };
        tokio::task::LocalSet::new().run_until(sweeps).await;
    }

    #[test]
    fn a_dropped_slot_is_used_again() {
        let table = Deadlines::new();
        for _ in 0..2 {
            table.slot().set(TICK);
        }
        assert_eq!(table.slots.borrow().len(), 1);
    }

    #[test]
    fn a_deadline_that_was_never_set_takes_no_slot() {
        let table = Deadlines::new();
        let deadline = table.slot();
        deadline.clear();
        assert!(!deadline.is_set() && !deadline.is_due());
        drop(deadline);
        assert!(table.slots.borrow().is_empty());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn wakes_all_who_wait_and_none_is_due() {
        let table = Deadlines::new();
        let deadline = table.slot();
        deadline.set(Duration::from_secs(1));
        let mut polls = 0;
        let waiting = std::future::poll_fn(|cx| {
            polls += 1;
            assert!(deadline.poll_due(cx).is_pending());
            if polls == 2 { Poll::Ready(()) } else { Poll::Pending }
        });
        tokio::join!(waiting, async { table.wake_all() });
        assert_eq!(polls, 2);
    }
}
