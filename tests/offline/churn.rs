//! A hypervisor that has other guests each time, or invents them: memory stays flat.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::support::libvirtd::{FakeGuest, Host, Libvirtd, Reply};
use crate::support::program::program;

/// Collections, and guests in each of which a tenth are new: CHURN="1000 16000" for the long run.
fn size() -> (usize, u32) {
    let Ok(size) = std::env::var("CHURN") else { return (24, 1000) };
    let (collections, guests) = size.split_once(' ').unwrap();
    (collections.parse().unwrap(), guests.parse().unwrap())
}

#[test]
fn memory_is_flat_while_a_tenth_of_the_guests_are_new_each_time() {
    let (collections, guests) = size();
    let scratch = tempfile::tempdir().unwrap();
    // What the host has changes between collections, not during one: that is another test's business.
    let now = Arc::new(Mutex::new(Arc::new(Host::with(0))));
    let hosts = {
        let now = Arc::clone(&now);
        move |_| Arc::clone(&now.lock().unwrap())
    };
    let settings = scratch.path().join("settings.toml");
    std::fs::write(&settings, "extra = [\"collector\"]\n").unwrap();
    let fake = Libvirtd::changing(scratch.path(), hosts, |_| Reply::Changed(Box::new(|_| {})));
    let mut child = program(scratch.path())
        .args(["execd", "--deadline", "60s", "--log-level", "error", "--uri", &fake.uri()])
        .arg("--config")
        .arg(settings)
        .arg("--cache-dir")
        .arg(scratch.path().join("cache"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let resident_kib = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let mut seen = Vec::new();
    for number in 0..collections {
        let first = number as u32 * (guests / 10);
        let present = (first..first + guests).map(FakeGuest::number).collect();
        *now.lock().unwrap() = Arc::new(Host { guests: present, ..Host::with(0) });
        let began = Instant::now();
        stdin.write_all(b"\n").unwrap();
        let mut read = 0;
        // The last line of a collection tells of it.
        loop {
            let line = lines.next().unwrap().unwrap();
            if line.starts_with("vm_collector,") {
                break;
            }
            read += u32::from(line.starts_with("vm_totals,"));
        }
        // A busy machine may not read them all by the deadline.
        assert!(read > 0, "none of {guests} guests");
        seen.push(resident_kib());
        if std::env::var_os("CHURN").is_some() {
            let (count, kib) = (seen.len(), seen.last().unwrap());
            eprintln!("{count} {kib} KiB {read} guests {:?}", began.elapsed());
        }
    }
    drop((stdin, lines));
    child.wait().unwrap();
    // The first half fills what is kept; after that nothing grows by more than a quarter.
    let (early, late) = seen.split_at(seen.len() / 2);
    let (early, late) = (early.iter().max().unwrap(), late.iter().max().unwrap());
    assert!(*late < early + early / 4, "{seen:?}");
}
