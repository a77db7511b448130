//! What settings cost: `execd` with each file of settings beside `execd` without, on the same guests, in turn.
//! One more without any shows what difference is the machine's.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::contenders::Warm;
use super::figures::{short, table};
use super::host::Host;
use super::report::keep;
use super::rounds::Rounds;
use super::{Contenders, add};

const WITHOUT: &str = "without";
const AGAIN: &str = "without, again";

const HEAD: [&str; 8] = [
    "settings",
    "wall ms",
    "to without",
    "our CPU ms",
    "to without",
    "libvirtd's CPU ms",
    "peak MiB",
    "more MiB",
];

/// What a file is called in the tables: its name without its ending.
fn name_of(file: &Path) -> String {
    file.file_stem().unwrap().to_str().unwrap().to_owned()
}

/// Measures, prints a table, and writes the record.
pub fn compare(
    host: &Host,
    files: &[PathBuf],
    rounds: usize,
    machine: &Value,
    record: Option<PathBuf>,
) {
    let mut contenders = Contenders::new();
    let mut names = vec![WITHOUT.to_owned(), AGAIN.to_owned()];
    names.extend(files.iter().map(|file| name_of(file)));
    for (number, name) in names.iter().enumerate() {
        let text = number.checked_sub(2).map_or_else(String::new, |number| {
            fs::read_to_string(&files[number]).unwrap_or_else(|error| panic!("{name}: {error}"))
        });
        let options = host.configured(&format!("settings-{number}.toml"), &text);
        let options = options.each_ref().map(String::as_str);
        let cache = format!("settings-{number}");
        let mut command = host.program("execd", &cache, &options);
        add(&mut contenders, name, Warm::start(&mut command, host.guests));
    }
    let mut taken = Rounds::default();
    taken.run(&mut contenders, rounds, &host.server);
    drop(contenders);

    let rows: Vec<Vec<String>> = names.iter().map(|name| row(&taken, name)).collect();
    let table = table(&HEAD, &rows);
    println!("{} guests, {rounds} rounds; medians\n\n{table}", host.guests);
    let texts: serde_json::Map<String, Value> = files
        .iter()
        .map(|file| {
            let text = fs::read_to_string(file).unwrap();
            // A list of 20,000 names says no more than its beginning and its size.
            let beginning: String = text.chars().take(200).collect();
            (name_of(file), json!({ "beginning": beginning, "bytes": text.len() }))
        })
        .collect();
    let all = json!({
        "machine": machine,
        "guests": host.guests,
        "rounds": rounds,
        "settings": texts,
        "tables": { "settings": table },
        "taken": taken.to_json(),
    });
    keep(record, machine, "settings", &all);
}

fn row(taken: &Rounds, name: &str) -> Vec<String> {
    let ratio = |figure: fn(&Rounds, &str) -> f64| {
        format!("{:.3}", figure(taken, name) / figure(taken, WITHOUT))
    };
    vec![
        name.to_owned(),
        short(taken.wall_ms(name)),
        ratio(Rounds::wall_ms),
        short(taken.cpu_ms(name)),
        ratio(Rounds::cpu_ms),
        short(taken.libvirtd_ms(name)),
        format!("{:.1}", taken.peak_mib(name)),
        format!("{:.2}", taken.peak_mib(name) - taken.peak_mib(WITHOUT)),
    ]
}
