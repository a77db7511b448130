//! What a program asked libvirt, and about whom: by libvirt's own log in that program, which names the
//! guest of each call for one guest, and by a lab's libvirtd, which names each guest whose QEMU it asks.

use super::lab::Lab;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The log of a command's calls.
pub struct Calls(PathBuf);

impl Calls {
    /// Of this command, in a file of its own.
    pub fn of(command: &mut Command, scratch: &Path) -> Calls {
        let file = scratch.join("calls.log");
        let _ = fs::remove_file(&file);
        command.env("LIBVIRT_LOG_FILTERS", "1:libvirt");
        command.env("LIBVIRT_LOG_OUTPUTS", format!("1:file:{}", file.display()));
        Calls(file)
    }

    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.0).unwrap();
        assert!(text.contains(" virConnectOpenReadOnly:"), "libvirt logged nothing: {text}");
        text.lines().map(str::to_owned).collect()
    }

    /// The names of the guests that a function was called for, once for each call, sorted.
    pub fn guests(&self, function: &str) -> Vec<String> {
        let mut names: Vec<String> = self
            .lines()
            .iter()
            .filter(|line| line.contains(&format!(" {function}:")))
            .map(|line| {
                let (_, name) = line.split_once("(VM: name=").unwrap_or_else(|| panic!("{line}"));
                name.split_once(", uuid=").unwrap().0.to_owned()
            })
            .collect();
        names.sort();
        names
    }

    /// What a function was called with, after `key=`, once for each call, sorted.
    pub fn arguments(&self, function: &str, key: &str) -> Vec<String> {
        let key = format!(", {key}=");
        let mut values: Vec<String> = self
            .lines()
            .iter()
            .filter(|line| line.contains(&format!(" {function}:")))
            .map(|line| line.split_once(&key).unwrap_or_else(|| panic!("{line}")).1)
            .map(|rest| rest.split(',').next().unwrap().to_owned())
            .collect();
        values.sort();
        values
    }
}

/// The log of what a lab's libvirtd asks its QEMUs.
pub struct Monitors<'l> {
    lab: &'l Lab,
    seen: usize,
}

impl<'l> Monitors<'l> {
    /// From now on.
    pub fn watch(lab: &'l Lab) -> Monitors<'l> {
        lab.inside(&["virt-admin", "daemon-log-outputs", "1:file:/var/log/libvirt/monitors.log"]);
        lab.inside(&["virt-admin", "daemon-log-filters", "1:qemu.qemu_domain"]);
        Monitors { lab, seen: 0 }
    }

    /// The guests whose QEMU was asked since the last time, and how often.
    pub fn asked(&mut self) -> BTreeMap<String, usize> {
        let text = self.lab.inside(&["cat", "/var/log/libvirt/monitors.log"]);
        let mut asked = BTreeMap::new();
        for line in text[self.seen..].lines() {
            if let Some((_, rest)) = line.split_once(" : Entering monitor (mon=") {
                let (_, name) = rest.split_once(" name=").unwrap_or_else(|| panic!("{line}"));
                *asked.entry(name.trim_end_matches(')').to_owned()).or_default() += 1;
            }
        }
        self.seen = text.len();
        asked
    }
}
