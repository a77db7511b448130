//! The lines that the pages show, guests as a table, and the tables of fields and tags, against what the
//! program can print.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use telegraf_virt::anomalies::{Summary, Top, Verdict};
use telegraf_virt::config::extra::Extra;
use telegraf_virt::config::{DeviceTag, Feature, Missing};
use telegraf_virt::devices::details::details;
use telegraf_virt::devices::{Inventory, xml};
use telegraf_virt::events::{self, Arrived, Event, LossCause, Told};
use telegraf_virt::features::{DiskRates, NicRates, Rates, rates};
use telegraf_virt::libvirt::{self, GuestEvent, Happening, OwnedValue, Parameter, Snapshots};
use telegraf_virt::line_protocol::{Lines, Tags};
use telegraf_virt::points::{
    Choice, CollectedGuests, Collector, PrintedGuest, Writer, write_collector,
};
use telegraf_virt::sample::{Completeness, Disk, Domain, Job, Memory, More, Nic};
use telegraf_virt::schema::{
    AskedBy, BackingImage, BlockJobLine, Details, DiskLimits, FieldKind, FieldRow, GUEST_TAGS,
    HostCell, HostFacts, HostPages, HostReading, OutputField, PoolFacts, Section, output_fields,
    write_host, write_pools,
};
use telegraf_virt::table::{self, Look};
use uuid::Uuid;

use super::{Scratch, assert_ten_guests, block_with, blocks, quoted, rows};
use crate::support::lines::{self, Line, Value};
use crate::support::process::run;
use crate::support::program::PROGRAM;
use crate::support::table::{Row as Shown, Table, value};

#[test]
fn the_lines_shown_are_those_of_two_guests_in_the_programs_order() {
    let blocks = blocks("docs/metrics.md", "text");
    let block = blocks.iter().find(|block| block.contains("name=db-01,")).unwrap();
    let lines = lines::read(block);
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
    let of_readme = self::blocks("README.md", "text");
    let one = lines::read(of_readme.iter().find(|block| block.contains("vm_devices,")).unwrap());
    assert_eq!(one.len(), 1);
    for line in lines.iter().chain(&one) {
        assert_eq!(shape(line), shapes[&kind(line)], "{line:?}");
    }
}

/// A guest with the figures of a row, as far as those say.
fn guest_of(shown: &Shown) -> table::Row {
    let (name, state) = shown.start.split_once(' ').unwrap();
    let states = ["no state", "running", "blocked", "paused", "shutdown", "shutoff"];
    let word = state.trim_end_matches('!');
    let state_number = states.iter().position(|it| *it == word).unwrap();
    let figure = |heading: &str| value(&shown.figures[heading]);
    let kib = |bytes: Option<f64>| bytes.map(|bytes| (bytes / 1024.0) as u64);
    let total = figure("USED").zip(figure("AVAIL")).map(|(used, available)| used + available);
    let sample = Domain {
        id: 1,
        name: name.to_owned(),
        state: Some(i64::try_from(state_number).unwrap()),
        completeness: if state.ends_with('!') {
            Completeness::Hung
        } else {
            Completeness::Complete
        },
        vcpu_count: figure("VCPUS").map(|count| count as u64),
        memory: Memory {
            current_kib: kib(figure("MEM")),
            available_kib: kib(total),
            usable_kib: kib(figure("AVAIL")),
            ..Memory::default()
        },
        nics: vec![Nic::default()],
        disks: vec![Disk::default()],
        ..Domain::default()
    };
    let rates = Rates {
        seconds: 1.0,
        cpu_percent: figure("CPU"),
        steal_percent: figure("STEAL"),
        nics: NicRates {
            rx_bytes: figure("RX/s"),
            tx_bytes: figure("TX/s"),
            ..NicRates::default()
        },
        disks: DiskRates {
            rd_bytes: figure("READ/s"),
            wr_bytes: figure("WRITE/s"),
            rd_reqs: figure("RD-REQ/s"),
            wr_reqs: figure("WR-REQ/s"),
        },
        ..Rates::default()
    };
    table::Row::of(&sample, Some(&rates), None)
}

