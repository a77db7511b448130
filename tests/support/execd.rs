//! `execd`, kept running: each collection with its lines and the time it took, whatever goes wrong.

use super::lab::Lab;
use super::lines::{self, Line};
use super::program::{program, readings};
use super::wait_until;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// The longest that anything may take: the deadline is 4 s.
const LIMIT: Duration = Duration::from_secs(10);

pub struct Execd {
    child: Child,
    stdin: Option<ChildStdin>,
    output: Receiver<String>,
    messages: Receiver<(Instant, String)>,
    /// Every message so far but those of level D.
    pub told: Vec<String>,
    /// The messages of level D since [`Execd::readings`] was asked last.
    debug: String,
}

/// One collection.
pub struct Collection {
    pub lines: Vec<Line>,
    pub took: Duration,
}

impl Execd {
    /// Starts it on a lab.
    pub fn start(lab: &Lab, cache: &Path) -> Execd {
        let mut command = program(lab.scratch());
        command.args(["--uri", &lab.uri(), "--cache-dir"]).arg(cache);
        Execd::of(&mut command)
    }

    /// Starts it as this command says, with `execd` and its log level added.
    pub fn of(command: &mut Command) -> Execd {
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
        let mut execd =
            Execd { child, stdin, output, messages, told: Vec::new(), debug: String::new() };
        execd.wait_for("I! ready");
        execd
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
        if message.starts_with("D! ") {
            self.debug += &message;
            self.debug.push('\n');
        } else if !message.starts_with("I! telegraf-virt ") {
            self.told.push(message);
        }
    }

    /// The uuids of the guests whose XML was asked for since the last time this was called.
    pub fn readings(&mut self) -> Vec<String> {
        readings(&std::mem::take(&mut self.debug))
    }

    /// What was told since the last time this was asked.
    pub fn news(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }

    /// Ends its input, and expects it to end well, with no more lines; returns what it told since
    /// [`Execd::news`].
    pub fn end(mut self) -> Vec<String> {
        drop(self.stdin.take());
        let told = self.wait();
        assert_eq!(self.output.iter().collect::<Vec<_>>(), [""; 0], "more lines");
        told
    }

    /// Ends its input, and returns the lines that it still prints.
    pub fn end_with_lines(mut self) -> Vec<Line> {
        drop(self.stdin.take());
        self.wait();
        let text: String = self.output.iter().map(|line| line + "\n").collect();
        lines::read(&text)
    }

    /// Expects it to end well, having been told to, at whatever collection it is.
    pub fn ended(mut self) -> Vec<String> {
        self.wait()
    }

    fn wait(&mut self) -> Vec<String> {
        let status = wait_until("execd ends", LIMIT, || self.child.try_wait().unwrap());
        while let Ok((_, message)) = self.messages.recv_timeout(LIMIT) {
            self.note(message);
        }
        assert_eq!(status.code(), Some(0), "{:#?}", self.told);
        self.news()
    }
}

impl Drop for Execd {
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
