//! Files on a mount that is gone, of each kind that the program reads or writes: it says so and goes on, or
//! ends, without being killed. Nothing here is held to a time: a program that waits for ever fails the run.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::dead_mount::DeadMount;
use crate::support::execd::Execd;
use crate::support::process::{Finished, run};
use crate::support::program::program;

const URI: &str = "test:///default";

fn started(mount: &DeadMount, arguments: &[&str]) -> Command {
    let mut command = program(mount.beside());
    command.args(arguments);
    if !arguments.contains(&"--uri") {
        command.args(["--uri", URI]);
    }
    command
}

/// Asserts that a line on standard error holds these words.
fn told(finished: &Finished, words: &str) {
    assert!(finished.stderr.contains(words), "{words:?}\n{finished}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_configuration_that_does_not_answer_is_an_error() {
    let Some(mount) = DeadMount::require("dead mount, configuration") else { return };
    let file = mount.path("settings.toml");
    fs::write(mount.real("settings.toml"), "").unwrap();
    mount.dies();
    for command in [&["once"][..], &["config", "--effective"], &["check"], &["execd"]] {
        let arguments = [command, &["--config", text(&file)]].concat();
        let finished = run(&mut started(&mount, &arguments)).code(2);
        told(&finished, "E! the configuration cannot be read within 10 s: is its mount gone?");
    }
}

#[test]
fn a_cache_that_does_not_answer_costs_no_line() {
    let Some(mount) = DeadMount::require("dead mount, cache") else { return };
    let cache = mount.path("cache");
    let arguments = ["once", "--cache-dir", text(&cache)];
    let alive = run(&mut started(&mount, &arguments)).success();
    assert_eq!(alive.stderr, "", "{alive}");
    mount.dies();
    let dead = run(&mut started(&mount, &arguments)).success();
    told(&dead, "W! the cache folder does not answer, so there is no cache; is its mount gone?");
    let metrics = |finished: &Finished| {
        finished.stdout.lines().filter(|line| line.starts_with("vm_metrics,")).count()
    };
    assert_eq!(metrics(&dead), metrics(&alive), "{dead}");
    let learned = run(&mut started(&mount, &["anomalies", "--cache-dir", text(&cache)])).code(1);
    told(&learned, "E! anomalies: there is no cache, so nothing is learned");
}

#[test]
fn a_cache_that_dies_costs_no_collection_and_the_end_waits_once_for_all_of_it() {
    let Some(mount) = DeadMount::require("dead mount, saving") else { return };
    let settings = mount.beside().join("anomalies.toml");
    fs::write(&settings, "extra = [\"anomalies\"]\n").unwrap();
    let cache = mount.path("cache");
    let mut command = started(&mount, &["--cache-dir", text(&cache), "--config", text(&settings)]);
    // Two more of the same kind, whose saves hang as well.
    command.args(["--uri", "test:///default?b", "--uri", "test:///default?c"]);
    let mut execd = Execd::of(&mut command);
    let saved = |end: &str| {
        let names = fs::read_dir(mount.real("cache")).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(end)).count()
    };
    let guests = |execd: &mut Execd| {
        let lines = execd.collect().lines;
        lines.iter().filter(|line| line.measurement == "vm_metrics").count()
    };
    assert_eq!(guests(&mut execd), 3);
    // What it saved is there before the mount dies.
    while saved(".jsonl") < 3 {
        thread::sleep(Duration::from_millis(10));
    }
    mount.dies_unused_by(execd.id());
    for _ in 0..3 {
        assert_eq!(guests(&mut execd), 3);
    }
    let messages = execd.end();
    for uri in [URI, "test:///default?b", "test:///default?c"] {
        let told = format!(
            "W! cannot save the cache of {uri} for the next run: it does not answer; is its mount gone?"
        );
        let count = messages.iter().filter(|message| message.starts_with(&told)).count();
        assert_eq!(count, 1, "{told}\n{messages:#?}");
    }
    let told = "W! anomalies: cannot save what is learned: it does not answer; is its mount gone?";
    assert_eq!(messages.iter().filter(|message| *message == told).count(), 3, "{messages:#?}");
    mount.is_back();
    assert_eq!(saved(".jsonl"), 3, "those of the first collection");
}

#[test]
fn check_looks_at_everything_else() {
    let Some(mount) = DeadMount::require("dead mount, check") else { return };
    let (cache, telegraf) = (mount.path("cache"), mount.path("telegraf.conf"));
    fs::write(mount.real("telegraf.conf"), "[[inputs.execd]]\n").unwrap();
    mount.dies();
    let mut command = started(&mount, &["check", "--json", "--cache-dir", text(&cache)]);
    let finished = run(command.env("TELEGRAF_CONFIG_PATH", &telegraf)).code(1);
    let report: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap_or_else(|| panic!("{finished}"));
    let text_of = |area: &str, id: &str| {
        let found = findings.iter().find(|it| it["area"] == area && it["id"] == id);
        found.unwrap_or_else(|| panic!("{area}/{id}\n{finished}"))["text"].to_string()
    };
    assert!(text_of("cache", "no-folder").contains("does not answer; is its mount gone?"));
    let of_telegraf = text_of("telegraf", "not-looked-at");
    assert!(of_telegraf.contains(text(&telegraf)), "{of_telegraf}");
    text_of("hypervisor", "answers");
}

