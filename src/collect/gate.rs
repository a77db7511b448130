//! May this call be made now? The rules of isolation, in one place and without I/O.
//!
//! - While a call for a guest has not come back, nothing is asked of it that could wait in the same place.
//! - One list of the guests is out at a time, since a list waits for every guest.
//! - Calls that are stuck are at most `max_stuck`, and `workers` more for guests that are known to answer.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::call::{How, Mark, Patience, Progress, Step};
use crate::pool::CallId;

/// What a call is for, as far as the gate must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallKind {
    List,
    /// Guests are looked up by the names of files.
    Files,
    Ask(How),
    /// The bulk statistics of guests that are off.
    AskInactive,
    /// The network statistics of a guest of which they are slow.
    Interface,
    Detail,
}

/// A call that has not come back.
#[derive(Debug)]
pub(super) struct OpenCall {
    pub(super) id: CallId,
    pub(super) kind: CallKind,
    /// The collection that made it.
    pub(super) collection: u64,
    /// The guests that it names, in its order.
    pub(super) guests: Vec<Uuid>,
    /// How many of them it has answered for: those come first.
    pub(super) answered: usize,
    pub(super) progress: Progress,
    /// An earlier collection did not wait for it, and nobody does now.
    is_abandoned: bool,
    /// Since when it is at the step that takes longer than a healthy one; it may have gone on since.
    late_since: Option<Instant>,
}

/// What a late call says of one of its guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Hold {
    /// Nothing: another guest holds the call.
    None,
    /// The call may wait for its job.
    Job,
    /// It is one of several that a bulk call may be waiting for.
    Suspect,
    /// The bulk call waits for it: for its monitor, or for its object.
    Bulk,
    /// The call waits for the lock of its object: so would every other.
    Object,
}

/// A healthy guest answers a call of its own in a fifth of this.
const SOON: Duration = Duration::from_millis(50);

impl OpenCall {
    /// How long it is at its step.
    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.progress.mark().since)
    }

    /// Whether the step that it is at takes longer than a healthy one.
    fn is_late(&self) -> bool {
        self.late_since.is_some_and(|since| since == self.progress.mark().since)
    }

    /// Whether others do its work. Its answer is still taken.
    pub(super) fn is_stuck(&self) -> bool {
        self.is_abandoned || self.is_late()
    }

    /// What this call says of the guest at a place of it, as far as it has come.
    fn hold(&self, place: usize) -> Hold {
        if !self.is_late() || place < self.answered {
            return Hold::None;
        }
        let Mark { step, guest, .. } = self.progress.mark();
        let is_culprit = guest == Some(place);
        match step {
            Step::Connect | Step::List => Hold::None,
            Step::Find | Step::Control | Step::Cpu if is_culprit => Hold::Object,
            // No monitor is asked for these: libvirt has locked the guest while a program counts.
            Step::Bulk if self.kind == CallKind::Interface => Hold::Object,
            Step::Bulk if is_culprit || (guest.is_none() && self.guests.len() == 1) => Hold::Bulk,
            Step::Bulk if guest.is_none() => Hold::Suspect,
            Step::Detail if is_culprit => Hold::Job,
            Step::Find | Step::Control | Step::Cpu | Step::Bulk | Step::Detail => Hold::None,
        }
    }
}

/// The calls of one hypervisor that have not come back.
#[derive(Debug)]
pub(super) struct Gate {
    open: Vec<OpenCall>,
    next: u64,
    max_stuck: usize,
    workers: usize,
}

impl Gate {
    pub(super) fn new(max_stuck: usize, workers: usize) -> Self {
        Self { open: Vec::new(), next: 0, max_stuck: max_stuck.max(workers), workers }
    }

    pub(super) fn open(
        &mut self,
        kind: CallKind,
        collection: u64,
        guests: Vec<Uuid>,
        now: Instant,
    ) -> (CallId, Progress) {
        let (id, progress) = (CallId(self.next), Progress::new(now));
        self.next += 1;
        self.open.push(OpenCall {
            id,
            kind,
            collection,
            guests,
            answered: 0,
            progress: progress.clone(),
            is_abandoned: false,
            late_since: None,
        });
        (id, progress)
    }

    pub(super) fn close(&mut self, id: CallId) -> Option<OpenCall> {
        let position = self.open.iter().position(|call| call.id == id)?;
        Some(self.open.swap_remove(position))
    }

    pub(super) fn find(&mut self, id: CallId) -> Option<&mut OpenCall> {
        self.open.iter_mut().find(|call| call.id == id)
    }

    /// How far an open call has come.
    pub(super) fn mark(&self, id: CallId) -> Option<Mark> {
        self.open.iter().find(|call| call.id == id).map(|call| call.progress.mark())
    }

    /// Whether a call is open and late.
    pub(super) fn is_late(&self, id: CallId) -> bool {
        self.open.iter().any(|call| call.id == id && call.is_stuck())
    }

