//! What is kept from one run to the next: where it is, read at the start and written after collections. The
//! cache may be on a mount that is gone, and costs no line then.

use std::fmt::Display;
use std::time::{Duration, Instant};

use super::files::FileCalls;
use super::{Agent, GRACE_MAX};
use crate::cache::{CacheDir, CacheEnv, CacheTime, CacheWarning, FileError, SavedState, StateFile};
use crate::config::Settings;
use crate::deadline::{Deadline, Ending};
use crate::host;
use crate::log::{Level, Log};
use crate::pool::{NO_ANSWER, answer_by};

/// execd saves after its first collection, then at most this often, so that a restart after a kill is warm.
const SAVE_EVERY: Duration = Duration::from_secs(60);
/// How long a collection waits for what it saves, so that what is wrong is told at once; the next trigger
/// may be near.
const SAVED_SOON: Duration = Duration::from_millis(200);
/// How long the end waits for all that is saved.
const SAVED_WITHIN: Duration = Duration::from_secs(2);
/// Of the time after the order to end, what is left for everything but collecting.
const TO_CLOSE: Duration = Duration::from_millis(500);

/// What comes back of the file of a hypervisor.
pub(super) enum StateAnswer {
    /// What an earlier run knew.
    Loaded(Box<SavedState>, Option<CacheWarning>),
    /// What became of a save.
    Saved(Result<(), FileError>),
}

/// By when the cache must answer at the start: a part of a collection's time, which is all that it could save.
pub(super) fn found_by(settings: &Settings, ending: &Ending) -> Deadline {
    Deadline::within(settings.deadline / 4, ending, Duration::ZERO)
}

/// What earlier runs knew of the hypervisors, by their places; nothing where that does not answer.
pub(super) fn load(
    files: &[Option<StateFile>],
    calls: &mut FileCalls<StateAnswer>,
    deadline: &Deadline,
    log: &Log,
) -> Vec<SavedState> {
    for (place, file) in files.iter().enumerate() {
        if let Some(file) = file.clone() {
            calls.begin(place, move || {
                let (state, warning) = file.load(&CacheTime::now());
                StateAnswer::Loaded(Box::new(state), warning)
            });
        }
    }
    let mut states: Vec<Option<(SavedState, Option<CacheWarning>)>> =
        files.iter().map(|_| None).collect();
    for (place, answer) in calls.wait(deadline) {
        if let (Ok(StateAnswer::Loaded(state, warning)), Some(of_place)) =
            (answer, states.get_mut(place))
        {
            *of_place = Some((*state, warning));
        }
    }
    let told = states.into_iter().zip(files).map(|(state, file)| match (state, file) {
        (Some((state, warning)), _) => {
            warning.into_iter().for_each(|warning| log.warn(warning));
            state
        }
        (None, Some(file)) if !deadline.is_ending() => {
            log.warn(format_args!("{} is not read: {NO_ANSWER}", file.path().display()));
            SavedState::default()
        }
        (None, _) => SavedState::default(),
    });
    told.collect()
}

impl Agent {
    /// After a collection: keeps what the next run must know, where it is time.
    pub(super) fn save_sometimes(&mut self, ending: &Ending) {
        let saved_by = Deadline::within(SAVED_SOON, ending, SAVED_SOON);
        if self.saved.is_none_or(|moment| moment.elapsed() >= SAVE_EVERY) {
            self.saved = Some(Instant::now());
            self.begin_saves();
            self.wait_for_saves(&saved_by);
        }
        self.keep_learned(&saved_by);
    }

    /// At the end: keeps what the next run must know. All of it is begun before any of it is waited for.
    pub(super) fn save_at_end(&mut self, ending: &Ending) {
        let saved_by = Deadline::within(SAVED_WITHIN, ending, GRACE_MAX + TO_CLOSE);
        self.begin_saves();
        self.begin_keeping_learned();
        self.wait_for_saves(&saved_by);
        self.wait_for_learned(&saved_by);
        for (place, source) in self.sources.iter().enumerate() {
            if self.file_calls.is_under_way(place) {
                report_saved(&self.log, Err(&NO_ANSWER), source.hypervisor.uri());
            }
        }
        self.tell_of_late_learned();
    }

    /// Begins to write each hypervisor's file. One whose last call is not back yet is left alone.
    fn begin_saves(&mut self) {
        let arrived = self.file_calls.arrived();
        self.take_saved(arrived);
        for (place, source) in self.sources.iter_mut().enumerate() {
            if self.file_calls.is_under_way(place) {
                report_saved(&self.log, Err(&NO_ANSWER), source.hypervisor.uri());
            } else if let Some(write) = source.prepare_save(self.settings.cache.ttl) {
                self.file_calls.begin(place, move || StateAnswer::Saved(write.run()));
            } else {
                report_saved(&self.log, Ok(()), source.hypervisor.uri());
            }
        }
    }

    fn wait_for_saves(&mut self, deadline: &Deadline) {
        let back = self.file_calls.wait(deadline);
        self.take_saved(back);
    }

    fn take_saved(&mut self, back: Vec<(usize, Result<StateAnswer, crate::libvirt::Error>)>) {
        for (place, answer) in back {
            let Some(source) = self.sources.get_mut(place) else { continue };
            let saved: Result<(), &dyn Display> = match &answer {
                // It came too late to be of use.
                Ok(StateAnswer::Loaded(..)) => continue,
                Ok(StateAnswer::Saved(Ok(()))) => Ok(()),
                Ok(StateAnswer::Saved(Err(error))) => Err(error),
                Err(of_thread) => Err(of_thread),
            };
            if saved.is_err() {
                source.is_not_saved();
            }
            report_saved(&self.log, saved, source.hypervisor.uri());
        }
    }
}

/// The cache's folder, `None` where none is wanted, or why there is none. Looking at it may never end, where its
/// mount is gone: it is looked at on a thread that can be left behind.
pub(super) fn cache_folder(
    settings: &Settings,
    ending: &Ending,
) -> Result<Option<CacheDir>, String> {
    let is_of_use = settings.uris.iter().any(|uri| !uri.starts_with(host::REPLAY));
    if !settings.cache.enabled || !is_of_use {
        return Ok(None);
    }
    let named = settings.cache.dir.clone();
    let find = move || CacheDir::of(named.as_deref(), &CacheEnv::of_process());
    if let Some(Ok(found)) = answer_by("cache", &found_by(settings, ending), find) {
        return found.map(Some).map_err(|none| none.to_string());
    }
    Err("the cache folder does not answer, so there is no cache; is its mount gone?".to_owned())
}

/// The cache's folder; where there is none although one is wanted, that is logged.
pub(super) fn cache_or_warning(
    folder: Result<Option<CacheDir>, String>,
    log: &Log,
) -> Option<CacheDir> {
    folder.unwrap_or_else(|trouble| {
        log.warn(trouble);
        None
    })
}

fn report_saved(log: &Log, saved: Result<(), &dyn Display>, uri: &str) {
    let key = format!("saving {uri}");
    match saved {
        Err(error) => log.begins(
            &key,
            Level::Warn,
            format_args!(
                "cannot save the cache of {uri} for the next run: {error}; `telegraf-virt check` says how to \
                 fix it"
            ),
        ),
        Ok(()) => log.ends(&key, format_args!("the cache of {uri} is saved again")),
    }
}
