//! What is printed at the end, and the record of it: every single figure, the machine and the commit.

use serde_json::{Value, json};
use std::path::{Path, PathBuf};

use super::beside;
use super::figures::{self, Figure, short, table};
use super::rounds::{Rounds, Taken};
use super::start;

/// All that was measured.
pub struct Report {
    pub machine: Value,
    pub guests: usize,
    /// Of guests of our own: running or paused.
    pub state: &'static str,
    pub count: usize,
    pub connections: usize,
    /// The program and the floors among the contenders, in their order.
    pub ours: Vec<String>,
    pub rounds: Rounds,
    pub start: Vec<start::Part>,
    pub tools: Option<Vec<beside::Row>>,
    /// The guests of a small host, and its rounds.
    pub small: Option<(usize, Rounds)>,
}

impl Report {
    fn figures(&self) -> Vec<Figure> {
        goals(&self.rounds, self.connections)
    }

    fn figures_table(&self) -> String {
        table(&figures::HEAD, &cells(&self.figures(), Figure::cells))
    }

    fn tools_table(&self) -> Option<String> {
        let tools = self.tools.as_ref()?;
        Some(table(&beside::HEAD, &cells(tools, beside::Row::cells)))
    }

    fn of_state(&self) -> String {
        if self.state.is_empty() { String::new() } else { format!(", {}", self.state) }
    }

    pub fn print(&self) {
        let warning =
            if cfg!(debug_assertions) { "; NOT OPTIMIZED: the figures mean nothing" } else { "" };
        println!("{} guests{}, {} rounds{warning}", self.guests, self.of_state(), self.count);
        println!("{}\n\n{}", self.machine, self.figures_table());
        println!("{}", table(&MEDIANS, &medians(&self.rounds, &self.ours)));
        if let Some((guests, rounds)) = &self.small {
            println!("a small host: {guests} guests\n");
            println!("{}", table(&MEDIANS, &medians(rounds, &self.ours)));
        }
        println!("a start\n\n{}", table(&start::HEAD, &cells(&self.start, start::Part::cells)));
        if let Some(table) = self.tools_table() {
            println!("beside other tools\n\n{table}");
        }
    }

    fn to_json(&self) -> Value {
        let small_host = self
            .small
            .as_ref()
            .map(|(guests, rounds)| json!({ "guests": guests, "taken": rounds.to_json() }));
        let tools = self
            .tools
            .as_ref()
            .map(|tools| -> Value { tools.iter().map(|row| row.to_json(&self.machine)).collect() });
        json!({
            "machine": self.machine,
            "guests": self.guests,
            "state": self.state,
            "rounds": self.count,
            "default_workers": self.connections,
            "figures": self.figures().iter().map(Figure::to_json).collect::<Value>(),
            "start": self.start.iter().map(start::Part::to_json).collect::<Value>(),
            "tools": tools,
            "taken": self.rounds.to_json(),
            "small_host": small_host,
            "tables": { "figures": self.figures_table(), "tools": self.tools_table() },
        })
    }

    /// Writes the record to a file; without one to a new file in benches/records.
    pub fn write(&self, file: Option<PathBuf>) {
        keep(file, &self.machine, "live", &self.to_json());
    }
}

/// Writes a record to a file; without one to a new file in benches/records, whose name ends in `kind`.
pub fn keep(file: Option<PathBuf>, machine: &Value, kind: &str, record: &Value) {
    let file = file.unwrap_or_else(|| {
        let date = machine["date"].as_str().unwrap().replace(':', "");
        let commit = machine["commit"].as_str().unwrap_or("unknown");
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/records");
        folder.join(format!("{date}-{}-{kind}.json", &commit[..commit.len().min(7)]))
    });
    std::fs::write(&file, record.to_string() + "\n").unwrap();
    println!("the record: {}", file.display());
}

