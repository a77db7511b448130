//! What starts a collection and what ends the program: a newline on standard input, SIGHUP, SIGUSR1,
//! SIGUSR2, an interval; end of input, SIGTERM, SIGINT. Triggers that arrive while a collection runs
//! become one more.

use std::io::{self, ErrorKind, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{SigSet, Signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ};
use signal_hook::iterator::Signals as SignalIter;

use crate::deadline::Ending;

/// The signals that this program handles, caught from here on.
pub struct Signals {
    caught: SignalIter,
    ours: SigSet,
}

impl Signals {
    /// Catches them: main's first act, since a signal that comes before ends the program. They are blocked from
    /// here on but in the thread that listens: the kernel may give a signal to any thread that lets it in, and
    /// one that is in a file on a mount that is gone never gets to hear it.
    ///
    /// # Errors
    /// Where the kernel refuses, which it has no reason to.
    pub fn catch() -> io::Result<Self> {
        // A file that may grow no further is an error of the write, and no death.
        let caught = SignalIter::new([SIGHUP, SIGUSR1, SIGUSR2, SIGTERM, SIGINT, SIGXFSZ])?;
        let ours = [
            Signal::SIGHUP,
            Signal::SIGUSR1,
            Signal::SIGUSR2,
            Signal::SIGTERM,
            Signal::SIGINT,
            Signal::SIGXFSZ,
        ];
        let ours = SigSet::from_iter(ours);
        ours.thread_block()?;
        Ok(Self { caught, ours })
    }
}

/// What is said where a thread cannot be started.
fn no_thread(error: io::Error) -> String {
    format!("cannot start a thread: {error}; raise the limit on processes")
}

/// How long the end may take: the 4 s that a collection has then, and a moment to put things away.
/// Telegraf waits 5 s before it kills.
const END_MAX: Duration = Duration::from_millis(4900);
/// A waiter looks around at least so often.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// What comes next for execd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A collection.
    Collect,
    /// Nobody has asked for a collection for this long.
    Idle,
    /// The end, and why.
    End(EndCause),
}

/// Why the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// Standard input ended, or could not be read.
    Input,
    /// SIGTERM or SIGINT.
    Signal,
}

/// Triggers as they arrive, from all their threads.
#[derive(Clone)]
pub struct Triggers {
    shared: Arc<SharedTriggers>,
    /// Begins when the program is told to end.
    pub ending: Ending,
    /// What is done about an end that does not come.
    overdue: fn(),
}

#[derive(Default)]
struct SharedTriggers {
    state: Mutex<TriggerState>,
    changed: Condvar,
}

#[derive(Default)]
struct TriggerState {
    is_pending: bool,
    arrived: u64,
    end: Option<EndCause>,
}

impl Triggers {
    /// Listens to the signals; triggers among them count only where `triggers` is set, and are
    /// passed over else. `overdue` is called when the program still runs `END_MAX` after it was told to
    /// end: something holds it that cannot be interrupted, such as a file on a mount that is gone.
    ///
    /// # Errors
    /// Where no thread can be started, in a message.
    pub fn listen(signals: Signals, triggers: bool, overdue: fn()) -> Result<Self, String> {
        let this = Self { shared: Arc::default(), ending: Ending::default(), overdue };
        let listener = this.clone();
        let body = move || {
            let Signals { mut caught, ours } = signals;
            // The kernel has no reason to refuse.
            let _ = ours.thread_unblock();
            for signal in caught.forever() {
                match signal {
                    SIGTERM | SIGINT => listener.end(EndCause::Signal),
                    SIGHUP | SIGUSR1 | SIGUSR2 if triggers => listener.trigger(),
                    _ => {}
                }
            }
        };
        thread::Builder::new().name("signals".to_owned()).spawn(body).map_err(no_thread)?;
        Ok(this)
    }

