//! How a process of root's becomes another user for good, in such a way that whoever is that user gains
//! nothing by it: the second process has no terminal of root's, no file, no key and no right of his, and
//! nobody can look into it.
//!
//! The process does not start another program afterwards: by that the kernel would let the user trace it
//! again. So it begins with this, before it reads anything of that user's or starts a thread.

use std::ffi::OsString;
use std::fs;

use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{
    AccessFlags, Gid, Uid, User, access, close, getpid, getresuid, getsid, initgroups, setresgid,
    setresuid, setsid,
};

use crate::libvirt;

/// The first argument of such a process; the second is the user's name, and the rest is a command line.
pub(super) const WORD: &str = "become-user";
/// Its exit code where that user could not have started this program.
pub(super) const CANNOT_RUN: u8 = 126;

/// That the process could not become that user: a message, and the exit code.
pub type Refused = (String, u8);

/// Becomes the user that the command line names, where it begins so, and takes those words out of it.
/// To be called by `main` before all else.
///
/// # Errors
/// Where anything of root's would be left: the process must end then.
pub fn take_over(arguments: &mut Vec<OsString>) -> Result<(), Refused> {
    if arguments.get(1).is_none_or(|word| word != WORD) {
        return Ok(());
    }
    let name = arguments.get(2).map(|name| name.to_string_lossy().into_owned());
    arguments.drain(1..arguments.len().min(3));
    let found = name.and_then(|name| User::from_name(&name).ok().flatten());
    let Some(user) = found.filter(|user| !user.uid.is_root()) else {
        return Err(("there is no such user to become".to_owned(), 2));
    };
    give_up(&user).map_err(|what| (format!("cannot become {}: {what}", user.name), 1))?;
    let Ok(program) = std::env::current_exe() else { return Ok(()) };
    let reason = |errno| (format!("{} cannot start this program: {errno}", user.name), CANNOT_RUN);
    access(&program, AccessFlags::X_OK).map_err(reason)
}

fn give_up(user: &User) -> Result<(), String> {
    let failed = |what: &'static str| move |errno| format!("{what}: {errno}");
    close_inherited_files();
    // Without a session of its own, the user could write into root's terminal.
    if getsid(None) != Ok(getpid()) {
        setsid().map_err(failed("setsid"))?;
    }
    libvirt::leave_session_keyring();
    umask(Mode::from_bits_truncate(0o077));
    let name = std::ffi::CString::new(user.name.as_str()).map_err(|error| error.to_string())?;
    initgroups(&name, user.gid).map_err(failed("initgroups"))?;
    setresgid(user.gid, user.gid, user.gid).map_err(failed("setresgid"))?;
    setresuid(user.uid, user.uid, user.uid).map_err(failed("setresuid"))?;
    prctl::set_no_new_privs().map_err(failed("no_new_privs"))?;
    // The kernel has seen to it when the user changed, but for where fs.suid_dumpable says otherwise.
    prctl::set_dumpable(false).map_err(failed("dumpable"))?;
    // After the user: a change of it resets this.
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(failed("pdeathsig"))?;
    is_given_up(user.uid, user.gid)
}

/// Looks whether all of it is so.
fn is_given_up(uid: Uid, gid: Gid) -> Result<(), String> {
    let now = getresuid().map_err(|errno| errno.to_string())?;
    let groups = nix::unistd::getresgid().map_err(|errno| errno.to_string())?;
    let is_user = [now.real, now.effective, now.saved].iter().all(|it| *it == uid)
        && [groups.real, groups.effective, groups.saved].iter().all(|it| *it == gid);
    let status = fs::read_to_string("/proc/self/status").map_err(|error| error.to_string())?;
    let has_no = |field: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(field));
        value.is_some_and(|value| value.trim().bytes().all(|digit| digit == b'0'))
    };
    let is_bare = ["CapPrm:", "CapEff:", "CapAmb:"].into_iter().all(has_no);
    let is_held = prctl::get_no_new_privs() == Ok(true) && prctl::get_dumpable() == Ok(false);
    if is_user && is_bare && is_held { Ok(()) } else { Err("it keeps rights of root's".to_owned()) }
}

/// Whatever root's shell or sudo had open is still open here, where nobody had marked it.
fn close_inherited_files() {
    let open = fs::read_dir("/proc/self/fd").map(|files| {
        let number = |name: OsString| name.to_str()?.parse().ok();
        files.flatten().filter_map(|file| number(file.file_name())).collect()
    });
    let open: Vec<i32> = open.unwrap_or_else(|_| (0..1024).collect());
    for number in open.into_iter().filter(|number| *number > 2) {
        // The folder itself is among them, and is closed by now.
        let _ = close(number);
    }
}
