//! The rows of a whole guest: CPU time, virtual CPUs, memory, and the two lines that are made of them.

use crate::line_protocol::Fields;
use crate::sample::{Domain, words};

use super::row::statistics;
use super::{Extra, Extras, FieldKind, FieldRow, MissingPolicy, Section};

statistics! {
    /// The group cpu: nanoseconds since the guest's start.
    Cpu "cpu." [] {
        always serde(skip_serializing_if = "Option::is_none") {
            time_ns b"time" counter "ns" "CPU time used by the guest";
            user_ns b"user" counter "ns" "CPU time in user mode";
            system_ns b"system" counter "ns" "CPU time in the kernel";
        }
        CpuWaits serde(skip) {
            haltpoll_success_ns b"haltpoll.success.time" => "haltpoll_success_ns" counter "ns" "time that KVM polled for work before a halted vCPU slept, successfully";
            haltpoll_fail_ns b"haltpoll.fail.time" => "haltpoll_fail_ns" counter "ns" "the same, without success";
        }
    }
}

statistics! {
    /// The group vcpu, for one virtual CPU.
    Vcpu "vcpu.N." [
        /// Its number N in vcpu.N.
        index: u32,
    ] {
        Vcpus serde(skip) {
            state b"state" => "state" gauge "" "virVcpuState: always 1, running, on QEMU";
            time_ns b"time" => "time_ns" counter "ns" "CPU time used";
            wait_ns b"wait" => "wait_ns" counter "ns" "time waiting for input and output; 0 if the host's kernel does not count it";
        }
        Vcpus serde(skip_serializing_if = "Option::is_none") {
            delay_ns b"delay" => "delay_ns" counter "ns" "time ready to run, but waiting for a host CPU";
        }
        Vcpus serde(skip) {
            halted b"halted" => "halted" flag "" "whether it is idle; few versions of QEMU report it";
            cpu b"virDomainGetVcpus: cpu" => "cpu" gauge "" "host CPU that it was on at this moment";
            affinity b"virDomainGetVcpus: cpumaps" => "affinity" text "" "host CPUs that it may run on, for any reason";
        }
    }
}

statistics! {
    /// The group balloon.
    Memory "balloon." [] {
        always serde(skip_serializing_if = "Option::is_none") {
            current_kib b"current" gauge "KiB" "memory given to the guest";
            maximum_kib b"maximum" gauge "KiB" "maximum memory of the guest";
            rss_kib b"rss" gauge "KiB" "memory of the host that QEMU uses, without huge pages";
            available_kib b"available" gauge "KiB" "MemTotal of Linux in the guest";
            usable_kib b"usable" gauge "KiB" "MemAvailable of Linux in the guest";
            disk_caches_kib b"disk_caches" gauge "KiB" "memory that the guest uses to cache files";
            swap_in_kib b"swap_in" counter "KiB" "swapped in";
            swap_out_kib b"swap_out" counter "KiB" "swapped out";
            major_faults b"major_fault" counter "faults" "page faults that read from a disk";
            minor_faults b"minor_fault" counter "faults" "page faults that did not read from a disk";
        }
        MemoryDetails serde(skip) {
            unused_kib b"unused" => "memunused" gauge "KiB" "MemFree of Linux in the guest";
            hugetlb_pgalloc b"hugetlb_pgalloc" => "memhugetlb_pgalloc" counter "huge pages" "huge pages that the guest allocated";
            hugetlb_pgfail b"hugetlb_pgfail" => "memhugetlb_pgfail" counter "huge pages" "huge pages that the guest could not allocate";
        }
        MemoryDetails serde(default) {
            last_update_s b"last-update" => "memlast_update" moment "Unix seconds" "when the guest reported these figures; omitted while 0";
        }
    }
}

