//! `execd` under watch: each collection with its lines and the time it took, whatever goes wrong.

use super::lab::Lab;
use super::lines::{self, Line};
use super::program::program;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// The longest that anything may take: the deadline is 4 s.
const LIMIT: Duration = Duration::from_secs(10);

pub struct Watched {
    child: Child,
    stdin: Option<ChildStdin>,
    output: Receiver<String>,
    messages: Receiver<(Instant, String)>,
    /// Every message so far but those of level D.
    pub told: Vec<String>,
}

/// One collection.
pub struct Collection {
    pub lines: Vec<Line>,
    pub took: Duration,
}

impl Watched {
    /// Starts it on a lab.
    pub fn start(lab: &Lab, cache: &Path) -> Watched {
        let mut command = program(lab.scratch());
        command.args(["--uri", &lab.uri(), "--cache-dir"]).arg(cache);
        Watched::of(&mut command)
    }

    /// Starts it as this command says, with `execd` and its log level added.
    pub fn of(command: &mut Command) -> Watched {
        let mut child = command
            .args(["execd", "--log-level", "debug"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        let output = read_lines(child.stdout.take().unwrap(), |line| line);
        let messages = read_lines(child.stderr.take().unwrap(), |line| (Instant::now(), line));
        let mut watched = Watched { child, stdin, output, messages, told: Vec::new() };
        watched.wait_for("I! ready");
        watched
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a message that begins so.
    pub fn wait_for(&mut self, beginning: &str) {
        loop {
            let (_, message) = self.messages.recv_timeout(LIMIT).unwrap_or_else(|error| {
                panic!("no message {beginning:?}: {error}\n{:#?}", self.told)
            });
            let found = message.starts_with(beginning);
            self.note(message);
            if found {
                return;
            }
        }
    }

    pub fn trigger(&mut self) -> Instant {
        self.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        Instant::now()
    }

    /// Triggers a collection and waits until all of it is out.
    pub fn collect(&mut self) -> Collection {
        let started = self.trigger();
        self.collected(started)
    }

    /// Waits for a collection that was triggered then.
    pub fn collected(&mut self, started: Instant) -> Collection {
        loop {
            let (moment, message) = self.messages.recv_timeout(LIMIT).unwrap_or_else(|error| {
                panic!("no collection within {LIMIT:?}: {error}\n{:#?}", self.told)
            });
            // Written when the lines are out.
            let count = message.strip_prefix("D! ").and_then(|text| text.strip_suffix(" lines"));
            let Some(count) = count.and_then(|count| count.parse::<usize>().ok()) else {
                self.note(message);
                continue;
            };
            let text: String =
                (0..count).map(|_| self.output.recv_timeout(LIMIT).unwrap() + "\n").collect();
            return Collection { lines: lines::read(&text), took: moment - started };
        }
    }

    fn note(&mut self, message: String) {
        if !message.starts_with("D! ") {
            self.told.push(message);
        }
    }

    /// What was told since the last time this was asked.
    pub fn news(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }

    /// Ends its input, and expects it to end well.
    pub fn end(mut self) -> Vec<String> {
        drop(self.stdin.take());
        self.ended()
    }

    /// Expects it to end well, having been told to.
    pub fn ended(mut self) -> Vec<String> {
        let deadline = Instant::now() + LIMIT;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                while let Ok((_, message)) = self.messages.recv_timeout(LIMIT) {
                    self.note(message);
                }
                assert_eq!(status.code(), Some(0), "{:#?}", self.told);
                return self.news();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("it does not end\n{:#?}", self.told);
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_lines<T: Send + 'static>(
    stream: impl Read + Send + 'static,
    take: impl Fn(String) -> T + Send + 'static,
) -> Receiver<T> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(take(line)).is_err() {
                return;
            }
        }
    });
    receiver
}

/// What a guest's lines look like when all is well: each title with its fields' names.
pub type Shape = BTreeMap<String, Vec<String>>;

/// The shapes of all guests in a collection, by uuid.
pub fn shapes(lines: &[Line]) -> BTreeMap<String, Shape> {
    let mut shapes: BTreeMap<String, Shape> = BTreeMap::new();
    for line in lines {
        let fields = line.fields.iter().map(|(name, _)| name.clone()).collect();
        shapes.entry(line.tag("uuid").to_owned()).or_default().insert(line.title(), fields);
    }
    shapes
}

/// Counts points of healthy guests for one fault.
pub struct Tally {
    fault: String,
    collections: usize,
    expected: usize,
    received: usize,
    longest: Duration,
    missing: Vec<String>,
}

impl Tally {
    pub fn of(fault: &str) -> Tally {
        Tally {
            fault: fault.to_owned(),
            collections: 0,
            expected: 0,
            received: 0,
            longest: Duration::ZERO,
            missing: Vec::new(),
        }
    }

    /// Counts a collection: every line of every healthy guest, with every field.
    pub fn count(&mut self, healthy: &BTreeMap<String, Shape>, collection: &Collection) {
        self.collections += 1;
        self.longest = self.longest.max(collection.took);
        let got = shapes(&collection.lines);
        for (uuid, shape) in healthy {
            for (title, fields) in shape {
                self.expected += 1;
                if got.get(uuid).and_then(|shape| shape.get(title)) == Some(fields) {
                    self.received += 1;
                } else {
                    self.missing.push(format!("{}: {title}", self.collections));
                }
            }
        }
    }

    pub fn row(&self) -> String {
        format!(
            "{:<44} {:>5} {:>8} {:>8} {:>8}",
            self.fault,
            self.collections,
            self.expected,
            self.received,
            self.longest.as_millis()
        )
    }

    pub fn head() -> String {
        format!("{:<44} {:>5} {:>8} {:>8} {:>8}", "fault", "coll.", "expected", "received", "ms")
    }

    /// No healthy guest lost a point, and no collection took longer than `limit`.
    pub fn assert_whole(&self, limit: Duration) {
        assert_eq!(self.received, self.expected, "{}: missing {:#?}", self.fault, self.missing);
        self.assert_in_time(limit);
    }

    pub fn assert_in_time(&self, limit: Duration) {
        assert!(self.longest <= limit, "{}: took {:?}", self.fault, self.longest);
    }
}

/// Collects so often, each time at least so many lines, and expects the process to hold as many files
/// and as much memory at the end as after the first hundred.
pub fn assert_flat(watched: &mut Watched, lines: usize, collections: usize) {
    let pid = watched.id();
    let hold = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        let rss_kib: i64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        (std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count(), rss_kib)
    };
    let mut collect = |count: usize| {
        for _ in 0..count {
            assert!(watched.collect().lines.len() >= lines);
        }
    };
    collect(100);
    let (files, rss_kib) = hold();
    collect(collections);
    let (files_after, rss_kib_after) = hold();
    assert_eq!(files_after, files, "open files");
    let grown = rss_kib_after - rss_kib;
    assert!(grown < 512, "{grown} KiB more after {collections} collections");
}
