//! One collection from its trigger to the sink, and the loop around it: the only file that knows
//! all other modules.
//!
//! ```text
//! mod.rs     the loop, and one collection to lines
//! start.rs   what comes before the first collection
//! anomalies.rs  which guests behave unlike themselves
//! saving.rs  what is kept from one run to the next
//! files.rs   calls to its files, which may never come back
//! events.rs  what happens between collections, as lines and for a person
//! source.rs  one hypervisor, with what is known of its guests
//! show.rs    one collection as a table, or one after another
//! screen.rs  the terminal that tables are drawn on, and its keys
//! ```

mod anomalies;
mod events;
mod files;
mod saving;
mod screen;
mod show;
mod source;
mod start;

use std::path::Path;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::{Duration, Instant};

use crate::cache::CacheDir;
use crate::cli::{Format, View};
use crate::collect::{Collected, Reading};
use crate::config::extra::Extra;
use crate::config::{Feature, Settings};
use crate::deadline::{Deadline, Ending, time_to_collect};
use crate::events::Events;
use crate::host::Moment;
use crate::json;
use crate::line_protocol::{Lines, Tags};
use crate::log::{Level, Log};
use crate::points::{self, Choice, CollectedGuests, Collector, UserTags, Writer};
use crate::schema;
use crate::sink::{Sink, SinkError};
use crate::table::{Look, Row};
use crate::trigger::{EndCause, Next, Triggers};
use anomalies::Learned;
pub use anomalies::anomalies;
use files::FileCalls;
use saving::StateAnswer;
use source::Source;
use start::start;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// As it should: 0.
    Fine,
    /// No hypervisor could be asked, or lines were lost: 1.
    Failed,
}

/// The most time that is left after the order to end.
const GRACE_MAX: Duration = Duration::from_secs(4);
/// How long the end waits for connections to be closed beside those of the guests.
const CLOSE_WITHIN: Duration = Duration::from_millis(200);
/// Without a trigger for so long execd says that it waits in vain.
const IDLE: Duration = Duration::from_secs(60);

/// The program, with all that lasts from one collection to the next.
struct Agent {
    settings: Settings,
    log: Arc<Log>,
    sources: Vec<Source>,
    sink: Sink,
    /// Whether lines are printed as JSON.
    is_json: bool,
    /// What happens between collections, where that is asked for.
    events: Option<Events>,
    lines: Lines,
    /// Instead of lines, where the collection is for a person.
    rows: Option<Vec<Row>>,
    writer: Writer,
    choice: Choice,
    tags: UserTags,
    /// When the cache was written last.
    saved: Option<Instant>,
    /// Reads and writes of it.
    file_calls: FileCalls<StateAnswer>,
    /// Where the cache is.
    folder: Option<CacheDir>,
    /// Which guests behave unlike themselves, where that is asked for.
    watch: Option<Learned>,
}

/// About how many bytes the lines of a guest with 2 NICs and 3 disks have.
const USUAL_LINES: usize = 2048;

/// The agent of a process that ends: what it has of all guests need not be freed, one by one.
static ENDED: AtomicPtr<Agent> = AtomicPtr::new(ptr::null_mut());

/// One collection to standard output; as a table with two samples a second apart where none is stored.
pub fn once(mut settings: Settings, view: &View, triggers: &Triggers, log: &Arc<Log>) -> Exit {
    if view.format == Format::Table && !settings.features.contains(&Feature::Cpu) {
        // The table has a column for steal.
        settings.features.push(Feature::Cpu);
    }
    for name in settings.extra.execd_only() {
        log.warn(format_args!("extra: \"{name}\" is for execd, and once prints nothing for it"));
    }
    match (start(settings, None, &triggers.ending, log), view.format) {
        (Ok(mut agent), Format::Table) => {
            let look = || Look { sort: view.sort, top: view.top, ..Look::of_stdout() };
            agent.show(triggers, &look, view.watch)
        }
        (Ok(mut agent), format) => {
            agent.is_json = format == Format::Json;
            let exit = agent.once(triggers);
            ENDED.store(Box::into_raw(Box::new(agent)), Ordering::Relaxed);
            exit
        }
        (Err(exit), _) => exit,
    }
}

