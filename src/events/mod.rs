//! What happens to the guests between two collections, as libvirt tells of it: `extra = ["events"]` of execd,
//! and the command `events`.
//!
//! libvirt calls back on the thread of its event loop (`libvirt::event_loop`), which only puts what it hears
//! into the queue. Each hypervisor has a connection for its events, and a thread that waits for libvirt
//! where that is needed. So events never delay a collection, and a collection never delays them.
//!
//! ```text
//! queue.rs   between the event loop and whoever prints
//! watch.rs   one hypervisor's connection for events
//! report.rs  an event in the words of the output
//! lines.rs   an event as a line, and as a person reads it
//! ```

mod lines;
mod queue;
mod report;
mod watch;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

pub use lines::{Told, text, write};
pub use queue::{Arrived, Event, LossCause};
pub use report::{Report, report};

use crate::deadline::Deadline;
use crate::libvirt;
use crate::log::Log;
use queue::Queue;
use watch::Watch;

/// How long the beginning waits for the hypervisors, so that events are heard from the first moment on.
const BEGIN_WITHIN: Duration = Duration::from_secs(1);
/// How long the end waits for the connections to be closed.
const END_WITHIN: Duration = Duration::from_millis(200);

/// The events of all hypervisors.
pub struct Events {
    queue: Arc<Queue>,
    watches: Vec<Watch>,
}

impl Events {
    /// Begins to listen to these hypervisors; their places in the list identify them from then on. Before any
    /// other connection, since libvirt's event loop serves those that are opened later.
    ///
    /// # Errors
    /// Where the event loop cannot be started.
    pub fn begin(uris: &[String], log: &Arc<Log>) -> Result<Self, libvirt::Error> {
        libvirt::start_event_loop()?;
        let queue = Arc::new(Queue::default());
        let live = uris.iter().enumerate().filter(|(_, uri)| !uri.starts_with(crate::host::REPLAY));
        let watches: Vec<Watch> =
            live.map(|(place, uri)| Watch::begin(place, uri, &queue, log)).collect();
        let until = Instant::now() + BEGIN_WITHIN;
        watches.iter().for_each(|watch| watch.wait_for_first(until));
        Ok(Self { queue, watches })
    }

    /// What has arrived, in order.
    pub fn drain(&self) -> Vec<Arrived> {
        self.queue.drain()
    }

    /// The guests, with their hypervisors' places, of which something changed that a cache may know.
    pub fn take_touched(&self) -> HashSet<(usize, Uuid)> {
        self.queue.take_touched()
    }

    /// Whether there are such guests.
    pub fn has_touched(&self) -> bool {
        self.queue.has_touched()
    }

    /// Waits for an event, for the last hypervisor to be given up, or for this deadline.
    pub fn wait(&self, deadline: &Deadline) {
        self.queue.wait(deadline);
    }

    /// Whether none of the hypervisors is listened to any more, since none has events.
    pub fn is_over(&self) -> bool {
        self.watches.iter().all(Watch::is_over)
    }

    /// Ends the connections; one whose hypervisor does not answer is left behind.
    pub fn end(&self) {
        self.watches.iter().for_each(Watch::order_end);
        let until = Instant::now() + END_WITHIN;
        self.watches.iter().for_each(|watch| watch.wait_for_end(until));
    }
}
