//! One collection from its trigger to the sink, and the loop around it: the only file that knows
//! every room. Beside it `show.rs`, the same for a person's eyes.

mod show;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::cache::{self, DeviceCache, HypervisorFiles, Place, Surroundings};
use crate::cli::Format;
use crate::collect::{Collected, Hypervisor, Known, KnownDevices, Listed, Plan, Reading};
use crate::config::Settings;
use crate::config::extra::Extra;
use crate::deadline::{Deadline, Ending};
use crate::features::{self, Rates};
use crate::host::{self, Moment, Replay};
use crate::line_protocol::{Lines, Tags};
use crate::log::{Level, Log};
use crate::points::{self, Choice, CollectedGuests, Collector, UserTags, Writer};
use crate::sample::{self, Domain};
use crate::sink::{Sink, SinkError};
use crate::table::{Look, Row};
use crate::trigger::{EndCause, Next, Signals, Triggers};

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
/// Samples are written after execd's first collection, so that even a kill soon after leaves rates to
/// its next start, and after a later one when they were last written so long ago.
const SAMPLES_EVERY: Duration = Duration::from_secs(60);
/// Without a trigger for so long execd says that it waits in vain.
const IDLE: Duration = Duration::from_secs(60);

/// The program, with all that lasts from one collection to the next.
struct Agent {
    settings: Settings,
    log: Arc<Log>,
    sources: Vec<Source>,
    sink: Sink,
    lines: Lines,
    /// Instead of lines, where the collection is for a person.
    rows: Option<Vec<Row>>,
    writer: Writer,
    choice: Choice,
    tags: UserTags,
    boot: Option<Uuid>,
    samples_written: Option<Instant>,
}

/// One hypervisor, with what is known of its guests.
struct Source {
    hypervisor: Hypervisor,
    files: Option<HypervisorFiles>,
    devices: DeviceCache,
    before: HashMap<Uuid, Domain>,
    /// How long its last collection took.
    took: Duration,
    /// The moment of its collection: this one, or the recorded one.
    moment: Moment,
    /// Guests that the filter did not let pass for their metadata, so that it need not be read again.
    turned_away: HashSet<Uuid>,
}

/// One collection to standard output; as a table with two samples a second apart where none is stored.
pub fn once(settings: Settings, format: Format, signals: Signals, log: &Arc<Log>) -> Exit {
    match (start(settings, signals, false, log), format) {
        (Ok((mut agent, triggers)), Format::Influx) => agent.once(&triggers),
        (Ok((mut agent, triggers)), Format::Table) => agent.show(&triggers, &Look::of_stdout()),
        (Err(exit), _) => exit,
    }
}

/// A collection to standard output at each trigger, until the end; with `interval` on its own, too.
pub fn execd(
    settings: Settings,
    interval: Option<Duration>,
    signals: Signals,
    log: &Arc<Log>,
) -> Exit {
    let (agent, triggers) = match start(settings, signals, true, log) {
        Ok(started) => started,
        Err(exit) => return exit,
    };
    if let Err(error) = triggers.read_input() {
        log.error(format_args!("cannot start a thread: {error}"));
        return Exit::Failed;
    }
    agent.execd(&triggers, interval)
}

/// Listens to the signals and gets ready; what stands in the way is told.
fn start(
    settings: Settings,
    signals: Signals,
    triggers: bool,
    log: &Arc<Log>,
) -> Result<(Agent, Triggers), Exit> {
    let triggers = Triggers::listen(signals, triggers).map_err(|error| {
        log.error(format_args!("cannot start a thread: {error}"));
        Exit::Failed
    })?;
    let sink = Sink::stdout().map_err(|error| {
        log.error(error);
        Exit::Failed
    })?;
    Ok((Agent::new(settings, log, sink), triggers))
}

