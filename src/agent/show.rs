//! A collection for a person's eyes: a table, with rates even where no earlier sample is stored.

use std::time::Duration;

use super::screen::Screen;
use super::{Agent, Exit, source};
use crate::deadline::{Deadline, Ending, time_to_collect};
use crate::sink::SinkError;
use crate::table::{self, Look, Row};
use crate::trigger::{Next, Triggers};

/// Between two samples that are taken for their rates alone.
const PAUSE: Duration = Duration::from_secs(1);
/// Rates over less than this many seconds tell little: two more samples are better.
const SHORTEST_S: f64 = 0.5;
const DOWN: &str = "No hypervisor could be read.\n";

/// Messages that stay below a table that is drawn again and again.
const NOTES_MAX: usize = 3;

impl Agent {
    /// One table; with `watch` another each time that this has passed, until the end.
    pub(super) fn show(
        &mut self,
        triggers: &Triggers,
        look: &dyn Fn() -> Look,
        watch: Option<Duration>,
    ) -> Exit {
        let (mut up, text) = self.first_table(triggers, &look());
        let Some(every) = watch else {
            let printed = self.print_table(&text, triggers);
            return self.end(up, printed, triggers);
        };
        // From here on keys count: whoever has no standard input sees one table.
        let screen = Screen::begin();
        let (mut text, mut notes) = (text, Vec::new());
        let printed = loop {
            if screen.is_terminal {
                let news = self.log.take().into_iter().map(|(_, message)| message);
                notes.extend(news);
                notes.drain(..notes.len().saturating_sub(NOTES_MAX));
            } else {
                self.log.flush();
            }
            let drawn = screen.draw(&text, &notes);
            if let Err(error) = self.print_table(&drawn, triggers) {
                break Err(error);
            }
            if let Err(message) = screen.read_keys(triggers) {
                self.log.error(message);
                break Ok(());
            }
            if !matches!(triggers.next(Some(every), every), Next::Collect) {
                break Ok(());
            }
            let collected_by = self.next_deadline(&triggers.ending);
            let (up_now, rows) = self.read_rows(|agent| agent.collect(&collected_by));
            if triggers.ending.since().is_some() {
                break Ok(());
            }
            up = up.max(up_now);
            let mut look = look();
            let lines = u16::try_from(notes.len()).unwrap_or_default();
            look.height = look.height.map(|height| height.saturating_sub(lines));
            text = if up_now > 0 { self.table(&rows, &look) } else { DOWN.to_owned() };
        };
        drop(screen);
        self.end(up, printed, triggers)
    }

    /// The table, and below it a line for each host that is measured.
    fn table(&self, rows: &[Row], look: &Look) -> String {
        let names = source::names(&self.sources);
        let hosts = self.sources.iter().zip(&names).filter_map(|(source, name)| {
            let host = source.beside.host.as_ref()?;
            Some(table::host_line(host, name.as_deref()))
        });
        let hosts: Vec<String> = hosts.collect();
        let lines = u16::try_from(hosts.len()).unwrap_or_default();
        let height = look.height.map(|height| height.saturating_sub(lines));
        table::text(rows, &Look { height, ..*look }) + &hosts.concat()
    }

    fn next_deadline(&self, ending: &Ending) -> Deadline {
        Deadline::within(time_to_collect(self.settings.deadline), ending, Duration::ZERO)
    }

    fn print_table(&mut self, text: &str, triggers: &Triggers) -> Result<(), SinkError> {
        let deadline = Deadline::at_ending(&triggers.ending, self.grace());
        let printed = self.sink.write(text.as_bytes(), &deadline);
        self.tell_printed(&printed);
        printed
    }

    /// One collection as a table, or two where the first has no rates for a guest; and how many hypervisors
    /// could be asked.
    fn first_table(&mut self, triggers: &Triggers, look: &Look) -> (usize, String) {
        let ending = &triggers.ending;
        let (mut up, mut rows) = self.read_rows(|agent| agent.collect_once(ending));
        let wants_rates = rows.iter().any(|row| row.wants_rates(SHORTEST_S));
        if wants_rates && !self.is_replay() && pause(ending) {
            let collected_by = self.next_deadline(ending);
            let (up_again, second) = self.read_rows(|agent| agent.collect(&collected_by));
            // What a second look could not have any more, the first one had.
            let is_cut_short = ending.since().is_some() || up_again < up;
            rows = if is_cut_short { with_missing(second, rows) } else { second };
            up = up.max(up_again);
        }
        // Who ends early has not heard of all guests: that there is none would be a guess.
        let is_known = up > 0 && (!rows.is_empty() || ending.since().is_none());
        (up, if is_known { self.table(&rows, look) } else { String::new() })
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
