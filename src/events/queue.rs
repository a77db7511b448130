//! Events between the thread that they arrive on and whoever prints them.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use crate::deadline::{Deadline, Wake};
use crate::libvirt::{GuestEvent, Happening};

/// So many events wait at most. What comes then is counted, and lost.
pub const MOST: usize = 10_000;
/// A waiter looks around at least so often.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// An event, and when it arrived.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrived {
    /// In Unix nanoseconds: later than that of every event before it.
    pub at_ns: i64,
    /// Which of the hypervisors it is of.
    pub place: usize,
    /// What it is.
    pub event: Event,
}

/// What arrived.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Something happened to a guest.
    Guest(GuestEvent),
    /// Events of this hypervisor may be missing.
    Lost {
        /// Why.
        cause: LossCause,
        /// How many are known to be.
        dropped: u64,
    },
}

/// Why events may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossCause {
    /// The connection broke.
    Connection,
    /// The queue was full.
    Queue,
}

impl LossCause {
    /// The word for it in the output.
    pub fn word(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Queue => "queue_full",
        }
    }
}

/// The queue.
#[derive(Debug, Default)]
pub struct Queue {
    state: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<Arrived>,
    /// What did not fit, by hypervisor: when the first came, and how many.
    dropped: Vec<(usize, i64, u64)>,
    last_ns: i64,
    /// Guests of which something changed that the cache may know, by hypervisor.
    touched: HashSet<(usize, Uuid)>,
    /// Whoever waits is to look around.
    is_woken: bool,
}

impl Wake for Queue {
    fn wake(&self) {
        self.lock().is_woken = true;
        self.changed.notify_all();
    }
}

impl Queue {
    /// Takes an event of the hypervisor at this place. Never waits for whoever prints.
    pub fn push(&self, place: usize, event: Event) {
        self.push_at(place, event, unix_ns(SystemTime::now()));
    }

    fn push_at(&self, place: usize, event: Event, now_ns: i64) {
        let mut state = self.lock();
        if let Event::Guest(event) = &event
            && ends_belief(&event.what)
            && state.touched.len() < MOST
        {
            state.touched.insert((place, event.uuid));
        }
        if matches!(&event, Event::Guest(GuestEvent { what: Happening::Changed, .. })) {
            return;
        }
        // Two events at one moment would be one point in a database. A clock may step back, too.
        let at_ns = now_ns.max(state.last_ns + 1);
        state.last_ns = at_ns;
        if state.events.len() < MOST {
            if !state.is_repeated(place, &event) {
                state.events.push_back(Arrived { at_ns, place, event });
            }
        } else if let Some((.., count)) = state.dropped.iter_mut().find(|it| it.0 == place) {
            *count += 1;
        } else {
            state.dropped.push((place, at_ns, 1));
        }
        drop(state);
        self.changed.notify_all();
    }

    /// All that has arrived, in order; what did not fit, last.
    pub fn drain(&self) -> Vec<Arrived> {
        let mut state = self.lock();
        let dropped = std::mem::take(&mut state.dropped);
        let mut events: Vec<Arrived> = state.events.drain(..).collect();
        let lost = dropped.into_iter().map(|(place, at_ns, dropped)| Arrived {
            at_ns,
            place,
            event: Event::Lost { cause: LossCause::Queue, dropped },
        });
        events.extend(lost);
        events
    }

    /// The guests, with their hypervisors' places, of which something changed that a cache may know.
    pub fn take_touched(&self) -> HashSet<(usize, Uuid)> {
        std::mem::take(&mut self.lock().touched)
    }

    /// Whether there are such guests.
    pub fn has_touched(&self) -> bool {
        !self.lock().touched.is_empty()
    }

