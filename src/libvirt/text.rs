//! Strings that libvirt hands over.

use std::ffi::{CStr, c_char};

use super::Error;

/// Copies a string of which we own the memory, and frees it.
///
/// # Safety
/// `text` must be null, after an error, or a NUL-terminated string allocated with malloc that
/// nobody else frees.
pub(super) unsafe fn owned(text: *mut c_char) -> Result<String, Error> {
    if text.is_null() {
        return Err(Error::last());
    }
    // SAFETY: as the caller promises.
    unsafe {
        let copy = CStr::from_ptr(text).to_string_lossy().into_owned();
        libc::free(text.cast());
        Ok(copy)
    }
}
