//! [`Spread`]: the open connections of each core, and the way from the core that accepted one to the core that has
//! fewest.
//!
//! The kernel spreads connections over the sockets of an address by a hash of their ports: of 64 connections, one of
//! two cores may get 40. Clients that keep their connections stay unevenly served, so a connection is handed over when
//! it has been accepted, before a byte of it is read. A handed connection is counted where it goes from the moment it
//! leaves, so that no two cores take the same gap for theirs; and it keeps its [`Entered`], so that its address and
//! place are given back wherever it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::mpsc::{Permit, Receiver, Sender, channel};

use super::gate::Entered;
use super::{Settings, Stream};

/// A handover costs two system calls and a wake-up: below this difference it is not worth that.
const LEAST_DIFFERENCE: u32 = 2;
/// The same, as a part of what the emptier core has: many short connections come and go by more than two.
const DIFFERENCE_PART: u32 = 8;
/// Connections on their way to one core. When its queue is full they stay where they are.
const QUEUE: usize = 256;

/// The open connections of one core, those on their way to it included. Written when one comes and when it goes, by
/// its core and by those that hand over; two cache lines, because processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Load(AtomicU32);

/// One connection with its place at the gate and on a core, counted until dropped.
pub struct Open {
    load: Arc<Load>,
    _entered: Entered,
}

/// A connection on its way to another core.
pub struct Handed {
    pub stream: Stream,
    /// None for a Unix socket.
    pub sender: Option<SocketAddr>,
    pub settings: Arc<Settings>,
    pub open: Open,
}

/// Where a core takes in what others hand to it. Closed, it takes nothing new and still gives what it has.
pub type Inbox = Receiver<Handed>;

/// See the module.
pub struct Spread {
    cores: Box<[Desk]>,
}

struct Desk {
    load: Arc<Load>,
    inbox: Sender<Handed>,
}

/// The way to another core: a free place in its queue.
pub struct Passage<'a> {
    place: Permit<'a, Handed>,
    load: &'a Arc<Load>,
}

