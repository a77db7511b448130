//! CPU time and virtual CPUs, which are asked apart from the bulk statistics where the guests have control groups:
//! the same numbers, and no QEMU is asked for them.

use std::process::Command;

use crate::support::calls::Calls;
use crate::support::execd::Execd;
use crate::support::lab::{Lab, Stats};
use crate::support::lines::{find, read};
use crate::support::process::{Finished, run};
use crate::support::program::program;
use crate::support::say;

/// The groups state, balloon, interface and block; with cpu and vcpu.
const FOUR: &str = "0x35";
const SIX: &str = "0x3f";

/// The program's fields beside libvirt's statistics.
const FIELDS: [(&str, &str, &str); 6] = [
    ("vm_metrics", "cputime_ns", "cpu.time"),
    ("vm_metrics", "cpu_count", "vcpu.current"),
    ("vm_totals", "cputime", "cpu.time"),
    ("vm_totals", "timeusr", "cpu.user"),
    ("vm_totals", "timesys", "cpu.system"),
    ("vm_totals", "cpus", "vcpu.current"),
];

/// What one run prints of CPU, by guest, and what it asked: the groups of each bulk call, and the guests that were
/// asked apart.
fn once(lab: &Lab, settings: &str) -> (String, Vec<String>, Vec<String>) {
    let file = lab.scratch().join("settings.toml");
    std::fs::write(&file, settings).unwrap();
    let mut command = program(lab.scratch());
    command.args(["once", "--no-cache", "--uri", &lab.uri(), "--config"]).arg(file);
    let calls = Calls::of(&mut command, lab.scratch());
    let output = run(&mut command).success().stdout;
    let mut groups = calls.arguments("virDomainListGetStats", "stats");
    groups.dedup();
    (output, groups, calls.guests("virDomainGetCPUStats"))
}

fn printed(output: &str, uuid: &str, (measurement, field, _): (&str, &str, &str)) -> i64 {
    find(&read(output), uuid, measurement, None).unwrap().int(field)
}

/// What virsh says of the call for a guest's CPU time.
fn cpu_stats(lab: &Lab, guest: &str) -> Finished {
    let uri = lab.write_uri();
    run(Command::new("virsh").args(["-q", "-c", &uri, "cpu-stats", "--total", guest]))
}

/// Whether libvirt finds the guests' control groups; said aloud where it does not.
fn has_groups(lab: &Lab, guest: &str) -> bool {
    let asked = cpu_stats(lab, guest);
    if !asked.status.success() {
        say(&format!("SKIP cpu time: no control groups here: {}", asked.stderr.trim()));
    }
    asked.status.success()
}

#[test]
fn cpu_time_comes_from_the_control_groups_and_equals_the_bulk_statistics() {
    let Some(lab) = Lab::require_with_groups("cpu time") else { return };
    let guests = lab.fleet(5, 1, 1);
    let resized = two_of_four(&lab);
    let all: Vec<&String> = guests.iter().chain([&resized]).collect();
    if !has_groups(&lab, &guests[0]) {
        return;
    }

    // QEMU uses time whenever it is asked, so that a number is between two readings of virsh.
    let stats = || -> Vec<Stats> { all.iter().map(|uuid| lab.stats(uuid)).collect() };
    let before = stats();
    let (output, groups, apart) = once(&lab, "");
    let after = stats();
    assert_eq!((groups, apart.len()), (vec![FOUR.to_owned()], 6), "{apart:?}");
    for ((uuid, before), after) in all.iter().zip(&before).zip(&after) {
        for field in FIELDS {
            let number = printed(&output, uuid, field);
            let range = before.number(field.2)..=after.number(field.2);
            assert!(range.contains(&number), "{uuid} {field:?}: {number} {range:?}");
        }
    }
    assert_eq!(printed(&output, &resized, FIELDS[1]), 2);
    lab.virsh(&["setvcpus", &resized, "3", "--live"]);
    assert_eq!(printed(&once(&lab, "").0, &resized, FIELDS[1]), 3);

    // The time of one that is stopped stands still, so that both are equal to the digit.
    let stopped = &guests[2];
    lab.signal_qemu("-STOP", stopped);
    let (output, groups, apart) = once(&lab, "");
    let virsh = lab.virsh(&["domstats", "--nowait", "--raw", "--cpu-total", "--vcpu", stopped]);
    let number = |key: &str| -> i64 {
        let line = virsh.lines().find_map(|line| line.trim().strip_prefix(&format!("{key}=")));
        line.unwrap_or_else(|| panic!("{key}: {virsh}")).parse().unwrap()
    };
    for field in FIELDS {
        assert_eq!(printed(&output, stopped, field), number(field.2), "{field:?}");
    }
    lab.signal_qemu("-CONT", stopped);
    assert_eq!(groups, [FOUR]);
    assert!(apart.len() >= 6, "{apart:?}");

    // Whoever prints more of these groups has all of it in bulk.
    for settings in
        ["features = [\"cpu\"]", "extra = [\"cpu-waits\"]", "extra = [\"other\", \"cpu-cache\"]"]
    {
        let (_, groups, apart) = once(&lab, settings);
        assert_eq!((groups, apart), (vec![SIX.to_owned()], vec![]), "{settings}");
    }
    say(&format!(
        "cpu time: of {}, {} values equal virsh's without a QEMU being asked for them",
        lab.versions(),
        all.len() * FIELDS.len() + FIELDS.len()
    ));
}

/// A guest with 2 of 4 virtual CPUs, which can be plugged.
fn two_of_four(lab: &Lab) -> String {
    let uuid = "7d2f0a34-5f0e-4a45-9c1b-2f2f6a9b0001";
    let file = lab.scratch().join("resized.xml");
    let xml = format!(
        "<domain type='qemu'><name>resized</name><uuid>{uuid}</uuid><memory unit='MiB'>16</memory>\
         <vcpu current='2'>4</vcpu><os><type arch='x86_64' machine='pc'>hvm</type></os><devices>\
         <memballoon model='virtio'/></devices></domain>"
    );
    std::fs::write(&file, xml).unwrap();
    lab.virsh(&["create", "--paused", file.to_str().unwrap()]);
    uuid.to_owned()
}

#[test]
fn guests_without_control_groups_are_tried_once_and_asked_in_bulk() {
    let Some(lab) = Lab::require_without_groups("cpu time, no groups") else { return };
    let guests = lab.fleet(3, 1, 1);
    let (output, groups, tried) = once(&lab, "");
    if cpu_stats(&lab, &guests[0]).status.success() {
        say("cpu time, no groups: this libvirt needs none for it");
        assert_eq!((groups, tried.len()), (vec![FOUR.to_owned()], 3));
        return;
    }
    assert_eq!((groups, tried.len()), (vec![SIX.to_owned()], 1));
    for uuid in &guests {
        assert!(printed(&output, uuid, FIELDS[0]) > 0);
    }
    let mut command = program(lab.scratch());
    command.args(["--no-cache", "--uri", &lab.uri()]);
    let calls = Calls::of(&mut command, lab.scratch());
    let mut execd = Execd::of(&mut command);
    for _ in 0..4 {
        execd.collect();
    }
    drop(execd);
    assert_eq!(calls.guests("virDomainGetCPUStats").len(), 1);
    assert_eq!(calls.arguments("virDomainListGetStats", "stats").len(), 4);
}
