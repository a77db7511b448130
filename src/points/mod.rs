//! The one table of measurements, tags and fields, and what stands for what is missing.
//!
//! ```text
//! mod.rs    the four measurements that are always there
//! extra.rs  those that only `extra` turns on
//! ```
//!
//! <https://docs.influxdata.com/influxdb/v1/concepts/key_concepts/>

use crate::config::extra::{Extra, Extras};
use crate::config::{DeviceTag, Feature, Missing};
use crate::devices::{DiskDevice, Inventory, NicDevice};
use crate::features::{Rates, angle_deg};
use crate::line_protocol::{Fields, Lines, Tags};
use crate::sample::words;
use crate::sample::{Completeness, Disk, Domain, Memory, Nic};

mod extra;
mod user_tags;

pub use extra::{CollectedGuests, Collector, write_collector};
pub use user_tags::UserTags;
/// A rate of vm_features, the field of its angle, and where it comes from.
type Rate = (&'static str, &'static str, fn(&Rates) -> Option<f64>);

const MEMORY_RATE: [Rate; 1] =
    [("memory_rate_kb_per_sec", "memory_angle_deg", |rates| rates.memory_kib_per_s)];

const NIC_RATES: [Rate; 4] = [
    ("net_rxbytes_rate", "net_rxbytes_angle_deg", |rates| rates.nics.rx_bytes),
    ("net_txbytes_rate", "net_txbytes_angle_deg", |rates| rates.nics.tx_bytes),
    ("net_rxpackets_rate", "net_rxpackets_angle_deg", |rates| rates.nics.rx_packets),
    ("net_txpackets_rate", "net_txpackets_angle_deg", |rates| rates.nics.tx_packets),
];

const DISK_RATES: [Rate; 4] = [
    ("disk_rd_req_rate", "disk_rd_req_angle_deg", |rates| rates.disks.rd_reqs),
    ("disk_rd_bytes_rate", "disk_rd_bytes_angle_deg", |rates| rates.disks.rd_bytes),
    ("disk_wr_reqs_rate", "disk_wr_reqs_angle_deg", |rates| rates.disks.wr_reqs),
    ("disk_wr_bytes_rate", "disk_wr_bytes_angle_deg", |rates| rates.disks.wr_bytes),
];

/// What to print of the guests, beside the default.
#[derive(Clone, Debug)]
pub struct Choice {
    /// What stands for a statistic that is not offered.
    pub missing: Missing,
    /// More measurements and fields.
    pub extra: Extras,
    /// More rates.
    pub features: Vec<Feature>,
    /// More tags on devices, in the schema's order.
    pub device_tags: Vec<DeviceTag>,
    /// Names of the user's own tags: no field whose name is libvirt's may have one of them.
    pub user_tags: Vec<String>,
}

impl Choice {
    /// What is printed where nothing is configured.
    pub const DEFAULT: Self = Self {
        missing: Missing::Zero,
        extra: Extras::NONE,
        features: Vec::new(),
        device_tags: Vec::new(),
        user_tags: Vec::new(),
    };
}

/// One guest, ready to be printed.
pub struct Guest<'a> {
    /// What was measured.
    pub sample: &'a Domain,
    /// Its rates, where there is an earlier sample.
    pub rates: Option<&'a Rates>,
    /// Its devices, for their tags.
    pub inventory: Option<&'a Inventory>,
}

/// Writes guests' lines. Keeps the memory of its tags from one guest to the next.
#[derive(Default)]
pub struct Writer {
    guest: Tags,
    device: Tags,
    types: extra::Types,
}

impl Writer {
    /// Writes the lines of one guest in the schema's order. `user` are the tags that the user
    /// configured, `now_unix_s` is the time of the collection.
    pub fn write(
        &mut self,
        lines: &mut Lines,
        guest: &Guest<'_>,
        user: &Tags,
        choice: &Choice,
        now_unix_s: u64,
    ) {
        let Self { guest: tags, device, types } = self;
        tags.clear();
        tags.add_number("VMID", guest.sample.id.into());
        tags.add("name", &guest.sample.name);
        tags.add("uuid", guest.sample.uuid.as_hyphenated().encode_lower(&mut [0; 36]));
        let rule = Rule::of(guest.sample, choice.missing);
        let page = Page { tags, user, guest, choice, rule };
        if guest.sample.id < 0 {
            page.write_inactive(lines);
        } else {
            page.write_running(lines, device, now_unix_s);
            if choice.extra != Extras::NONE {
                extra::write(&page, lines, device, types);
            }
        }
    }
}

