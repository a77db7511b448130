//! Calls to the cache's files, on threads that can be left behind: on a mount that is gone they never come back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::deadline::Deadline;
use crate::libvirt::Error;
use crate::log::Log;
use crate::pool::{CallId, Done, Pool};

/// Nobody waits longer at once.
const LONGEST: Duration = Duration::from_secs(3600);

/// Calls to the files of hypervisors, each named by its place.
pub(super) struct FileCalls<T> {
    pool: Pool<(), T>,
    made: u64,
    /// Those that are not back yet, and of which hypervisor each is.
    under_way: HashMap<CallId, usize>,
}

impl<T: Send + 'static> FileCalls<T> {
    /// None yet. `name` is that of the threads.
    pub(super) fn new(name: &'static str, log: &Arc<Log>) -> Self {
        let pool = Pool::new(name, || Ok(()), |_| false).log_to(log);
        Self { pool, made: 0, under_way: HashMap::new() }
    }

    /// Whether a call of this hypervisor is not back yet: then none is to be begun, since that would not come
    /// back either.
    pub(super) fn is_under_way(&self, place: usize) -> bool {
        self.under_way.values().any(|of| *of == place)
    }

    /// Whether any is not back yet.
    pub(super) fn any_is_under_way(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// Begins a call.
    pub(super) fn begin(&mut self, place: usize, call: impl FnOnce() -> T + Send + 'static) {
        self.made += 1;
        let id = CallId(self.made);
        self.under_way.insert(id, place);
        self.pool.submit(id, Box::new(move |(), _| Ok(call())));
    }

    /// Waits until all are back, or until the deadline: what came back, and of which hypervisor. An error is
    /// that of a thread.
    pub(super) fn wait(&mut self, deadline: &Deadline) -> Vec<(usize, Result<T, Error>)> {
        let mut back = self.arrived();
        while self.any_is_under_way() && !deadline.is_over() {
            let done = self.pool.wait(self.under_way.len(), LONGEST, deadline);
            self.note(done, &mut back);
        }
        // One thread serves the saves of one hypervisor; more are needed at the start and the end.
        self.pool.shrink(1);
        back
    }

    /// What has come back.
    pub(super) fn arrived(&mut self) -> Vec<(usize, Result<T, Error>)> {
        let mut back = Vec::new();
        let done = self.pool.arrived();
        self.note(done, &mut back);
        back
    }

    fn note(&mut self, done: Vec<Done<T>>, back: &mut Vec<(usize, Result<T, Error>)>) {
        let of_hypervisors = done.into_iter().filter_map(|done| {
            let place = self.under_way.remove(&done.id)?;
            Some((place, done.result))
        });
        back.extend(of_hypervisors);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::deadline::Ending;
    use crate::log::Level;

    fn calls() -> FileCalls<u32> {
        FileCalls::new("test", &Arc::new(Log::kept(Level::Error)))
    }

    fn within(time: Duration) -> Deadline {
        Deadline::within(time, &Ending::default(), Duration::ZERO)
    }

    fn numbers(back: Vec<(usize, Result<u32, Error>)>) -> Vec<(usize, u32)> {
        back.into_iter().map(|(place, number)| (place, number.unwrap())).collect()
    }

    #[test]
    fn a_call_that_does_not_come_back_keeps_no_other_back_and_comes_later() {
        let mut calls = calls();
        let (free, stuck) = mpsc::channel::<()>();
        calls.begin(0, move || u32::from(stuck.recv().is_ok()));
        let mut others = Vec::new();
        for round in 0..2 {
            calls.begin(1, move || round);
            while calls.is_under_way(1) {
                others.extend(numbers(calls.wait(&within(Duration::from_millis(50)))));
            }
        }
        assert_eq!(others, [(1, 0), (1, 1)]);
        assert!(calls.is_under_way(0));
        free.send(()).unwrap();
        assert_eq!(numbers(calls.wait(&within(LONGEST))), [(0, 1)]);
        assert!(!calls.any_is_under_way());
    }

    #[test]
    fn an_order_to_end_ends_the_wait() {
        let mut calls = calls();
        let (_free, stuck) = mpsc::channel::<()>();
        calls.begin(0, move || u32::from(stuck.recv().is_ok()));
        let ending = Ending::default();
        ending.begin();
        assert!(calls.wait(&Deadline::within(LONGEST, &ending, Duration::ZERO)).is_empty());
    }
}
