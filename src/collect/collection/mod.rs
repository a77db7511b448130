//! One collection of one hypervisor, as a state machine without I/O: it is told what came and what time it
//! is, and says which calls to make. It decides and never blocks; the workers block and never decide.
//!
//! The list is waited for a moment only. When it is late, a guest holds it, and the last known list serves:
//! then each guest is first asked what its monitor is at, so that one whose object is locked holds nothing but
//! that call. When a call is late, its mark says which guest holds it, and the others are asked elsewhere.
//!
//! ```text
//! mod.rs      where the collection is, and which call is next
//! batches.rs  which guests go into which call, and in what order
//! answers.rs  what follows from an answer
//! late.rs     what follows from a list that does not come, and from a call that is late
//! ```

mod answers;
mod batches;
mod late;

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::call::{Call, How, Patience, Progress};
use super::coordinator::Coordinator;
use super::gate::CallKind;
use super::guest_state::{GuestState, Stage};
use super::request::ReadRequest;
use super::session::Listed;
use super::{Excluded, Known};
use crate::pool::CallId;

/// A call that took this long is taken for stuck, and others do its work meanwhile.
const PATIENCE: Duration = Duration::from_secs(1);
/// The same for the bulk statistics of some guests, which a healthy host has in a tenth of it. What is late is
/// still taken: only others are asked beside it.
const BULK_PATIENCE: Duration = Duration::from_millis(600);
/// So long the list is waited for before the last known one serves. A healthy libvirt takes 1 ms.
const LIST_WAIT: Duration = Duration::from_millis(150);
/// A hypervisor that was there a moment ago, and whose connection fails, is tried again so often.
const RETRY: Duration = Duration::from_millis(100);

pub(super) use answers::known_before;

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
    patience: Patience,
    list: ListPhase,
    /// Whether the newest list there is has been taken over.
    has_roster: bool,
    /// From which of libvirt's files on guests are looked up next, where nothing lists them.
    next_file: Option<usize>,
    /// So often a guest was asked again.
    pub(super) asked_again: usize,
    /// Guests that are known by such a file only, and whose objects are locked.
    pub(super) nameless: Vec<String>,
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
            // The last tenths are for the answers of guests that are asked again, and for printing.
            retry_until: now + deadline.mul_f32(0.6),
            patience: Patience {
                bulk: core.bulk_patience(BULK_PATIENCE, PATIENCE).min(deadline / 4),
                list: core.list_patience(PATIENCE, deadline / 2).min(deadline / 2),
                longest: PATIENCE.min(deadline / 4),
            },
            list: ListPhase::Held,
            has_roster: false,
            next_file: None,
            asked_again: 0,
            nameless: Vec::new(),
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

    /// One list is out at a time, across runs too. Where nothing at all was answered the last time, the
    /// connection to another machine may be dead without our knowing: then it is asked for over another one, but
    /// seldom. It would wait for a guest as well that a call of ours has locked.
    fn may_list(&self, now: Instant) -> bool {
        if self.core.was_up && self.core.gate.has_interface_out() {
            return false;
        }
        let is_held = self.core.health.list_is_held();
        let is_out = self.core.gate.list_is_out();
        let is_here = self.core.files.is_some();
        if is_out && (self.core.was_up || !is_held || is_here) {
            return false;
        }
        !is_held || self.core.health.may_list(is_out, now, self.core.running())
    }

    /// The calls to make now. `idle` workers have a connection.
    pub(super) fn calls(&mut self, idle: usize, now: Instant) -> Vec<(CallId, Call, Progress)> {
        let mut calls = Vec::new();
        self.note_late_calls(now);
        self.settle_overdue(now);
        self.use_last_list(now);
        let mut idle = idle;
        while self.core.gate.has_room(self.is_for_suspects(), now)
            && (idle > 0 || !self.core.gate.waits_to_connect())
        {
            let Some(call) = self.next_call(now) else { break };
            calls.push(call);
            idle = idle.saturating_sub(1);
        }
        calls
    }

    /// Whether guests are next of which each may hang.
    fn is_for_suspects(&self) -> bool {
        self.queue.front().is_some_and(|batch| batch.how == How::Probed && batch.places.len() == 1)
            && self.core.gate.stuck() > 0
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
        if let Some((files, from)) = self.core.files.clone().zip(self.next_file.take()) {
            let (id, progress) = self.open(CallKind::Files, Vec::new(), now);
            return Some((id, Call::ListByFiles(files, from), progress));
        }
        self.next_batch(now)
    }

    fn open(&mut self, kind: CallKind, guests: Vec<Uuid>, now: Instant) -> (CallId, Progress) {
        self.core.gate.open(kind, self.core.collection, guests, now)
    }

    /// Whether libvirt itself seems to be stuck: calls are late, and none has come back. Then no guest is
    /// blamed, and no more is asked.
    fn is_libvirt_stuck(&self) -> bool {
        !self.has_answered
            && self.core.gate.stuck_of(self.core.collection) >= self.core.plan.workers
    }

    pub(super) fn read_request(&self) -> ReadRequest {
        let Coordinator { plan, roster, offer, offer_of_inactive, .. } = &*self.core;
        let (offer, offer_of_inactive) = (*offer, *offer_of_inactive);
        let (extra, listed, listed_at) = (plan.extra, roster.len(), self.listed_at);
        ReadRequest { extra, offer, offer_of_inactive, listed, listed_at }
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
            // Where no guest is known the list is all there is to wait for.
            ListPhase::Waiting(id) => {
                self.core.gate.is_late(id) && self.has_roster && !self.guests.is_empty()
            }
        };
        let is_looking = self.core.gate.is_at_work(CallKind::Files);
        is_listed
            && !is_looking
            && self.next_file.is_none()
            && self.guests.iter().all(|guest| guest.is_settled)
    }

    /// How many calls must end before there is something to do.
    pub(super) fn enough(&self) -> usize {
        if self.queue.is_empty() { self.core.gate.busy().max(1) } else { 1 }
    }

    /// When to look again, if no answer comes before.
    pub(super) fn wake_in(&self, now: Instant) -> Option<Duration> {
        let late = self.core.gate.next_late(now, self.patience);
        let until = |moment: Instant| moment.saturating_duration_since(now);
        let waiting = self.queue.iter().filter_map(|batch| batch.not_before).map(until);
        let overdue = self.guests.iter().filter(|guest| !guest.is_settled);
        let overdue = overdue.flat_map(|it| [it.locked_from, it.slow_from, it.list_until]);
        let overdue = overdue.flatten().map(until);
        let list = match self.list {
            ListPhase::Due(from) => Some(until(from)),
            ListPhase::Waiting(id) if !self.has_roster => {
                self.core.gate.mark(id).map(|mark| until(mark.since + LIST_WAIT))
            }
            _ => None,
        };
        let place = self.core.gate.next_place(now).filter(|_| self.is_for_suspects());
        let late = late.into_iter().chain(place).min();
        let all = late.into_iter().chain(waiting.filter(|it| !it.is_zero())).chain(overdue);
        all.chain(list.filter(|it| !it.is_zero())).min()
    }

    /// Whether the list came in this collection.
    pub(super) fn is_listed(&self) -> bool {
        self.list == ListPhase::Here
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
