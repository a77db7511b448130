//! Which guest behaves unlike its own past: `extra = ["anomalies"]` of execd, a hint and never an alarm.
//!
//! ```text
//! detector.rs   one series: a value a slot in, how unusual it is out
//! series.rs     which series a guest has, their units, and what is measured between two samples
//! guest.rs      one guest: its slots, what makes a series begin again, its line
//! saved.rs      its form in the cache
//! report.rs     the sentences of `telegraf-virt anomalies`
//! ```
//!
//! Between `features` and `points`: two samples in, at the end of a slot a summary out. Nothing here asks
//! libvirt, reads a clock or touches a file.

mod detector;
mod guest;
mod report;
mod saved;
mod series;

use std::collections::HashMap;
use std::time::Duration;

use uuid::Uuid;

use crate::devices::Inventory;
use crate::sample::Domain;

pub use detector::{Detector, Scale, Verdict, WINDOW};
pub use guest::{Flag, GuestModel, Summary, Top};
pub use report::report;
pub use saved::SavedGuest;
pub use series::SeriesKind;

/// Most series that are learned, of all hypervisors together.
pub const SERIES_MAX: usize = 20_000;
/// How long a guest that is not seen is remembered, in seconds: 14 days.
pub const KEPT_S: u64 = 14 * 24 * 60 * 60;

/// How long things take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// The length of a slot, in seconds.
    pub slot_s: f64,
    /// Slots until a series has learned.
    pub learning: u32,
}

impl Pace {
    /// Slots of 5 minutes, 3 days of learning.
    pub const DEFAULT: Self = Self { slot_s: 300.0, learning: 864 };
    /// Slots for which a flag stays: 2 hours.
    pub const HOLD: u64 = 24;
    /// Slots after a start or resume in which nothing is learned: 10 minutes.
    pub const QUIET: f64 = 2.0;

    /// A faster pace for tests, written as milliseconds of a slot, a comma and slots of learning.
    pub fn for_tests(text: &str) -> Option<Self> {
        let (slot_ms, learning) = text.split_once(',')?;
        let (slot_ms, learning) = (slot_ms.parse::<u32>().ok()?, learning.parse().ok()?);
        (slot_ms >= 100).then(|| Self { slot_s: f64::from(slot_ms) / 1000.0, learning })
    }
}

/// What is learned of all guests of the hypervisors.
#[derive(Debug)]
pub struct Anomalies {
    pace: Pace,
    guests: HashMap<(usize, Uuid), GuestModel>,
    series: usize,
    is_full: bool,
}

impl Anomalies {
    /// Nothing is known yet.
    pub fn new(pace: Pace) -> Self {
        Self { pace, guests: HashMap::new(), series: 0, is_full: false }
    }

    /// Goes on with what an earlier run learned of a guest of this hypervisor.
    pub fn restore(&mut self, place: usize, guest: GuestModel) {
        let series = guest.series();
        if let Some(old) = self.guests.remove(&(place, guest.uuid())) {
            self.series -= old.series();
        }
        if self.series + series <= SERIES_MAX {
            self.series += series;
            self.guests.insert((place, guest.uuid()), guest);
        } else {
            self.is_full = true;
        }
    }

    /// Takes in what was measured of a guest since the sample before; at the end of a slot what can be said
    /// of it.
    pub fn observe(
        &mut self,
        place: usize,
        now: &Domain,
        before: Option<&Domain>,
        inventory: Option<&Inventory>,
        unix: Duration,
    ) -> Option<Summary> {
        if now.answered_at_ns == 0 || now.id < 0 {
            return None;
        }
        let guest = self
            .guests
            .entry((place, now.uuid))
            .or_insert_with(|| GuestModel::new(now, unix.as_secs_f64(), self.pace));
        let had = guest.series();
        let room = (SERIES_MAX + had).saturating_sub(self.series);
        let seen = guest.observe(now, before, inventory, unix.as_secs_f64(), self.pace, room);
        self.series = self.series + guest.series() - had;
        self.is_full |= seen.left_out;
        seen.summary
    }

    /// Forgets the guests that were not seen for 14 days.
    pub fn forget_old(&mut self, unix_s: u64) {
        self.guests.retain(|_, guest| {
            let is_kept = unix_s.saturating_sub(guest.seen_unix_s()) <= KEPT_S;
            if !is_kept {
                self.series -= guest.series();
            }
            is_kept
        });
    }

    /// How many series are learned.
    pub fn series(&self) -> usize {
        self.series
    }

    /// Whether there are more series than are learned.
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// The guests of a hypervisor.
    pub fn guests(&self, place: usize) -> impl Iterator<Item = &GuestModel> {
        self.guests.iter().filter(move |((of, _), _)| *of == place).map(|(_, guest)| guest)
    }
}

#[cfg(test)]
mod tests;
