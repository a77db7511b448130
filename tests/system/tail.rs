//! What Telegraf makes of the file that cron or systemd's timer appends to: by inputs.tail and the
//! file that is shipped for it, through restarts and rotations; and by inputs.file.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::lab::Lab;
use crate::support::lines::{Line, read};
use crate::support::logrotate::{FILE, Logrotate};
use crate::support::names::ODD_NAMES;
use crate::support::program::program;
use crate::support::say;
use crate::support::servers::{Server, require_program};

const SHIPPED: &str = include_str!("../../telegraf.d/telegraf-virt-file.conf.example");

/// A point, whatever the order of its tags and fields; how often it came.
fn points(lines: &[Line]) -> BTreeMap<String, usize> {
    let mut points = BTreeMap::new();
    for line in lines {
        let tags: BTreeMap<_, _> = line.tags.iter().cloned().collect();
        let fields: Vec<(&str, String)> = line
            .fields
            .iter()
            .map(|(name, value)| (name.as_str(), format!("{value:?}")))
            .collect::<BTreeMap<_, _>>()
            .into_iter()
            .collect();
        let point = format!("{} {tags:?} {fields:?} {}", line.measurement, line.timestamp);
        *points.entry(point).or_default() += 1;
    }
    points
}

/// Appends a collection to a file; returns its lines.
fn append(lab: &Lab, file: &Path) -> Vec<Line> {
    let before = fs::metadata(file).map_or(0, |seen| seen.len());
    let output = File::options().append(true).create(true).open(file).unwrap();
    let mut command = program(lab.scratch());
    command.args(["once", "--uri", &lab.uri(), "--cache-dir"]).arg(lab.scratch().join("cache"));
    let status = command.stdout(output).status().unwrap();
    assert!(status.success(), "{status}");
    let text = fs::read_to_string(file).unwrap();
    read(&text[usize::try_from(before).unwrap()..])
}

/// Telegraf with an input's settings, and a file that it appends what it got to.
struct Reader {
    program: PathBuf,
    folder: PathBuf,
}

impl Reader {
    fn start(&self, input: &str) -> Server {
        let configuration = self.folder.join("telegraf.conf");
        let text = format!(
            "[agent]\ninterval = \"1s\"\nflush_interval = \"1s\"\nomit_hostname = true\n\
             statefile = \"{}\"\n{input}\n[[outputs.file]]\nfiles = [\"{}\"]\ndata_format = \
             \"influx\"\n",
            self.folder.join("state").display(),
            self.folder.join("arrived.line").display()
        );
        fs::write(&configuration, text).unwrap();
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(&configuration);
        Server::start(&mut command, self.folder.join("telegraf.log"))
    }

    fn arrived(&self) -> Option<Vec<Line>> {
        let text = fs::read_to_string(self.folder.join("arrived.line")).ok()?;
        text.ends_with('\n').then(|| read(&text))
    }

    fn wait_for(&self, telegraf: &mut Server, what: &str, count: usize) {
        telegraf.wait_until(what, Duration::from_secs(60), || {
            (self.arrived()?.len() >= count).then_some(())
        });
    }
}

#[test]
#[ignore = "slow: tests/run --all"]
fn telegrafs_tail_gets_each_line_once_through_a_restart_and_a_rotation() {
    let test = "tail, inputs.tail";
    let Some(telegraf) = require_program(test, "TELEGRAF", "telegraf") else { return };
    let Some(logrotate) = require_program(test, "LOGROTATE", "logrotate") else { return };
    let Some(lab) = Lab::require(test) else { return };
    for (name, _) in ODD_NAMES {
        lab.paused(name, 1, 1);
    }
    let reader = Reader { program: telegraf, folder: lab.scratch().to_owned() };
    let folder = lab.scratch().join("var");
    fs::create_dir(&folder).unwrap();
    let file = folder.join("telegraf-virt.line");
    assert!(SHIPPED.contains(&format!("files = [\"{FILE}\"]")), "{SHIPPED}");
    let input = SHIPPED.replace(FILE, file.to_str().unwrap());
    let logrotate = Logrotate::new(logrotate, lab.scratch(), &file);

    // What is there before Telegraf's first start is read too.
    let mut sent = append(&lab, &file);
    assert_eq!(sent.len(), 4 * ODD_NAMES.len());
    let mut telegraf = reader.start(&input);
    reader.wait_for(&mut telegraf, "the file's beginning", sent.len());
    for _ in 0..2 {
        sent.extend(append(&lab, &file));
    }
    reader.wait_for(&mut telegraf, "what was appended", sent.len());
    logrotate.rotate();
    sent.extend(append(&lab, &file));
    reader.wait_for(&mut telegraf, "what was appended after a rotation", sent.len());
    let mut logs = telegraf.end();
    sent.extend(append(&lab, &file));
    let mut telegraf = reader.start(&input);
    reader.wait_for(&mut telegraf, "what was appended while Telegraf was away", sent.len());
    sent.extend(append(&lab, &file));
    reader.wait_for(&mut telegraf, "what was appended since", sent.len());
    logs.push_str(&telegraf.end());

    assert!(!logs.contains(" E! ") && !logs.contains(" W! [inputs"), "{logs}");
    assert_eq!(sent.len(), (4 + 5 * 5) * ODD_NAMES.len());
    // Telegraf rounds to the precision of the file.
    let second = 1_000_000_000;
    for line in &mut sent {
        line.timestamp = (line.timestamp + second / 2) / second * second;
    }
    assert_eq!(points(&reader.arrived().unwrap()), points(&sent));
    say(&format!("tail: {} lines of 6 collections came through inputs.tail once", sent.len()));
}

#[test]
#[ignore = "slow: tests/run --all"]
fn telegrafs_inputs_file_reads_the_whole_file_again_at_each_interval() {
    let test = "tail, inputs.file";
    let Some(telegraf) = require_program(test, "TELEGRAF", "telegraf") else { return };
    let Some(lab) = Lab::require(test) else { return };
    lab.fleet(2, 2, 3);
    let reader = Reader { program: telegraf, folder: lab.scratch().to_owned() };
    let file = lab.scratch().join("guests.line");
    let sent = append(&lab, &file);
    let input = format!(
        "[[inputs.file]]\nfiles = [\"{}\"]\ndata_format = \"influx\"\nprecision = \"1ns\"",
        file.display()
    );
    let mut telegraf = reader.start(&input);
    reader.wait_for(&mut telegraf, "three intervals", 3 * sent.len());
    let log = telegraf.end();
    assert!(!log.contains(" E! "), "{log}");
    let arrived = points(&reader.arrived().unwrap());
    let once = points(&sent);
    assert_eq!(arrived.keys().collect::<Vec<_>>(), once.keys().collect::<Vec<_>>());
    assert!(arrived.values().all(|count| *count >= 3), "{arrived:?}");
    assert_eq!(once.values().max(), Some(&1));
}
