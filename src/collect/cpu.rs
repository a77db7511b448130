//! A guest's CPU time and its number of virtual CPUs without its monitor. In bulk both come with figures that
//! only QEMU has, which costs QEMU's own threads a third of what all groups cost them. libvirtd has what is
//! printed by itself: the time in the guest's control group, where the bulk call takes it from as well, and the
//! number in the definition. Two calls for one guest ask for these; both wait for the lock of its object only.
//! The second is made for guests whose virtual CPUs can be plugged: of the others the XML has the number.

use crate::host::HostGuest;
use crate::libvirt::Kind;
use crate::sample::Domain;

/// What the two calls said.
#[derive(Clone, Copy, Debug)]
pub(super) struct CpuFigures {
    time_ns: u64,
    user_ns: u64,
    system_ns: u64,
    vcpus: u64,
}

/// What became of the two calls.
pub(super) enum CpuAnswer {
    Figures(CpuFigures),
    /// The guest has not all of it: it has no control group, most likely.
    Lacking,
    Gone,
}

impl CpuAnswer {
    /// Asks a guest; `vcpus` is the number of its virtual CPUs, where that cannot change in this boot.
    pub(super) fn of(guest: &HostGuest, vcpus: Option<u64>) -> Self {
        let times = match guest.cpu_times() {
            Ok(times) => times,
            Err(error) if error.kind == Kind::GuestGone => return Self::Gone,
            Err(_) => return Self::Lacking,
        };
        let (Some(time_ns), Some(user_ns), Some(system_ns)) =
            (times.time_ns, times.user_ns, times.system_ns)
        else {
            return Self::Lacking;
        };
        let vcpus = vcpus.map_or_else(|| guest.info().map(|info| info.vcpus), Ok);
        match vcpus {
            Ok(vcpus) => Self::Figures(CpuFigures { time_ns, user_ns, system_ns, vcpus }),
            Err(error) if error.kind == Kind::GuestGone => Self::Gone,
            Err(_) => Self::Lacking,
        }
    }
}

impl CpuFigures {
    pub(super) fn fill(&self, sample: &mut Domain) {
        sample.cpu.time_ns = Some(self.time_ns);
        sample.cpu.user_ns = Some(self.user_ns);
        sample.cpu.system_ns = Some(self.system_ns);
        sample.vcpu_count = Some(self.vcpus);
    }
}

/// Whether the hypervisor is QEMU on this machine. Calls for one guest cost a round trip each, and to another
/// machine that may take longer than all else.
pub(super) fn is_near(uri: &str) -> bool {
    uri.starts_with("qemu:///") || uri.starts_with("qemu+unix://")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_qemu_of_this_machine_is_near() {
        for uri in ["qemu:///system", "qemu:///session", "qemu+unix:///system?socket=/run/x"] {
            assert!(is_near(uri), "{uri}");
        }
        for uri in
            ["qemu://host/system", "qemu+ssh://host/system", "lxc:///", "test:///default", ""]
        {
            assert!(!is_near(uri), "{uri}");
        }
    }
}
