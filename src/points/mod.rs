//! The lines of a guest, in their order, and their tags. The fields of each line are in `schema`.
//!
//! ```text
//! mod.rs        the four measurements that are always there
//! anomalies.rs  vm_anomalies
//! extra.rs      those that only `extra` turns on
//! storage.rs    of these, disks' jobs, backing chains and latencies, and energy
//! named.rs      fields whose names are libvirt's
//! user_tags.rs  the tags that the user configured
//! ```
//!
//! <https://docs.influxdata.com/influxdb/v1/concepts/key_concepts/>

use uuid::Uuid;

use crate::anomalies::Summary;
use crate::config::{DeviceTag, Feature, Missing};
use crate::devices::Inventory;
use crate::features::{Rates, angle_deg};
use crate::libvirt::Group;
use crate::line_protocol::{Fields, Lines, Tags};
use crate::sample::{Disk, Domain, Nic, words};
use crate::schema::{
    self, DISK_TAGS, Extras, MEMORY_RATE, MissingPolicy, NIC_TAGS, RateInput, RateRow, TagRow,
};

mod anomalies;
mod extra;
mod named;
mod storage;
mod user_tags;

pub use crate::schema::{CollectedGuests, Collector, write_collector};
pub use named::write_value;
pub use user_tags::UserTags;

/// What to print of the guests, beside the default.
#[derive(Clone, Debug)]
pub struct Choice {
    /// What is printed for a statistic that does not exist.
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
pub struct PrintedGuest<'a> {
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
    types: named::Types,
}

impl Writer {
    /// Writes the lines of one guest in the schema's order. `user` are the tags that the user
    /// configured, `now_unix_s` is the time of the collection.
    pub fn write(
        &mut self,
        lines: &mut Lines,
        guest: &PrintedGuest<'_>,
        user: &Tags,
        choice: &Choice,
        now_unix_s: u64,
    ) {
        let Self { guest: tags, device, types } = self;
        start_guest(tags, guest.sample.id, &guest.sample.name, &guest.sample.uuid);
        let policy = MissingPolicy::new(guest.sample, choice.missing);
        let page = Page { tags, user, guest, choice, policy };
        if guest.sample.id < 0 {
            page.write_inactive(lines);
        } else {
            page.write_running(lines, device, now_unix_s);
            if choice.extra != Extras::NONE {
                extra::write(&page, lines, device, types, now_unix_s);
            }
        }
    }
}

impl Writer {
    /// Writes the line of vm_anomalies of the guest of which the lines were just written.
    pub fn write_anomalies(
        &mut self,
        lines: &mut Lines,
        sample: &Domain,
        user: &Tags,
        summary: &Summary,
    ) {
        start_guest(&mut self.guest, sample.id, &sample.name, &sample.uuid);
        lines
            .line("vm_anomalies", &[&self.guest, user], |fields| anomalies::write(fields, summary));
    }
}

/// What all lines of one guest have in common.
struct Page<'a> {
    tags: &'a Tags,
    user: &'a Tags,
    guest: &'a PrintedGuest<'a>,
    choice: &'a Choice,
    policy: MissingPolicy<'a>,
}

impl Page<'_> {
    fn write_running(&self, lines: &mut Lines, device: &mut Tags, now_unix_s: u64) {
        let (sample, policy, extra) = (self.guest.sample, self.policy, self.choice.extra);
        self.line(lines, "vm_metrics", |fields| {
            schema::write_metrics(fields, policy, extra, sample);
        });
        if let Some(rates) = self.guest.rates {
            let input = RateInput { rates, sample, now_unix_s };
            self.line(lines, "vm_features", |fields| {
                write_rate(fields, &MEMORY_RATE, &input);
                let asked = self.choice.features.iter().flat_map(|feature| feature.rates());
                asked.for_each(|rate| write_rate(fields, rate, &input));
            });
        }
        self.write_devices(lines, device);
        self.line(lines, "vm_totals", |fields| {
            let policy_of = |group| policy.of_sums(!sample.without_devices.has(group));
            Nic::write_sums(fields, policy_of(Group::Interface), &sample.nics);
            Disk::write_sums(fields, policy_of(Group::Block), &sample.disks);
            schema::write_totals(fields, policy, extra, sample);
        });
    }

    fn write_devices(&self, lines: &mut Lines, tags: &mut Tags) {
        let (inventory, choice, policy) = (self.guest.inventory, self.choice, self.policy);
        for nic in &self.guest.sample.nics {
            start_device(tags, "nic", &nic.name);
            if let Some(known) = inventory.and_then(|it| it.nic(&nic.name)) {
                add_tags(tags, &choice.device_tags, |tag| TagRow::value(NIC_TAGS, tag, known));
            }
            let policy = policy.of_device(&nic.name);
            self.own(lines, "vm_devices", tags, |fields| nic.write(fields, policy, choice.extra));
        }
        for disk in &self.guest.sample.disks {
            start_device(tags, "disk", &disk.name);
            if let Some(known) = inventory.and_then(|it| it.disk(&disk.name)) {
                add_tags(tags, &choice.device_tags, |tag| TagRow::value(DISK_TAGS, tag, known));
            }
            let policy = policy.of_device(&disk.name);
            self.own(lines, "vm_devices", tags, |fields| disk.write(fields, policy, choice.extra));
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

    /// A guest that does not run has no more than this, for every setting of `missing`.
    fn write_inactive(&self, lines: &mut Lines) {
        let sample = self.guest.sample;
        let omit = MissingPolicy::OMIT;
        self.line(lines, "vm_metrics", |fields| {
            if let Some(state) = sample.state {
                fields.text("state", words::state(state));
            }
            omit.field(fields, "cpu_count", sample.vcpu_count);
            omit.field(fields, "memory_max_kb", sample.memory.maximum_kib);
        });
        self.line(lines, "vm_totals", |fields| {
            omit.field(fields, "cpus", sample.vcpu_count);
            if let Some(state) = sample.state {
                fields.integer("state", state);
            }
        });
    }

    fn line(&self, lines: &mut Lines, measurement: &str, fill: impl FnOnce(&mut Fields<'_>)) {
        lines.line(measurement, &[self.tags, self.user], fill);
    }
}

/// The tags that every line of a guest has.
pub fn start_guest(tags: &mut Tags, id: i32, name: &str, uuid: &Uuid) {
    tags.clear();
    tags.add_number("VMID", id.into());
    tags.add("name", name);
    tags.add("uuid", uuid.as_hyphenated().encode_lower(&mut [0; 36]));
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

fn write_rate(fields: &mut Fields<'_>, row: &RateRow, input: &RateInput<'_>) {
    if let Some(rate) = (row.value)(input) {
        fields.float(row.field.name, rate);
        if !row.angle.is_empty() {
            fields.float(row.angle, angle_deg(rate));
        }
    }
}

#[cfg(test)]
mod tests;
