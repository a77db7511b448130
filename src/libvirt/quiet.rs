//! What libvirt and the libraries below it would write on standard error, where each line must be a message of
//! ours. libvirt returns its errors, and so what it makes of libxml2's; only GLib's warnings are messages of
//! their own.
//!
//! GLib and libxml2 are libvirt's libraries, not ours: a libvirt without one of them has nothing to be silenced.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Once, OnceLock};
use std::{mem, process, ptr, slice};

use virt::sys;

/// Takes a message of GLib's, and whether GLib ends the process after it.
type MessageTaker = Box<dyn Fn(&str, bool) + Send + Sync>;

/// Who takes GLib's messages, and in which process.
static TAKER: OnceLock<(u32, MessageTaker)> = OnceLock::new();

/// Hands GLib's messages to `taker`, which may be called by any thread. Without one they are dropped. Only
/// the first one is used.
pub fn take_library_messages(taker: impl Fn(&str, bool) + Send + Sync + 'static) {
    let _ = TAKER.set((process::id(), Box::new(taker)));
}

/// Stops libvirt, GLib and libxml2 from writing on standard error. It comes before the first call of libvirt,
/// and more than once does nothing.
pub(super) fn be_quiet() {
    static FIRST: Once = Once::new();
    FIRST.call_once(|| {
        drop_errors_of_libvirt();
        take_messages_of_glib();
        drop_messages_of_libxml2();
    });
}

fn drop_errors_of_libvirt() {
    extern "C" fn pass_over(_: *mut c_void, _: sys::virErrorPtr) {}
    // SAFETY: the function is a plain one that lives as long as the program.
    unsafe { sys::virSetErrorFunc(ptr::null_mut(), Some(pass_over)) };
}

/// GLib's GLogField.
#[repr(C)]
struct LogField {
    key: *const c_char,
    value: *const c_void,
    /// -1 for a string that ends in NUL.
    length: isize,
}

type LogWriter = extern "C" fn(c_uint, *const LogField, usize, *mut c_void) -> c_int;
type SetLogWriter =
    unsafe extern "C" fn(LogWriter, *mut c_void, Option<unsafe extern "C" fn(*mut c_void)>);

/// <https://docs.gtk.org/glib/func.log_set_writer_func.html>
fn take_messages_of_glib() {
    let Some(symbol) = symbol(c"g_log_set_writer_func") else { return };
    // SAFETY: the function has this type since GLib 2.50, which is older than any libvirt that uses GLib. The
    // writer is a plain function that lives as long as the program; there is no data to be freed.
    unsafe {
        let set = mem::transmute::<*mut c_void, SetLogWriter>(symbol);
        set(write_message, ptr::null_mut(), None);
    }
}

extern "C" fn write_message(
    level: c_uint,
    fields: *const LogField,
    count: usize,
    _: *mut c_void,
) -> c_int {
    // GLogLevelFlags: after an error GLib aborts. What is only for GLib's own debugging it does not print by
    // default either.
    const ENDS: c_uint = 1 << 1 | 1 << 2;
    const DETAILS: c_uint = 1 << 6 | 1 << 7;
    const HANDLED: c_int = 1;
    if level & DETAILS == 0 {
        // SAFETY: GLib hands over so many fields, and the keys and values live across the call.
        let text = unsafe { text_of(fields, count) };
        // Nothing unwinds into GLib: a panic costs the message.
        let hand_over = || take_message(&text.unwrap_or_default(), level & ENDS != 0);
        let _ = catch_unwind(AssertUnwindSafe(hand_over));
    }
    HANDLED
}

fn take_message(text: &str, ends: bool) {
    // A process that libvirt has just forked to start a program there has the locks of threads that it has
    // not: nothing that takes one may be called in it.
    if let Some((process, taker)) = TAKER.get()
        && *process == process::id()
    {
        taker(text, ends);
    }
}

/// The text of a message, if it has one.
///
/// # Safety
/// `fields` are `count` fields with valid keys and values.
unsafe fn text_of(fields: *const LogField, count: usize) -> Option<String> {
    if fields.is_null() {
        return None;
    }
    // SAFETY: as the caller promises. A negative length says that the value ends in NUL.
    unsafe {
        let fields = slice::from_raw_parts(fields, count);
        let message = fields.iter().find(|field| CStr::from_ptr(field.key) == c"MESSAGE")?;
        let bytes = match usize::try_from(message.length) {
            Ok(length) => slice::from_raw_parts(message.value.cast::<u8>(), length),
            Err(_) => CStr::from_ptr(message.value.cast()).to_bytes(),
        };
        Some(String::from_utf8_lossy(bytes).into_owned())
    }
}

/// libxml2 prints on a stream that one can set: where the test driver's file is missing, for one. libvirt's
/// own error says so, too.
///
/// <https://gnome.pages.gitlab.gnome.org/libxml2/html/xmlerror_8h.html>
fn drop_messages_of_libxml2() {
    type SetStream = unsafe extern "C" fn(*mut c_void, *const c_void);
    // Of this thread, and of all that have not used libxml2 yet.
    let setters =
        [c"xmlSetGenericErrorFunc", c"xmlThrDefSetGenericErrorFunc"].into_iter().filter_map(symbol);
    let setters: Vec<*mut c_void> = setters.collect();
    if setters.is_empty() {
        return;
    }
    // SAFETY: both strings end in NUL. The stream stays open until the process ends, as libxml2 may use it
    // that long.
    let stream = unsafe { libc::fopen(c"/dev/null".as_ptr(), c"we".as_ptr()) };
    if stream.is_null() {
        return;
    }
    for symbol in setters {
        // SAFETY: both functions have this type. Without a function of ours libxml2 prints on the stream.
        unsafe { mem::transmute::<*mut c_void, SetStream>(symbol)(stream.cast(), ptr::null()) };
    }
}

/// A function of a library that is loaded.
fn symbol(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: the name ends in NUL.
    let symbol = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!symbol.is_null()).then_some(symbol)
}