macro_rules! own_rows {
    ($($(#[$meta:meta])* $row:ident = $name:literal $kind:ident $unit:literal $statistic:literal $text:literal;)+) => {
        $($(#[$meta])* pub(crate) const $row: FieldRow = FieldRow {
            name: $name,
            kind: FieldKind::$kind,
            unit: $unit,
            group: "",
            statistic: $statistic,
            text: $text,
        };)+
    };
}

own_rows! {
    STATE = "state" Text "" b"state.state"
        "running, blocked, paused, shutdown, shutoff, crashed, suspended, no state or unknown";
    STATE_CODE = "state" Gauge "" b"state.state"
        "the number: 0 no state, 1 running, 2 blocked, 3 paused, 4 shutting down, 5 off, 6 crashed, 7 suspended";
    REASON = "state_reason" Text "" b"state.reason" "such as booted, user, ioerror, crashed";
    ANSWER = "answer" Text "" b"how the guest answered"
        "whole, or why not: hung (its QEMU does not answer), locked (inside libvirt), busy (a job runs), starting";
    ANSWER_CODE = "answer_code" Gauge "" b"how the guest answered"
        "the number: 0 whole, 1 starting, 2 busy, 3 locked, 4 hung";
    UPTIME = "uptime_s" Gauge "s" b"/proc/PID/stat: starttime" "time since its QEMU started";
    REASON_CODE = "state_reason_code" Gauge "" b"state.reason" "the number";
    VCPU_COUNT = "" Gauge "vCPUs" b"vcpu.current" "current vCPUs";
    VCPU_MAXIMUM = "vcpus_max" Gauge "vCPUs" b"vcpu.maximum" "maximum vCPUs";
}

/// The fields of a line whose values come from several groups, in their order, which never changes.
macro_rules! line {
    ($write:ident $rows:ident: $($name:literal = $($value:ident).+, $row:expr;)+) => {
        const $rows: &[FieldRow] = &[$($row.named($name)),+];

        #[inline(always)]
        fn $write(fields: &mut Fields<'_>, policy: MissingPolicy<'_>, sample: &Domain) {
            $(policy.statistic(fields, $name, sample.$($value).+, &$row);)+
        }
    };
}

line! {
    write_metrics_numbers METRICS_NUMBERS:
    "cpu_count" = vcpu_count, VCPU_COUNT;
    "memory_max_kb" = memory.maximum_kib, Memory::maximum_kib;
    "memory_used_kb" = memory.current_kib, Memory::current_kib;
    "cputime_ns" = cpu.time_ns, Cpu::time_ns;
}

line! {
    write_totals_numbers TOTALS_NUMBERS:
    "memactual" = memory.current_kib, Memory::current_kib;
    "memrss" = memory.rss_kib, Memory::rss_kib;
    "memavailable" = memory.available_kib, Memory::available_kib;
    "memusable" = memory.usable_kib, Memory::usable_kib;
    "memswap_in" = memory.swap_in_kib, Memory::swap_in_kib;
    "memswap_out" = memory.swap_out_kib, Memory::swap_out_kib;
    "memmajor_fault" = memory.major_faults, Memory::major_faults;
    "memminor_fault" = memory.minor_faults, Memory::minor_faults;
    "memdisk_cache" = memory.disk_caches_kib, Memory::disk_caches_kib;
    "timeusr" = cpu.user_ns, Cpu::user_ns;
    "timesys" = cpu.system_ns, Cpu::system_ns;
    "cpus" = vcpu_count, VCPU_COUNT;
    "cputime" = cpu.time_ns, Cpu::time_ns;
}

/// The rows of vm_metrics.
pub(super) const METRICS: &[Section] = &[
    Section::always(&[STATE]),
    Section::always(METRICS_NUMBERS),
    Section::of(Extra::StateReason, &[REASON]),
    Section::of(Extra::Answer, &[ANSWER]),
];

/// The rows of vm_totals, without the sums.
pub(super) const TOTALS: &[Section] = &[
    Section::always(TOTALS_NUMBERS),
    Section::always(&[STATE_CODE]),
    Section::of(Extra::StateReason, &[REASON_CODE]),
    Section::of(
        Extra::CpuWaits,
        &[Vcpu::wait_ns.named("vcpu_wait_ns"), Vcpu::delay_ns.named("vcpu_delay_ns")],
    ),
    Section::of(Extra::Uptime, &[UPTIME]),
    Section::of(Extra::Answer, &[ANSWER_CODE]),
];

impl Domain {
    /// How long its QEMU runs, in seconds.
    pub fn uptime_s(&self) -> Option<u64> {
        let since = self.answered_at_ns.checked_sub(self.started_at_ns?)?;
        Some(since / 1_000_000_000)
    }
}

/// Writes the fields of vm_metrics.
#[inline(always)]
pub fn write_metrics(
    fields: &mut Fields<'_>,
    policy: MissingPolicy<'_>,
    extras: Extras,
    sample: &Domain,
) {
    if let Some(state) = policy.signed(sample.state) {
        fields.text("state", words::state(state));
    }
    write_metrics_numbers(fields, policy, sample);
    if extras.has(Extra::StateReason)
        && let (Some(state), Some(reason)) = (sample.state, sample.state_reason)
    {
        fields.text("state_reason", words::state_reason(state, reason));
    }
    if extras.has(Extra::Answer)
        && let Some(word) = sample.completeness.word()
    {
        fields.text("answer", word);
    }
}

/// Writes the fields of vm_totals behind the sums.
#[inline(always)]
pub fn write_totals(
    fields: &mut Fields<'_>,
    policy: MissingPolicy<'_>,
    extras: Extras,
    sample: &Domain,
) {
    write_totals_numbers(fields, policy, sample);
    if let Some(state) = policy.signed(sample.state) {
        fields.integer("state", state);
    }
    if extras == Extras::NONE {
        return;
    }
    if extras.has(Extra::StateReason)
        && let Some(reason) = sample.state_reason
    {
        fields.integer("state_reason_code", reason);
    }
    if extras.has(Extra::CpuWaits) && !sample.vcpus.is_empty() {
        let omit = MissingPolicy::OMIT;
        omit.sum(fields, "vcpu_wait_ns", &sample.vcpus, |vcpu| vcpu.wait_ns);
        omit.sum(fields, "vcpu_delay_ns", &sample.vcpus, |vcpu| vcpu.delay_ns);
    }
    sample.cpu.write(fields, policy, extras);
    sample.memory.write(fields, policy, extras);
    if extras.has(Extra::Uptime) {
        MissingPolicy::OMIT.field(fields, UPTIME.name, sample.uptime_s());
    }
    if extras.has(Extra::Answer)
        && let Some(code) = sample.completeness.code()
    {
        fields.integer(ANSWER_CODE.name, code);
    }
}
