//! The names that `extra` may hold: measurements and fields that are there only when asked for, and what is
//! asked of libvirt for each.

use crate::libvirt::{Group, Groups};

/// A call for one guest, which costs a round trip of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestCall {
    /// virDomainGetState
    State,
    /// virDomainGetVcpus
    Vcpus,
    /// virDomainBlockStatsFlags, for each disk.
    DiskTimes,
    /// virDomainGetJobStats
    Job,
    /// virDomainIsPersistent and virDomainGetAutostart, when the domain's XML is read.
    Definition,
    /// virDomainGetBlockJobInfo, for each disk.
    BlockJobs,
    /// virDomainGetDiskErrors
    DiskErrors,
    /// virDomainListGetStats, of the block group with backing images.
    Backing,
    /// virDomainSnapshotNum and the like, when the domain's XML is read.
    Snapshots,
}

/// What is asked of libvirt for a name, beyond what every collection asks.
#[derive(Clone, Copy, Debug)]
pub struct ExtraRow {
    /// Its name in the configuration.
    pub name: &'static str,
    /// What it adds, as the sample configuration says it.
    pub text: &'static str,
    /// Groups of the bulk call.
    pub groups: &'static [Group],
    /// Calls for one guest. One with a group is made only where the bulk call does not have that group.
    pub calls: &'static [(GuestCall, Option<Group>)],
    /// Whether it needs more of the domain's XML than the devices.
    pub needs_xml: bool,
    /// Whether it prints statistics that a default collection does not keep.
    pub keeps_more: bool,
    /// Its own measurement, behind vm_totals; empty where it adds fields to others.
    pub measurement: &'static str,
    /// What is asked of the host, in words; empty where only guests are asked.
    pub of_host: &'static str,
    /// What it costs for 60 guests, measured by benches/extras: calls, and milliseconds of the host's CPU.
    pub cost: (u32, u32),
    /// Whether it takes more than one collection: `once` does not print it.
    pub execd_only: bool,
    /// Tags that a line of this measurement may have beside the guest's.
    pub tags: &'static [&'static str],
}

impl ExtraRow {
    const NOTHING: Self = Self {
        name: "",
        text: "",
        groups: &[],
        calls: &[],
        needs_xml: false,
        keeps_more: false,
        measurement: "",
        of_host: "",
        cost: (0, 0),
        execd_only: false,
        tags: &[],
    };
}

macro_rules! extras {
    ($($extra:ident $name:literal $text:literal { $($asked:ident: $value:expr),* })+) => {
        /// A measurement, or a group of fields, that is there only when asked for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Extra {
            $(#[doc = $text] $extra,)+
        }

        impl Extra {
            /// Every one, in the order of the output.
            pub const ALL: [Self; EXTRAS.len()] = [$(Self::$extra),+];
        }

        /// A row for each name, in the order of the output.
        pub static EXTRAS: [ExtraRow; [$($name),+].len()] =
            [$(ExtraRow { name: $name, text: $text, $($asked: $value,)* ..ExtraRow::NOTHING }),+];
    };
}

