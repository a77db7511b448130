//! A mount that can be made to answer no more: a file system in user space, whose server is stopped. Whoever
//! touches a file on it then waits until the server goes on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

use super::servers::require_program;
use super::{skip, wait_until};

const MOUNTED_WITHIN: Duration = Duration::from_secs(60);

pub struct DeadMount {
    scratch: tempfile::TempDir,
    server: Child,
}

impl DeadMount {
    /// One that still answers; `None`, said aloud, where there can be none.
    pub fn require(test: &str) -> Option<DeadMount> {
        Self::of(test, &[])
    }

    /// One whose server is asked for locks as well, so that to let one go waits like everything else. No process
    /// can end then while it does.
    pub fn with_locks(test: &str) -> Option<DeadMount> {
        Self::of(test, &["--multithreaded", "--enable-lock-forwarding"])
    }

    fn of(test: &str, options: &[&str]) -> Option<DeadMount> {
        let bindfs = require_program(test, "BINDFS", "bindfs")?;
        if !geteuid().is_root() || !Path::new("/dev/fuse").exists() {
            skip(test, "a file system in user space needs root and /dev/fuse");
            return None;
        }
        let scratch = tempfile::tempdir().unwrap();
        for folder in ["real", "mount"] {
            fs::create_dir(scratch.path().join(folder)).unwrap();
        }
        // In the foreground, so that it is this very process that is stopped and ended.
        let server = Command::new(bindfs)
            .arg("-f")
            .args(options)
            .arg(scratch.path().join("real"))
            .arg(scratch.path().join("mount"))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mount = DeadMount { scratch, server };
        fs::write(mount.real("is-there"), "").unwrap();
        wait_until("the mount", MOUNTED_WITHIN, || mount.path("is-there").exists().then_some(()));
        Some(mount)
    }

    /// A file on the mount.
    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join("mount").join(name)
    }

    /// The same file where it can be reached, whatever the mount does.
    pub fn real(&self, name: &str) -> PathBuf {
        self.scratch.path().join("real").join(name)
    }

    /// A folder beside the mount.
    pub fn beside(&self) -> &Path {
        self.scratch.path()
    }

    /// It answers no more.
    pub fn dies(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// It answers no more, from a moment on in which this process has nothing of it open: the kernel lets no
    /// process end before its last file on such a mount is closed.
    pub fn dies_unused_by(&self, process: u32) {
        let mut unused = 0;
        wait_until("nothing on the mount is open", MOUNTED_WITHIN, || {
            unused = if self.opened_by(process).is_empty() { unused + 1 } else { 0 };
            (unused > 5).then_some(())
        });
        self.dies();
    }

    /// What this process has open of it.
    pub fn opened_by(&self, process: u32) -> Vec<PathBuf> {
        let mount = self.path("");
        let handles = fs::read_dir(format!("/proc/{process}/fd")).unwrap().flatten();
        let opened = handles.filter_map(|handle| fs::read_link(handle.path()).ok());
        opened.filter(|path| path.starts_with(&mount)).collect()
    }

    /// It answers again, what it was asked meanwhile too.
    pub fn is_back(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.server.id().try_into().unwrap()), signal).unwrap();
    }
}

impl Drop for DeadMount {
    fn drop(&mut self) {
        // Without its server each call on the mount fails at once, and whoever waited is free.
        let _ = self.server.kill();
        let _ = self.server.wait();
        let mount = self.scratch.path().join("mount");
        let _ = Command::new("umount").arg("--lazy").arg(mount).status();
    }
}