#[test]
fn a_recording_that_does_not_answer_is_an_error() {
    let Some(mount) = DeadMount::require("dead mount, recording") else { return };
    let (file, new) = (mount.path("recording.jsonl"), mount.path("new.jsonl"));
    run(&mut started(&mount, &["record", text(&file)])).success();
    let replay = format!("replay:{}", file.display());
    run(&mut started(&mount, &["once", "--no-cache", "--uri", &replay])).success();
    mount.dies();
    let once = run(&mut started(&mount, &["once", "--no-cache", "--uri", &replay])).code(1);
    told(&once, "it does not answer");
    let copy = mount.beside().join("copy.jsonl");
    let read = run(&mut started(&mount, &["record", text(&copy), "--uri", &replay])).code(1);
    told(&read, "it does not answer; is its mount gone?");
    assert!(!copy.exists());
    let written = run(&mut started(&mount, &["record", text(&new)])).code(1);
    told(&written, "E! cannot write ");
    told(&written, "it does not answer; is its mount gone?");
}

#[test]
fn an_output_that_does_not_answer_is_waited_for_until_the_end_is_ordered() {
    let Some(mount) = DeadMount::require("dead mount, output") else { return };
    let lines = File::options().append(true).create(true).open(mount.path("lines")).unwrap();
    let once = || {
        let mut command = started(&mount, &["once", "--no-cache"]);
        command.stdin(Stdio::null()).stdout(lines.try_clone().unwrap()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    assert!(once().wait().unwrap().success());
    let whole = fs::read(mount.real("lines")).unwrap();
    assert!(!whole.is_empty());
    mount.dies();
    let child = once();
    thread::sleep(Duration::from_secs(1));
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    let finished = child.wait_with_output().unwrap();
    let messages = String::from_utf8(finished.stderr).unwrap();
    assert_eq!(finished.status.code(), Some(1), "{messages}");
    assert!(messages.contains("ends without what it still had to do"), "{messages}");
    assert_eq!(fs::read(mount.real("lines")).unwrap(), whole);
}

/// `execd` that writes into a file, and counts the lines in it.
struct IntoFile {
    child: Child,
    lines: PathBuf,
    count: usize,
}

impl IntoFile {
    /// `lines` is where they can be read, whatever the file's mount does.
    fn start(command: &mut Command, file: &Path, lines: PathBuf) -> Self {
        let file = File::options().append(true).create(true).open(file).unwrap();
        let child = command.stdin(Stdio::piped()).stdout(file).stderr(Stdio::null());
        Self { child: child.spawn().unwrap(), lines, count: 0 }
    }

    fn trigger(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    /// Waits until there are more lines than before.
    fn wait_for_lines(&mut self) {
        let before = self.count;
        while self.count <= before {
            thread::sleep(Duration::from_millis(10));
            let lines = fs::read(&self.lines).unwrap();
            self.count = lines.iter().filter(|byte| **byte == b'\n').count();
        }
    }

    fn collect(&mut self) {
        self.trigger();
        self.wait_for_lines();
    }

    fn ends(mut self) {
        drop(self.child.stdin.take());
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn a_lock_that_cannot_be_taken_keeps_no_line_back_and_is_waited_for_by_one_thread() {
    let Some(mount) = DeadMount::require("dead mount, lock") else { return };
    let (cache, lines) = (mount.path("cache"), mount.beside().join("lines"));
    let mut command = started(&mount, &["execd", "--cache-dir", text(&cache)]);
    let mut execd = IntoFile::start(&mut command, &lines.clone(), lines);
    execd.collect();
    mount.dies_unused_by(execd.child.id());
    execd.collect();
    let tasks = format!("/proc/{}/task", execd.child.id());
    let threads = || fs::read_dir(&tasks).unwrap().count();
    let before = threads();
    for _ in 0..5 {
        execd.collect();
    }
    assert!(threads() <= before, "{before} threads, then {}", threads());
    execd.ends();
}

#[test]
fn a_lock_that_cannot_be_let_go_keeps_no_line_back() {
    let Some(mount) = DeadMount::with_locks("dead mount, lock held") else { return };
    let Some(output) = DeadMount::require("dead mount, lock held") else { return };
    let (cache, lines) = (mount.path("cache"), output.real("lines"));
    let mut command = started(&mount, &["execd", "--cache-dir", text(&cache)]);
    let mut execd = IntoFile::start(&mut command, &output.path("lines"), lines);
    execd.collect();
    output.dies();
    execd.trigger();
    // It holds the lock while it writes, and by then has done all that it does to take it.
    let lock = mount.path("cache/output.lock");
    while !mount.opened_by(execd.child.id()).contains(&lock) {
        thread::sleep(Duration::from_millis(10));
    }
    thread::sleep(Duration::from_secs(1));
    assert_eq!(mount.opened_by(execd.child.id()), [lock]);
    mount.dies();
    output.is_back();
    execd.wait_for_lines();
    execd.collect();
    execd.collect();
    mount.is_back();
    execd.ends();
}
