//! The rows of measurements that only `extra` turns on, and comes from libvirt's statistics. None of it is
//! kept on disk.

use smol_str::SmolStr;

use crate::libvirt::{OwnedValue, Parameter, Value};
use crate::line_protocol::Fields;
use crate::sample::{fill_indexed, split_index};

use super::row::statistics;
use super::storage::StorageDetails;
use super::{Extra, Extras, FieldKind, FieldRow, MissingPolicy, Section, Sent, keeps_more};

statistics! {
    /// One I/O thread: how long QEMU polls in it before it sleeps.
    Iothread "iothread.N." [
        /// Its number N in iothread.N.
        index: u32,
    ] {
        Iothreads serde(skip) {
            poll_max_ns b"poll-max-ns" => "poll_max_ns" gauge "ns" "how long it polls; 0 when it does not";
            poll_grow b"poll-grow" => "poll_grow" gauge "" "a factor";
            poll_shrink b"poll-shrink" => "poll_shrink" gauge "" "a factor";
        }
    }
}

statistics! {
    /// How fast the guest writes to its memory, where somebody had that measured.
    DirtyRate "dirtyrate." [
        /// Each virtual CPU, in dirty-ring mode.
        vcpus: Vec<DirtyRateOfVcpu>,
    ] {
        DirtyRate serde(skip) {
            calc_status b"calc_status" => "calc_status" gauge "" "0 never measured, 1 being measured, 2 measured";
            calc_start_time_s b"calc_start_time" => "calc_start_time" epoch "Unix seconds" "when; omitted if QEMU counts from its host's start, as 7.2 does";
            calc_period_s b"calc_period" => "calc_period" gauge "s" "over how long";
            mib_per_s b"megabytes_per_second" => "mib_per_sec" gauge "MiB/s" "`virsh domdirtyrate-calc` measures it";
            calc_mode b"calc_mode" => "calc_mode" text "" "such as page-sampling";
        }
    }
    else dirty_rate_of_vcpu
}

fn dirty_rate_of_vcpu(rate: &mut DirtyRate, field: &[u8], value: impl Sent) -> bool {
    let vcpu = field.strip_prefix(b"vcpu.");
    vcpu.is_some_and(|field| fill_indexed(&mut rate.vcpus, field, value))
}

statistics! {
    /// How fast one virtual CPU writes to memory.
    DirtyRateOfVcpu "dirtyrate.vcpu.N." [
        /// Its number N in dirtyrate.vcpu.N.
        index: u32,
    ] {
        DirtyRate serde(skip) {
            mib_per_s b"megabytes_per_second" => "mib_per_sec" gauge "MiB/s" "in dirty-ring mode";
        }
    }
}

statistics! {
    /// A resctrl monitor of the host's hardware, for some of the guest's virtual CPUs.
    Monitor "monitor.N." [
        /// Its number N.
        index: u32,
        /// A memory node's, or a cache bank's part of it.
        parts: Vec<MonitorPart>,
    ] {
        always serde(skip) {
            name b"name" text "" "its name";
            vcpus b"vcpus" => "vcpus" text "vCPUs" "vCPUs that it monitors, such as 0-3";
        }
    }
    else monitor_part
}

fn monitor_part(monitor: &mut Monitor, field: &[u8], value: impl Sent) -> bool {
    let part = field.strip_prefix(b"node.").or_else(|| field.strip_prefix(b"bank."));
    part.is_some_and(|part| fill_indexed(&mut monitor.parts, part, value))
}

statistics! {
    /// What a monitor counts on one memory node, or in one cache bank.
    MonitorPart "monitor.N.part.M." [
        /// Its number M in the statistic's name.
        index: u32,
    ] {
        always serde(skip) {
            id b"id" gauge "" "the node's or the bank's id";
        }
        MemoryBandwidth serde(skip) {
            bytes_local b"bytes.local" => "bytes_local" counter "bytes" "through the node's own memory controller";
            bytes_total b"bytes.total" => "bytes_total" counter "bytes" "through any memory controller";
        }
        CpuCache serde(skip) {
            bytes b"bytes" => "bytes" gauge "bytes" "in the cache bank now";
        }
    }
}

