//! A domain's device inventory: which NICs and disks its XML lists, and whether the names in its
//! statistics still agree with that. Reads the XML text it is given; asks libvirt for nothing and
//! touches no file (the cache on disk is `cache`).

pub mod details;
pub mod metadata;
mod metadata_path;
mod source;
pub mod walk;
pub mod xml;

use serde::{Deserialize, Serialize};

use crate::schema::Details;
pub use crate::schema::{DiskDevice, NicDevice};
use metadata::{Metadata, Path};

/// What a domain's XML said of its devices, and which names its statistics had at that time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Inventory {
    /// The domain's id when the XML was read: a new boot makes the inventory stale.
    pub id: i32,
    /// NICs in the XML's order.
    pub nics: Vec<NicDevice>,
    /// Disks, cdrom and floppy drives in the XML's order.
    pub disks: Vec<DiskDevice>,
    /// The NIC names that the statistics had when the XML was read, in their order.
    pub counted_nics: Vec<String>,
    /// The block device names that the statistics had when the XML was read, in their order.
    pub counted_disks: Vec<String>,
    /// What told these NICs from others of their names, all as one number: 0 where nothing did.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub nic_sources: u64,
    /// What told these block devices from others of their names, all as one number.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub disk_sources: u64,
    /// How many virtual CPUs it has, where that is so until its next start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed_vcpus: Option<u64>,
    /// What else the XML says; `None` where that was not wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Box<Details>>,
    /// What the domain's metadata said at the paths that were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Numbers as one, which depends on their order: 0 where all are.
pub fn as_one(sources: impl Iterator<Item = u64>) -> u64 {
    sources.fold(0, |all, source| all.rotate_left(7).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ source)
}

impl Inventory {
    /// Whether the statistics name the same NICs as when this was read, in the same order.
    pub fn counts_nics<'a>(&self, names: impl Iterator<Item = &'a str>) -> bool {
        names.eq(self.counted_nics.iter().map(String::as_str))
    }

    /// Whether the statistics name the same block devices as when this was read, in the same order.
    pub fn counts_disks<'a>(&self, names: impl Iterator<Item = &'a str>) -> bool {
        names.eq(self.counted_disks.iter().map(String::as_str))
    }

    /// Whether the metadata was looked through for all of these.
    pub fn has_metadata(&self, paths: &[Path]) -> bool {
        paths.is_empty() || self.metadata.as_ref().is_some_and(|metadata| metadata.has(paths))
    }

    /// The NIC with this target on the host.
    pub fn nic(&self, target: &str) -> Option<&NicDevice> {
        self.nics.iter().find(|nic| nic.target.as_deref() == Some(target))
    }

    /// The disk or drive with this target.
    pub fn disk(&self, target: &str) -> Option<&DiskDevice> {
        self.disks.iter().find(|disk| disk.target == target)
    }

    /// Whether this target is a disk, and neither a cdrom or floppy drive nor unknown.
    pub fn is_disk(&self, target: &str) -> bool {
        self.disk(target).is_some_and(|disk| disk.kind.is_disk())
    }
}

/// What kind of drive a `<disk>` is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskKind {
    /// `device='disk'`, or no such attribute.
    #[default]
    Disk,
    /// `device='lun'`: a SCSI device passed through; a disk for us.
    Lun,
    /// `device='cdrom'`: no disk.
    Cdrom,
    /// `device='floppy'`: no disk.
    Floppy,
}

impl DiskKind {
    /// libvirt's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Lun => "lun",
            Self::Cdrom => "cdrom",
            Self::Floppy => "floppy",
        }
    }

    /// Whether the schema counts it among the disks.
    pub fn is_disk(self) -> bool {
        matches!(self, Self::Disk | Self::Lun)
    }
}