#[test]
fn the_guests_shown_as_a_table_stand_as_the_program_of_today_draws_them() {
    let shown = block_with("text", "GUEST");
    let rows: Vec<table::Row> = Table::read(&shown).rows.iter().map(guest_of).collect();
    let drawn = table::text(&rows, &Look::default());
    // Below the guests stand sums of what is not rounded.
    let (guests, rest) = shown.split_once("\n6 guests ").unwrap();
    assert!(drawn.starts_with(&format!("{guests}\n6 guests ")), "{drawn}");
    // Nor is it known here how long each guest's rates are over.
    let remarks = |text: &str| -> Vec<String> {
        let lines = text.lines().skip(1).filter(|line| !line.starts_with("Rates are over "));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(remarks(rest), remarks(drawn.split_once("\n6 guests ").unwrap().1));
}

#[test]
fn the_tables_columns_are_all_told_of() {
    let scratch = Scratch::new();
    let options = ["once", "--format", "table", "--uri", &scratch.node(), "-u", "test:///default"];
    let printed = run(scratch.command(PROGRAM).args(options)).success().stdout;
    let headings: Vec<&str> = printed.lines().next().unwrap().split_whitespace().collect();
    let told: Vec<String> = rows("docs/without-telegraf.md", "## At a terminal")
        .iter()
        .flat_map(|row| quoted(&row["column"]))
        .collect();
    // Nobody needs to be told what these are.
    let untold = ["GUEST", "VCPUS"];
    let expected: Vec<&str> = headings.into_iter().filter(|it| !untold.contains(it)).collect();
    assert_eq!(told, expected);
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

/// The statistics that the schema names, each one a number here, which all but the texts are.
fn statistics_told() -> Vec<String> {
    const TEXTS: [&str; 5] = [
        "cpu.energy.monitor.0.vcpus",
        "dirtyrate.calc_mode",
        "dirtyrate.calc_start_time",
        "memory.bandwidth.monitor.0.vcpus",
        "cpu.cache.monitor.0.vcpus",
    ];
    let mut told = [
        "vcpu.0.halt_exits.sum",
        "block.0.latency_histogram.read.bin.0.start",
        "block.0.timed_group.0.interval",
        "cpu.energy.monitor.0.pkg.0.id",
        "cpu.energy.monitor.0.pkg.0.core_energy",
    ]
    .map(str::to_owned)
    .to_vec();
    for field in output_fields() {
        let statistic = field.source.trim_start_matches("the sum of ");
        let statistic = statistic.replace(".N", ".0").replace(".M", ".0");
        let statistic = statistic.replace(".OP.", ".read.").replace(".OP_", ".rd_");
        let is_known = statistic.contains('.') && !statistic.contains(['/', ' ', '*']);
        if is_known && !TEXTS.contains(&&*statistic) && !told.contains(&statistic) {
            told.push(statistic);
        }
    }
    assert!(told.len() > 50, "{told:?}");
    told
}

/// A bulk answer that has everything the program knows, each counter at `count`.
fn full_sample(count: u64) -> Domain {
    let mut domain = Domain {
        id: 1,
        name: "web-01".to_owned(),
        answered_at_ns: count * 1_000_000_000,
        ..Domain::default()
    };
    let mut parameters: Vec<Parameter> = Vec::new();
    let numbers = statistics_told();
    let value = libvirt::Value::Uint(count);
    parameters.extend(numbers.iter().map(|name| Parameter { name: name.as_bytes(), value }));
    let texts: [(&[u8], &[u8]); 9] = [
        (b"cpu.energy.monitor.0.name", b"a"),
        (b"cpu.energy.monitor.0.vcpus", b"0"),
        (b"net.0.name", b"vnet0"),
        (b"block.0.name", b"vda"),
        (b"dirtyrate.calc_mode", b"dirty-ring"),
        (b"memory.bandwidth.monitor.0.name", b"a"),
        (b"memory.bandwidth.monitor.0.vcpus", b"0"),
        (b"cpu.cache.monitor.0.name", b"a"),
        (b"cpu.cache.monitor.0.vcpus", b"0"),
    ];
    for (name, value) in texts {
        parameters.push(Parameter { name, value: libvirt::Value::Text(value) });
    }
    let moment = libvirt::Value::Int(1_800_000_000);
    parameters.push(Parameter { name: b"dirtyrate.calc_start_time", value: moment });
    let names = job_parameters();
    let job: Vec<Parameter> =
        names.iter().map(|name| Parameter { name: name.as_bytes(), value }).collect();
    domain.more = Some(Box::new(More { keeps_other: true, ..More::default() }));
    assert_eq!(domain.fill(parameters.into_iter()), 0, "statistics that the program does not know");
    let unknown = Parameter { name: b"block.0.limits.request_alignment", value };
    assert_eq!(domain.fill([unknown].into_iter()), 1);
    if let Some(more) = &mut domain.more {
        more.job = Job::of(1, job.into_iter());
        let one = Some(1);
        more.storage.block_jobs = vec![BlockJobLine {
            target: "vda".to_owned(),
            kind: 1,
            done_bytes: one,
            total_bytes: one,
            bytes_sec: one,
        }];
        more.storage.backing = vec![BackingImage {
            target: "vda".into(),
            backing_index: one,
            allocation_bytes: one,
            capacity_bytes: one,
            physical_bytes: one,
            path: "/a".into(),
            ..BackingImage::default()
        }];
    }
    domain.started_at_ns = Some(0);
    domain.disks[0].io_error = "none".into();
    domain.disks[0].io_error_code = Some(0);
    for vcpu in &mut domain.vcpus {
        (vcpu.cpu, vcpu.affinity) = (Some(0), "0-1".into());
    }
    domain
}

/// What libvirt says of a job.
fn job_parameters() -> Vec<&'static str> {
    let rows = Job::SECTIONS.iter().flat_map(|section| section.rows);
    let named = rows.map(|row| std::str::from_utf8(row.statistic).unwrap());
    ["operation"].into_iter().chain(named).collect()
}

/// A line of vm_events of each kind.
fn write_all_events(lines: &mut Lines) {
    let text = || "a".to_owned();
    let numbers = job_parameters().into_iter().filter(|name| *name != "operation");
    let mut job: Vec<(String, OwnedValue)> =
        numbers.map(|name| (name.to_owned(), OwnedValue::Uint(1))).collect();
    job.push(("operation".to_owned(), OwnedValue::Int(5)));
    job.push(("success".to_owned(), OwnedValue::Bool(true)));
    job.push(("errmsg".to_owned(), OwnedValue::Text(text())));
    let happenings = [
        Happening::Lifecycle { event: 2, detail: 0 },
        Happening::IoError { path: text(), alias: text(), action: 1, reason: text() },
        Happening::BlockJob { disk: text(), kind: 1, status: 1 },
        Happening::BlockThreshold {
            disk: text(),
            path: text(),
            threshold_bytes: 1,
            excess_bytes: 1,
        },
        Happening::JobCompleted(job),
        Happening::DeviceAdded { alias: text() },
    ];
    let guest = |what| GuestEvent { id: 1, name: text(), uuid: Uuid::nil(), what };
    let mut events: Vec<Event> = happenings.map(|what| Event::Guest(guest(what))).into();
    events.push(Event::Lost { cause: LossCause::Queue, dropped: 1 });
    for event in events {
        let report = match &event {
            Event::Guest(guest) => events::report(&guest.what, None),
            Event::Lost { .. } => None,
        };
        let arrived = Arrived { at_ns: 1, place: 0, event };
        let told = Told { arrived: &arrived, report: report.as_ref(), uri: "a", source: None };
        events::write(lines, &told, &Tags::default());
    }
}

/// A guest's device list with every tag that there is, and all else that the XML says.
fn full_inventory() -> Inventory {
    let elements = |sections: &[Section], path: &str| {
        let rows = sections.iter().flat_map(|section| section.rows);
        let names =
            rows.filter_map(|row| str::from_utf8(row.statistic).unwrap().strip_prefix(path));
        names.map(|name| format!("<{name}>1</{name}>")).collect::<String>()
    };
    let [cputune, memtune, blkiotune] = ["cputune", "memtune", "blkiotune"]
        .map(|it| format!("<{it}>{}</{it}>", elements(Details::SECTIONS, &format!("{it}/"))));
    let iotune = elements(DiskLimits::SECTIONS, "iotune/");
    let text = &format!(
        "<domain><title>a</title><description>b</description><vcpu cpuset='0'>1</vcpu>
         {cputune}{memtune}{blkiotune}<os><type arch='x86_64' machine='q35'>hvm</type></os>
         <numatune><memory mode='strict' nodeset='0'/>
         <memnode cellid='0' mode='strict' nodeset='0'/></numatune>
         <cpu><numa><cell id='0' cpus='0' memory='1' unit='KiB'/></numa></cpu><devices>
           <interface type='network'><mac address='52:54:00:00:00:01'/><source network='lan'/>
             <target dev='vnet0'/><model type='virtio'/><alias name='net0'/><bandwidth>
             <inbound average='1' peak='2' floor='3' burst='4'/>
             <outbound average='5' peak='6' burst='7'/></bandwidth></interface>
           <disk type='file' device='disk' model='virtio-transitional'><source file='/a.raw'/>
             <target dev='vda' bus='virtio'/><serial>S1</serial><alias name='disk0'/>
             <iotune>{iotune}</iotune></disk>
         </devices></domain>"
    );
    let (nics, disks) = xml::inventory(text).unwrap();
    let mut details = details(text).unwrap();
    (details.persistent, details.autostart) = (Some(true), Some(true));
    let one = Some(1);
    details.snapshots =
        Some(Snapshots { count: one, oldest_s: one, newest_s: one, checkpoints: one });
    let details = Some(Box::new(details));
    Inventory { id: 1, nics, disks, details, ..Inventory::default() }
}

/// The lines of a guest that has everything, with these rates.
fn all_lines_with(features: &[Feature], device_tags: &[DeviceTag], extra: &[Extra]) -> Vec<Line> {
    let (before, sample) = (full_sample(100), full_sample(110));
    let rates = rates(&sample, &before).unwrap();
    let inventory = full_inventory();
    let guest = PrintedGuest { sample: &sample, rates: Some(&rates), inventory: Some(&inventory) };
    let choice = Choice {
        missing: Missing::Omit,
        features: features.to_vec(),
        device_tags: device_tags.to_vec(),
        user_tags: Vec::new(),
        extra: extra.iter().copied().collect(),
    };
    let mut lines = Lines::default();
    lines.start(1);
    Writer::default().write(&mut lines, &guest, &Tags::default(), &choice, 200);
    if choice.extra.has(Extra::Collector) {
        let collector =
            Collector { guests: Some(CollectedGuests::default()), ..Collector::default() };
        write_collector(&mut lines, "qemu:///system", &Tags::default(), &collector);
    }
    if choice.extra.has(Extra::Events) {
        write_all_events(&mut lines);
    }
    if choice.extra.has(Extra::Host) {
        write_host(&mut lines, "qemu:///system", &Tags::default(), &full_host());
    }
    if choice.extra.has(Extra::Pools) {
        let pool = r#"{"name": "a", "kind": "dir", "state": 2, "facts": FACTS}"#;
        let pool = pool.replace("FACTS", &facts(PoolFacts::SECTIONS));
        let pools = [serde_json::from_str(&pool).unwrap()];
        write_pools(&mut lines, "qemu:///system", &Tags::default(), &pools);
    }
    if choice.extra.has(Extra::Anomalies) {
        let verdict = Verdict { range: 2.0, ..Verdict::default() };
        let top = Some(Top { series: "vda wr_bytes".into(), value: 1.0, verdict });
        let summary = Summary { flagged: 1, learned: 1, learning: 0, events: 1, top };
        Writer::default().write_anomalies(&mut lines, guest.sample, &Tags::default(), &summary);
    }
    lines::read(std::str::from_utf8(lines.as_bytes()).unwrap())
}

/// All fields of these rows as a recording has them.
fn facts(sections: &[Section]) -> String {
    let field = |row: &FieldRow| {
        let value = match row.kind {
            FieldKind::Text => "\"a\"",
            FieldKind::Flag => "true",
            _ => "1",
        };
        format!("\"{}\": {value}", row.name)
    };
    let rows = sections.iter().flat_map(|section| section.rows);
    format!("{{{}}}", rows.map(field).collect::<Vec<_>>().join(", "))
}

fn full_host() -> HostReading {
    let mut host: HostReading =
        serde_json::from_str(&format!("{{\"facts\": {}}}", facts(HostFacts::SECTIONS))).unwrap();
    let cell = HostCell {
        memory_total_kib: Some(1),
        memory_free_kib: Some(1),
        cpuset: "0".into(),
        ..HostCell::default()
    };
    host.cells.push(cell);
    host.pages.push(HostPages { cell: 0, page_kib: 2048, total: Some(1), free: Some(1) });
    host
}

fn all_lines(features: &[Feature]) -> Vec<Line> {
    all_lines_with(features, &[], &[])
}

/// The fields of the schema that are printed for these reasons, with their types.
fn told_fields(
    measurement: &str,
    devtype: &str,
    is_asked: impl Fn(AskedBy) -> bool,
) -> BTreeSet<(String, String)> {
    let is_of = |it: &&OutputField| it.measurement == measurement && it.devtype == devtype;
    let fields = output_fields().iter().filter(is_of).filter(|it| is_asked(it.asked_by));
    fields.map(|it| (it.row.name.to_owned(), it.row.kind.type_name().to_owned())).collect()
}

fn printed_fields<'a>(lines: impl Iterator<Item = &'a Line>) -> BTreeSet<(String, String)> {
    lines
        .flat_map(|line| &line.fields)
        .map(|(name, value)| (name.clone(), type_of(value).to_owned()))
        .collect()
}

