//! What follows from a list that does not come, and from a call that is late.

use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;

use super::{Batch, Collection, LIST_WAIT, ListPhase, PATIENCE};
use crate::collect::call::{How, Mark, Step};
use crate::collect::cause::Cause;
use crate::collect::gate::{CallKind, Hold, OpenCall};
use crate::collect::guest_state::{End, LOCKED_AFTER, LOCKED_AFTER_BULK, Stage};
use crate::collect::pid_files;
use crate::sample::Completeness;

impl Collection<'_, '_> {
    /// Takes over the last known list where the newest does not come.
    pub(super) fn use_last_list(&mut self, now: Instant) {
        if self.has_roster || self.is_down {
            return;
        }
        let is_late = match self.list {
            ListPhase::Here => return,
            ListPhase::Due(_) => false,
            ListPhase::Held => true,
            ListPhase::Waiting(id) => self.core.gate.mark(id).is_some_and(|mark| {
                let wait =
                    if self.core.roster.is_empty() { self.patience.longest } else { LIST_WAIT };
                let waited = now.saturating_duration_since(mark.since);
                mark.step == Step::List && waited >= wait.min(self.patience.longest)
            }),
        };
        // A hypervisor that answered nothing at all the last time is not asked guest by guest.
        let is_known_down = self.core.roster.is_empty() || self.core.collection == 1;
        if is_late && (self.core.was_up || is_known_down) {
            self.has_roster = true;
            if self.core.roster.is_empty() && self.core.files.is_some() {
                self.next_file = Some(0);
            }
            let roster = Arc::clone(&self.core.roster);
            self.add(&roster);
        }
    }

    /// Looks for calls that have become late: whoever does not hold them is asked elsewhere.
    pub(super) fn note_late_calls(&mut self, now: Instant) {
        for id in self.core.gate.grow_late(now, self.patience) {
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
            if let (CallKind::Files, Some(place)) = (kind, mark.guest) {
                // The others are looked up over another connection.
                self.next_file = Some(place + 1);
                let names = self.core.files.as_deref().map(pid_files::names).unwrap_or_default();
                self.nameless.extend(names.into_iter().nth(place));
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
    pub(super) fn ask_elsewhere(
        &mut self,
        index: usize,
        mark: Mark,
        is_culprit: bool,
        kind: CallKind,
    ) {
        let uuid = match self.guests.get(index) {
            Some(guest) if !guest.is_settled => guest.request.uuid,
            _ => return,
        };
        let hold = self.core.gate.hold(&uuid);
        let has_nowait = self.core.offer.is_none_or(|offer| offer.nowait);
        if hold == Hold::Object {
            let is_slow = self.has_locked_it(&uuid);
            let bulk_calls = self.core.gate.late_bulk_calls(&uuid);
            let of_now = bulk_calls.filter(|(call, _)| call.collection == self.core.collection);
            let after_bulk = of_now.map(|(_, since)| since + LOCKED_AFTER_BULK).min();
            let Some(guest) = self.guests.get_mut(index) else { return };
            let after_call = mark.since + LOCKED_AFTER;
            if kind == CallKind::Interface {
                // It has answered all else.
                guest.slow_from = Some(after_call);
            } else {
                guest.locked_from = after_bulk.into_iter().chain([after_call]).min();
            }
            guest.left_behind = true;
            if is_slow {
                let name = guest.name();
                self.core.health.note_interface(uuid, &name, Some(PATIENCE));
            }
            return;
        }
        let Some(guest) = self.guests.get_mut(index) else { return };
        match (guest.stage, is_culprit) {
            // A slow machine takes long as well, and without any list the guest has no disks.
            (Stage::Detail(_), true) if guest.needs_list() => {
                guest.list_until = Some(self.retry_until);
                return;
            }
            (Stage::Detail(_), true) => {
                guest.settle_without_details();
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
            (Stage::Interface, _) => {
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

    /// Whether a bulk call of ours has locked a guest's object, and nobody else. Where the list came, nobody had
    /// locked it. Without the list, the guest said what its monitor is at right before the call, and no other guest
    /// of the call is what that waits for.
    fn has_locked_it(&self, uuid: &Uuid) -> bool {
        let mut calls = self.core.gate.late_bulk_calls(uuid);
        if self.list == ListPhase::Here {
            return calls.next().is_some();
        }
        let is_left_behind = |other: &Uuid| {
            let guest = self.places.get(other).and_then(|&index| self.guests.get(index));
            guest.is_some_and(|guest| guest.left_behind)
        };
        calls.any(|(call, _)| {
            let mut others = call.guests.iter().filter(|other| *other != uuid);
            call.collection == self.core.collection && !others.any(is_left_behind)
        })
    }

    /// Guests whose objects stay locked are not waited for any more, nor are network statistics or device
    /// lists that are slow.
    pub(super) fn settle_overdue(&mut self, now: Instant) {
        for guest in self.guests.iter_mut().filter(|guest| !guest.is_settled) {
            if guest.slow_from.is_some_and(|from| from <= now) {
                guest.settle(Completeness::Partial, Some(Cause::SlowHelper));
            } else if guest.locked_from.is_some_and(|from| from <= now) {
                guest.settle(Completeness::Locked, Some(Cause::Locked));
            } else if guest.list_until.is_some_and(|until| until <= now) {
                guest.settle_without_details();
            }
        }
    }

    /// A call from an earlier collection has come back: guests that it held can be asked now.
    pub(super) fn reopen(&mut self, call: &OpenCall) {
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
}
