//! Bringing a guest's statistics and its device list together: the cached list serves while its
//! names agree with the statistics; else the guest's XML is read again at once.

use std::fmt;
use std::sync::Arc;

use super::reading::{Answered, Question};
use super::{extra, fallback};
use crate::config::{DeviceFilter, Selection};
use crate::devices::metadata::Metadata;
use crate::devices::walk::XmlError;
use crate::devices::{Inventory, xml};
use crate::libvirt::{self, Group, Groups, Kind};
use crate::log::Log;
use crate::sample::{Answer, Domain};

/// A guest's devices, settled.
pub(super) struct Settled {
    /// Its device list; `None` where it has never been readable.
    pub(super) inventory: Option<Arc<Inventory>>,
    /// Whether its XML was read for that.
    pub(super) is_new: bool,
    /// What could not be read, a line each.
    pub(super) failures: Vec<String>,
}

/// Which of the statistics name devices, so that they can be held against the list.
#[derive(Clone, Copy)]
struct Named {
    nics: bool,
    disks: bool,
}

impl Named {
    fn by(question: &Question, sample: &Domain) -> Self {
        let bulk = question.wanted.and(question.offer.bulk);
        // Where only a part came, an empty list may be a group that failed or was not asked.
        let whole = sample.answer == Answer::Whole;
        Self {
            nics: bulk.has(Group::Interface) && (whole || !sample.nics.is_empty()),
            disks: bulk.has(Group::Block) && (whole || !sample.disks.is_empty()),
        }
    }

    fn agree(self, inventory: &Inventory, sample: &Domain) -> bool {
        inventory.id == sample.id
            && (!self.nics || inventory.counts_nics(sample.nics.iter().map(|nic| &*nic.name)))
            && (!self.disks || inventory.counts_disks(sample.disks.iter().map(|disk| &*disk.name)))
    }
}

/// Fills in the groups `missing` from bulk and settles the devices; `None` where the guest is gone.
pub(super) fn settle(
    answer: &mut Answered<'_>,
    question: &Question,
    selection: &Selection,
    missing: Groups,
    log: &Log,
) -> Option<Settled> {
    let target = answer.target;
    let named = Named::by(question, &answer.sample);
    let mut settled =
        Settled { inventory: target.inventory.clone(), is_new: false, failures: Vec::new() };
    // A guest that is off has no counters to tell apart.
    if answer.sample.id < 0 {
        fallback::fill(&mut answer.sample, answer.handle, missing, None, &selection.devices);
        let is_known = |inventory: &Arc<Inventory>| {
            target.fresh && inventory.id < 0 && inventory.has_metadata(&selection.paths)
        };
        if !selection.paths.is_empty() && !settled.inventory.as_ref().is_some_and(is_known) {
            let named = Named { nics: false, disks: false };
            read_again(answer, named, question, selection, &mut settled, log)?;
        }
        return Some(settled);
    }
    let agrees = |inventory: &Arc<Inventory>| {
        named.agree(inventory, &answer.sample) && inventory.has_metadata(&selection.paths)
    };
    // Without names from bulk nothing would tell of a device that has come.
    let has_names = ![Group::Interface, Group::Block].iter().any(|&group| missing.has(group));
    let serves = target.fresh && has_names;
    let suffices = |inventory: &&Arc<Inventory>| extra::suffices(inventory, question.extra);
    if !serves || !settled.inventory.as_ref().filter(suffices).is_some_and(agrees) {
        read_again(answer, named, question, selection, &mut settled, log)?;
    }
    let known = settled.inventory.as_deref();
    let devices = &selection.devices;
    let failures = fallback::fill(&mut answer.sample, answer.handle, missing, known, devices);
    settled.failures.extend(failures);
    keep_listed(&mut answer.sample, &settled);
    if !devices.is_empty() {
        keep_selected(&mut answer.sample, settled.inventory.as_deref(), devices);
    }
    if answer.sample.answer == Answer::Whole {
        settled.failures.extend(without_counters(&answer.sample, question));
    }
    Some(settled)
}

