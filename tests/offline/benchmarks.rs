//! The benchmarks run, and what was published of them is what the pages say.

use crate::support::markdown;
use crate::support::pages;
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
        for figure in
            ["wall_ns", "cpu_ns", "peak_kib", "libvirtd_cpu_ns", "qemu_cpu_ns", "host_cpu_ns"]
        {
            let numbers = figures[figure].as_array().unwrap();
            assert_eq!(numbers.len(), rounds, "{name}: {figure}");
            assert!(numbers.iter().all(Value::is_u64), "{name}: {figure}: {numbers:?}");
        }
        let walls = figures["wall_ns"].as_array().unwrap();
        assert!(walls.iter().all(|wall| wall.as_u64() > Some(0)), "{name}: {walls:?}");
    }
    taken.keys().cloned().collect()
}

const OURS_AND_FLOORS: [&str; 14] = [
    "execd",
    "execd's first, cold cache",
    "execd's first, fresh cache",
    "floor",
    "floor as a process",
    "once",
    "once, cold cache",
    "pfloor",
    "pfloor, our calls",
    "pfloor, our calls, as a process",
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
    assert_eq!((figures.len(), goals), (14, 7), "{figures:#?}");
    for figure in figures {
        // What is not finite has no number in JSON.
        assert!(figure["value"].is_number(), "{figure}");
        let name = figure["figure"].as_str().unwrap();
        let is_row = |line: &&str| line.split('|').nth(1).is_some_and(|cell| cell.trim() == name);
        assert_eq!(finished.stdout.lines().filter(is_row).count(), 1, "{name}\n{finished}");
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

/// The newest record that is of use.
fn newest_record(is_of_use: impl Fn(&Value) -> bool) -> Value {
    let mut records: Vec<_> = fs::read_dir(repository().join("benches/records"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    // Their names begin with the moment.
    records.sort();
    let mut records = records.iter().rev().map(|file| -> Value {
        let text = fs::read_to_string(file).unwrap();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    });
    records.find(is_of_use).unwrap()
}

const PERFORMANCE: &str = "docs/performance.md";
const COMPARISON: &str = "docs/comparison.md";

/// The README's rows and columns of the table of tools.
const TOOLS: [&str; 6] = [
    "telegraf-virt execd",
    "Telegraf with telegraf-virt",
    "Telegraf with inputs.libvirt",
    "virsh domstats",
    "prometheus-libvirt-exporter",
    "collectd's virt",
];
const COLUMNS: [&str; 5] = [
    "tool",
    "wall, ms",
    "CPU, ms",
    "peak memory, MiB",
    "one guest hung: guests with figures within 10 s",
];

fn row<'a>(cells: impl Iterator<Item = &'a str>) -> String {
    format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
}

/// The README's part of the table of tools.
fn in_short(table: &str) -> String {
    let rows = markdown::rows(&format!("\n# tools\n{table}"), "# tools");
    let of = |tool: &str| {
        let found = rows.iter().find(|row| row["tool"] == tool);
        let found = found.unwrap_or_else(|| panic!("no row of {tool}"));
        row(COLUMNS.iter().map(|column| found[*column].as_str()))
    };
    row(COLUMNS.into_iter()) + "|---|---|---|---|---|\n" + &TOOLS.map(of).concat()
}

/// Holds the table of a page that begins with the same cell to this one, or with BLESS=1 writes it.
fn hold(page: &str, table: &str) {
    let text = pages::read(page);
    let first = table.split('|').nth(1).unwrap().trim();
    let is_row = |line: &&str| line.starts_with('|');
    let is_first = |line: &str| line.strip_prefix("| ").is_some_and(|it| it.starts_with(first));
    let lines: Vec<&str> = text.lines().collect();
    let start = lines.iter().position(|line| is_first(line)).unwrap();
    let end = start + lines[start..].iter().take_while(|line| is_row(line)).count();
    let told = lines[start..end].join("\n");
    if std::env::var("BLESS").is_ok_and(|value| value == "1") {
        fs::write(repository().join(page), text.replace(&told, table.trim_end())).unwrap();
        return;
    }
    assert_eq!(told, table.trim_end(), "{page}: BLESS=1 writes this table");
}

#[test]
fn the_tables_of_the_pages_are_those_of_the_newest_record() {
    let with_tools = newest_record(|record| record["tables"]["tools"].is_string());
    let of_running = newest_record(|record| {
        let figures = record["tables"]["figures"].as_str();
        record["state"] == "running" && figures.is_some_and(|table| table.contains("to before"))
    });
    fn table<'a>(record: &'a Value, name: &str) -> &'a str {
        record["tables"][name].as_str().unwrap()
    }
    hold(PERFORMANCE, table(&of_running, "figures"));
    hold(COMPARISON, table(&with_tools, "tools"));
    hold("README.md", &in_short(table(&with_tools, "tools")));
    for (page, record) in [(PERFORMANCE, of_running), (COMPARISON, with_tools.clone())] {
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
        // Without the breaks of its lines.
        let words = pages::read(page).split_whitespace().collect::<Vec<_>>().join(" ");
        for fact in &facts {
            assert!(words.contains(fact.as_str()), "{page} must have {fact}");
        }
        assert_eq!(machine["optimized"], true);
        assert_eq!(machine["changed_since_commit"], false, "the record is not of a commit");
    }
    // Our own is the commit's.
    for tool in with_tools["tools"].as_array().unwrap().iter().skip(1) {
        let version = tool["version"].as_str().unwrap();
        let name = tool["tool"].as_str().unwrap();
        assert!(pages::read(COMPARISON).contains(version), "the version of {name}: {version}");
    }
}
