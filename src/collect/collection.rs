//! One collection of one hypervisor, as a state machine without I/O: it is told what came and what time it
//! is, and says which calls to make. It decides and never blocks; the workers block and never decide.
//!
//! The list is waited for a moment only. When it is late, a guest holds it, and the last known list serves:
//! then each guest is first asked what its monitor is at, so that one whose object is locked holds nothing but
//! that call. When a call is late, its mark says which guest holds it, and the others are asked elsewhere.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::call::{
    Answer, Ask, Asked, Call, CallId, DetailRequest, Detailed, Done, How, Mark, Progress, Purpose,
    Sampled, Step,
};
use super::coordinator::Coordinator;
use super::gate::{CallKind, Hold, OpenCall};
use super::guest_state::{Context, End, GuestState, LOCKED_AFTER, Next, Stage};
use super::health::Cause;
use super::request::{GuestRequest, ReadRequest, always, of_inactive};
use super::session::Listed;
use super::{Excluded, Known, assemble, extra};
use crate::libvirt::{Group, Groups};
use crate::sample::Completeness;

/// A call that took this long is taken for stuck, and others do its work meanwhile.
const PATIENCE: Duration = Duration::from_secs(1);
/// So long the list is waited for before the last known one serves. A healthy libvirt takes 1 ms.
const LIST_WAIT: Duration = Duration::from_millis(150);
/// A hypervisor that was there a moment ago, and whose connection fails, is tried again so often.
const RETRY: Duration = Duration::from_millis(100);
/// Most guests in one call. If one hangs, the others in it must be asked again.
const MOST_TOGETHER: usize = 16;

/// What is known of a guest from before.
pub(super) type KnownOf<'k> = dyn Fn(&Listed) -> Known<'k> + 'k;

/// Where the list is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ListPhase {
    /// It is asked for as soon as a worker is free, from this moment on.
    Due(Instant),
    /// It has been asked for.
    Waiting(CallId),
    /// It is not asked for: a call for it is out, or its time has not come.
    Held,
    /// It came.
    Here,
}

/// Guests to ask in one call, not before a moment.
struct Batch {
    places: Vec<usize>,
    stage: Stage,
    how: How,
    not_before: Option<Instant>,
}

/// One collection.
pub(super) struct Collection<'a, 'k> {
    pub(super) core: &'a mut Coordinator,
    pub(super) known: &'a KnownOf<'k>,
    /// Late enough for a guest that is merely busy, and early enough to print by the deadline.
    retry_until: Instant,
    /// How long a call may take.
    longest: Duration,
    list: ListPhase,
    /// Whether the newest list there is has been taken over.
    has_roster: bool,
    has_asked_files: bool,
    pub(super) listed_at: Instant,
    pub(super) guests: Vec<GuestState>,
    places: HashMap<Uuid, usize>,
    queue: VecDeque<Batch>,
    pub(super) excluded: Vec<Excluded>,
    /// Whether libvirt has answered anything in this collection.
    pub(super) has_answered: bool,
    /// Why there is no connection, as far as it was tried.
    pub(super) refused: Option<String>,
    /// It is known to be down.
    pub(super) is_down: bool,
}

impl<'a, 'k> Collection<'a, 'k> {
    pub(super) fn begin(core: &'a mut Coordinator, known: &'a KnownOf<'k>, now: Instant) -> Self {
        core.collection += 1;
        // What an earlier collection did not wait for is not waited for now.
        core.gate.give_up_earlier(core.collection);
        let deadline = core.plan.deadline;
        let mut collection = Self {
            known,
            retry_until: now + deadline.mul_f32(0.6),
            longest: PATIENCE.min(deadline / 4),
            list: ListPhase::Held,
            has_roster: false,
            has_asked_files: false,
            listed_at: now,
            guests: Vec::new(),
            places: HashMap::new(),
            queue: VecDeque::new(),
            excluded: Vec::new(),
            has_answered: false,
            refused: None,
            is_down: false,
            core,
        };
        if collection.may_list(now) {
            collection.list = ListPhase::Due(now);
        }
        collection
    }

