//! What happens to the guests between collections: lines of vm_events before the guests' own, and the
//! command that tells a person.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::{Agent, Exit, source};
use crate::cli::Format;
use crate::deadline::{Deadline, Ending, time_to_collect};
use crate::events::{self, Arrived, Event, Events, Told};
use crate::json;
use crate::line_protocol::{Lines, Tags};
use crate::sink::SinkError;
use crate::trigger::Triggers;

impl Agent {
    /// Begins to listen to the hypervisors.
    pub(super) fn listen(&mut self) -> Result<(), Exit> {
        match Events::begin(&self.settings.uris, &self.log) {
            Ok(events) => {
                self.events = Some(events);
                Ok(())
            }
            Err(error) => {
                self.log.error(format_args!("no events: {error}"));
                Err(Exit::Failed)
            }
        }
    }

    /// What the cache knows of guests that have changed since counts no more.
    pub(super) fn outdate_touched(&mut self) {
        let Some(events) = &self.events else { return };
        for (place, uuid) in events.take_touched() {
            if let Some(source) = self.sources.get_mut(place) {
                source.outdate(&uuid);
            }
        }
    }

    /// Writes what has arrived. The names and tags are those of the hypervisors.
    pub(super) fn write_events(&mut self, names: &[Option<String>], tags: &[Tags]) {
        let Some(events) = &self.events else { return };
        for arrived in events.drain() {
            self.write_event(&arrived, names, tags);
        }
    }

    fn write_event(&mut self, arrived: &Arrived, names: &[Option<String>], tags: &[Tags]) {
        let Some(tags) = tags.get(arrived.place) else { return };
        let user = match &arrived.event {
            Event::Guest(guest) => {
                let source = self.sources.get(arrived.place);
                let inventory = source.and_then(|source| source.inventory(&guest.uuid));
                let metadata = inventory.and_then(|inventory| inventory.metadata.as_ref());
                self.tags.of_guest(tags, metadata).clone()
            }
            Event::Lost { .. } => {
                let mut user = tags.clone();
                user.append(self.tags.fixed());
                user
            }
        };
        let Self { sources, lines, settings, .. } = self;
        with_told(sources, settings, arrived, names, |told| events::write(lines, told, &user));
    }

    /// At the end: what arrived since the last collection.
    pub(super) fn print_last_events(&mut self, ending: &Ending) -> Exit {
        if self.events.is_none() {
            return Exit::Fine;
        }
        self.lines.start(0);
        let (names, tags) = self.names_and_tags();
        self.write_events(&names, &tags);
        match self.print(&Deadline::at_ending(ending, self.grace())) {
            Ok(()) | Err(SinkError::Gone) => Exit::Fine,
            Err(_) => Exit::Failed,
        }
    }

    /// The command: each event as it comes, until the end.
    pub(super) fn tell_events(mut self, format: Format, triggers: &Triggers) -> Exit {
        if let Err(exit) = self.listen() {
            return exit;
        }
        // The guests' devices, for their names.
        self.collect_quietly(&triggers.ending);
        let zone = TimeZone::system();
        let until_end = Deadline::at_ending(&triggers.ending, Duration::ZERO);
        let exit = loop {
            let Some(events) = &self.events else { break Exit::Failed };
            events.wait(&until_end);
            let arrived = events.drain();
            if arrived.is_empty() && events.is_over() {
                self.log.error("no hypervisor that is read has events");
                break Exit::Failed;
            }
            let text = self.text_of(&arrived, format, &zone);
            match self.sink.write(&text, &Deadline::at_ending(&triggers.ending, self.grace())) {
                Ok(()) => {}
                Err(SinkError::Gone) => break Exit::Fine,
                Err(error) => {
                    self.log.error(error);
                    break Exit::Failed;
                }
            }
            if triggers.ending.since().is_some() {
                break Exit::Fine;
            }
            if self.events.as_ref().is_some_and(Events::has_touched) {
                self.collect_quietly(&triggers.ending);
            }
        };
        self.save_at_end(&triggers.ending);
        self.close();
        exit
    }

    /// A collection of which nothing is printed.
    fn collect_quietly(&mut self, ending: &Ending) {
        self.outdate_touched();
        // What arrives meanwhile is not this collection's to print.
        let listening = self.events.take();
        let time = time_to_collect(self.settings.deadline);
        self.collect(&Deadline::within(time, ending, Duration::ZERO));
        self.events = listening;
    }

    fn text_of(&mut self, arrived: &[Arrived], format: Format, zone: &TimeZone) -> Vec<u8> {
        let (names, tags) = self.names_and_tags();
        if format == Format::Text {
            let mut text = String::new();
            for arrived in arrived {
                with_told(&self.sources, &self.settings, arrived, &names, |told| {
                    text.push_str(&events::text(told, zone));
                });
            }
            return text.into_bytes();
        }
        self.lines = Lines::default();
        for arrived in arrived {
            self.write_event(arrived, &names, &tags);
        }
        let lines = self.lines.as_bytes();
        if format == Format::Json { json::objects(lines) } else { lines.to_vec() }
    }
}

/// Hands an event over with what is known of its guest, unless the filter keeps it out.
fn with_told(
    sources: &[source::Source],
    settings: &crate::config::Settings,
    arrived: &Arrived,
    names: &[Option<String>],
    tell: impl FnOnce(&Told<'_>),
) {
    let Some(source) = sources.get(arrived.place) else { return };
    let report = match &arrived.event {
        Event::Guest(guest) => {
            if !source.takes_events_of(&settings.domains, &guest.name, &guest.uuid) {
                return;
            }
            let Some(report) = events::report(&guest.what, source.inventory(&guest.uuid)) else {
                return;
            };
            Some(report)
        }
        Event::Lost { .. } => None,
    };
    let name = names.get(arrived.place).and_then(Option::as_deref);
    let uri = source.hypervisor.uri();
    tell(&Told { arrived, report: report.as_ref(), uri, source: name });
}
