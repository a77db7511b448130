//! The rows of the host beside its guests, vm_host, and of its storage pools, vm_pools.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::line_protocol::{Lines, Tags};
use crate::sample::words;

use super::row::{is_absent, statistics};
use super::{Extra, Extras, FieldRow, MissingPolicy, Section};

statistics! {
    /// A host, as libvirt tells of it.
    #[serde(deny_unknown_fields)]
    #[derive(Eq)]
    HostFacts "" [] {
        Host serde(skip_serializing_if = "is_absent") {
            libvirt b"virConnectGetLibVersion" => "libvirt" text "" "the version of the daemon, such as 11.3.0";
            hypervisor b"virConnectGetVersion" => "hypervisor" text "" "its name and version, such as QEMU 10.0.8";
            cpu_model b"virConnectGetCapabilities: host/cpu/model" => "cpu_model" text "" "libvirt's name of the host's CPU, or else the architecture";
            cpus b"virNodeGetInfo: cpus" => "cpus" gauge "CPUs" "CPUs that are online";
            cpu_mhz b"virNodeGetInfo: mhz" => "cpu_mhz" gauge "MHz" "clock rate";
            cpu_user_ns b"virNodeGetCPUStats: user" => "cpu_user_ns" counter "ns" "all CPUs, in user mode; guests included";
            cpu_system_ns b"virNodeGetCPUStats: kernel" => "cpu_system_ns" counter "ns" "all CPUs, in the kernel";
            cpu_idle_ns b"virNodeGetCPUStats: idle" => "cpu_idle_ns" counter "ns" "all CPUs, idle";
            cpu_iowait_ns b"virNodeGetCPUStats: iowait" => "cpu_iowait_ns" counter "ns" "all CPUs, waiting for storage";
            memory_total_kib b"virNodeGetMemoryStats: total" => "memory_total_kib" gauge "KiB" "the host's memory";
            memory_free_kib b"virNodeGetMemoryStats: free" => "memory_free_kib" gauge "KiB" "free";
            memory_buffers_kib b"virNodeGetMemoryStats: buffers" => "memory_buffers_kib" gauge "KiB" "used for buffers of block devices";
            memory_cached_kib b"virNodeGetMemoryStats: cached" => "memory_cached_kib" gauge "KiB" "used to cache files";
            memory_available_kib b"virNodeGetMemoryStats: available" => "memory_available_kib" gauge "KiB" "memory available without swapping, estimated by Linux; libvirt 12.3";
            guests_running b"state.state, counted" => "guests_running" gauge "guests" "running guests; of those that are read";
            guests_other b"state.state, the others counted" => "guests_other" gauge "guests" "guests that are active in another state, such as paused; of those that are read";
            guests_vcpus b"vcpu.current, summed" => "guests_vcpus" gauge "vCPUs" "vCPUs of all active guests that are read; more than cpus is an overcommit";
            guests_memory_kib b"balloon.current, summed" => "guests_memory_kib" gauge "KiB" "memory given to them in total";
            ksm_pages_shared b"virNodeGetMemoryParameters: shm_pages_shared" => "ksm_pages_shared" gauge "pages" "memory pages that the kernel shares between guests (KSM)";
            ksm_pages_sharing b"virNodeGetMemoryParameters: shm_pages_sharing" => "ksm_pages_sharing" gauge "pages" "pages that guests use of them: the difference is saved";
        }
    }
}

statistics! {
    /// A NUMA cell of the host.
    #[serde(deny_unknown_fields)]
    #[derive(Eq)]
    HostCell "" [
        /// Its number.
        cell: u32,
    ] {
        Host serde(skip_serializing_if = "is_absent") {
            memory_total_kib b"virNodeGetMemoryStats: total" => "memory_total_kib" gauge "KiB" "of a cell: its memory";
            memory_free_kib b"virNodeGetMemoryStats: free" => "memory_free_kib" gauge "KiB" "of a cell: free";
            cpuset b"virConnectGetCapabilities: host/topology/cells/cell/cpus" => "cpuset" text "CPUs" "of a cell: its CPUs, such as 0-15";
        }
    }
}

statistics! {
    /// The huge pages of one size in a NUMA cell of the host.
    #[serde(deny_unknown_fields)]
    #[derive(Eq)]
    HostPages "" [
        /// The number of the cell.
        cell: u32,
        /// Their size.
        page_kib: u32,
    ] {
        Host serde(skip_serializing_if = "is_absent") {
            total b"virConnectGetCapabilities: host/topology/cells/cell/pages" => "pages_total" gauge "pages" "huge pages of this size";
            free b"virNodeGetFreePages" => "pages_free" gauge "pages" "free pages";
        }
    }
}

