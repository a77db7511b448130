//! Threads that call libvirt, each with a connection of its own. A call may block for ever: then its
//! thread stays behind with it, and comes back to the pool when the call does.

use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::mailbox::{Found, Mailbox, Report};
use super::read;
use super::reading::{Question, Target};
use super::session::Session;
use crate::config::Selection;
use crate::host::Origin;
use crate::libvirt::{self, Groups};
use crate::log::Log;
use crate::sample::Domain;

/// What a worker is asked to do.
pub(super) enum Job {
    /// List the guests, and say what the hypervisor offers in bulk unless that is known.
    List {
        /// The statistics that are printed.
        wanted: Groups,
        /// Whether the offer is asked for.
        ask_offer: bool,
        /// Whether the host's name is asked for.
        ask_host: bool,
    },
    /// Read these guests.
    Read {
        targets: Vec<Target>,
        question: Question,
        /// Samples that nobody needs any more, whose memory is used again.
        spares: Vec<Domain>,
    },
}

/// Since when a worker has its connection; not while it waits for one.
#[derive(Clone, Default)]
struct Link(Arc<Mutex<Option<Instant>>>);

impl Link {
    fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    fn since(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a worker is at.
pub(super) struct Task {
    /// The collection that it belongs to.
    pub(super) collection: u64,
    pub(super) since: Instant,
    /// Whether it took longer than a healthy one: others do its work, and its answer is still taken.
    pub(super) is_overdue: bool,
    /// The places of the guests that it reads.
    pub(super) places: Vec<usize>,
    link: Link,
}

impl Task {
    /// Whether its worker has a connection, and so has asked: until then nothing is said of a guest.
    pub(super) fn is_asked(&self) -> bool {
        self.link.since().is_some()
    }

    /// When its worker asked, or began to wait for a connection: with a host far away that takes longer
    /// than a call to a healthy guest.
    pub(super) fn begun(&self) -> Instant {
        self.link.since().map_or(self.since, |connected| connected.max(self.since))
    }
}

struct Worker {
    number: usize,
    jobs: Sender<(u64, Job)>,
    link: Link,
    task: Option<Task>,
}

/// The workers of one hypervisor.
pub(super) struct Pool {
    origin: Origin,
    log: Arc<Log>,
    selection: Arc<Selection>,
    workers: Vec<Worker>,
    next_number: usize,
    most_stuck: usize,
    reports: Arc<Mailbox>,
}

impl Pool {
    /// No thread is started while `most_stuck` calls are stuck.
    pub(super) fn new(
        origin: Origin,
        log: Arc<Log>,
        selection: Arc<Selection>,
        most_stuck: usize,
    ) -> Self {
        let reports = Arc::default();
        Self { origin, log, selection, workers: Vec::new(), next_number: 0, most_stuck, reports }
    }

    /// Gives the job to a worker that is free, or to a new one while fewer than `most` are at work.
    /// Gives it back where there is none.
    pub(super) fn give(
        &mut self,
        collection: u64,
        places: Vec<usize>,
        job: Job,
        most: usize,
    ) -> Result<(), (Vec<usize>, Job)> {
        if self.busy() >= most {
            return Err((places, job));
        }
        let position = match self.workers.iter().position(|worker| worker.task.is_none()) {
            Some(position) => position,
            // If a new connection already waits in vain, another one would wait beside it.
            None if self.workers.iter().any(Worker::waits_to_connect) => return Err((places, job)),
            None if self.overdue() >= self.most_stuck => return Err((places, job)),
            None => match self.start_worker() {
                Some(position) => position,
                None => return Err((places, job)),
            },
        };
        let Some(worker) = self.workers.get_mut(position) else { return Err((places, job)) };
        if let Err(mpsc::SendError((_, job))) = worker.jobs.send((collection, job)) {
            // Its thread is gone: only a panic does that.
            self.workers.swap_remove(position);
            return Err((places, job));
        }
        let since = Instant::now();
        let link = worker.link.clone();
        worker.task = Some(Task { collection, since, is_overdue: false, places, link });
        Ok(())
    }

    fn start_worker(&mut self) -> Option<usize> {
        let number = self.next_number;
        let (jobs, inbox) = mpsc::channel();
        let link = Link::default();
        let (origin, log) = (self.origin.clone(), Arc::clone(&self.log));
        let (its_link, reports) = (link.clone(), Arc::clone(&self.reports));
        let selection = Arc::clone(&self.selection);
        let body = move || {
            let mut work = Work { origin, log, selection, link: its_link, session: None };
            while let Ok((collection, job)) = inbox.recv() {
                let found = work.perform(job);
                reports.put(Report { worker: number, collection, found });
            }
        };
        let name = format!("libvirt-{number}");
        if let Err(error) = thread::Builder::new().name(name).spawn(body) {
            self.log.begins(
                "threads",
                crate::log::Level::Error,
                format_args!("cannot start a thread: {error}; raise the limit on processes"),
            );
            return None;
        }
        self.next_number += 1;
        self.workers.push(Worker { number, jobs, link, task: None });
        Some(self.workers.len() - 1)
    }

    /// Waits for a report, at most so long. Its worker is free again then. Where nobody waits for a
    /// worker (`all`), those who are at work may all report first.
    pub(super) fn wait(&mut self, most: Duration, all: bool) -> Option<(Report, Task)> {
        let report = self.reports.take(if all { self.busy() } else { 1 }, most)?;
        let worker = self.workers.iter_mut().find(|worker| worker.number == report.worker)?;
        let task = worker.task.take()?;
        Some((report, task))
    }

    /// Workers that are at work, and not overdue with it.
    pub(super) fn busy(&self) -> usize {
        self.tasks().filter(|task| !task.is_overdue).count()
    }

    /// Calls that take longer than healthy ones: hung guests hold them.
    pub(super) fn overdue(&self) -> usize {
        self.tasks().filter(|task| task.is_overdue).count()
    }

    /// What the workers are at.
    pub(super) fn tasks(&self) -> impl Iterator<Item = &Task> {
        self.workers.iter().filter_map(|worker| worker.task.as_ref())
    }

    /// What the workers are at.
    pub(super) fn tasks_mut(&mut self) -> impl Iterator<Item = &mut Task> {
        self.workers.iter_mut().filter_map(|worker| worker.task.as_mut())
    }

    /// Lets those idle workers go that are more than `most`: they were needed while others hung.
    pub(super) fn shrink(&mut self, most: usize) {
        let mut idle = 0;
        self.workers.retain(|worker| {
            idle += usize::from(worker.task.is_none());
            worker.task.is_some() || idle <= most
        });
    }
}

impl Worker {
    fn waits_to_connect(&self) -> bool {
        self.task.as_ref().is_some_and(|task| task.is_overdue && !task.is_asked())
    }
}

/// What a worker's thread owns.
struct Work {
    origin: Origin,
    log: Arc<Log>,
    /// Which guests are read, and what of them.
    selection: Arc<Selection>,
    link: Link,
    session: Option<Session>,
}

impl Work {
    fn perform(&mut self, job: Job) -> Found {
        match self.try_perform(job) {
            Ok(found) => found,
            Err(error) => {
                if !self.session.as_ref().is_some_and(Session::is_alive) {
                    self.link.set(None);
                    self.session = None;
                }
                Found::Lost(error)
            }
        }
    }

    fn try_perform(&mut self, job: Job) -> Result<Found, libvirt::Error> {
        // A connection that broke while it was idle costs no collection: a new one takes its place.
        let mut session = match self.session.take().filter(Session::is_alive) {
            Some(session) => session,
            None => {
                self.link.set(None);
                let session = Session::open(&self.origin)?;
                self.link.set(Some(Instant::now()));
                session
            }
        };
        let found = match job {
            Job::List { wanted, ask_offer, ask_host } => {
                let offer = if ask_offer { Some(session.offer(wanted)?) } else { None };
                let host = if ask_host { session.host_name().ok() } else { None };
                Found::Listed(session.list(&self.selection.domains)?, offer, host)
            }
            Job::Read { targets, question, mut spares } => {
                let (selection, log) = (&self.selection, &self.log);
                Found::Read(read::read(
                    &mut session,
                    &targets,
                    &question,
                    selection,
                    &mut spares,
                    log,
                )?)
            }
        };
        self.session = Some(session);
        Ok(found)
    }
}
