//! Threads for calls that may never come back: those to libvirt, which cannot be cancelled, and those to
//! files on storage that may be dead.
//!
//! Each worker is a thread with a connection of its own, since libvirt keeps its errors by thread. It makes
//! one call at a time. A call that never comes back holds its thread, its connection and one of libvirtd's
//! workers, and nothing else: the thread is left behind, and is used again when the call returns. Nobody
//! waits for a thread, only for its answers, and no longer than until a deadline.
//!
//! ```text
//! mod.rs      the workers
//! results.rs  the answers, on their way back
//! caller.rs   one call after another, for who needs no more
//! threads.rs  the threads
//! ```

mod caller;
mod results;
mod threads;

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use crate::deadline::Deadline;
use crate::libvirt::{Error, Kind};
use crate::log::{Level, Log};

pub use caller::{Caller, NO_ANSWER, answer_by};
pub use results::Done;
use results::ResultQueue;
use threads::{ReusableThread, RunningThread, Threads};

/// The number of a call, unique in its pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// What a worker opens and then keeps from one call to the next.
pub trait Connected {
    /// Whether it is closed without asking anybody.
    const CLOSES_AT_ONCE: bool = false;

    /// Whether it can still be used.
    fn is_alive(&self) -> bool;
}

/// For calls that need no connection.
impl Connected for () {
    const CLOSES_AT_ONCE: bool = true;

    fn is_alive(&self) -> bool {
        true
    }
}

/// Makes a call over a worker's connection. Its last answer is what it returns.
pub type Work<C, T> = Box<dyn FnOnce(&mut C, &CallReport<T>) -> Result<T, Error> + Send>;

type Open<C> = dyn Fn() -> Result<C, Error> + Send + Sync;

/// A call on its way to a worker.
struct Order<C, T> {
    id: CallId,
    work: Work<C, T>,
}

struct Worker<C, T> {
    orders: Sender<Order<C, T>>,
    /// The call that it is at.
    call: Option<CallId>,
    /// Its thread, if that may serve others after it.
    thread: Option<ReusableThread>,
}

impl<C, T> Drop for Worker<C, T> {
    fn drop(&mut self) {
        // Its thread ends its work as soon as `orders` is dropped, unless a call is stuck there.
        if self.call.is_none()
            && let Some(thread) = self.thread.take()
        {
            thread.spare();
        }
    }
}

/// Workers with connections of one kind.
pub struct Pool<C, T> {
    name: &'static str,
    open: Arc<Open<C>>,
    is_urgent: fn(&T) -> bool,
    results: ResultQueue<T>,
    workers: Vec<Worker<C, T>>,
    started: usize,
    /// Threads that are at work for it: some may still be closing their connections.
    threads: Arc<Threads>,
    /// Where it is reported that no thread can be started.
    log: Option<Arc<Log>>,
}

impl<C: Connected + 'static, T: Send + 'static> Pool<C, T> {
    /// A pool without any worker yet. `name` is that of its threads. An answer that is urgent wakes whoever
    /// waits for answers; others wait until enough calls have ended.
    pub fn new(
        name: &'static str,
        open: impl Fn() -> Result<C, Error> + Send + Sync + 'static,
        is_urgent: fn(&T) -> bool,
    ) -> Self {
        Self {
            name,
            open: Arc::new(open),
            is_urgent,
            results: ResultQueue::default(),
            workers: Vec::new(),
            started: 0,
            threads: Arc::default(),
            log: None,
        }
    }

    /// Reports there, too, if no thread can be started.
    pub fn log_to(mut self, log: &Arc<Log>) -> Self {
        self.log = Some(Arc::clone(log));
        self
    }

    /// Workers that have a connection, or had one, and no call.
    pub fn idle(&self) -> usize {
        self.workers.iter().filter(|worker| worker.call.is_none()).count()
    }

    /// Gives a call to a worker that is idle, else to a new one. If no thread can be started, the call has
    /// failed.
    pub fn submit(&mut self, id: CallId, work: Work<C, T>) {
        let words = match self.idle_or_new() {
            Ok(worker) => {
                worker.call = Some(id);
                match worker.orders.send(Order { id, work }) {
                    Ok(()) => return,
                    Err(_) => "its thread has ended".to_owned(),
                }
            }
            Err(error) => {
                let words = format!("cannot start a thread: {error}; raise the limit on processes");
                if let Some(log) = &self.log {
                    log.begins("threads", Level::Error, &words);
                }
                words
            }
        };
        let result = Err(Error::of(Kind::Other, words));
        self.results.put(Done { id, result, is_last: true, is_urgent: true });
    }

