//! What the lines of a guest must hold, by the contract on measurements, given what virsh says.

use super::lab::{Guest, Stats};
use super::lines::{Line, Value, find};
use std::collections::BTreeMap;

/// Field, and the key of `virsh domstats` that it comes from.
type Table = &'static [(&'static str, &'static str)];

const METRICS: Table = &[
    ("state", "state.state"),
    ("cpu_count", "vcpu.current"),
    ("memory_max_kb", "balloon.maximum"),
    ("memory_used_kb", "balloon.current"),
    ("cputime_ns", "cpu.time"),
];

const FEATURES: [&str; 2] = ["memory_rate_kb_per_sec", "memory_angle_deg"];

const NIC: Table = &[
    ("rxbytes", "rx.bytes"),
    ("rxpackets", "rx.pkts"),
    ("rxerrors", "rx.errs"),
    ("rxdrops", "rx.drop"),
    ("txbytes", "tx.bytes"),
    ("txpackets", "tx.pkts"),
    ("txerrors", "tx.errs"),
    ("txdrops", "tx.drop"),
];

const DISK: Table = &[
    ("rd_req", "rd.reqs"),
    ("rd_bytes", "rd.bytes"),
    ("wr_reqs", "wr.reqs"),
    ("wr_bytes", "wr.bytes"),
    ("errors", "errors"),
];

/// Behind the sums of the two tables before.
const TOTALS: Table = &[
    ("memactual", "balloon.current"),
    ("memrss", "balloon.rss"),
    ("memavailable", "balloon.available"),
    ("memusable", "balloon.usable"),
    ("memswap_in", "balloon.swap_in"),
    ("memswap_out", "balloon.swap_out"),
    ("memmajor_fault", "balloon.major_fault"),
    ("memminor_fault", "balloon.minor_fault"),
    ("memdisk_cache", "balloon.disk_caches"),
    ("timeusr", "cpu.user"),
    ("timesys", "cpu.system"),
    ("cpus", "vcpu.current"),
    ("cputime", "cpu.time"),
    ("state", "state.state"),
];

/// virDomainState's words in vm_metrics, by its numbers.
pub const STATES: [&str; 8] =
    ["no state", "running", "blocked", "paused", "shutdown", "shutoff", "crashed", "suspended"];

/// Every measurement, with the names and InfluxDB types of its fields, sorted by name.
pub fn field_types() -> BTreeMap<&'static str, BTreeMap<String, &'static str>> {
    let nics_and_disks = [("net_", NIC), ("disk_", DISK)];
    let sums = nics_and_disks
        .iter()
        .flat_map(|(prefix, table)| table.iter().map(move |(field, _)| format!("{prefix}{field}")));
    let integers = |table: Table| table.iter().map(|(field, _)| ((*field).to_owned(), "integer"));
    let mut metrics: BTreeMap<String, &str> = integers(METRICS).collect();
    metrics.insert("state".to_owned(), "string");
    BTreeMap::from([
        ("vm_metrics", metrics),
        ("vm_features", FEATURES.map(|field| (field.to_owned(), "float")).into()),
        ("vm_devices", integers(NIC).chain(integers(DISK)).collect()),
        ("vm_totals", sums.map(|field| (field, "integer")).chain(integers(TOTALS)).collect()),
    ])
}

/// What a comparison of all lines of one guest gave.
#[derive(Default)]
pub struct Comparison {
    /// The number of field values that agree.
    pub agree: usize,
    /// What does not, tags and names of fields included: the field, and what is wrong.
    pub wrong: Vec<(String, String)>,
}

impl Comparison {
    fn check(&mut self, right: bool, field: &str, what: impl FnOnce() -> String) {
        if !right {
            self.wrong.push((field.to_owned(), what()));
        }
    }

    /// The number of values that agree; fails when one does not.
    pub fn all_agree(self) -> usize {
        let wrong: Vec<String> = self.wrong.into_iter().map(|(_, what)| what).collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        self.agree
    }
}

