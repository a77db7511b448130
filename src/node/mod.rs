//! The host beside its guests, and its storage pools, by the names `host` and `pools` of `extra`.
//!
//! ```text
//! mod.rs       what is asked in a collection, what is waited for, and what is left behind
//! report.rs    the messages about what does not answer
//! saved.rs     what the next run must know of it
//! calls.rs     the calls to libvirt
//! topology.rs  the host's capabilities: CPU model, NUMA cells, huge pages
//! ```
//!
//! Any of these calls may never come back: a pool on dead storage that is being refreshed holds its own
//! calls and the list of all pools. So they are made by workers of their own, at the same time as the guests
//! are read, and are waited for no longer than a moment. What does not come back is left behind, is not asked
//! again while its call is out, and is not waited for when it is asked again later. An answer that comes late
//! is printed by the next collection.

mod calls;
mod report;
mod saved;
mod topology;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::collect::{Backoff, Budget};
use crate::config::extra::{Extra, Extras};
use crate::deadline::Deadline;
use crate::host::{Origin, Replay};
use crate::log::Log;
use crate::pool::{CallId, Done, Pool};
use crate::schema::{HostReading, PoolReading};
use calls::{ListOrder, NodeEvent, NodeNews, NodeOrder, NodeSession, Target};

/// How long one answer is waited for. libvirtd takes some milliseconds, unless something holds it.
const PATIENCE: Duration = Duration::from_secs(1);
/// An answer that comes within this is no late one. No longer is waited for what an earlier run has left
/// behind, nor for anything once something was late in a collection.
const QUICK: Duration = Duration::from_millis(300);
/// How long is waited for what was late the last time.
const OF_SLOW: Duration = Duration::from_millis(50);
/// Calls that may be left behind in libvirtd at the same time.
const MOST_LEFT: usize = 4;
/// The same for one run after another, of which none knows what has come back.
const MOST_LEFT_BY_RUNS: usize = 12;
/// More pools than a host has.
const MOST_POOLS: usize = 10_000;

/// What came of a collection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeReading {
    /// The host, where it is wanted and answered.
    pub host: Option<HostReading>,
    /// The pools that answered, by name.
    pub pools: Vec<PoolReading>,
}

/// Asks one hypervisor for what is beside its guests.
pub struct NodeReader {
    uri: Arc<str>,
    origin: Origin,
    log: Arc<Log>,
    wants_host: bool,
    wants_pools: bool,
    pool: Pool<NodeSession, NodeNews>,
    /// The number of the newest call.
    newest: CallId,
    /// The calls that are out, each on a worker of its own.
    tasks: Vec<Task>,
    /// What did not answer, and when it may be asked again.
    held: HashMap<Target, Backoff>,
    /// What took long the last time, and is hardly waited for.
    slow: HashSet<Target>,
    /// What an earlier run has left behind: nothing says how it is now.
    restored: HashSet<Target>,
    /// Whether something was late in this collection.
    is_late: bool,
    /// The pools of the newest list, with their names.
    known: Vec<(Uuid, String)>,
    host: Option<HostReading>,
    pools: BTreeMap<String, PoolReading>,
    /// Pools that answered in this collection.
    answered: HashSet<Uuid>,
    /// What a file says something of.
    saved: HashSet<Uuid>,
}

/// What a worker is at.
struct Task {
    id: CallId,
    target: Target,
    since: Instant,
    is_of_pools: bool,
    /// Nobody waits for it any more.
    is_left: bool,
    /// Says so to the worker.
    leave: Arc<AtomicBool>,
}

impl NodeReader {
    /// A reader for what `extra` wants beside the guests; `None` where that is nothing. `origin` is that of the
    /// hypervisor with this URI: of a recording both are at the same moment.
    pub fn wanted(uri: &str, origin: &Origin, extra: Extras, log: &Arc<Log>) -> Option<Self> {
        let (wants_host, wants_pools) = (extra.has(Extra::Host), extra.has(Extra::Pools));
        if !wants_host && !wants_pools {
            return None;
        }
        let uri: Arc<str> = uri.into();
        let of_session = Arc::clone(&uri);
        // All that is waited for is waited for together: no answer is urgent.
        let pool = Pool::new("node", move || NodeSession::open(&of_session), |_| false);
        Some(Self {
            uri,
            origin: origin.clone(),
            log: Arc::clone(log),
            wants_host,
            wants_pools,
            pool: pool.log_to(log),
            newest: CallId(0),
            tasks: Vec::new(),
            held: HashMap::new(),
            slow: HashSet::new(),
            restored: HashSet::new(),
            is_late: false,
            known: Vec::new(),
            host: None,
            pools: BTreeMap::new(),
            answered: HashSet::new(),
            saved: HashSet::new(),
        })
    }

