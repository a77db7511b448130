//! One connection with its guests' handles, on a worker's thread.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use super::reading::Target;
use crate::libvirt::{self, Connection, Groups, Guest, Kind, Offer};

/// So many missing handles are looked up one by one; for more, the list is cheaper.
const LOOKUPS: usize = 4;
/// Handles of guests that are gone, beside one for each guest, that do no harm.
const OLD_HANDLES: usize = 64;

/// A connection with its guests' handles, which last as long as it does.
pub struct Session {
    pub(super) connection: Connection,
    handles: HashMap<Uuid, Guest>,
}

/// A guest as the hypervisor lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its lasting identity.
    pub uuid: Uuid,
    /// Its id; -1 when it does not run.
    pub id: i32,
    /// Its name.
    pub name: Arc<str>,
}

impl Session {
    /// Connects.
    ///
    /// # Errors
    /// libvirt's words.
    pub fn open(uri: &str) -> Result<Self, libvirt::Error> {
        Ok(Self { connection: Connection::open(uri)?, handles: HashMap::new() })
    }

    /// Whether the connection still stands.
    pub fn is_alive(&self) -> bool {
        self.connection.is_alive()
    }

    /// Lists the guests, and keeps their handles.
    ///
    /// # Errors
    /// libvirt's words.
    pub fn list(&mut self, inactive: bool) -> Result<Vec<Listed>, libvirt::Error> {
        let guests = self.connection.guests(inactive)?;
        let listed = guests
            .iter()
            .map(|guest| Listed {
                uuid: guest.uuid,
                id: guest.id,
                name: guest.name.as_str().into(),
            })
            .collect();
        self.handles = guests.into_iter().map(|guest| (guest.uuid, guest)).collect();
        Ok(listed)
    }

    /// What the hypervisor has in bulk of what is wanted.
    ///
    /// # Errors
    /// libvirt's words, where the connection broke.
    pub fn offer(&self, wanted: Groups) -> Result<Offer, libvirt::Error> {
        self.connection.offer(wanted)
    }

    /// The hypervisor's host name.
    ///
    /// # Errors
    /// libvirt's words.
    pub fn host_name(&self) -> Result<String, libvirt::Error> {
        self.connection.host_name()
    }

    /// The guest's handle; `None` where it is gone.
    pub(super) fn handle(&self, uuid: &Uuid) -> Option<&Guest> {
        self.handles.get(uuid)
    }

    /// Makes sure that the handles speak of these guests as they were listed; a guest that is gone
    /// has none then.
    ///
    /// # Errors
    /// libvirt's words, where the connection broke.
    pub(super) fn find_handles(
        &mut self,
        targets: &[Target],
        listed: usize,
    ) -> Result<(), libvirt::Error> {
        let missing: Vec<&Target> = targets.iter().filter(|target| !self.holds(target)).collect();
        // Guests come and go, and the handles of those that went would stay.
        let has_old = self.handles.len() > 2 * listed + OLD_HANDLES;
        if missing.len() > LOOKUPS || has_old {
            let inactive = targets.iter().any(|target| target.id < 0);
            self.list(inactive)?;
            return Ok(());
        }
        for target in missing {
            match self.connection.guest(&target.uuid) {
                Ok(guest) => {
                    self.handles.insert(target.uuid, guest);
                }
                Err(error) if error.kind == Kind::GuestGone => {
                    self.handles.remove(&target.uuid);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn holds(&self, target: &Target) -> bool {
        let held = self.handles.get(&target.uuid);
        held.is_some_and(|guest| guest.id == target.id && *guest.name == *target.name)
    }
}
