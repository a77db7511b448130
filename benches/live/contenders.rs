//! Those who are compared: each makes one collection when it is asked, and says what that cost.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use super::clocks;

/// What one collection cost whoever made it.
#[derive(Clone, Copy)]
pub struct Cost {
    pub wall_ns: u64,
    pub cpu_ns: u64,
    pub peak_kib: u64,
}

pub trait Contender {
    fn collect(&mut self) -> Cost;
}

/// No collection takes longer: the program's own deadline is 4 s.
const LIMIT_MS: u16 = 20_000;
/// What a process still does when its last byte is out belongs to its collection.
pub const REST: Duration = Duration::from_millis(20);

pub fn pid(child: &Child) -> i32 {
    i32::try_from(child.id()).unwrap()
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap()
}

/// A C floor that keeps its connections; it measures itself, in the call alone.
pub struct Floor {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    pub guests: u32,
    pub parameters: u32,
}

impl Floor {
    pub fn start(command: &mut Command) -> Floor {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut floor = Floor { child, stdin, stdout, guests: 0, parameters: 0 };
        floor.collect();
        floor
    }
}

impl Contender for Floor {
    fn collect(&mut self) -> Cost {
        self.stdin.write_all(b"\n").unwrap();
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        let numbers: Vec<u64> = line.split_whitespace().map(|word| word.parse().unwrap()).collect();
        let [guests, parameters, wall_ns, cpu_ns] = numbers[..] else {
            panic!("a floor's line: {line:?}")
        };
        self.guests = u32::try_from(guests).unwrap();
        self.parameters = u32::try_from(parameters).unwrap();
        Cost { wall_ns, cpu_ns, peak_kib: clocks::peak_kib(pid(&self.child)) }
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// `telegraf-virt execd`: from the newline to the last byte of the collection, read through a pipe.
pub struct Execd {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
    /// What has been read of a collection.
    text: Vec<u8>,
}

impl Execd {
    /// Starts it and waits until it listens; nothing is collected yet.
    pub fn start(command: &mut Command) -> Execd {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = child.stdout.take().unwrap();
        let mut messages = BufReader::new(child.stderr.take().unwrap()).lines();
        for message in messages.by_ref() {
            let message = message.unwrap();
            if message.starts_with("I! ready") {
                break;
            }
            eprintln!("{message}");
        }
        // A warning on the way would spoil the figures, so it is shown.
        std::thread::spawn(move || {
            messages.map_while(Result::ok).for_each(|message| eprintln!("{message}"));
        });
        Execd { child, stdin, stdout, text: Vec::with_capacity(1 << 20) }
    }

    /// A collection whose number of lines is not known: the totals are each guest's last line.
    pub fn collect_guests(&mut self, guests: usize) -> (Cost, usize) {
        let cost = self.collect_until(|text| {
            text.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"vm_totals,")).count()
                == guests
                && text.ends_with(b"\n")
        });
        (cost, newlines(&self.text))
    }

    /// A collection of so many lines.
    pub fn collect_lines(&mut self, lines: usize) -> Cost {
        let (mut seen, mut counted) = (0, 0);
        self.collect_until(|text| {
            counted += newlines(&text[seen..]);
            seen = text.len();
            counted == lines
        })
    }

    fn collect_until(&mut self, mut is_whole: impl FnMut(&[u8]) -> bool) -> Cost {
        self.text.clear();
        let pid = pid(&self.child);
        let cpu_ns = clocks::cpu_ns(pid);
        let start = Instant::now();
        self.stdin.write_all(b"\n").unwrap();
        while !is_whole(&self.text) {
            let mut wait = [PollFd::new(self.stdout.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut wait, PollTimeout::from(LIMIT_MS)).unwrap();
            assert!(ready == 1, "no whole collection: {} lines", newlines(&self.text));
            let mut piece = [0; 1 << 16];
            let length = self.stdout.read(&mut piece).unwrap();
            assert!(length > 0, "execd has ended");
            self.text.extend_from_slice(&piece[..length]);
        }
        let wall_ns = ns(start.elapsed());
        std::thread::sleep(REST);
        Cost { wall_ns, cpu_ns: clocks::cpu_ns(pid) - cpu_ns, peak_kib: clocks::peak_kib(pid) }
    }
}

impl Drop for Execd {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn newlines(text: &[u8]) -> usize {
    text.iter().filter(|byte| **byte == b'\n').count()
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// `execd` that has its second collection behind it, and so prints the same lines each time.
pub struct Warm {
    pub execd: Execd,
    pub lines: usize,
}

impl Warm {
    pub fn start(command: &mut Command, guests: usize) -> Warm {
        let mut execd = Execd::start(command);
        execd.collect_guests(guests);
        let (_, lines) = execd.collect_guests(guests);
        Warm { execd, lines }
    }
}

impl Contender for Warm {
    fn collect(&mut self) -> Cost {
        self.execd.collect_lines(self.lines)
    }
}

/// The same where a guest hangs, of which not every collection has as many lines.
pub struct WarmGuests {
    execd: Execd,
    guests: usize,
}

impl WarmGuests {
    pub fn start(command: &mut Command, guests: usize) -> WarmGuests {
        WarmGuests { execd: Warm::start(command, guests).execd, guests }
    }
}

impl Contender for WarmGuests {
    fn collect(&mut self) -> Cost {
        self.execd.collect_guests(self.guests).0
    }
}

/// The first collection of an `execd` that has just been started.
pub struct First {
    pub command: Command,
    pub guests: usize,
    /// Removed before each start.
    pub cache: Option<PathBuf>,
}

impl Contender for First {
    fn collect(&mut self) -> Cost {
        empty(self.cache.as_deref());
        Execd::start(&mut self.command).collect_guests(self.guests).0
    }
}

/// A command that makes one collection, or a part of one, and ends; its output goes through a pipe.
pub struct Once {
    command: Command,
    input: &'static str,
    result: PathBuf,
    cache: Option<PathBuf>,
}

impl Once {
    /// `spent` is the program that measures, `command` what it runs.
    pub fn of(spent: &Path, scratch: &Path, command: &Command) -> Once {
        let result = scratch.join("spent");
        let mut measured = Command::new(spent);
        measured.arg(&result).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => measured.env(name, value),
                None => measured.env_remove(name),
            };
        }
        measured.stdin(Stdio::piped()).stdout(Stdio::piped());
        Once { command: measured, input: "", result, cache: None }
    }

    /// Gives it something to read.
    pub fn with_input(mut self, input: &'static str) -> Once {
        self.input = input;
        self
    }

    /// Removes a cache before each run.
    pub fn without(mut self, cache: &Path) -> Once {
        self.cache = Some(cache.to_owned());
        self
    }
}

impl Contender for Once {
    fn collect(&mut self) -> Cost {
        empty(self.cache.as_deref());
        let mut child = self.command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(self.input.as_bytes()).unwrap();
        let mut output = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut output).unwrap();
        let status = child.wait().unwrap();
        assert!(status.success(), "{:?}: {status}", self.command);
        let text = std::fs::read_to_string(&self.result).unwrap();
        let numbers: Vec<u64> = text.split_whitespace().map(|word| word.parse().unwrap()).collect();
        let [wall_ns, cpu_ns, peak_kib] = numbers[..] else { panic!("spent: {text:?}") };
        Cost { wall_ns, cpu_ns, peak_kib }
    }
}

/// Removes a cache, so that the next run is a cold one.
fn empty(cache: Option<&Path>) {
    if let Some(cache) = cache.filter(|cache| cache.exists()) {
        std::fs::remove_dir_all(cache).unwrap();
    }
}