#[test]
fn the_schema_has_every_field_that_can_be_printed_with_its_type_and_no_other() {
    let lines = all_lines(&[]);
    let is_always = |asked_by| asked_by == AskedBy::Nobody;
    let names = ["vm_metrics ", "vm_totals ", "vm_features ", "vm_devices nic", "vm_devices disk"];
    for name in names {
        let (measurement, devtype) = name.split_once(' ').unwrap();
        let printed = printed_fields(lines.iter().filter(|line| kind(line) == name.trim_end()));
        assert_eq!(told_fields(measurement, devtype, is_always), printed, "{name}");
    }
    for (name, feature) in FEATURES {
        let printed = printed_fields(
            all_lines(&[feature]).iter().filter(|line| line.measurement == "vm_features"),
        );
        let is_asked = |it| is_always(it) || it == AskedBy::Feature(feature);
        assert_eq!(told_fields("vm_features", "", is_asked), printed, "{name}");
    }
    // And no measurement is printed that is not in it.
    let measurements: BTreeSet<&str> = lines.iter().map(|line| &*line.measurement).collect();
    assert_eq!(measurements, ["vm_devices", "vm_features", "vm_metrics", "vm_totals"].into());
}

/// What each line has of its own: tags, then fields with their types.
fn contents(lines: &[Line]) -> BTreeSet<(String, String, String)> {
    let field = |line: &Line, name: &str, value: &Value| {
        let kind =
            if line.measurement == "vm_devices" { kind(line) } else { line.measurement.clone() };
        (kind, name.to_owned(), type_of(value).to_owned())
    };
    lines
        .iter()
        .flat_map(|line| line.fields.iter().map(move |(name, value)| field(line, name, value)))
        .collect()
}

