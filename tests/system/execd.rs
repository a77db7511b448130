//! Under a real Telegraf's inputs.execd, on real QEMU guests, with each of its signals: a collection for
//! every trigger, a restart after a kill, a reload of Telegraf, an end in time; and what of it
//! `telegraf --test` and `--once` show. strace tells what Telegraf did.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::support::lab::Lab;
use crate::support::lines::{Line, read};
use crate::support::process::run;
use crate::support::servers::{
    Server, errors, for_telegraf, require_program, shipped, without_precision,
};
use crate::support::traced::{Moment, Started, Trace, traced};
use crate::support::{say, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// However slow the machine is.
const LONG: Duration = Duration::from_secs(90);
/// Of what collects on its own: long, so that a machine that stalls misses none.
const INTERVAL_NS: Moment = 3_000_000_000;

/// The file that users copy, with another signal. Without one the program has an interval of its own.
fn configuration(lab: &Lab, signal: &str) -> PathBuf {
    let text = fs::read_to_string(shipped("telegraf-virt.conf")).unwrap();
    // Here it collects each second.
    let mut text = without_precision(&text);
    let mut replace = |from: &str, to: &str| {
        assert_eq!(text.matches(from).count(), 1, "{from}\n{text}");
        text = text.replace(from, to);
    };
    replace("signal = \"STDIN\"\n", &format!("signal = \"{signal}\"\n"));
    // Not the interval: a signal that came too early would meet each new start, too.
    replace("restart_delay = \"10s\"", "restart_delay = \"500ms\"");
    if signal == "none" {
        replace("\"execd\"]", "\"execd\", \"--interval\", \"3s\"]");
    }
    let file = lab.scratch().join("execd.conf");
    fs::write(&file, text).unwrap();
    file
}

/// Telegraf under strace, with a file as its output.
struct Scene {
    lab: Lab,
    telegraf: Server,
}

impl Scene {
    fn set(signal: &str) -> Option<Scene> {
        let test = format!("execd, {signal}");
        let program = require_program(&test, "TELEGRAF", "telegraf")?;
        let strace = require_program(&test, "STRACE", "strace")?;
        let lab = Lab::require(&test)?;
        lab.paused("one", 1, 2);
        lab.paused("two", 2, 1);
        let output = lab.scratch().join("output.conf");
        let text = format!(
            "[agent]\ninterval = \"1s\"\nflush_interval = \"1s\"\nomit_hostname = true\n\
             skip_processors_after_aggregators = true\n\
             [[outputs.file]]\nfiles = [\"{}\"]\n",
            lab.scratch().join("lines").display()
        );
        fs::write(&output, text).unwrap();
        let mut command = traced(&strace, &program, &lab.scratch().join("trace"));
        for_telegraf(&mut command, &lab);
        command.arg("--config").arg(output).arg("--config").arg(configuration(&lab, signal));
        let telegraf = Server::start(&mut command, lab.scratch().join("telegraf.log"));
        Some(Scene { lab, telegraf })
    }

    fn trace(&self) -> Trace {
        Trace::read(&self.lab.scratch().join("trace"), self.telegraf.id())
    }

    /// Waits for so many collections of a child that is ready and was started after the first `before`.
    fn wait_for(&mut self, before: usize, count: usize) -> Started {
        let Scene { lab, telegraf } = self;
        let (trace, lines) = (lab.scratch().join("trace"), lab.scratch().join("lines"));
        let id = telegraf.id();
        telegraf.wait_until("collections of a new process", LONG, || {
            let child = Trace::read(&trace, id).children.into_iter().skip(before).next_back()?;
            let ready = child.ready?;
            let lines = collections(&fs::read_to_string(&lines).ok()?);
            // One more, since the last may not be whole.
            (lines.range(ready..).count() > count).then_some(child)
        })
    }

    /// Ends Telegraf, as systemd does; returns what it has logged.
    fn end(self) -> (Lab, String) {
        (self.lab, self.telegraf.end_well(LONG))
    }
}

fn collections(text: &str) -> BTreeMap<Moment, Vec<Line>> {
    let mut collections: BTreeMap<Moment, Vec<Line>> = BTreeMap::new();
    // Telegraf may be about to write a line.
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    for line in read(&text[..whole]) {
        collections.entry(line.timestamp).or_default().push(line);
    }
    collections
}

/// The processes that have ended, and that Telegraf has not yet waited for.
fn zombies(of: u32) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let stat = entry.unwrap().path().join("stat");
        let Ok(text) = fs::read_to_string(stat) else { continue };
        // State and parent stand behind the name in brackets.
        let (_, rest) = text.rsplit_once(") ").unwrap();
        let mut fields = rest.split(' ');
        if fields.next() == Some("Z") && fields.next() == Some(of.to_string().as_str()) {
            found.push(text);
        }
    }
    found
}

