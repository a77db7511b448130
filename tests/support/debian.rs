//! The bare Debian of tests/lab: unpacked by the test that needs it, removed with it.

use super::process::{Finished, run};
use super::repository;
use super::skip;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

pub struct Debian {
    folder: PathBuf,
    _parent: TempDir,
}

impl Debian {
    /// A fresh one; none, said aloud, where this machine or user cannot have one.
    pub fn require(test: &str) -> Option<Debian> {
        // Only one of several tests downloads it.
        for step in ["can", "fetch"] {
            let done = run(Command::new(script()).arg(step));
            if !done.status.success() {
                let last = done.stderr.lines().last().unwrap_or_default();
                skip(test, last.trim_start_matches("debian: "));
                return None;
            }
        }
        Some(Debian::up())
    }

    fn up() -> Debian {
        let parent = tempfile::Builder::new().prefix("tv-debian-").tempdir().unwrap();
        let debian = Debian { folder: parent.path().join("root"), _parent: parent };
        run(Command::new(script()).arg("up").arg(&debian.folder)).success();
        debian
    }

    /// A file in it, by the name that this side knows it by.
    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.join(path.trim_start_matches('/'))
    }

    /// Copies a file of this side into its /tmp.
    pub fn bring(&self, file: &Path, name: &str) {
        std::fs::copy(file, self.path("tmp").join(name)).unwrap();
    }

    /// Runs a program in it, as its root, to whatever end.
    pub fn run(&self, command: &[&str]) -> Finished {
        run(Command::new(script()).arg("run").arg(&self.folder).args(command))
    }

    /// Runs a shell's script in it, as its root, that must succeed; returns what it printed.
    pub fn shell(&self, script: &str) -> String {
        self.run(&["sh", "-euc", script]).success().stdout
    }

    /// Everything in it, with kind, mode, owner, and content or target, but for what dpkg, apt and
    /// man write down for themselves, and /tmp.
    pub fn contents(&self) -> BTreeSet<String> {
        let ours = [
            "./proc",
            "./tmp",
            "./etc/ld.so.cache",
            "./var/cache/apt",
            "./var/cache/debconf",
            "./var/cache/ldconfig",
            "./var/cache/man",
            "./var/lib/apt",
            "./var/lib/dpkg",
            "./var/log/apt",
            "./var/log/dpkg.log",
            "./var/log/alternatives.log",
        ];
        let pruned = ours.map(|path| format!("-path {path}")).join(" -o ");
        // Files below /usr by size and time, since only packages write there; the few others by content.
        let script = format!(
            "cd /; find . \\( {pruned} \\) -prune -o -printf '%y %m %u:%g %p %l\\n'
             find usr -type f -printf '%s %T@ %p\\n'
             find . \\( {pruned} -o -path ./usr \\) -prune -o -type f -print0 | xargs -0 sha256sum"
        );
        self.shell(&script).lines().map(str::to_owned).collect()
    }
}

impl Drop for Debian {
    fn drop(&mut self) {
        // Its files are root's, so the folder's own end would not do.
        let down = run(Command::new(script()).arg("down").arg(&self.folder));
        if !down.status.success() && !std::thread::panicking() {
            panic!("{down}");
        }
    }
}

fn script() -> PathBuf {
    repository().join("tests/lab/debian")
}
