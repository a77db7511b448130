//! What was measured, typed: one [`Domain`] a guest and collection, as libvirt answered it.
//!
//! A value that libvirt did not send, or sent as a negative number, is `None` here and stays so up
//! to `points`, which alone decides what stands for it. This is also the one place where libvirt's
//! parameter names end: the `match`es in [`Domain::fill`]. Nothing here asks libvirt for anything.

use std::mem;

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;
use uuid::Uuid;

use crate::libvirt::{Parameter, Value};

/// How much of what was asked the guest's hypervisor process answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// All that this guest offers.
    #[default]
    Whole,
    /// Only a part came: its monitor was busy or hangs, or a group of statistics failed. What is
    /// absent is unknown this time, not zero.
    Partial,
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
    /// Whether the answer is whole.
    pub answer: Answer,
    /// `virDomainState`, the number.
    pub state: Option<i64>,
    /// CPU time of the whole guest.
    pub cpu: Cpu,
    /// Virtual CPUs that are plugged in now.
    pub vcpu_count: Option<u64>,
    /// Each virtual CPU.
    pub vcpus: Vec<Vcpu>,
    /// Memory of the whole guest.
    pub memory: Memory,
    /// NICs that have a name on the host, in libvirt's order.
    pub nics: Vec<Nic>,
    /// Block devices, in libvirt's order; cdrom and floppy drives too until the inventory has
    /// told them apart.
    pub disks: Vec<Disk>,
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

    /// Takes in the typed parameters of a bulk answer. What it does not know it passes over; a value
    /// of an unexpected type, or a negative one, counts as not sent.
    ///
    /// Returns how many parameters it did not know.
    pub fn fill<'a>(&mut self, parameters: impl Iterator<Item = Parameter<'a>>) -> usize {
        let mut unknown = 0;
        for Parameter { name, value } in parameters {
            unknown += usize::from(!self.take(name, value));
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
        } else if let Some(field) = name.strip_prefix(b"net.") {
            fill_indexed(&mut self.nics, field, value)
        } else if let Some(field) = name.strip_prefix(b"balloon.") {
            self.memory.fill(field, value)
        } else if let Some(field) = name.strip_prefix(b"vcpu.") {
            self.fill_vcpu(field, value)
        } else if let Some(field) = name.strip_prefix(b"cpu.") {
            self.cpu.fill(field, value)
        } else if let Some(field) = name.strip_prefix(b"state.") {
            self.fill_state(field, value)
        } else {
            false
        }
    }

    fn fill_state(&mut self, field: &[u8], value: Value<'_>) -> bool {
        match field {
            b"state" => self.state = signed(value),
            b"reason" => {}
            _ => return false,
        }
        true
    }

    fn fill_vcpu(&mut self, field: &[u8], value: Value<'_>) -> bool {
        match field {
            b"current" => self.vcpu_count = unsigned(value),
            b"maximum" => {}
            _ => return fill_indexed(&mut self.vcpus, field, value),
        }
        true
    }
}

