//! One guest in trouble must cost no other guest a line, libvirt no worker that others need, and nobody time.
//! Prints a table: fault, and how the program runs; collections; lines of healthy guests expected and received;
//! guests in trouble and the lines that they had; what a collection takes in peace, the first in trouble, the
//! usual and the longest later one; the fewest free workers of libvirtd, for the time of a collection and at
//! any moment; the longest `virsh dominfo` of a healthy guest. Times are milliseconds.
//!
//! With ISOLATION=long each fault lasts its full time, and there are more of them. ISOLATION_ROWS=TEXT measures
//! only the rows whose names contain the text, or one of several with | between, ISOLATION_PART=K/N only every
//! Nth of these, from the Kth on. With ISOLATION_TABLE=FILE the table is written there as well, row by row.

use std::env;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::execd::Execd;
use crate::support::faults::{self, Fault, Trouble};
use crate::support::isolation::{Case, Row, Theatre, Way};
use crate::support::lab::Lab;
use crate::support::others::Others;
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
        AttachesFifo, Destroyed, HeldByHook, MigratesIn, MigratesOut, OffOnFifo, Silent, SlowNic,
        Unplug, VhostBesideFile, VhostDisk,
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
            AttachesFifo,
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

/// The rows that are asked for.
fn wanted() -> Vec<Case> {
    let only = env::var("ISOLATION_ROWS").unwrap_or_default();
    let (part, parts) = match env::var("ISOLATION_PART") {
        Ok(text) => {
            let (part, parts) = text.split_once('/').expect("ISOLATION_PART=K/N");
            (part.parse().unwrap(), parts.parse().unwrap())
        }
        Err(_) => (1, 1),
    };
    assert!((1..=parts).contains(&part), "ISOLATION_PART={part}/{parts}");
    let is_named = |case: &Case| only.split('|').any(|text| case.name().contains(text));
    let named = cases().into_iter().filter(is_named);
    named.skip(part - 1).step_by(parts).collect()
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
    let mut text = vec![lab.versions(), Row::head()];
    say(&text.join("\n"));
    let write = |text: &[String]| {
        if let Ok(file) = env::var("ISOLATION_TABLE") {
            fs::write(file, text.join("\n") + "\n").unwrap();
        }
    };
    let mut wrong = Vec::new();
    for case in &wanted() {
        if !case.troubles.iter().all(|it| it.can_be(&lab)) {
            text.push(format!("{:<60} this libvirt has no such thing", case.name()));
            say(&text[text.len() - 1]);
            write(&text);
            continue;
        }
        let row = theatre.measure(case);
        let shown = row.shown();
        say(&shown);
        text.push(shown);
        write(&text);
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

#[test]
fn nothing_grows_while_a_guest_is_locked_and_released_again_and_again() {
    let _turn = Turn::alone();
    let Some(lab) = Lab::require("isolation, growth") else { return };
    faults::install(&lab);
    let mut healthy = lab.fleet(6, 1, 2);
    let (collections, holds) = if is_long() { (1000, 20) } else { (100, 4) };
    let lasts = Duration::from_secs(holds);
    let mut fault = Fault::prepare(Trouble::HeldByHook, &lab, None, &mut healthy, lasts);
    let mut execd = Execd::start(&lab, &lab.scratch().join("cache"));
    let pid = execd.id();
    let count = |what: &str| fs::read_dir(format!("/proc/{pid}/{what}")).unwrap().count();
    let memory = || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<i64>().unwrap()
    };
    let others = Others::watch(&lab, healthy[0].clone());
    let mut held = Vec::new();
    let mut changed = Instant::now();
    let mut is_locked = false;
    for number in 0..collections {
        if changed.elapsed() > lasts {
            if is_locked {
                fault.release()
            } else {
                fault.begin()
            }
            (is_locked, changed) = (!is_locked, Instant::now());
        }
        let next = Instant::now() + Duration::from_millis(250);
        execd.collect();
        if number >= collections / 2 {
            held.push((count("fd"), count("task"), memory()));
        }
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    let seen = others.end();
    fault.end();
    let half = held.len() / 2;
    let most = |part: &[(usize, usize, i64)]| {
        let most = |figure: fn(&(usize, usize, i64)) -> i64| part.iter().map(figure).max().unwrap();
        [most(|it| it.0 as i64), most(|it| it.1 as i64), most(|it| it.2)]
    };
    let ([files, threads, kib], later) = (most(&held[..half]), most(&held[half..]));
    say(&format!(
        "isolation: at most {files} files, {threads} threads, {kib} KiB, later {later:?}; {} workers free",
        seen.free
    ));
    assert!(later[0] <= files + 2 && later[1] <= threads + 1 && later[2] < kib + 512, "{later:?}");
    // What is held is one call to start the guest, and one of ours.
    assert!(seen.free >= 17, "{} free workers", seen.free);
}