/// Reads the guest's XML; where that fails, the list that was known goes on serving.
fn read_again(
    answer: &mut Answered<'_>,
    named: Named,
    question: &Question,
    selection: &Selection,
    settled: &mut Settled,
    log: &Log,
) -> Option<()> {
    // What was read a moment ago for the filter serves, unless a device has come since.
    let serves = |shown: &Inventory| {
        shown.id == answer.sample.id
            && answer.sample.nics.iter().all(|nic| shown.nic(&nic.name).is_some())
            && answer.sample.disks.iter().all(|disk| shown.disk(&disk.name).is_some())
    };
    let inventory = match answer.shown.take().filter(serves) {
        Some(inventory) => Ok(inventory),
        None => shown(answer, question, selection, log),
    };
    match inventory {
        Ok(inventory) => {
            settled.inventory = Some(Arc::new(counted(inventory, &answer.sample, named)));
            settled.is_new = true;
        }
        Err(failure) if failure.is_of_gone_guest() => return None,
        Err(failure) => settled.failures.push(format!("its device list cannot be read: {failure}")),
    }
    Some(())
}

/// Why a guest's XML told nothing.
pub(super) enum Failure {
    Libvirt(libvirt::Error),
    Xml(XmlError),
}

impl Failure {
    pub(super) fn is_of_gone_guest(&self) -> bool {
        matches!(self, Self::Libvirt(error) if error.kind == Kind::GuestGone)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Libvirt(error) => error.fmt(f),
            Self::Xml(error) => error.fmt(f),
        }
    }
}

/// What the guest's XML says of its devices, and of its metadata where that is looked at.
pub(super) fn shown(
    answer: &Answered<'_>,
    question: &Question,
    selection: &Selection,
    log: &Log,
) -> Result<Inventory, Failure> {
    let target = answer.target;
    log.debug(format_args!("reading the devices of guest \"{}\" ({})", target.name, target.uuid));
    let text = answer.handle.xml().map_err(Failure::Libvirt)?;
    let (nics, disks) = xml::inventory(&text).map_err(Failure::Xml)?;
    let metadata = if selection.paths.is_empty() {
        None
    } else {
        Some(Metadata::read(&text, &selection.paths).map_err(Failure::Xml)?)
    };
    let id = answer.sample.id;
    let inventory = Inventory { id, nics, disks, metadata, ..Inventory::default() };
    if !is_taken(&inventory, selection) {
        // Nothing more is asked of a guest that is not read.
        return Ok(inventory);
    }
    let details = extra::read_details(&text, answer.handle, question.extra);
    Ok(Inventory { details: details.map_err(Failure::Xml)?, ..inventory })
}

/// Whether the filter lets the metadata pass.
pub(super) fn is_taken(inventory: &Inventory, selection: &Selection) -> bool {
    let metadata = inventory.metadata.as_ref();
    !selection.domains.has_metadata()
        || metadata.is_some_and(|metadata| selection.domains.takes_metadata(metadata))
}

/// The list with the names that the statistics had beside it.
fn counted(inventory: Inventory, sample: &Domain, named: Named) -> Inventory {
    let counted_nics = sample.nics.iter().filter(|_| named.nics).map(|nic| nic.name.to_string());
    let counted_disks =
        sample.disks.iter().filter(|_| named.disks).map(|disk| disk.name.to_string());
    Inventory {
        counted_nics: counted_nics.collect(),
        counted_disks: counted_disks.collect(),
        ..inventory
    }
}

/// Leaves the disks that are disks, and no device that the list just read does not have.
fn keep_listed(sample: &mut Domain, settled: &Settled) {
    let Some(inventory) = &settled.inventory else {
        // Without a list nobody knows which of them is a cdrom.
        sample.disks.clear();
        sample.answer = Answer::Partial;
        return;
    };
    sample.disks.retain(|disk| inventory.is_disk(&disk.name));
    if settled.is_new {
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

/// Devices that libvirt names but has no counters of, although the guest answers.
fn without_counters(sample: &Domain, question: &Question) -> Vec<String> {
    let bulk = question.wanted.and(question.offer.bulk);
    let nics = sample.nics.iter().filter(|nic| bulk.has(Group::Interface) && !nic.is_counted());
    let disks = sample.disks.iter().filter(|disk| bulk.has(Group::Block) && !disk.is_counted());
    nics.map(|nic| format!("libvirt has no counters of its NIC {}", nic.name))
        .chain(disks.map(|disk| format!("libvirt has no counters of its disk {}", disk.name)))
        .collect()
}
