//! One collection of one hypervisor: which guests, on which worker, by when, and what happens to a
//! guest that does not answer.
//!
//! ```text
//! mod.rs           the hypervisor: runs the loop between the two halves
//!
//! decides, without I/O:
//!   collection.rs    one collection as a state machine
//!     guest_state.rs   where one guest is, and what its answers mean
//!     assemble.rs      bringing statistics and device list together
//!     close.rs         the end: readings, what is remembered, messages
//!   coordinator.rs   what lasts from one collection to the next
//!     gate.rs          may this call be made now?
//!     health.rs        how well each guest answers
//!     cause.rs         what may hold a guest, in words
//!     backoff.rs       when what held a call may be asked again
//!
//! blocks, on the threads of a pool:
//!   worker.rs        how a worker of the pool makes a call
//!     session.rs       a connection and its handles
//!       permit.rs        one list at a time, among workers
//!     ask.rs           the bulk statistics of some guests
//!       cpu.rs           CPU time without a guest's monitor
//!     detail.rs        what they lack, guest by guest
//!       fallback.rs      the calls for one guest, where there is no bulk
//!       extra.rs         the calls for one guest that only `extra` needs
//!     pid_files.rs     the guests of this machine by libvirt's files
//!     uptime.rs        since when they run, by the same files and /proc
//!
//! call.rs          the calls between the two, as data
//! request.rs       what is asked of a guest, and what comes of it
//! ```
//!
//! libvirt's calls cannot be cancelled, and any of them may never come back. Each is made by a worker that
//! can be left behind, and a collection depends on none of them. A call that asks a hung guest's monitor
//! blocks until that guest answers or dies; every later call with NOWAIT is answered at once, with what
//! libvirtd itself knows. A guest whose object libvirt has locked blocks every call for it, and every list.
//! So a guest holds at most one or two calls, and how many of them may be stuck is bounded.

mod ask;
mod assemble;
mod backoff;
mod call;
mod cause;
mod close;
mod collection;
mod coordinator;
mod cpu;
mod detail;
mod extra;
mod fallback;
mod gate;
mod guest_state;
mod health;
mod permit;
pub(crate) mod pid_files;
mod request;
mod session;
pub(crate) mod uptime;
mod worker;

use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

pub use backoff::SavedBackoff;
pub(crate) use backoff::{Backoff, Budget};
pub use cause::{Cause, HeldGuest};
pub use health::SavedHealth;
pub use request::Reading;
pub use session::Listed;

use crate::config::Selection;
use crate::config::extra::{Extra, Extras};
use crate::deadline::Deadline;
use crate::devices::Inventory;
use crate::host::{Origin, Replay};
use crate::log::Log;
use crate::sample::{Domain, boottime_ns};
use call::Answer;
use collection::Collection;
use coordinator::Coordinator;
use worker::Workers;

/// Nobody waits longer at once.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// How long the end waits for idle connections to be closed: a healthy libvirtd takes a millisecond.
const CLOSE_WITHIN: Duration = Duration::from_millis(200);

/// How a hypervisor is read.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Connections that a collection is spread over.
    pub workers: usize,
    /// Calls that may be stuck at the same time.
    pub max_stuck: usize,
    /// Which guests are read, and what of them.
    pub selection: Arc<Selection>,
    /// The time that a collection has.
    pub deadline: Duration,
    /// Whether the host's name is asked for.
    pub host_name: bool,
    /// What is printed beyond the default.
    pub extra: Extras,
    /// Whether the time that virtual CPUs wait for a host CPU is printed.
    pub steal: bool,
}

/// One hypervisor, with what is remembered of it.
pub struct Hypervisor {
    uri: Arc<str>,
    origin: Origin,
    workers: Workers,
    core: Coordinator,
    is_expected: bool,
}

/// What the cache knows of a guest's devices.
pub struct KnownDevices {
    /// The device list.
    pub inventory: Arc<Inventory>,
    /// Whether it is within its time to live.
    pub is_fresh: bool,
}

/// What is known of a guest when it is listed.
#[derive(Default)]
pub struct Known<'a> {
    /// Its devices.
    pub devices: Option<KnownDevices>,
    /// Its last sample, where that is of this boot.
    pub before: Option<&'a Domain>,
}

/// A collection's result.
#[derive(Debug, Default)]
pub struct Collected {
    /// The guests, sorted by name.
    pub readings: Vec<Reading>,
    /// Guests of which nothing came since libvirt itself has locked them: who they are, and no more.
    pub locked: Vec<Domain>,
    /// Guests that were listed and passed the filter.
    pub guests: usize,
    /// Guests whose metadata the filter did not let pass.
    pub excluded: Vec<Excluded>,
    /// Guests whose answer is not complete, and what holds them.
    pub held: Vec<HeldGuest>,
    /// The names of guests that libvirt has locked, and of which no more is known.
    pub nameless: Vec<String>,
    /// Guests that could not be read in time, although nothing seems to hold them.
    pub late: Vec<(Uuid, Arc<str>)>,
    /// Guests of which nothing came in time.
    pub unread: usize,
    /// Those that do not answer since a call is stuck in them.
    pub hung: usize,
    /// Those that gave no whole answer, and may be merely busy.
    pub busy: usize,
    /// Guests whose device list came from the cache.
    pub cache_hits: usize,
    /// Guests whose XML was read for it.
    pub cache_misses: usize,
    /// Calls that are stuck in hung guests now.
    pub stuck_calls: usize,
    /// Calls for guests that were asked again: they were locked, or busy with another call.
    pub asked_again: usize,
    /// Whether libvirt lists no guests now.
    pub list_is_late: bool,
    /// Statistics that libvirt sent and nobody here knows.
    pub unknown: usize,
}

