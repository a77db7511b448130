//! Through a real Telegraf, with the file that users copy, into a real InfluxDB 1.x.

use crate::support::events::{PROBE, VirshEvents, create};
use crate::support::expect::field_types;
use crate::support::influxdb::Influxdb;
use crate::support::lab::Lab;
use crate::support::lines::{Line, Value, read};
use crate::support::names::ODD_NAMES;
use crate::support::process::run;
use crate::support::program::{PROGRAM, once, without_settings};
use crate::support::repository;
use crate::support::say;
use crate::support::servers::{
    Server, errors, for_telegraf, require_program, shipped, telegraf, telegraf_with,
};
use crate::support::stage::times;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::Command;
use std::time::Duration;

/// Ends Telegraf, and expects nothing that it calls an error.
fn end_cleanly(telegraf: Server) {
    let log = telegraf.end();
    assert!(log.contains("I! [inputs.execd] ready"), "{log}");
    assert_eq!(errors(&log), Vec::<&str>::new(), "{log}");
    assert!(log.contains("telegraf-virt shut down"), "{log}");
}

#[test]
fn all_four_measurements_arrive_in_influxdb_with_their_types_and_the_users_queries_return_rows() {
    let test = "telegraf, InfluxDB";
    let Some(telegraf_program) = require_program(test, "TELEGRAF", "telegraf") else { return };
    let Some(influxd_program) = require_program(test, "INFLUXD", "influxd") else { return };
    let Some(lab) = Lab::require(test) else { return };
    let still = lab.paused("still one", 1, 1);
    let tap = lab.stats(&still).devices("net")[0].1.clone();
    lab.send(&tap, 1, 300);
    let moving = lab.linux("moving");
    let influxdb = Influxdb::start(&influxd_program, &lab.scratch().join("influxdb"));
    let output = format!(
        "[[outputs.influxdb]]\nurls = [\"http://127.0.0.1:{}\"]\ndatabase = \"telegraf\"\n",
        influxdb.port
    );
    let mut telegraf = telegraf(&telegraf_program, &lab, &output);

    // Features come with the second collection, and with them everything is there.
    telegraf.wait_until("features of both guests", Duration::from_secs(60), || {
        let query = "SHOW SERIES FROM vm_features";
        let databases = influxdb.query("", "SHOW DATABASES");
        databases[0].rows.iter().any(|row| row[0] == "telegraf").then_some(())?;
        let series = influxdb.query("telegraf", query);
        (series.first()?.rows.len() == 2).then_some(())
    });

    let arrived: BTreeMap<String, BTreeMap<String, String>> = influxdb
        .query("telegraf", "SHOW FIELD KEYS")
        .into_iter()
        .map(|series| {
            let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
            (series.name, series.rows.iter().map(|row| (text(&row[0]), text(&row[1]))).collect())
        })
        .collect();
    let expected: BTreeMap<String, BTreeMap<String, String>> = field_types()
        .into_iter()
        .map(|(measurement, fields)| {
            let fields = fields.into_iter().map(|(name, kind)| (name, kind.to_owned()));
            (measurement.to_owned(), fields.collect())
        })
        .collect();
    assert_eq!(arrived, expected);

    // The four queries that users' dashboards hold; name is a word of InfluxQL, hence the quotes.
    let rows = |query: &str, columns: &[&str]| {
        let series = influxdb.query("telegraf", query);
        assert_eq!(series.len(), 1, "{query}: {series:?}");
        assert_eq!(series[0].columns, columns, "{query}");
        assert!(!series[0].rows.is_empty(), "{query}: no rows");
        series.into_iter().next().unwrap().rows
    };
    let stats = lab.stats(&still);
    let nic = rows(
        &format!(
            "SELECT rxbytes, txbytes, rxerrors, txerrors FROM vm_devices \
             WHERE devtype='nic' AND device='{tap}' AND time > now() - 1h"
        ),
        &["time", "rxbytes", "txbytes", "rxerrors", "txerrors"],
    );
    assert_eq!(stats.number("net.0.rx.bytes"), 342, "300 bytes and three headers");
    for row in &nic {
        assert_eq!(row[1..], [342, 0, 0, 0].map(serde_json::Value::from), "{nic:?}");
    }
    let net = rows(
        "SELECT net_rxbytes, net_txbytes, net_rxerrors, net_txdrops FROM vm_totals WHERE \"name\"='still one'",
        &["time", "net_rxbytes", "net_txbytes", "net_rxerrors", "net_txdrops"],
    );
    assert_eq!(net[0][1..], [342, 0, 0, 0].map(serde_json::Value::from), "{net:?}");
    let memory = rows(
        "SELECT memswap_in, memswap_out, memmajor_fault FROM vm_totals WHERE \"name\"='moving'",
        &["time", "memswap_in", "memswap_out", "memmajor_fault"],
    );
    let times = rows(
        "SELECT timeusr, timesys, (timeusr + timesys) AS total_cpu_time FROM vm_totals",
        &["time", "timeusr", "timesys", "total_cpu_time"],
    );
    for row in &times {
        let number = |index: usize| row[index].as_i64().unwrap();
        assert!(number(1) > 0, "{row:?}");
        assert_eq!(number(1) + number(2), number(3), "{row:?}");
    }

    for (measurement, uuid) in [("vm_metrics", &still), ("vm_features", &moving)] {
        let query = format!("SELECT * FROM {measurement} WHERE \"uuid\"='{uuid}'");
        assert!(!influxdb.query("telegraf", &query)[0].rows.is_empty(), "{query}");
    }
    say(&format!(
        "telegraf: the users' queries returned {}, {}, {} and {} rows",
        nic.len(),
        net.len(),
        memory.len(),
        times.len()
    ));
    end_cleanly(telegraf);
}

