//! The host beside its guests, and its storage pools: what libvirt calls the node.

use std::ffi::{CStr, c_char, c_int, c_uint};
use std::mem::MaybeUninit;
use std::ptr;

use uuid::Uuid;
use virt::sys;

use super::array::{ParameterArray, until_null};
use super::connection::Connection;
use super::guest::check;
use super::text::owned;
use super::value::wide;
use super::{Error, Parameter, Value};

/// What virNodeGetInfo says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// The architecture, which libvirt calls the model.
    pub model: String,
    /// CPUs that are on.
    pub cpus: u64,
    /// What they run at, MHz.
    pub mhz: u64,
    /// Memory, KiB.
    pub memory_kib: u64,
}

/// How many statistics libvirt's client takes from a server (REMOTE_NODE_CPU_STATS_MAX and the like).
const MOST: usize = 1024;
/// Most counts of free pages that libvirt's client takes from a server: REMOTE_NODE_MAX_CELLS.
const COUNTS_MAX: usize = 1024;

/// The text in an array of characters, which need not end in a NUL.
fn field(chars: &[c_char]) -> Vec<u8> {
    chars.iter().take_while(|&&it| it != 0).map(|&it| it.cast_unsigned()).collect()
}

impl Connection {
    /// The host's CPUs and memory.
    ///
    /// # Errors
    /// libvirt's words.
    ///
    /// <https://libvirt.org/html/libvirt-libvirt-host.html#virNodeGetInfo>
    pub fn node_info(&self) -> Result<NodeInfo, Error> {
        let mut node = MaybeUninit::<sys::virNodeInfo>::zeroed();
        // SAFETY: the connection is open, libvirt fills the struct, and zeroes are valid for it.
        let node = unsafe {
            check(sys::virNodeGetInfo(self.as_ptr(), node.as_mut_ptr()))?;
            node.assume_init()
        };
        Ok(NodeInfo {
            model: String::from_utf8_lossy(&field(&node.model)).into_owned(),
            cpus: node.cpus.into(),
            mhz: node.mhz.into(),
            memory_kib: wide(node.memory),
        })
    }

    /// CPU times of the whole host since its start, in nanoseconds, handed to `take` by libvirt's names:
    /// user, kernel, idle, iowait.
    ///
    /// # Errors
    /// libvirt's words.
    ///
    /// <https://libvirt.org/html/libvirt-libvirt-host.html#virNodeGetCPUStats>
    pub fn node_cpu_times(&self, mut take: impl FnMut(&[u8], u64)) -> Result<(), Error> {
        let all = sys::VIR_NODE_CPU_STATS_ALL_CPUS;
        let mut count: c_int = 0;
        let empty = sys::virNodeCPUStats { field: [0; 80], value: 0 };
        let mut raw = vec![empty; MOST];
        // SAFETY: the first call only asks for the number; the second has room for more than libvirt's
        // client takes from a server, and says how many it wants.
        unsafe {
            check(sys::virNodeGetCPUStats(self.as_ptr(), all, ptr::null_mut(), &mut count, 0))?;
            count = count.clamp(0, MOST as c_int);
            check(sys::virNodeGetCPUStats(self.as_ptr(), all, raw.as_mut_ptr(), &mut count, 0))?;
        }
        let count = usize::try_from(count).unwrap_or(0);
        raw.iter().take(count).for_each(|it| take(&field(&it.field), it.value));
        Ok(())
    }

    /// Memory of the whole host, or of one NUMA cell, in KiB, handed to `take` by libvirt's names: total,
    /// free, buffers, cached.
    ///
    /// # Errors
    /// libvirt's words.
    ///
    /// <https://libvirt.org/html/libvirt-libvirt-host.html#virNodeGetMemoryStats>
    pub fn node_memory(
        &self,
        cell: Option<u32>,
        mut take: impl FnMut(&[u8], u64),
    ) -> Result<(), Error> {
        let all = sys::VIR_NODE_MEMORY_STATS_ALL_CELLS;
        let cell = cell.map_or(all, |cell| c_int::try_from(cell).unwrap_or(c_int::MAX));
        let mut count: c_int = 0;
        let empty = sys::virNodeMemoryStats { field: [0; 80], value: 0 };
        let mut raw = vec![empty; MOST];
        // SAFETY: as for CPU times.
        unsafe {
            let host = self.as_ptr();
            check(sys::virNodeGetMemoryStats(host, cell, ptr::null_mut(), &mut count, 0))?;
            count = count.clamp(0, MOST as c_int);
            check(sys::virNodeGetMemoryStats(host, cell, raw.as_mut_ptr(), &mut count, 0))?;
        }
        let count = usize::try_from(count).unwrap_or(0);
        raw.iter().take(count).for_each(|it| take(&field(&it.field), it.value));
        Ok(())
    }

