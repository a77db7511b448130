//! Messages that nobody reads: the lines come by their deadline all the same, and what was dropped is told
//! when somebody reads again.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::support::libvirtd::{Host, Libvirtd, Reply};
use crate::support::process::has_level;
use crate::support::program::program;

const GUESTS: u32 = 2000;
const DEADLINE: Duration = Duration::from_secs(4);

/// execd with a message for each guest.
fn start(scratch: &std::path::Path, uri: &str) -> (Child, Receiver<String>) {
    let mut child = program(scratch)
        .args(["execd", "--log-level", "debug", "--no-cache", "--uri", uri])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = child.stdout.take().unwrap();
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            if sender.send(line.unwrap()).is_err() {
                return;
            }
        }
    });
    (child, lines)
}

#[test]
fn a_full_standard_error_keeps_no_line_back_and_is_told_of() {
    let scratch = tempfile::tempdir().unwrap();
    let fake =
        Libvirtd::start(scratch.path(), Host::with(GUESTS), |_| Reply::Changed(Box::new(|_| {})));
    let (mut child, lines) = start(scratch.path(), &fake.uri());
    let mut stdin = child.stdin.take().unwrap();
    for collection in 0..2 {
        let began = Instant::now();
        stdin.write_all(b"\n").unwrap();
        lines.recv_timeout(DEADLINE + Duration::from_secs(1)).unwrap_or_else(|error| {
            panic!("collection {collection}: no line after {:?}: {error}", began.elapsed())
        });
        while lines.recv_timeout(Duration::from_secs(2)).is_ok() {}
    }
    // Whoever reads again gets what fitted, and then how much did not.
    let mut messages = child.stderr.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        messages.read_to_string(&mut text).unwrap();
        text
    });
    std::thread::sleep(Duration::from_millis(300));
    stdin.write_all(b"\n").unwrap();
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let text = reader.join().unwrap();
    let told: Vec<usize> = text
        .lines()
        .filter_map(|line| line.strip_prefix("W! "))
        .filter_map(|line| line.strip_suffix(" messages were dropped: nobody read them"))
        .map(|count| count.parse().unwrap())
        .collect();
    assert_eq!(told.len(), 1, "{text}");
    let most = GUESTS as usize * 2;
    assert!(told[0] > 1000 && told[0] < most, "{told:?}");
    assert!(text.lines().all(has_level), "{text}");
}