    /// One list is out at a time, across runs too. Where the connection may be dead without our knowing it is
    /// asked for over another one, but seldom.
    fn may_list(&self, now: Instant) -> bool {
        let may_be_dead = !self.core.was_up || self.core.files.is_none();
        let is_held = self.core.health.list_is_held();
        if self.core.gate.list_is_out() && !(may_be_dead && is_held) {
            return false;
        }
        !is_held || self.core.health.may_list(now, self.core.running())
    }

    /// The calls to make now. `idle` workers have a connection.
    pub(super) fn calls(&mut self, idle: usize, now: Instant) -> Vec<(CallId, Call, Progress)> {
        let mut calls = Vec::new();
        self.note_late_calls(now);
        self.settle_locked(now);
        self.use_last_list(now);
        let mut idle = idle;
        while self.core.gate.has_room() && (idle > 0 || !self.core.gate.waits_to_connect()) {
            let Some(call) = self.next_call(now) else { break };
            calls.push(call);
            idle = idle.saturating_sub(1);
        }
        calls
    }

    fn next_call(&mut self, now: Instant) -> Option<(CallId, Call, Progress)> {
        if let ListPhase::Due(from) = self.list
            && from <= now
        {
            let host_name = self.core.plan.host_name && self.core.host_name.is_none();
            let call = Call::List { host_name };
            let (id, progress) = self.open(CallKind::List, Vec::new(), now);
            self.list = ListPhase::Waiting(id);
            return Some((id, call, progress));
        }
        if let Some(files) = self.files_to_ask() {
            self.has_asked_files = true;
            let (id, progress) = self.open(CallKind::Files, Vec::new(), now);
            return Some((id, Call::ListByFiles(files), progress));
        }
        self.next_batch(now)
    }

    fn open(&mut self, kind: CallKind, guests: Vec<Uuid>, now: Instant) -> (CallId, Progress) {
        self.core.gate.open(kind, self.core.collection, guests, now)
    }

    /// Where the guests of this machine can be looked up by name, since nothing lists them.
    fn files_to_ask(&self) -> Option<std::path::PathBuf> {
        let is_needed = !self.has_asked_files
            && self.has_roster
            && self.list != ListPhase::Here
            && self.guests.is_empty()
            && self.excluded.is_empty();
        self.core.files.clone().filter(|_| is_needed)
    }

    /// Whether libvirt itself seems to be stuck: calls are late, and none has come back. Then no guest is
    /// blamed, and no more is asked.
    fn is_libvirt_stuck(&self) -> bool {
        !self.has_answered
            && self.core.gate.stuck_of(self.core.collection) >= self.core.plan.workers
    }

    fn next_batch(&mut self, now: Instant) -> Option<(CallId, Call, Progress)> {
        if self.is_libvirt_stuck() {
            return None;
        }
        for _ in 0..self.queue.len() {
            let mut batch = self.queue.pop_front()?;
            let (guests, gate) = (&self.guests, &self.core.gate);
            let is_wanted = |place: &usize| {
                let guest = guests.get(*place);
                guest.is_some_and(|it| !it.is_settled && it.stage == batch.stage)
            };
            batch.places.retain(is_wanted);
            if batch.places.is_empty() {
                continue;
            }
            let is_asked = |place: &usize| {
                guests.get(*place).is_some_and(|it| gate.is_being_asked(&it.request.uuid))
            };
            let must_wait = batch.not_before.is_some_and(|moment| moment > now)
                || (gate.stuck() > 0 && batch.places.iter().any(is_asked));
            if must_wait {
                self.queue.push_back(batch);
                continue;
            }
            return Some(self.make(batch, now));
        }
        None
    }

