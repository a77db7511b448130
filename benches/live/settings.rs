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

/// Settings, and what the tables call them.
pub struct Compared {
    pub name: String,
    /// As a configuration file has them.
    pub text: String,
}

impl Compared {
    /// A file of settings; the tables call it by its name without the ending.
    pub fn read(file: &Path) -> Compared {
        let text = fs::read_to_string(file);
        Compared {
            name: file.file_stem().unwrap().to_str().unwrap().to_owned(),
            text: text.unwrap_or_else(|error| panic!("{}: {error}", file.display())),
        }
    }
}

/// Measures, prints a table, and writes the record.
pub fn compare(
    host: &Host,
    settings: &[Compared],
    rounds: usize,
    machine: &Value,
    record: Option<PathBuf>,
) {
    let mut contenders = Contenders::new();
    let mut names = vec![WITHOUT, AGAIN];
    names.extend(settings.iter().map(|it| it.name.as_str()));
    for (number, name) in names.iter().enumerate() {
        let text = number.checked_sub(2).map_or("", |number| &settings[number].text);
        let options = host.configured(&format!("settings-{number}.toml"), text);
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
    let texts: serde_json::Map<String, Value> = settings
        .iter()
        .map(|Compared { name, text }| {
            // A list of 20,000 names says no more than its beginning and its size.
            let beginning: String = text.chars().take(200).collect();
            (name.clone(), json!({ "beginning": beginning, "bytes": text.len() }))
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
