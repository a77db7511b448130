//! `once --format table` of real QEMU guests, against the lines of the same moment and against
//! `virsh domstats`; with a guest that hangs, and one that is off.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::support::lab::Lab;
use crate::support::lines::{Line, find, read};
use crate::support::process::{Finished, run};
use crate::support::program::program;
use crate::support::table::{Slack, Table, says};
use crate::support::{say, wait_until};

/// All rates that there are, and no zeros: what the table must not need.
const ALL: &str = "missing = \"omit\"\nfeatures = [\"net\", \"disk\", \"cpu\"]\n";

/// One run with a cache of its own, so that several have the same sample before them.
fn once(lab: &Lab, cache: &Path, options: &[&str]) -> Finished {
    let mut command = program(lab.scratch());
    command.env_remove("COLUMNS");
    command.args(["once", "--uri", &lab.uri(), "--cache-dir"]).arg(cache);
    run(command.args(options)).success()
}

fn copy(cache: &Path, name: &str) -> PathBuf {
    let copy = cache.with_file_name(name);
    run(std::process::Command::new("cp").arg("-a").arg(cache).arg(&copy)).success();
    copy
}

#[test]
fn the_figures_of_real_guests_are_those_of_the_lines_around_them_and_of_virsh() {
    let Some(lab) = Lab::require("table, figures") else { return };
    let linux = lab.linux("web 日本 🦀");
    let paused = lab.paused("db-01", 2, 3);
    let settings = lab.scratch().join("all.toml");
    fs::write(&settings, ALL).unwrap();
    let with_all = ["--config", settings.to_str().unwrap()];

    // The first sample; then the Linux guest works for a while, and is held.
    let cache = lab.scratch().join("cache");
    let first = read(&once(&lab, &cache, &with_all).stdout);
    let first_done = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let totals =
        |lines: &[Line], field: &str| find(lines, &linux, "vm_totals", None).unwrap().int(field);
    wait_until("its disk is read and written", Duration::from_secs(60), || {
        let stats = lab.stats(&linux);
        let gained = |key: &str, field: &str| stats.number(key) - totals(&first, field);
        (gained("block.0.rd.bytes", "disk_rd_bytes") > 1_000_000
            && gained("block.0.wr.bytes", "disk_wr_bytes") > 500_000
            && gained("net.1.tx.bytes", "net_txbytes") > 0)
            .then_some(())
    });
    lab.virsh(&["suspend", &linux]);

    // The same sample lies before each of these; counters stand still, time does not.
    let caches = ["before", "shown", "after"].map(|name| copy(&cache, name));
    let before = read(&once(&lab, &caches[0], &with_all).stdout);
    let finished = once(&lab, &caches[1], &["--format", "table"]);
    let after = read(&once(&lab, &caches[2], &with_all).stdout);
    assert_eq!(finished.stderr, "", "{finished}");
    let shown = Table::read(&finished.stdout);
    let starts: Vec<&str> = shown.rows.iter().map(|row| row.start.as_str()).collect();
    assert_eq!(starts, ["db-01 paused", "web 日本 🦀 paused"]);

    // No rate here is over less time than `seconds`, and none over more than from the first line on.
    let since_s = |start_ns: i64, lines: &[Line]| (lines[0].timestamp - start_ns) as f64 / 1e9;
    let seconds = since_s(first_done.try_into().unwrap(), &before);
    let slack = Slack { share: since_s(first[0].timestamp, &after) / seconds - 1.0, points: 1.0 };
    let mut compared = 0;
    for (uuid, row) in [(&paused, &shown.rows[0]), (&linux, &shown.rows[1])] {
        compared += row.compare(&before, uuid, slack);
    }
    // Twelve figures each, but what the paused guest's balloon never reported: USED and AVAIL.
    assert_eq!(compared, 12 + 10, "{finished}");

    // And by virsh's own counters, in another way.
    let (row, stats) = (&shown.rows[1].figures, lab.stats(&linux));
    let rate =
        |key: &str, field: &str| (stats.number(key) - totals(&first, field)) as f64 / seconds;
    let kib = |key: &str| stats.number(key) as f64 * 1024.0;
    let of_counters = Slack { points: 0.0, ..slack };
    for (heading, value, slack) in [
        ("VCPUS", stats.number("vcpu.current") as f64, Slack::NONE),
        ("MEM", kib("balloon.current"), Slack::NONE),
        ("USED", kib("balloon.available") - kib("balloon.usable"), Slack::NONE),
        ("AVAIL", kib("balloon.usable"), Slack::NONE),
        ("CPU", rate("cpu.time", "cputime") / 1e7, slack),
        ("RX/s", rate("net.1.rx.bytes", "net_rxbytes"), of_counters),
        ("TX/s", rate("net.1.tx.bytes", "net_txbytes"), of_counters),
        ("READ/s", rate("block.0.rd.bytes", "disk_rd_bytes"), of_counters),
        ("WRITE/s", rate("block.0.wr.bytes", "disk_wr_bytes"), of_counters),
        ("RD-REQ/s", rate("block.0.rd.reqs", "disk_rd_req"), of_counters),
        ("WR-REQ/s", rate("block.0.wr.reqs", "disk_wr_reqs"), of_counters),
    ] {
        assert!(says(&row[heading], value, slack), "{heading} by virsh is {value}\n{finished}");
    }
    for heading in ["TX/s", "READ/s", "WRITE/s", "RD-REQ/s"] {
        assert!(!row[heading].starts_with('0'), "a comparison of zeros: {heading}\n{finished}");
    }
    say(&format!("table: {compared} figures agree with the lines, 11 with virsh"));
}