    /// The call for a batch.
    fn make(&mut self, batch: Batch, now: Instant) -> (CallId, Call, Progress) {
        let Batch { places, stage, how, .. } = batch;
        let guests: Vec<&GuestState> =
            places.iter().filter_map(|&place| self.guests.get(place)).collect();
        let uuids: Vec<Uuid> = guests.iter().map(|guest| guest.request.uuid).collect();
        let read = self.read_request();
        let (kind, call) = match stage {
            Stage::Bulk | Stage::BulkOfInactive | Stage::Interface => {
                let how = if self.must_be_quiet(&guests) { How::Quietly } else { how };
                let groups = self.groups(&guests, stage);
                let spares = self.core.spares.len().saturating_sub(guests.len());
                let ask = Ask {
                    guests: guests.iter().map(|guest| guest.request.clone()).collect(),
                    groups,
                    read,
                    how,
                    may_list: self.list == ListPhase::Here && !self.core.gate.list_is_out(),
                    spares: self.core.spares.split_off(spares),
                };
                let is_inactive = stage == Stage::BulkOfInactive;
                let kind = if is_inactive { CallKind::AskInactive } else { CallKind::Ask(how) };
                (kind, Call::Ask(ask))
            }
            Stage::Metadata | Stage::Detail(_) => {
                let request = |guest: &&GuestState| DetailRequest {
                    guest: guest.request.clone(),
                    sample: match &guest.sampled {
                        Some(sampled) => sampled.sample.clone(),
                        None => guest.empty_sample(),
                    },
                    purpose: match guest.stage {
                        Stage::Detail(purpose) => purpose,
                        _ => Purpose::Metadata,
                    },
                };
                let requests = guests.iter().map(request).collect();
                (CallKind::Detail, Call::Detail(requests, read))
            }
        };
        let (id, progress) = self.open(kind, uuids, now);
        (id, call, progress)
    }

    pub(super) fn read_request(&self) -> ReadRequest {
        let Coordinator { plan, roster, offer, offer_of_inactive, .. } = &*self.core;
        let (offer, offer_of_inactive) = (*offer, *offer_of_inactive);
        let (extra, listed, listed_at) = (plan.extra, roster.len(), self.listed_at);
        ReadRequest { extra, offer, offer_of_inactive, listed, listed_at }
    }

    fn groups(&self, guests: &[&GuestState], stage: Stage) -> Groups {
        let interface: Groups = Group::Interface.into();
        match stage {
            Stage::BulkOfInactive => return of_inactive(),
            Stage::Interface => return interface,
            _ => {}
        }
        let wanted = always().or(extra::groups(self.core.plan.extra));
        let is_slow = |guest: &&GuestState| self.core.health.is_slow(&guest.request.uuid);
        if guests.iter().any(is_slow) { wanted.without(interface) } else { wanted }
    }

    /// Whether so many calls are stuck that these guests must not add another one.
    fn must_be_quiet(&self, guests: &[&GuestState]) -> bool {
        let health = &self.core.health;
        let is_sure = |guest: &&GuestState| health.is_known_to_answer(&guest.request.uuid);
        let one_unknown = matches!(guests, [one] if health.last(&one.request.uuid).is_answer());
        self.core.gate.is_used_up(guests.iter().all(is_sure), one_unknown)
    }

    /// Takes over the last known list where the newest does not come.
    fn use_last_list(&mut self, now: Instant) {
        if self.has_roster || self.is_down {
            return;
        }
        let is_late = match self.list {
            ListPhase::Here => return,
            ListPhase::Due(_) => false,
            ListPhase::Held => true,
            ListPhase::Waiting(id) => self.core.gate.mark(id).is_some_and(|mark| {
                let wait = if self.core.roster.is_empty() { self.longest } else { LIST_WAIT };
                let waited = now.saturating_duration_since(mark.since);
                mark.step == Step::List && waited >= wait.min(self.longest)
            }),
        };
        // A hypervisor that answered nothing at all the last time is not asked guest by guest.
        let is_known_down = self.core.roster.is_empty() || self.core.collection == 1;
        if is_late && (self.core.was_up || is_known_down) {
            self.has_roster = true;
            let roster = Arc::clone(&self.core.roster);
            self.add(&roster);
        }
    }

    /// Takes guests over from a list, and gets them ready to be asked.
    fn add(&mut self, listed: &[Listed]) {
        let selection = Arc::clone(&self.core.plan.selection);
        let mut places = Vec::new();
        for guest in listed.iter().filter(|guest| guest.is_selected_by(&selection.domains)) {
            if self.places.contains_key(&guest.uuid) {
                continue;
            }
            let known = (self.known)(guest);
            let request = GuestRequest {
                uuid: guest.uuid,
                id: guest.id,
                name: Arc::clone(&guest.name),
                cpu_before_ns: known.before.and_then(|before| before.cpu.time_ns),
                fresh: known.devices.as_ref().is_some_and(|devices| devices.is_fresh),
                inventory: known.devices.map(|devices| devices.inventory),
            };
            let is_filtered = selection.domains.has_metadata();
            if is_filtered && request.fresh && request.passes(&selection) == Some(false) {
                self.excluded.push(request.excluded(None));
                continue;
            }
            let place = self.guests.len();
            self.places.insert(guest.uuid, place);
            self.guests.push(GuestState::new(request));
            places.push(place);
        }
        self.enqueue(&places);
    }

