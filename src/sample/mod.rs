//! What was measured, typed: one [`Domain`] a guest and collection, as libvirt answered it.
//!
//! ```text
//! mod.rs     a guest, and how it takes in what libvirt sent
//! absent.rs  what is known of values that are missing
//! words.rs   libvirt's enums in words
//! ```
//!
//! The parts of a guest are made of the rows in `schema`, which also have libvirt's names. Missing and
//! negative values are `None`: only [`crate::schema::MissingPolicy`] decides what is printed for them.
//! Nothing here asks libvirt for anything.

use std::mem;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::libvirt::{Groups, Parameter, Value};
use crate::schema::{
    self, BackingImage, DirtyRateOfVcpu, EnergyMonitor, EnergyPackage, Iothread, LatencyBin,
    Monitor, MonitorPart, Sent, TimedGroup,
};

mod absent;
pub mod words;

pub use absent::Absent;

pub use crate::schema::{Cpu, Disk, Job, Memory, More, Nic, Vcpu};

/// How complete a guest's answer is, and why it is not. But for a complete answer, what is absent is unknown
/// this time, and not zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Completeness {
    /// All that this guest offers.
    #[default]
    #[serde(alias = "Whole")]
    Complete,
    /// It answers, but some of its statistics could not be read.
    #[serde(alias = "Partial")]
    Partial,
    /// It says no more than libvirtd knows by itself although nothing holds it: it starts, stops, or comes
    /// from another host.
    Starting,
    /// A job of libvirt goes on in it, such as a migration or a hot-unplug.
    Busy,
    /// Its QEMU is silent.
    Hung,
    /// libvirt itself waits for it, with its object locked.
    Locked,
    /// It was not asked, since too many calls are stuck.
    NotAsked,
}

impl Completeness {
    /// Whether the guest itself answered: what is absent then was not offered, or failed with a message.
    pub fn is_answer(self) -> bool {
        matches!(self, Self::Complete | Self::Partial)
    }

    /// The schema's word for it; `None` where nobody knows.
    pub fn word(self) -> Option<&'static str> {
        match self {
            Self::Complete | Self::Partial => Some("whole"),
            Self::Starting => Some("starting"),
            Self::Busy => Some("busy"),
            Self::Hung => Some("hung"),
            Self::Locked => Some("locked"),
            Self::NotAsked => None,
        }
    }

    /// The schema's number for that word: from 3 on the guest does not answer.
    pub fn code(self) -> Option<i64> {
        match self {
            Self::Complete | Self::Partial => Some(0),
            Self::Starting => Some(1),
            Self::Busy => Some(2),
            Self::Locked => Some(3),
            Self::Hung => Some(4),
            Self::NotAsked => None,
        }
    }
}

/// One guest, measured once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Domain {
    /// The domain's id, new at each boot; -1 when it does not run.
    pub id: i32,
    /// Its name, which may hold anything that XML can.
    pub name: String,
    /// Its lasting identity.
    pub uuid: Uuid,
    /// When its answer came, in nanoseconds of the host's CLOCK_BOOTTIME.
    pub answered_at_ns: u64,
    /// How complete the answer is.
    #[serde(rename = "answer")]
    pub completeness: Completeness,
    /// `virDomainState`, the number.
    pub state: Option<i64>,
    /// Why it is in that state, a number of the enum that belongs to the state.
    #[serde(skip)]
    pub state_reason: Option<i64>,
    /// When its QEMU started, in nanoseconds of the host's CLOCK_BOOTTIME, where that is wanted and known.
    #[serde(skip)]
    pub started_at_ns: Option<u64>,
    /// CPU time of the whole guest.
    pub cpu: Cpu,
    /// Virtual CPUs that are plugged in now.
    pub vcpu_count: Option<u64>,
    /// Virtual CPUs that it may have.
    #[serde(skip)]
    pub vcpu_maximum: Option<u64>,
    /// Each virtual CPU.
    pub vcpus: Vec<Vcpu>,
    /// Memory of the whole guest.
    pub memory: Memory,
    /// NICs that have a name on the host, in libvirt's order.
    pub nics: Vec<Nic>,
    /// Block devices, in libvirt's order; cdrom and floppy drives too until the inventory has
    /// told them apart.
    pub disks: Vec<Disk>,
    /// What earlier samples of this boot say of the values that are missing.
    #[serde(default, skip_serializing_if = "Absent::is_empty")]
    pub absent: Absent,
    /// Of which groups of devices it has none, where no bulk statistics count them. What such a guest reads, writes and
    /// sends is not known to be nothing: the file systems of a container are no disks.
    #[serde(skip)]
    pub without_devices: Groups,
    /// What is printed only when `extra` asks for it; `None` where nothing of it is kept.
    #[serde(skip)]
    pub more: Option<Box<More>>,
}

