//! The table that is drawn again and again: what ends it, and what a terminal gets.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use crate::support::process::run;
use crate::support::program::{PROGRAM, program};
use crate::support::{repository, skip};

fn node() -> String {
    format!("test://{}", repository().join("fixtures/node.xml").display())
}

#[test]
fn without_a_standard_input_there_is_one_table() {
    let scratch = tempfile::tempdir().unwrap();
    let mut command = program(scratch.path());
    command.args(["--watch", "200ms", "--no-cache", "--uri", &node()]).stdin(Stdio::null());
    let finished = run(&mut command).success();
    assert_eq!(finished.stdout.matches("GUEST ").count(), 1, "{finished}");
    assert!(!finished.stdout.contains('\x1b'), "{finished}");
    assert_eq!(finished.stderr, "", "{finished}");
}

#[test]
fn a_table_comes_each_time_until_q_is_read() {
    let scratch = tempfile::tempdir().unwrap();
    let mut command = program(scratch.path());
    command.args(["once", "--watch", "200ms", "--top", "2", "--no-cache", "--uri", &node()]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut tables = 0;
    let mut totals = 0;
    for line in lines.map_while(Result::ok) {
        tables += usize::from(line.starts_with("GUEST "));
        totals += usize::from(line.starts_with("10 guests "));
        if tables == 3 && totals == 3 {
            // The program may be gone by the second time.
            let _ = stdin.write_all(b"q");
        }
    }
    assert!(tables >= 3 && totals == tables, "{tables} {totals}");
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_terminal_of_80_by_24_is_drawn_in_place_and_left_as_it_was() {
    if !run(Command::new("script").arg("--version")).status.success() {
        return skip("watch, terminal", "no script, of util-linux");
    }
    let scratch = tempfile::tempdir().unwrap();
    let shell = |words: &str| {
        let mut terminal = Command::new("script");
        terminal.args(["-qec", words, "/dev/null"]).env_clear();
        let own = program(scratch.path());
        let own = own.get_envs().filter_map(|(name, value)| Some((name, value?)));
        terminal.envs(own).env("PATH", "/usr/bin:/bin").env("SHELL", "/bin/sh");
        let mut child = terminal.env("TERM", "xterm").stdin(Stdio::piped());
        child = child.stdout(Stdio::piped()).stderr(Stdio::piped());
        child.spawn().unwrap()
    };
    let node = node();
    let words = format!(
        "stty rows 8 cols 80; {PROGRAM} --watch 200ms --no-cache --uri {node}; stty -a; echo over"
    );
    let mut child = shell(&words);
    let mut stdin = child.stdin.take().unwrap();
    let mut shown = String::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
        shown.push_str(&line);
        shown.push('\n');
        if shown.matches("10 guests ").count() == 3 {
            let _ = stdin.write_all(b"q");
        }
        if line.starts_with("over") {
            break;
        }
    }
    child.wait().unwrap();
    assert!(shown.starts_with("\x1b[2J\x1b[H"), "{shown:?}");
    assert!(shown.matches("\x1b[H").count() >= 3, "{shown:?}");
    assert!(shown.contains(" more that are not shown; a pipe gets all."), "{shown:?}");
    assert!(shown.contains(" icanon") && shown.contains(" echo "), "{shown:?}");
}
