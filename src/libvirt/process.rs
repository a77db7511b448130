//! What libvirt does to the process as a whole: its log, the processes that it starts, and the end.

use std::sync::OnceLock;
use std::{env, fs};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Pid, getpid};

/// Children that were there before libvirt could start any: whoever replaces a shell by this program
/// hands them down.
static HANDED_DOWN: OnceLock<Vec<Pid>> = OnceLock::new();

/// Stops libvirt from writing its own log on standard error, where each line must be a message of ours:
/// of what runs in this process (the test driver, the near end of a remote connection) it warns there, of a
/// host's name that cannot be resolved for one. Whoever sets libvirt's own variables gets its log.
///
/// To be called before any thread is started: it sets a variable of the environment.
///
/// <https://libvirt.org/logging.html>
pub fn begin_process() {
    HANDED_DOWN.get_or_init(children);
    let theirs = ["LIBVIRT_DEBUG", "LIBVIRT_LOG_FILTERS", "LIBVIRT_LOG_OUTPUTS"];
    if !theirs.iter().any(|name| env::var_os(name).is_some()) {
        // SAFETY: there is no other thread yet that could read the environment.
        unsafe { env::set_var("LIBVIRT_LOG_OUTPUTS", "4:file:/dev/null") };
    }
}

/// Ends the process at once, without the clean-up that libvirt's own libraries register for its end:
/// it would take the ground from under threads that are still in a call, stuck or about to come back.
/// An ssh that waits for a host which does not answer would stay behind, one for each run: it is told to
/// end, too.
pub fn end_process(code: u8) -> ! {
    let handed_down = HANDED_DOWN.get().map_or(&[][..], Vec::as_slice);
    for child in children().into_iter().filter(|child| !handed_down.contains(child)) {
        // One that has ended meanwhile needs no signal.
        let _ = kill(child, Signal::SIGTERM);
    }
    // SAFETY: _exit returns to nobody, and what this program writes is not buffered.
    unsafe { libc::_exit(code.into()) }
}

/// The children of this process: ssh, where a URI says so; mostly there are none.
fn children() -> Vec<Pid> {
    let any = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    if waitid(Id::All, any) == Err(Errno::ECHILD) {
        return Vec::new();
    }
    let us = getpid().to_string();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_ours = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The state and the parent stand behind the name in brackets, which may hold anything.
        let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1));
        parent == Some(us.as_str())
    };
    pids.filter(is_ours).map(Pid::from_raw).collect()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_child_is_found_while_it_lives() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let pid = Pid::from_raw(child.id().try_into().unwrap());
        assert!(children().contains(&pid));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(!children().contains(&pid));
    }
}
