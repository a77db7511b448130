//! One guest's handle, and the calls for one guest, which fill in for groups that the bulk call does not have.

use std::borrow::Cow;
use std::ffi::{CStr, CString};
use std::mem::{self, MaybeUninit};
use std::ptr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use virt::sys;

use super::array::ParameterArray;
use super::text::owned;
use super::value::wide;
use super::{Error, Value};

/// A guest of one connection: the one owner of its C handle, on the connection's thread.
///
/// What a handle knows of its guest by itself is of the moment when it was made. Of that only the name
/// is to be had for nothing: for the others, and when the handle is freed, libvirt writes the UUID out
/// for its debug log, whether there is one or not (2 µs each, more than all else done with a guest).
///
/// It belongs to its connection's thread, as [`super::Connection`] says why:
///
/// ```compile_fail,E0277
/// fn assert_send<T: Send>() {}
/// assert_send::<telegraf_virt::libvirt::Guest>();
/// ```
pub struct Guest(sys::virDomainPtr);

impl Drop for Guest {
    fn drop(&mut self) {
        // SAFETY: we own one reference and give it back once, here.
        unsafe { sys::virDomainFree(self.0) };
    }
}

/// The name of a live handle, which is kept in the handle.
///
/// # Safety
/// `domain` must be a handle that lives for as long as the name is used.
pub(super) unsafe fn name<'a>(domain: sys::virDomainPtr) -> &'a CStr {
    // SAFETY: as the caller promises; null, or a string of the handle that ends in NUL.
    unsafe {
        let name = sys::virDomainGetName(domain);
        if name.is_null() { c"" } else { CStr::from_ptr(name) }
    }
}

/// The UUID of a live handle, which is kept in the handle: nobody is asked.
///
/// # Safety
/// `domain` must be a handle that lives.
pub(super) unsafe fn uuid(domain: sys::virDomainPtr) -> Uuid {
    let mut bytes = [0; 16];
    // SAFETY: libvirt writes VIR_UUID_BUFLEN, 16, bytes; on an error none, and the UUID is nil.
    unsafe { sys::virDomainGetUUID(domain, bytes.as_mut_ptr()) };
    Uuid::from_bytes(bytes)
}

/// The id of a live handle; -1 where there is none.
///
/// # Safety
/// `domain` must be a handle that lives.
pub(super) unsafe fn id(domain: sys::virDomainPtr) -> i32 {
    // SAFETY: as the caller promises. libvirt's -1 comes as the largest unsigned number.
    unsafe { sys::virDomainGetID(domain) as i32 }
}

/// What virDomainGetInfo tells; libvirtd answers it without asking the guest's monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestInfo {
    /// virDomainState
    pub state: i64,
    /// The most memory it may have, KiB.
    pub maximum_kib: u64,
    /// The memory it has now, KiB.
    pub current_kib: u64,
    /// Virtual CPUs.
    pub vcpus: u64,
    /// CPU time, ns.
    pub cpu_time_ns: u64,
}

/// What virDomainGetCPUStats tells of the whole guest, ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CpuTimes {
    /// cpu_time
    pub time_ns: Option<u64>,
    /// user_time
    pub user_ns: Option<u64>,
    /// system_time
    pub system_ns: Option<u64>,
}

/// One statistic of virDomainMemoryStats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // the names are libvirt's tags; KiB but for counts (faults, Hugetlb) and LastUpdate (s)
pub enum MemoryStatistic {
    SwapIn(u64),
    SwapOut(u64),
    MajorFault(u64),
    MinorFault(u64),
    Available(u64),
    Rss(u64),
    Usable(u64),
    LastUpdate(u64),
    DiskCaches(u64),
    Unused(u64),
    HugetlbPgalloc(u64),
    HugetlbPgfail(u64),
    ActualBalloon(u64),
}

/// What virDomainInterfaceStats tells, in libvirt's order; -1 is not offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct NicCounters {
    pub rx_bytes: i64,
    pub rx_packets: i64,
    pub rx_errors: i64,
    pub rx_drops: i64,
    pub tx_bytes: i64,
    pub tx_packets: i64,
    pub tx_errors: i64,
    pub tx_drops: i64,
}

/// What virDomainBlockStats tells; -1 is not offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct BlockCounters {
    pub rd_reqs: i64,
    pub rd_bytes: i64,
    pub wr_reqs: i64,
    pub wr_bytes: i64,
    pub errors: i64,
}

/// Whether a guest's monitor is free; libvirtd answers it without asking the monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// Nothing is out.
    Free,
    /// A job or a monitor command runs, for so many milliseconds.
    Busy {
        /// Milliseconds since it began.
        for_ms: u64,
        /// Whether it is a monitor command, which a healthy QEMU answers in milliseconds, and not a
        /// job, which may take long.
        command: bool,
    },
    /// The monitor is broken.
    Broken,
}

