//! `once --format table` through the real binary on libvirt's test driver: two samples where none is
//! kept, the end in between, hypervisors of which one is down, and a terminal.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::process::{Finished, run};
use crate::support::program::{PROGRAM, program, without_settings};
use crate::support::repository;
use crate::support::servers::require_program;
use crate::support::table::Table;
use crate::support::wait_until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

fn scratch() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn node() -> String {
    format!("test://{}/fixtures/node.xml", repository().display())
}

/// The program with a table of the fixture's host, told nothing of terminals and colours.
fn command(scratch: &Path) -> Command {
    let mut command = program(scratch);
    command.args(["once", "--format", "table", "--uri", &node()]);
    command.arg("--cache-dir").arg(scratch.join("cache"));
    for variable in ["COLUMNS", "NO_COLOR", "CLICOLOR_FORCE"] {
        command.env_remove(variable);
    }
    command
}

fn quiet(command: &mut Command) -> Finished {
    let finished = run(command).success();
    assert_eq!(finished.stderr, "", "{finished}");
    finished
}

/// The shortest time that a table's rates are over, as it tells.
fn seconds(table: &Table) -> f64 {
    let [remark] = &table.remarks[..] else { panic!("{:?}", table.remarks) };
    let (told, _) = remark
        .strip_prefix("Rates are over the last ")
        .and_then(|told| told.split_once(" s"))
        .unwrap_or_else(|| panic!("{remark}"));
    told.parse().unwrap()
}

/// Waits until the program has a handler for the signal.
fn wait_until_caught(pid: u32, signal: Signal) {
    wait_until("its handlers stand", Duration::from_secs(20), || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        let mask = u64::from_str_radix(mask.trim(), 16).unwrap();
        (mask & (1 << (signal as i32 - 1)) != 0).then_some(())
    });
}

#[test]
fn without_an_earlier_sample_it_takes_two_and_keeps_the_last_for_the_next_run() {
    let scratch = scratch();
    let first = Table::read(&quiet(&mut command(scratch.path())).stdout);
    assert_eq!(first.rows.len(), 10);
    for row in &first.rows {
        for heading in ["CPU", "RX/s", "TX/s", "READ/s", "WRITE/s", "RD-REQ/s", "WR-REQ/s"] {
            assert_ne!(row.figures[heading], "-", "{heading} of {row:?}");
        }
    }
    // No less than the pause between them.
    assert!(seconds(&first) >= 1.0, "{:?}", first.remarks);

    // The lines of the next run have rates from the first.
    let mut lines = program(scratch.path());
    lines.args(["once", "--uri", &node(), "--cache-dir"]).arg(scratch.path().join("cache"));
    assert_eq!(run(&mut lines).success().stdout.matches("vm_features,").count(), 10);
    // And so has a table: no second sample is taken where the first has rates that mean something.
    std::thread::sleep(Duration::from_millis(2500));
    let next = Table::read(&quiet(&mut command(scratch.path())).stdout);
    assert!(seconds(&next) >= 2.5, "{:?}", next.remarks);
}

#[test]
fn it_needs_no_cache_and_the_users_settings_do_not_change_its_figures() {
    let scratch = scratch();
    for settings in [
        "missing = \"omit\"\nfeatures = []\n",
        "missing = \"zero\"\nfeatures = [\"net\"]\n[tags]\ndc = \"x\"\n",
    ] {
        let file = scratch.path().join("config.toml");
        fs::write(&file, settings).unwrap();
        let mut command = program(scratch.path());
        command.args(["--format", "table", "--no-cache", "--uri", &node(), "--config"]).arg(&file);
        let table = Table::read(&quiet(&mut command).stdout);
        assert_eq!(table.rows.len(), 10);
        let row = table.row("web-01 ");
        let still: Vec<&str> = ["VCPUS", "STEAL", "MEM", "USED", "AVAIL"]
            .iter()
            .map(|heading| &*row.figures[*heading])
            .collect();
        // The test driver has no vcpu.N.delay: that is not known, and not 0.
        assert_eq!(still, ["2", "-", "4.0GiB", "2.0GiB", "2.0GiB"], "{settings}");
        assert!(row.figures.values().filter(|figure| *figure == "-").count() == 1, "{row:?}");
    }
}

