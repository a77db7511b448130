//! Whether there is a folder for the cache, and whether its files can be used.

use super::Finding;
use crate::cache::{self, HypervisorFiles, Place, Surroundings};
use crate::config::Settings;
use crate::sample;

pub(super) fn findings(settings: &Settings) -> Vec<Finding> {
    if !settings.cache.enabled {
        let text = "no cache, as --no-cache says: once prints no vm_features";
        return vec![Finding::good(text.to_owned())];
    }
    match Place::of(settings.cache.dir.as_deref(), &Surroundings::of_process()) {
        Ok(place) => {
            let text = format!("the cache is kept in {}", place.path().display());
            let unusable = settings.uris.iter().flat_map(|uri| unusable(&place, uri));
            std::iter::once(Finding::good(text)).chain(unusable).collect()
        }
        Err(none) => {
            let remedy = "name a folder of your own with --cache-dir, or with dir in [cache] of the \
                          configuration";
            vec![Finding::lost(none.to_string(), remedy.to_owned())]
        }
    }
}

/// Cache files of a hypervisor that cannot be read.
fn unusable(place: &Place, uri: &str) -> Vec<Finding> {
    let files = HypervisorFiles::new(place.clone(), uri);
    let (_, devices) = files.load_devices();
    let samples =
        cache::boot_id().and_then(|boot| files.load_samples(boot, sample::boottime_ns()).1);
    let remedy = "remove what stands there; the next collection writes the file anew";
    let troubles = devices.into_iter().chain(samples);
    troubles.map(|trouble| Finding::lost(trouble.to_string(), remedy.to_owned())).collect()
}