    /// Puts guests into calls: those that answer together, those that may not answer alone, and last.
    fn enqueue(&mut self, places: &[usize]) {
        let selection = Arc::clone(&self.core.plan.selection);
        let running = if self.core.health.is_any_locked() { self.core.running() } else { 0 };
        let now = self.listed_at;
        let (mut sure, mut inactive, mut metadata) = (Vec::new(), Vec::new(), Vec::new());
        let (mut alone, mut slow) = (Vec::new(), Vec::new());
        let is_any_stuck = self.core.gate.stuck() > 0;
        for &place in places {
            let Some(guest) = self.guests.get_mut(place) else { continue };
            let uuid = guest.request.uuid;
            let (health, gate) = (&self.core.health, &self.core.gate);
            let hold = if is_any_stuck { gate.hold(&uuid) } else { Hold::None };
            if hold == Hold::Object || !health.may_ask(&uuid, now, running) {
                guest.settle(Completeness::Locked, Some(Cause::Locked));
            } else if guest.request.needs_metadata_first(&selection) && hold == Hold::None {
                guest.stage = Stage::Metadata;
                metadata.push(place);
            } else if guest.request.id < 0 {
                inactive.push(place);
            } else if health.is_slow(&uuid) {
                slow.push(place);
            } else if hold != Hold::None
                || health.is_asked_alone(&uuid)
                || !health.is_known_to_answer(&uuid)
            {
                alone.push(place);
            } else {
                sure.push(place);
            }
        }
        // Where the list is late a guest holds it, and a look at the monitors finds which.
        let together = if self.list == ListPhase::Here { How::Together } else { How::Probed };
        let size = batch_size(sure.len(), self.core.plan.workers);
        let mut add = |places: &[usize], size: usize, stage: Stage, how: How| {
            for some in places.chunks(size) {
                let (places, not_before) = (some.to_vec(), None);
                self.queue.push_back(Batch { places, stage, how, not_before });
            }
        };
        add(&metadata, size, Stage::Metadata, together);
        add(&sure, size, Stage::Bulk, together);
        add(&inactive, MOST_TOGETHER, Stage::BulkOfInactive, together);
        let (unknown, healthy): (Vec<usize>, Vec<usize>) = alone.into_iter().partition(|&place| {
            let uuid = self.guests.get(place).map(|guest| guest.request.uuid);
            uuid.is_some_and(|uuid| !self.core.health.last(&uuid).is_answer())
        });
        add(&healthy, 1, Stage::Bulk, together);
        add(&unknown, 1, Stage::Bulk, How::Probed);
        add(&slow, 1, Stage::Bulk, How::Probed);
    }

    /// Looks for calls that have become late: whoever does not hold them is asked elsewhere.
    fn note_late_calls(&mut self, now: Instant) {
        for id in self.core.gate.grow_late(now, self.longest) {
            let Some(call) = self.core.gate.find(id) else { continue };
            let (kind, mark) = (call.kind, call.progress.mark());
            let rest: Vec<(usize, Uuid)> =
                call.guests.iter().copied().enumerate().skip(call.answered).collect();
            if kind == CallKind::List && call.collection == self.core.collection {
                if mark.step == Step::Connect {
                    // Another connection, where there is one, may do better.
                    self.list = ListPhase::Due(now);
                } else {
                    let running = self.core.running();
                    self.core.health.note_list(false, now, running);
                }
            }
            for (place, uuid) in rest {
                if let Some(&index) = self.places.get(&uuid) {
                    self.ask_elsewhere(index, mark, mark.guest == Some(place), kind);
                }
            }
        }
        let is_any = self.core.gate.stuck() > 0;
        self.core.health.note_stuck_calls(self.core.collection, is_any);
    }