#[test]
fn the_end_before_the_second_sample_prints_the_first() {
    let scratch = scratch();
    // The first collection takes milliseconds and the pause a second: somewhere in between falls one
    // of these; and wherever it falls, what is there is printed, and the exit code is 0.
    let mut told = Vec::new();
    for delay_ms in [0, 50, 100, 200, 300, 400, 500, 600, 700, 800, 900] {
        let child = command(scratch.path())
            .arg("--deadline=10m")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        wait_until_caught(child.id(), Signal::SIGINT);
        std::thread::sleep(Duration::from_millis(delay_ms));
        kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        told.push(String::from_utf8(output.stdout).unwrap());
        fs::remove_dir_all(scratch.path().join("cache")).ok();
    }
    let cut_short = told.iter().filter(|text| text.ends_with("they need two samples.\n"));
    for text in cut_short.clone() {
        let table = Table::read(text);
        // Fewer, where the end came before the last guest of the first collection.
        assert!((1..=10).contains(&table.rows.len()), "{text}");
        assert!(table.rows.iter().all(|row| row.figures["RX/s"] == "-"), "{text}");
        assert!(table.rows.iter().all(|row| row.figures["MEM"] != "-"), "{text}");
    }
    assert!(
        cut_short.map(|text| Table::read(text)).any(|table| table.rows.len() == 10),
        "{told:#?}"
    );
}

#[test]
fn of_several_hypervisors_one_that_is_down_costs_the_others_no_row() {
    let scratch = scratch();
    let dead = "qemu+unix:///system?socket=/absent/socket";
    let finished =
        run(command(scratch.path()).args(["--uri", "test:///default", "--uri", dead])).success();
    let table = Table::read(&finished.stdout);
    assert_eq!(table.rows.len(), 11);
    // Sorted by name, whichever hypervisor they are of.
    assert_eq!(table.rows[7].start, "test test:///default running");
    assert!(table.rows.is_sorted_by_key(|row| row.start.split(' ').next().unwrap().to_owned()));
    let messages: Vec<&str> = finished.stderr.lines().collect();
    assert_eq!(messages.len(), 1, "told once, not twice: {finished}");
    assert!(messages[0].starts_with("E! ") && messages[0].contains(dead), "{finished}");

    let mut alone = program(scratch.path());
    alone.args(["once", "--format", "table", "--no-cache", "--uri", dead]);
    let finished = run(&mut alone).code(1);
    assert_eq!(finished.stdout, "", "{finished}");
}

#[test]
fn where_no_guest_is_it_says_so_and_all_is_well() {
    let scratch = scratch();
    let file = scratch.path().join("config.toml");
    fs::write(&file, "[domains]\nexclude = [\"*\"]\n").unwrap();
    let finished = quiet(command(scratch.path()).arg("--config").arg(file));
    assert!(finished.stdout.starts_with("No guest to show: "), "{finished}");
}

#[test]
fn a_recording_is_shown_at_once_and_the_same_each_time() {
    let scratch = scratch();
    let recording = format!("replay:{}/fixtures/hosts/debian12-qemu.jsonl", repository().display());
    let show = || {
        let mut command = program(scratch.path());
        command.env_remove("COLUMNS").args(["once", "--format", "table", "--uri", &recording]);
        quiet(&mut command).stdout
    };
    let shown = show();
    let table = Table::read(&shown);
    assert_eq!(table.row("linux one").start, "linux one running");
    assert_eq!(table.rows.len(), 2);
    // It holds one moment, and waiting makes no second one.
    assert_eq!(table.remarks, ["No rates: they need two samples."]);
    assert_eq!(show(), shown);
}

// A terminal.

const TEST: &str = "table, terminal";