    /// Waits until there is an event, until it is woken, or for this deadline.
    pub fn wait(self: &Arc<Self>, deadline: &Deadline) {
        let waiter: Arc<dyn Wake> = Arc::<Self>::clone(self);
        let _woken = deadline.wakes(&waiter);
        let mut state = self.lock();
        while state.events.is_empty() && state.dropped.is_empty() && !state.is_woken {
            let left = deadline.left(LONGEST_WAIT);
            if left.is_zero() {
                break;
            }
            let waited = self.changed.wait_timeout(state, left);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        state.is_woken = false;
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// libvirt tells of a threshold of a disk's newest layer twice: of the disk, and of the layer.
    fn is_repeated(&self, place: usize, event: &Event) -> bool {
        let Event::Guest(GuestEvent { uuid, what: Happening::BlockThreshold { .. }, .. }) = event
        else {
            return false;
        };
        let same = |it: &Arrived| match (&it.event, event) {
            (Event::Guest(old), Event::Guest(new)) => {
                it.place == place
                    && old.uuid == *uuid
                    && threshold(&old.what) == threshold(&new.what)
            }
            _ => false,
        };
        self.events.iter().rev().take(4).any(same)
    }
}

/// What makes two events about a threshold one: the disk, the path, the numbers.
fn threshold(what: &Happening) -> Option<(&str, &str, u64, u64)> {
    let Happening::BlockThreshold { disk, path, threshold_bytes, excess_bytes } = what else {
        return None;
    };
    let disk = disk.split('[').next().unwrap_or_default();
    Some((disk, path, *threshold_bytes, *excess_bytes))
}

/// Whether what a cache knows of the guest may be wrong after it.
fn ends_belief(what: &Happening) -> bool {
    match what {
        // Defined, started.
        Happening::Lifecycle { event, .. } => matches!(event, 0 | 2),
        Happening::BlockJob { .. }
        | Happening::DeviceAdded { .. }
        | Happening::DeviceRemoved { .. }
        | Happening::Changed => true,
        Happening::Rebooted
        | Happening::Watchdog { .. }
        | Happening::IoError { .. }
        | Happening::BlockThreshold { .. }
        | Happening::JobCompleted(_)
        | Happening::DeviceRemovalFailed { .. }
        | Happening::Agent { .. }
        | Happening::MemoryFailure { .. } => false,
    }
}

fn unix_ns(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadline::Ending;

    fn guest(what: Happening) -> Event {
        Event::Guest(GuestEvent { id: 1, name: "web".to_owned(), uuid: Uuid::from_u128(7), what })
    }

    #[test]
    fn events_stand_in_order_each_at_a_moment_of_its_own() {
        let queue = Queue::default();
        for now in [100, 100, 50, 200] {
            queue.push_at(0, guest(Happening::Rebooted), now);
        }
        let moments: Vec<i64> = queue.drain().iter().map(|it| it.at_ns).collect();
        assert_eq!(moments, [100, 101, 102, 200]);
        assert!(queue.drain().is_empty());
        // Nor is one of an earlier drain repeated.
        queue.push_at(0, guest(Happening::Rebooted), 150);
        assert_eq!(queue.drain()[0].at_ns, 201);
    }

    #[test]
    fn what_does_not_fit_is_counted_for_each_hypervisor() {
        let queue = Queue::default();
        for number in 0..MOST + 5 {
            queue.push_at(number % 2, guest(Happening::Rebooted), 1000);
        }
        let events = queue.drain();
        assert_eq!(events.len(), MOST + 2);
        let lost: Vec<(usize, &Event)> =
            events.iter().skip(MOST).map(|it| (it.place, &it.event)).collect();
        let of = |dropped| Event::Lost { cause: LossCause::Queue, dropped };
        assert_eq!(lost, [(0, &of(3)), (1, &of(2))]);
        assert!(events.is_sorted_by(|a, b| a.at_ns < b.at_ns));
        // The next ones fit again.
        queue.push_at(0, guest(Happening::Rebooted), 1000);
        assert_eq!(queue.drain().len(), 1);
    }

    #[test]
    fn a_change_is_no_event_and_ends_what_is_believed() {
        let queue = Queue::default();
        queue.push_at(1, guest(Happening::Changed), 1);
        queue.push_at(1, guest(Happening::Rebooted), 2);
        assert_eq!(queue.drain().len(), 1);
        assert_eq!(queue.take_touched(), HashSet::from([(1, Uuid::from_u128(7))]));
        assert!(queue.take_touched().is_empty());
    }

    #[test]
    fn a_threshold_that_is_told_twice_is_one_event() {
        let queue = Queue::default();
        let event = |disk: &str, path: &str| {
            guest(Happening::BlockThreshold {
                disk: disk.to_owned(),
                path: path.to_owned(),
                threshold_bytes: 1,
                excess_bytes: 2,
            })
        };
        queue.push_at(0, event("vda[1]", "/a"), 1);
        queue.push_at(0, event("vda", "/a"), 2);
        queue.push_at(0, event("vda[2]", "/b"), 3);
        assert_eq!(queue.drain().len(), 2);
    }

    #[test]
    fn a_wait_ends_with_an_event_with_its_time_when_it_is_woken_or_told_to_end() {
        let queue = Arc::new(Queue::default());
        let ending = Ending::default();
        let within =
            |seconds| Deadline::within(Duration::from_secs(seconds), &ending, Duration::ZERO);
        queue.wait(&within(0));
        queue.wake();
        queue.wait(&within(600));
        let waiter = Arc::clone(&queue);
        let deadline = within(600);
        let waits = std::thread::spawn(move || waiter.wait(&deadline));
        ending.begin();
        waits.join().unwrap();
        queue.push_at(0, guest(Happening::Rebooted), 1);
        queue.wait(&within(600));
    }
}
