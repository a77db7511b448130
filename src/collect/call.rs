//! The calls that a collection makes, as data: what is asked, of whom, and how far it has come.
//!
//! libvirt's calls cannot be cancelled, and any of them may never come back. So each is made by a worker
//! that can be left behind, and says through [`Progress`] what it is at: from that the collection knows
//! which guest holds a call that is late, and what it is waiting for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::session::Listed;
use crate::devices::Inventory;
use crate::libvirt::{Control, Groups, Offer};
use crate::sample::Domain;

use super::request::{GuestRequest, ReadRequest};

/// What a worker does at this moment. All but `Connect` are requests to libvirtd that may wait for one
/// guest, or for any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Opens the connection: says nothing of any guest.
    Connect,
    /// Lists the guests: waits for the lock of every guest's object.
    List,
    /// Looks a guest up: waits for the lock of that guest's object.
    Find,
    /// Asks what the guest's monitor is at: waits for the lock of its object only.
    Control,
    /// A guest's CPU time and its number of virtual CPUs: waits for the lock of its object only.
    Cpu,
    /// The bulk statistics: waits for the locks of the objects, and for a monitor that is silent.
    Bulk,
    /// The guest's XML and the calls for one guest: wait for its job, which others may hold.
    Detail,
}

/// How long calls are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Patience {
    /// The bulk statistics of some guests. Those of one are waited for two thirds of it.
    pub(super) bulk: Duration,
    /// The list of the guests.
    pub(super) list: Duration,
    /// Anything else.
    pub(super) longest: Duration,
}

/// libvirtd answers a look-up and the state of a monitor by itself, in 0.1 ms.
pub(super) const QUICK: Duration = Duration::from_millis(300);

/// How far a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) step: Step,
    /// The guest that the step is about, by its place in the call; none for all of them.
    pub(super) guest: Option<usize>,
    pub(super) since: Instant,
}

impl Mark {
    /// How long a healthy libvirt takes for the step, at the very most. After that others do the rest of the
    /// call's work; the answer is taken all the same.
    pub(super) fn patience(&self, patience: Patience) -> Duration {
        match self.step {
            Step::Find | Step::Control => QUICK.min(patience.longest),
            // One guest has a tenth of the work of many. Those that may hang are asked alone, after others
            // were waited for already.
            Step::Bulk if self.guest.is_some() => patience.bulk * 2 / 3,
            // CPU time comes in 0.1 ms too, but is asked of every guest, on a machine that is busy as well.
            Step::Bulk | Step::Cpu => patience.bulk,
            Step::List => patience.list,
            Step::Connect | Step::Detail => patience.longest,
        }
    }
}

/// A call's mark, written by its worker and read by the collection.
#[derive(Clone, Debug)]
pub(super) struct Progress(Arc<Mutex<Mark>>);

impl Progress {
    pub(super) fn new(now: Instant) -> Self {
        Self(Arc::new(Mutex::new(Mark { step: Step::Connect, guest: None, since: now })))
    }

    pub(super) fn set(&self, step: Step, guest: Option<usize>, since: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Mark { step, guest, since };
    }

    pub(super) fn mark(&self) -> Mark {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a worker is asked to do.
#[derive(Debug)]
pub(super) enum Call {
    /// List the guests; with the hypervisor's host name where that is wanted.
    List {
        /// Whether the host's name is wanted.
        host_name: bool,
    },
    /// Name the guests of this machine that run, one by one, by the files in this directory, from that one on.
    ListByFiles(std::path::PathBuf, usize),
    /// The bulk statistics of these guests.
    Ask(Ask),
    /// The XML of these guests, and what the bulk statistics lack, guest by guest.
    Detail(Vec<DetailRequest>, ReadRequest),
}

/// A bulk call for some guests.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) guests: Vec<GuestRequest>,
    pub(super) groups: Groups,
    pub(super) read: ReadRequest,
    pub(super) how: How,
    /// Whether CPU time and virtual CPUs are asked of each guest by calls of their own, as long as all have
    /// them, and not in bulk.
    pub(super) cpu_apart: bool,
    /// Whether the worker may list the guests to get handles of many at once. Else it looks each up.
    pub(super) may_list: bool,
    /// Samples that nobody needs any more, whose memory is used again.
    pub(super) spares: Vec<Domain>,
}

/// How carefully guests are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// At once: nothing is known against them.
    Together,
    /// Each is asked first what its monitor is at, which waits for no monitor.
    Probed,
    /// As `Probed`; and where nobody's call is stuck in the monitor yet, only for what waits for no
    /// monitor: a guest that is not known to answer, when enough calls are stuck.
    Quietly,
}

