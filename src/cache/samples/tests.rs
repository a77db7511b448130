//! Tests of the last samples on disk: which are believed, for how long, and by which boot.

use std::fs;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::cache::lines::tests::forged;
use crate::cache::{HypervisorFiles, Place, Surroundings};
use crate::sample::{Cpu, Disk, Nic, Vcpu};

const URI: &str = "test:///default";
const SECOND_NS: u64 = 1_000_000_000;
const NOW_NS: u64 = 100_000 * SECOND_NS;

fn folder() -> (TempDir, HypervisorFiles) {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::named(folder.path(), &Surroundings::of_process()).unwrap();
    (folder, HypervisorFiles::new(place, URI))
}

fn boot() -> Uuid {
    Uuid::from_u128(7)
}

fn domain(name: &str, number: u128, answered_at_ns: u64) -> Domain {
    Domain {
        id: 3,
        name: name.to_owned(),
        uuid: Uuid::from_u128(number),
        answered_at_ns,
        state: Some(1),
        cpu: Cpu { time_ns: Some(u64::MAX), ..Cpu::default() },
        vcpus: vec![Vcpu { index: 1, delay_ns: Some(5), ..Vcpu::default() }],
        nics: vec![Nic { index: 1, name: "vnet0".into(), rx_bytes: Some(1), ..Nic::default() }],
        disks: vec![Disk { index: 2, name: "vda".into(), rd_reqs: Some(0), ..Disk::default() }],
        ..Domain::default()
    }
}

fn by_uuid(domains: impl IntoIterator<Item = Domain>) -> HashMap<Uuid, Domain> {
    domains.into_iter().map(|domain| (domain.uuid, domain)).collect()
}

#[test]
fn a_second_run_finds_the_samples_of_the_first() {
    let (folder, files) = folder();
    assert_eq!(files.load_samples(boot(), NOW_NS), (HashMap::new(), None));
    let samples = [domain("web\n\"1\"", 2, NOW_NS), domain("db", 1, NOW_NS - 1)];
    let saved = files.save_samples(&samples, boot(), NOW_NS);
    assert_eq!(saved, Ok(Saved::Written { guests: 2, left_out: 0 }));
    assert_eq!(files.load_samples(boot(), NOW_NS + SECOND_NS), (by_uuid(samples), None));

    let name = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let name = name.into_iter().find(|path| path.extension().is_some_and(|end| end == "jsonl"));
    let text = fs::read_to_string(name.unwrap()).unwrap();
    let header = r#"{"telegraf-virt":"samples","version":1,"uri":"test:///default","boot":"00000000-0000-0000-0000-000000000007"}"#;
    assert_eq!(text.lines().next(), Some(header));
    assert_eq!(text.lines().count(), 4);
}

#[test]
fn samples_of_another_boot_or_older_than_an_hour_or_of_the_future_are_not_used() {
    let (_folder, files) = folder();
    let hour_ns = 3600 * SECOND_NS;
    let samples = [
        domain("hour", 1, NOW_NS - hour_ns),
        domain("old", 2, NOW_NS - hour_ns + 1),
        domain("now", 3, NOW_NS),
        domain("ahead", 4, NOW_NS + 2),
    ];
    files.save_samples(&samples, boot(), NOW_NS).unwrap();
    let [_, old, now, _] = samples;
    assert_eq!(files.load_samples(boot(), NOW_NS + 1), (by_uuid([old, now]), None));
    assert_eq!(files.load_samples(Uuid::from_u128(8), NOW_NS + 1), (HashMap::new(), None));
    assert_eq!(files.load_samples(boot(), 5), (HashMap::new(), None));
}

#[test]
fn samples_of_other_writers_stay_for_an_hour_and_the_newer_of_two_wins() {
    let (_folder, files) = folder();
    let (one, two) = (domain("one", 1, NOW_NS), domain("two", 2, NOW_NS - SECOND_NS));
    files.save_samples([&one, &two], boot(), NOW_NS).unwrap();
    let (older, three) = (domain("one", 1, NOW_NS - 9), domain("three", 3, NOW_NS + SECOND_NS));
    files.save_samples([&older, &three], boot(), NOW_NS + SECOND_NS).unwrap();
    let all = by_uuid([one, two, three.clone()]);
    assert_eq!(files.load_samples(boot(), NOW_NS + SECOND_NS), (all, None));

    let later = NOW_NS + 3600 * SECOND_NS + 1;
    let saved = files.save_samples([], boot(), later);
    assert_eq!(saved, Ok(Saved::Written { guests: 1, left_out: 0 }));
    assert_eq!(files.load_samples(boot(), later), (by_uuid([three]), None));
}

#[test]
fn a_boot_of_the_host_empties_the_file_at_the_first_save() {
    let (_folder, files) = folder();
    files.save_samples([&domain("before", 1, NOW_NS)], boot(), NOW_NS).unwrap();
    let after = domain("after", 2, 5);
    let next = Uuid::from_u128(8);
    files.save_samples([&after], next, 6).unwrap();
    assert_eq!(files.load_samples(next, 7), (by_uuid([after]), None));
    assert_eq!(files.load_samples(boot(), NOW_NS + 1), (HashMap::new(), None));
}

fn sealed(lines: &[Vec<u8>]) -> Vec<u8> {
    forged(&Header::new(HOLDS, URI, Some(boot())), lines)
}

#[test]
fn a_guest_that_stands_there_twice_makes_the_file_damaged() {
    let line = line_of(&domain("a", 1, 5)).unwrap();
    assert_eq!(
        domains(&sealed(&[line.clone(), line]), URI, boot(), NOW_NS),
        Err(Flaw::of_line(3, "a guest that was there before"))
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sealed_lines_make_it_panic(
        edits in prop::collection::vec((0..900_usize, 0..20_usize, prop::collection::vec(any::<u8>(), 0..10)), 0..4)
    ) {
        let mut bytes = line_of(&domain("a", 1, NOW_NS)).unwrap();
        for (at, cut, put) in edits {
            let start = at.min(bytes.len());
            let end = (start + cut).min(bytes.len());
            bytes.splice(start..end, put.into_iter().filter(|byte| *byte != b'\n'));
        }
        if let Ok(domains) = domains(&sealed(&[bytes]), URI, boot(), NOW_NS) {
            prop_assert!(domains.len() <= 1);
        }
    }
}
