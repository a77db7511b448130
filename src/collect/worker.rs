//! Threads that call libvirt, each with a connection of its own.
//!
//! libvirt's calls cannot be cancelled, and libvirt's errors are kept by thread. So a connection and its
//! handles stay with the thread that opened them. A call that never comes back holds its thread, its
//! connection and one of libvirtd's workers, and nothing else: the thread is left behind with it, and
//! serves again when the call returns.

use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::call::{Answer, Call, CallId, Done, Progress, Step};
use super::permit::ListPermit;
use super::results::ResultQueue;
use super::session::Session;
use super::{ask, detail, pid_files};
use crate::config::Selection;
use crate::host::Origin;
use crate::libvirt;
use crate::log::{Level, Log};

/// A call on its way to a worker.
struct Order {
    id: CallId,
    call: Call,
    progress: Progress,
}

struct Worker {
    orders: Sender<Order>,
    /// The call that it is at.
    call: Option<CallId>,
}

/// What all workers of a hypervisor share.
#[derive(Clone)]
struct Common {
    origin: Origin,
    log: Arc<Log>,
    selection: Arc<Selection>,
    results: ResultQueue,
    permit: ListPermit,
}

/// The workers of one hypervisor.
pub(super) struct Pool {
    common: Common,
    workers: Vec<Worker>,
    started: usize,
    /// Workers that were let go, and may still be closing their connection.
    closing: Arc<Closing>,
}

impl Pool {
    pub(super) fn new(origin: Origin, log: Arc<Log>, selection: Arc<Selection>) -> Self {
        let (results, permit) = (ResultQueue::default(), ListPermit::default());
        let common = Common { origin, log, selection, results, permit };
        Self { common, workers: Vec::new(), started: 0, closing: Arc::default() }
    }

    /// Workers that have a connection, or had one, and no call.
    pub(super) fn idle(&self) -> usize {
        self.workers.iter().filter(|worker| worker.call.is_none()).count()
    }

    /// Gives a call to a worker that is idle, else to a new one. Where no thread can be started the call has
    /// failed.
    pub(super) fn submit(&mut self, id: CallId, call: Call, progress: Progress) {
        let mut order = Order { id, call, progress };
        while let Some(position) = self.idle_or_new() {
            let Some(worker) = self.workers.get_mut(position) else { break };
            match worker.orders.send(order) {
                Ok(()) => {
                    worker.call = Some(id);
                    return;
                }
                // Its thread is gone: only a panic does that.
                Err(mpsc::SendError(back)) => {
                    order = back;
                    self.workers.swap_remove(position);
                }
            }
        }
        let result = Err(libvirt::Error::of(libvirt::Kind::Other, "no thread can be started"));
        self.common.results.put(Done { id, result, is_last: true });
    }

    fn idle_or_new(&mut self) -> Option<usize> {
        let idle = self.workers.iter().position(|worker| worker.call.is_none());
        idle.or_else(|| self.start_worker())
    }

    fn start_worker(&mut self) -> Option<usize> {
        let (orders, inbox) = mpsc::channel();
        let common = self.common.clone();
        let closing = Arc::clone(&self.closing);
        closing.add(1);
        let body = move || {
            let _leaving = Leaving(closing);
            work(&common, &inbox);
        };
        let name = format!("libvirt-{}", self.started);
        if let Err(error) = thread::Builder::new().name(name).spawn(body) {
            let message =
                format_args!("cannot start a thread: {error}; raise the limit on processes");
            self.common.log.begins("threads", Level::Error, message);
            return None;
        }
        self.started += 1;
        self.workers.push(Worker { orders, call: None });
        Some(self.workers.len() - 1)
    }

    /// Waits for answers, at most so long: until `enough` calls have ended, or one asks for something to be
    /// done. A worker whose call has ended is idle then.
    pub(super) fn wait(&mut self, enough: usize, most: Duration) -> Vec<Done> {
        let done: Vec<Done> = self.common.results.take(enough, most).into();
        for done in done.iter().filter(|done| done.is_last) {
            if let Some(worker) = self.workers.iter_mut().find(|it| it.call == Some(done.id)) {
                worker.call = None;
            }
        }
        done
    }

    /// Lets those idle workers go that are more than `most`: they were needed while others hung.
    pub(super) fn shrink(&mut self, most: usize) {
        let mut idle = 0;
        self.workers.retain(|worker| {
            idle += usize::from(worker.call.is_none());
            worker.call.is_some() || idle <= most
        });
    }

