//! What the bulk statistics of a guest lack: its XML, and the calls for one guest. Runs on a worker's
//! thread, and may block there until a job of the guest ends.

use std::fmt;
use std::time::Instant;

use super::call::{Answer, DetailRequest, Detailed, Filled, Progress, Purpose, Step};
use super::request::{GuestRequest, ReadRequest};
use super::session::Session;
use super::{assemble, extra, fallback};
use crate::config::Selection;
use crate::devices::Inventory;
use crate::devices::walk::XmlError;
use crate::devices::xml::{self, DomainXml};
use crate::host::HostGuest;
use crate::libvirt::{self, Kind};
use crate::log::Log;
use crate::schema;

/// Asks guest by guest, and hands each answer over as soon as it is there: the next guest may hang.
///
/// # Errors
/// Only where the connection broke.
pub(super) fn detail(
    session: &mut Session,
    requests: Vec<DetailRequest>,
    read: &ReadRequest,
    selection: &Selection,
    progress: &Progress,
    log: &Log,
    mut hand_over: impl FnMut(Answer),
) -> Result<(), libvirt::Error> {
    for (place, request) in requests.into_iter().enumerate() {
        progress.set(Step::Detail, Some(place), Instant::now());
        let detailed = of_guest(session, request, read, selection, log);
        if !session.is_alive() {
            return Err(libvirt::Error::connection_lost());
        }
        hand_over(Answer::Detailed(place, detailed));
    }
    Ok(())
}

fn of_guest(
    session: &mut Session,
    request: DetailRequest,
    read: &ReadRequest,
    selection: &Selection,
    log: &Log,
) -> Detailed {
    let DetailRequest { guest, mut sample, purpose } = request;
    if !session.without_handle(std::slice::from_ref(&guest), read.listed).is_empty()
        && let Err(error) = session.look_up(guest.uuid)
    {
        return match (error.kind, purpose) {
            (Kind::GuestGone, _) => Detailed::Gone,
            (_, Purpose::Metadata) => Detailed::Metadata(Err(error.to_string())),
            _ => Detailed::Filled(Box::new(Filled {
                sample,
                inventory: None,
                failures: vec![format!("its details cannot be read: {error}")],
            })),
        };
    }
    let Some(handle) = session.handle(&guest.uuid) else { return Detailed::Gone };
    let mut failures = Vec::new();
    let mut inventory = None;
    if purpose != Purpose::WithoutXml {
        match read_inventory(&guest, handle, sample.id, read, selection, log) {
            Ok(read) => inventory = Some(read),
            Err(failure) if failure.is_of_gone_guest() => return Detailed::Gone,
            Err(failure) if purpose == Purpose::Metadata => {
                return Detailed::Metadata(Err(failure.to_string()));
            }
            Err(failure) => failures.push(format!("its device list cannot be read: {failure}")),
        }
    }
    if purpose == Purpose::Metadata {
        let nothing = || Err("it has none".to_owned());
        return Detailed::Metadata(inventory.map_or_else(nothing, Ok));
    }
    let is_active = sample.id >= 0;
    let known = inventory.as_ref().or(guest.inventory.as_deref()).filter(|_| is_active);
    let missing = read.missing(is_active);
    failures.extend(fallback::fill(&mut sample, handle, missing, known, &selection.devices));
    if fallback::lacks_cpu_time(&sample, read) {
        fallback::fill_cpu_time(&mut sample, handle);
    }
    failures.extend(extra::fill(&mut sample, handle, read, known));
    if is_active && !failures.is_empty() && !is_running(session, &guest) {
        return Detailed::Gone;
    }
    Detailed::Filled(Box::new(Filled { sample, inventory, failures }))
}

fn is_running(session: &Session, guest: &GuestRequest) -> bool {
    matches!(session.connection.guest(&guest.uuid), Ok(guest) if guest.id() >= 0)
}

/// Why a guest's XML cannot be used.
enum XmlFailure {
    Libvirt(libvirt::Error),
    Xml(XmlError),
}

impl XmlFailure {
    fn is_of_gone_guest(&self) -> bool {
        matches!(self, Self::Libvirt(error) if error.kind == Kind::GuestGone)
    }
}

impl fmt::Display for XmlFailure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Libvirt(error) => error.fmt(f),
            Self::Xml(error) => error.fmt(f),
        }
    }
}

/// What the guest's XML says of its devices, and of its metadata where that is looked at.
fn read_inventory(
    guest: &GuestRequest,
    handle: &HostGuest,
    id: i32,
    read: &ReadRequest,
    selection: &Selection,
    log: &Log,
) -> Result<Inventory, XmlFailure> {
    log.debug(format_args!("reading the devices of guest \"{}\" ({})", guest.name, guest.uuid));
    let text = handle.xml().map_err(XmlFailure::Libvirt)?;
    let domain = xml::read(&text, schema::needs_xml(read.extra), &selection.paths);
    let DomainXml { nics, disks, fixed_vcpus, details, metadata } =
        domain.map_err(XmlFailure::Xml)?;
    let inventory = Inventory { id, nics, disks, fixed_vcpus, metadata, ..Inventory::default() };
    if !assemble::is_selected(&inventory, selection) {
        // Nothing more is asked of a guest that is not read.
        return Ok(inventory);
    }
    let details = details.map(|details| extra::ask_beside(details, handle, read.extra));
    Ok(Inventory { details, ..inventory })
}