/// A guest whose metadata the filter did not let pass.
#[derive(Clone, Debug)]
pub struct Excluded {
    /// Its lasting identity.
    pub uuid: Uuid,
    /// Its name when it was listed.
    pub name: Arc<str>,
    /// What its XML said, where it was read for that.
    pub read: Option<Arc<Inventory>>,
}

/// Why a hypervisor could not be read, in libvirt's words; it has been told.
#[derive(Debug)]
pub struct Down(pub String);

impl Hypervisor {
    /// A hypervisor; nobody is asked before the first collection.
    pub fn new(uri: &str, plan: Plan, log: &Arc<Log>) -> Self {
        let origin = Origin::of(uri);
        let uri: Arc<str> = uri.into();
        let selection = Arc::clone(&plan.selection);
        Self {
            workers: Workers::new(origin.clone(), Arc::clone(log), selection),
            core: Coordinator::new(&uri, plan, log),
            uri,
            origin,
            is_expected: true,
        }
    }

    /// Its URI.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Where its answers come from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The recording, if it is one. A collection asks the moment that it is at.
    pub fn replay(&self) -> Option<&Replay> {
        self.origin.replay()
    }

    /// The host's name, where it was asked for and is known.
    pub fn host_name(&self) -> Option<&str> {
        self.core.host_name.as_deref()
    }

    /// Whether it is worth while that others wait for it: not when it was down the last time, and has not
    /// been heard of since. What it may answer later is heard in the next collection.
    pub fn is_expected(&mut self) -> bool {
        for done in self.workers.pool.arrived() {
            self.is_expected |= matches!(done.result, Ok(Answer::Listed(_)));
            self.core.take_late(done, Instant::now());
        }
        self.is_expected
    }

    /// Takes over what an earlier run knew: the guests that ran, and those that did not answer.
    pub fn restore(&mut self, guests: Vec<Listed>, health: Vec<SavedHealth>) {
        self.core.roster = guests.into();
        self.core.health.restore(health, Instant::now(), boottime_ns());
    }

    /// What the next run must know of the guests' health.
    pub fn saved_health(&mut self) -> Vec<SavedHealth> {
        self.core.health.saved(Instant::now(), boottime_ns())
    }

    /// The list is not asked for: a call for it is out already, and does not come back.
    pub fn hold_list(&mut self) {
        let running = self.core.running();
        self.core.health.hold_list(Instant::now(), running);
    }

    /// Takes a sample that nobody needs any more: its memory serves in the next collection.
    pub fn recycle(&mut self, sample: Domain) {
        self.core.spares.push(sample);
    }

    /// Closes the connections that are idle.
    pub fn close(&mut self) {
        self.workers.pool.close(CLOSE_WITHIN);
    }

    /// Reads every guest that is selected, by the deadline. It is given up with the others whose end
    /// the deadline tells of only until it has answered.
    ///
    /// # Errors
    /// [`Down`] where no guest could be read, and none listed.
    pub fn collect<'k>(
        &mut self,
        known: impl Fn(&Listed) -> Known<'k> + 'k,
        deadline: &Deadline,
    ) -> Result<Collected, Down> {
        let (workers, most) = (&mut self.workers, self.core.plan.workers);
        let alone = deadline.whatever_others_do();
        let mut collection = Collection::begin(&mut self.core, &known, Instant::now());
        loop {
            let now = Instant::now();
            for (id, call, progress) in collection.calls(workers.pool.idle(), now) {
                workers.submit(id, call, progress);
            }
            let deadline = if collection.has_answered { &alone } else { deadline };
            if collection.is_over() || deadline.is_over() {
                break;
            }
            let wake_in = collection.wake_in(now).unwrap_or(LONGEST_WAIT);
            for done in workers.pool.wait(collection.enough(), wake_in, deadline) {
                collection.take(done, Instant::now());
            }
        }
        // What has arrived counts, also when the end is ordered.
        for done in workers.pool.arrived() {
            collection.take(done, Instant::now());
        }
        let is_ending = deadline.is_ending();
        let mut collected = collection.close(is_ending, Instant::now());
        if self.core.plan.extra.has(Extra::Uptime)
            && let Ok(collected) = &mut collected
        {
            for sample in collected.readings.iter_mut().map(|reading| &mut reading.sample) {
                sample.started_at_ns = match (&self.origin, &self.core.files) {
                    (Origin::Recording(replay), _) => replay.started_at_ns(&sample.uuid),
                    (Origin::Libvirt(_), Some(files)) => uptime::started_at_ns(files, &sample.name),
                    (Origin::Libvirt(_), None) => None,
                };
            }
        }
        self.is_expected = collected.is_ok();
        workers.pool.shrink(most);
        collected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A plan with the settings' defaults.
    pub(super) fn plan() -> Plan {
        Plan {
            workers: 4,
            max_stuck: 12,
            selection: Arc::default(),
            deadline: Duration::from_secs(4),
            host_name: false,
            extra: Extras::NONE,
            steal: false,
        }
    }
}
