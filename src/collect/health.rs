//! How well each guest answers, from one collection to the next and, through the cache, from one run to the
//! next; and the messages about it: one for all guests with the same trouble, when it begins and when it ends.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::backoff::{Backoff, SavedBackoff};
use super::cause::{Cause, HeldGuest};
use crate::log::{Level, Log};
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
    pub(super) fn new(uri: &Arc<str>, log: &Arc<Log>) -> Self {
        let (uri, log) = (Arc::clone(uri), Arc::clone(log));
        let (guests, saved, changes) = (HashMap::new(), HashSet::new(), Changes::default());
        Self { uri, log, guests, list: None, trouble_since: None, saved, changes }
    }

    /// Takes over what an earlier run has saved. `now_ns` is the host's CLOCK_BOOTTIME at `now`.
    pub(super) fn restore(&mut self, saved: Vec<SavedHealth>, now: Instant, now_ns: u64) {
        self.saved.extend(saved.iter().map(|saved| saved.uuid));
        for SavedHealth { name, uuid, answer, is_slow, locked, .. } in saved {
            let locked = locked.map(|saved| Backoff::restored(&saved, now, now_ns));
            if uuid.is_nil() {
                self.list = locked;
                continue;
            }
            let name = name.as_str().into();
            let slow = is_slow.then_some(NOT_WAITED_FOR);
            let health = GuestHealth { name, last: answer, slow, locked, ..Default::default() };
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

    /// Whether a guest whose object was locked may be asked again: its time has come, or guests have
    /// started or stopped since, which is what such a lock mostly is about.
    pub(super) fn may_ask(&self, uuid: &Uuid, now: Instant, running: u64) -> bool {
        let locked = self.of(uuid).and_then(|health| health.locked.as_ref());
        let of_earlier_run = locked.filter(|locked| locked.is_of_earlier_run());
        of_earlier_run.is_none_or(|locked| locked.is_over(now, running, self.has_budget()))
    }

    /// Whether the list may be asked for, where a call for it may be out of which nobody says when it comes
    /// back. A guest that is locked holds it, too: that one is asked first.
    pub(super) fn may_list(&self, is_out: bool, now: Instant, running: u64) -> bool {
        let Some(list) = self.list.as_ref().filter(|list| is_out || list.is_of_earlier_run())
        else {
            return true;
        };
        list.is_over(now, running, !self.is_any_locked() && self.has_budget())
    }

    /// Whether the calls that earlier runs have left behind leave room for another one.
    fn has_budget(&self) -> bool {
        let locked = self.guests.values().filter_map(|health| health.locked.as_ref());
        let sick = locked.clone().count().max(1);
        let left: u32 = locked.chain(&self.list).map(|backoff| backoff.calls).sum();
        usize::try_from(left).is_ok_and(|left| left < sick + 2)
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

    /// Reports what could not be read of guests that answer: one message for all with the same failure, when
    /// it begins and when it ends.
    pub(super) fn report_failures(&mut self) {
        let Changes { begun, ended } = std::mem::take(&mut self.changes);
        for (failure, guests) in begun {
            self.log.warn(format_args!("{}: {failure}", named_in_short(&guests)));
        }
        for (failure, guests) in ended {
            self.log.info(format_args!("{}: no longer: {failure}", named_in_short(&guests)));
        }
    }

    /// Reports which guests have come into trouble, and which are out of it: one message for each cause.
    pub(super) fn report(&mut self, held: &[HeldGuest], answering: impl Fn(&Uuid) -> bool) {
        let mut begun: HashMap<Cause, Vec<(Arc<str>, Uuid)>> = HashMap::new();
        for HeldGuest { uuid, name, cause } in held {
            let health = self.of_mut(*uuid, name);
            if health.reported != Some(*cause) {
                health.reported = Some(*cause);
                begun.entry(*cause).or_default().push((Arc::clone(name), *uuid));
            }
        }
        let mut begun: Vec<_> = begun.into_iter().collect();
        begun.sort_by_key(|(cause, _)| *cause);
        for (cause, guests) in begun {
            let text = cause.text(guests.len() > 1);
            self.log.warn(format_args!("{} {text}", named(&guests)));
        }
        let is_held = |uuid: &Uuid| held.iter().any(|guest| guest.uuid == *uuid);
        let mut ended: Vec<(Arc<str>, Uuid)> = Vec::new();
        for (uuid, health) in self.guests.iter_mut().filter(|(_, health)| health.reported.is_some())
        {
            if !is_held(uuid) && answering(uuid) {
                health.reported = None;
                ended.push((Arc::clone(&health.name), *uuid));
            }
        }
        if !ended.is_empty() {
            let verb = if ended.len() > 1 { "are" } else { "is" };
            self.log.info(format_args!("{} {verb} responding again", named(&ended)));
        }
    }

    /// So many guests were not asked, since enough calls are stuck.
    pub(super) fn not_asked(&mut self, guests: usize, stuck: usize) {
        let key = format!("stuck {}", self.uri);
        if guests == 0 {
            self.log.ends(&key, format_args!("every guest of {} is asked again", self.uri));
            return;
        }
        let message = format_args!(
            "{stuck} calls to guests of {} that do not respond are stuck: {guests} guests that may hang \
             too are not asked for what only their QEMUs know; `max_stuck` limits the calls",
            self.uri
        );
        self.log.begins(&key, Level::Warn, message);
    }

    /// Guests that could not be read in time, although nothing seems to hold them.
    pub(super) fn late(&mut self, late: usize, of: usize, deadline: &str) {
        let key = format!("late {}", self.uri);
        if late == 0 {
            self.log.ends(&key, format_args!("the guests of {} are read in time again", self.uri));
            return;
        }
        let message = format_args!(
            "{late} of {of} guests of {} could not be read within the deadline of {deadline}: libvirt or \
             this host is too slow for it; set a longer `deadline`",
            self.uri
        );
        self.log.begins(&key, Level::Warn, message);
    }

    /// Whether libvirt lists its guests, and which guest most likely keeps it from that.
    pub(super) fn report_list(&mut self, is_late: bool, read: usize, nameless: &[String]) {
        let key = format!("list {}", self.uri);
        if !is_late {
            self.log.ends(&key, format_args!("{} lists its guests again", self.uri));
            return;
        }
        let locked: Vec<(Arc<str>, Uuid)> = self
            .guests
            .iter()
            .filter(|(_, health)| health.last == Completeness::Locked)
            .map(|(uuid, health)| (Arc::clone(&health.name), *uuid))
            .collect();
        let holder = match locked.as_slice() {
            [] if !nameless.is_empty() => {
                let names: Vec<String> =
                    nameless.iter().map(|name| format!("\"{name}\"")).collect();
                format!("guest {} holds it, locked inside libvirt", names.join(" and "))
            }
            [] => "most likely a guest that is being started or stopped holds it".to_owned(),
            some => format!("{} {} it", named(some), if some.len() > 1 { "hold" } else { "holds" }),
        };
        let message = format_args!(
            "{} does not list its guests: {holder}; the {read} guests known from before are read one by \
             one, and guests that have started since are missing",
            self.uri
        );
        self.log.begins(&key, Level::Warn, message);
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

/// How many names a message has at the most, and how long they are together: what is said of the guests comes
/// after their names, and the first message of a run is short.
const NAMES_MAX: usize = 20;
const NAMES_LENGTH_MAX: usize = 240;

/// The guest in a message that is long already, or the guests.
fn named_in_short(guests: &[(Arc<str>, Uuid)]) -> String {
    match guests {
        [(name, _)] => format!("guest \"{name}\""),
        several => named(several),
    }
}

/// The guests in a message.
fn named(guests: &[(Arc<str>, Uuid)]) -> String {
    if let [(name, uuid)] = guests {
        return format!("guest \"{name}\" ({uuid})");
    }
    let mut names: Vec<&str> = guests.iter().map(|(name, _)| &**name).collect();
    names.sort_unstable();
    let mut text = format!("{} guests (", guests.len());
    for (place, name) in names.iter().enumerate() {
        if place == NAMES_MAX || (place > 0 && text.len() + name.len() > NAMES_LENGTH_MAX) {
            let _ = write!(text, " and {} more", names.len() - place);
            break;
        }
        let comma = if place > 0 { ", " } else { "" };
        let _ = write!(text, "{comma}\"{name}\"");
    }
    text.push(')');
    text
}

/// Network statistics that take so long are not waited for.
const NOT_WAITED_FOR: Duration = Duration::from_millis(500);
/// So seldom it is tried whether they still do: libvirt locks the guest while it asks.
const TRY_AGAIN: Duration = Duration::from_secs(60);

/// How long a bulk call of one guest may take before it counts as slow.
pub(super) const SLOW: Duration = Duration::from_millis(300);

#[cfg(test)]
mod tests {
    use super::*;

    fn guests(count: u128) -> Vec<(Arc<str>, Uuid)> {
        (0..count).map(|n| (format!("guest-{n:03}").into(), Uuid::from_u128(n))).collect()
    }

    #[test]
    fn guests_with_one_failure_have_one_message_when_it_begins_and_when_it_ends() {
        let log = Arc::new(Log::kept(Level::Info));
        let mut health = Health::new(&"test:///x".into(), &log);
        let mut collection = |failures: &[&str], count: u128| {
            let failures: Vec<String> = failures.iter().map(|it| (*it).to_owned()).collect();
            for (name, uuid) in guests(count) {
                health.failures(uuid, &name, &failures);
            }
            health.report_failures();
            log.take().into_iter().map(|(_, message)| message).collect::<Vec<_>>()
        };
        let begun = collection(&["disks: refused", "NICs: refused"], 3);
        let three = "3 guests (\"guest-000\", \"guest-001\", \"guest-002\")";
        assert_eq!(begun, [format!("{three}: NICs: refused"), format!("{three}: disks: refused")]);
        assert_eq!(collection(&["disks: refused", "NICs: refused"], 3), [""; 0]);
        assert_eq!(
            collection(&["disks: refused"], 1),
            ["guest \"guest-000\": no longer: NICs: refused"]
        );
        assert_eq!(collection(&[], 3).len(), 2);
    }

    #[test]
    fn of_many_guests_so_many_are_named_that_the_cause_is_in_the_message_too() {
        let text = named(&guests(500));
        assert!(text.starts_with("500 guests (\"guest-000\", \"guest-001\", "), "{text}");
        assert!(text.ends_with(" more)") && text.len() < 300, "{text}");
        assert_eq!(named(&guests(1)), format!("guest \"guest-000\" ({})", Uuid::nil()));
        assert_eq!(named(&guests(2)), "2 guests (\"guest-000\", \"guest-001\")");
    }
}
