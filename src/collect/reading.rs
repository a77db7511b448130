//! What a worker is asked of guests, and what comes of it.

use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;

use super::TurnedAway;
use crate::config::Selection;
use crate::config::extra::Extras;
use crate::devices::Inventory;
use crate::devices::metadata::Metadata;
use crate::host::Guest;
use crate::libvirt::{Groups, Offer};
use crate::sample::Domain;

/// A guest that shall be read.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its place in the collection's list.
    pub place: usize,
    /// Its lasting identity.
    pub uuid: Uuid,
    /// Its id when it was listed.
    pub id: i32,
    /// Its name when it was listed.
    pub name: Arc<str>,
    /// The CPU time of its last sample, where that is of this boot.
    pub cpu_before_ns: Option<u64>,
    /// Its cached device list.
    pub inventory: Option<Arc<Inventory>>,
    /// Whether that list is within its time to live.
    pub fresh: bool,
}

impl Target {
    /// What is known of its metadata, where all that is looked for in it is.
    fn metadata(&self, selection: &Selection) -> Option<&Metadata> {
        let inventory = self.inventory.as_ref().filter(|it| it.has_metadata(&selection.paths))?;
        inventory.metadata.as_ref()
    }

    /// Whether its metadata must be read before anything else is asked of it.
    pub(super) fn must_show_metadata(&self, selection: &Selection) -> bool {
        selection.domains.has_metadata() && !(self.fresh && self.metadata(selection).is_some())
    }

    /// Whether its metadata is known, and the filter does not let it pass.
    pub(super) fn is_turned_away(&self, selection: &Selection) -> bool {
        selection.domains.has_metadata()
            && self.fresh
            && self
                .metadata(selection)
                .is_some_and(|metadata| !selection.domains.takes_metadata(metadata))
    }

    /// The guest as one that is not read; `read` is what its XML said.
    pub(super) fn turned_away(&self, read: Option<Arc<Inventory>>) -> TurnedAway {
        TurnedAway { uuid: self.uuid, name: Arc::clone(&self.name), read }
    }
}

/// What to ask of guests.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// The statistics that are printed.
    pub wanted: Groups,
    /// What is printed beyond the default.
    pub extra: Extras,
    /// What of the statistics the hypervisor has in bulk.
    pub offer: Offer,
    /// Guests that are listed: a worker that holds many more handles lets them go.
    pub listed: usize,
    /// When the guests were listed, or a little before: since then some may have restarted.
    pub listed_at: Instant,
    /// Ask a guest's monitor only where somebody's call is stuck in it already, so that ours is
    /// answered at once: for guests not known to answer, when enough calls of ours are stuck.
    pub careful: bool,
}

impl Question {
    /// What is asked in bulk.
    pub(super) fn in_bulk(&self) -> Groups {
        self.wanted.and(self.offer.bulk)
    }
}

/// What became of a guest that was asked.
#[expect(clippy::large_enum_variant, reason = "nearly all are readings, and lie in one list")]
#[derive(Debug)]
pub enum Outcome {
    /// It was read, wholly or in part.
    Read(Reading),
    /// It is gone, or no longer runs.
    Gone,
    /// The filter does not let its metadata pass; what its XML said, where it could be read for that.
    TurnedAway(Option<Arc<Inventory>>),
    /// libvirt could not read it, and says why.
    Failed(String),
}

/// A guest as it was read.
#[derive(Clone, Debug)]
pub struct Reading {
    /// What was measured; its disks are disks only.
    pub sample: Domain,
    /// Its devices; `None` only where its XML could not be read.
    pub inventory: Option<Arc<Inventory>>,
    /// Whether its XML was read for that.
    pub inventory_is_new: bool,
    /// Why its monitor gave no answer, where it gave none.
    pub skipped: Option<Skipped>,
    /// What of it could not be read although the guest answers, a line each.
    pub failures: Vec<String>,
    /// Statistics that nobody here knows.
    pub unknown: usize,
}

/// Why a guest's monitor gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skipped {
    /// Another call is in it, and may be somebody's ordinary one.
    Busy,
    /// Another call is in it for longer than a healthy guest takes.
    Stuck,
    /// Nobody is in it, and it says no more: it starts, or ends, or has no more to say.
    Quiet,
    /// We did not dare to ask.
    Unasked,
}

/// What has been answered of one guest.
pub(super) struct Answered<'a> {
    pub(super) target: &'a Target,
    pub(super) handle: &'a Guest,
    pub(super) sample: Domain,
    /// Whether libvirt said anything of it.
    pub(super) present: bool,
    /// Its devices and metadata, read before its statistics.
    pub(super) shown: Option<Inventory>,
    pub(super) unknown: usize,
    pub(super) failures: Vec<String>,
}
