//! Any bytes in the place of a cache file give all that it says or a trouble, never a part of it; a
//! file that was cut or changed is found out; and the next save replaces what was wrong.
//!
//! The input is a file of the kind that its first line names. It is read as it stands, and then again
//! with a right header and a right seal around its lines, since no mutation finds those by itself.
#![no_main]

use std::collections::HashMap;
use std::env;
use std::fs;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use serde::Deserialize;
use telegraf_virt::cache::{DeviceCache, HypervisorFiles, Place, Saved, Surroundings, Trouble};
use telegraf_virt::devices::Inventory;
use telegraf_virt::devices::walk::DEVICES_MAX;
use telegraf_virt::sample::Domain;
use uuid::Uuid;

const URI: &str = "qemu:///system";
const BOOT: Uuid = Uuid::from_u128(7);
const TTL: Duration = Duration::from_secs(300);
/// A guest of our own, which no input has by chance.
const OURS: Uuid = Uuid::from_u128(0x1f0e_3dad_9990_8345_f743_9f8f_fabd_ffc4);

/// A folder for this process alone, and the two files in it.
static FILES: LazyLock<Files> = LazyLock::new(|| {
    let folder = env::temp_dir().join(format!("telegraf-virt-fuzz-{}", process::id()));
    let _ = fs::remove_dir_all(&folder);
    let place = Place::named(&folder, &Surroundings::of_process()).expect("a folder");
    let path = |kind| folder.join(format!("{kind}-qemu_system-3af60887.jsonl"));
    let (devices, samples) = (path("devices"), path("samples"));
    Files { files: HypervisorFiles::new(place, URI), devices, samples }
});

struct Files {
    files: HypervisorFiles,
    devices: PathBuf,
    samples: PathBuf,
}

fuzz_target!(|bytes: &[u8]| {
    let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if first.windows(9).any(|word| word == b"\"samples\"") {
        run(&Samples::of(bytes), bytes);
    } else {
        run(&Devices::of(bytes), bytes);
    }
});

/// A kind of cache file: how it is read and written, and what its lines mean.
trait Kind {
    type Entry: PartialEq + std::fmt::Debug;

    fn path(&self) -> &PathBuf;
    fn header(&self) -> String;
    /// A line's guest and what the file says of it; `None` for what no line of ours is.
    fn entry(&self, line: &[u8]) -> Option<(Uuid, Self::Entry)>;
    /// Whether a load, and a save, keeps this entry.
    fn is_loaded(&self, entry: &Self::Entry) -> bool;
    fn is_saved(&self, entry: &Self::Entry) -> bool;
    /// Asserts that a load gives these entries and so many in all; gives the trouble.
    fn load(
        &self,
        expected: &HashMap<Uuid, Self::Entry>,
        count: RangeInclusive<usize>,
    ) -> Option<Trouble>;
    /// Saves a guest.
    fn save(&self, uuid: Uuid, entry: &Self::Entry) -> Saved;
    /// A guest as we know it.
    fn ours(&self) -> Self::Entry;
}

fn run<K: Kind>(kind: &K, bytes: &[u8]) {
    let lines = inner_lines(bytes);
    put(kind, bytes);
    let first = String::from_utf8_lossy(bytes.split(|byte| *byte == b'\n').next().unwrap_or(b""));
    if sealed(&kind.header(), &lines) == bytes {
        assert_all_or_trouble(kind, Some(&lines));
    } else if sealed(&first, &lines) == bytes {
        // Of another version, hypervisor or boot: the last of these is no trouble.
        kind.load(&HashMap::new(), 0..=0);
    } else {
        assert_all_or_trouble(kind, None);
    }

    let forged = sealed(&kind.header(), &lines);
    put(kind, &forged);
    let entries = assert_all_or_trouble(kind, Some(&lines));

    // Whatever stands there, one of our own is saved, and what was wrong is gone.
    kind.save(OURS, &kind.ours());
    // Of a file that gave a trouble, right lines may stay.
    let most = if entries.is_some() { 0 } else { lines.len() };
    let mut expected = entries.unwrap_or_default();
    expected.retain(|_, entry| kind.is_saved(entry));
    expected.insert(OURS, kind.ours());
    let count = expected.len()..=expected.len() + most;
    assert_eq!(kind.load(&expected, count), None, "after a save");

    // A file that we wrote, cut and changed.
    let written = fs::read(kind.path()).expect("the file that was saved");
    let mut dice = checksum(bytes);
    for way in 0..4 {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = (dice >> 33) as usize % written.len();
        let mut damaged = written.clone();
        match way {
            0 => damaged.truncate(at),
            1 => damaged[at] ^= 1 << (dice & 7),
            2 => damaged[at] = damaged[at].wrapping_add(1 + (dice % 255) as u8),
            _ => drop(damaged.drain(at / 2..=at)),
        }
        put(kind, &damaged);
        let trouble = kind.load(&HashMap::new(), 0..=0);
        assert!(trouble.is_some(), "believed: {:?}", String::from_utf8_lossy(&damaged));
    }
}