    /// What follows for a guest from a call that is late with it.
    fn ask_elsewhere(&mut self, index: usize, mark: Mark, is_culprit: bool, kind: CallKind) {
        let uuid = match self.guests.get(index) {
            Some(guest) if !guest.is_settled => guest.request.uuid,
            _ => return,
        };
        let hold = self.core.gate.hold(&uuid);
        let has_nowait = self.core.offer.is_none_or(|offer| offer.nowait);
        let Some(guest) = self.guests.get_mut(index) else { return };
        if hold == Hold::Object {
            guest.locked_from = Some(mark.since + LOCKED_AFTER);
            guest.left_behind = true;
            if self.list == ListPhase::Here && self.core.gate.has_bulk_out(&uuid) {
                // The list came, so that nobody had locked it: a call of ours has.
                let name = guest.name();
                self.core.health.note_alone(uuid, &name, true);
            }
            return;
        }
        match (guest.stage, is_culprit) {
            // It answered, and waits now: what it said counts, with the device list that is known.
            (Stage::Detail(_), true) => {
                let completeness = guest.sampled.as_ref().map(|it| it.sample.completeness);
                guest.settle(completeness.unwrap_or(Completeness::Busy), None);
                return;
            }
            (Stage::Metadata, true) => match guest.request.passes(&self.core.plan.selection) {
                Some(false) => {
                    let excluded = guest.request.excluded(None);
                    guest.end(End::Excluded(excluded));
                    return;
                }
                Some(true) => {
                    guest.ask_bulk();
                }
                None => {
                    let words = "its metadata cannot be read: it does not answer";
                    guest.end(End::Failed(words.to_owned()));
                    return;
                }
            },
            (Stage::Interface, true) => {
                guest.settle(Completeness::Partial, Some(Cause::SlowHelper));
                return;
            }
            (Stage::Bulk | Stage::BulkOfInactive, _) if hold == Hold::Bulk && !has_nowait => {
                // Without NOWAIT a second call would be stuck as well.
                guest.settle(Completeness::Hung, Some(Cause::SilentQemu));
                return;
            }
            _ => {}
        }
        let how = match (mark.step, kind) {
            (Step::Connect | Step::List, CallKind::Ask(how)) => how,
            _ => How::Probed,
        };
        let (places, stage) = (vec![index], guest.stage);
        self.queue.push_back(Batch { places, stage, how, not_before: None });
    }

    /// Guests whose objects stay locked are not waited for any more.
    fn settle_locked(&mut self, now: Instant) {
        for guest in self.guests.iter_mut().filter(|guest| !guest.is_settled) {
            if guest.locked_from.is_some_and(|from| from <= now) {
                guest.settle(Completeness::Locked, Some(Cause::Locked));
            }
        }
    }

    /// Takes an answer.
    pub(super) fn take(&mut self, done: Done, now: Instant) {
        let Done { id, result, is_last } = done;
        let is_list = ListPhase::Waiting(id) == self.list;
        let call = if is_last { self.core.close(id) } else { None };
        let is_now = match (&call, self.core.gate.find(id)) {
            (Some(call), _) => call.collection == self.core.collection,
            (None, Some(call)) => call.collection == self.core.collection,
            (None, None) => return,
        };
        self.has_answered |= is_now && result.is_ok();
        match result {
            Ok(Answer::HostName(name)) => self.core.host_name = Some(name),
            Ok(Answer::Listed(listed)) => {
                let kind = call.as_ref().map_or(CallKind::Files, |call| call.kind);
                self.take_list(&listed, kind, is_list, now);
            }
            Ok(Answer::Detailed(place, detailed)) => {
                let uuid = self.core.gate.find(id).and_then(|call| {
                    call.answered = place + 1;
                    call.guests.get(place).copied()
                });
                if let Some(&index) = uuid.filter(|_| is_now).and_then(|it| self.places.get(&it)) {
                    self.take_detailed(index, detailed);
                }
            }
            Ok(Answer::Asked(asked, offer, took)) => {
                let is_of_inactive =
                    call.as_ref().is_some_and(|call| call.kind == CallKind::AskInactive);
                let known = if is_of_inactive {
                    &mut self.core.offer_of_inactive
                } else {
                    &mut self.core.offer
                };
                *known = known.or(offer);
                let Some(call) = call else { return };
                self.take_asked(&call, asked, took, is_now, now);
            }
            Err(error) => {
                let Some(call) = call else { return };
                self.take_error(&call, &error.to_string(), is_list, is_now, now);
            }
        }
    }

