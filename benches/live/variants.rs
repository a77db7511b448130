//! What settings, or another build of the program, cost: `execd` with each beside `execd` without, on the same
//! guests, in turn; also while a guest hangs. One more without any shows what difference is the machine's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::contenders::{Warm, WarmGuests};
use super::figures::{short, table};
use super::host::Host;
use super::report::{BEFORE, keep};
use super::rounds::Rounds;
use super::{Contenders, add};

const WITHOUT: &str = "without";
const AGAIN: &str = "without, again";

const HEAD: [&str; 10] = [
    "settings",
    "host's CPU ms",
    "to without",
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

/// What is compared with the program without any settings.
pub struct Variants {
    pub settings: Vec<Compared>,
    /// Another build of the program.
    pub before: Option<PathBuf>,
    /// Whether one guest hangs all the time.
    pub hung: bool,
}

impl Variants {
    /// Measures, prints a table, and writes the record.
    pub fn compare(&self, host: &Host, rounds: usize, machine: &Value, record: Option<PathBuf>) {
        let hung = self.hung.then(|| host.hang_one().0);
        let mut contenders = Contenders::new();
        let mut names = Vec::new();
        let compared = self.settings.iter().map(|it| (it.name.as_str(), it.text.as_str()));
        let all = [(WITHOUT, ""), (AGAIN, "")].into_iter().chain(compared);
        for (number, (name, text)) in all.enumerate() {
            let options = host.configured(&format!("settings-{number}.toml"), text);
            let options = options.each_ref().map(String::as_str);
            let cache = format!("settings-{number}");
            let mut command = host.program("execd", &cache, &options);
            self.add(&mut contenders, name, &mut command, host.guests);
            names.push(name);
        }
        if let Some(program) = &self.before {
            let mut command = host.build(program, "execd", "before", &[]);
            self.add(&mut contenders, BEFORE, &mut command, host.guests);
            names.push(BEFORE);
        }
        let mut taken = Rounds::default();
        taken.run(&mut contenders, rounds, &host.server);
        drop(contenders);
        if let Some(qemu) = hung {
            host.release(&qemu);
        }

        let rows: Vec<Vec<String>> = names.iter().map(|name| row(&taken, name)).collect();
        let table = table(&HEAD, &rows);
        let state = if self.hung { ", one of them hung" } else { "" };
        println!("{} guests{state}, {rounds} rounds; medians\n\n{table}", host.guests);
        let all = json!({
            "machine": machine,
            "guests": host.guests,
            "one_hung": self.hung,
            "rounds": rounds,
            "settings": self.texts(),
            "tables": { "settings": table },
            "taken": taken.to_json(),
        });
        keep(record, machine, "settings", &all);
    }

    fn add(&self, contenders: &mut Contenders, name: &str, execd: &mut Command, guests: usize) {
        if self.hung {
            add(contenders, name, WarmGuests::start(execd, guests));
        } else {
            add(contenders, name, Warm::start(execd, guests));
        }
    }

    /// What the settings say.
    fn texts(&self) -> serde_json::Map<String, Value> {
        let texts = self.settings.iter().map(|Compared { name, text }| {
            // A list of 20,000 names says no more than its beginning and its size.
            let beginning: String = text.chars().take(200).collect();
            (name.clone(), json!({ "beginning": beginning, "bytes": text.len() }))
        });
        texts.collect()
    }
}

fn row(taken: &Rounds, name: &str) -> Vec<String> {
    let both = |figure: fn(&Rounds, &str) -> f64| {
        let (value, without) = (figure(taken, name), figure(taken, WITHOUT));
        [short(value), format!("{:.3}", value / without)]
    };
    let mut row = vec![name.to_owned()];
    row.extend([Rounds::host_ms, Rounds::wall_ms, Rounds::cpu_ms].into_iter().flat_map(both));
    row.extend([
        short(taken.libvirtd_ms(name)),
        format!("{:.1}", taken.peak_mib(name)),
        format!("{:.2}", taken.peak_mib(name) - taken.peak_mib(WITHOUT)),
    ]);
    row
}