fn put<K: Kind>(kind: &K, bytes: &[u8]) {
    fs::write(kind.path(), bytes).expect("writing the file");
}

/// Loads a file whose seal is right around these lines, or wrong where there are none, and asserts
/// that it gives every entry or, where one line is wrong, a trouble and nothing.
fn assert_all_or_trouble<K: Kind>(
    kind: &K,
    lines: Option<&[&[u8]]>,
) -> Option<HashMap<Uuid, K::Entry>> {
    let entries = lines.and_then(|lines| {
        let mut entries = HashMap::new();
        for line in lines {
            let (uuid, entry) = kind.entry(line)?;
            if entries.insert(uuid, entry).is_some() {
                return None;
            }
        }
        Some(entries)
    });
    let Some(mut entries) = entries else {
        let trouble = kind.load(&HashMap::new(), 0..=0);
        let trouble = trouble.expect("what is no file of ours is a trouble").to_string();
        assert!(trouble.starts_with(&*kind.path().to_string_lossy()), "{trouble}");
        return None;
    };
    let (loaded, others): (Vec<_>, Vec<_>) =
        entries.drain().partition(|(_, entry)| kind.is_loaded(entry));
    let loaded = HashMap::from_iter(loaded);
    assert_eq!(
        kind.load(&loaded, loaded.len()..=loaded.len()),
        None,
        "what is a file of ours is no trouble"
    );
    Some(loaded.into_iter().chain(others).collect())
}

/// The file's lines without a header and a closing line, where it has them.
fn inner_lines(bytes: &[u8]) -> Vec<&[u8]> {
    let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    if lines.first().is_some_and(|line| line.starts_with(b"{\"telegraf-virt\"")) {
        lines.remove(0);
    }
    if lines.last().is_some_and(|line| line.is_empty()) {
        lines.pop();
    }
    if lines.last().is_some_and(|line| line.starts_with(b"{\"guests\"")) {
        lines.pop();
    }
    lines
}

/// A whole file of these lines.
fn sealed(header: &str, lines: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("{header}\n").into_bytes();
    for line in lines {
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
    }
    let (guests, checksum) = (lines.len(), checksum(&bytes));
    bytes
        .extend(format!("{{\"guests\":{guests},\"checksum\":\"{checksum:016x}\"}}\n").into_bytes());
    bytes
}

/// The checksum of the files' form, written once more: it must never change.
fn checksum(bytes: &[u8]) -> u64 {
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    let mixed = |hash: u64, word: &[u8]| {
        let mut group = [0; 8];
        group[..word.len()].copy_from_slice(word);
        (hash ^ u64::from_le_bytes(group)).wrapping_mul(MULTIPLIER).rotate_left(29)
    };
    let (words, rest) = bytes.as_chunks::<8>();
    let start = (bytes.len() as u64 + 1).wrapping_mul(MULTIPLIER);
    let hash = words.iter().fold(start, |hash, word| mixed(hash, word));
    let hash = mixed(hash, rest);
    let hash = (hash ^ (hash >> 32)).wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 29)
}

/// The device cache. Its clock stands at the first guest's time.
struct Devices {
    now_unix_s: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DevicesLine {
    name: String,
    uuid: Uuid,
    read_at: u64,
    devices: Inventory,
}

#[derive(Debug, PartialEq)]
struct Known {
    name: String,
    read_at: u64,
    inventory: Arc<Inventory>,
}

impl Devices {
    fn of(bytes: &[u8]) -> Self {
        let mut lines = inner_lines(bytes).into_iter();
        let first = lines.find_map(|line| serde_json::from_slice::<DevicesLine>(line).ok());
        Self { now_unix_s: first.map_or(1_700_000_000, |line| line.read_at) }
    }
}

impl Kind for Devices {
    type Entry = Known;

    fn path(&self) -> &PathBuf {
        &FILES.devices
    }

