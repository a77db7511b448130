//! The parts of a guest that every collection prints something of: its CPU time, virtual CPUs, memory,
//! NICs and disks. A field that is printed only when `extra` asks for it is not kept on disk.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::{Indexed, set_name, truth, unsigned};
use crate::libvirt::{Parameter, Value};

/// The group cpu: nanoseconds since the guest's start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cpu {
    /// cpu.time
    pub time_ns: Option<u64>,
    /// cpu.user
    pub user_ns: Option<u64>,
    /// cpu.system
    pub system_ns: Option<u64>,
    /// cpu.haltpoll.success.time: time that KVM polled for work before it let a halted vCPU sleep, and
    /// some came.
    #[serde(skip)]
    pub haltpoll_success_ns: Option<u64>,
    /// cpu.haltpoll.fail.time: the same, and none came.
    #[serde(skip)]
    pub haltpoll_fail_ns: Option<u64>,
}

impl Cpu {
    pub(super) fn fill(&mut self, field: &[u8], value: Value<'_>) -> bool {
        match field {
            b"time" => self.time_ns = unsigned(value),
            b"user" => self.user_ns = unsigned(value),
            b"system" => self.system_ns = unsigned(value),
            b"haltpoll.success.time" => self.haltpoll_success_ns = unsigned(value),
            b"haltpoll.fail.time" => self.haltpoll_fail_ns = unsigned(value),
            _ => return false,
        }
        true
    }
}

/// The group vcpu, for one virtual CPU.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Vcpu {
    /// Its number N in vcpu.N.
    pub index: u32,
    /// vcpu.N.state: virVcpuState.
    #[serde(skip)]
    pub state: Option<u64>,
    /// vcpu.N.time: CPU time it has used.
    #[serde(skip)]
    pub time_ns: Option<u64>,
    /// vcpu.N.wait: time it waited for input or output, where the kernel counts that.
    #[serde(skip)]
    pub wait_ns: Option<u64>,
    /// vcpu.N.halted: whether the guest has nothing for it to do.
    #[serde(skip)]
    pub halted: Option<bool>,
    /// vcpu.N.delay: time it was ready to run and waited for a host CPU.
    pub delay_ns: Option<u64>,
}

impl Indexed for Vcpu {
    fn fill(&mut self, field: &[u8], value: Value<'_>) -> bool {
        match field {
            b"delay" => self.delay_ns = unsigned(value),
            b"state" => self.state = unsigned(value),
            b"time" => self.time_ns = unsigned(value),
            b"wait" => self.wait_ns = unsigned(value),
            b"halted" => self.halted = truth(value),
            _ => return false,
        }
        true
    }
}

/// The group balloon.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// balloon.current
    pub current_kib: Option<u64>,
    /// balloon.maximum
    pub maximum_kib: Option<u64>,
    /// balloon.rss: what the hypervisor's process holds in the host's memory.
    pub rss_kib: Option<u64>,
    /// balloon.available: the guest's MemTotal.
    pub available_kib: Option<u64>,
    /// balloon.usable: the guest's MemAvailable.
    pub usable_kib: Option<u64>,
    /// balloon.disk_caches
    pub disk_caches_kib: Option<u64>,
    /// balloon.swap_in
    pub swap_in_kib: Option<u64>,
    /// balloon.swap_out
    pub swap_out_kib: Option<u64>,
    /// balloon.major_fault
    pub major_faults: Option<u64>,
    /// balloon.minor_fault
    pub minor_faults: Option<u64>,
    /// balloon.last-update: Unix seconds; 0 when the guest never reported.
    pub last_update_s: Option<u64>,
    /// balloon.unused: the guest's MemFree.
    #[serde(skip)]
    pub unused_kib: Option<u64>,
    /// balloon.hugetlb_pgalloc: huge pages that the guest allocated, a count.
    #[serde(skip)]
    pub hugetlb_pgalloc: Option<u64>,
    /// balloon.hugetlb_pgfail: huge pages that it could not, a count.
    #[serde(skip)]
    pub hugetlb_pgfail: Option<u64>,
}

impl Memory {
    pub(super) fn fill(&mut self, field: &[u8], value: Value<'_>) -> bool {
        let target = match field {
            b"current" => &mut self.current_kib,
            b"maximum" => &mut self.maximum_kib,
            b"rss" => &mut self.rss_kib,
            b"available" => &mut self.available_kib,
            b"usable" => &mut self.usable_kib,
            b"disk_caches" => &mut self.disk_caches_kib,
            b"swap_in" => &mut self.swap_in_kib,
            b"swap_out" => &mut self.swap_out_kib,
            b"major_fault" => &mut self.major_faults,
            b"minor_fault" => &mut self.minor_faults,
            b"last-update" => &mut self.last_update_s,
            b"unused" => &mut self.unused_kib,
            b"hugetlb_pgalloc" => &mut self.hugetlb_pgalloc,
            b"hugetlb_pgfail" => &mut self.hugetlb_pgfail,
            _ => return false,
        };
        *target = unsigned(value);
        true
    }
}