/// Every collection has each line of each guest once; but that of `cut` may lack some.
fn assert_whole(collections: &BTreeMap<Moment, Vec<Line>>, cut: Option<Moment>) {
    let expected = BTreeSet::from([
        "vm_metrics one",
        "vm_devices one vnet0",
        "vm_devices one vda",
        "vm_devices one vdb",
        "vm_totals one",
        "vm_metrics two",
        "vm_devices two vnet1",
        "vm_devices two vnet2",
        "vm_devices two vda",
        "vm_totals two",
    ]);
    for (moment, lines) in collections {
        let titles: Vec<String> = lines.iter().map(Line::title).collect();
        let mut once: BTreeSet<&str> = titles.iter().map(String::as_str).collect();
        assert_eq!(once.len(), titles.len(), "twice, of {moment}: {titles:?}");
        once.retain(|title| !title.starts_with("vm_features"));
        assert!(once == expected || Some(*moment) == cut, "{moment}: {once:?}");
    }
}

fn features(lines: &[Line]) -> usize {
    lines.iter().filter(|line| line.measurement == "vm_features").count()
}

/// After each trigger a collection begins; only those that came while one ran may share the next.
/// Collections before the first trigger are others' answers.
fn assert_every_trigger_is_answered(triggers: &[Moment], collections: &[Moment], told: &str) {
    let mut triggers = triggers.iter().peekable();
    let first = **triggers.peek().unwrap();
    for collection in collections.iter().filter(|moment| **moment >= first) {
        let trigger = triggers.next_if(|trigger| *trigger <= collection);
        assert!(trigger.is_some(), "{told}: nothing triggered the collection of {collection}");
        while triggers.next_if(|trigger| *trigger <= collection).is_some() {}
    }
    assert_eq!(triggers.collect::<Vec<_>>(), Vec::<&Moment>::new(), "{told}: not answered");
}

/// Telegraf runs, its child is killed, it reloads, it ends.
fn lives_a_whole_life(signal: &str) {
    let Some(mut scene) = Scene::set(signal) else { return };
    let telegraf = scene.telegraf.id();
    let (many, few) = if signal == "none" { (2, 1) } else { (3, 2) };

    let first = scene.wait_for(0, many);
    let peace = scene.telegraf.log();
    let before = scene.trace().children.len();
    send(first.pid, Signal::SIGKILL);
    let second = scene.wait_for(before, few);
    wait_until("no zombie", LONG, || zombies(telegraf).is_empty().then_some(()));

    let before = scene.trace().children.len();
    send(telegraf, Signal::SIGHUP);
    let third = scene.wait_for(before, few);
    wait_until("no zombie", LONG, || zombies(telegraf).is_empty().then_some(()));
    let children = scene.trace().children;
    let alive: Vec<u32> =
        children.iter().filter(|child| child.ended.is_none()).map(|child| child.pid).collect();
    assert_eq!(alive, [third.pid], "the processes after the reload");

    let (lab, log) = scene.end();
    let trace = wait_until("the end of all processes", LONG, || {
        let trace = Trace::read(&lab.scratch().join("trace"), telegraf);
        let is_gone = |child: &Started| {
            child.ended.is_some() && !fs::exists(format!("/proc/{}", child.pid)).unwrap()
        };
        trace.children.iter().all(is_gone).then_some(trace)
    });
    let collections = collections(&fs::read_to_string(lab.scratch().join("lines")).unwrap());

    let early = assert_processes(signal, &trace, [&first, &second, &third]);
    let life = |child: &Started| {
        let child = trace.children.iter().find(|it| it.pid == child.pid).unwrap();
        child.ready.unwrap()..child.ended.as_ref().unwrap().0
    };
    // What was killed may have been at its last collection.
    let cut = collections.range(life(&first)).next_back().map(|(moment, _)| *moment);
    assert_whole(&collections, cut);
    for (index, (moment, lines)) in collections.iter().enumerate() {
        let expected = if index == 0 { 0 } else { 2 };
        let all = features(lines) == expected || Some(*moment) == cut;
        assert!(all, "rates from the second collection on, but not in {index}, of {moment}\n{log}");
    }

    let (mut sent, mut answered) = (0, 0);
    for child in [&first, &second, &third] {
        let ours: Vec<Moment> = collections.range(life(child)).map(|(moment, _)| *moment).collect();
        answered += ours.len();
        let told = format!("{signal}, process {}", child.pid);
        if signal == "none" {
            let ticks: Vec<Moment> = ours.iter().map(|moment| moment / INTERVAL_NS).collect();
            let all: Vec<Moment> = (ticks[0]..).take(ticks.len()).collect();
            assert_eq!(ticks, all, "{told}: not at each whole multiple of 3 s");
            sent += all.len();
            continue;
        }
        let mut triggers = trace.triggers.clone();
        triggers.retain(|moment| life(child).contains(moment));
        if child.pid == first.pid {
            // The kill has left the last one without an answer, where there was one.
            triggers.retain(|moment| ours.last().is_some_and(|last| moment <= last));
        } else if signal != "STDIN" {
            // A signal that Telegraf sends as it ends the input may reach the process later than that end.
            triggers.pop_if(|moment| ours.last().is_some_and(|last| *moment > *last));
        }
        assert_every_trigger_is_answered(&triggers, &ours, &told);
        sent += triggers.len();
    }
    assert!(signal != "none" || trace.triggers.is_empty(), "{:?}", trace.triggers);
    assert_log(signal, &peace, &log, early);
    say(&format!(
        "execd, {signal}: {sent} triggers, {answered} collections, {} starts, of which {early} died early",
        trace.children.len()
    ));
}

fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
}

/// Those that were ready ended by the test's kill, or by the end of their input: never by a signal of
/// Telegraf's. One that was not ready yet may have been killed by its own trigger. Returns how many were.
fn assert_processes(signal: &str, trace: &Trace, expected: [&Started; 3]) -> usize {
    assert_eq!(trace.other_signals, Vec::<String>::new());
    let (ready, early): (Vec<&Started>, Vec<&Started>) =
        trace.children.iter().partition(|child| child.ready.is_some());
    let ends: Vec<(u32, &str)> =
        ready.iter().map(|child| (child.pid, child.ended.as_ref().unwrap().1.as_str())).collect();
    let [first, second, third] = expected.map(|child| child.pid);
    let well = "exited with 0";
    assert_eq!(ends, [(first, "killed by SIGKILL"), (second, well), (third, well)]);
    for child in &early {
        assert_eq!(child.ended.as_ref().unwrap().1, format!("killed by {signal}"), "{child:?}");
    }
    early.len()
}

/// What Telegraf may say of such a life; `peace` is what it had said before the kill.
fn assert_log(signal: &str, peace: &str, log: &str, early: usize) {
    assert!(log.contains("Reloading Telegraf config"), "{log}");
    assert_eq!(log.matches("telegraf-virt shut down").count(), 2, "{log}");
    assert_eq!(log.matches("exited: signal: ").count(), 1 + early, "{log}");
    assert!(signal.starts_with("SIG") || errors(peace).is_empty(), "{peace}");
    // All but the first while there is no process to trigger.
    let known = [
        "exited: signal: ",
        "os: process already finished",
        "writing to stdin failed",
        "setting write deadline failed",
    ];
    for error in errors(log) {
        assert!(known.iter().any(|part| error.contains(part)), "{error}\n{log}");
    }
}

#[test]
fn with_stdin_every_trigger_is_a_collection_over_a_kill_a_reload_and_the_end() {
    lives_a_whole_life("STDIN");
}

#[test]
#[ignore = "slow: tests/run --all"]
fn with_sighup_every_trigger_is_a_collection_over_a_kill_a_reload_and_the_end() {
    lives_a_whole_life("SIGHUP");
}

#[test]
#[ignore = "slow: tests/run --all"]
fn with_sigusr1_every_trigger_is_a_collection_over_a_kill_a_reload_and_the_end() {
    lives_a_whole_life("SIGUSR1");
}

#[test]
#[ignore = "slow: tests/run --all"]
fn with_sigusr2_every_trigger_is_a_collection_over_a_kill_a_reload_and_the_end() {
    lives_a_whole_life("SIGUSR2");
}

