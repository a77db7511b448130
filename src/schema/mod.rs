//! The schema, as one table: each measurement, tag and field of the output, and each name in `extra` and
//! `features`. A row says everything that is known of a field once; the code that takes a value in and the
//! code that prints it are made of the rows, and so are docs/metrics.md, the list of names in the sample
//! configuration, the names that a user's tag must not have, and Prometheus' types.
//!
//! ```text
//! row.rs        what a row is, and the macro that makes code of rows
//! missing.rs    what is printed for a value that is missing
//! guest.rs      CPU time, virtual CPUs, memory; vm_metrics and vm_totals
//! devices.rs    NICs and disks, their tags
//! extra.rs      the names in `extra`, and what they ask of libvirt
//! more.rs       the measurements that only `extra` turns on
//! details.rs    those of the domain's XML
//! rates.rs      vm_features
//! collector.rs  vm_collector
//! host.rs       vm_host and vm_pools
//! storage.rs    disks' jobs, backing chains, snapshots, latencies; energy
//! anomalies.rs  vm_anomalies
//! events.rs     vm_events
//! ```
//!
//! Which lines there are and in which order is in `points`, where a value comes from besides libvirt's
//! statistics in `collect` and `devices`.

use std::collections::HashSet;
use std::sync::LazyLock;

mod anomalies;
mod collector;
mod details;
mod devices;
mod events;
pub mod extra;
mod guest;
mod host;
mod missing;
mod more;
mod rates;
mod row;
mod storage;

pub use collector::{CollectedGuests, Collector, write_collector};
pub use details::{Cell, Details, DiskLimits, NicLimits, NodesOfCell, Pin};
pub use devices::{DISK_TAGS, DeviceTag, Disk, DiskDevice, NIC_TAGS, Nic, NicDevice, TagRow};
pub use extra::{EXTRAS, Extra, ExtraRow, Extras, GuestCall, calls, groups, keeps_more, needs_xml};
pub(crate) use guest::VCPU_COUNT;
pub use guest::{Cpu, Memory, Vcpu, write_metrics, write_totals};
pub use host::{
    GuestsOfHost, HostCell, HostFacts, HostPages, HostReading, PoolFacts, PoolReading, write_host,
    write_pools,
};
pub use missing::MissingPolicy;
pub use more::{
    AS_SENT, AsSentRow, DirtyRate, DirtyRateOfVcpu, Iothread, Job, Monitor, MonitorPart, More,
    SentStatistic,
};
pub(crate) use more::{take, take_of_disk, take_of_vcpu};
pub use rates::{FEATURES, Feature, FeatureRow, MEMORY_RATE, RateInput, RateRow};
pub(crate) use row::is_absent;
pub use row::{FieldKind, FieldRow, Section, Sent, mark_of};
pub use storage::{
    BackingImage, BlockJobLine, DiskLatency, EnergyMonitor, EnergyPackage, LatencyBin, OPERATIONS,
    StorageDetails, TimedGroup, write_requests, write_snapshots,
};

/// Tags of every line of a guest.
pub const GUEST_TAGS: [&str; 3] = ["VMID", "name", "uuid"];
/// Tags of a device's lines, behind the guest's and before those of [`DeviceTag`].
pub const TAGS_OF_DEVICES: [&str; 2] = ["devtype", "device"];
/// The tag of a hypervisor, where there is more than one.
pub const SOURCE_TAG: &str = "source";
/// Names that databases keep for themselves.
pub const KEPT_BY_DATABASES: [&str; 3] = ["time", "_field", "_measurement"];
/// Why a field is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskedBy {
    /// It is always printed.
    Nobody,
    /// A name in `extra`.
    Extra(Extra),
    /// A name in `features`.
    Feature(Feature),
}

/// A field of the output, and the line that it is on.
#[derive(Clone, Debug)]
pub struct OutputField {
    /// The measurement.
    pub measurement: &'static str,
    /// The devices that have it, `nic` or `disk`; empty elsewhere.
    pub devtype: &'static str,
    /// Tags of the line beside the guest's (for vm_collector, all tags).
    pub tags: &'static [&'static str],
    /// Why it is printed.
    pub asked_by: AskedBy,
    /// Its row.
    pub row: FieldRow,
    /// Where it comes from: libvirt's name, a call, a path in the domain's XML; empty where the text says it.
    pub source: String,
}

/// Every field of the output, in its order; of a measurement that libvirt gives names to, those that are
/// known, where an asterisk in a name matches any letters.
pub fn output_fields() -> &'static [OutputField] {
    static FIELDS: LazyLock<Vec<OutputField>> = LazyLock::new(|| {
        let mut fields = default_fields();
        fields.extend(extra_fields());
        fields
    });
    &FIELDS
}

fn rows_of(sections: &[Section]) -> impl Iterator<Item = (AskedBy, FieldRow)> {
    let rows = sections.iter().flat_map(|it| it.rows.iter().map(|row| (it.extra, *row)));
    rows.map(|(extra, row)| (extra.map_or(AskedBy::Nobody, AskedBy::Extra), row))
}