    /// Closes the connections of all idle workers, and waits for that, at most so long: libvirtd logs an
    /// error for each connection that ends unclosed. A connection with a call that is stuck stays as it is.
    pub(super) fn close(&mut self, most: Duration) {
        let stuck = self.workers.iter().filter(|worker| worker.call.is_some()).count();
        self.shrink(0);
        self.closing.wait_for(stuck, most);
    }
}

/// The thread of a worker.
fn work(common: &Common, inbox: &Receiver<Order>) {
    let mut session = None;
    while let Ok(Order { id, call, progress }) = inbox.recv() {
        let mut report = Report { results: &common.results, id, is_over: false };
        let result = perform(common, &mut session, call, &progress, &report);
        report.end(result);
        // Closing asks libvirtd once more, which may take long: it has been reported by then.
        if session.as_ref().is_some_and(|session: &Session| !session.is_alive()) {
            session = None;
        }
    }
}

/// The one who reports a call's end, also where its thread panics.
struct Report<'a> {
    results: &'a ResultQueue,
    id: CallId,
    is_over: bool,
}

impl Report<'_> {
    fn hand_over(&self, answer: Answer) {
        self.results.put(Done { id: self.id, result: Ok(answer), is_last: false });
    }

    fn end(&mut self, result: Result<Answer, libvirt::Error>) {
        self.is_over = true;
        self.results.put(Done { id: self.id, result, is_last: true });
    }
}

impl Drop for Report<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            let words = "this program failed while it read the answer: please report this";
            self.end(Err(libvirt::Error::of(libvirt::Kind::Other, words)));
        }
    }
}

fn perform(
    common: &Common,
    session: &mut Option<Session>,
    call: Call,
    progress: &Progress,
    report: &Report<'_>,
) -> Result<Answer, libvirt::Error> {
    // A connection that broke while it was idle is replaced by a new one.
    let session = match session {
        Some(alive) if alive.is_alive() => alive,
        _ => {
            progress.set(Step::Connect, None, Instant::now());
            session.insert(Session::open(&common.origin)?)
        }
    };
    match call {
        Call::List { host_name } => {
            progress.set(Step::List, None, Instant::now());
            if host_name && let Ok(name) = session.host_name() {
                report.hand_over(Answer::HostName(name));
            }
            Ok(Answer::Listed(session.list(&common.selection.domains)?))
        }
        Call::ListByFiles(directory, from) => by_files(session, &directory, from, progress, report),
        Call::Ask(order) => {
            let (asked, offer, took) = ask::ask(session, order, progress, &common.permit)?;
            Ok(Answer::Asked(asked, offer, took))
        }
        Call::Detail(requests, read) => {
            let (selection, log) = (&common.selection, &common.log);
            let hand_over = |answer| report.hand_over(answer);
            detail::detail(session, requests, &read, selection, progress, log, hand_over)?;
            Ok(Answer::Asked(Vec::new(), None, Duration::ZERO))
        }
    }
}

/// Looks up by name each guest that has a file in this directory. One that does not answer holds this call,
/// and those before it are known.
fn by_files(
    session: &mut Session,
    directory: &Path,
    from: usize,
    progress: &Progress,
    report: &Report<'_>,
) -> Result<Answer, libvirt::Error> {
    for (place, name) in pid_files::names(directory).into_iter().enumerate().skip(from) {
        progress.set(Step::Find, Some(place), Instant::now());
        if let Ok(guest) = session.look_up_name(&name) {
            report.hand_over(Answer::Listed([guest].into()));
        }
    }
    Ok(Answer::Listed(Arc::default()))
}

/// How many workers' threads there are.
#[derive(Default)]
struct Closing {
    threads: Mutex<usize>,
    changed: Condvar,
}

impl Closing {
    fn add(&self, more: usize) {
        *self.threads.lock().unwrap_or_else(PoisonError::into_inner) += more;
    }

    fn wait_for(&self, few: usize, most: Duration) {
        let guard = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever is late is left behind.
        let _ = self.changed.wait_timeout_while(guard, most, |threads| *threads > few);
    }
}

/// Counts a thread off when it ends.
struct Leaving(Arc<Closing>);

impl Drop for Leaving {
    fn drop(&mut self) {
        let mut threads = self.0.threads.lock().unwrap_or_else(PoisonError::into_inner);
        *threads = threads.saturating_sub(1);
        drop(threads);
        self.0.changed.notify_one();
    }
}