extras! {
    StateReason "state-reason" "why a guest is in its state, such as paused because of ioerror"
        { calls: &[(GuestCall::State, Some(Group::State))] }
    CpuWaits "cpu-waits" "time that vCPUs waited for the host, and that KVM polled for them"
        { groups: &[Group::Cpu, Group::Vcpu] }
    MemoryDetails "memory-details" "free memory, huge pages, and when the guest reported them" {}
    Vcpus "vcpus" "one line per vCPU, with its host CPU and its affinity"
        { measurement: "vm_vcpus", tags: &["vcpu"], groups: &[Group::Vcpu], calls: &[(GuestCall::Vcpus, None)], needs_xml: true, cost: (60, 29) }
    DiskTimes "disk-times" "time of disk requests, and flushes"
        { calls: &[(GuestCall::DiskTimes, Some(Group::Block))] }
    DiskSpace "disk-space" "size of each disk, and the storage that it uses" {}
    Iothreads "iothreads" "one line per I/O thread"
        { measurement: "vm_iothreads", tags: &["iothread"], groups: &[Group::Iothread], keeps_more: true, cost: (0, 29) }
    Perf "perf" "events that the host's CPU counts (virsh perf turns them on)"
        { measurement: "vm_perf", groups: &[Group::Perf], keeps_more: true, cost: (0, 11) }
    DirtyRate "dirty-rate" "how fast a guest writes to memory (virsh domdirtyrate-calc)"
        { measurement: "vm_dirty_rate", tags: &["vcpu"], groups: &[Group::DirtyRate], keeps_more: true, cost: (0, 26) }
    MemoryBandwidth "memory-bandwidth" "resctrl monitors of memory controllers"
        { measurement: "vm_memory_bandwidth", tags: &["monitor", "node"], groups: &[Group::Memory], keeps_more: true, cost: (0, 14) }
    CpuCache "cpu-cache" "resctrl monitors of CPU caches"
        { measurement: "vm_cpu_cache", tags: &["monitor", "bank"], groups: &[Group::Cpu], keeps_more: true }
    Jobs "jobs" "migration, save or backup, while it runs; one more call per guest"
        { measurement: "vm_jobs", calls: &[(GuestCall::Job, None)], keeps_more: true, cost: (60, 2) }
    Limits "limits" "limits set for disks, NICs and the guest"
        { measurement: "vm_limits", tags: &["devtype", "device", "filter"], needs_xml: true }
    Numa "numa" "NUMA cells and nodes" { measurement: "vm_numa", tags: &["cell"], needs_xml: true }
    Info "info" "title, description, machine, architecture, autostart"
        { measurement: "vm_info", calls: &[(GuestCall::Definition, None)], needs_xml: true }
    Hypervisor "hypervisor" "KVM's own counters"
        { measurement: "vm_hypervisor", tags: &["vcpu"], groups: &[Group::Vcpu, Group::Vm], keeps_more: true, cost: (0, 44) }
    Collector "collector" "the collection itself: time, hung guests, cache hits"
        { measurement: "vm_collector", tags: &["uri"] }
    Other "other" "everything from libvirt that no other name covers"
        { measurement: "vm_other", tags: &["vcpu", "devtype", "device", "index"], groups: &[Group::Cpu, Group::Vcpu], keeps_more: true }
    Answer "answer" "whether each guest answered completely, or why not" {}
    Uptime "uptime" "time since each guest started; only QEMU on this machine" {}
    Host "host" "versions, CPU time, memory, huge pages, and totals of all guests"
        { measurement: "vm_host", tags: &["uri", "cell", "page_kib"], of_host: "about 12 calls, and 3 per NUMA cell", cost: (14, 0) }
    Pools "pools" "storage pools, and how full they are"
        { measurement: "vm_pools", tags: &["uri", "pool", "type"], of_host: "the list of pools, and 3 calls for each", cost: (6, 0) }
    BlockJobs "block-jobs" "copies, commits, pulls and backups of disks, while they run"
        { measurement: "vm_block_jobs", tags: &["devtype", "device"], calls: &[(GuestCall::BlockJobs, None)], keeps_more: true, cost: (180, 13) }
    DiskErrors "disk-errors" "why a disk's storage fails, such as no_space"
        { calls: &[(GuestCall::DiskErrors, None)], cost: (60, 47) }
    Backing "backing" "each image in the backing chains of disks"
        { measurement: "vm_backing", tags: &["device", "index"], calls: &[(GuestCall::Backing, None)], keeps_more: true, cost: (60, 127) }
    Snapshots "snapshots" "number and age of snapshots"
        { measurement: "vm_snapshots", calls: &[(GuestCall::Snapshots, None)], needs_xml: true }
    DiskLatency "disk-latency" "histograms of how long requests took (libvirt 12.1)"
        { measurement: "vm_disk_latency", tags: &["device", "op", "le", "interval_s"], keeps_more: true }
    Energy "energy" "energy used by guests, if the host measures it (libvirt 12.4)"
        { measurement: "vm_energy", tags: &["monitor", "package"], groups: &[Group::Cpu], keeps_more: true }
    Events "events" "events between two collections; execd only"
        { measurement: "vm_events", tags: &["uri", "event", "devtype", "device"], execd_only: true }
    Anomalies "anomalies" "a hint which guest behaves unlike its past; execd only"
        { measurement: "vm_anomalies", groups: &[Group::Vcpu], execd_only: true }
}

