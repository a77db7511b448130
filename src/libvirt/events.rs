//! What libvirt tells of guests as it happens.
//!
//! libvirt calls back on the event loop's thread. Each callback copies what it is told, hands it to the one
//! taker and returns: it asks libvirt nothing, waits for nothing, and no panic leaves it.

use std::ffi::{CStr, c_char, c_int, c_uint, c_ulonglong, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::{mem, ptr};

use uuid::Uuid;
use virt::sys;

use super::statistics::Parameters;
use super::{Connection, Error, Kind, OwnedValue, event_loop};

/// Something that happened to a guest.
#[derive(Clone, Debug, PartialEq)]
pub struct GuestEvent {
    /// The domain's id when it happened; -1 when it does not run.
    pub id: i32,
    /// The guest's name.
    pub name: String,
    /// Its lasting identity.
    pub uuid: Uuid,
    /// What happened.
    pub what: Happening,
}

/// What happened, in libvirt's numbers and words.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // as in libvirt's documentation
pub enum Happening {
    /// virDomainEventType, and the detail that belongs to it.
    Lifecycle {
        event: i64,
        detail: i64,
    },
    Rebooted,
    /// virDomainEventWatchdogAction
    Watchdog {
        action: i64,
    },
    /// virDomainEventIOErrorAction
    IoError {
        path: String,
        alias: String,
        action: i64,
        reason: String,
    },
    /// virDomainBlockJobType and virConnectDomainEventBlockJobStatus, of the disk with this target.
    BlockJob {
        disk: String,
        kind: i64,
        status: i64,
    },
    BlockThreshold {
        disk: String,
        path: String,
        threshold_bytes: u64,
        excess_bytes: u64,
    },
    /// The typed parameters of the job that has ended.
    JobCompleted(Vec<(String, OwnedValue)>),
    DeviceAdded {
        alias: String,
    },
    DeviceRemoved {
        alias: String,
    },
    DeviceRemovalFailed {
        alias: String,
    },
    /// virConnectDomainEventAgentLifecycleState and its reason.
    Agent {
        state: i64,
        reason: i64,
    },
    /// virDomainMemoryFailureActionType
    MemoryFailure {
        action: i64,
    },
    /// Something in the guest's definition, such as the medium in a drive or a MAC address.
    Changed,
}

/// Takes events; called on the event loop's thread.
pub type EventTaker = Arc<dyn Fn(GuestEvent) + Send + Sync>;
/// Hears that the connection broke; called on the event loop's thread.
pub type ClosedTaker = Arc<dyn Fn() + Send + Sync>;

/// A connection whose events are handed over for as long as this lives. Like the connection, it stays on its
/// thread. Its end asks libvirt, and so may wait for it.
pub struct Subscription {
    connection: Connection,
    callbacks: Vec<c_int>,
    hears_close: bool,
}

/// What libvirt is told to call, by the number of the event.
static CALLBACKS: [(sys::virDomainEventID, Callback); 17] = [
    (sys::VIR_DOMAIN_EVENT_ID_LIFECYCLE, Callback::Lifecycle(on_lifecycle)),
    (sys::VIR_DOMAIN_EVENT_ID_REBOOT, Callback::Plain(on_reboot)),
    (sys::VIR_DOMAIN_EVENT_ID_WATCHDOG, Callback::Number(on_watchdog)),
    (sys::VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON, Callback::IoError(on_io_error)),
    (sys::VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2, Callback::BlockJob(on_block_job)),
    (sys::VIR_DOMAIN_EVENT_ID_BLOCK_THRESHOLD, Callback::Threshold(on_block_threshold)),
    (sys::VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, Callback::Parameters(on_job_completed)),
    (sys::VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, Callback::Text(on_device_added)),
    (sys::VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, Callback::Text(on_device_removed)),
    (sys::VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED, Callback::Text(on_device_removal_failed)),
    (sys::VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE, Callback::Numbers(on_agent)),
    (sys::VIR_DOMAIN_EVENT_ID_MEMORY_FAILURE, Callback::MemoryFailure(on_memory_failure)),
    (sys::VIR_DOMAIN_EVENT_ID_DISK_CHANGE, Callback::DiskChange(on_disk_change)),
    (sys::VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, Callback::NumberText(on_metadata_change)),
    (sys::VIR_DOMAIN_EVENT_ID_TUNABLE, Callback::Parameters(on_tunable)),
    (sys::VIR_DOMAIN_EVENT_ID_MEMORY_DEVICE_SIZE_CHANGE, Callback::TextSize(on_memory_size)),
    (sys::VIR_DOMAIN_EVENT_ID_NIC_MAC_CHANGE, Callback::Texts(on_mac_change)),
];

type Conn = sys::virConnectPtr;
type Dom = sys::virDomainPtr;
type Str = *const c_char;
type Opaque = *mut c_void;

/// The forms that callbacks have. libvirt takes them all as one type, and calls each as what it is.
enum Callback {
    Plain(unsafe extern "C" fn(Conn, Dom, Opaque)),
    Lifecycle(unsafe extern "C" fn(Conn, Dom, c_int, c_int, Opaque) -> c_int),
    Number(unsafe extern "C" fn(Conn, Dom, c_int, Opaque)),
    Numbers(unsafe extern "C" fn(Conn, Dom, c_int, c_int, Opaque)),
    NumberText(unsafe extern "C" fn(Conn, Dom, c_int, Str, Opaque)),
    Text(unsafe extern "C" fn(Conn, Dom, Str, Opaque)),
    TextSize(unsafe extern "C" fn(Conn, Dom, Str, c_ulonglong, Opaque)),
    Texts(unsafe extern "C" fn(Conn, Dom, Str, Str, Str, Opaque)),
    IoError(unsafe extern "C" fn(Conn, Dom, Str, Str, c_int, Str, Opaque)),
    BlockJob(unsafe extern "C" fn(Conn, Dom, Str, c_int, c_int, Opaque)),
    Threshold(unsafe extern "C" fn(Conn, Dom, Str, Str, c_ulonglong, c_ulonglong, Opaque)),
    Parameters(unsafe extern "C" fn(Conn, Dom, sys::virTypedParameterPtr, c_int, Opaque)),
    MemoryFailure(unsafe extern "C" fn(Conn, Dom, c_int, c_int, c_uint, Opaque)),
    DiskChange(unsafe extern "C" fn(Conn, Dom, Str, Str, Str, c_int, Opaque)),
}

impl Callback {
    fn generic(&self) -> sys::virConnectDomainEventGenericCallback {
        let function = match *self {
            Self::Plain(it) => it as *const (),
            Self::Lifecycle(it) => it as *const (),
            Self::Number(it) => it as *const (),
            Self::Numbers(it) => it as *const (),
            Self::NumberText(it) => it as *const (),
            Self::Text(it) => it as *const (),
            Self::TextSize(it) => it as *const (),
            Self::Texts(it) => it as *const (),
            Self::IoError(it) => it as *const (),
            Self::BlockJob(it) => it as *const (),
            Self::Threshold(it) => it as *const (),
            Self::Parameters(it) => it as *const (),
            Self::MemoryFailure(it) => it as *const (),
            Self::DiskChange(it) => it as *const (),
        };
        // SAFETY: all are pointers to functions of C's convention. libvirt calls each with the arguments
        // of the event that it was registered for, which are those of its form.
        Some(unsafe {
            mem::transmute::<*const (), unsafe extern "C" fn(Conn, Dom, Opaque)>(function)
        })
    }
}

impl Subscription {
    /// Connects to `uri`, and has all events of its guests handed to `take` from then on. `closed` hears
    /// when the connection breaks. The event loop must run.
    ///
    /// # Errors
    /// libvirt's words; [`Kind::Unsupported`] where the hypervisor's driver has no events.
    ///
    /// <https://libvirt.org/html/libvirt-libvirt-domain.html#virConnectDomainEventRegisterAny>
    pub fn begin(uri: &str, take: &EventTaker, closed: &ClosedTaker) -> Result<Self, Error> {
        let connection = Connection::open(uri)?;
        let mut this = Self { connection, callbacks: Vec::new(), hears_close: false };
        let opaque = Box::into_raw(Box::new(Arc::clone(closed))).cast();
        // SAFETY: the connection is open. libvirt frees what is behind `opaque` by our function, once, when
        // the callback is unregistered or the connection freed; where it does not take it, we do.
        unsafe {
            let connection = this.connection.as_ptr();
            let taken = sys::virConnectRegisterCloseCallback(
                connection,
                Some(on_close),
                opaque,
                Some(free_closed),
            );
            this.hears_close = taken == 0;
            if taken != 0 {
                free_closed(opaque);
            }
        }
        for (number, callback) in &CALLBACKS {
            if let Err(error) = this.register(*number, callback, take) {
                let is_needed = *number == sys::VIR_DOMAIN_EVENT_ID_LIFECYCLE;
                if is_needed || error.kind != Kind::Unsupported {
                    return Err(error);
                }
            }
        }
        Ok(this)
    }

    fn register(
        &mut self,
        number: sys::virDomainEventID,
        callback: &Callback,
        take: &EventTaker,
    ) -> Result<(), Error> {
        let number = c_int::try_from(number).map_err(|_| Error::invalid("no such event"))?;
        let opaque = Box::into_raw(Box::new(Arc::clone(take))).cast();
        // SAFETY: as for the callback for the connection's end; without a domain it is for all of them.
        unsafe {
            let id = sys::virConnectDomainEventRegisterAny(
                self.connection.as_ptr(),
                ptr::null_mut(),
                number,
                callback.generic(),
                opaque,
                Some(free_taker),
            );
            if id < 0 {
                let error = Error::last();
                free_taker(opaque);
                return Err(error);
            }
            self.callbacks.push(id);
        }
        Ok(())
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // SAFETY: the connection is open until this ends, and each callback is its own. Callbacks hold
        // references to the connection, which would else stay open.
        unsafe {
            let connection = self.connection.as_ptr();
            for id in self.callbacks.drain(..) {
                sys::virConnectDomainEventDeregisterAny(connection, id);
            }
            if self.hears_close {
                sys::virConnectUnregisterCloseCallback(connection, Some(on_close));
            }
        }
    }
}

unsafe extern "C" fn free_taker(opaque: Opaque) {
    // SAFETY: the pointer is of a box made in `register`, and libvirt calls this once.
    drop(unsafe { Box::from_raw(opaque.cast::<EventTaker>()) });
}

unsafe extern "C" fn free_closed(opaque: Opaque) {
    // SAFETY: the pointer is of a box made in `begin`, and libvirt calls this once.
    drop(unsafe { Box::from_raw(opaque.cast::<ClosedTaker>()) });
}

unsafe extern "C" fn on_close(_: Conn, _: c_int, opaque: Opaque) {
    // SAFETY: the pointer is of a box made in `begin`, which lives until it is unregistered.
    let closed = unsafe { &*opaque.cast::<ClosedTaker>() };
    let _ = catch_unwind(AssertUnwindSafe(|| closed()));
}

/// Hands an event over. Nothing unwinds into libvirt: a panic costs the event.
///
/// # Safety
/// `domain` must be a domain and `opaque` what `register` made.
unsafe fn deliver(domain: Dom, opaque: Opaque, what: impl FnOnce() -> Option<Happening>) {
    event_loop::note_event();
    let body = AssertUnwindSafe(|| {
        let mut uuid = [0; 16];
        // SAFETY: libvirt's callback has a domain that lives while it runs; the name is its own, and is
        // copied; 16 bytes are written.
        let (name, id) = unsafe {
            if sys::virDomainGetUUID(domain, uuid.as_mut_ptr()) < 0 {
                return;
            }
            (text(sys::virDomainGetName(domain)), sys::virDomainGetID(domain))
        };
        // C's (unsigned int)-1 is a domain that does not run.
        let id = i32::try_from(id).unwrap_or(-1);
        let Some(what) = what() else { return };
        // SAFETY: as the caller promises.
        let take = unsafe { &*opaque.cast::<EventTaker>() };
        take(GuestEvent { id, name, uuid: Uuid::from_bytes(uuid), what });
    });
    let _ = catch_unwind(body);
}

/// A copy of libvirt's string; empty for none.
///
/// # Safety
/// `text` must be null, or end in NUL and live for as long as this runs.
unsafe fn text(text: Str) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(text).to_string_lossy().into_owned() }
}