    fn take_list(
        &mut self,
        listed: &Arc<[Listed]>,
        kind: CallKind,
        is_awaited: bool,
        now: Instant,
    ) {
        if kind == CallKind::Files {
            let known = self.core.roster.iter().chain(listed.iter());
            self.core.roster = known.cloned().collect();
            self.add(listed);
            return;
        }
        self.core.health.note_list(true, now, 0);
        self.core.health.keep(listed.iter().map(|guest| guest.uuid));
        self.core.roster = Arc::clone(listed);
        if is_awaited {
            self.list = ListPhase::Here;
        } else if self.list == ListPhase::Held {
            // The newest that there is, and nothing holds a list any more.
            self.list = ListPhase::Due(now);
        }
        if self.list == ListPhase::Here || self.has_roster {
            self.has_roster = true;
            self.add(listed);
        }
    }

    fn take_error(
        &mut self,
        call: &OpenCall,
        error: &str,
        is_list: bool,
        is_now: bool,
        now: Instant,
    ) {
        if !is_now {
            self.reopen(call);
            return;
        }
        self.refused = Some(error.to_owned());
        let may_retry = now < self.retry_until;
        if is_list {
            if self.core.was_up && may_retry {
                self.list = ListPhase::Due(now + RETRY);
            } else {
                self.is_down = true;
            }
            return;
        }
        // The connection broke: a libvirtd that restarts is back soon.
        for index in self.unsettled(call) {
            let Some(guest) = self.guests.get_mut(index) else { continue };
            if may_retry {
                let (places, stage, how) = (vec![index], guest.stage, How::Probed);
                let not_before = Some(now + RETRY);
                self.queue.push_back(Batch { places, stage, how, not_before });
            } else {
                guest.end(End::Failed(error.to_owned()));
            }
        }
    }

    fn unsettled(&self, call: &OpenCall) -> Vec<usize> {
        let of_call = call.guests.iter().skip(call.answered);
        let indexes = of_call.filter_map(|uuid| self.places.get(uuid).copied());
        indexes.filter(|&it| self.guests.get(it).is_some_and(|it| !it.is_settled)).collect()
    }

    /// A call from an earlier collection has come back: guests that it held can be asked now.
    fn reopen(&mut self, call: &OpenCall) {
        let mut again = Vec::new();
        for uuid in &call.guests {
            let Some(&index) = self.places.get(uuid) else { continue };
            let is_free = self.core.gate.hold(uuid) < Hold::Object;
            let Some(guest) = self.guests.get_mut(index) else { continue };
            let is_locked = guest.completeness == Some(Completeness::Locked);
            if is_locked && is_free && !guest.is_final() {
                guest.reopen();
                again.push(index);
            }
        }
        for index in again {
            let Some(guest) = self.guests.get(index) else { continue };
            let (places, stage, how) = (vec![index], guest.stage, How::Probed);
            self.queue.push_back(Batch { places, stage, how, not_before: None });
        }
    }

    fn take_asked(
        &mut self,
        call: &OpenCall,
        asked: Vec<(usize, Asked)>,
        took: Duration,
        is_now: bool,
        now: Instant,
    ) {
        if !is_now {
            self.reopen(call);
            return;
        }
        if let CallKind::Ask(how) = call.kind {
            self.note_time(call, &asked, took, how);
        }
        for (place, asked) in asked {
            let Some(&uuid) = call.guests.get(place) else { continue };
            let Some(&index) = self.places.get(&uuid) else { continue };
            if self.guests.get(index).is_none_or(GuestState::is_final) {
                continue;
            }
            match asked {
                Asked::Gone => self.end(index, End::Gone),
                Asked::Failed(error) => self.end(index, End::Failed(error)),
                Asked::Sampled(sampled) => self.take_sampled(index, sampled, now),
            }
        }
    }

