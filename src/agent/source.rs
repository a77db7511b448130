//! One hypervisor as the agent has it: with what is known of its guests from one collection to the
//! next, in memory and in the cache.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::cache::{CacheTime, DeviceCache, LoadedFile, SavedState, StateFile, StateWrite};
use crate::collect::{Collected, Hypervisor, Known, KnownDevices, Listed, Reading};
use crate::config::{DomainFilter, Settings};
use crate::deadline::{Deadline, Ending};
use crate::devices::Inventory;
use crate::features::{self, Rates};
use crate::host::{self, Moment, Replay};
use crate::node::{NodeReader, NodeReading};
use crate::sample::{self, Domain};
use crate::schema::GuestsOfHost;

/// Guests that are gone, at most, whose last samples are kept should they come back. A hypervisor may have
/// other guests each time, or invent them.
const GONE_MAX: usize = 1000;

/// One hypervisor, with what is known of its guests.
pub(super) struct Source {
    pub(super) hypervisor: Hypervisor,
    /// Who asks for what is beside its guests, where that is wanted.
    pub(super) node: Option<NodeReader>,
    /// What came of that in the last collection.
    pub(super) beside: NodeReading,
    file: Option<StateFile>,
    /// What was loaded, until the first save.
    loaded: Option<LoadedFile>,
    /// Guests whose device lists are being written for the first time.
    saving: Vec<Uuid>,
    pub(super) devices: DeviceCache,
    pub(super) before: HashMap<Uuid, Domain>,
    /// How many guests its last collection had.
    guests: usize,
    /// How long its last collection took.
    pub(super) took: Duration,
    /// Calls of its last collection for guests that were asked again.
    pub(super) asked_again: usize,
    /// The moment of its collection: this one, or the recorded one.
    pub(super) moment: Moment,
    /// Guests that the filter did not let pass for their metadata, so that it need not be read again.
    excluded: HashSet<Uuid>,
}

impl Source {
    /// One that goes on with what an earlier run knew.
    pub(super) fn new(
        mut hypervisor: Hypervisor,
        mut node: Option<NodeReader>,
        file: Option<StateFile>,
        state: SavedState,
    ) -> Self {
        let SavedState { devices, samples: before, health, file: loaded } = state;
        let (held, health) = health.into_iter().partition(|it| it.is_beside_guests);
        if let Some(node) = &mut node {
            node.restore(held);
        }
        hypervisor.restore(roster(&devices, &before), health);
        let (took, moment, excluded) = (Duration::ZERO, Moment::now(), HashSet::new());
        let guests = before.len();
        let beside = NodeReading::default();
        let asked_again = 0;
        Self {
            hypervisor,
            node,
            beside,
            file,
            loaded,
            saving: Vec::new(),
            devices,
            before,
            guests,
            took,
            asked_again,
            moment,
            excluded,
        }
    }

