//! The rows of what the domain's XML says and only `extra` prints. It is kept with the cached device list.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::FieldRow;
use super::row::{is_absent, statistics};
use crate::libvirt::Snapshots;

statistics! {
    /// What the domain's XML says that only `extra` prints. What it does not say is absent.
    #[serde(deny_unknown_fields)]
    #[derive(Eq)]
    Details "/domain/" [
        /// Whether libvirt was asked for what is not in the XML: `persistent` and `autostart`.
        asked_beside: bool,
        /// The host CPUs that virtual CPUs are pinned to.
        #[serde(skip_serializing_if = "is_absent")]
        pins: Vec<Pin>,
        /// The NUMA cells that the guest sees.
        #[serde(skip_serializing_if = "is_absent")]
        cells: Vec<Cell>,
        /// The nodes of the host that cells are bound to.
        #[serde(skip_serializing_if = "is_absent")]
        nodes_of_cells: Vec<NodesOfCell>,
        /// NICs whose `<bandwidth>` sets something, in the XML's order.
        #[serde(skip_serializing_if = "is_absent")]
        nic_limits: Vec<NicLimits>,
        /// Disks whose `<iotune>` sets something, in the XML's order.
        #[serde(skip_serializing_if = "is_absent")]
        disk_limits: Vec<DiskLimits>,
        /// Limits that disks share, by name, in the XML's order.
        #[serde(skip_serializing_if = "is_absent")]
        throttle_groups: Vec<DiskLimits>,
        /// Its snapshots, where libvirt was asked for them.
        #[serde(skip_serializing_if = "is_absent")]
        snapshots: Option<Snapshots>,
    ] {
        always serde(skip_serializing_if = "is_absent") {
            cpuset b"vcpu/@cpuset" text "" "host CPUs of each vCPU without a pin of its own";
        }
        Limits serde(skip_serializing_if = "is_absent") {
            cpu_shares b"cputune/shares" => "cpu_shares" gauge "" "weight of its CPU time relative to other guests";
            cpu_period_us b"cputune/period" => "cpu_period_us" gauge "us" "period of the quota of each vCPU";
            cpu_quota_us b"cputune/quota" => "cpu_quota_us" gauge "us" "CPU time of each vCPU in a period; omitted if unlimited";
            global_period_us b"cputune/global_period" => "global_period_us" gauge "us" "period of the quota of the whole guest";
            global_quota_us b"cputune/global_quota" => "global_quota_us" gauge "us" "CPU time of the whole guest in a period";
            emulator_period_us b"cputune/emulator_period" => "emulator_period_us" gauge "us" "period of the quota of QEMU's own threads";
            emulator_quota_us b"cputune/emulator_quota" => "emulator_quota_us" gauge "us" "CPU time of QEMU's own threads in a period";
            iothread_period_us b"cputune/iothread_period" => "iothread_period_us" gauge "us" "period of the quota of each I/O thread";
            iothread_quota_us b"cputune/iothread_quota" => "iothread_quota_us" gauge "us" "CPU time of each I/O thread in a period";
            memory_hard_kib b"memtune/hard_limit" => "memory_hard_kib" gauge "KiB" "maximum memory of QEMU";
            memory_soft_kib b"memtune/soft_limit" => "memory_soft_kib" gauge "KiB" "the same while the host has little memory";
            swap_hard_kib b"memtune/swap_hard_limit" => "swap_hard_kib" gauge "KiB" "memory and swap together";
            blkio_weight b"blkiotune/weight" => "blkio_weight" gauge "" "weight of its disk requests relative to other guests";
        }
        Numa serde(skip_serializing_if = "is_absent") {
            numa_nodeset b"numatune/memory/@nodeset" => "nodeset" text "" "nodes of the host";
            numa_mode b"numatune/memory/@mode" => "mode" text "" "such as strict";
        }
        Info serde(skip_serializing_if = "is_absent") {
            title b"title" => "title" text "" "title of the guest";
            os_type b"os/type" => "os_type" text "" "such as hvm";
            machine b"os/type/@machine" => "machine" text "" "such as pc-q35-7.2";
            arch b"os/type/@arch" => "arch" text "" "such as x86_64";
            persistent b"virDomainIsPersistent" => "persistent" flag "" "whether it stays defined when it stops";
            autostart b"virDomainGetAutostart" => "autostart" flag "" "whether it starts with its host";
            description b"description" => "description" text "" "description of the guest";
        }
    }
}

impl Details {
    /// The nodes of the host that a cell is bound to.
    pub fn nodes_of(&self, cell: u32) -> Option<&NodesOfCell> {
        self.nodes_of_cells.iter().find(|it| it.cell == cell)
    }

    /// The host CPUs that a virtual CPU may run on; empty where that is not set.
    pub fn cpuset_of(&self, vcpu: u32) -> &str {
        let pin = self.pins.iter().find(|pin| pin.vcpu == vcpu);
        pin.map_or(&self.cpuset, |pin| &pin.cpuset)
    }
}

/// The host CPUs that one virtual CPU is pinned to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// Its number.
    pub vcpu: u32,
    /// The host CPUs, such as `0-3`.
    pub cpuset: SmolStr,
}

statistics! {
    /// A NUMA cell that the guest sees.
    #[derive(Eq)]
    Cell "/domain/cpu/numa/cell/" [
        /// Its number.
        id: u32,
    ] {
        Numa serde(default) {
            memory_kib b"@memory" => "memory_kib" gauge "KiB" "memory of the cell";
            cpus b"@cpus" => "cpus" text "vCPUs" "vCPUs of the cell, such as 0-1";
        }
    }
}

