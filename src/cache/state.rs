//! What is kept of a hypervisor's guests from one run to the next: their device lists, their last samples,
//! and how those that did not answer were asked. Each guest has a line for each of the three, with a time.
//!
//! Device lists are dated by the calendar. Samples and health are dated by the host's clock since its boot,
//! so those of another boot are dropped. Two writers' files are merged line by line: the newer one stays.

mod merge;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::devices::{CachedDevices, DeviceCache};
use super::error::{CacheWarning, FileError};
use super::file::{Directory, FileMoment};
use super::lines::{
    FileHeader, FileKind, FileText, Flaw, open, read_line, sealed, space_for_lines,
};
use super::place::CacheDir;
use super::{boot_id, slug};
use crate::collect::SavedHealth;
use crate::devices::Inventory;
use crate::devices::walk::DEVICES_MAX;
use crate::sample::{Domain, boottime_ns};
use merge::{fitting, merged};

/// How long a guest that is gone keeps its device list, beyond the time that it is fresh.
const DEVICES_KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a sample and a guest's health are of use: the schema's hour.
const SINCE_BOOT_KEPT: Duration = Duration::from_secs(60 * 60);
/// About how long a line is, of a guest with 2 NICs and 3 disks.
const USUAL_LINE: usize = 1024;
/// How far in the future a line may be dated: another writer made it after our `now`.
const AHEAD: Duration = Duration::from_secs(60);
/// The files of the first form, of which there were three for each hypervisor.
const FIRST_FORM: [&str; 3] = ["devices", "samples", "health"];

/// What an earlier run knew.
#[derive(Debug, Default)]
pub struct SavedState {
    /// The device lists.
    pub devices: DeviceCache,
    /// The last samples of this boot of the host, not older than an hour.
    pub samples: HashMap<Uuid, Domain>,
    /// The guests that did not answer in the last hour of this boot.
    pub health: Vec<SavedHealth>,
    /// The file that this is from, for [`StateWrite::over`].
    pub file: Option<LoadedFile>,
}

/// A file that was loaded: which one, and whose lines it has.
#[derive(Debug)]
pub struct LoadedFile {
    moment: FileMoment,
    lines: HashSet<(LineKind, Uuid)>,
}

/// The moment of a load or a save, on the clocks that the lines are dated by.
#[derive(Clone, Copy, Debug)]
pub struct CacheTime {
    /// Seconds since 1970.
    pub unix_s: u64,
    /// The host's boot. Without it neither samples nor health are loaded or saved.
    pub boot: Option<Uuid>,
    /// Nanoseconds of the host's CLOCK_BOOTTIME.
    pub boot_ns: u64,
}

impl CacheTime {
    /// This moment.
    pub fn now() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { unix_s: unix.as_secs(), boot: boot_id(), boot_ns: boottime_ns() }
    }
}

/// A line of a guest. Health comes first, since it is the last that a file without space gives up.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum GuestLine<H, D, S> {
    Health(H),
    Devices(D),
    Sample(S),
}

/// A line as it is read.
type LoadedLine = GuestLine<SavedHealth, DevicesLine<String, Inventory>, Domain>;
/// A line as it is written.
type OwnLine<'a> = GuestLine<&'a SavedHealth, DevicesLine<&'a str, &'a Inventory>, &'a Domain>;
/// As much of a line as merging needs.
type LineKeys<'a> = GuestLine<LineKey<'a>, LineKey<'a>, LineKey<'a>>;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DevicesLine<N, I> {
    name: N,
    uuid: Uuid,
    /// When the XML was read, in seconds since 1970.
    read_at: u64,
    inventory: I,
}

#[derive(Deserialize)]
struct LineKey<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    uuid: Uuid,
    #[serde(alias = "read_at", alias = "answered_at_ns")]
    at: u64,
}

/// Which of a guest's lines it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum LineKind {
    Health,
    Devices,
    Sample,
}

/// A line, and of what it says as much as merging needs.
#[derive(Clone, Debug, PartialEq, Eq)]
struct LineEntry<'a> {
    kind: LineKind,
    name: Cow<'a, str>,
    uuid: Uuid,
    /// When the line was true, on the clock of its kind: the newer of two stays.
    at: u64,
    /// Whether we know it first-hand and not from the file: then it wins over a line of the same time.
    first_hand: bool,
    /// The line without its newline.
    line: Cow<'a, str>,
}

/// Of a line of ours as much as a save needs that finds the file as it was loaded.
struct OwnFacts {
    kind: LineKind,
    uuid: Uuid,
    at: u64,
    first_hand: bool,
}

