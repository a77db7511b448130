//! Answers on their way from the workers to the collection, which is woken once for those that can wait
//! for each other: to sleep and wake takes as much CPU time as to print the lines of ten guests.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::call::Done;

/// Where workers leave their answers.
#[derive(Clone, Default)]
pub(super) struct ResultQueue(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: Mutex<WaitingResults>,
    changed: Condvar,
}

#[derive(Default)]
struct WaitingResults {
    done: VecDeque<Done>,
    /// How many of them ask for something to be done at once.
    urgent: usize,
    /// How many of them end their call.
    ended: usize,
    /// So many calls that have ended wake whoever waits.
    enough: usize,
}

impl WaitingResults {
    fn is_ready(&self) -> bool {
        self.urgent > 0 || self.ended >= self.enough
    }
}

impl ResultQueue {
    /// Leaves an answer.
    pub(super) fn put(&self, done: Done) {
        let mut waiting = self.lock();
        waiting.urgent += usize::from(done.is_urgent());
        waiting.ended += usize::from(done.is_last);
        waiting.done.push_back(done);
        let is_ready = waiting.is_ready();
        drop(waiting);
        if is_ready {
            self.0.changed.notify_one();
        }
    }

    /// All answers that are there. Waits, at most so long, until `enough` calls have ended or an answer is
    /// urgent.
    pub(super) fn take(&self, enough: usize, most: Duration) -> VecDeque<Done> {
        let until = Instant::now() + most;
        let mut waiting = self.lock();
        waiting.enough = enough.max(1);
        while !waiting.is_ready() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.0.changed.wait_timeout(waiting, left);
            waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        (waiting.urgent, waiting.ended) = (0, 0);
        std::mem::take(&mut waiting.done)
    }

    fn lock(&self) -> MutexGuard<'_, WaitingResults> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::super::call::{Answer, CallId};
    use super::*;
    use crate::libvirt::Error;

    const LONG: Duration = Duration::from_secs(60);

    fn asked(id: u64) -> Done {
        let answer = Answer::Asked(Vec::new(), None, Duration::ZERO);
        Done { id: CallId(id), result: Ok(answer), is_last: true }
    }

    fn ids(done: VecDeque<Done>) -> Vec<u64> {
        done.into_iter().map(|done| done.id.0).collect()
    }

    #[test]
    fn answers_that_can_wait_come_when_there_are_enough() {
        let queue = ResultQueue::default();
        queue.put(asked(1));
        let sender = queue.clone();
        let late = thread::spawn(move || sender.put(asked(2)));
        assert_eq!(ids(queue.take(2, LONG)), [1, 2]);
        late.join().unwrap();
    }

    #[test]
    fn an_urgent_one_wakes_at_once_and_time_that_is_over_brings_what_is_there() {
        let queue = ResultQueue::default();
        queue.put(asked(1));
        let result = Err(Error::connection_lost());
        queue.put(Done { id: CallId(2), result, is_last: true });
        assert_eq!(ids(queue.take(9, LONG)), [1, 2]);
        queue.put(asked(3));
        assert_eq!(ids(queue.take(9, Duration::ZERO)), [3]);
        assert!(queue.take(9, Duration::ZERO).is_empty());
    }
}
