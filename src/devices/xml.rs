//! The domain XML reader: what one walk over the text that libvirt gives finds in it.
//!
//! What is looked for is told by paths, such as `/domain/devices/disk/serial`: the NICs and disks here, what
//! only `extra` prints in `details`, a user's own paths in `metadata`. A value with an unknown entity counts
//! as absent.

use quick_xml::events::BytesStart;
use quick_xml::events::attributes::AttrError;

use super::details::DetailsReader;
use super::metadata::{Metadata, MetadataSearch, Path};
use super::source::DeviceSource;
use super::walk::{DEVICES_MAX, OpenPath, Stop, Visitor, XmlError, attribute, walk};
use super::{DiskDevice, DiskKind, NicDevice};
use crate::schema::{DISK_TAGS, Details, NIC_TAGS, TagRow};

/// What a domain's XML says.
#[derive(Debug, Default, PartialEq)]
pub struct DomainXml {
    /// The NICs, in the XML's order.
    pub nics: Vec<NicDevice>,
    /// The disks and drives, in the XML's order.
    pub disks: Vec<DiskDevice>,
    /// How many virtual CPUs it has, where libvirt neither plugs nor unplugs any until its next start: all that it
    /// may have are there, and none is said to be pluggable.
    pub fixed_vcpus: Option<u64>,
    /// What only `extra` prints, where that is wanted.
    pub details: Option<Details>,
    /// What the metadata has at the paths that are asked for, where any are.
    pub metadata: Option<Metadata>,
}

/// Reads a domain's XML, with the details where they are wanted, and the metadata at these paths.
///
/// Only direct children of `/domain/devices` are devices, and of these only direct children count: metadata
/// may hold elements of any name, and a backing store or a mirror has a source of its own. A disk
/// without a target, or of a kind that libvirt does not have today, is passed over.
///
/// # Errors
/// Where the text is no domain's XML, or passes a bound of `walk`.
pub fn read(xml: &str, wants_details: bool, paths: &[Path]) -> Result<DomainXml, XmlError> {
    let mut all = AllOfDomain {
        devices: DeviceReader::default(),
        vcpus: VcpuReader::default(),
        details: wants_details.then(DetailsReader::default),
        metadata: (!paths.is_empty()).then(|| MetadataSearch::new(paths)),
    };
    walk(xml, &mut all)?;
    Ok(DomainXml {
        nics: all.devices.nics,
        disks: all.devices.disks,
        fixed_vcpus: all.vcpus.fixed.filter(|_| !all.vcpus.are_listed),
        details: all.details.map(|it| it.details),
        metadata: all.metadata.map(MetadataSearch::found),
    })
}

/// The NICs and the disks of a domain alone.
///
/// # Errors
/// As [`read`].
pub fn inventory(xml: &str) -> Result<(Vec<NicDevice>, Vec<DiskDevice>), XmlError> {
    read(xml, false, &[]).map(|domain| (domain.nics, domain.disks))
}

struct AllOfDomain<'p> {
    devices: DeviceReader,
    vcpus: VcpuReader,
    details: Option<DetailsReader>,
    metadata: Option<MetadataSearch<'p>>,
}

impl Visitor for AllOfDomain<'_> {
    fn open(&mut self, path: &OpenPath, tag: &BytesStart<'_>) -> Result<bool, Stop> {
        let mut wants_text = self.devices.open(path, tag)?;
        wants_text |= self.vcpus.open(path, tag)?;
        if let Some(details) = &mut self.details {
            wants_text |= details.open(path, tag)?;
        }
        if let Some(metadata) = &mut self.metadata {
            wants_text |= metadata.open(path, tag)?;
        }
        Ok(wants_text)
    }

    fn close(&mut self, path: &OpenPath, text: Option<&str>) {
        self.devices.close(path, text);
        self.vcpus.close(path, text);
        if let Some(details) = &mut self.details {
            details.close(path, text);
        }
        if let Some(metadata) = &mut self.metadata {
            metadata.close(path, text);
        }
    }
}

/// What has been found of the virtual CPUs so far.
#[derive(Default)]
struct VcpuReader {
    /// How many there are, where as many are there as may be.
    fixed: Option<u64>,
    /// Whether each has an element of its own.
    are_listed: bool,
}

impl Visitor for VcpuReader {
    fn open(&mut self, path: &OpenPath, tag: &BytesStart<'_>) -> Result<bool, Stop> {
        match path.as_str() {
            "/domain/vcpu" => Ok(attribute(tag, "current")?.is_none()),
            "/domain/vcpus" => {
                self.are_listed = true;
                Ok(false)
            }
            _ => Ok(false),
        }
    }

    fn close(&mut self, path: &OpenPath, text: Option<&str>) {
        if path.as_str() == "/domain/vcpu" {
            self.fixed = text.and_then(|text| text.trim().parse().ok());
        }
    }
}

