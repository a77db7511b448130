//! The rows of what only `extra` prints of disks' storage: jobs, backing chains, snapshots, latencies; and of
//! energy, which comes by the same statistics.

use smol_str::SmolStr;

use crate::libvirt::{OwnedValue, Snapshots, Value};
use crate::line_protocol::Fields;
use crate::sample::{fill_indexed, split_index};

use super::row::statistics;
use super::{Extra, FieldKind, FieldRow, MissingPolicy, Section, Sent};

statistics! {
    /// A job of one disk.
    BlockJobLine "virDomainGetBlockJobInfo: " [
        /// The disk's target.
        target: String,
        /// virDomainBlockJobType
        kind: i64,
    ] {
        BlockJobs serde(skip) {
            done_bytes b"cur" => "done_bytes" gauge "bytes" "progress";
            total_bytes b"end" => "total_bytes" gauge "bytes" "its end, which may change";
            bytes_sec b"bandwidth" => "bytes_sec" gauge "bytes/s" "maximum rate; 0: unlimited";
        }
    }
}

statistics! {
    /// An image of a disk's backing chain.
    BackingImage "block.N." [
        /// Its number N in block.N.
        index: u32,
    ] {
        always serde(skip) {
            target b"name" text "" "the disk's target";
            backing_index b"backingIndex" gauge "" "its place in the chain";
        }
        Backing serde(skip) {
            allocation_bytes b"allocation" => "allocation_bytes" gauge "bytes" "highest offset that was written";
            capacity_bytes b"capacity" => "capacity_bytes" gauge "bytes" "size that a guest sees";
            physical_bytes b"physical" => "physical_bytes" gauge "bytes" "size of the file or device that contains it";
            path b"path" => "path" text "" "where it is stored";
        }
    }
}

impl BackingImage {
    /// The images in these statistics of disks, in libvirt's order.
    pub fn of<'a>(parameters: impl Iterator<Item = (&'a [u8], Value<'a>)>) -> Vec<Self> {
        let mut images = Vec::new();
        for (name, value) in parameters {
            if let Some(field) = name.strip_prefix(b"block.") {
                fill_indexed(&mut images, field, value);
            }
        }
        images.retain(|image: &Self| !image.target.is_empty());
        images
    }
}

const fn row(name: &'static str, unit: &'static str, text: &'static str) -> FieldRow {
    FieldRow { name, kind: FieldKind::Gauge, unit, group: "", statistic: b"", text }
}

const fn from(row: FieldRow, statistic: &'static [u8]) -> FieldRow {
    FieldRow { statistic, ..row }
}

/// The rows of vm_snapshots.
const SNAPSHOTS: [FieldRow; 4] = [
    from(row("count", "snapshots", "that libvirt knows"), b"virDomainSnapshotNum"),
    from(
        row("oldest_age_s", "s", "age of the oldest, at the time when the device list was read"),
        b"virDomainSnapshotGetXMLDesc: creationTime",
    ),
    from(
        row("newest_age_s", "s", "age of the newest"),
        b"virDomainSnapshotGetXMLDesc: creationTime",
    ),
    from(row("checkpoints", "checkpoints", "that libvirt knows"), b"virDomainListAllCheckpoints"),
];

/// Writes the fields of vm_snapshots.
pub fn write_snapshots(fields: &mut Fields<'_>, snapshots: &Snapshots, now_unix_s: u64) {
    let [count, oldest, newest, checkpoints] = SNAPSHOTS;
    let age = |made: Option<u64>| made.map(|made| now_unix_s.saturating_sub(made));
    let omit = MissingPolicy::OMIT;
    omit.field(fields, count.name, snapshots.count);
    omit.field(fields, oldest.name, age(snapshots.oldest_s));
    omit.field(fields, newest.name, age(snapshots.newest_s));
    omit.field(fields, checkpoints.name, snapshots.checkpoints);
}

statistics! {
    /// What a disk did in the last interval of some seconds.
    TimedGroup "block.N.timed_group.M." [
        /// Its number M.
        index: u32,
        /// Whatever else libvirt says, by its own name.
        latencies: Vec<(SmolStr, OwnedValue)>,
    ] {
        always serde(skip) {
            interval_s b"interval" gauge "s" "how long the interval is";
        }
    }
    else latency
}

