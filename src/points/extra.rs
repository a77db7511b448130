//! The measurements that only `extra` turns on, in the schema's order. A value that libvirt did not send
//! is left out here, whatever stands for missing ones elsewhere.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use smol_str::SmolStr;

use super::Page;
use crate::config::extra::Extra;
use crate::devices::details::{Details, DiskLimits, NicLimits};
use crate::libvirt::OwnedValue;
use crate::line_protocol::{Fields, Lines, Tags};
use crate::sample::words;
use crate::sample::{Domain, HypervisorStatistic, Job, Monitor};

/// A moment before this one is none of Unix time: QEMU 7.2 counts seconds since its host's start.
const UNIX_SINCE: u64 = 1_000_000_000;
/// Names that libvirt may bring and that are remembered for their type.
const MOST_NAMES: usize = 10_000;

/// The type of each field that libvirt names, by measurement and field: it never changes.
#[derive(Default)]
pub(super) struct Types(HashMap<(&'static str, String), std::mem::Discriminant<Kind>>);

enum Kind {
    Integer,
    Float,
    Bool,
    Text,
}

impl Types {
    /// Writes a field whose name and type are libvirt's, unless it had another type before.
    fn write(
        &mut self,
        fields: &mut Fields<'_>,
        measurement: &'static str,
        name: String,
        value: &OwnedValue,
    ) {
        let kind = std::mem::discriminant(&match value {
            OwnedValue::Int(_) | OwnedValue::Uint(_) => Kind::Integer,
            OwnedValue::Float(_) => Kind::Float,
            OwnedValue::Bool(_) => Kind::Bool,
            OwnedValue::Text(_) => Kind::Text,
        });
        let known = self.0.len();
        let entry = self.0.entry((measurement, name));
        if matches!(entry, std::collections::hash_map::Entry::Vacant(_)) && known >= MOST_NAMES {
            return;
        }
        let name = entry.key().1.clone();
        if *entry.or_insert(kind) != kind {
            return;
        }
        match value {
            OwnedValue::Int(number) => fields.integer(&name, *number),
            OwnedValue::Uint(number) => fields.unsigned(&name, *number),
            OwnedValue::Float(number) => fields.float(&name, *number),
            OwnedValue::Bool(truth) => fields.boolean(&name, *truth),
            OwnedValue::Text(text) => fields.text(&name, text),
        }
    }
}

/// libvirt's name as a field's: every character but letters and digits becomes `_`. `None` where
/// nothing is left, or a line has a tag of that name, or a database keeps it for itself.
fn field_name(name: &str) -> Option<String> {
    const TAKEN: [&str; 11] = [
        "VMID",
        "name",
        "uuid",
        "vcpu",
        "devtype",
        "device",
        "index",
        "source",
        "time",
        "_field",
        "_measurement",
    ];
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    (!name.is_empty() && !TAKEN.contains(&&*name)).then_some(name)
}

/// The fields of one line whose names are libvirt's: of two that become one the first stays, and none
/// has the name of a tag of the user's, since no line may have both.
struct Named<'a> {
    fields: Vec<(String, &'a OwnedValue)>,
    seen: HashSet<String>,
    user_tags: &'a [String],
}

impl<'a> Named<'a> {
    fn beside(user_tags: &'a [String]) -> Self {
        Self { fields: Vec::new(), seen: HashSet::new(), user_tags }
    }

    fn add(&mut self, name: &str, value: &'a OwnedValue) {
        if let Some(name) = field_name(name)
            && !self.user_tags.contains(&name)
            && self.seen.insert(name.clone())
        {
            self.fields.push((name, value));
        }
    }

    fn write(self, fields: &mut Fields<'_>, measurement: &'static str, types: &mut Types) {
        for (name, value) in self.fields {
            types.write(fields, measurement, name, value);
        }
    }
}

fn unsigned(fields: &mut Fields<'_>, name: &str, value: Option<u64>) {
    if let Some(value) = value {
        fields.unsigned(name, value);
    }
}

fn text(fields: &mut Fields<'_>, name: &str, value: Option<&str>) {
    if let Some(value) = value.filter(|value| !value.is_empty()) {
        fields.text(name, value);
    }
}

fn boolean(fields: &mut Fields<'_>, name: &str, value: Option<bool>) {
    if let Some(value) = value {
        fields.boolean(name, value);
    }
}

/// Tags that are written anew for each line.
fn tags<'t>(tags: &'t mut Tags, pairs: &[(&str, &str)]) -> &'t Tags {
    tags.clear();
    for (key, value) in pairs {
        tags.add(key, value);
    }
    tags
}

