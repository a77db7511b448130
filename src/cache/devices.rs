//! The device lists in memory: each guest's inventory and when its XML was read. They say whether an
//! inventory may still be used. Whether the names in it agree with the statistics is `devices`' business,
//! and nothing here asks libvirt.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::digest::digest;
use crate::devices::Inventory;

/// The inventories of one hypervisor's guests.
#[derive(Debug, Default)]
pub struct DeviceCache {
    guests: HashMap<Uuid, CachedDevices>,
    /// Whether the file does not have all of this.
    changed: bool,
}

#[derive(Debug)]
pub(super) struct CachedDevices {
    pub(super) name: String,
    pub(super) read_at_unix_s: u64,
    pub(super) inventory: Arc<Inventory>,
    /// Whether the file does not have it yet.
    pub(super) unsaved: bool,
}

impl DeviceCache {
    /// The inventory of the guest with this uuid, while it may be used without reading its XML.
    ///
    /// It may be used for `ttl` at most, and for a part of `ttl` between a half and all of it that depends
    /// on the guest and on when it was read: so guests that were read together expire one after another. A
    /// new boot (`id` is the domain's) and a clock that stepped back end it at once.
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

    /// The inventory of the guest with this uuid, however old: it is used while the guest's XML cannot be
    /// read.
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
        let name = name.to_owned();
        self.guests.insert(uuid, CachedDevices { name, read_at_unix_s, inventory, unsaved: true });
        self.changed = true;
    }

    /// Takes over what the file has of a guest.
    pub(super) fn restore(
        &mut self,
        uuid: Uuid,
        name: String,
        inventory: Inventory,
        read_at_unix_s: u64,
    ) {
        let inventory = Arc::new(inventory);
        self.guests.insert(uuid, CachedDevices { name, read_at_unix_s, inventory, unsaved: false });
    }

    /// Forgets, in memory only, the guests for which `keep` returns false: the file keeps them for a day.
    pub fn retain(&mut self, keep: impl Fn(&Uuid) -> bool) {
        self.guests.retain(|uuid, _| keep(uuid));
    }

    /// Forgets the guests whose XML was read at another time than these.
    pub(super) fn retain_read_in(&mut self, times: &RangeInclusive<u64>) {
        self.guests.retain(|_, guest| times.contains(&guest.read_at_unix_s));
    }

    /// The guests whose inventory is in memory: uuid, name, and the domain's id when it was read.
    pub fn guests(&self) -> impl Iterator<Item = (Uuid, &str, i32)> {
        self.guests.iter().map(|(uuid, guest)| (*uuid, guest.name.as_str(), guest.inventory.id))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Uuid, &CachedDevices)> {
        self.guests.iter()
    }

    /// Guests whose inventory is in memory.
    pub fn len(&self) -> usize {
        self.guests.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.guests.is_empty()
    }

    /// Whether the file is incomplete.
    pub fn is_changed(&self) -> bool {
        self.changed
    }

    /// The file must be written again, with any contents.
    pub(super) fn must_be_saved(&mut self) {
        self.changed = true;
    }

    /// The file lacks what was to be saved of these guests after all.
    pub fn is_not_saved(&mut self, guests: &[Uuid]) {
        self.changed = true;
        for uuid in guests {
            if let Some(guest) = self.guests.get_mut(uuid) {
                guest.unsaved = true;
            }
        }
    }

    /// The file has it all now, or is about to.
    pub(super) fn is_saved(&mut self) {
        self.changed = false;
        self.guests.values_mut().for_each(|guest| guest.unsaved = false);
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

#[cfg(test)]
mod tests;