/// A part of a guest that libvirt numbers: vcpu.N, net.N, block.N.
trait Indexed: Default {
    fn new(index: u32) -> Self;
    fn index(&self) -> u32;
    /// Whether it knows the field.
    fn fill(&mut self, field: &[u8], value: Value<'_>) -> bool;
}

/// Fills the part that `field`, such as `0.rd.bytes`, is of; whether it is known.
fn fill_indexed<T: Indexed>(parts: &mut Vec<T>, field: &[u8], value: Value<'_>) -> bool {
    let Some((index, field)) = split_index(field) else { return field == b"count" };
    // libvirt sends the parts one after another, so that it is nearly always the last one.
    let position = match parts.last() {
        Some(last) if last.index() == index => Some(parts.len() - 1),
        _ => parts.iter().position(|part| part.index() == index),
    };
    if let Some(part) = position.and_then(|position| parts.get_mut(position)) {
        return part.fill(field, value);
    }
    let mut part = T::new(index);
    let known = part.fill(field, value);
    parts.push(part);
    known
}

/// The number that a name begins with, and what follows its dot.
fn split_index(name: &[u8]) -> Option<(u32, &[u8])> {
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

/// An integer that is not negative: libvirt's -1 means not offered.
fn unsigned(value: Value<'_>) -> Option<u64> {
    match value {
        Value::Uint(number) => Some(number),
        Value::Int(number) => u64::try_from(number).ok(),
        Value::Float(_) | Value::Bool(_) | Value::Text(_) => None,
    }
}

fn signed(value: Value<'_>) -> Option<i64> {
    unsigned(value).and_then(|number| i64::try_from(number).ok())
}

/// Takes a device's name over; what is no UTF-8 in it is replaced.
fn set_name(target: &mut SmolStr, value: Value<'_>) {
    if let Value::Text(text) = value {
        *target = match str::from_utf8(text) {
            Ok(text) => text.into(),
            Err(_) => String::from_utf8_lossy(text).into(),
        };
    }
}

/// The group cpu: nanoseconds since the guest's start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cpu {
    /// cpu.time
    pub time_ns: Option<u64>,
    /// cpu.user
    pub user_ns: Option<u64>,
    /// cpu.system
    pub system_ns: Option<u64>,
}

impl Cpu {
    fn fill(&mut self, field: &[u8], value: Value<'_>) -> bool {
        match field {
            b"time" => self.time_ns = unsigned(value),
            b"user" => self.user_ns = unsigned(value),
            b"system" => self.system_ns = unsigned(value),
            // The cache monitors and halt polling come with this group, asked for or not.
            _ => return field.starts_with(b"cache.") || field.starts_with(b"haltpoll."),
        }
        true
    }
}

/// The group vcpu, for one virtual CPU.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Vcpu {
    /// Its number N in vcpu.N.
    pub index: u32,
    /// vcpu.N.delay: time it was ready to run and waited for a host CPU.
    pub delay_ns: Option<u64>,
}

impl Indexed for Vcpu {
    fn new(index: u32) -> Self {
        Self { index, ..Self::default() }
    }

    fn index(&self) -> u32 {
        self.index
    }

    fn fill(&mut self, field: &[u8], value: Value<'_>) -> bool {
        match field {
            b"delay" => self.delay_ns = unsigned(value),
            b"state" | b"time" | b"wait" | b"halted" => {}
            _ => return false,
        }
        true
    }
}

/// The group balloon.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// balloon.current
    pub current_kib: Option<u64>,
    /// balloon.maximum
    pub maximum_kib: Option<u64>,
    /// balloon.rss: what the hypervisor's process holds in the host's memory.
    pub rss_kib: Option<u64>,
    /// balloon.available: the guest's MemTotal.
    pub available_kib: Option<u64>,
    /// balloon.usable: the guest's MemAvailable.
    pub usable_kib: Option<u64>,
    /// balloon.disk_caches
    pub disk_caches_kib: Option<u64>,
    /// balloon.swap_in
    pub swap_in_kib: Option<u64>,
    /// balloon.swap_out
    pub swap_out_kib: Option<u64>,
    /// balloon.major_fault
    pub major_faults: Option<u64>,
    /// balloon.minor_fault
    pub minor_faults: Option<u64>,
    /// balloon.last-update: Unix seconds; 0 when the guest never reported.
    pub last_update_s: Option<u64>,
}

impl Memory {
    fn fill(&mut self, field: &[u8], value: Value<'_>) -> bool {
        let target = match field {
            b"current" => &mut self.current_kib,
            b"maximum" => &mut self.maximum_kib,
            b"rss" => &mut self.rss_kib,
            b"available" => &mut self.available_kib,
            b"usable" => &mut self.usable_kib,
            b"disk_caches" => &mut self.disk_caches_kib,
            b"swap_in" => &mut self.swap_in_kib,
            b"swap_out" => &mut self.swap_out_kib,
            b"major_fault" => &mut self.major_faults,
            b"minor_fault" => &mut self.minor_faults,
            b"last-update" => &mut self.last_update_s,
            b"unused" | b"hugetlb_pgalloc" | b"hugetlb_pgfail" => return true,
            _ => return false,
        };
        *target = unsigned(value);
        true
    }
}

