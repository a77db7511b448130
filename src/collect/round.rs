//! Handing out the guests of one collection until each is settled or time is over.
//!
//! Guests are asked some at a time, by a few workers. A call that takes too long is not waited for:
//! its guests are asked again one by one, which finds the one that hangs, and its answer is still
//! taken when it comes. A guest that was skipped since another call was in it is asked again soon.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::mailbox::{Found, Report};
use super::reading::{Outcome, Question, Reading, Skipped, Target};
use super::standing::Standings;
use super::worker::{Job, Pool, Task};
use super::{Collected, GLANCE, PATIENCE, Plan, RETRY, TurnedAway};
use crate::deadline::Deadline;
use crate::sample::Domain;

/// Guests in one call, at most: a hung one costs so many others their place in it.
const MOST_TOGETHER: usize = 16;
/// The first pause before a busy guest is asked again; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// One collection of one hypervisor, from its list to its readings.
pub(super) struct Round<'a> {
    pub(super) plan: Plan,
    pub(super) question: Question,
    pub(super) collection: u64,
    pub(super) pool: &'a mut Pool,
    pub(super) standings: &'a mut Standings,
    /// Samples that nobody needs any more, whose memory is used again.
    pub(super) spares: &'a mut Vec<Domain>,
    pub(super) deadline: &'a Deadline,
}

/// Where a guest stands in this collection.
#[derive(Default)]
struct Progress {
    is_settled: bool,
    reading: Option<Reading>,
    /// Its device list was read in this collection.
    inventory_is_new: bool,
    /// A call of ours is stuck in it alone: what comes next is taken as it is.
    is_stuck: bool,
    pause: Duration,
    /// It is not read after all, for its metadata.
    turned_away: Option<TurnedAway>,
}

/// Guests to ask in one call, not before a moment.
struct Batch {
    places: Vec<usize>,
    not_before: Option<Instant>,
}

