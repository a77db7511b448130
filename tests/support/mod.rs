//! What the tests on the real thing share: a lab with a libvirtd of its own, the program under
//! test, a reader of its lines, and servers that end with their test. What a test expects of the
//! program does not belong here.

// Each of the test programs, and benches/live, uses a part of this.
#![allow(dead_code)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod ailing;
pub mod app;
pub mod calls;
pub mod dashboards;
pub mod database;
pub mod dead_mount;
pub mod debian;
pub mod events;
pub mod execd;
pub mod expect;
pub mod exporter_names;
pub mod faults;
pub mod flip;
pub mod influxdb;
pub mod isolation;
pub mod lab;
pub mod libvirtd;
pub mod lines;
pub mod logrotate;
pub mod made;
pub mod markdown;
pub mod metric_types;
pub mod migration;
pub mod names;
pub mod obedient;
pub mod others;
pub mod pages;
pub mod process;
pub mod program;
pub mod prometheus;
pub mod promql;
pub mod recorded;
pub mod remote;
pub mod servers;
pub mod stage;
pub mod table;
pub mod tally;
pub mod tested;
pub mod told;
pub mod traced;
pub mod turn;
pub mod victoria_metrics;

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// The folder of the clone.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Writes one line to the terminal, past the test harness, which hides what a passing test prints.
pub fn say(line: &str) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Says aloud that a test did not run; with REQUIRE_LIVE=1 that is a failure.
pub fn skip(test: &str, why: &str) {
    if std::env::var("REQUIRE_LIVE").is_ok_and(|value| value == "1") {
        panic!("{test} could not run: {why}");
    }
    say(&format!("SKIP {test}: {why}"));
}

/// Asks again until there is an answer; fails with `what` when there is none within `limit`.
pub fn wait_until<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
