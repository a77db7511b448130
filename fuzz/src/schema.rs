//! Every tag and field that a line may have, in its order, with each field's type: the contract with
//! whoever reads the output, written once more.

use influxdb_line_protocol::{FieldValue, ParsedLine};

/// A field's type, which never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Integer,
    Float,
    Text,
    Bool,
}

use Type::{Bool, Float, Integer, Text};

/// On every guest's lines.
pub const GUEST_TAGS: [&str; 3] = ["VMID", "name", "uuid"];
/// On a device's lines, behind the guest's; from the third on where they are asked for.
pub const DEVICE_TAGS: [&str; 9] =
    ["devtype", "device", "mac", "model", "bus", "serial", "alias", "path", "network"];

const METRICS: [(&str, Type); 6] = [
    ("state", Text),
    ("cpu_count", Integer),
    ("memory_max_kb", Integer),
    ("memory_used_kb", Integer),
    ("cputime_ns", Integer),
    ("state_reason", Text),
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

const DISK: [(&str, Type); 13] = [
    ("rd_req", Integer),
    ("rd_bytes", Integer),
    ("wr_reqs", Integer),
    ("wr_bytes", Integer),
    ("errors", Integer),
    ("rd_time_ns", Integer),
    ("wr_time_ns", Integer),
    ("fl_reqs", Integer),
    ("fl_time_ns", Integer),
    ("allocation_bytes", Integer),
    ("capacity_bytes", Integer),
    ("physical_bytes", Integer),
    ("threshold_bytes", Integer),
];

const TOTALS: [(&str, Type); 36] = [
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
    ("state_reason_code", Integer),
    ("vcpu_wait_ns", Integer),
    ("vcpu_delay_ns", Integer),
    ("haltpoll_success_ns", Integer),
    ("haltpoll_fail_ns", Integer),
    ("memunused", Integer),
    ("memhugetlb_pgalloc", Integer),
    ("memhugetlb_pgfail", Integer),
    ("memlast_update", Integer),
];

/// The measurements that stand behind vm_totals, in their order, each with its tags and its fields; none
/// where libvirt names them.
const MORE: [(&str, &[&str], &[(&str, Type)]); 12] = [
    (
        "vm_vcpus",
        &["vcpu"],
        &[
            ("state", Integer),
            ("time_ns", Integer),
            ("wait_ns", Integer),
            ("delay_ns", Integer),
            ("halted", Bool),
            ("cpuset", Text),
        ],
    ),
    (
        "vm_iothreads",
        &["iothread"],
        &[("poll_max_ns", Integer), ("poll_grow", Integer), ("poll_shrink", Integer)],
    ),
    ("vm_perf", &[], &[]),
    (
        "vm_dirty_rate",
        &["vcpu"],
        &[
            ("calc_status", Integer),
            ("calc_start_time", Integer),
            ("calc_period", Integer),
            ("mib_per_sec", Integer),
            ("calc_mode", Text),
        ],
    ),
    (
        "vm_memory_bandwidth",
        &["monitor", "node"],
        &[("bytes_local", Integer), ("bytes_total", Integer), ("vcpus", Text)],
    ),
    ("vm_cpu_cache", &["monitor", "bank"], &[("bytes", Integer), ("vcpus", Text)]),
    ("vm_jobs", &[], &[("type", Text)]),
    (
        "vm_limits",
        &["devtype", "device"],
        &[
            ("total_bytes_sec", Integer),
            ("read_bytes_sec", Integer),
            ("write_bytes_sec", Integer),
            ("total_iops_sec", Integer),
            ("read_iops_sec", Integer),
            ("write_iops_sec", Integer),
            ("inbound_average_kb_sec", Integer),
            ("inbound_peak_kb_sec", Integer),
            ("inbound_floor_kb_sec", Integer),
            ("inbound_burst_kib", Integer),
            ("outbound_average_kb_sec", Integer),
            ("outbound_peak_kb_sec", Integer),
            ("outbound_burst_kib", Integer),
        ],
    ),
    (
        "vm_numa",
        &["cell"],
        &[
            ("cells", Integer),
            ("nodeset", Text),
            ("mode", Text),
            ("memory_kib", Integer),
            ("cpus", Text),
        ],
    ),
    (
        "vm_info",
        &[],
        &[
            ("title", Text),
            ("os_type", Text),
            ("machine", Text),
            ("arch", Text),
            ("persistent", Bool),
            ("autostart", Bool),
            ("vcpus_max", Integer),
        ],
    ),
    ("vm_hypervisor", &["vcpu"], &[]),
    ("vm_other", &["vcpu", "devtype", "device", "index"], &[]),
];

/// The place of a measurement among those that stand behind vm_totals.
pub fn place_of_more(measurement: &str) -> Option<usize> {
    MORE.iter().position(|(name, ..)| *name == measurement)
}

/// The sums of vm_totals, each with the device type and the field that it is the sum of.
pub fn sums() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let of = |devtype, fields: &'static [(&'static str, Type)]| {
        fields.iter().map(move |&(field, _)| (devtype, field))
    };
    // What `extra` adds to a disk's line has no sum.
    let parts = of("nic", &NIC).chain(of("disk", &DISK[..5]));
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
    let (own, theirs) = tags.split_at(tags.len().saturating_sub(user.len()));
    assert_eq!(theirs, user, "the user's tags of {point:?}");
    if let Some((_, more, fields)) = place_of_more(&measurement).and_then(|at| MORE.get(at)) {
        let known = GUEST_TAGS.iter().chain(*more).copied();
        assert_each_once_in_order(own.iter().map(|(key, _)| key.as_str()), known, point);
        assert_fields(point, fields);
        return;
    }
    let fields: &[(&str, Type)] = match (measurement.as_str(), devtype(tags)) {
        ("vm_metrics", None) => &METRICS,
        ("vm_features", None) => &FEATURES,
        ("vm_devices", Some("nic")) => &NIC,
        ("vm_devices", Some("disk")) => &DISK,
        ("vm_totals", None) => &TOTALS,
        other => panic!("no such measurement: {other:?} of {point:?}"),
    };
    let known =
        GUEST_TAGS.iter().chain(if measurement == "vm_devices" {
            &DEVICE_TAGS[..]
        } else {
            &[]
        });
    assert_each_once_in_order(own.iter().map(|(key, _)| key.as_str()), known.copied(), point);

    assert_fields(point, fields);
}

/// Whether these are fields of the schema, each once and of its type; where it is libvirt that names
/// them, whether each has a name that stands for itself in line protocol, once.
fn assert_fields(point: &ParsedLine<'_>, fields: &[(&'static str, Type)]) {
    assert!(!point.field_set.is_empty(), "no field in {point:?}");
    let keys: Vec<String> = point.field_set.iter().map(|(key, _)| key.to_string()).collect();
    if fields.is_empty() {
        let plain = |key: &String| {
            !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        assert!(keys.iter().all(plain), "{point:?}");
        let once: std::collections::HashSet<&String> = keys.iter().collect();
        assert_eq!(once.len(), keys.len(), "{point:?}");
        return;
    }
    let known = fields.iter().map(|(key, _)| *key);
    assert_each_once_in_order(keys.iter().map(String::as_str), known, point);
    for (key, value) in &point.field_set {
        let wanted = fields.iter().find(|(known, _)| *key == *known).map(|(_, of_type)| *of_type);
        let of_type = match value {
            FieldValue::I64(_) => Some(Integer),
            FieldValue::F64(number) if number.is_finite() => Some(Float),
            FieldValue::String(_) => Some(Text),
            FieldValue::Boolean(_) => Some(Bool),
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
