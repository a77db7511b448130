//! Puts a guest's bulk statistics and its device list together. Pure: it decides what must still be asked,
//! and what of the answers counts.
//!
//! The known device list is used while its names match the statistics. It is never read again for a guest
//! that did not answer: since libvirt 11.0 the XML waits for the guest's job. A list of any age serves such a
//! guest, since the names in the statistics say which of its devices are there.

use std::sync::Arc;

use super::call::Purpose;
use super::extra;
use super::fallback::lacks_cpu_time;
use super::request::{GuestRequest, ReadRequest, Reading};
use crate::config::{DeviceFilter, Selection};
use crate::devices::{self, Inventory};
use crate::libvirt::Group;
use crate::sample::{Absent, Completeness, Disk, Domain, Nic};
use crate::schema::mark_of;

/// Which of the statistics name devices, so that they can be compared with the list.
#[derive(Clone, Copy)]
struct NamedDevice {
    nics: bool,
    disks: bool,
}

impl NamedDevice {
    fn by(read: &ReadRequest, sample: &Domain) -> Self {
        // Where only a part came, an empty list may be a group that failed or was not asked.
        let is_complete = sample.completeness == Completeness::Complete;
        Self {
            nics: !read.lacks(Group::Interface) && (is_complete || !sample.nics.is_empty()),
            disks: !read.lacks(Group::Block) && (is_complete || !sample.disks.is_empty()),
        }
    }

    fn agree(self, inventory: &Inventory, sample: &Domain) -> bool {
        inventory.id == sample.id
            && (!self.nics
                || (inventory.nic_sources == nic_sources(sample)
                    && inventory.counts_nics(sample.nics.iter().map(|nic| &*nic.name))))
            && (!self.disks
                || (inventory.disk_sources == disk_sources(sample)
                    && inventory.counts_disks(sample.disks.iter().map(|disk| &*disk.name))))
    }
}

/// What tells the devices of the statistics from others of their names: another disk, a snapshot, a pivot or a
/// drive in the place of a disk changes it.
fn nic_sources(sample: &Domain) -> u64 {
    devices::as_one(sample.nics.iter().map(|nic| nic.source))
}

fn disk_sources(sample: &Domain) -> u64 {
    devices::as_one(sample.disks.iter().map(Disk::source))
}

/// Whether a device has the name of an earlier one and is another, as far as its counters show it: they start
/// at 0 again, or end. `before` is the sample before this one, of the same boot.
fn is_any_replaced(sample: &Domain, before: &Domain) -> bool {
    fn is_replaced<T>(
        now: &[T],
        before: &[T],
        name: fn(&T) -> &str,
        is_other: impl Fn(&T, &T) -> bool,
    ) -> bool {
        now.iter().enumerate().any(|(place, device)| {
            let is_same = |it: &&T| name(*it) == name(device);
            let there = before.get(place).filter(is_same);
            there.or_else(|| before.iter().find(is_same)).is_some_and(|it| is_other(device, it))
        })
    }
    let is_other_nic = |now: &Nic, before: &Nic| {
        now.went_back(before) || (before.is_counted() && !now.is_counted())
    };
    let is_other_disk = |now: &Disk, before: &Disk| {
        now.went_back(before) || (before.is_counted() && !now.is_counted())
    };
    is_replaced(&sample.nics, &before.nics, |it| &it.name, is_other_nic)
        || is_replaced(&sample.disks, &before.disks, |it| &it.name, is_other_disk)
}

