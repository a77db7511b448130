//! The tables of docs/fleet.md, made from a record.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

/// What is reckoned from the measured: this many guests, and their intervals in seconds.
const GUESTS: f64 = 50_000.0;
const INTERVALS: [f64; 3] = [10.0, 30.0, 60.0];
/// The ways that are reckoned, by how their names begin.
const RECKONED: [&str; 3] = ["as printed", "precision 1s, no VMID", "fleet"];
const DATABASES: [&str; 2] = ["InfluxDB", "VictoriaMetrics"];

/// Adds the tables to the record.
pub fn add(record: &mut Value) {
    let runs = record["runs"].as_array().expect("runs").clone();
    record["tables"] = json!({
        "ways": ways(&runs),
        "sizing": sizing(&runs),
        "filled": filled(&runs),
        "queries": queries(&runs),
    });
}

fn number(figures: &Value, key: &str) -> f64 {
    figures[key].as_f64().unwrap_or_else(|| panic!("no {key} in {figures}"))
}

/// The ways, and the figures of each database that was measured.
fn variants(runs: &[Value]) -> Vec<(&str, [Option<&Value>; 2])> {
    let mut ways: Vec<(&str, [Option<&Value>; 2])> = Vec::new();
    for one in runs.iter().filter_map(|run| run["variants"].as_array()).flatten() {
        let (name, figures) = (text(one, "variant"), &one["figures"]);
        let database = text(figures, "database");
        let place = DATABASES.iter().position(|it| database.starts_with(it));
        let place = place.expect("a known database");
        match ways.iter_mut().find(|(known, _)| *known == name) {
            Some((_, both)) => both[place] = Some(figures),
            None => {
                let mut both = [None; 2];
                both[place] = Some(figures);
                ways.push((name, both));
            }
        }
    }
    ways
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value}"))
}

fn ways(runs: &[Value]) -> String {
    let mut table = "| way | values | InfluxDB: series | disk, MB | CPU, s | VictoriaMetrics: series | disk, MB \
                     | CPU, s |\n|---|--:|--:|--:|--:|--:|--:|--:|\n"
        .to_owned();
    for (name, both) in variants(runs) {
        let any = both.iter().flatten().next().expect("a figure");
        write!(table, "| {name} | {} |", number(any, "values")).expect("text");
        for figures in both {
            let Some(figures) = figures else {
                table.push_str(" - | - | - |");
                continue;
            };
            let (series, disk) = (number(figures, "series"), number(figures, "disk_bytes") / 1e6);
            let cpu = number(figures, "cpu_s_until_compacted");
            write!(table, " {series} | {disk:.1} | {cpu:.1} |").expect("text");
        }
        table.push('\n');
    }
    table
}

fn sizing(runs: &[Value]) -> String {
    let mut table = "| way | interval | values a second | InfluxDB: GB a day | cores | VictoriaMetrics: GB a day \
                     | cores |\n|---|--:|--:|--:|--:|--:|--:|\n"
        .to_owned();
    for (name, both) in variants(runs) {
        let is_wanted = RECKONED.iter().any(|it| match *it {
            "fleet" => name.starts_with("fleet"),
            whole => name == whole,
        });
        if !is_wanted {
            continue;
        }
        for interval in INTERVALS {
            let any = both.iter().flatten().next().expect("a figure");
            let size = &any["size"];
            let guests = number(size, "hosts") * number(size, "guests_a_host");
            let seconds = number(size, "hours") * 3600.0;
            let measured = number(any, "values") / guests / seconds;
            let values = measured * GUESTS * number(size, "interval_s") / interval;
            write!(table, "| {name} | {interval} s | {values:.0} |").expect("text");
            for figures in both {
                let Some(figures) = figures else {
                    table.push_str(" - | - |");
                    continue;
                };
                let day = values * 86_400.0 * number(figures, "disk_bytes")
                    / number(figures, "values")
                    / 1e9;
                let cores =
                    values * number(figures, "cpu_s_until_compacted") / number(figures, "values");
                write!(table, " {day:.1} | {cores:.2} |").expect("text");
            }
            table.push('\n');
        }
    }
    table
}

fn filled(runs: &[Value]) -> String {
    let mut table =
        "| database | guests | values | series | values a second of CPU | bytes a value on disk | \
                     memory, MiB |\n|---|--:|--:|--:|--:|--:|--:|\n"
            .to_owned();
    for run in runs.iter().filter(|run| run["values"].is_number()) {
        let size = &run["size"];
        writeln!(
            table,
            "| {} | {} | {} | {} | {} | {:.2} | {} |",
            text(run, "database"),
            number(size, "hosts") * number(size, "guests_a_host"),
            number(run, "values"),
            number(run, "series"),
            number(run, "values_per_cpu_s"),
            number(run, "disk_bytes_per_value"),
            number(run, "peak_memory_mib"),
        )
        .expect("text");
    }
    table
}

/// The first and the second time of a query, in milliseconds, in each database.
type Times = [Option<(u64, u64)>; 2];

fn queries(runs: &[Value]) -> String {
    // By panel and letter; of each database the first time and the second.
    let mut rows: BTreeMap<(String, String), Times> = BTreeMap::new();
    for run in runs.iter().filter(|run| run["queries"].is_array()) {
        let place = DATABASES.iter().position(|it| text(run, "database").starts_with(it));
        let place = place.expect("a known database");
        for query in run["queries"].as_array().expect("queries") {
            let key = (text(query, "panel").to_owned(), text(query, "letter").to_owned());
            let ms = |key: &str| query[key].as_u64().expect("a time");
            rows.entry(key).or_default()[place] = Some((ms("first_ms"), ms("second_ms")));
        }
    }
    let mut table = "| panel | query | InfluxDB: ms, first and second time | VictoriaMetrics: ms, first and second \
                     time |\n|---|---|--:|--:|\n"
        .to_owned();
    let mut rows: Vec<_> = rows.into_iter().collect();
    rows.sort_by_key(|(_, times)| std::cmp::Reverse(times.iter().flatten().map(|it| it.0).max()));
    for ((panel, letter), times) in rows {
        let [influx, victoria] = times.map(|times| {
            times.map_or("-".to_owned(), |(first, second)| format!("{first}, {second}"))
        });
        writeln!(table, "| {panel} | {letter} | {influx} | {victoria} |").expect("text");
    }
    table
}