fn latency(group: &mut TimedGroup, field: &[u8], value: impl Sent) -> bool {
    let name = String::from_utf8_lossy(field);
    let is_known = OPERATIONS.iter().any(|(_, begins)| {
        name.strip_prefix(begins).is_some_and(|it| TIMED.iter().any(|(_, ends, _)| *ends == it))
    });
    let value = match (value.unsigned(), value.float()) {
        (Some(number), _) => Some(OwnedValue::Uint(number)),
        (None, number) => number.map(OwnedValue::Float),
    };
    if let (true, Some(value)) = (is_known, value) {
        group.latencies.push((name.into(), value));
    }
    is_known
}

statistics! {
    /// A bin of a histogram.
    LatencyBin "block.N.latency_histogram.read.bin.M." [
        /// Its number M.
        index: u32,
    ] {
        always serde(skip) {
            start_ns b"start" gauge "ns" "where it begins";
            value b"value" counter "requests" "requests that took so long";
        }
    }
}

/// The latencies of one disk.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DiskLatency {
    /// Its number N in block.N.
    pub index: u32,
    /// The bins of each operation, in the order of [`OPERATIONS`].
    pub bins: [Vec<LatencyBin>; OPERATIONS.len()],
    /// The last intervals.
    pub timed: Vec<TimedGroup>,
}

/// Operations: as the tag `op` has them and as the names of histograms do, and how the names of timed groups
/// begin.
pub const OPERATIONS: [(&str, &str); 4] =
    [("read", "rd"), ("write", "wr"), ("flush", "flush"), ("zone_append", "zone_append")];

/// Fields of timed groups: their names, how libvirt's end, and whether they may have a fraction.
const TIMED: [(&str, &str, bool); 4] = [
    ("latency_min_ns", "_latency_min", false),
    ("latency_max_ns", "_latency_max", false),
    ("latency_avg_ns", "_latency_avg", false),
    ("queue_depth_avg", "_queue_depth_avg", true),
];

/// The rows of vm_disk_latency.
const LATENCY: [FieldRow; 5] = [
    FieldRow {
        kind: FieldKind::Counter,
        ..from(
            row(
                "requests",
                "requests",
                "that took at most le nanoseconds since the guest started, or since the histogram was set",
            ),
            b"block.N.latency_histogram.OP.bin.M.value",
        )
    },
    from(
        row("latency_min_ns", "ns", "the shortest in the last interval_s seconds"),
        b"block.N.timed_group.M.OP_latency_min",
    ),
    from(
        row("latency_max_ns", "ns", "the longest in that time"),
        b"block.N.timed_group.M.OP_latency_max",
    ),
    from(
        row("latency_avg_ns", "ns", "the mean of that time"),
        b"block.N.timed_group.M.OP_latency_avg",
    ),
    FieldRow {
        kind: FieldKind::Float,
        ..from(
            row("queue_depth_avg", "requests", "how many were under way in that time, on average"),
            b"block.N.timed_group.M.OP_queue_depth_avg",
        )
    },
];

impl DiskLatency {
    /// Takes in a statistic of a disk, such as `timed_group.0.interval`; whether it is one of these.
    fn take(&mut self, field: &[u8], value: Value<'_>) -> bool {
        if let Some(field) = field.strip_prefix(b"timed_group.") {
            return fill_indexed(&mut self.timed, field, value);
        }
        let Some(field) = field.strip_prefix(b"latency_histogram.") else { return false };
        let operations = OPERATIONS.iter().zip(&mut self.bins);
        let mut found = operations.filter_map(|((operation, _), bins)| {
            let field = field.strip_prefix(operation.as_bytes())?.strip_prefix(b".bin.")?;
            Some(fill_indexed(bins, field, value))
        });
        found.next().unwrap_or(false)
    }

    /// The histogram of each operation: its name, and each bin's upper bound, none for the last one, with the
    /// requests in it and in those before it.
    pub fn histograms(&self) -> impl Iterator<Item = (&'static str, Vec<(Option<u64>, u64)>)> {
        OPERATIONS.iter().zip(&self.bins).map(|((operation, _), bins)| {
            let mut sorted: Vec<(u64, u64)> =
                bins.iter().filter_map(|bin| Some((bin.start_ns?, bin.value?))).collect();
            sorted.sort_unstable();
            let ends = sorted.iter().skip(1).map(|&(start, _)| Some(start)).chain([None]);
            let mut sum: u64 = 0;
            let cumulated = sorted.iter().zip(ends).map(|(&(_, value), end)| {
                sum = sum.saturating_add(value);
                (end, sum)
            });
            (*operation, cumulated.collect())
        })
    }
}

