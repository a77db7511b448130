//! The cache between runs of `once`: what it saves, and when a device list is renewed.

use crate::support::lab::Lab;
use crate::support::lines::{Line, read};
use crate::support::program::{once, readings};
use crate::support::wait_until;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The lines of the device lists in the one state file of a cache folder.
fn device_lists(cache: &Path) -> Vec<String> {
    let paths = fs::read_dir(cache).unwrap().map(|entry| entry.unwrap().path());
    let is_state = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("state-") && name.ends_with(".jsonl")
    };
    let files: Vec<PathBuf> = paths.filter(is_state).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let text = fs::read_to_string(&files[0]).unwrap();
    text.lines().filter(|line| line.starts_with("{\"devices\"")).map(str::to_owned).collect()
}

fn with_features(lines: &[Line]) -> usize {
    lines.iter().filter(|line| line.measurement == "vm_features").count()
}

#[test]
fn the_second_run_of_once_has_features_and_neither_asks_for_xml_nor_changes_the_device_lists() {
    let Some(lab) = Lab::require("cache, second run") else { return };
    let mut uuids = lab.fleet(3, 1, 2);
    uuids.sort();
    let cache = lab.scratch().join("cache");

    let first = once(&lab, &cache, &[]);
    assert_eq!(with_features(&read(&first.stdout)), 0);
    assert_eq!(readings(&first.stderr), uuids);
    let written = device_lists(&cache);
    assert_eq!(written.len(), uuids.len(), "{written:?}");
    for uuid in &uuids {
        assert!(written.iter().any(|line| line.contains(uuid)), "{uuid} is not in {written:?}");
    }

    let second = once(&lab, &cache, &[]);
    assert_eq!(with_features(&read(&second.stdout)), 3);
    assert_eq!(readings(&second.stderr), Vec::<String>::new());
    assert_eq!(device_lists(&cache), written);
}

#[test]
fn without_a_cache_there_are_never_features_and_every_run_asks_for_the_xml() {
    let Some(lab) = Lab::require("cache, without") else { return };
    let uuid = lab.paused("alone", 1, 1);
    for _ in 0..2 {
        let mut command = crate::support::program::program(lab.scratch());
        command.args(["once", "--no-cache", "--log-level", "debug", "--uri", &lab.uri()]);
        let finished = crate::support::process::run(&mut command).success();
        assert_eq!(read(&finished.stdout).len(), 4);
        assert_eq!(with_features(&read(&finished.stdout)), 0);
        assert_eq!(readings(&finished.stderr), [uuid.as_str()]);
    }
}

#[test]
fn after_the_ttl_the_xml_is_asked_for_again() {
    let Some(lab) = Lab::require("cache, TTL") else { return };
    let mut uuids = lab.fleet(3, 1, 1);
    uuids.sort();
    let cache = lab.scratch().join("cache");
    let configuration = lab.scratch().join("ttl.toml");
    fs::write(&configuration, "[cache]\nttl = \"1s\"\n").unwrap();
    let options = ["--config", configuration.to_str().unwrap()];

    once(&lab, &cache, &options);
    let written = device_lists(&cache);
    // Expiry is spread, so not all need come in one run.
    let mut again: Vec<String> = Vec::new();
    wait_until("each guest's XML is asked for again", Duration::from_secs(10), || {
        let finished = once(&lab, &cache, &options);
        again.extend(readings(&finished.stderr));
        uuids.iter().all(|uuid| again.contains(uuid)).then_some(())
    });
    assert_ne!(device_lists(&cache), written, "not written again");
}

#[test]
fn a_guest_that_was_started_anew_is_asked_for_its_xml_again_and_has_no_features_at_first() {
    let Some(lab) = Lab::require("cache, new VMID") else { return };
    let same = lab.paused("same", 1, 1);
    let anew = lab.paused("anew", 1, 1);
    let cache = lab.scratch().join("cache");
    once(&lab, &cache, &[]);

    let xml = lab.scratch().join("anew.xml");
    fs::write(&xml, lab.virsh(&["dumpxml", "--inactive", &anew])).unwrap();
    let id = lab.virsh(&["domid", &anew]);
    lab.virsh(&["destroy", &anew]);
    lab.virsh(&["create", "--paused", xml.to_str().unwrap()]);
    assert_ne!(lab.virsh(&["domid", &anew]), id);

    let finished = once(&lab, &cache, &[]);
    assert_eq!(readings(&finished.stderr), [anew.as_str()]);
    let lines = read(&finished.stdout);
    let features: Vec<&str> = lines
        .iter()
        .filter(|line| line.measurement == "vm_features")
        .map(|line| line.tag("uuid"))
        .collect();
    assert_eq!(features, [same.as_str()]);
}