statistics! {
    /// What libvirt says of a storage pool.
    #[serde(deny_unknown_fields)]
    #[derive(Eq)]
    PoolFacts "" [] {
        Pools serde(skip_serializing_if = "is_absent") {
            capacity_bytes b"virStoragePoolGetInfo: capacity" => "capacity_bytes" gauge "bytes" "size; unknown for a pool that is off";
            allocation_bytes b"virStoragePoolGetInfo: allocation" => "allocation_bytes" gauge "bytes" "space used by its volumes";
            available_bytes b"virStoragePoolGetInfo: available" => "available_bytes" gauge "bytes" "free space";
            persistent b"virStoragePoolIsPersistent" => "persistent" flag "" "whether it stays defined when it stops";
            autostart b"virStoragePoolGetAutostart" => "autostart" flag "" "whether it starts with its host";
        }
    }
}

/// The state of a pool, a word.
const POOL_STATE: FieldRow = PoolFacts::capacity_bytes.word(
    "state",
    b"virStoragePoolGetInfo: state",
    "inactive, building, running, degraded or inaccessible",
);

/// The rows of both measurements.
pub(super) const HOST: &[&[Section]] = &[
    HostFacts::SECTIONS,
    HostCell::SECTIONS,
    HostPages::SECTIONS,
    &[Section::of(Extra::Pools, &[POOL_STATE])],
    PoolFacts::SECTIONS,
];

/// A host at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HostReading {
    /// The whole of it.
    pub facts: HostFacts,
    /// Its NUMA cells.
    #[serde(skip_serializing_if = "is_absent")]
    pub cells: Vec<HostCell>,
    /// Its huge pages.
    #[serde(skip_serializing_if = "is_absent")]
    pub pages: Vec<HostPages>,
}

/// A storage pool at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PoolReading {
    /// Its name.
    pub name: String,
    /// Its type, such as dir.
    pub kind: SmolStr,
    /// virStoragePoolState
    pub state: i64,
    /// The rest.
    pub facts: PoolFacts,
}

/// What all active guests have together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GuestsOfHost {
    /// Guests that are running.
    pub running: u64,
    /// Active guests in another state.
    pub other: u64,
    /// Their virtual CPUs; `None` where those of one are not known.
    pub vcpus: Option<u64>,
    /// The memory that they have been given, KiB; the same.
    pub memory_kib: Option<u64>,
}

impl HostReading {
    /// Takes in what the guests have.
    pub fn set_guests(&mut self, guests: &GuestsOfHost) {
        let facts = &mut self.facts;
        facts.guests_running = Some(guests.running);
        facts.guests_other = Some(guests.other);
        facts.guests_vcpus = guests.vcpus;
        facts.guests_memory_kib = guests.memory_kib;
    }
}

/// Writes the lines of the host of the hypervisor with this URI.
pub fn write_host(lines: &mut Lines, uri: &str, user: &Tags, host: &HostReading) {
    let (omit, extras) = (MissingPolicy::OMIT, Extras::from_iter([Extra::Host]));
    let mut own = Tags::default();
    own.add("uri", uri);
    lines.line("vm_host", &[&own, user], |fields| host.facts.write(fields, omit, extras));
    for cell in &host.cells {
        let mut own = own.clone();
        own.add_number("cell", cell.cell.into());
        lines.line("vm_host", &[&own, user], |fields| cell.write(fields, omit, extras));
    }
    for pages in &host.pages {
        let mut own = own.clone();
        own.add_number("cell", pages.cell.into());
        own.add_number("page_kib", pages.page_kib.into());
        lines.line("vm_host", &[&own, user], |fields| pages.write(fields, omit, extras));
    }
}

/// Writes the lines of the storage pools of the hypervisor with this URI.
pub fn write_pools(lines: &mut Lines, uri: &str, user: &Tags, pools: &[PoolReading]) {
    let (omit, extras) = (MissingPolicy::OMIT, Extras::from_iter([Extra::Pools]));
    for pool in pools {
        let mut own = Tags::default();
        own.add("uri", uri);
        own.add("pool", &pool.name);
        own.add("type", &pool.kind);
        lines.line("vm_pools", &[&own, user], |fields| {
            fields.text(POOL_STATE.name, words::pool_state(pool.state));
            pool.facts.write(fields, omit, extras);
        });
    }
}