    /// Whether a call of this kind is at work, and not late with it.
    pub(super) fn is_at_work(&self, kind: CallKind) -> bool {
        self.open.iter().any(|call| call.kind == kind && !call.is_stuck())
    }

    /// The calls that have become late by now.
    pub(super) fn grow_late(&mut self, now: Instant, patience: Patience) -> Vec<CallId> {
        let mut late = Vec::new();
        for call in &mut self.open {
            let mark = call.progress.mark();
            let is_new = call.late_since != Some(mark.since);
            if is_new && now.saturating_duration_since(mark.since) >= mark.patience(patience) {
                call.late_since = Some(mark.since);
                late.push(call.id);
            }
        }
        late
    }

    /// When the next call becomes late, if none comes back before.
    pub(super) fn next_late(&self, now: Instant, patience: Patience) -> Option<Duration> {
        let waiting = self.open.iter().filter(|call| !call.is_stuck());
        let left = waiting.map(|call| {
            let mark = call.progress.mark();
            (mark.since + mark.patience(patience)).saturating_duration_since(now)
        });
        left.min()
    }

    /// Takes every call of an earlier collection for late: nobody waits for it now.
    pub(super) fn give_up_earlier(&mut self, collection: u64) {
        for call in self.open.iter_mut().filter(|call| call.collection < collection) {
            call.is_abandoned = true;
        }
    }

    /// Calls that are at work, and not late with it.
    pub(super) fn busy(&self) -> usize {
        self.open.iter().filter(|call| !call.is_stuck()).count()
    }

    /// Calls that are late: guests hold them.
    pub(super) fn stuck(&self) -> usize {
        self.open.iter().filter(|call| call.is_stuck()).count()
    }

    /// Those of them that this collection has made.
    pub(super) fn stuck_of(&self, collection: u64) -> usize {
        self.open.iter().filter(|call| call.is_stuck() && call.collection == collection).count()
    }

    /// The bulk calls of ours that are late and name this guest, each with since when it waits.
    pub(super) fn late_bulk_calls(
        &self,
        uuid: &Uuid,
    ) -> impl Iterator<Item = (&OpenCall, Instant)> {
        let late = self.open.iter().filter(|call| call.is_late() && call.guests.contains(uuid));
        let marks = late.map(|call| (call, call.progress.mark()));
        marks.filter(|(_, mark)| mark.step == Step::Bulk).map(|(call, mark)| (call, mark.since))
    }

    /// Whether the network statistics are out of a guest of which they are slow: it is locked meanwhile.
    pub(super) fn has_interface_out(&self) -> bool {
        self.open.iter().any(|call| call.kind == CallKind::Interface && call.is_stuck())
    }

    /// Whether any call for a list has not returned.
    pub(super) fn list_is_out(&self) -> bool {
        self.open
            .iter()
            .any(|call| call.kind == CallKind::List || call.progress.mark().step == Step::List)
    }

    /// Whether a call waits for a connection in vain: another one would wait beside it.
    pub(super) fn waits_to_connect(&self) -> bool {
        self.open.iter().any(|call| call.is_stuck() && call.progress.mark().step == Step::Connect)
    }

    /// What the calls that are out say of a guest.
    pub(super) fn hold(&self, uuid: &Uuid) -> Hold {
        let of_call = |call: &OpenCall| {
            let place = call.guests.iter().position(|guest| guest == uuid)?;
            Some(call.hold(place))
        };
        let holds: Vec<Hold> = self.open.iter().filter_map(of_call).collect();
        let waiting = holds.iter().filter(|&&hold| hold == Hold::Bulk).count();
        // A second call that waits in the bulk statistics, too, proves more than a silent monitor: with
        // NOWAIT it would have been answered.
        if waiting > 1 { Hold::Object } else { holds.into_iter().max().unwrap_or(Hold::None) }
    }

    /// Whether a call for this guest is at work, and not late with it.
    pub(super) fn is_being_asked(&self, uuid: &Uuid) -> bool {
        let open = self.open.iter().filter(|call| !call.is_stuck());
        open.into_iter().any(|call| call.guests.iter().skip(call.answered).any(|it| it == uuid))
    }

    /// Whether another call can be made at all. One for a guest that may hang takes the place of such a call
    /// that is not answered soon: each of them may take its time, and they are looked at side by side.
    pub(super) fn has_room(&self, is_for_suspects: bool, now: Instant) -> bool {
        let (busy, stuck) = (self.busy(), self.stuck());
        let is_bounded = stuck <= self.max_stuck + self.workers;
        let young =
            self.open.iter().filter(|call| !call.is_stuck() && call.age(now) < SOON).count();
        let room_beside = is_for_suspects && young < self.workers && busy + stuck < self.max_stuck;
        is_bounded && (busy < self.workers || room_beside)
    }