/// What happens to the guests, to standard output, until the end.
pub fn events(settings: Settings, format: Format, triggers: &Triggers, log: &Arc<Log>) -> Exit {
    match start(settings, None, &triggers.ending, log) {
        Ok(agent) => agent.tell_events(format, triggers),
        Err(exit) => exit,
    }
}

/// A collection to standard output at each trigger, until the end; with `interval` on its own, too.
pub fn execd(
    settings: Settings,
    file: Option<&Path>,
    interval: Option<Duration>,
    triggers: &Triggers,
    log: &Arc<Log>,
) -> Exit {
    let agent = match start(settings, Some(file), &triggers.ending, log) {
        Ok(agent) => agent,
        Err(exit) => return exit,
    };
    if let Err(message) = triggers.read_input() {
        log.error(message);
        return Exit::Failed;
    }
    agent.execd(triggers, interval)
}

impl Agent {
    /// One collection; then the samples are kept for the next run.
    fn once(&mut self, triggers: &Triggers) -> Exit {
        let up = self.collect_once(&triggers.ending);
        let printed = self.print(&Deadline::at_ending(&triggers.ending, self.grace()));
        self.end(up, printed, triggers)
    }

    /// The one collection of a run; of a recording that of its last moment.
    fn collect_once(&mut self, ending: &Ending) -> usize {
        let time = time_to_collect(self.settings.deadline);
        let collected_by = || Deadline::within(time, ending, Duration::ZERO);
        for source in &mut self.sources {
            source.catch_up(&self.settings, collected_by);
        }
        self.collect(&collected_by())
    }

    /// Stores what the next run needs, and returns the exit.
    fn end(&mut self, up: usize, printed: Result<(), SinkError>, triggers: &Triggers) -> Exit {
        self.save_at_end(&triggers.ending);
        self.close();
        // After SIGTERM Telegraf keeps our output only if we exit with 0.
        let is_fine = up > 0 || triggers.ending.since().is_some();
        match printed {
            Ok(()) | Err(SinkError::Gone) if is_fine => Exit::Fine,
            _ => Exit::Failed,
        }
    }

    /// A collection at each trigger, until the end.
    fn execd(mut self, triggers: &Triggers, interval: Option<Duration>) -> Exit {
        if self.settings.extra.has(Extra::Events)
            && let Err(exit) = self.listen()
        {
            return exit;
        }
        if self.settings.extra.has(Extra::Anomalies) {
            self.watch(&triggers.ending);
        }
        self.log.info("ready: triggers count from here on");
        let exit = loop {
            match triggers.next(interval, IDLE) {
                Next::Collect => {
                    if let Err(exit) = self.tick(triggers) {
                        break exit;
                    }
                }
                Next::Idle => self.log.begins(
                    "idle",
                    Level::Warn,
                    "no trigger for 60 s: Telegraf's inputs.execd sends none by default: set \
                     `signal = \"STDIN\"` there, or start this with --interval",
                ),
                Next::End(cause) => {
                    if cause == EndCause::Input && triggers.arrived() == 0 {
                        self.log.warn(
                            "standard input ended before any trigger, so the program ends: keep it \
                             open; with Telegraf's inputs.execd set `signal = \"STDIN\"`",
                        );
                    }
                    break self.print_last_events(&triggers.ending);
                }
            }
        };
        self.save_at_end(&triggers.ending);
        self.close();
        let grace = self.grace();
        self.sink.finish(&Deadline::within(grace, &triggers.ending, grace));
        exit
    }

    /// One collection of execd; an exit where there is nobody left to collect for.
    fn tick(&mut self, triggers: &Triggers) -> Result<(), Exit> {
        self.log.ends("idle", "triggers arrive");
        let grace = self.grace();
        let collected_by =
            Deadline::within(time_to_collect(self.settings.deadline), &triggers.ending, grace);
        let arrived = triggers.arrived();
        self.collect(&collected_by);
        let began = Instant::now();
        let printed = self.print(&Deadline::at_ending(&triggers.ending, grace));
        self.note_slow_reader(began.elapsed(), triggers.arrived().saturating_sub(arrived));
        self.save_sometimes(&triggers.ending);
        match printed {
            Ok(()) => Ok(()),
            Err(SinkError::Gone) => Err(Exit::Fine),
            Err(_) => Err(Exit::Failed),
        }
    }