#[test]
fn each_event_is_one_point_in_influxdb() {
    const PAIRS: usize = 200;
    let test = "telegraf, events";
    let Some(telegraf_program) = require_program(test, "TELEGRAF", "telegraf") else { return };
    let Some(influxd_program) = require_program(test, "INFLUXD", "influxd") else { return };
    let Some(lab) = Lab::require(test) else { return };
    create(&lab, PROBE);
    create(&lab, "web");
    let influxdb = Influxdb::start(&influxd_program, &lab.scratch().join("influxdb"));
    let output = format!(
        "[[outputs.influxdb]]\nurls = [\"http://127.0.0.1:{}\"]\ndatabase = \"telegraf\"\n",
        influxdb.port
    );
    let settings = "extra = [\"events\"]\n";
    let mut telegraf = telegraf_with(&telegraf_program, &lab, settings, &output);
    telegraf.wait_until("a collection", Duration::from_secs(60), || {
        let databases = influxdb.query("", "SHOW DATABASES");
        databases[0].rows.iter().any(|row| row[0] == "telegraf").then_some(())?;
        (!influxdb.query("telegraf", "SHOW SERIES FROM vm_totals").is_empty()).then_some(())
    });
    // Many in a second, of which each is alike in its tags and fields to a hundred others.
    let virsh = VirshEvents::start(&lab);
    let mut commands = lab.virsh_shell();
    let text = "resume web\nsuspend web\n".repeat(PAIRS) + "reset web\nresume web\ndestroy web\n";
    commands.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(commands.wait().unwrap().success());

    let by_event = || {
        let query = "SELECT COUNT(\"count\"), SUM(\"count\") FROM vm_events \
                     WHERE \"name\"='web' GROUP BY \"event\"";
        let mut counts = BTreeMap::new();
        for series in influxdb.query("telegraf", query) {
            let numbers = series.numbers();
            assert_eq!(numbers[0], numbers[1], "{series:?}");
            counts.insert(series.tags["event"].clone(), numbers[0] as usize);
        }
        counts
    };
    let told = || {
        let mut counts = BTreeMap::new();
        for (_, event, _) in virsh.seen().into_iter().filter(|(guest, ..)| guest == "web") {
            *counts.entry(event).or_insert(0) += 1;
        }
        counts
    };
    let arrived = telegraf.wait_until("all events", Duration::from_secs(60), || {
        let arrived = by_event();
        (arrived.contains_key("stopped") && arrived == told()).then_some(arrived)
    });
    assert_eq!(arrived["suspended"], PAIRS);
    assert_eq!(arrived["resumed"], PAIRS + 1);
    say(&format!("telegraf: {} events, a point in InfluxDB each", arrived.values().sum::<usize>()));
    end_cleanly(telegraf);
}

