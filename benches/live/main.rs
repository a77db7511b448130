//! The program beside C clients that make the same calls and throw the data away, and beside other
//! tools, all on one libvirtd, in turn. benches/run builds what this needs and starts it.
//!
//! ```text
//! beside.rs      the table of other tools
//! contenders.rs  those who are compared, and what a collection of theirs cost
//! clocks.rs      CPU time and memory of processes
//! rounds.rs      contenders taken in turn; medians
//! figures.rs     the tables
//! machine.rs     what the record says of the machine
//! peers.rs       the other tools, and how each is started and read
//! start.rs       what a start is made of
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]
// Sizes and times here are far below 2^53.
#![allow(clippy::cast_precision_loss)]

mod beside;
mod clocks;
mod contenders;
mod figures;
mod machine;
mod peers;
mod rounds;
mod start;
#[path = "../../tests/support/mod.rs"]
mod support;

use clap::Parser;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use clocks::Server;
use contenders::{Contender, First, Floor, Once, Warm};
use figures::{Figure, short, table};
use rounds::Rounds;
use support::lab::Lab;
use support::process::run;
use support::program::{PROGRAM, without_settings};

/// state, cpu, balloon, vcpu, interface and block: what the program asks for.
const GROUPS: &str = "63";
const WORKERS: [usize; 4] = [1, 2, 4, 8];

#[derive(Parser)]
#[command(name = "benches/run", about = "Measures telegraf-virt beside C floors and other tools")]
struct Options {
    /// Read this hypervisor, as it is, instead of a fleet of our own
    #[arg(long)]
    uri: Option<String>,
    /// Guests of the fleet
    #[arg(long, default_value_t = 60)]
    guests: u32,
    /// Leave the fleet paused instead of running
    #[arg(long)]
    paused: bool,
    /// How often each contender is asked
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// A few guests and two rounds, to see that all of it works
    #[arg(long)]
    quick: bool,
    /// Without the other tools
    #[arg(long)]
    no_peers: bool,
    /// Where the record is written [default: a new file in benches/records]
    #[arg(long)]
    record: Option<PathBuf>,
    /// The folder with the C programs, which benches/run has built
    #[arg(long)]
    floors: PathBuf,
    /// What cargo adds
    #[arg(long, hide = true)]
    bench: bool,
}

/// A hypervisor with guests, and the program's settings and folders for it.
struct Host {
    uri: String,
    guests: usize,
    server: Server,
    scratch: PathBuf,
    floors: PathBuf,
    /// The lab that it is, where it is one.
    lab: Option<Lab>,
    _folder: tempfile::TempDir,
}

impl Host {
    fn of(uri: String, lab: Option<Lab>, floors: &Path) -> Host {
        let list = run(Command::new("virsh").args(["-q", "-r", "-c", &uri, "list", "--uuid"]));
        let guests = list.success().stdout.lines().filter(|line| !line.trim().is_empty()).count();
        let folder = tempfile::tempdir().unwrap();
        Host {
            server: Server::of(&uri),
            uri,
            guests,
            scratch: folder.path().to_owned(),
            floors: floors.to_owned(),
            lab,
            _folder: folder,
        }
    }

    /// A fleet on a libvirtd of its own; none, said aloud, where there can be none.
    fn raise(guests: u32, paused: bool, floors: &Path) -> Option<Host> {
        let lab = Lab::require("benches/run")?;
        for uuid in lab.fleet(guests, 2, 3) {
            if !paused {
                lab.virsh(&["resume", &uuid]);
            }
        }
        let host = Host::of(lab.uri(), Some(lab), floors);
        host.settle();
        Some(host)
    }

    /// Waits until the guests' firmware has given up looking for something to boot: from then on they use
    /// the same little CPU time each second.
    fn settle(&self) {
        let busy = || {
            let before = self.server.used().qemu_ns;
            std::thread::sleep(Duration::from_secs(2));
            (self.server.used().qemu_ns - before) as f64 / 2e9
        };
        let start = Instant::now();
        let (mut before, mut now) = (busy(), busy());
        while now < before * 0.9 && start.elapsed() < Duration::from_secs(60) {
            (before, now) = (now, busy());
        }
        eprintln!(
            "{} guests; at rest their QEMUs use {:.0} % of one CPU",
            self.guests,
            now * 100.0
        );
    }

    /// The program on this hypervisor, with a cache of this name.
    fn program(&self, mode: &str, cache: &str, options: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        without_settings(&mut command, &self.scratch);
        command.arg(mode).args(["--uri", &self.uri, "--cache-dir"]).arg(self.scratch.join(cache));
        command.args(options);
        command
    }

