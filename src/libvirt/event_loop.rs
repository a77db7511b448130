//! libvirt's event loop, on a thread of its own. It takes in what servers send of their own accord, and
//! notices connections whose other end is gone.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use virt::sys;

use super::Error;
use super::quiet::be_quiet;

static IS_RUNNING: AtomicBool = AtomicBool::new(false);

/// Events that were heard, of all connections.
static HEARD: AtomicUsize = AtomicUsize::new(0);

/// How long the loop rests after a short round in which nothing was heard. libvirt wakes it twice for each call
/// of any connection, to watch the socket no longer, and again; while the loop rests it is not woken. So a
/// collection of many calls costs a few rounds, and an event that comes meanwhile is heard this much later. A
/// round that failed rests too, so that a lasting fault costs no CPU time.
const REST: Duration = Duration::from_millis(50);

/// Starts the loop; more than once does nothing. It runs until the process ends, since connections hold on
/// to it. Only connections that are opened later have events.
///
/// # Errors
/// libvirt's words, or those of the system where no thread can be started.
///
/// <https://libvirt.org/html/libvirt-libvirt-event.html#virEventRegisterDefaultImpl>
pub fn start_event_loop() -> Result<(), Error> {
    if IS_RUNNING.swap(true, Ordering::SeqCst) {
        return Ok(());
    }
    be_quiet();
    // SAFETY: it takes nothing. It comes before the loop's thread, which alone runs the loop.
    if unsafe { sys::virEventRegisterDefaultImpl() } < 0 {
        IS_RUNNING.store(false, Ordering::SeqCst);
        return Err(Error::last());
    }
    let body = || {
        loop {
            let (start, heard) = (Instant::now(), HEARD.load(Ordering::Relaxed));
            // SAFETY: an implementation is registered, and no other thread runs it.
            let failed = unsafe { sys::virEventRunDefaultImpl() } < 0;
            let is_quiet = heard == HEARD.load(Ordering::Relaxed);
            if failed || is_quiet && start.elapsed() < REST {
                thread::sleep(REST);
            }
        }
    };
    let started = thread::Builder::new().name("libvirt-events".to_owned()).spawn(body);
    started.map(drop).map_err(|error| Error::invalid(&format!("cannot start a thread: {error}")))
}

/// Notes that an event was heard, so that the loop goes on to the next at once.
pub(super) fn note_event() {
    HEARD.fetch_add(1, Ordering::Relaxed);
}

/// Whether the loop runs.
pub(super) fn is_running() -> bool {
    IS_RUNNING.load(Ordering::SeqCst)
}
