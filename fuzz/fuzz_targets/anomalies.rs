//! Any bytes in the place of what `anomalies` learned give all that they say or a warning; what was read can be
//! told, goes on to learn, and is saved and read back equal. And any bytes in the place of a detector's state
//! are refused, or work.
//!
//! The input is read as it is, then with a right header and a right checksum around its lines.
#![no_main]

use std::collections::HashMap;
use std::env;
use std::fs;
use std::process;
use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use telegraf_virt::anomalies::{Anomalies, Detector, GuestModel, Pace, SavedGuest, Scale, report};
use telegraf_virt::cache::{CacheDir, CacheEnv, ModelFile};
use telegraf_virt::sample::{Cpu, Domain, Memory};
use telegraf_virt_fuzz::state_file::{inner_lines, sealed};
use uuid::Uuid;

const URI: &str = "qemu:///system";
const PACE: Pace = Pace::DEFAULT;

/// A file in a folder for this process alone.
static FILE: LazyLock<ModelFile> = LazyLock::new(|| {
    let folder = env::temp_dir().join(format!("telegraf-virt-fuzz-models-{}", process::id()));
    let _ = fs::remove_dir_all(&folder);
    let folder = CacheDir::named(&folder, &CacheEnv::of_process()).expect("a folder");
    ModelFile::new(folder, URI)
});

fuzz_target!(|bytes: &[u8]| {
    detector(bytes);
    let lines = inner_lines(bytes);
    let now_unix_s = lines
        .iter()
        .find_map(|line| serde_json::from_slice::<SavedGuest>(line).ok())
        .map_or(1_700_000_000, |guest| guest.at);
    load(bytes, now_unix_s);
    let header = format!(r#"{{"telegraf-virt":"anomalies","version":1,"uri":"{URI}"}}"#);
    let guests = load(&sealed(&header, &lines), now_unix_s);

    let _ = report(&guests, PACE, now_unix_s);
    let mut models = Anomalies::new(PACE);
    let uuids: Vec<Uuid> = guests.iter().map(GuestModel::uuid).collect();
    guests.into_iter().for_each(|guest| models.restore(0, guest));
    save_and_load(&models, now_unix_s);
    for uuid in uuids {
        live_on(&mut models, uuid, now_unix_s);
    }
});

fn load(bytes: &[u8], now_unix_s: u64) -> Vec<GuestModel> {
    fs::write(FILE.path(), bytes).expect("writing the file");
    let (guests, warning) = FILE.load(now_unix_s);
    assert!(warning.is_none() || guests.is_empty(), "{warning:?}, and guests");
    guests
}

fn save_and_load(models: &Anomalies, now_unix_s: u64) {
    // What stands there may be kept, and is of no interest here.
    let _ = fs::remove_file(FILE.path());
    FILE.prepare(models.guests(0), now_unix_s).run().expect("a save");
    let (again, warning) = FILE.load(now_unix_s);
    assert!(warning.is_none(), "{warning:?}");
    let again: HashMap<Uuid, GuestModel> = again.into_iter().map(|it| (it.uuid(), it)).collect();
    assert_eq!(again.len(), models.guests(0).count());
    for guest in models.guests(0) {
        assert_eq!(again.get(&guest.uuid()), Some(guest));
    }
}

/// A guest of this identity, for two hours.
fn live_on(models: &mut Anomalies, uuid: Uuid, now_unix_s: u64) {
    // Moments are far from the clock's ends.
    let start = now_unix_s % 4_000_000_000;
    let mut before: Option<Domain> = None;
    for minute in 0..120 {
        let at = start + minute * 60;
        let now = Domain {
            uuid,
            id: 3,
            name: "web".to_owned(),
            state: Some(1),
            vcpu_count: Some(1),
            answered_at_ns: (at + 1) * 1_000_000_000,
            cpu: Cpu { time_ns: Some(minute * minute * 1_000_000), ..Cpu::default() },
            memory: Memory {
                available_kib: Some(1 << 20),
                usable_kib: Some(1 << 19),
                ..Memory::default()
            },
            ..Domain::default()
        };
        let unix = Duration::from_secs(at);
        if let Some(summary) = models.observe(0, &now, before.as_ref(), None, unix)
            && let Some(top) = summary.top
        {
            let numbers = [top.value, top.verdict.low, top.verdict.high];
            assert!(numbers.into_iter().all(f64::is_finite), "{numbers:?}");
            assert!((0.0..=3.0).contains(&top.verdict.ratio()), "{:?}", top.verdict);
        }
        before = Some(now);
    }
}

fn detector(bytes: &[u8]) {
    let Some(mut detector) = Detector::restore(bytes) else { return };
    for value in (0..200_u32).map(|number| f64::from(number * 7919 % 101)) {
        let verdict = detector.push(value, Scale { unit: 1.0, upward: false });
        assert!(verdict.low.is_finite() && verdict.high.is_finite());
        assert!((0.0..=3.0).contains(&verdict.ratio()), "{verdict:?}");
    }
    let mut saved = Vec::new();
    detector.save(&mut saved);
    assert_eq!(Detector::restore(&saved), Some(detector));
}
