//! When something that held a call may be asked again: a call that an earlier run left behind goes on waiting
//! in libvirtd, and each new one would wait beside it.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// The first pause, which doubles each time.
const FIRST: Duration = Duration::from_secs(10);
/// The longest pause, unless it has not answered for longer than that.
const LONG: Duration = Duration::from_secs(5 * 60);
/// The pause where so many calls wait already that libvirtd has hardly a worker left.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// How many calls may be left behind, beside those that wait already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Budget {
    /// What waits costs few workers: one more may.
    Free,
    /// One more now and then.
    Tight,
    /// None, as far as possible.
    Spent,
}

impl Budget {
    /// What is left where these wait, beside so many calls of others, if less than `few` calls are no burden and
    /// `most` are all that may wait.
    pub(crate) fn beside<'b>(
        waiting: impl Iterator<Item = &'b Backoff>,
        of_others: u32,
        few: usize,
        most: usize,
    ) -> Self {
        let calls = waiting.fold(of_others, |sum, backoff| sum.saturating_add(backoff.calls));
        match usize::try_from(calls) {
            Ok(calls) if calls < few.min(most) => Self::Free,
            Ok(calls) if calls < most => Self::Tight,
            _ => Self::Spent,
        }
    }
}

/// When something that held a call may be asked again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedBackoff {
    /// Since when it does not answer, on the same clock.
    pub since_ns: u64,
    /// When it was asked last, on the same clock.
    pub asked_ns: u64,
    /// How often it was asked.
    pub calls: u32,
    /// What libvirt's files said then: of the guest, or of all that run.
    pub running: u64,
}

/// Since when it does not answer, how often it was asked, and when last.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    since: Instant,
    asked: Instant,
    /// Calls that wait for it, as far as is known.
    calls: u32,
    /// What libvirt's files said when it was asked last.
    state: u64,
    /// Whether a call of this process waits for it. Then the gate knows when it comes back.
    is_ours: bool,
}

impl Backoff {
    /// It was asked (once more), and did not answer.
    pub(crate) fn again(slot: &mut Option<Self>, now: Instant, state: u64) {
        match slot {
            Some(backoff) => {
                (backoff.asked, backoff.state) = (now, state);
                backoff.calls = backoff.calls.saturating_add(1);
                backoff.is_ours = true;
            }
            None => {
                *slot = Some(Self { since: now, asked: now, calls: 1, state, is_ours: true });
            }
        }
    }

    /// Somebody else's call waits for it since now.
    pub(super) fn of_others(now: Instant, state: u64) -> Self {
        Self { since: now, asked: now, calls: 1, state, is_ours: false }
    }

    /// Whether it may be asked again: something has happened since that may have freed it, or its time has come.
    pub(crate) fn is_over(&self, now: Instant, state: u64, budget: Budget) -> bool {
        state != self.state || self.is_due(now, budget)
    }

    /// Whether its time has come. What has not answered for hours is asked seldom, so that a day costs about a dozen
    /// calls.
    pub(super) fn is_due(&self, now: Instant, budget: Budget) -> bool {
        let doubled = FIRST.saturating_mul(1 << self.calls.saturating_sub(1).min(16));
        let long = self.asked.saturating_duration_since(self.since).max(LONG);
        let pause = match budget {
            Budget::Free => doubled.min(long),
            Budget::Tight => long,
            Budget::Spent => LONGEST,
        };
        now.saturating_duration_since(self.asked) >= pause
    }

    /// Whether only an earlier run's calls wait for it, so that nothing says when they come back.
    pub(super) fn is_of_earlier_run(&self) -> bool {
        !self.is_ours
    }

    pub(crate) fn saved(&self, now: Instant, now_ns: u64) -> SavedBackoff {
        let (calls, running) = (self.calls, self.state);
        let [since_ns, asked_ns] = [self.since, self.asked].map(|it| saved_moment(it, now, now_ns));
        SavedBackoff { since_ns, asked_ns, calls, running }
    }

    pub(crate) fn restored(saved: &SavedBackoff, now: Instant, now_ns: u64) -> Self {
        let [since, asked] =
            [saved.since_ns, saved.asked_ns].map(|ns| restored_moment(ns, now, now_ns));
        let (calls, state) = (saved.calls, saved.running);
        Self { since, asked, calls, state, is_ours: false }
    }
}

/// A moment on the host's CLOCK_BOOTTIME, which is `now_ns` at `now`.
pub(super) fn saved_moment(moment: Instant, now: Instant, now_ns: u64) -> u64 {
    let age = now.saturating_duration_since(moment).as_nanos();
    now_ns.saturating_sub(u64::try_from(age).unwrap_or(u64::MAX))
}

/// The moment that was saved.
pub(super) fn restored_moment(ns: u64, now: Instant, now_ns: u64) -> Instant {
    let age = Duration::from_nanos(now_ns.saturating_sub(ns));
    now.checked_sub(age).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_pause_doubles_and_ends_early_when_a_guest_starts_or_stops() {
        let start = Instant::now();
        let mut slot = None;
        Backoff::again(&mut slot, start, 7);
        let is_over = |slot: &Option<Backoff>, seconds, running| {
            slot.as_ref().unwrap().is_over(start + SECOND * seconds, running, Budget::Free)
        };
        assert_eq!([9, 10].map(|at| is_over(&slot, at, 7)), [false, true]);
        assert!(is_over(&slot, 1, 8));
        Backoff::again(&mut slot, start + SECOND * 10, 7);
        assert_eq!([29, 30].map(|at| is_over(&slot, at, 7)), [false, true]);
        for _ in 0..40 {
            Backoff::again(&mut slot, start, 7);
        }
        assert_eq!([299, 300].map(|at| is_over(&slot, at, 7)), [false, true]);
    }

    #[test]
    fn with_less_of_a_budget_the_pause_is_longer() {
        let start = Instant::now();
        let mut slot = None;
        Backoff::again(&mut slot, start, 7);
        let backoff = slot.unwrap();
        for (budget, pause) in [(Budget::Free, 10), (Budget::Tight, 300), (Budget::Spent, 86_400)] {
            let is_over = |seconds| backoff.is_over(start + SECOND * seconds, 7, budget);
            assert_eq!([pause - 1, pause].map(is_over), [false, true], "{budget:?}");
        }
    }

    #[test]
    fn what_never_answers_is_asked_a_dozen_times_a_day() {
        let start = Instant::now();
        for budget in [Budget::Free, Budget::Tight] {
            let mut slot = None;
            let mut asked = Vec::new();
            for minute in 0..24 * 60 {
                let now = start + SECOND * 60 * minute;
                if slot.as_ref().is_none_or(|slot: &Backoff| slot.is_over(now, 7, budget)) {
                    Backoff::again(&mut slot, now, 7);
                    asked.push(minute);
                }
            }
            assert!(asked.len() <= 14, "{budget:?}: {asked:?}");
        }
    }

    #[test]
    fn another_run_goes_on_with_it() {
        let now = Instant::now();
        let mut slot = None;
        Backoff::again(&mut slot, now, 7);
        let saved = slot.unwrap().saved(now + SECOND, 5_000_000_000);
        let expected =
            SavedBackoff { since_ns: 4_000_000_000, asked_ns: 4_000_000_000, calls: 1, running: 7 };
        assert_eq!(saved, expected);
        let restored = Backoff::restored(&saved, now, 8_000_000_000);
        assert!(!restored.is_over(now + SECOND * 5, 7, Budget::Free));
        assert!(restored.is_over(now + SECOND * 6, 7, Budget::Free));
    }
}
