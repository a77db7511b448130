//! The answers out of a recording, and which of its moments they are of. The file is opened and checked at the first
//! question; after that each guest is read from it when it is asked for. A few are kept, so that a small file is
//! read once, and a large one takes little memory.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use super::Moment;
use crate::deadline::Deadline;
use crate::libvirt::{Error, Group, Groups, Kind, Offer, Parameter};
use crate::plain_file;
use crate::pool::Caller;
use crate::record::{
    DeviceAnswers, IndexedGuest, IndexedMoment, RecordedGuest, RecordedHost, RecordedNode,
    RecordingFile, Statistic, group_of,
};

/// Guests are kept while their lines have no more bytes than this together, or than this part of the file: what
/// was read of a line takes five times as much.
const KEPT_BYTES: u64 = 1 << 20;
const KEPT_PART: u64 = 16;

/// A recording that is replayed: each collection asks the moment after the one before it, and from the
/// last one on that again.
pub struct Replay {
    file: Arc<LazyFile>,
    /// The moment that a collection asks now.
    at: Arc<AtomicUsize>,
    /// The moment that the next collection asks.
    next: AtomicUsize,
}

/// The file, which is read at the first question.
struct LazyFile {
    path: PathBuf,
    contents: OnceLock<Arc<Contents>>,
    /// Held by whoever reads it.
    reading: Mutex<()>,
}

impl LazyFile {
    /// What is in it, once it is read.
    fn contents(&self) -> Result<Arc<Contents>, Error> {
        if let Some(contents) = self.contents.get() {
            return Ok(Arc::clone(contents));
        }
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(contents) = self.contents.get() {
            return Ok(Arc::clone(contents));
        }
        let recording = RecordingFile::open(&self.path)
            .map_err(|error| Error::of(Kind::Other, error.to_string()))?;
        let read = Arc::new(Contents { recording, kept: Mutex::default() });
        Ok(Arc::clone(self.contents.get_or_init(|| read)))
    }
}

/// What the file has, and the guests that were read last.
struct Contents {
    recording: RecordingFile,
    kept: Mutex<KeptGuests>,
}

/// Guests by the number of the moment and their place in it.
#[derive(Default)]
struct KeptGuests {
    guests: HashMap<(usize, usize), Arc<RecordedGuest>>,
    /// In the order in which they were read, with the bytes of their lines.
    order: VecDeque<((usize, usize), u64)>,
    bytes: u64,
}

impl Contents {
    fn kept(&self) -> MutexGuard<'_, KeptGuests> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn guest(&self, number: usize, place: usize) -> Result<Arc<RecordedGuest>, Error> {
        if let Some(guest) = self.kept().guests.get(&(number, place)) {
            return Ok(Arc::clone(guest));
        }
        let moment = self.recording.moments.get(number);
        let Some(indexed) = moment.and_then(|moment| moment.guests.get(place)) else {
            return Err(Error::of(
                Kind::GuestGone,
                "no such guest in this moment of the recording",
            ));
        };
        let read = self.recording.guest(indexed);
        let guest = Arc::new(read.map_err(|error| Error::of(Kind::Other, error.to_string()))?);
        let most = (self.recording.size / KEPT_PART).max(KEPT_BYTES);
        let mut kept = self.kept();
        if kept.guests.insert((number, place), Arc::clone(&guest)).is_none() {
            let bytes = indexed.length as u64;
            kept.order.push_back(((number, place), bytes));
            kept.bytes += bytes;
        }
        while kept.bytes > most
            && let Some((oldest, bytes)) = kept.order.pop_front()
        {
            kept.guests.remove(&oldest);
            kept.bytes -= bytes;
        }
        Ok(guest)
    }
}

impl Replay {
    /// A replay of the file at this path, which is not read yet.
    pub(super) fn of(path: PathBuf) -> Self {
        let file = LazyFile { path, contents: OnceLock::new(), reading: Mutex::default() };
        Self { file: Arc::new(file), at: Arc::default(), next: AtomicUsize::new(0) }
    }

    /// Reads the file, if it can be opened and read by then; else it counts as one that cannot be read, until it
    /// is there. A file on a mount that is gone never comes.
    pub fn prepare(&self, opened_by: &Deadline, read_by: &Deadline) {
        if self.file.contents.get().is_some() {
            return;
        }
        let file = Arc::clone(&self.file);
        let mut reader = Caller::without_connection("recording");
        reader.call(move |(), report| {
            if plain_file::open(&file.path).is_ok() {
                report.hand_over(());
            }
            file.contents().map(drop)
        });
        // What is wrong with it is told when it is asked.
        if let Some(Ok(())) = reader.next(opened_by) {
            let _ = reader.next(read_by);
        }
    }

