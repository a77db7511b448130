//! Standard input, output and error that are closed, stalled or full, signals at every moment, and
//! sockets that are gone, refused or silent: on libvirt's test driver, so without a lab.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::execd::Execd;
use crate::support::lines::read;
use crate::support::process::run;
use crate::support::program::program;
use crate::support::stage::times;
use crate::support::tally::assert_flat;
use crate::support::wait_until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::io::ioctl_fionread;
use tempfile::TempDir;

/// A command on a host of so many guests of the test driver.
fn command(scratch: &Path, guests: usize) -> Command {
    let domains: String = (0..guests)
        .map(|number| {
            format!(
                "<domain type='test'><name>guest-{number:04}</name>\
                 <uuid>00000000-0000-4000-8000-{number:012}</uuid><memory>1024</memory>\
                 <vcpu>1</vcpu><os><type>hvm</type></os><devices>\
                 <disk type='file'><source file='/d'/><target dev='vda'/></disk>\
                 <interface type='bridge'><source bridge='br0'/></interface></devices></domain>"
            )
        })
        .collect();
    let node = scratch.join("node.xml");
    fs::write(&node, format!("<node>{domains}</node>")).unwrap();
    let mut command = program(scratch);
    command.arg("--uri").arg(format!("test://{}", node.display())).arg("--no-cache");
    command
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
}

fn exit_code(child: &mut Child, limit: Duration) -> Option<i32> {
    wait_until("it ends", limit, || child.try_wait().unwrap()).code()
}

fn text(stream: Option<impl Read>) -> String {
    let mut text = String::new();
    stream.unwrap().read_to_string(&mut text).unwrap();
    text
}

/// Starts execd with its standard error captured, and waits until triggers count.
fn execd(command: &mut Command, stdout: impl Into<Stdio>) -> Child {
    let mut child = command
        .arg("execd")
        .stdin(Stdio::piped())
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Behind the line that says which program it is.
    let (mut byte, mut ready) = ([0], [0; 12]);
    let stderr = child.stderr.as_mut().unwrap();
    while byte != *b"\n" {
        stderr.read_exact(&mut byte).unwrap();
    }
    stderr.read_exact(&mut ready).unwrap();
    assert_eq!(&ready[..8], b"I! ready");
    child
}

#[test]
fn a_full_device_is_one_line_and_exit_1() {
    let scratch = TempDir::new().unwrap();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut once = command(scratch.path(), 3);
    let output = once.arg("once").stdout(full).stderr(Stdio::piped()).output().unwrap();
    let expected = "E! cannot write to standard output: No space left on device: lines of this \
                    collection are lost\n";
    assert_eq!(String::from_utf8(output.stderr).unwrap(), expected);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_file_that_may_not_grow_is_cut_back_to_whole_lines() {
    let scratch = TempDir::new().unwrap();
    let whole = run(command(scratch.path(), 20).arg("once")).success().stdout;
    let file = scratch.path().join("lines");
    // The shell's unit is 1024 bytes.
    let mut shell = Command::new("bash");
    let once = command(scratch.path(), 20);
    shell.args(["-c", "ulimit -f 4; exec \"$@\" once >> \"$0\""]).arg(&file);
    shell.arg(once.get_program()).args(once.get_args());
    for (key, value) in once.get_envs() {
        if let Some(value) = value {
            shell.env(key, value);
        }
    }
    let finished = run(&mut shell).code(1);
    assert!(finished.stderr.starts_with("E! cannot write to standard output: "), "{finished}");
    let left = fs::read_to_string(&file).unwrap();
    assert!(left.len() > 3000 && left.len() <= 4096, "{} bytes", left.len());
    let (kept, all) = (read(&left), read(&whole));
    assert_eq!(kept.len(), left.lines().count());
    let titles = |lines: &[crate::support::lines::Line]| crate::support::lab::titles(lines);
    assert_eq!(titles(&kept), titles(&all)[..kept.len()]);
}

#[test]
fn a_reader_that_goes_away_ends_the_program_quietly() {
    let scratch = TempDir::new().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut child = execd(&mut command(scratch.path(), 3), OwnedFd::from(writer));
    drop(reader);
    child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    assert_eq!(exit_code(&mut child, Duration::from_secs(5)), Some(0));
    let rest = text(child.stderr.take());
    assert_eq!(rest.lines().count(), 1, "only the rest of the ready line: {rest}");
}

#[test]
fn a_reader_that_stalls_is_waited_for_and_gets_every_line() {
    let scratch = TempDir::new().unwrap();
    // 400 guests are far more than a pipe holds.
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut child = execd(&mut command(scratch.path(), 400), OwnedFd::from(writer));
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"\n").unwrap();
    // Long enough that the first collection waits for its reader when the others are asked for.
    thread::sleep(Duration::from_secs(2));
    for _ in 0..50 {
        stdin.write_all(b"\n").unwrap();
    }
    thread::sleep(Duration::from_secs(times(5) as u64));
    assert!(child.try_wait().unwrap().is_none(), "it waits for its reader");
    drop(stdin);
    let started = Instant::now();
    let mut output = String::new();
    reader.read_to_string(&mut output).unwrap();
    assert_eq!(exit_code(&mut child, Duration::from_secs(5)), Some(0));
    assert!(started.elapsed() < Duration::from_secs(5));
    let lines = read(&output);
    // Triggers that waited have become one collection.
    let mut moments: Vec<i64> = lines.iter().map(|line| line.timestamp).collect();
    moments.dedup();
    assert_eq!(moments.len(), 2);
    // The first has no rates yet.
    assert_eq!(lines.len(), 400 * 4 + 400 * 5);
}