/// Compares a guest's lines with readings of virsh taken before and after them.
///
/// A paused guest's values equal both readings. QEMU spends CPU time to answer, and its own memory
/// may move: those, and everything of a running guest, lie between the readings.
pub fn compare(
    guest: &Guest,
    tag: &str,
    lines: &[Line],
    before: &Stats,
    after: &Stats,
    paused: bool,
) -> Comparison {
    let mut result = Comparison::default();
    let mut check = |line: Option<&Line>, title: &str, tags: &[(&str, &str)], fields: &[Field]| {
        compare_line(&mut result, guest, tag, line, title, tags, fields, (before, after), paused);
    };

    check(find(lines, &guest.uuid, "vm_metrics", None), "vm_metrics", &[], &direct(METRICS));

    let nics = before.devices("net");
    let disks = guest.disks(before);
    for (devtype, group, table, devices) in
        [("nic", "net", NIC, &nics), ("disk", "block", DISK, &disks)]
    {
        for (index, device) in devices {
            let line = find(lines, &guest.uuid, "vm_devices", Some(device));
            let fields = summed("", table, group, &[(*index, device.clone())]);
            let tags = [("devtype", devtype), ("device", device)];
            check(line, &format!("vm_devices {device}"), &tags, &fields);
        }
    }

    let mut totals = summed("net_", NIC, "net", &nics);
    totals.extend(summed("disk_", DISK, "block", &disks));
    totals.extend(direct(TOTALS));
    check(find(lines, &guest.uuid, "vm_totals", None), "vm_totals", &[], &totals);

    if let Some(line) = find(lines, &guest.uuid, "vm_features", None) {
        let right = line.field_names() == FEATURES;
        result.check(right, "vm_features", || format!("fields of {line:?}"));
    }
    result
}

/// A field and the keys that it is the sum of.
struct Field {
    name: String,
    keys: Vec<String>,
}

fn direct(table: Table) -> Vec<Field> {
    let field =
        |&(name, key): &(&str, &str)| Field { name: name.to_owned(), keys: vec![key.to_owned()] };
    table.iter().map(field).collect()
}

fn summed(prefix: &str, table: Table, group: &str, devices: &[(usize, String)]) -> Vec<Field> {
    let field = |&(name, key): &(&str, &str)| Field {
        name: format!("{prefix}{name}"),
        keys: devices.iter().map(|(index, _)| format!("{group}.{index}.{key}")).collect(),
    };
    table.iter().map(field).collect()
}

#[allow(clippy::too_many_arguments)]
fn compare_line(
    result: &mut Comparison,
    guest: &Guest,
    tag: &str,
    line: Option<&Line>,
    title: &str,
    device_tags: &[(&str, &str)],
    fields: &[Field],
    (before, after): (&Stats, &Stats),
    paused: bool,
) {
    let name = &guest.name;
    let Some(line) = line else {
        result.check(false, title, || format!("{name}: no line {title}"));
        return;
    };
    let mut tags = vec![("VMID", guest.id.as_str()), ("name", tag), ("uuid", &guest.uuid)];
    tags.extend(device_tags);
    let ours: Vec<(&str, &str)> =
        line.tags.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    result.check(ours == tags, title, || format!("{name}: tags {ours:?}, expected {tags:?}"));

    let expected: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
    result.check(line.field_names() == expected, title, || {
        format!("{name}: {title} has fields {:?}, expected {expected:?}", line.field_names())
    });

    for field in fields {
        let Some(ours) = line.find_field(&field.name) else { continue };
        let sum = |stats: &Stats| field.keys.iter().map(|key| stats.number(key)).sum::<i64>();
        let (first, second) = (sum(before), sum(after));
        let free =
            !paused || field.keys.iter().any(|key| key.starts_with("cpu.") || key == "balloon.rss");
        let right = match ours {
            Value::Text(text) => {
                first == second
                    && STATES.get(usize::try_from(first).unwrap()) == Some(&text.as_str())
            }
            Value::Int(ours) if free => (first.min(second)..=first.max(second)).contains(ours),
            Value::Int(ours) => first == *ours && second == *ours,
            Value::Float(_) | Value::Bool(_) => false,
        };
        result.agree += usize::from(right);
        result.check(right, &field.name, || {
            format!(
                "{name}: {title} {}: {ours:?}, virsh before {first}, after {second}",
                field.name
            )
        });
    }
}
