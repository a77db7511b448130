//! `precision`: what the timestamps of a collection are cut to, in each way to collect.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::support::execd::Execd;
use crate::support::lines::{Line, read};
use crate::support::process::run;
use crate::support::program::program;
use crate::support::repository;

const UNITS: [(&str, i64); 4] =
    [("1ns", 1), ("1us", 1_000), ("1ms", 1_000_000), ("1s", 1_000_000_000)];

fn settings(scratch: &Path, precision: &str) -> PathBuf {
    let file = scratch.join(format!("{precision}.toml"));
    let text = "extra = [\"collector\", \"host\", \"pools\"]\n";
    fs::write(&file, format!("precision = \"{precision}\"\n{text}")).unwrap();
    file
}

fn uri() -> String {
    format!("test://{}", repository().join("fixtures/node.xml").display())
}

/// The one timestamp of all of them.
fn timestamp(lines: &[Line]) -> i64 {
    for measurement in ["vm_metrics", "vm_devices", "vm_totals", "vm_collector", "vm_host"] {
        assert!(lines.iter().any(|line| line.measurement == measurement), "{measurement}");
    }
    let timestamp = lines[0].timestamp;
    assert!(lines.iter().all(|line| line.timestamp == timestamp));
    timestamp
}

fn now_ns() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

#[test]
fn a_recorded_moment_is_cut_and_never_rounded_up() {
    let scratch = tempfile::tempdir().unwrap();
    let file = repository().join("fixtures/hosts/recorded.jsonl");
    let uri = format!("replay:{}", file.display());
    let printed = |precision: &str| {
        let mut command = program(scratch.path());
        command.args(["once", "--uri", &uri, "--config"]).arg(settings(scratch.path(), precision));
        run(&mut command).success().stdout
    };
    let whole = printed("1ns");
    let moment = read(&whole)[0].timestamp;
    // Rounded it would be another second.
    assert!(moment % 1_000_000_000 > 500_000_000, "{moment}");
    for (precision, unit) in UNITS {
        let expected =
            whole.replace(&format!(" {moment}\n"), &format!(" {}\n", moment / unit * unit));
        // Nothing but the timestamps changes.
        assert_eq!(printed(precision), expected, "{precision}");
    }
}

#[test]
fn once_and_its_json_have_the_timestamps_cut() {
    let scratch = tempfile::tempdir().unwrap();
    let once = |precision: &str, options: &[&str]| {
        let mut command = program(scratch.path());
        let file = settings(scratch.path(), precision);
        command.args(["--no-cache", "--uri", &uri(), "--config"]).arg(file).args(options);
        run(&mut command).success().stdout
    };
    // libvirt answers after whole microseconds as rarely as after others.
    let uncut: Vec<i64> = (0..3).map(|_| timestamp(&read(&once("1ns", &[])))).collect();
    assert!(uncut.iter().any(|moment| moment % 1_000 != 0), "{uncut:?}");
    for (precision, unit) in UNITS {
        let before = now_ns();
        let moment = timestamp(&read(&once(precision, &[])));
        assert_eq!(moment % unit, 0, "{precision}");
        assert!(before - unit < moment && moment <= now_ns(), "{precision}: {before} {moment}");
        for line in once(precision, &["--format", "json"]).lines() {
            let object: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(object["timestamp"].as_i64().unwrap() % unit, 0, "{precision}: {line}");
        }
    }
}

#[test]
fn each_collection_of_execd_has_its_timestamp_cut_and_rates_stay_exact() {
    let scratch = tempfile::tempdir().unwrap();
    let mut command = program(scratch.path());
    let file = settings(scratch.path(), "1s");
    command.args(["--no-cache", "--uri", &uri(), "--config"]).arg(file);
    let mut execd = Execd::of(&mut command);
    let mut moments = Vec::new();
    for _ in 0..3 {
        let lines = execd.collect().lines;
        moments.push(timestamp(&lines));
        // Two collections of one second have a time between them: so their rates are there.
        let rates = lines.iter().filter(|line| line.measurement == "vm_features").count();
        assert_eq!(rates > 0, moments.len() > 1, "{moments:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(moments.iter().all(|moment| moment % 1_000_000_000 == 0), "{moments:?}");
    assert!(moments[2] - moments[0] <= 60_000_000_000, "{moments:?}");
    drop(execd);
}