#[test]
fn a_reader_that_stalls_at_the_end_costs_the_deadline_and_exit_1() {
    let scratch = TempDir::new().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = command(scratch.path(), 400);
    command.args(["--deadline", "2s"]);
    let mut child = execd(&mut command, OwnedFd::from(writer));
    let mut asked: Option<Instant> = None;
    wait_until("its lines fill the pipe", Duration::from_secs(60), || {
        // On a busy machine the lines of one collection may be too few.
        if asked.is_none_or(|asked| asked.elapsed() > Duration::from_secs(3)) {
            child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
            asked = Some(Instant::now());
        }
        (ioctl_fionread(&reader).unwrap() > 60_000).then_some(())
    });
    let started = Instant::now();
    drop(child.stdin.take());
    assert_eq!(exit_code(&mut child, Duration::from_secs(20)), Some(1));
    assert!(started.elapsed() > Duration::from_millis(800), "{:?}", started.elapsed());
    let told = text(child.stderr.take());
    assert!(told.contains("E! the reader of standard output has stopped reading"), "{told}");
}

#[test]
fn closed_standard_error_costs_nothing() {
    let scratch = TempDir::new().unwrap();
    let mut shell = Command::new("sh");
    let once = command(scratch.path(), 2);
    // /nonexistent: a hypervisor that is down has something to say.
    shell.args(["-c", "exec \"$@\" --uri qemu+unix:///system?socket=/nonexistent once 2>&-", "sh"]);
    shell.arg(once.get_program()).args(once.get_args());
    shell.env("TELEGRAF_VIRT_CONFIG", scratch.path().join("empty.toml"));
    let finished = run(&mut shell).success();
    assert_eq!(read(&finished.stdout).len(), 2 * 4);
}

#[test]
fn every_trigger_is_a_collection_and_a_storm_of_them_is_harmless() {
    let scratch = TempDir::new().unwrap();
    let mut execd = Execd::of(&mut command(scratch.path(), 2));
    let pid = Pid::from_raw(execd.id().try_into().unwrap());
    for trigger in [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2] {
        kill(pid, trigger).unwrap();
        assert_eq!(
            execd.collected(Instant::now()).lines.len() / 2,
            if trigger == Signal::SIGHUP { 4 } else { 5 }
        );
    }
    for _ in 0..5000 {
        for trigger in [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGUSR2] {
            kill(pid, trigger).unwrap();
        }
    }
    let collection = execd.collected(Instant::now());
    assert_eq!(collection.lines.len(), 10);
    kill(pid, Signal::SIGTERM).unwrap();
    let told = execd.ended();
    assert_eq!(told, ["I! ready: triggers count from here on"]);
}

