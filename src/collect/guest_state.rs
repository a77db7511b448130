//! Where one guest is in a collection, and what its answers mean. Pure.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Excluded;
use super::call::{Purpose, Sampled};
use super::cause::Cause;
use super::gate::Hold;
use super::health::Health;
use super::request::GuestRequest;
use crate::devices::Inventory;
use crate::libvirt::Control;
use crate::sample::{Completeness, Domain};

/// The first pause before a guest is asked again that another call was in; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// For so long a guest is asked again that somebody's call keeps busy. An ordinary call is over by then.
const BUSY_FOR: Duration = Duration::from_secs(1);
/// The least of that for a guest with a change of its devices, where it is asked late in the collection.
const CHANGE_FOR: Duration = Duration::from_millis(300);
/// A monitor command that is out for so long while a call of ours waits as well is not answered any more.
const SILENT_MS: u64 = 400;
/// A guest whose object is locked for so long, and others have been asked meanwhile, is not waited for.
pub(super) const LOCKED_AFTER: Duration = Duration::from_millis(600);
/// The same from the bulk call on that has waited for it before, in this collection: that may have taken longer
/// on a slow machine.
pub(super) const LOCKED_AFTER_BULK: Duration = Duration::from_millis(1200);

/// What is reported of a guest whose XML does not come, and of whose devices nothing is known.
const NO_LIST: &str = "libvirt takes too long for its XML, and no device list of it is known; its disks are \
                       missing until the XML comes";

/// What is asked of a guest next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its XML, for a filter by metadata.
    Metadata,
    /// Its bulk statistics.
    Bulk,
    /// Those of a guest that is off: never together with others, since less is asked of it.
    BulkOfInactive,
    /// Its network statistics alone, since they take long.
    Interface,
    /// What the bulk statistics lack.
    Detail(Purpose),
}

/// One guest of a collection.
pub(super) struct GuestState {
    pub(super) request: GuestRequest,
    pub(super) stage: Stage,
    /// Nothing more is asked of it, unless a late answer says that it is well after all.
    pub(super) is_settled: bool,
    /// Its object is locked, as it seems; from this moment on it is not waited for.
    pub(super) locked_from: Option<Instant>,
    /// Its network statistics may become slow, and are asked alone in this collection.
    pub(super) nics_apart: bool,
    /// Its network statistics are slow, as it seems; from this moment on they are not waited for.
    pub(super) slow_from: Option<Instant>,
    /// Its device list is late, and no other is known; until this moment it is waited for.
    pub(super) list_until: Option<Instant>,
    /// A call of this collection was left behind in its object.
    pub(super) left_behind: bool,
    /// What its bulk statistics said, as far as they came.
    pub(super) sampled: Option<Sampled>,
    /// Its XML: read in this collection.
    pub(super) inventory: Option<Inventory>,
    /// What of its details could not be read.
    pub(super) failures: Vec<String>,
    pub(super) completeness: Option<Completeness>,
    pub(super) cause: Option<Cause>,
    /// It is gone, or could not be read, or is not read for its metadata.
    pub(super) end: Option<End>,
    skipped_at: Option<Instant>,
    pause: Duration,
}

/// Why a guest has no reading.
pub(super) enum End {
    Gone,
    Failed(String),
    Excluded(Excluded),
}

/// What follows from an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NextStep {
    /// It is settled.
    Settled,
    /// It is asked again, careful about its monitor, after this pause.
    Again(Duration),
}

/// What is known of a guest when an answer of it is judged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context {
    pub(super) now: Instant,
    /// When the collection began.
    pub(super) begun: Instant,
    /// No guest is asked again after this moment.
    pub(super) retry_until: Instant,
    /// What our own calls that are out say of it.
    pub(super) hold: Hold,
    /// How complete its answer was in the collection before.
    pub(super) last: Completeness,
    /// Whether it was starting in this boot.
    pub(super) was_starting: bool,
}

impl GuestState {
    pub(super) fn new(request: GuestRequest) -> Self {
        let mut state = Self {
            request,
            stage: Stage::Bulk,
            is_settled: false,
            locked_from: None,
            nics_apart: false,
            slow_from: None,
            list_until: None,
            left_behind: false,
            sampled: None,
            inventory: None,
            failures: Vec::new(),
            completeness: None,
            cause: None,
            end: None,
            skipped_at: None,
            pause: Duration::ZERO,
        };
        state.ask_bulk();
        state
    }