impl OwnFacts {
    fn entry<'a>(&self, line: &'a str) -> Option<LineEntry<'a>> {
        let &Self { kind, uuid, at, first_hand } = self;
        let (_, LineKey { name, .. }) = keys(line, 0).ok()?;
        Some(LineEntry { kind, name, uuid, at, first_hand, line: line.into() })
    }
}

/// The file of one hypervisor.
#[derive(Clone, Debug)]
pub struct StateFile {
    folder: CacheDir,
    uri: String,
    slug: String,
    name: String,
}

impl StateFile {
    /// The file of the hypervisor with this URI.
    pub fn new(folder: CacheDir, uri: &str) -> Self {
        let slug = slug(uri);
        let name = format!("state-{slug}.jsonl");
        Self { folder, uri: uri.to_owned(), slug, name }
    }

    /// Where it is, or will be.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join(&self.name)
    }

    /// What the file has, and what is wrong with it. If it is missing or cannot be used, the state is
    /// empty.
    pub fn load(&self, now: &CacheTime) -> (SavedState, Option<CacheWarning>) {
        let directory = match self.folder.directory() {
            Ok(directory) => directory,
            Err(error) => return (SavedState::default(), Some(error.into())),
        };
        let (mut state, warning) = match directory.read(&self.name) {
            Ok(Some(contents)) => match loaded(&contents.bytes, &self.uri, now) {
                Ok((mut state, lines)) => {
                    state.file = Some(LoadedFile { moment: contents.moment, lines });
                    if contents.readable_by_others {
                        state.devices.must_be_saved();
                    }
                    return (state, None);
                }
                Err(flaw) => (SavedState::default(), flaw.in_file(&directory, &self.name)),
            },
            Ok(None) => {
                let Some(name) = self.first_form().find(|name| directory.has(name)) else {
                    return (SavedState::default(), None);
                };
                (SavedState::default(), Flaw::OtherVersion(1).in_file(&directory, &name))
            }
            // A save must not keep trying to replace a file that is not ours.
            Err(error) if error.is_foreign() => return (SavedState::default(), Some(error.into())),
            Err(error) => (SavedState::default(), error.into()),
        };
        state.devices.must_be_saved();
        (state, Some(warning))
    }

    /// What is to be written, if anything is. Lines of guests that others wrote stay: a device list for a day
    /// and `ttl` since the XML was read, the others for an hour. The device lists count as saved from here on:
    /// whoever cannot write them says so with [`DeviceCache::is_not_saved`].
    pub fn prepare<'a>(
        &self,
        devices: &mut DeviceCache,
        samples: impl IntoIterator<Item = &'a Domain>,
        health: &[SavedHealth],
        now: &CacheTime,
        ttl: Duration,
    ) -> Option<StateWrite> {
        let kept = Kept::at(now, ttl);
        devices.retain_read_in(&kept.devices);
        let mut ours: Vec<(&str, OwnFacts, OwnLine)> = Vec::new();
        if now.boot.is_some() {
            samples.into_iter().for_each(|sample| ours.push(own_sample(sample)));
            health.iter().for_each(|health| ours.push(own_health(health)));
        }
        if ours.is_empty() && !devices.is_changed() {
            return None;
        }
        ours.extend(devices.iter().map(|(uuid, cached)| own_devices(*uuid, cached)));
        ours.sort_unstable_by_key(|(name, facts, _)| (*name, facts.uuid, facts.kind));
        let header = FileHeader::new(FileKind::State, &self.uri, now.boot);
        let mut text = FileText::new(&header, ours.len() * USUAL_LINE);
        ours.retain(|(_, _, line)| text.push(line));
        let ours = ours.into_iter().map(|(_, facts, _)| facts).collect();
        devices.is_saved();
        Some(StateWrite { file: self.clone(), ours, text, boot: now.boot, kept, over: None })
    }

    fn first_form(&self) -> impl Iterator<Item = String> {
        FIRST_FORM.into_iter().map(|holds| format!("{holds}-{}.jsonl", self.slug))
    }

    /// Removes the files that this one takes the place of. What is not ours stays.
    fn remove_first_form(&self, directory: &Directory) {
        for name in self.first_form() {
            for name in [format!("{name}.lock"), name] {
                if directory.has(&name) {
                    let _ = directory.remove(&name);
                }
            }
        }
    }
}

