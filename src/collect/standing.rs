//! What is remembered of a guest from one collection to the next: whether it answers, and what of it
//! fails. Tells when that begins and when it ends.

use std::collections::{HashMap, HashSet};
use std::mem;
use std::sync::Arc;

use uuid::Uuid;

use super::reading::{Reading, Skipped, Target};
use crate::log::{Level, Log};

/// The guests of one hypervisor.
pub(super) struct Standings {
    uri: Arc<str>,
    log: Arc<Log>,
    guests: HashMap<Uuid, Standing>,
    /// The collection in which calls began to be stuck, while any is.
    trouble_since: Option<u64>,
}

#[derive(Default)]
struct Standing {
    is_silent: bool,
    /// The boot (its id) in which its monitor was free, and yet it said no more than libvirtd knows
    /// by itself.
    quiet_id: Option<i32>,
    /// The last collection in which it answered wholly.
    answered_in: u64,
    failures: Vec<String>,
}

impl Standings {
    pub(super) fn new(uri: &Arc<str>, log: &Arc<Log>) -> Self {
        let (uri, log) = (Arc::clone(uri), Arc::clone(log));
        Self { uri, log, guests: HashMap::new(), trouble_since: None }
    }

    /// Forgets the guests that are no longer listed.
    pub(super) fn keep(&mut self, listed: impl Iterator<Item = Uuid>) {
        let listed: HashSet<Uuid> = listed.collect();
        let (uri, log) = (&self.uri, &self.log);
        self.guests.retain(|uuid, _| {
            let is_listed = listed.contains(uuid);
            if !is_listed {
                log.forget(&condition(uri, uuid));
            }
            is_listed
        });
    }

    pub(super) fn remember_silent(&mut self, uuid: Uuid) {
        self.guests.entry(uuid).or_default().is_silent = true;
    }

    /// Calls are stuck now, or none is any more.
    pub(super) fn trouble(&mut self, collection: u64, is_there: bool) {
        self.trouble_since = if is_there { self.trouble_since.or(Some(collection)) } else { None };
    }

    /// Whether it did not answer when it was asked last.
    pub(super) fn is_silent(&self, uuid: &Uuid) -> bool {
        self.guests.get(uuid).is_some_and(|guest| guest.is_silent)
    }

    /// Whether it has answered since calls began to be stuck: a guest that may well hang too is not
    /// asked when enough calls are stuck.
    pub(super) fn is_known_to_answer(&self, uuid: &Uuid) -> bool {
        let Some(since) = self.trouble_since else { return !self.is_silent(uuid) };
        self.guests.get(uuid).is_some_and(|guest| !guest.is_silent && guest.answered_in >= since)
    }

    /// Whether it said no more than libvirtd knows by itself last time, too: so does a guest that is
    /// being started or migrated to this host. It is not waited for then.
    pub(super) fn is_quiet(&self, target: &Target) -> bool {
        self.guests.get(&target.uuid).is_some_and(|guest| guest.quiet_id == Some(target.id))
    }

    /// It answered wholly.
    fn answers(&mut self, target: &Target, collection: u64) {
        let guest = self.guests.entry(target.uuid).or_default();
        guest.answered_in = collection;
        guest.quiet_id = None;
        if mem::take(&mut guest.is_silent) {
            let key = condition(&self.uri, &target.uuid);
            self.log.ends(&key, format_args!("guest \"{}\" answers again", target.name));
        }
    }

    /// It did not answer, or only in part.
    pub(super) fn is_silent_now(&mut self, target: &Target) {
        self.guests.entry(target.uuid).or_default().is_silent = true;
        let message = format_args!(
            "guest \"{}\" ({}) does not answer: what only it can tell, such as its disk counters, \
             is left out until it does; its storage may hang, or its QEMU be stopped",
            target.name, target.uuid
        );
        self.log.begins(&condition(&self.uri, &target.uuid), Level::Warn, message);
    }

    /// What of it could not be read this time, although it answers.
    pub(super) fn failures(&mut self, target: &Target, failures: &[String]) {
        let guest = self.guests.entry(target.uuid).or_default();
        if guest.failures == failures {
            return;
        }
        let key = |failure: &str| format!("{} {failure}", condition(&self.uri, &target.uuid));
        for failure in failures.iter().filter(|failure| !guest.failures.contains(failure)) {
            let message = format_args!("guest \"{}\": {failure}", target.name);
            self.log.begins(&key(failure), Level::Warn, message);
        }
        for failure in guest.failures.iter().filter(|failure| !failures.contains(failure)) {
            let message = format_args!("guest \"{}\": no longer: {failure}", target.name);
            self.log.ends(&key(failure), message);
        }
        guest.failures = failures.to_vec();
    }

    /// Of a guest that libvirt could not read at all.
    pub(super) fn fails(&mut self, target: &Target, error: &str) {
        self.failures(target, &[format!("it cannot be read: {error}")]);
    }

    /// Takes note of a reading.
    pub(super) fn note(&mut self, target: &Target, reading: &Reading, collection: u64) {
        match reading.skipped {
            None => {
                self.answers(target, collection);
                self.failures(target, &reading.failures);
            }
            Some(Skipped::Quiet) => {
                self.guests.entry(target.uuid).or_default().quiet_id = Some(target.id);
            }
            Some(Skipped::Busy | Skipped::Stuck) => self.is_silent_now(target),
            Some(Skipped::Unasked) => {}
        }
    }

    /// Its monitor gave no answer: for whoever looks for a fault.
    pub(super) fn skipped(&self, target: &Target, why: Skipped) {
        self.log.debug(format_args!("guest \"{}\" gave no whole answer: {why:?}", target.name));
    }

    /// So many guests were not asked, since enough calls are stuck.
    pub(super) fn unasked(&mut self, guests: usize, stuck: usize) {
        let key = format!("stuck {}", self.uri);
        if guests == 0 {
            self.log.ends(&key, format_args!("every guest of {} is asked again", self.uri));
            return;
        }
        let message = format_args!(
            "{stuck} calls to hung guests of {} are stuck: {guests} guests that may hang too are \
             not asked for what only they can tell; `max_stuck` sets how many calls may be stuck",
            self.uri
        );
        self.log.begins(&key, Level::Warn, message);
    }
}

fn condition(uri: &str, uuid: &Uuid) -> String {
    format!("guest {uri} {uuid}")
}