    /// A file of configuration, and the options that name it.
    fn configured(&self, name: &str, text: &str) -> [String; 2] {
        let file = self.scratch.join(name);
        std::fs::write(&file, text).unwrap();
        ["--config".to_owned(), file.to_str().unwrap().to_owned()]
    }

    fn floor(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.floors.join(name));
        command.args([&self.uri, GROUPS]).args(arguments);
        command
    }

    fn once(&self, command: &Command) -> Once {
        Once::of(&self.floors.join("spent"), &self.scratch, command)
    }
}

/// The default of a setting, as the sample configuration tells it.
fn default_of(setting: &str) -> usize {
    let sample = run(Command::new(PROGRAM).arg("config")).success().stdout;
    let line = sample.lines().find_map(|line| line.strip_prefix(&format!("# {setting} = ")));
    line.unwrap().parse().unwrap()
}

type Contenders = Vec<(String, Box<dyn Contender>)>;

fn add(contenders: &mut Contenders, name: &str, contender: impl Contender + 'static) {
    contenders.push((name.to_owned(), Box::new(contender)));
}

/// The program and the floors, kept running and as processes.
fn ours_and_floors(host: &Host, connections: usize, contenders: &mut Contenders) {
    // A connection without a guest could ask nothing.
    let connections = connections.min(host.guests).to_string();
    add(contenders, "floor", Floor::start(&mut host.floor("floor", &[])));
    add(contenders, "pfloor", Floor::start(&mut host.floor("pfloor", &[&connections])));
    add(contenders, "execd", Warm::start(&mut host.program("execd", "execd", &[]), host.guests));
    for workers in WORKERS {
        let name = format!("workers {workers}");
        let options =
            host.configured(&format!("workers-{workers}.toml"), &format!("workers = {workers}\n"));
        let options = options.each_ref().map(String::as_str);
        let mut command = host.program("execd", &name, &options);
        add(contenders, &name, Warm::start(&mut command, host.guests));
    }

    add(contenders, "floor as a process", host.once(&host.floor("floor", &[])).with_input("\n"));
    add(contenders, "once", host.once(&host.program("once", "once", &[])));
    let cold = host.scratch.join("cold");
    add(
        contenders,
        "once, cold cache",
        host.once(&host.program("once", "cold", &[])).without(&cold),
    );
    let first = |cache: &str, emptied: bool| First {
        command: host.program("execd", cache, &[]),
        guests: host.guests,
        cache: emptied.then(|| host.scratch.join(cache)),
    };
    // The cache of `once` is one that a run before has filled.
    add(contenders, "execd's first, fresh cache", first("once", false));
    add(contenders, "execd's first, cold cache", first("first", true));
}

fn goals(rounds: &Rounds, connections: usize) -> Vec<Figure> {
    let wall = |name: &str| rounds.wall_ms(name);
    let cpu = |name: &str| rounds.cpu_ms(name);
    let with = format!("pfloor with {connections} connections");
    vec![
        Figure::ratio("kept running, wall, to floor", 0.6, wall("execd"), wall("floor")),
        Figure::ratio(
            &format!("kept running, wall, to {with}"),
            1.05,
            wall("execd"),
            wall("pfloor"),
        ),
        Figure::ratio(
            &format!("kept running, our CPU, to {with}"),
            1.5,
            cpu("execd"),
            cpu("pfloor"),
        ),
        Figure::ratio(
            "once, wall, to floor as a process",
            0.7,
            wall("once"),
            wall("floor as a process"),
        ),
        Figure::ratio(
            "once, our CPU, to floor as a process",
            1.3,
            cpu("once"),
            cpu("floor as a process"),
        ),
        Figure::more_mib(
            &format!("kept running, peak memory, to {with}"),
            2.0,
            rounds.peak_mib("execd"),
            rounds.peak_mib("pfloor"),
        ),
        Figure::ratio(
            "once, wall, fresh cache to cold",
            None,
            wall("once"),
            wall("once, cold cache"),
        ),
        Figure::ratio(
            "once, our CPU, fresh cache to cold",
            None,
            cpu("once"),
            cpu("once, cold cache"),
        ),
        Figure::ratio(
            "execd's first collection, wall, fresh cache to cold",
            None,
            wall("execd's first, fresh cache"),
            wall("execd's first, cold cache"),
        ),
        Figure::ratio(
            "execd's first collection, our CPU, fresh cache to cold",
            None,
            cpu("execd's first, fresh cache"),
            cpu("execd's first, cold cache"),
        ),
    ]
}

