//! [`Bell`]: a waker for something that a task drives by hand, deaf to what the task itself does to it.
//!
//! A task that drives a connection and reads what comes out of it wakes itself at every step: each piece that it takes
//! tells the connection to go on, through the waker of this very task. The task goes on anyway, so those wake-ups cost
//! a whole turn for nothing. While the task is inside, the bell only remembers that it rang; the task asks for that
//! before it goes to sleep.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// See the module.
pub struct Bell {
    clapper: Arc<Clapper>,
    waker: Waker,
}

#[derive(Default)]
struct Clapper {
    task: AtomicWaker,
    is_inside: AtomicBool,
    has_rung: AtomicBool,
}

impl Wake for Clapper {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        match self.is_inside.load(Ordering::Relaxed) {
            true => self.has_rung.store(true, Ordering::Relaxed),
            false => self.task.wake(),
        }
    }
}

impl Bell {
    pub fn new() -> Self {
        let clapper = Arc::<Clapper>::default();
        Self { waker: Waker::from(Arc::clone(&clapper)), clapper }
    }

    /// Runs `step` with the bell as its waker. From outside the bell wakes the task of `cx`; from inside it does so
    /// only when `step` says that it can go no further, for then nobody else would come back to it.
    pub fn inside<T>(&self, cx: &mut Context<'_>, step: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        self.clapper.task.register(cx.waker());
        self.clapper.is_inside.store(true, Ordering::Relaxed);
        self.clapper.has_rung.store(false, Ordering::Relaxed);
        let polled = step(&mut Context::from_waker(&self.waker));
        self.clapper.is_inside.store(false, Ordering::Relaxed);
        if polled.is_pending() && self.clapper.has_rung.load(Ordering::Relaxed) {
            cx.waker().wake_by_ref();
        }
        polled
    }
}

impl Bell {
    /// Forgets the task: until the next [`Self::inside`] nobody is woken.
    pub fn rest(&self) {
        self.clapper.task.take();
    }
}

/// The waker of one source behind a bell, such as a socket. A source that has nothing is not asked again before it has
/// knocked: a library that polls at every step would otherwise ask it many times in vain.
pub struct Knock {
    door: Arc<Door>,
    waker: Waker,
    is_waiting: Cell<bool>,
}

struct Door {
    has_knocked: AtomicBool,
    bell: Waker,
}

impl Wake for Door {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.has_knocked.store(true, Ordering::Release);
        self.bell.wake_by_ref();
    }
}

impl Knock {
    pub fn new(bell: &Bell) -> Self {
        let door = Arc::new(Door { has_knocked: AtomicBool::new(false), bell: bell.waker.clone() });
        Self { waker: Waker::from(Arc::clone(&door)), door, is_waiting: Cell::new(false) }
    }

    /// Whether the source had nothing when it was last asked, and has been silent since.
    pub fn is_quiet(&self) -> bool {
        self.is_waiting.get() && !self.door.has_knocked.load(Ordering::Acquire)
    }

    /// Asks the source, unless it is quiet.
    pub fn ask<T>(&self, source: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        if self.is_quiet() {
            return Poll::Pending;
        }
        // Before the question: a source may knock while it is asked, to be asked again.
        self.door.has_knocked.store(false, Ordering::Release);
        let answer = source(&mut Context::from_waker(&self.waker));
        self.is_waiting.set(answer.is_pending());
        answer
    }
}

impl Default for Bell {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn fixture() -> (Bell, Arc<Count>, Waker) {
        let count = Arc::<Count>::default();
        (Bell::new(), Arc::clone(&count), Waker::from(count))
    }

    #[test]
    fn ringing_from_inside_is_for_nobody_when_the_step_is_done() {
        let (bell, count, waker) = fixture();
        let mut cx = Context::from_waker(&waker);
        let polled = bell.inside(&mut cx, |cx| {
            cx.waker().wake_by_ref();
            Poll::Ready(())
        });
        assert!(polled.is_ready());
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn ringing_from_inside_is_not_lost_when_the_step_waits() {
        let (bell, count, waker) = fixture();
        let mut cx = Context::from_waker(&waker);
        let polled = bell.inside(&mut cx, |cx| {
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        });
        assert!(polled.is_pending());
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn ringing_from_outside_wakes_the_task() {
        let (bell, count, waker) = fixture();
        let mut cx = Context::from_waker(&waker);
        let mut kept = None;
        let _ = bell.inside(&mut cx, |cx| {
            kept = Some(cx.waker().clone());
            Poll::<()>::Pending
        });
        kept.unwrap().wake();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_source_that_has_nothing_is_asked_again_only_after_it_has_knocked() {
        let (bell, count, waker) = fixture();
        let knock = Knock::new(&bell);
        let _ = bell.inside(&mut Context::from_waker(&waker), |_| Poll::<()>::Pending);
        let mut kept = None;
        assert!(
            knock
                .ask(|cx| {
                    kept = Some(cx.waker().clone());
                    Poll::<()>::Pending
                })
                .is_pending()
        );
        assert!(knock.ask(|_| Poll::Ready(())).is_pending(), "quiet");
        kept.unwrap().wake();
        assert_eq!(count.0.load(Ordering::Relaxed), 1, "the task behind the bell is woken");
        assert!(knock.ask(|_| Poll::Ready(())).is_ready());
        assert!(knock.ask(|_| Poll::Ready(())).is_ready(), "one that has something is asked at once");
    }

    #[test]
    fn a_knock_during_the_question_is_heard() {
        let knock = Knock::new(&Bell::new());
        let busy = |cx: &mut Context<'_>| {
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        };
        assert!(knock.ask(busy).is_pending());
        assert!(knock.ask(|_| Poll::Ready(())).is_ready());
    }

    #[test]
    fn a_bell_at_rest_wakes_nobody() {
        let (bell, count, waker) = fixture();
        let mut kept = None;
        let _ = bell.inside(&mut Context::from_waker(&waker), |cx| {
            kept = Some(cx.waker().clone());
            Poll::<()>::Pending
        });
        bell.rest();
        kept.unwrap().wake();
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
    }
}