    /// A bulk call that took long makes its guests suspects; one guest's alone finds the slow one.
    fn note_time(&mut self, call: &OpenCall, asked: &[(usize, Asked)], took: Duration, how: How) {
        let is_complete = asked.iter().all(|(_, asked)| {
            matches!(asked, Asked::Sampled(it) if it.sample.memory.rss_kib.is_some() || !it.sample.nics.is_empty())
        });
        if how == How::Quietly || asked.is_empty() || !is_complete {
            return;
        }
        let is_slow = self.core.is_slow(took, asked.len());
        for uuid in &call.guests {
            let Some(&index) = self.places.get(uuid) else { continue };
            let Some(guest) = self.guests.get(index) else { continue };
            let name = guest.name();
            let is_alone = call.guests.len() == 1;
            match (is_alone, guest.stage) {
                // What else of it may be slow is asked apart from its network statistics.
                (true, Stage::Bulk) if self.core.health.is_slow(uuid) => {}
                (true, Stage::Interface) => {
                    let is_slow = took >= super::health::SLOW / 3;
                    self.core.health.note_alone(*uuid, &name, is_slow);
                }
                (true, _) if is_slow || self.core.health.is_asked_alone(uuid) => {
                    self.core.health.note_alone(*uuid, &name, is_slow);
                }
                (false, _) if is_slow => self.core.health.suspect(*uuid, &name),
                _ => {}
            }
        }
    }

    fn end(&mut self, index: usize, end: End) {
        if let Some(guest) = self.guests.get_mut(index) {
            guest.end(end);
        }
    }

    fn take_sampled(&mut self, index: usize, sampled: Sampled, now: Instant) {
        let read = self.read_request();
        let Some(guest) = self.guests.get_mut(index) else { return };
        let uuid = guest.request.uuid;
        if guest.stage == Stage::Interface {
            if let Some(first) = &mut guest.sampled {
                first.sample.nics = sampled.sample.nics;
                first.unknown += sampled.unknown;
            }
            self.finish_bulk(index);
            return;
        }
        guest.is_settled = false;
        let is_quiet = sampled.is_quiet;
        let (control, skips) = (sampled.control, assemble::lacks_monitor(&sampled.sample, &read));
        guest.sampled = Some(sampled);
        if is_quiet {
            guest.settle(Completeness::NotAsked, None);
            return;
        }
        if !skips {
            if guest.request.id >= 0 && self.core.health.is_slow(&uuid) {
                guest.stage = Stage::Interface;
                self.queue.push_back(Batch {
                    places: vec![index],
                    stage: Stage::Interface,
                    how: How::Together,
                    not_before: None,
                });
                return;
            }
            self.finish_bulk(index);
            return;
        }
        let id = guest.request.id;
        let context = Context {
            now,
            retry_until: self.retry_until,
            hold: self.core.gate.hold(&uuid),
            last: self.core.health.last(&uuid),
            was_starting: self.core.health.is_starting(&uuid, id),
        };
        if let Next::Again(pause) = guest.judge_skipped(control, context) {
            let (places, stage, how) = (vec![index], guest.stage, How::Probed);
            let not_before = Some(now + pause);
            self.queue.push_back(Batch { places, stage, how, not_before });
        }
    }

    /// The bulk statistics of a guest are complete: what do they lack?
    fn finish_bulk(&mut self, index: usize) {
        let read = self.read_request();
        let Some(guest) = self.guests.get_mut(index) else { return };
        let Some(sampled) = &guest.sampled else { return };
        let (sample, selection) = (&sampled.sample, &self.core.plan.selection);
        let completeness = sample.completeness;
        let hold = if self.core.gate.stuck() > 0 {
            self.core.gate.hold(&guest.request.uuid)
        } else {
            Hold::None
        };
        let shown = guest.inventory.as_ref();
        let needs = assemble::needs(sample, &guest.request, shown, &read, selection);
        match needs.filter(|_| hold < Hold::Job) {
            None => guest.settle(completeness, None),
            Some(purpose) => {
                // What was read before its statistics came is read again with the rest.
                if purpose == Purpose::WithXml {
                    guest.inventory = None;
                }
                guest.stage = Stage::Detail(purpose);
                self.join(index, Stage::Detail(purpose));
            }
        }
    }

    /// Asks a guest together with others that are at the same stage.
    fn join(&mut self, index: usize, stage: Stage) {
        let size = batch_size(self.guests.len(), self.core.plan.workers);
        let last = self.queue.back_mut().filter(|batch| {
            batch.stage == stage
                && batch.how == How::Together
                && batch.places.len() < size
                && batch.not_before.is_none()
        });
        match last {
            Some(batch) => batch.places.push(index),
            None => self.queue.push_back(Batch {
                places: vec![index],
                stage,
                how: How::Together,
                not_before: None,
            }),
        }
    }