statistics! {
    /// A job that runs in the guest: a migration, a save, a backup.
    ///
    /// <https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainGetJobStats>
    Job "virDomainGetJobStats: " [
        /// virDomainJobType
        kind: i64,
        /// operation: virDomainJobOperation
        operation: Option<i64>,
    ] {
        Jobs serde(skip) {
            elapsed_ms b"time_elapsed" => "elapsed_ms" gauge "ms" "time since it began";
            remaining_ms b"time_remaining" => "remaining_ms" gauge "ms" "time until it ends, as QEMU expects";
            data_total_bytes b"data_total" => "data_total_bytes" gauge "bytes" "in all";
            data_processed_bytes b"data_processed" => "data_processed_bytes" gauge "bytes" "done";
            data_remaining_bytes b"data_remaining" => "data_remaining_bytes" gauge "bytes" "left";
            mem_total_bytes b"memory_total" => "mem_total_bytes" gauge "bytes" "of memory, in all";
            mem_processed_bytes b"memory_processed" => "mem_processed_bytes" gauge "bytes" "of memory, done";
            mem_remaining_bytes b"memory_remaining" => "mem_remaining_bytes" gauge "bytes" "of memory, left";
            disk_total_bytes b"disk_total" => "disk_total_bytes" gauge "bytes" "of disks, in all";
            disk_processed_bytes b"disk_processed" => "disk_processed_bytes" gauge "bytes" "of disks, done";
            disk_remaining_bytes b"disk_remaining" => "disk_remaining_bytes" gauge "bytes" "of disks, left";
            downtime_ms b"downtime" => "downtime_ms" gauge "ms" "time without the guest running, as expected or as it was";
            downtime_net_ms b"downtime_net" => "downtime_net_ms" gauge "ms" "the same, without the difference of the hosts' clocks";
            elapsed_net_ms b"time_elapsed_net" => "elapsed_net_ms" gauge "ms" "time since it began, without the difference of the hosts' clocks";
            setup_ms b"setup_time" => "setup_ms" gauge "ms" "time to set it up";
            mem_bytes_sec b"memory_bps" => "mem_bytes_sec" gauge "bytes/s" "of memory";
            mem_dirty_pages_sec b"memory_dirty_rate" => "mem_dirty_pages_sec" gauge "pages/s" "pages that the guest writes to";
            mem_iterations b"memory_iteration" => "mem_iterations" gauge "rounds" "over the guest's memory";
            mem_page_bytes b"memory_page_size" => "mem_page_bytes" gauge "bytes" "size of a page";
            mem_constant_pages b"memory_constant" => "mem_constant_pages" gauge "pages" "pages sent as one repeated byte";
            mem_normal_pages b"memory_normal" => "mem_normal_pages" gauge "pages" "pages sent completely";
            mem_normal_bytes b"memory_normal_bytes" => "mem_normal_bytes" gauge "bytes" "sent as complete pages";
            mem_postcopy_requests b"memory_postcopy_requests" => "mem_postcopy_requests" gauge "requests" "requests for pages that the target did not have";
            disk_bytes_sec b"disk_bps" => "disk_bytes_sec" gauge "bytes/s" "of disks";
            disk_temp_used_bytes b"disk_temp_used" => "disk_temp_used_bytes" gauge "bytes" "of a backup's temporary space, used";
            disk_temp_total_bytes b"disk_temp_total" => "disk_temp_total_bytes" gauge "bytes" "of a backup's temporary space, in all";
            auto_converge_percent b"auto_converge_throttle" => "auto_converge_percent" gauge "%" "how much the CPUs of the guest are throttled";
            compression_cache_bytes b"compression_cache" => "compression_cache_bytes" gauge "bytes" "of the cache for compression";
            compression_bytes b"compression_bytes" => "compression_bytes" gauge "bytes" "sent compressed";
            compression_pages b"compression_pages" => "compression_pages" gauge "pages" "sent compressed";
            compression_cache_misses b"compression_cache_misses" => "compression_cache_misses" gauge "pages" "not found in that cache";
            compression_overflows b"compression_overflow" => "compression_overflows" gauge "pages" "pages that compression made larger";
            vfio_bytes b"vfio_data_transferred" => "vfio_bytes" gauge "bytes" "of devices passed through";
        }
    }
    else job_operation
}

fn job_operation(job: &mut Job, field: &[u8], value: impl Sent) -> bool {
    let is_known = field == b"operation";
    if is_known {
        job.operation = value.unsigned().and_then(|operation| i64::try_from(operation).ok());
    }
    is_known
}

impl Job {
    /// The rows that are words.
    pub(super) const WORDS: &[FieldRow] = &[
        Self::elapsed_ms.word("type", b"type", "bounded or unbounded: whether its end is known"),
        Self::elapsed_ms.word(
            "operation",
            b"operation",
            "such as migration_out, save, dump, backup",
        ),
    ];

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
            job.fill(name, value);
        }
        Some(job)
    }
}