    /// What KSM does, handed to `take` by libvirt's names, such as shm_pages_shared.
    ///
    /// # Errors
    /// libvirt's words; where the kernel has no KSM, too.
    ///
    /// <https://libvirt.org/html/libvirt-libvirt-host.html#virNodeGetMemoryParameters>
    pub fn node_memory_parameters(&self, mut take: impl FnMut(&[u8], u64)) -> Result<(), Error> {
        // REMOTE_NODE_MEMORY_PARAMETERS_MAX: libvirt refuses to be asked for more.
        const ROOM: usize = 64;
        let mut raw = ParameterArray::with_room(ROOM);
        let mut count: c_int = 0;
        // SAFETY: the first call only asks for the number; the second has room for ROOM parameters, and no
        // more are asked for.
        unsafe {
            let host = self.as_ptr();
            check(sys::virNodeGetMemoryParameters(host, ptr::null_mut(), &mut count, 0))?;
            count = count.clamp(0, ROOM as c_int);
            check(sys::virNodeGetMemoryParameters(host, raw.as_mut_ptr(), &mut count, 0))?;
        }
        for Parameter { name, value } in raw.iter() {
            if let Value::Uint(number) = value {
                take(name, number);
            }
        }
        Ok(())
    }

    /// Pages that are free, for each of these cells in order and in it for each of these sizes.
    ///
    /// # Errors
    /// libvirt's words.
    ///
    /// <https://libvirt.org/html/libvirt-libvirt-host.html#virNodeGetFreePages>
    pub fn node_free_pages(
        &self,
        first: u32,
        cells: u32,
        sizes_kib: &[u32],
    ) -> Result<Vec<u64>, Error> {
        let mut sizes: Vec<c_uint> = sizes_kib.to_vec();
        let cells = cells.min(COUNTS_MAX as u32);
        let wanted = sizes.len() * cells as usize;
        // However few were asked for, libvirt's client writes as many as the server sends.
        let mut counts = vec![0; if wanted == 0 { 0 } else { wanted.max(COUNTS_MAX) }];
        let (Ok(first), Ok(number)) = (c_int::try_from(first), c_uint::try_from(sizes.len()))
        else {
            return Err(Error::invalid("no such NUMA cell"));
        };
        if counts.is_empty() {
            return Ok(counts);
        }
        // SAFETY: room for as many counts as sizes times cells, both of which are told, and for as many as a
        // server can send.
        let filled = unsafe {
            check(sys::virNodeGetFreePages(
                self.as_ptr(),
                number,
                sizes.as_mut_ptr(),
                first,
                cells,
                counts.as_mut_ptr(),
                0,
            ))?
        };
        counts.truncate(filled.min(wanted));
        Ok(counts)
    }

    /// What the host can do, as XML: its CPU model and its NUMA topology are in there.
    ///
    /// # Errors
    /// libvirt's words.
    ///
    /// <https://libvirt.org/html/libvirt-libvirt-host.html#virConnectGetCapabilities>
    pub fn capabilities(&self) -> Result<String, Error> {
        // SAFETY: the connection is open; the answer is null or a string that we own.
        unsafe { owned(sys::virConnectGetCapabilities(self.as_ptr())) }
    }

    /// Every storage pool, those that are off too. Waits for the lock of every pool.
    ///
    /// # Errors
    /// libvirt's words; [`super::Kind::Unsupported`] where the driver has no pools.
    ///
    /// <https://libvirt.org/html/libvirt-libvirt-storage.html#virConnectListAllStoragePools>
    pub fn pools(&self) -> Result<Vec<StoragePool>, Error> {
        let mut list: *mut sys::virStoragePoolPtr = ptr::null_mut();
        // SAFETY: the connection is open; libvirt sets `list` to an array of pools, which is ours.
        let returned = unsafe { sys::virConnectListAllStoragePools(self.as_ptr(), &mut list, 0) };
        let error = (returned < 0).then(Error::last);
        // SAFETY: null, or an array that ends in NULL, in which we own one reference of each pool. The array
        // itself was allocated with malloc and is freed once; may be null.
        let pools = unsafe {
            let pools = until_null(list).map(StoragePool).collect();
            libc::free(list.cast());
            pools
        };
        match error {
            Some(error) => Err(error),
            None => Ok(pools),
        }
    }

