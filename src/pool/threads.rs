//! The threads of workers: started, counted until they are done, and used again.

use std::io;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::prctl;

/// What a thread does.
type Body = Box<dyn FnOnce() + Send>;

/// A thread of which the last work is done, or will be at once. The settings, the cache's folder and its files are
/// read one after another by workers of their own, and one thread serves them all.
static SPARE: Mutex<Option<Sender<Body>>> = Mutex::new(None);

/// A thread for one body after another.
pub(super) struct ReusableThread(Sender<Body>);

impl ReusableThread {
    /// Starts a body, on the spare thread or a new one. `name` is what the thread is called then.
    pub(super) fn start(name: String, body: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let named = name.clone();
        let mut body: Body = Box::new(move || {
            // What a thread is called is for whoever looks at the process.
            let _ = std::ffi::CString::new(named).map(|name| prctl::set_name(&name));
            body();
        });
        let spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(bodies) = spare {
            match bodies.send(body) {
                Ok(()) => return Ok(Self(bodies)),
                Err(mpsc::SendError(back)) => body = back,
            }
        }
        let (bodies, inbox) = mpsc::channel::<Body>();
        thread::Builder::new().name(name).spawn(move || {
            body();
            inbox.into_iter().for_each(|next| next());
        })?;
        Ok(Self(bodies))
    }

    /// Lets the next body run on this thread. Only for one whose body ends by itself, and soon.
    pub(super) fn spare(self) {
        SPARE.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(self.0);
    }
}

/// How many threads are at work for a pool.
#[derive(Default)]
pub(super) struct Threads {
    count: Mutex<usize>,
    changed: Condvar,
}

impl Threads {
    fn change(&self, change: impl FnOnce(usize) -> usize) {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        *count = change(*count);
        self.changed.notify_one();
    }

    /// Waits until no more than a few are left. Threads that take longer are left behind.
    pub(super) fn wait_for(&self, few: usize, most: Duration) {
        let guard = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self.changed.wait_timeout_while(guard, most, |count| *count > few);
    }
}

/// Counts a thread until its work ends.
pub(super) struct RunningThread(Arc<Threads>);

impl RunningThread {
    pub(super) fn new(threads: &Arc<Threads>) -> Self {
        threads.change(|count| count + 1);
        Self(Arc::clone(threads))
    }
}

impl Drop for RunningThread {
    fn drop(&mut self) {
        self.0.change(|count| count.saturating_sub(1));
    }
}