/// What is asked of one guest beyond its bulk statistics.
#[derive(Debug)]
pub(super) struct DetailRequest {
    pub(super) guest: GuestRequest,
    /// What the bulk call said; empty where the XML comes first, for a filter by metadata.
    pub(super) sample: Domain,
    pub(super) purpose: Purpose,
}

/// What the details of a guest are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Its XML alone, before anything else is asked: its metadata decides whether it is read.
    Metadata,
    /// All that is missing; the XML too.
    WithXml,
    /// All that is missing; the known device list is good.
    WithoutXml,
}

/// What became of a guest that was asked for its bulk statistics.
#[expect(clippy::large_enum_variant, reason = "nearly all are samples, and are in one list")]
#[derive(Debug)]
pub(super) enum Asked {
    Gone,
    /// libvirt could not read it, and says why.
    Failed(String),
    /// Its object was locked for so long that nobody waited for more.
    WasLocked,
    Sampled(Sampled),
}

/// What a guest's bulk statistics said.
#[derive(Debug)]
pub(super) struct Sampled {
    pub(super) sample: Domain,
    /// Statistics that nobody here knows.
    pub(super) unknown: usize,
    /// Groups of statistics that could not be read, a line each.
    pub(super) failures: Vec<String>,
    /// What its monitor was at, where that was asked.
    pub(super) control: Option<Control>,
    /// Only what waits for no monitor was asked.
    pub(super) is_quiet: bool,
    /// Its CPU time was to be had in bulk only.
    pub(super) lacks_cpu_calls: bool,
}

/// What became of a guest's details.
#[derive(Debug)]
pub(super) enum Detailed {
    Gone,
    /// Its XML, or why there is none; asked for its metadata alone.
    Metadata(Result<Inventory, String>),
    /// All of them.
    Filled(Box<Filled>),
}

/// A guest's sample with what the bulk statistics lacked.
#[derive(Debug)]
pub(super) struct Filled {
    pub(super) sample: Domain,
    /// Its XML, where that was read and could be.
    pub(super) inventory: Option<Inventory>,
    /// What could not be read, a line each.
    pub(super) failures: Vec<String>,
}

/// A part of an answer. A call for details answers guest by guest, so that one that hangs does not keep the
/// answers of those before it.
#[derive(Debug)]
pub(super) enum Answer {
    HostName(String),
    Listed(Arc<[Listed]>),
    /// One for each guest, by its place in the call; what the hypervisor offers, where that was learned;
    /// how long the bulk call took.
    Asked(Vec<(usize, Asked)>, Option<Offer>, Duration),
    Detailed(usize, Detailed),
}

impl Answer {
    /// Whether something must be done at once. Other answers may wait for each other.
    pub(super) fn is_urgent(&self) -> bool {
        match self {
            Self::Asked(asked, ..) => {
                let is_good =
                    |asked: &Asked| matches!(asked, Asked::Sampled(it) if it.control.is_none());
                !asked.iter().all(|(_, asked)| is_good(asked))
            }
            Self::Detailed(..) => false,
            Self::HostName(_) | Self::Listed(_) => true,
        }
    }
}