/// What is to be written into the file of a hypervisor: all of it is here, so that it can be written on
/// another thread.
pub struct StateWrite {
    file: StateFile,
    ours: Vec<OwnFacts>,
    /// The lines of ours, sorted by name.
    text: FileText,
    boot: Option<Uuid>,
    kept: Kept,
    /// The file that was loaded, if each of its lines is replaced.
    over: Option<FileMoment>,
}

impl StateWrite {
    /// Says which file was loaded. If it is still there, and each of its lines has one here, it is not read
    /// again.
    pub fn over(self, loaded: Option<LoadedFile>) -> Self {
        let Some(LoadedFile { moment, lines }) = loaded else { return self };
        let ours: HashSet<_> = self.ours.iter().map(|facts| (facts.kind, facts.uuid)).collect();
        let has_each_once = ours.len() == self.ours.len();
        Self { over: (has_each_once && lines.is_subset(&ours)).then_some(moment), ..self }
    }

    /// The guests whose device lists are not in the file before.
    pub fn unsaved(&self) -> Vec<Uuid> {
        let new = |facts: &&OwnFacts| facts.kind == LineKind::Devices && facts.first_hand;
        self.ours.iter().filter(new).map(|facts| facts.uuid).collect()
    }

    /// Replaces the file by one with these lines and those that others wrote.
    ///
    /// # Errors
    /// Where the folder or the file cannot be used, or another writer has it.
    pub fn run(self) -> Result<(), FileError> {
        let Self { file, ours, text, boot, kept, over } = self;
        let StateFile { folder, uri, name, .. } = &file;
        let header = FileHeader::new(FileKind::State, uri, boot);
        let directory = folder.directory()?;
        let lock = directory.lock(&format!("{name}.lock"))?;
        if over.is_some()
            && directory.moment(name)? == over
            && text.fits(&header)
            && ours.iter().all(|facts| kept.has(facts.kind, facts.at))
        {
            return directory.replace(name, &text.sealed(), &lock);
        }
        let standing = match directory.read(name) {
            Ok(contents) => contents.map(|contents| contents.bytes),
            Err(error) if error.is_foreign() => return Err(error),
            // Ours, but nothing in it can be kept.
            Err(_) => Some(Vec::new()),
        };
        let ours: Vec<LineEntry> =
            ours.iter().zip(text.lines()).filter_map(|(facts, line)| facts.entry(line)).collect();
        let bytes = standing.as_deref().unwrap_or_default();
        let theirs = entries(bytes, uri, boot, &ours).unwrap_or_default();
        let fitting = fitting(merged(ours, theirs, &kept), space_for_lines(&header));
        let size = fitting.iter().map(|entry| entry.line.len() + 1).sum();
        let bytes = sealed(&header, fitting.iter().map(|entry| &*entry.line), size);
        directory.replace(name, &bytes, &lock)?;
        if standing.is_none() {
            file.remove_first_form(&directory);
        }
        Ok(())
    }
}

/// The times of which a save keeps lines. What is too old, and what a wrong clock has dated into the future,
/// would otherwise stay for ever.
struct Kept {
    devices: RangeInclusive<u64>,
    since_boot: RangeInclusive<u64>,
}

impl Kept {
    fn at(now: &CacheTime, ttl: Duration) -> Self {
        let around =
            |now: u64, age: u64, ahead: u64| now.saturating_sub(age)..=now.saturating_add(ahead);
        let devices_kept_s = ttl.saturating_add(DEVICES_KEPT).as_secs();
        Self {
            devices: around(now.unix_s, devices_kept_s, AHEAD.as_secs()),
            since_boot: around(now.boot_ns, ns(SINCE_BOOT_KEPT), ns(AHEAD)),
        }
    }

