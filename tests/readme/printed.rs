//! The README's lines and its tables of fields and tags, against what the program can print.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use telegraf_virt::config::{DeviceTag, Feature, Missing};
use telegraf_virt::devices::{Inventory, xml};
use telegraf_virt::features::rates;
use telegraf_virt::libvirt::{self, Parameter};
use telegraf_virt::line_protocol::{Lines, Tags};
use telegraf_virt::points::{Choice, Guest, Writer};
use telegraf_virt::sample::Domain;

use super::support::lines::{self, Line, Value};
use super::{Row, Scratch, assert_ten_guests, block_with, quoted, rows};

#[test]
fn the_lines_shown_are_those_of_two_guests_in_the_programs_order() {
    let lines = lines::read(&block_with("text", "vm_metrics,"));
    let titles: Vec<String> = lines.iter().map(Line::title).collect();
    assert_eq!(
        titles,
        [
            "vm_metrics db-01",
            "vm_features db-01",
            "vm_devices db-01 vnet1",
            "vm_devices db-01 vda",
            "vm_devices db-01 vdb",
            "vm_totals db-01",
            "vm_metrics web-01",
            "vm_features web-01",
            "vm_devices web-01 vnet0",
            "vm_devices web-01 vda",
            "vm_totals web-01",
        ]
    );
    assert!(lines.iter().all(|line| line.timestamp == lines[0].timestamp));
    assert_eq!(lines[0].text("state"), "paused");
    assert_eq!(lines[6].text("state"), "running");
    // Fields and tags stand as the program of today writes them.
    let shapes: BTreeMap<String, Shape> =
        all_lines(&[]).iter().map(|it| (kind(it), shape(it))).collect();
    for line in &lines {
        assert_eq!(shape(line), shapes[&kind(line)], "{line:?}");
    }
}

