//! Real replies of a real libvirtd, with bytes flipped on their way to the program: it never ends by a signal or
//! a panic, takes no more memory than is right, and prints whole lines.
//!
//! `FLIPPED_ROUND=17` runs that round alone, which flips the same places as before.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::support::flip::Proxy;
use crate::support::lab::Lab;
use crate::support::process::{Finished, has_level, run};
use crate::support::program::{PROGRAM, everything, program};
use crate::support::servers::require_program;
use crate::support::{lines, say};

/// Collections of a round: those by `once`, and those of one `execd`.
const ONCE: usize = 5;
const KEPT: usize = 20;
const ROUND: usize = ONCE + KEPT;

/// How long anything may take, however busy the machine is: more than that is a hang.
const PATIENCE: Duration = Duration::from_secs(300);

/// What the program may have of memory of its own, in MiB. libvirt takes messages of up to 32 MiB.
const MEMORY_MIB: u64 = 256;

#[test]
fn a_hundred_collections_with_flipped_bytes_crash_nothing() {
    collect("flipped bytes", 0..4, None);
}

#[test]
#[ignore = "slow: tests/run --all"]
fn five_thousand_collections_with_flipped_bytes_crash_nothing() {
    collect("flipped bytes", 0..200, None);
}

#[test]
#[ignore = "slow: tests/run --all"]
fn two_hundred_collections_with_flipped_bytes_run_clean_under_valgrind() {
    let Some(valgrind) = require_program("flipped bytes", "VALGRIND", "valgrind") else { return };
    collect("flipped bytes, valgrind", 0..8, Some(&valgrind));
}

/// What was seen of all rounds.
#[derive(Default)]
struct Seen {
    /// Rounds.
    next: AtomicUsize,
    done: AtomicUsize,
    collections: AtomicUsize,
    with_lines: AtomicUsize,
    /// Replies, how many of them were changed, and in how many bytes.
    counts: [AtomicUsize; 3],
    peak_kib: AtomicU64,
}

fn collect(test: &str, rounds: Range<usize>, valgrind: Option<&Path>) {
    let Some(lab) = Lab::require(test) else { return };
    lab.fleet(4, 2, 3);
    lab.virsh(&["pool-define-as", "pool", "dir", "--target", "/var/lib/libvirt/images"]);
    lab.virsh(&["pool-start", "pool"]);
    let rounds = match std::env::var("FLIPPED_ROUND") {
        Ok(number) => number.parse().map(|number| number..number + 1).unwrap(),
        Err(_) => rounds,
    };
    let seen = Seen::default();
    seen.next.store(rounds.start, Ordering::Relaxed);
    // They wait more than they compute: many a flipped reply is one that does not come.
    let threads = if valgrind.is_some() { 4 } else { 16 };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = seen.next.fetch_add(1, Ordering::Relaxed);
                    if number >= rounds.end {
                        return;
                    }
                    Round::begin(&lab, number, valgrind, &seen).collect();
                    let done = seen.done.fetch_add(1, Ordering::Relaxed) + 1;
                    if done % 20 == 0 {
                        say(&seen.told(test));
                    }
                }
            });
        }
    });
    say(&format!("{}; {}", seen.told(test), lab.versions()));
    assert_eq!(seen.collections.into_inner(), rounds.len() * ROUND);
    // Else nothing is read, and the test would tell nothing.
    let [_, flipped, _] = seen.counts.map(AtomicUsize::into_inner);
    assert!(flipped > 0 && seen.with_lines.into_inner() * 4 > rounds.len() * ROUND);
}

impl Seen {
    fn told(&self, test: &str) -> String {
        let count = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        let [replies, flipped, bytes] = self.counts.each_ref().map(count);
        format!(
            "{test}: {} collections, {} of them with lines; {flipped} of {replies} replies with {bytes} \
             bytes flipped; at most {} MiB resident",
            count(&self.collections),
            count(&self.with_lines),
            self.peak_kib.load(Ordering::Relaxed) / 1024,
        )
    }
}

/// Some collections over one proxy.
struct Round<'a> {
    number: usize,
    valgrind: Option<&'a Path>,
    seen: &'a Seen,
    scratch: tempfile::TempDir,
    proxy: Proxy,
    uri: String,
}

