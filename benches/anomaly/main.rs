//! What `extra = ["anomalies"]` finds, what it takes for news that is none, and what it costs.
//!
//! ```text
//! cargo bench --bench anomaly                  the tables of docs/anomalies.md
//! cargo bench --bench anomaly -- cost          the last of them alone
//! cargo bench --bench anomaly -- ratios        values on standard input, a ratio a line on standard output
//! cargo bench --bench anomaly -- score SCORE   runs the program SCORE, which runs `ratios` for each series of
//!                                              the Numenta Anomaly Benchmark
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cost;
mod kinds;

use std::io::{self, BufRead, BufWriter, Write};
use std::process::{Command, ExitCode};
use std::{env, process};

use kinds::{DAY, KINDS, Kind, SEEDS, Series};
use telegraf_virt::anomalies::{Detector, Scale};

/// Slots until a series has learned, and for which a flag stays.
const LEARNING: usize = 3 * DAY;
const HOLD: usize = 24;
/// When a fault begins, and how long it may take until it is found.
const FAULT_AT: usize = 45 * DAY + 130;
const FOUND_WITHIN: usize = 72;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).filter(|it| it != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => {
            false_events();
            faults();
            cost::print();
        }
        ["cost"] => cost::print(),
        ["ratios"] => ratios().unwrap(),
        ["score", program] => {
            let own = env::current_exe().unwrap();
            let status = Command::new(program).arg(own).arg("ratios").status().unwrap();
            process::exit(status.code().unwrap_or(1));
        }
        _ => {
            eprintln!("usage: anomaly [cost | ratios | score PROGRAM]");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

/// Every step may be news here: the benchmark's series have no unit.
fn ratios() -> io::Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut detector = Detector::default();
    for line in io::stdin().lock().lines() {
        let value = line?.trim().parse().map_err(io::Error::other)?;
        let verdict = detector.push(value, Scale { unit: 0.0, upward: false });
        writeln!(out, "{}", verdict.ratio())?;
    }
    out.flush()
}

/// The slots at which a flag is raised, once the series has learned.
fn events(kind: &Kind, values: impl Iterator<Item = f64>) -> Vec<usize> {
    let (mut detector, mut until, mut events) = (Detector::default(), 0, Vec::new());
    for (slot, value) in values.enumerate() {
        let is_news = detector.push(value, kind.scale).ratio() >= 1.0;
        if is_news && slot >= LEARNING {
            if slot >= until {
                events.push(slot);
            }
            until = slot + HOLD;
        }
    }
    events
}

fn false_events() {
    println!(
        "False events a day and series, {SEEDS} series of each kind over 90 days without anomalies:\n"
    );
    println!("| series | days 4 to 7 | days 8 to 30 | days 31 to 90 |\n|---|---|---|---|");
    let spans = [(3, 7), (7, 30), (30, 90)];
    let mut sums = [0.0; 3];
    for kind in &KINDS {
        let mut counts = [0.0; 3];
        for seed in 0..SEEDS {
            for slot in events(kind, Series::new(kind, seed).take(90 * DAY)) {
                let span = spans.iter().position(|&(_, end)| slot < end * DAY).unwrap_or(2);
                counts[span] += 1.0;
            }
        }
        let rates: Vec<f64> = counts
            .iter()
            .zip(spans)
            .map(|(count, (from, to))| count / (to - from) as f64 / SEEDS as f64)
            .collect();
        sums.iter_mut().zip(&rates).for_each(|(sum, rate)| *sum += rate / KINDS.len() as f64);
        println!("| {} | {:.2} | {:.2} | {:.3} |", kind.name, rates[0], rates[1], rates[2]);
    }
    println!("| all | {:.2} | {:.2} | {:.3} |\n", sums[0], sums[1], sums[2]);
}

/// A change of a series from a slot on: the value, the slots since then, the mean of the series.
type Fault = (&'static str, fn(f64, usize, f64, f64) -> f64);

const FAULTS: [Fault; 4] = [
    (
        "spike of 30 minutes to 3 x the highest",
        |value, since, _, most| {
            if since < 6 { 3.0 * most } else { value }
        },
    ),
    ("step up by 2 x the mean", |value, _, mean, _| value + 2.0 * mean),
    ("drop to nothing", |_, _, _, _| 0.0),
    ("leak: by 3 x the mean in a day", |value, since, mean, _| {
        value + 3.0 * mean * (since as f64 / DAY as f64).min(1.0)
    }),
];

fn faults() {
    println!("Share of faults found within 6 hours, {SEEDS} series of each kind, on day 46:\n");
    let names: Vec<&str> = FAULTS.iter().map(|(name, _)| *name).collect();
    println!("| series | {} |\n|---{}|", names.join(" | "), "|---".repeat(names.len()));
    let mut sums = [0.0; FAULTS.len()];
    for kind in &KINDS {
        let mut found = [0.0; FAULTS.len()];
        for seed in 0..SEEDS {
            let values: Vec<f64> = Series::new(kind, seed).take(FAULT_AT + FOUND_WITHIN).collect();
            let before = &values[..FAULT_AT];
            let mean = before.iter().sum::<f64>() / FAULT_AT as f64;
            let most = before.iter().copied().fold(0.0, f64::max);
            for ((_, fault), found) in FAULTS.iter().zip(&mut found) {
                let changed = values.iter().enumerate().map(|(slot, &value)| {
                    slot.checked_sub(FAULT_AT)
                        .map_or(value, |since| fault(value, since, mean, most))
                });
                let is_found = events(kind, changed).iter().any(|&slot| slot >= FAULT_AT);
                *found += f64::from(u8::from(is_found)) / SEEDS as f64;
            }
        }
        let cells: Vec<String> =
            found.iter().map(|share| format!("{:.0} %", 100.0 * share)).collect();
        println!("| {} | {} |", kind.name, cells.join(" | "));
        sums.iter_mut().zip(found).for_each(|(sum, share)| *sum += share / KINDS.len() as f64);
    }
    let cells: Vec<String> = sums.iter().map(|share| format!("{:.0} %", 100.0 * share)).collect();
    println!("| all | {} |\n", cells.join(" | "));
}