/// What must be asked beyond the bulk statistics; `None` where they are enough. `shown` is what the XML said
/// a moment ago, where it was read for its metadata; `before` is the sample before this one, of the same boot.
pub(super) fn needs(
    sample: &Domain,
    guest: &GuestRequest,
    before: Option<&Domain>,
    shown: Option<&Inventory>,
    read: &ReadRequest,
    selection: &Selection,
) -> Option<Purpose> {
    if !sample.completeness.is_answer() {
        return None;
    }
    let is_active = sample.id >= 0;
    let calls = !read.missing(is_active).is_empty()
        || (is_active && extra::needs_calls(read))
        || (sample.completeness == Completeness::Complete && lacks_cpu_time(sample, read));
    let without_xml = calls.then_some(Purpose::WithoutXml);
    if shown.is_some_and(|shown| lists_all(shown, sample)) {
        return without_xml;
    }
    let known = guest.inventory.as_deref();
    let is_good = if is_active {
        let named = NamedDevice::by(read, sample);
        // Without device names in the bulk answer a hot-plug would go unnoticed.
        let has_names = !read.lacks(Group::Interface) && !read.lacks(Group::Block);
        let is_usable = |inventory: &Inventory| {
            extra::covers(inventory, read.extra)
                && named.agree(inventory, sample)
                && !before.is_some_and(|before| is_any_replaced(sample, before))
                && inventory.has_metadata(&selection.paths)
        };
        guest.fresh && has_names && known.is_some_and(is_usable)
    } else {
        // A guest that is off has no counters to tell apart.
        let is_usable =
            |it: &Inventory| guest.fresh && it.id < 0 && it.has_metadata(&selection.paths);
        selection.paths.is_empty() || known.is_some_and(is_usable)
    };
    if is_good { without_xml } else { Some(Purpose::WithXml) }
}

/// Whether a list that was read a moment before the statistics has all devices that they name.
fn lists_all(inventory: &Inventory, sample: &Domain) -> bool {
    inventory.id == sample.id
        && sample.nics.iter().all(|nic| inventory.nic(&nic.name).is_some())
        && sample.disks.iter().all(|disk| {
            inventory.disk(&disk.name).is_some_and(|known| {
                // Another one may have come between; of other sources libvirt sends no path.
                let path = known.path.as_deref().filter(|_| known.has_local_source());
                path.is_none_or(|path| disk.path == 0 || mark_of(path.as_bytes()) == disk.path)
            })
        })
}

/// Whether the filter lets the metadata pass.
pub(super) fn is_selected(inventory: &Inventory, selection: &Selection) -> bool {
    let metadata = inventory.metadata.as_ref();
    !selection.domains.has_metadata()
        || metadata.is_some_and(|metadata| selection.domains.takes_metadata(metadata))
}

/// What came of one guest.
pub(super) struct Parts {
    pub(super) sample: Domain,
    pub(super) unknown: usize,
    /// Its XML, where that was read in this collection.
    pub(super) new: Option<Inventory>,
    pub(super) failures: Vec<String>,
}

/// The guest's reading: its devices as the list has them, and of these as the filter takes them.
pub(super) fn reading(
    parts: Parts,
    guest: &GuestRequest,
    read: &ReadRequest,
    selection: &Selection,
    before: Option<&Domain>,
) -> Reading {
    let Parts { mut sample, unknown, new, failures } = parts;
    let is_new = new.is_some();
    let is_active = sample.id >= 0;
    let inventory = match new {
        Some(new) if is_active => {
            let named = NamedDevice::by(read, &sample);
            Some(Arc::new(with_names_from(new, &sample, named)))
        }
        Some(new) => Some(Arc::new(new)),
        None => guest.inventory.clone(),
    };
    if is_active {
        keep_listed(&mut sample, inventory.as_deref(), is_new);
        if !selection.devices.is_empty() {
            keep_selected(&mut sample, inventory.as_deref(), &selection.devices);
        }
        note_absent(&mut sample, before, guest.inventory.as_deref(), inventory.as_deref());
    }
    Reading { sample, inventory, inventory_is_new: is_new, failures, unknown }
}

