//! Tests of the device cache: how long an inventory is fresh, and what two runs or two writers leave
//! in the file.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::cache::lines::tests::forged;
use crate::cache::{HypervisorFiles, Place, Surroundings};
use crate::devices::metadata::{Metadata, Path};
use crate::devices::{DiskDevice, DiskKind, NicDevice};

const URI: &str = "qemu:///system";
const NOW: u64 = 1_700_000_000;
const TTL: Duration = Duration::from_secs(300);

fn folder() -> (TempDir, HypervisorFiles) {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::named(folder.path(), &Surroundings::of_process()).unwrap();
    (folder, HypervisorFiles::new(place, URI))
}

fn file(folder: &TempDir) -> PathBuf {
    folder.path().join("devices-qemu_system-3af60887.jsonl")
}

fn uuid(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn inventory(id: i32) -> Arc<Inventory> {
    let nic = NicDevice {
        target: Some(format!("vnet{id}")),
        kind: "network".into(),
        mac: Some("52:54:00:c0:38:67".into()),
        ..NicDevice::default()
    };
    let disk = DiskDevice { target: "vda".into(), kind: DiskKind::Lun, ..DiskDevice::default() };
    Arc::new(Inventory { id, nics: vec![nic], disks: vec![disk], ..Inventory::default() })
}

fn written(guests: usize) -> Result<Saved, FileError> {
    Ok(Saved::Written { guests, left_out: 0 })
}

fn names(folder: &TempDir) -> Vec<String> {
    let text = fs::read_to_string(file(folder)).unwrap();
    let of_line = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        Some(value.get("name")?.as_str()?.to_owned())
    };
    text.lines().filter_map(of_line).collect()
}

