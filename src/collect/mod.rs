//! One collection of one hypervisor: which guests, on which worker, by when, and what happens to a
//! guest that does not answer.
//!
//! ```text
//! mod.rs         the hypervisor: from the list of its guests to a reading of each
//!   round.rs     handing out the guests until each is settled or time is over
//!     standing.rs  what is remembered of a guest from one collection to the next
//!     worker.rs    the threads that call libvirt
//!       mailbox.rs   their reports, on the way back
//!       read.rs      reading some guests over a connection
//!         settle.rs    bringing statistics and device list together
//!         fallback.rs  the calls for one guest, where there is no bulk
//!         extra.rs     the calls for one guest that only `extra` needs
//!       session.rs   a connection and its handles
//! reading.rs     what a worker is asked, and what comes of it
//! ```
//!
//! libvirt's calls cannot be cancelled. A call that asks a hung guest's monitor blocks until that
//! guest answers or dies; every later call with NOWAIT is answered at once, with what libvirtd
//! itself knows. So a guest costs at most one stuck call, and a thread here and a worker in libvirtd
//! with it; how many of those there may be is bounded.

mod extra;
mod fallback;
mod mailbox;
mod read;
mod reading;
mod round;
mod session;
mod settle;
mod standing;
mod worker;

use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

pub use reading::{Question, Reading, Skipped, Target};
pub use session::Listed;

use crate::config::Selection;
use crate::config::extra::Extras;
use crate::deadline::Deadline;
use crate::devices::Inventory;
use crate::host::{Origin, Replay};
use crate::libvirt::{Group, Groups, Offer};
use crate::log::{Level, Log};
use crate::sample::Domain;
use mailbox::Found;
use round::Round;
use standing::Standings;
use worker::{Job, Pool};

/// A call that took this long is taken for stuck, and others do its work meanwhile.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often a waiter looks whether the program was told to end.
const GLANCE: Duration = Duration::from_millis(250);
/// A hypervisor that was there a moment ago, and whose connection fails, is tried again so often.
const RETRY: Duration = Duration::from_millis(100);

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
}

impl Plan {
    /// The statistics that are printed.
    fn wanted(&self) -> Groups {
        always().or(extra::groups(self.extra))
    }
}

/// The statistics of which every collection prints something.
fn always() -> Groups {
    Group::ALWAYS.into_iter().collect()
}

/// One hypervisor, with what is remembered of it.
pub struct Hypervisor {
    uri: Arc<str>,
    origin: Origin,
    plan: Plan,
    log: Arc<Log>,
    pool: Pool,
    standings: Standings,
    offer: Option<Offer>,
    host_name: Option<String>,
    collection: u64,
    was_up: bool,
    is_expected: bool,
    spares: Vec<Domain>,
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
pub struct Known {
    /// Its devices.
    pub devices: Option<KnownDevices>,
    /// The CPU time of its last sample, where that is of this boot.
    pub cpu_time_ns: Option<u64>,
}

/// A collection's result.
#[derive(Debug, Default)]
pub struct Collected {
    /// The guests, sorted by name.
    pub readings: Vec<Reading>,
    /// Guests that were listed and passed the filter.
    pub guests: usize,
    /// Guests whose metadata the filter did not let pass.
    pub turned_away: Vec<TurnedAway>,
    /// Guests of which nothing came.
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
    /// Statistics that libvirt sent and nobody here knows.
    pub unknown: usize,
}

impl Collected {
    /// Takes note of a guest's reading; `is_stuck` where a call of ours did not come back from it.
    fn count(&mut self, reading: &Reading, is_stuck: bool) {
        match reading.skipped {
            None => {}
            Some(Skipped::Stuck) => self.hung += 1,
            Some(_) if is_stuck => self.hung += 1,
            Some(_) => self.busy += 1,
        }
        self.cache_misses += usize::from(reading.inventory_is_new);
        let is_cached = reading.inventory.is_some() && !reading.inventory_is_new;
        self.cache_hits += usize::from(is_cached);
        self.unknown += reading.unknown;
    }
}

/// A guest whose metadata the filter did not let pass.
#[derive(Clone, Debug)]
pub struct TurnedAway {
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
        // Calls for guests, with the reserve of those that are known to answer, and for lists.
        let most_stuck = plan.max_stuck + plan.workers + 2;
        Self {
            pool: Pool::new(
                origin.clone(),
                Arc::clone(log),
                Arc::clone(&plan.selection),
                most_stuck,
            ),
            standings: Standings::new(&uri, log),
            uri,
            origin,
            plan,
            log: Arc::clone(log),
            offer: None,
            host_name: None,
            collection: 0,
            was_up: false,
            is_expected: true,
            spares: Vec::new(),
        }
    }

    /// Its URI.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// The recording that stands for it, where it is one. A collection asks the moment that it is at.
    pub fn replay(&self) -> Option<&Replay> {
        self.origin.replay()
    }

    /// The host's name, where it was asked for and is known.
    pub fn host_name(&self) -> Option<&str> {
        self.host_name.as_deref()
    }

    /// Whether it is worth while that others wait for it: not when it was down the last time, and has not
    /// been heard of since. What it may answer later is heard in the next collection.
    pub fn is_expected(&mut self) -> bool {
        while let Some((report, _)) = self.pool.wait(Duration::ZERO, false) {
            self.is_expected |= matches!(report.found, Found::Listed(..));
        }
        self.is_expected
    }

    /// Says of a guest, from an earlier run's sample, that it did not answer.
    pub fn remember_silent(&mut self, uuid: Uuid) {
        self.standings.remember_silent(uuid);
    }

    /// Takes a sample that nobody needs any more: its memory serves in the next collection.
    pub fn recycle(&mut self, sample: Domain) {
        self.spares.push(sample);
    }

