//! One connection with its guests' handles, on a worker's thread.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::reading::Target;
use crate::config::DomainFilter;
use crate::host::{Guest, Host, Origin};
use crate::libvirt::{self, Groups, Kind, Offer};

/// So many missing handles are looked up one by one; for more, the list is cheaper.
const LOOKUPS: usize = 4;
/// Handles of guests that are gone, beside one for each guest, that do no harm.
const OLD_HANDLES: usize = 64;
/// A list is believed for so long while the ids stay the same. An id is not given twice within the
/// life of a daemon's connection on QEMU; on LXC it is a process's number.
const LIST_MAX_AGE: Duration = Duration::from_secs(60);

/// A connection with its guests' handles, which last as long as it does.
pub struct Session {
    pub(super) connection: Host,
    handles: HashMap<Uuid, Guest>,
    /// Handles that came with a list and have not been asked for, by name.
    unclaimed: HashMap<String, Guest>,
    list: Option<List>,
}

/// The running guests as they were listed.
struct List {
    at: Instant,
    /// Their ids, in order.
    ids: Vec<i32>,
    guests: Arc<[Listed]>,
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
    /// virDomainState, where it was asked for and the guest was there to say.
    pub state: Option<i64>,
}

impl Listed {
    /// Whether the filter lets it pass, as far as a list tells.
    pub fn is_taken_by(&self, filter: &DomainFilter) -> bool {
        filter.takes(&self.name, &self.uuid)
            && (!filter.has_states() || filter.takes_state(self.state))
    }
}

impl Session {
    /// Connects.
    ///
    /// # Errors
    /// libvirt's words, or what is wrong with the recording.
    pub fn open(origin: &Origin) -> Result<Self, libvirt::Error> {
        Ok(Self {
            connection: origin.open()?,
            handles: HashMap::new(),
            unclaimed: HashMap::new(),
            list: None,
        })
    }

    /// Whether the connection still stands.
    pub fn is_alive(&self) -> bool {
        self.connection.is_alive()
    }

    /// Lists the guests, sorted by name. Where the filter is one by state, each guest that passes it
    /// otherwise is asked for its state, which libvirtd knows by itself.
    ///
    /// # Errors
    /// libvirt's words.
    pub fn list(&mut self, filter: &DomainFilter) -> Result<Arc<[Listed]>, libvirt::Error> {
        // Guests that are off have no ids to tell whether there are others, and a state changes while
        // the ids stay.
        let inactive = filter.inactive;
        let may_serve = !inactive && !filter.has_states();
        if let Some(list) = self.list.as_ref().filter(|_| may_serve)
            && list.at.elapsed() < LIST_MAX_AGE
            && self.has_same_ids(list)
        {
            return Ok(Arc::clone(&list.guests));
        }
        self.list = None;
        let guests = self.connection.guests(inactive)?;
        let listed = |guest: &Guest| {
            let (uuid, name): (_, Arc<str>) = (guest.uuid(), guest.name().into());
            let state =
                (filter.has_states() && filter.takes(&name, &uuid)).then(|| guest.state_number());
            Listed { uuid, id: guest.id(), name, state: state.flatten() }
        };
        let mut listed: Vec<Listed> = guests.iter().map(listed).collect();
        self.handles = listed.iter().map(|listed| listed.uuid).zip(guests).collect();
        self.unclaimed.clear();
        listed.sort_unstable_by(|a, b| a.name.cmp(&b.name).then(a.uuid.cmp(&b.uuid)));
        let mut ids: Vec<i32> = listed.iter().map(|guest| guest.id).collect();
        ids.sort_unstable();
        let guests: Arc<[Listed]> = listed.into();
        if may_serve {
            self.list = Some(List { at: Instant::now(), ids, guests: Arc::clone(&guests) });
        }
        Ok(guests)
    }

    /// Whether the very guests run that are on the list: their ids cost a tenth of a list.
    fn has_same_ids(&self, list: &List) -> bool {
        let Ok(Some(mut ids)) = self.connection.running_ids(list.ids.len()) else { return false };
        ids.sort_unstable();
        ids == list.ids
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

    /// Makes sure that there are handles of these guests; a guest that is gone may have none.
    ///
    /// # Errors
    /// libvirt's words, where the connection broke.
    pub(super) fn find_handles(
        &mut self,
        targets: &[Target],
        listed: usize,
    ) -> Result<(), libvirt::Error> {
        // Guests come and go, and the handles of those that went would stay.
        if self.handles.len() + self.unclaimed.len() > 2 * listed + OLD_HANDLES {
            self.handles.clear();
            self.unclaimed.clear();
        }
        let mut missing = self.claim(targets.iter().collect());
        if missing.len() > LOOKUPS {
            let inactive = targets.iter().any(|target| target.id < 0);
            let guests = self.connection.guests(inactive)?;
            self.unclaimed =
                guests.into_iter().map(|guest| (guest.name().into_owned(), guest)).collect();
            missing = self.claim(missing);
        }
        for target in missing {
            match self.connection.guest(&target.uuid) {
                Ok(guest) => {
                    self.handles.insert(target.uuid, guest);
                }
                Err(error) if error.kind == Kind::GuestGone => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes the handles of these guests from the unclaimed ones; returns the guests that lack one.
    fn claim<'a>(&mut self, mut targets: Vec<&'a Target>) -> Vec<&'a Target> {
        targets.retain(|target| {
            if self.handles.contains_key(&target.uuid) {
                return false;
            }
            let named = self.unclaimed.remove(&*target.name);
            let Some(guest) = named.filter(|guest| guest.uuid() == target.uuid) else {
                return true;
            };
            self.handles.insert(target.uuid, guest);
            false
        });
        targets
    }
}
