//! Other hosts, on the loopback of a lab's network: its own libvirtd by ssh and by TLS, another lab's by
//! ssh, and an address whose packets go nowhere. The program runs within that lab.

use super::lab::Lab;
use super::program::PROGRAM;
use super::repository;
use super::servers::require_program;
use super::{skip, wait_until};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// sshd, and since OpenSSH 9.8 the program of each session.
const SSHD: [&str; 2] = ["sshd", "sshd-session"];

pub struct Remote {
    pub lab: Lab,
    sshd: PathBuf,
    folder: PathBuf,
}

/// By TLS.
pub const TLS: &str = "qemu+tls://kvm3.example/system?pkipath=/etc/telegraf-virt/pki";
/// Nobody listens there.
pub const REFUSED: &str = "qemu+tls://kvm3.example:1/system?pkipath=/etc/telegraf-virt/pki";
/// Nothing ever comes back from there.
pub const NOWHERE: &str = "qemu+tls://nowhere.example/system?pkipath=/etc/telegraf-virt/pki";
/// It asks for a password.
pub const ASKING: &str = "qemu+ssh://virt-reader@kvm2.example:2222/system";

impl Remote {
    /// A fresh lab that is open to itself; none, said aloud, where this machine or user cannot have one.
    pub fn require(test: &str) -> Option<Remote> {
        let sshd = require_program(test, "SSHD", "sshd")?;
        let nc = require_program(test, "NC", "nc")?;
        for name in ["ssh", "ssh-keygen", "virt-ssh-helper", "openssl"] {
            if super::servers::find_program("", name).is_none() {
                skip(test, &format!("no {name}"));
                return None;
            }
        }
        let lab = Lab::require(test)?;
        // Who comes by ssh passes through here.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o711);
        std::fs::set_permissions(lab.scratch(), mode).unwrap();
        // It goes with the lab.
        let folder = lab.image("remote");
        let script = repository().join("tests/lab/remote");
        let words = [&script, &folder, &sshd, &nc].map(|word| word.to_str().unwrap());
        lab.inside(&words);
        std::fs::write(lab.scratch().join("empty.toml"), "").unwrap();
        let remote = Remote { lab, sshd, folder };
        wait_until("libvirtd by TLS", Duration::from_secs(60), || {
            let command = ["virsh", "-r", "-c", TLS, "version"];
            remote.lab.inside_command(&command).output().unwrap().status.success().then_some(())
        });
        Some(remote)
    }

    /// Another lab's guests, by ssh.
    pub fn ssh(&self, other: &Lab) -> String {
        let local = other.uri();
        let (_, socket) = local.split_once("?socket=").unwrap();
        format!(
            "qemu+ssh://virt-reader@kvm2.example/system?keyfile=/etc/telegraf-virt/any-key&no_tty=1\
             &socket={socket}"
        )
    }

    /// The program within the lab, with nothing of this machine's own settings.
    pub fn program(&self, uris: &[&str]) -> Command {
        let mut command = self.lab.inside_command(&["env"]);
        for variable in ["LIBVIRT_DEFAULT_URI", "CACHE_DIRECTORY"] {
            command.args(["-u", variable]);
        }
        let scratch = self.lab.scratch().display();
        command.arg(format!("TELEGRAF_VIRT_CONFIG={scratch}/empty.toml"));
        command.arg(format!("XDG_CACHE_HOME={scratch}/xdg-cache"));
        command.args(["TELEGRAF_CONFIG_PATH=/dev/null", PROGRAM]);
        uris.iter().for_each(|uri| {
            command.args(["--uri", uri]);
        });
        command
    }

    /// Ends sshd with its sessions.
    pub fn stop_sshd(&self) {
        self.signal_sessions("-TERM");
        wait_until("the end of sshd", Duration::from_secs(60), || {
            SSHD.iter().all(|name| self.processes(name).is_empty()).then_some(())
        });
    }

    pub fn start_sshd(&self) {
        let log = self.folder.join("sshd.log");
        self.lab.inside(&[self.sshd.to_str().unwrap(), "-E", log.to_str().unwrap()]);
    }

    /// Lets each connection of ssh's take so much longer.
    pub fn slow_ssh(&self, by: Duration) {
        let nc = self.folder.join("bin/nc");
        let (by, nc) = (by.as_secs_f64(), nc.display());
        self.configure_ssh(&format!("ProxyCommand sh -c 'sleep {by}; exec {nc} %h %p'\n"));
    }

    /// Adds this to ssh's configuration.
    pub fn configure_ssh(&self, text: &str) {
        let write = "printf %s \"$0\" >/etc/ssh/ssh_config.d/test.conf";
        self.lab.inside(&["sh", "-c", write, text]);
    }

    /// Signals sshd and its sessions.
    pub fn signal_sessions(&self, signal: &str) {
        self.lab.inside(&["pkill", signal, "-x", &SSHD.join("|")]);
    }

    /// Signals the sshd that listens.
    pub fn signal_sshd(&self, signal: &str) {
        let pid = std::fs::read_to_string(self.folder.join("sshd.pid")).unwrap();
        self.lab.inside(&["kill", signal, pid.trim()]);
    }

    /// The state of each process in the lab with this name, as ps has it.
    pub fn processes(&self, name: &str) -> Vec<String> {
        let list = self.lab.inside(&["ps", "-e", "-o", "stat=,comm="]);
        let columns = list.lines().filter_map(|line| line.trim().split_once(' '));
        columns
            .filter(|(_, command)| command.trim().trim_end_matches(" <defunct>") == name)
            .map(|(state, _)| state.to_owned())
            .collect()
    }
}