    pub(super) fn open(&self) -> Result<Played, Error> {
        Ok(Played { contents: self.file.contents()?, at: Arc::clone(&self.at) })
    }

    /// The same where the file is read already: nothing is waited for.
    fn played(&self) -> Option<Played> {
        let contents = Arc::clone(self.file.contents.get()?);
        Some(Played { contents, at: Arc::clone(&self.at) })
    }

    /// The number of the last moment; 0 too where the file is not read, or cannot be, which is told when it is
    /// asked.
    fn last(&self) -> usize {
        let contents = self.file.contents.get();
        contents.map_or(0, |contents| contents.recording.moments.len().saturating_sub(1))
    }

    /// Turns to the next moment, for a collection.
    pub fn advance(&self) {
        let next = self.next.load(Ordering::Relaxed).min(self.last());
        self.at.store(next, Ordering::Relaxed);
        self.next.store((next + 1).min(self.last()), Ordering::Relaxed);
    }

    /// How many moments the next collection has before it until the last.
    pub fn before_last(&self) -> usize {
        self.last().saturating_sub(self.next.load(Ordering::Relaxed))
    }

    /// Goes to the last moment: the next collection asks it.
    pub fn skip_to_last(&self) {
        self.next.store(self.last(), Ordering::Relaxed);
    }

    /// Whether a collection now asks the last moment.
    pub fn is_at_last(&self) -> bool {
        self.at.load(Ordering::Relaxed) == self.last()
    }

    /// The host beside its guests, as it was recorded.
    pub fn node(&self) -> RecordedNode {
        let Some(played) = self.played() else { return RecordedNode::default() };
        let moment = played.contents.recording.moments.get(played.number());
        moment.map(|moment| moment.node.clone()).unwrap_or_default()
    }

    /// When the QEMU of this guest started, where the recording has that.
    pub fn started_at_ns(&self, uuid: &Uuid) -> Option<u64> {
        self.played()?.find(uuid).ok()?.started_ns
    }

    /// The moment that a collection asks now; `None` where the file is not read.
    pub fn moment(&self) -> Option<Moment> {
        self.played().map(|played| played.moment())
    }
}

/// A recording, as a connection would be.
#[derive(Clone)]
pub struct Played {
    contents: Arc<Contents>,
    at: Arc<AtomicUsize>,
}

impl Played {
    pub(super) fn host(&self) -> &RecordedHost {
        &self.contents.recording.host
    }

    /// The moment that is asked now, by its number.
    fn number(&self) -> usize {
        self.at.load(Ordering::Relaxed)
    }

    pub(super) fn moment(&self) -> Moment {
        match self.contents.recording.moments.get(self.number()) {
            Some(moment) => {
                Moment { unix: Duration::from_nanos(moment.unix_ns), boot_ns: moment.boot_ns }
            }
            None => Moment { unix: Duration::ZERO, boot_ns: 0 },
        }
    }

    fn now(&self) -> Option<&IndexedMoment> {
        self.contents.recording.moments.get(self.number())
    }

    fn all(&self) -> &[IndexedGuest] {
        self.now().map_or(&[], |moment| &moment.guests)
    }

    fn place(&self, uuid: &Uuid) -> Option<usize> {
        self.now()?.places.get(uuid).copied()
    }

    fn handle(&self, guest: &IndexedGuest) -> PlayedGuest {
        let (id, name, uuid) = (guest.id, guest.name.clone(), guest.uuid);
        PlayedGuest { played: self.clone(), id, name, uuid }
    }

    pub(super) fn guests(&self, inactive: bool) -> Vec<PlayedGuest> {
        let listed = self.all().iter().filter(|guest| inactive || guest.id >= 0);
        listed.map(|guest| self.handle(guest)).collect()
    }

    fn gone(guest: &dyn std::fmt::Display) -> Error {
        Error::of(Kind::GuestGone, format!("no guest {guest} in this moment of the recording"))
    }

    fn find(&self, uuid: &Uuid) -> Result<Arc<RecordedGuest>, Error> {
        let number = self.number();
        let moment = self.contents.recording.moments.get(number);
        match moment.and_then(|moment| moment.places.get(uuid)) {
            Some(&place) => self.contents.guest(number, place),
            None => Err(Self::gone(uuid)),
        }
    }

