//! The threads of workers: started, counted until they are done, and used again.

use std::ffi::CString;
use std::io;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::prctl;

/// What a thread does, and what it is called meanwhile, for whoever looks at the process.
type Work = (String, Box<dyn FnOnce() + Send>);

/// A thread of which the last work is done, or will be at once. The settings, the cache's folder and its files are
/// read one after another by workers of their own, and one thread serves them all.
static SPARE: Mutex<Option<Sender<Work>>> = Mutex::new(None);

/// A thread for one work after another.
pub(super) struct ReusableThread(Sender<Work>);

impl ReusableThread {
    /// Starts a work, on the spare thread or a new one.
    pub(super) fn start(name: String, body: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let mut work: Work = (name, Box::new(body));
        let spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = spare {
            match thread.send(work) {
                Ok(()) => return Ok(Self(thread)),
                Err(mpsc::SendError(back)) => work = back,
            }
        }
        let (thread, inbox) = mpsc::channel::<Work>();
        let (name, body) = work;
        thread::Builder::new().name(name).spawn(move || {
            body();
            for (name, body) in inbox {
                let _ = CString::new(name).map(|name| prctl::set_name(&name));
                body();
            }
        })?;
        Ok(Self(thread))
    }

    /// Lets the next work run on this thread. Only for one whose work ends by itself, and soon.
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
