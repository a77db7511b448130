//! The domain XML reader: NICs and disks of one domain, from the text that libvirt gives.
//!
//! It walks over the text once, event by event, and keeps nothing but what a device needs. The text
//! may be written by strangers (titles, metadata, aliases, paths), so size, depth, number of devices
//! and length of a kept value are bounded, and an entity is never expanded: the five predefined ones
//! and character references are read, a value with any other counts as absent. Nothing here asks
//! libvirt or touches a file.

use std::fmt;

use quick_xml::Reader;
use quick_xml::escape::{resolve_predefined_entity, unescape};
use quick_xml::events::attributes::AttrError;
use quick_xml::events::{BytesRef, BytesStart, Event};

use super::{DiskDevice, DiskKind, NicDevice};

/// Longest text that is read, in bytes. A guest with 100 devices has about 50 KiB.
pub const TEXT_MAX: usize = 8 * 1024 * 1024;
/// Deepest nesting of elements: as deep as libvirt itself can read, since libxml2 stops there. A disk
/// uses one level for each layer of its backing chain, and QEMU takes 200 layers.
pub const DEPTH_MAX: usize = 256;
/// Most NICs and disks of one domain, together.
pub const DEVICES_MAX: usize = 4096;
/// Longest value that is kept, in bytes; a longer one counts as absent.
pub const VALUE_MAX: usize = 4096;

/// Why a domain's XML gives no inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum XmlError {
    /// Longer than [`TEXT_MAX`]: this many bytes.
    TooLong(usize),
    /// Elements nested deeper than [`DEPTH_MAX`].
    TooDeep,
    /// More NICs and disks than [`DEVICES_MAX`].
    TooManyDevices,
    /// Its root is no `<domain>`.
    NotADomain,
    /// It ends before `</domain>`.
    Unfinished,
    /// No well-formed XML.
    Malformed {
        /// Where, in bytes from the start.
        at: u64,
        /// What the parser says.
        cause: String,
    },
}

impl fmt::Display for XmlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(bytes) => {
                write!(f, "the domain XML has {bytes} bytes, more than {TEXT_MAX}")
            }
            Self::TooDeep => write!(f, "the domain XML is nested deeper than {DEPTH_MAX} elements"),
            Self::TooManyDevices => {
                write!(f, "the domain XML has more than {DEVICES_MAX} NICs and disks")
            }
            Self::NotADomain => write!(f, "the domain XML does not start with <domain>"),
            Self::Unfinished => write!(f, "the domain XML ends before </domain>"),
            Self::Malformed { at, cause } => {
                write!(f, "the domain XML is not well-formed at byte {at}: {cause}")
            }
        }
    }
}

impl std::error::Error for XmlError {}

/// The NICs and the disks of a domain, each in the XML's order.
///
/// Only direct children of `/domain/devices` count, and of these only direct children: metadata may
/// hold elements of any name, and a backing store or a mirror has a source of its own. A disk
/// without a target, or of a kind that libvirt does not have today, is passed over.
pub fn inventory(xml: &str) -> Result<(Vec<NicDevice>, Vec<DiskDevice>), XmlError> {
    if xml.len() > TEXT_MAX {
        return Err(XmlError::TooLong(xml.len()));
    }
    let mut reader = Reader::from_str(xml);
    let mut walk = Walk::default();
    loop {
        let event = match reader.read_event() {
            Ok(event) => event,
            Err(cause) => {
                let at = reader.error_position();
                return Err(XmlError::Malformed { at, cause: cause.to_string() });
            }
        };
        let step = match event {
            Event::Start(tag) => walk.open(&tag),
            Event::Empty(tag) => walk.open(&tag).map(|()| walk.close()),
            Event::End(_) => {
                walk.close();
                Ok(())
            }
            Event::Text(text) => {
                walk.text(&text);
                Ok(())
            }
            Event::CData(text) => {
                walk.text(&text);
                Ok(())
            }
            Event::GeneralRef(reference) => {
                walk.reference(&reference);
                Ok(())
            }
            // A document type may declare entities; it is passed over, so they stay unknown.
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => Ok(()),
            Event::Eof => return Err(XmlError::Unfinished),
        };
        step.map_err(|stop| match stop {
            Stop::Bound(error) => error,
            Stop::Attribute(cause) => {
                XmlError::Malformed { at: reader.buffer_position(), cause: cause.to_string() }
            }
        })?;
        if walk.closed {
            return Ok((walk.nics, walk.disks));
        }
    }
}

/// Why the walk ends early.
enum Stop {
    Bound(XmlError),
    Attribute(AttrError),
}

impl From<AttrError> for Stop {
    fn from(cause: AttrError) -> Self {
        Self::Attribute(cause)
    }
}

/// Where in the document the reader stands, and what it has found.
#[derive(Default)]
struct Walk {
    /// Elements that are open.
    depth: usize,
    /// Inside `/domain/devices`.
    in_devices: bool,
    /// The device whose element is open.
    device: Option<Device>,
    /// The text of the `<serial>` that is open; `None` in it once it cannot be kept.
    serial: Option<Option<String>>,
    /// `</domain>` was read.
    closed: bool,
    nics: Vec<NicDevice>,
    disks: Vec<DiskDevice>,
}

enum Device {
    Nic(NicDevice),
    Disk(DiskDevice),
}

