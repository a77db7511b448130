//! Whether there is a folder for the cache.

use super::Finding;
use crate::cache::{Place, Surroundings};
use crate::config::Settings;

pub(super) fn finding(settings: &Settings) -> Finding {
    if !settings.cache.enabled {
        return Finding::good(
            "no cache, as --no-cache says: once prints no vm_features".to_owned(),
        );
    }
    let surroundings = Surroundings::of_process();
    let place = match &settings.cache.dir {
        Some(folder) => Place::named(folder, &surroundings),
        None => Place::find(&surroundings),
    };
    match place {
        Ok(place) => Finding::good(format!("the cache is kept in {}", place.path().display())),
        Err(none) => Finding::lost(
            none.to_string(),
            "name a folder of your own with --cache-dir, or with dir in [cache] of the \
             configuration"
                .to_owned(),
        ),
    }
}