/// What all lines of one guest have in common.
struct Page<'a> {
    tags: &'a Tags,
    user: &'a Tags,
    guest: &'a Guest<'a>,
    choice: &'a Choice,
    rule: Rule,
}

impl Page<'_> {
    fn write_running(&self, lines: &mut Lines, device: &mut Tags, now_unix_s: u64) {
        let (sample, rule) = (self.guest.sample, self.rule);
        self.line(lines, "vm_metrics", |fields| {
            if let Some(state) = rule.of_signed(sample.state) {
                fields.text("state", words::state(state));
            }
            rule.field(fields, "cpu_count", sample.vcpu_count);
            rule.field(fields, "memory_max_kb", sample.memory.maximum_kib);
            rule.field(fields, "memory_used_kb", sample.memory.current_kib);
            rule.field(fields, "cputime_ns", sample.cpu.time_ns);
            if self.choice.extra.has(Extra::StateReason)
                && let (Some(state), Some(reason)) = (sample.state, sample.state_reason)
            {
                fields.text("state_reason", words::state_reason(state, reason));
            }
        });
        if let Some(rates) = self.guest.rates {
            self.line(lines, "vm_features", |fields| {
                write_features(fields, rates, sample, self.choice, now_unix_s);
            });
        }
        self.write_devices(lines, device);
        self.line(lines, "vm_totals", |fields| {
            write_nic_sums(fields, rule, &sample.nics);
            write_disk_sums(fields, rule, &sample.disks);
            write_memory(fields, rule, &sample.memory);
            rule.field(fields, "timeusr", sample.cpu.user_ns);
            rule.field(fields, "timesys", sample.cpu.system_ns);
            rule.field(fields, "cpus", sample.vcpu_count);
            rule.field(fields, "cputime", sample.cpu.time_ns);
            if let Some(state) = rule.of_signed(sample.state) {
                fields.integer("state", state);
            }
            extra::write_totals(fields, self);
        });
    }

    fn write_devices(&self, lines: &mut Lines, tags: &mut Tags) {
        let (inventory, wanted) = (self.guest.inventory, &self.choice.device_tags);
        for nic in &self.guest.sample.nics {
            start_device(tags, "nic", &nic.name);
            if let Some(known) = inventory.and_then(|it| it.nic(&nic.name)) {
                add_tags(tags, wanted, |tag| nic_tag(known, tag));
            }
            self.own(lines, "vm_devices", tags, |fields| write_nic(fields, self.rule, nic));
        }
        for disk in &self.guest.sample.disks {
            start_device(tags, "disk", &disk.name);
            if let Some(known) = inventory.and_then(|it| it.disk(&disk.name)) {
                add_tags(tags, wanted, |tag| disk_tag(known, tag));
            }
            self.own(lines, "vm_devices", tags, |fields| {
                write_disk(fields, self.rule, disk);
                write_more_of_disk(fields, self.choice.extra, disk);
            });
        }
    }

    /// A line of a part of the guest, which has tags of its own.
    fn own(
        &self,
        lines: &mut Lines,
        measurement: &str,
        tags: &Tags,
        fill: impl FnOnce(&mut Fields<'_>),
    ) {
        lines.line(measurement, &[self.tags, tags, self.user], fill);
    }

    /// A guest that does not run has no more than this, whatever stands for missing values.
    fn write_inactive(&self, lines: &mut Lines) {
        let sample = self.guest.sample;
        let number = |fields: &mut Fields<'_>, name, value: Option<u64>| {
            if let Some(value) = value {
                fields.unsigned(name, value);
            }
        };
        self.line(lines, "vm_metrics", |fields| {
            if let Some(state) = sample.state {
                fields.text("state", words::state(state));
            }
            number(fields, "cpu_count", sample.vcpu_count);
            number(fields, "memory_max_kb", sample.memory.maximum_kib);
        });
        self.line(lines, "vm_totals", |fields| {
            number(fields, "cpus", sample.vcpu_count);
            if let Some(state) = sample.state {
                fields.integer("state", state);
            }
        });
    }

    fn line(&self, lines: &mut Lines, measurement: &str, fill: impl FnOnce(&mut Fields<'_>)) {
        lines.line(measurement, &[self.tags, self.user], fill);
    }
}

