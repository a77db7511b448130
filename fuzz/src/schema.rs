//! Every tag and field that a line may have, with each field's type: the contract with whoever reads the
//! output, as the program's own schema has it. In which order they stand is held by the golden files.

use std::collections::HashSet;

use influxdb_line_protocol::{FieldValue, ParsedLine};
use telegraf_virt::schema::{
    AskedBy, DeviceTag, Extra, FieldKind, GUEST_TAGS, OutputField, TAGS_OF_DEVICES, output_fields,
};

fn fields_of(measurement: &str, devtype: &str) -> impl Iterator<Item = &'static OutputField> {
    let is_of = move |it: &&OutputField| it.measurement == measurement && it.devtype == devtype;
    output_fields().iter().filter(is_of)
}

/// The place of a measurement that stands behind vm_totals.
pub fn place_of_more(measurement: &str) -> Option<usize> {
    Extra::ALL.iter().position(|extra| extra.row().measurement == measurement)
}

/// The sums of vm_totals, each with the device type and the field that it is the sum of.
pub fn sums() -> impl Iterator<Item = (String, &'static str, &'static str)> {
    let devices = output_fields()
        .iter()
        .filter(|it| it.measurement == "vm_devices" && it.asked_by == AskedBy::Nobody);
    devices.map(|it| {
        let prefix = if it.devtype == "nic" { "net" } else { "disk" };
        (format!("{prefix}_{}", it.row.name), it.devtype, it.row.name)
    })
}

/// What the line is, as vm_devices tells it of NICs and disks.
pub fn devtype(tags: &[(String, String)]) -> Option<&str> {
    tags.iter().find(|(key, _)| key == "devtype").map(|(_, value)| value.as_str())
}

/// Whether a point has only what the schema gives its measurement: the tags (`user`'s own last), each
/// once and in order, and the fields, each once and of its type.
pub fn assert_kept(point: &ParsedLine<'_>, tags: &[(String, String)], user: &[(String, String)]) {
    let measurement = point.series.measurement.to_string();
    let (own, theirs) = tags.split_at(tags.len().saturating_sub(user.len()));
    assert_eq!(theirs, user, "the user's tags of {point:?}");
    let is_device = measurement == "vm_devices";
    let devtype = devtype(tags).filter(|_| is_device).unwrap_or_default();
    let fields: Vec<&OutputField> = fields_of(&measurement, devtype).collect();
    let Some(first) = fields.first() else { panic!("no such measurement: {point:?}") };
    let asked = DeviceTag::ALL.into_iter().filter(|_| is_device).map(DeviceTag::name);
    let more = if is_device { &TAGS_OF_DEVICES[..] } else { first.tags };
    let mut known = GUEST_TAGS.into_iter().chain(more.iter().copied()).chain(asked);
    for (key, _) in own {
        assert!(known.any(|it| it == key), "{key} is unknown, twice or out of order in {point:?}");
    }
    assert_fields(point, &fields);
}

fn assert_fields(point: &ParsedLine<'_>, fields: &[&OutputField]) {
    // Where libvirt names the fields, it also gives the types.
    let is_as_sent = |it: &&OutputField| {
        it.row.kind == FieldKind::AsSent || it.measurement == "vm_perf" || it.row.name.contains('*')
    };
    let is_as_sent = fields.iter().any(is_as_sent);
    assert!(!point.field_set.is_empty(), "no field in {point:?}");
    let mut seen = HashSet::new();
    for (key, value) in &point.field_set {
        assert!(seen.insert(key.to_string()), "{key} stands twice in {point:?}");
        if is_as_sent {
            // A name that stands for itself in line protocol, whatever libvirt called it.
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
            assert!(!key.is_empty() && key.chars().all(plain), "{key} in {point:?}");
            continue;
        }
        let of_type = match value {
            FieldValue::I64(_) => "integer",
            FieldValue::F64(number) if number.is_finite() => "float",
            FieldValue::String(_) => "string",
            FieldValue::Boolean(_) => "boolean",
            _ => "of another type",
        };
        let told = fields.iter().find(|it| it.row.name == key.as_str());
        let told = told.map(|it| it.row.kind.type_name());
        assert_eq!(told, Some(of_type), "the type of {key} in {point:?}");
    }
}