    /// Gives the orders for a collection, which begins now. Nothing is waited for.
    pub fn begin(&mut self) {
        if self.origin.replay().is_some() {
            return;
        }
        let now = Instant::now();
        self.take_arrived();
        self.answered.clear();
        self.is_late = false;
        // A lasting condition is told in each run.
        self.restored.iter().for_each(|&target| self.tell_held(target));
        if self.wants_host && self.may_ask(Target::Host, now) {
            self.give(NodeOrder { host: true, ..NodeOrder::default() }, now);
        }
        if self.wants_pools {
            self.ask_pools(now);
        }
    }

    /// What has come, once all has, or what is late is no longer waited for, or time is over.
    pub fn take(&mut self, deadline: &Deadline) -> NodeReading {
        if let Some(replay) = self.origin.replay() {
            return self.replayed(replay);
        }
        loop {
            self.take_arrived();
            let Some(most) = self.leave_what_is_late(Instant::now()) else { break };
            if deadline.is_over() {
                break;
            }
            let awaited = self.tasks.iter().filter(|task| !task.is_left).count();
            let done = self.pool.wait(awaited, most, deadline);
            self.note(done);
        }
        self.taken()
    }

    /// What has come until now: nothing is waited for.
    pub fn take_now(&mut self) -> NodeReading {
        self.take_arrived();
        self.tasks.iter_mut().for_each(|task| task.is_left = true);
        self.taken()
    }

    /// Closes the connections that nothing holds, and waits for that, at most so long.
    pub fn close(&mut self, most: Duration) {
        self.pool.close(most);
    }

    fn taken(&mut self) -> NodeReading {
        let pools = std::mem::take(&mut self.pools).into_values().collect();
        NodeReading { host: self.host.take(), pools }
    }

    fn replayed(&self, replay: &Replay) -> NodeReading {
        let recorded = replay.node();
        NodeReading {
            host: recorded.host.filter(|_| self.wants_host),
            pools: if self.wants_pools { recorded.pools } else { Vec::new() },
        }
    }

    /// Whether nothing is known to hold such a call.
    fn may_ask(&self, target: Target, now: Instant) -> bool {
        let is_out = self.tasks.iter().any(|task| task.target == target);
        let budget = || Budget::beside(self.held.values(), 0, MOST_LEFT, MOST_LEFT_BY_RUNS);
        !is_out && self.held.get(&target).is_none_or(|held| held.is_over(now, 0, budget()))
    }

    /// Has the pools asked that have not answered yet in this collection.
    fn ask_pools(&mut self, now: Instant) {
        let list = match self.may_ask(Target::List, now) {
            true if self.slow.contains(&Target::List) => ListOrder::Last,
            true => ListOrder::First,
            false => ListOrder::Never,
        };
        let known: Vec<Uuid> = self.known.iter().map(|(uuid, _)| *uuid).collect();
        let may_not =
            |uuid: &Uuid| self.answered.contains(uuid) || !self.may_ask(Target::Pool(*uuid), now);
        let held = self.held.keys().filter_map(|target| match target {
            Target::Pool(uuid) => Some(uuid),
            _ => None,
        });
        let skip: HashSet<Uuid> =
            known.iter().chain(held).copied().filter(|uuid| may_not(uuid)).collect();
        let pools: Vec<Uuid> = known.into_iter().filter(|uuid| !skip.contains(uuid)).collect();
        if list == ListOrder::Never && pools.is_empty() {
            return;
        }
        let last = pools.iter().copied().filter(|uuid| self.slow.contains(&Target::Pool(*uuid)));
        let last = last.collect();
        self.give(NodeOrder { list, pools, skip, last, ..NodeOrder::default() }, now);
    }

