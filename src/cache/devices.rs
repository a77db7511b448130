//! The device cache: each guest's inventory and when its XML was read, in memory and on disk. It says
//! whether an inventory may still be used; whether the names in it agree with the statistics is
//! `devices`' business, and nothing here asks libvirt.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::digest::digest;
use super::error::{FileError, Trouble};
use super::file::Directory;
use super::lines::{Entry, Flaw, Header, Saved, guest_lines, line_of, read_line, update};
use crate::devices::Inventory;
use crate::devices::walk::DEVICES_MAX;

/// What the header calls this kind of file.
pub(super) const HOLDS: &str = "devices";
/// How long a guest that is gone stays in the file, beyond the time its entry is fresh, in seconds.
const KEPT_S: u64 = 24 * 60 * 60;
/// How far in the future an entry may lie, in seconds: another writer read it after our `now`.
const AHEAD_S: u64 = 60;

/// The inventories of one hypervisor's guests.
#[derive(Debug, Default)]
pub struct DeviceCache {
    guests: HashMap<Uuid, Guest>,
    /// Whether the file lacks something of this.
    changed: bool,
}

#[derive(Debug)]
struct Guest {
    name: String,
    read_at_unix_s: u64,
    inventory: Arc<Inventory>,
    /// Whether the file does not have it yet.
    unsaved: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    uuid: Uuid,
    read_at: u64,
    devices: &'a Inventory,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnedLine {
    name: String,
    uuid: Uuid,
    read_at: u64,
    devices: Inventory,
}

impl DeviceCache {
    /// What the file holds, and what is wrong with it; empty where it cannot be used.
    pub(super) fn load(directory: &Directory, name: &str, uri: &str) -> (Self, Option<Trouble>) {
        let contents = match directory.read(name) {
            Ok(Some(contents)) => contents,
            Ok(None) => return (Self::default(), None),
            Err(error) => {
                // A save must not go on trying to replace what is not ours.
                let changed = !error.is_foreign();
                return (Self { changed, ..Self::default() }, Some(error.into()));
            }
        };
        match guests(&contents.bytes, uri) {
            Ok(guests) => (Self { guests, changed: contents.readable_by_others }, None),
            Err(flaw) => {
                let empty = Self { changed: true, ..Self::default() };
                (empty, Some(flaw.in_file(directory, name)))
            }
        }
    }

    /// The inventory of the guest with this uuid, while it may be used without reading its XML.
    ///
    /// It may for `ttl` at most, and for a part of `ttl` between a half and the whole that depends
    /// on the guest and on when it was read: guests that were read together expire one after
    /// another. A new boot (`id` is the domain's) and a clock that stepped back end it at once.
    pub fn fresh(
        &self,
        uuid: &Uuid,
        id: i32,
        now_unix_s: u64,
        ttl: Duration,
    ) -> Option<&Arc<Inventory>> {
        let guest = self.guests.get(uuid)?;
        let age_s = now_unix_s.checked_sub(guest.read_at_unix_s)?;
        let fresh = guest.inventory.id == id
            && Duration::from_secs(age_s) < lifetime(uuid, guest.read_at_unix_s, ttl);
        fresh.then_some(&guest.inventory)
    }

    /// The inventory of the guest with this uuid, however old: what serves while the guest's XML
    /// cannot be read.
    pub fn known(&self, uuid: &Uuid) -> Option<&Arc<Inventory>> {
        self.guests.get(uuid).map(|guest| &guest.inventory)
    }

    /// Ends the belief in a guest's inventory: it is not fresh any more, and serves where its XML cannot be
    /// read.
    pub fn outdate(&mut self, uuid: &Uuid) {
        if let Some(guest) = self.guests.get_mut(uuid) {
            guest.read_at_unix_s = 0;
        }
    }

    /// Keeps the inventory of a guest whose XML has just been read.
    pub fn insert(
        &mut self,
        uuid: Uuid,
        name: &str,
        inventory: Arc<Inventory>,
        read_at_unix_s: u64,
    ) {
        let guest = Guest { name: name.to_owned(), read_at_unix_s, inventory, unsaved: true };
        self.guests.insert(uuid, guest);
        self.changed = true;
    }