impl Walk {
    fn open(&mut self, tag: &BytesStart<'_>) -> Result<(), Stop> {
        self.depth += 1;
        let name = tag.name();
        match (self.depth, name.0) {
            (1, "domain") => {}
            (1, _) => return Err(Stop::Bound(XmlError::NotADomain)),
            (2, name) => self.in_devices = name == "devices",
            (3, name) if self.in_devices => self.device = device(name, tag)?,
            (4, name) => match &mut self.device {
                Some(Device::Nic(nic)) => fill_nic(nic, name, tag)?,
                Some(Device::Disk(_)) if name == "serial" => {
                    self.serial = Some(Some(String::new()))
                }
                Some(Device::Disk(disk)) => fill_disk(disk, name, tag)?,
                None => {}
            },
            (depth, _) if depth > DEPTH_MAX => return Err(Stop::Bound(XmlError::TooDeep)),
            _ => {}
        }
        let found = self.nics.len() + self.disks.len() + usize::from(self.device.is_some());
        if found > DEVICES_MAX {
            return Err(Stop::Bound(XmlError::TooManyDevices));
        }
        Ok(())
    }

    fn close(&mut self) {
        match self.depth {
            1 => self.closed = true,
            2 => self.in_devices = false,
            3 => match self.device.take() {
                Some(Device::Nic(nic)) => self.nics.push(nic),
                Some(Device::Disk(disk)) if !disk.target.is_empty() => self.disks.push(disk),
                Some(Device::Disk(_)) | None => {}
            },
            4 => {
                if let (Some(serial), Some(Device::Disk(disk))) =
                    (self.serial.take(), &mut self.device)
                {
                    let serial = serial.filter(|serial| !serial.is_empty());
                    disk.serial = disk.serial.take().or(serial);
                }
            }
            _ => {}
        }
        // An end without its start is an error of the reader, long before this.
        self.depth = self.depth.saturating_sub(1);
    }

    fn text(&mut self, text: &str) {
        if self.depth != 4 {
            return;
        }
        if let Some(serial) = &mut self.serial {
            match serial {
                Some(kept) if kept.len() + text.len() <= VALUE_MAX => kept.push_str(text),
                _ => *serial = None,
            }
        }
    }

    fn reference(&mut self, reference: &BytesRef<'_>) {
        if self.depth != 4 || self.serial.is_none() {
            return;
        }
        match reference.resolve_char_ref() {
            Ok(Some(character)) => self.text(character.encode_utf8(&mut [0; 4])),
            Ok(None) => match resolve_predefined_entity(reference) {
                Some(text) => self.text(text),
                None => self.serial = Some(None),
            },
            Err(_) => self.serial = Some(None),
        }
    }
}

/// The device that an element below `<devices>` opens, where it is one of ours.
fn device(name: &str, tag: &BytesStart<'_>) -> Result<Option<Device>, AttrError> {
    match name {
        "interface" => {
            let kind = attribute(tag, "type")?.unwrap_or_default();
            Ok(Some(Device::Nic(NicDevice { kind, ..NicDevice::default() })))
        }
        "disk" => {
            let kind = match attribute(tag, "device")?.as_deref() {
                None | Some("disk") => DiskKind::Disk,
                Some("lun") => DiskKind::Lun,
                Some("cdrom") => DiskKind::Cdrom,
                Some("floppy") => DiskKind::Floppy,
                Some(_) => return Ok(None),
            };
            let model = attribute(tag, "model")?;
            Ok(Some(Device::Disk(DiskDevice { kind, model, ..DiskDevice::default() })))
        }
        _ => Ok(None),
    }
}

fn fill_nic(nic: &mut NicDevice, name: &str, tag: &BytesStart<'_>) -> Result<(), AttrError> {
    match name {
        "target" => first(&mut nic.target, tag, &["dev"]),
        "mac" => first(&mut nic.mac, tag, &["address"]),
        "model" => first(&mut nic.model, tag, &["type"]),
        "alias" => first(&mut nic.alias, tag, &["name"]),
        "source" => first(&mut nic.network, tag, &["network", "bridge", "dev", "path"]),
        _ => Ok(()),
    }
}

fn fill_disk(disk: &mut DiskDevice, name: &str, tag: &BytesStart<'_>) -> Result<(), AttrError> {
    match name {
        "target" => {
            if disk.target.is_empty() {
                disk.target = attribute(tag, "dev")?.unwrap_or_default();
            }
            first(&mut disk.bus, tag, &["bus"])
        }
        "alias" => first(&mut disk.alias, tag, &["name"]),
        "source" => {
            first(&mut disk.path, tag, &["file", "dev", "name", "dir"])?;
            if disk.path.is_none()
                && let (Some(pool), Some(volume)) =
                    (attribute(tag, "pool")?, attribute(tag, "volume")?)
            {
                disk.path = Some(format!("{pool}/{volume}")).filter(|path| path.len() <= VALUE_MAX);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Fills `slot`, where it is empty, with the first of these attributes that the element has.
fn first(slot: &mut Option<String>, tag: &BytesStart<'_>, names: &[&str]) -> Result<(), AttrError> {
    for name in names {
        if slot.is_none() {
            *slot = attribute(tag, name)?;
        }
    }
    Ok(())
}

/// An attribute's value; `None` where it is absent, empty, too long or holds an unknown entity.
///
/// White space stays as it is written: libvirt writes a tab or a newline in a name as it is, and the
/// name must equal the one in the statistics.
pub(super) fn attribute(tag: &BytesStart<'_>, name: &str) -> Result<Option<String>, AttrError> {
    for attribute in tag.attributes().with_checks(false) {
        let attribute = attribute?;
        if attribute.key.0 == name {
            let value = unescape(&attribute.value).ok();
            return Ok(value
                .filter(|value| !value.is_empty() && value.len() <= VALUE_MAX)
                .map(|value| value.into_owned()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
