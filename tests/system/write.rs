//! Straight into databases: through the real `influx` command and through Telegraf's output for
//! InfluxDB 2 into a real VictoriaMetrics, and through curl into that and a real InfluxDB 1.x. What
//! docs/without-telegraf.md and docs/databases.md say of these ways is what is run, on ports of this machine's choice, and every value
//! is read back.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::database::{block, queries};
use crate::support::influxdb::Influxdb;
use crate::support::lab::Lab;
use crate::support::lines::{Line, Value, read};
use crate::support::names::ODD_NAMES;
use crate::support::process::{Finished, run};
use crate::support::program::{PROGRAM, without_settings};
use crate::support::promql::{Labels, Promql};
use crate::support::say;
use crate::support::servers::{require_program, telegraf};
use crate::support::victoria_metrics::{Samples, VictoriaMetrics};
use serde_json::Value as Json;

/// The one line of docs/without-telegraf.md that holds this text.
fn told(text: &str) -> &'static str {
    const PAGE: &str = include_str!("../../docs/without-telegraf.md");
    let lines: Vec<&str> = PAGE.lines().filter(|line| line.contains(text)).collect();
    assert_eq!(lines.len(), 1, "lines of the page with {text}: {lines:?}");
    lines[0]
}

/// A command of the page in a shell, with this lab for the machine's own libvirt.
fn shell(lab: &Lab, command: &str) -> Finished {
    let ours = Path::new(PROGRAM).parent().unwrap().display();
    let mut shell = Command::new("bash");
    without_settings(&mut shell, lab.scratch());
    shell
        .env("PATH", format!("{ours}:/usr/bin:/bin"))
        .env("LIBVIRT_DEFAULT_URI", lab.uri())
        .env("CACHE_DIRECTORY", lab.scratch().join("cache"))
        .args(["-e", "-o", "pipefail", "-c", command]);
    shell.env("INFLUX_CONFIGS_PATH", lab.scratch().join("influx-configs"));
    run(&mut shell).success()
}

/// Runs `telegraf-virt once | WRITE`, and returns the lines that went through the pipe.
fn pipe(lab: &Lab, write: &str, settings: &str) -> Vec<Line> {
    let sent = lab.scratch().join("sent.line");
    let write = write.strip_prefix("telegraf-virt once | ").unwrap();
    let tee = format!("telegraf-virt once | tee {} | {write}", sent.display());
    let finished = shell(lab, &format!("{settings}\n{tee}"));
    assert_eq!((&*finished.stdout, &*finished.stderr), ("", ""), "{finished}");
    read(&fs::read_to_string(sent).unwrap())
}

/// What VictoriaMetrics must make of lines: each field is a metric, each tag a label.
fn samples(lines: &[Line], label: Option<(&str, &str)>) -> Samples {
    let mut samples = BTreeMap::new();
    for line in lines {
        for (field, value) in &line.fields {
            let mut labels: Labels = line.tags.iter().cloned().collect();
            labels.extend(label.map(|(name, value)| (name.to_owned(), value.to_owned())));
            labels.insert("__name__".to_owned(), format!("{}_{field}", line.measurement));
            #[allow(clippy::cast_precision_loss)]
            let value = match value {
                Value::Int(value) => *value as f64,
                Value::Float(value) => *value,
                Value::Text(_) => 0.0,
                Value::Bool(value) => f64::from(u8::from(*value)),
            };
            let other = samples.insert((labels, line.timestamp / 1_000_000), value);
            assert_eq!(other, None, "{line:?}");
        }
    }
    samples
}

/// Compares value for value; returns how many there are.
fn assert_arrived(arrived: &Samples, sent: &Samples) -> usize {
    let keys = |samples: &Samples| -> BTreeSet<(Labels, i64)> { samples.keys().cloned().collect() };
    let (came, went) = (keys(arrived), keys(sent));
    let lost: Vec<_> = went.difference(&came).take(5).collect();
    let new: Vec<_> = came.difference(&went).take(5).collect();
    assert!(lost.is_empty() && new.is_empty(), "lost: {lost:#?}\nnew: {new:#?}");
    for (key, value) in sent {
        let other = arrived[key];
        // Whole numbers up to 2^53 are exact. VictoriaMetrics keeps others in decimal digits.
        let room = if value.fract() == 0.0 && value.abs() <= 2f64.powi(53) { 0.0 } else { 1e-12 };
        assert!((value - other).abs() <= value.abs() * room, "{key:?}: {value} became {other}");
    }
    sent.len()
}

