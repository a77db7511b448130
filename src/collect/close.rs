//! The end of a collection: what came of each guest, what is remembered of it, and what is reported.

use std::sync::Arc;
use std::time::Instant;

use super::assemble::{self, Parts};
use super::cause::{Cause, HeldGuest};
use super::collection::{Collection, known_before};
use super::gate::Hold;
use super::guest_state::{End, GuestState, Stage};
use super::health::Noted;
use super::request::Reading;
use super::{Collected, Down};
use crate::config::duration;
use crate::log::Level;
use crate::sample::Completeness;

impl Collection<'_, '_> {
    /// What came. `is_ending`: the program was told to end, so that nothing is said of guests that were not
    /// waited for.
    pub(super) fn close(mut self, is_ending: bool, now: Instant) -> Result<Collected, Down> {
        let is_empty = self.guests.is_empty() && self.excluded.is_empty();
        let is_silent = !self.has_answered && !self.is_listed();
        if self.is_down || is_silent || (is_empty && !self.is_listed()) {
            return Err(self.down(is_ending));
        }
        self.core.was_up = true;
        let message = format_args!("{} answers again", self.core.uri);
        self.core.log.ends(&condition(&self.core.uri), message);
        let (guests, asked_again) = (self.guests.len(), self.asked_again);
        let readings = Vec::with_capacity(guests);
        let mut collected = Collected { readings, guests, asked_again, ..Collected::default() };
        collected.excluded = std::mem::take(&mut self.excluded);
        let (mut not_asked, mut late) = (0, 0);
        for mut guest in std::mem::take(&mut self.guests) {
            match guest.end.take() {
                Some(End::Gone) => continue,
                Some(End::Excluded(excluded)) => {
                    collected.excluded.push(excluded);
                    collected.guests -= 1;
                    continue;
                }
                Some(End::Failed(error)) => {
                    let failure = format!("it cannot be read: {error}");
                    self.core.health.failures(guest.request.uuid, &guest.name(), &[failure]);
                    continue;
                }
                None => {}
            }
            let (completeness, cause) = self.completeness(&guest);
            if completeness.is_none() {
                late += usize::from(!is_ending);
                if guest.sampled.is_none() {
                    collected.unread += 1;
                    if !is_ending {
                        collected.late.push((guest.request.uuid, guest.name()));
                    }
                    continue;
                }
            }
            not_asked += usize::from(completeness == Some(Completeness::NotAsked));
            self.keep(guest, completeness, cause, now, &mut collected);
        }
        // A list that came late has its guests behind the others.
        if !collected.readings.is_sorted_by(|a, b| a.sample.name <= b.sample.name) {
            collected.readings.sort_by(|a, b| a.sample.name.cmp(&b.sample.name));
        }
        self.report(&mut collected, not_asked, late, is_ending);
        Ok(collected)
    }

    /// How complete the guest's answer is, and what holds it; `None` where time was over before it was known.
    fn completeness(&self, guest: &GuestState) -> (Option<Completeness>, Option<Cause>) {
        if guest.completeness.is_some() {
            return (guest.completeness, guest.cause);
        }
        if guest.locked_from.is_some() {
            return (Some(Completeness::Locked), Some(Cause::Locked));
        }
        if guest.stage == Stage::Interface {
            return (Some(Completeness::Partial), Some(Cause::SlowHelper));
        }
        if guest.list_until.is_some() {
            return (guest.sampled.as_ref().map(|it| it.sample.completeness), None);
        }
        (None, None)
    }