    /// Whether its network statistics are asked alone.
    pub(super) fn has_nics_apart(&self, health: &Health) -> bool {
        self.nics_apart || health.is_slow(&self.request.uuid)
    }

    pub(super) fn settle(&mut self, completeness: Completeness, cause: Option<Cause>) {
        (self.is_settled, self.completeness, self.cause) = (true, Some(completeness), cause);
    }

    pub(super) fn end(&mut self, end: End) {
        (self.is_settled, self.end) = (true, Some(end));
    }

    /// It answered, and what else is asked of it waits: what it said counts, with the device list that is
    /// known.
    pub(super) fn settle_without_details(&mut self) {
        let completeness = self.sampled.as_ref().map(|it| it.sample.completeness);
        self.settle(completeness.unwrap_or(Completeness::Busy), None);
        if self.needs_list() {
            self.failures.push(NO_LIST.to_owned());
        }
    }

    /// Whether it runs, and no device list of any age is known.
    pub(super) fn needs_list(&self) -> bool {
        self.request.id >= 0 && self.inventory.is_none() && self.request.inventory.is_none()
    }

    /// Whether a late answer may still say more than what is known.
    pub(super) fn is_final(&self) -> bool {
        self.end.is_some() || self.completeness.is_some_and(Completeness::is_answer)
    }

    /// It is read after all.
    pub(super) fn reopen(&mut self) {
        (self.is_settled, self.completeness, self.cause) = (false, None, None);
        self.locked_from = None;
    }

    /// Judges an answer that has nothing of the guest's monitor: is the monitor silent, or somebody else's
    /// call in it, or does the guest just start?
    pub(super) fn judge_skipped(&mut self, control: Option<Control>, context: Context) -> NextStep {
        let Context { now, begun, retry_until, hold, last, was_starting } = context;
        let skipped_at = *self.skipped_at.get_or_insert(now);
        let is_ours = hold >= Hold::Suspect;
        let Some(control) = control else {
            if hold == Hold::Bulk {
                self.settle(Completeness::Hung, Some(Cause::SilentQemu));
                return NextStep::Settled;
            }
            return NextStep::Again(Duration::ZERO);
        };
        let (completeness, cause, is_known) = match control {
            Control::Busy { for_ms, command: true }
                if control.is_stuck() || (is_ours && for_ms >= SILENT_MS) =>
            {
                self.settle(Completeness::Hung, Some(Cause::SilentQemu));
                return NextStep::Settled;
            }
            Control::Busy { command: true, .. } => {
                (Completeness::Busy, Cause::OtherCalls, last == Completeness::Busy)
            }
            Control::Busy { for_ms: 0, command: false } => {
                (Completeness::Busy, Cause::DeviceChange, last == Completeness::Busy)
            }
            Control::Busy { for_ms, command: false } => {
                let is_long = for_ms >= u64::try_from(BUSY_FOR.as_millis()).unwrap_or(0);
                (Completeness::Busy, Cause::Job, is_long || last == Completeness::Busy)
            }
            Control::Free | Control::Broken => {
                let is_over = was_starting || self.pause >= LONGEST_PAUSE;
                (Completeness::Starting, Cause::Job, is_over)
            }
        };
        // An ordinary call holds the job without a command for a moment only: then the time in which a call with
        // other guests was waited for counts, too.
        let until = if cause == Cause::DeviceChange {
            (begun + BUSY_FOR).max(skipped_at + CHANGE_FOR)
        } else {
            skipped_at + BUSY_FOR
        };
        let until = until.min(retry_until);
        if is_known || now >= until {
            let cause = (completeness != Completeness::Starting).then_some(cause);
            self.settle(completeness, cause);
            return NextStep::Settled;
        }
        let pause = self.pause.min(until.saturating_duration_since(now));
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        NextStep::Again(pause)
    }

    /// It is asked for its bulk statistics next.
    pub(super) fn ask_bulk(&mut self) -> Stage {
        self.stage = if self.request.id < 0 { Stage::BulkOfInactive } else { Stage::Bulk };
        self.stage
    }