impl TimedGroup {
    /// Writes the fields of one of [`OPERATIONS`].
    pub fn write_operation(&self, fields: &mut Fields<'_>, begins: &str) {
        for (field, ends, is_float) in TIMED {
            let is_it = |name: &str| name.strip_prefix(begins) == Some(ends);
            let Some((_, value)) = self.latencies.iter().find(|(name, _)| is_it(name)) else {
                continue;
            };
            match (value, is_float) {
                (OwnedValue::Uint(number), true) => fields.float(field, *number as f64),
                (OwnedValue::Float(number), true) => fields.float(field, *number),
                (OwnedValue::Uint(number), false) => fields.unsigned(field, *number),
                _ => {}
            }
        }
    }
}

/// Writes the field of a histogram's bin.
pub fn write_requests(fields: &mut Fields<'_>, requests: u64) {
    fields.unsigned(LATENCY[0].name, requests);
}

statistics! {
    /// A monitor of the energy that some virtual CPUs use.
    EnergyMonitor "cpu.energy.monitor.N." [
        /// Its number N.
        index: u32,
        /// What it says of each package of the host.
        packages: Vec<EnergyPackage>,
    ] {
        always serde(skip) {
            name b"name" text "" "its name";
            vcpus b"vcpus" text "" "vCPUs that it monitors";
        }
    }
    else energy_package
}

fn energy_package(monitor: &mut EnergyMonitor, field: &[u8], value: impl Sent) -> bool {
    let package = field.strip_prefix(b"pkg.");
    package.is_some_and(|field| fill_indexed(&mut monitor.packages, field, value))
}

statistics! {
    /// What a monitor says of one package of the host.
    EnergyPackage "cpu.energy.monitor.N.pkg.M." [
        /// Its number M.
        index: u32,
        /// What it counts, by libvirt's name.
        sent: Vec<(SmolStr, OwnedValue)>,
    ] {
        always serde(skip) {
            id b"id" gauge "" "the number of the package";
        }
    }
    else energy
}

fn energy(package: &mut EnergyPackage, field: &[u8], value: impl Sent) -> bool {
    package.sent.push((String::from_utf8_lossy(field).into(), value.owned()));
    true
}

const ENERGY: [FieldRow; 3] = [
    FieldRow {
        name: "vcpus",
        kind: FieldKind::Text,
        ..from(row("", "vCPUs", "vCPUs that it monitors"), b"cpu.energy.monitor.N.vcpus")
    },
    FieldRow {
        name: "*",
        kind: FieldKind::AsSent,
        ..from(row("", "", "named as in libvirt"), b"cpu.energy.monitor.N.pkg.M.*")
    },
    FieldRow {
        kind: FieldKind::AsSent,
        ..from(
            row("core_energy", "", "an example: what the cores used"),
            b"cpu.energy.monitor.N.pkg.M.core_energy",
        )
    },
];

/// The rows of these measurements.
pub(super) const STORAGE: &[&[Section]] = &[
    &[Section::of(
        Extra::BlockJobs,
        &[BlockJobLine::done_bytes.word(
            "type",
            b"type",
            "pull, copy, commit, active_commit or backup",
        )],
    )],
    BlockJobLine::SECTIONS,
    BackingImage::SECTIONS,
    &[
        Section::of(Extra::Snapshots, &SNAPSHOTS),
        Section::of(Extra::DiskLatency, &LATENCY),
        Section::of(Extra::Energy, &ENERGY),
    ],
];

/// What only these names print of one guest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StorageDetails {
    /// The jobs of its disks.
    pub block_jobs: Vec<BlockJobLine>,
    /// The images of all backing chains.
    pub backing: Vec<BackingImage>,
    /// The latencies of its disks.
    pub latency: Vec<DiskLatency>,
    /// cpu.energy.monitor.N
    pub energy: Vec<EnergyMonitor>,
}

impl StorageDetails {
    /// Takes in a statistic of a disk that `Disk` does not know, such as `0.timed_group.1.interval`; whether it
    /// is one of these.
    pub(super) fn take_of_disk(&mut self, field: &[u8], value: Value<'_>) -> bool {
        let Some((index, field)) = split_index(field) else { return false };
        if !field.starts_with(b"timed_group.") && !field.starts_with(b"latency_histogram.") {
            return false;
        }
        let place = self.latency.iter().position(|it| it.index == index);
        let place = place.unwrap_or_else(|| {
            self.latency.push(DiskLatency { index, ..DiskLatency::default() });
            self.latency.len() - 1
        });
        self.latency.get_mut(place).is_some_and(|it| it.take(field, value))
    }
}