impl Domain {
    /// Empties it for the next measurement, and keeps the memory of its lists.
    pub fn clear(&mut self) {
        let Self { name, vcpus, nics, disks, .. } = self;
        let (mut name, mut vcpus) = (mem::take(name), mem::take(vcpus));
        let (mut nics, mut disks) = (mem::take(nics), mem::take(disks));
        name.clear();
        vcpus.clear();
        nics.clear();
        disks.clear();
        *self = Self { name, vcpus, nics, disks, ..Self::default() };
    }

    /// Whether libvirt says that it runs, or is paused and the like, and not that it is off.
    pub fn is_active(&self) -> bool {
        const SHUTOFF: i64 = 5;
        self.state.is_some_and(|state| state != SHUTOFF)
    }

    /// Whether QEMU has paused it since a disk could not be written.
    pub fn is_stopped_by_disk(&self) -> bool {
        const PAUSED: i64 = 3;
        const IO_ERROR: i64 = 5;
        self.state == Some(PAUSED) && self.state_reason == Some(IO_ERROR)
    }

    /// Takes in the typed parameters of a bulk answer. What it does not know it passes over; a value
    /// of an unexpected type, or a negative one, counts as not sent.
    ///
    /// Returns how many parameters it did not know.
    pub fn fill<'a>(&mut self, parameters: impl Iterator<Item = Parameter<'a>>) -> usize {
        let mut unknown = 0;
        for Parameter { name, value } in parameters {
            if !self.take(name, value) {
                unknown += 1;
                if let Some(more) = &mut self.more {
                    more.keep_other(name, value);
                }
            }
        }
        // libvirt counts NICs that have no name on the host, but says no more of them.
        self.nics.retain(|nic| !nic.name.is_empty());
        self.disks.retain(|disk| !disk.name.is_empty());
        unknown
    }

    /// Takes in one statistic; whether it is known. The groups that have the most come first.
    fn take(&mut self, name: &[u8], value: Value<'_>) -> bool {
        if let Some(field) = name.strip_prefix(b"block.") {
            fill_indexed(&mut self.disks, field, value)
                || schema::take_of_disk(&mut self.more, field, value)
        } else if let Some(field) = name.strip_prefix(b"net.") {
            fill_indexed(&mut self.nics, field, value)
        } else if let Some(field) = name.strip_prefix(b"balloon.") {
            self.memory.fill(field, value)
        } else if let Some(field) = name.strip_prefix(b"vcpu.") {
            self.fill_vcpu(field, value)
        } else if let Some(field) = name.strip_prefix(b"cpu.") {
            self.cpu.fill(field, value) || schema::take(&mut self.more, name, value)
        } else if let Some(field) = name.strip_prefix(b"state.") {
            self.fill_state(field, value)
        } else {
            schema::take(&mut self.more, name, value)
        }
    }

    fn fill_state(&mut self, field: &[u8], value: Value<'_>) -> bool {
        let signed = value.unsigned().and_then(|number| i64::try_from(number).ok());
        match field {
            b"state" => self.state = signed,
            b"reason" => self.state_reason = signed,
            _ => return false,
        }
        true
    }

    fn fill_vcpu(&mut self, field: &[u8], value: Value<'_>) -> bool {
        match field {
            b"current" => self.vcpu_count = value.unsigned(),
            b"maximum" => self.vcpu_maximum = value.unsigned(),
            _ => {
                return fill_indexed(&mut self.vcpus, field, value)
                    || schema::take_of_vcpu(&mut self.more, field, value);
            }
        }
        true
    }
}

