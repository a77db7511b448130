//! What a worker is asked of guests, and what comes of it.

use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;

use super::Excluded;
use crate::config::Selection;
use crate::config::extra::Extras;
use crate::devices::Inventory;
use crate::devices::metadata::Metadata;
use crate::libvirt::{Group, Groups, Offer};
use crate::sample::Domain;

/// A guest to read.
#[derive(Clone, Debug)]
pub struct GuestRequest {
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

impl GuestRequest {
    /// How many virtual CPUs it has, where that cannot change in this boot.
    pub(super) fn fixed_vcpus(&self) -> Option<u64> {
        let inventory = self.inventory.as_ref().filter(|inventory| inventory.id == self.id)?;
        inventory.fixed_vcpus
    }

    /// Whether its device list says that libvirt runs a program, ovs-vsctl, to count what its NICs have sent.
    pub(super) fn needs_helper(&self) -> bool {
        let inventory = self.inventory.as_ref();
        inventory.is_some_and(|inventory| inventory.nics.iter().any(|nic| nic.kind == "vhostuser"))
    }

    /// What is known of its metadata, where all that is looked for in it is.
    fn metadata(&self, selection: &Selection) -> Option<&Metadata> {
        let inventory = self.inventory.as_ref().filter(|it| it.has_metadata(&selection.paths))?;
        inventory.metadata.as_ref()
    }

    /// Whether its metadata must be read before anything else is asked of it.
    pub(super) fn needs_metadata_first(&self, selection: &Selection) -> bool {
        selection.domains.has_metadata() && !(self.fresh && self.metadata(selection).is_some())
    }

    /// What the filter says of the metadata that is known, however old; `None` where none is.
    pub(super) fn passes(&self, selection: &Selection) -> Option<bool> {
        self.metadata(selection).map(|metadata| selection.domains.takes_metadata(metadata))
    }

    /// The guest as one that is not read; `read` is what its XML said.
    pub(super) fn excluded(&self, read: Option<Arc<Inventory>>) -> Excluded {
        Excluded { uuid: self.uuid, name: Arc::clone(&self.name), read }
    }

    /// A sample of it with nothing in it yet. The memory of a spare one is used again.
    pub(super) fn sample(&self, spare: Option<Domain>) -> Domain {
        let mut sample = spare.unwrap_or_default();
        sample.clear();
        sample.id = self.id;
        sample.name.push_str(&self.name);
        sample.uuid = self.uuid;
        sample
    }
}

/// What to ask of guests.
#[derive(Clone, Copy, Debug)]
pub struct ReadRequest {
    /// What is printed beyond the default.
    pub extra: Extras,
    /// What of the statistics the hypervisor has in bulk, once that is known.
    pub offer: Option<Offer>,
    /// The same of the statistics that are asked of guests that are off, as tried on one of them.
    pub offer_of_inactive: Option<Offer>,
    /// How many guests are listed: a worker that holds many more handles lets them go.
    pub listed: usize,
    /// When the guests were listed, or a little before: since then some may have restarted.
    pub listed_at: Instant,
}

impl ReadRequest {
    /// Whether the bulk call does not have this group.
    pub(super) fn lacks(&self, group: Group) -> bool {
        self.offer.is_some_and(|offer| !offer.bulk.has(group))
    }

    /// Whether a guest that is busy is answered at once.
    pub(super) fn has_nowait(&self) -> bool {
        self.offer.is_some_and(|offer| offer.nowait)
    }

    /// What the bulk call does not have of what every collection prints.
    pub(super) fn missing(&self, of_running: bool) -> Groups {
        let wanted = if of_running { always() } else { of_inactive() };
        let offer = if of_running { self.offer } else { self.offer.or(self.offer_of_inactive) };
        wanted.without(offer.map_or(wanted, |offer| offer.bulk))
    }
}

/// The statistics of which every collection prints something.
pub(super) fn always() -> Groups {
    Group::ALWAYS.into_iter().collect()
}

/// What is printed of a guest that is off. Never its disks: libvirt opens their images for that, with the
/// guest's object locked, and lists no guests any more until the storage answers.
pub(super) fn of_inactive() -> Groups {
    [Group::State, Group::Vcpu, Group::Balloon].into_iter().collect()
}

/// What libvirt has without a guest's monitor too, by calls for one guest: virDomainGetCPUStats has the figures
/// of the first, out of the guest's control group, and virDomainGetInfo the number that is printed of the second.
pub(super) fn cpu() -> Groups {
    [Group::Cpu, Group::Vcpu].into_iter().collect()
}

/// What waits neither for a guest's monitor nor for its job.
pub(super) fn without_monitor() -> Groups {
    [Group::State, Group::Interface].into_iter().collect()
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
    /// What of it could not be read although the guest answers, a line each.
    pub failures: Vec<String>,
    /// Statistics that nobody here knows.
    pub unknown: usize,
}

impl Reading {
    /// A guest of which nothing came, since libvirt itself has locked it.
    pub fn of_locked(sample: Domain) -> Self {
        let (inventory, failures) = (None, Vec::new());
        Self { sample, inventory, inventory_is_new: false, failures, unknown: 0 }
    }
}
