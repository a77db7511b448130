//! CONTRIBUTING.md is true: its commands are run, or stand here with the reason why not, and the files
//! that it names are there.

use std::fs;

use super::commands::Told::{self, Elsewhere, Run};
use super::commands::shell;
use super::{Scratch, assert_ten_guests, blocks, quoted, read, repository};
use crate::support::lines;
use crate::support::process::run;
use crate::support::program::PROGRAM;
use crate::support::servers::find_program;
use crate::support::skip;

const CARGO: &str = "it builds and tests; tests/run does that, and this is one of its tests";
const BLESSES: &str = "it would write into this clone what the test that it names compares";

/// Every command of CONTRIBUTING.md, in its order.
const COMMANDS: [(&str, Told); 18] = [
    ("tests/quickstart", Elsewhere("commands.rs runs it")),
    (
        "sed -i 's/\"paused\"/\"resting\"/' src/sample/words.rs",
        Run(|scratch, _| {
            let changed = fs::read_to_string(scratch.path("src/sample/words.rs")).unwrap();
            assert!(changed.contains("\"blocked\", \"resting\", \"shutdown\""), "{changed}");
        }),
    ),
    ("cargo test --test offline golden", Elsewhere(CARGO)),
    ("BLESS=1 cargo test --test offline golden", Elsewhere(BLESSES)),
    (
        "git diff --stat",
        Run(|_, finished| assert!(finished.stdout.contains("src/sample/words.rs"), "{finished}")),
    ),
    (
        "git checkout src/sample/words.rs fixtures",
        Run(|scratch, _| {
            let restored = fs::read_to_string(scratch.path("src/sample/words.rs")).unwrap();
            assert_eq!(restored, read("src/sample/words.rs"));
        }),
    ),
    ("tests/run", Elsewhere(CARGO)),
    ("tests/run readme", Elsewhere(CARGO)),
    ("tests/run --all", Elsewhere(CARGO)),
    ("BLESS=1 cargo test --test offline golden", Elsewhere(BLESSES)),
    ("BLESS=1 cargo test --test system instructions", Elsewhere(BLESSES)),
    ("BLESS=1 cargo test --test offline readme", Elsewhere(BLESSES)),
    ("BLESS=1 cargo test --test live readme", Elsewhere(BLESSES)),
    ("BLESS=1 cargo test --test offline findings", Elsewhere(BLESSES)),
    (
        "telegraf-virt record --anonymize host.jsonl",
        Run(|scratch, _| {
            let text = fs::read_to_string(scratch.path("host.jsonl")).unwrap();
            assert!(!text.contains("web-01") && text.contains("guest-01"), "{text}");
        }),
    ),
    (
        "telegraf-virt once --uri replay:host.jsonl",
        Run(|_, finished| assert_ten_guests(&lines::read(&finished.stdout), 10)),
    ),
    ("BLESS=1 cargo test --test offline schema::", Elsewhere(BLESSES)),
    ("cargo test --test offline", Elsewhere(CARGO)),
];

#[test]
fn every_command_of_contributing_does_what_it_says_or_tells_here_why_it_is_not_run() {
    let text = blocks("CONTRIBUTING.md", "sh").concat();
    let known: Vec<&str> = COMMANDS.iter().map(|(command, _)| *command).collect();
    assert_eq!(text.lines().collect::<Vec<_>>(), known);

    if find_program("GIT", "git").is_none() {
        return skip("contributing", "no git here");
    }
    // A clone with what the commands touch, and the program on the PATH.
    let scratch = Scratch::new();
    for folder in ["src/sample", "fixtures", "root/usr/local/bin"] {
        fs::create_dir_all(scratch.path(folder)).unwrap();
    }
    fs::copy(PROGRAM, scratch.path("root/usr/local/bin/telegraf-virt")).unwrap();
    for file in ["src/sample/words.rs", "fixtures/node.xml"] {
        fs::copy(repository().join(file), scratch.path(file)).unwrap();
    }
    let committed = "git init -q && git add src fixtures && \
                     git -c user.name=a -c user.email=a@b commit -q -m a";
    run(scratch.command("sh").args(["-ec", committed])).success();
    for (command, told) in &COMMANDS {
        match told {
            Run(check) => check(&scratch, &shell(&scratch, command).success()),
            Elsewhere(why) => assert!(why.len() > 10, "{command}: {why}"),
        }
    }
}

#[test]
fn the_files_that_contributing_names_are_there() {
    let words = quoted(&read("CONTRIBUTING.md").replace("```", ""));
    let is_path = |word: &&String| {
        let folders = ["src/", "tests/", "fuzz/", "benches/", "fixtures/"];
        folders.iter().any(|folder| word.starts_with(folder)) && !word.contains(['*', ' '])
    };
    let named: Vec<&String> = words.iter().filter(is_path).collect();
    assert!(named.len() >= 8, "{named:?}");
    for name in named {
        assert!(repository().join(name).exists(), "{name}");
    }
}