/// What the program writes to a terminal of so many columns.
fn on_terminal(script: &Path, columns: u16, variables: &[(&str, &str)], more: &str) -> String {
    let scratch = scratch();
    let mut command = Command::new(script);
    without_settings(&mut command, scratch.path());
    for variable in ["COLUMNS", "NO_COLOR", "CLICOLOR_FORCE"] {
        command.env_remove(variable);
    }
    command.env("TERM", "xterm");
    // A shell sets COLUMNS itself after a command.
    let variables: Vec<String> =
        variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let variables = variables.join(" ");
    let line = format!(
        "stty cols {columns} rows 24 && env {variables} {PROGRAM} once --format table --no-cache --uri {} {more}",
        node()
    );
    let log = scratch.path().join("typescript");
    let status = command
        .args(["--quiet", "--return", "--command", &line])
        .arg(&log)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{line}: {status}");
    let text = fs::read_to_string(log).unwrap();
    // What script itself writes stands on lines of its own.
    let ours = text.trim_end().lines().filter(|line| !line.starts_with("Script "));
    let ours: Vec<&str> = ours.skip_while(|line| line.is_empty()).collect();
    let last = ours.iter().rposition(|line| !line.trim().is_empty()).unwrap();
    ours[..=last].iter().map(|line| format!("{}\n", line.trim_end_matches('\r'))).collect()
}

fn script() -> Option<PathBuf> {
    require_program(TEST, "SCRIPT", "script")
}

/// The text without its colours.
fn plain(text: &str) -> String {
    let mut parts = text.split('\u{1b}');
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |plain, part| plain + part.split_once('m').unwrap().1)
}

#[test]
fn a_terminal_gets_colours_unless_no_color_is_set_or_it_has_none() {
    let Some(script) = script() else { return };
    let coloured = on_terminal(&script, 120, &[], "");
    assert!(coloured.starts_with("\u{1b}[1mGUEST "), "{coloured:?}");
    assert_eq!(Table::read(&plain(&coloured)).rows.len(), 10);
    for variables in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let text = on_terminal(&script, 120, &[variables], "");
        assert!(text.starts_with("GUEST ") && !text.contains('\u{1b}'), "{variables:?}: {text:?}");
    }
    // An empty NO_COLOR counts as none: https://no-color.org
    assert!(on_terminal(&script, 120, &[("NO_COLOR", "")], "").contains('\u{1b}'));
    // Into a pipe none, whatever is set.
    let scratch = scratch();
    let piped = quiet(command(scratch.path()).env("CLICOLOR_FORCE", "1").env("TERM", "xterm"));
    assert!(!piped.stdout.contains('\u{1b}'), "{piped}");
    let inside = on_terminal(&script, 120, &[], "| cat");
    assert!(inside.starts_with("GUEST ") && !inside.contains('\u{1b}'), "{inside:?}");
}

#[test]
fn a_table_fits_its_terminal_or_what_columns_says() {
    let Some(script) = script() else { return };
    let widest = |text: &str| text.lines().map(|line| line.chars().count()).max().unwrap();
    let headings = |text: &str| text.lines().next().unwrap().split_whitespace().count();
    let all = headings(&on_terminal(&script, 200, &[("NO_COLOR", "1")], ""));
    assert_eq!(all, 14);
    for columns in [120, 100, 80, 60, 40] {
        let text = on_terminal(&script, columns, &[("NO_COLOR", "1")], "");
        assert!(widest(&text) <= columns.into(), "{columns}:\n{text}");
        // Not a line more than guests, heading, sum and remark: nothing is wrapped.
        assert_eq!(text.lines().count(), 13, "{columns}:\n{text}");
        assert!(headings(&text) <= all, "{columns}:\n{text}");
    }
    let told = on_terminal(&script, 200, &[("NO_COLOR", "1"), ("COLUMNS", "60")], "");
    assert!(widest(&told) <= 60 && headings(&told) < all, "{told}");
    // watch sets COLUMNS, and reads from a pipe.
    let scratch = scratch();
    let piped = quiet(command(scratch.path()).env("COLUMNS", "60")).stdout;
    assert!(widest(&piped) <= 60, "{piped}");
    for nonsense in ["", "0", "-1", "wide"] {
        let piped = quiet(command(scratch.path()).env("COLUMNS", nonsense)).stdout;
        assert_eq!(headings(&piped), all, "{nonsense:?}: {piped}");
    }
}