/// The list with the names that the statistics had beside it.
fn with_names_from(inventory: Inventory, sample: &Domain, named: NamedDevice) -> Inventory {
    let nics = sample.nics.iter().filter(|_| named.nics).map(|nic| nic.name.to_string());
    let disks = sample.disks.iter().filter(|_| named.disks).map(|disk| disk.name.to_string());
    Inventory {
        counted_nics: nics.collect(),
        counted_disks: disks.collect(),
        nic_sources: if named.nics { nic_sources(sample) } else { 0 },
        disk_sources: if named.disks { disk_sources(sample) } else { 0 },
        ..inventory
    }
}

/// Notes what the sample before, of the same boot, says about the values that this one does not have.
fn note_absent(
    sample: &mut Domain,
    before: Option<&Domain>,
    was: Option<&Inventory>,
    is: Option<&Inventory>,
) {
    let is_other = |group: &str, name: &str| {
        let (Some(was), Some(is)) = (was, is) else { return false };
        match group {
            "net.N." => {
                let nic =
                    |list: &Inventory| list.nic(name).map(|it| (it.kind.clone(), it.mac.clone()));
                nic(was) != nic(is)
            }
            _ => {
                let disk =
                    |list: &Inventory| list.disk(name).map(|it| (it.kind, it.source_type.clone()));
                disk(was) != disk(is)
            }
        }
    };
    let absent = Absent::since(sample, before, is_other);
    sample.absent = absent;
}

/// Leaves the disks that are disks, and no device that a list just read does not have.
fn keep_listed(sample: &mut Domain, inventory: Option<&Inventory>, is_new: bool) {
    let Some(inventory) = inventory else {
        // Without a list nobody knows which of them is a cdrom.
        sample.disks.clear();
        if sample.completeness == Completeness::Complete {
            sample.completeness = Completeness::Partial;
        }
        return;
    };
    sample.disks.retain(|disk| inventory.is_disk(&disk.name));
    if is_new {
        sample.nics.retain(|nic| inventory.nic(&nic.name).is_some());
    }
}

/// Leaves the devices that the filter takes: the others have no lines and no part in a sum or a rate.
fn keep_selected(sample: &mut Domain, inventory: Option<&Inventory>, devices: &DeviceFilter) {
    sample.nics.retain(|nic| {
        devices.takes_nic(&nic.name, inventory.and_then(|known| known.nic(&nic.name)))
    });
    sample.disks.retain(|disk| {
        devices.takes_disk(&disk.name, inventory.and_then(|known| known.disk(&disk.name)))
    });
}

/// Whether the answer of a guest that runs has nothing that only its monitor, or the job that guards it,
/// gives. libvirt takes QEMU's memory with the monitor's other figures, and the counters of its disks:
/// either proves that the monitor was asked. A vhost-user disk never has counters.
pub(super) fn lacks_monitor(sample: &Domain, read: &ReadRequest) -> bool {
    let asks_monitor = [Group::Balloon, Group::Block].iter().any(|&group| !read.lacks(group));
    sample.id >= 0
        && read.has_nowait()
        && asks_monitor
        && sample.memory.rss_kib.is_none()
        && !sample.disks.iter().any(|disk| disk.is_counted())
}

/// The devices that had counters before and have none now, a line each. One that never had any is not
/// offered, which is no fault: a vhost-user disk, or a NIC that nobody counts.
pub(super) fn lost_counters(sample: &Domain) -> Vec<String> {
    if sample.absent.is_empty() {
        return Vec::new();
    }
    let is_lost = |name: &str, group: &str| sample.absent.has_lost(name, group);
    let nics = sample.nics.iter().filter(|it| !it.is_counted() && is_lost(&it.name, "net.N."));
    let disks = sample.disks.iter().filter(|it| !it.is_counted() && is_lost(&it.name, "block.N."));
    nics.map(|nic| format!("libvirt has no counters of its NIC {} any more", nic.name))
        .chain(
            disks.map(|disk| format!("libvirt has no counters of its disk {} any more", disk.name)),
        )
        .collect()
}
