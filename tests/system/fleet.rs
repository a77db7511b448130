//! docs/fleet.md: Telegraf's configuration for a fleet, what stands beside it, and rollups, on real servers.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::ailing::now;
use crate::support::database::{counts, made, send};
use crate::support::influxdb::Influxdb;
use crate::support::lines::read;
use crate::support::made::{MadeGuest, collections};
use crate::support::process::run;
use crate::support::program::{PROGRAM, without_settings};
use crate::support::promql::Promql;
use crate::support::servers::{Server, errors, require_program, shipped};
use crate::support::tested::page_blocks;
use crate::support::victoria_metrics::VictoriaMetrics;
use crate::support::{repository, say};

const PAGE: &str = "docs/fleet.md";
const LIMIT: Duration = Duration::from_secs(120);

/// The shipped file, with short intervals and another output, on a recorded host.
fn start(telegraf: &Path, folder: &Path, file: &str, output: &str) -> Server {
    let at = |name: &str| folder.join(name);
    let recording = repository().join("fixtures/hosts/recorded.jsonl");
    let ours = format!("uris = [\"replay:{}\"]\ndevice_tags = [\"alias\"]\n", recording.display());
    std::fs::write(at("ours.toml"), ours).unwrap();
    std::fs::write(at("telegraf.conf"), file).unwrap();
    let agent = "[agent]\ninterval = \"1s\"\nflush_interval = \"1s\"\nhostname = \"kvm-1\"\n";
    std::fs::write(at("agent.conf"), format!("{agent}{output}")).unwrap();
    let mut command = Command::new(telegraf);
    without_settings(&mut command, folder);
    let path = std::env::var("PATH").unwrap_or_default();
    command
        .env("PATH", format!("{}:{path}", Path::new(PROGRAM).parent().unwrap().display()))
        .env("TELEGRAF_VIRT_CONFIG", at("ours.toml"))
        .args(["--config"])
        .arg(at("agent.conf"))
        .arg("--config")
        .arg(at("telegraf.conf"));
    Server::start(&mut command, at("telegraf.log"))
}

fn replaced(mut text: String, changes: &[(&str, &str)]) -> String {
    for (from, to) in changes {
        assert!(text.contains(from), "{from}\n{text}");
        text = text.replace(from, to);
    }
    text
}

#[test]
fn the_file_for_a_fleet_takes_each_line_once_and_its_series_outlive_a_restart() {
    let Some(telegraf) = require_program("fleet", "TELEGRAF", "telegraf") else { return };
    let folder = tempfile::tempdir().unwrap();
    let arrived = folder.path().join("arrived");
    let text = std::fs::read_to_string(shipped("telegraf-virt-fleet.conf.example")).unwrap();
    let (inputs, output) = text.split_once("[[outputs.influxdb]]").unwrap();
    assert!(output.contains("\n  tagexclude = [\"VMID\", \"alias\"]\n"), "{output}");
    let to_file = format!(
        "[[outputs.file]]\nfiles = [\"{}\"]\ntagexclude = [\"VMID\", \"alias\"]\n",
        arrived.display()
    );
    let text = replaced(
        format!("{inputs}{to_file}"),
        &[("interval = \"10s\"", "interval = \"3s\""), ("interval = \"60s\"", "interval = \"3s\"")],
    );
    let mut server = start(&telegraf, folder.path(), &text, "");
    let lines = server.wait_until("devices and totals", LIMIT, || {
        let text = std::fs::read_to_string(&arrived).ok()?;
        let is_there =
            text.ends_with('\n') && text.contains("vm_devices") && text.contains("vm_totals");
        is_there.then(|| read(&text))
    });
    let log = server.end();
    assert_eq!(errors(&log), Vec::<&str>::new(), "{log}");
    let mut seen = BTreeSet::new();
    let mut devices = BTreeSet::new();
    for line in &lines {
        seen.insert(line.measurement.clone());
        assert_eq!(line.timestamp % 1_000_000_000, 0, "{line:?}");
        assert!(line.find_tag("VMID").is_none() && line.find_tag("alias").is_none(), "{line:?}");
        assert_eq!(line.find_tag("host"), Some("kvm-1"));
        if let Some(device) = line.find_tag("device") {
            devices.insert((line.tag("devtype").to_owned(), device.to_owned()));
            assert!(line.find_field("rxdrops").is_none() && line.find_field("errors").is_none());
        }
    }
    assert!(!seen.contains("vm_metrics") && seen.contains("vm_totals"), "{seen:?}");
    let is_alias = |(kind, name): &(String, String)| match kind.as_str() {
        "nic" => name.starts_with("net") && !name.starts_with("vnet"),
        _ => name.starts_with("vd") || name.starts_with("sd") || name.starts_with("hd"),
    };
    assert!(devices.len() >= 2 && devices.iter().all(is_alias), "{devices:?}");
    say(&format!("fleet: {} lines, devices {devices:?}", lines.len()));
}