/// A line as Telegraf's JSON has it: (measurement, tags, fields).
type Point = (String, BTreeMap<String, String>, BTreeMap<String, serde_json::Value>);

fn point_of_line(line: &Line) -> Point {
    let value = |value: &Value| match value {
        Value::Int(value) => serde_json::Value::from(*value),
        Value::Float(value) => serde_json::Value::from(*value),
        Value::Text(value) => serde_json::Value::from(value.as_str()),
        Value::Bool(value) => serde_json::Value::from(*value),
    };
    let fields = line.fields.iter().map(|(name, field)| (name.clone(), value(field)));
    (line.measurement.clone(), line.tags.iter().cloned().collect(), fields.collect())
}

fn point_of_json(text: &str) -> Point {
    let json: serde_json::Value = serde_json::from_str(text).unwrap();
    let object = |key: &str| json[key].as_object().unwrap().clone();
    let tags = object("tags").into_iter();
    (
        json["name"].as_str().unwrap().to_owned(),
        tags.map(|(key, value)| (key, value.as_str().unwrap().to_owned())).collect(),
        object("fields").into_iter().collect(),
    )
}

/// Without what moves on a paused guest: QEMU's own CPU time and memory.
fn still(mut point: Point) -> Point {
    for field in ["cputime_ns", "cputime", "timeusr", "timesys", "memrss"] {
        point.2.remove(field);
    }
    point
}

#[test]
fn telegraf_reads_hostile_names_value_for_value() {
    let test = "telegraf, hostile names";
    let Some(telegraf_program) = require_program(test, "TELEGRAF", "telegraf") else { return };
    let Some(lab) = Lab::require(test) else { return };
    for (name, _) in ODD_NAMES {
        lab.paused(name, 1, 1);
    }
    let expected: Vec<Point> = read(&once(&lab, &lab.scratch().join("other-cache"), &[]).stdout)
        .iter()
        .map(|line| still(point_of_line(line)))
        .collect();
    assert_eq!(expected.len(), 4 * ODD_NAMES.len());

    // As JSON, which no escaping of line protocol can hide anything in.
    let file = lab.scratch().join("out.json");
    let output =
        format!("[[outputs.file]]\nfiles = [\"{}\"]\ndata_format = \"json\"\n", file.display());
    let mut telegraf = telegraf(&telegraf_program, &lab, &output);
    let text = telegraf.wait_until("a whole collection", Duration::from_secs(60), || {
        let text = std::fs::read_to_string(&file).ok()?;
        // The second collection has begun, so the first is whole.
        (text.ends_with('\n') && text.contains("vm_features")).then_some(text)
    });
    end_cleanly(telegraf);

    let arrived: Vec<Point> = text.lines().map(point_of_json).collect();
    let names: Vec<&str> = arrived
        .iter()
        .filter(|(measurement, ..)| measurement == "vm_metrics")
        .map(|(_, tags, _)| tags["name"].as_str())
        .collect();
    for (_, tag) in ODD_NAMES {
        assert!(names.contains(&tag), "{tag} is not among {names:?}");
    }
    let arrived: Vec<Point> = arrived.into_iter().map(still).collect();
    for point in &expected {
        assert!(arrived.contains(point), "{point:?} is not among {arrived:#?}");
    }
    // And nothing else: no measurement, tag or guest that a name has forged.
    for point in arrived.iter().filter(|(measurement, ..)| measurement != "vm_features") {
        assert!(expected.contains(point), "{point:?} is not among {expected:#?}");
    }
    say(&format!(
        "telegraf: {} points with hostile names arrived as they were sent",
        arrived.len()
    ));
}

