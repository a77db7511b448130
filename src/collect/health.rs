//! How well each guest answers, from one collection to the next and, through the cache, from one run to the
//! next; and the messages about it: one for all guests with the same trouble, when it begins and when it ends.

mod report;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::backoff::{Backoff, Budget, SavedBackoff, restored_moment, saved_moment};
use super::cause::Cause;
use crate::log::Log;
use crate::sample::Completeness;

/// What is remembered of a guest.
#[derive(Debug, Default)]
struct GuestHealth {
    name: Arc<str>,
    /// How complete its last answer was.
    last: Completeness,
    /// The last collection in which it was complete.
    complete_in: u64,
    /// The boot (its id) in which its monitor was free, and yet it said no more than libvirtd knows.
    starting_id: Option<i32>,
    /// The boot (its id) in which its CPU time is to be had in bulk only.
    no_cpu_calls_id: Option<i32>,
    /// A bulk call with it took long: it is asked alone, to see whether it was its fault.
    is_suspect: bool,
    /// How long its network statistics take, where that is long: they are asked alone then.
    slow: Option<Duration>,
    /// When they were asked last.
    interface_at: Option<Instant>,
    /// What was reported of it and lasts.
    reported: Option<Cause>,
    failures: Vec<String>,
    /// Since when its object is locked, and when it may be asked again.
    locked: Option<Backoff>,
}

/// What the cache keeps of a guest's health, or, under the nil UUID, of the list's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedHealth {
    /// The guest's name.
    pub name: String,
    /// Its lasting identity.
    pub uuid: Uuid,
    /// When this was true, in nanoseconds of the host's CLOCK_BOOTTIME.
    pub at: u64,
    /// How complete its answer was.
    pub answer: Completeness,
    /// Its network statistics take long.
    #[serde(default)]
    pub is_slow: bool,
    /// When these were asked for last, on the same clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface_ns: Option<u64>,
    /// The boot (its id) in which its monitor was free, and yet it said no more than libvirtd knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starting_id: Option<i32>,
    /// The calls that it holds, where it is locked.
    #[serde(default)]
    pub locked: Option<SavedBackoff>,
    /// It is no guest, but what is beside them: the host, or a storage pool.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_beside_guests: bool,
}

/// The guests of one hypervisor, and its list of guests.
pub(super) struct Health {
    uri: Arc<str>,
    log: Arc<Log>,
    /// Calls that may be stuck at the same time.
    max_stuck: usize,
    guests: HashMap<Uuid, GuestHealth>,
    /// Why the list does not come, and when it may be asked for again.
    list: Option<Backoff>,
    /// The collection in which calls began to be stuck, while any is.
    trouble_since: Option<u64>,
    /// The guests that a file says something of.
    saved: HashSet<Uuid>,
    /// Failures that began or ended in this collection, and are not reported yet.
    changes: Changes,
}

/// Guests by the failure that they have now, or no longer.
#[derive(Debug, Default)]
struct Changes {
    begun: BTreeMap<String, Vec<(Arc<str>, Uuid)>>,
    ended: BTreeMap<String, Vec<(Arc<str>, Uuid)>>,
}

impl Health {
    pub(super) fn new(uri: &Arc<str>, log: &Arc<Log>, max_stuck: usize) -> Self {
        let (uri, log) = (Arc::clone(uri), Arc::clone(log));
        let (guests, saved, changes) = (HashMap::new(), HashSet::new(), Changes::default());
        Self { uri, log, max_stuck, guests, list: None, trouble_since: None, saved, changes }
    }

    /// Takes over what an earlier run has saved. `now_ns` is the host's CLOCK_BOOTTIME at `now`.
    pub(super) fn restore(&mut self, saved: Vec<SavedHealth>, now: Instant, now_ns: u64) {
        self.saved.extend(saved.iter().map(|saved| saved.uuid));
        for saved in saved {
            let SavedHealth {
                name, uuid, answer, is_slow, interface_ns, starting_id, locked, ..
            } = saved;
            let locked = locked.map(|saved| Backoff::restored(&saved, now, now_ns));
            if uuid.is_nil() {
                self.list = locked;
                continue;
            }
            let name = name.as_str().into();
            let slow = is_slow.then_some(NOT_WAITED_FOR);
            let interface_at = interface_ns.map(|ns| restored_moment(ns, now, now_ns));
            let health = GuestHealth {
                name,
                last: answer,
                starting_id,
                slow,
                interface_at,
                locked,
                ..Default::default()
            };
            self.guests.insert(uuid, health);
        }
    }

