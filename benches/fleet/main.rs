//! A fleet of made hosts and guests, written as Telegraf writes them into a real VictoriaMetrics or InfluxDB:
//! what the database needs for it, and how long the dashboards' queries take. docs/fleet.md has the results.
//!
//! ```text
//! guests.rs    the hosts and guests, and the program's lines
//! telegraf.rs  what Telegraf makes of these
//! database.rs  the servers
//! variants.rs  what makes a fleet cheaper
//! queries.rs   the dashboards' queries
//! tables.rs    the page's tables, from a record
//! ```
//!
//! $VICTORIA_METRICS and $INFLUXD name the servers. Each command adds to the record, a JSON file.
//!
//! ```text
//! cargo bench --bench fleet -- fill --into influx --folder DIR --hosts 100 --guests 50 --interval 60s --hours 6
//! cargo bench --bench fleet -- ask --into influx --folder DIR
//! cargo bench --bench fleet -- variants --into influx --folder DIR
//! cargo bench --bench fleet -- tables --record FILE
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]
// Sizes and times here are far below 2^53, and nothing is negative.
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
#![allow(clippy::cast_possible_wrap)]

mod database;
mod guests;
#[path = "../machine.rs"]
mod machine;
mod queries;
#[path = "../../tests/support/mod.rs"]
mod support;
mod tables;
mod telegraf;
mod variants;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::{Parser, Subcommand};
use serde_json::{Value, json};
use telegraf_virt::config::{Feature, duration};
use telegraf_virt::points::Choice;

use database::{Database, Kind};
use guests::{Fleet, Random};
use telegraf::Telegraf;

#[derive(Parser)]
#[command(name = "fleet")]
struct Options {
    #[command(subcommand)]
    command: Command,
    /// cargo's own
    #[arg(long, hide = true, global = true)]
    bench: bool,
    /// The database
    #[arg(long, global = true, default_value = "victoria")]
    into: Kind,
    /// Where the database's files are kept
    #[arg(long, global = true, default_value = "target/fleet")]
    folder: PathBuf,
    /// What the record calls the database, where it does not know its own version
    #[arg(long, global = true)]
    named: Option<String>,
    /// The record that the figures are added to
    #[arg(long, global = true)]
    record: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Writes a fleet into the database, as fast as it takes it
    Fill(Size),
    /// Makes the tables of docs/fleet.md from the record, into the record
    Tables,
    /// Asks it all the dashboards' queries about the last 6 hours
    Ask,
    /// Writes the same hours of guests in each of the ways that may be cheaper, each into an empty database
    Variants {
        #[command(flatten)]
        size: Size,
        /// Only those whose names contain this
        #[arg(long, default_value = "")]
        only: String,
    },
}

#[derive(Clone, Copy, clap::Args)]
pub struct Size {
    #[arg(long, default_value_t = 2)]
    pub hosts: usize,
    /// Of each host
    #[arg(long, default_value_t = 50)]
    pub guests: usize,
    #[arg(long, default_value = "10s", value_parser = interval)]
    pub interval: Duration,
    /// How much time the lines tell of
    #[arg(long, default_value_t = 6.0)]
    pub hours: f64,
    /// How often a guest restarts or migrates
    #[arg(long, default_value_t = 0.2)]
    pub boots_a_day: f64,
}

fn interval(text: &str) -> Result<Duration, String> {
    duration::parse(text, Duration::from_secs(1)..=Duration::from_secs(3600))
}

fn main() {
    let options = Options::parse();
    let named = options.named.as_deref();
    let figures = match &options.command {
        Command::Fill(size) => {
            let database = Database::start(options.into, &options.folder, named);
            let figures = filled(&database, *size, &for_dashboards());
            let end = figures["end_unix_s"].as_u64().unwrap();
            let asked = json!({ "end_unix_s": end, "size": described(*size) });
            fs::write(options.folder.join("fleet.json"), asked.to_string()).unwrap();
            database.end();
            figures
        }
        Command::Tables => {
            return make_tables(options.record.as_deref().expect("--record names the record"));
        }
        Command::Ask => {
            let text = fs::read_to_string(options.folder.join("fleet.json")).unwrap();
            let filled: Value = serde_json::from_str(&text).unwrap();
            let database = Database::start(options.into, &options.folder, named);
            let figures = queries::asked(&database, options.into, &filled);
            database.end();
            figures
        }
        Command::Variants { size, only } => {
            variants::measured(options.into, &options.folder, named, *size, only)
        }
    };
    println!("{figures:#}");
    if let Some(record) = &options.record {
        add(record, &figures);
    }
}