impl Round<'_> {
    /// Asks for the guests, and returns what came by the deadline.
    pub(super) fn run(mut self, mut targets: Vec<Target>) -> Collected {
        let mut guests: Vec<Progress> = Vec::new();
        guests.resize_with(targets.len(), Progress::default);
        let started = Instant::now();
        // Late enough for a guest that is merely busy, and early enough to print by the deadline.
        let retry_until = started + self.plan.deadline.mul_f32(0.6);
        let patience = PATIENCE.min(self.plan.deadline / 4);
        let mut queue = self.batches(&targets);
        while guests.iter().any(|guest| !guest.is_settled) && !self.deadline.is_over() {
            self.give_up_waiting(patience, &mut guests, &mut queue);
            self.hand_out(&targets, &guests, &mut queue);
            let most = self.next_glance(patience, &queue);
            if let Some((report, task)) = self.pool.wait(most, queue.is_empty()) {
                let may_retry = Instant::now() < retry_until;
                let again = self.receive(report, task, &mut targets, &mut guests, may_retry);
                queue.extend(again);
            }
        }
        // What has arrived counts, also when the end is ordered.
        while let Some((report, task)) = self.pool.wait(Duration::ZERO, false) {
            self.receive(report, task, &mut targets, &mut guests, false);
        }
        self.close(targets, guests)
    }

    /// Takes a report; returns what is to be asked again.
    fn receive(
        &mut self,
        report: Report,
        task: Task,
        targets: &mut [Target],
        guests: &mut [Progress],
        may_retry: bool,
    ) -> Vec<Batch> {
        let mut again = Vec::new();
        match report.found {
            _ if report.collection != self.collection => {}
            Found::Read(outcomes) => {
                for (place, outcome) in outcomes {
                    if let (Some(guest), Some(target)) =
                        (guests.get_mut(place), targets.get_mut(place))
                    {
                        again.extend(self.take(guest, target, outcome, may_retry));
                    }
                }
            }
            // The connection broke: a libvirtd that restarts is back soon.
            Found::Lost(_) if may_retry => {
                let not_before = Some(Instant::now() + RETRY);
                again.push(Batch { places: task.places, not_before });
            }
            Found::Lost(error) => self.lose(&task.places, targets, guests, &error.to_string()),
            Found::Listed(..) => {}
        }
        again
    }

    /// The guests, in calls of a few; those that may not answer alone, and last.
    fn batches(&self, targets: &[Target]) -> VecDeque<Batch> {
        let is_sure = |target: &&Target| self.standings.is_known_to_answer(&target.uuid);
        let (sure, unsure): (Vec<&Target>, Vec<&Target>) = targets.iter().partition(is_sure);
        let together = size(sure.len(), self.plan.workers);
        let places = |targets: &[&Target]| targets.iter().map(|target| target.place).collect();
        let batch = |places| Batch { places, not_before: None };
        let mut queue: VecDeque<Batch> =
            sure.chunks(together).map(|some| batch(places(some))).collect();
        queue.extend(unsure.chunks(1).map(|one| batch(places(one))));
        queue
    }

    /// Calls that take too long are no longer waited for.
    fn give_up_waiting(
        &mut self,
        patience: Duration,
        guests: &mut [Progress],
        queue: &mut VecDeque<Batch>,
    ) {
        let collection = self.collection;
        for task in self.pool.tasks_mut() {
            if task.is_overdue || task.collection != collection || task.begun().elapsed() < patience
            {
                continue;
            }
            task.is_overdue = true;
            if !task.is_asked() {
                // Others, who have a connection, ask in its place.
                queue.push_back(Batch { places: task.places.clone(), not_before: None });
                continue;
            }
            let alone = task.places.len() == 1;
            for &place in &task.places {
                let Some(guest) = guests.get_mut(place).filter(|guest| !guest.is_settled) else {
                    continue;
                };
                if alone && (guest.is_stuck || !self.question.offer.nowait) {
                    // Without NOWAIT a second call would be stuck as well.
                    guest.is_settled = true;
                } else {
                    guest.is_stuck |= alone;
                    queue.push_back(Batch { places: vec![place], not_before: None });
                }
            }
        }
        self.standings.trouble(collection, self.pool.overdue() > 0);
    }

    /// Gives batches to workers while there are any free.
    fn hand_out(&mut self, targets: &[Target], guests: &[Progress], queue: &mut VecDeque<Batch>) {
        let now = Instant::now();
        for _ in 0..queue.len() {
            let Some(mut batch) = queue.pop_front() else { return };
            batch.places.retain(|&place| guests.get(place).is_some_and(|it| !it.is_settled));
            if batch.places.is_empty() {
                continue;
            }
            if batch.not_before.is_some_and(|moment| moment > now) {
                queue.push_back(batch);
                continue;
            }
            let asked: Vec<Target> =
                batch.places.iter().filter_map(|&place| targets.get(place).cloned()).collect();
            let careful = self.must_be_careful(&asked);
            let spares = self.spares.split_off(self.spares.len().saturating_sub(asked.len()));
            let question = Question { careful, ..self.question };
            let job = Job::Read { targets: asked, question, spares };
            let given = self.pool.give(self.collection, batch.places, job, self.plan.workers);
            if let Err((places, job)) = given {
                if let Job::Read { spares, .. } = job {
                    self.spares.extend(spares);
                }
                queue.push_front(Batch { places, not_before: batch.not_before });
                return;
            }
        }
    }

    /// Whether so many calls are stuck that these guests must not add another one. There is a reserve
    /// of one call a worker for guests that are known to answer; all of it but one call may go for
    /// finding such guests among those that nothing is known of yet.
    fn must_be_careful(&self, targets: &[Target]) -> bool {
        let overdue = self.pool.overdue();
        let workers = self.plan.workers;
        let is_sure = |target: &Target| self.standings.is_known_to_answer(&target.uuid);
        let reserve = match targets {
            _ if targets.iter().all(is_sure) => workers,
            [one] if !self.standings.is_silent(&one.uuid) => workers - 1,
            _ => 0,
        };
        overdue > 0 && overdue + self.pool.busy() >= self.plan.max_stuck.max(workers) + reserve
    }

    /// Takes an outcome; returns what is to be asked again.
    fn take(
        &mut self,
        guest: &mut Progress,
        target: &mut Target,
        outcome: Outcome,
        may_retry: bool,
    ) -> Option<Batch> {
        if guest.is_settled {
            return None;
        }
        match outcome {
            // What it said before it went is of no use to anybody.
            Outcome::Gone => *guest = Progress { is_settled: true, ..Progress::default() },
            Outcome::TurnedAway(read) => {
                guest.is_settled = true;
                guest.turned_away = Some(target.turned_away(read));
            }
            Outcome::Failed(error) => {
                guest.is_settled = true;
                self.standings.fails(target, &error);
            }
            Outcome::Read(reading) => {
                if let Some(skipped) = reading.skipped {
                    self.standings.skipped(target, skipped);
                }
                let skipped = reading.skipped;
                if reading.inventory_is_new {
                    // Asked again, it need not be read again.
                    guest.inventory_is_new = true;
                    target.inventory.clone_from(&reading.inventory);
                    target.fresh = true;
                }
                guest.reading = Some(reading);
                let is_expected = match skipped {
                    Some(Skipped::Busy) => guest.is_stuck || self.standings.is_silent(&target.uuid),
                    Some(Skipped::Quiet) => {
                        guest.pause >= LONGEST_PAUSE || self.standings.is_quiet(target)
                    }
                    _ => true,
                };
                if may_retry && !is_expected {
                    guest.pause = (guest.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
                    let not_before = Some(Instant::now() + guest.pause);
                    return Some(Batch { places: vec![target.place], not_before });
                }
                guest.is_settled = true;
            }
        }
        None
    }

    fn lose(&mut self, places: &[usize], targets: &[Target], guests: &mut [Progress], error: &str) {
        for &place in places {
            if let (Some(guest), Some(target)) = (guests.get_mut(place), targets.get(place))
                && !guest.is_settled
            {
                guest.is_settled = true;
                self.standings.fails(target, error);
            }
        }
    }

    /// When to look again, if no answer comes before.
    fn next_glance(&self, patience: Duration, queue: &VecDeque<Batch>) -> Duration {
        let now = Instant::now();
        let overdue = self
            .pool
            .tasks()
            .filter(|task| !task.is_overdue)
            .map(|task| (task.begun() + patience).saturating_duration_since(now));
        let waiting = queue
            .iter()
            .filter_map(|batch| batch.not_before)
            .map(|moment| moment.saturating_duration_since(now))
            .filter(|wait| !wait.is_zero());
        let soonest = overdue.chain(waiting).fold(GLANCE, Duration::min);
        self.deadline.left(soonest)
    }

    /// What came, and what it says of each guest.
    fn close(self, targets: Vec<Target>, guests: Vec<Progress>) -> Collected {
        let mut collected = Collected { guests: targets.len(), ..Collected::default() };
        let mut unasked = 0;
        for (target, guest) in targets.iter().zip(guests) {
            if let Some(turned_away) = guest.turned_away {
                collected.turned_away.push(turned_away);
                collected.guests -= 1;
                continue;
            }
            match guest.reading {
                Some(mut reading) => {
                    self.standings.note(target, &reading, self.collection);
                    reading.inventory_is_new |= guest.inventory_is_new;
                    unasked += usize::from(reading.skipped == Some(Skipped::Unasked));
                    collected.count(&reading, guest.is_stuck);
                    collected.readings.push(reading);
                }
                None if guest.is_settled && !guest.is_stuck => {}
                // Who ends early says nothing of the guests that he did not wait for.
                None if self.deadline.is_ending() => {}
                None => {
                    self.standings.is_silent_now(target);
                    collected.unread += 1;
                    collected.hung += 1;
                }
            }
        }
        collected.stuck_calls = self.pool.overdue();
        self.standings.unasked(unasked, collected.stuck_calls);
        collected
    }
}

/// How many guests go into one call. A few guests need one call only, and so one connection; many
/// are spread evenly, with one call a worker while it stays short enough: each call costs this process
/// 0.2 ms of CPU time in waiting and waking, as much as the statistics of 10 guests.
fn size(guests: usize, workers: usize) -> usize {
    const FEW: usize = 4;
    if guests <= FEW {
        return FEW;
    }
    guests.div_ceil(workers).clamp(1, MOST_TOGETHER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_guests_are_one_call_and_many_are_spread() {
        assert_eq!([0, 1, 4].map(|guests| size(guests, 4)), [4, 4, 4]);
        assert_eq!([5, 10, 60, 500].map(|guests| size(guests, 4)), [2, 3, 15, 16]);
        assert_eq!(size(61, 64), 1);
    }
}