    /// Gives an order to a worker, where not too many are left behind.
    fn give(&mut self, order: NodeOrder, now: Instant) {
        if self.tasks.len() >= MOST_LEFT {
            return;
        }
        self.newest.0 += 1;
        self.tasks.push(Task {
            id: self.newest,
            target: order.first(),
            since: now,
            is_of_pools: !order.host,
            is_left: false,
            leave: Arc::clone(&order.is_left),
        });
        self.pool
            .submit(self.newest, Box::new(move |session, report| session.perform(&order, report)));
    }

    fn take_arrived(&mut self) {
        let arrived = self.pool.arrived();
        self.note(arrived);
    }

    fn note(&mut self, done: Vec<Done<NodeNews>>) {
        for Done { id, result, is_last, .. } in done {
            // Whoever reads the guests reports why there is no connection.
            if let Ok(news) = result {
                self.on(id, news);
            }
            if is_last {
                self.tasks.retain(|task| task.id != id);
            }
        }
    }

    fn on(&mut self, id: CallId, NodeNews { at, event }: NodeNews) {
        let task = self.tasks.iter_mut().find(|task| task.id == id);
        let took = task.as_ref().map(|task| at.saturating_duration_since(task.since));
        let took = took.unwrap_or_default();
        match event {
            NodeEvent::At(target) => {
                if let Some(task) = task {
                    (task.target, task.since) = (target, at);
                }
            }
            NodeEvent::Done => {}
            NodeEvent::Host(answer) => {
                self.came_back(Target::Host, took);
                self.tell_failure(Target::Host, answer.as_ref().err());
                self.host = answer.ok().map(|host| *host).or(self.host.take());
            }
            NodeEvent::Listed(answer) => {
                self.came_back(Target::List, took);
                self.tell_failure(Target::List, answer.as_ref().err());
                if let Ok(mut listed) = answer {
                    listed.truncate(MOST_POOLS);
                    self.forget_gone(&listed);
                    self.known = listed;
                }
            }
            NodeEvent::Pool(uuid, answer) => {
                let target = Target::Pool(uuid);
                self.came_back(target, took);
                self.answered.insert(uuid);
                self.tell_failure(target, answer.as_ref().err());
                if let Ok(pool) = answer {
                    self.pools.insert(pool.name.clone(), pool);
                }
            }
        }
    }

    /// Leaves the calls behind that take too long, and has others do the rest of their work. How long is to
    /// be waited for what is left; `None` where nothing is.
    fn leave_what_is_late(&mut self, now: Instant) -> Option<Duration> {
        let mut late = Vec::new();
        let patience: Vec<Duration> = self.tasks.iter().map(|it| self.patience(it)).collect();
        for (task, patience) in self.tasks.iter_mut().zip(patience) {
            if !task.is_left && now.saturating_duration_since(task.since) >= patience {
                task.is_left = true;
                task.leave.store(true, Ordering::Relaxed);
                late.push((task.target, task.is_of_pools));
            }
        }
        let is_more = late.iter().any(|&(target, is_of_pools)| {
            // What is slow is asked last: nothing is left to do after it.
            is_of_pools && !self.slow.contains(&target)
        });
        for (target, _) in late {
            let mut slot = self.held.remove(&target);
            Backoff::again(&mut slot, now, 0);
            self.held.extend(slot.map(|held| (target, held)));
            self.restored.remove(&target);
            self.is_late = true;
            // What takes long each time has been told of.
            if self.slow.insert(target) {
                self.tell_held(target);
            }
        }
        if is_more {
            self.ask_pools(now);
        }
        let awaited = self.tasks.iter().filter(|task| !task.is_left);
        let left = awaited.map(|task| {
            self.patience(task).saturating_sub(now.saturating_duration_since(task.since))
        });
        left.min()
    }

    /// How long what a worker is at is waited for.
    fn patience(&self, task: &Task) -> Duration {
        match task.target {
            target if self.restored.contains(&target) => QUICK,
            target if self.slow.contains(&target) => OF_SLOW,
            _ if self.is_late => QUICK,
            _ => PATIENCE,
        }
    }

    /// A call has come back, well or not.
    fn came_back(&mut self, target: Target, took: Duration) {
        if took < QUICK {
            self.slow.remove(&target);
        }
        self.restored.remove(&target);
        if self.held.remove(&target).is_some() {
            let subject = self.subject(target);
            self.log.ends(&self.key("held", target), format_args!("{subject} answers again"));
        }
    }
}