    /// What the next run must know, where that is not what the file has already.
    pub(super) fn saved(&mut self, now: Instant, now_ns: u64) -> Vec<SavedHealth> {
        let is_of_note = |health: &GuestHealth| !health.last.is_answer() || health.slow.is_some();
        let guest = |(uuid, health): (&Uuid, &GuestHealth)| SavedHealth {
            name: health.name.to_string(),
            uuid: *uuid,
            at: now_ns,
            answer: health.last,
            is_slow: health.slow.is_some(),
            interface_ns: health
                .interface_at
                .filter(|_| health.slow.is_some())
                .map(|at| saved_moment(at, now, now_ns)),
            starting_id: health.starting_id,
            locked: health.locked.as_ref().map(|locked| locked.saved(now, now_ns)),
            is_beside_guests: false,
        };
        let noted = self.guests.iter().filter(|(_, health)| is_of_note(health));
        let mut saved: Vec<SavedHealth> = noted.map(guest).collect();
        saved.extend(self.list.as_ref().map(|list| SavedHealth {
            at: now_ns,
            locked: Some(list.saved(now, now_ns)),
            ..SavedHealth::default()
        }));
        let is_held: HashSet<Uuid> = saved.iter().map(|saved| saved.uuid).collect();
        // Whoever is well again takes the place of what was said of it.
        let well = self.saved.iter().filter(|uuid| !is_held.contains(*uuid));
        let well = well.map(|&uuid| SavedHealth { uuid, at: now_ns, ..SavedHealth::default() });
        saved.extend(well);
        self.saved = is_held;
        saved
    }

    /// Forgets the guests that are no longer listed.
    pub(super) fn keep(&mut self, listed: impl Iterator<Item = Uuid>) {
        let listed: HashSet<Uuid> = listed.collect();
        self.guests.retain(|uuid, _| listed.contains(uuid));
    }

    fn of(&self, uuid: &Uuid) -> Option<&GuestHealth> {
        self.guests.get(uuid)
    }

    fn of_mut(&mut self, uuid: Uuid, name: &Arc<str>) -> &mut GuestHealth {
        let health = self.guests.entry(uuid).or_default();
        if health.name != *name {
            health.name = Arc::clone(name);
        }
        health
    }

    /// Calls are stuck now, or none is any more.
    pub(super) fn note_stuck_calls(&mut self, collection: u64, is_any: bool) {
        self.trouble_since = if is_any { self.trouble_since.or(Some(collection)) } else { None };
    }

    /// How complete its last answer was.
    pub(super) fn last(&self, uuid: &Uuid) -> Completeness {
        self.of(uuid).map_or(Completeness::Complete, |health| health.last)
    }

    /// Whether it has answered since calls began to be stuck: a guest that may well hang too is not asked
    /// when enough calls are stuck.
    pub(super) fn is_known_to_answer(&self, uuid: &Uuid) -> bool {
        let Some(health) = self.of(uuid) else { return self.trouble_since.is_none() };
        health.last.is_answer()
            && self.trouble_since.is_none_or(|since| health.complete_in >= since)
    }

    /// Whether it must be asked alone: a call with it took long, and it may be the cause.
    pub(super) fn is_asked_alone(&self, uuid: &Uuid) -> bool {
        self.of(uuid).is_some_and(|health| health.is_suspect || health.slow.is_some())
    }

    /// Whether its network statistics are asked alone.
    pub(super) fn is_slow(&self, uuid: &Uuid) -> bool {
        self.of(uuid).is_some_and(|health| health.slow.is_some())
    }