/// What has been found of the devices so far.
#[derive(Default)]
struct DeviceReader {
    /// The device whose element is open.
    device: Option<Device>,
    /// Its source, where that is more than one attribute.
    source: DeviceSource,
    nics: Vec<NicDevice>,
    disks: Vec<DiskDevice>,
}

enum Device {
    Nic(NicDevice),
    Disk(DiskDevice),
}

impl Visitor for DeviceReader {
    fn open(&mut self, path: &OpenPath, tag: &BytesStart<'_>) -> Result<bool, Stop> {
        let Some(path) = path.as_str().strip_prefix("/domain/devices/") else { return Ok(false) };
        match (path.split_once('/'), &mut self.device) {
            (None, _) if ["interface", "disk"].contains(&path) => {
                self.device = device(path, tag)?;
                self.source = DeviceSource::default();
                let found = self.nics.len() + self.disks.len() + usize::from(self.device.is_some());
                if found > DEVICES_MAX {
                    return Err(Stop::Bound(XmlError::TooManyDevices));
                }
                Ok(false)
            }
            (Some((_, path)), Some(device)) => {
                self.source.open(path, tag)?;
                Ok(device.fill(path, tag)?)
            }
            _ => Ok(false),
        }
    }

    fn close(&mut self, path: &OpenPath, text: Option<&str>) {
        let Some(path) = path.as_str().strip_prefix("/domain/devices/") else { return };
        match (path.split_once('/'), &mut self.device) {
            (Some((_, path)), Some(Device::Disk(disk))) => {
                for row in DISK_TAGS.iter().filter(|row| row.paths.contains(&path)) {
                    let Some(slot) = row.slot.map(|slot| slot(disk)) else { continue };
                    let text = text.filter(|text| !text.is_empty());
                    *slot = slot.take().or(text.map(str::to_owned));
                }
            }
            (None, device) => match device.take() {
                Some(Device::Nic(mut nic)) => {
                    let source = std::mem::take(&mut self.source);
                    nic.network = nic.network.take().or_else(|| source.of_nic());
                    self.nics.push(nic);
                }
                Some(Device::Disk(mut disk)) if !disk.target.is_empty() => {
                    let source = std::mem::take(&mut self.source);
                    let kind = disk.source_type.as_deref().unwrap_or_default();
                    disk.path = disk.path.take().or_else(|| source.of_disk(kind));
                    self.disks.push(disk);
                }
                Some(Device::Disk(_)) | None => {}
            },
            _ => {}
        }
    }
}

/// The device that an element below `<devices>` opens, where it is one of ours.
fn device(name: &str, tag: &BytesStart<'_>) -> Result<Option<Device>, AttrError> {
    let mut device = if name == "interface" {
        let kind = attribute(tag, "type")?.unwrap_or_default();
        Device::Nic(NicDevice { kind, ..NicDevice::default() })
    } else {
        let kind = match attribute(tag, "device")?.as_deref() {
            None | Some("disk") => DiskKind::Disk,
            Some("lun") => DiskKind::Lun,
            Some("cdrom") => DiskKind::Cdrom,
            Some("floppy") => DiskKind::Floppy,
            Some(_) => return Ok(None),
        };
        let source_type = attribute(tag, "type")?;
        Device::Disk(DiskDevice { kind, source_type, ..DiskDevice::default() })
    };
    device.fill("", tag)?;
    Ok(Some(device))
}

impl Device {
    /// Takes the attributes of the element at this path below the device's own; whether its text is wanted.
    fn fill(&mut self, path: &str, tag: &BytesStart<'_>) -> Result<bool, AttrError> {
        match self {
            Self::Nic(nic) => {
                if path == "target" && nic.target.is_none() {
                    nic.target = attribute(tag, "dev")?;
                }
                fill(NIC_TAGS, nic, path, tag)
            }
            Self::Disk(disk) => {
                if path == "target" && disk.target.is_empty() {
                    disk.target = attribute(tag, "dev")?.unwrap_or_default();
                }
                fill(DISK_TAGS, disk, path, tag)
            }
        }
    }
}

/// Fills each tag that is empty with the first of its paths that the element has.
fn fill<T>(
    rows: &[TagRow<T>],
    device: &mut T,
    path: &str,
    tag: &BytesStart<'_>,
) -> Result<bool, AttrError> {
    let mut wants_text = false;
    for row in rows {
        for wanted in row.paths {
            let (element, name) = wanted.split_once('@').unwrap_or((wanted, ""));
            let Some(slot) = row.slot.map(|slot| slot(device)) else { continue };
            if element.trim_end_matches('/') != path || slot.is_some() {
                continue;
            }
            wants_text |= name.is_empty();
            if !name.is_empty() {
                *slot = attribute(tag, name)?;
            }
        }
    }
    Ok(wants_text)
}

#[cfg(test)]
mod documented;
#[cfg(test)]
mod tests;
