//! What is not offered, and what is not answered, on recordings: zeros or nothing for the first, nothing and no sums for
//! the second, over several moments; and what `check` and the table say of it.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::lines::{Line, find};
use crate::support::process::run;
use crate::support::program::program;
use crate::support::recorded::{UUID, borrowed, disk, guest, nic, once, record, replay};

const DEVICES: &str = "<disk type='vhostuser' device='disk'><source type='unix' path='/tmp/v.sock'/>\
    <target dev='vda' bus='virtio'/></disk><disk type='file' device='disk'><source file='/x'/>\
    <target dev='vdb' bus='virtio'/></disk>\
    <interface type='bridge'><source bridge='br0'/><target dev='vnet0'/></interface>\
    <interface type='server'><source address='127.0.0.1' port='1'/><target dev='sv0'/></interface>";

/// A guest with a disk and a NIC that are counted, and one of each that never are.
fn mixed(place: u64, counted: Option<u64>) -> Value {
    let parts = [
        disk(0, "vda", None),
        disk(1, "vdb", counted),
        nic(0, "vnet0", counted),
        nic(1, "sv0", None),
    ];
    guest(place, &borrowed(&parts.concat()), DEVICES)
}

fn sums(lines: &[Line]) -> [Option<i64>; 2] {
    let totals = find(lines, UUID, "vm_totals", None).unwrap();
    ["net_rxbytes", "disk_rd_bytes"]
        .map(|field| totals.find_field(field).map(|_| totals.int(field)))
}

#[test]
fn what_is_never_offered_is_no_fault_and_sums_are_over_the_rest() {
    for (settings, printed) in [("", true), ("missing = \"omit\"\n", false)] {
        let moments = [mixed(0, Some(100)), mixed(1, Some(200))];
        for count in 1..=2 {
            let (lines, told) = once(&moments[..count], settings);
            assert_eq!(told, "");
            for (device, field) in [("vda", "rd_bytes"), ("sv0", "rxbytes")] {
                let line = find(&lines, UUID, "vm_devices", Some(device));
                let value = line.map(|line| line.int(field));
                assert_eq!(value, printed.then_some(0), "{device} {settings}");
            }
            let expected = [Some(100 * count as i64); 2];
            assert_eq!(sums(&lines), expected, "{settings}");
        }
    }
}

#[test]
fn what_had_a_value_in_this_boot_is_left_out_with_its_sums_until_it_is_back() {
    let pause: Vec<Value> =
        (0..6).map(|it| mixed(it, (!(2..5).contains(&it)).then_some(100 + it))).collect();
    for settings in
        ["features = [\"net\", \"disk\"]\n", "features = [\"net\", \"disk\"]\nmissing = \"omit\"\n"]
    {
        for count in 3..=5 {
            let (lines, told) = once(&pause[..count], settings);
            assert_eq!(sums(&lines), [None, None], "{count}");
            for device in ["vdb", "vnet0"] {
                assert_eq!(
                    find(&lines, UUID, "vm_devices", Some(device)),
                    None,
                    "{count} {device}"
                );
            }
            let features = find(&lines, UUID, "vm_features", None).unwrap();
            assert_eq!(features.find_field("net_rxbytes_rate"), None, "{features:?}");
            assert_eq!(features.find_field("disk_rd_bytes_rate"), None, "{features:?}");
            assert!(
                told.contains("no counters of its NIC vnet0") && told.contains("its disk vdb"),
                "{told}"
            );
            assert!(!told.contains("sv0") && !told.contains("vda"), "{told}");
        }
        let (lines, _) = once(&pause, settings);
        assert_eq!(sums(&lines), [Some(105), Some(105)]);
        let features = find(&lines, UUID, "vm_features", None).unwrap();
        assert_eq!(features.find_field("net_rxbytes_rate"), None, "no gain is known: {features:?}");
    }
}

