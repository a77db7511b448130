//! The program beside C clients that make the same calls and throw the data away, and beside other
//! tools, all on one libvirtd, in turn. benches/run builds what this needs and starts it.
//!
//! ```text
//! beside.rs      the table of other tools
//! contenders.rs  those who are compared, and what a collection of theirs cost
//! clocks.rs      CPU time and memory of processes
//! report.rs      what is printed, and the record
//! rounds.rs      contenders taken in turn; medians
//! figures.rs     the tables
//! filters.rs     long lists of names and UUIDs
//! host.rs        a hypervisor with guests
//! ../machine.rs  what a record says of the machine
//! peers.rs       the other tools, and how each is started and read
//! start.rs       what a start is made of
//! variants.rs    what settings cost, or another build; also while a guest hangs
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]
// Sizes and times here are far below 2^53.
#![allow(clippy::cast_precision_loss)]

mod beside;
mod clocks;
mod contenders;
mod figures;
mod filters;
mod host;
#[path = "../machine.rs"]
mod machine;
mod peers;
mod report;
mod rounds;
mod start;
#[path = "../../tests/support/mod.rs"]
mod support;
mod variants;

use clap::Parser;
use std::path::PathBuf;
use std::process::Command;

use contenders::{Contender, First, Floor, Warm};
use host::Host;
use report::Report;
use rounds::Rounds;
use support::process::run;
use support::program::PROGRAM;
use variants::{Compared, Variants};

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
    /// Compare execd with this file of settings to execd without, and nothing else; may be repeated
    #[arg(long, value_name = "FILE")]
    settings: Vec<PathBuf>,
    /// The same with long lists of names and UUIDs, on guests of libvirt's test driver
    #[arg(long, conflicts_with_all = ["uri", "settings"])]
    filters: bool,
    /// Compare execd with --before and --settings while one guest of the fleet hangs, and nothing else
    #[arg(long, conflicts_with_all = ["uri", "filters"])]
    hung: bool,
    /// Another build of the program, to compare with
    #[arg(long)]
    before: Option<PathBuf>,
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
    let mut same_calls = host.same_calls(&connections);
    add(contenders, "pfloor, our calls", Floor::start(&mut same_calls));
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
    let same_calls = host.once(&host.same_calls(&connections)).with_input("\n");
    add(contenders, "pfloor, our calls, as a process", same_calls);
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

fn names(contenders: &Contenders) -> Vec<String> {
    contenders.iter().map(|(name, _)| name.clone()).collect()
}

fn main() {
    let options = Options::parse();
    let (guests, few, count) =
        if options.quick { (4, 2, 2) } else { (options.guests, 3, options.rounds) };
    let folder = tempfile::tempdir().unwrap();
    let uri = options.uri.clone().or_else(|| options.filters.then(|| filters::host(folder.path())));
    let host = match uri {
        Some(uri) => Some(Host::of(uri, None, &options.floors)),
        None => Host::raise(guests, options.paused, &options.floors),
    };
    let Some(host) = host else { return };
    let mut machine = machine::describe();
    machine["libvirt"] = host.version("Using library: libvirt").into();
    machine["hypervisor"] = host.version("Running hypervisor:").into();
    let settings = match options.filters {
        true => filters::settings(),
        false => options.settings.iter().map(|file| Compared::read(file)).collect(),
    };
    if options.hung || !settings.is_empty() {
        let Options { before, hung, record, .. } = options;
        Variants { settings, before, hung }.compare(&host, count, &machine, record);
        return;
    }
    let connections = default_of("workers");

    let mut contenders = Contenders::new();
    ours_and_floors(&host, connections, &mut contenders);
    if let Some(program) = &options.before {
        let mut command = host.build(program, "execd", "before", &[]);
        add(&mut contenders, report::BEFORE, Warm::start(&mut command, host.guests));
    }
    let ours = names(&contenders);
    start::add(&host, connections, &mut contenders);
    let with_tools = !options.no_peers && !options.quick;
    if with_tools {
        contenders.extend(beside::asked(&host));
    }
    let mut rounds = Rounds::default();
    rounds.run(&mut contenders, count, &host.server);
    drop(contenders);
    let start = start::parts(&host, &rounds, connections);
    let tools = with_tools.then(|| beside::rows(&host, &rounds));

    // A host with a few guests, which only a lab can be asked to be.
    let small = host.lab.as_ref().and_then(|_| Host::raise(few, options.paused, &options.floors));
    let small = small.map(|small| {
        let (mut contenders, mut rounds) = (Contenders::new(), Rounds::default());
        ours_and_floors(&small, connections, &mut contenders);
        rounds.run(&mut contenders, count, &small.server);
        (small.guests, rounds)
    });

    let state = match (&host.lab, options.paused) {
        (None, _) => "",
        (_, true) => "paused",
        (_, false) => "running",
    };
    let guests = host.guests;
    let report =
        Report { machine, guests, state, count, connections, ours, rounds, start, tools, small };
    report.print();
    report.write(options.record);
}