/// The fields of a NIC's line. They are written one by one, as all of a guest's are, so that the length of
/// each key is known when this is compiled.
fn write_nic(fields: &mut Fields<'_>, rule: Rule, nic: &Nic) {
    rule.field(fields, "rxbytes", nic.rx_bytes);
    rule.field(fields, "rxpackets", nic.rx_packets);
    rule.field(fields, "rxerrors", nic.rx_errors);
    rule.field(fields, "rxdrops", nic.rx_drops);
    rule.field(fields, "txbytes", nic.tx_bytes);
    rule.field(fields, "txpackets", nic.tx_packets);
    rule.field(fields, "txerrors", nic.tx_errors);
    rule.field(fields, "txdrops", nic.tx_drops);
}

fn write_disk(fields: &mut Fields<'_>, rule: Rule, disk: &Disk) {
    rule.field(fields, "rd_req", disk.rd_reqs);
    rule.field(fields, "rd_bytes", disk.rd_bytes);
    rule.field(fields, "wr_reqs", disk.wr_reqs);
    rule.field(fields, "wr_bytes", disk.wr_bytes);
    rule.field(fields, "errors", disk.errors);
}

/// What `extra` adds to a disk's line.
fn write_more_of_disk(fields: &mut Fields<'_>, extra: Extras, disk: &Disk) {
    if !extra.has_any(&[Extra::DiskTimes, Extra::DiskSpace]) {
        return;
    }
    let times = [
        ("rd_time_ns", disk.rd_time_ns),
        ("wr_time_ns", disk.wr_time_ns),
        ("fl_reqs", disk.fl_reqs),
        ("fl_time_ns", disk.fl_time_ns),
    ];
    let space = [
        ("allocation_bytes", disk.allocation_bytes),
        ("capacity_bytes", disk.capacity_bytes),
        ("physical_bytes", disk.physical_bytes),
        ("threshold_bytes", disk.threshold_bytes),
    ];
    for (is_wanted, values) in
        [(extra.has(Extra::DiskTimes), &times[..]), (extra.has(Extra::DiskSpace), &space[..])]
    {
        for &(name, value) in values.iter().filter(|_| is_wanted) {
            if let Some(value) = value {
                fields.unsigned(name, value);
            }
        }
    }
}

fn write_nic_sums(fields: &mut Fields<'_>, rule: Rule, nics: &[Nic]) {
    rule.sum(fields, "net_rxbytes", nics, |nic| nic.rx_bytes);
    rule.sum(fields, "net_rxpackets", nics, |nic| nic.rx_packets);
    rule.sum(fields, "net_rxerrors", nics, |nic| nic.rx_errors);
    rule.sum(fields, "net_rxdrops", nics, |nic| nic.rx_drops);
    rule.sum(fields, "net_txbytes", nics, |nic| nic.tx_bytes);
    rule.sum(fields, "net_txpackets", nics, |nic| nic.tx_packets);
    rule.sum(fields, "net_txerrors", nics, |nic| nic.tx_errors);
    rule.sum(fields, "net_txdrops", nics, |nic| nic.tx_drops);
}

fn write_disk_sums(fields: &mut Fields<'_>, rule: Rule, disks: &[Disk]) {
    rule.sum(fields, "disk_rd_req", disks, |disk| disk.rd_reqs);
    rule.sum(fields, "disk_rd_bytes", disks, |disk| disk.rd_bytes);
    rule.sum(fields, "disk_wr_reqs", disks, |disk| disk.wr_reqs);
    rule.sum(fields, "disk_wr_bytes", disks, |disk| disk.wr_bytes);
    rule.sum(fields, "disk_errors", disks, |disk| disk.errors);
}

/// Memory fields of vm_totals, KiB but for the faults, which are counts.
fn write_memory(fields: &mut Fields<'_>, rule: Rule, memory: &Memory) {
    rule.field(fields, "memactual", memory.current_kib);
    rule.field(fields, "memrss", memory.rss_kib);
    rule.field(fields, "memavailable", memory.available_kib);
    rule.field(fields, "memusable", memory.usable_kib);
    rule.field(fields, "memswap_in", memory.swap_in_kib);
    rule.field(fields, "memswap_out", memory.swap_out_kib);
    rule.field(fields, "memmajor_fault", memory.major_faults);
    rule.field(fields, "memminor_fault", memory.minor_faults);
    rule.field(fields, "memdisk_cache", memory.disk_caches_kib);
}

fn start_device(tags: &mut Tags, devtype: &str, device: &str) {
    tags.clear();
    tags.add("devtype", devtype);
    tags.add("device", device);
}