/// The one tag of a part that has a number.
fn numbered<'t>(tags: &'t mut Tags, key: &str, number: u32) -> &'t Tags {
    tags.clear();
    tags.add_number(key, number.into());
    tags
}

/// What `extra` adds to the fields of vm_totals.
pub(super) fn write_totals(fields: &mut Fields<'_>, page: &Page<'_>) {
    let (sample, extra) = (page.guest.sample, page.choice.extra);
    if extra.has(Extra::StateReason)
        && let Some(reason) = sample.state_reason
    {
        fields.integer("state_reason_code", reason);
    }
    if extra.has(Extra::CpuWaits) {
        let sum = |value: fn(&crate::sample::Vcpu) -> Option<u64>| {
            let mut values = sample.vcpus.iter().map(value).peekable();
            values.peek()?;
            values.try_fold(0_u64, |sum, value| Some(sum.saturating_add(value?)))
        };
        unsigned(fields, "vcpu_wait_ns", sum(|vcpu| vcpu.wait_ns));
        unsigned(fields, "vcpu_delay_ns", sum(|vcpu| vcpu.delay_ns));
        unsigned(fields, "haltpoll_success_ns", sample.cpu.haltpoll_success_ns);
        unsigned(fields, "haltpoll_fail_ns", sample.cpu.haltpoll_fail_ns);
    }
    if extra.has(Extra::MemoryDetails) {
        unsigned(fields, "memunused", sample.memory.unused_kib);
        unsigned(fields, "memhugetlb_pgalloc", sample.memory.hugetlb_pgalloc);
        unsigned(fields, "memhugetlb_pgfail", sample.memory.hugetlb_pgfail);
        unsigned(
            fields,
            "memlast_update",
            sample.memory.last_update_s.filter(|&moment| moment > 0),
        );
    }
}

/// The measurements behind vm_totals.
pub(super) fn write(page: &Page<'_>, lines: &mut Lines, own: &mut Tags, types: &mut Types) {
    let (sample, extra) = (page.guest.sample, page.choice.extra);
    let details = page.guest.inventory.and_then(|inventory| inventory.details.as_deref());
    if extra.has(Extra::Vcpus) {
        write_vcpus(page, lines, own, details);
    }
    if let Some(more) = &sample.more {
        if extra.has(Extra::Iothreads) {
            for thread in &more.iothreads {
                page.own(
                    lines,
                    "vm_iothreads",
                    numbered(own, "iothread", thread.index),
                    |fields| {
                        unsigned(fields, "poll_max_ns", thread.poll_max_ns);
                        unsigned(fields, "poll_grow", thread.poll_grow);
                        unsigned(fields, "poll_shrink", thread.poll_shrink);
                    },
                );
            }
        }
        if extra.has(Extra::Perf) {
            let mut events = Named::beside(&page.choice.user_tags);
            more.perf.iter().for_each(|(name, count)| events.add(name, count));
            page.line(lines, "vm_perf", |fields| events.write(fields, "vm_perf", types));
        }
        if extra.has(Extra::DirtyRate) {
            write_dirty_rate(page, lines, own, &more.dirty_rate);
        }
        if extra.has(Extra::MemoryBandwidth) {
            write_bandwidth(page, lines, own, &more.bandwidth_monitors);
        }
        if extra.has(Extra::CpuCache) {
            write_cache(page, lines, own, &more.cache_monitors);
        }
        if let (true, Some(job)) = (extra.has(Extra::Jobs), &more.job) {
            page.line(lines, "vm_jobs", |fields| write_job(fields, job));
        }
    }
    if let Some(details) = details {
        write_details(page, lines, own, details);
    }
    if let Some(more) = &sample.more {
        if extra.has(Extra::Hypervisor) {
            write_hypervisor(page, lines, own, types, &more.hypervisor);
        }
        if extra.has(Extra::Other) {
            write_other(page, lines, types, &more.other);
        }
    }
}