#[test]
fn a_person_can_read_the_file() {
    let (folder, files) = folder();
    let mut cache = DeviceCache::default();
    cache.insert(uuid(2), "web \"1\"\n", inventory(7), NOW);
    assert_eq!(files.save_devices(&mut cache, NOW, TTL), written(1));
    let text = fs::read_to_string(file(&folder)).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], r#"{"telegraf-virt":"devices","version":1,"uri":"qemu:///system"}"#);
    assert!(
        lines[1].starts_with(
            r#"{"name":"web \"1\"\n","uuid":"00000000-0000-0000-0000-000000000002","read_at":1700000000,"devices":{"id":7,"nics":[{"target":"vnet7","kind":"network","mac":"52:54:00:c0:38:67"}],"disks":[{"target":"vda","kind":"lun"}]"#
        ),
        "{}",
        lines[1]
    );
    assert!(lines[2].starts_with(r#"{"guests":1,"checksum":""#), "{}", lines[2]);
    assert_eq!(lines.len(), 3);
}

#[test]
fn a_second_run_starts_warm_and_leaves_the_file_as_it_is() {
    let (folder, files) = folder();
    let (mut first, trouble) = files.load_devices();
    assert_eq!((first.len(), trouble), (0, None));
    for number in 0..50 {
        first.insert(uuid(number), &format!("g{number}"), inventory(number as i32), NOW);
    }
    assert_eq!(files.save_devices(&mut first, NOW, TTL), written(50));
    assert_eq!(files.save_devices(&mut first, NOW, TTL), Ok(Saved::Unchanged));
    let before = fs::metadata(file(&folder)).unwrap();

    let (mut second, trouble) = files.load_devices();
    assert_eq!((second.len(), trouble), (50, None));
    for number in 0..50 {
        let fresh = second.fresh(&uuid(number), number as i32, NOW + 60, TTL);
        assert_eq!(fresh, Some(&inventory(number as i32)));
    }
    assert_eq!(files.save_devices(&mut second, NOW + 60, TTL), Ok(Saved::Unchanged));
    let after = fs::metadata(file(&folder)).unwrap();
    assert_eq!((after.ino(), after.mtime(), after.mtime_nsec()), {
        (before.ino(), before.mtime(), before.mtime_nsec())
    });
}

#[test]
fn an_entry_is_fresh_for_its_own_boot_until_its_part_of_the_ttl_has_passed() {
    let mut cache = DeviceCache::default();
    cache.insert(uuid(1), "a", inventory(7), NOW);
    let fresh = |id, now, ttl| cache.fresh(&uuid(1), id, now, ttl).is_some();
    assert!(fresh(7, NOW, TTL));
    assert!(fresh(7, NOW + 149, TTL));
    assert!(!fresh(7, NOW + 300, TTL));
    assert!(!fresh(8, NOW, TTL), "another boot of the guest");
    assert!(!fresh(7, NOW - 1, TTL), "the clock stepped back");
    assert!(!fresh(7, NOW, Duration::ZERO));
    assert!(fresh(7, u64::MAX / 4, Duration::MAX));
    assert_eq!(cache.fresh(&uuid(2), 7, NOW, TTL), None);
}

#[test]
fn guests_that_were_read_together_expire_one_after_another() {
    let mut cache = DeviceCache::default();
    for number in 0..500 {
        cache.insert(uuid(number), "g", inventory(1), NOW);
    }
    let fresh_at =
        |age| (0..500).filter(|n| cache.fresh(&uuid(*n), 1, NOW + age, TTL).is_some()).count();
    let (mut before, mut most) = (500, 0);
    assert_eq!(fresh_at(149), 500);
    for age in (150..=310).step_by(10) {
        let now = fresh_at(age);
        most = most.max(before - now);
        before = now;
    }
    assert_eq!(fresh_at(300), 0);
    // 500 guests over 15 collections make 33 each.
    assert!(most <= 60, "{most} expired in one collection");
}

#[test]
fn two_writers_keep_each_others_guests_and_the_newer_of_two_entries() {
    let (folder, files) = folder();
    let (mut one, mut two) = (DeviceCache::default(), DeviceCache::default());
    one.insert(uuid(1), "both", inventory(1), NOW);
    one.insert(uuid(2), "one", inventory(1), NOW);
    two.insert(uuid(1), "both, renamed", inventory(2), NOW + 5);
    two.insert(uuid(3), "two", inventory(2), NOW);
    assert_eq!(files.save_devices(&mut two, NOW + 5, TTL), written(2));
    assert_eq!(files.save_devices(&mut one, NOW + 5, TTL), written(3));
    assert_eq!(names(&folder), ["both, renamed", "one", "two"]);
    let (loaded, trouble) = files.load_devices();
    assert_eq!(trouble, None);
    assert_eq!(loaded.fresh(&uuid(1), 2, NOW + 6, TTL), Some(&inventory(2)));
}

#[test]
fn what_another_writer_read_in_the_same_second_is_not_undone_by_what_was_loaded_before() {
    let (_folder, files) = folder();
    let mut cache = DeviceCache::default();
    cache.insert(uuid(1), "a", inventory(1), NOW);
    files.save_devices(&mut cache, NOW, TTL).unwrap();
    let (mut other, _) = files.load_devices();
    cache.insert(uuid(1), "a", inventory(2), NOW);
    files.save_devices(&mut cache, NOW, TTL).unwrap();
    other.insert(uuid(2), "b", inventory(1), NOW);
    assert_eq!(files.save_devices(&mut other, NOW, TTL), written(2));
    let (loaded, _) = files.load_devices();
    assert_eq!(loaded.fresh(&uuid(1), 2, NOW, TTL), Some(&inventory(2)));
}

#[test]
fn guests_gone_for_a_day_are_dropped_and_entries_of_a_wrong_clock_too() {
    let (folder, files) = folder();
    let day = 24 * 60 * 60;
    let mut cache = DeviceCache::default();
    cache.insert(uuid(1), "gone", inventory(1), NOW);
    cache.insert(uuid(2), "future", inventory(1), NOW + 10 * day);
    assert_eq!(
        files.save_devices(&mut cache, NOW + 10 * day, Duration::from_secs(day * 30)),
        written(2)
    );

    let (mut cache, _) = files.load_devices();
    cache.retain(|_| false);
    cache.insert(uuid(3), "here", inventory(1), NOW + day + 300);
    assert_eq!(files.save_devices(&mut cache, NOW + day + 300, TTL), written(2));
    assert_eq!(names(&folder), ["gone", "here"]);
    cache.insert(uuid(3), "here", inventory(1), NOW + day + 301);
    assert_eq!(files.save_devices(&mut cache, NOW + day + 301, TTL), written(1));
    assert_eq!(names(&folder), ["here"]);
}

#[test]
fn what_is_forgotten_in_memory_stays_in_the_file() {
    let (folder, files) = folder();
    let mut cache = DeviceCache::default();
    cache.insert(uuid(1), "a", inventory(1), NOW);
    cache.insert(uuid(2), "b", inventory(1), NOW);
    files.save_devices(&mut cache, NOW, TTL).unwrap();
    cache.retain(|guest| *guest == uuid(2));
    assert_eq!((cache.len(), cache.is_changed()), (1, false));
    cache.insert(uuid(2), "b", inventory(2), NOW + 1);
    assert_eq!(files.save_devices(&mut cache, NOW + 1, TTL), written(2));
    assert_eq!(names(&folder), ["a", "b"]);
}

#[test]
fn a_file_that_cannot_be_used_is_told_once_and_replaced_at_the_next_save() {
    let header = r#"{"telegraf-virt":"devices","version":9,"uri":"qemu:///system","more":1}"#;
    let path = |folder: &TempDir| file(folder).display().to_string();
    let cases = [
        (
            b"garbage\n".to_vec(),
            "is damaged at line 1 (expected value at line 1 column 1): it is not used, and the next collection writes it anew",
        ),
        (
            vec![0; 100],
            "is damaged at line 1 (it ends within a line): it is not used, and the next collection writes it anew",
        ),
        (
            format!("{header}\nx\n").into_bytes(),
            "is of another version of this program (form 9): it is not used, and the next collection writes it anew",
        ),
    ];
    for (bytes, text) in cases {
        let (folder, files) = folder();
        fs::write(file(&folder), bytes).unwrap();
        fs::set_permissions(file(&folder), fs::Permissions::from_mode(0o600)).unwrap();
        let (mut cache, trouble) = files.load_devices();
        let told = trouble.map(|trouble| trouble.to_string());
        assert_eq!(told, Some(format!("{} {text}", path(&folder))));
        assert_eq!(files.save_devices(&mut cache, NOW, TTL), written(0));
        let (cache, trouble) = files.load_devices();
        assert_eq!((cache.len(), cache.is_changed(), trouble), (0, false, None));
    }
}

#[test]
fn a_file_that_others_may_read_is_used_and_written_anew() {
    let (folder, files) = folder();
    let mut cache = DeviceCache::default();
    cache.insert(uuid(1), "a", inventory(1), NOW);
    files.save_devices(&mut cache, NOW, TTL).unwrap();
    fs::set_permissions(file(&folder), fs::Permissions::from_mode(0o644)).unwrap();
    let (mut cache, trouble) = files.load_devices();
    assert_eq!((cache.len(), trouble), (1, None));
    assert_eq!(files.save_devices(&mut cache, NOW, TTL), written(1));
    assert_eq!(fs::metadata(file(&folder)).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn what_is_not_ours_is_told_and_left_alone() {
    let (folder, files) = folder();
    fs::create_dir(file(&folder)).unwrap();
    let (mut cache, trouble) = files.load_devices();
    let told = trouble.map(|trouble| trouble.to_string());
    let is = "is a folder, not a plain file of ours";
    let path = file(&folder).display().to_string();
    assert_eq!(told, Some(format!("{path} {is}: it is neither read nor replaced, so remove it")));
    assert_eq!(files.save_devices(&mut cache, NOW, TTL), Ok(Saved::Unchanged));
    cache.insert(uuid(1), "a", inventory(1), NOW);
    let error = files.save_devices(&mut cache, NOW, TTL).unwrap_err();
    assert_eq!(error.to_string(), format!("{path} {is}"));
    assert!(cache.is_changed(), "a later save may succeed");
}

#[test]
fn the_folder_is_made_again_when_it_was_removed() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("cache");
    let place = Place::named(&path, &Surroundings::of_process()).unwrap();
    fs::remove_dir(&path).unwrap();
    let mut cache = DeviceCache::default();
    cache.insert(uuid(1), "a", inventory(1), NOW);
    let files = HypervisorFiles::new(place, URI);
    assert_eq!(files.save_devices(&mut cache, NOW, TTL), written(1));
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o700);
}

fn whole_file() -> Vec<u8> {
    let (folder, files) = folder();
    let mut cache = DeviceCache::default();
    for number in 0..3 {
        cache.insert(uuid(number), &format!("g{number}"), inventory(number as i32), NOW);
    }
    files.save_devices(&mut cache, NOW, TTL).unwrap();
    fs::read(file(&folder)).unwrap()
}

#[test]
fn a_guest_that_stands_there_twice_or_has_too_many_devices_makes_the_file_damaged() {
    let header = Header::new(HOLDS, URI, None);
    let line = |inventory: &Inventory| {
        let line = Line { name: "a", uuid: uuid(1), read_at: NOW, devices: inventory };
        line_of(&line).unwrap()
    };
    let flaw = |lines: &[Vec<u8>]| guests(&forged(&header, lines), URI).map(|guests| guests.len());
    let few = line(&inventory(1));
    assert_eq!(flaw(std::slice::from_ref(&few)), Ok(1));
    assert_eq!(flaw(&[few.clone(), few]), Err(Flaw::of_line(3, "a guest that was there before")));
    let nics = vec![NicDevice::default(); DEVICES_MAX + 1];
    let many = Inventory { nics, ..Inventory::default() };
    assert_eq!(flaw(&[line(&many)]), Err(Flaw::of_line(2, "too many devices")));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_change_of_a_file_is_believed(
        edits in prop::collection::vec((0..2000_usize, 0..40_usize, prop::collection::vec(any::<u8>(), 0..20)), 1..4)
    ) {
        let whole = whole_file();
        let mut bytes = whole.clone();
        for (at, cut, put) in edits {
            let start = at.min(bytes.len());
            let end = (start + cut).min(bytes.len());
            bytes.splice(start..end, put);
        }
        if bytes != whole {
            prop_assert!(guests(&bytes, URI).is_err());
        }
    }

    #[test]
    fn no_sealed_lines_make_it_panic(
        edits in prop::collection::vec((0..300_usize, 0..20_usize, prop::collection::vec(any::<u8>(), 0..10)), 0..4)
    ) {
        let line = Line { name: "a", uuid: uuid(1), read_at: NOW, devices: &inventory(1) };
        let mut bytes = line_of(&line).unwrap();
        for (at, cut, put) in edits {
            let start = at.min(bytes.len());
            let end = (start + cut).min(bytes.len());
            bytes.splice(start..end, put.into_iter().filter(|byte| *byte != b'\n'));
        }
        if let Ok(guests) = guests(&forged(&Header::new(HOLDS, URI, None), &[bytes]), URI) {
            prop_assert_eq!(guests.len(), 1);
        }
    }
}

#[test]
fn a_file_that_knows_no_metadata_is_read_and_one_has_it_only_where_it_was_looked_for() {
    let (folder, files) = folder();
    let mut cache = DeviceCache::default();
    cache.insert(uuid(1), "before", inventory(1), NOW);
    let path = Path::parse("//a/@b").unwrap();
    let xml = "<domain><metadata><a b='c'/></metadata></domain>";
    let metadata = Metadata::read(xml, std::slice::from_ref(&path)).unwrap();
    let known = Inventory { metadata: Some(metadata), ..(*inventory(2)).clone() };
    cache.insert(uuid(2), "since", Arc::new(known), NOW);
    assert_eq!(files.save_devices(&mut cache, NOW, TTL), written(2));
    let text = fs::read_to_string(file(&folder)).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(!lines[1].contains("metadata"), "{}", lines[1]);
    assert!(lines[2].contains(r#""metadata":[["//a/@b","c"]]"#), "{}", lines[2]);

    let (cache, trouble) = files.load_devices();
    assert_eq!(trouble, None);
    let [before, since] = [1, 2].map(|number| cache.known(&uuid(number)).unwrap().clone());
    assert_eq!(before.metadata, None);
    assert_eq!(since.metadata.as_ref().unwrap().value(&path), Some("c"));
    // What was made without, or for another path, must be read again by who looks for one.
    let other = Path::parse("//a/@d").unwrap();
    assert!(before.has_metadata(&[]) && since.has_metadata(&[]));
    assert!(since.has_metadata(std::slice::from_ref(&path)));
    assert!(!before.has_metadata(&[path]) && !since.has_metadata(&[other]));
}