statistics! {
    /// The nodes of the host that the memory of a cell is bound to.
    #[derive(Eq)]
    NodesOfCell "/domain/numatune/memnode/" [
        /// The number of the cell.
        cell: u32,
    ] {
        Numa serde(default) {
            nodes b"@nodeset" => "host_nodes" text "" "nodes of the host that the cell's memory is bound to";
            mode b"@mode" => "mode" text "" "how it is bound, such as strict";
        }
    }
}

/// How many NUMA cells the guest sees.
pub(super) const CELLS: FieldRow = FieldRow {
    name: "cells",
    unit: "cells",
    group: "",
    statistic: b"/domain/cpu/numa/cell",
    text: "cells that the guest sees",
    ..Cell::memory_kib
};

statistics! {
    /// The quality of service that is set for a NIC; kB are 1000 bytes.
    #[derive(Eq)]
    NicLimits "/domain/devices/interface/" [
        /// Its name on the host.
        target: String,
    ] {
        Limits serde(default) {
            inbound_average_kb_s b"bandwidth/inbound/@average" => "inbound_average_kb_sec" gauge "1000 bytes/s" "average rate of receiving";
            inbound_peak_kb_s b"bandwidth/inbound/@peak" => "inbound_peak_kb_sec" gauge "1000 bytes/s" "peak rate of receiving";
            inbound_floor_kb_s b"bandwidth/inbound/@floor" => "inbound_floor_kb_sec" gauge "1000 bytes/s" "guaranteed rate";
            inbound_burst_kib b"bandwidth/inbound/@burst" => "inbound_burst_kib" gauge "KiB" "amount that may be received at peak speed";
            outbound_average_kb_s b"bandwidth/outbound/@average" => "outbound_average_kb_sec" gauge "1000 bytes/s" "average rate of sending";
            outbound_peak_kb_s b"bandwidth/outbound/@peak" => "outbound_peak_kb_sec" gauge "1000 bytes/s" "peak rate of sending";
            outbound_burst_kib b"bandwidth/outbound/@burst" => "outbound_burst_kib" gauge "KiB" "amount that may be sent at peak speed";
        }
    }
}

statistics! {
    /// The quality of service that is set for a disk, or for a group of disks.
    #[derive(Eq)]
    DiskLimits "/domain/devices/disk/" [
        /// Its target, such as vda; of a group its name.
        target: String,
        /// The throttle groups that its requests go through.
        #[serde(skip_serializing_if = "is_absent")]
        filters: Vec<String>,
    ] {
        Limits serde(skip_serializing_if = "is_absent") {
            total_bytes_sec b"iotune/total_bytes_sec" => "total_bytes_sec" gauge "bytes/s" "reads and writes together";
            read_bytes_sec b"iotune/read_bytes_sec" => "read_bytes_sec" gauge "bytes/s" "reads";
            write_bytes_sec b"iotune/write_bytes_sec" => "write_bytes_sec" gauge "bytes/s" "writes";
            total_iops_sec b"iotune/total_iops_sec" => "total_iops_sec" gauge "requests/s" "reads and writes together";
            read_iops_sec b"iotune/read_iops_sec" => "read_iops_sec" gauge "requests/s" "reads";
            write_iops_sec b"iotune/write_iops_sec" => "write_iops_sec" gauge "requests/s" "writes";
            total_bytes_sec_max b"iotune/total_bytes_sec_max" => "total_bytes_sec_max" gauge "bytes/s" "reads and writes together, for a short time";
            total_bytes_sec_max_length_s b"iotune/total_bytes_sec_max_length" => "total_bytes_sec_max_length_sec" gauge "s" "how long that is allowed";
            read_bytes_sec_max b"iotune/read_bytes_sec_max" => "read_bytes_sec_max" gauge "bytes/s" "reads, for a short time";
            read_bytes_sec_max_length_s b"iotune/read_bytes_sec_max_length" => "read_bytes_sec_max_length_sec" gauge "s" "how long that is allowed";
            write_bytes_sec_max b"iotune/write_bytes_sec_max" => "write_bytes_sec_max" gauge "bytes/s" "writes, for a short time";
            write_bytes_sec_max_length_s b"iotune/write_bytes_sec_max_length" => "write_bytes_sec_max_length_sec" gauge "s" "how long that is allowed";
            total_iops_sec_max b"iotune/total_iops_sec_max" => "total_iops_sec_max" gauge "requests/s" "reads and writes together, for a short time";
            total_iops_sec_max_length_s b"iotune/total_iops_sec_max_length" => "total_iops_sec_max_length_sec" gauge "s" "how long that is allowed";
            read_iops_sec_max b"iotune/read_iops_sec_max" => "read_iops_sec_max" gauge "requests/s" "reads, for a short time";
            read_iops_sec_max_length_s b"iotune/read_iops_sec_max_length" => "read_iops_sec_max_length_sec" gauge "s" "how long that is allowed";
            write_iops_sec_max b"iotune/write_iops_sec_max" => "write_iops_sec_max" gauge "requests/s" "writes, for a short time";
            write_iops_sec_max_length_s b"iotune/write_iops_sec_max_length" => "write_iops_sec_max_length_sec" gauge "s" "how long that is allowed";
            size_iops_sec b"iotune/size_iops_sec" => "size_iops_sec" gauge "bytes" "a larger request counts as several";
            group b"iotune/group_name" => "group" text "" "the disks that share these limits";
        }
    }
}

impl DiskLimits {
    /// Whether any limit is set for it alone, beside the groups.
    pub fn has_own(&self) -> bool {
        let only_names =
            Self { target: self.target.clone(), filters: self.filters.clone(), ..Self::default() };
        *self != only_names
    }
}
