//! The files that users copy into Telegraf, and the queries that they start with: what they say, and
//! what a real Telegraf and a real InfluxDB make of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Scratch, assert_ten_guests, block_with, blocks, read, repository};
use crate::support::influxdb::Influxdb;
use crate::support::lines;
use crate::support::process::run;
use crate::support::program::PROGRAM;
use crate::support::say;
use crate::support::servers::{Server, require_program};

fn toml_of(text: &str) -> toml::Table {
    toml::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn the_file_for_execd_says_what_the_page_shows() {
    let expected = toml_of(
        "[[inputs.execd]]
         command = ['telegraf-virt', 'execd']
         signal = 'STDIN'
         restart_delay = '10s'
         data_format = 'influx'
         precision = '1s'",
    );
    assert_eq!(toml_of(&read("telegraf.d/telegraf-virt.conf")), expected);
    let mut shown = blocks("docs/telegraf.md", "toml").into_iter();
    let shown = shown.find(|block| block.contains("[[inputs.execd]]")).unwrap();
    assert_eq!(toml_of(&shown), expected);
}

#[test]
fn the_example_for_exec_says_what_the_page_shows_and_names_the_older_form() {
    let expected = toml_of(
        "[[inputs.exec]]
         commands = [['telegraf-virt', 'once']]
         timeout = '5s'
         data_format = 'influx'
         log_stderr = true
         precision = '1s'",
    );
    let file = read("telegraf.d/telegraf-virt-exec.conf.example");
    assert_eq!(toml_of(&file), expected);
    assert_eq!(toml_of(&block_with("toml", "[[inputs.exec]]")), expected);
    let older = "commands = [\"telegraf-virt once\"]";
    assert!(file.contains(older) && read("docs/telegraf.md").contains(older));
}

#[test]
fn the_example_for_a_file_says_what_the_page_shows_and_names_the_older_form() {
    let expected = toml_of(
        "[[inputs.tail]]
         files = ['/var/log/telegraf-virt.line']
         data_format = 'influx'
         initial_read_offset = 'saved-or-beginning'
         path_tag = ''
         precision = '1s'",
    );
    let file = read("telegraf.d/telegraf-virt-file.conf.example");
    assert_eq!(toml_of(&file), expected);
    assert_eq!(toml_of(&block_with("toml", "[[inputs.tail]]")), expected);
    assert!(file.contains("from_beginning = true"));
}

#[test]
fn settings_that_the_file_for_execd_only_names_are_valid_once_they_are_set() {
    let file = read("telegraf.d/telegraf-virt.conf");
    let uncommented: String = file
        .lines()
        .map(|line| line.strip_prefix("  # ").unwrap_or(line))
        .map(|line| format!("{line}\n"))
        .collect();
    let all = toml_of(&uncommented);
    let execd = all["inputs"]["execd"][0].as_table().unwrap();
    let keys: Vec<&str> = execd.keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "command",
            "data_format",
            "environment",
            "interval",
            "precision",
            "restart_delay",
            "signal"
        ]
    );
}

#[test]
fn telegraf_d_holds_nothing_but_the_files_that_the_pages_name() {
    let entries = fs::read_dir(repository().join("telegraf.d")).unwrap();
    let names: BTreeSet<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let expected = [
        "telegraf-virt-events.conf.example",
        "telegraf-virt-exec.conf.example",
        "telegraf-virt-file.conf.example",
        "telegraf-virt-fleet.conf.example",
        "telegraf-virt-kafka.conf.example",
        "telegraf-virt-mqtt.conf.example",
        "telegraf-virt-prometheus.conf.example",
        "telegraf-virt-remote-write.conf.example",
        "telegraf-virt-to-file.conf.example",
        "telegraf-virt.conf",
    ];
    assert_eq!(names, expected.map(str::to_owned).into());
}

// Telegraf and InfluxDB themselves.

#[test]
fn both_files_for_telegraf_bring_whole_collections_into_a_real_telegraf() {
    let test = "readme, Telegraf";
    let Some(telegraf) = require_program(test, "TELEGRAF", "telegraf") else { return };
    for (name, rounds) in [("telegraf-virt.conf", true), ("telegraf-virt-exec.conf.example", true)]
    {
        let scratch = Scratch::new();
        let settings = "[agent]\ninterval = \"1s\"\nflush_interval = \"1s\"\n\
                        [[outputs.file]]\nfiles = [\"lines\"]\n";
        fs::write(scratch.path("output.conf"), settings).unwrap();
        let folder = Path::new(PROGRAM).parent().unwrap().display().to_string();
        let mut command = scratch.command(telegraf.to_str().unwrap());
        command
            .env("PATH", format!("{folder}:/usr/bin:/bin"))
            .args(["--config", "output.conf", "--config"])
            .arg(repository().join("telegraf.d").join(name));
        let mut telegraf = Server::start(&mut command, scratch.path("telegraf.log"));
        let lines = telegraf.wait_until("two collections", Duration::from_secs(60), || {
            let text = fs::read_to_string(scratch.path("lines")).ok()?;
            // The second one has begun, so the first is whole.
            (text.contains("vm_features") && text.ends_with('\n')).then(|| lines::read(&text))
        });
        let log = telegraf.log();
        assert!(!log.contains(" E! ") && !log.contains(" W! [inputs"), "{log}");
        telegraf.end();
        assert_ten_guests(&lines[..70], 0);
        let moment = lines[0].timestamp;
        assert!(lines[..70].iter().all(|line| line.timestamp == moment), "{name}");
        assert_eq!(moment % 1_000_000_000 == 0, rounds, "{name}: {moment}");
    }
}

#[test]
fn every_query_in_influxql_returns_rows_from_a_real_influxdb() {
    let test = "readme, InfluxDB";
    let Some(influxd) = require_program(test, "INFLUXD", "influxd") else { return };
    let scratch = Scratch::new();
    let influxdb = Influxdb::start(&influxd, &scratch.path("influxdb"));
    influxdb.create("vms");
    // Three collections of the last minutes: a rate needs two, in minutes of their own.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    for minutes in [3, 2, 1] {
        let finished = run(scratch.command(PROGRAM).arg("once")).success();
        let moment = (now - Duration::from_secs(minutes * 60)).as_nanos();
        let body: String = finished
            .stdout
            .lines()
            .map(|line| format!("{} {moment}\n", line.rsplit_once(' ').unwrap().0))
            .collect();
        influxdb.write("vms", &body);
    }
    let queries = blocks("docs/databases.md", "influxql");
    assert_eq!(queries.len(), 8);
    let mut told = Vec::new();
    for query in &queries {
        assert_eq!(query.lines().count(), 1, "{query}");
        // libvirt's test driver has its own names for NICs.
        let series = influxdb.query("vms", &query.trim().replace("'vnet0'", "'testnet0'"));
        let rows: usize = series.iter().map(|series| series.rows.len()).sum();
        assert!(rows > 0, "no rows: {query}");
        let numbers = series.iter().flat_map(|series| &series.rows).flat_map(|row| &row[1..]);
        assert!(numbers.clone().all(|value| !value.is_null()), "{query}: {series:?}");
        told.push(rows);
    }
    say(&format!("readme: the queries returned {told:?} rows"));
}
