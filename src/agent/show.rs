//! A collection for a person's eyes: a table, with rates even where no earlier sample is stored.

use std::time::Duration;

use super::{Agent, Exit, source};
use crate::deadline::{Deadline, Ending, time_to_collect};
use crate::table::{self, Look, Row};
use crate::trigger::Triggers;

/// Between two samples that are taken for their rates alone.
const PAUSE: Duration = Duration::from_secs(1);
/// Rates over less than this many seconds tell little: two more samples are better.
const SHORTEST_S: f64 = 0.5;

impl Agent {
    /// One collection as a table, or two where the first has no rates for a guest.
    pub(super) fn show(&mut self, triggers: &Triggers, look: &Look) -> Exit {
        let ending = &triggers.ending;
        let (mut up, mut rows) = self.read_rows(|agent| agent.collect_once(ending));
        let wants_rates = rows.iter().any(|row| row.wants_rates(SHORTEST_S));
        if wants_rates && !self.is_replay() && pause(ending) {
            let collected_by =
                Deadline::within(time_to_collect(self.settings.deadline), ending, Duration::ZERO);
            let (up_again, second) = self.read_rows(|agent| agent.collect(&collected_by));
            // What a second look could not have any more, the first one had.
            let is_cut_short = ending.since().is_some() || up_again < up;
            rows = if is_cut_short { with_missing(second, rows) } else { second };
            up = up.max(up_again);
        }
        // Who ends early has not heard of all guests: that there is none would be a guess.
        let is_known = up > 0 && (!rows.is_empty() || ending.since().is_none());
        let mut text = if is_known { table::text(&rows, look) } else { String::new() };
        let names = source::names(&self.sources);
        for (source, name) in self.sources.iter().zip(&names).filter(|_| is_known) {
            if let Some(host) = &source.beside.host {
                text.push_str(&table::host_line(host, name.as_deref()));
            }
        }
        let printed = self.sink.write(text.as_bytes(), &Deadline::at_ending(ending, self.grace()));
        self.tell_printed(&printed);
        self.end(up, printed, triggers)
    }

    /// One collection: how many hypervisors could be asked, and the guests' rows.
    fn read_rows(&mut self, collect: impl FnOnce(&mut Self) -> usize) -> (usize, Vec<Row>) {
        self.rows = Some(Vec::new());
        let up = collect(self);
        (up, self.rows.take().unwrap_or_default())
    }

    /// Whether all that is read are recordings, which have no more moments than they have.
    fn is_replay(&self) -> bool {
        self.sources.iter().all(|source| source.hypervisor.replay().is_some())
    }
}

/// Waits; whether there is time for more.
fn pause(ending: &Ending) -> bool {
    let pause = Deadline::within(PAUSE, ending, Duration::ZERO);
    pause.sleep();
    !pause.is_ending()
}

/// The rows, and of the earlier ones those of guests that are not among them, sorted by name.
fn with_missing(mut rows: Vec<Row>, earlier: Vec<Row>) -> Vec<Row> {
    let is_there = |row: &Row| rows.iter().any(|it| it.uuid == row.uuid && it.source == row.source);
    let missing: Vec<Row> = earlier.into_iter().filter(|row| !is_there(row)).collect();
    rows.extend(missing);
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    rows
}
