//! The domain XML reader: NICs and disks of one domain, from the text that libvirt gives.
//!
//! It goes over the text once, with the bounds of `walk`, and keeps nothing but what a device needs; a
//! value with an unknown entity counts as absent.

use quick_xml::events::BytesStart;
use quick_xml::events::attributes::AttrError;

use super::walk::{DEVICES_MAX, Stop, VALUE_MAX, Visitor, XmlError, attribute, keep, walk};
use super::{DiskDevice, DiskKind, NicDevice};

/// The NICs and the disks of a domain, each in the XML's order.
///
/// Only direct children of `/domain/devices` count, and of these only direct children: metadata may
/// hold elements of any name, and a backing store or a mirror has a source of its own. A disk
/// without a target, or of a kind that libvirt does not have today, is passed over.
pub fn inventory(xml: &str) -> Result<(Vec<NicDevice>, Vec<DiskDevice>), XmlError> {
    let mut devices = Devices::default();
    walk(xml, &mut devices)?;
    Ok((devices.nics, devices.disks))
}

/// What has been found so far.
#[derive(Default)]
struct Devices {
    /// Inside `/domain/devices`.
    in_devices: bool,
    /// The device whose element is open.
    device: Option<Device>,
    /// The text of the `<serial>` that is open; `None` in it once it cannot be kept.
    serial: Option<Option<String>>,
    nics: Vec<NicDevice>,
    disks: Vec<DiskDevice>,
}

enum Device {
    Nic(NicDevice),
    Disk(DiskDevice),
}

impl Visitor for Devices {
    fn open(&mut self, depth: usize, tag: &BytesStart<'_>) -> Result<(), Stop> {
        let name = tag.name();
        match (depth, name.0) {
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
            _ => {}
        }
        let found = self.nics.len() + self.disks.len() + usize::from(self.device.is_some());
        if found > DEVICES_MAX {
            return Err(Stop::Bound(XmlError::TooManyDevices));
        }
        Ok(())
    }

    fn close(&mut self, depth: usize) {
        match depth {
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
    }

    fn text(&mut self, depth: usize, text: &str) {
        if let Some(serial) = self.serial.as_mut().filter(|_| depth == 4) {
            keep(serial, text);
        }
    }

    fn unreadable(&mut self, depth: usize) {
        if let Some(serial) = self.serial.as_mut().filter(|_| depth == 4) {
            *serial = None;
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

#[cfg(test)]
mod tests;