    /// When a call is no longer answered soon.
    pub(super) fn next_place(&self, now: Instant) -> Option<Duration> {
        let ages = self.open.iter().filter(|call| !call.is_stuck()).map(|call| call.age(now));
        ages.filter(|age| *age < SOON).map(|age| SOON.saturating_sub(age)).min()
    }

    /// Whether so many calls are stuck that guests must not add another one. There is a reserve of one call a
    /// worker for guests that are known to answer (`all_sure`); all of it but one call may go for finding
    /// such guests among those of which nothing is known (`one_unknown`).
    pub(super) fn is_used_up(&self, all_sure: bool, one_unknown: bool) -> bool {
        let reserve = match (all_sure, one_unknown) {
            (true, _) => self.workers,
            (false, true) => self.workers.saturating_sub(1),
            (false, false) => 0,
        };
        self.stuck() > 0 && self.stuck() + self.busy() >= self.max_stuck + reserve
    }
}

#[cfg(test)]
impl Gate {
    pub(super) fn next_number(&self) -> u64 {
        self.next
    }

    pub(super) fn start_at(&mut self, number: u64) {
        self.next = number;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uuid(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    const SECOND: Duration = Duration::from_secs(1);
    const PATIENCE: Patience = Patience { bulk: SECOND, list: SECOND, longest: SECOND };

    #[test]
    fn a_late_call_says_which_of_its_guests_holds_it() {
        let now = Instant::now();
        let mut gate = Gate::new(12, 4);
        let guests = vec![uuid(1), uuid(2), uuid(3)];
        let (id, progress) = gate.open(CallKind::Ask(How::Probed), 1, guests, now);
        let holds = |gate: &Gate| [1, 2, 3].map(|it| gate.hold(&uuid(it)));
        progress.set(Step::Control, Some(1), now);
        assert_eq!(holds(&gate), [Hold::None; 3]);
        assert!(gate.is_being_asked(&uuid(1)));
        assert_eq!(gate.grow_late(now + Duration::from_millis(299), PATIENCE), []);
        assert_eq!(gate.grow_late(now + Duration::from_millis(300), PATIENCE), [id]);
        assert_eq!(holds(&gate), [Hold::None, Hold::Object, Hold::None]);
        progress.set(Step::Bulk, None, now);
        assert_eq!(holds(&gate), [Hold::Suspect; 3]);
        assert!(!gate.is_being_asked(&uuid(1)));
        progress.set(Step::Detail, Some(2), now);
        gate.find(id).unwrap().answered = 2;
        assert_eq!(holds(&gate), [Hold::None, Hold::None, Hold::Job]);
        gate.close(id);
        assert_eq!(holds(&gate), [Hold::None; 3]);
    }

    #[test]
    fn two_bulk_calls_that_wait_for_one_guest_wait_for_its_object() {
        let now = Instant::now();
        let mut gate = Gate::new(12, 4);
        for _ in 0..2 {
            let (_, progress) = gate.open(CallKind::Ask(How::Probed), 1, vec![uuid(1)], now);
            progress.set(Step::Bulk, Some(0), now);
        }
        gate.grow_late(now + SECOND, PATIENCE);
        assert_eq!(gate.hold(&uuid(1)), Hold::Object);
        assert_eq!((gate.busy(), gate.stuck()), (0, 2));
    }

    #[test]
    fn guests_that_answer_have_a_reserve_beyond_the_calls_that_may_be_stuck() {
        let now = Instant::now();
        let mut gate = Gate::new(4, 2);
        assert!(!gate.is_used_up(false, false), "nothing is stuck");
        for guest in 0..4 {
            let (_, progress) = gate.open(CallKind::Ask(How::Probed), 1, vec![uuid(guest)], now);
            progress.set(Step::Bulk, Some(0), now);
        }
        gate.give_up_earlier(2);
        assert!(gate.is_used_up(false, false));
        assert!(!gate.is_used_up(false, true), "one of unknown health may still be tried");
        assert!(!gate.is_used_up(true, false));
        let (_, progress) = gate.open(CallKind::Ask(How::Probed), 2, vec![uuid(9)], now);
        progress.set(Step::Bulk, Some(0), now);
        gate.give_up_earlier(3);
        assert!(gate.is_used_up(false, true));
        assert!(!gate.is_used_up(true, false));
    }

    #[test]
    fn one_list_is_out_whoever_makes_it() {
        let now = Instant::now();
        let mut gate = Gate::new(4, 2);
        let (list, _) = gate.open(CallKind::List, 1, Vec::new(), now);
        assert!(gate.list_is_out());
        gate.close(list);
        let (_, progress) = gate.open(CallKind::Ask(How::Together), 1, vec![uuid(1)], now);
        assert!(!gate.list_is_out());
        progress.set(Step::List, None, now);
        assert!(gate.list_is_out());
    }
}
