//! README.md and docs/ are true: each command in them is run, or stands here with the reason why not; their
//! tables, lines, queries and configurations are held against the program; and so are the files that users
//! copy into Telegraf.
//!
//! ```text
//! commands.rs  blocks of sh and crontab, each page's run in their order
//! contributing.rs CONTRIBUTING.md: its commands, and the files that it names
//! examples.rs  lines of statistics that the tests' guests do not have; tests/live/readme.rs has the others
//! hypervisors.rs which hypervisor gives what, for those that can be tried
//! messages.rs  the messages that docs/troubleshooting.md explains
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
mod messages;
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
use crate::support::pages::{self, block_with, blocks, read};
use crate::support::process::run;
use crate::support::program::PROGRAM;
use crate::support::repository;
use tempfile::TempDir;

/// The rows of every table below this heading of a page, down to the next one.
fn rows(page: &str, heading: &str) -> Vec<Row> {
    markdown::rows(&read(page), heading)
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
    let (_, told) = readme.split_once("missing build packages (").unwrap();
    let (told, _) = told.split_once(')').unwrap();
    assert_eq!(quoted(told), packages.split(' ').collect::<Vec<_>>());
    let manifest = toml::from_str::<toml::Table>(&read("Cargo.toml")).unwrap();
    let rust = manifest["package"]["rust-version"].as_str().unwrap();
    for page in pages::all() {
        let text = read(&page);
        let found = text.matches("Rust 1.").count();
        assert_eq!(found, text.matches(&format!("Rust {rust} ")).count(), "{page}");
    }
}

#[test]
fn the_table_of_modules_has_every_module_of_the_source() {
    let rows = rows("docs/architecture.md", "## Modules");
    let told: BTreeSet<String> = rows.iter().map(|row| quoted(&row["module"])[0].clone()).collect();
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
    let is_kept = |c: &char| c.is_alphanumeric() || [' ', '-', '_'].contains(c);
    headings
        .map(|line| line.trim_start_matches('#').trim().to_lowercase())
        .map(|heading| heading.chars().filter(is_kept).collect::<String>().replace(' ', "-"))
        .collect()
}

/// Where a file's links lead, without those into the web.
fn links(file: &str) -> Vec<String> {
    let text = read(file);
    // What stands between backticks is no link.
    let words: String = text.split('`').step_by(2).collect();
    let links = words.split("](").skip(1).map(|rest| rest.split_once(')').unwrap().0);
    links.filter(|link| !link.starts_with("https://")).map(str::to_owned).collect()
}

/// The file that a link of another file leads to, from the clone's folder.
fn target(file: &str, path: &str) -> String {
    let mut parts: Vec<&str> = file.split('/').collect();
    if path.is_empty() {
        return file.to_owned();
    }
    parts.pop();
    for part in path.split('/') {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join("/")
}

#[test]
fn every_link_leads_somewhere() {
    let more = ["CONTRIBUTING.md", "CHANGELOG.md", "dashboards/README.md"].map(str::to_owned);
    for file in pages::all().into_iter().chain(more) {
        for link in links(&file) {
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let path = target(&file, path);
            assert!(repository().join(&path).is_file(), "{file}: {link}");
            assert!(
                anchor.is_empty() || anchors(&read(&path)).contains(anchor),
                "{file}: {link}: {:?}",
                anchors(&read(&path))
            );
        }
    }
}

#[test]
fn the_readme_is_short_and_leads_to_every_page_which_says_whom_it_is_for() {
    let readme = read("README.md");
    assert!(readme.lines().count() <= 250, "{}", readme.lines().count());
    let told = [links("README.md"), links("CONTRIBUTING.md")].concat();
    for page in pages::all().into_iter().skip(1) {
        assert!(told.contains(&page), "neither README.md nor CONTRIBUTING.md has a link to {page}");
        let text = read(&page);
        let (title, rest) = text.split_once("\n\n").unwrap();
        assert!(title.starts_with("# ") && rest.starts_with("For "), "{page}: {title}");
    }
}