#[test]
fn a_trigger_that_came_before_the_end_is_still_served() {
    let scratch = TempDir::new().unwrap();
    for _ in 0..20 {
        let mut child = execd(&mut command(scratch.path(), 5), Stdio::piped());
        child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        drop(child.stdin.take());
        let output = text(child.stdout.take());
        assert_eq!(exit_code(&mut child, Duration::from_secs(5)), Some(0));
        assert_eq!(read(&output).len(), 5 * 4);
    }
}

#[test]
fn signals_at_any_moment_of_the_start_never_kill_execd() {
    let scratch = TempDir::new().unwrap();
    for delay_us in (0..40).map(|step| step * 250) {
        let mut child = execd(&mut command(scratch.path(), 1), Stdio::null());
        thread::sleep(Duration::from_micros(delay_us));
        signal(&child, Signal::SIGUSR1);
        signal(&child, Signal::SIGTERM);
        assert_eq!(exit_code(&mut child, Duration::from_secs(5)), Some(0));
    }
}

#[test]
fn sigterm_to_once_prints_what_has_arrived_and_exits_0() {
    let scratch = TempDir::new().unwrap();
    let silent = scratch.path().join("silent");
    let _listener = UnixListener::bind(&silent).unwrap();
    let mut command = command(scratch.path(), 2);
    let mut child = command
        .arg("--uri")
        .arg(format!("qemu+unix:///system?socket={}", silent.display()))
        .arg("once")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    thread::sleep(Duration::from_millis(700));
    signal(&child, Signal::SIGTERM);
    assert_eq!(exit_code(&mut child, Duration::from_secs(1)), Some(0));
    assert_eq!(read(&text(child.stdout.take())).len(), 2 * 4);
}

#[test]
fn a_socket_that_is_gone_refused_or_silent_is_told_in_time() {
    let scratch = TempDir::new().unwrap();
    let gone = scratch.path().join("gone");
    let refused = scratch.path().join("refused");
    drop(UnixListener::bind(&refused).unwrap());
    let silent = scratch.path().join("silent");
    let _listener = UnixListener::bind(&silent).unwrap();
    let cases = [
        (&gone, "No such file or directory"),
        (&refused, "Connection refused"),
        (&silent, "it does not answer"),
    ];
    for (socket, words) in cases {
        let uri = format!("qemu+unix:///system?socket={}", socket.display());
        let mut once = program(scratch.path());
        once.args(["once", "--no-cache", "--deadline", "1s", "--uri", &uri]);
        let started = Instant::now();
        let finished = run(&mut once).code(1);
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
        assert_eq!(finished.stdout, "");
        assert_eq!(finished.stderr.lines().count(), 1, "{finished}");
        let beginning = format!("E! cannot read the guests of {uri}: ");
        assert!(finished.stderr.starts_with(&beginning), "{finished}");
        assert!(finished.stderr.contains(words), "{finished}");
    }
}

#[test]
fn one_hypervisor_that_is_down_costs_the_others_nothing() {
    let scratch = TempDir::new().unwrap();
    let mut command = command(scratch.path(), 2);
    command.args(["--uri", "qemu+unix:///system?socket=/nonexistent/sock", "once"]);
    let finished = run(&mut command).success();
    assert_eq!(read(&finished.stdout).len(), 2 * 4);
    assert_eq!(finished.stderr.lines().count(), 1, "{finished}");
}

fn assert_files_and_memory_stay_flat(collections: usize) {
    let scratch = TempDir::new().unwrap();
    let mut execd = Execd::of(&mut command(scratch.path(), 5));
    assert_flat(&mut execd, 5 * 4, times(collections));
    execd.end();
}

#[test]
fn file_descriptors_and_memory_stay_flat_over_some_collections() {
    assert_files_and_memory_stay_flat(200);
}

#[test]
#[ignore = "slow: tests/run --all"]
fn file_descriptors_and_memory_stay_flat_over_a_thousand_collections() {
    assert_files_and_memory_stay_flat(1000);
}