#[test]
fn each_name_in_extra_adds_what_the_schema_says_and_nothing_else() {
    let always = contents(&all_lines(&[]));
    for extra in Extra::ALL {
        let lines = all_lines_with(&[], &[], &[extra]);
        let added: BTreeSet<_> = contents(&lines).difference(&always).cloned().collect();
        let of_name = || output_fields().iter().filter(|it| it.asked_by == AskedBy::Extra(extra));
        // Where libvirt gives the names, one of them was sent.
        let told: BTreeSet<_> = of_name()
            .filter(|it| !it.row.name.contains('*'))
            .map(|it| {
                let of = format!("{} {}", it.measurement, it.devtype).trim_end().to_owned();
                // Here libvirt sends a number.
                let kind = it.row.kind.type_name().replace("as sent", "integer");
                (of, it.row.name.to_owned(), kind)
            })
            .collect();
        if extra == Extra::Other {
            let name = "block_limits_request_alignment".to_owned();
            let expected = [("vm_other".to_owned(), name, "integer".to_owned())];
            assert_eq!(added, expected.into());
        } else {
            assert_eq!(told, added, "{}", extra.name());
        }
        // And the tags of its own measurement.
        for line in lines.iter().filter(|line| line.measurement == extra.row().measurement) {
            let own = line.tags.iter().map(|(name, _)| name.as_str());
            let mut known = extra.row().tags.iter();
            for name in own.filter(|name| !GUEST_TAGS.contains(name)) {
                assert!(known.any(|it| *it == name), "{name} in {line:?}");
            }
        }
    }
}

const DEVICE_TAGS: [DeviceTag; 8] = [
    DeviceTag::Type,
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
    for row in rows("docs/metrics.md", "## Tags") {
        told.entry(row["on"].clone()).or_default().extend(quoted(&row["tag"]));
    }
    // Of every line first, then of devices; `source` stands behind those, with the user's own.
    let source = told.get_mut("all").unwrap().pop();
    assert_eq!(source.as_deref(), Some("source"));

    let mut of_devices: Vec<String> = Vec::new();
    for line in all_lines_with(&[], &DEVICE_TAGS, &[]) {
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

    for measurement in ["vm_metrics", "vm_features", "vm_devices", "vm_totals"] {
        let told = ["", "nic", "disk"].map(|devtype| {
            told_fields(measurement, devtype, |it| !matches!(it, AskedBy::Extra(_)))
        });
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
        let told = told.into_iter().flatten();
        let expected = told.filter(|(field, _)| !lacks.contains(&**field)).collect();
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
