//! What is printed only when `extra` asks for it, and comes in groups of its own, or in numbers that a
//! default collection has no use for. None of it is kept on disk, and no rate is made of it.

use smol_str::SmolStr;

use super::{Indexed, fill_indexed, set_name, signed, split_index, unsigned};
use crate::libvirt::{OwnedValue, Parameter, Value};

/// The statistics of one guest that only `extra` prints.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct More {
    /// Whether statistics that nobody here knows are kept in `other`.
    pub keeps_other: bool,
    /// The group iothread.
    pub iothreads: Vec<Iothread>,
    /// perf.X, by its X.
    pub perf: Vec<(SmolStr, OwnedValue)>,
    /// The group dirtyrate.
    pub dirty_rate: DirtyRate,
    /// memory.bandwidth.monitor.N
    pub bandwidth_monitors: Vec<Monitor>,
    /// cpu.cache.monitor.N
    pub cache_monitors: Vec<Monitor>,
    /// What KVM itself counts: vm.X and vcpu.N.X.
    pub hypervisor: Vec<HypervisorStatistic>,
    /// The job that runs.
    pub job: Option<Job>,
    /// Statistics that nobody here knows, in libvirt's order, by their whole name.
    pub other: Vec<(SmolStr, OwnedValue)>,
}

impl More {
    /// Keeps a statistic that nobody knows, where that is wanted.
    pub(super) fn keep_other(&mut self, name: &[u8], value: Value<'_>) {
        if self.keeps_other {
            self.other.push((text(name), value.into()));
        }
    }
}

/// Takes in a statistic of a group that a default collection does not print; whether it is known,
/// which it may be without being kept.
pub(super) fn take(more: &mut Option<Box<More>>, name: &[u8], value: Value<'_>) -> bool {
    if let Some(field) = name.strip_prefix(b"iothread.") {
        fill_in(more, |more| &mut more.iothreads, field, value)
    } else if let Some(field) = name.strip_prefix(b"perf.") {
        if let (Some(more), Some(count)) = (more, unsigned(value)) {
            more.perf.push((text(field), OwnedValue::Uint(count)));
        }
        true
    } else if let Some(field) = name.strip_prefix(b"dirtyrate.") {
        match more {
            Some(more) => more.dirty_rate.fill(field, value),
            None => DirtyRate::default().fill(field, value),
        }
    } else if let Some(field) = name.strip_prefix(b"memory.bandwidth.monitor.") {
        fill_in(more, |more| &mut more.bandwidth_monitors, field, value)
    } else if let Some(field) = name.strip_prefix(b"cpu.cache.monitor.") {
        fill_in(more, |more| &mut more.cache_monitors, field, value)
    } else if let Some(field) = name.strip_prefix(b"vm.") {
        if let Some(more) = more {
            let statistic =
                HypervisorStatistic { vcpu: None, name: text(field), value: value.into() };
            more.hypervisor.push(statistic);
        }
        true
    } else {
        false
    }
}

/// Fills a part in one of the lists; where nothing is kept, only to say whether it is known.
fn fill_in<T: Indexed>(
    more: &mut Option<Box<More>>,
    list: fn(&mut More) -> &mut Vec<T>,
    field: &[u8],
    value: Value<'_>,
) -> bool {
    match more {
        Some(more) => fill_indexed(list(more), field, value),
        None => fill_indexed::<T>(&mut Vec::new(), field, value),
    }
}

/// Takes in what KVM counts of one virtual CPU, such as `0.halt_exits.sum`; whether it is that.
pub(super) fn take_of_vcpu(more: &mut Option<Box<More>>, field: &[u8], value: Value<'_>) -> bool {
    let Some((vcpu, name)) = split_index(field) else { return false };
    // <https://libvirt.org/html/libvirt-libvirt-domain.html#VIR_DOMAIN_STATS_CUSTOM_SUFFIX_TYPE_CUR>
    if ![&b".cur"[..], b".sum", b".max"].iter().any(|&suffix| name.ends_with(suffix)) {
        return false;
    }
    if let Some(more) = more {
        let statistic =
            HypervisorStatistic { vcpu: Some(vcpu), name: text(name), value: value.into() };
        more.hypervisor.push(statistic);
    }
    true
}

