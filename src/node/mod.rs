//! The host beside its guests, and its storage pools, by the names `host` and `pools` of `extra`.
//!
//! ```text
//! mod.rs       what is asked in a collection, what is waited for, and what is left behind
//! worker.rs    the threads that call libvirt
//! topology.rs  the host's capabilities: CPU model, NUMA cells, huge pages
//! ```
//!
//! Any of these calls may never come back: a pool on dead storage that is being refreshed holds its own
//! calls and the list of all pools. So they are made by workers of their own, at the same time as the guests
//! are read, and are waited for no longer than a moment. What does not come back is left behind, is not asked
//! again while its call is out, and is not waited for when it is asked again later. An answer that comes late
//! is printed by the next collection.

mod topology;
mod worker;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::collect::{Backoff, SavedHealth};
use crate::config::extra::{Extra, Extras};
use crate::deadline::Deadline;
use crate::host::{Origin, Replay};
use crate::libvirt::{Error, Kind};
use crate::log::{Level, Log};
use crate::sample::boottime_ns;
use crate::schema::{HostReading, PoolReading};
use worker::{ListOrder, NodeEvent, NodeNews, Order, Target};

/// How long one answer is waited for. libvirtd takes some milliseconds, unless something holds it.
const PATIENCE: Duration = Duration::from_secs(1);
/// An answer that comes within this is no late one. No longer is waited for what an earlier run has left
/// behind, nor for anything once something was late in a collection.
const QUICK: Duration = Duration::from_millis(300);
/// How long is waited for what was late the last time.
const OF_SLOW: Duration = Duration::from_millis(50);
/// Calls that may be left behind in libvirtd at the same time.
const MOST_LEFT: usize = 4;
/// More pools than a host has.
const MOST_POOLS: usize = 10_000;
/// How often a waiter looks whether the program was told to end.
const GLANCE: Duration = Duration::from_millis(250);
/// Under these UUIDs the cache keeps what held the host's own calls, and the list of the pools.
const OF_HOST: Uuid = Uuid::max();
const OF_LIST: Uuid = Uuid::from_u128(u128::MAX - 1);

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
    workers: Vec<NodeWorker>,
    started: u64,
    events: Receiver<NodeNews>,
    tell: Sender<NodeNews>,
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

struct NodeWorker {
    id: u64,
    orders: Sender<Order>,
    task: Option<Task>,
}

/// What a worker is at.
struct Task {
    target: Target,
    since: Instant,
    is_of_pools: bool,
    /// Nobody waits for it any more.
    is_left: bool,
    /// Says so to the worker.
    leave: Arc<AtomicBool>,
}

