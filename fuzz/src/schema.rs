//! Every tag and field that a line may have, with each field's type: the contract with whoever reads the
//! output, as the README's tables tell it. In which order they stand is held by the golden files.

use std::collections::{BTreeMap, HashSet};
use std::sync::LazyLock;

use influxdb_line_protocol::{FieldValue, ParsedLine};

#[path = "../../tests/support/markdown.rs"]
mod markdown;

use markdown::{quoted, rows};

/// On every guest's lines.
pub const GUEST_TAGS: [&str; 3] = ["VMID", "name", "uuid"];
/// On a device's lines, behind the guest's; from the third on where they are asked for.
pub const DEVICE_TAGS: [&str; 9] =
    ["devtype", "device", "mac", "model", "bus", "serial", "alias", "path", "network"];

/// The sums of vm_totals: those of NICs and of disks, by the fields that they are of.
const SUMS: [(&str, &[&str]); 2] = [
    (
        "nic",
        &[
            "rxbytes",
            "rxpackets",
            "rxerrors",
            "rxdrops",
            "txbytes",
            "txpackets",
            "txerrors",
            "txdrops",
        ],
    ),
    ("disk", &["rd_req", "rd_bytes", "wr_reqs", "wr_bytes", "errors"]),
];

/// What a measurement may have, of devices each type by itself (`vm_devices nic`).
#[derive(Debug, Default)]
struct Measurement {
    /// Where it stands in the README.
    place: usize,
    /// Tags of its own, behind the guest's.
    tags: Vec<String>,
    /// Fields by name, with the type as the README calls it.
    fields: BTreeMap<String, String>,
    /// Whether it is libvirt that names its fields, and gives them their types.
    is_as_sent: bool,
}

static SCHEMA: LazyLock<BTreeMap<String, Measurement>> = LazyLock::new(|| {
    let readme = include_str!("../../README.md");
    let mut schema: BTreeMap<String, Measurement> = BTreeMap::new();
    for heading in ["vm_metrics", "vm_features", "vm_devices", "vm_totals", "More, with extra"] {
        for row in rows(readme, &format!("### {heading}")) {
            let cell = |column: &str| row.get(column).map_or("", String::as_str);
            let name = match (heading, cell("of")) {
                ("vm_devices", devtype) => format!("vm_devices {devtype}"),
                ("More, with extra", of) => of.to_owned(),
                (measurement, _) => measurement.to_owned(),
            };
            let place = schema.len();
            let measurement = schema
                .entry(name.clone())
                .or_insert_with(|| Measurement { place, ..Measurement::default() });
            measurement.is_as_sent |= cell("type") == "as sent" || name == "vm_perf";
            for tag in quoted(cell("tags")) {
                if !measurement.tags.contains(&tag) {
                    measurement.tags.push(tag);
                }
            }
            let fields = quoted(cell("field")).into_iter();
            measurement.fields.extend(fields.map(|field| (field, cell("type").to_owned())));
        }
    }
    assert!(schema.len() > 15, "the README's tables are not where they were: {schema:?}");
    schema
});

/// The place of a measurement that stands behind vm_totals.
pub fn place_of_more(measurement: &str) -> Option<usize> {
    let totals = SCHEMA.get("vm_totals")?.place;
    SCHEMA.get(measurement).map(|it| it.place).filter(|&place| place > totals)
}

/// The sums of vm_totals, each with the device type and the field that it is the sum of.
pub fn sums() -> impl Iterator<Item = (String, &'static str, &'static str)> {
    SUMS.into_iter().flat_map(|(devtype, fields)| {
        let prefix = if devtype == "nic" { "net" } else { "disk" };
        fields.iter().map(move |&field| (format!("{prefix}_{field}"), devtype, field))
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
    let name = match (measurement.as_str(), devtype(tags)) {
        ("vm_devices", Some(devtype)) => format!("vm_devices {devtype}"),
        (other, _) => other.to_owned(),
    };
    let Some(schema) = SCHEMA.get(&name) else { panic!("no such measurement: {point:?}") };
    let more: Vec<&str> = match measurement.as_str() {
        "vm_devices" => DEVICE_TAGS.to_vec(),
        _ => schema.tags.iter().map(String::as_str).collect(),
    };
    let mut known = GUEST_TAGS.into_iter().chain(more);
    for (key, _) in own {
        assert!(known.any(|it| it == key), "{key} is unknown, twice or out of order in {point:?}");
    }
    assert_fields(point, schema);
}

fn assert_fields(point: &ParsedLine<'_>, schema: &Measurement) {
    assert!(!point.field_set.is_empty(), "no field in {point:?}");
    let mut seen = HashSet::new();
    for (key, value) in &point.field_set {
        assert!(seen.insert(key.to_string()), "{key} stands twice in {point:?}");
        if schema.is_as_sent {
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
        let told = schema.fields.get(key.as_str()).map(String::as_str);
        assert_eq!(told, Some(of_type), "the type of {key} in {point:?}");
    }
}
