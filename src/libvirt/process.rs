//! What libvirt does to the process as a whole: its log, the processes that it starts, and the end.

use std::ffi::{c_int, c_long, c_void};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{env, fs, mem, ptr};

use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::getpid;

/// Children that were there before libvirt could start any: a shell that replaced itself by this program
/// leaves its own behind.
static INHERITED_CHILDREN: OnceLock<Vec<i32>> = OnceLock::new();

/// Whether standard output was closed when the program began. Rust's runtime opens the null device in its
/// place before `main`, so the C library asks before that.
static STDOUT_WAS_CLOSED: AtomicBool = AtomicBool::new(false);

// SAFETY: the C library calls each function of this section once, before `main`. This one asks the kernel
// about a descriptor and stores the answer, for which nothing must be set up before.
#[used]
#[unsafe(link_section = ".init_array")]
static ASK_ABOUT_STDOUT: extern "C" fn() = {
    extern "C" fn ask() {
        // SAFETY: F_GETFD takes no pointer, and changes nothing.
        let flags = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) };
        STDOUT_WAS_CLOSED.store(flags == -1, Ordering::Relaxed);
    }
    ask
};

/// Whether the program began without a standard output.
pub fn stdout_was_closed() -> bool {
    STDOUT_WAS_CLOSED.load(Ordering::Relaxed)
}

/// What must be done before libvirt is used, as `main`'s first act. With a second thread in the process
/// it does nothing but look: what it sets belongs to the whole process.
///
/// It stops libvirt from writing its own log on standard error, where each line must be a message of ours:
/// of what runs in this process (the test driver, the near end of a remote connection) it warns there, of a
/// host's name that cannot be resolved for one. Whoever sets libvirt's own variables gets its log.
///
/// <https://libvirt.org/logging.html>
pub fn begin_process() {
    INHERITED_CHILDREN.get_or_init(children);
    if !is_the_only_thread() {
        return;
    }
    park_threads_that_divide_by_zero();
    tune_malloc();
    let theirs = ["LIBVIRT_DEBUG", "LIBVIRT_LOG_FILTERS", "LIBVIRT_LOG_OUTPUTS"];
    if !theirs.iter().any(|name| env::var_os(name).is_some()) {
        // SAFETY: there is no other thread that could read the environment: that was looked up, and only
        // this one could start another.
        unsafe { env::set_var("LIBVIRT_LOG_OUTPUTS", "4:file:/dev/null") };
    }
}

/// Whether this thread is the process's only one; not where /proc does not say so.
fn is_the_only_thread() -> bool {
    fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() == 1)
}

/// Lets a thread that divides by zero wait for ever instead of ending the process. libvirt's client divides
/// by a number that the server sends (the parameters a CPU, in the answer to virDomainGetCPUStats): so
/// a hostile hypervisor could end the collector of all others. The thread then counts as one whose call
/// does not come back, which is what it is. Rust's own divisions check, and never get here.
fn park_threads_that_divide_by_zero() {
    extern "C" fn park(signal: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
        // SAFETY: the kernel hands over a siginfo_t. All that is called may be called by a signal's
        // handler. What this thread had locked stays so: its connection, which no other thread uses.
        unsafe {
            let is_division = !info.is_null() && (*info).si_code == FPE_INTDIV;
            if is_division && libc::syscall(libc::SYS_gettid) != c_long::from(libc::getpid()) {
                loop {
                    libc::pause();
                }
            }
            // Whatever else it is ends the process, as without this handler: at once where an
            // instruction of this thread is its cause, which is tried again, else by this signal.
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        }
    }
    // SAFETY: the action is complete, and the handler lives as long as the program.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = park;
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_SIGINFO;
        libc::sigaction(libc::SIGFPE, &action, ptr::null_mut());
    }
}

/// An integer divided by zero, in a SIGFPE's siginfo_t.
const FPE_INTDIV: c_int = 1;

/// Tunes glibc's allocator for libvirt's answers: thousands of small blocks that are allocated and freed
/// together. No bins of small blocks that a large one makes it sort out first, no handing back to
/// the kernel of what the next answer needs again, and no heap for each thread. That saves a tenth of a
/// collection's CPU time, and 0.5 MiB of memory.
///
/// <https://man7.org/linux/man-pages/man3/mallopt.3.html>
fn tune_malloc() {
    #[cfg(target_env = "gnu")]
    {
        const KEPT_BYTES: i32 = 4 << 20;
        const GROWTH_BYTES: i32 = 512 << 10;
        // SAFETY: numbers that glibc keeps, set before there is a second thread.
        unsafe {
            libc::mallopt(libc::M_MXFAST, 0);
            libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_BYTES);
            libc::mallopt(libc::M_TOP_PAD, GROWTH_BYTES);
            libc::mallopt(libc::M_ARENA_MAX, 2);
        }
    }
}

