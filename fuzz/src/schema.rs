//! Every tag and field that a line may have, in its order, with each field's type: the contract with
//! whoever reads the output, written once more.

use influxdb_line_protocol::{FieldValue, ParsedLine};

/// A field's type, which never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Integer,
    Float,
    Text,
}

use Type::{Float, Integer, Text};

/// On every guest's lines.
pub const GUEST_TAGS: [&str; 3] = ["VMID", "name", "uuid"];
/// On a device's lines, behind the guest's; from the third on where they are asked for.
pub const DEVICE_TAGS: [&str; 9] =
    ["devtype", "device", "mac", "model", "bus", "serial", "alias", "path", "network"];

const METRICS: [(&str, Type); 5] = [
    ("state", Text),
    ("cpu_count", Integer),
    ("memory_max_kb", Integer),
    ("memory_used_kb", Integer),
    ("cputime_ns", Integer),
];

const FEATURES: [(&str, Type); 24] = [
    ("memory_rate_kb_per_sec", Float),
    ("memory_angle_deg", Float),
    ("net_rxbytes_rate", Float),
    ("net_rxbytes_angle_deg", Float),
    ("net_txbytes_rate", Float),
    ("net_txbytes_angle_deg", Float),
    ("net_rxpackets_rate", Float),
    ("net_rxpackets_angle_deg", Float),
    ("net_txpackets_rate", Float),
    ("net_txpackets_angle_deg", Float),
    ("disk_rd_req_rate", Float),
    ("disk_rd_req_angle_deg", Float),
    ("disk_rd_bytes_rate", Float),
    ("disk_rd_bytes_angle_deg", Float),
    ("disk_wr_reqs_rate", Float),
    ("disk_wr_reqs_angle_deg", Float),
    ("disk_wr_bytes_rate", Float),
    ("disk_wr_bytes_angle_deg", Float),
    ("cpu_percent", Float),
    ("steal_percent", Float),
    ("disk_rd_ms_per_req", Float),
    ("disk_wr_ms_per_req", Float),
    ("disk_fl_ms_per_req", Float),
    ("balloon_age_sec", Float),
];

const NIC: [(&str, Type); 8] = [
    ("rxbytes", Integer),
    ("rxpackets", Integer),
    ("rxerrors", Integer),
    ("rxdrops", Integer),
    ("txbytes", Integer),
    ("txpackets", Integer),
    ("txerrors", Integer),
    ("txdrops", Integer),
];

const DISK: [(&str, Type); 5] = [
    ("rd_req", Integer),
    ("rd_bytes", Integer),
    ("wr_reqs", Integer),
    ("wr_bytes", Integer),
    ("errors", Integer),
];

const TOTALS: [(&str, Type); 27] = [
    ("net_rxbytes", Integer),
    ("net_rxpackets", Integer),
    ("net_rxerrors", Integer),
    ("net_rxdrops", Integer),
    ("net_txbytes", Integer),
    ("net_txpackets", Integer),
    ("net_txerrors", Integer),
    ("net_txdrops", Integer),
    ("disk_rd_req", Integer),
    ("disk_rd_bytes", Integer),
    ("disk_wr_reqs", Integer),
    ("disk_wr_bytes", Integer),
    ("disk_errors", Integer),
    ("memactual", Integer),
    ("memrss", Integer),
    ("memavailable", Integer),
    ("memusable", Integer),
    ("memswap_in", Integer),
    ("memswap_out", Integer),
    ("memmajor_fault", Integer),
    ("memminor_fault", Integer),
    ("memdisk_cache", Integer),
    ("timeusr", Integer),
    ("timesys", Integer),
    ("cpus", Integer),
    ("cputime", Integer),
    ("state", Integer),
];

/// The sums of vm_totals, each with the device type and the field that it is the sum of.
pub fn sums() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let of = |devtype, fields: &'static [(&'static str, Type)]| {
        fields.iter().map(move |&(field, _)| (devtype, field))
    };
    let parts = of("nic", &NIC).chain(of("disk", &DISK));
    TOTALS.iter().zip(parts).map(|(&(sum, _), (devtype, field))| (sum, devtype, field))
}

/// What the line is, as vm_devices tells it of NICs and disks.
pub fn devtype(tags: &[(String, String)]) -> Option<&str> {
    tags.iter().find(|(key, _)| key == "devtype").map(|(_, value)| value.as_str())
}

/// Whether a point has only what the schema gives its measurement: the tags (`user`'s own last) and
/// the fields, each once, in order and of its type.
pub fn assert_kept(point: &ParsedLine<'_>, tags: &[(String, String)], user: &[(String, String)]) {
    let measurement = point.series.measurement.to_string();
    let fields: &[(&str, Type)] = match (measurement.as_str(), devtype(tags)) {
        ("vm_metrics", None) => &METRICS,
        ("vm_features", None) => &FEATURES,
        ("vm_devices", Some("nic")) => &NIC,
        ("vm_devices", Some("disk")) => &DISK,
        ("vm_totals", None) => &TOTALS,
        other => panic!("no such measurement: {other:?} of {point:?}"),
    };
    let (own, theirs) = tags.split_at(tags.len().saturating_sub(user.len()));
    assert_eq!(theirs, user, "the user's tags of {point:?}");
    let known =
        GUEST_TAGS.iter().chain(if fields.len() == NIC.len() || fields.len() == DISK.len() {
            &DEVICE_TAGS[..]
        } else {
            &[]
        });
    assert_each_once_in_order(own.iter().map(|(key, _)| key.as_str()), known.copied(), point);

    assert!(!point.field_set.is_empty(), "no field in {point:?}");
    let keys: Vec<String> = point.field_set.iter().map(|(key, _)| key.to_string()).collect();
    let known = fields.iter().map(|(key, _)| *key);
    assert_each_once_in_order(keys.iter().map(String::as_str), known, point);
    for (key, value) in &point.field_set {
        let wanted = fields.iter().find(|(known, _)| *key == *known).map(|(_, of_type)| *of_type);
        let of_type = match value {
            FieldValue::I64(_) => Some(Integer),
            FieldValue::F64(number) if number.is_finite() => Some(Float),
            FieldValue::String(_) => Some(Text),
            _ => None,
        };
        assert_eq!(of_type, wanted, "the type of {key} in {point:?}");
    }
}

fn assert_each_once_in_order<'a>(
    found: impl Iterator<Item = &'a str>,
    mut known: impl Iterator<Item = &'static str>,
    point: &ParsedLine<'_>,
) {
    for key in found {
        let place = known.any(|it| it == key);
        assert!(place, "{key} is unknown, twice or out of order in {point:?}");
    }
}