    fn take_detailed(&mut self, index: usize, detailed: Detailed) {
        let selection = Arc::clone(&self.core.plan.selection);
        let Some(guest) = self.guests.get_mut(index) else { return };
        match detailed {
            Detailed::Gone => guest.end(End::Gone),
            Detailed::Filled(filled) => {
                let Some(sampled) = &mut guest.sampled else { return };
                sampled.sample = filled.sample;
                guest.inventory = filled.inventory.or(guest.inventory.take());
                guest.failures = filled.failures;
                let completeness = sampled.sample.completeness;
                guest.settle(completeness, None);
            }
            Detailed::Metadata(Ok(inventory)) => {
                if assemble::is_selected(&inventory, &selection) {
                    guest.inventory = Some(inventory);
                    self.ask_bulk(index);
                } else {
                    let excluded = guest.request.excluded(Some(Arc::new(inventory)));
                    guest.end(End::Excluded(excluded));
                }
            }
            // What was known of it goes on serving.
            Detailed::Metadata(Err(failure)) => match guest.request.passes(&selection) {
                Some(true) => self.ask_bulk(index),
                Some(false) => {
                    let excluded = guest.request.excluded(None);
                    guest.end(End::Excluded(excluded));
                }
                None => {
                    let words = format!("its metadata cannot be read: {failure}");
                    guest.end(End::Failed(words));
                }
            },
        }
    }

    fn ask_bulk(&mut self, index: usize) {
        if let Some(guest) = self.guests.get_mut(index) {
            let stage = guest.ask_bulk();
            self.join(index, stage);
        }
    }

    /// Whether nothing more is waited for.
    pub(super) fn is_over(&self) -> bool {
        if self.is_down {
            return true;
        }
        let is_listed = match self.list {
            ListPhase::Here => true,
            ListPhase::Held => self.has_roster,
            ListPhase::Due(_) => false,
            ListPhase::Waiting(id) => self.core.gate.is_late(id) && self.has_roster,
        };
        let is_looking = self.core.gate.is_at_work(CallKind::Files);
        is_listed
            && !is_looking
            && self.files_to_ask().is_none()
            && self.guests.iter().all(|guest| guest.is_settled)
    }

    /// How many calls must end before there is something to do.
    pub(super) fn enough(&self) -> usize {
        if self.queue.is_empty() { self.core.gate.busy().max(1) } else { 1 }
    }

    /// When to look again, if no answer comes before.
    pub(super) fn wake_in(&self, now: Instant) -> Option<Duration> {
        let late = self.core.gate.next_late(now, self.longest);
        let until = |moment: Instant| moment.saturating_duration_since(now);
        let waiting = self.queue.iter().filter_map(|batch| batch.not_before).map(until);
        let locked = self.guests.iter().filter(|guest| !guest.is_settled);
        let locked = locked.filter_map(|guest| guest.locked_from).map(until);
        let list = match self.list {
            ListPhase::Due(from) => Some(until(from)),
            ListPhase::Waiting(id) if !self.has_roster => {
                self.core.gate.mark(id).map(|mark| until(mark.since + LIST_WAIT))
            }
            _ => None,
        };
        let all = late.into_iter().chain(waiting.filter(|it| !it.is_zero())).chain(locked);
        all.chain(list.filter(|it| !it.is_zero())).min()
    }

    /// Whether the list came in this collection.
    pub(super) fn is_listed(&self) -> bool {
        self.list == ListPhase::Here
    }
}

/// How many guests go into one call. A few guests need one call only, and so one connection; many
/// are spread evenly, with one call a worker while it stays short enough: each call costs this process
/// 0.2 ms of CPU time in waiting and waking, as much as the statistics of 10 guests.
fn batch_size(guests: usize, workers: usize) -> usize {
    const FEW: usize = 4;
    if guests <= FEW {
        return FEW;
    }
    guests.div_ceil(workers).clamp(1, MOST_TOGETHER)
}

#[cfg(test)]
#[path = "collection/tests.rs"]
mod tests;
