//! Arrays that libvirt hands over or fills.
//!
//! Much of what libvirt's client tells of a length is the word of the server at the other end, which may
//! be hostile or broken. So an array that ends in NULL is read to its NULL, and one that libvirt fills has
//! room for the longest answer that libvirt's client takes, however little was asked for.

use std::iter;
use std::ptr;

use virt::sys;

use super::statistics::{Parameter, Parameters};

/// The elements of an array that ends in NULL.
///
/// # Safety
/// `array` must be null, or an array that ends in NULL and lives for as long as the iterator is used.
pub(super) unsafe fn until_null<T>(array: *mut *mut T) -> impl Iterator<Item = *mut T> {
    let mut next = array;
    iter::from_fn(move || {
        if next.is_null() {
            return None;
        }
        // SAFETY: `next` is at or before the NULL, and never goes past it.
        unsafe {
            let element = *next;
            next = if element.is_null() { ptr::null_mut() } else { next.add(1) };
            (!element.is_null()).then_some(element)
        }
    })
}

/// Typed parameters that libvirt has allocated: the one owner of the C array.
pub struct TypedParameters {
    array: sys::virTypedParameterPtr,
    count: i32,
}

impl TypedParameters {
    pub(super) fn none() -> Self {
        Self { array: ptr::null_mut(), count: 0 }
    }

    /// Where libvirt puts the array and its length. It allocates the one by the other.
    pub(super) fn as_mut(&mut self) -> (*mut sys::virTypedParameterPtr, *mut i32) {
        (&raw mut self.array, &raw mut self.count)
    }

    /// The parameters, in libvirt's order.
    pub fn iter(&self) -> impl Iterator<Item = Parameter<'_>> {
        // SAFETY: libvirt gave `count` parameters, which live until they are freed in `drop`.
        unsafe { Parameters::new(self.array, self.count) }
    }
}

impl Drop for TypedParameters {
    fn drop(&mut self) {
        // SAFETY: the array came from libvirt with that many parameters, and is freed once, here;
        // null and 0 are allowed.
        unsafe { sys::virTypedParamsFree(self.array, self.count) };
    }
}

/// Room for typed parameters, which libvirt fills. A server may put strings where none belong: they are
/// freed with the array.
pub(super) struct ParameterArray(Vec<sys::virTypedParameter>);

impl ParameterArray {
    pub(super) fn with_room(room: usize) -> Self {
        let empty = sys::virTypedParameter {
            field: [0; sys::VIR_TYPED_PARAM_FIELD_LENGTH as usize],
            type_: 0,
            value: sys::_virTypedParameterValue { ul: 0 },
        };
        Self(vec![empty; room])
    }

    pub(super) fn as_mut_ptr(&mut self) -> sys::virTypedParameterPtr {
        self.0.as_mut_ptr()
    }

    /// Those that libvirt filled: the others have no type.
    pub(super) fn iter(&self) -> impl Iterator<Item = Parameter<'_>> {
        self.0.iter().filter_map(Parameter::read)
    }
}

impl Drop for ParameterArray {
    fn drop(&mut self) {
        let count = i32::try_from(self.0.len()).unwrap_or(i32::MAX);
        // SAFETY: each is as libvirt filled it, or zero, and its strings are freed once, here.
        unsafe { sys::virTypedParamsClear(self.0.as_mut_ptr(), count) };
    }
}
