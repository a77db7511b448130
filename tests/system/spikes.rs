//! Rates over a database's own functions, through all that interrupts a counter: a guest that does not answer for a
//! while, a reboot, a disk and a NIC that are replaced. A libvirtd of our own tells the counters, which are those of
//! years, so that any false step is a spike; the program prints them, and real databases reckon the rates.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use telegraf_virt::schema::{FieldKind, output_fields};

use crate::support::ailing::now;
use crate::support::influxdb::Influxdb;
use crate::support::libvirtd::{FakeGuest, Host, Libvirtd, Reply, Typed};
use crate::support::made::without_vmid;
use crate::support::process::run;
use crate::support::program::program;
use crate::support::promql::Promql;
use crate::support::say;
use crate::support::servers::require_program;
use crate::support::victoria_metrics::VictoriaMetrics;

/// What each counter has gained in its life before, and what it gains from one collection to the next.
const LIFE: u64 = 1_000_000_000_000;
const STEP: u64 = 1000;

/// Seconds between two collections.
const SECONDS: i64 = 10;

/// No counter gains more in a second, also after it began anew with what it gained meanwhile.
const HIGHEST: f64 = 1000.0;

const COLLECTIONS: u64 = 40;

/// The guest's answer in this collection.
fn host(collection: u64) -> Host {
    let mut host = Host::with(1);
    let is_silent = (10..15).contains(&collection);
    let has_rebooted = collection >= 20;
    host.guests[0] = FakeGuest { id: if has_rebooted { 9 } else { 1 }, ..FakeGuest::number(0) };
    // Since when a counter counts: years ago, or the first collection after it began anew.
    let gained = |began: Option<u64>| match began.filter(|began| collection >= *began) {
        Some(began) => 5 * STEP + (collection - began) * STEP,
        None => LIFE + collection * STEP,
    };
    let reboot = Some(20);
    let (disk, nic) = (
        if collection >= 26 { Some(26) } else { reboot },
        Some(32).filter(|it| collection >= *it).or(reboot),
    );
    host.parameters.retain(|(name, _)| {
        let needs_qemu = name == "balloon.rss"
            || name.starts_with("block.0.rd")
            || name.starts_with("block.0.wr");
        !(is_silent && needs_qemu)
    });
    for (name, value) in &mut host.parameters {
        let Typed::Ullong(number) = value else { continue };
        *number = match name.split('.').next().unwrap() {
            "net" => gained(nic),
            "block" => gained(disk),
            "cpu" | "vcpu" => gained(reboot),
            _ => 1_000_000,
        };
    }
    let path = if collection >= 26 { "/second.img" } else { "/first.img" };
    host.parameters.push(("block.0.path".to_owned(), Typed::Text(path.into())));
    let mac = if collection >= 32 { "52:54:00:00:00:02" } else { "52:54:00:00:00:01" };
    host.xml = host.xml.replace("/x'", &format!("{path}'"));
    host.xml = host
        .xml
        .replace("<target dev='vnet0'/>", &format!("<mac address='{mac}'/><target dev='vnet0'/>"));
    host
}

/// What the program prints, collection by collection, as if it were run each ten seconds up to now.
fn printed() -> String {
    let scratch = tempfile::tempdir().unwrap();
    let step = Arc::new(AtomicU64::new(0));
    let current = Arc::clone(&step);
    let fake = Libvirtd::changing(
        scratch.path(),
        move |_| Arc::new(host(current.load(Ordering::Relaxed))),
        |_| Reply::Changed(Box::new(|_| {})),
    );
    let start = now() - i64::try_from(COLLECTIONS).unwrap() * SECONDS;
    let mut lines = String::new();
    for collection in 0..COLLECTIONS {
        step.store(collection, Ordering::Relaxed);
        let mut command = program(scratch.path());
        command
            .args(["once", "--uri", &fake.uri(), "--cache-dir"])
            .arg(scratch.path().join("cache"));
        let finished = run(&mut command).success();
        let second = start + i64::try_from(collection).unwrap() * SECONDS;
        for line in finished.stdout.lines() {
            let (line, _) = line.rsplit_once(' ').unwrap();
            lines += &format!("{line} {second}000000000\n");
        }
    }
    lines
}

/// The same, of the guest's whole life before it was started again.
pub fn with_gap() -> String {
    printed().lines().filter(|it| !it.contains("VMID=9,")).map(|it| format!("{it}\n")).collect()
}

/// Counters by measurement that these lines have, with what tells one counter from another.
fn counters(lines: &str) -> BTreeSet<(&'static str, &'static str)> {
    let fields = output_fields().iter().filter(|it| it.row.kind == FieldKind::Counter);
    let of = |it: &telegraf_virt::schema::OutputField| (it.measurement, it.row.name);
    let is_there = |(measurement, name): &(&str, &str)| {
        lines.lines().any(|line| {
            line.starts_with(&format!("{measurement},"))
                && [',', ' '].iter().any(|before| line.contains(&format!("{before}{name}=")))
        })
    };
    fields.map(of).filter(is_there).collect()
}