#[test]
fn telegraf_gets_every_line_of_a_collection_that_ends_with_the_program() {
    let test = "telegraf, once";
    let Some(telegraf) = require_program(test, "TELEGRAF", "telegraf") else { return };
    let scratch = tempfile::tempdir().unwrap();
    let node = repository().join("fixtures/node.xml");
    let output = scratch.path().join("output.conf");
    std::fs::write(
        &output,
        "[agent]\nomit_hostname = true\n[[outputs.file]]\nfiles = [\"stdout\"]\n\
         data_format = \"influx\"\n",
    )
    .unwrap();
    let ours = std::path::Path::new(PROGRAM).parent().unwrap().display().to_string();
    let path = std::env::var("PATH").unwrap();
    for round in 0..times(20) {
        let mut command = Command::new(&telegraf);
        without_settings(&mut command, scratch.path());
        command
            .env("PATH", format!("{ours}:{path}"))
            .env("LIBVIRT_DEFAULT_URI", format!("test://{}", node.display()))
            .env("XDG_CACHE_HOME", scratch.path().join(format!("cache-{round}")))
            .args(["--once", "--config"])
            .arg(&output)
            .arg("--config")
            .arg(shipped("telegraf-virt.conf"));
        let finished = run(&mut command).success();
        // The test driver says nothing of rates the first time: 70 lines.
        assert_eq!(finished.stdout.lines().count(), 70, "round {round}: {finished}");
        assert_eq!(errors(&finished.stderr), Vec::<&str>::new(), "round {round}: {finished}");
    }
}

#[test]
fn telegraf_loads_the_whole_folder_without_an_error_and_gets_no_metric_twice() {
    let test = "telegraf, the folder";
    let Some(program) = require_program(test, "TELEGRAF", "telegraf") else { return };
    let Some(lab) = Lab::require(test) else { return };
    lab.fleet(2, 1, 1);
    let arrived = lab.scratch().join("lines");
    let output = lab.scratch().join("output.conf");
    // Each collection has a second of its own, on a machine that stalls, too.
    let agent = "[agent]\ninterval = \"4s\"\nflush_interval = \"1s\"\nomit_hostname = true\n";
    let files = format!("[[outputs.file]]\nfiles = [\"{}\"]\n", arrived.display());
    std::fs::write(&output, format!("{agent}{files}")).unwrap();
    let mut command = Command::new(&program);
    for_telegraf(&mut command, &lab);
    let active = shipped("telegraf-virt.conf");
    let folder = active.parent().unwrap();
    command.arg("--config").arg(&output).arg("--config-directory").arg(folder);
    let mut telegraf = Server::start(&mut command, lab.scratch().join("telegraf.log"));
    let lines = telegraf.wait_until("four collections", Duration::from_secs(60), || {
        let text = std::fs::read_to_string(&arrived).ok()?;
        let lines = if text.ends_with('\n') { read(&text) } else { return None };
        let moments: BTreeSet<i64> = lines.iter().map(|line| line.timestamp).collect();
        (moments.len() >= 4).then_some(lines)
    });
    let log = telegraf.end_well(Duration::from_secs(60));

    let said = |what: &str| -> Vec<&str> {
        log.lines().filter_map(|line| line.split_once(what)).map(|(_, rest)| rest.trim()).collect()
    };
    let loaded = [output.to_str().unwrap(), active.to_str().unwrap()];
    assert_eq!(said("I! Loading config: "), loaded, "{log}");
    assert_eq!(said("I! Loaded inputs: "), ["execd"], "{log}");
    assert_eq!(errors(&log), Vec::<&str>::new(), "{log}");
    let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
    let mut points = BTreeSet::new();
    for line in &lines {
        assert_eq!(line.timestamp % 1_000_000_000, 0, "{line:?}");
        assert!(points.insert((line.timestamp, line.title())), "twice: {line:?}");
        *counts.entry(line.timestamp).or_default() += 1;
    }
    // vm_metrics, a NIC, a disk, vm_totals, and vm_features from the second on. The last may not be whole.
    let counts: Vec<usize> = counts.into_values().collect();
    assert_eq!(counts[..3], [8, 10, 10], "{counts:?}");
    say(&format!("telegraf, the folder: {} collections", counts.len()));
}
