//! By when something must be done: a moment that comes nearer when the program is told to end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Whether the program was told to end, and when. Shared by all its threads.
#[derive(Clone, Debug, Default)]
pub struct Ending(Arc<Mutex<Option<Instant>>>);

impl Ending {
    /// Says that the program shall end; the first time counts.
    pub fn begin(&self) {
        self.lock().get_or_insert_with(Instant::now);
    }

    /// When it was told to end.
    pub fn since(&self) -> Option<Instant> {
        *self.lock()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much of a deadline for a collection and its lines the collection may take: the rest is for
/// printing.
pub fn time_to_collect(deadline: Duration) -> Duration {
    deadline.mul_f32(0.98)
}

/// Whoever waits only for as long as others are at work looks so often whether they are.
const GLANCE: Duration = Duration::from_millis(5);

/// By when: a fixed moment, or `grace` after the program was told to end, whichever comes first.
#[derive(Clone, Debug)]
pub struct Deadline {
    at: Option<Instant>,
    ending: Ending,
    grace: Duration,
    others_done: Option<Ending>,
}

impl Deadline {
    /// In `time` from now, or `grace` after the end was ordered.
    pub fn within(time: Duration, ending: &Ending, grace: Duration) -> Self {
        let at = Some(Instant::now() + time);
        Self { at, ending: ending.clone(), grace, others_done: None }
    }

    /// Never, or `grace` after the end was ordered.
    pub fn at_ending(ending: &Ending, grace: Duration) -> Self {
        Self { at: None, ending: ending.clone(), grace, others_done: None }
    }

    /// The same for who shall cost others no time: over, too, as soon as these say that they are done.
    pub fn while_others_work(&self, others_done: &Ending) -> Self {
        Self { others_done: Some(others_done.clone()), ..self.clone() }
    }

    /// The same, however long others are at work.
    pub fn whatever_others_do(&self) -> Self {
        Self { others_done: None, ..self.clone() }
    }

    /// The time left, at most `most`: a waiter looks again at least that often, since the end may
    /// be ordered at any moment.
    pub fn left(&self, most: Duration) -> Duration {
        let now = Instant::now();
        let ending = self.ending.since().map(|since| since + self.grace);
        let others_done = self.others_done.as_ref();
        let most = if others_done.is_some() { most.min(GLANCE) } else { most };
        [self.at, ending, others_done.and_then(Ending::since)]
            .into_iter()
            .flatten()
            .map(|moment| moment.saturating_duration_since(now))
            .fold(most, Duration::min)
    }

    /// Whether the program was told to end.
    pub fn is_ending(&self) -> bool {
        self.ending.since().is_some()
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        self.left(Duration::from_secs(1)).is_zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn an_order_to_end_brings_the_deadline_nearer() {
        let ending = Ending::default();
        let deadline = Deadline::within(LONG, &ending, Duration::ZERO);
        assert!(!deadline.is_over());
        ending.begin();
        assert!(deadline.is_over());
        assert_eq!(deadline.left(LONG), Duration::ZERO);
    }

    #[test]
    fn who_waits_while_others_work_is_done_with_them_and_looks_often() {
        let others_done = Ending::default();
        let whole = Deadline::within(LONG, &Ending::default(), LONG);
        let deadline = whole.while_others_work(&others_done);
        assert!(!deadline.is_over());
        assert_eq!(deadline.left(LONG), GLANCE);
        others_done.begin();
        assert!(deadline.is_over());
        assert!(!deadline.is_ending());
        assert!(!deadline.whatever_others_do().is_over());
    }

    #[test]
    fn without_a_deadline_only_the_end_counts() {
        let ending = Ending::default();
        let deadline = Deadline::at_ending(&ending, LONG);
        assert_eq!(deadline.left(Duration::from_millis(50)), Duration::from_millis(50));
        ending.begin();
        assert!(!deadline.is_over());
    }
}
