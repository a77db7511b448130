//! A read-only connection to one hypervisor.

use std::ffi::{CStr, CString, c_ulong};
use std::mem::MaybeUninit;
use std::ptr;

use virt::sys;

use super::array::until_null;
use super::quiet::be_quiet;
use super::text::owned;
use super::value::wide;
use super::{Error, Guest, event_loop};

/// A read-only connection. It stays on the thread that opened it: a call that never comes back then
/// blocks that thread and no other, and libvirt keeps a call's error for the thread that made the call.
///
/// So it is not [`Send`], and must not become so:
///
/// ```compile_fail,E0277
/// fn assert_send<T: Send>() {}
/// assert_send::<telegraf_virt::libvirt::Connection>();
/// ```
pub struct Connection(sys::virConnectPtr);

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: the pointer came from virConnectOpenReadOnly and is closed once, here. Guests of
        // this connection hold references of their own inside libvirt.
        unsafe { sys::virConnectClose(self.0) };
    }
}

impl Connection {
    /// Opens `uri` read-only, which needs no rights on a local libvirt by default.
    ///
    /// # Errors
    /// libvirt's words where there is no socket, no driver, no permission; a URI with a NUL byte.
    ///
    /// <https://libvirt.org/html/libvirt-libvirt-host.html#virConnectOpenReadOnly>
    pub fn open(uri: &str) -> Result<Self, Error> {
        be_quiet();
        let uri = CString::new(uri).map_err(|_| Error::invalid("the URI holds a NUL byte"))?;
        // SAFETY: the string lives across the call, which copies what it keeps.
        let connection = unsafe { sys::virConnectOpenReadOnly(uri.as_ptr()) };
        if connection.is_null() {
            return Err(Error::last());
        }
        let connection = Self(connection);
        if event_loop::is_running() {
            connection.keep_alive();
        }
        Ok(connection)
    }

    /// Has libvirt look whether the other end still answers, so that a remote host that is gone is known to
    /// be after (COUNT + 1) x EVERY_S seconds, and not only when TCP gives up. The event loop must run. What
    /// is no remote connection does without.
    ///
    /// <https://libvirt.org/html/libvirt-libvirt-host.html#virConnectSetKeepAlive>
    fn keep_alive(&self) {
        const EVERY_S: i32 = 4;
        const COUNT: u32 = 2;
        // SAFETY: the connection is open, and takes two numbers.
        unsafe { sys::virConnectSetKeepAlive(self.as_ptr(), EVERY_S, COUNT) };
    }

    pub(super) fn as_ptr(&self) -> sys::virConnectPtr {
        self.0
    }

    /// Whether its socket is still open; asks nobody.
    pub fn is_alive(&self) -> bool {
        // SAFETY: the pointer is an open connection for as long as `self` lives.
        unsafe { sys::virConnectIsAlive(self.as_ptr()) == 1 }
    }

    /// Every running guest (paused ones too), and every defined one where `inactive` is set.
    ///
    /// # Errors
    /// libvirt's words; nothing is returned then.
    ///
    /// <https://libvirt.org/html/libvirt-libvirt-domain.html#virConnectListAllDomains>
    pub fn guests(&self, inactive: bool) -> Result<Vec<Guest>, Error> {
        let flags = if inactive { 0 } else { sys::VIR_CONNECT_LIST_DOMAINS_ACTIVE };
        let mut list: *mut sys::virDomainPtr = ptr::null_mut();
        // SAFETY: the connection is open; libvirt sets `list` to an array of domains, which is ours.
        let returned = unsafe { sys::virConnectListAllDomains(self.as_ptr(), &mut list, flags) };
        // Before the domains are freed, which resets it.
        let error = (returned < 0).then(Error::last);
        // The number is the server's word, which libvirt passes on: neither the length of the array, nor
        // whether there is one, can be learned from it.
        // SAFETY: null, or an array that ends in NULL, in which we own one reference of each domain.
        let guests = unsafe {
            let guests = until_null(list).map(|domain| Guest::from_owned(domain)).collect();
            // The array itself was allocated with malloc and is freed once; may be null.
            libc::free(list.cast());
            guests
        };
        match error {
            Some(error) => Err(error),
            None => Ok(guests),
        }
    }

    /// The ids of every running guest, in no order; `None` where there are more than `most`.
    ///
    /// # Errors
    /// libvirt's words.
    ///
    /// <https://libvirt.org/html/libvirt-libvirt-domain.html#virConnectListDomains>
    pub fn running_ids(&self, most: usize) -> Result<Option<Vec<i32>>, Error> {
        // One more, so that a list that just fits is told from one that was cut.
        let room = i32::try_from(most + 1).map_err(|_| Error::invalid("too many guests"))?;
        let mut ids = vec![0; most + 1];
        // SAFETY: libvirt writes at most `room` ids, for which there is room.
        let count = unsafe { sys::virConnectListDomains(self.as_ptr(), ids.as_mut_ptr(), room) };
        let Ok(count) = usize::try_from(count) else { return Err(Error::last()) };
        ids.truncate(count);
        Ok((count <= most).then_some(ids))
    }

