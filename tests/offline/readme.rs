//! README.md is true: each command in it is run, or stands here with the reason why not; its tables,
//! lines, queries and configurations are held against the program; and so are the files that users
//! copy into Telegraf.
//!
//! ```text
//! commands.rs  blocks of sh and crontab, run in their order
//! contributing.rs CONTRIBUTING.md: its commands, and the files that it names
//! examples.rs  lines of statistics that the tests' guests do not have; tests/live/readme.rs has the others
//! hypervisors.rs which hypervisor gives what, for those that can be tried
//! migration.rs other tools' names, of which tests/system/migration.rs has the tools
//! printed.rs   lines, and the schema against what is printed
//! reserved.rs  names that a user's tag must not have
//! settings.rs  configurations, the table of settings, options
//! telegraf.rs  telegraf.d, and queries, with a real Telegraf and a real InfluxDB
//! ```

mod commands;
mod contributing;
mod examples;
mod hypervisors;
mod migration;
mod printed;
mod settings;
mod telegraf;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use crate::support::lines::{self, Line};
use crate::support::markdown::{self, Row, quoted};
use crate::support::process::run;
use crate::support::program::PROGRAM;
use crate::support::repository;
use tempfile::TempDir;

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

// What stands in the README.

/// The README's code blocks of one language, in order.
fn blocks(language: &str) -> Vec<String> {
    blocks_of("README.md", language)
}

/// The code blocks of one language in a file, in order.
fn blocks_of(file: &str, language: &str) -> Vec<String> {
    let readme = read(file);
    let mut blocks = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in readme.lines() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(language), None) => open = Some((language.to_owned(), String::new())),
            (Some(_), Some(block)) => blocks.push(block),
            (None, Some((language, text))) => open = Some((language, format!("{text}{line}\n"))),
            (None, None) => {}
        }
    }
    assert_eq!(open, None, "a code block of {file} does not end");
    let ours = blocks.into_iter().filter(|(found, _)| found == language);
    ours.map(|(_, text)| text).collect()
}

/// The one code block of this language that holds this text.
fn block_with(language: &str, text: &str) -> String {
    let found: Vec<String> =
        blocks(language).into_iter().filter(|block| block.contains(text)).collect();
    assert_eq!(found.len(), 1, "blocks of {language} with {text}: {found:?}");
    found.into_iter().next().unwrap()
}

/// The rows of every table below this heading of docs/metrics.md.
fn metrics_rows(heading: &str) -> Vec<Row> {
    markdown::rows(&read("docs/metrics.md"), heading)
}

/// The rows of every table below this heading of the README, down to the next one.
fn rows(heading: &str) -> Vec<Row> {
    markdown::rows(&read("README.md"), heading)
}

// The program, with nothing of this machine's settings.

/// A folder with a home, the fixture's host, and a cache of its own.
struct Scratch {
    folder: TempDir,
}

impl Scratch {
    fn new() -> Scratch {
        let folder = tempfile::tempdir().unwrap();
        fs::copy(repository().join("fixtures/node.xml"), folder.path().join("node.xml")).unwrap();
        fs::write(folder.path().join("empty.toml"), "").unwrap();
        for name in ["home", "cache"] {
            let path = folder.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
        }
        Scratch { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn node(&self) -> String {
        format!("test://{}", self.path("node.xml").display())
    }

    /// A command that reads the fixture's host where nothing else is said.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.path("home"))
            .env("CACHE_DIRECTORY", self.path("cache"))
            .env("LIBVIRT_DEFAULT_URI", self.node())
            .env("TELEGRAF_VIRT_CONFIG", self.path("empty.toml"))
            .current_dir(self.folder.path());
        command
    }

    /// The lines of one `once` with these options, which must have nothing to complain of.
    fn once(&self, options: &[&str]) -> Vec<Line> {
        let finished = run(self.command(PROGRAM).arg("once").args(options)).success();
        assert_eq!(finished.stderr, "", "{finished}");
        lines::read(&finished.stdout)
    }

    /// A program on the PATH that this script stands in for.
    fn stand_in(&self, name: &str, script: &str) {
        let folder = self.path("stand-ins");
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join(name);
        fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// So many lines of each measurement, as the headline case has them.
#[track_caller]
fn assert_ten_guests(lines: &[Line], features: usize) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for line in lines {
        *counts.entry(line.measurement.as_str()).or_default() += 1;
    }
    let expected =
        [("vm_metrics", 10), ("vm_features", features), ("vm_devices", 50), ("vm_totals", 10)];
    let expected = expected.into_iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(counts, expected);
}

#[test]
fn the_readme_names_the_packages_and_the_rust_that_the_first_command_asks_for() {
    let script = read("tests/quickstart");
    let (_, packages) = script.split_once("\nfor package in ").unwrap();
    let (packages, _) = packages.split_once("; do").unwrap();
    let readme = read("README.md");
    let (_, told) = readme.split_once("where that is missing (").unwrap();
    let (told, _) = told.split_once(')').unwrap();
    assert_eq!(quoted(told), packages.split(' ').collect::<Vec<_>>());
    let manifest = toml::from_str::<toml::Table>(&read("Cargo.toml")).unwrap();
    let rust = manifest["package"]["rust-version"].as_str().unwrap();
    assert_eq!(readme.matches("Rust 1.").count(), readme.matches(&format!("Rust {rust} ")).count());
}

#[test]
fn the_table_of_modules_has_every_module_of_the_source() {
    let told: BTreeSet<String> =
        rows("## How it works").iter().map(|row| quoted(&row["module"])[0].clone()).collect();
    let entries = fs::read_dir(repository().join("src")).unwrap();
    let modules: BTreeSet<String> = entries
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .filter(|module| module != "lib")
        .collect();
    assert_eq!(told, modules);
}

/// The anchors of a file's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| line.trim_start_matches('#').trim().to_lowercase())
        .map(|heading| heading.replace([',', '.', '\'', '`'], "").replace(' ', "-"))
        .collect()
}

#[test]
fn the_contents_at_the_top_name_every_section() {
    let readme = read("README.md");
    let (contents, _) = readme.split_once("\n## ").unwrap();
    let sections: String = readme
        .lines()
        .filter(|line| line.starts_with("## "))
        .map(|line| format!("{line}\n"))
        .collect();
    for anchor in anchors(&sections) {
        assert!(contents.contains(&format!("](#{anchor})")), "{anchor}");
    }
}

#[test]
fn every_link_leads_somewhere() {
    for file in ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/metrics.md"] {
        let text = read(file);
        // What stands between backticks is no link.
        let words: String = text.split('`').step_by(2).collect();
        let links: Vec<&str> =
            words.split("](").skip(1).map(|rest| rest.split_once(')').unwrap().0).collect();
        assert!(!links.is_empty(), "{file}");
        for link in links.into_iter().filter(|link| !link.starts_with("https://")) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let path = if path.is_empty() { file } else { path };
            assert!(repository().join(path).is_file(), "{file}: {link}");
            assert!(
                anchor.is_empty() || anchors(&read(path)).contains(anchor),
                "{file}: {link}: {:?}",
                anchors(&read(path))
            );
        }
    }
}
