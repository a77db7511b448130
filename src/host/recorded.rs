//! The answers out of a recording, and which of its moments they are of. The file is read at the first
//! question, and what it held then answers until the program ends.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use super::Moment;
use crate::libvirt::{Error, Group, Groups, Kind, Offer, Parameter};
use crate::record::{
    self, DeviceAnswers, RecordedGuest, RecordedHost, RecordedNode, Recording, Statistic, group_of,
};

/// A recording that is replayed: each collection asks the moment after the one before it, and from the
/// last one on that again.
pub struct Replay {
    path: PathBuf,
    contents: Mutex<Option<Arc<Contents>>>,
    /// The moment that a collection asks now.
    at: Arc<AtomicUsize>,
    /// The moment that the next collection asks.
    next: AtomicUsize,
}

/// What the file held.
struct Contents {
    recording: Recording,
    /// Of each moment, where its guests are.
    places: Vec<HashMap<Uuid, usize>>,
}

impl Replay {
    /// A replay of the file at this path, which is not read yet.
    pub(super) fn of(path: PathBuf) -> Self {
        Self { path, contents: Mutex::default(), at: Arc::default(), next: AtomicUsize::new(0) }
    }

    fn contents(&self) -> Result<Arc<Contents>, Error> {
        let mut contents = self.contents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(contents) = &*contents {
            return Ok(Arc::clone(contents));
        }
        let recording =
            record::read(&self.path).map_err(|error| Error::of(Kind::Other, error.to_string()))?;
        let places = record::by_uuid(&recording);
        let read = Arc::new(Contents { recording, places });
        *contents = Some(Arc::clone(&read));
        Ok(read)
    }

    pub(super) fn open(&self) -> Result<Played, Error> {
        Ok(Played { contents: self.contents()?, at: Arc::clone(&self.at) })
    }

    /// The number of the last moment; 0 too where the file cannot be read, which is told when it is
    /// asked.
    fn last(&self) -> usize {
        self.contents().map_or(0, |contents| contents.recording.moments.len().saturating_sub(1))
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
        let Ok(played) = self.open() else { return RecordedNode::default() };
        let moment = played.contents.recording.moments.get(played.number());
        moment.map(|moment| moment.node.clone()).unwrap_or_default()
    }

    /// When the QEMU of this guest started, where the recording has that.
    pub fn started_at_ns(&self, uuid: &Uuid) -> Option<u64> {
        self.open().ok()?.find(uuid).ok()?.started_ns
    }

    /// The moment that a collection asks now; `None` where the file cannot be read.
    pub fn moment(&self) -> Option<Moment> {
        self.open().ok().map(|played| played.moment())
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

    fn all(&self) -> &[RecordedGuest] {
        let moment = self.contents.recording.moments.get(self.number());
        moment.map_or(&[], |moment| &moment.guests)
    }

    fn place(&self, uuid: &Uuid) -> Option<usize> {
        self.contents.places.get(self.number())?.get(uuid).copied()
    }

    fn handle(&self, guest: &RecordedGuest) -> PlayedGuest {
        let (id, name, uuid) = (guest.id, guest.name.clone(), guest.uuid);
        PlayedGuest { played: self.clone(), id, name, uuid }
    }

    pub(super) fn guests(&self, inactive: bool) -> Vec<PlayedGuest> {
        let listed = self.all().iter().filter(|guest| inactive || guest.id >= 0);
        listed.map(|guest| self.handle(guest)).collect()
    }

    fn find(&self, uuid: &Uuid) -> Result<&RecordedGuest, Error> {
        let found = self.place(uuid).and_then(|place| self.all().get(place));
        found.ok_or_else(|| {
            Error::of(Kind::GuestGone, format!("no guest {uuid} in this moment of the recording"))
        })
    }

    pub(super) fn guest(&self, uuid: &Uuid) -> Result<PlayedGuest, Error> {
        self.find(uuid).map(|guest| self.handle(guest))
    }

    pub(super) fn guest_named(&self, name: &str) -> Result<PlayedGuest, Error> {
        let found = self.all().iter().find(|guest| guest.name == name);
        found.map(|guest| self.handle(guest)).ok_or_else(|| {
            Error::of(Kind::GuestGone, format!("no guest {name} in this moment of the recording"))
        })
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
        let mut places = Vec::new();
        if !groups.is_empty() {
            for uuid in uuids {
                let Some(place) = self.place(&uuid) else { continue };
                let Some(guest) = self.all().get(place) else { continue };
                parts(guest, groups)?;
                places.push(place);
            }
        }
        Ok(PlayedRecords { played: self.clone(), number: self.number(), places, groups })
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
    played: Played,
    number: usize,
    places: Vec<usize>,
    groups: Groups,
}

impl PlayedRecords {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&RecordedGuest, Groups)> {
        let moment = self.played.contents.recording.moments.get(self.number);
        let guests = moment.map_or(&[][..], |moment| &moment.guests);
        self.places.iter().filter_map(|&place| Some((guests.get(place)?, self.groups)))
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
            // What we know no group of comes whatever is asked.
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
    name: String,
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
    pub(super) fn now(&self) -> Result<&RecordedGuest, Error> {
        self.played.find(&self.uuid)
    }

    pub(super) fn device(&self, target: &str) -> Result<&DeviceAnswers, Error> {
        self.now()?.devices.get(target).ok_or_else(|| {
            Error::of(Kind::Other, format!("the recording has no answer for the device {target}"))
        })
    }

    pub(super) fn answered_at_ns(&self) -> u64 {
        self.now().map_or(0, |guest| guest.answered_ns)
    }
}
