//! The cache of many guests: how long its files take to be written and read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use telegraf_virt::cache::{CacheDir, CacheEnv, CacheTime, DeviceCache, StateFile};
use tempfile::tempdir;
use uuid::Uuid;

use super::host::Host;
use super::record::{Row, Table};

const TTL: Duration = Duration::from_secs(3600);
const NOW: CacheTime =
    CacheTime { unix_s: 1_700_000_000, boot: Some(Uuid::from_u128(1)), boot_ns: 1_000_000_000_000 };
/// What libvirt and QEMU work for one guest in a collection.
const COLLECTION_MS: f64 = 5.0;

/// Files of 100 and of 10,000 guests.
pub fn table() -> Table {
    let rows = [100, 1_000, 10_000].map(|guests| {
        let folder = tempdir().expect("a folder");
        let dir = CacheDir::of(Some(folder.path()), &CacheEnv::of_process()).expect("a folder");
        let file = StateFile::new(dir, "qemu:///system");
        let mut host = Host::new(guests);
        host.collect();
        host.collect();
        let inventory = Arc::new(host.inventory());
        let mut devices = DeviceCache::default();
        for sample in host.samples() {
            devices.insert(sample.uuid, &sample.name, Arc::clone(&inventory), NOW.unix_s);
        }
        let mut save = || {
            let write = file.prepare(&mut devices, host.samples(), &[], &NOW, TTL);
            write.expect("lines").run().expect("saved");
        };
        let (first_save, _) = ms(&mut save);
        // From now on there is a file to be merged with.
        let (save, _) = median(save);
        let (load, (state, none)) = median(|| file.load(&NOW));
        assert_eq!((state.devices.len(), state.samples.len(), none), (guests, guests, None));
        Row::from([
            ("guests", guests as f64, 0),
            ("first save ms", first_save, 2),
            ("save ms", save, 2),
            ("load ms", load, 2),
            (
                "of a collection by once %",
                100.0 * (load + save) / (COLLECTION_MS * guests as f64),
                2,
            ),
        ])
    });
    let title = format!(
        "cache files, and what a load and a save add to a collection of {COLLECTION_MS} ms a guest"
    );
    Table { title, rows: rows.to_vec() }
}

fn ms<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let start = Instant::now();
    let result = work();
    (start.elapsed().as_secs_f64() * 1000.0, result)
}

/// The middle of five times.
fn median<T>(mut work: impl FnMut() -> T) -> (f64, T) {
    let mut runs: Vec<(f64, T)> = (0..5).map(|_| ms(&mut work)).collect();
    runs.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    runs.swap_remove(2)
}
