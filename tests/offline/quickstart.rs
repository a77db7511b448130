//! `tests/quickstart` looks at Rust before it installs anything, and says the one command that helps. Then it
//! prints the lines of made-up guests.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::support::process::{Finished, run};
use crate::support::program::PROGRAM;
use crate::support::repository;

const WITH_CURL: &str =
    "apt-get install -y ca-certificates curl && curl -sSf https://sh.rustup.rs | sh -s -- -y";
const WITH_PACKAGE: &str = "apt-get install -y rustup && rustup default stable";

/// A dpkg-query that tells that it ran, and knows no package.
const NONE: &str = "echo \"$0 ran\" >&2";

/// Runs it on a system like this, where this script stands in for cargo and apt-get tells that it ran.
fn quickstart(release: &str, cargo: Option<&str>, dpkg_query: &str) -> Finished {
    let scratch = tempfile::tempdir().unwrap();
    let place = |name: &str| scratch.path().join(name);
    let program = |name: &str, script: &str| {
        fs::write(place(name), format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(place(name), fs::Permissions::from_mode(0o755)).unwrap();
    };
    fs::write(place("os-release"), release).unwrap();
    for name in ["apt-get", "sudo"] {
        program(name, "echo \"$0 ran\" >&2");
    }
    program("dpkg-query", dpkg_query);
    if let Some(script) = cargo {
        program("cargo", script);
    }
    let mut command = Command::new("sh");
    command.arg(repository().join("tests/quickstart")).env_clear();
    command.env("PATH", format!("{}:/usr/bin:/bin", scratch.path().display()));
    command.env("HOME", place("home")).env("OS_RELEASE", place("os-release"));
    run(&mut command)
}

#[test]
fn without_the_right_rust_nothing_is_installed_and_one_command_is_named() {
    if Command::new("sh")
        .args(["-c", "PATH=/usr/bin:/bin command -v cargo"])
        .output()
        .unwrap()
        .status
        .success()
    {
        return crate::support::skip("quickstart", "this system has a cargo of its own");
    }
    for (release, command) in [
        ("ID=debian\nVERSION_ID=\"12\"\n", WITH_CURL),
        ("ID=debian\nVERSION_ID=\"13\"\n", WITH_PACKAGE),
        ("ID=debian\n", WITH_PACKAGE),
        ("ID=ubuntu\nVERSION_ID=\"22.04\"\n", WITH_CURL),
        ("ID=ubuntu\nVERSION_ID=\"24.04\"\n", WITH_PACKAGE),
        ("ID=fedora\nVERSION_ID=43\n", "see https://rustup.rs"),
    ] {
        for (cargo, reason) in [
            (None, "there is no cargo; this installs Rust: "),
            (Some("1.63.0"), "cargo is 1.63.0, but must be "),
        ] {
            let cargo = cargo.map(|version| format!("echo 'cargo {version} (0123 2026-01-01)'"));
            let finished = quickstart(release, cargo.as_deref(), NONE).code(1);
            assert_eq!(finished.stderr.lines().count(), 1, "{finished}");
            assert!(finished.stderr.starts_with(&format!("quickstart: {reason}")), "{finished}");
            assert!(finished.stderr.trim_end().ends_with(command), "{finished}");
        }
    }
}

#[test]
fn with_rust_and_the_packages_it_prints_the_lines_of_ten_guests() {
    // The build is done already: cargo run is the program under test.
    let cargo = format!(
        "case $1 in
         --version) echo 'cargo 1.99.0 (0123 2026-01-01)' ;;
         run)
             while [ \"$1\" != -- ]; do shift; done
             shift
             exec {PROGRAM} \"$@\" ;;
         esac"
    );
    let finished = quickstart("ID=debian\n", Some(&cargo), "echo installed").success();
    assert_eq!(finished.stdout.lines().count(), 80, "{finished}");
    assert_eq!(finished.stderr.lines().count(), 2, "{finished}");
}
