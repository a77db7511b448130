//! The names that `extra` may hold: measurements and fields that are there only when asked for.

/// A measurement, or a group of fields, that is there only when asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Extra {
    /// Why a guest is in its state.
    StateReason,
    /// Time that virtual CPUs waited, and that KVM polled for them.
    CpuWaits,
    /// Free memory, huge pages, and when the guest reported them.
    MemoryDetails,
    /// A line a virtual CPU.
    Vcpus,
    /// Time that disk requests took, and flushes.
    DiskTimes,
    /// How large a disk is, and what it takes of its storage.
    DiskSpace,
    /// A line an I/O thread.
    Iothreads,
    /// Events that the host's CPU counts.
    Perf,
    /// How fast the guest writes to its memory.
    DirtyRate,
    /// Bytes through the host's memory controllers.
    MemoryBandwidth,
    /// Bytes in the host's CPU caches.
    CpuCache,
    /// A job that runs: a migration, a save, a backup.
    Jobs,
    /// The quality of service that is set for a device.
    Limits,
    /// NUMA cells and nodes.
    Numa,
    /// What the guest is: title, machine, architecture.
    Info,
    /// What KVM itself counts.
    Hypervisor,
    /// What the collection itself cost and met.
    Collector,
    /// What libvirt sends and nothing else here knows.
    Other,
}

impl Extra {
    /// Every one, in the schema's order.
    pub const ALL: [Self; 18] = [
        Self::StateReason,
        Self::CpuWaits,
        Self::MemoryDetails,
        Self::Vcpus,
        Self::DiskTimes,
        Self::DiskSpace,
        Self::Iothreads,
        Self::Perf,
        Self::DirtyRate,
        Self::MemoryBandwidth,
        Self::CpuCache,
        Self::Jobs,
        Self::Limits,
        Self::Numa,
        Self::Info,
        Self::Hypervisor,
        Self::Collector,
        Self::Other,
    ];

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::StateReason => "state-reason",
            Self::CpuWaits => "cpu-waits",
            Self::MemoryDetails => "memory-details",
            Self::Vcpus => "vcpus",
            Self::DiskTimes => "disk-times",
            Self::DiskSpace => "disk-space",
            Self::Iothreads => "iothreads",
            Self::Perf => "perf",
            Self::DirtyRate => "dirty-rate",
            Self::MemoryBandwidth => "memory-bandwidth",
            Self::CpuCache => "cpu-cache",
            Self::Jobs => "jobs",
            Self::Limits => "limits",
            Self::Numa => "numa",
            Self::Info => "info",
            Self::Hypervisor => "hypervisor",
            Self::Collector => "collector",
            Self::Other => "other",
        }
    }
}

/// A set of [`Extra`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extras(u32);

impl Extras {
    /// The empty set.
    pub const NONE: Self = Self(0);

    /// Whether it is in the set.
    pub fn has(self, extra: Extra) -> bool {
        self.0 & (1 << extra as u8) != 0
    }

    /// Whether any of them is in the set.
    pub fn has_any(self, extras: &[Extra]) -> bool {
        extras.iter().any(|&extra| self.has(extra))
    }
}

impl FromIterator<Extra> for Extras {
    fn from_iter<I: IntoIterator<Item = Extra>>(extras: I) -> Self {
        Self(extras.into_iter().fold(0, |bits, extra| bits | 1 << extra as u8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_it_was_made_of() {
        for (place, extra) in Extra::ALL.into_iter().enumerate() {
            assert_eq!(extra as usize, place);
            let set: Extras = [extra].into_iter().collect();
            let others = Extra::ALL.into_iter().filter(|&it| set.has(it));
            assert_eq!(others.collect::<Vec<_>>(), [extra]);
        }
        assert!(!Extras::NONE.has_any(&Extra::ALL));
    }
}