    /// Reads every guest that is selected, by the deadline. It is given up with the others whose end
    /// the deadline tells of only until it has answered.
    ///
    /// # Errors
    /// [`Down`] where the guests could not even be listed.
    pub fn collect(
        &mut self,
        known: impl Fn(&Listed) -> Known,
        deadline: &Deadline,
    ) -> Result<Collected, Down> {
        self.collection += 1;
        // What an earlier collection did not wait for is not waited for now.
        self.pool.tasks_mut().for_each(|task| task.is_overdue = true);
        let listed_at = Instant::now();
        let listed = self.list(deadline)?;
        self.standings.keep(listed.iter().map(|guest| guest.uuid));
        let Some(offer) = self.offer else { return Ok(Collected::default()) };
        let selection = Arc::clone(&self.plan.selection);
        let mut targets: Vec<Target> = Vec::new();
        let mut turned_away = Vec::new();
        for guest in listed.iter().filter(|guest| guest.is_taken_by(&selection.domains)) {
            let Known { devices, cpu_time_ns } = known(guest);
            let target = Target {
                place: targets.len(),
                uuid: guest.uuid,
                id: guest.id,
                name: Arc::clone(&guest.name),
                cpu_before_ns: cpu_time_ns,
                fresh: devices.as_ref().is_some_and(|devices| devices.is_fresh),
                inventory: devices.map(|devices| devices.inventory),
            };
            if target.is_turned_away(&selection) {
                turned_away.push(target.turned_away(None));
            } else {
                targets.push(target);
            }
        }
        let deadline = &deadline.whatever_others_do();
        let round = Round {
            plan: self.plan.clone(),
            question: Question {
                wanted: self.plan.wanted(),
                extra: self.plan.extra,
                offer,
                listed: listed.len(),
                listed_at,
                careful: false,
            },
            collection: self.collection,
            pool: &mut self.pool,
            standings: &mut self.standings,
            spares: &mut self.spares,
            deadline,
        };
        let mut collected = round.run(targets);
        collected.turned_away.extend(turned_away);
        self.pool.shrink(self.plan.workers);
        Ok(collected)
    }

    /// The guests. A hypervisor that was there a moment ago gets time to come back.
    fn list(&mut self, deadline: &Deadline) -> Result<Arc<[Listed]>, Down> {
        let started = Instant::now();
        // Within it a restarted libvirtd is there again, and guests can still be read after.
        let retry_until = started + self.plan.deadline.mul_f32(0.6);
        let mut ask_at = Some(started);
        let mut failure = None;
        loop {
            if deadline.is_ending() && deadline.is_over() {
                let reason = "the end came before its guests were listed";
                let message = format_args!("nothing of {} is printed: {reason}", self.uri);
                self.log.begins(&format!("ending {}", self.uri), Level::Warn, message);
                return Err(Down(reason.to_owned()));
            }
            if deadline.is_over() {
                let error = failure.unwrap_or_else(|| "it does not answer".to_owned());
                return Err(self.is_down(&error));
            }
            if ask_at.is_some_and(|at| at <= Instant::now()) && self.ask_for_list() {
                ask_at = None;
            }
            let Some((report, task)) = self.pool.wait(deadline.left(GLANCE), false) else {
                self.list_elsewhere(&mut ask_at);
                continue;
            };
            match report.found {
                Found::Listed(listed, offer, host_name) if report.collection == self.collection => {
                    self.offer = offer.or(self.offer);
                    self.host_name = host_name.or(self.host_name.take());
                    self.is_up();
                    return Ok(listed);
                }
                Found::Lost(error) if report.collection == self.collection => {
                    let error = error.to_string();
                    if !self.was_up || Instant::now() > retry_until {
                        return Err(self.is_down(&error));
                    }
                    failure = Some(error);
                    ask_at = Some(Instant::now() + RETRY);
                }
                // An answer to an earlier collection: its worker is free now.
                found => {
                    self.is_expected |= matches!(found, Found::Listed(..));
                    drop(task);
                }
            }
        }
    }

    fn ask_for_list(&mut self) -> bool {
        let job = Job::List {
            wanted: self.plan.wanted(),
            ask_offer: self.offer.is_none(),
            ask_host: self.plan.host_name && self.host_name.is_none(),
        };
        // Two at most: a second connection where the first one's call does not come back.
        self.pool.give(self.collection, Vec::new(), job, 1).is_ok()
    }

    /// A list that does not come is asked for over another connection, since the first one's may
    /// be dead without our knowing.
    fn list_elsewhere(&mut self, ask_at: &mut Option<Instant>) {
        let collection = self.collection;
        for task in self.pool.tasks_mut() {
            let late = task.since.elapsed() >= PATIENCE && !task.is_overdue;
            if late && task.collection == collection {
                task.is_overdue = true;
                *ask_at = Some(Instant::now());
            }
        }
    }

    fn condition(&self) -> String {
        format!("hypervisor {}", self.uri)
    }

    fn is_up(&mut self) {
        self.was_up = true;
        self.is_expected = true;
        let message = format_args!("{} answers again", self.uri);
        self.log.ends(&self.condition(), message);
    }

    fn is_down(&mut self, error: &str) -> Down {
        self.was_up = false;
        self.is_expected = false;
        // A libvirtd that comes back may be another version.
        self.offer = None;
        let more = match self.origin {
            Origin::Libvirt(_) => "; `telegraf-virt check` says more",
            Origin::Recording(_) => "",
        };
        let message = format_args!("cannot read the guests of {}: {error}{more}", self.uri);
        self.log.begins(&self.condition(), Level::Error, message);
        Down(error.to_owned())
    }
}
