//! The cache of many guests: how long its files take to be written and read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use telegraf_virt::cache::{DeviceCache, HypervisorFiles, Place, Surroundings};
use tempfile::tempdir;
use uuid::Uuid;

use super::host::Host;
use super::record::{Row, Table};

const TTL: Duration = Duration::from_secs(3600);
const NOW_UNIX_S: u64 = 1_700_000_000;
const NOW_NS: u64 = 1_000_000_000_000;
/// What libvirt and QEMU work for one guest in a collection.
const COLLECTION_MS: f64 = 5.0;

/// Files of 100 and of 10,000 guests.
pub fn table() -> Table {
    let rows = [100, 1_000, 10_000].map(|guests| {
        let folder = tempdir().expect("a folder");
        let place = Place::of(Some(folder.path()), &Surroundings::of_process()).expect("a place");
        let files = HypervisorFiles::new(place, "qemu:///system");
        let mut host = Host::new(guests);
        host.collect();
        host.collect();
        let inventory = Arc::new(host.inventory());
        let cache = || {
            let mut cache = DeviceCache::default();
            for sample in host.samples() {
                cache.insert(sample.uuid, &sample.name, Arc::clone(&inventory), NOW_UNIX_S);
            }
            cache
        };
        let save_devices =
            || files.save_devices(&mut cache(), NOW_UNIX_S, TTL).expect("saved devices");
        let boot = Uuid::from_u128(1);
        let save_samples =
            || files.save_samples(host.samples(), boot, NOW_NS).expect("saved samples");
        let (first_devices, _) = ms(save_devices);
        let (first_samples, _) = ms(save_samples);
        // From now on there is a file to be put together with.
        let (save_devices, _) = median(save_devices);
        let (save_samples, _) = median(save_samples);
        let (load_devices, (devices, none)) = median(|| files.load_devices());
        assert_eq!((devices.len(), none), (guests, None));
        let (load_samples, (samples, none)) = median(|| files.load_samples(boot, NOW_NS));
        assert_eq!((samples.len(), none), (guests, None));
        let once = load_devices + load_samples + save_samples;
        Row::from([
            ("guests", guests as f64, 0),
            ("first save devices ms", first_devices, 2),
            ("save devices ms", save_devices, 2),
            ("load devices ms", load_devices, 2),
            ("first save samples ms", first_samples, 2),
            ("save samples ms", save_samples, 2),
            ("load samples ms", load_samples, 2),
            ("of a collection by once %", 100.0 * once / (COLLECTION_MS * guests as f64), 2),
        ])
    });
    let title = format!(
        "cache files, and what loads and a save of samples add to a collection of {COLLECTION_MS} ms a guest"
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
