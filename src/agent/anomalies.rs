//! Which guests behave unlike themselves: lines of vm_anomalies at the end of a slot, what is learned in the
//! cache, and the command that tells a person.

use std::env;
use std::time::{Duration, Instant};

use super::Agent;
use super::files::FileCalls;
use super::saving::{cache_folder, cache_or_warning, found_by};
use super::source::Source;
use crate::anomalies::{Anomalies, GuestModel, Pace, SERIES_MAX, report};
use crate::cache::{CacheWarning, FileError, ModelFile};
use crate::config::Settings;
use crate::deadline::{Deadline, Ending};
use crate::host::Moment;
use crate::libvirt::Error;
use crate::log::{Level, Log};
use crate::pool::{NO_ANSWER, answer_by};

/// How often what is learned is written. A slot or three are lost where that fails.
const SAVE_EVERY: Duration = Duration::from_secs(15 * 60);
/// How long the command waits for what was learned.
const READ_WITHIN: Duration = Duration::from_secs(10);
/// For the project's tests alone, which cannot wait for days.
const PACE_OF_TESTS: &str = "TELEGRAF_VIRT_TEST_PACE";

/// What is learned, and where it is kept.
pub(super) struct Learned {
    pub(super) models: Anomalies,
    /// Of each hypervisor, where there is a cache.
    files: Vec<Option<ModelFile>>,
    calls: FileCalls<ModelAnswer>,
    saved: Instant,
}

fn pace() -> Pace {
    let named = env::var(PACE_OF_TESTS).ok();
    named.and_then(|text| Pace::for_tests(&text)).unwrap_or(Pace::DEFAULT)
}

/// What comes back of the file of a hypervisor.
enum ModelAnswer {
    Loaded(Vec<GuestModel>, Option<CacheWarning>),
    Saved(Result<(), FileError>),
}

/// Answers, and of which hypervisor each is.
type Answers = Vec<(usize, Result<ModelAnswer, Error>)>;

impl Learned {
    fn begin_load(&mut self, place: usize, file: ModelFile, now_unix_s: u64) {
        self.calls.begin(place, move || {
            let (guests, warning) = file.load(now_unix_s);
            ModelAnswer::Loaded(guests, warning)
        });
    }

    fn take_in(&mut self, place: usize, answer: Result<ModelAnswer, Error>, uri: &str, log: &Log) {
        match answer {
            Ok(ModelAnswer::Loaded(guests, warning)) => {
                if let Some(warning) = warning {
                    log.warn(format_args!("anomalies: learning begins again: {warning}"));
                }
                guests.into_iter().for_each(|guest| self.models.restore(place, guest));
                log.ends(&unread_key(uri), "anomalies: what was learned is read after all");
            }
            Ok(ModelAnswer::Saved(Ok(()))) => {
                log.ends(&unsaved_key(uri), "what is learned is saved again");
            }
            Ok(ModelAnswer::Saved(Err(error))) => tell_unsaved(log, uri, &error),
            Err(error) => tell_unsaved(log, uri, &error),
        }
    }
}

fn unsaved_key(uri: &str) -> String {
    format!("saving what is learned of {uri}")
}

fn tell_unsaved(log: &Log, uri: &str, why: &dyn std::fmt::Display) {
    log.begins(
        &unsaved_key(uri),
        Level::Warn,
        format_args!("anomalies: cannot save what is learned: {why}"),
    );
}

fn unread_key(uri: &str) -> String {
    format!("what was learned of {uri} is not read")
}