impl Extra {
    /// Its row.
    pub fn row(self) -> &'static ExtraRow {
        &EXTRAS[self as usize]
    }

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        self.row().name
    }
}

/// A set of [`Extra`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extras(u64);

impl Extras {
    /// The empty set.
    pub const NONE: Self = Self(0);

    /// Whether it is in the set.
    pub fn has(self, extra: Extra) -> bool {
        self.0 & (1 << extra as u8) != 0
    }

    /// Those of them that take more than one collection.
    pub fn execd_only(self) -> impl Iterator<Item = &'static str> {
        self.rows().filter(|row| row.execd_only).map(|row| row.name)
    }

    fn rows(self) -> impl Iterator<Item = &'static ExtraRow> {
        Extra::ALL.into_iter().filter(move |&extra| self.has(extra)).map(Extra::row)
    }
}

impl FromIterator<Extra> for Extras {
    fn from_iter<I: IntoIterator<Item = Extra>>(extras: I) -> Self {
        Self(extras.into_iter().fold(0, |bits, extra| bits | 1 << extra as u8))
    }
}

/// The groups of the bulk call that these need, beyond those of every collection.
pub fn groups(extras: Extras) -> Groups {
    extras.rows().flat_map(|row| row.groups).copied().collect()
}

/// Whether one of these needs more of the domain's XML than the devices.
pub fn needs_xml(extras: Extras) -> bool {
    extras.rows().any(|row| row.needs_xml)
}

/// Whether one of these prints statistics that a default collection does not keep.
pub fn keeps_more(extras: Extras) -> bool {
    extras.rows().any(|row| row.keeps_more)
}

/// The calls for one guest that these need, if the bulk call has no such groups.
pub fn calls(extras: Extras, lacks: impl Fn(Group) -> bool) -> impl Iterator<Item = GuestCall> {
    let calls = extras.rows().flat_map(|row| row.calls);
    calls.filter(move |(_, group)| group.is_none_or(&lacks)).map(|&(call, _)| call)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_it_was_made_of() {
        for (place, extra) in Extra::ALL.into_iter().enumerate() {
            assert_eq!(extra as usize, place);
            let set: Extras = [extra].into_iter().collect();
            let others = Extra::ALL.into_iter().filter(|&it| set.has(it));
            assert_eq!(others.collect::<Vec<_>>(), [extra]);
        }
    }

    #[test]
    fn what_is_asked_of_libvirt_follows_from_the_rows() {
        let set = |extras: &[Extra]| extras.iter().copied().collect::<Extras>();
        assert!(groups(Extras::NONE).is_empty());
        let some = set(&[Extra::Perf, Extra::Jobs, Extra::DiskTimes]);
        assert_eq!(groups(some), Group::Perf.into());
        assert_eq!(calls(some, |_| false).collect::<Vec<_>>(), [GuestCall::Job]);
        let lacking: Vec<_> = calls(some, |group| group == Group::Block).collect();
        assert_eq!(lacking, [GuestCall::DiskTimes, GuestCall::Job]);
        assert!(keeps_more(some) && !needs_xml(some));
        assert!(needs_xml(set(&[Extra::Info])) && !keeps_more(set(&[Extra::Info])));
        assert_eq!(calls(Extras::NONE, |_| true).count(), 0);
    }
}