#[test]
fn a_reader_slower_than_the_deadline_is_told_of_with_the_triggers_that_were_merged() {
    let scratch = TempDir::new().unwrap();
    let (mut reader, writer) = std::io::pipe().unwrap();
    // So few that a busy machine reads them all in time, and so many that a pipe does not hold their lines.
    let mut command = command(scratch.path(), 200);
    command.args(["--deadline", "2s"]);
    let mut child = execd(&mut command, OwnedFd::from(writer));
    // It holds the pipe's end as well.
    drop(command);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"\n").unwrap();
    // It waits for the reader when the pipe, which holds 64 KiB, has no room for another piece.
    wait_until("the pipe is full", Duration::from_secs(60), || {
        (ioctl_fionread(&reader).unwrap() > 60_000).then_some(())
    });
    for _ in 0..3 {
        stdin.write_all(b"\n").unwrap();
        thread::sleep(Duration::from_millis(200));
    }
    // Longer than the deadline.
    thread::sleep(Duration::from_secs(3));
    let output = thread::spawn(move || {
        let mut output = String::new();
        reader.read_to_string(&mut output).map(|_| output)
    });
    thread::sleep(Duration::from_secs(3));
    drop(stdin);
    assert_eq!(exit_code(&mut child, Duration::from_secs(20)), Some(0));
    output.join().unwrap().unwrap();
    let told = text(child.stderr.take());
    assert!(told.contains("W! the reader of standard output took "), "{told}");
    assert!(told.contains("triggers that arrived meanwhile become one: 3"), "{told}");
}

#[test]
fn a_closed_standard_output_is_told_of() {
    let scratch = TempDir::new().unwrap();
    let program = |command: &str, redirection: &str| {
        let script = format!("exec \"$0\" {command} {redirection}");
        let mut shell = Command::new("sh");
        crate::support::program::without_settings(&mut shell, scratch.path());
        run(shell.args(["-c", &script, crate::support::program::PROGRAM]))
    };
    let once = "once --no-cache --uri test:///default";
    for command in [once, "execd --no-cache </dev/null", "config", "help", "--version"] {
        let closed = program(command, ">&-").code(1);
        assert_eq!(
            closed.stderr, "E! standard output is closed: nothing can be written\n",
            "{command}"
        );
    }
    // Whoever throws lines away means it, however the null device is opened.
    for redirection in [">/dev/null", "<&- >/dev/null", "1<>/dev/null"] {
        assert_eq!(program(once, redirection).success().stderr, "", "{redirection}");
    }
}

/// Whoever may read the file of lines can hold the file's own lock, and slows nobody by it.
#[test]
fn a_lock_on_the_file_of_lines_slows_no_run() {
    let scratch = TempDir::new().unwrap();
    let path = scratch.path().join("lines");
    File::create(&path).unwrap();
    let held = File::open(&path).unwrap();
    held.lock().unwrap();
    let mut command = program(scratch.path());
    command.args(["once", "--uri", "test:///default", "--cache-dir"]);
    command.arg(scratch.path().join("cache"));
    command.stdout(File::options().append(true).open(&path).unwrap());
    let fastest = (0..5)
        .map(|_| {
            let began = Instant::now();
            assert!(command.status().unwrap().success());
            began.elapsed()
        })
        .min();
    assert!(fastest.unwrap() < Duration::from_millis(450), "{fastest:?}");
    // From the second run on with rates.
    assert_eq!(read(&fs::read_to_string(&path).unwrap()).len(), 4 + 4 * 5);
}

/// A configuration that nobody writes, and a signal before any setting is known.
#[test]
fn a_configuration_that_is_no_plain_file_is_refused_at_once() {
    let scratch = tempfile::tempdir().unwrap();
    let fifo = scratch.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for command in ["once", "execd", "check"] {
        for path in [fifo.as_path(), std::path::Path::new("/dev/zero")] {
            let began = std::time::Instant::now();
            let mut program = program(scratch.path());
            let finished = run(program.args([command, "--config"]).arg(path));
            assert_eq!(finished.status.code(), Some(2), "{finished}");
            assert!(finished.stderr.contains("it is not a plain file"), "{finished}");
            assert!(began.elapsed() < std::time::Duration::from_secs(5), "{finished}");
        }
    }
}
