//! What earlier samples of the same boot say of values that are missing in this one: whether a statistic was
//! there before, so that it is not answered now, or was never offered. It goes on from sample to sample, and
//! with the samples into the cache, so that `once` knows it too.

use serde::{Deserialize, Serialize};
use smol_str::{SmolStr, SmolStrBuilder};

use super::{Disk, Domain, Nic};
use crate::schema::{FieldRow, VCPU_COUNT};

/// What is known of a guest's missing values. Empty for nearly every guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Absent {
    /// Statistics that had a value in this boot and have none now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lost: Vec<Lost>,
    /// Devices that never had a counter in a complete answer of this boot.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    uncounted: Vec<Uncounted>,
}

/// A statistic that is not there any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Lost {
    /// The NIC or disk; empty where it is the guest's own.
    #[serde(default, skip_serializing_if = "SmolStr::is_empty")]
    device: SmolStr,
    /// libvirt's name for it, such as net.N.rx.bytes.
    statistic: SmolStr,
}

/// A device that is never counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Uncounted {
    /// What libvirt's names of its statistics begin with: net.N. or block.N.
    group: SmolStr,
    device: SmolStr,
}

impl Lost {
    fn is(&self, device: &str, row: &FieldRow) -> bool {
        self.device == device
            && self
                .statistic
                .strip_prefix(row.group)
                .is_some_and(|rest| rest.as_bytes() == row.statistic)
    }
}