fn cells<T>(rows: &[T], cells: impl Fn(&T) -> Vec<String>) -> Vec<Vec<String>> {
    rows.iter().map(cells).collect()
}

/// The contender that is another build of the program.
pub const BEFORE: &str = "execd, before";

/// The figures, with their goals. The first is what a collection costs the whole host.
fn goals(rounds: &Rounds, connections: usize) -> Vec<Figure> {
    let wall: fn(&Taken) -> u64 = Taken::wall_ns;
    let cpu: fn(&Taken) -> u64 = Taken::cpu_ns;
    let host: fn(&Taken) -> u64 = Taken::host_ns;
    let with = format!("pfloor with {connections} connections");
    let (first_fresh, first_cold) = ("execd's first, fresh cache", "execd's first, cold cache");
    let ratios = [
        ("kept running, the host's CPU, to floor", Some(0.8), host, "execd", "floor"),
        ("kept running, the host's CPU, to before", Some(0.8), host, "execd", BEFORE),
        ("kept running, wall, to before", Some(1.0), wall, "execd", BEFORE),
        ("once, the host's CPU, to floor as a process", None, host, "once", "floor as a process"),
        ("kept running, wall, to floor", Some(0.6), wall, "execd", "floor"),
        (&format!("kept running, wall, to {with}"), Some(1.05), wall, "execd", "pfloor"),
        (
            &format!("kept running, our CPU, to {with} and our calls"),
            Some(1.3),
            cpu,
            "execd",
            "pfloor, our calls",
        ),
        (&format!("kept running, our CPU, to {with}"), None, cpu, "execd", "pfloor"),
        ("once, wall, to floor as a process", Some(0.7), wall, "once", "floor as a process"),
        (
            "once, our CPU, to pfloor with our calls as a process",
            Some(1.2),
            cpu,
            "once",
            "pfloor, our calls, as a process",
        ),
        ("once, our CPU, to floor as a process", None, cpu, "once", "floor as a process"),
        ("once, wall, fresh cache to cold", None, wall, "once", "once, cold cache"),
        ("once, our CPU, fresh cache to cold", None, cpu, "once", "once, cold cache"),
        (
            "execd's first collection, wall, fresh cache to cold",
            None,
            wall,
            first_fresh,
            first_cold,
        ),
        (
            "execd's first collection, our CPU, fresh cache to cold",
            None,
            cpu,
            first_fresh,
            first_cold,
        ),
    ];
    let compared = ratios.iter().filter(|(.., theirs)| *theirs != BEFORE || rounds.has(BEFORE));
    let figure = |(what, goal, figure, ours, theirs): &(&str, Option<f64>, _, &str, &str)| {
        let ratio = rounds.ratio(*figure, ours, theirs);
        Figure::ratio(what, *goal, ratio, rounds.ms(*figure, ours), rounds.ms(*figure, theirs))
    };
    let memory = Figure::more_mib(
        &format!("kept running, peak memory, to {with}"),
        1.8,
        rounds.peak_mib("execd"),
        rounds.peak_mib("pfloor"),
    );
    compared.map(figure).chain([memory]).collect()
}

/// Each contender of these with its medians.
fn medians(rounds: &Rounds, names: &[String]) -> Vec<Vec<String>> {
    let row = |name: &String| {
        vec![
            name.clone(),
            short(rounds.host_ms(name)),
            short(rounds.wall_ms(name)),
            short(rounds.cpu_ms(name)),
            short(rounds.libvirtd_ms(name)),
            short(rounds.qemu_ms(name)),
            format!("{:.1}", rounds.peak_mib(name)),
        ]
    };
    names.iter().filter(|name| rounds.has(name)).map(row).collect()
}

const MEDIANS: [&str; 7] = [
    "medians",
    "host's CPU ms",
    "wall ms",
    "CPU ms",
    "libvirtd's CPU ms",
    "QEMUs' CPU ms",
    "peak MiB",
];