impl Agent {
    /// Goes on with what an earlier run learned. A file that is damaged is reported, and learning begins again.
    /// What does not answer is taken in when it does, and nothing is written over it before.
    pub(super) fn watch(&mut self, ending: &Ending) {
        let now_unix_s = Moment::now().unix.as_secs();
        let file = |source: &Source| {
            let folder = self.folder.clone().filter(|_| source.hypervisor.replay().is_none());
            folder.map(|folder| ModelFile::new(folder, source.hypervisor.uri()))
        };
        let mut watch = Learned {
            models: Anomalies::new(pace()),
            files: self.sources.iter().map(file).collect(),
            calls: FileCalls::new("learned", &self.log),
            saved: Instant::now(),
        };
        for (place, file) in watch.files.clone().into_iter().enumerate() {
            if let Some(file) = file {
                watch.begin_load(place, file, now_unix_s);
            }
        }
        self.watch = Some(watch);
        self.wait_for_learned(&found_by(&self.settings, ending));
        let Some(watch) = &self.watch else { return };
        for (place, source) in self.sources.iter().enumerate() {
            if watch.calls.is_under_way(place) {
                let uri = source.hypervisor.uri();
                self.log.begins(
                    &unread_key(uri),
                    Level::Warn,
                    format_args!(
                        "anomalies: what was learned of {uri} is not read yet: {NO_ANSWER}"
                    ),
                );
            }
        }
    }

    /// After a collection: takes in what was learned and came late, forgets the guests that are gone, and writes
    /// what is learned where it is time.
    pub(super) fn keep_learned(&mut self, saved_by: &Deadline) {
        let Some(watch) = &self.watch else { return };
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
        if watch.saved.elapsed() >= SAVE_EVERY {
            self.begin_keeping_learned();
            self.wait_for_learned(saved_by);
        } else if watch.calls.any_is_under_way() {
            self.take_learned(FileCalls::arrived);
        }
    }

    /// Tells of the files whose last call is not back yet.
    pub(super) fn tell_of_late_learned(&self) {
        let Some(watch) = &self.watch else { return };
        for (place, source) in self.sources.iter().enumerate() {
            if watch.calls.is_under_way(place) {
                tell_unsaved(&self.log, source.hypervisor.uri(), &NO_ANSWER);
            }
        }
    }

    /// Begins to write what is learned. A file whose last call is not back yet is left alone.
    pub(super) fn begin_keeping_learned(&mut self) {
        self.take_learned(FileCalls::arrived);
        self.tell_of_late_learned();
        let Some(watch) = &mut self.watch else { return };
        let now_unix_s = Moment::now().unix.as_secs();
        watch.saved = Instant::now();
        let Learned { models, files, calls, .. } = watch;
        for (place, file) in files.iter().enumerate() {
            let Some(file) = file.as_ref().filter(|_| !calls.is_under_way(place)) else { continue };
            let write = file.prepare(models.guests(place), now_unix_s);
            calls.begin(place, move || ModelAnswer::Saved(write.run()));
        }
        // What is in the future belongs to another clock: a recording's guests have their own time.
        models.forget_old(now_unix_s);
    }

    pub(super) fn wait_for_learned(&mut self, deadline: &Deadline) {
        self.take_learned(|calls| calls.wait(deadline));
    }

    fn take_learned(&mut self, answers: impl FnOnce(&mut FileCalls<ModelAnswer>) -> Answers) {
        let Some(watch) = &mut self.watch else { return };
        for (place, answer) in answers(&mut watch.calls) {
            let uri = self.sources.get(place).map_or("", |source| source.hypervisor.uri());
            watch.take_in(place, answer, uri, &self.log);
        }
    }
}

/// The command: what the cache says of the guests.
///
/// # Errors
/// Where there is nothing that was learned, with the remedy.
pub fn anomalies(settings: &Settings, ending: &Ending, log: &Log) -> Result<String, String> {
    let read_by = Deadline::within(READ_WITHIN, ending, Duration::ZERO);
    let Some(folder) = cache_or_warning(cache_folder(settings, ending), log) else {
        return Err("anomalies: there is no cache, so nothing is learned".to_owned());
    };
    let now_unix_s = Moment::now().unix.as_secs();
    let mut guests = Vec::new();
    for uri in &settings.uris {
        let file = ModelFile::new(folder.clone(), uri);
        let path = file.path();
        let load = move || file.load(now_unix_s);
        let Some(Ok((of_uri, warning))) = answer_by("learned", &read_by, load) else {
            return Err(format!("anomalies: {} is not read: {NO_ANSWER}", path.display()));
        };
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