fn write_vcpus(page: &Page<'_>, lines: &mut Lines, own: &mut Tags, details: Option<&Details>) {
    for vcpu in &page.guest.sample.vcpus {
        page.own(lines, "vm_vcpus", numbered(own, "vcpu", vcpu.index), |fields| {
            unsigned(fields, "state", vcpu.state);
            unsigned(fields, "time_ns", vcpu.time_ns);
            unsigned(fields, "wait_ns", vcpu.wait_ns);
            unsigned(fields, "delay_ns", vcpu.delay_ns);
            boolean(fields, "halted", vcpu.halted);
            text(fields, "cpuset", details.and_then(|details| details.cpuset_of(vcpu.index)));
        });
    }
}

fn write_dirty_rate(
    page: &Page<'_>,
    lines: &mut Lines,
    own: &mut Tags,
    rate: &crate::sample::DirtyRate,
) {
    page.line(lines, "vm_dirty_rate", |fields| {
        unsigned(fields, "calc_status", rate.calc_status);
        unsigned(fields, "calc_start_time", rate.calc_start_time_s.filter(|&it| it >= UNIX_SINCE));
        unsigned(fields, "calc_period", rate.calc_period_s);
        unsigned(fields, "mib_per_sec", rate.mib_per_s);
        text(fields, "calc_mode", Some(&rate.calc_mode));
    });
    for vcpu in &rate.vcpus {
        page.own(lines, "vm_dirty_rate", numbered(own, "vcpu", vcpu.index), |fields| {
            unsigned(fields, "mib_per_sec", vcpu.mib_per_s);
        });
    }
}

fn write_bandwidth(page: &Page<'_>, lines: &mut Lines, own: &mut Tags, monitors: &[Monitor]) {
    for monitor in monitors {
        for part in &monitor.parts {
            let node = part.id.unwrap_or(part.index.into()).to_string();
            let own = tags(own, &[("monitor", &monitor.name), ("node", &node)]);
            page.own(lines, "vm_memory_bandwidth", own, |fields| {
                unsigned(fields, "bytes_local", part.bytes_local);
                unsigned(fields, "bytes_total", part.bytes_total);
                text(fields, "vcpus", Some(&monitor.vcpus));
            });
        }
    }
}

fn write_cache(page: &Page<'_>, lines: &mut Lines, own: &mut Tags, monitors: &[Monitor]) {
    for monitor in monitors {
        for part in &monitor.parts {
            let bank = part.id.unwrap_or(part.index.into()).to_string();
            let own = tags(own, &[("monitor", &monitor.name), ("bank", &bank)]);
            page.own(lines, "vm_cpu_cache", own, |fields| {
                unsigned(fields, "bytes", part.bytes);
                text(fields, "vcpus", Some(&monitor.vcpus));
            });
        }
    }
}

fn write_job(fields: &mut Fields<'_>, job: &Job) {
    fields.text("type", words::job_type(job.kind));
    if let Some(operation) = job.operation {
        fields.text("operation", words::job_operation(operation));
    }
    unsigned(fields, "elapsed_ms", job.elapsed_ms);
    unsigned(fields, "remaining_ms", job.remaining_ms);
    unsigned(fields, "data_total_bytes", job.data.total_bytes);
    unsigned(fields, "data_processed_bytes", job.data.processed_bytes);
    unsigned(fields, "data_remaining_bytes", job.data.remaining_bytes);
    unsigned(fields, "mem_total_bytes", job.memory.total_bytes);
    unsigned(fields, "mem_processed_bytes", job.memory.processed_bytes);
    unsigned(fields, "mem_remaining_bytes", job.memory.remaining_bytes);
    unsigned(fields, "disk_total_bytes", job.disk.total_bytes);
    unsigned(fields, "disk_processed_bytes", job.disk.processed_bytes);
    unsigned(fields, "disk_remaining_bytes", job.disk.remaining_bytes);
}