/// The names of tags and the names and types of fields, in order.
type Shape = (Vec<String>, Vec<(String, &'static str)>);

fn shape(line: &Line) -> Shape {
    let tags = line.tags.iter().map(|(name, _)| name.clone()).collect();
    let fields = line.fields.iter().map(|(name, value)| (name.clone(), type_of(value)));
    (tags, fields.collect())
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Int(_) => "integer",
        Value::Float(_) => "float",
        Value::Text(_) => "string",
        Value::Bool(_) => "boolean",
    }
}

/// The measurement, and of devices the type.
fn kind(line: &Line) -> String {
    match line.find_tag("devtype") {
        Some(devtype) => format!("{} {devtype}", line.measurement),
        None => line.measurement.clone(),
    }
}

const FEATURES: [(&str, Feature); 5] = [
    ("net", Feature::Net),
    ("disk", Feature::Disk),
    ("cpu", Feature::Cpu),
    ("latency", Feature::Latency),
    ("balloon", Feature::Balloon),
];

/// A bulk answer that has everything the program knows, each counter at `count`.
fn full_sample(count: u64) -> Domain {
    let mut domain = Domain {
        id: 1,
        name: "web-01".to_owned(),
        answered_at_ns: count * 1_000_000_000,
        ..Domain::default()
    };
    let mut parameters: Vec<Parameter> = Vec::new();
    let numbers = [
        "state.state",
        "cpu.time",
        "cpu.user",
        "cpu.system",
        "vcpu.current",
        "vcpu.0.delay",
        "balloon.current",
        "balloon.maximum",
        "balloon.rss",
        "balloon.available",
        "balloon.usable",
        "balloon.disk_caches",
        "balloon.swap_in",
        "balloon.swap_out",
        "balloon.major_fault",
        "balloon.minor_fault",
        "balloon.last-update",
        "net.0.rx.bytes",
        "net.0.rx.pkts",
        "net.0.rx.errs",
        "net.0.rx.drop",
        "net.0.tx.bytes",
        "net.0.tx.pkts",
        "net.0.tx.errs",
        "net.0.tx.drop",
        "block.0.rd.reqs",
        "block.0.rd.bytes",
        "block.0.rd.times",
        "block.0.wr.reqs",
        "block.0.wr.bytes",
        "block.0.wr.times",
        "block.0.fl.reqs",
        "block.0.fl.times",
        "block.0.errors",
    ];
    let value = libvirt::Value::Uint(count);
    parameters.extend(numbers.iter().map(|name| Parameter { name: name.as_bytes(), value }));
    for (name, value) in [(&b"net.0.name"[..], &b"vnet0"[..]), (b"block.0.name", b"vda")] {
        parameters.push(Parameter { name, value: libvirt::Value::Text(value) });
    }
    assert_eq!(domain.fill(parameters.into_iter()), 0, "statistics that the program does not know");
    domain
}

/// A guest's device list with every tag that there is.
fn full_inventory() -> Inventory {
    let (nics, disks) = xml::inventory(
        "<domain><devices>
           <interface type='network'><mac address='52:54:00:00:00:01'/><source network='lan'/>
             <target dev='vnet0'/><model type='virtio'/><alias name='net0'/></interface>
           <disk type='file' device='disk' model='virtio-transitional'><source file='/a.raw'/>
             <target dev='vda' bus='virtio'/><serial>S1</serial><alias name='disk0'/></disk>
         </devices></domain>",
    )
    .unwrap();
    Inventory { id: 1, nics, disks, ..Inventory::default() }
}

/// The lines of a guest that has everything, with these rates.
fn all_lines_with(features: &[Feature], device_tags: &[DeviceTag]) -> Vec<Line> {
    let (before, sample) = (full_sample(100), full_sample(110));
    let rates = rates(&sample, &before).unwrap();
    let inventory = full_inventory();
    let guest = Guest { sample: &sample, rates: Some(&rates), inventory: Some(&inventory) };
    let choice = Choice {
        missing: Missing::Omit,
        features: features.to_vec(),
        device_tags: device_tags.to_vec(),
        ..Choice::DEFAULT
    };
    let mut lines = Lines::default();
    lines.start(1);
    Writer::default().write(&mut lines, &guest, &Tags::default(), &choice, 200);
    lines::read(std::str::from_utf8(lines.as_bytes()).unwrap())
}

fn all_lines(features: &[Feature]) -> Vec<Line> {
    all_lines_with(features, &[])
}

/// The fields that a table's rows name, with their types.
fn told_fields<'a>(rows: impl Iterator<Item = &'a Row>) -> BTreeSet<(String, String)> {
    let mut told = BTreeSet::new();
    for row in rows {
        for field in quoted(&row["field"]) {
            assert!(told.insert((field, row["type"].clone())), "twice: {row:?}");
        }
    }
    told
}

fn printed_fields<'a>(lines: impl Iterator<Item = &'a Line>) -> BTreeSet<(String, String)> {
    lines
        .flat_map(|line| &line.fields)
        .map(|(name, value)| (name.clone(), type_of(value).to_owned()))
        .collect()
}

#[test]
fn the_tables_have_every_field_that_can_be_printed_with_its_type_and_no_other() {
    let lines = all_lines(&[]);
    let printed = |of: &str| printed_fields(lines.iter().filter(|line| kind(line) == of));
    for measurement in ["vm_metrics", "vm_totals"] {
        let rows = rows(&format!("### {measurement}"));
        assert_eq!(told_fields(rows.iter()), printed(measurement), "{measurement}");
    }
    let devices = rows("### vm_devices");
    for devtype in ["nic", "disk"] {
        let rows = devices.iter().filter(|row| row["of"] == devtype);
        assert_eq!(told_fields(rows), printed(&format!("vm_devices {devtype}")), "{devtype}");
    }
    assert!(devices.iter().all(|row| ["nic", "disk"].contains(&&*row["of"])));

    let features = rows("### vm_features");
    let of = |name: Option<&str>| {
        let named = |row: &&Row| {
            row.get("name").map(|cell| quoted(cell)[0].clone()) == name.map(str::to_owned)
        };
        told_fields(features.iter().filter(named))
    };
    assert_eq!(of(None), printed("vm_features"));
    let mut counted = of(None).len();
    for (name, feature) in FEATURES {
        let lines = all_lines(&[feature]);
        let all = printed_fields(lines.iter().filter(|line| line.measurement == "vm_features"));
        let more: BTreeSet<_> = all.difference(&of(None)).cloned().collect();
        assert_eq!(of(Some(name)), more, "{name}");
        counted += more.len();
    }
    assert_eq!(told_fields(features.iter()).len(), counted, "rates of names that there are not");
    // And no measurement is printed that has no table.
    let measurements: BTreeSet<&str> = lines.iter().map(|line| &*line.measurement).collect();
    assert_eq!(measurements, ["vm_devices", "vm_features", "vm_metrics", "vm_totals"].into());
}