    /// The sample of a guest that nothing came of: who it is, and no more.
    pub(super) fn empty_sample(&self) -> Domain {
        self.request.sample(None)
    }

    pub(super) fn name(&self) -> Arc<str> {
        Arc::clone(&self.request.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> GuestState {
        GuestState::new(GuestRequest {
            uuid: uuid::Uuid::nil(),
            id: 1,
            name: "a".into(),
            cpu_before_ns: None,
            inventory: None,
            fresh: false,
        })
    }

    fn context(now: Instant) -> Context {
        Context {
            now,
            begun: now,
            retry_until: now + Duration::from_secs(2),
            hold: Hold::None,
            last: Completeness::Complete,
            was_starting: false,
        }
    }

    /// Answers so until the guest is settled: after how many questions, over how long, and as what.
    fn settled(
        control: Control,
        change: impl Fn(Context) -> Context,
    ) -> (usize, Duration, Completeness) {
        let (mut state, start) = (state(), Instant::now());
        let mut now = start;
        for questions in 1..100 {
            let retry_until = start + Duration::from_secs(2);
            let context = Context { begun: start, retry_until, ..context(now) };
            match state.judge_skipped(Some(control), change(context)) {
                NextStep::Settled => return (questions, now - start, state.completeness.unwrap()),
                NextStep::Again(pause) => now += pause,
            }
        }
        panic!("never settled");
    }

    #[test]
    fn a_guest_that_is_merely_busy_is_asked_again_for_a_second() {
        let ordinary = Control::Busy { for_ms: 3, command: true };
        let (questions, took, as_what) = settled(ordinary, |it| it);
        assert_eq!((questions, as_what), (11, Completeness::Busy));
        assert!(took >= BUSY_FOR && took < Duration::from_millis(1300), "{took:?}");
    }

    #[test]
    fn what_is_known_from_before_is_not_waited_for() {
        let last = |last| move |context| Context { last, ..context };
        let unplug = Control::Busy { for_ms: 0, command: false };
        assert_eq!(settled(unplug, last(Completeness::Busy)).0, 1);
        let (_, took, as_what) = settled(unplug, |it| it);
        assert_eq!(as_what, Completeness::Busy);
        assert!(took >= BUSY_FOR, "{took:?}");
        let migration = Control::Busy { for_ms: 5_000, command: false };
        assert_eq!(settled(migration, |it| it), (1, Duration::ZERO, Completeness::Busy));
        let starting = |context| Context { was_starting: true, ..context };
        assert_eq!(settled(Control::Free, starting).0, 1);
        assert_eq!(settled(Control::Free, |it| it).2, Completeness::Starting);
    }

    #[test]
    fn a_change_of_devices_is_waited_for_no_longer_since_others_were_waited_for_first() {
        let waited = |context: Context| Context {
            begun: context.begun.checked_sub(Duration::from_millis(600)).unwrap(),
            ..context
        };
        let unplug = Control::Busy { for_ms: 0, command: false };
        let (_, took, as_what) = settled(unplug, waited);
        assert_eq!(as_what, Completeness::Busy);
        assert!((400..600).contains(&took.as_millis()), "{took:?}");
        let ordinary = Control::Busy { for_ms: 3, command: true };
        let (_, took, _) = settled(ordinary, waited);
        assert!(took >= BUSY_FOR, "{took:?}");
    }

    #[test]
    fn a_monitor_that_our_own_call_waits_for_is_silent() {
        let half_a_second = Control::Busy { for_ms: 600, command: true };
        let held = |context| Context { hold: Hold::Suspect, ..context };
        assert_eq!(settled(half_a_second, held), (1, Duration::ZERO, Completeness::Hung));
        let stuck = Control::Busy { for_ms: 1000, command: true };
        assert_eq!(settled(stuck, |it| it), (1, Duration::ZERO, Completeness::Hung));
        let now = Instant::now();
        let held = Context { hold: Hold::Bulk, ..context(now) };
        assert_eq!(state().judge_skipped(None, held), NextStep::Settled);
        assert_eq!(state().judge_skipped(None, context(now)), NextStep::Again(Duration::ZERO));
    }
}