impl Agent {
    /// Gets ready; no hypervisor is asked yet. A cache that cannot be used is told, and done without.
    fn new(settings: Settings, log: &Arc<Log>, sink: Sink) -> Self {
        let plan = Plan {
            workers: settings.workers,
            max_stuck: settings.max_stuck,
            selection: Arc::new(settings.selection()),
            deadline: settings.deadline,
            host_name: settings.uris.len() > 1,
            extra: settings.extra,
        };
        let place = place(&settings, log);
        let boot = cache::boot_id();
        let sources = settings
            .uris
            .iter()
            .map(|uri| {
                Source::new(Hypervisor::new(uri, plan.clone(), log), place.as_ref(), boot, log)
            })
            .collect();
        let tags = UserTags::new(&settings.tags, &settings.metadata_tags);
        let choice = Choice {
            missing: settings.missing,
            extra: settings.extra,
            features: settings.features.clone(),
            device_tags: settings.device_tags.clone(),
        };
        Self {
            settings,
            log: Arc::clone(log),
            sources,
            sink,
            lines: Lines::default(),
            rows: None,
            writer: Writer::default(),
            choice,
            tags,
            boot,
            samples_written: None,
        }
    }

    /// One collection; then the samples are kept for the next run.
    fn once(&mut self, triggers: &Triggers) -> Exit {
        let up = self.collect_once(&triggers.ending);
        let printed = self.print(&Deadline::at_ending(&triggers.ending, self.grace()));
        self.end(up, printed, triggers)
    }

    /// The one collection of a run; of a recording that of its last moment.
    fn collect_once(&mut self, ending: &Ending) -> usize {
        let time = self.collection_time();
        let collected_by = || Deadline::within(time, ending, Duration::ZERO);
        for source in &mut self.sources {
            source.catch_up(&self.settings, collected_by);
        }
        self.collect(&collected_by())
    }

    /// Keeps what the next run shall know, and says how it went.
    fn end(&mut self, up: usize, printed: Result<(), SinkError>, triggers: &Triggers) -> Exit {
        self.keep_devices();
        self.keep_samples();
        // Whoever stopped us believes what has arrived, if we say that all is well.
        let is_fine = up > 0 || triggers.ending.since().is_some();
        match printed {
            Ok(()) | Err(SinkError::Gone) if is_fine => Exit::Fine,
            _ => Exit::Failed,
        }
    }