/// The group interface, for one NIC: counters as the guest sees them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Nic {
    /// Its number N in net.N.
    pub index: u32,
    /// net.N.name: its target on the host, such as vnet0.
    pub name: SmolStr,
    /// net.N.rx.bytes
    pub rx_bytes: Option<u64>,
    /// net.N.rx.pkts
    pub rx_packets: Option<u64>,
    /// net.N.rx.errs
    pub rx_errors: Option<u64>,
    /// net.N.rx.drop
    pub rx_drops: Option<u64>,
    /// net.N.tx.bytes
    pub tx_bytes: Option<u64>,
    /// net.N.tx.pkts
    pub tx_packets: Option<u64>,
    /// net.N.tx.errs
    pub tx_errors: Option<u64>,
    /// net.N.tx.drop
    pub tx_drops: Option<u64>,
}

impl Indexed for Nic {
    fn fill(&mut self, field: &[u8], value: Value<'_>) -> bool {
        let target = match field {
            b"rx.bytes" => &mut self.rx_bytes,
            b"rx.pkts" => &mut self.rx_packets,
            b"rx.errs" => &mut self.rx_errors,
            b"rx.drop" => &mut self.rx_drops,
            b"tx.bytes" => &mut self.tx_bytes,
            b"tx.pkts" => &mut self.tx_packets,
            b"tx.errs" => &mut self.tx_errors,
            b"tx.drop" => &mut self.tx_drops,
            b"name" => {
                set_name(&mut self.name, value);
                return true;
            }
            _ => return false,
        };
        *target = unsigned(value);
        true
    }
}

impl Nic {
    /// Whether libvirt sent any counter for it.
    pub fn is_counted(&self) -> bool {
        [
            self.rx_bytes,
            self.rx_packets,
            self.rx_errors,
            self.rx_drops,
            self.tx_bytes,
            self.tx_packets,
            self.tx_errors,
            self.tx_drops,
        ]
        .iter()
        .any(Option::is_some)
    }
}

/// The group block, for one device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Disk {
    /// Its number N in block.N.
    pub index: u32,
    /// block.N.name: its target, such as vda.
    pub name: SmolStr,
    /// block.N.rd.reqs
    pub rd_reqs: Option<u64>,
    /// block.N.rd.bytes
    pub rd_bytes: Option<u64>,
    /// block.N.rd.times
    pub rd_time_ns: Option<u64>,
    /// block.N.wr.reqs
    pub wr_reqs: Option<u64>,
    /// block.N.wr.bytes
    pub wr_bytes: Option<u64>,
    /// block.N.wr.times
    pub wr_time_ns: Option<u64>,
    /// block.N.fl.reqs
    pub fl_reqs: Option<u64>,
    /// block.N.fl.times
    pub fl_time_ns: Option<u64>,
    /// block.N.errors, which only Xen counts.
    pub errors: Option<u64>,
    /// block.N.allocation: the highest offset that was written.
    #[serde(skip)]
    pub allocation_bytes: Option<u64>,
    /// block.N.capacity: the size that the guest sees.
    #[serde(skip)]
    pub capacity_bytes: Option<u64>,
    /// block.N.physical: the size of what it is stored in.
    #[serde(skip)]
    pub physical_bytes: Option<u64>,
    /// block.N.threshold: the offset at which libvirt raises an event.
    #[serde(skip)]
    pub threshold_bytes: Option<u64>,
}

impl Indexed for Disk {
    fn fill(&mut self, field: &[u8], value: Value<'_>) -> bool {
        let target = match field {
            b"rd.reqs" => &mut self.rd_reqs,
            b"rd.bytes" => &mut self.rd_bytes,
            b"rd.times" => &mut self.rd_time_ns,
            b"wr.reqs" => &mut self.wr_reqs,
            b"wr.bytes" => &mut self.wr_bytes,
            b"wr.times" => &mut self.wr_time_ns,
            b"fl.reqs" => &mut self.fl_reqs,
            b"fl.times" => &mut self.fl_time_ns,
            b"errors" => &mut self.errors,
            b"name" => {
                set_name(&mut self.name, value);
                return true;
            }
            b"allocation" => &mut self.allocation_bytes,
            b"capacity" => &mut self.capacity_bytes,
            b"physical" => &mut self.physical_bytes,
            b"threshold" => &mut self.threshold_bytes,
            b"path" | b"backingIndex" => return true,
            _ => return false,
        };
        *target = unsigned(value);
        true
    }
}

impl Disk {
    /// Takes in a statistic of virDomainBlockStatsFlags that the bulk call has under another name, and
    /// the older call not at all.
    pub fn fill_times(&mut self, Parameter { name, value }: Parameter<'_>) {
        let target = match name {
            b"rd_total_times" => &mut self.rd_time_ns,
            b"wr_total_times" => &mut self.wr_time_ns,
            b"flush_operations" => &mut self.fl_reqs,
            b"flush_total_times" => &mut self.fl_time_ns,
            _ => return,
        };
        *target = unsigned(value);
    }

    /// Whether libvirt sent any counter for it.
    pub fn is_counted(&self) -> bool {
        [self.rd_reqs, self.rd_bytes, self.wr_reqs, self.wr_bytes, self.errors]
            .iter()
            .any(Option::is_some)
    }
}