fn make_tables(record: &Path) {
    let mut all: Value = serde_json::from_str(&fs::read_to_string(record).unwrap()).unwrap();
    tables::add(&mut all);
    for (name, table) in all["tables"].as_object().unwrap() {
        println!("{name}:\n\n{}", table.as_str().unwrap());
    }
    fs::write(record, format!("{all:#}\n")).unwrap();
}

/// What the dashboards want, rounded to seconds.
fn for_dashboards() -> Way {
    let features = vec![Feature::Cpu, Feature::Latency, Feature::Balloon];
    Way {
        choice: Choice { features, ..Choice::DEFAULT },
        telegraf: Telegraf { precision_ns: 1_000_000_000, ..Telegraf::default() },
        ..Way::default()
    }
}

/// How lines are made, and what Telegraf does with them.
#[derive(Clone)]
pub struct Way {
    pub choice: Choice,
    pub telegraf: Telegraf,
    /// Measurements that come at each so many collections only.
    pub rare: Option<(&'static str, u64)>,
    /// Collections come at each so many intervals only.
    pub every: u32,
}

impl Default for Way {
    fn default() -> Self {
        Self { choice: Choice::DEFAULT, telegraf: Telegraf::default(), rare: None, every: 1 }
    }
}

/// Fills the database, and says what that took.
pub fn filled(database: &Database, size: Size, way: &Way) -> Value {
    let interval = size.interval * way.every;
    let count = (size.hours * 3600.0 / interval.as_secs_f64()).round() as u64;
    let span = interval * u32::try_from(count).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seconds = interval.as_secs();
    let end = Duration::from_secs(now.as_secs() / seconds * seconds);
    let mut fleet = Fleet::new(size.hosts, size.guests, way.choice.clone());
    // Each Telegraf is a little late, by another time.
    let mut late = Random::new(2);
    let (cpu_before, started) = (database.cpu_s(), Instant::now());
    let (mut values, mut lines, mut bytes, mut bodies) = (0, 0, 0, 0_u64);
    let feed = database.feed();
    for place in 1..=count {
        let moment = end - span + interval * u32::try_from(place).unwrap();
        fleet.live(interval, moment, size.boots_a_day);
        let mut telegraf = way.telegraf.clone();
        if let Some((measurement, every)) = way.rare
            && !place.is_multiple_of(every)
        {
            telegraf.namedrop.push(measurement);
        }
        let moment = moment + Duration::from_nanos(1_000_000 + late.below(8_000_000));
        fleet.write(moment, |host, text| {
            let mut body = Vec::with_capacity(text.len() * 5 / 4);
            values += telegraf.pass(host, text, &mut body);
            lines += body.iter().filter(|byte| **byte == b'\n').count();
            bytes += body.len();
            bodies += 1;
            if !body.is_empty() {
                feed.sender.send(body).unwrap();
            }
        });
    }
    feed.end();
    let wall_s = started.elapsed().as_secs_f64();
    let cpu_written_s = database.cpu_s() - cpu_before;
    database.settle();
    let cpu_s = database.cpu_s() - cpu_before;
    let disk = database.disk_bytes();
    json!({
        "database": database.version,
        "size": described(size),
        "collections": count, "requests": bodies, "lines": lines, "values": values, "line_bytes": bytes,
        "boots": fleet.boots,
        "end_unix_s": end.as_secs(),
        "wall_s": round(wall_s, 1),
        "values_per_s": (values as f64 / wall_s) as u64,
        "cpu_s_until_written": round(cpu_written_s, 2),
        "cpu_s_until_compacted": round(cpu_s, 2),
        "values_per_cpu_s": (values as f64 / cpu_s) as u64,
        "series": database.series(),
        "disk_bytes": disk,
        "disk_bytes_per_value": round(disk as f64 / values as f64, 3),
        "peak_memory_mib": database.peak_mib(),
    })
}

fn described(size: Size) -> Value {
    json!({
        "hosts": size.hosts, "guests_a_host": size.guests, "interval_s": size.interval.as_secs(),
        "hours": size.hours, "boots_a_guest_and_day": size.boots_a_day,
    })
}

pub fn round(value: f64, digits: i32) -> f64 {
    let power = 10_f64.powi(digits);
    (value * power).round() / power
}

fn add(record: &Path, figures: &Value) {
    let text = fs::read_to_string(record).unwrap_or_default();
    let mut all: Value = serde_json::from_str(&text)
        .unwrap_or_else(|_| json!({ "machine": machine::describe(), "runs": [] }));
    all["runs"].as_array_mut().unwrap().push(figures.clone());
    fs::write(record, format!("{all:#}\n")).unwrap();
}