    /// One collection of this hypervisor; `None` where it is down.
    pub(super) fn read(
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
            Known {
                devices: inventory.cloned().map(|inventory| KnownDevices { inventory, is_fresh }),
                before: before.get(&guest.uuid).filter(|before| before.id == guest.id),
            }
        };
        let began = Instant::now();
        if let Some(node) = &mut self.node {
            node.begin();
        }
        let collected = self.hypervisor.collect(known, deadline);
        // How long a replay takes says nothing of the host, and differs each time.
        let is_replay = self.hypervisor.replay().is_some();
        self.took = if is_replay { Duration::ZERO } else { began.elapsed() };
        if let Some(node) = &mut self.node {
            self.beside = match &collected {
                Ok(_) => node.take(deadline),
                Err(_) => node.take_now(),
            };
        }
        let mut collected = collected.ok()?;
        // Guests that libvirt has locked have a name and a word for how they answered, and no more.
        let locked = collected.locked.drain(..).map(Reading::of_locked);
        collected.readings.extend(locked);
        if !collected.readings.is_sorted_by(|a, b| a.sample.name <= b.sample.name) {
            collected.readings.sort_by(|a, b| a.sample.name.cmp(&b.sample.name));
        }
        self.asked_again = collected.asked_again;
        if let Some(host) = &mut self.beside.host {
            let is_whole = collected.unread == 0;
            host.set_guests(&guests_of_host(&collected.readings, &self.before, is_whole));
        }
        self.guests = collected.readings.len().max(collected.guests);
        for reading in collected.readings.iter().filter(|reading| reading.inventory_is_new) {
            if let Some(inventory) = &reading.inventory {
                let (uuid, name) = (reading.sample.uuid, &reading.sample.name);
                self.devices.insert(uuid, name, Arc::clone(inventory), now_unix_s);
            }
        }
        self.excluded.clear();
        for guest in collected.excluded.drain(..) {
            if let Some(inventory) = guest.read {
                self.devices.insert(guest.uuid, &guest.name, inventory, now_unix_s);
            }
            self.excluded.insert(guest.uuid);
        }
        Some(collected)
    }

    /// What is known of the guest's devices.
    pub(super) fn inventory(&self, uuid: &Uuid) -> Option<&Inventory> {
        self.devices.known(uuid).map(Arc::as_ref)
    }

    /// Whether the filter lets events of this guest pass. Its state does not count: an event changes it.
    pub(super) fn takes_events_of(&self, domains: &DomainFilter, name: &str, uuid: &Uuid) -> bool {
        if !domains.takes(name, uuid) || self.excluded.contains(uuid) {
            return false;
        }
        let metadata = || self.inventory(uuid).and_then(|inventory| inventory.metadata.as_ref());
        !domains.has_metadata() || metadata().is_some_and(|it| domains.takes_metadata(it))
    }

    /// Ends the belief in what is known of the guest's devices: they are read again.
    pub(super) fn outdate(&mut self, uuid: &Uuid) {
        self.devices.outdate(uuid);
    }

    /// Forgets the guests whose last sample is too old for a rate.
    pub(super) fn forget_old(&mut self) {
        let now_ns = match self.hypervisor.replay() {
            Some(_) => self.moment.boot_ns,
            None => sample::boottime_ns(),
        };
        let is_recent =
            |sample: &Domain| now_ns.saturating_sub(sample.answered_at_ns) < features::OLDEST_NS;
        self.before.retain(|_, sample| is_recent(sample));
        keep_newest(&mut self.before, self.guests.saturating_add(GONE_MAX));
        self.devices.retain(|uuid| self.before.contains_key(uuid) || self.excluded.contains(uuid));
    }

    /// Collects the moments of a recording before its last, of which `once` prints the rates.
    pub(super) fn catch_up(&mut self, settings: &Settings, deadline: impl Fn() -> Deadline) {
        for _ in 0..self.hypervisor.replay().map_or(0, Replay::before_last) {
            let Some(collected) = self.read(settings, Moment::now(), &deadline()) else { return };
            collected.readings.into_iter().for_each(|reading| self.keep(reading.sample));
            self.forget_old();
        }
    }

    /// What the next run must know, to be written into the cache; `None` where there is nothing new.
    pub(super) fn prepare_save(&mut self, ttl: Duration) -> Option<StateWrite> {
        let file = self.file.as_ref()?;
        let mut health = self.hypervisor.saved_health();
        health.extend(self.node.iter_mut().flat_map(NodeReader::saved));
        let now = CacheTime::now();
        let write = file.prepare(&mut self.devices, self.before.values(), &health, &now, ttl)?;
        self.saving = write.unsaved();
        Some(write.over(self.loaded.take()))
    }

    /// What was to be written is not.
    pub(super) fn is_not_saved(&mut self) {
        self.devices.is_not_saved(&std::mem::take(&mut self.saving));
    }

    /// Keeps a sample for the next collection's rates. Where a recording is at its end the next
    /// collection is of the same moment, and has its rates from the same one before it.
    pub(super) fn keep(&mut self, sample: Domain) {
        // Of a guest that libvirt has locked nothing came: what is known of it from before stays.
        let is_nothing = sample.answered_at_ns == 0;
        let old = if is_nothing || self.hypervisor.replay().is_some_and(Replay::is_at_last) {
            Some(sample)
        } else {
            self.before.insert(sample.uuid, sample)
        };
        if let Some(old) = old {
            self.hypervisor.recycle(old);
        }
    }

    /// Hands a reading over with its rates, and returns its sample to be kept.
    pub(super) fn take(
        &self,
        reading: Reading,
        write: impl FnOnce(&Domain, Option<&Domain>, Option<&Rates>, Option<&Inventory>),
    ) -> Domain {
        let before = self.before.get(&reading.sample.uuid);
        let rates = before.and_then(|before| features::rates(&reading.sample, before));
        write(&reading.sample, before, rates.as_ref(), reading.inventory.as_deref());
        reading.sample
    }
}

