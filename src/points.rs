//! The one table of measurements, tags and fields, and what stands for what is missing.
//!
//! <https://docs.influxdata.com/influxdb/v1/concepts/key_concepts/>

use crate::config::{DeviceTag, Feature, Missing};
use crate::devices::{DiskDevice, Inventory, NicDevice};
use crate::features::{Rates, angle_deg};
use crate::line_protocol::{Fields, Lines, Tags};
use crate::sample::{Answer, Disk, Domain, Memory, Nic};

/// A field of a device's line, its sum's field in vm_totals, and where the value comes from.
struct Counter<T> {
    field: &'static str,
    total: &'static str,
    value: fn(&T) -> Option<u64>,
}

const NIC: [Counter<Nic>; 8] = [
    Counter { field: "rxbytes", total: "net_rxbytes", value: |nic| nic.rx_bytes },
    Counter { field: "rxpackets", total: "net_rxpackets", value: |nic| nic.rx_packets },
    Counter { field: "rxerrors", total: "net_rxerrors", value: |nic| nic.rx_errors },
    Counter { field: "rxdrops", total: "net_rxdrops", value: |nic| nic.rx_drops },
    Counter { field: "txbytes", total: "net_txbytes", value: |nic| nic.tx_bytes },
    Counter { field: "txpackets", total: "net_txpackets", value: |nic| nic.tx_packets },
    Counter { field: "txerrors", total: "net_txerrors", value: |nic| nic.tx_errors },
    Counter { field: "txdrops", total: "net_txdrops", value: |nic| nic.tx_drops },
];

const DISK: [Counter<Disk>; 5] = [
    Counter { field: "rd_req", total: "disk_rd_req", value: |disk| disk.rd_reqs },
    Counter { field: "rd_bytes", total: "disk_rd_bytes", value: |disk| disk.rd_bytes },
    Counter { field: "wr_reqs", total: "disk_wr_reqs", value: |disk| disk.wr_reqs },
    Counter { field: "wr_bytes", total: "disk_wr_bytes", value: |disk| disk.wr_bytes },
    Counter { field: "errors", total: "disk_errors", value: |disk| disk.errors },
];

/// A memory field, and where it comes from.
type MemoryField = (&'static str, fn(&Memory) -> Option<u64>);

/// Memory fields of vm_totals, KiB but for the faults, which are counts.
const MEMORY: [MemoryField; 9] = [
    ("memactual", |memory| memory.current_kib),
    ("memrss", |memory| memory.rss_kib),
    ("memavailable", |memory| memory.available_kib),
    ("memusable", |memory| memory.usable_kib),
    ("memswap_in", |memory| memory.swap_in_kib),
    ("memswap_out", |memory| memory.swap_out_kib),
    ("memmajor_fault", |memory| memory.major_faults),
    ("memminor_fault", |memory| memory.minor_faults),
    ("memdisk_cache", |memory| memory.disk_caches_kib),
];

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
    /// More rates.
    pub features: Vec<Feature>,
    /// More tags on devices, in the schema's order.
    pub device_tags: Vec<DeviceTag>,
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
        let Self { guest: tags, device } = self;
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
                fields.text("state", state_name(state));
            }
            rule.field(fields, "cpu_count", sample.vcpu_count);
            rule.field(fields, "memory_max_kb", sample.memory.maximum_kib);
            rule.field(fields, "memory_used_kb", sample.memory.current_kib);
            rule.field(fields, "cputime_ns", sample.cpu.time_ns);
        });
        if let Some(rates) = self.guest.rates {
            self.line(lines, "vm_features", |fields| {
                write_features(fields, rates, sample, self.choice, now_unix_s);
            });
        }
        self.write_devices(lines, device);
        self.line(lines, "vm_totals", |fields| {
            for counter in &NIC {
                rule.sum(fields, counter, &sample.nics);
            }
            for counter in &DISK {
                rule.sum(fields, counter, &sample.disks);
            }
            for (field, value) in MEMORY {
                rule.field(fields, field, value(&sample.memory));
            }
            rule.field(fields, "timeusr", sample.cpu.user_ns);
            rule.field(fields, "timesys", sample.cpu.system_ns);
            rule.field(fields, "cpus", sample.vcpu_count);
            rule.field(fields, "cputime", sample.cpu.time_ns);
            if let Some(state) = rule.of_signed(sample.state) {
                fields.integer("state", state);
            }
        });
    }

    fn write_devices(&self, lines: &mut Lines, tags: &mut Tags) {
        let (inventory, wanted) = (self.guest.inventory, &self.choice.device_tags);
        for nic in &self.guest.sample.nics {
            start_device(tags, "nic", &nic.name);
            if let Some(known) = inventory.and_then(|it| it.nic(&nic.name)) {
                add_tags(tags, wanted, |tag| nic_tag(known, tag));
            }
            self.write_device(lines, tags, nic, &NIC);
        }
        for disk in &self.guest.sample.disks {
            start_device(tags, "disk", &disk.name);
            if let Some(known) = inventory.and_then(|it| it.disk(&disk.name)) {
                add_tags(tags, wanted, |tag| disk_tag(known, tag));
            }
            self.write_device(lines, tags, disk, &DISK);
        }
    }

    fn write_device<T>(&self, lines: &mut Lines, tags: &Tags, device: &T, table: &[Counter<T>]) {
        lines.line("vm_devices", &[self.tags, tags, self.user], |fields| {
            for counter in table {
                self.rule.field(fields, counter.field, (counter.value)(device));
            }
        });
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
                fields.text("state", state_name(state));
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
        Self { missing, is_whole: sample.answer == Answer::Whole }
    }

    fn stands_zero(self) -> bool {
        self.is_whole && self.missing == Missing::Zero
    }

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
    fn sum<T>(self, fields: &mut Fields<'_>, counter: &Counter<T>, devices: &[T]) {
        if devices.is_empty() && !self.is_whole {
            // Perhaps there are some, and they could not be read.
            return;
        }
        let mut sum: u64 = 0;
        for device in devices {
            match (counter.value)(device) {
                Some(value) => sum = sum.saturating_add(value),
                None if self.stands_zero() => {}
                None => return,
            }
        }
        fields.unsigned(counter.total, sum);
    }
}

/// libvirt's virDomainState in words.
fn state_name(state: i64) -> &'static str {
    match state {
        0 => "no state",
        1 => "running",
        2 => "blocked",
        3 => "paused",
        4 => "shutdown",
        5 => "shutoff",
        6 => "crashed",
        7 => "suspended",
        _ => "unknown",
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
