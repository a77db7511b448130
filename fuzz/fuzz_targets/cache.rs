//! Any bytes in the place of a state file give all that it says or a warning, never a part of it; a file that
//! was cut or changed is found out; and the next save replaces what was wrong.
//!
//! The input is read as it is, and then again with a right header and a right checksum around its lines,
//! since no mutation finds those by itself.
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
use telegraf_virt::cache::{
    CacheDir, CacheEnv, CacheTime, CacheWarning, DeviceCache, SavedState, StateFile,
};
use telegraf_virt::collect::SavedHealth;
use telegraf_virt::devices::Inventory;
use telegraf_virt::devices::walk::DEVICES_MAX;
use telegraf_virt::sample::Domain;
use telegraf_virt_fuzz::state_file::{checksum, inner_lines, sealed};
use uuid::Uuid;

const URI: &str = "qemu:///system";
const BOOT: Uuid = Uuid::from_u128(7);
const TTL: Duration = Duration::from_secs(300);
const HOUR_NS: u64 = 3_600_000_000_000;
/// A guest of our own, which no input has by chance.
const OURS: Uuid = Uuid::from_u128(0x1f0e_3dad_9990_8345_f743_9f8f_fabd_ffc4);

/// A file in a folder for this process alone.
static FILE: LazyLock<StateFile> = LazyLock::new(|| {
    let folder = env::temp_dir().join(format!("telegraf-virt-fuzz-{}", process::id()));
    let _ = fs::remove_dir_all(&folder);
    let folder = CacheDir::named(&folder, &CacheEnv::of_process()).expect("a folder");
    StateFile::new(folder, URI)
});

static PATH: LazyLock<PathBuf> = LazyLock::new(|| FILE.path());

fuzz_target!(|bytes: &[u8]| {
    let lines = inner_lines(bytes);
    let clock = Clock::of(&lines);
    put(bytes);
    let first = String::from_utf8_lossy(bytes.split(|byte| *byte == b'\n').next().unwrap_or(b""));
    if sealed(&header(), &lines) == bytes {
        assert_all_or_warning(&clock, Some(&lines));
    } else if sealed(&first, &lines) == bytes {
        // Of another version, hypervisor or boot: of the last the devices are still used.
        let (state, warning) = FILE.load(&clock.now());
        assert!(warning.is_none() || state.devices.is_empty());
        assert!(state.samples.is_empty() && state.health.is_empty());
    } else {
        assert_all_or_warning(&clock, None);
    }

    put(&sealed(&header(), &lines));
    let entries = assert_all_or_warning(&clock, Some(&lines));
    let (of_another_boot, _) = FILE.load(&CacheTime { boot: Some(OURS), ..clock.now() });
    assert!(of_another_boot.samples.is_empty() && of_another_boot.health.is_empty());

    // Whatever is there, one of our own is saved, and what was wrong is gone.
    clock.save_ours();
    // Of a file that gave a warning, right lines may stay.
    let most = if entries.is_some() { 0 } else { lines.len() };
    let mut expected = entries.unwrap_or_default();
    expected.retain(|_, entry| clock.is_saved(entry));
    expected.extend(clock.ours());
    let count = expected.len()..=expected.len() + most;
    assert_eq!(clock.load(&expected, count), None, "after a save");

    // A file that we wrote, cut and changed.
    let written = fs::read(&*PATH).expect("the file that was saved");
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
        put(&damaged);
        let warning = clock.load(&HashMap::new(), 0..=0);
        assert!(warning.is_some(), "believed: {:?}", String::from_utf8_lossy(&damaged));
    }
});

fn put(bytes: &[u8]) {
    fs::write(&*PATH, bytes).expect("writing the file");
}