    /// A collection at each trigger, until the end.
    fn execd(mut self, triggers: &Triggers, interval: Option<Duration>) -> Exit {
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
                    "no trigger for 60 s: Telegraf's inputs.execd sends none unless told to: set \
                     `signal = \"STDIN\"` there, or start this with --interval",
                ),
                Next::End(cause) => {
                    if cause == EndCause::Input && triggers.arrived() == 0 {
                        self.log.warn(
                            "standard input ended before any trigger, and that ends this program: \
                             keep it open; under Telegraf's inputs.execd set `signal = \"STDIN\"`",
                        );
                    }
                    break Exit::Fine;
                }
            }
        };
        self.keep_devices();
        self.keep_samples();
        let grace = self.grace();
        self.sink.finish(&Deadline::within(grace, &triggers.ending, grace));
        exit
    }

    /// One collection of execd; an exit where there is nobody left to collect for.
    fn tick(&mut self, triggers: &Triggers) -> Result<(), Exit> {
        self.log.ends("idle", "triggers arrive");
        let grace = self.grace();
        let collected_by = Deadline::within(self.collection_time(), &triggers.ending, grace);
        self.collect(&collected_by);
        let printed = self.print(&Deadline::at_ending(&triggers.ending, grace));
        self.keep_devices();
        let is_time = self.samples_written.is_none_or(|moment| moment.elapsed() >= SAMPLES_EVERY);
        if is_time {
            self.keep_samples();
        }
        match printed {
            Ok(()) => Ok(()),
            Err(SinkError::Gone) => Err(Exit::Fine),
            Err(_) => Err(Exit::Failed),
        }
    }

    /// The time to collect: the rest of the deadline is for printing.
    fn collection_time(&self) -> Duration {
        self.settings.deadline.mul_f32(0.98)
    }

    /// What is left to do after the order to end gets so much time.
    fn grace(&self) -> Duration {
        self.settings.deadline.min(GRACE_MAX)
    }

    /// Reads every hypervisor, each on a thread of its own where there are several, and fills the
    /// buffer with their lines. Returns how many hypervisors could be asked.
    fn collect(&mut self, deadline: &Deadline) -> usize {
        let started = Moment::now();
        let settings = &self.settings;
        let collected: Vec<Option<Collected>> = match self.sources.as_mut_slice() {
            [source] => vec![source.read(settings, started, deadline)],
            sources => read_all(sources, settings, started, deadline),
        };
        self.lines.start(unix_ns(started));
        let sources = self.source_names();
        let tags: Vec<Tags> = sources.iter().map(|it| source_tag(it.as_deref())).collect();
        let mut up = 0;
        let mut readings = Vec::new();
        let mut collectors = Vec::new();
        for (place, collected) in collected.into_iter().enumerate() {
            let guests = collected.as_ref().map(counted);
            let took = self.sources.get(place).map_or(Duration::ZERO, |source| source.took);
            collectors.push(Collector { guests, took, lines: 0 });
            let Some(collected) = collected else { continue };
            up += 1;
            readings.extend(collected.readings.into_iter().map(|reading| (place, reading)));
        }
        if self.sources.len() > 1 {
            readings.sort_by(|(_, a), (_, b)| a.sample.name.cmp(&b.sample.name));
        }
        for (place, reading) in readings {
            let (Some(source), Some(tags)) = (self.sources.get_mut(place), tags.get(place)) else {
                continue;
            };
            let name = sources.get(place).and_then(Option::as_deref);
            let lines_before = self.lines.count();
            let moment = source.moment;
            if moment != started {
                self.lines.stamp(unix_ns(moment));
            }
            let sample = source.take(reading, |sample, rates, inventory| match &mut self.rows {
                Some(rows) => rows.push(Row::of(sample, rates, name)),
                None => {
                    let guest = points::Guest { sample, rates, inventory };
                    let metadata = inventory.and_then(|inventory| inventory.metadata.as_ref());
                    let tags = self.tags.of_guest(tags, metadata);
                    let now_unix_s = moment.unix.as_secs();
                    self.writer.write(&mut self.lines, &guest, tags, &self.choice, now_unix_s);
                }
            });
            if moment != started {
                self.lines.stamp(unix_ns(started));
            }
            source.keep(sample);
            if let Some(collector) = collectors.get_mut(place) {
                collector.lines += self.lines.count() - lines_before;
            }
        }
        if settings.extra.has(Extra::Collector) {
            for ((source, tags), collector) in self.sources.iter().zip(&tags).zip(&collectors) {
                self.lines.stamp(unix_ns(source.moment));
                let mut all = tags.clone();
                all.append(self.tags.fixed());
                points::write_collector(&mut self.lines, source.hypervisor.uri(), &all, collector);
            }
        }
        self.sources.iter_mut().for_each(Source::forget_old);
        up
    }

    /// Where several hypervisors are read, which one each is: its host's name, or its URI where two are
    /// of one host. Two URIs of one server are, whether both are up or not.
    fn source_names(&self) -> Vec<Option<String>> {
        let hypervisors: Vec<&Hypervisor> =
            self.sources.iter().map(|source| &source.hypervisor).collect();
        let name = |hypervisor: &&Hypervisor| {
            let is_of_host = |other: &&&Hypervisor| {
                server(other.uri()) == server(hypervisor.uri())
                    || (hypervisor.host_name().is_some()
                        && other.host_name() == hypervisor.host_name())
            };
            let is_shared = hypervisors.iter().filter(is_of_host).count() > 1;
            let host_name = hypervisor.host_name().filter(|_| !is_shared);
            let is_alone = hypervisors.len() == 1;
            (!is_alone).then(|| host_name.unwrap_or(hypervisor.uri()).to_owned())
        };
        hypervisors.iter().map(name).collect()
    }

    fn print(&mut self, deadline: &Deadline) -> Result<(), SinkError> {
        let result = self.sink.write(self.lines.as_bytes(), deadline);
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

    fn keep_devices(&mut self) {
        let now_unix_s = Moment::now().unix.as_secs();
        for source in &mut self.sources {
            let Some(files) = &source.files else { continue };
            let saved =
                files.save_devices(&mut source.devices, now_unix_s, self.settings.cache.ttl);
            tell_saved(&self.log, saved.err(), source.hypervisor.uri(), "device lists");
        }
    }

    fn keep_samples(&mut self) {
        let Some(boot) = self.boot else { return };
        self.samples_written = Some(Instant::now());
        for source in &self.sources {
            let Some(files) = source.files.as_ref().filter(|_| !source.before.is_empty()) else {
                continue;
            };
            let saved = files.save_samples(source.before.values(), boot, sample::boottime_ns());
            tell_saved(&self.log, saved.err(), source.hypervisor.uri(), "last samples");
        }
    }
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

/// Reads several hypervisors at the same time. One that was down the last time costs the others nothing:
/// it is waited for only as long as they are at work.
fn read_all(
    sources: &mut [Source],
    settings: &Settings,
    started: Moment,
    deadline: &Deadline,
) -> Vec<Option<Collected>> {
    let is_expected: Vec<bool> =
        sources.iter_mut().map(|source| source.hypervisor.is_expected()).collect();
    let at_work = AtomicUsize::new(is_expected.iter().filter(|&&it| it).count());
    let none_is = at_work.load(Ordering::Relaxed) == 0;
    let expected_done = Ending::default();
    let read = |source: &mut Source, is_expected: bool| {
        if none_is {
            return source.read(settings, started, deadline);
        }
        if !is_expected {
            let deadline = deadline.while_others_work(&expected_done);
            return source.read(settings, started, &deadline);
        }
        let collected = source.read(settings, started, deadline);
        if at_work.fetch_sub(1, Ordering::Relaxed) == 1 {
            expected_done.begin();
        }
        collected
    };
    thread::scope(|scope| {
        let read = &read;
        let sources = sources.iter_mut().zip(is_expected);
        let threads: Vec<_> =
            sources.map(|(source, it)| scope.spawn(move || read(source, it))).collect();
        threads.into_iter().map(|thread| thread.join().ok().flatten()).collect()
    })
}

/// A moment as lines are stamped with it.
fn unix_ns(moment: Moment) -> i64 {
    i64::try_from(moment.unix.as_nanos()).unwrap_or(i64::MAX)
}

/// The tag that says which of several hypervisors it is; none where there is one only.
fn source_tag(name: Option<&str>) -> Tags {
    let mut tags = Tags::default();
    if let Some(name) = name {
        tags.add("source", name);
    }
    tags
}

/// The server that a URI names, without its user; empty for this machine. A recording is of a server
/// of its own.
fn server(uri: &str) -> &str {
    if uri.starts_with(host::REPLAY) {
        return uri;
    }
    let authority = uri.split_once("://").map_or("", |(_, rest)| rest);
    let authority = authority.split(['/', '?']).next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default()
}

/// The cache's folder, or the word that there is none.
fn place(settings: &Settings, log: &Log) -> Option<Place> {
    let is_of_use = settings.uris.iter().any(|uri| !uri.starts_with(host::REPLAY));
    if !settings.cache.enabled || !is_of_use {
        return None;
    }
    let place = Place::of(settings.cache.dir.as_deref(), &Surroundings::of_process());
    place.map_err(|none| log.warn(none)).ok()
}

fn tell_saved(log: &Log, error: Option<cache::FileError>, uri: &str, what: &str) {
    let key = format!("saving {what} {uri}");
    match error {
        Some(error) => log.begins(
            &key,
            Level::Warn,
            format_args!("cannot keep the {what} of {uri} for the next run: {error}"),
        ),
        None => log.ends(&key, format_args!("the {what} of {uri} are kept again")),
    }
}

impl Source {
    fn new(
        mut hypervisor: Hypervisor,
        place: Option<&Place>,
        boot: Option<Uuid>,
        log: &Log,
    ) -> Self {
        // What a recording prints must not depend on what is on this disk.
        let place = place.filter(|_| hypervisor.replay().is_none());
        let files = place.map(|place| HypervisorFiles::new(place.clone(), hypervisor.uri()));
        let mut devices = DeviceCache::default();
        let mut before = HashMap::new();
        if let Some(files) = &files {
            let (loaded, trouble) = files.load_devices();
            devices = loaded;
            trouble.into_iter().for_each(|trouble| log.warn(trouble));
            if let Some(boot) = boot {
                let (loaded, trouble) = files.load_samples(boot, sample::boottime_ns());
                before = loaded;
                trouble.into_iter().for_each(|trouble| log.warn(trouble));
            }
        }
        for silent in before.values().filter(|it| it.answer == sample::Answer::Partial) {
            hypervisor.remember_silent(silent.uuid);
        }
        let (took, moment, turned_away) = (Duration::ZERO, Moment::now(), HashSet::new());
        Self { hypervisor, files, devices, before, took, moment, turned_away }
    }

    /// One collection of this hypervisor; `None` where it is down.
    fn read(
        &mut self,
        settings: &Settings,
        started: Moment,
        deadline: &Deadline,
    ) -> Option<Collected> {
        if let Some(replay) = self.hypervisor.replay() {
            replay.advance();
        }
        self.moment = self.hypervisor.replay().and_then(Replay::moment).unwrap_or(started);
        let now_unix_s = self.moment.unix.as_secs();
        let (devices, before) = (&self.devices, &self.before);
        let known = |guest: &Listed| {
            let fresh = devices.fresh(&guest.uuid, guest.id, now_unix_s, settings.cache.ttl);
            let inventory = fresh.or_else(|| devices.known(&guest.uuid));
            let is_fresh = fresh.is_some();
            let sample = before.get(&guest.uuid).filter(|before| before.id == guest.id);
            Known {
                devices: inventory.cloned().map(|inventory| KnownDevices { inventory, is_fresh }),
                cpu_time_ns: sample.and_then(|sample| sample.cpu.time_ns),
            }
        };
        let began = Instant::now();
        let collected = self.hypervisor.collect(known, deadline);
        // How long a replay takes says nothing of the host, and differs each time.
        let is_replay = self.hypervisor.replay().is_some();
        self.took = if is_replay { Duration::ZERO } else { began.elapsed() };
        let mut collected = collected.ok()?;
        for reading in collected.readings.iter().filter(|reading| reading.inventory_is_new) {
            if let Some(inventory) = &reading.inventory {
                let (uuid, name) = (reading.sample.uuid, &reading.sample.name);
                self.devices.insert(uuid, name, Arc::clone(inventory), now_unix_s);
            }
        }
        self.turned_away.clear();
        for guest in collected.turned_away.drain(..) {
            if let Some(inventory) = guest.read {
                self.devices.insert(guest.uuid, &guest.name, inventory, now_unix_s);
            }
            self.turned_away.insert(guest.uuid);
        }
        Some(collected)
    }

    /// Forgets the guests whose last sample is too old for a rate.
    fn forget_old(&mut self) {
        let now_ns = match self.hypervisor.replay() {
            Some(_) => self.moment.boot_ns,
            None => sample::boottime_ns(),
        };
        let is_recent =
            |sample: &Domain| now_ns.saturating_sub(sample.answered_at_ns) < features::OLDEST_NS;
        self.before.retain(|_, sample| is_recent(sample));
        self.devices
            .retain(|uuid| self.before.contains_key(uuid) || self.turned_away.contains(uuid));
    }

    /// Collects the moments of a recording before its last, of which `once` prints the rates.
    fn catch_up(&mut self, settings: &Settings, deadline: impl Fn() -> Deadline) {
        for _ in 0..self.hypervisor.replay().map_or(0, Replay::before_last) {
            let Some(collected) = self.read(settings, Moment::now(), &deadline()) else { return };
            collected.readings.into_iter().for_each(|reading| self.keep(reading.sample));
            self.forget_old();
        }
    }

    /// Keeps a sample for the next collection's rates. Where a recording is at its end the next
    /// collection is of the same moment, and has its rates from the same one before it.
    fn keep(&mut self, sample: Domain) {
        let old = if self.hypervisor.replay().is_some_and(Replay::is_at_last) {
            Some(sample)
        } else {
            self.before.insert(sample.uuid, sample)
        };
        if let Some(old) = old {
            self.hypervisor.recycle(old);
        }
    }

    /// Hands a reading over with its rates, and returns its sample to be kept.
    fn take(
        &self,
        reading: Reading,
        write: impl FnOnce(&Domain, Option<&Rates>, Option<&crate::devices::Inventory>),
    ) -> Domain {
        let before = self.before.get(&reading.sample.uuid);
        let rates = before.and_then(|before| features::rates(&reading.sample, before));
        write(&reading.sample, rates.as_ref(), reading.inventory.as_deref());
        reading.sample
    }
}