/// A NIC or a disk, as far as its counters go.
trait DeviceFigures {
    const GROUP: &'static str;
    fn name(&self) -> &SmolStr;
    fn is_counted(&self) -> bool;
    fn each_missing(&self, take: impl FnMut(&'static FieldRow, fn(&Self) -> bool));
}

macro_rules! devices {
    ($($device:ident $group:literal;)+) => {$(
        impl DeviceFigures for $device {
            const GROUP: &'static str = $group;

            fn name(&self) -> &SmolStr {
                &self.name
            }

            fn is_counted(&self) -> bool {
                Self::is_counted(self)
            }

            fn each_missing(&self, take: impl FnMut(&'static FieldRow, fn(&Self) -> bool)) {
                Self::each_missing(self, take);
            }
        }
    )+};
}
devices! {
    Nic "net.N.";
    Disk "block.N.";
}

impl Absent {
    /// What is known of the values that `now` does not have. `before` is the sample before it, of the same boot of the
    /// guest; `is_other` says whether another device has taken the place of the one of this group and name.
    pub fn since(
        now: &Domain,
        before: Option<&Domain>,
        is_other: impl Fn(&str, &str) -> bool,
    ) -> Self {
        let mut absent = Self::default();
        if let Some(before) = before {
            let is_lost = |row| before.absent.is_lost("", row);
            now.cpu.each_missing(|row, has| {
                if has(&before.cpu) || is_lost(row) {
                    absent.lose("", row);
                }
            });
            now.memory.each_missing(|row, has| {
                if has(&before.memory) || is_lost(row) {
                    absent.lose("", row);
                }
            });
            let had_vcpus = before.vcpu_count.is_some() || is_lost(&VCPU_COUNT);
            if now.vcpu_count.is_none() && had_vcpus {
                absent.lose("", &VCPU_COUNT);
            }
        }
        let (nics, disks) = before.map_or((&[][..], &[][..]), |it| (&it.nics, &it.disks));
        let is_answer = now.completeness.is_answer();
        let known = before.map(|before| &before.absent);
        absent.add_devices(&now.nics, nics, known, is_answer, &is_other);
        absent.add_devices(&now.disks, disks, known, is_answer, &is_other);
        absent
    }

    fn add_devices<T: DeviceFigures>(
        &mut self,
        devices: &[T],
        earlier: &[T],
        known: Option<&Self>,
        is_answer: bool,
        is_other: impl Fn(&str, &str) -> bool,
    ) {
        for (place, device) in devices.iter().enumerate() {
            let name = device.name();
            let is_same = |it: &&T| it.name() == name;
            // Nearly always it is where it was.
            let there = earlier.get(place).filter(is_same);
            let there = there.or_else(|| earlier.iter().find(is_same));
            let count = self.lost.len();
            device.each_missing(|row, has| {
                if there.is_some_and(has) || known.is_some_and(|it| it.is_lost(name, row)) {
                    self.lose(name, row);
                }
            });
            if self.lost.len() > count && is_other(T::GROUP, name) {
                self.lost.truncate(count);
            }
            if device.is_counted() || self.lost.len() > count {
                continue;
            }
            if is_answer || known.is_some_and(|it| it.is_uncounted(name, T::GROUP)) {
                self.uncounted.push(Uncounted { group: T::GROUP.into(), device: name.clone() });
            }
        }
    }

    fn lose(&mut self, device: &str, row: &FieldRow) {
        let mut statistic = SmolStrBuilder::new();
        statistic.push_str(row.group);
        statistic.push_str(&String::from_utf8_lossy(row.statistic));
        let statistic = statistic.finish();
        self.lost.push(Lost { device: device.into(), statistic });
    }

    /// Whether nothing is known, or nothing is missing.
    pub fn is_empty(&self) -> bool {
        self.lost.is_empty() && self.uncounted.is_empty()
    }

    /// Whether this statistic of the device had a value in this boot, and has none now.
    pub fn is_lost(&self, device: &str, row: &FieldRow) -> bool {
        self.lost.iter().any(|lost| lost.is(device, row))
    }

    /// Whether any statistic of this device is lost.
    pub fn has_lost(&self, device: &str, group: &str) -> bool {
        self.lost.iter().any(|lost| lost.device == device && lost.statistic.starts_with(group))
    }

    /// Whether this device never had what is in the row.
    pub fn never_had(&self, device: &str, row: &FieldRow) -> bool {
        self.is_uncounted(device, row.group)
    }

    /// Whether this device of the group never had a counter.
    pub fn is_uncounted(&self, device: &str, group: &str) -> bool {
        self.uncounted.iter().any(|it| it.device == device && it.group == group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Completeness;
    use crate::schema::{Cpu, Memory};

    fn nic(name: &str, rx_bytes: Option<u64>) -> Nic {
        Nic { name: name.into(), rx_bytes, ..Nic::default() }
    }

    fn guest(nics: &[Nic]) -> Domain {
        Domain { id: 1, nics: nics.to_vec(), ..Domain::default() }
    }

    /// The guest, with what is known from the one before it.
    fn after(mut now: Domain, before: &Domain) -> Domain {
        now.absent = Absent::since(&now, Some(before), |_, _| false);
        now
    }

    #[test]
    fn what_had_a_value_is_lost_until_it_is_back_and_what_never_had_one_is_not_offered() {
        let first = guest(&[nic("tap", Some(7)), nic("user", None)]);
        let first = Domain { absent: Absent::since(&first, None, |_, _| false), ..first };
        assert!(!first.absent.is_lost("user", &Nic::rx_bytes));
        assert!(first.absent.never_had("user", &Nic::rx_bytes));
        assert!(!first.absent.never_had("tap", &Nic::rx_bytes));
        let mut last = first;
        for _ in 0..3 {
            last = after(guest(&[nic("tap", None), nic("user", None)]), &last);
            assert!(last.absent.is_lost("tap", &Nic::rx_bytes), "{:?}", last.absent);
            assert!(!last.absent.is_lost("tap", &Nic::tx_bytes), "it never had these");
            assert!(!last.absent.is_lost("user", &Nic::rx_bytes));
            assert!(
                last.absent.has_lost("tap", "net.N.") && !last.absent.has_lost("tap", "block.N.")
            );
        }
        last = after(guest(&[nic("user", None), nic("tap", Some(9))]), &last);
        assert!(!last.absent.is_lost("tap", &Nic::rx_bytes), "{:?}", last.absent);
    }

    #[test]
    fn a_silent_guest_tells_nothing_new_of_what_is_offered() {
        let known = after(guest(&[nic("user", None)]), &guest(&[]));
        let silent = |nics: &[Nic]| Domain { completeness: Completeness::Hung, ..guest(nics) };
        let hung = after(silent(&[nic("user", None), nic("new", None)]), &known);
        assert!(hung.absent.never_had("user", &Nic::rx_bytes));
        assert!(!hung.absent.never_had("new", &Nic::rx_bytes), "{:?}", hung.absent);
    }

    #[test]
    fn the_guests_own_figures_are_remembered_too() {
        let cpu = Cpu { time_ns: Some(1), ..Cpu::default() };
        let memory = Memory { usable_kib: Some(1), ..Memory::default() };
        let before = Domain { cpu, memory, vcpu_count: Some(1), ..guest(&[]) };
        let now = after(guest(&[]), &after(guest(&[]), &before));
        for row in [&Cpu::time_ns, &Memory::usable_kib, &VCPU_COUNT] {
            assert!(now.absent.is_lost("", row), "{row:?}");
        }
        assert!(!now.absent.is_lost("", &Memory::available_kib));
        assert!(after(before.clone(), &now).absent.is_empty());
    }

    #[test]
    fn another_device_of_the_same_name_lost_nothing() {
        let before = guest(&[nic("net0", Some(7))]);
        let mut now = guest(&[nic("net0", None)]);
        now.absent =
            Absent::since(&now, Some(&before), |group, name| (group, name) == ("net.N.", "net0"));
        assert!(!now.absent.is_lost("net0", &Nic::rx_bytes));
        assert!(now.absent.never_had("net0", &Nic::rx_bytes));
    }
}