fn header() -> String {
    format!(r#"{{"telegraf-virt":"state","version":2,"uri":"{URI}","boot":"{BOOT}"}}"#)
}

/// Loads a file of which the form is right around these lines, or wrong where there are none, and asserts
/// that it gives every entry or, where one line is wrong, a warning and nothing.
fn assert_all_or_warning(
    clock: &Clock,
    lines: Option<&[&[u8]]>,
) -> Option<HashMap<(Uuid, u8), Entry>> {
    let entries = lines.and_then(|lines| {
        let mut entries = HashMap::new();
        for line in lines {
            let entry = Entry::of(line)?;
            if entries.insert(entry.key(), entry).is_some() {
                return None;
            }
        }
        Some(entries)
    });
    let Some(entries) = entries else {
        let warning = clock.load(&HashMap::new(), 0..=0);
        let warning = warning.expect("what is no file of ours is reported").to_string();
        assert!(warning.starts_with(&*PATH.to_string_lossy()), "{warning}");
        return None;
    };
    let loaded: HashMap<(Uuid, u8), Entry> = entries
        .iter()
        .filter(|(_, entry)| clock.is_loaded(entry))
        .map(|(k, e)| (*k, e.clone()))
        .collect();
    let count = loaded.len()..=loaded.len();
    assert_eq!(clock.load(&loaded, count), None, "a file of ours is no trouble");
    Some(entries)
}

/// A line of a guest.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Entry {
    Devices(DevicesLine),
    Sample(Domain),
    Health(SavedHealth),
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct DevicesLine {
    name: String,
    uuid: Uuid,
    read_at: u64,
    inventory: Inventory,
}

/// What each line must say, whatever else it omits. A sample may omit nearly everything, and health its name.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "only whether they are there")]
enum Identity {
    Devices(serde::de::IgnoredAny),
    Sample { id: i32, name: String, uuid: Uuid, answered_at_ns: u64 },
    Health(serde::de::IgnoredAny),
}

impl Entry {
    /// What a line says; `None` for what is no line of ours.
    fn of(line: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(line).ok()?;
        let _: Identity = serde_json::from_str(line).ok()?;
        let entry: Self = serde_json::from_str(line).ok()?;
        let is_bounded = match &entry {
            Self::Devices(line) => {
                line.inventory.nics.len() + line.inventory.disks.len() <= DEVICES_MAX
            }
            Self::Sample(sample) => sample.nics.len() + sample.disks.len() <= 4 * DEVICES_MAX,
            Self::Health(_) => true,
        };
        is_bounded.then_some(entry)
    }

    fn key(&self) -> (Uuid, u8) {
        match self {
            Self::Devices(line) => (line.uuid, 0),
            Self::Sample(sample) => (sample.uuid, 1),
            Self::Health(health) => (health.uuid, 2),
        }
    }
}

/// The two clocks, which show the time of the first line of their kind.
struct Clock {
    unix_s: u64,
    boot_ns: u64,
}

impl Clock {
    fn of(lines: &[&[u8]]) -> Self {
        let mut clock = Self { unix_s: 1_700_000_000, boot_ns: 1_000_000_000_000 };
        let entries = lines.iter().rev().filter_map(|line| serde_json::from_slice(line).ok());
        for entry in entries {
            match entry {
                Entry::Devices(line) => clock.unix_s = line.read_at,
                Entry::Sample(sample) => clock.boot_ns = sample.answered_at_ns,
                Entry::Health(health) => clock.boot_ns = health.at,
            }
        }
        clock
    }

    fn now(&self) -> CacheTime {
        CacheTime { unix_s: self.unix_s, boot: Some(BOOT), boot_ns: self.boot_ns }
    }

    fn is_loaded(&self, entry: &Entry) -> bool {
        let at = match entry {
            Entry::Devices(_) => return true,
            Entry::Sample(sample) => sample.answered_at_ns,
            Entry::Health(health) => health.at,
        };
        (self.boot_ns.saturating_sub(HOUR_NS)..=self.boot_ns).contains(&at)
    }

    /// Whether a load after a save gives this entry. What is dated a moment ahead is kept in the file, but
    /// not loaded yet.
    fn is_saved(&self, entry: &Entry) -> bool {
        let Entry::Devices(line) = entry else { return self.is_loaded(entry) };
        let oldest = self.unix_s.saturating_sub(TTL.as_secs() + 24 * 3600);
        (oldest..=self.unix_s.saturating_add(60)).contains(&line.read_at)
    }

    /// Asserts that a load gives these entries and so many in all; gives the warning.
    fn load(
        &self,
        expected: &HashMap<(Uuid, u8), Entry>,
        count: RangeInclusive<usize>,
    ) -> Option<CacheWarning> {
        let (state, warning) = FILE.load(&self.now());
        let SavedState { devices, samples, health, .. } = state;
        let all = devices.len() + samples.len() + health.len();
        assert!(count.contains(&all), "{all} of {count:?}, {warning:?}");
        for ((uuid, _), entry) in expected {
            match entry {
                Entry::Devices(line) => assert_devices(&devices, line),
                Entry::Sample(sample) => assert_eq!(samples.get(uuid), Some(sample)),
                Entry::Health(expected) => assert!(health.contains(expected), "{expected:?}"),
            }
        }
        warning
    }

    /// A guest of our own.
    fn ours(&self) -> [((Uuid, u8), Entry); 3] {
        let name = "ours\n\"\u{0}".to_owned();
        let inventory = Inventory { id: 3, ..Inventory::default() };
        let (uuid, read_at, at) = (OURS, self.unix_s, self.boot_ns);
        let sample =
            Domain { uuid, id: 3, name: name.clone(), answered_at_ns: at, ..Domain::default() };
        let health = SavedHealth { name: name.clone(), uuid, at, ..SavedHealth::default() };
        let devices = DevicesLine { name, uuid, read_at, inventory };
        [Entry::Devices(devices), Entry::Sample(sample), Entry::Health(health)]
            .map(|entry| (entry.key(), entry))
    }

    fn save_ours(&self) {
        let [(_, devices), (_, sample), (_, health)] = self.ours();
        let (Entry::Devices(line), Entry::Sample(sample), Entry::Health(health)) =
            (devices, sample, health)
        else {
            unreachable!("in this order");
        };
        let mut devices = DeviceCache::default();
        devices.insert(line.uuid, &line.name, Arc::new(line.inventory), line.read_at);
        let write = FILE.prepare(&mut devices, [&sample], &[health], &self.now(), TTL);
        let loaded = FILE.load(&self.now()).0.file;
        write.expect("lines").over(loaded).run().expect("a save");
    }
}

fn assert_devices(devices: &DeviceCache, line: &DevicesLine) {
    let (uuid, id, read_at) = (&line.uuid, line.inventory.id, line.read_at);
    let fresh = |id, at| devices.fresh(uuid, id, at, TTL).map(|inventory| &**inventory);
    assert_eq!(fresh(id, read_at), Some(&line.inventory));
    assert_eq!(fresh(id.wrapping_add(1), read_at), None, "a new boot");
    let stale = read_at.checked_add(TTL.as_secs()).or(read_at.checked_sub(1));
    assert_eq!(stale.and_then(|at| fresh(id, at)), None, "another time");
}
