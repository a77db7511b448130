//! libvirt's event loop, on a thread of its own. It takes in what servers send of their own accord, and
//! notices connections whose other end is gone.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use virt::sys;

use super::Error;
use super::quiet::be_quiet;

static IS_RUNNING: AtomicBool = AtomicBool::new(false);

/// How long the loop rests after a round that failed, so that a lasting fault costs no CPU time.
const REST: Duration = Duration::from_millis(100);

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
            // SAFETY: an implementation is registered, and no other thread runs it.
            if unsafe { sys::virEventRunDefaultImpl() } < 0 {
                thread::sleep(REST);
            }
        }
    };
    let started = thread::Builder::new().name("libvirt-events".to_owned()).spawn(body);
    started.map(drop).map_err(|error| Error::invalid(&format!("cannot start a thread: {error}")))
}

/// Whether the loop runs.
pub(super) fn is_running() -> bool {
    IS_RUNNING.load(Ordering::SeqCst)
}