    /// Tells of a reader that took longer than a deadline for a collection's lines: it gets fewer
    /// collections than it asked for.
    fn note_slow_reader(&self, took: Duration, triggers: u64) {
        const KEY: &str = "slow reader";
        if took > self.settings.deadline {
            let seconds = took.as_secs_f64();
            self.log.begins(
                KEY,
                Level::Warn,
                format_args!(
                    "the reader of standard output took {seconds:.1} s for the lines of a collection; \
                     triggers that arrived meanwhile become one: {triggers}"
                ),
            );
        } else {
            self.log.ends(KEY, "standard output is read in time again");
        }
    }

    /// What is left to do after the order to end gets so much time.
    fn grace(&self) -> Duration {
        self.settings.deadline.min(GRACE_MAX)
    }

    /// Reads every hypervisor, each on a thread of its own where there are several, and fills the
    /// buffer with their lines. Returns how many hypervisors could be asked.
    fn collect(&mut self, deadline: &Deadline) -> usize {
        let started = Moment::now();
        self.log.collection_begins();
        self.outdate_touched();
        let settings = &self.settings;
        let collected: Vec<Option<Collected>> = match self.sources.as_mut_slice() {
            [source] => vec![source.read(settings, started, deadline)],
            sources => source::read_all(sources, settings, started, deadline),
        };
        let precision = self.settings.precision;
        self.lines.start(precision.timestamp_ns(started.unix));
        let guests: usize = collected.iter().flatten().map(|collected| collected.guests).sum();
        self.lines.reserve(guests * USUAL_LINES);
        let (names, tags) = self.names_and_tags();
        let up = collected.iter().flatten().count();
        self.write_events(&names, &tags);
        let mut collectors = self.collectors(&collected);
        for (place, reading) in sorted(collected) {
            let (Some(source), Some(tags), Some(collector)) =
                (self.sources.get_mut(place), tags.get(place), collectors.get_mut(place))
            else {
                continue;
            };
            let name = names.get(place).and_then(Option::as_deref);
            let lines_before = self.lines.count();
            let moment = source.moment;
            self.lines.stamp(precision.timestamp_ns(moment.unix));
            let sample =
                source.take(reading, |sample, before, rates, inventory| match &mut self.rows {
                    Some(rows) => rows.push(Row::of(sample, rates, name)),
                    None => {
                        let guest = points::PrintedGuest { sample, rates, inventory };
                        let metadata = inventory.and_then(|inventory| inventory.metadata.as_ref());
                        let tags = self.tags.of_guest(tags, metadata);
                        let now_unix_s = moment.unix.as_secs();
                        self.writer.write(&mut self.lines, &guest, tags, &self.choice, now_unix_s);
                        let summary = self.watch.as_mut().and_then(|watch| {
                            watch.models.observe(place, sample, before, inventory, moment.unix)
                        });
                        if let Some(summary) = summary {
                            self.writer.write_anomalies(&mut self.lines, sample, tags, &summary);
                        }
                    }
                });
            // A guest that libvirt has locked says nothing: its last sample stays.
            if sample.state.is_some() {
                source.keep(sample);
            }
            collector.lines += self.lines.count() - lines_before;
        }
        if self.log.has(Level::Debug) {
            self.tell_collected(&collectors);
        }
        if self.settings.extra.has(Extra::Collector) {
            self.write_collectors(&tags, &collectors);
        }
        self.write_beside(&tags);
        self.sources.iter_mut().for_each(Source::forget_old);
        up
    }

    /// The hypervisors' names, where there are several, and the tag that each makes.
    fn names_and_tags(&self) -> (Vec<Option<String>>, Vec<Tags>) {
        let names = source::names(&self.sources);
        let tags = names.iter().map(|name| source_tag(name.as_deref())).collect();
        (names, tags)
    }

    /// What each hypervisor's collection cost and met, as yet without its lines.
    fn collectors(&self, collected: &[Option<Collected>]) -> Vec<Collector> {
        let collector = |(source, collected): (&Source, &Option<Collected>)| Collector {
            guests: collected.as_ref().map(counted),
            took: source.took,
            lines: 0,
        };
        self.sources.iter().zip(collected).map(collector).collect()
    }