    /// The guest with this UUID.
    ///
    /// # Errors
    /// [`super::Kind::GuestGone`] where there is none.
    pub fn guest(&self, uuid: &uuid::Uuid) -> Result<Guest, Error> {
        // SAFETY: libvirt reads 16 bytes, which a UUID has.
        let domain = unsafe { sys::virDomainLookupByUUID(self.as_ptr(), uuid.as_bytes().as_ptr()) };
        if domain.is_null() {
            Err(Error::last())
        } else {
            // SAFETY: a domain of which we own the one reference.
            Ok(unsafe { Guest::from_owned(domain) })
        }
    }

    /// The guest with this name.
    ///
    /// # Errors
    /// [`super::Kind::GuestGone`] where there is none.
    pub fn guest_named(&self, name: &str) -> Result<Guest, Error> {
        let name = CString::new(name).map_err(|_| Error::invalid("the name holds a NUL byte"))?;
        // SAFETY: the string lives across the call.
        let domain = unsafe { sys::virDomainLookupByName(self.as_ptr(), name.as_ptr()) };
        if domain.is_null() {
            Err(Error::last())
        } else {
            // SAFETY: a domain of which we own the one reference.
            Ok(unsafe { Guest::from_owned(domain) })
        }
    }

    /// The hypervisor's host name.
    ///
    /// # Errors
    /// libvirt's words.
    ///
    /// <https://libvirt.org/html/libvirt-libvirt-host.html#virConnectGetHostname>
    pub fn host_name(&self) -> Result<String, Error> {
        // SAFETY: the connection is open; the answer is null or a string that we own.
        unsafe { owned(sys::virConnectGetHostname(self.as_ptr())) }
    }

    /// The driver behind the connection, such as QEMU.
    ///
    /// # Errors
    /// libvirt's words.
    ///
    /// <https://libvirt.org/html/libvirt-libvirt-host.html#virConnectGetType>
    pub fn driver(&self) -> Result<String, Error> {
        // SAFETY: the connection is open; the answer is null or a string that stays libvirt's, for as
        // long as the connection is open, and is copied before that ends.
        unsafe {
            let name = sys::virConnectGetType(self.as_ptr());
            if name.is_null() {
                return Err(Error::last());
            }
            Ok(CStr::from_ptr(name).to_string_lossy().into_owned())
        }
    }

    /// The host that the guests run on.
    ///
    /// # Errors
    /// libvirt's words.
    ///
    /// <https://libvirt.org/html/libvirt-libvirt-host.html#virNodeGetInfo>
    pub fn node(&self) -> Result<Node, Error> {
        let mut node = MaybeUninit::<sys::virNodeInfo>::zeroed();
        // SAFETY: the connection is open, libvirt fills the struct, and zeroes are valid for it.
        let node = unsafe {
            if sys::virNodeGetInfo(self.as_ptr(), node.as_mut_ptr()) < 0 {
                return Err(Error::last());
            }
            node.assume_init()
        };
        Ok(Node { cpus: node.cpus.into(), memory_kib: wide(node.memory) })
    }
}

/// A host, as virNodeGetInfo tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// CPUs that are on.
    pub cpus: u64,
    /// Memory, KiB.
    pub memory_kib: u64,
}

impl Connection {
    /// Versions, each as libvirt's one number (9.0.0 is 9000000): of the library in this process, of
    /// the daemon behind the connection, and of the hypervisor.
    ///
    /// <https://libvirt.org/html/libvirt-libvirt-host.html#virConnectGetVersion>
    pub fn versions(&self) -> [(&'static str, Result<u64, Error>); 3] {
        let number = |ask: &dyn Fn(*mut c_ulong) -> i32| {
            let mut number: c_ulong = 0;
            if ask(&mut number) < 0 { Err(Error::last()) } else { Ok(wide(number)) }
        };
        let null = ptr::null_mut();
        // SAFETY: the connection is open, and each call writes one number to where it is told.
        unsafe {
            [
                ("library", number(&|to| sys::virGetVersion(to, ptr::null(), null))),
                ("daemon", number(&|to| sys::virConnectGetLibVersion(self.as_ptr(), to))),
                ("hypervisor", number(&|to| sys::virConnectGetVersion(self.as_ptr(), to))),
            ]
        }
    }
}
