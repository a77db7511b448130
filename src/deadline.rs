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

/// By when: a fixed moment, or `grace` after the program was told to end, whichever comes first.
#[derive(Clone, Debug)]
pub struct Deadline {
    at: Option<Instant>,
    ending: Ending,
    grace: Duration,
}

impl Deadline {
    /// In `time` from now, or `grace` after the end was ordered.
    pub fn within(time: Duration, ending: &Ending, grace: Duration) -> Self {
        Self { at: Some(Instant::now() + time), ending: ending.clone(), grace }
    }

    /// Never, or `grace` after the end was ordered.
    pub fn at_ending(ending: &Ending, grace: Duration) -> Self {
        Self { at: None, ending: ending.clone(), grace }
    }

    /// The time left, at most `most`: a waiter looks again at least that often, since the end may
    /// be ordered at any moment.
    pub fn left(&self, most: Duration) -> Duration {
        let now = Instant::now();
        let ending = self.ending.since().map(|since| since + self.grace);
        [self.at, ending]
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
    fn without_a_deadline_only_the_end_counts() {
        let ending = Ending::default();
        let deadline = Deadline::at_ending(&ending, LONG);
        assert_eq!(deadline.left(Duration::from_millis(50)), Duration::from_millis(50));
        ending.begin();
        assert!(!deadline.is_over());
    }
}
