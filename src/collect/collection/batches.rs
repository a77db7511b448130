//! Which guests go into which call, and in what order.

use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;

use super::{Batch, Collection, ListPhase};
use crate::collect::call::{Ask, Call, DetailRequest, How, Progress, Purpose};
use crate::collect::cause::Cause;
use crate::collect::gate::{CallKind, Hold};
use crate::collect::guest_state::{GuestState, Stage};
use crate::collect::request::{GuestRequest, always, of_inactive};
use crate::collect::session::Listed;
use crate::libvirt::{Group, Groups};
use crate::pool::CallId;
use crate::sample::Completeness;

/// Most guests in one call. If one hangs, the others in it must be asked again.
const MOST_TOGETHER: usize = 16;

impl Collection<'_, '_> {
    pub(super) fn next_batch(&mut self, now: Instant) -> Option<(CallId, Call, Progress)> {
        if self.is_libvirt_stuck() {
            return None;
        }
        for _ in 0..self.queue.len() {
            let mut batch = self.queue.pop_front()?;
            let (guests, gate) = (&self.guests, &self.core.gate);
            let is_wanted = |place: &usize| {
                let guest = guests.get(*place);
                let in_background = batch.stage == Stage::Interface;
                guest.is_some_and(|it| (!it.is_settled || in_background) && it.stage == batch.stage)
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
    pub(super) fn make(&mut self, batch: Batch, now: Instant) -> (CallId, Call, Progress) {
        let Batch { places, stage, how, .. } = batch;
        let guests: Vec<&GuestState> =
            places.iter().filter_map(|&place| self.guests.get(place)).collect();
        let uuids: Vec<Uuid> = guests.iter().map(|guest| guest.request.uuid).collect();
        let read = self.read_request();
        let (kind, call) = match stage {
            Stage::Bulk | Stage::BulkOfInactive | Stage::Interface => {
                let how = if self.must_be_quiet(&guests) { How::Quietly } else { how };
                let groups = self.groups(&guests, stage);
                let cpu_apart = stage == Stage::Bulk && self.is_cpu_apart(&guests);
                let spares = self.core.spares.len().saturating_sub(guests.len());
                let ask = Ask {
                    guests: guests.iter().map(|guest| guest.request.clone()).collect(),
                    groups,
                    read,
                    how,
                    cpu_apart,
                    may_list: self.list == ListPhase::Here && !self.core.gate.list_is_out(),
                    spares: self.core.spares.split_off(spares),
                };
                let is_inactive = stage == Stage::BulkOfInactive;
                let kind = match stage {
                    Stage::Interface => CallKind::Interface,
                    _ if is_inactive => CallKind::AskInactive,
                    _ => CallKind::Ask(how),
                };
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

    pub(super) fn groups(&self, guests: &[&GuestState], stage: Stage) -> Groups {
        let interface: Groups = Group::Interface.into();
        match stage {
            Stage::BulkOfInactive => return of_inactive(),
            Stage::Interface => return interface,
            _ => {}
        }
        let wanted = always().or(crate::schema::groups(self.core.plan.extra));
        let is_apart = guests.iter().any(|guest| guest.has_nics_apart(&self.core.health));
        if is_apart { wanted.without(interface) } else { wanted }
    }

    /// Whether CPU time and virtual CPUs are asked apart from the bulk statistics. It is not where one of the
    /// guests is known to have them in bulk only: all of a call are asked the same.
    fn is_cpu_apart(&self, guests: &[&GuestState]) -> bool {
        let lacks = |guest: &&GuestState| {
            self.core.health.lacks_cpu_calls(&guest.request.uuid, guest.request.id)
        };
        self.core.may_ask_cpu_apart() && !guests.iter().any(lacks)
    }

    /// Whether so many calls are stuck that these guests must not add another one.
    pub(super) fn must_be_quiet(&self, guests: &[&GuestState]) -> bool {
        let health = &self.core.health;
        let is_sure = |guest: &&GuestState| health.is_known_to_answer(&guest.request.uuid);
        let one_unknown = matches!(guests, [one] if health.last(&one.request.uuid).is_answer());
        self.core.gate.is_used_up(guests.iter().all(is_sure), one_unknown)
    }

    /// Takes guests over from a list, and gets them ready to be asked.
    pub(super) fn add(&mut self, listed: &[Listed]) {
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
    pub(super) fn enqueue(&mut self, places: &[usize]) {
        let selection = Arc::clone(&self.core.plan.selection);
        let now = self.listed_at;
        let (mut sure, mut inactive, mut metadata) = (Vec::new(), Vec::new(), Vec::new());
        let (mut alone, mut slow, mut helped) = (Vec::new(), Vec::new(), Vec::new());
        let is_list_here = self.list == ListPhase::Here;
        let is_any_stuck = self.core.gate.stuck() > 0;
        for &place in places {
            let Some(guest) = self.guests.get_mut(place) else { continue };
            let uuid = guest.request.uuid;
            let (health, gate) = (&self.core.health, &self.core.gate);
            let hold = if is_any_stuck { gate.hold(&uuid) } else { Hold::None };
            // ovs-vsctl gives up after 5 s.
            let is_brief = || guest.request.needs_helper() || health.is_slow(&uuid);
            let state = || self.core.state_of(&guest.request.name);
            if hold == Hold::Object || !health.may_ask(&uuid, now, is_brief, state) {
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
            } else if !is_list_here && guest.request.needs_helper() {
                // The list cannot tell that nobody else has locked it, so that finding which of several guests
                // holds a bulk call takes one more call that waits.
                guest.nics_apart = true;
                helped.push(place);
            } else {
                sure.push(place);
            }
        }
        // Where the list is late a guest holds it, and a look at the monitors finds which.
        let together = if is_list_here { How::Together } else { How::Probed };
        let size = batch_size(sure.len().max(helped.len()), self.core.plan.workers);
        let mut add = |places: &[usize], size: usize, stage: Stage, how: How| {
            for some in places.chunks(size) {
                let (places, not_before) = (some.to_vec(), None);
                self.queue.push_back(Batch { places, stage, how, not_before });
            }
        };
        add(&metadata, size, Stage::Metadata, together);
        add(&sure, size, Stage::Bulk, together);
        add(&helped, size, Stage::Bulk, together);
        add(&inactive, MOST_TOGETHER, Stage::BulkOfInactive, together);
        let (unknown, healthy): (Vec<usize>, Vec<usize>) = alone.into_iter().partition(|&place| {
            let uuid = self.guests.get(place).map(|guest| guest.request.uuid);
            uuid.is_some_and(|uuid| !self.core.health.last(&uuid).is_answer())
        });
        add(&healthy, 1, Stage::Bulk, together);
        add(&unknown, 1, Stage::Bulk, How::Probed);
        add(&slow, 1, Stage::Bulk, How::Probed);
    }

    /// Asks a guest together with others that are at the same stage.
    pub(super) fn join(&mut self, index: usize, stage: Stage) {
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

    pub(super) fn ask_bulk(&mut self, index: usize) {
        if let Some(guest) = self.guests.get_mut(index) {
            let stage = guest.ask_bulk();
            self.join(index, stage);
        }
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