    fn idle_or_new(&mut self) -> io::Result<&mut Worker<C, T>> {
        let idle = self.workers.iter().position(|worker| worker.call.is_none());
        let place = match idle {
            Some(place) => place,
            None => self.start_worker()?,
        };
        self.workers.get_mut(place).ok_or_else(|| io::Error::other("there is no worker"))
    }

    fn start_worker(&mut self) -> io::Result<usize> {
        let (orders, inbox) = mpsc::channel();
        let (open, results) = (Arc::clone(&self.open), self.results.clone());
        let is_urgent = self.is_urgent;
        let running = RunningThread::new(&self.threads);
        let body = move || {
            let _running = running;
            work(&*open, &inbox, &results, is_urgent);
        };
        let name = format!("{}-{}", self.name, self.started);
        let thread = if C::CLOSES_AT_ONCE {
            Some(ReusableThread::start(name, body)?)
        } else {
            thread::Builder::new().name(name).spawn(body)?;
            None
        };
        self.started += 1;
        self.workers.push(Worker { orders, call: None, thread });
        Ok(self.workers.len() - 1)
    }

    /// Waits for answers: until `enough` calls have ended or an answer is urgent, but no longer than `most`
    /// and the deadline. A worker whose call has ended is idle then.
    pub fn wait(&mut self, enough: usize, most: Duration, deadline: &Deadline) -> Vec<Done<T>> {
        let done = self.results.take(enough, most, deadline);
        self.noted(done)
    }

    /// The answers that are there.
    pub fn arrived(&mut self) -> Vec<Done<T>> {
        let done = self.results.arrived();
        self.noted(done)
    }

    fn noted(&mut self, done: VecDeque<Done<T>>) -> Vec<Done<T>> {
        for done in done.iter().filter(|done| done.is_last) {
            if let Some(worker) = self.workers.iter_mut().find(|it| it.call == Some(done.id)) {
                worker.call = None;
            }
        }
        done.into()
    }

    /// Ends those idle workers that are more than `most`: they were needed while others were stuck.
    pub fn shrink(&mut self, most: usize) {
        let mut idle = 0;
        self.workers.retain(|worker| {
            idle += usize::from(worker.call.is_none());
            worker.call.is_some() || idle <= most
        });
    }

    /// Closes the connections of all idle workers, and waits for that, at most so long: libvirtd logs an
    /// error for each connection that ends unclosed. A connection with a call that is stuck stays as it is.
    pub fn close(&mut self, most: Duration) {
        let stuck = self.workers.iter().filter(|worker| worker.call.is_some()).count();
        self.shrink(0);
        self.threads.wait_for(stuck, most);
    }
}

/// The thread of a worker.
fn work<C: Connected, T>(
    open: &Open<C>,
    inbox: &Receiver<Order<C, T>>,
    results: &ResultQueue<T>,
    is_urgent: fn(&T) -> bool,
) {
    let mut connection: Option<C> = None;
    while let Ok(Order { id, work }) = inbox.recv() {
        let report = CallReport { results, id, is_urgent };
        let make = || match &mut connection {
            Some(alive) if alive.is_alive() => work(alive, &report),
            // A connection that broke while it was idle is replaced by a new one.
            _ => open().and_then(|opened| work(connection.insert(opened), &report)),
        };
        // Whoever waits for the call must hear of a panic. What it has left behind is not used again.
        let made = catch_unwind(AssertUnwindSafe(make));
        let has_panicked = made.is_err();
        report.put(made.unwrap_or_else(|_| Err(Error::of(Kind::Other, PANICKED))), true);
        // Closing asks libvirtd once more, which may take long: the result has been reported by then.
        if has_panicked || connection.as_ref().is_some_and(|connection| !connection.is_alive()) {
            connection = None;
        }
    }
}

/// What is said of a call that panicked; the panic's own words are on standard error.
const PANICKED: &str = "this program failed while it read the answer: please report this";

/// Reports the answers of a call.
pub struct CallReport<'a, T> {
    results: &'a ResultQueue<T>,
    id: CallId,
    is_urgent: fn(&T) -> bool,
}

impl<T> CallReport<'_, T> {
    /// Hands over an answer before the call is over: what comes next may never come back.
    pub fn hand_over(&self, answer: T) {
        self.put(Ok(answer), false);
    }

    fn put(&self, result: Result<T, Error>, is_last: bool) {
        let is_urgent = result.as_ref().map_or(true, self.is_urgent);
        self.results.put(Done { id: self.id, result, is_last, is_urgent });
    }
}

#[cfg(test)]
mod tests;