    /// Keeps what came of a guest.
    fn keep(
        &mut self,
        mut guest: GuestState,
        completeness: Option<Completeness>,
        cause: Option<Cause>,
        now: Instant,
        collected: &mut Collected,
    ) {
        let (uuid, name) = (guest.request.uuid, guest.name());
        let is_settled = completeness.is_some();
        let completeness = completeness.unwrap_or(Completeness::Busy);
        let sampled = guest.sampled.take();
        let (mut sample, unknown, mut failures) = match sampled {
            Some(sampled) => (sampled.sample, sampled.unknown, sampled.failures),
            None => (guest.empty_sample(), 0, Vec::new()),
        };
        failures.append(&mut guest.failures);
        sample.completeness = completeness;
        let is_left_behind = guest.left_behind && self.core.gate.hold(&uuid) == Hold::Object;
        let noted = Noted {
            completeness,
            id: sample.id,
            left_behind: is_left_behind.then(|| (now, self.core.state_of(&guest.request.name))),
        };
        // A host that stalls for a moment looks the same. Where libvirt lists its guests, and over a network,
        // only what lasts is reported.
        let is_held = self.core.files.is_some() && self.core.health.list_is_held();
        let is_sure = cause != Some(Cause::Locked)
            || is_held
            || self.core.health.last(&uuid) == Completeness::Locked;
        if is_settled {
            self.core.health.note(uuid, &name, noted, self.core.collection);
        }
        if let Some(cause) = cause.filter(|_| is_sure) {
            collected.held.push(HeldGuest { uuid, name: Arc::clone(&name), cause });
        }
        if completeness == Completeness::Locked && sample.state.is_none() {
            collected.locked.push(sample);
            collected.hung += 1;
            return;
        }
        let (read, selection) = (self.read_request(), Arc::clone(&self.core.plan.selection));
        let new = guest.inventory.take();
        let parts = Parts { sample, unknown, new, failures };
        let before = known_before(self.known, &parts.sample);
        let mut reading = assemble::reading(parts, &guest.request, &read, &selection, before);
        if completeness.is_answer() {
            reading.failures.extend(assemble::lost_counters(&reading.sample));
            self.core.health.failures(uuid, &name, &reading.failures);
        }
        count(collected, &reading);
        collected.readings.push(reading);
    }

    fn report(
        &mut self,
        collected: &mut Collected,
        not_asked: usize,
        late: usize,
        is_ending: bool,
    ) {
        let core = &mut *self.core;
        collected.stuck_calls = core.gate.stuck();
        collected.list_is_late = core.health.list_is_held() && !is_ending;
        let readings = &collected.readings;
        let answers = |reading: &&Reading| reading.sample.completeness.is_answer();
        let answered = readings.iter().filter(answers).count();
        core.health.report(&collected.held, |uuid| {
            readings.iter().filter(answers).any(|reading| reading.sample.uuid == *uuid)
        });
        core.health.report_failures();
        core.health.not_asked(not_asked, collected.stuck_calls);
        let deadline = duration::format_duration(core.plan.deadline);
        core.health.late(late, collected.guests, &deadline);
        core.health.report_list(collected.list_is_late, answered, &self.nameless);
        collected.nameless = std::mem::take(&mut self.nameless);
    }

    /// The hypervisor could not be read.
    fn down(&mut self, is_ending: bool) -> Down {
        let core = &mut *self.core;
        if is_ending && !self.is_down {
            let reason = "the end came before its guests were listed";
            let message = format_args!("nothing of {} is printed: {reason}", core.uri);
            core.log.begins(&format!("ending {}", core.uri), Level::Warn, message);
            return Down(reason.to_owned());
        }
        let error = match self.refused.take() {
            Some(error) => error,
            None if core.health.list_is_held() => {
                "libvirt does not list its guests; it hangs, or a guest that is being started or \
                 stopped holds the list"
                    .to_owned()
            }
            None => "it does not answer".to_owned(),
        };
        core.was_up = false;
        // A libvirtd that comes back may be another version.
        (core.offer, core.offer_of_inactive) = (None, None);
        let more = if core.is_recording { "" } else { "; run `telegraf-virt check`" };
        let message = format_args!("cannot read the guests of {}: {error}{more}", core.uri);
        core.log.begins(&condition(&core.uri), Level::Error, message);
        Down(error)
    }
}

fn condition(uri: &str) -> String {
    format!("hypervisor {uri}")
}

/// Counts a reading.
fn count(collected: &mut Collected, reading: &Reading) {
    match reading.sample.completeness {
        Completeness::Complete | Completeness::Partial => {}
        Completeness::Hung | Completeness::Locked => collected.hung += 1,
        Completeness::Busy | Completeness::Starting | Completeness::NotAsked => collected.busy += 1,
    }
    collected.cache_misses += usize::from(reading.inventory_is_new);
    let is_cached = reading.inventory.is_some() && !reading.inventory_is_new;
    collected.cache_hits += usize::from(is_cached);
    collected.unknown += reading.unknown;
}