/// The guests that an earlier run knew, sorted by name: they are read where libvirt lists nothing.
fn roster(devices: &DeviceCache, before: &HashMap<Uuid, Domain>) -> Vec<Listed> {
    let sampled = before.values().map(|sample| {
        let (name, state) = (sample.name.as_str().into(), sample.state);
        Listed { uuid: sample.uuid, id: sample.id, name, state }
    });
    let unsampled = devices.guests().filter(|(uuid, ..)| !before.contains_key(uuid));
    let known =
        unsampled.map(|(uuid, name, id)| Listed { uuid, id, name: name.into(), state: None });
    let mut roster: Vec<Listed> = sampled.chain(known).collect();
    roster.sort_unstable_by(|a, b| a.name.cmp(&b.name).then(a.uuid.cmp(&b.uuid)));
    roster
}

/// What the active guests have together. One that says nothing has what it had before; where nobody knows
/// what one has, the sum is not known.
fn guests_of_host(
    readings: &[Reading],
    before: &HashMap<Uuid, Domain>,
    is_whole: bool,
) -> GuestsOfHost {
    const RUNNING: i64 = 1;
    let mut guests = GuestsOfHost { running: 0, other: 0, vcpus: Some(0), memory_kib: Some(0) };
    for sample in readings.iter().map(|reading| &reading.sample).filter(|sample| sample.id >= 0) {
        let before = before.get(&sample.uuid).filter(|before| before.id == sample.id);
        let known = |value: fn(&Domain) -> Option<u64>| value(sample).or_else(|| value(before?));
        let add = |sum: Option<u64>, more: Option<u64>| sum?.checked_add(more?);
        let state = sample.state.or_else(|| before?.state);
        *(if state == Some(RUNNING) { &mut guests.running } else { &mut guests.other }) += 1;
        guests.vcpus = add(guests.vcpus, known(|it| it.vcpu_count));
        guests.memory_kib = add(guests.memory_kib, known(|it| it.memory.current_kib));
    }
    if !is_whole {
        (guests.vcpus, guests.memory_kib) = (None, None);
    }
    guests
}

/// Keeps so many samples at most, those that were taken last.
fn keep_newest(samples: &mut HashMap<Uuid, Domain>, most: usize) {
    let Some(too_many) = samples.len().checked_sub(most).filter(|count| *count > 0) else { return };
    let mut all: Vec<(u64, Uuid)> =
        samples.iter().map(|(uuid, sample)| (sample.answered_at_ns, *uuid)).collect();
    let (oldest, ..) = all.select_nth_unstable(too_many);
    for (_, uuid) in oldest {
        samples.remove(uuid);
    }
}

/// Reads several hypervisors at the same time. A hypervisor that was down last time is not waited for longer than
/// the others.
pub(super) fn read_all(
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

/// Where several hypervisors are read, which one each is: its host's name, or its URI where two are of
/// one host. Two URIs of one server are, whether both are up or not.
pub(super) fn names(sources: &[Source]) -> Vec<Option<String>> {
    let name = |source: &Source| {
        let hypervisor = &source.hypervisor;
        let is_of_host = |other: &&Source| {
            let other = &other.hypervisor;
            server(other.uri()) == server(hypervisor.uri())
                || (hypervisor.host_name().is_some() && other.host_name() == hypervisor.host_name())
        };
        let is_shared = sources.iter().filter(is_of_host).count() > 1;
        let host_name = hypervisor.host_name().filter(|_| !is_shared);
        (sources.len() > 1).then(|| host_name.unwrap_or(hypervisor.uri()).to_owned())
    };
    sources.iter().map(name).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_samples_the_newest_are_kept() {
        let sample = |number: u64| {
            let uuid = Uuid::from_u128(number.into());
            (uuid, Domain { uuid, answered_at_ns: number / 10, ..Domain::default() })
        };
        let mut samples: HashMap<Uuid, Domain> = (0..100).map(sample).collect();
        keep_newest(&mut samples, 100);
        assert_eq!(samples.len(), 100);
        keep_newest(&mut samples, 25);
        assert_eq!(samples.len(), 25);
        let newest = (80..100).map(|number| sample(number).0);
        assert!(newest.into_iter().all(|uuid| samples.contains_key(&uuid)));
    }
}