    fn header(&self) -> String {
        format!(r#"{{"telegraf-virt":"devices","version":1,"uri":"{URI}"}}"#)
    }

    fn entry(&self, line: &[u8]) -> Option<(Uuid, Known)> {
        let DevicesLine { name, uuid, read_at, devices } = serde_json::from_slice(line).ok()?;
        let known = devices.nics.len() + devices.disks.len() <= DEVICES_MAX;
        known.then(|| (uuid, Known { name, read_at, inventory: Arc::new(devices) }))
    }

    fn is_loaded(&self, _: &Known) -> bool {
        true
    }

    fn is_saved(&self, entry: &Known) -> bool {
        let oldest = self.now_unix_s.saturating_sub(TTL.as_secs() + 24 * 3600);
        (oldest..=self.now_unix_s.saturating_add(60)).contains(&entry.read_at)
    }

    fn load(
        &self,
        expected: &HashMap<Uuid, Known>,
        count: RangeInclusive<usize>,
    ) -> Option<Trouble> {
        let (cache, trouble) = FILES.files.load_devices();
        assert!(count.contains(&cache.len()), "{} of {count:?}, {trouble:?}", cache.len());
        for (uuid, known) in expected {
            let (id, read_at) = (known.inventory.id, known.read_at);
            assert_eq!(cache.fresh(uuid, id, read_at, TTL), Some(&known.inventory));
            assert_eq!(cache.fresh(uuid, id.wrapping_add(1), read_at, TTL), None, "a new boot");
            let stale = read_at.checked_add(TTL.as_secs()).or(read_at.checked_sub(1));
            assert_eq!(stale.and_then(|at| cache.fresh(uuid, id, at, TTL)), None, "another time");
        }
        trouble
    }

    fn save(&self, uuid: Uuid, known: &Known) -> Saved {
        let mut cache = DeviceCache::default();
        cache.insert(uuid, &known.name, known.inventory.clone(), known.read_at);
        let saved = FILES.files.save_devices(&mut cache, self.now_unix_s, TTL);
        saved.expect("a save")
    }

    fn ours(&self) -> Known {
        let (name, read_at) = ("ours\n\"\u{0}".to_owned(), self.now_unix_s);
        Known { name, read_at, inventory: Arc::new(Inventory { id: 3, ..Inventory::default() }) }
    }
}

/// The last samples. Their clock stands at the first guest's time.
struct Samples {
    now_ns: u64,
}

/// What a line of a sample must say, whatever else it leaves out.
#[derive(Deserialize)]
#[expect(dead_code, reason = "only whether they are there")]
struct Identity {
    id: i32,
    name: String,
    uuid: Uuid,
    answered_at_ns: u64,
}

impl Samples {
    fn of(bytes: &[u8]) -> Self {
        let mut lines = inner_lines(bytes).into_iter();
        let first = lines.find_map(|line| serde_json::from_slice::<Domain>(line).ok());
        Self { now_ns: first.map_or(1_000_000_000_000, |domain| domain.answered_at_ns) }
    }

    fn oldest_ns(&self) -> u64 {
        self.now_ns.saturating_sub(3_600_000_000_000)
    }
}

impl Kind for Samples {
    type Entry = Domain;

    fn path(&self) -> &PathBuf {
        &FILES.samples
    }

    fn header(&self) -> String {
        format!(r#"{{"telegraf-virt":"samples","version":1,"uri":"{URI}","boot":"{BOOT}"}}"#)
    }

    fn entry(&self, line: &[u8]) -> Option<(Uuid, Domain)> {
        let _: Identity = serde_json::from_slice(line).ok()?;
        let domain: Domain = serde_json::from_slice(line).ok()?;
        let known = domain.nics.len() + domain.disks.len() <= 4 * DEVICES_MAX;
        known.then_some((domain.uuid, domain))
    }

    fn is_loaded(&self, entry: &Domain) -> bool {
        (self.oldest_ns()..=self.now_ns).contains(&entry.answered_at_ns)
    }

    fn is_saved(&self, entry: &Domain) -> bool {
        // What lies a moment ahead is kept in the file, but not loaded yet.
        self.is_loaded(entry)
    }

    fn load(
        &self,
        expected: &HashMap<Uuid, Domain>,
        count: RangeInclusive<usize>,
    ) -> Option<Trouble> {
        let (samples, trouble) = FILES.files.load_samples(BOOT, self.now_ns);
        assert!(count.contains(&samples.len()), "{} of {count:?}, {trouble:?}", samples.len());
        for (uuid, domain) in expected {
            assert_eq!(samples.get(uuid), Some(domain));
        }
        let (samples, _) = FILES.files.load_samples(OURS, self.now_ns);
        assert!(samples.is_empty(), "of another boot: {samples:?}");
        trouble
    }

    fn save(&self, _: Uuid, domain: &Domain) -> Saved {
        let saved = FILES.files.save_samples([domain], BOOT, self.now_ns);
        saved.expect("a save")
    }

    fn ours(&self) -> Domain {
        let (name, answered_at_ns) = ("ours\n\"\u{0}".to_owned(), self.now_ns);
        Domain { uuid: OURS, id: 3, name, answered_at_ns, ..Domain::default() }
    }
}
