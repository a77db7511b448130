//! What came of what was expected, and what a process holds: counted over many collections.

use std::collections::BTreeMap;
use std::time::Duration;

use super::execd::{Collection, Execd};
use super::lines::Line;

/// What a guest's lines look like when all is well: each title with its fields' names.
pub type Shape = BTreeMap<String, Vec<String>>;

/// The shapes of all guests in a collection, by uuid.
pub fn shapes(lines: &[Line]) -> BTreeMap<String, Shape> {
    let mut shapes: BTreeMap<String, Shape> = BTreeMap::new();
    for line in lines {
        let fields = line.fields.iter().map(|(name, _)| name.clone()).collect();
        shapes.entry(line.tag("uuid").to_owned()).or_default().insert(line.title(), fields);
    }
    shapes
}

/// Counts points of healthy guests for one fault.
pub struct Tally {
    fault: String,
    collections: usize,
    expected: usize,
    received: usize,
    longest: Duration,
    missing: Vec<String>,
}

impl Tally {
    pub fn of(fault: &str) -> Tally {
        Tally {
            fault: fault.to_owned(),
            collections: 0,
            expected: 0,
            received: 0,
            longest: Duration::ZERO,
            missing: Vec::new(),
        }
    }

    /// Counts a collection: every line of every healthy guest, with every field.
    pub fn count(&mut self, healthy: &BTreeMap<String, Shape>, collection: &Collection) {
        self.collections += 1;
        self.longest = self.longest.max(collection.took);
        let got = shapes(&collection.lines);
        for (uuid, shape) in healthy {
            for (title, fields) in shape {
                self.expected += 1;
                if got.get(uuid).and_then(|shape| shape.get(title)) == Some(fields) {
                    self.received += 1;
                } else {
                    self.missing.push(format!("{}: {title}", self.collections));
                }
            }
        }
    }

    pub fn row(&self) -> String {
        format!(
            "{:<44} {:>5} {:>8} {:>8} {:>8}",
            self.fault,
            self.collections,
            self.expected,
            self.received,
            self.longest.as_millis()
        )
    }

    pub fn head() -> String {
        format!("{:<44} {:>5} {:>8} {:>8} {:>8}", "fault", "coll.", "expected", "received", "ms")
    }

    /// No healthy guest lost a point, and no collection took longer than `limit`.
    pub fn assert_whole(&self, limit: Duration) {
        assert_eq!(self.received, self.expected, "{}: missing {:#?}", self.fault, self.missing);
        self.assert_in_time(limit);
    }

    pub fn assert_in_time(&self, limit: Duration) {
        assert!(self.longest <= limit, "{}: took {:?}", self.fault, self.longest);
    }
}

/// The open files and the resident KiB of a process.
pub fn files_and_memory(pid: u32) -> (usize, i64) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let rss_kib = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    (std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count(), rss_kib)
}

/// Collects so often, each time at least so many lines, and expects the process to hold as many files
/// and as much memory at the end as after the first hundred.
pub fn assert_flat(execd: &mut Execd, lines: usize, collections: usize) {
    let pid = execd.id();
    let hold = || files_and_memory(pid);
    let mut collect = |count: usize| {
        for _ in 0..count {
            assert!(execd.collect().lines.len() >= lines);
        }
    };
    collect(100);
    let (files, rss_kib) = hold();
    collect(collections);
    let (files_after, rss_kib_after) = hold();
    assert_eq!(files_after, files, "open files");
    let grown = rss_kib_after - rss_kib;
    assert!(grown < 512, "{grown} KiB more after {collections} collections");
}
