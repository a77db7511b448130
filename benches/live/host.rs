//! A hypervisor with guests: a fleet on a libvirtd of its own, or whatever a URI leads to; and the commands
//! of the program and of the C floors for it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::clocks::Server;
use super::contenders::Once;
use super::support::lab::Lab;
use super::support::process::run;
use super::support::program::{PROGRAM, without_settings};

/// state, cpu, balloon, vcpu, interface and block: what any client asks for.
const GROUPS: &str = "63";
/// The same without cpu and vcpu: what the program asks for, beside the CPU time of each guest.
const GROUPS_APART: &str = "53";

/// A hypervisor with guests, and the program's settings and folders for it.
pub struct Host {
    pub uri: String,
    pub guests: usize,
    pub server: Server,
    pub scratch: PathBuf,
    pub floors: PathBuf,
    /// The lab that it is, where it is one.
    pub lab: Option<Lab>,
    _folder: tempfile::TempDir,
}

impl Host {
    pub fn of(uri: String, lab: Option<Lab>, floors: &Path) -> Host {
        let list = run(Command::new("virsh").args(["-q", "-r", "-c", &uri, "list", "--uuid"]));
        let guests = list.success().stdout.lines().filter(|line| !line.trim().is_empty()).count();
        let folder = tempfile::tempdir().unwrap();
        Host {
            server: Server::of(&uri),
            uri,
            guests,
            scratch: folder.path().to_owned(),
            floors: floors.to_owned(),
            lab,
            _folder: folder,
        }
    }

    /// What `virsh version` says behind these words.
    pub fn version(&self, words: &str) -> String {
        let versions = run(Command::new("virsh").args(["-r", "-c", &self.uri, "version"])).stdout;
        let line = versions.lines().find_map(|line| line.strip_prefix(words));
        line.unwrap_or("unknown").trim().to_owned()
    }

    /// A fleet on a libvirtd of its own; none, said aloud, where there can be none.
    pub fn raise(guests: u32, paused: bool, floors: &Path) -> Option<Host> {
        let lab = Lab::require("benches/run")?;
        for uuid in lab.fleet(guests, 2, 3) {
            if !paused {
                lab.virsh(&["resume", &uuid]);
            }
        }
        let host = Host::of(lab.uri(), Some(lab), floors);
        // A few guests have settled before the first round.
        if guests > 10 {
            host.settle();
        }
        Some(host)
    }

    /// Waits until the guests' firmware has given up looking for something to boot: from then on they use
    /// the same little CPU time each second.
    fn settle(&self) {
        let busy = || {
            let before = self.server.used().qemu_ns;
            std::thread::sleep(Duration::from_secs(2));
            (self.server.used().qemu_ns - before) as f64 / 2e9
        };
        let start = Instant::now();
        let (mut before, mut now) = (busy(), busy());
        while now < before * 0.9 && start.elapsed() < Duration::from_secs(60) {
            (before, now) = (now, busy());
        }
        eprintln!(
            "{} guests; at rest their QEMUs use {:.0} % of one CPU",
            self.guests,
            now * 100.0
        );
    }

    /// Stops the QEMU of the first guest, which is what dead storage looks like: its process, and the names of
    /// the other guests.
    pub fn hang_one(&self) -> (String, Vec<String>) {
        let lab = self.lab.as_ref().expect("only a guest of a lab may be stopped");
        let list = lab.virsh(&["list", "--name"]);
        let mut names = list.lines().filter(|name| !name.is_empty()).map(str::to_owned);
        let hung = names.next().unwrap();
        let qemu = lab.inside(&["cat", &format!("/run/libvirt/qemu/{hung}.pid")]).trim().to_owned();
        lab.inside(&["kill", "-STOP", &qemu]);
        (qemu, names.collect())
    }

    /// Lets it go on. Calls that were stuck come back, and whoever is next finds the guests as they were.
    pub fn release(&self, qemu: &str) {
        let lab = self.lab.as_ref().unwrap();
        lab.inside(&["kill", "-CONT", qemu]);
        lab.virsh(&["domstats", "--block"]);
    }

    /// The program on this hypervisor, with a cache of this name.
    pub fn program(&self, mode: &str, cache: &str, options: &[&str]) -> Command {
        self.build(PROGRAM.as_ref(), mode, cache, options)
    }

    /// Another build of the program on it.
    pub fn build(&self, program: &Path, mode: &str, cache: &str, options: &[&str]) -> Command {
        let mut command = Command::new(program);
        without_settings(&mut command, &self.scratch);
        command.arg(mode).args(["--uri", &self.uri, "--cache-dir"]).arg(self.scratch.join(cache));
        command.args(options);
        command
    }

    /// A file of configuration, and the options that name it.
    pub fn configured(&self, name: &str, text: &str) -> [String; 2] {
        let file = self.scratch.join(name);
        std::fs::write(&file, text).unwrap();
        ["--config".to_owned(), file.to_str().unwrap().to_owned()]
    }

    pub fn floor(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.floors.join(name));
        command.args([&self.uri, GROUPS]).args(arguments);
        command
    }

    /// The floor of several connections that makes the program's own calls.
    pub fn same_calls(&self, connections: &str) -> Command {
        let mut command = Command::new(self.floors.join("pfloor"));
        command.args([&self.uri, GROUPS_APART, connections, "cpu"]);
        command
    }

    pub fn once(&self, command: &Command) -> Once {
        Once::of(&self.floors.join("spent"), &self.scratch, command)
    }
}
