//! Answers on their way from the workers to who waits for them. It is woken once for answers that can wait
//! for each other: to sleep and wake takes as much CPU time as to print the lines of ten guests.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::CallId;
use crate::deadline::{Deadline, Wake};
use crate::libvirt::Error;

/// What comes from a worker.
#[derive(Debug)]
pub struct Done<T> {
    /// The call that it belongs to.
    pub id: CallId,
    /// An answer, or why the call failed.
    pub result: Result<T, Error>,
    /// Whether the call is over.
    pub is_last: bool,
    /// Whether something must be done at once.
    pub is_urgent: bool,
}

/// Where workers leave their answers.
pub(super) struct ResultQueue<T>(Arc<SharedResults<T>>);

struct SharedResults<T> {
    waiting: Mutex<WaitingResults<T>>,
    changed: Condvar,
}

struct WaitingResults<T> {
    done: VecDeque<Done<T>>,
    /// How many of them are urgent.
    urgent: usize,
    /// How many of them end their call.
    ended: usize,
    /// So many calls that have ended wake whoever waits.
    enough: usize,
}

impl<T> WaitingResults<T> {
    fn is_ready(&self) -> bool {
        self.urgent > 0 || self.ended >= self.enough
    }

    fn take(&mut self) -> VecDeque<Done<T>> {
        (self.urgent, self.ended) = (0, 0);
        std::mem::take(&mut self.done)
    }
}

impl<T> SharedResults<T> {
    fn lock(&self) -> MutexGuard<'_, WaitingResults<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send> Wake for SharedResults<T> {
    fn wake(&self) {
        // With the lock held: a waiter that has just looked at its deadline sleeps by now.
        let _waiting = self.lock();
        self.changed.notify_all();
    }
}

impl<T> Clone for ResultQueue<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for ResultQueue<T> {
    fn default() -> Self {
        let waiting = WaitingResults { done: VecDeque::new(), urgent: 0, ended: 0, enough: 0 };
        Self(Arc::new(SharedResults { waiting: Mutex::new(waiting), changed: Condvar::new() }))
    }
}

impl<T> ResultQueue<T> {
    /// Leaves an answer.
    pub(super) fn put(&self, done: Done<T>) {
        let mut waiting = self.0.lock();
        waiting.urgent += usize::from(done.is_urgent);
        waiting.ended += usize::from(done.is_last);
        waiting.done.push_back(done);
        let is_ready = waiting.is_ready();
        drop(waiting);
        if is_ready {
            self.0.changed.notify_one();
        }
    }
}

impl<T: Send + 'static> ResultQueue<T> {
    /// All answers that are there. Waits until `enough` calls have ended or an answer is urgent, but no
    /// longer than `most` and the deadline.
    pub(super) fn take(
        &self,
        enough: usize,
        most: Duration,
        deadline: &Deadline,
    ) -> VecDeque<Done<T>> {
        let until = Instant::now() + most;
        let waiter: Arc<dyn Wake> = Arc::clone(&self.0) as _;
        let _woken = deadline.wakes(&waiter);
        let mut waiting = self.0.lock();
        waiting.enough = enough.max(1);
        while !waiting.is_ready() {
            let left = deadline.left(until.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                break;
            }
            let waited = self.0.changed.wait_timeout(waiting, left);
            waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        waiting.take()
    }

    /// All answers that are there.
    pub(super) fn arrived(&self) -> VecDeque<Done<T>> {
        self.0.lock().take()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::deadline::Ending;

    const LONG: Duration = Duration::from_secs(60);

    fn done(id: u64, is_urgent: bool) -> Done<()> {
        Done { id: CallId(id), result: Ok(()), is_last: true, is_urgent }
    }

    fn ids(done: VecDeque<Done<()>>) -> Vec<u64> {
        done.into_iter().map(|done| done.id.0).collect()
    }

    fn deadline(ending: &Ending) -> Deadline {
        Deadline::within(LONG, ending, Duration::ZERO)
    }

    #[test]
    fn answers_that_can_wait_come_when_there_are_enough() {
        let (queue, deadline) = (ResultQueue::default(), deadline(&Ending::default()));
        queue.put(done(1, false));
        let sender = queue.clone();
        let late = thread::spawn(move || sender.put(done(2, false)));
        assert_eq!(ids(queue.take(2, LONG, &deadline)), [1, 2]);
        late.join().unwrap();
    }

    #[test]
    fn an_urgent_one_wakes_at_once_and_time_that_is_over_brings_what_is_there() {
        let (queue, deadline) = (ResultQueue::default(), deadline(&Ending::default()));
        queue.put(done(1, false));
        queue.put(done(2, true));
        assert_eq!(ids(queue.take(9, LONG, &deadline)), [1, 2]);
        queue.put(done(3, false));
        assert_eq!(ids(queue.take(9, Duration::ZERO, &deadline)), [3]);
        assert!(queue.take(9, Duration::ZERO, &deadline).is_empty());
    }

    #[test]
    fn who_waits_is_woken_when_the_end_is_ordered_or_others_are_done() {
        for is_end in [true, false] {
            let (ending, others_done) = (Ending::default(), Ending::default());
            let deadline = deadline(&ending).while_others_work(&others_done);
            let order = if is_end { ending } else { others_done };
            let began = Instant::now();
            let late = thread::spawn(move || {
                thread::sleep(Duration::from_millis(20));
                order.begin();
            });
            assert!(ResultQueue::<()>::default().take(1, LONG, &deadline).is_empty());
            assert!(began.elapsed() < LONG / 2);
            late.join().unwrap();
        }
    }
}
