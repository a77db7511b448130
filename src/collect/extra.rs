//! What only `extra` prints and no group of the bulk call has, from the calls for one guest, for guests
//! that answer: a call for a job waits while another call is in the guest.

use super::request::ReadRequest;
use crate::config::extra::{Extra, Extras};
use crate::devices::Inventory;
use crate::devices::details::{self, Details};
use crate::devices::walk::XmlError;
use crate::host::Guest;
use crate::libvirt::{Error, Group, Groups, Kind};
use crate::sample::{Domain, Job, More, Vcpu};

/// What of it comes with the bulk call, in groups that are not asked for otherwise.
pub(super) fn groups(extra: Extras) -> Groups {
    let groups = [
        (Extra::Iothreads, Group::Iothread),
        (Extra::Perf, Group::Perf),
        (Extra::DirtyRate, Group::DirtyRate),
        (Extra::MemoryBandwidth, Group::Memory),
        (Extra::Hypervisor, Group::Vm),
    ];
    groups.into_iter().filter(|&(it, _)| extra.has(it)).map(|(_, group)| group).collect()
}

/// Room for what a default collection does not keep, where some of it is wanted.
pub(super) fn new_extra_stats(extra: Extras) -> Option<Box<More>> {
    let of_more = [
        Extra::Iothreads,
        Extra::Perf,
        Extra::DirtyRate,
        Extra::MemoryBandwidth,
        Extra::CpuCache,
        Extra::Jobs,
        Extra::Hypervisor,
        Extra::Other,
    ];
    let keeps_other = extra.has(Extra::Other);
    extra.has_any(&of_more).then(|| Box::new(More { keeps_other, ..More::default() }))
}

/// Whether something is wanted that only the domain's XML tells, beyond its devices.
pub(super) fn needs_details(extra: Extras) -> bool {
    extra.has_any(&[Extra::Vcpus, Extra::Limits, Extra::Numa, Extra::Info])
}

/// Whether a cached device list has all that is wanted of the XML.
pub(super) fn covers(inventory: &Inventory, extra: Extras) -> bool {
    let details = inventory.details.as_ref();
    !needs_details(extra) || details.is_some_and(|it| it.asked_beside || !extra.has(Extra::Info))
}

/// What the XML says beyond the devices, with what libvirt tells beside it: where it does not, that is
/// left out.
pub(super) fn read_details(
    xml: &str,
    guest: &Guest,
    extra: Extras,
) -> Result<Option<Box<Details>>, XmlError> {
    if !needs_details(extra) {
        return Ok(None);
    }
    let mut details = details::details(xml)?;
    if extra.has(Extra::Info) {
        details.asked_beside = true;
        details.persistent = guest.is_persistent().ok();
        details.autostart = guest.autostart().ok();
    }
    Ok(Some(Box::new(details)))
}

/// Whether something is wanted that no group of the bulk call has: then [`fill`] has something to do.
pub(super) fn needs_calls(read: &ReadRequest) -> bool {
    let of_groups = [
        (Extra::StateReason, Group::State),
        (Extra::Vcpus, Group::Vcpu),
        (Extra::DiskTimes, Group::Block),
    ];
    read.extra.has(Extra::Jobs)
        || of_groups.into_iter().any(|(extra, group)| read.extra.has(extra) && read.lacks(group))
}

/// Fills in what the bulk call does not have. Returns what failed although it is offered, a line each.
pub(super) fn fill(sample: &mut Domain, guest: &Guest, read: &ReadRequest) -> Vec<String> {
    let mut failures = Vec::new();
    // A guest that is off has no job, and no virtual CPUs or disks to ask of.
    if !needs_calls(read) || sample.id < 0 {
        return failures;
    }
    let extra = read.extra;
    let mut note = |what: &str, result: Result<(), Error>| match result {
        Err(error) if error.kind == Kind::Other => {
            failures.push(format!("{what} cannot be read: {error}"))
        }
        _ => {}
    };
    if extra.has(Extra::StateReason) && read.lacks(Group::State) {
        let state = guest.state().map(|state| sample.state_reason = Some(state.reason));
        note("the reason of its state", state);
    }
    if extra.has(Extra::Vcpus) && read.lacks(Group::Vcpu) {
        note("its virtual CPUs", fill_vcpus(sample, guest));
    }
    if extra.has(Extra::DiskTimes) && read.lacks(Group::Block) {
        for position in 0..sample.disks.len() {
            let times = fill_disk_times(sample, position, guest);
            note("the times of its disks", times);
        }
    }
    if let (true, Some(more)) = (extra.has(Extra::Jobs), &mut sample.more) {
        let job = guest.job().map(|job| more.job = Job::of(job.kind(), job.parameters()));
        note("its job", job);
    }
    failures
}

fn fill_vcpus(sample: &mut Domain, guest: &Guest) -> Result<(), Error> {
    const MOST: u16 = 4096;
    let count = sample.vcpu_count.and_then(|count| u16::try_from(count).ok());
    let vcpus = guest.vcpus(count.unwrap_or(MOST).min(MOST))?;
    let vcpu = |info: crate::libvirt::VcpuInfo| Vcpu {
        index: info.number,
        state: u64::try_from(info.state).ok(),
        time_ns: Some(info.time_ns),
        ..Vcpu::default()
    };
    sample.vcpus = vcpus.into_iter().map(vcpu).collect();
    Ok(())
}

fn fill_disk_times(sample: &mut Domain, position: usize, guest: &Guest) -> Result<(), Error> {
    let Some(disk) = sample.disks.get_mut(position) else { return Ok(()) };
    let target = disk.name.clone();
    guest.block_statistics(&target, |parameter| disk.fill_times(parameter))
}