/// What libvirt sends and no other row knows.
pub(super) const OTHER: FieldRow = FieldRow {
    name: "*",
    kind: FieldKind::AsSent,
    unit: "",
    group: "",
    statistic: b"",
    text: "what no row here knows, such as block.0.limits.request_alignment as \
           block_limits_request_alignment",
};

/// Measurements whose names libvirt gives to the fields, with their types.
#[derive(Clone, Copy, Debug)]
pub struct AsSentRow {
    /// The name in `extra` that turns it on.
    pub extra: Extra,
    /// The group of statistics: what follows it is the field's name.
    pub group: &'static str,
    /// How the field's name begins.
    pub begins: &'static str,
    /// Fields that are known; an asterisk matches any letters.
    pub rows: &'static [FieldRow],
}

/// Every one.
pub static AS_SENT: &[AsSentRow] = &[
    AsSentRow { extra: Extra::Perf, group: "perf.", begins: "", rows: PERF_EVENTS },
    AsSentRow {
        extra: Extra::Hypervisor,
        group: "vm.",
        begins: "",
        rows: &[
            kvm("*_sum", FieldKind::Counter, "counted since the guest's start"),
            kvm("*_max", FieldKind::Gauge, "maximum so far"),
            kvm("*_cur", FieldKind::Gauge, "now"),
            kvm("halt_exits_sum", FieldKind::Counter, "an example: how often a vCPU went to sleep"),
        ],
    },
];

const fn kvm(name: &'static str, kind: FieldKind, text: &'static str) -> FieldRow {
    FieldRow { name, kind, unit: "", group: "vm.X, vcpu.N.X", statistic: b"", text }
}

macro_rules! perf_events {
    ($($kind:ident $unit:literal: $($name:literal)+;)+) => {
        /// The events that `virsh perf` knows.
        const PERF_EVENTS: &[FieldRow] = &[$($(FieldRow {
            name: $name,
            kind: FieldKind::$kind,
            unit: $unit,
            group: "perf.",
            statistic: $name.as_bytes(),
            text: "",
        }),+),+];
    };
}

perf_events! {
    Gauge "bytes": "cmt";
    Counter "bytes": "mbmt" "mbml";
    Counter "ns": "cpu_clock" "task_clock";
    Counter "events": "cpu_cycles" "instructions" "cache_references" "cache_misses" "branch_instructions"
        "branch_misses" "bus_cycles" "stalled_cycles_frontend" "stalled_cycles_backend" "ref_cpu_cycles"
        "page_faults" "page_faults_min" "page_faults_maj" "context_switches" "cpu_migrations"
        "alignment_faults" "emulation_faults";
}

/// A statistic that keeps libvirt's name and type.
#[derive(Clone, Debug, PartialEq)]
pub struct SentStatistic {
    /// The virtual CPU that it is of; `None` where it is of the whole guest.
    pub vcpu: Option<u32>,
    /// The group, such as `vm.`.
    pub group: &'static str,
    /// Its name in the group, such as `halt_exits.sum`.
    pub name: SmolStr,
    /// Its value.
    pub value: OwnedValue,
}

