//! What the lines of a guest must hold, by the contract on measurements, given what virsh says.

use super::lab::{Guest, Stats};
use super::lines::{Line, Value, find};
use std::collections::BTreeMap;
use telegraf_virt::schema::{AskedBy, OutputField, output_fields};

/// The fields that are always on these lines, in the schema's order.
fn always(measurement: &str, devtype: &str) -> impl Iterator<Item = &'static OutputField> {
    output_fields().iter().filter(move |it| {
        it.measurement == measurement && it.devtype == devtype && it.asked_by == AskedBy::Nobody
    })
}

/// virDomainState's words in vm_metrics, by its numbers.
pub const STATES: [&str; 8] =
    ["no state", "running", "blocked", "paused", "shutdown", "shutoff", "crashed", "suspended"];

/// Every measurement, with the names and InfluxDB types of its fields, sorted by name.
pub fn field_types() -> BTreeMap<&'static str, BTreeMap<String, &'static str>> {
    let mut types: BTreeMap<&str, BTreeMap<String, &str>> = BTreeMap::new();
    for field in output_fields().iter().filter(|field| field.asked_by == AskedBy::Nobody) {
        let fields = types.entry(field.measurement).or_default();
        fields.insert(field.row.name.to_owned(), field.row.kind.type_name());
    }
    types
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

    let metrics = fields("vm_metrics", "", &[]);
    check(find(lines, &guest.uuid, "vm_metrics", None), "vm_metrics", &[], &metrics);

    let nics = before.devices("net");
    let disks = guest.disks(before);
    for (devtype, group, devices) in [("nic", "net", &nics), ("disk", "block", &disks)] {
        for (index, device) in devices {
            let line = find(lines, &guest.uuid, "vm_devices", Some(device));
            let fields = fields("vm_devices", devtype, &[(group, *index)]);
            let tags = [("devtype", devtype), ("device", device)];
            check(line, &format!("vm_devices {device}"), &tags, &fields);
        }
    }

    let nics = nics.iter().map(|(index, _)| ("net", *index));
    let devices: Vec<_> = nics.chain(disks.iter().map(|(index, _)| ("block", *index))).collect();
    let totals = fields("vm_totals", "", &devices);
    check(find(lines, &guest.uuid, "vm_totals", None), "vm_totals", &[], &totals);

    if let Some(line) = find(lines, &guest.uuid, "vm_features", None) {
        let names: Vec<&str> = always("vm_features", "").map(|it| it.row.name).collect();
        let right = line.field_names() == names;
        result.check(right, "vm_features", || format!("fields of {line:?}"));
    }
    result
}

/// A field and the keys that it is the sum of.
struct Field {
    name: String,
    keys: Vec<String>,
}

/// The fields of a line, with the keys for these devices, each told by its group and index.
fn fields(measurement: &str, devtype: &str, devices: &[(&str, usize)]) -> Vec<Field> {
    let keys = |field: &OutputField| {
        let key = field.source.trim_start_matches("the sum of ");
        let Some((group, statistic)) = key.split_once(".N.") else { return vec![key.to_owned()] };
        let of_group = devices.iter().filter(|(it, _)| *it == group);
        of_group.map(|(_, index)| format!("{group}.{index}.{statistic}")).collect()
    };
    let field = |it: &OutputField| Field { name: it.row.name.to_owned(), keys: keys(it) };
    always(measurement, devtype).map(field).collect()
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