impl Load {
    /// Connections open now.
    pub fn open(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Open {
    pub fn new(load: &Arc<Load>, entered: Entered) -> Self {
        load.0.fetch_add(1, Ordering::Relaxed);
        Self { load: Arc::clone(load), _entered: entered }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.load.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Spread {
    /// For `cores` cores, with the inbox of each.
    pub fn new(cores: usize) -> (Arc<Self>, Vec<Inbox>) {
        let (cores, inboxes) = (0..cores)
            .map(|_| {
                let (inbox, outlet) = channel(QUEUE);
                (Desk { load: Arc::default(), inbox }, outlet)
            })
            .unzip::<_, _, Vec<_>, _>();
        (Arc::new(Self { cores: cores.into() }), inboxes)
    }

    /// The connections of `core`, which is one of those that this was made for.
    pub fn load(&self, core: u16) -> Arc<Load> {
        self.cores.get(usize::from(core)).map(|desk| Arc::clone(&desk.load)).unwrap_or_default()
    }

    /// The way from a core with `own` open connections to the one with fewest, when the difference matters. `None`
    /// also when that one takes none: its queue is full, or it has ended.
    pub fn passage(&self, own: &Load) -> Option<Passage<'_>> {
        let running = self.cores.iter().filter(|desk| !desk.inbox.is_closed());
        let (least, desk) = running.map(|desk| (desk.load.open(), desk)).min_by_key(|(open, _)| *open)?;
        let difference = LEAST_DIFFERENCE.max(least / DIFFERENCE_PART);
        if own.open() <= least.saturating_add(difference) {
            return None;
        }
        Some(Passage { place: desk.inbox.try_reserve().ok()?, load: &desk.load })
    }
}

impl Passage<'_> {
    /// Hands a connection over.
    pub fn send(self, stream: Stream, sender: Option<SocketAddr>, settings: Arc<Settings>, entered: Entered) {
        let open = Open::new(self.load, entered);
        self.place.send(Handed { stream, sender, settings, open });
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::super::Address;
    use super::super::gate::Gate;
    use super::*;

    fn entered(gate: &Arc<Gate>) -> Entered {
        gate.enter(Some([127, 0, 0, 1].into()), u32::MAX).unwrap()
    }

    fn hand(passage: Passage<'_>, gate: &Arc<Gate>) {
        let settings = Settings { name: "http".into(), address: Address::Unix("s".into()), is_tls: false };
        let stream = Stream::Unix(UnixStream::pair().unwrap().0);
        passage.send(stream, None, settings.into(), entered(gate));
    }

    /// Lets core 0 accept `count` connections; those that stay there are given.
    fn accept(spread: &Spread, gate: &Arc<Gate>, count: usize) -> Vec<Open> {
        let own = spread.load(0);
        let mut staying = Vec::new();
        for _ in 0..count {
            match spread.passage(&own) {
                Some(passage) => hand(passage, gate),
                None => staying.push(Open::new(&own, entered(gate))),
            }
        }
        staying
    }

    #[test]
    fn what_one_core_accepts_is_spread_over_all() {
        let gate = Arc::<Gate>::default();
        let (spread, _inboxes) = Spread::new(4);
        let _staying = accept(&spread, &gate, 400);
        let open: Vec<u32> = (0..4).map(|core| spread.load(core).open()).collect();
        let (least, most) = (open.iter().min().unwrap(), open.iter().max().unwrap());
        assert_eq!(open.iter().sum::<u32>(), 400);
        assert!(most - least <= 1 + least / DIFFERENCE_PART, "{open:?}");
    }

    #[test]
    fn a_small_difference_stays() {
        let gate = Arc::<Gate>::default();
        let (spread, _inboxes) = Spread::new(2);
        let staying = accept(&spread, &gate, 3);
        assert_eq!(staying.len(), 3);
        assert!(spread.passage(&spread.load(0)).is_some(), "the fourth goes");
        assert!(spread.passage(&spread.load(1)).is_none(), "not to a fuller one");
    }

    #[test]
    fn a_full_queue_turns_away_and_loses_nothing() {
        let gate = Arc::<Gate>::default();
        let (spread, mut inboxes) = Spread::new(2);
        let staying = accept(&spread, &gate, 2 * QUEUE + 100).len();
        assert_eq!(staying, QUEUE + 100, "the queue of the other is full");
        let handed = std::iter::from_fn(|| inboxes[1].try_recv().ok()).count();
        assert_eq!((handed, spread.load(1).open()), (QUEUE, 0), "given back when they end");
    }

    #[tokio::test]
    async fn a_closed_inbox_takes_nothing_new_and_still_gives_what_it_has() {
        let gate = Arc::<Gate>::default();
        let (spread, mut inboxes) = Spread::new(2);
        let _staying = accept(&spread, &gate, 10);
        let on_their_way = spread.load(1).open();
        let own = spread.load(0);
        let started_before = {
            let _more: Vec<_> = (0..10).map(|_| Open::new(&own, entered(&gate))).collect();
            let passage = spread.passage(&own);
            inboxes[1].close();
            assert!(spread.passage(&own).is_none(), "it has ended");
            passage.unwrap()
        };
        hand(started_before, &gate);
        let mut handed = 0;
        while inboxes[1].recv().await.is_some() {
            handed += 1;
        }
        assert_eq!(handed, on_their_way + 1);
    }

    #[test]
    fn a_core_that_is_gone_gives_back_the_places_of_what_was_on_its_way() {
        let gate = Arc::<Gate>::default();
        let (spread, inboxes) = Spread::new(2);
        let staying = accept(&spread, &gate, 10);
        drop(inboxes);
        let count = u32::try_from(staying.len()).unwrap();
        assert_eq!((spread.load(0).open(), spread.load(1).open()), (count, 0));
        let ip = Some([127, 0, 0, 1].into());
        assert!(gate.enter(ip, count + 1).is_some() && gate.enter(ip, count).is_none());
    }
}