const DEVICE_TAGS: [DeviceTag; 7] = [
    DeviceTag::Mac,
    DeviceTag::Model,
    DeviceTag::Bus,
    DeviceTag::Serial,
    DeviceTag::Alias,
    DeviceTag::Path,
    DeviceTag::Network,
];

#[test]
fn the_table_of_tags_has_every_tag_that_can_be_printed_and_no_other() {
    let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in rows("## Measurements") {
        told.entry(row["on"].clone()).or_default().extend(quoted(&row["tag"]));
    }
    // Of every line first, then of devices; `source` stands behind those, with the user's own.
    let source = told.get_mut("all").unwrap().pop();
    assert_eq!(source.as_deref(), Some("source"));

    let mut of_devices: Vec<String> = Vec::new();
    for line in all_lines_with(&[], &DEVICE_TAGS) {
        let tags: Vec<String> = line.tags.into_iter().map(|(name, _)| name).collect();
        let (all, more) = tags.split_at(told["all"].len());
        assert_eq!(all, told["all"]);
        if line.measurement == "vm_devices" {
            of_devices.extend(more.to_vec());
        } else {
            assert_eq!(more, [""; 0], "{}", line.measurement);
        }
    }
    let sorted = |tags: &[String]| tags.iter().cloned().collect::<BTreeSet<String>>();
    assert_eq!(sorted(&of_devices), sorted(&told["vm_devices"]));
    assert_eq!(told.len(), 2, "{told:?}");

    let scratch = Scratch::new();
    let lines = scratch.once(&["--uri", &scratch.node(), "--uri", "test:///default"]);
    assert_eq!(lines.len(), 70 + 4);
    assert!(lines.iter().all(|line| line.tags.last().unwrap().0 == "source"));
}

#[test]
fn the_fixtures_host_prints_what_the_tables_say_with_all_that_can_be_asked_for() {
    let scratch = Scratch::new();
    let names: Vec<&str> = FEATURES.iter().map(|(name, _)| *name).collect();
    let tags = DEVICE_TAGS.map(DeviceTag::name);
    let text = format!("features = {names:?}\ndevice_tags = {tags:?}\nmissing = \"omit\"\n");
    fs::write(scratch.path("all.toml"), text).unwrap();
    let options = ["--config", "all.toml"];
    assert_ten_guests(&scratch.once(&options), 0);
    let lines = scratch.once(&options);
    assert_ten_guests(&lines, 10);

    let mut told = BTreeMap::new();
    for measurement in ["vm_metrics", "vm_features", "vm_devices", "vm_totals"] {
        told.insert(measurement, told_fields(rows(&format!("### {measurement}")).iter()));
    }
    for (measurement, told) in told {
        let of = lines.iter().filter(|line| line.measurement == measurement);
        let printed = printed_fields(of);
        // The test driver has no times of requests, and nothing waits for a host CPU there.
        let lacks: BTreeSet<&str> = match measurement {
            "vm_features" => {
                ["steal_percent", "disk_rd_ms_per_req", "disk_wr_ms_per_req", "disk_fl_ms_per_req"]
                    .into()
            }
            _ => BTreeSet::new(),
        };
        let expected = told.into_iter().filter(|(field, _)| !lacks.contains(&**field)).collect();
        assert_eq!(printed, expected, "{measurement}");
    }
    // The cdrom drive has no line, and two guests do not run like the others.
    assert!(lines.iter().all(|line| line.find_tag("device") != Some("sda")));
    let state = |guest: &str| {
        let is_guest = |line: &&Line| line.measurement == "vm_metrics" && line.tag("name") == guest;
        lines.iter().find(is_guest).unwrap().text("state").to_owned()
    };
    assert_eq!(["git", "backup", "win-rdp"].map(state), ["running", "paused", "suspended"]);
}
