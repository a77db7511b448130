//! Jobs, backing chains and latencies of disks, and energy: what comes of libvirt's statistics and calls for
//! disks' storage, and only `extra` prints.

use super::Page;
use super::named::{Named, Types};
use crate::line_protocol::{Lines, Tags};
use crate::sample::words;
use crate::schema::{
    DiskLatency, EnergyMonitor, Extra, Extras, MissingPolicy, OPERATIONS, StorageDetails,
    write_requests,
};

const OMIT: MissingPolicy = MissingPolicy::OMIT;

pub(super) fn write(
    page: &Page<'_>,
    lines: &mut Lines,
    own: &mut Tags,
    types: &mut Types,
    storage: &StorageDetails,
    extra: Extra,
) {
    let (disks, only) = (&page.guest.sample.disks, Extras::from_iter([extra]));
    match extra {
        Extra::BlockJobs => {
            for job in &storage.block_jobs {
                super::start_device(own, "disk", &job.target);
                page.own(lines, "vm_block_jobs", own, |fields| {
                    fields.text("type", words::block_job_type(job.kind));
                    job.write(fields, OMIT, only);
                });
            }
        }
        Extra::Backing => {
            // Of the disks that are read: neither of cdrom drives, nor of excluded disks.
            let is_read = |target: &str| disks.iter().any(|disk| disk.name == target);
            for image in storage.backing.iter().filter(|image| is_read(&image.target)) {
                own.clear();
                own.add("device", &image.target);
                let index = i64::try_from(image.backing_index.unwrap_or(0)).unwrap_or(i64::MAX);
                own.add_number("index", index);
                page.own(lines, "vm_backing", own, |fields| image.write(fields, OMIT, only));
            }
        }
        Extra::DiskLatency => {
            for disk in disks {
                let latency = storage.latency.iter().find(|latency| latency.index == disk.index);
                if let Some(latency) = latency {
                    write_latency(page, lines, own, &disk.name, latency);
                }
            }
        }
        Extra::Energy => {
            storage
                .energy
                .iter()
                .for_each(|monitor| write_energy(page, lines, own, types, monitor));
        }
        _ => {}
    }
}

/// A line for each bin, then one for each interval.
fn write_latency(
    page: &Page<'_>,
    lines: &mut Lines,
    own: &mut Tags,
    device: &str,
    latency: &DiskLatency,
) {
    let start = |own: &mut Tags, operation: &str| {
        own.clear();
        own.add("device", device);
        own.add("op", operation);
    };
    for (operation, bins) in latency.histograms() {
        for (end, requests) in bins {
            start(own, operation);
            own.add("le", &end.map_or_else(|| "+Inf".to_owned(), |end| end.to_string()));
            page.own(lines, "vm_disk_latency", own, |fields| write_requests(fields, requests));
        }
    }
    for group in &latency.timed {
        let Some(interval) = group.interval_s.and_then(|it| i64::try_from(it).ok()) else {
            continue;
        };
        for (operation, begins) in OPERATIONS {
            start(own, operation);
            own.add_number("interval_s", interval);
            page.own(lines, "vm_disk_latency", own, |fields| {
                group.write_operation(fields, begins);
            });
        }
    }
}

/// A line for each package of the host.
fn write_energy(
    page: &Page<'_>,
    lines: &mut Lines,
    own: &mut Tags,
    types: &mut Types,
    monitor: &EnergyMonitor,
) {
    for package in &monitor.packages {
        own.clear();
        own.add("monitor", &monitor.name);
        own.add("package", &package.id.unwrap_or(package.index.into()).to_string());
        let mut named = Named::beside(&page.choice.user_tags);
        package.sent.iter().for_each(|(name, value)| named.add(name, value));
        page.own(lines, "vm_energy", own, |fields| {
            if !monitor.vcpus.is_empty() {
                fields.text("vcpus", &monitor.vcpus);
            }
            named.write(fields, "vm_energy", types);
        });
    }
}
