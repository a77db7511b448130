//! The benchmarks run, and what was published of them is what the README says.

use crate::support::process::run;
use crate::support::repository;
use crate::support::skip;
use serde_json::Value;
use std::fs;
use std::process::Command;

/// The names of the contenders, and the figures of each are so many numbers as there were rounds.
fn assert_taken(taken: &Value, rounds: usize) -> Vec<String> {
    let taken = taken.as_object().unwrap();
    for (name, figures) in taken {
        for figure in ["wall_ns", "cpu_ns", "peak_kib", "libvirtd_cpu_ns", "qemu_cpu_ns"] {
            let numbers = figures[figure].as_array().unwrap();
            assert_eq!(numbers.len(), rounds, "{name}: {figure}");
            assert!(numbers.iter().all(Value::is_u64), "{name}: {figure}: {numbers:?}");
        }
        let walls = figures["wall_ns"].as_array().unwrap();
        assert!(walls.iter().all(|wall| wall.as_u64() > Some(0)), "{name}: {walls:?}");
    }
    taken.keys().cloned().collect()
}

const OURS_AND_FLOORS: [&str; 12] = [
    "execd",
    "execd's first, cold cache",
    "execd's first, fresh cache",
    "floor",
    "floor as a process",
    "once",
    "once, cold cache",
    "pfloor",
    "workers 1",
    "workers 2",
    "workers 4",
    "workers 8",
];

#[test]
fn the_quick_form_fills_every_row_with_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("record.json");
    let mut command = Command::new(repository().join("benches/run"));
    command.args(["--quick", "--as-is", "--unoptimized", "--record"]).arg(&file);
    let finished = run(&mut command).success();
    if let Some(why) =
        finished.stderr.lines().find_map(|line| line.strip_prefix("SKIP benches/run: "))
    {
        return skip("benchmarks", why);
    }

    let record: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(record["guests"], 4, "{finished}");
    let figures = record["figures"].as_array().unwrap();
    let goals = figures.iter().filter(|figure| figure["goal_at_most"].is_number()).count();
    assert_eq!((figures.len(), goals), (10, 6), "{figures:#?}");
    for figure in figures {
        // What is not finite has no number in JSON.
        assert!(figure["value"].is_number(), "{figure}");
        let row = format!("| {} ", figure["figure"].as_str().unwrap());
        assert_eq!(finished.stdout.matches(&row).count(), 1, "{row}\n{finished}");
    }
    let parts = record["start"].as_array().unwrap();
    assert_eq!(parts.len(), 9, "{parts:#?}");
    assert!(parts.iter().all(|part| part["wall_ms"].is_number() && part["cpu_ms"].is_number()));

    let starts = ["true", "--version", "floor, no call", "pfloor, no call", "once, no guest asked"];
    let mut all: Vec<&str> = OURS_AND_FLOORS.iter().chain(&starts).copied().collect();
    all.sort_unstable();
    assert_eq!(assert_taken(&record["taken"], 2), all);
    assert_eq!(assert_taken(&record["small_host"]["taken"], 2), OURS_AND_FLOORS);
}

/// The newest record of a whole run, other tools included.
fn newest_record() -> Value {
    let mut records: Vec<_> = fs::read_dir(repository().join("benches/records"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    // Their names begin with the moment.
    records.sort();
    let whole = records.iter().rev().map(|file| -> Value {
        let text = fs::read_to_string(file).unwrap();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    });
    whole.into_iter().find(|record| record["tables"]["tools"].is_string()).unwrap()
}

#[test]
fn the_tables_of_the_readme_are_those_of_the_newest_record() {
    let record = newest_record();
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    let section = |heading: &str| {
        let (_, rest) = readme.split_once(&format!("\n## {heading}\n")).unwrap();
        rest.split_once("\n## ").unwrap().0
    };
    for (heading, table) in [("Speed", "figures"), ("Beside other tools", "tools")] {
        let table = record["tables"][table].as_str().unwrap();
        assert!(section(heading).contains(table), "below {heading} must stand\n\n{table}");
    }
    let machine = &record["machine"];
    let text = |key: &str| machine[key].as_str().unwrap();
    let facts = [
        text("date")[..10].to_owned(),
        text("commit")[..7].to_owned(),
        text("cpu").to_owned(),
        format!("libvirt {}", text("libvirt")),
        text("hypervisor").to_owned(),
        format!("{} guests", record["guests"]),
        format!("{} cores", machine["cores"]),
    ];
    for fact in &facts {
        assert!(section("Speed").contains(fact.as_str()), "below Speed must stand {fact}");
    }
    // Our own is the commit's.
    for tool in record["tools"].as_array().unwrap().iter().skip(1) {
        let version = tool["version"].as_str().unwrap();
        let name = tool["tool"].as_str().unwrap();
        assert!(
            section("Beside other tools").contains(version),
            "the version of {name}: {version}"
        );
    }
    assert_eq!(machine["optimized"], true);
    assert_eq!(machine["changed_since_commit"], false, "the record is not of a commit");
}
