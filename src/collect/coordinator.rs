//! What lasts of a hypervisor from one collection to the next, without I/O: the calls that are out, the last
//! known list, how well each guest answers.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::call::Answer;
use super::cpu::is_near;
use super::gate::{CallKind, Gate, Hold, OpenCall};
use super::health::Health;
use super::request::{always, cpu};
use super::session::Listed;
use super::{Plan, pid_files};
use crate::libvirt::Offer;
use crate::log::Log;
use crate::pool::{CallId, Done};
use crate::sample::Domain;
use crate::schema;

/// What lasts of one hypervisor.
pub(super) struct Coordinator {
    pub(super) uri: Arc<str>,
    pub(super) plan: Plan,
    pub(super) log: Arc<Log>,
    pub(super) gate: Gate,
    pub(super) health: Health,
    /// The newest list of the guests that there is: of this collection, an earlier one, or an earlier run.
    pub(super) roster: Arc<[Listed]>,
    pub(super) offer: Option<Offer>,
    pub(super) offer_of_inactive: Option<Offer>,
    pub(super) host_name: Option<String>,
    /// The number of the collection.
    pub(super) collection: u64,
    /// Whether it answered in the last collection.
    pub(super) was_up: bool,
    /// What the bulk call takes for a guest, mostly.
    pub(super) typical: Option<Duration>,
    /// What the last two lists took.
    pub(super) lists_took: [Duration; 2],
    /// Samples that nobody needs any more, whose memory is used again.
    pub(super) spares: Vec<Domain>,
    /// Whether it is a recording.
    pub(super) is_recording: bool,
    /// Whether it is QEMU on this machine.
    is_near: bool,
    /// Where libvirt keeps a file for each guest that runs, where that is on this machine.
    pub(super) files: Option<PathBuf>,
}

impl Coordinator {
    pub(super) fn new(uri: &Arc<str>, plan: Plan, log: &Arc<Log>) -> Self {
        Self {
            uri: Arc::clone(uri),
            log: Arc::clone(log),
            gate: Gate::new(plan.max_stuck, plan.workers),
            health: Health::new(uri, log, plan.max_stuck),
            roster: Arc::default(),
            offer: None,
            offer_of_inactive: None,
            host_name: None,
            collection: 0,
            was_up: false,
            typical: None,
            lists_took: [Duration::ZERO; 2],
            spares: Vec::new(),
            is_recording: uri.starts_with(crate::host::REPLAY),
            is_near: is_near(uri),
            files: pid_files::directory(uri),
            plan,
        }
    }

    /// Whether guests may be asked for CPU time and virtual CPUs apart from their bulk statistics: where nothing
    /// more of these groups is printed, and the hypervisor has all of it in bulk as well, as far as is known.
    pub(super) fn may_ask_cpu_apart(&self) -> bool {
        let asked = schema::groups(self.plan.extra);
        let is_more_printed = self.plan.steal || !asked.and(cpu()).is_empty();
        let has_all = |offer: Offer| offer.nowait && always().without(offer.bulk).is_empty();
        self.is_near && !is_more_printed && self.offer.is_none_or(has_all)
    }

    /// Which guests run on this machine, as one number that changes when one starts or stops; 0 where
    /// nothing says so.
    pub(super) fn running(&self) -> u64 {
        self.files.as_deref().map_or(0, pid_files::fingerprint)
    }

    /// A number that changes when something happens to this guest; 0 where that cannot be seen.
    pub(super) fn state_of(&self, name: &str) -> u64 {
        self.files.as_deref().map_or(0, |directory| pid_files::fingerprint_of(directory, name))
    }

    /// Takes an answer that came between two collections: its call is over, and a list is the newest.
    pub(super) fn take_late(&mut self, done: Done<Answer>, now: Instant) {
        if !done.is_last {
            return;
        }
        let Some(call) = self.close(done.id) else { return };
        if let (Ok(Answer::Listed(listed)), CallKind::List) = (done.result, call.kind) {
            self.list_came(listed, &call, now);
        }
    }

    /// The newest list is there.
    pub(super) fn list_came(&mut self, listed: Arc<[Listed]>, call: &OpenCall, now: Instant) {
        let took = now.saturating_duration_since(call.progress.mark().since);
        // A guest held one that took longer than any list is waited for: that says nothing of the next.
        if took <= self.plan.deadline / 2 {
            self.lists_took = [took, self.lists_took[0]];
        }
        self.health.note_list(true, now, 0);
        self.roster = listed;
    }

    /// How long the list is waited for: longer where it always takes long. One list that a guest has held says
    /// nothing of the next.
    pub(super) fn list_patience(&self, usual: Duration, most: Duration) -> Duration {
        let [last, before] = self.lists_took;
        usual.max(last.min(before) * 2).min(most)
    }

    /// How long the bulk statistics of some guests are waited for: `usual`, or more where they always take
    /// long, and `most` at the most.
    pub(super) fn bulk_patience(&self, usual: Duration, most: Duration) -> Duration {
        const MOST_TOGETHER: u32 = 16;
        let expected = self.typical.unwrap_or_default() * MOST_TOGETHER;
        usual.max(expected * 3).min(most)
    }

    /// A call has come back: the guests that held it can be asked again.
    pub(super) fn close(&mut self, id: CallId) -> Option<OpenCall> {
        let call = self.gate.close(id)?;
        let is_any_locked = self.health.is_any_locked();
        for uuid in call.guests.iter().filter(|_| is_any_locked) {
            if self.gate.hold(uuid) < Hold::Object {
                self.health.is_released(uuid);
            }
        }
        Some(call)
    }

    /// Takes note of what a bulk call took, and says whether that was long for so many guests.
    pub(super) fn is_slow(&mut self, took: Duration, guests: usize) -> bool {
        let guests = u32::try_from(guests).unwrap_or(u32::MAX).max(1);
        let per_guest = took / guests;
        let is_slow = took >= super::health::SLOW
            && self.typical.is_some_and(|typical| took > typical * guests * 4);
        if !is_slow {
            // Mostly the least: what is slow must not become what is usual.
            self.typical = Some(match self.typical {
                Some(typical) if per_guest > typical => (typical * 15 + per_guest) / 16,
                _ => per_guest,
            });
        }
        is_slow
    }
}

#[cfg(test)]
impl Coordinator {
    /// The number of its next call, for a run after this one in a simulation.
    pub(super) fn gate_number(&self) -> u64 {
        self.gate.next_number()
    }

    pub(super) fn start_numbers_at(&mut self, number: u64) {
        self.gate.start_at(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::tests::plan;
    use crate::log::Level;

    #[test]
    fn a_call_is_slow_beside_what_is_usual() {
        let log = Arc::new(Log::kept(Level::Debug));
        let mut core = Coordinator::new(&"test:///default".into(), plan(), &log);
        let ms = Duration::from_millis;
        assert!(!core.is_slow(ms(900), 15), "nothing is known yet");
        assert!(!core.is_slow(ms(90), 15));
        assert!(core.is_slow(ms(400), 15));
        assert!(!core.is_slow(ms(250), 15), "it may be the machine");
        assert!(core.is_slow(ms(310), 1));
        assert!(core.typical.unwrap() < ms(8));
    }
}