/// A callback: the arguments that libvirt hands over, and what they mean.
macro_rules! callbacks {
    ($($name:ident($($argument:ident: $type:ty),*) $what:expr;)+) => {$(
        unsafe extern "C" fn $name(_: Conn, domain: Dom, $($argument: $type,)* opaque: Opaque) {
            // SAFETY: libvirt hands over the domain, what was registered, and strings and parameters that
            // live while this runs.
            #[allow(unused_unsafe)]
            unsafe { deliver(domain, opaque, || unsafe { $what }) };
        }
    )+};
}

unsafe extern "C" fn on_lifecycle(
    _: Conn,
    domain: Dom,
    event: c_int,
    detail: c_int,
    opaque: Opaque,
) -> c_int {
    let what = || Some(Happening::Lifecycle { event: event.into(), detail: detail.into() });
    // SAFETY: libvirt hands over the domain, and what was registered.
    unsafe { deliver(domain, opaque, what) };
    0
}

callbacks! {
    on_reboot() Some(Happening::Rebooted);
    on_watchdog(action: c_int) Some(Happening::Watchdog { action: action.into() });
    on_io_error(path: Str, alias: Str, action: c_int, reason: Str) Some(Happening::IoError {
        path: text(path),
        alias: text(alias),
        action: action.into(),
        reason: text(reason),
    });
    on_block_job(disk: Str, kind: c_int, status: c_int) Some(Happening::BlockJob {
        disk: text(disk),
        kind: kind.into(),
        status: status.into(),
    });
    on_block_threshold(disk: Str, path: Str, threshold: c_ulonglong, excess: c_ulonglong)
        Some(Happening::BlockThreshold {
            disk: text(disk),
            path: text(path),
            threshold_bytes: threshold,
            excess_bytes: excess,
        });
    on_job_completed(parameters: sys::virTypedParameterPtr, count: c_int)
        Some(Happening::JobCompleted(owned(parameters, count)));
    on_device_added(alias: Str) Some(Happening::DeviceAdded { alias: text(alias) });
    on_device_removed(alias: Str) Some(Happening::DeviceRemoved { alias: text(alias) });
    on_device_removal_failed(alias: Str) Some(Happening::DeviceRemovalFailed { alias: text(alias) });
    on_agent(state: c_int, reason: c_int)
        Some(Happening::Agent { state: state.into(), reason: reason.into() });
    on_memory_failure(_recipient: c_int, action: c_int, _flags: c_uint)
        Some(Happening::MemoryFailure { action: action.into() });
    on_disk_change(_old: Str, _new: Str, _alias: Str, _reason: c_int) Some(Happening::Changed);
    on_metadata_change(_kind: c_int, _namespace: Str) Some(Happening::Changed);
    on_tunable(_parameters: sys::virTypedParameterPtr, _count: c_int) Some(Happening::Changed);
    on_memory_size(_alias: Str, _size: c_ulonglong) Some(Happening::Changed);
    on_mac_change(_alias: Str, _old: Str, _new: Str) Some(Happening::Changed);
}

/// A copy of libvirt's typed parameters.
///
/// # Safety
/// `array` must be `count` parameters that live for as long as this runs.
unsafe fn owned(array: sys::virTypedParameterPtr, count: c_int) -> Vec<(String, OwnedValue)> {
    // SAFETY: as the caller promises.
    let parameters = unsafe { Parameters::new(array, count) };
    let owned = |it: super::Parameter<'_>| {
        (String::from_utf8_lossy(it.name).into_owned(), OwnedValue::from(it.value))
    };
    parameters.map(owned).collect()
}