fn text(bytes: &[u8]) -> SmolStr {
    String::from_utf8_lossy(bytes).into()
}

/// One I/O thread: how long QEMU polls in it before it sleeps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Iothread {
    /// Its number N in iothread.N.
    pub index: u32,
    /// iothread.N.poll-max-ns; 0 when it does not poll.
    pub poll_max_ns: Option<u64>,
    /// iothread.N.poll-grow
    pub poll_grow: Option<u64>,
    /// iothread.N.poll-shrink
    pub poll_shrink: Option<u64>,
}

impl Indexed for Iothread {
    fn fill(&mut self, field: &[u8], value: Value<'_>) -> bool {
        let target = match field {
            b"poll-max-ns" => &mut self.poll_max_ns,
            b"poll-grow" => &mut self.poll_grow,
            b"poll-shrink" => &mut self.poll_shrink,
            _ => return false,
        };
        *target = unsigned(value);
        true
    }
}

/// How fast the guest writes to its memory, where somebody had that measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DirtyRate {
    /// dirtyrate.calc_status: virDomainDirtyRateStatus.
    pub calc_status: Option<u64>,
    /// dirtyrate.calc_start_time: Unix seconds, or seconds since the host's start, as QEMU counts.
    pub calc_start_time_s: Option<u64>,
    /// dirtyrate.calc_period
    pub calc_period_s: Option<u64>,
    /// dirtyrate.megabytes_per_second, which are MiB.
    pub mib_per_s: Option<u64>,
    /// dirtyrate.calc_mode, such as page-sampling.
    pub calc_mode: SmolStr,
    /// dirtyrate.vcpu.N.megabytes_per_second
    pub vcpus: Vec<DirtyRateOfVcpu>,
}

impl DirtyRate {
    fn fill(&mut self, field: &[u8], value: Value<'_>) -> bool {
        let target = match field {
            b"calc_status" => &mut self.calc_status,
            b"calc_start_time" => &mut self.calc_start_time_s,
            b"calc_period" => &mut self.calc_period_s,
            b"megabytes_per_second" => &mut self.mib_per_s,
            b"calc_mode" => {
                set_name(&mut self.calc_mode, value);
                return true;
            }
            _ => {
                let Some(field) = field.strip_prefix(b"vcpu.") else { return false };
                return fill_indexed(&mut self.vcpus, field, value);
            }
        };
        *target = unsigned(value);
        true
    }
}

/// How fast one virtual CPU writes to memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DirtyRateOfVcpu {
    /// Its number N in dirtyrate.vcpu.N.
    pub index: u32,
    /// dirtyrate.vcpu.N.megabytes_per_second, which are MiB.
    pub mib_per_s: Option<u64>,
}

impl Indexed for DirtyRateOfVcpu {
    fn fill(&mut self, field: &[u8], value: Value<'_>) -> bool {
        let is_known = field == b"megabytes_per_second";
        if is_known {
            self.mib_per_s = unsigned(value);
        }
        is_known
    }
}

/// A resctrl monitor of the host's hardware, for some of the guest's virtual CPUs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Monitor {
    /// Its number N.
    pub index: u32,
    /// Its name.
    pub name: SmolStr,
    /// The virtual CPUs that it watches, such as `0-3`.
    pub vcpus: SmolStr,
    /// A memory node's, or a cache bank's part of it.
    pub parts: Vec<MonitorPart>,
}

