//! A lab with guests, the program watching them, and a table of what came through which fault.

use std::collections::BTreeMap;
use std::env;
use std::process::Command;
use std::time::{Duration, Instant};

use super::execd::Execd;
use super::lab::Lab;
use super::process::{Finished, run};
use super::program::program;
use super::say;
use super::tally::{Shape, Tally, shapes};

/// What a collection may take, with room for a busy machine: the deadline is 4 s.
pub const DEADLINE: Duration = Duration::from_millis(4500);

/// Rates that a guest has in every collection but its first.
const RATES: &str = "features = [\"net\", \"disk\", \"cpu\"]\n";

fn watching(lab: &Lab, cache: &str) -> Command {
    let mut command = program(lab.scratch());
    command.arg("--config").arg(lab.scratch().join("rates.toml"));
    command.args(["--uri", &lab.uri(), "--cache-dir"]).arg(lab.scratch().join(cache));
    command
}

pub fn times(short: usize) -> usize {
    if env::var("CHAOS").is_ok_and(|form| form == "long") { short * 10 } else { short }
}

/// A lab with guests, a program that watches them, and what its output looks like in peace.
pub struct Stage {
    pub lab: Lab,
    pub guests: Vec<String>,
    pub execd: Execd,
    pub healthy: BTreeMap<String, Shape>,
    pub table: Vec<String>,
}

impl Stage {
    pub fn set(test: &str, paused: u32) -> Option<Stage> {
        let lab = Lab::require(test)?;
        let guests = lab.fleet(paused, 2, 3);
        lab.linux("real");
        std::fs::write(lab.scratch().join("rates.toml"), RATES).unwrap();
        let mut execd = Execd::of(&mut watching(&lab, "cache"));
        execd.collect();
        let healthy = shapes(&execd.collect().lines);
        assert_eq!(healthy.len(), guests.len() + 1);
        Some(Stage { lab, guests, execd, healthy, table: vec![Tally::head()] })
    }

    /// The guests without some of them.
    pub fn without(&self, some: &[String]) -> BTreeMap<String, Shape> {
        let mut rest = self.healthy.clone();
        rest.retain(|uuid, _| !some.contains(uuid));
        rest
    }

    pub fn collect(&mut self, tally: &mut Tally, healthy: &BTreeMap<String, Shape>, count: usize) {
        for _ in 0..count {
            tally.count(healthy, &self.execd.collect());
        }
    }

    /// Signals the QEMU processes of these guests.
    pub fn signal(&self, signal: &str, guests: &[String]) {
        for uuid in guests {
            self.lab.signal_qemu(signal, uuid);
        }
    }

    pub fn end_row(&mut self, tally: &Tally) {
        self.table.push(tally.row());
    }

    pub fn libvirtd(&self, signal: &str) {
        self.lab.signal_libvirtd(signal);
    }

    pub fn start_libvirtd(&self) {
        self.lab.start_libvirtd();
    }

    /// Calls that occupy one of libvirtd's workers now.
    pub fn busy_workers(&self) -> usize {
        let socket = "/run/libvirt/libvirt-admin-sock";
        let uri = format!("libvirtd:///system?socket={socket}");
        let info = self.lab.inside(&["virt-admin", "-c", &uri, "srv-threadpool-info", "libvirtd"]);
        let number = |key: &str| -> usize {
            let line = info.lines().find(|line| line.trim_start().starts_with(key)).unwrap();
            line.split(':').nth(1).unwrap().trim().parse().unwrap()
        };
        number("nWorkers") - number("freeWorkers")
    }

    pub fn print(&self) {
        for row in &self.table {
            say(row);
        }
    }

    /// Collects until every guest's every point is there again.
    pub fn wait_until_whole(&mut self) {
        let started = Instant::now();
        loop {
            let got = shapes(&self.execd.collect().lines);
            if got == self.healthy {
                return;
            }
            let missing: Vec<&Shape> = self
                .healthy
                .iter()
                .filter(|(uuid, shape)| got.get(*uuid) != Some(shape))
                .map(|(_, shape)| shape)
                .collect();
            assert!(
                started.elapsed() < Duration::from_secs(20),
                "not whole: {missing:#?}\n{got:#?}\n{:#?}",
                self.execd.news()
            );
        }
    }

    pub fn once(&self, cache: &str) -> (Finished, Duration) {
        let started = Instant::now();
        let finished = run(watching(&self.lab, cache).arg("once")).success();
        (finished, started.elapsed())
    }
}