/// The group interface, for one NIC: counters as the guest sees them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Nic {
    /// Its number N in net.N.
    pub index: u32,
    /// net.N.name: its target on the host, such as vnet0.
    pub name: SmolStr,
    /// net.N.rx.bytes
    pub rx_bytes: Option<u64>,
    /// net.N.rx.pkts
    pub rx_packets: Option<u64>,
    /// net.N.rx.errs
    pub rx_errors: Option<u64>,
    /// net.N.rx.drop
    pub rx_drops: Option<u64>,
    /// net.N.tx.bytes
    pub tx_bytes: Option<u64>,
    /// net.N.tx.pkts
    pub tx_packets: Option<u64>,
    /// net.N.tx.errs
    pub tx_errors: Option<u64>,
    /// net.N.tx.drop
    pub tx_drops: Option<u64>,
}

impl Indexed for Nic {
    fn new(index: u32) -> Self {
        Self { index, ..Self::default() }
    }

    fn index(&self) -> u32 {
        self.index
    }

    fn fill(&mut self, field: &[u8], value: Value<'_>) -> bool {
        let target = match field {
            b"rx.bytes" => &mut self.rx_bytes,
            b"rx.pkts" => &mut self.rx_packets,
            b"rx.errs" => &mut self.rx_errors,
            b"rx.drop" => &mut self.rx_drops,
            b"tx.bytes" => &mut self.tx_bytes,
            b"tx.pkts" => &mut self.tx_packets,
            b"tx.errs" => &mut self.tx_errors,
            b"tx.drop" => &mut self.tx_drops,
            b"name" => {
                set_name(&mut self.name, value);
                return true;
            }
            _ => return false,
        };
        *target = unsigned(value);
        true
    }
}

impl Nic {
    /// Whether libvirt sent any counter for it.
    pub fn is_counted(&self) -> bool {
        [
            self.rx_bytes,
            self.rx_packets,
            self.rx_errors,
            self.rx_drops,
            self.tx_bytes,
            self.tx_packets,
            self.tx_errors,
            self.tx_drops,
        ]
        .iter()
        .any(Option::is_some)
    }
}

/// The group block, for one device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Disk {
    /// Its number N in block.N.
    pub index: u32,
    /// block.N.name: its target, such as vda.
    pub name: SmolStr,
    /// block.N.rd.reqs
    pub rd_reqs: Option<u64>,
    /// block.N.rd.bytes
    pub rd_bytes: Option<u64>,
    /// block.N.rd.times
    pub rd_time_ns: Option<u64>,
    /// block.N.wr.reqs
    pub wr_reqs: Option<u64>,
    /// block.N.wr.bytes
    pub wr_bytes: Option<u64>,
    /// block.N.wr.times
    pub wr_time_ns: Option<u64>,
    /// block.N.fl.reqs
    pub fl_reqs: Option<u64>,
    /// block.N.fl.times
    pub fl_time_ns: Option<u64>,
    /// block.N.errors, which only Xen counts.
    pub errors: Option<u64>,
}

impl Indexed for Disk {
    fn new(index: u32) -> Self {
        Self { index, ..Self::default() }
    }

    fn index(&self) -> u32 {
        self.index
    }

    fn fill(&mut self, field: &[u8], value: Value<'_>) -> bool {
        let target = match field {
            b"rd.reqs" => &mut self.rd_reqs,
            b"rd.bytes" => &mut self.rd_bytes,
            b"rd.times" => &mut self.rd_time_ns,
            b"wr.reqs" => &mut self.wr_reqs,
            b"wr.bytes" => &mut self.wr_bytes,
            b"wr.times" => &mut self.wr_time_ns,
            b"fl.reqs" => &mut self.fl_reqs,
            b"fl.times" => &mut self.fl_time_ns,
            b"errors" => &mut self.errors,
            b"name" => {
                set_name(&mut self.name, value);
                return true;
            }
            b"path" | b"backingIndex" | b"allocation" | b"capacity" | b"physical"
            | b"threshold" => {
                return true;
            }
            _ => return false,
        };
        *target = unsigned(value);
        true
    }
}

impl Disk {
    /// Whether libvirt sent any counter for it.
    pub fn is_counted(&self) -> bool {
        [self.rd_reqs, self.rd_bytes, self.wr_reqs, self.wr_bytes, self.errors]
            .iter()
            .any(Option::is_some)
    }
}

#[cfg(test)]
mod tests;