#[test]
fn telegraf_loads_every_configuration_of_the_page() {
    let Some(telegraf) = require_program("fleet, page", "TELEGRAF", "telegraf") else { return };
    let folder = tempfile::tempdir().unwrap();
    let blocks = page_blocks(PAGE, "toml");
    assert!(blocks.len() >= 4, "{}", blocks.len());
    for (number, block) in blocks.iter().enumerate() {
        let file = folder.path().join(format!("{number}.conf"));
        std::fs::write(&file, block).unwrap();
        let told = run(Command::new(&telegraf).args(["config", "check", "--config"]).arg(&file));
        assert!(told.status.success() && errors(&told.stderr).is_empty(), "{block}\n{told}");
    }
}

fn measurements(influxdb: &Influxdb, database: &str) -> BTreeSet<String> {
    let rows = influxdb.query(database, "SHOW MEASUREMENTS").into_iter();
    let rows = rows.flat_map(|series| series.rows);
    rows.map(|row| row[0].as_str().unwrap().to_owned()).collect()
}

/// The page's two outputs of this plugin, to this server.
fn two_outputs(plugin: &str, influxdb: &Influxdb) -> String {
    let mut blocks = page_blocks(PAGE, "toml").into_iter();
    let block = blocks.find(|it| it.contains(plugin) && it.contains("vms_devices")).unwrap();
    replaced(block, &[("metrics.example.net:8086", &format!("127.0.0.1:{}", influxdb.port))])
}

#[test]
#[ignore = "slow: tests/run --all"]
fn two_outputs_of_influxdb_2_keep_devices_in_a_bucket_of_their_own() {
    let test = "fleet, two buckets";
    let Some(telegraf) = require_program(test, "TELEGRAF", "telegraf") else { return };
    let Some(influxd) = require_program(test, "INFLUXD_2", "influxd-2") else { return };
    let folder = tempfile::tempdir().unwrap();
    let influxdb = Influxdb::start_2(&influxd, &folder.path().join("influxdb"));
    influxdb.create("vms_devices");
    let lines = made();
    send(&telegraf, folder.path(), &lines, &two_outputs("[[outputs.influxdb_v2]]", &influxdb));
    let mut sent: BTreeSet<String> = counts(&read(&lines)).into_keys().collect();
    assert!(sent.remove("vm_devices"));
    assert_eq!(measurements(&influxdb, "vms"), sent);
    let devices = BTreeSet::from(["vm_devices".to_owned()]);
    assert_eq!(measurements(&influxdb, "vms_devices"), devices);
}

#[test]
fn two_outputs_keep_devices_and_the_rest_in_databases_of_their_own() {
    let test = "fleet, two databases";
    let Some(telegraf) = require_program(test, "TELEGRAF", "telegraf") else { return };
    let Some(influxd) = require_program(test, "INFLUXD", "influxd") else { return };
    let folder = tempfile::tempdir().unwrap();
    let influxdb = Influxdb::start(&influxd, &folder.path().join("influxdb"));
    for block in page_blocks(PAGE, "sql").iter().filter(|it| it.starts_with("CREATE DATABASE")) {
        for statement in block.lines() {
            influxdb.query("", statement);
        }
    }
    let outputs = two_outputs("[[outputs.influxdb]]", &influxdb);
    let text = std::fs::read_to_string(shipped("telegraf-virt.conf")).unwrap();
    let mut server = start(&telegraf, folder.path(), &text, &outputs);
    let measurements = |database: &str| measurements(&influxdb, database);
    server.wait_until("both are filled", LIMIT, || {
        (measurements("vms").len() >= 2 && !measurements("vms_devices").is_empty()).then_some(())
    });
    let log = server.end();
    assert_eq!(errors(&log), Vec::<&str>::new(), "{log}");
    assert_eq!(measurements("vms_devices"), BTreeSet::from(["vm_devices".to_owned()]));
    assert!(!measurements("vms").contains("vm_devices"));
    let kept = |database: &str| influxdb.query(database, "SHOW RETENTION POLICIES");
    assert!(format!("{:?}", kept("vms_devices")).contains("168h0m0s"));
    assert!(format!("{:?}", kept("vms")).contains("720h0m0s"));
}