impl NodeReader {
    /// A reader for what `extra` wants beside the guests; `None` where that is nothing.
    pub fn wanted(uri: &str, extra: Extras, log: &Arc<Log>) -> Option<Self> {
        let (wants_host, wants_pools) = (extra.has(Extra::Host), extra.has(Extra::Pools));
        if !wants_host && !wants_pools {
            return None;
        }
        let (tell, events) = mpsc::channel();
        Some(Self {
            uri: uri.into(),
            origin: Origin::of(uri),
            log: Arc::clone(log),
            wants_host,
            wants_pools,
            workers: Vec::new(),
            started: 0,
            events,
            tell,
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

    /// Takes over what an earlier run left behind.
    pub fn restore(&mut self, saved: Vec<SavedHealth>) {
        let (now, now_ns) = (Instant::now(), boottime_ns());
        self.saved.extend(saved.iter().map(|saved| saved.uuid));
        for SavedHealth { name, uuid, locked, .. } in saved {
            let target = match uuid {
                OF_HOST => Target::Host,
                OF_LIST => Target::List,
                _ => Target::Pool(uuid),
            };
            if target == Target::Pool(uuid) && !name.is_empty() && self.known.len() < MOST_POOLS {
                self.known.push((uuid, name));
            }
            if let Some(locked) = locked {
                self.held.insert(target, Backoff::restored(&locked, now, now_ns));
                self.slow.insert(target);
                self.restored.insert(target);
            }
        }
    }

    /// What the next run must know: the pools, which it asks one by one where the list does not come, and
    /// what did not answer.
    pub fn saved(&mut self) -> Vec<SavedHealth> {
        let (now, at) = (Instant::now(), boottime_ns());
        let saved = self.held.iter().map(|(target, backoff)| {
            let uuid = match *target {
                Target::Host => OF_HOST,
                Target::List => OF_LIST,
                Target::Pool(uuid) => uuid,
            };
            let name = self.name(*target).unwrap_or_default().to_owned();
            let locked = Some(backoff.saved(now, at));
            SavedHealth { name, uuid, at, locked, ..SavedHealth::default() }
        });
        let mut saved: Vec<SavedHealth> = saved.collect();
        let pools =
            self.known.iter().filter(|(uuid, _)| !self.held.contains_key(&Target::Pool(*uuid)));
        saved.extend(pools.map(|(uuid, name)| SavedHealth {
            name: name.clone(),
            uuid: *uuid,
            at,
            ..SavedHealth::default()
        }));
        let held: HashSet<Uuid> = saved.iter().map(|saved| saved.uuid).collect();
        // What is well again takes the place of what was said of it.
        let well = self.saved.difference(&held);
        saved.extend(well.map(|&uuid| SavedHealth { uuid, at, ..SavedHealth::default() }));
        self.saved = held;
        saved.iter_mut().for_each(|saved| saved.is_beside_guests = true);
        saved
    }

    /// Gives the orders for a collection, which begins now. Nothing is waited for.
    pub fn begin(&mut self) {
        if self.origin.replay().is_some() {
            return;
        }
        let now = Instant::now();
        self.take_events();
        self.answered.clear();
        self.is_late = false;
        // A lasting condition is told in each run.
        self.restored.iter().for_each(|&target| self.tell_held(target));
        if self.wants_host && self.may_ask(Target::Host, now) {
            self.give(Order { host: true, ..Order::default() }, now);
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
            self.take_events();
            let now = Instant::now();
            let Some(wait) = self.leave_what_is_late(now) else { break };
            if deadline.is_over() {
                break;
            }
            let most = deadline.left(wait.min(GLANCE));
            if let Ok(told) = self.events.recv_timeout(most) {
                self.on(told);
            }
        }
        self.taken()
    }

    /// What has come until now: nothing is waited for.
    pub fn take_now(&mut self) -> NodeReading {
        self.take_events();
        for task in self.workers.iter_mut().filter_map(|worker| worker.task.as_mut()) {
            task.is_left = true;
        }
        self.taken()
    }

    /// Lets the workers go: those that are idle close their connections, at most so long.
    pub fn close(&mut self, most: Duration) {
        let is_idle = |worker: &NodeWorker| worker.task.is_none();
        let idle = self.workers.iter().filter(|worker| is_idle(worker)).count();
        self.workers.retain(|worker| !is_idle(worker));
        let until = Instant::now() + most;
        for _ in 0..idle {
            // A thread that ends says so by what it tells last.
            while let Ok(told) =
                self.events.recv_timeout(until.saturating_duration_since(Instant::now()))
            {
                if matches!(told.event, NodeEvent::Closed) {
                    break;
                }
            }
        }
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
        let mut tasks = self.workers.iter().filter_map(|worker| worker.task.as_ref());
        let is_out = tasks.any(|task| task.target == target);
        !is_out && self.held.get(&target).is_none_or(|held| held.is_over(now, 0, true))
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
        self.give(Order { list, pools, skip, last, ..Order::default() }, now);
    }

    /// Gives an order to a worker that is idle, else to a new one, where not too many are left behind.
    fn give(&mut self, order: Order, now: Instant) {
        let left = self.workers.iter().filter(|it| it.task.is_some()).count();
        let place = self.workers.iter().position(|worker| worker.task.is_none());
        let place = match place {
            Some(place) => place,
            None if left >= MOST_LEFT => return,
            None => match self.start() {
                Some(place) => place,
                None => return,
            },
        };
        let Some(worker) = self.workers.get_mut(place) else { return };
        let task = Task {
            target: if order.host { Target::Host } else { Target::List },
            since: now,
            is_of_pools: !order.host,
            is_left: false,
            leave: Arc::clone(&order.is_left),
        };
        if worker.orders.send(order).is_ok() {
            worker.task = Some(task);
        } else {
            // Its thread is gone: only a panic does that.
            self.workers.swap_remove(place);
        }
    }

    fn start(&mut self) -> Option<usize> {
        let (orders, inbox) = mpsc::channel();
        let (uri, id, events) = (Arc::clone(&self.uri), self.started, self.tell.clone());
        let body = move || {
            worker::work(&uri, id, &inbox, &events);
            let _ =
                events.send(NodeNews { worker: id, at: Instant::now(), event: NodeEvent::Closed });
        };
        if let Err(error) = thread::Builder::new().name(format!("node-{id}")).spawn(body) {
            let message =
                format_args!("cannot start a thread: {error}; raise the limit on processes");
            self.log.begins("threads", Level::Error, message);
            return None;
        }
        self.started += 1;
        self.workers.push(NodeWorker { id, orders, task: None });
        Some(self.workers.len() - 1)
    }

    fn take_events(&mut self) {
        while let Ok(told) = self.events.try_recv() {
            self.on(told);
        }
    }

    fn on(&mut self, NodeNews { worker, at, event }: NodeNews) {
        let worker = self.workers.iter_mut().find(|it| it.id == worker);
        let slot = worker.map(|worker| &mut worker.task);
        let took = match &slot {
            Some(Some(task)) => at.saturating_duration_since(task.since),
            _ => Duration::ZERO,
        };
        match event {
            NodeEvent::At(target) => {
                if let Some(Some(task)) = slot {
                    (task.target, task.since) = (target, at);
                }
            }
            NodeEvent::Done | NodeEvent::Closed => {
                if let Some(slot) = slot {
                    *slot = None;
                }
            }
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
        let patience: Vec<Duration> = self.workers.iter().map(|it| self.patience(it)).collect();
        let tasks = self.workers.iter_mut().zip(patience);
        for (task, patience) in
            tasks.filter_map(|(it, patience)| Some((it.task.as_mut()?, patience)))
        {
            if !task.is_left && now.saturating_duration_since(task.since) >= patience {
                task.is_left = true;
                task.leave.store(true, Ordering::Relaxed);
                late.push((task.target, task.is_of_pools));
            }
        }
        let is_more = late.iter().any(|&(target, is_of_pools)| {
            // What is slow is asked last: nothing is left to do behind it.
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
        let left = |worker: &NodeWorker| {
            let task = worker.task.as_ref().filter(|task| !task.is_left)?;
            let waited = now.saturating_duration_since(task.since);
            Some(self.patience(worker).saturating_sub(waited))
        };
        self.workers.iter().filter_map(left).min()
    }

    /// How long what a worker is at is waited for.
    fn patience(&self, worker: &NodeWorker) -> Duration {
        let Some(task) = &worker.task else { return PATIENCE };
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

    fn tell_held(&self, target: Target) {
        let subject = self.subject(target);
        let cause = match target {
            Target::Host => "libvirt itself waits for something; it has no line until it does",
            Target::List => {
                "a pool is being refreshed on dead or slow storage, most likely; until it does those that \
                 are known are asked one by one"
            }
            Target::Pool(_) => {
                "its storage is dead or slow, most likely; it has no line until it does"
            }
        };
        let message = format_args!("{subject} does not answer: {cause}; no guest waits for it");
        self.log.begins(&self.key("held", target), Level::Warn, message);
    }

    /// Tells what a call failed with, once, and when that is over. What a driver does not have is no failure,
    /// nor is a pool that is gone.
    fn tell_failure(&self, target: Target, error: Option<&Error>) {
        let (subject, key) = (self.subject(target), self.key("failed", target));
        match error {
            Some(error) if error.kind == Kind::Other => {
                let remedy = match target {
                    Target::List => {
                        "; on a host with modular daemons virtstoraged must run: \
                         `systemctl start virtstoraged.socket`"
                    }
                    _ => "",
                };
                let message = format_args!("{subject} cannot be read: {error}{remedy}");
                self.log.begins(&key, Level::Warn, message);
            }
            Some(_) => {}
            None => self.log.ends(&key, format_args!("{subject} can be read again")),
        }
    }

    /// Nothing is said any more of pools that are no longer listed.
    fn forget_gone(&mut self, listed: &[(Uuid, String)]) {
        let listed: HashSet<Uuid> = listed.iter().map(|(uuid, _)| *uuid).collect();
        let is_gone = |target: &Target| match target {
            Target::Pool(uuid) => !listed.contains(uuid),
            _ => false,
        };
        let gone: Vec<Target> =
            self.held.keys().chain(&self.slow).filter(|it| is_gone(it)).copied().collect();
        for target in gone {
            self.held.remove(&target);
            self.slow.remove(&target);
            self.log.forget(&self.key("held", target));
            self.log.forget(&self.key("failed", target));
        }
    }

    fn name(&self, target: Target) -> Option<&str> {
        let Target::Pool(uuid) = target else { return None };
        self.known.iter().find(|(known, _)| *known == uuid).map(|(_, name)| name.as_str())
    }

    fn subject(&self, target: Target) -> String {
        let uri = &self.uri;
        match target {
            Target::Host => format!("the host of {uri}"),
            Target::List => format!("the list of the storage pools of {uri}"),
            Target::Pool(uuid) => match self.name(target) {
                Some(name) => format!("the storage pool \"{name}\" of {uri}"),
                None => format!("the storage pool {uuid} of {uri}"),
            },
        }
    }

    fn key(&self, what: &str, target: Target) -> String {
        format!("node {what} {target:?} {}", self.uri)
    }
}