impl Control {
    /// Whether a monitor command is out for longer than a healthy guest takes: milliseconds.
    pub fn is_stuck(self) -> bool {
        const STUCK_MS: u64 = 1000;
        matches!(self, Self::Busy { for_ms, command: true } if for_ms >= STUCK_MS)
    }
}

impl Guest {
    /// # Safety
    /// `domain` must be a handle of which the caller owns one reference, and gives it to us.
    pub(super) unsafe fn from_owned(domain: sys::virDomainPtr) -> Self {
        Self(domain)
    }

    pub(super) fn as_ptr(&self) -> sys::virDomainPtr {
        self.0
    }

    /// Its name; what is no UTF-8 is replaced.
    pub fn name(&self) -> Cow<'_, str> {
        // SAFETY: the handle lives as long as `self`.
        unsafe { name(self.0) }.to_string_lossy()
    }

    /// Its lasting identity.
    pub fn uuid(&self) -> Uuid {
        // SAFETY: as above.
        unsafe { uuid(self.0) }
    }

    /// The domain's id; -1 when it did not run.
    pub fn id(&self) -> i32 {
        // SAFETY: as above.
        unsafe { id(self.0) }
    }

    /// The XML of the running guest (of the defined one when it is off).
    ///
    /// # Errors
    /// libvirt's words.
    pub fn xml(&self) -> Result<String, Error> {
        // SAFETY: the handle lives; the answer is null or a string that we own.
        unsafe { owned(sys::virDomainGetXMLDesc(self.0, 0)) }
    }

    /// State, memory, virtual CPUs and CPU time.
    ///
    /// # Errors
    /// libvirt's words.
    pub fn info(&self) -> Result<GuestInfo, Error> {
        let mut info = MaybeUninit::<sys::virDomainInfo>::zeroed();
        // SAFETY: the handle lives, libvirt fills the struct, and zeroes are valid for it.
        let info = unsafe {
            check(sys::virDomainGetInfo(self.0, info.as_mut_ptr()))?;
            info.assume_init()
        };
        Ok(GuestInfo {
            state: info.state.into(),
            maximum_kib: wide(info.maxMem),
            current_kib: wide(info.memory),
            vcpus: info.nrVirtCpu.into(),
            cpu_time_ns: info.cpuTime,
        })
    }

    /// CPU times of the whole guest.
    ///
    /// # Errors
    /// libvirt's words; [`super::Kind::Unsupported`] on many drivers.
    pub fn cpu_times(&self) -> Result<CpuTimes, Error> {
        // CPU time, and its parts in user mode and in the kernel.
        const MOST: usize = 3;
        // One CPU is asked for. But libvirt believes the server how many parameters one CPU has: from three
        // parameters of "one each" it makes three CPUs, and writes the first of each of them.
        let mut raw = ParameterArray::with_room(MOST * MOST);
        // SAFETY: room for MOST parameters of MOST CPUs, more than libvirt's client takes from a server;
        // start -1 and one CPU mean the whole guest.
        unsafe {
            check(sys::virDomainGetCPUStats(self.0, raw.as_mut_ptr(), MOST as u32, -1, 1, 0))?;
        }
        let mut times = CpuTimes::default();
        // How many were filled is the server's word too: the others are zeroes, and have no name.
        for parameter in raw.iter().take(MOST) {
            let Value::Uint(value) = parameter.value else { continue };
            match parameter.name {
                b"cpu_time" => times.time_ns = Some(value),
                b"user_time" => times.user_ns = Some(value),
                b"system_time" => times.system_ns = Some(value),
                _ => {}
            }
        }
        Ok(times)
    }

    /// Memory statistics; on hypervisors without the bulk call this may ask the guest's monitor.
    ///
    /// # Errors
    /// libvirt's words.
    pub fn memory_statistics(&self) -> Result<Vec<MemoryStatistic>, Error> {
        const MOST: u32 = sys::VIR_DOMAIN_MEMORY_STAT_NR;
        // What libvirt's client takes from a server (REMOTE_DOMAIN_MEMORY_STATS_MAX). It writes all of
        // it, however few were asked for.
        const ROOM: usize = 1024;
        let mut raw = vec![sys::virDomainMemoryStatStruct { tag: 0, val: 0 }; ROOM];
        // SAFETY: room for more than the server's answer can have; fewer are asked for.
        let filled =
            unsafe { check(sys::virDomainMemoryStats(self.0, raw.as_mut_ptr(), MOST, 0))? };
        let statistic = |raw: &sys::virDomainMemoryStatStruct| {
            Some(match raw.tag as u32 {
                sys::VIR_DOMAIN_MEMORY_STAT_SWAP_IN => MemoryStatistic::SwapIn(raw.val),
                sys::VIR_DOMAIN_MEMORY_STAT_SWAP_OUT => MemoryStatistic::SwapOut(raw.val),
                sys::VIR_DOMAIN_MEMORY_STAT_MAJOR_FAULT => MemoryStatistic::MajorFault(raw.val),
                sys::VIR_DOMAIN_MEMORY_STAT_MINOR_FAULT => MemoryStatistic::MinorFault(raw.val),
                sys::VIR_DOMAIN_MEMORY_STAT_AVAILABLE => MemoryStatistic::Available(raw.val),
                sys::VIR_DOMAIN_MEMORY_STAT_RSS => MemoryStatistic::Rss(raw.val),
                sys::VIR_DOMAIN_MEMORY_STAT_USABLE => MemoryStatistic::Usable(raw.val),
                sys::VIR_DOMAIN_MEMORY_STAT_LAST_UPDATE => MemoryStatistic::LastUpdate(raw.val),
                sys::VIR_DOMAIN_MEMORY_STAT_DISK_CACHES => MemoryStatistic::DiskCaches(raw.val),
                sys::VIR_DOMAIN_MEMORY_STAT_UNUSED => MemoryStatistic::Unused(raw.val),
                sys::VIR_DOMAIN_MEMORY_STAT_ACTUAL_BALLOON => {
                    MemoryStatistic::ActualBalloon(raw.val)
                }
                sys::VIR_DOMAIN_MEMORY_STAT_HUGETLB_PGALLOC => {
                    MemoryStatistic::HugetlbPgalloc(raw.val)
                }
                sys::VIR_DOMAIN_MEMORY_STAT_HUGETLB_PGFAIL => {
                    MemoryStatistic::HugetlbPgfail(raw.val)
                }
                _ => return None,
            })
        };
        Ok(raw.iter().take(filled).filter_map(statistic).collect())
    }

    /// The counters of the NIC with this target.
    ///
    /// # Errors
    /// libvirt's words.
    pub fn nic_counters(&self, target: &str) -> Result<NicCounters, Error> {
        let target = text(target)?;
        let mut raw = MaybeUninit::<sys::virDomainInterfaceStatsStruct>::zeroed();
        // SAFETY: the string lives across the call; libvirt fills at most the size that is told,
        // and zeroes are valid.
        let raw = unsafe {
            check(sys::virDomainInterfaceStats(
                self.0,
                target.as_ptr(),
                raw.as_mut_ptr(),
                mem::size_of::<sys::virDomainInterfaceStatsStruct>(),
            ))?;
            raw.assume_init()
        };
        Ok(NicCounters {
            rx_bytes: raw.rx_bytes,
            rx_packets: raw.rx_packets,
            rx_errors: raw.rx_errs,
            rx_drops: raw.rx_drop,
            tx_bytes: raw.tx_bytes,
            tx_packets: raw.tx_packets,
            tx_errors: raw.tx_errs,
            tx_drops: raw.tx_drop,
        })
    }

    /// The counters of the disk with this target.
    ///
    /// # Errors
    /// libvirt's words.
    pub fn block_counters(&self, target: &str) -> Result<BlockCounters, Error> {
        let target = text(target)?;
        let mut raw = MaybeUninit::<sys::virDomainBlockStatsStruct>::zeroed();
        // SAFETY: as for NICs.
        let raw = unsafe {
            check(sys::virDomainBlockStats(
                self.0,
                target.as_ptr(),
                raw.as_mut_ptr(),
                mem::size_of::<sys::virDomainBlockStatsStruct>(),
            ))?;
            raw.assume_init()
        };
        Ok(BlockCounters {
            rd_reqs: raw.rd_req,
            rd_bytes: raw.rd_bytes,
            wr_reqs: raw.wr_req,
            wr_bytes: raw.wr_bytes,
            errors: raw.errs,
        })
    }

    /// Whether the guest's monitor is free.
    ///
    /// # Errors
    /// libvirt's words; [`super::Kind::Unsupported`] on drivers without it.
    pub fn control(&self) -> Result<Control, Error> {
        let mut raw = sys::virDomainControlInfo { state: 0, details: 0, stateTime: 0 };
        // SAFETY: the handle lives, and libvirt fills the struct.
        unsafe { check(sys::virDomainGetControlInfo(self.0, ptr::from_mut(&mut raw), 0))? };
        Ok(match raw.state {
            sys::VIR_DOMAIN_CONTROL_OK => Control::Free,
            sys::VIR_DOMAIN_CONTROL_JOB => Control::Busy { for_ms: raw.stateTime, command: false },
            sys::VIR_DOMAIN_CONTROL_OCCUPIED => {
                Control::Busy { for_ms: raw.stateTime, command: true }
            }
            // libvirt's word for a job that is not in the monitor at this moment, such as a hot-plug.
            sys::VIR_DOMAIN_CONTROL_ERROR
                if raw.details == sys::VIR_DOMAIN_CONTROL_ERROR_REASON_INTERNAL =>
            {
                Control::Busy { for_ms: 0, command: false }
            }
            _ => Control::Broken,
        })
    }
}

pub(super) fn text(target: &str) -> Result<CString, Error> {
    CString::new(target).map_err(|_| Error::invalid("the device's name holds a NUL byte"))
}

/// libvirt's calls return -1 on an error, else a count.
pub(super) fn check(returned: i32) -> Result<usize, Error> {
    usize::try_from(returned).map_err(|_| Error::last())
}
