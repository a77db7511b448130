//! One hypervisor's events: a connection of their own, on a thread of its own, which may wait for libvirt as
//! long as it likes.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::queue::{Event, LossCause, Queue};
use crate::deadline::Wake;
use crate::libvirt::{ClosedTaker, EventTaker, Kind, Subscription};
use crate::log::{Level, Log};

/// After a connection broke, or could not be made, the next is tried after this time; each time that fails
/// doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// A hypervisor whose events go into a queue.
pub(super) struct Watch {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<Phase>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, Default)]
struct Phase {
    /// The connection broke.
    is_broken: bool,
    /// The first attempt has been made.
    is_tried: bool,
    /// It is told to end.
    is_ending: bool,
    /// It has ended.
    is_over: bool,
}

impl Watch {
    /// Begins to watch the hypervisor with this URI, which is at this place among all.
    pub(super) fn begin(place: usize, uri: &str, queue: &Arc<Queue>, log: &Arc<Log>) -> Self {
        let shared = Arc::new(Shared::default());
        let (of_thread, uri) = (Arc::clone(&shared), uri.to_owned());
        let (queue, log_of_thread) = (Arc::clone(queue), Arc::clone(log));
        let body = move || {
            watch(place, &uri, &queue, &log_of_thread, &of_thread);
            of_thread.set(|phase| (phase.is_tried, phase.is_over) = (true, true));
            // Whoever waits for an event may wait in vain.
            queue.wake();
        };
        if let Err(error) = thread::Builder::new().name(format!("watch-{place}")).spawn(body) {
            log.error(format_args!("no events: cannot start a thread: {error}"));
            shared.set(|phase| (phase.is_tried, phase.is_over) = (true, true));
        }
        Self { shared }
    }

    /// Waits until the first attempt has been made, but not longer than until this moment.
    pub(super) fn wait_for_first(&self, until: Instant) {
        self.shared.wait(until, |phase| phase.is_tried);
    }

    /// Whether nothing more comes of it.
    pub(super) fn is_over(&self) -> bool {
        self.shared.lock().is_over
    }

    /// Tells it to end.
    pub(super) fn order_end(&self) {
        self.shared.set(|phase| phase.is_ending = true);
    }

    /// Waits for its end, but not longer than until this moment: its connection may wait for libvirt.
    pub(super) fn wait_for_end(&self, until: Instant) {
        self.shared.wait(until, |phase| phase.is_over);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Phase> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, change: impl FnOnce(&mut Phase)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    fn wait(&self, until: Instant, is_there: impl Fn(&Phase) -> bool) -> Phase {
        let mut phase = self.lock();
        while !is_there(&phase) {
            let Some(left) = until.checked_duration_since(Instant::now()) else { break };
            let waited = self.changed.wait_timeout(phase, left);
            (phase, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        *phase
    }
}

fn watch(place: usize, uri: &str, queue: &Arc<Queue>, log: &Log, shared: &Arc<Shared>) {
    let condition = format!("events {uri}");
    let take: EventTaker = {
        let queue = Arc::clone(queue);
        Arc::new(move |event| queue.push(place, Event::Guest(event)))
    };
    let closed: ClosedTaker = {
        let shared = Arc::clone(shared);
        Arc::new(move || shared.set(|phase| phase.is_broken = true))
    };
    let mut pause = FIRST_PAUSE;
    loop {
        shared.set(|phase| phase.is_broken = false);
        let begun = Subscription::begin(uri, &take, &closed);
        shared.set(|phase| phase.is_tried = true);
        match begun {
            Ok(subscription) => {
                log.ends(&condition, format_args!("events of {uri} come again"));
                pause = FIRST_PAUSE;
                wait_for_break(shared);
                let is_ending = shared.lock().is_ending;
                if !is_ending {
                    queue.push(place, Event::Lost { cause: LossCause::Connection, dropped: 0 });
                }
                drop(subscription);
            }
            Err(error) if error.kind == Kind::Unsupported => {
                log.warn(format_args!("{uri} has no events: {error}"));
                return;
            }
            Err(error) => {
                let message = format_args!("no events of {uri} come: {error}; tried again");
                log.begins(&condition, Level::Warn, message);
            }
        }
        if shared.wait(Instant::now() + pause, |phase| phase.is_ending).is_ending {
            return;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Waits until the connection broke, or the end.
fn wait_for_break(shared: &Shared) {
    const LONG: Duration = Duration::from_secs(3600);
    loop {
        let phase = shared.wait(Instant::now() + LONG, |it| it.is_broken || it.is_ending);
        if phase.is_broken || phase.is_ending {
            return;
        }
    }
}