#[test]
fn a_guest_that_hangs_is_marked_and_one_that_is_off_shown_and_the_others_are_whole() {
    let Some(lab) = Lab::require("table, states") else { return };
    lab.fleet(3, 1, 1);
    let hung = lab.paused("hung", 1, 1);
    let off = lab.paused("off", 1, 1);
    let xml = lab.scratch().join("off.xml");
    fs::write(&xml, lab.virsh(&["dumpxml", "--inactive", &off])).unwrap();
    lab.virsh(&["define", xml.to_str().unwrap()]);
    lab.virsh(&["destroy", &off]);
    let settings = lab.scratch().join("inactive.toml");
    fs::write(&settings, "[domains]\ninactive = true\n").unwrap();
    let options = ["--format", "table", "--config", settings.to_str().unwrap()];

    lab.signal_qemu("-STOP", &hung);
    let cache = lab.scratch().join("cache");
    let finished = once(&lab, &cache, &options);
    let messages: Vec<&str> = finished.stderr.lines().collect();
    assert_eq!(messages.len(), 1, "{finished}");
    assert!(messages[0].starts_with("W! guest \"hung\" "), "{finished}");

    let shown = Table::read(&finished.stdout);
    let starts: Vec<&str> = shown.rows.iter().map(|row| row.start.as_str()).collect();
    let fleet = ["fleet-01 paused", "fleet-02 paused", "fleet-03 paused"];
    assert_eq!(starts, [&fleet[..], &["hung paused!", "off shutoff"]].concat());
    for row in &shown.rows[..3] {
        let unknown: Vec<&String> =
            row.figures.iter().filter(|(_, it)| *it == "-").map(|(heading, _)| heading).collect();
        assert_eq!(unknown, ["AVAIL", "USED"], "{finished}");
    }
    // What libvirt knows without it is there, and what only it could tell is not a 0.
    let hung_row = &shown.rows[3].figures;
    for heading in ["READ/s", "WRITE/s", "RD-REQ/s", "WR-REQ/s", "USED", "AVAIL"] {
        assert_eq!(hung_row[heading], "-", "{heading}: {finished}");
    }
    for heading in ["CPU", "RX/s", "TX/s", "MEM", "VCPUS"] {
        assert_ne!(hung_row[heading], "-", "{heading}: {finished}");
    }
    let off_row = &shown.rows[4].figures;
    assert!(off_row.iter().all(|(heading, it)| (heading == "VCPUS") == (it != "-")), "{finished}");
    let total = &shown.total.as_ref().unwrap().figures;
    assert_eq!((&*total["MEM"], &*total["READ/s"]), ("64MiB", "-"), "{finished}");
    assert_eq!(shown.remarks.len(), 2, "{finished}");
    assert!(shown.remarks[1].starts_with("! incomplete (1 hung)"), "{finished}");

    lab.signal_qemu("-CONT", &hung);
    let again = wait_until("it answers again", Duration::from_secs(60), || {
        let finished = once(&lab, &cache, &options);
        (!finished.stdout.contains('!')).then_some(finished)
    });
    assert_eq!(again.stderr, "", "{again}");
    assert_ne!(Table::read(&again.stdout).row("hung ").figures["READ/s"], "-", "{again}");
}
