//! The room with unsafe code under valgrind, on the test driver (calls for one guest) and on real guests
//! (the bulk call): no invalid access, no leak of ours.

use std::process::Command;

use crate::support::lab::Lab;
use crate::support::process::{Finished, run};
use crate::support::program::{PROGRAM, without_settings};
use crate::support::servers::require_program;

/// Runs `once` under valgrind, with so much time that its slowness costs nothing.
fn under_valgrind(test: &str, uri: &str) -> Option<Finished> {
    let valgrind = require_program(test, "VALGRIND", "valgrind")?;
    let scratch = tempfile::tempdir().unwrap();
    let mut command = Command::new(valgrind);
    without_settings(&mut command, scratch.path());
    command.args(["--quiet", "--error-exitcode=9", "--leak-check=full"]);
    // What libvirt keeps for the life of the process is reachable, or reached from inside only.
    command.args(["--show-leak-kinds=definite", "--errors-for-leak-kinds=definite", PROGRAM]);
    command.args(["once", "--no-cache", "--deadline", "2m", "--uri", uri]);
    Some(run(&mut command).success())
}

#[test]
#[ignore = "slow: tests/run --all"]
fn the_calls_for_one_guest_run_clean_under_valgrind() {
    let Some(finished) = under_valgrind("valgrind, test driver", "test:///default") else {
        return;
    };
    assert_eq!(finished.stdout.lines().count(), 4, "{finished}");
    assert_eq!(finished.stderr, "", "{finished}");
}

#[test]
#[ignore = "slow: tests/run --all"]
fn the_bulk_call_runs_clean_under_valgrind() {
    let Some(lab) = Lab::require("valgrind, QEMU") else { return };
    lab.fleet(6, 2, 3);
    let Some(finished) = under_valgrind("valgrind, QEMU", &lab.uri()) else { return };
    assert_eq!(finished.stdout.lines().count(), 6 * 7, "{finished}");
    assert_eq!(finished.stderr, "", "{finished}");
}