    pub(super) fn guest(&self, uuid: &Uuid) -> Result<PlayedGuest, Error> {
        let found = self.place(uuid).and_then(|place| self.all().get(place));
        found.map(|guest| self.handle(guest)).ok_or_else(|| Self::gone(uuid))
    }

    pub(super) fn guest_named(&self, name: &str) -> Result<PlayedGuest, Error> {
        let found = self.all().iter().find(|guest| &*guest.name == name);
        found.map(|guest| self.handle(guest)).ok_or_else(|| Self::gone(&name))
    }

    pub(super) fn offer(&self, wanted: Groups) -> Offer {
        let host = self.host();
        let has = |group: &Group| host.bulk.iter().any(|name| name == group.name());
        let bulk: Groups = Group::ALL.into_iter().filter(has).collect();
        Offer { bulk: bulk.and(wanted), nowait: host.nowait }
    }

    /// As libvirt does: one guest's error fails the call for all, and a guest that is gone is absent.
    pub(super) fn statistics(
        &self,
        uuids: impl Iterator<Item = Uuid>,
        groups: Groups,
    ) -> Result<PlayedRecords, Error> {
        let mut guests = Vec::new();
        if !groups.is_empty() {
            for uuid in uuids {
                let guest = match self.find(&uuid) {
                    Ok(guest) => guest,
                    Err(error) if error.kind == Kind::GuestGone => continue,
                    Err(error) => return Err(error),
                };
                parts(&guest, groups)?;
                guests.push(guest);
            }
        }
        Ok(PlayedRecords { guests, groups })
    }
}

/// The answers that these groups of a guest are in; the error of the first that has one.
fn parts(guest: &RecordedGuest, groups: Groups) -> Result<Vec<&[Statistic]>, Error> {
    match guest.statistics.result() {
        Ok(all) => Ok(vec![all]),
        Err(error) => {
            let asked = Group::ALL.into_iter().filter(|&group| groups.has(group));
            asked
                .map(|group| match guest.groups.get(group.name()) {
                    Some(answer) => answer.result().map(Vec::as_slice),
                    None => Err(error.clone()),
                })
                .collect()
        }
    }
}

/// The answer of a bulk call.
pub struct PlayedRecords {
    guests: Vec<Arc<RecordedGuest>>,
    groups: Groups,
}

impl PlayedRecords {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&RecordedGuest, Groups)> {
        self.guests.iter().map(|guest| (&**guest, self.groups))
    }
}

/// A guest's recorded parameters of some groups.
pub struct Filtered<'a> {
    parts: std::vec::IntoIter<&'a [Statistic]>,
    part: std::slice::Iter<'a, Statistic>,
    groups: Groups,
}

impl<'a> Filtered<'a> {
    pub(super) fn of(guest: &'a RecordedGuest, groups: Groups) -> Self {
        let parts = parts(guest, groups).unwrap_or_default().into_iter();
        Self { parts, part: [].iter(), groups }
    }
}

impl<'a> Iterator for Filtered<'a> {
    type Item = Parameter<'a>;

    fn next(&mut self) -> Option<Parameter<'a>> {
        loop {
            let Some((name, value)) = self.part.next() else {
                self.part = self.parts.next()?.iter();
                continue;
            };
            let name = name.as_bytes();
            // What no known group has is always sent.
            if group_of(name).is_none_or(|group| self.groups.has(group)) {
                return Some(Parameter { name, value: value.into() });
            }
        }
    }
}

/// A handle of a guest. What it knows by itself is of the moment when it was made.
pub struct PlayedGuest {
    played: Played,
    id: i32,
    name: Box<str>,
    uuid: Uuid,
}

impl PlayedGuest {
    pub(super) fn id(&self) -> i32 {
        self.id
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// What it answers in the moment that is asked now.
    pub(super) fn now(&self) -> Result<Arc<RecordedGuest>, Error> {
        self.played.find(&self.uuid)
    }

    /// What the calls for a device answered.
    pub(super) fn device<T>(
        &self,
        target: &str,
        answer: impl FnOnce(&DeviceAnswers) -> Result<T, Error>,
    ) -> Result<T, Error> {
        match self.now()?.devices.get(target) {
            Some(answers) => answer(answers),
            None => {
                let words = format!("the recording has no answer for the device {target}");
                Err(Error::of(Kind::Other, words))
            }
        }
    }

    pub(super) fn answered_at_ns(&self) -> u64 {
        self.now().map_or(0, |guest| guest.answered_ns)
    }
}
