//! The program under test: once, and kept running.

use super::lab::Lab;
use super::lines::{self, Line};
use super::process::{Finished, run};
use super::wait_until;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

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

/// `execd`, kept running on the lab until it is dropped.
pub struct Execd {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    messages: PathBuf,
    messages_seen: usize,
}

impl Execd {
    pub fn start(lab: &Lab, cache: &Path) -> Execd {
        // Into a file: what is written before a line of output is there when that line arrives.
        let messages = lab.scratch().join("execd.log");
        let mut child = program(lab.scratch())
            .args(["execd", "--log-level", "debug", "--uri", &lab.uri(), "--cache-dir"])
            .arg(cache)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&messages).unwrap())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                if sender.send(line.unwrap()).is_err() {
                    return;
                }
            }
        });
        Execd { child, stdin, lines, messages, messages_seen: 0 }
    }

    /// Triggers one collection, and waits until it has told of so many guests.
    pub fn collect(&mut self, guests: usize) -> Vec<Line> {
        self.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        let mut output = String::new();
        let mut left = guests;
        // The totals are a guest's last line.
        while left > 0 {
            let line = self.lines.recv_timeout(Duration::from_secs(20)).unwrap_or_else(|error| {
                panic!("{left} guests of {guests} missing: {error}\n{output}{}", self.messages())
            });
            left -= usize::from(line.starts_with("vm_totals,"));
            output.push_str(&line);
            output.push('\n');
        }
        lines::read(&output)
    }

    fn messages(&self) -> String {
        std::fs::read_to_string(&self.messages).unwrap()
    }

    /// The uuids of the guests whose XML was asked for since the last time this was called.
    pub fn readings(&mut self) -> Vec<String> {
        let messages = self.messages();
        let new = readings(&messages[self.messages_seen..]);
        self.messages_seen = messages.len();
        new
    }

    /// Ends its input, and expects it to end by itself with nothing more to say; returns its
    /// messages.
    pub fn end(mut self) -> String {
        drop(self.stdin.take());
        let status =
            wait_until("execd ends", Duration::from_secs(10), || self.child.try_wait().unwrap());
        assert_eq!(status.code(), Some(0), "{}", self.messages());
        assert_eq!(self.lines.iter().collect::<Vec<_>>(), Vec::<String>::new());
        self.messages()
    }
}

impl Drop for Execd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
