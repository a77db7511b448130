//! The calls for one guest whose answers are printed only when `extra` asks for them.

use serde::{Deserialize, Serialize};
use virt::sys;

use super::array::{ParameterArray, TypedParameters};
use super::cpu_set::{bits, cpu_set};
use super::guest::{check, text};
use super::statistics::Parameter;
use super::{Error, Guest};

/// A state and why it is so, from virDomainGetState; both are numbers of libvirt's enums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DomainState {
    /// virDomainState
    pub state: i64,
    /// The reason, of the enum that belongs to the state.
    pub reason: i64,
}

/// One virtual CPU, from virDomainGetVcpus.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VcpuInfo {
    /// Its number.
    pub number: u32,
    /// virVcpuState
    pub state: i64,
    /// CPU time, ns.
    pub time_ns: u64,
    /// The host CPU that it was on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,
    /// The host CPUs that it may run on, such as `0-3,8`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub affinity: String,
}

/// What a job of the guest has done, from virDomainGetJobStats.
pub struct JobStatistics {
    /// virDomainJobType; 0 where no job runs.
    pub kind: i64,
    /// The typed parameters, such as `time_elapsed`.
    pub parameters: TypedParameters,
}

impl Guest {
    /// Its state and the reason; libvirtd answers it without asking the monitor.
    ///
    /// # Errors
    /// libvirt's words.
    ///
    /// <https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainGetState>
    pub fn state(&self) -> Result<DomainState, Error> {
        let (mut state, mut reason) = (0, 0);
        // SAFETY: the handle lives, and libvirt writes the two numbers.
        unsafe { check(sys::virDomainGetState(self.as_ptr(), &mut state, &mut reason, 0))? };
        Ok(DomainState { state: state.into(), reason: reason.into() })
    }

    /// Its virtual CPUs, `most` of them; only of a guest that runs.
    ///
    /// # Errors
    /// libvirt's words.
    ///
    /// <https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainGetVcpus>
    pub fn vcpus(&self, most: u16) -> Result<Vec<VcpuInfo>, Error> {
        // The bytes of a map of the host's CPUs: 4096 of them.
        const MAP: usize = 512;
        let empty = sys::virVcpuInfo { number: 0, state: 0, cpuTime: 0, cpu: 0 };
        let mut raw = vec![empty; most.into()];
        let mut maps = vec![0u8; usize::from(most) * MAP];
        // SAFETY: room for `most` of them, and for a map of MAP bytes for each; both numbers are told.
        let filled = unsafe {
            let most = i32::from(most);
            check(sys::virDomainGetVcpus(
                self.as_ptr(),
                raw.as_mut_ptr(),
                most,
                maps.as_mut_ptr(),
                MAP as i32,
            ))?
        };
        let vcpu = |(raw, map): (&sys::virVcpuInfo, &[u8])| VcpuInfo {
            number: raw.number,
            state: raw.state.into(),
            time_ns: raw.cpuTime,
            // libvirt's -1 is a CPU that is off, its -2 one that it does not know.
            cpu: u32::try_from(raw.cpu).ok(),
            affinity: cpu_set(bits(map)),
        };
        Ok(raw.iter().zip(maps.chunks(MAP)).take(filled).map(vcpu).collect())
    }

    /// The statistics of the disk with this target that [`Guest::block_counters`] does not have, such as
    /// `rd_total_times`, handed to `take` one by one.
    ///
    /// # Errors
    /// libvirt's words.
    ///
    /// <https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainBlockStatsFlags>
    pub fn block_statistics(
        &self,
        target: &str,
        mut take: impl FnMut(Parameter<'_>),
    ) -> Result<(), Error> {
        // libvirt's remote protocol refuses to be asked for more.
        const MOST: usize = 16;
        let target = text(target)?;
        let mut raw = ParameterArray::with_room(MOST);
        let mut count = MOST as i32;
        // SAFETY: the string lives across the call; room for MOST parameters, and the number is told.
        // libvirt fills no more.
        unsafe {
            check(sys::virDomainBlockStatsFlags(
                self.as_ptr(),
                target.as_ptr(),
                raw.as_mut_ptr(),
                &mut count,
                0,
            ))?;
        }
        raw.iter().for_each(&mut take);
        Ok(())
    }

    /// The job that runs in it, such as a migration or a save. Where one runs, the guest's monitor may
    /// be asked.
    ///
    /// # Errors
    /// libvirt's words; also where the guest is on its way to this host.
    ///
    /// <https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainGetJobStats>
    pub fn job(&self) -> Result<JobStatistics, Error> {
        let mut kind = 0;
        let mut parameters = TypedParameters::none();
        // SAFETY: the handle lives; libvirt sets the array and its length, which we own then.
        unsafe {
            let (array, count) = parameters.as_mut();
            check(sys::virDomainGetJobStats(self.as_ptr(), &mut kind, array, count, 0))?;
        }
        Ok(JobStatistics { kind: kind.into(), parameters })
    }

    /// Whether it is defined, so that it is still there when it stops.
    ///
    /// # Errors
    /// libvirt's words.
    ///
    /// <https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainIsPersistent>
    pub fn is_persistent(&self) -> Result<bool, Error> {
        // SAFETY: the handle lives.
        Ok(unsafe { check(sys::virDomainIsPersistent(self.as_ptr()))? } == 1)
    }

    /// Whether it is started with its host.
    ///
    /// # Errors
    /// libvirt's words.
    ///
    /// <https://libvirt.org/html/libvirt-libvirt-domain.html#virDomainGetAutostart>
    pub fn autostart(&self) -> Result<bool, Error> {
        let mut autostart = 0;
        // SAFETY: the handle lives, and libvirt writes the number.
        unsafe { check(sys::virDomainGetAutostart(self.as_ptr(), &mut autostart))? };
        Ok(autostart != 0)
    }
}
