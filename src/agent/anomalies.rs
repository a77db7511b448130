//! Which guests behave unlike themselves: lines of vm_anomalies at the end of a slot, what is learned in the
//! cache, and the command that tells a person.

use std::env;
use std::time::{Duration, Instant};

use super::{Agent, cache_folder, cache_or_warning};
use crate::anomalies::{Anomalies, Pace, SERIES_MAX, report};
use crate::cache::ModelFile;
use crate::config::Settings;
use crate::deadline::Ending;
use crate::host::Moment;
use crate::log::{Level, Log};

/// How often what is learned is written. A slot or three are lost where that fails.
const SAVE_EVERY: Duration = Duration::from_secs(15 * 60);
/// For the project's tests alone, which cannot wait for days.
const PACE_OF_TESTS: &str = "TELEGRAF_VIRT_TEST_PACE";

/// What is learned, and where it is kept.
pub(super) struct Learned {
    pub(super) models: Anomalies,
    /// Of each hypervisor, where there is a cache.
    files: Vec<Option<ModelFile>>,
    saved: Instant,
}

fn pace() -> Pace {
    let named = env::var(PACE_OF_TESTS).ok();
    named.and_then(|text| Pace::for_tests(&text)).unwrap_or(Pace::DEFAULT)
}

impl Agent {
    /// Goes on with what an earlier run learned. A file that is damaged is reported, and learning begins again.
    pub(super) fn watch(&mut self) {
        let mut models = Anomalies::new(pace());
        let now_unix_s = Moment::now().unix.as_secs();
        let mut files = Vec::new();
        for (place, source) in self.sources.iter().enumerate() {
            let folder = self.folder.clone().filter(|_| source.hypervisor.replay().is_none());
            let file = folder.map(|folder| ModelFile::new(folder, source.hypervisor.uri()));
            if let Some(file) = &file {
                let (guests, warning) = file.load(now_unix_s);
                if let Some(warning) = warning {
                    self.log.warn(format_args!("anomalies: learning begins again: {warning}"));
                }
                guests.into_iter().for_each(|guest| models.restore(place, guest));
            }
            files.push(file);
        }
        self.watch = Some(Learned { models, files, saved: Instant::now() });
    }

    /// After a collection: forgets the guests that are gone, and writes what is learned where it is time.
    pub(super) fn keep_learned(&mut self, is_end: bool) {
        let Some(watch) = &mut self.watch else { return };
        let now_unix_s = Moment::now().unix.as_secs();
        if watch.models.is_full() {
            self.log.begins(
                "anomalies",
                Level::Warn,
                format_args!(
                    "anomalies: {SERIES_MAX} series are learned, and no more: choose the guests with \
                     `[domains] include`"
                ),
            );
        }
        if !is_end && watch.saved.elapsed() < SAVE_EVERY {
            return;
        }
        watch.saved = Instant::now();
        let Learned { models, files, .. } = watch;
        for (place, (file, source)) in files.iter().zip(&self.sources).enumerate() {
            let Some(file) = file else { continue };
            let saved = file.save(models.guests(place), now_unix_s);
            let key = format!("saving what is learned of {}", source.hypervisor.uri());
            match saved {
                Ok(_) => self.log.ends(&key, "what is learned is saved again"),
                Err(error) => self.log.begins(
                    &key,
                    Level::Warn,
                    format_args!("anomalies: cannot save what is learned: {error}"),
                ),
            }
        }
        // What is in the future belongs to another clock: a recording's guests have their own time.
        models.forget_old(now_unix_s);
    }
}

/// The command: what the cache says of the guests.
///
/// # Errors
/// Where there is nothing that was learned, with the remedy.
pub fn anomalies(settings: &Settings, ending: &Ending, log: &Log) -> Result<String, String> {
    let Some(folder) = cache_or_warning(cache_folder(settings, ending), log) else {
        return Err("anomalies: there is no cache, so nothing is learned".to_owned());
    };
    let now_unix_s = Moment::now().unix.as_secs();
    let mut guests = Vec::new();
    for uri in &settings.uris {
        let (of_uri, warning) = ModelFile::new(folder.clone(), uri).load(now_unix_s);
        if let Some(warning) = warning {
            log.warn(warning);
        }
        guests.extend(of_uri);
    }
    if guests.is_empty() {
        return Err(format!(
            "nothing is learned yet in {}: set `extra = [\"anomalies\"]`, let execd run, which writes there \
             every 15 minutes, and run this as the same user or with its --cache-dir",
            folder.path().display()
        ));
    }
    Ok(report(&guests, pace(), now_unix_s))
}
