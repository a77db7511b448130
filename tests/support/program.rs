//! The program under test, without this machine's settings.

use super::lab::Lab;
use super::process::{Finished, run};
use std::path::{Path, PathBuf};
use std::process::Command;
use telegraf_virt::config::extra::Extra;

/// The program, with nothing of this machine's own settings: an empty configuration, no variables.
pub fn program(scratch: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    without_settings(&mut command, scratch);
    command
}

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_telegraf-virt");

/// Takes the settings of this machine away from a command that is, or starts, the program.
pub fn without_settings(command: &mut Command, scratch: &Path) {
    let configuration = scratch.join("empty.toml");
    std::fs::write(&configuration, "").unwrap();
    command.env("TELEGRAF_VIRT_CONFIG", configuration);
    for variable in ["LIBVIRT_DEFAULT_URI", "CACHE_DIRECTORY"] {
        command.env_remove(variable);
    }
    command.env("XDG_CACHE_HOME", scratch.join("xdg-cache"));
    command.env("TELEGRAF_CONFIG_PATH", "/dev/null");
}

/// A configuration that makes every call there is.
pub fn everything(scratch: &Path) -> PathBuf {
    let extra: Vec<&str> = Extra::ALL.iter().map(|extra| extra.name()).collect();
    let path = scratch.join("everything.toml");
    std::fs::write(&path, format!("extra = {extra:?}\n")).unwrap();
    path
}

/// One `once` on the lab, its debug messages included, that must succeed.
pub fn once(lab: &Lab, cache: &Path, options: &[&str]) -> Finished {
    let mut command = program(lab.scratch());
    command.args(["once", "--log-level", "debug", "--uri", &lab.uri(), "--cache-dir"]);
    run(command.arg(cache).args(options)).success()
}

/// The uuids of the guests whose XML was asked for, as the debug messages tell.
pub fn readings(messages: &str) -> Vec<String> {
    let mut uuids: Vec<String> = messages
        .lines()
        .filter(|line| line.starts_with("D! reading the devices of guest "))
        .map(|line| {
            let (_, uuid) = line.rsplit_once('(').unwrap();
            uuid.strip_suffix(')').unwrap().to_owned()
        })
        .collect();
    uuids.sort();
    uuids
}