#[test]
fn memory_and_cpu_figures_that_end_are_left_out_too() {
    let uint = |number: u64| json!({ "uint": number });
    let figures = [
        ("balloon.available", uint(1000)),
        ("balloon.usable", uint(500)),
        ("balloon.last-update", uint(1)),
    ];
    let without: Vec<(&str, Value)> =
        [("cpu.user", Value::Null), ("vcpu.current", Value::Null)].into_iter().collect();
    let moments = [
        guest(0, &figures, ""),
        guest(1, &without, ""),
        guest(2, &without, ""),
        guest(3, &figures, ""),
    ];
    let field = |lines: &[Line], field: &str| {
        find(lines, UUID, "vm_totals", None).unwrap().find_field(field).is_some()
    };
    for count in 2..=3 {
        let (lines, _) = once(&moments[..count], "");
        for name in ["memavailable", "memusable", "timeusr", "cpus"] {
            assert!(!field(&lines, name), "{name} {count}");
        }
        // These were never there.
        assert!(field(&lines, "memswap_in") && field(&lines, "memdisk_cache"));
    }
    let (lines, _) = once(&moments, "");
    for name in ["memavailable", "memusable", "timeusr", "cpus"] {
        assert!(field(&lines, name), "{name}");
    }
}

/// What check says of a guest, as `area/id` with the guests; and how it ended.
fn checked(guest: Value) -> (Vec<(String, Vec<String>)>, i32) {
    let scratch = TempDir::new().unwrap();
    let uri = record(scratch.path(), &[guest]);
    let mut command = program(scratch.path());
    command.env("PATH", "/nonexistent").args(["check", "--json", "--no-cache", "--uri", &uri]);
    let finished = run(&mut command);
    let json: Value = serde_json::from_str(&finished.stdout).unwrap();
    let findings = json["findings"].as_array().unwrap().iter();
    let of_guests = findings.filter(|it| it["area"] == "guests" && it["verdict"] != "good");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let shown = of_guests
        .map(|it| (text(&it["id"]), it["guests"].as_array().unwrap().iter().map(text).collect()));
    (shown.collect(), finished.status.code().unwrap())
}

#[test]
fn check_notes_what_is_not_offered_and_loses_nothing_by_it() {
    let (findings, status) = checked(mixed(0, Some(100)));
    let uncounted: Vec<_> = findings.iter().filter(|(id, _)| id == "uncounted").collect();
    let names: Vec<&String> = uncounted.iter().flat_map(|(_, names)| names).collect();
    assert_eq!(names, ["sv0 of spdk", "vda of spdk"], "{findings:?}");
    assert_eq!(status, 0, "{findings:?}");

    let uint = |number: u64| json!({ "uint": number });
    let old = [("balloon.available", uint(94_780)), ("balloon.last-update", uint(1_700_000_000))];
    let (findings, status) = checked(guest(0, &old, ""));
    assert!(findings.contains(&("no-usable".to_owned(), vec!["spdk".to_owned()])), "{findings:?}");
    assert_eq!(status, 0, "{findings:?}");

    let stopped = [("state.state", json!({ "int": 3 })), ("state.reason", json!({ "int": 5 }))];
    let (findings, status) = checked(guest(0, &stopped, ""));
    assert!(
        findings.contains(&("stopped-by-disk".to_owned(), vec!["spdk".to_owned()])),
        "{findings:?}"
    );
    assert_eq!(status, 0, "{findings:?}");
}

#[test]
fn the_table_marks_a_guest_that_a_disk_stopped_and_shows_no_zero_for_what_is_not_known() {
    let stopped = [("state.state", json!({ "int": 3 })), ("state.reason", json!({ "int": 5 }))];
    let scratch = TempDir::new().unwrap();
    let uri = record(scratch.path(), &[guest(0, &stopped, ""), guest(1, &stopped, "")]);
    let text = replay(scratch.path(), &uri, &["once", "--format", "table"], "").success().stdout;
    assert!(text.contains("paused(ioerror)"), "{text}");

    let row = |counted: [Option<u64>; 2]| {
        let moments = [mixed(0, counted[0]), mixed(1, counted[1])];
        let uri = record(scratch.path(), &moments);
        let text =
            replay(scratch.path(), &uri, &["once", "--format", "table"], "").success().stdout;
        let line = text.lines().find(|line| line.starts_with("spdk")).unwrap();
        line.split_whitespace().rev().take(6).map(str::to_owned).collect::<Vec<_>>()
    };
    // RX, TX, READ, WRITE and both kinds of requests.
    assert!(row([Some(100), Some(200)]).iter().all(|it| it != "-"));
    for counted in [[Some(100), None], [None, Some(100)], [None, None]] {
        assert_eq!(row(counted), ["-"; 6], "{counted:?}");
    }
}