    fn has(&self, kind: LineKind, at: u64) -> bool {
        let times = match kind {
            LineKind::Devices => &self.devices,
            LineKind::Health | LineKind::Sample => &self.since_boot,
        };
        times.contains(&at)
    }
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn own_devices(uuid: Uuid, cached: &CachedDevices) -> (&str, OwnFacts, OwnLine<'_>) {
    let (name, at, first_hand) = (cached.name.as_str(), cached.read_at_unix_s, cached.unsaved);
    let line = DevicesLine { name, uuid, read_at: at, inventory: &*cached.inventory };
    let facts = OwnFacts { kind: LineKind::Devices, uuid, at, first_hand };
    (name, facts, GuestLine::Devices(line))
}

fn own_sample(sample: &Domain) -> (&str, OwnFacts, OwnLine<'_>) {
    let (uuid, at) = (sample.uuid, sample.answered_at_ns);
    let facts = OwnFacts { kind: LineKind::Sample, uuid, at, first_hand: true };
    (&sample.name, facts, GuestLine::Sample(sample))
}

fn own_health(health: &SavedHealth) -> (&str, OwnFacts, OwnLine<'_>) {
    let (uuid, at) = (health.uuid, health.at);
    let facts = OwnFacts { kind: LineKind::Health, uuid, at, first_hand: true };
    (&health.name, facts, GuestLine::Health(health))
}

/// The name, the UUID and the time that a line says.
fn keys(line: &str, number: usize) -> Result<(LineKind, LineKey<'_>), Flaw> {
    Ok(match read_line(line, number)? {
        LineKeys::Health(key) => (LineKind::Health, key),
        LineKeys::Devices(key) => (LineKind::Devices, key),
        LineKeys::Sample(key) => (LineKind::Sample, key),
    })
}

/// A line of this number, if all of it is right: what a load calls damaged, no save keeps.
fn read_guest_line(line: &str, number: usize) -> Result<LoadedLine, Flaw> {
    let read: LoadedLine = read_line(line, number)?;
    let (devices, most) = match &read {
        GuestLine::Health(_) => (0, 0),
        GuestLine::Devices(DevicesLine { inventory, .. }) => {
            (inventory.nics.len() + inventory.disks.len(), DEVICES_MAX)
        }
        // A disk of the statistics may be a layer of a backing chain, so there may be more of them.
        GuestLine::Sample(sample) => (sample.nics.len() + sample.disks.len(), 4 * DEVICES_MAX),
    };
    if devices > most { Err(Flaw::of_line(number, "too many devices")) } else { Ok(read) }
}

/// What a file has that is of use now, and which lines it has.
fn loaded(
    bytes: &[u8],
    uri: &str,
    now: &CacheTime,
) -> Result<(SavedState, HashSet<(LineKind, Uuid)>), Flaw> {
    let file = open(bytes, FileKind::State, uri)?;
    let is_of_this_boot = file.boot.is_some() && file.boot == now.boot;
    let times = now.boot_ns.saturating_sub(ns(SINCE_BOOT_KEPT))..=now.boot_ns;
    let is_of_use = |at: u64| is_of_this_boot && times.contains(&at);
    let mut state = SavedState::default();
    // Mostly each guest has two lines. A map that grows moves all that it has.
    state.samples.reserve(file.count() / 2);
    let mut seen = HashSet::with_capacity(file.count());
    for (number, line) in file.lines() {
        let (kind, uuid) = match read_guest_line(line, number)? {
            GuestLine::Health(health) => {
                let uuid = health.uuid;
                state.health.extend(Some(health).filter(|health| is_of_use(health.at)));
                (LineKind::Health, uuid)
            }
            GuestLine::Devices(DevicesLine { name, uuid, read_at, inventory }) => {
                state.devices.restore(uuid, name, inventory, read_at);
                (LineKind::Devices, uuid)
            }
            GuestLine::Sample(sample) => {
                let uuid = sample.uuid;
                if is_of_use(sample.answered_at_ns) {
                    state.samples.insert(uuid, sample);
                }
                (LineKind::Sample, uuid)
            }
        };
        if !seen.insert((kind, uuid)) {
            return Err(Flaw::of_line(number, "a guest that was there before"));
        }
    }
    Ok((state, seen))
}

/// The lines of a file that a save in this boot may keep, except those of which we have newer ones or the very
/// same: these are not even read completely.
fn entries<'a>(
    bytes: &'a [u8],
    uri: &str,
    boot: Option<Uuid>,
    ours: &[LineEntry<'_>],
) -> Result<Vec<LineEntry<'a>>, Flaw> {
    let ours: HashMap<(Uuid, LineKind), &LineEntry> =
        ours.iter().map(|entry| ((entry.uuid, entry.kind), entry)).collect();
    let file = open(bytes, FileKind::State, uri)?;
    let is_of_this_boot = file.boot.is_some() && file.boot == boot;
    let mut entries = Vec::new();
    for (number, line) in file.lines() {
        let (kind, LineKey { name, uuid, at }) = keys(line, number)?;
        let has_newer = ours.get(&(uuid, kind)).is_some_and(|ours| {
            ours.at > at || ours.at == at && (ours.first_hand || *ours.line == *line)
        });
        let is_of_use = is_of_this_boot || kind == LineKind::Devices;
        if has_newer || !is_of_use {
            continue;
        }
        read_guest_line(line, number)?;
        entries.push(LineEntry { kind, name, uuid, at, first_hand: false, line: line.into() });
    }
    Ok(entries)
}

#[cfg(test)]
mod tests;