/// What comes from the domain's XML.
fn write_details(page: &Page<'_>, lines: &mut Lines, own: &mut Tags, details: &Details) {
    let (sample, extra) = (page.guest.sample, page.choice.extra);
    if extra.has(Extra::Limits) {
        // Of the devices that are there now, whatever the list says.
        for nic in &sample.nics {
            if let Some(limits) = details.nic_limits.iter().find(|it| nic.name == it.target) {
                let own = tags(own, &[("devtype", "nic"), ("device", &nic.name)]);
                page.own(lines, "vm_limits", own, |fields| write_nic_limits(fields, limits));
            }
        }
        for disk in &sample.disks {
            if let Some(limits) = details.disk_limits.iter().find(|it| disk.name == it.target) {
                let own = tags(own, &[("devtype", "disk"), ("device", &disk.name)]);
                page.own(lines, "vm_limits", own, |fields| write_disk_limits(fields, limits));
            }
        }
    }
    if extra.has(Extra::Numa) {
        page.line(lines, "vm_numa", |fields| {
            fields.unsigned("cells", details.cells.len() as u64);
            text(fields, "nodeset", details.numa_nodeset.as_deref());
            text(fields, "mode", details.numa_mode.as_deref());
        });
        for cell in &details.cells {
            page.own(lines, "vm_numa", numbered(own, "cell", cell.id), |fields| {
                unsigned(fields, "memory_kib", cell.memory_kib);
                text(fields, "cpus", cell.cpus.as_deref());
            });
        }
    }
    if extra.has(Extra::Info) {
        page.line(lines, "vm_info", |fields| {
            text(fields, "title", details.title.as_deref());
            text(fields, "os_type", details.os_type.as_deref());
            text(fields, "machine", details.machine.as_deref());
            text(fields, "arch", details.arch.as_deref());
            boolean(fields, "persistent", details.persistent);
            boolean(fields, "autostart", details.autostart);
            unsigned(fields, "vcpus_max", sample.vcpu_maximum);
        });
    }
}

fn write_nic_limits(fields: &mut Fields<'_>, limits: &NicLimits) {
    unsigned(fields, "inbound_average_kb_sec", limits.inbound_average_kb_s);
    unsigned(fields, "inbound_peak_kb_sec", limits.inbound_peak_kb_s);
    unsigned(fields, "inbound_floor_kb_sec", limits.inbound_floor_kb_s);
    unsigned(fields, "inbound_burst_kib", limits.inbound_burst_kib);
    unsigned(fields, "outbound_average_kb_sec", limits.outbound_average_kb_s);
    unsigned(fields, "outbound_peak_kb_sec", limits.outbound_peak_kb_s);
    unsigned(fields, "outbound_burst_kib", limits.outbound_burst_kib);
}

fn write_disk_limits(fields: &mut Fields<'_>, limits: &DiskLimits) {
    unsigned(fields, "total_bytes_sec", limits.total_bytes_sec);
    unsigned(fields, "read_bytes_sec", limits.read_bytes_sec);
    unsigned(fields, "write_bytes_sec", limits.write_bytes_sec);
    unsigned(fields, "total_iops_sec", limits.total_iops_sec);
    unsigned(fields, "read_iops_sec", limits.read_iops_sec);
    unsigned(fields, "write_iops_sec", limits.write_iops_sec);
}

fn write_hypervisor(
    page: &Page<'_>,
    lines: &mut Lines,
    own: &mut Tags,
    types: &mut Types,
    statistics: &[HypervisorStatistic],
) {
    // Those of the whole guest first; the order within a part stays.
    let mut sorted: Vec<&HypervisorStatistic> = statistics.iter().collect();
    sorted.sort_by_key(|it| it.vcpu);
    for of_it in sorted.chunk_by(|one, other| one.vcpu == other.vcpu) {
        own.clear();
        if let Some(vcpu) = of_it.first().and_then(|it| it.vcpu) {
            own.add_number("vcpu", vcpu.into());
        }
        let mut named = Named::beside(&page.choice.user_tags);
        of_it.iter().for_each(|statistic| named.add(&statistic.name, &statistic.value));
        page.own(lines, "vm_hypervisor", own, |fields| named.write(fields, "vm_hypervisor", types));
    }
}