fn default_fields() -> Vec<OutputField> {
    let asked = FEATURES.iter().flat_map(|it| {
        let asked_by = AskedBy::Feature(it.feature);
        it.rates.iter().flat_map(move |rate| [(asked_by, rate.field), (asked_by, rate.angle())])
    });
    let memory = [(AskedBy::Nobody, MEMORY_RATE.field), (AskedBy::Nobody, MEMORY_RATE.angle())];
    let sums = Nic::SUMS.iter().chain(Disk::SUMS).map(|row| (AskedBy::Nobody, *row));
    let totals = [guest::TOTALS, Cpu::SECTIONS, Memory::SECTIONS].concat();
    let lines: [(&str, &str, Vec<_>); 5] = [
        ("vm_metrics", "", rows_of(guest::METRICS).collect()),
        ("vm_features", "", memory.into_iter().chain(asked).collect()),
        ("vm_devices", "nic", rows_of(Nic::SECTIONS).collect()),
        ("vm_devices", "disk", rows_of(Disk::SECTIONS).collect()),
        ("vm_totals", "", sums.chain(rows_of(&totals)).collect()),
    ];
    let fields = lines.into_iter().flat_map(|(measurement, devtype, rows)| {
        let tags: &[&str] = if devtype.is_empty() { &[] } else { &TAGS_OF_DEVICES };
        rows.into_iter().map(move |(asked_by, row)| {
            // In vm_totals a row of a part is a sum over the guest's parts.
            let is_sum = measurement == "vm_totals" && row.group.contains(".N.");
            let source = format!("{}{}", if is_sum { "the sum of " } else { "" }, row.source());
            OutputField { measurement, devtype, tags, asked_by, row, source }
        })
    });
    fields.filter(|field| !field.row.name.is_empty()).collect()
}

/// The measurements behind vm_totals.
fn extra_fields() -> Vec<OutputField> {
    const OWN: &[Section] = &[
        Section::of(Extra::Vcpus, &[Details::cpuset.named("cpuset")]),
        Section::of(Extra::Jobs, Job::WORDS),
        Section::of(Extra::MemoryBandwidth, &[Monitor::vcpus]),
        Section::of(Extra::CpuCache, &[Monitor::vcpus]),
        Section::of(Extra::Numa, &[details::CELLS]),
        Section::of(Extra::Info, &[guest::VCPU_MAXIMUM]),
        Section::of(Extra::Other, &[more::OTHER]),
        Section::of(Extra::Events, Job::SECTIONS[0].rows),
    ];
    let of_structs = [
        Vcpu::SECTIONS,
        DirtyRate::SECTIONS,
        MonitorPart::SECTIONS,
        Job::SECTIONS,
        NicLimits::SECTIONS,
        DiskLimits::SECTIONS,
        Details::SECTIONS,
        Cell::SECTIONS,
        NodesOfCell::SECTIONS,
        collector::COLLECTOR,
        events::EVENTS,
        anomalies::ANOMALIES,
        OWN,
    ];
    let sent = AS_SENT.iter().map(|it| Section::of(it.extra, it.rows));
    let sections = of_structs
        .iter()
        .chain(more::LISTS)
        .chain(host::HOST)
        .chain(storage::STORAGE)
        .copied()
        .flatten()
        .copied();
    let mut sections: Vec<Section> = sections.chain(sent).collect();
    sections.sort_by_key(|section| section.extra.map(|extra| extra as usize));
    let rows = sections.iter().filter_map(|it| Some((it.extra?, it.rows)));
    rows.flat_map(|(extra, rows)| rows.iter().map(move |row| field_of(extra, *row))).collect()
}

fn field_of(extra: Extra, row: FieldRow) -> OutputField {
    let ExtraRow { measurement, tags, .. } = *extra.row();
    let source = match extra {
        Extra::MemoryBandwidth => {
            format!("memory.bandwidth.{}", row.source().replace("part", "node"))
        }
        Extra::CpuCache => format!("cpu.cache.{}", row.source().replace("part", "bank")),
        _ => row.source(),
    };
    OutputField { measurement, devtype: "", tags, asked_by: AskedBy::Extra(extra), row, source }
}

/// Whether a line of the output may have a tag or a field of this name, with any setting.
pub fn is_name(name: &str) -> bool {
    NAMES.contains(name)
}

/// The same, ignoring case.
pub fn is_name_but_for_case(name: &str) -> bool {
    static LOWER: LazyLock<HashSet<String>> =
        LazyLock::new(|| NAMES.iter().map(|name| name.to_ascii_lowercase()).collect());
    LOWER.contains(&name.to_ascii_lowercase())
}

/// The names of all tags and fields.
static NAMES: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    let fields = output_fields().iter();
    let of_fields = fields.flat_map(|it| it.tags.iter().copied().chain([it.row.name]));
    let of_devices = DeviceTag::ALL.iter().map(|tag| tag.name());
    let of_all = GUEST_TAGS.into_iter().chain([SOURCE_TAG]).chain(of_devices).chain(of_fields);
    of_all.filter(|name| !name.contains('*')).collect()
});

/// Whether a field that libvirt names may not have this name: a line of such fields has a tag of that name,
/// or a database keeps it for itself.
pub fn is_taken(name: &str) -> bool {
    let tags = [&GUEST_TAGS[..], Extra::Other.row().tags, &[SOURCE_TAG], &KEPT_BY_DATABASES];
    tags.iter().any(|names| names.contains(&name))
}
