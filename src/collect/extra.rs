//! What only `extra` prints and no group of the bulk call has, from the calls for one guest, for guests
//! that answer: a call for a job waits while another call is in the guest.

use super::request::ReadRequest;
use crate::config::extra::{Extra, Extras};
use crate::devices::Inventory;
use crate::host::HostGuest;
use crate::libvirt::{Error, Kind};
use crate::sample::{Domain, Job, Vcpu, words};
use crate::schema::{self, BackingImage, BlockJobLine, Details, GuestCall};

/// Whether a cached device list has all that is wanted of the XML.
pub(super) fn covers(inventory: &Inventory, extra: Extras) -> bool {
    let details = inventory.details.as_ref();
    !schema::needs_xml(extra)
        || details.is_some_and(|it| {
            (it.asked_beside || !extra.has(Extra::Info))
                && (it.snapshots.is_some() || !extra.has(Extra::Snapshots))
        })
}

/// The details, with what libvirt reports outside of the XML; what it does not report is omitted.
pub(super) fn ask_beside(mut details: Details, guest: &HostGuest, extra: Extras) -> Box<Details> {
    if schema::calls(extra, |_| false).any(|call| call == GuestCall::Definition) {
        details.asked_beside = true;
        details.persistent = guest.is_persistent().ok();
        details.autostart = guest.autostart().ok();
    }
    if schema::calls(extra, |_| false).any(|call| call == GuestCall::Snapshots) {
        details.snapshots = Some(guest.snapshots().unwrap_or_default());
    }
    Box::new(details)
}

/// Whether something is wanted that no group of the bulk call has: then [`fill`] has something to do.
pub(super) fn needs_calls(read: &ReadRequest) -> bool {
    schema::calls(read.extra, |group| read.lacks(group)).any(|call| !is_with_xml(call))
}

/// Whether it is made when the domain's XML is read.
fn is_with_xml(call: GuestCall) -> bool {
    matches!(call, GuestCall::Definition | GuestCall::Snapshots)
}

/// Fills in what the bulk call does not have. Returns what failed although it is offered, a line each.
pub(super) fn fill(
    sample: &mut Domain,
    guest: &HostGuest,
    read: &ReadRequest,
    inventory: Option<&Inventory>,
) -> Vec<String> {
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
            GuestCall::BlockJobs => {
                for position in 0..sample.disks.len() {
                    let job = fill_block_job(sample, position, guest, inventory);
                    note("the jobs of its disks", job);
                }
            }
            GuestCall::DiskErrors => note("the errors of its disks", fill_errors(sample, guest)),
            GuestCall::Backing => {
                let images = guest.backing().map(|statistics| {
                    let sent =
                        statistics.iter().map(|(name, value)| (name.as_bytes(), value.into()));
                    if let Some(more) = &mut sample.more {
                        more.storage.backing = BackingImage::of(sent);
                    }
                });
                note("the backing chains of its disks", images);
            }
            // Asked when the domain's XML is read.
            GuestCall::Definition | GuestCall::Snapshots => {}
        }
    }
    failures
}

fn fill_vcpus(sample: &mut Domain, guest: &HostGuest) -> Result<(), Error> {
    const MOST: u16 = 4096;
    let count = sample.vcpu_count.and_then(|count| u16::try_from(count).ok());
    let vcpus = guest.vcpus(count.unwrap_or(MOST).min(MOST))?;
    let has_statistics = !sample.vcpus.is_empty();
    for info in vcpus {
        if !has_statistics {
            let (state, time_ns) = (u64::try_from(info.state).ok(), Some(info.time_ns));
            let index = info.number;
            sample.vcpus.push(Vcpu { index, state, time_ns, ..Vcpu::default() });
        }
        // One that the statistics do not have is not plugged in.
        if let Some(vcpu) = sample.vcpus.iter_mut().find(|vcpu| vcpu.index == info.number) {
            vcpu.cpu = info.cpu.map(u64::from);
            vcpu.affinity = info.affinity.into();
        }
    }
    Ok(())
}

fn fill_disk_times(sample: &mut Domain, position: usize, guest: &HostGuest) -> Result<(), Error> {
    let Some(disk) = sample.disks.get_mut(position) else { return Ok(()) };
    let target = disk.name.clone();
    guest.block_statistics(&target, |parameter| disk.fill_times(parameter))
}

/// The job of one disk; cdrom and floppy drives are not asked.
fn fill_block_job(
    sample: &mut Domain,
    position: usize,
    guest: &HostGuest,
    inventory: Option<&Inventory>,
) -> Result<(), Error> {
    let Some(disk) = sample.disks.get(position) else { return Ok(()) };
    if inventory.is_some_and(|inventory| !inventory.is_disk(&disk.name)) {
        return Ok(());
    }
    let Some(job) = guest.block_job(&disk.name)? else { return Ok(()) };
    let line = BlockJobLine {
        target: disk.name.to_string(),
        kind: job.kind,
        done_bytes: Some(job.done),
        total_bytes: Some(job.total),
        bytes_sec: Some(job.bandwidth),
    };
    if let Some(more) = &mut sample.more {
        more.storage.block_jobs.push(line);
    }
    Ok(())
}

/// The error of each disk; libvirt tells of those that have one.
fn fill_errors(sample: &mut Domain, guest: &HostGuest) -> Result<(), Error> {
    let errors = guest.disk_errors()?;
    for disk in &mut sample.disks {
        let code = errors.iter().find(|error| disk.name == error.target).map_or(0, |it| it.code);
        disk.io_error = words::disk_error(code).into();
        disk.io_error_code = u64::try_from(code).ok();
    }
    Ok(())
}
