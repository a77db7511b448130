//! Deadlines. They shorten to a grace period when the program is told to stop, and whoever waits for something
//! else until a deadline is woken then.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Nobody sleeps longer at once.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// Whether the program was told to end, and when. Shared by all its threads, any of which can wait for it.
#[derive(Clone, Debug, Default)]
pub struct Ending(Arc<EndingState>);

#[derive(Default)]
struct EndingState {
    since: Mutex<Option<Instant>>,
    begun: Condvar,
    waiters: Mutex<Vec<Arc<dyn Wake>>>,
    /// Read ends are readable as soon as the write end is closed.
    pipe: Mutex<Option<(PipeReader, PipeWriter)>>,
}

impl std::fmt::Debug for EndingState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Ending").field(&*lock(&self.since)).finish()
    }
}

/// Something that waits on a condition variable of its own.
pub trait Wake: Send + Sync {
    /// Lets it look at its deadline again.
    fn wake(&self);
}

impl Ending {
    /// Says that the program must end; the first time counts.
    pub fn begin(&self) {
        lock(&self.0.since).get_or_insert_with(Instant::now);
        self.0.begun.notify_all();
        drop(lock(&self.0.pipe).take());
        let waiters = lock(&self.0.waiters).clone();
        waiters.iter().for_each(|waiter| waiter.wake());
    }

    /// When it was told to end.
    pub fn since(&self) -> Option<Instant> {
        *lock(&self.0.since)
    }

    /// A file that is readable as soon as the program is told to end, for who waits in `poll`. `None` if it
    /// was told so already.
    ///
    /// # Errors
    /// If there can be no more open files.
    pub fn readable(&self) -> io::Result<Option<OwnedFd>> {
        let mut pipe = lock(&self.0.pipe);
        if self.since().is_some() {
            return Ok(None);
        }
        let (reader, _) = match &mut *pipe {
            Some(pipe) => pipe,
            none => none.insert(io::pipe()?),
        };
        Ok(Some(reader.try_clone()?.into()))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How much of a deadline for a collection and its lines the collection may take: the rest is for printing,
/// which takes a fiftieth of the time of a collection that asks QEMU.
pub fn time_to_collect(deadline: Duration) -> Duration {
    deadline.mul_f32(0.98)
}

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

    /// The same, but in `time` from now at the latest.
    pub fn at_most(&self, time: Duration) -> Self {
        let soon = Instant::now() + time;
        Self { at: Some(self.at.map_or(soon, |at| at.min(soon))), ..self.clone() }
    }

    /// The same deadline, but it is also over when `others_done` begins.
    pub fn while_others_work(&self, others_done: &Ending) -> Self {
        Self { others_done: Some(others_done.clone()), ..self.clone() }
    }

    /// The same, however long others are at work.
    pub fn whatever_others_do(&self) -> Self {
        Self { others_done: None, ..self.clone() }
    }

    /// The time left, at most `most`. Who waits so long must be woken by [`Deadline::wakes`], or look again.
    pub fn left(&self, most: Duration) -> Duration {
        let now = Instant::now();
        let ending = self.ending.since().map(|since| since + self.grace);
        [self.at, ending, self.others_done.as_ref().and_then(Ending::since)]
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

    /// Sleeps until it is over.
    pub fn sleep(&self) {
        let state = &self.ending.0;
        let mut since = lock(&state.since);
        loop {
            let ending = since.map(|since| since + self.grace);
            let Some(until) = self.at.into_iter().chain(ending).min() else {
                since = state.begun.wait(since).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = until.saturating_duration_since(Instant::now()).min(LONGEST_SLEEP);
            if left.is_zero() {
                return;
            }
            let waited = state.begun.wait_timeout(since, left);
            since = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Wakes this waiter each time that the deadline comes nearer, until the result is dropped.
    pub fn wakes(&self, waiter: &Arc<dyn Wake>) -> Woken {
        let endings = std::iter::once(&self.ending).chain(&self.others_done).cloned().collect();
        let woken = Woken { endings, waiter: Arc::clone(waiter) };
        woken.endings.iter().for_each(|ending| lock(&ending.0.waiters).push(Arc::clone(waiter)));
        woken
    }

    /// See [`Ending::readable`].
    ///
    /// # Errors
    /// If there can be no more open files.
    pub fn readable(&self) -> io::Result<Option<OwnedFd>> {
        self.ending.readable()
    }
}

/// A waiter is woken as long as this is kept.
pub struct Woken {
    endings: Vec<Ending>,
    waiter: Arc<dyn Wake>,
}

impl Drop for Woken {
    fn drop(&mut self) {
        for ending in &self.endings {
            let mut waiters = lock(&ending.0.waiters);
            if let Some(place) = waiters.iter().position(|it| Arc::ptr_eq(it, &self.waiter)) {
                waiters.swap_remove(place);
            }
        }
    }
}

/// What this thread has used of the CPU: for tests of how long something takes, in which other work on the machine
/// does not count.
#[cfg(test)]
pub fn cpu_time() -> Duration {
    let clock = nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID;
    nix::time::clock_gettime(clock).unwrap().into()
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::thread;

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
    fn who_waits_while_others_work_is_done_with_them() {
        let others_done = Ending::default();
        let whole = Deadline::within(LONG, &Ending::default(), LONG);
        let deadline = whole.while_others_work(&others_done);
        assert!(!deadline.is_over());
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

    #[test]
    fn of_two_times_the_earlier_one_counts() {
        let never = Deadline::at_ending(&Ending::default(), LONG);
        let soon = never.at_most(Duration::ZERO);
        assert!(soon.is_over() && !never.is_over());
        assert!(soon.at_most(LONG).is_over());
    }

    #[test]
    fn who_sleeps_wakes_when_the_end_is_ordered_and_not_before_its_time_else() {
        let ending = Ending::default();
        let began = Instant::now();
        Deadline::within(Duration::from_millis(20), &ending, Duration::ZERO).sleep();
        assert!(began.elapsed() >= Duration::from_millis(20));
        let order = ending.clone();
        let late = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            order.begin();
        });
        Deadline::within(LONG, &ending, Duration::ZERO).sleep();
        Deadline::at_ending(&ending, Duration::ZERO).sleep();
        assert!(began.elapsed() < LONG / 2);
        late.join().unwrap();
    }

    #[test]
    fn who_polls_sees_the_end() {
        let ending = Ending::default();
        let mut before = PipeReader::from(ending.readable().unwrap().unwrap());
        let order = ending.clone();
        let late = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            order.begin();
        });
        assert_eq!(before.read(&mut [0]).unwrap(), 0);
        assert!(ending.since().is_some());
        assert!(ending.readable().unwrap().is_none());
        late.join().unwrap();
    }

    #[test]
    fn who_no_longer_waits_is_not_woken() {
        struct Counted(Mutex<u32>);
        impl Wake for Counted {
            fn wake(&self) {
                *lock(&self.0) += 1;
            }
        }
        let ending = Ending::default();
        let deadline = Deadline::within(LONG, &ending, LONG);
        let counted = Arc::new(Counted(Mutex::new(0)));
        let waiter: Arc<dyn Wake> = Arc::clone(&counted) as _;
        let woken = deadline.wakes(&waiter);
        drop(deadline.wakes(&waiter));
        ending.begin();
        drop(woken);
        ending.begin();
        assert_eq!(*lock(&counted.0), 1);
    }
}