/// Each contender of these with its medians.
fn medians(rounds: &Rounds, names: &[String]) -> Vec<Vec<String>> {
    let row = |name: &String| {
        vec![
            name.clone(),
            short(rounds.wall_ms(name)),
            short(rounds.cpu_ms(name)),
            short(rounds.libvirtd_ms(name)),
            short(rounds.qemu_ms(name)),
            format!("{:.1}", rounds.peak_mib(name)),
        ]
    };
    names.iter().filter(|name| rounds.has(name)).map(row).collect()
}

const MEDIANS: [&str; 6] =
    ["medians", "wall ms", "CPU ms", "libvirtd's CPU ms", "QEMUs' CPU ms", "peak MiB"];

fn cells<T>(rows: &[T], cells: impl Fn(&T) -> Vec<String>) -> Vec<Vec<String>> {
    rows.iter().map(cells).collect()
}

fn names(contenders: &Contenders) -> Vec<String> {
    contenders.iter().map(|(name, _)| name.clone()).collect()
}

fn main() {
    let options = Options::parse();
    let (guests, few, count) =
        if options.quick { (4, 2, 2) } else { (options.guests, 3, options.rounds) };
    let host = match options.uri.clone() {
        Some(uri) => Some(Host::of(uri, None, &options.floors)),
        None => Host::raise(guests, options.paused, &options.floors),
    };
    let Some(host) = host else { return };
    let connections = default_of("workers");

    let mut contenders = Contenders::new();
    ours_and_floors(&host, connections, &mut contenders);
    let ours = names(&contenders);
    start::add(&host, connections, &mut contenders);
    let with_peers = !options.no_peers && !options.quick;
    if with_peers {
        contenders.extend(beside::asked(&host));
    }
    let mut rounds = Rounds::default();
    rounds.run(&mut contenders, count, &host.server);
    drop(contenders);
    let parts = start::parts(&host, &rounds, connections);
    let tools = if with_peers { beside::rows(&host, &rounds) } else { Vec::new() };

    // A host with a few guests, which only a lab can be asked to be.
    let small = host.lab.as_ref().and_then(|_| Host::raise(few, options.paused, &options.floors));
    let mut small_rounds = Rounds::default();
    if let Some(small) = &small {
        let mut contenders = Contenders::new();
        ours_and_floors(small, connections, &mut contenders);
        small_rounds.run(&mut contenders, count, &small.server);
    }

    let machine = machine::describe(&host.uri);
    let figures = goals(&rounds, connections);
    let state = if host.lab.is_none() {
        ""
    } else if options.paused {
        "paused "
    } else {
        "running "
    };
    let optimized =
        if cfg!(debug_assertions) { "; NOT OPTIMIZED: the figures mean nothing" } else { "" };
    println!("{} {state}guests, {count} rounds{optimized}", host.guests);
    println!("{}\n", serde_json::to_string(&machine).unwrap());
    println!("{}", table(&figures::HEAD, &cells(&figures, Figure::cells)));
    println!("{}", table(&MEDIANS, &medians(&rounds, &ours)));
    if let Some(small) = &small {
        println!("a small host: {} {state}guests\n", small.guests);
        println!("{}", table(&MEDIANS, &medians(&small_rounds, &ours)));
    }

    println!("a start\n\n{}", table(&start::HEAD, &cells(&parts, start::Part::cells)));
    if with_peers {
        println!(
            "beside other tools\n\n{}",
            table(&beside::HEAD, &cells(&tools, beside::Row::cells))
        );
    }

    let record = json!({
        "machine": machine,
        "guests": host.guests,
        "state": state.trim(),
        "rounds": count,
        "default_workers": connections,
        "figures": figures.iter().map(Figure::to_json).collect::<Value>(),
        "start": parts.iter().map(start::Part::to_json).collect::<Value>(),
        "tools": tools.iter().map(|row| row.to_json(&machine)).collect::<Value>(),
        "taken": rounds.to_json(),
        "small_host": small.map(|small| json!({ "guests": small.guests, "taken": small_rounds.to_json() })),
    });
    write_record(options.record, &record);
}

fn write_record(file: Option<PathBuf>, record: &Value) {
    let file = file.unwrap_or_else(|| {
        let date = record["machine"]["date"].as_str().unwrap().replace(':', "");
        let commit = record["machine"]["commit"].as_str().unwrap_or("unknown");
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/records");
        folder.join(format!("{date}-{}.json", &commit[..commit.len().min(7)]))
    });
    std::fs::write(&file, serde_json::to_string(record).unwrap() + "\n").unwrap();
    println!("the record: {}", file.display());
}