/// A part of a guest that libvirt numbers: vcpu.N, net.N, block.N.
pub(crate) trait Numbered {
    fn new(index: u32) -> Self;
    fn index(&self) -> u32;
    /// Whether it knows the field.
    fn fill(&mut self, field: &[u8], value: impl Sent) -> bool;
}

/// Says of structs with a field `index` that they are [`Numbered`].
macro_rules! numbered {
    ($($part:ty),+) => {$(
        impl Numbered for $part {
            fn new(index: u32) -> Self {
                Self { index, ..Self::default() }
            }

            fn index(&self) -> u32 {
                self.index
            }

            fn fill(&mut self, field: &[u8], value: impl Sent) -> bool {
                Self::fill(self, field, value)
            }
        }
    )+};
}
numbered!(Vcpu, Nic, Disk, Iothread, DirtyRateOfVcpu, Monitor, MonitorPart);
numbered!(BackingImage, TimedGroup, LatencyBin, EnergyMonitor, EnergyPackage);

/// So few parts stay in the order in which they were sent. More are in the order of their numbers, so that one
/// is found quickly.
const FEW_PARTS: usize = 64;
/// So many parts are brought into the order of their numbers.
const MOST_OUT_OF_ORDER: usize = 4096;

/// Fills the part that `field`, such as `0.rd.bytes`, is of; whether it is known.
pub(crate) fn fill_indexed<T: Numbered>(
    parts: &mut Vec<T>,
    field: &[u8],
    value: impl Sent,
) -> bool {
    let Some((index, field)) = split_index(field) else { return field == b"count" };
    // libvirt sends the parts one after another, so that it is nearly always the last one.
    if let Some(last) = parts.last_mut().filter(|last| last.index() == index) {
        return last.fill(field, value);
    }
    let found = if parts.len() < FEW_PARTS {
        parts.iter().position(|part| part.index() == index).ok_or(parts.len())
    } else {
        if parts.len() == FEW_PARTS {
            parts.sort_by_key(T::index);
        }
        parts.binary_search_by_key(&index, T::index)
    };
    let position = match found {
        Ok(position) => return parts.get_mut(position).is_some_and(|part| part.fill(field, value)),
        Err(position) => position,
    };
    // No libvirt sends so many, the higher numbers first: to bring them into order would take long.
    if position < parts.len() && parts.len() >= MOST_OUT_OF_ORDER {
        return false;
    }
    let mut part = T::new(index);
    let known = part.fill(field, value);
    parts.insert(position, part);
    known
}

/// The number that a name begins with, and what follows its dot.
pub(crate) fn split_index(name: &[u8]) -> Option<(u32, &[u8])> {
    let mut index: u32 = 0;
    for (place, byte) in name.iter().enumerate() {
        match byte {
            b'0'..=b'9' => index = index.checked_mul(10)?.checked_add(u32::from(byte - b'0'))?,
            b'.' if place > 0 => return Some((index, &name[place + 1..])),
            _ => return None,
        }
    }
    None
}

/// The host's clock that never steps and counts suspend, in nanoseconds: what samples are timed by.
pub fn boottime_ns() -> u64 {
    let Ok(now) = clock_gettime(ClockId::CLOCK_BOOTTIME) else { return 0 };
    let seconds = u64::try_from(now.tv_sec()).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec()).unwrap_or(0)
}

/// A moment, by the two clocks that a collection needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Since 1970.
    pub unix: Duration,
    /// The host's clock that does not step, in nanoseconds.
    pub boot_ns: u64,
}

impl Moment {
    /// This one.
    pub fn now() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { unix, boot_ns: boottime_ns() }
    }
}

#[cfg(test)]
mod tests;