/// Ends the process at once, without the clean-up that libvirt's own libraries register for its end:
/// it would free state that threads still use, which are stuck in a call or about to come back.
/// An ssh that waits for a host which does not answer would stay behind, one for each run: it is told to
/// end, too.
pub fn end_process(code: u8) -> ! {
    let inherited = INHERITED_CHILDREN.get().map_or(&[][..], Vec::as_slice);
    children().into_iter().filter(|child| !inherited.contains(child)).for_each(terminate);
    // SAFETY: _exit returns to nobody, and what this program writes is not buffered.
    unsafe { libc::_exit(code.into()) }
}

/// Tells a child to end. libvirt may have waited for it since it was found, so that its number can belong
/// to another process by now: the process is held by a descriptor first, and then looked at again.
fn terminate(child: i32) {
    // SAFETY: the call takes two numbers. The descriptor is ours, and is closed when it is dropped.
    let process = unsafe {
        let number = libc::syscall(libc::SYS_pidfd_open, child, 0);
        match c_int::try_from(number) {
            Ok(number) if number >= 0 => OwnedFd::from_raw_fd(number),
            _ => return,
        }
    };
    if is_child(child) {
        // SAFETY: the descriptor is open; without a siginfo_t the signal is as by kill. A process that
        // has ended meanwhile needs none.
        unsafe {
            let none = ptr::null_mut::<libc::siginfo_t>();
            let process = process.as_raw_fd();
            libc::syscall(libc::SYS_pidfd_send_signal, process, libc::SIGTERM, none, 0);
        }
    }
}

/// Takes a session keyring of its own, an empty one: what the session before has in its keyring, such as
/// root's tickets of Kerberos, could be used by all that this process starts. Not where the kernel has
/// no keyrings. It is here because it needs a call that only unsafe code can make.
///
/// <https://man7.org/linux/man-pages/man7/session-keyring.7.html>
pub fn leave_session_keyring() {
    // SAFETY: the call takes a number and a name, which may be null for a keyring without one.
    unsafe {
        let nameless = ptr::null::<libc::c_char>();
        libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, nameless);
    }
}

/// The children of this process: ssh, where a URI says so; mostly there are none.
fn children() -> Vec<i32> {
    let any = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    if waitid(Id::All, any) == Err(Errno::ECHILD) {
        return Vec::new();
    }
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| is_child(*pid)).collect()
}

fn is_child(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state and the parent are after the name in brackets, which may hold anything.
    let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1));
    parent == Some(getpid().to_string().as_str())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    use super::*;

    #[test]
    fn a_child_is_found_while_it_lives() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let pid = child.id().try_into().unwrap();
        assert!(children().contains(&pid));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(!children().contains(&pid));
    }

    #[test]
    fn a_child_is_ended_and_a_stranger_is_not() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        // Its parent is a shell, not this process.
        let mut shell = Command::new("sh")
            .args(["-c", "sleep 60 & echo $!; wait $!; echo $?"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(shell.stdout.take().unwrap());
        let mut stranger = String::new();
        output.read_line(&mut stranger).unwrap();
        let stranger = stranger.trim().parse().unwrap();
        terminate(stranger);
        terminate(child.id().try_into().unwrap());
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGTERM));
        let stranger = Pid::from_raw(stranger);
        assert_eq!(kill(stranger, Signal::SIGKILL), Ok(()));
        // So the shell has seen it end by this signal, and by none before.
        shell.wait().unwrap();
        let mut ended = String::new();
        output.read_line(&mut ended).unwrap();
        assert_eq!(ended.trim(), (128 + libc::SIGKILL).to_string());
    }

    /// The tests' process has many threads, so that nothing may be set in its environment.
    #[test]
    fn nothing_is_set_beside_another_thread() {
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || receiver.recv());
        assert!(!is_the_only_thread());
        begin_process();
        assert_eq!(env::var_os("LIBVIRT_LOG_OUTPUTS"), None);
        drop(sender);
        let _ = thread.join();
    }
}
