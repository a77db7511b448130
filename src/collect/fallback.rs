//! What the bulk call of a hypervisor does not have, from the calls for one guest: libvirt's test driver,
//! Xen, LXC, bhyve and ESX lack some or all groups.

use super::request::ReadRequest;
use crate::config::DeviceFilter;
use crate::devices::Inventory;
use crate::host::HostGuest;
use crate::libvirt::{Group, Groups, GuestInfo, MemoryStatistic};
use crate::sample::{Disk, Domain, Memory, Nic};

/// Fills in the groups `missing`, of devices those that the filter takes. Returns what failed although it
/// is offered, a line each.
pub(super) fn fill(
    sample: &mut Domain,
    guest: &HostGuest,
    missing: Groups,
    inventory: Option<&Inventory>,
    devices: &DeviceFilter,
) -> Vec<String> {
    let mut failures = Vec::new();
    if missing.is_empty() {
        return failures;
    }
    if let Ok(info) = guest.info() {
        fill_info(sample, &info, missing);
    }
    if missing.has(Group::Cpu)
        && let Ok(times) = guest.cpu_times()
    {
        sample.cpu.time_ns = times.time_ns.or(sample.cpu.time_ns);
        sample.cpu.user_ns = times.user_ns;
        sample.cpu.system_ns = times.system_ns;
    }
    if missing.has(Group::Balloon)
        && let Ok(statistics) = guest.memory_statistics()
    {
        fill_memory(&mut sample.memory, &statistics);
    }
    let Some(inventory) = inventory else { return failures };
    if missing.has(Group::Interface) {
        sample.nics.clear();
        let named = inventory.nics.iter().filter_map(|nic| Some((nic.target.as_deref()?, nic)));
        if named.clone().next().is_none() {
            note_none(sample, Group::Interface);
        }
        for (target, _) in named.filter(|(target, nic)| devices.takes_nic(target, Some(nic))) {
            let (nic, failure) = nic(guest, target);
            sample.nics.push(nic);
            failures
                .extend(failure.map(|error| format!("its NIC {target} cannot be read: {error}")));
        }
    }
    if missing.has(Group::Block) {
        sample.disks.clear();
        let disks = inventory.disks.iter().filter(|device| device.kind.is_disk());
        if disks.clone().next().is_none() {
            note_none(sample, Group::Block);
        }
        for device in disks.filter(|device| devices.takes_disk(&device.target, Some(device))) {
            let (disk, failure) = disk(guest, &device.target);
            sample.disks.push(disk);
            failures.extend(
                failure.map(|error| format!("its disk {} cannot be read: {error}", device.target)),
            );
        }
    }
    failures
}

/// Whether the bulk call has the guest's CPU time, and sends none: libvirt before 7.2 takes it from a control group,
/// and there may be none.
pub(super) fn lacks_cpu_time(sample: &Domain, read: &ReadRequest) -> bool {
    sample.id >= 0 && !read.lacks(Group::Cpu) && sample.cpu.time_ns.is_none()
}

/// Fills in the CPU time that virDomainGetInfo has.
pub(super) fn fill_cpu_time(sample: &mut Domain, guest: &HostGuest) {
    if let Ok(info) = guest.info() {
        sample.cpu.time_ns = Some(info.cpu_time_ns);
    }
}

/// Fills in what virDomainGetInfo has of these groups.
pub(super) fn fill_info(sample: &mut Domain, info: &GuestInfo, groups: Groups) {
    if groups.has(Group::State) {
        sample.state = Some(info.state);
    }
    if groups.has(Group::Cpu) {
        sample.cpu.time_ns = Some(info.cpu_time_ns);
    }
    if groups.has(Group::Vcpu) {
        sample.vcpu_count = Some(info.vcpus);
    }
    if groups.has(Group::Balloon) {
        sample.memory.current_kib = Some(info.current_kib);
        sample.memory.maximum_kib = Some(info.maximum_kib);
    }
}

fn fill_memory(memory: &mut Memory, statistics: &[MemoryStatistic]) {
    // LXC has no counters of swapping: it calls the memory and swap that are in use now so, and has no other one.
    let counts_swaps = statistics.iter().any(|it| matches!(it, MemoryStatistic::SwapOut(_)));
    for statistic in statistics {
        match *statistic {
            MemoryStatistic::SwapIn(_) if !counts_swaps => {}
            MemoryStatistic::SwapIn(kib) => memory.swap_in_kib = Some(kib),
            // virDomainGetInfo has what is used on some hypervisors, such as LXC.
            MemoryStatistic::ActualBalloon(kib) => memory.current_kib = Some(kib),
            MemoryStatistic::SwapOut(kib) => memory.swap_out_kib = Some(kib),
            MemoryStatistic::MajorFault(count) => memory.major_faults = Some(count),
            MemoryStatistic::MinorFault(count) => memory.minor_faults = Some(count),
            MemoryStatistic::Available(kib) => memory.available_kib = Some(kib),
            MemoryStatistic::Rss(kib) => memory.rss_kib = Some(kib),
            MemoryStatistic::Usable(kib) => memory.usable_kib = Some(kib),
            MemoryStatistic::LastUpdate(seconds) => memory.last_update_s = Some(seconds),
            MemoryStatistic::DiskCaches(kib) => memory.disk_caches_kib = Some(kib),
            MemoryStatistic::Unused(kib) => memory.unused_kib = Some(kib),
            MemoryStatistic::HugetlbPgalloc(count) => memory.hugetlb_pgalloc = Some(count),
            MemoryStatistic::HugetlbPgfail(count) => memory.hugetlb_pgfail = Some(count),
        }
    }
}

fn note_none(sample: &mut Domain, group: Group) {
    sample.without_devices = sample.without_devices.or(group.into());
}

/// libvirt's -1 means not offered.
fn offered(value: i64) -> Option<u64> {
    u64::try_from(value).ok()
}

fn nic(guest: &HostGuest, target: &str) -> (Nic, Option<String>) {
    let name = target.into();
    match guest.nic_counters(target) {
        Ok(counters) => {
            let nic = Nic {
                name,
                rx_bytes: offered(counters.rx_bytes),
                rx_packets: offered(counters.rx_packets),
                rx_errors: offered(counters.rx_errors),
                rx_drops: offered(counters.rx_drops),
                tx_bytes: offered(counters.tx_bytes),
                tx_packets: offered(counters.tx_packets),
                tx_errors: offered(counters.tx_errors),
                tx_drops: offered(counters.tx_drops),
                ..Nic::default()
            };
            (nic, None)
        }
        Err(error) => (Nic { name, ..Nic::default() }, Some(error.to_string())),
    }
}

fn disk(guest: &HostGuest, target: &str) -> (Disk, Option<String>) {
    let name = target.into();
    match guest.block_counters(target) {
        Ok(counters) => {
            let disk = Disk {
                name,
                rd_reqs: offered(counters.rd_reqs),
                rd_bytes: offered(counters.rd_bytes),
                wr_reqs: offered(counters.wr_reqs),
                wr_bytes: offered(counters.wr_bytes),
                errors: offered(counters.errors),
                ..Disk::default()
            };
            (disk, None)
        }
        Err(error) => (Disk { name, ..Disk::default() }, Some(error.to_string())),
    }
}
