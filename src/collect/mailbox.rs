//! Reports on their way from the workers to the collection, which is woken once for those that can
//! wait for each other: to sleep and wake costs as much as to make the lines of ten guests.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::reading::{Outcome, Reading};
use super::session::Listed;
use crate::libvirt::{self, Offer};

/// What a worker has found.
pub(super) enum Found {
    /// The guests, and what was asked beside.
    Listed(Arc<[Listed]>, Option<Offer>, Option<String>),
    /// What became of each guest, by its place.
    Read(Vec<(usize, Outcome)>),
    /// There is no connection, or it broke: nothing is known.
    Lost(libvirt::Error),
}

/// An answer, and whose and to what it is.
pub(super) struct Report {
    pub(super) worker: usize,
    pub(super) collection: u64,
    pub(super) found: Found,
}

impl Report {
    /// Whether something is to be done at once: a guest to be asked again, a list to be handed out.
    pub(super) fn is_urgent(&self) -> bool {
        let is_whole = |outcome: &Outcome| {
            matches!(outcome, Outcome::Read(Reading { skipped: None, .. }) | Outcome::TurnedAway(_))
        };
        match &self.found {
            Found::Read(outcomes) => !outcomes.iter().all(|(_, outcome)| is_whole(outcome)),
            Found::Listed(..) | Found::Lost(_) => true,
        }
    }
}

/// Where workers leave their reports.
#[derive(Default)]
pub(super) struct Mailbox {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    reports: VecDeque<Report>,
    /// Those of them that ask for something to be done at once.
    urgent: usize,
    /// So many reports wake whoever waits for them.
    enough: usize,
}

impl State {
    fn is_ready(&self) -> bool {
        self.urgent > 0 || self.reports.len() >= self.enough
    }
}

impl Mailbox {
    /// Leaves a report.
    pub(super) fn put(&self, report: Report) {
        let mut state = self.lock();
        state.urgent += usize::from(report.is_urgent());
        state.reports.push_back(report);
        let is_ready = state.is_ready();
        drop(state);
        if is_ready {
            self.changed.notify_one();
        }
    }

    /// The oldest report. Waits, at most so long, until there are `enough` of them or one is urgent.
    pub(super) fn take(&self, enough: usize, most: Duration) -> Option<Report> {
        let until = Instant::now() + most;
        let mut state = self.lock();
        state.enough = enough.max(1);
        while !state.is_ready() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let report = state.reports.pop_front()?;
        state.urgent -= usize::from(report.is_urgent());
        Some(report)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn report(worker: usize, outcomes: Vec<(usize, Outcome)>) -> Report {
        Report { worker, collection: 1, found: Found::Read(outcomes) }
    }

    #[test]
    fn reports_that_can_wait_come_when_there_are_enough() {
        let mailbox = Arc::new(Mailbox::default());
        mailbox.put(report(1, Vec::new()));
        let sender = Arc::clone(&mailbox);
        let late = thread::spawn(move || sender.put(report(2, Vec::new())));
        assert_eq!(mailbox.take(2, LONG).map(|it| it.worker), Some(1));
        assert_eq!(mailbox.take(1, LONG).map(|it| it.worker), Some(2));
        late.join().unwrap();
    }

    #[test]
    fn an_urgent_one_wakes_at_once_and_time_that_is_over_brings_what_is_there() {
        let mailbox = Mailbox::default();
        mailbox.put(report(1, Vec::new()));
        mailbox.put(report(2, vec![(0, Outcome::Gone)]));
        mailbox.put(report(3, Vec::new()));
        let next = |most| mailbox.take(9, most).map(|it| it.worker);
        assert_eq!(next(LONG), Some(1));
        assert_eq!(next(LONG), Some(2));
        assert_eq!(next(Duration::ZERO), Some(3));
        assert_eq!(next(Duration::ZERO), None);
    }
}