    /// Whether they take so long that nothing waits for them.
    pub(super) fn is_too_slow(&self, uuid: &Uuid) -> bool {
        let slow = self.of(uuid).and_then(|health| health.slow);
        slow.is_some_and(|slow| slow >= NOT_WAITED_FOR)
    }

    /// Whether it is time to see whether they are still slow.
    pub(super) fn may_try_interface(&self, uuid: &Uuid, now: Instant) -> bool {
        let at = self.of(uuid).and_then(|health| health.interface_at);
        at.is_none_or(|at| now.saturating_duration_since(at) >= TRY_AGAIN)
    }

    /// They are asked for now.
    pub(super) fn tries_interface(&mut self, uuid: Uuid, now: Instant) {
        if let Some(health) = self.guests.get_mut(&uuid) {
            health.interface_at = Some(now);
        }
    }

    /// Its CPU time is to be had in bulk only.
    pub(super) fn note_no_cpu_calls(&mut self, uuid: Uuid, name: &Arc<str>, id: i32) {
        self.of_mut(uuid, name).no_cpu_calls_id = Some(id);
    }

    /// Whether its CPU time is known to be had in bulk only, in this boot.
    pub(super) fn lacks_cpu_calls(&self, uuid: &Uuid, id: i32) -> bool {
        self.of(uuid).is_some_and(|health| health.no_cpu_calls_id == Some(id))
    }

    /// Whether it was starting, in this boot, when it was asked last.
    pub(super) fn is_starting(&self, uuid: &Uuid, id: i32) -> bool {
        self.of(uuid).is_some_and(|health| health.starting_id == Some(id))
    }

    /// A bulk call with these guests took long.
    pub(super) fn suspect(&mut self, uuid: Uuid, name: &Arc<str>) {
        self.of_mut(uuid, name).is_suspect = true;
    }

    /// How long the network statistics of a guest took that was asked alone; `None` where that was not long.
    pub(super) fn note_interface(&mut self, uuid: Uuid, name: &Arc<str>, slow: Option<Duration>) {
        let health = self.of_mut(uuid, name);
        if health.slow.is_none() {
            // It may have been locked for another reason: the next collection sees.
            health.interface_at = None;
        }
        (health.is_suspect, health.slow) = (false, slow);
    }

    /// Whether any guest's object is locked, as far as is known.
    pub(super) fn is_any_locked(&self) -> bool {
        self.guests.values().any(|health| health.locked.is_some())
    }

    /// The same of a guest that is known to be slow.
    pub(super) fn note_interface_again(&mut self, uuid: Uuid, slow: Option<Duration>) {
        if let Some(health) = self.guests.get_mut(&uuid) {
            health.slow = slow;
        }
    }

    /// Whether a guest whose object was locked may be asked again: its time has come, or it has started or stopped
    /// since, which is what such a lock mostly is about, or libvirt has written down its state. Without such a sign the call that holds it may still be there, and occupies a worker of libvirtd as well:
    /// unless that is for network statistics, which are soon over, or on another machine, where no sign is seen.
    pub(super) fn may_ask(
        &self,
        uuid: &Uuid,
        now: Instant,
        is_held_briefly: impl FnOnce() -> bool,
        state: impl FnOnce() -> u64,
    ) -> bool {
        let locked = self.of(uuid).and_then(|health| health.locked.as_ref());
        let Some(locked) = locked.filter(|locked| locked.is_of_earlier_run()) else { return true };
        let state = state();
        let of_others = u32::from(state != 0 && !is_held_briefly());
        locked.is_over(now, state, self.budget(of_others))
    }