    /// Forgets, in memory only, the guests of which `keep` says no: the file keeps them for a day.
    pub fn retain(&mut self, keep: impl Fn(&Uuid) -> bool) {
        self.guests.retain(|uuid, _| keep(uuid));
    }

    /// The guests whose inventory is in memory: uuid, name, and the domain's id when it was read.
    pub fn guests(&self) -> impl Iterator<Item = (Uuid, &str, i32)> {
        self.guests.iter().map(|(uuid, guest)| (*uuid, guest.name.as_str(), guest.inventory.id))
    }

    /// Guests whose inventory is in memory.
    pub fn len(&self) -> usize {
        self.guests.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.guests.is_empty()
    }

    /// Writes what the file lacks, if anything, and keeps there what others wrote.
    pub(super) fn save(
        &mut self,
        directory: &Directory,
        name: &str,
        uri: &str,
        now_unix_s: u64,
        ttl: Duration,
    ) -> Result<Saved, FileError> {
        let oldest = now_unix_s.saturating_sub(ttl.as_secs().saturating_add(KEPT_S));
        let times = oldest..=now_unix_s.saturating_add(AHEAD_S);
        let header = Header::new(HOLDS, uri, None);
        self.guests.retain(|_, guest| times.contains(&guest.read_at_unix_s));
        let saved = update(directory, name, &header, self.entries(), &times, check)?;
        self.changed = false;
        for guest in self.guests.values_mut() {
            guest.unsaved = false;
        }
        Ok(saved)
    }

    /// Whether a save would write anything.
    pub fn is_changed(&self) -> bool {
        self.changed
    }

    fn entries(&self) -> Vec<Entry<'_>> {
        self.guests
            .iter()
            .filter_map(|(uuid, guest)| {
                let (name, at) = (guest.name.as_str(), guest.read_at_unix_s);
                let line = Line { name, uuid: *uuid, read_at: at, devices: &guest.inventory };
                let (first_hand, line) = (guest.unsaved, line_of(&line)?.into());
                Some(Entry { name: name.into(), uuid: *uuid, at, first_hand, line })
            })
            .collect()
    }
}

/// For how long an entry is fresh: a part of `ttl` that is the same each time it is asked.
fn lifetime(uuid: &Uuid, read_at_unix_s: u64, ttl: Duration) -> Duration {
    let mut seed = [0; 24];
    let (of_guest, of_time) = seed.split_at_mut(16);
    of_guest.copy_from_slice(uuid.as_bytes());
    of_time.copy_from_slice(&read_at_unix_s.to_le_bytes());
    let part = (digest(&seed) >> 48) as u32;
    let half = ttl / 2;
    half + half / (1 << 16) * part
}

fn guest(line: &[u8], number: usize) -> Result<OwnedLine, Flaw> {
    let guest: OwnedLine = read_line(line, number)?;
    if guest.devices.nics.len() + guest.devices.disks.len() > DEVICES_MAX {
        return Err(Flaw::of_line(number, "too many devices"));
    }
    Ok(guest)
}

fn check(line: &[u8], number: usize) -> Result<(), Flaw> {
    guest(line, number).map(drop)
}

fn guests(bytes: &[u8], uri: &str) -> Result<HashMap<Uuid, Guest>, Flaw> {
    let lines = guest_lines(bytes, &Header::new(HOLDS, uri, None))?;
    let mut guests = HashMap::with_capacity(lines.len());
    for (index, line) in lines.into_iter().enumerate() {
        let number = index + 2;
        let OwnedLine { name, uuid, read_at, devices } = guest(line, number)?;
        let inventory = Arc::new(devices);
        let guest = Guest { name, read_at_unix_s: read_at, inventory, unsaved: false };
        if guests.insert(uuid, guest).is_some() {
            return Err(Flaw::of_line(number, "a guest that was there before"));
        }
    }
    Ok(guests)
}

#[cfg(test)]
mod tests;