/// The same lines with 0 for each counter that is absent, as a naive program would print them.
fn with_zeros(lines: &str) -> String {
    let zero = |line: &str| {
        let is_silent = line.starts_with("vm_totals,") && !line.contains("disk_rd_bytes=");
        let line = if is_silent {
            line.replacen(" net_rx", " disk_rd_bytes=0i,net_rx", 1)
        } else {
            line.to_owned()
        };
        line + "\n"
    };
    lines.lines().map(zero).collect()
}

/// The highest rate of each counter, by each of InfluxDB's ways.
fn highest_in_influxdb(influxdb: &Influxdb, database: &str, counter: (&str, &str)) -> f64 {
    let (measurement, field) = counter;
    let tags = if measurement == "vm_devices" { "\"uuid\", \"device\"" } else { "\"uuid\"" };
    let of = format!("FROM \"{measurement}\" WHERE time > now() - 20m");
    let queries = [
        format!(
            "SELECT non_negative_derivative(max(\"{field}\"), 1s) {of} GROUP BY time(20s), {tags} fill(none)"
        ),
        format!(
            "SELECT non_negative_derivative(max(\"{field}\"), 1s) {of} GROUP BY time(10s), {tags} fill(none)"
        ),
        format!("SELECT non_negative_derivative(\"{field}\", 1s) {of} GROUP BY {tags}"),
        format!(
            "SELECT non_negative_difference(\"{field}\") / {SECONDS} FROM (SELECT \"{field}\" {of} GROUP BY {tags}) GROUP BY {tags}"
        ),
    ];
    let numbers = queries.iter().flat_map(|query| {
        let series = influxdb.query(database, query);
        let numbers: Vec<f64> = series.iter().flat_map(|it| it.numbers()).collect();
        assert!(!numbers.is_empty(), "nothing: {query}");
        numbers
    });
    numbers.fold(0.0, f64::max)
}

fn highest_in_victoria_metrics(metrics: &VictoriaMetrics, counter: (&str, &str)) -> f64 {
    let (measurement, field) = counter;
    let labels = if measurement == "vm_devices" { "uuid, device" } else { "uuid" };
    let name = format!("{measurement}_{field}");
    let queries = [
        format!("sum by ({labels}) (rate({name}[30s]))"),
        format!("sum by ({labels}) (rate({name}[1m]))"),
        format!("sum by ({labels}) (irate({name}[1m]))"),
        format!("sum by ({labels}) (increase({name}[20s])) / 20"),
    ];
    let numbers = queries.iter().flat_map(|query| {
        let series = metrics.query_range(query, 1200, 10);
        let numbers: Vec<f64> = series.into_iter().flat_map(|(_, numbers)| numbers).collect();
        assert!(!numbers.is_empty(), "nothing: {query}");
        numbers
    });
    numbers.fold(0.0, f64::max)
}

#[test]
#[ignore = "slow: tests/run --all"]
fn a_rate_never_shows_a_spike_whatever_interrupts_a_counter() {
    let test = "spikes";
    let Some(influxd) = require_program(test, "INFLUXD", "influxd") else { return };
    let Some(server) = require_program(test, "VICTORIA_METRICS", "victoria-metrics") else {
        return;
    };
    let lines = printed();
    let silent =
        lines.lines().filter(|it| it.starts_with("vm_totals,") && !it.contains("disk_rd_bytes="));
    assert_eq!(silent.count(), 5, "{lines}");
    let counters = counters(&lines);
    // 2 in vm_metrics and vm_totals' CPU time, 8 of NICs, 5 of disks, and their sums.
    assert!(counters.len() >= 25, "{counters:?}");

    let folder = tempfile::tempdir().unwrap();
    let influxdb = Influxdb::start(&influxd, &folder.path().join("influxdb"));
    for (database, lines) in
        [("vms", &lines), ("without_vmid", &without_vmid(&lines)), ("zeros", &with_zeros(&lines))]
    {
        influxdb.create(database);
        influxdb.write(database, lines);
    }
    for (number, lines) in [lines.clone(), without_vmid(&lines)].iter().enumerate() {
        let metrics =
            VictoriaMetrics::start(&server, &folder.path().join(format!("metrics-{number}")));
        metrics.write(lines);
        metrics.show();
        for &counter in &counters {
            let highest = highest_in_victoria_metrics(&metrics, counter);
            assert!(highest <= HIGHEST, "VictoriaMetrics: {counter:?}: {highest}");
        }
    }
    for &counter in &counters {
        for database in ["vms", "without_vmid"] {
            let highest = highest_in_influxdb(&influxdb, database, counter);
            assert!(highest <= HIGHEST, "InfluxDB, {database}: {counter:?}: {highest}");
        }
    }
    // With zeros there is one.
    let metrics = VictoriaMetrics::start(&server, &folder.path().join("metrics-zeros"));
    metrics.write(&with_zeros(&lines));
    metrics.show();
    let counter = ("vm_totals", "disk_rd_bytes");
    assert!(highest_in_victoria_metrics(&metrics, counter) > 1e6 * HIGHEST);
    assert!(highest_in_influxdb(&influxdb, "zeros", counter) > 1e6 * HIGHEST);
    say(&format!("spikes: none in the rates of {} counters", counters.len()));
}
