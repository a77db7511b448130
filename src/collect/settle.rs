//! Bringing a guest's statistics and its device list together: the cached list serves while its
//! names agree with the statistics; else the guest's XML is read again at once.

use std::sync::Arc;

use super::reading::{Answered, Question};
use super::{extra, fallback};
use crate::config::extra::Extras;
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
    missing: Groups,
    log: &Log,
) -> Option<Settled> {
    let target = answer.target;
    let named = Named::by(question, &answer.sample);
    let mut settled =
        Settled { inventory: target.inventory.clone(), is_new: false, failures: Vec::new() };
    // A guest that is off has no counters to tell apart.
    if answer.sample.id < 0 {
        fallback::fill(&mut answer.sample, answer.handle, missing, None);
        return Some(settled);
    }
    let agrees = |inventory: &Arc<Inventory>| named.agree(inventory, &answer.sample);
    // Without names from bulk nothing would tell of a device that has come.
    let has_names = ![Group::Interface, Group::Block].iter().any(|&group| missing.has(group));
    let serves = target.fresh && has_names;
    let suffices = |inventory: &&Arc<Inventory>| extra::suffices(inventory, question.extra);
    if !serves || !settled.inventory.as_ref().filter(suffices).is_some_and(agrees) {
        read_again(answer, named, question.extra, &mut settled, log)?;
    }
    let known = settled.inventory.clone();
    let failures = fallback::fill(&mut answer.sample, answer.handle, missing, known.as_deref());
    settled.failures.extend(failures);
    keep_listed(&mut answer.sample, &settled);
    if answer.sample.answer == Answer::Whole {
        settled.failures.extend(without_counters(&answer.sample, question));
    }
    Some(settled)
}

/// Reads the guest's XML; where that fails, the list that was known goes on serving.
fn read_again(
    answer: &Answered<'_>,
    named: Named,
    extra: Extras,
    settled: &mut Settled,
    log: &Log,
) -> Option<()> {
    let target = answer.target;
    log.debug(format_args!("reading the devices of guest \"{}\" ({})", target.name, target.uuid));
    match inventory(answer, named, extra) {
        Ok(inventory) => {
            settled.inventory = Some(Arc::new(inventory));
            settled.is_new = true;
        }
        Err(Failure::Libvirt(error)) if error.kind == Kind::GuestGone => return None,
        Err(Failure::Libvirt(error)) => settled.failures.push(format!("its device list: {error}")),
        Err(Failure::Xml(error)) => settled.failures.push(format!("its device list: {error}")),
    }
    Some(())
}

enum Failure {
    Libvirt(libvirt::Error),
    Xml(xml::XmlError),
}

fn inventory(answer: &Answered<'_>, named: Named, extra: Extras) -> Result<Inventory, Failure> {
    let text = answer.handle.xml().map_err(Failure::Libvirt)?;
    let (nics, disks) = xml::inventory(&text).map_err(Failure::Xml)?;
    let details = extra::read_details(&text, answer.handle, extra).map_err(Failure::Xml)?;
    let sample = &answer.sample;
    let counted_nics = sample.nics.iter().filter(|_| named.nics).map(|nic| nic.name.to_string());
    let counted_disks =
        sample.disks.iter().filter(|_| named.disks).map(|disk| disk.name.to_string());
    Ok(Inventory {
        id: sample.id,
        nics,
        disks,
        counted_nics: counted_nics.collect(),
        counted_disks: counted_disks.collect(),
        details,
    })
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

/// Devices that libvirt names but has no counters of, although the guest answers.
fn without_counters(sample: &Domain, question: &Question) -> Vec<String> {
    let bulk = question.wanted.and(question.offer.bulk);
    let nics = sample.nics.iter().filter(|nic| bulk.has(Group::Interface) && !nic.is_counted());
    let disks = sample.disks.iter().filter(|disk| bulk.has(Group::Block) && !disk.is_counted());
    nics.map(|nic| format!("libvirt has no counters of its NIC {}", nic.name))
        .chain(disks.map(|disk| format!("libvirt has no counters of its disk {}", disk.name)))
        .collect()
}