    /// The storage pool with this UUID: waits for that pool alone.
    ///
    /// # Errors
    /// [`super::Kind::GuestGone`] where there is none.
    pub fn pool(&self, uuid: &Uuid) -> Result<StoragePool, Error> {
        // SAFETY: libvirt reads 16 bytes, which a UUID has.
        let pool =
            unsafe { sys::virStoragePoolLookupByUUID(self.as_ptr(), uuid.as_bytes().as_ptr()) };
        if pool.is_null() { Err(Error::last()) } else { Ok(StoragePool(pool)) }
    }
}

/// A storage pool of one connection: the one owner of its C handle.
pub struct StoragePool(sys::virStoragePoolPtr);

impl Drop for StoragePool {
    fn drop(&mut self) {
        // SAFETY: we own one reference and give it back once, here.
        unsafe { sys::virStoragePoolFree(self.0) };
    }
}

/// What virStoragePoolGetInfo says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolInfo {
    /// virStoragePoolState
    pub state: i64,
    /// Bytes that it can hold.
    pub capacity: u64,
    /// Bytes that its volumes take.
    pub allocation: u64,
    /// Bytes that are left.
    pub available: u64,
}

impl StoragePool {
    /// Its name; what is no UTF-8 is replaced.
    pub fn name(&self) -> String {
        // SAFETY: the handle lives; null, or a string of the handle that ends in NUL.
        unsafe {
            let name = sys::virStoragePoolGetName(self.0);
            let name = if name.is_null() { c"" } else { CStr::from_ptr(name) };
            name.to_string_lossy().into_owned()
        }
    }

    /// Its lasting identity, which is kept in the handle.
    pub fn uuid(&self) -> Uuid {
        let mut bytes = [0; 16];
        // SAFETY: libvirt writes 16 bytes; on an error none, and the UUID is nil.
        unsafe { sys::virStoragePoolGetUUID(self.0, bytes.as_mut_ptr()) };
        Uuid::from_bytes(bytes)
    }

    /// Its state and its size, as libvirt last read them from the storage.
    ///
    /// # Errors
    /// libvirt's words.
    ///
    /// <https://libvirt.org/html/libvirt-libvirt-storage.html#virStoragePoolGetInfo>
    pub fn info(&self) -> Result<PoolInfo, Error> {
        let mut info = MaybeUninit::<sys::virStoragePoolInfo>::zeroed();
        // SAFETY: the handle lives, libvirt fills the struct, and zeroes are valid for it.
        let info = unsafe {
            check(sys::virStoragePoolGetInfo(self.0, info.as_mut_ptr()))?;
            info.assume_init()
        };
        Ok(PoolInfo {
            state: info.state.into(),
            capacity: info.capacity,
            allocation: info.allocation,
            available: info.available,
        })
    }

    /// Its XML, which tells its type.
    ///
    /// # Errors
    /// libvirt's words.
    pub fn xml(&self) -> Result<String, Error> {
        // SAFETY: the handle lives; the answer is null or a string that we own.
        unsafe { owned(sys::virStoragePoolGetXMLDesc(self.0, 0)) }
    }

    /// Whether it is defined, so that it is still there when it stops.
    ///
    /// # Errors
    /// libvirt's words.
    pub fn is_persistent(&self) -> Result<bool, Error> {
        // SAFETY: the handle lives.
        Ok(unsafe { check(sys::virStoragePoolIsPersistent(self.0))? } == 1)
    }

    /// Whether it is started with its host.
    ///
    /// # Errors
    /// libvirt's words.
    pub fn autostart(&self) -> Result<bool, Error> {
        let mut autostart = 0;
        // SAFETY: the handle lives, and libvirt writes the number.
        unsafe { check(sys::virStoragePoolGetAutostart(self.0, &mut autostart))? };
        Ok(autostart != 0)
    }
}