fn add_tags<'a>(
    tags: &mut Tags,
    wanted: &[DeviceTag],
    value: impl Fn(DeviceTag) -> Option<&'a String>,
) {
    for &tag in wanted {
        if let Some(value) = value(tag) {
            tags.add(tag.name(), value);
        }
    }
}

fn nic_tag(nic: &NicDevice, tag: DeviceTag) -> Option<&String> {
    match tag {
        DeviceTag::Mac => nic.mac.as_ref(),
        DeviceTag::Model => nic.model.as_ref(),
        DeviceTag::Alias => nic.alias.as_ref(),
        DeviceTag::Network => nic.network.as_ref(),
        DeviceTag::Bus | DeviceTag::Serial | DeviceTag::Path => None,
    }
}

fn disk_tag(disk: &DiskDevice, tag: DeviceTag) -> Option<&String> {
    match tag {
        DeviceTag::Model => disk.model.as_ref(),
        DeviceTag::Bus => disk.bus.as_ref(),
        DeviceTag::Serial => disk.serial.as_ref(),
        DeviceTag::Alias => disk.alias.as_ref(),
        DeviceTag::Path => disk.path.as_ref(),
        DeviceTag::Mac | DeviceTag::Network => None,
    }
}

/// What stands for a value that is missing, for one guest.
#[derive(Clone, Copy)]
struct Rule {
    missing: Missing,
    /// Whether the guest answered wholly: else what is missing is unknown, and left out.
    is_whole: bool,
}

impl Rule {
    fn of(sample: &Domain, missing: Missing) -> Self {
        Self { missing, is_whole: sample.completeness == Completeness::Complete }
    }

    fn stands_zero(self) -> bool {
        self.is_whole && self.missing == Missing::Zero
    }

    #[inline(always)]
    fn field(self, fields: &mut Fields<'_>, name: &str, value: Option<u64>) {
        match value {
            Some(value) => fields.unsigned(name, value),
            None if self.stands_zero() => fields.unsigned(name, 0),
            None => {}
        }
    }

    fn of_signed(self, value: Option<i64>) -> Option<i64> {
        value.or(if self.stands_zero() { Some(0) } else { None })
    }

    /// The sum over the devices: where zeros stand for missing values, over what could be read; else
    /// only if every device has the value.
    #[inline(always)]
    fn sum<T>(
        self,
        fields: &mut Fields<'_>,
        name: &str,
        devices: &[T],
        value: impl Fn(&T) -> Option<u64>,
    ) {
        if devices.is_empty() && !self.is_whole {
            // Perhaps there are some, and they could not be read.
            return;
        }
        let mut sum: u64 = 0;
        for device in devices {
            match value(device) {
                Some(value) => sum = sum.saturating_add(value),
                None if self.stands_zero() => {}
                None => return,
            }
        }
        fields.unsigned(name, sum);
    }
}

fn write_features(
    fields: &mut Fields<'_>,
    rates: &Rates,
    sample: &Domain,
    choice: &Choice,
    now_unix_s: u64,
) {
    let write = |fields: &mut Fields<'_>, table: &[Rate]| {
        for (field, angle, value) in table {
            if let Some(rate) = value(rates) {
                fields.float(field, rate);
                fields.float(angle, angle_deg(rate));
            }
        }
    };
    let float = |fields: &mut Fields<'_>, name, value: Option<f64>| {
        if let Some(value) = value {
            fields.float(name, value);
        }
    };
    write(fields, &MEMORY_RATE);
    for feature in &choice.features {
        match feature {
            Feature::Net => write(fields, &NIC_RATES),
            Feature::Disk => write(fields, &DISK_RATES),
            Feature::Cpu => {
                float(fields, "cpu_percent", rates.cpu_percent);
                float(fields, "steal_percent", rates.steal_percent);
            }
            Feature::Latency => {
                float(fields, "disk_rd_ms_per_req", rates.rd_ms_per_req);
                float(fields, "disk_wr_ms_per_req", rates.wr_ms_per_req);
                float(fields, "disk_fl_ms_per_req", rates.fl_ms_per_req);
            }
            Feature::Balloon => {
                let last_update = sample.memory.last_update_s.filter(|&moment| moment > 0);
                let age = last_update.map(|moment| now_unix_s.saturating_sub(moment) as f64);
                float(fields, "balloon_age_sec", age);
            }
        }
    }
}

#[cfg(test)]
mod tests;