macro_rules! more {
    ($(#[doc = $text:literal] $list:ident: $part:ident $group:literal $extra:ident;)+) => {
        /// The statistics of one guest that only `extra` prints.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct More {
            $(#[doc = $text] pub $list: Vec<$part>,)+
            /// memory.bandwidth.monitor.N
            pub bandwidth_monitors: Vec<Monitor>,
            /// cpu.cache.monitor.N
            pub cache_monitors: Vec<Monitor>,
            /// The group dirtyrate.
            pub dirty_rate: DirtyRate,
            /// What else there is of disks' storage, and of energy.
            pub storage: StorageDetails,
            /// The job that runs.
            pub job: Option<Job>,
            /// What keeps libvirt's names: see [`AS_SENT`].
            pub sent: Vec<SentStatistic>,
            /// Whether statistics that nobody here knows are kept in `other`.
            pub keeps_other: bool,
            /// Statistics that nobody here knows, in libvirt's order, by their whole name.
            pub other: Vec<(SmolStr, OwnedValue)>,
        }

        /// The rows of all lists.
        pub(super) const LISTS: &[&[Section]] = &[$($part::SECTIONS),+];

        impl More {
            fn take_of_list(&mut self, name: &[u8], value: Value<'_>) -> Option<bool> {
                $(if let Some(field) = name.strip_prefix($group) {
                    return Some(fill_indexed(&mut self.$list, field, value));
                })+
                None
            }

            /// Gives `write` the number and the fields of each element of the list that `extra` prints.
            pub fn each_of_list(
                &self,
                extra: Extra,
                mut write: impl FnMut(u32, &dyn Fn(&mut Fields<'_>)),
            ) {
                let extras = Extras::from_iter([extra]);
                $(for part in self.$list.iter().filter(|_| extra == Extra::$extra) {
                    write(part.index, &|fields| part.write(fields, MissingPolicy::OMIT, extras));
                })+
            }
        }
    };
}

more! {
    /// The group iothread.
    iothreads: Iothread b"iothread." Iothreads;
}

impl More {
    /// An empty one, where something of it is printed.
    pub fn wanted(extras: Extras) -> Option<Box<Self>> {
        let keeps_other = extras.has(Extra::Other);
        keeps_more(extras).then(|| Box::new(Self { keeps_other, ..Self::default() }))
    }

    fn take(&mut self, name: &[u8], value: Value<'_>) -> bool {
        if let Some(is_known) = self.take_of_list(name, value) {
            return is_known;
        }
        let monitors = [
            (&b"memory.bandwidth.monitor."[..], &mut self.bandwidth_monitors),
            (b"cpu.cache.monitor.", &mut self.cache_monitors),
        ];
        for (group, monitors) in monitors {
            if let Some(field) = name.strip_prefix(group) {
                return fill_indexed(monitors, field, value);
            }
        }
        if let Some(field) = name.strip_prefix(b"cpu.energy.monitor.") {
            return fill_indexed(&mut self.storage.energy, field, value);
        }
        if let Some(field) = name.strip_prefix(b"dirtyrate.") {
            return self.dirty_rate.fill(field, value);
        }
        let rows = AS_SENT.iter().map(|row| row.group);
        let field = |group: &'static str| Some((group, name.strip_prefix(group.as_bytes())?));
        let Some((group, field)) = rows.filter_map(field).next() else { return false };
        // libvirt gives counts of perf events; what is none of them is not offered.
        match (group, value.unsigned()) {
            ("perf.", count) => {
                count
                    .into_iter()
                    .for_each(|it| self.keep_sent(None, group, field, OwnedValue::Uint(it)));
            }
            _ => self.keep_sent(None, group, field, value.into()),
        }
        true
    }

    /// Keeps a statistic that nobody knows, where that is wanted.
    pub(crate) fn keep_other(&mut self, name: &[u8], value: Value<'_>) {
        if self.keeps_other {
            self.other.push((String::from_utf8_lossy(name).into(), value.into()));
        }
    }

    fn keep_sent(
        &mut self,
        vcpu: Option<u32>,
        group: &'static str,
        name: &[u8],
        value: OwnedValue,
    ) {
        self.sent.push(SentStatistic {
            vcpu,
            group,
            name: String::from_utf8_lossy(name).into(),
            value,
        });
    }
}

/// Takes in a statistic of a group that a default collection does not print; whether it is known,
/// which it may be without being kept.
pub(crate) fn take(more: &mut Option<Box<More>>, name: &[u8], value: Value<'_>) -> bool {
    match more {
        Some(more) => more.take(name, value),
        // Every guest has this one.
        None => name == b"cpu.cache.monitor.count" || More::default().take(name, value),
    }
}

/// Takes in a statistic of a disk that a default collection does not print; whether it is known.
pub(crate) fn take_of_disk(more: &mut Option<Box<More>>, field: &[u8], value: Value<'_>) -> bool {
    match more {
        Some(more) => more.storage.take_of_disk(field, value),
        None => StorageDetails::default().take_of_disk(field, value),
    }
}

/// Takes in what KVM counts of one virtual CPU, such as `0.halt_exits.sum`; whether it is that.
pub(crate) fn take_of_vcpu(more: &mut Option<Box<More>>, field: &[u8], value: Value<'_>) -> bool {
    let Some((vcpu, name)) = split_index(field) else { return false };
    // <https://libvirt.org/html/libvirt-libvirt-domain.html#VIR_DOMAIN_STATS_CUSTOM_SUFFIX_TYPE_CUR>
    if ![&b".cur"[..], b".sum", b".max"].iter().any(|&suffix| name.ends_with(suffix)) {
        return false;
    }
    if let Some(more) = more {
        more.keep_sent(Some(vcpu), "vm.", name, value.into());
    }
    true
}