impl<'a> Round<'a> {
    fn begin(lab: &Lab, number: usize, valgrind: Option<&'a Path>, seen: &'a Seen) -> Round<'a> {
        let scratch = tempfile::Builder::new().prefix("tv-").tempdir().unwrap();
        let libvirtd = lab.folder().join("run/libvirt-sock-ro");
        let proxy = Proxy::start(scratch.path(), &libvirtd, number as u64);
        // The test driver has no bulk statistics: each guest is asked by the calls for one guest.
        let uri = match number % 4 {
            3 => proxy.uri("test", "/default"),
            _ => proxy.uri("qemu", "/system"),
        };
        Round { number, valgrind, seen, scratch, proxy, uri }
    }

    fn collect(self) {
        for number in 0..ONCE {
            let mut command = self.command(number > 1);
            match number {
                0 => command.arg("once").arg("--no-cache"),
                _ => command.arg("once").arg("--cache-dir").arg(self.scratch.path().join("cache")),
            };
            let finished = self.end(&mut command);
            lines::read(&finished.stdout);
            self.count(usize::from(!finished.stdout.is_empty()), 1);
        }
        if self.valgrind.is_none() {
            self.end(self.command(true).arg("check"));
            let file = self.scratch.path().join("recording.jsonl");
            self.end(self.command(true).arg("record").arg(file));
        }
        self.keep_running();
        for (sum, count) in self.seen.counts.iter().zip(self.proxy.counts()) {
            sum.fetch_add(count, Ordering::Relaxed);
        }
    }

    fn count(&self, with_lines: usize, all: usize) {
        self.seen.with_lines.fetch_add(with_lines, Ordering::Relaxed);
        self.seen.collections.fetch_add(all, Ordering::Relaxed);
    }

    /// The program, held to its memory or watched by valgrind; with everything that can be asked, or the default.
    fn command(&self, asks_everything: bool) -> Command {
        let plain = program(self.scratch.path());
        let mut command = match self.valgrind {
            Some(valgrind) => {
                let mut command = Command::new(valgrind);
                command.args(["--quiet", "--error-exitcode=9", "--leak-check=no"]);
                command
            }
            None => {
                let mut command = Command::new("prlimit");
                command.arg(format!("--data={}", MEMORY_MIB << 20));
                command
            }
        };
        command.arg(PROGRAM);
        for (key, value) in plain.get_envs() {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        let deadline = if self.valgrind.is_some() { "10s" } else { "1s" };
        command.args(["--deadline", deadline, "--uri", &self.uri]);
        if asks_everything {
            command.arg("--config").arg(everything(self.scratch.path()));
        }
        command
    }

    /// Runs it to its end, which is one of its own.
    fn end(&self, command: &mut Command) -> Finished {
        let mut limited = Command::new("timeout");
        limited.arg(PATIENCE.as_secs().to_string()).arg(command.get_program());
        limited.args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => limited.env(key, value),
                None => limited.env_remove(key),
            };
        }
        let finished = run(&mut limited).leveled();
        let round = self.number;
        assert!(matches!(finished.status.code(), Some(0 | 1)), "round {round}: {finished}");
        assert!(!finished.stderr.contains("panicked at"), "round {round}: {finished}");
        finished
    }

    /// Many collections of one process, whose connection breaks and is made anew.
    fn keep_running(&self) {
        let round = self.number;
        let path = |name: &str| -> PathBuf { self.scratch.path().join(name) };
        let mut child = self
            .command(true)
            .args(["execd", "--log-level", "debug", "--cache-dir"])
            .arg(path("kept"))
            .stdin(Stdio::piped())
            .stdout(File::create(path("lines")).unwrap())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, messages) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let mut told = Vec::new();
        let mut with_lines = 0;
        // Each collection is told of once it is out.
        let over = format!("D! {}: ", self.uri);
        let mut wait = |is_it: &dyn Fn(&str) -> bool| {
            loop {
                let message = messages
                    .recv_timeout(PATIENCE)
                    .unwrap_or_else(|error| panic!("round {round}: {error}: {told:#?}"));
                let found = is_it(&message).then(|| message.clone());
                told.push(message);
                if let Some(message) = found {
                    return message;
                }
            }
        };
        wait(&|message| message.starts_with("I! ready"));
        let mut stdin = child.stdin.take().unwrap();
        for _ in 0..KEPT {
            stdin.write_all(b"\n").unwrap();
            let message = wait(&|message| {
                message.starts_with(&over)
                    && (message.contains(" lines in ") || message.contains("down, known after"))
            });
            with_lines +=
                usize::from(message.contains(" lines in ") && !message.contains(" 0 lines in "));
        }
        if self.valgrind.is_none() {
            let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
            let peak = line.trim().trim_end_matches(" kB").parse().unwrap();
            self.seen.peak_kib.fetch_max(peak, Ordering::Relaxed);
        }
        drop(stdin);
        let status = child.wait().unwrap();
        told.extend(messages.iter());
        assert_eq!(status.code(), Some(0), "round {round}: {told:#?}");
        assert!(!told.iter().any(|it| it.contains("panicked at")), "round {round}: {told:#?}");
        assert!(told.iter().all(|it| has_level(it)), "round {round}: {told:#?}");
        lines::read(&fs::read_to_string(path("lines")).unwrap());
        self.count(with_lines, KEPT);
    }
}