/// A point with its moment, tags and fields by name, each as InfluxDB's JSON has it.
type Point = BTreeMap<String, String>;

fn shown(name: &str, value: &Json) -> String {
    // A float without a fraction comes without a point.
    let is_float = name.starts_with("memory_rate_") || name.starts_with("memory_angle_");
    if is_float { format!("{:?}", value.as_f64().unwrap()) } else { value.to_string() }
}

fn point_of_line(line: &Line) -> Point {
    let tags = line.tags.iter().map(|(name, value)| (name.clone(), Json::from(value.as_str())));
    let fields = line.fields.iter().map(|(name, value)| {
        let value = match value {
            Value::Int(value) => Json::from(*value),
            Value::Float(value) => Json::from(*value),
            Value::Text(value) => Json::from(value.as_str()),
            Value::Bool(value) => Json::from(*value),
        };
        (name.clone(), value)
    });
    let time = ("time".to_owned(), Json::from(line.timestamp));
    let all = std::iter::once(time).chain(tags).chain(fields);
    all.map(|(name, value)| (name.clone(), shown(&name, &value))).collect()
}

/// What InfluxDB holds must be these lines and nothing else; returns how many values that are.
fn assert_stored(influxdb: &Influxdb, sent: &[Line]) -> usize {
    let mut values = 0;
    for measurement in ["vm_metrics", "vm_features", "vm_devices", "vm_totals"] {
        let series = influxdb.query("vms", &format!("SELECT * FROM {measurement}"));
        assert_eq!(series.len(), 1, "{measurement}");
        let arrived: BTreeSet<Point> = series[0]
            .rows
            .iter()
            .map(|row| {
                let cells = series[0].columns.iter().zip(row).filter(|(_, value)| !value.is_null());
                cells.map(|(name, value)| (name.clone(), shown(name, value))).collect()
            })
            .collect();
        let lines = sent.iter().filter(|line| line.measurement == measurement);
        values += lines.clone().map(|line| line.fields.len()).sum::<usize>();
        let expected: BTreeSet<Point> = lines.map(point_of_line).collect();
        assert_eq!(arrived, expected, "{measurement}");
    }
    values
}

#[test]
#[ignore = "slow: tests/run --all"]
fn every_value_comes_back_from_victoriametrics_and_influxdb_1_after_influx_write_and_curl() {
    let test = "write, pipes";
    let Some(influx) = require_program(test, "INFLUX", "influx") else { return };
    let Some(server) = require_program(test, "VICTORIA_METRICS", "victoria-metrics") else {
        return;
    };
    let Some(influxd) = require_program(test, "INFLUXD", "influxd") else { return };
    let Some(lab) = Lab::require(test) else { return };
    for (name, _) in ODD_NAMES {
        lab.paused(name, 1, 1);
    }
    lab.linux("moving");
    let guests = ODD_NAMES.len() + 1;
    let server = VictoriaMetrics::start(&server, &lab.scratch().join("victoria-metrics"));
    let settings = format!(
        "influx() {{ {} \"$@\"; }}\n\
         export INFLUX_HOST=http://127.0.0.1:{} INFLUX_ORG=ours INFLUX_TOKEN=none",
        influx.display(),
        server.port
    );

    let command = told("| influx write");
    let mut lines = pipe(&lab, command, &settings);
    assert_eq!(lines.len(), guests * 4);
    lines.extend(pipe(&lab, command, &settings));
    assert_eq!(lines.len(), guests * (4 + 5));
    let mut sent = samples(&lines, None);
    let by_influx = assert_arrived(&server.samples(sent.len()), &sent);

    let at = |port: u16| told("| curl").replace(":8086/", &format!(":{port}/"));
    lines = pipe(&lab, &at(server.port), "");
    assert_eq!(lines.len(), guests * 5);
    sent.append(&mut samples(&lines, Some(("db", "vms"))));
    let all = assert_arrived(&server.samples(sent.len()), &sent);

    let influxdb = Influxdb::start(&influxd, &lab.scratch().join("influxdb"));
    let create = told("CREATE DATABASE").replace(":8086/", &format!(":{}/", influxdb.port));
    shell(&lab, &create);
    lines = pipe(&lab, &at(influxdb.port), "");
    lines.extend(pipe(&lab, &at(influxdb.port), ""));
    assert_eq!(lines.len(), guests * 10);
    let stored = assert_stored(&influxdb, &lines);
    say(&format!(
        "write: values that came back: {by_influx} from VictoriaMetrics after influx write, {} \
         after curl, {stored} from InfluxDB 1 after curl",
        all - by_influx
    ));
}

