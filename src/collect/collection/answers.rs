//! What follows from an answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Batch, Collection, KnownOf, ListPhase, RETRY};
use crate::collect::assemble;
use crate::collect::call::{Answer, Asked, Detailed, How, Purpose, Sampled};
use crate::collect::cause::Cause;
use crate::collect::gate::{CallKind, Hold, OpenCall};
use crate::collect::guest_state::{Context, End, GuestState, NextStep, Stage};
use crate::collect::health;
use crate::collect::session::Listed;
use crate::pool::Done;
use crate::sample::{Completeness, Domain};

/// The sample before this one, where it is of the same boot.
pub(in crate::collect) fn known_before<'k>(
    known: &KnownOf<'k>,
    sample: &Domain,
) -> Option<&'k Domain> {
    let (uuid, id, name) = (sample.uuid, sample.id, Arc::default());
    known(&Listed { uuid, id, name, state: None }).before
}

impl Collection<'_, '_> {
    /// Takes an answer.
    pub(in crate::collect) fn take(&mut self, done: Done<Answer>, now: Instant) {
        let Done { id, result, is_last, .. } = done;
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
                let of_list = call.filter(|call| call.kind == CallKind::List);
                self.take_list(&listed, of_list.as_ref(), is_list, now);
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

    pub(super) fn take_list(
        &mut self,
        listed: &Arc<[Listed]>,
        call: Option<&OpenCall>,
        is_awaited: bool,
        now: Instant,
    ) {
        let Some(call) = call else {
            // Guests that were looked up by libvirt's files.
            let known = self.core.roster.iter().chain(listed.iter());
            self.core.roster = known.cloned().collect();
            self.add(listed);
            return;
        };
        self.core.health.keep(listed.iter().map(|guest| guest.uuid));
        self.core.list_came(Arc::clone(listed), call, now);
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

    pub(super) fn take_error(
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

    pub(super) fn unsettled(&self, call: &OpenCall) -> Vec<usize> {
        let of_call = call.guests.iter().skip(call.answered);
        let indexes = of_call.filter_map(|uuid| self.places.get(uuid).copied());
        indexes.filter(|&it| self.guests.get(it).is_some_and(|it| !it.is_settled)).collect()
    }

    pub(super) fn take_asked(
        &mut self,
        call: &OpenCall,
        asked: Vec<(usize, Asked)>,
        took: Duration,
        is_now: bool,
        now: Instant,
    ) {
        if let (CallKind::Interface, Some(&uuid)) = (call.kind, call.guests.first()) {
            let slow = (took >= health::SLOW / 3).then_some(took);
            self.core.health.note_interface_again(uuid, slow);
        }
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
                Asked::WasLocked => self.ask_again(index),
                Asked::Sampled(sampled) => self.take_sampled(index, sampled, now),
            }
        }
    }

    /// A bulk call that took long makes its guests suspects; one guest's alone finds the slow one.
    pub(super) fn note_time(
        &mut self,
        call: &OpenCall,
        asked: &[(usize, Asked)],
        took: Duration,
        how: How,
    ) {
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
                (true, Stage::Bulk) if guest.has_nics_apart(&self.core.health) => {}
                // Once may be a busy machine; twice in a row is the guest.
                (true, _) if self.core.health.is_asked_alone(uuid) => {
                    self.core.health.note_interface(*uuid, &name, is_slow.then_some(took));
                }
                (true, _) if is_slow => self.core.health.suspect(*uuid, &name),
                (false, _) if is_slow => self.core.health.suspect(*uuid, &name),
                _ => {}
            }
        }
    }

    pub(super) fn end(&mut self, index: usize, end: End) {
        if let Some(guest) = self.guests.get_mut(index) {
            guest.end(end);
        }
    }

    pub(super) fn take_sampled(&mut self, index: usize, sampled: Sampled, now: Instant) {
        let read = self.read_request();
        let Some(guest) = self.guests.get_mut(index) else { return };
        let uuid = guest.request.uuid;
        if guest.stage == Stage::Interface {
            if let Some(first) = guest.sampled.as_mut().filter(|_| !guest.is_settled) {
                first.sample.nics = sampled.sample.nics;
                first.unknown += sampled.unknown;
                self.finish_bulk(index);
            }
            return;
        }
        if sampled.lacks_cpu_calls {
            self.core.health.note_no_cpu_calls(uuid, &guest.name(), guest.request.id);
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
            if guest.request.id >= 0 && guest.has_nics_apart(&self.core.health) {
                self.ask_interface(index, now);
                return;
            }
            self.finish_bulk(index);
            return;
        }
        let id = guest.request.id;
        let context = Context {
            now,
            begun: self.listed_at,
            retry_until: self.retry_until,
            hold: self.core.gate.hold(&uuid),
            last: self.core.health.last(&uuid),
            was_starting: self.core.health.is_starting(&uuid, id),
        };
        if let NextStep::Again(pause) = guest.judge_skipped(control, context) {
            self.asked_again += 1;
            let (places, stage, how) = (vec![index], guest.stage, How::Probed);
            let not_before = Some(now + pause);
            self.queue.push_back(Batch { places, stage, how, not_before });
        }
    }

    /// The network statistics of a guest are slow: they are asked alone, and waited for unless that takes too
    /// long. Where it is time to try whether it still does, they have a moment: they may have been taken for
    /// slow while somebody had locked the guest.
    fn ask_interface(&mut self, index: usize, now: Instant) {
        let Some(guest) = self.guests.get_mut(index) else { return };
        let uuid = guest.request.uuid;
        guest.stage = Stage::Interface;
        let is_too_slow = self.core.health.is_too_slow(&uuid);
        let may_try = self.core.health.may_try_interface(&uuid, now);
        if is_too_slow && may_try {
            guest.slow_from = Some(now + health::SLOW / 3);
        } else if is_too_slow {
            guest.settle(Completeness::Partial, Some(Cause::SlowHelper));
        }
        if !is_too_slow || may_try {
            self.core.health.tries_interface(uuid, now);
            let (places, stage, how) = (vec![index], Stage::Interface, How::Together);
            self.queue.push_back(Batch { places, stage, how, not_before: None });
        }
    }

    /// A guest whose object was locked when it was asked.
    fn ask_again(&mut self, index: usize) {
        let Some(guest) = self.guests.get_mut(index) else { return };
        guest.reopen();
        self.asked_again += 1;
        let (places, stage, how) = (vec![index], guest.stage, How::Probed);
        self.queue.push_back(Batch { places, stage, how, not_before: None });
    }

    /// The bulk statistics of a guest are complete: what do they lack?
    pub(super) fn finish_bulk(&mut self, index: usize) {
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
        let before = known_before(self.known, sample);
        let needs = assemble::needs(sample, &guest.request, before, shown, &read, selection);
        // One that answers now is not what a call with several guests waits for.
        match needs {
            None => guest.settle(completeness, None),
            Some(_) if !matches!(hold, Hold::None | Hold::Suspect) => {
                guest.settle_without_details();
            }
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

    pub(super) fn take_detailed(&mut self, index: usize, detailed: Detailed) {
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
}