/// What nobody knows, a line for each part of the guest that it is of.
fn write_other(
    page: &Page<'_>,
    lines: &mut Lines,
    types: &mut Types,
    other: &[(SmolStr, OwnedValue)],
) {
    let mut parts: Vec<(Tags, Named<'_>)> = Vec::new();
    let mut places: HashMap<Tags, usize> = HashMap::new();
    for (name, value) in other {
        let Some((tags, field)) = part_of(page.guest.sample, name) else { continue };
        let place = *places.entry(tags).or_insert_with_key(|tags| {
            parts.push((tags.clone(), Named::beside(&page.choice.user_tags)));
            parts.len() - 1
        });
        if let Some((_, named)) = parts.get_mut(place) {
            named.add(&field, value);
        }
    }
    for (tags, named) in parts {
        page.own(lines, "vm_other", &tags, |fields| named.write(fields, "vm_other", types));
    }
}

/// The tags of a statistic that nobody knows, and its name without its part's number: the first number in its name says which part
/// of the guest it is of. `None` where that is no part that has lines, such as a cdrom drive.
fn part_of(sample: &Domain, name: &str) -> Option<(Tags, String)> {
    let mut tags = Tags::default();
    let words: Vec<&str> = name.split('.').collect();
    let is_number = |word: &&str| !word.is_empty() && word.bytes().all(|it| it.is_ascii_digit());
    let Some(place) = words.iter().position(is_number) else {
        return Some((tags, name.to_owned()));
    };
    let number = words[place];
    let index: Option<u32> = number.parse().ok();
    match place.checked_sub(1).map(|before| words[before]) {
        Some("vcpu") => tags.add("vcpu", number),
        Some("net") if place == 1 => {
            tags.add("devtype", "nic");
            tags.add("device", &sample.nics.iter().find(|nic| Some(nic.index) == index)?.name);
        }
        Some("block") if place == 1 => {
            tags.add("devtype", "disk");
            tags.add("device", &sample.disks.iter().find(|it| Some(it.index) == index)?.name);
        }
        _ => tags.add("index", number),
    }
    let words: Vec<&str> =
        words.iter().enumerate().filter(|&(at, _)| at != place).map(|(_, &word)| word).collect();
    Some((tags, words.join(".")))
}

/// What one collection of a hypervisor cost and met, for `vm_collector`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collector {
    /// What could be said of its guests; `None` where it is down.
    pub guests: Option<CollectedGuests>,
    /// How long the collection took.
    pub took: Duration,
    /// Lines of its guests.
    pub lines: usize,
}

/// The guests of a collection, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CollectedGuests {
    /// Guests that were listed and passed the filter.
    pub domains: usize,
    /// Guests that hang: a call is stuck in them.
    pub hung: usize,
    /// Guests that gave no whole answer this time, and may be merely busy.
    pub busy: usize,
    /// Guests whose device list came from the cache.
    pub cache_hits: usize,
    /// Guests whose XML was read for it.
    pub cache_misses: usize,
    /// Calls that are stuck in hung guests.
    pub stuck_calls: usize,
    /// Statistics that libvirt sent and nobody here knows.
    pub unknown_statistics: usize,
}

/// Writes the line of vm_collector for the hypervisor with this URI.
pub fn write_collector(lines: &mut Lines, uri: &str, user: &Tags, collector: &Collector) {
    let mut own = Tags::default();
    own.add("uri", uri);
    lines.line("vm_collector", &[&own, user], |fields| {
        let took = u64::try_from(collector.took.as_nanos()).unwrap_or(u64::MAX);
        let count = |fields: &mut Fields<'_>, name, value: fn(&CollectedGuests) -> usize| {
            unsigned(fields, name, collector.guests.as_ref().map(|guests| value(guests) as u64));
        };
        fields.boolean("up", collector.guests.is_some());
        count(fields, "domains", |it| it.domains);
        count(fields, "hung", |it| it.hung);
        count(fields, "busy", |it| it.busy);
        fields.unsigned("collect_ns", took);
        fields.unsigned("lines", collector.lines as u64);
        count(fields, "cache_hits", |it| it.cache_hits);
        count(fields, "cache_misses", |it| it.cache_misses);
        count(fields, "stuck_calls", |it| it.stuck_calls);
        count(fields, "unknown_statistics", |it| it.unknown_statistics);
    });
}