    /// Whether the list may be asked for, where a call for it may be out of which nobody says when it comes
    /// back. A guest that is locked holds it, too: that one is asked first, and where it can be seen when it is free,
    /// only that one. Where none is known, and no call of ours is out, somebody else's call has locked one, and holds
    /// one of libvirtd's workers as well.
    pub(super) fn may_list(&self, is_out: bool, now: Instant, running: u64) -> bool {
        let Some(list) = self.list.as_ref().filter(|list| is_out || list.is_of_earlier_run())
        else {
            return true;
        };
        let of_others = u32::from(!is_out);
        let budget = match (self.is_any_locked(), running) {
            (false, _) => self.budget(of_others),
            (true, 0) => self.budget(of_others).max(Budget::Tight),
            (true, _) => return false,
        };
        // Guests that start and stop all day are no reason to leave more behind.
        if budget == Budget::Spent {
            list.is_due(now, budget)
        } else {
            list.is_over(now, running, budget)
        }
    }

    /// How much room the calls that earlier runs have left behind leave for another one, beside so many calls of
    /// others.
    fn budget(&self, of_others: u32) -> Budget {
        let locked = self.guests.values().filter_map(|health| health.locked.as_ref());
        let sick = locked.clone().count().max(1);
        Budget::beside(locked.chain(&self.list), of_others, sick + 2, self.max_stuck)
    }

    /// A call that this guest held has come back.
    pub(super) fn is_released(&mut self, uuid: &Uuid) {
        if let Some(health) = self.guests.get_mut(uuid) {
            health.locked = None;
        }
    }

    /// The list came, or it did not.
    pub(super) fn note_list(&mut self, came: bool, now: Instant, running: u64) {
        if came {
            self.list = None;
        } else {
            Backoff::again(&mut self.list, now, running);
        }
    }

    /// Somebody else waits for the list already.
    pub(super) fn hold_list(&mut self, now: Instant, running: u64) {
        self.list = Some(Backoff::of_others(now, running));
    }

    /// Whether the list does not come.
    pub(super) fn list_is_held(&self) -> bool {
        self.list.is_some()
    }

    /// What came of a guest in this collection. `is_asked` is false where a call from before still holds it.
    pub(super) fn note(&mut self, uuid: Uuid, name: &Arc<str>, outcome: Noted, collection: u64) {
        let health = self.of_mut(uuid, name);
        health.last = outcome.completeness;
        match outcome.completeness {
            Completeness::Complete | Completeness::Partial => {
                health.complete_in = collection;
                health.starting_id = None;
                health.locked = None;
            }
            Completeness::Starting => health.starting_id = Some(outcome.id),
            Completeness::Locked => {
                if let Some((now, running)) = outcome.left_behind {
                    Backoff::again(&mut health.locked, now, running);
                }
            }
            Completeness::Busy | Completeness::Hung => health.locked = None,
            Completeness::NotAsked => {}
        }
    }

    /// What of it could not be read this time, although it answers; [`Health::report_failures`] reports it.
    pub(super) fn failures(&mut self, uuid: Uuid, name: &Arc<str>, failures: &[String]) {
        let health = self.of_mut(uuid, name);
        if health.failures == failures {
            return;
        }
        let before = std::mem::replace(&mut health.failures, failures.to_vec());
        let lacks = |list: &[String], failure: &String| !list.contains(failure);
        let begun = failures.iter().filter(|failure| lacks(&before, failure));
        let begun: Vec<&String> = begun.collect();
        for failure in begun {
            let guests = self.changes.begun.entry(failure.clone()).or_default();
            guests.push((Arc::clone(name), uuid));
        }
        for failure in before.into_iter().filter(|failure| lacks(failures, failure)) {
            self.changes.ended.entry(failure).or_default().push((Arc::clone(name), uuid));
        }
    }
}

/// What came of a guest.
pub(super) struct Noted {
    pub(super) completeness: Completeness,
    /// Its id.
    pub(super) id: i32,
    /// When a call of this collection was left behind in it, and which guests ran then.
    pub(super) left_behind: Option<(Instant, u64)>,
}

/// Network statistics that take so long are not waited for.
const NOT_WAITED_FOR: Duration = Duration::from_millis(500);
/// So seldom it is tried whether they still do: libvirt locks the guest while it asks.
const TRY_AGAIN: Duration = Duration::from_secs(60);

/// How long a bulk call of one guest may take before it counts as slow.
pub(super) const SLOW: Duration = Duration::from_millis(300);

#[cfg(test)]
mod tests;