#[test]
#[ignore = "slow: tests/run --all"]
fn without_a_signal_every_interval_is_a_collection_over_a_kill_a_reload_and_the_end() {
    lives_a_whole_life("none");
}

#[test]
fn telegraf_shows_our_lines_with_test_and_with_once() {
    let test = "execd, --test and --once";
    let Some(program) = require_program(test, "TELEGRAF", "telegraf") else { return };
    let Some(lab) = Lab::require(test) else { return };
    lab.paused("one", 1, 2);
    lab.paused("two", 2, 1);
    let output = lab.scratch().join("output.conf");
    fs::write(&output, "[agent]\nomit_hostname = true\n[[outputs.file]]\nfiles = [\"stdout\"]\n")
        .unwrap();
    let stdin = shipped("telegraf-virt.conf");
    let none = configuration(&lab, "none");
    let mut counts = Vec::new();
    for (file, once, wait) in [
        (&stdin, false, None),
        (&stdin, true, None),
        // `--once` waits as `--test` does where it is told to.
        (&none, false, Some("8")),
        (&none, true, Some("8")),
    ] {
        let mut command = Command::new(&program);
        for_telegraf(&mut command, &lab);
        command.arg("--config").arg(file);
        if once {
            command.arg("--once").arg("--config").arg(&output);
        } else {
            command.arg("--test");
        }
        if let Some(seconds) = wait {
            command.args(["--test-wait", seconds]);
        }
        let finished = run(&mut command).success();
        assert_eq!(errors(&finished.stderr), Vec::<&str>::new(), "{finished}");
        let lines = match once {
            true => finished.stdout.clone(),
            // `--test` marks each line of a metric.
            false => {
                let marked = finished.stdout.lines().filter_map(|line| line.strip_prefix("> "));
                marked.map(|line| format!("{line}\n")).collect()
            }
        };
        let collections = collections(&lines);
        assert_whole(&collections, None);
        // 8 seconds hold two or three whole multiples of 3 s, of which a slow start may miss one.
        let expected = if wait.is_some() { 1..=3 } else { 1..=1 };
        assert!(expected.contains(&collections.len()), "{finished}");
        counts.push(collections.len());
    }
    say(&format!("execd, --test and --once: {counts:?} collections"));
}

#[test]
fn each_level_of_ours_is_that_level_in_telegrafs_log() {
    let test = "execd, levels";
    let Some(program) = require_program(test, "TELEGRAF", "telegraf") else { return };
    let Some(lab) = Lab::require(test) else { return };
    let guest = lab.paused("one", 1, 1);
    let output = lab.scratch().join("output.conf");
    fs::write(
        &output,
        format!(
            "[agent]\ninterval = \"1s\"\n[[outputs.file]]\nfiles = [\"{}\"]\n",
            lab.scratch().join("lines").display()
        ),
    )
    .unwrap();
    let mut command = Command::new(&program);
    for_telegraf(&mut command, &lab);
    command.arg("--config").arg(output).arg("--config").arg(shipped("telegraf-virt.conf"));
    let mut telegraf = Server::start(&mut command, lab.scratch().join("telegraf.log"));
    let uri = lab.uri();
    let mut told = Vec::new();
    {
        let log = lab.scratch().join("telegraf.log");
        let mut wait_for = |message: String| {
            let line = telegraf.wait_until(&message, LONG, || {
                let log = fs::read_to_string(&log).unwrap();
                // Behind the time.
                let found = log.lines().find(|line| line.contains(&message))?;
                Some(found.split_once(' ').unwrap().1.to_owned())
            });
            told.push(line);
        };
        wait_for("I! [inputs.execd] ready: ".to_owned());
        lab.signal_qemu("-STOP", &guest);
        wait_for("W! [inputs.execd] guest \"one\"".to_owned());
        lab.signal_qemu("-CONT", &guest);
        wait_for("I! [inputs.execd] guest \"one\"".to_owned());
        lab.signal_libvirtd("-KILL");
        wait_for(format!("E! [inputs.execd] cannot read the guests of {uri}"));
        lab.start_libvirtd();
        wait_for(format!("I! [inputs.execd] {uri} answers again"));
    }
    let log = telegraf.end_well(LONG);
    assert_eq!(errors(&log).len(), 1, "{log}");
    for line in told {
        say(&format!("execd, levels: {}", line.trim_end()));
    }
}
