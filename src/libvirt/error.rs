//! libvirt's errors, sorted by what they mean for a collection.

use std::ffi::CStr;
use std::fmt;

use serde::{Deserialize, Serialize};
use virt::sys;

/// What an error means for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// There is no such guest, or storage pool, (any more): no error of a collection.
    GuestGone,
    /// This hypervisor's driver or this libvirt does not have the call, flag or statistic.
    Unsupported,
    /// Anything else.
    Other,
}

/// An error of a libvirt call, with libvirt's own words.
#[derive(Clone, Debug)]
pub struct Error {
    /// What it means.
    pub kind: Kind,
    message: String,
}

impl Error {
    /// The error of the call that this thread made last.
    pub(super) fn last() -> Self {
        // SAFETY: virGetLastError returns null or this thread's own error object, which stays as
        // it is until the thread's next libvirt call; both are read before that.
        let (code, message) = unsafe {
            let error = sys::virGetLastError();
            if error.is_null() {
                (0, None)
            } else {
                let message = (*error).message;
                let text = (!message.is_null())
                    .then(|| CStr::from_ptr(message).to_string_lossy().into_owned());
                ((*error).code as sys::virErrorNumber, text)
            }
        };
        let message = message.unwrap_or_else(|| "libvirt gave no reason".to_owned());
        Self { kind: kind(code), message }
    }

    /// The connection broke while it was used.
    pub fn connection_lost() -> Self {
        Self::invalid("the connection to libvirt broke")
    }

    /// An error that a call had once, or that replaces libvirt's.
    pub fn of(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// An error that we found before libvirt could.
    pub(super) fn invalid(message: &str) -> Self {
        Self { kind: Kind::Other, message: message.to_owned() }
    }
}

fn kind(code: sys::virErrorNumber) -> Kind {
    match code {
        sys::VIR_ERR_NO_DOMAIN | sys::VIR_ERR_NO_STORAGE_POOL => Kind::GuestGone,
        sys::VIR_ERR_NO_SUPPORT
        | sys::VIR_ERR_ARGUMENT_UNSUPPORTED
        | sys::VIR_ERR_CONFIG_UNSUPPORTED
        | sys::VIR_ERR_OPERATION_UNSUPPORTED
        // What an older libvirt says of a flag or group that it does not know. We pass no other arguments that
        // could be invalid.
        | sys::VIR_ERR_INVALID_ARG => Kind::Unsupported,
        _ => Kind::Other,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