#[test]
#[ignore = "slow: tests/run --all"]
fn every_value_comes_back_from_victoriametrics_after_telegraf_and_the_pages_queries_find_them() {
    let test = "write, Telegraf";
    let Some(program) = require_program(test, "TELEGRAF", "telegraf") else { return };
    let Some(server) = require_program(test, "VICTORIA_METRICS", "victoria-metrics") else {
        return;
    };
    let Some(lab) = Lab::require(test) else { return };
    let still = lab.paused("still one", 1, 1);
    let moving = lab.linux("moving");
    let server = VictoriaMetrics::start(&server, &lab.scratch().join("victoria-metrics"));
    let output = block("toml", ":8428");
    let file = lab.scratch().join("sent.line");
    let output = format!(
        "{}\n[[outputs.file]]\nfiles = [\"{}\"]\ndata_format = \"influx\"\n",
        output.replace(":8428", &format!(":{}", server.port)),
        file.display()
    );
    let mut telegraf = telegraf(&program, &lab, &output);
    let moments = |text: &str| -> BTreeSet<i64> {
        let lines = text.lines().filter(|line| line.starts_with("vm_totals,"));
        lines.map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap()).collect()
    };
    telegraf.wait_until("six collections", Duration::from_secs(90), || {
        let text = fs::read_to_string(&file).ok()?;
        (text.ends_with('\n') && moments(&text).len() >= 6).then_some(())
    });
    // What Telegraf still holds goes out when it ends.
    let log = telegraf.end();
    assert!(!log.contains(" E! "), "{log}");
    let sent = read(&fs::read_to_string(&file).unwrap());
    let values = samples(&sent, None);
    let count = assert_arrived(&server.samples(values.len()), &values);

    let mut answers = BTreeMap::new();
    for query in queries("promql") {
        let rows = server.query(&query);
        let rows: BTreeMap<String, f64> =
            rows.into_iter().map(|(labels, value)| (labels["uuid"].clone(), value)).collect();
        answers.insert(query, rows);
    }
    let answer = |metric: &str| -> &BTreeMap<String, f64> {
        let found: Vec<_> = answers.iter().filter(|(query, _)| query.contains(metric)).collect();
        assert_eq!(found.len(), 1, "queries of {metric}");
        found[0].1
    };
    let both = BTreeSet::from([&still, &moving]);
    for metric in ["vm_totals_net_rxbytes", "vm_totals_cputime", "vm_devices_wr_reqs"] {
        let rows = answer(metric);
        assert_eq!(rows.keys().collect::<BTreeSet<_>>(), both, "{metric}");
        assert!(rows[&moving] > 0.0, "{metric}: {rows:?}");
    }
    assert_eq!(answer("vm_totals_net_rxbytes")[&still], 0.0);
    let memory = answer("memusable");
    assert_eq!(memory.keys().collect::<Vec<_>>(), [&moving]);
    assert!(memory[&moving] > 0.0 && memory[&moving] < 100.0, "{memory:?}");
    assert_eq!(*answer("vm_totals_state"), BTreeMap::from([(still.clone(), 3.0)]));
    assert_eq!(answers.len(), 5);
    say(&format!(
        "write: {count} values of {} lines came back after Telegraf; {} queries answered: {:?}",
        sent.len(),
        answers.len(),
        answers.values().map(BTreeMap::len).collect::<Vec<_>>()
    ));
}