    /// Reads standard input on a thread of its own: each newline is a trigger, its end is the end.
    ///
    /// # Errors
    /// Where no thread can be started, in a message.
    pub fn read_input(&self) -> Result<(), String> {
        let listener = self.clone();
        let body = move || {
            let mut input = io::stdin().lock();
            let mut buffer = [0; 4096];
            loop {
                match input.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(length) => {
                        if buffer.iter().take(length).any(|byte| *byte == b'\n') {
                            listener.trigger();
                        }
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    // A terminal's or another process's flag: nothing is lost by waiting.
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        thread::sleep(Duration::from_millis(50));
                    }
                    Err(_) => break,
                }
            }
            listener.end(EndCause::Input);
        };
        thread::Builder::new().name("stdin".to_owned()).spawn(body).map_err(no_thread)?;
        Ok(())
    }

    /// Reads standard input on a thread of its own: a q, or its end, is the end.
    ///
    /// # Errors
    /// Where no thread can be started, in a message.
    pub fn read_keys(&self) -> Result<(), String> {
        let listener = self.clone();
        let body = move || {
            let mut key = [0];
            let mut input = io::stdin().lock();
            loop {
                match input.read(&mut key) {
                    Ok(1..) if !key.eq_ignore_ascii_case(b"q") => {}
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        thread::sleep(Duration::from_millis(50));
                    }
                    _ => break,
                }
            }
            listener.end(EndCause::Input);
        };
        thread::Builder::new().name("keys".to_owned()).spawn(body).map_err(no_thread)?;
        Ok(())
    }

    /// How many triggers have arrived so far.
    pub fn arrived(&self) -> u64 {
        self.lock().arrived
    }

    /// Waits for what comes next. A pending trigger comes before the end. With an `interval` a
    /// collection is also due at each whole multiple of it on the clock.
    pub fn next(&self, interval: Option<Duration>, idle: Duration) -> Next {
        let due = interval.map(|interval| Due::next(interval, SystemTime::now()));
        // Whoever has triggered once is not told that nobody does.
        let idle_at = (self.arrived() == 0).then(|| Instant::now() + idle);
        let mut state = self.lock();
        loop {
            if std::mem::take(&mut state.is_pending) {
                return Next::Collect;
            }
            if let Some(cause) = state.end {
                return Next::End(cause);
            }
            let wait = match (&due, idle_at) {
                (Some(due), _) => due.left(SystemTime::now(), Instant::now()),
                (None, Some(idle_at)) => idle_at.saturating_duration_since(Instant::now()),
                (None, None) => Duration::MAX,
            };
            if wait.is_zero() {
                return if due.is_some() { Next::Collect } else { Next::Idle };
            }
            let woken = self.shared.changed.wait_timeout(state, wait.min(LONGEST_WAIT));
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn trigger(&self) {
        let mut state = self.lock();
        // After the order to end nothing new is begun.
        if state.end.is_none() {
            state.is_pending = true;
            state.arrived += 1;
        }
        drop(state);
        self.shared.changed.notify_all();
    }

    fn end(&self, cause: EndCause) {
        let is_first = {
            let mut state = self.lock();
            let is_first = state.end.is_none();
            state.end.get_or_insert(cause);
            is_first
        };
        self.ending.begin();
        self.shared.changed.notify_all();
        if is_first {
            let overdue = self.overdue;
            let body = move || {
                thread::sleep(END_MAX);
                overdue();
            };
            // Without a thread the end comes as soon as it can.
            let _ = thread::Builder::new().name("end".to_owned()).spawn(body);
        }
    }

    fn lock(&self) -> MutexGuard<'_, TriggerState> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The next whole multiple of an interval on the clock, held against both clocks: a step of the
/// wall clock delays a collection by one interval at most.
struct Due {
    at: SystemTime,
    latest: Instant,
}

impl Due {
    fn next(interval: Duration, now: SystemTime) -> Self {
        let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let interval_ns = interval.as_nanos().max(1);
        let left_ns = interval_ns - since_epoch.as_nanos() % interval_ns;
        let left = Duration::from_nanos(u64::try_from(left_ns).unwrap_or(u64::MAX));
        Self { at: now + left, latest: Instant::now() + left }
    }

    fn left(&self, now: SystemTime, now_steady: Instant) -> Duration {
        let by_wall = self.at.duration_since(now).unwrap_or_default();
        by_wall.min(self.latest.saturating_duration_since(now_steady))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn triggers() -> Triggers {
        Triggers { shared: Arc::default(), ending: Ending::default(), overdue: || {} }
    }

    #[test]
    fn triggers_that_wait_become_one() {
        let triggers = triggers();
        triggers.trigger();
        triggers.trigger();
        assert_eq!(triggers.next(None, LONG), Next::Collect);
        assert_eq!(triggers.arrived(), 2);
        triggers.end(EndCause::Input);
        assert_eq!(triggers.next(None, Duration::ZERO), Next::End(EndCause::Input));
    }

    #[test]
    fn only_who_never_triggered_is_told_so() {
        assert_eq!(triggers().next(None, Duration::ZERO), Next::Idle);
    }

    #[test]
    fn a_pending_trigger_comes_before_the_end_and_none_after_it() {
        let triggers = triggers();
        triggers.trigger();
        triggers.end(EndCause::Input);
        triggers.trigger();
        assert_eq!(triggers.next(None, LONG), Next::Collect);
        assert_eq!(triggers.next(None, LONG), Next::End(EndCause::Input));
        assert!(triggers.ending.since().is_some());
    }

    #[test]
    fn an_interval_is_due_at_its_whole_multiples() {
        let now = UNIX_EPOCH + Duration::from_millis(1_000_000_003_700);
        let due = Due::next(Duration::from_secs(10), now);
        assert_eq!(due.at, UNIX_EPOCH + Duration::from_secs(1_000_000_010));
        let on_time = UNIX_EPOCH + Duration::from_secs(1_000_000_010);
        let due = Due::next(Duration::from_secs(10), on_time);
        assert_eq!(due.at, UNIX_EPOCH + Duration::from_secs(1_000_000_020));
    }

    #[test]
    fn a_clock_that_steps_back_delays_an_interval_by_no_more_than_itself() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000_003);
        let due = Due::next(Duration::from_secs(10), now);
        let stepped = UNIX_EPOCH + Duration::from_secs(5);
        assert!(due.left(stepped, Instant::now()) <= Duration::from_secs(7));
        assert_eq!(due.left(now + Duration::from_secs(8), Instant::now()), Duration::ZERO);
    }
}