impl Indexed for Monitor {
    fn fill(&mut self, field: &[u8], value: Value<'_>) -> bool {
        match field {
            b"name" => set_name(&mut self.name, value),
            b"vcpus" => set_name(&mut self.vcpus, value),
            _ => {
                let part = field.strip_prefix(b"node.").or_else(|| field.strip_prefix(b"bank."));
                return part.is_some_and(|part| fill_indexed(&mut self.parts, part, value));
            }
        }
        true
    }
}

/// What a monitor counts on one memory node, or in one cache bank.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MonitorPart {
    /// Its number M in the statistic's name.
    pub index: u32,
    /// The node's or the bank's id.
    pub id: Option<u64>,
    /// Bytes that lie in the cache bank now.
    pub bytes: Option<u64>,
    /// Bytes that went through the node's own memory controller.
    pub bytes_local: Option<u64>,
    /// Bytes that went through any memory controller.
    pub bytes_total: Option<u64>,
}

impl Indexed for MonitorPart {
    fn fill(&mut self, field: &[u8], value: Value<'_>) -> bool {
        let target = match field {
            b"id" => &mut self.id,
            b"bytes" => &mut self.bytes,
            b"bytes.local" => &mut self.bytes_local,
            b"bytes.total" => &mut self.bytes_total,
            _ => return false,
        };
        *target = unsigned(value);
        true
    }
}

/// A statistic that the hypervisor itself counts and names, KVM's above all.
#[derive(Clone, Debug, PartialEq)]
pub struct HypervisorStatistic {
    /// The virtual CPU that it is of; `None` where it is of the whole guest.
    pub vcpu: Option<u32>,
    /// Its name, such as `halt_exits.sum`.
    pub name: SmolStr,
    /// Its value.
    pub value: OwnedValue,
}

/// A job that runs in the guest: a migration, a save, a backup.
///
/// <https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainGetJobStats>
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Job {
    /// virDomainJobType
    pub kind: i64,
    /// operation: virDomainJobOperation
    pub operation: Option<i64>,
    /// time_elapsed
    pub elapsed_ms: Option<u64>,
    /// time_remaining
    pub remaining_ms: Option<u64>,
    /// data_total, data_processed, data_remaining
    pub data: Progress,
    /// memory_total, memory_processed, memory_remaining
    pub memory: Progress,
    /// disk_total, disk_processed, disk_remaining
    pub disk: Progress,
}

/// How much there is to do, in bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// In all.
    pub total_bytes: Option<u64>,
    /// Done.
    pub processed_bytes: Option<u64>,
    /// Left.
    pub remaining_bytes: Option<u64>,
}

impl Job {
    /// Reads a job's typed parameters; `None` where no job runs: where there is none, or it has ended
    /// and libvirt has not yet cleaned up after it.
    pub fn of<'a>(kind: i64, parameters: impl Iterator<Item = Parameter<'a>>) -> Option<Self> {
        const BOUNDED: i64 = 1;
        const UNBOUNDED: i64 = 2;
        if ![BOUNDED, UNBOUNDED].contains(&kind) {
            return None;
        }
        let mut job = Self { kind, ..Self::default() };
        for Parameter { name, value } in parameters {
            let target = match name {
                b"operation" => {
                    job.operation = signed(value);
                    continue;
                }
                b"time_elapsed" => &mut job.elapsed_ms,
                b"time_remaining" => &mut job.remaining_ms,
                b"data_total" => &mut job.data.total_bytes,
                b"data_processed" => &mut job.data.processed_bytes,
                b"data_remaining" => &mut job.data.remaining_bytes,
                b"memory_total" => &mut job.memory.total_bytes,
                b"memory_processed" => &mut job.memory.processed_bytes,
                b"memory_remaining" => &mut job.memory.remaining_bytes,
                b"disk_total" => &mut job.disk.total_bytes,
                b"disk_processed" => &mut job.disk.processed_bytes,
                b"disk_remaining" => &mut job.disk.remaining_bytes,
                _ => continue,
            };
            *target = unsigned(value);
        }
        Some(job)
    }
}