    /// What each hypervisor's collection was like, for whoever looks for a fault.
    fn tell_collected(&self, collectors: &[Collector]) {
        for (source, collector) in self.sources.iter().zip(collectors) {
            let uri = source.hypervisor.uri();
            let took = source.took.as_millis();
            let Some(guests) = &collector.guests else {
                self.log.debug(format_args!("{uri}: down, known after {took} ms"));
                continue;
            };
            self.log.debug(format_args!(
                "{uri}: {} guests, {} lines in {took} ms; device lists: {} from the cache, {} read; {} hung, \
                 {} busy, {} asked again; {} calls are stuck",
                guests.domains,
                collector.lines,
                guests.cache_hits,
                guests.cache_misses,
                guests.hung,
                guests.busy,
                source.asked_again,
                guests.stuck_calls
            ));
        }
    }

    fn write_collectors(&mut self, tags: &[Tags], collectors: &[Collector]) {
        let precision = self.settings.precision;
        for ((source, tags), collector) in self.sources.iter().zip(tags).zip(collectors) {
            self.lines.stamp(precision.timestamp_ns(source.moment.unix));
            let mut all = tags.clone();
            all.append(self.tags.fixed());
            points::write_collector(&mut self.lines, source.hypervisor.uri(), &all, collector);
        }
    }

    /// The hosts, then their storage pools.
    fn write_beside(&mut self, tags: &[Tags]) {
        let precision = self.settings.precision;
        for is_of_host in [true, false] {
            for (source, tags) in self.sources.iter().zip(tags).filter(|(it, _)| it.node.is_some())
            {
                self.lines.stamp(precision.timestamp_ns(source.moment.unix));
                let mut all = tags.clone();
                all.append(self.tags.fixed());
                let (uri, beside) = (source.hypervisor.uri(), &source.beside);
                match &beside.host {
                    Some(host) if is_of_host => {
                        schema::write_host(&mut self.lines, uri, &all, host)
                    }
                    _ if is_of_host => {}
                    _ => schema::write_pools(&mut self.lines, uri, &all, &beside.pools),
                }
            }
        }
    }

    fn print(&mut self, deadline: &Deadline) -> Result<(), SinkError> {
        let result = if self.is_json {
            self.sink.write(&json::objects(self.lines.as_bytes()), deadline)
        } else {
            self.sink.write(self.lines.as_bytes(), deadline)
        };
        self.tell_printed(&result);
        self.log.debug(format_args!("{} lines", self.lines.count()));
        result
    }

    fn tell_printed(&self, result: &Result<(), SinkError>) {
        if let Err(error) = result
            && *error != SinkError::Gone
        {
            self.log.error(error);
        }
    }

    /// Closes the connections that nothing waits for: libvirtd logs an error for each that just ends.
    fn close(&mut self) {
        if let Some(events) = &self.events {
            events.end();
        }
        for source in &mut self.sources {
            source.hypervisor.close();
            if let Some(node) = &mut source.node {
                node.close(CLOSE_WITHIN);
            }
        }
    }
}

/// The readings of all hypervisors, each with its hypervisor's place, sorted by the guest's name.
fn sorted(collected: Vec<Option<Collected>>) -> Vec<(usize, Reading)> {
    let several = collected.len() > 1;
    let of_each = collected.into_iter().enumerate().flat_map(|(place, collected)| {
        let readings = collected.map(|collected| collected.readings).unwrap_or_default();
        readings.into_iter().map(move |reading| (place, reading))
    });
    let mut readings: Vec<(usize, Reading)> = of_each.collect();
    if several {
        readings.sort_by(|(_, a), (_, b)| a.sample.name.cmp(&b.sample.name));
    }
    readings
}

fn counted(collected: &Collected) -> CollectedGuests {
    CollectedGuests {
        domains: collected.guests,
        hung: collected.hung,
        busy: collected.busy,
        cache_hits: collected.cache_hits,
        cache_misses: collected.cache_misses,
        stuck_calls: collected.stuck_calls,
        unknown_statistics: collected.unknown,
    }
}

/// The tag that says which of several hypervisors it is; none where there is one only.
fn source_tag(name: Option<&str>) -> Tags {
    let mut tags = Tags::default();
    if let Some(name) = name {
        tags.add("source", name);
    }
    tags
}
