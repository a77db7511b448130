//! What a start is made of: processes that do less and less of what `once` does, and connections opened
//! one by one.

use serde_json::{Value, json};
use std::process::Command;

use super::Contenders;
use super::figures::short;
use super::host::Host;
use super::rounds::{Rounds, median};
use super::support::process::run;
use super::support::program::PROGRAM;

/// A part of a start, with its medians.
pub struct Part {
    what: String,
    wall_ms: f64,
    cpu_ms: f64,
}

pub const HEAD: [&str; 3] = ["part", "wall ms", "CPU ms"];

impl Part {
    pub fn cells(&self) -> Vec<String> {
        vec![self.what.clone(), short(self.wall_ms), short(self.cpu_ms)]
    }

    pub fn to_json(&self) -> Value {
        json!({ "part": self.what, "wall_ms": self.wall_ms, "cpu_ms": self.cpu_ms })
    }
}

/// Processes for the rounds.
pub fn add(host: &Host, connections: usize, contenders: &mut Contenders) {
    let connections = connections.min(host.guests).to_string();
    let nobody =
        host.configured("nobody.toml", "[domains]\ninclude = [\"no guest has this name\"]\n");
    let nobody = nobody.each_ref().map(String::as_str);
    let mut version = Command::new(PROGRAM);
    version.arg("--version");
    for (name, command) in [
        ("true", Command::new("true")),
        ("--version", version),
        ("floor, no call", host.floor("floor", &[])),
        ("pfloor, no call", host.floor("pfloor", &[&connections])),
        ("once, no guest asked", host.program("once", "nobody", &nobody)),
    ] {
        super::add(contenders, name, host.once(&command));
    }
}

/// How many connections are opened, and how often, for their medians.
const OPENED: usize = 4;
const REPEATED: usize = 15;

/// The parts, each the difference of two of those processes, or measured in a process of its own.
pub fn parts(host: &Host, rounds: &Rounds, connections: usize) -> Vec<Part> {
    let part = |what: &str, more: &str, less: &str| {
        let of = |figure: fn(&Rounds, &str) -> f64| {
            figure(rounds, more) - if less.is_empty() { 0.0 } else { figure(rounds, less) }
        };
        Part { what: what.to_owned(), wall_ms: of(Rounds::wall_ms), cpu_ms: of(Rounds::cpu_ms) }
    };
    let libraries = run(Command::new("ldd").arg(PROGRAM)).success().stdout.lines().count();
    let loading = format!("loading {libraries} shared libraries (--version, less true)");
    let mut parts = vec![
        part("a process that does nothing (true)", "true", ""),
        part(&loading, "--version", "true"),
        part("the same for the C floor, with one connection and no call", "floor, no call", "true"),
        part(
            &format!("the same for pfloor, with {connections} connections and lists"),
            "pfloor, no call",
            "true",
        ),
        part("once with no guest to ask, less --version", "once, no guest asked", "--version"),
        part("once with all guests, less that", "once", "once, no guest asked"),
    ];
    parts.extend(opens(host));
    parts
}

/// Opening connections one by one, and a round trip.
fn opens(host: &Host) -> Vec<Part> {
    let mut taken: Vec<Vec<(f64, f64)>> = vec![Vec::new(); OPENED + 1];
    for _ in 0..REPEATED {
        let program = host.floors.join("connect");
        let finished = run(Command::new(program).arg(&host.uri).arg(OPENED.to_string())).success();
        for (line, list) in finished.stdout.lines().zip(&mut taken) {
            let (wall_ns, cpu_ns) = line.split_once(' ').unwrap();
            list.push((
                wall_ns.parse::<f64>().unwrap() / 1e6,
                cpu_ns.parse::<f64>().unwrap() / 1e6,
            ));
        }
    }
    let part = |what: &str, number: usize| Part {
        what: what.to_owned(),
        wall_ms: median(taken[number].iter().map(|one| one.0)),
        cpu_ms: median(taken[number].iter().map(|one| one.1)),
    };
    vec![
        part("the first connection", 0),
        part("each further one", OPENED - 1),
        part("one round trip, as authentication on the read-only socket is one", OPENED),
    ]
}