#[test]
fn rollups_of_the_page_keep_names_tags_and_the_counters_last_values() {
    let Some(influxd) = require_program("fleet, rollups", "INFLUXD", "influxd") else { return };
    let folder = tempfile::tempdir().unwrap();
    let influxdb = Influxdb::start(&influxd, &folder.path().join("influxdb"));
    let blocks = page_blocks(PAGE, "sql");
    for statement in blocks.iter().flat_map(|it| it.lines()) {
        if statement.starts_with("CREATE DATABASE") || statement.starts_with("CREATE RETENTION") {
            influxdb.query("", statement);
        }
    }
    let guest = |name| MadeGuest { name, tags: ",host=kvm-1", state: 1, is_hung: false };
    let end = now() / 300 * 300;
    let lines = collections(&[guest("a"), guest("b")], end - 900..end, 10);
    influxdb.write("vms", &lines);
    let query = blocks.iter().find(|it| it.starts_with("CREATE CONTINUOUS QUERY")).unwrap();
    let query = query.split_whitespace().collect::<Vec<_>>().join(" ");
    influxdb.query("", &query);
    assert!(format!("{:?}", influxdb.query("", "SHOW CONTINUOUS QUERIES")).contains("vm_totals"));
    // What it does each 5 minutes, for those that are over.
    let (_, select) = query.split_once(" BEGIN ").unwrap();
    let select = select.strip_suffix(" END").unwrap();
    let group = " GROUP BY ";
    let past = format!(" WHERE time >= {}s AND time < {end}s{group}", end - 900);
    influxdb.query("vms", &select.replace(group, &past));
    let asked = "SELECT \"cputime\", \"memrss\", \"state\" FROM \"year\".\"vm_totals\" GROUP BY \"uuid\", \"name\", \"host\"";
    let rolled = influxdb.query("vms", asked);
    assert_eq!(rolled.len(), 2, "{rolled:?}");
    let fields = "SELECT last(\"cputime\") FROM \"month\".\"vm_totals\" GROUP BY \"uuid\"";
    let last = influxdb.query("vms", fields);
    for series in &rolled {
        assert_eq!(series.rows.len(), 3, "{series:?}");
        assert_eq!(series.tags["host"], "kvm-1");
        let original = last.iter().find(|it| it.tags["uuid"] == series.tags["uuid"]).unwrap();
        assert_eq!(series.rows[2][1], original.rows[0][1]);
    }
}

#[test]
fn recording_rules_for_a_fleet_are_valid_and_find_each_guest() {
    let test = "fleet, rules";
    let Some(program) = require_program(test, "VICTORIA_METRICS", "victoria-metrics") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let file = repository().join("dashboards/rules/fleet.yml");
    if let Some(prometheus) = require_program(test, "PROMETHEUS", "prometheus") {
        let promtool = prometheus.with_file_name("promtool");
        run(Command::new(promtool).args(["check", "rules"]).arg(&file)).success();
    }
    let metrics = VictoriaMetrics::start(&program, &folder.path().join("victoria"));
    let guest = |name| MadeGuest { name, tags: ",host=kvm-1", state: 1, is_hung: false };
    let end = now();
    metrics.write(&collections(&[guest("a"), guest("b")], end - 900..end, 10));
    metrics.show();
    let text = std::fs::read_to_string(&file).unwrap();
    let expressions: Vec<&str> =
        text.lines().filter_map(|line| line.trim_start().strip_prefix("expr: ")).collect();
    assert!(expressions.len() >= 6);
    for expression in expressions {
        let rows = metrics.query(expression);
        assert!(!rows.is_empty(), "{expression}");
        for (labels, _) in &rows {
            assert!(!labels.contains_key("VMID"), "{expression}: {labels:?}");
        }
    }
}
