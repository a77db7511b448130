//! One guest in trouble must cost no other guest a line, libvirt no worker that others need, and nobody time.
//! Prints a table: fault, and how the program runs; collections; lines of healthy guests expected and received;
//! guests in trouble and the lines that they had; what a collection takes in peace, the first in trouble, the
//! usual and the longest later one; the fewest free workers of libvirtd, for the time of a collection and at
//! any moment; the longest `virsh dominfo` of a healthy guest. Times are milliseconds.
//!
//! With ISOLATION=long each fault lasts its full time, and there are more of them. ISOLATION_ROWS=TEXT measures
//! only the rows whose names contain the text. With ISOLATION_TABLE=FILE the table is written there as well.

use std::env;
use std::fs;
use std::time::{Duration, Instant};

use crate::support::faults::{self, Trouble};
use crate::support::isolation::{Case, Row, Theatre, Way};
use crate::support::lab::Lab;
use crate::support::say;
use crate::support::turn::Turn;

const GUESTS: u32 = 16;

fn is_long() -> bool {
    env::var("ISOLATION").is_ok_and(|form| form == "long")
}

fn seconds(short: u64, long: u64) -> Duration {
    Duration::from_secs(if is_long() { long } else { short })
}

/// The rows, and for how long.
fn cases() -> Vec<Case> {
    use Trouble::{
        Destroyed, HeldByHook, MigratesIn, MigratesOut, OffOnFifo, Silent, SlowNic, Unplug,
        VhostBesideFile, VhostDisk,
    };
    let mut cases = Vec::new();
    let mut add = |troubles: &[Trouble], way: Way, short: u64, long: u64| {
        let lasts = seconds(short, if way == Way::Once { 120 } else { long });
        let every = match (is_long(), way) {
            (false, Way::Once) => Duration::from_millis(1500),
            (false, _) => Duration::from_millis(800),
            (true, _) => Duration::from_secs(5),
        };
        cases.push(Case { troubles: troubles.to_vec(), way, lasts, every });
    };
    add(&[], Way::Fresh, 4, 30);
    add(&[Silent(1)], Way::Fresh, 5, 60);
    add(&[Silent(3)], Way::Old, 5, 60);
    add(&[Silent(5)], Way::Cold, 5, 60);
    add(&[Silent(12)], Way::Fresh, 5, 60);
    if is_long() {
        for (way, counts) in
            [(Way::Fresh, &[3, 5][..]), (Way::Old, &[1, 5, 12]), (Way::Cold, &[1, 3, 12])]
        {
            for count in counts {
                add(&[Silent(*count)], way, 0, 60);
            }
        }
    }
    add(&[Destroyed], Way::Fresh, 8, 60);
    add(&[HeldByHook], Way::Fresh, 8, 75);
    add(&[HeldByHook], Way::Cold, 6, 75);
    add(&[OffOnFifo], Way::Inactive, 6, 60);
    add(&[OffOnFifo], Way::Record, 7, 60);
    add(&[Unplug], Way::Fresh, 8, 60);
    add(&[MigratesOut], Way::Fresh, 6, 60);
    add(&[MigratesIn], Way::Cold, 6, 60);
    add(&[VhostDisk], Way::Fresh, 3, 30);
    add(&[VhostBesideFile], Way::Fresh, 3, 30);
    for delay in [300, 1500, 5000] {
        add(&[SlowNic(delay)], Way::Fresh, 7, 60);
    }
    add(&[Silent(1)], Way::Once, 8, 120);
    add(&[HeldByHook], Way::Once, 10, 120);
    add(&[Silent(1), HeldByHook], Way::Fresh, 6, 60);
    if is_long() {
        add(&[Destroyed], Way::Cold, 0, 60);
        add(&[MigratesIn], Way::Fresh, 0, 60);
        add(&[MigratesOut], Way::Cold, 0, 60);
        add(&[HeldByHook], Way::Old, 0, 75);
        add(&[Unplug], Way::Old, 0, 60);
        add(&[VhostDisk], Way::Cold, 0, 30);
        for trouble in [
            Silent(5),
            Destroyed,
            OffOnFifo,
            Unplug,
            MigratesOut,
            MigratesIn,
            VhostDisk,
            SlowNic(300),
            SlowNic(1500),
            SlowNic(5000),
        ] {
            add(&[trouble], Way::Once, 0, 120);
        }
        add(&[Destroyed, SlowNic(5000)], Way::Fresh, 0, 60);
        add(&[Unplug, Silent(3)], Way::Old, 0, 60);
        add(&[MigratesOut, OffOnFifo], Way::Inactive, 0, 60);
        add(&[HeldByHook, Silent(5)], Way::Once, 0, 120);
    }
    cases
}

/// Raises a lab of this release, or of the machine's own libvirt, and measures one row after another.
fn table(release: &str) {
    let _turn = Turn::alone();
    let Some(lab) = Lab::require_release("isolation", release) else { return };
    let other = Lab::require_release("isolation", release).unwrap();
    let started = Instant::now();
    faults::install(&lab);
    let fleet = lab.fleet(GUESTS, 1, 2);
    let theatre = Theatre { lab: &lab, other: &other, fleet };
    let versions = lab.virsh(&["version", "--daemon"]);
    let version = |name: &str| {
        let line = versions.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.rsplit(' ').next().unwrap_or_default().to_owned()
    };
    let daemon = fs::read_to_string(lab.folder().join("daemon")).unwrap();
    let mut text = vec![
        format!(
            "{} of libvirt {}, QEMU {}",
            daemon.trim(),
            version("Running against daemon:"),
            version("Running hypervisor:")
        ),
        Row::head(),
    ];
    say(&text.join("\n"));
    let only = env::var("ISOLATION_ROWS").unwrap_or_default();
    let mut wrong = Vec::new();
    for case in cases().iter().filter(|case| case.name().contains(&only)) {
        let row = theatre.measure(case);
        let shown = row.shown();
        say(&shown);
        text.push(shown);
        for what in &row.wrong {
            say(&format!("    {what}"));
        }
        if !row.wrong.is_empty() {
            for said in row.said.iter().take(3) {
                say(&format!("    it said: {said}"));
            }
            wrong.push(format!("{}: {:#?}", case.name(), row.wrong));
        }
    }
    say(&format!("isolation: {} s", started.elapsed().as_secs()));
    if let Ok(file) = env::var("ISOLATION_TABLE") {
        fs::write(file, text.join("\n") + "\n").unwrap();
    }
    assert!(
        wrong.is_empty(),
        "{} rows are not as they must be:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn no_guest_costs_another_its_lines() {
    table(&env::var("LAB_RELEASE").unwrap_or_default());
}

#[test]
fn no_guest_costs_another_its_lines_on_debian_13() {
    table("trixie");
}
