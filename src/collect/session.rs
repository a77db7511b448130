//! One connection with its guests' handles, on a worker's thread.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::request::GuestRequest;
use crate::config::DomainFilter;
use crate::host::{Host, HostGuest, Origin};
use crate::libvirt;

/// So many missing handles are looked up one by one. For more, the list is cheaper: it is one request, and each
/// look-up is one.
const LOOKUPS: usize = 4;
/// So many handles of guests that are gone are kept, beside one for each guest. They cost memory only, and to
/// look for them in each collection would cost time.
const OLD_HANDLES: usize = 64;
/// A list is used for so long while the ids stay the same: a guest that is renamed keeps its id. An id is not given twice within the
/// life of a daemon's connection on QEMU; on LXC it is a process's number.
const LIST_MAX_AGE: Duration = Duration::from_secs(60);

/// A connection with its guests' handles, which last as long as it does.
pub struct Session {
    pub(super) connection: Host,
    handles: HashMap<Uuid, HostGuest>,
    /// Handles that came with a list and have not been asked for, by name.
    unclaimed: HashMap<String, HostGuest>,
    list: Option<LastList>,
}

/// The running guests as they were listed.
struct LastList {
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
    pub fn is_selected_by(&self, filter: &DomainFilter) -> bool {
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

    /// Whether the connection is still open.
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
        let listed = |guest: &HostGuest| {
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
            self.list = Some(LastList { at: Instant::now(), ids, guests: Arc::clone(&guests) });
        }
        Ok(guests)
    }

    /// Whether the very guests run that are on the list: their ids cost a tenth of a list.
    fn has_same_ids(&self, list: &LastList) -> bool {
        let Ok(Some(mut ids)) = self.connection.running_ids(list.ids.len()) else { return false };
        ids.sort_unstable();
        ids == list.ids
    }

    /// The hypervisor's host name.
    ///
    /// # Errors
    /// libvirt's words.
    pub fn host_name(&self) -> Result<String, libvirt::Error> {
        self.connection.host_name()
    }

    /// The guest's handle; `None` where it is gone.
    pub(super) fn handle(&self, uuid: &Uuid) -> Option<&HostGuest> {
        self.handles.get(uuid)
    }

    /// Makes room for the handles of these guests, and finds those that came with a list. Returns the places
    /// of the guests that have none yet.
    pub(super) fn without_handle(&mut self, guests: &[GuestRequest], listed: usize) -> Vec<usize> {
        // Guests come and go, and the handles of those that went would stay.
        if self.handles.len() + self.unclaimed.len() > 2 * listed + OLD_HANDLES {
            self.handles.clear();
            self.unclaimed.clear();
        }
        let has_none =
            |(place, guest): (usize, &GuestRequest)| (!self.claim(guest)).then_some(place);
        guests.iter().enumerate().filter_map(has_none).collect()
    }

    /// Whether a list is cheaper than looking so many guests up.
    pub(super) fn is_worth_a_list(missing: usize) -> bool {
        missing > LOOKUPS
    }

    /// Lists the guests for their handles.
    ///
    /// # Errors
    /// libvirt's words.
    pub(super) fn list_handles(&mut self, inactive: bool) -> Result<(), libvirt::Error> {
        let guests = self.connection.guests(inactive)?;
        self.unclaimed =
            guests.into_iter().map(|guest| (guest.name().into_owned(), guest)).collect();
        Ok(())
    }

    /// Looks up one guest, which waits for that guest alone.
    ///
    /// # Errors
    /// libvirt's words; of a guest that is gone too.
    pub(super) fn look_up(&mut self, uuid: Uuid) -> Result<(), libvirt::Error> {
        let guest = self.connection.guest(&uuid)?;
        self.handles.insert(uuid, guest);
        Ok(())
    }

    /// Looks up a guest by its name.
    ///
    /// # Errors
    /// libvirt's words; of a guest that is gone too.
    pub(super) fn look_up_name(&mut self, name: &str) -> Result<Listed, libvirt::Error> {
        let guest = self.connection.guest_named(name)?;
        let (uuid, id) = (guest.uuid(), guest.id());
        self.handles.insert(uuid, guest);
        Ok(Listed { uuid, id, name: name.into(), state: None })
    }

    /// Whether it has the guest's handle, taken from those that came with a list where it must be.
    fn claim(&mut self, guest: &GuestRequest) -> bool {
        if self.handles.contains_key(&guest.uuid) {
            return true;
        }
        let named = self.unclaimed.remove(&*guest.name);
        let Some(handle) = named.filter(|handle| handle.uuid() == guest.uuid) else { return false };
        self.handles.insert(guest.uuid, handle);
        true
    }
}
