//! One call after another, and the answers of each, one by one.

use std::collections::VecDeque;
use std::time::Duration;

use super::{CallId, CallReport, Connected, Done, Pool};
use crate::deadline::Deadline;
use crate::libvirt::Error;

/// Nobody waits longer, for any deadline, so that no sum of times overflows.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Why nothing comes of a call to a file.
pub const NO_ANSWER: &str = "it does not answer; is its mount gone?";

/// Makes one call after another. A call whose answers are not waited for any more is left behind with its
/// thread and connection, and the next one is made on another.
pub struct Caller<C, T> {
    pool: Pool<C, T>,
    call: CallId,
    /// Whether it may still have answers.
    is_open: bool,
    answers: VecDeque<Done<T>>,
}

impl<T: Send + 'static> Caller<(), T> {
    /// Calls that need no connection. `name` is that of the threads.
    pub fn without_connection(name: &'static str) -> Self {
        Self::new(name, || Ok(()))
    }
}

impl<C: Connected + 'static, T: Send + 'static> Caller<C, T> {
    /// A caller that opens a connection for its first call.
    pub fn new(
        name: &'static str,
        open: impl Fn() -> Result<C, Error> + Send + Sync + 'static,
    ) -> Self {
        let pool = Pool::new(name, open, |_| true);
        Self { pool, call: CallId(0), is_open: false, answers: VecDeque::new() }
    }

    /// Makes a call. What comes of an earlier one is dropped.
    pub fn call(
        &mut self,
        work: impl FnOnce(&mut C, &CallReport<T>) -> Result<T, Error> + Send + 'static,
    ) {
        self.call.0 += 1;
        self.is_open = true;
        self.answers.clear();
        self.pool.submit(self.call, Box::new(work));
    }

    /// Whether the last call may still have answers.
    pub fn is_waiting(&self) -> bool {
        self.is_open
    }

    /// The call's next answer, or why it failed; `None` when it is over, or the deadline is.
    pub fn next(&mut self, deadline: &Deadline) -> Option<Result<T, Error>> {
        while self.is_open {
            if let Some(Done { id, result, is_last, .. }) = self.answers.pop_front() {
                if id == self.call {
                    self.is_open = !is_last;
                    return Some(result);
                }
                continue;
            }
            self.answers = self.pool.wait(1, LONGEST, deadline).into();
            if self.answers.is_empty() && deadline.is_over() {
                return None;
            }
        }
        None
    }
}

/// What comes of one call that needs no connection, such as one to files; `None` if nothing does by the deadline.
/// Then the call is left behind with its thread. `name` is the thread's.
pub fn answer_by<T: Send + 'static>(
    name: &'static str,
    deadline: &Deadline,
    call: impl FnOnce() -> T + Send + 'static,
) -> Option<Result<T, Error>> {
    let mut caller = Caller::without_connection(name);
    caller.call(move |(), _| Ok(call()));
    caller.next(deadline)
}
