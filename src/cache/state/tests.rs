//! Tests of what two runs or two writers leave in a state file: which lines are kept, for how long, and
//! which of them are used.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;
use tempfile::TempDir;

use super::merge::OTHERS_MAX;
use super::*;
use crate::cache::CacheEnv;
use crate::cache::lines::line_of;
use crate::cache::lines::{LINE_MAX, LINES_MAX};
use crate::collect::SavedBackoff;
use crate::devices::metadata::{Metadata, Path};
use crate::devices::{DiskDevice, DiskKind, NicDevice};
use crate::sample::{Completeness, Cpu, Disk, Nic, Vcpu};

const URI: &str = "qemu:///system";
const BOOT: Uuid = Uuid::from_u128(7);
const SECOND_NS: u64 = 1_000_000_000;
const HOUR_NS: u64 = 3600 * SECOND_NS;
const NOW_S: u64 = 1_700_000_000;
const NOW_NS: u64 = 100_000 * SECOND_NS;
const NOW: CacheTime = CacheTime { unix_s: NOW_S, boot: Some(BOOT), boot_ns: NOW_NS };
const TTL: Duration = Duration::from_secs(300);

struct TestFile {
    folder: TempDir,
    file: StateFile,
}

impl TestFile {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dir = CacheDir::named(folder.path(), &CacheEnv::of_process()).unwrap();
        Self { folder, file: StateFile::new(dir, URI) }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("state-qemu_system-3af60887.jsonl")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }

    /// The names in the lines of this kind.
    fn names(&self, kind: &str) -> Vec<String> {
        let of_line = |line: &str| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            Some(value.get(kind)?.get("name")?.as_str()?.to_owned())
        };
        self.text().lines().filter_map(of_line).collect()
    }

    /// Saves, and returns how many lines the file has then; `None` if there was nothing to be saved.
    fn save<'a>(
        &self,
        devices: &mut DeviceCache,
        samples: impl IntoIterator<Item = &'a Domain>,
        health: &[SavedHealth],
        now: &CacheTime,
        ttl: Duration,
    ) -> Result<Option<usize>, FileError> {
        let Some(write) = self.file.prepare(devices, samples, health, now, ttl) else {
            return Ok(None);
        };
        write.run()?;
        // All but the header and the closing line.
        Ok(Some(self.text().lines().count() - 2))
    }

    fn save_devices(
        &self,
        devices: &mut DeviceCache,
        unix_s: u64,
        ttl: Duration,
    ) -> Result<Option<usize>, FileError> {
        self.save(devices, [], &[], &CacheTime { unix_s, ..NOW }, ttl)
    }

    fn load_devices(&self) -> (DeviceCache, Option<CacheWarning>) {
        let (state, warning) = self.file.load(&NOW);
        (state.devices, warning)
    }

    fn save_samples(&self, samples: &[Domain], boot: Uuid, boot_ns: u64) -> Option<usize> {
        let now = CacheTime { boot: Some(boot), boot_ns, ..NOW };
        self.save(&mut DeviceCache::default(), samples, &[], &now, TTL).unwrap()
    }

    /// The samples that a load gives, without any warning.
    fn samples(&self, boot: Uuid, boot_ns: u64) -> HashMap<Uuid, Domain> {
        let (state, warning) = self.file.load(&CacheTime { boot: Some(boot), boot_ns, ..NOW });
        assert_eq!(warning, None);
        state.samples
    }
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

fn domain(name: &str, number: u128, answered_at_ns: u64) -> Domain {
    Domain {
        id: 3,
        name: name.to_owned(),
        uuid: uuid(number),
        answered_at_ns,
        state: Some(1),
        cpu: Cpu { time_ns: Some(u64::MAX), ..Cpu::default() },
        vcpus: vec![Vcpu { index: 1, delay_ns: Some(5), ..Vcpu::default() }],
        nics: vec![Nic { index: 1, name: "vnet0".into(), rx_bytes: Some(1), ..Nic::default() }],
        disks: vec![Disk { index: 2, name: "vda".into(), rd_reqs: Some(0), ..Disk::default() }],
        ..Domain::default()
    }
}

fn locked(name: &str, number: u128, at: u64) -> SavedHealth {
    let locked = SavedBackoff { since_ns: 1, asked_ns: 2, calls: 3, running: u64::MAX };
    SavedHealth {
        name: name.to_owned(),
        uuid: uuid(number),
        at,
        answer: Completeness::Locked,
        is_slow: false,
        interface_ns: None,
        starting_id: None,
        locked: Some(locked),
        is_beside_guests: false,
    }
}

