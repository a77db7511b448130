//! What only `extra` prints and no group of the bulk call has, from the calls for one guest, for guests
//! that answer: a call for a job waits while another call is in the guest.

use super::request::ReadRequest;
use crate::config::extra::{Extra, Extras};
use crate::devices::Inventory;
use crate::host::HostGuest;
use crate::libvirt::{Error, Kind};
use crate::sample::{Domain, Job, Vcpu};
use crate::schema::{self, Details, GuestCall};

/// Whether a cached device list has all that is wanted of the XML.
pub(super) fn covers(inventory: &Inventory, extra: Extras) -> bool {
    let details = inventory.details.as_ref();
    !schema::needs_xml(extra)
        || details.is_some_and(|it| it.asked_beside || !extra.has(Extra::Info))
}

/// The details with what libvirt tells beside the XML: where it does not, that is left out.
pub(super) fn ask_beside(mut details: Details, guest: &HostGuest, extra: Extras) -> Box<Details> {
    if schema::calls(extra, |_| false).any(|call| call == GuestCall::Definition) {
        details.asked_beside = true;
        details.persistent = guest.is_persistent().ok();
        details.autostart = guest.autostart().ok();
    }
    Box::new(details)
}

/// Whether something is wanted that no group of the bulk call has: then [`fill`] has something to do.
pub(super) fn needs_calls(read: &ReadRequest) -> bool {
    schema::calls(read.extra, |group| read.lacks(group)).any(|call| call != GuestCall::Definition)
}

/// Fills in what the bulk call does not have. Returns what failed although it is offered, a line each.
pub(super) fn fill(sample: &mut Domain, guest: &HostGuest, read: &ReadRequest) -> Vec<String> {
    let mut failures = Vec::new();
    // A guest that is off has no job, and no virtual CPUs or disks to ask of.
    if !needs_calls(read) || sample.id < 0 {
        return failures;
    }
    let mut note = |what: &str, result: Result<(), Error>| match result {
        Err(error) if error.kind == Kind::Other => {
            failures.push(format!("{what} cannot be read: {error}"))
        }
        _ => {}
    };
    for call in schema::calls(read.extra, |group| read.lacks(group)) {
        match call {
            GuestCall::State => {
                let state = guest.state().map(|state| sample.state_reason = Some(state.reason));
                note("the reason of its state", state);
            }
            GuestCall::Vcpus => note("its virtual CPUs", fill_vcpus(sample, guest)),
            GuestCall::DiskTimes => {
                for position in 0..sample.disks.len() {
                    let times = fill_disk_times(sample, position, guest);
                    note("the times of its disks", times);
                }
            }
            GuestCall::Job => {
                let job = guest.job().map(|job| {
                    if let Some(more) = &mut sample.more {
                        more.job = Job::of(job.kind(), job.parameters());
                    }
                });
                note("its job", job);
            }
            // Asked when the domain's XML is read.
            GuestCall::Definition => {}
        }
    }
    failures
}

fn fill_vcpus(sample: &mut Domain, guest: &HostGuest) -> Result<(), Error> {
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

fn fill_disk_times(sample: &mut Domain, position: usize, guest: &HostGuest) -> Result<(), Error> {
    let Some(disk) = sample.disks.get_mut(position) else { return Ok(()) };
    let target = disk.name.clone();
    guest.block_statistics(&target, |parameter| disk.fill_times(parameter))
}