fn by_uuid(domains: impl IntoIterator<Item = Domain>) -> HashMap<Uuid, Domain> {
    domains.into_iter().map(|domain| (domain.uuid, domain)).collect()
}

fn written(lines: usize) -> Result<Option<usize>, FileError> {
    Ok(Some(lines))
}

#[test]
fn a_person_can_read_the_file() {
    let file = TestFile::new();
    let mut devices = DeviceCache::default();
    devices.insert(uuid(2), "web \"1\"\n", inventory(7), NOW_S);
    let samples = [domain("web \"1\"\n", 2, NOW_NS)];
    let health = [locked("web \"1\"\n", 2, NOW_NS)];
    assert_eq!(file.save(&mut devices, &samples, &health, &NOW, TTL), written(3));
    let text = file.text();
    let lines: Vec<&str> = text.lines().collect();
    let uuid = "00000000-0000-0000-0000-000000000002";
    let starts = [
        r#"{"telegraf-virt":"state","version":2,"uri":"qemu:///system","boot":"00000000-0000-0000-0000-000000000007"}"#.to_owned(),
        format!(r#"{{"health":{{"name":"web \"1\"\n","uuid":"{uuid}","at":100000000000000,"answer":"Locked","#),
        format!(r#"{{"devices":{{"name":"web \"1\"\n","uuid":"{uuid}","read_at":1700000000,"inventory":{{"id":7,"nics":[{{"target":"vnet7","kind":"network","mac":"52:54:00:c0:38:67"}}],"disks":[{{"target":"vda","kind":"lun"}}]"#),
        format!(r#"{{"sample":{{"id":3,"name":"web \"1\"\n","uuid":"{uuid}","answered_at_ns":100000000000000,"answer":"Complete","state":1,"#),
        r#"{"lines":3,"checksum":""#.to_owned(),
    ];
    assert_eq!(lines.len(), starts.len(), "{text}");
    for (line, start) in lines.iter().zip(starts) {
        assert!(line.starts_with(&start), "{line}\n{start}");
    }
    // What libvirt did not send is left out.
    assert!(lines[3].contains(r#""rx_bytes":"#) && !lines[3].contains("rx_packets"), "{text}");
}

#[test]
fn a_second_run_starts_warm_and_leaves_the_file_as_it_is() {
    let file = TestFile::new();
    let (mut first, warning) = file.load_devices();
    assert_eq!((first.len(), warning), (0, None));
    for number in 0..50 {
        first.insert(uuid(number), &format!("g{number}"), inventory(number as i32), NOW_S);
    }
    assert_eq!(file.save_devices(&mut first, NOW_S, TTL), written(50));
    assert_eq!(file.save_devices(&mut first, NOW_S, TTL), Ok(None));
    let before = fs::metadata(file.path()).unwrap();

    let (mut second, warning) = file.load_devices();
    assert_eq!((second.len(), warning), (50, None));
    for number in 0..50 {
        let fresh = second.fresh(&uuid(number), number as i32, NOW_S + 60, TTL);
        assert_eq!(fresh, Some(&inventory(number as i32)));
    }
    assert_eq!(file.save_devices(&mut second, NOW_S + 60, TTL), Ok(None));
    let after = fs::metadata(file.path()).unwrap();
    assert_eq!((after.ino(), after.mtime(), after.mtime_nsec()), {
        (before.ino(), before.mtime(), before.mtime_nsec())
    });
}

#[test]
fn a_save_of_one_kind_keeps_the_lines_of_the_others() {
    let file = TestFile::new();
    let mut devices = DeviceCache::default();
    devices.insert(uuid(1), "web", inventory(1), NOW_S);
    file.save_devices(&mut devices, NOW_S, TTL).unwrap();
    assert_eq!(file.save_samples(&[domain("web", 1, NOW_NS)], BOOT, NOW_NS), Some(2));
    let health = [locked("web", 1, NOW_NS)];
    let none = &mut DeviceCache::default();
    assert_eq!(file.save(none, [], &health, &NOW, TTL), written(3));
    let (state, warning) = file.file.load(&NOW);
    assert_eq!(warning, None);
    assert_eq!(state.devices.known(&uuid(1)), Some(&inventory(1)));
    assert_eq!(state.samples, by_uuid([domain("web", 1, NOW_NS)]));
    assert_eq!(state.health, health);
}

#[test]
fn two_writers_keep_each_others_guests_and_the_newer_of_two_entries() {
    let file = TestFile::new();
    let (mut one, mut two) = (DeviceCache::default(), DeviceCache::default());
    one.insert(uuid(1), "both", inventory(1), NOW_S);
    one.insert(uuid(2), "one", inventory(1), NOW_S);
    two.insert(uuid(1), "both, renamed", inventory(2), NOW_S + 5);
    two.insert(uuid(3), "two", inventory(2), NOW_S);
    assert_eq!(file.save_devices(&mut two, NOW_S + 5, TTL), written(2));
    assert_eq!(file.save_devices(&mut one, NOW_S + 5, TTL), written(3));
    assert_eq!(file.names("devices"), ["both, renamed", "one", "two"]);
    let (loaded, warning) = file.load_devices();
    assert_eq!(warning, None);
    assert_eq!(loaded.fresh(&uuid(1), 2, NOW_S + 6, TTL), Some(&inventory(2)));
}

#[test]
fn what_another_writer_read_in_the_same_second_is_not_undone_by_what_was_loaded_before() {
    let file = TestFile::new();
    let mut cache = DeviceCache::default();
    cache.insert(uuid(1), "a", inventory(1), NOW_S);
    file.save_devices(&mut cache, NOW_S, TTL).unwrap();
    let (mut other, _) = file.load_devices();
    cache.insert(uuid(1), "a", inventory(2), NOW_S);
    file.save_devices(&mut cache, NOW_S, TTL).unwrap();
    other.insert(uuid(2), "b", inventory(1), NOW_S);
    assert_eq!(file.save_devices(&mut other, NOW_S, TTL), written(2));
    let (loaded, _) = file.load_devices();
    assert_eq!(loaded.fresh(&uuid(1), 2, NOW_S, TTL), Some(&inventory(2)));
}

#[test]
fn guests_gone_for_a_day_are_dropped_and_entries_of_a_wrong_clock_too() {
    let file = TestFile::new();
    let day = 24 * 60 * 60;
    let mut cache = DeviceCache::default();
    cache.insert(uuid(1), "gone", inventory(1), NOW_S);
    cache.insert(uuid(2), "future", inventory(1), NOW_S + 10 * day);
    let in_ten_days = NOW_S + 10 * day;
    assert_eq!(
        file.save_devices(&mut cache, in_ten_days, Duration::from_secs(day * 30)),
        written(2)
    );

    let (mut cache, _) = file.load_devices();
    cache.retain(|_| false);
    cache.insert(uuid(3), "here", inventory(1), NOW_S + day + 300);
    assert_eq!(file.save_devices(&mut cache, NOW_S + day + 300, TTL), written(2));
    assert_eq!(file.names("devices"), ["gone", "here"]);
    cache.insert(uuid(3), "here", inventory(1), NOW_S + day + 301);
    assert_eq!(file.save_devices(&mut cache, NOW_S + day + 301, TTL), written(1));
    assert_eq!(file.names("devices"), ["here"]);
}

#[test]
fn what_is_forgotten_in_memory_stays_in_the_file() {
    let file = TestFile::new();
    let mut cache = DeviceCache::default();
    cache.insert(uuid(1), "a", inventory(1), NOW_S);
    cache.insert(uuid(2), "b", inventory(1), NOW_S);
    file.save_devices(&mut cache, NOW_S, TTL).unwrap();
    cache.retain(|guest| *guest == uuid(2));
    assert_eq!((cache.len(), cache.is_changed()), (1, false));
    cache.insert(uuid(2), "b", inventory(2), NOW_S + 1);
    assert_eq!(file.save_devices(&mut cache, NOW_S + 1, TTL), written(2));
    assert_eq!(file.names("devices"), ["a", "b"]);
}

#[test]
fn samples_of_another_boot_or_older_than_an_hour_or_of_the_future_are_not_used() {
    let file = TestFile::new();
    let samples = [
        domain("hour", 1, NOW_NS - HOUR_NS),
        domain("old", 2, NOW_NS - HOUR_NS + 1),
        domain("now", 3, NOW_NS),
        domain("ahead", 4, NOW_NS + 2),
    ];
    file.save_samples(&samples, BOOT, NOW_NS);
    let [_, old, now, _] = samples;
    assert_eq!(file.samples(BOOT, NOW_NS + 1), by_uuid([old, now]));
    assert_eq!(file.samples(uuid(8), NOW_NS + 1), HashMap::new());
    assert_eq!(file.samples(BOOT, 5), HashMap::new());
}

#[test]
fn samples_of_other_writers_stay_for_an_hour_and_the_newer_of_two_wins() {
    let file = TestFile::new();
    let (one, two) = (domain("one", 1, NOW_NS), domain("two", 2, NOW_NS - SECOND_NS));
    file.save_samples(&[one.clone(), two.clone()], BOOT, NOW_NS);
    let (older, three) = (domain("one", 1, NOW_NS - 9), domain("three", 3, NOW_NS + SECOND_NS));
    file.save_samples(&[older, three.clone()], BOOT, NOW_NS + SECOND_NS);
    assert_eq!(file.samples(BOOT, NOW_NS + SECOND_NS), by_uuid([one, two, three]));

    let later = NOW_NS + 2 * HOUR_NS;
    let four = domain("four", 4, later);
    let saved = file.save_samples(std::slice::from_ref(&four), BOOT, later);
    assert_eq!(saved, Some(1));
    assert_eq!(file.samples(BOOT, later), by_uuid([four]));
}

#[test]
fn a_boot_of_the_host_drops_samples_and_health_at_the_first_save_and_keeps_the_devices() {
    let file = TestFile::new();
    let mut devices = DeviceCache::default();
    devices.insert(uuid(1), "before", inventory(1), NOW_S);
    let (samples, health) = ([domain("before", 1, NOW_NS)], [locked("before", 1, NOW_NS)]);
    file.save(&mut devices, &samples, &health, &NOW, TTL).unwrap();
    let (after, next) = (domain("after", 2, 5), uuid(8));
    let saved = file.save_samples(std::slice::from_ref(&after), next, 6);
    assert_eq!(saved, Some(2));
    assert_eq!(file.samples(next, 7), by_uuid([after]));
    assert_eq!(file.samples(BOOT, NOW_NS + 1), HashMap::new());
    assert_eq!(file.names("devices"), ["before"]);
}

#[test]
fn without_a_boot_of_the_host_only_devices_are_kept() {
    let file = TestFile::new();
    let mut devices = DeviceCache::default();
    devices.insert(uuid(1), "a", inventory(1), NOW_S);
    let nobody_knows = CacheTime { boot: None, ..NOW };
    let (samples, health) = ([domain("a", 1, NOW_NS)], [locked("a", 1, NOW_NS)]);
    let saved = file.save(&mut devices, &samples, &health, &nobody_knows, TTL);
    assert_eq!(saved, written(1));
    let (state, warning) = file.file.load(&nobody_knows);
    assert_eq!((state.devices.len(), warning), (1, None));
    assert!(state.samples.is_empty() && state.health.is_empty());
}

#[test]
fn the_next_run_knows_what_did_not_answer() {
    let file = TestFile::new();
    let save = |health: &[SavedHealth], boot_ns| {
        let now = CacheTime { boot_ns, ..NOW };
        file.save(&mut DeviceCache::default(), [], health, &now, TTL).unwrap();
    };
    let load = |boot, boot_ns| {
        let (mut state, warning) = file.file.load(&CacheTime { boot, boot_ns, ..NOW });
        assert_eq!(warning, None);
        state.health.sort_by_key(|guest| guest.uuid);
        state.health
    };
    // The nil UUID is that of the list.
    let both = [locked("", 0, NOW_NS), locked("web", 1, NOW_NS - 5)];
    save(&both, NOW_NS);
    assert_eq!(load(Some(BOOT), NOW_NS + 1), both);
    assert_eq!(load(Some(uuid(8)), NOW_NS + 1), []);
    assert_eq!(load(Some(BOOT), NOW_NS + HOUR_NS + 1), []);
    // A guest that is well again takes the place of what was known of it.
    let well = SavedHealth { uuid: uuid(1), at: NOW_NS + 2, ..Default::default() };
    save(std::slice::from_ref(&well), NOW_NS + 2);
    assert_eq!(load(Some(BOOT), NOW_NS + 3), [both[0].clone(), well]);
}

#[test]
fn a_file_that_cannot_be_used_is_reported_once_and_replaced_at_the_next_save() {
    let header = r#"{"telegraf-virt":"state","version":9,"uri":"qemu:///system","more":1}"#;
    let cases = [
        (
            b"garbage\n".to_vec(),
            "is damaged at line 1 (expected value at line 1 column 1): it is ignored, and the next \
             collection replaces it",
        ),
        (
            vec![0; 100],
            "is damaged at line 1 (it ends within a line): it is ignored, and the next collection \
             replaces it",
        ),
        (
            format!("{header}\nx\n").into_bytes(),
            "is from another version of this program (format 9): it is ignored, and the next \
             collection replaces it",
        ),
    ];
    for (bytes, text) in cases {
        let file = TestFile::new();
        fs::write(file.path(), bytes).unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o600)).unwrap();
        let (mut cache, warning) = file.load_devices();
        let told = warning.map(|warning| warning.to_string());
        assert_eq!(told, Some(format!("{} {text}", file.path().display())));
        assert_eq!(file.save_devices(&mut cache, NOW_S, TTL), written(0));
        let (cache, warning) = file.load_devices();
        assert_eq!((cache.len(), cache.is_changed(), warning), (0, false, None));
    }
}

#[test]
fn the_files_of_the_first_form_are_reported_once_and_removed_where_they_are_ours() {
    let file = TestFile::new();
    let path = |name: &str| file.folder.path().join(name);
    let names = ["devices", "samples"].map(|holds| format!("{holds}-qemu_system-3af60887.jsonl"));
    for name in &names {
        fs::write(path(name), r#"{"telegraf-virt":"devices","version":1}"#).unwrap();
        fs::write(path(&format!("{name}.lock")), "").unwrap();
    }
    // Another hypervisor's, and a folder with the name of one of ours.
    fs::write(path("devices-qemu_session-81f25c2a.jsonl"), "").unwrap();
    fs::create_dir(path("health-qemu_system-3af60887.jsonl")).unwrap();

    let (mut cache, warning) = file.load_devices();
    let text = "is from another version of this program (format 1): it is ignored, and the next collection replaces it";
    let told = warning.map(|warning| warning.to_string());
    assert_eq!(told, Some(format!("{} {text}", path(&names[0]).display())));
    assert_eq!(file.save_devices(&mut cache, NOW_S, TTL), written(0));
    let left = fs::read_dir(file.folder.path()).unwrap();
    let mut left: Vec<String> =
        left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(
        left,
        [
            "devices-qemu_session-81f25c2a.jsonl",
            "health-qemu_system-3af60887.jsonl",
            "state-qemu_system-3af60887.jsonl",
            "state-qemu_system-3af60887.jsonl.lock",
        ]
    );
    assert_eq!(file.load_devices().1, None);
}

#[test]
fn a_file_that_others_may_read_is_used_and_written_again() {
    let file = TestFile::new();
    let mut cache = DeviceCache::default();
    cache.insert(uuid(1), "a", inventory(1), NOW_S);
    file.save_devices(&mut cache, NOW_S, TTL).unwrap();
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644)).unwrap();
    let (mut cache, warning) = file.load_devices();
    assert_eq!((cache.len(), warning), (1, None));
    assert_eq!(file.save_devices(&mut cache, NOW_S, TTL), written(1));
    assert_eq!(fs::metadata(file.path()).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn what_is_not_ours_is_reported_and_left_alone() {
    let file = TestFile::new();
    fs::create_dir(file.path()).unwrap();
    let (mut cache, warning) = file.load_devices();
    let told = warning.map(|warning| warning.to_string());
    let is = "is a folder, not a plain file of this user";
    let path = file.path().display().to_string();
    assert_eq!(told, Some(format!("{path} {is}: it is neither read nor replaced; remove it")));
    assert_eq!(file.save_devices(&mut cache, NOW_S, TTL), Ok(None));
    cache.insert(uuid(1), "a", inventory(1), NOW_S);
    let write = file.file.prepare(&mut cache, [], &[], &NOW, TTL).unwrap();
    let unsaved = write.unsaved();
    assert_eq!(unsaved, [uuid(1)]);
    assert_eq!(write.run().unwrap_err().to_string(), format!("{path} {is}"));
    // Whoever could not write says so, and the next save has it again.
    cache.is_not_saved(&unsaved);
    let again = file.file.prepare(&mut cache, [], &[], &NOW, TTL).unwrap();
    assert_eq!(again.unsaved(), unsaved);
}

#[test]
fn a_file_that_is_still_the_one_that_was_loaded_is_not_read_again() {
    let file = TestFile::new();
    let prepared = |samples: &[Domain], health: &[SavedHealth]| {
        let now = CacheTime { boot_ns: NOW_NS + 9, ..NOW };
        file.file.prepare(&mut DeviceCache::default(), samples, health, &now, TTL).unwrap()
    };
    let loaded = || file.file.load(&NOW).0.file;
    let save = |samples: &[Domain], loaded| {
        prepared(samples, &[]).over(loaded).run().unwrap();
        file.names("sample")
    };
    let (first, later) = ([domain("a", 1, NOW_NS)], [domain("a", 1, NOW_NS + 5)]);
    assert_eq!(save(&first, None), ["a"]);
    // The same is written in both ways.
    let text = file.text();
    assert_eq!((save(&first, loaded()), file.text()), (vec!["a".to_owned()], text));

    let is_over =
        |samples: &[Domain], health: &[SavedHealth]| prepared(samples, health).over(loaded()).over;
    assert!(is_over(&later, &[]).is_some());
    // Two lines of one kind and guest are merged.
    let twice = [locked("a", 1, NOW_NS), locked("a", 1, NOW_NS + 1)];
    assert_eq!(is_over(&later, &twice), None);
    // What only the file has stays, and so does what another one wrote after the load.
    assert_eq!(save(&[domain("b", 2, NOW_NS)], loaded()), ["a", "b"]);
    assert_eq!(is_over(&later, &[]), None);
    assert_eq!(save(&later, loaded()), ["a", "b"]);
    let before = loaded();
    assert_eq!(save(&[domain("c", 3, NOW_NS)], None), ["a", "b", "c"]);
    assert_eq!(save(&[first, [domain("b", 2, NOW_NS)]].concat(), before), ["a", "b", "c"]);

    // Nobody looks into it: a line that is not replaced is gone. What is too old is left out all the same.
    let moment = || loaded().map(|file| file.moment);
    StateWrite { over: moment(), ..prepared(&later, &[]) }.run().unwrap();
    assert_eq!(file.names("sample"), ["a"]);
    let old = [later, [domain("b", 2, NOW_NS - ns(SINCE_BOOT_KEPT))]].concat();
    StateWrite { over: moment(), ..prepared(&old, &[]) }.run().unwrap();
    assert_eq!(file.names("sample"), ["a"]);
}

#[test]
fn the_folder_is_made_again_when_it_was_removed() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("cache");
    let dir = CacheDir::named(&path, &CacheEnv::of_process()).unwrap();
    fs::remove_dir(&path).unwrap();
    let mut cache = DeviceCache::default();
    cache.insert(uuid(1), "a", inventory(1), NOW_S);
    let write = StateFile::new(dir, URI).prepare(&mut cache, [], &[], &NOW, TTL);
    assert_eq!(write.unwrap().run(), Ok(()));
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o700);
}

/// A file with these lines, of which the form is right.
fn sealed_lines(lines: &[String]) -> Vec<u8> {
    sealed(&FileHeader::new(FileKind::State, URI, Some(BOOT)), lines.iter(), 0)
}

/// How many lines a load uses.
fn lines_in(bytes: &[u8]) -> Result<usize, Flaw> {
    let (SavedState { devices, samples, health, .. }, _) = loaded(bytes, URI, &NOW)?;
    Ok(devices.len() + samples.len() + health.len())
}

fn devices_line(inventory: &Inventory) -> String {
    let line = DevicesLine { name: "a", uuid: uuid(1), read_at: NOW_S, inventory };
    line_of(&GuestLine::<(), _, ()>::Devices(line)).unwrap()
}

fn sample_line(sample: &Domain) -> String {
    line_of(&own_sample(sample).2).unwrap()
}

#[test]
fn a_guest_that_is_there_twice_or_has_too_many_devices_makes_the_file_damaged() {
    let flaw = |lines: &[String]| lines_in(&sealed_lines(lines));
    let (devices, sample) = (devices_line(&inventory(1)), sample_line(&domain("a", 1, 5)));
    let health = line_of(&own_health(&locked("a", 1, NOW_NS)).2).unwrap();
    let one_of_each = [health, devices, sample_line(&domain("a", 1, NOW_NS))];
    assert_eq!(flaw(&one_of_each), Ok(3));
    let twice = Err(Flaw::of_line(5, "a guest that was there before"));
    for line in &one_of_each {
        assert_eq!(flaw(&[&one_of_each[..], std::slice::from_ref(line)].concat()), twice);
    }
    // Also one that is too old to be used.
    let twice = Err(Flaw::of_line(3, "a guest that was there before"));
    assert_eq!(flaw(&[sample.clone(), sample]), twice);
    let nics = vec![NicDevice::default(); DEVICES_MAX + 1];
    let many = devices_line(&Inventory { nics, ..Inventory::default() });
    assert_eq!(flaw(&[many]), Err(Flaw::of_line(2, "too many devices")));
    let nics = vec![Nic::default(); 4 * DEVICES_MAX + 1];
    let many = sample_line(&Domain { nics, ..domain("a", 1, 5) });
    assert_eq!(flaw(&[many]), Err(Flaw::of_line(2, "too many devices")));
}

fn edited(bytes: &[u8], edits: Vec<(usize, usize, Vec<u8>)>) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (at, cut, put) in edits {
        let start = at.min(bytes.len());
        let end = (start + cut).min(bytes.len());
        bytes.splice(start..end, put);
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_change_of_a_file_is_believed(
        edits in prop::collection::vec((0..2000_usize, 0..40_usize, prop::collection::vec(any::<u8>(), 0..20)), 1..4)
    ) {
        let complete = sealed_lines(&[devices_line(&inventory(1)), sample_line(&domain("a", 1, 5))]);
        let bytes = edited(&complete, edits);
        if bytes != complete {
            prop_assert!(lines_in(&bytes).is_err());
        }
    }

    #[test]
    fn no_sealed_line_makes_it_panic(
        edits in prop::collection::vec((0..900_usize, 0..20_usize, prop::collection::vec(any::<u8>(), 0..10)), 0..4)
    ) {
        for line in [devices_line(&inventory(1)), sample_line(&domain("a", 1, NOW_NS))] {
            let line = edited(line.as_bytes(), edits.clone());
            let line = String::from_utf8_lossy(&line).replace('\n', "");
            if let Ok(lines) = lines_in(&sealed_lines(&[line])) {
                prop_assert!(lines <= 1);
            }
        }
    }
}

#[test]
fn a_file_that_knows_no_metadata_is_read_and_one_has_it_only_where_it_was_looked_for() {
    let file = TestFile::new();
    let mut cache = DeviceCache::default();
    cache.insert(uuid(1), "before", inventory(1), NOW_S);
    let path = Path::parse("//a/@b").unwrap();
    let xml = "<domain><metadata><a b='c'/></metadata></domain>";
    let metadata = Metadata::read(xml, std::slice::from_ref(&path)).unwrap();
    let known = Inventory { metadata: Some(metadata), ..(*inventory(2)).clone() };
    cache.insert(uuid(2), "since", Arc::new(known), NOW_S);
    assert_eq!(file.save_devices(&mut cache, NOW_S, TTL), written(2));
    let text = file.text();
    let lines: Vec<&str> = text.lines().collect();
    assert!(!lines[1].contains("metadata"), "{}", lines[1]);
    assert!(lines[2].contains(r#""metadata":[["//a/@b","c"]]"#), "{}", lines[2]);

    let (cache, warning) = file.load_devices();
    assert_eq!(warning, None);
    let [before, since] = [1, 2].map(|number| cache.known(&uuid(number)).unwrap().clone());
    assert_eq!(before.metadata, None);
    assert_eq!(since.metadata.as_ref().unwrap().value(&path), Some("c"));
    // What was made without, or for another path, must be read again by who looks for one.
    let other = Path::parse("//a/@d").unwrap();
    assert!(before.has_metadata(&[]) && since.has_metadata(&[]));
    assert!(since.has_metadata(std::slice::from_ref(&path)));
    assert!(!before.has_metadata(&[path]) && !since.has_metadata(&[other]));
}

fn entry(name: &str, number: u128, at: u64) -> LineEntry<'static> {
    let sample = Domain { id: 1, ..domain(name, number, at) };
    let line = sample_line(&sample).into();
    let name = name.to_owned().into();
    LineEntry { kind: LineKind::Sample, name, uuid: uuid(number), at, first_hand: false, line }
}

const KEPT: Kept = Kept { devices: 100..=130, since_boot: 10..=30 };

fn names_of(entries: Vec<LineEntry<'_>>) -> Vec<String> {
    let mut names: Vec<String> = entries.into_iter().map(|entry| entry.name.into_owned()).collect();
    names.sort();
    names
}

#[test]
fn of_two_lines_of_a_guest_the_newer_stays_and_none_outside_the_times() {
    let ours = vec![entry("a", 1, 20), entry("b", 2, 20), entry("old", 4, 9), entry("new", 5, 31)];
    let devices = LineEntry { kind: LineKind::Devices, ..entry("devices of a", 1, 120) };
    let too_old = LineEntry { kind: LineKind::Devices, ..entry("devices of b", 2, 20) };
    let theirs = vec![
        entry("a, older", 1, 10),
        entry("renamed", 2, 21),
        entry("c", 3, 10),
        entry("gone", 6, 9),
        entry("future", 7, 31),
        devices,
        too_old,
    ];
    let names = names_of(merged(ours, theirs, &KEPT));
    assert_eq!(names, ["a", "c", "devices of a", "renamed"]);
}

#[test]
fn of_two_lines_of_one_time_the_one_known_first_hand_stays_else_the_one_in_the_file() {
    let stays = |first_hand, newer: u64| {
        let ours = LineEntry { first_hand, ..entry("ours", 1, 20) };
        let theirs = entry("theirs", 1, 20 + newer);
        names_of(merged(vec![ours], vec![theirs], &KEPT))
    };
    assert_eq!(stays(true, 0), ["ours"]);
    assert_eq!(stays(false, 0), ["theirs"]);
    assert_eq!(stays(true, 1), ["theirs"]);
}

#[test]
fn a_file_keeps_within_its_size_health_and_devices_before_the_newest_samples() {
    let long = |kind, number: u128, length| {
        let line = "x".repeat(length).into();
        LineEntry { kind, line, ..entry(&format!("{number:02}"), number, number as u64) }
    };
    let sample = |number| long(LineKind::Sample, number, 99);
    let many = vec![
        sample(5),
        sample(7),
        long(LineKind::Devices, 1, 99),
        sample(6),
        long(LineKind::Health, 3, 99),
    ];
    let names = |space| {
        let entries = fitting(many.clone(), space);
        entries.into_iter().map(|entry| entry.name.into_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(500), ["01", "03", "05", "06", "07"]);
    assert_eq!(names(499), ["01", "03", "06", "07"]);
    assert_eq!(names(300), ["01", "03", "07"]);
    assert_eq!(names(250), ["01", "03"]);
    assert_eq!(names(100), ["03"]);
    assert_eq!(names(0), [""; 0]);

    let too_long =
        vec![long(LineKind::Sample, 1, LINE_MAX + 1), long(LineKind::Sample, 2, LINE_MAX)];
    assert_eq!(names_of(fitting(too_long, usize::MAX)), ["02"]);

    let short = LineEntry { line: Cow::Borrowed("x"), ..entry("x", 0, 0) };
    let many: Vec<LineEntry> = (0..LINES_MAX as u64 + 1)
        .map(|at| LineEntry { at, uuid: uuid(at.into()), ..short.clone() })
        .collect();
    let fitting = fitting(many, usize::MAX);
    assert_eq!(fitting.len(), LINES_MAX);
    assert_eq!(fitting.iter().map(|entry| entry.at).min(), Some(1));
}

#[test]
fn a_line_that_ours_replaces_need_not_be_right_and_any_other_must() {
    let file_of = |entries: &[LineEntry<'_>]| {
        sealed_lines(
            &entries.iter().map(|entry| entry.line.clone().into_owned()).collect::<Vec<_>>(),
        )
    };
    let damaged = |name: &str, number, at| {
        let line = entry(name, number, at).line.replace(r#""nics":["#, r#""nics":["x","#).into();
        LineEntry { line, ..entry(name, number, at) }
    };
    let newer = [LineEntry { first_hand: true, ..entry("a", 1, 10) }];
    let read =
        |bytes: &[u8], ours: &[LineEntry<'_>]| entries(bytes, URI, Some(BOOT), ours).map(names_of);
    let bytes = file_of(&[damaged("a", 1, 10), entry("b", 2, 20)]);
    assert_eq!(read(&bytes, &newer), Ok(vec!["b".to_owned()]));
    assert!(read(&bytes, &[]).is_err());
    let bytes = file_of(&[damaged("a", 1, 11), entry("b", 2, 20)]);
    assert!(read(&bytes, &newer).is_err());
    // If ours is not first-hand, only the very same line need not be read.
    let same = [entry("a", 1, 10)];
    let bytes = file_of(&[entry("a", 1, 10), entry("b", 2, 20)]);
    assert_eq!(read(&bytes, &same), Ok(vec!["b".to_owned()]));
    let bytes = file_of(&[damaged("a", 1, 10), entry("b", 2, 20)]);
    assert!(read(&bytes, &same).is_err());
}

#[test]
fn of_guests_that_only_others_know_the_newest_stay() {
    let file = TestFile::new();
    let save = |numbers: &mut dyn Iterator<Item = u64>| {
        let sample = |number| domain("x", u128::from(number), NOW_NS - HOUR_NS / 2 + number);
        file.save_samples(&numbers.map(sample).collect::<Vec<Domain>>(), BOOT, NOW_NS)
    };
    let theirs = OTHERS_MAX as u64 + 100;
    save(&mut (0..theirs));
    // Of these 100, 50 are among the oldest of theirs, and stay since they are ours.
    let saved = save(&mut (0..50).chain(theirs..theirs + 50));
    assert_eq!(saved, Some(OTHERS_MAX + 100));
    let kept = file.samples(BOOT, NOW_NS);
    let is_kept = |number: u64| kept.contains_key(&uuid(number.into()));
    assert!((0..50).chain(100..theirs + 50).all(is_kept) && !(50..100).any(is_kept));
}
