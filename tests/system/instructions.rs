//! How many instructions a line of output takes, from the statistics to the line protocol, held against
//! the number of its compiler in benches/instructions: a regression is seen on a busy machine too, where no
//! time could be believed. Callgrind counts them in the program that `cargo bench` measures.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::process::run;
use crate::support::repository;
use crate::support::say;
use crate::support::servers::require_program;
use serde_json::Value;

const GUESTS: usize = 100;
const COLLECTIONS: usize = 20;
/// More than what another processor's memcpy makes of it.
const ROOM_PERCENT: u64 = 10;
/// The same for a compiler that has no number yet, beside that of the one nearest to it: from 1.95 to 1.99
/// it grew by 7 %.
const ROOM_PERCENT_OF_ANOTHER: u64 = 20;

/// The benchmark as it is measured, optimized.
fn benchmark() -> PathBuf {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(crate::support::repository());
    command.args(["build", "--release", "--locked", "--bench", "replay"]);
    command.arg("--message-format=json");
    let built = run(&mut command).success();
    let messages = built.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let of_bench = |message: &Value| message["target"]["kind"][0] == "bench";
    let path =
        messages.filter(of_bench).find_map(|it| it["executable"].as_str().map(PathBuf::from));
    path.expect("cargo names the benchmark's executable")
}

/// How many instructions and lines so many collections are.
fn count(valgrind: &Path, benchmark: &Path, collections: usize) -> (u64, u64) {
    let scratch = tempfile::tempdir().unwrap();
    let mut command = Command::new(valgrind);
    command.current_dir(scratch.path());
    // The C library has a memcpy for each kind of processor: let all of them take the plain one.
    command.env(
        "GLIBC_TUNABLES",
        "glibc.cpu.hwcaps=-AVX2,-AVX,-FMA,-FMA4,-ERMS,-AVX512F,-AVX512VL,-AVX_Fast_Unaligned_Load",
    );
    command.args(["--tool=callgrind", "--callgrind-out-file=out"]).arg(benchmark);
    command.args(["--collect", &collections.to_string(), &GUESTS.to_string()]);
    let finished = run(&mut command).success();
    let number = |text: &str| text.trim().replace(',', "").parse().ok();
    let (_, instructions) = finished.stderr.split_once("refs:").expect("callgrind's count");
    let instructions = instructions.lines().next().and_then(number).expect("a number");
    let lines = finished.stdout.split_once(" lines").and_then(|(count, _)| number(count));
    (instructions, lines.expect("the number of lines"))
}

/// The part of the compiler's version that counts: 95 of 1.95.0.
fn minor_version() -> u64 {
    let printed = run(Command::new(env!("CARGO")).arg("--version")).success().stdout;
    let minor = printed.split(' ').nth(1).and_then(|version| version.split('.').nth(1));
    minor.and_then(|minor| minor.parse().ok()).unwrap_or_else(|| panic!("{printed}"))
}

#[test]
fn a_line_of_output_takes_no_more_instructions_than_are_kept_in_the_repository() {
    let Some(valgrind) = require_program("instructions", "VALGRIND", "valgrind") else { return };
    let benchmark = benchmark();
    // The difference of two runs leaves out the start and the first collections, which allocate.
    let (few, fewer_lines) = count(&valgrind, &benchmark, COLLECTIONS);
    let (many, lines) = count(&valgrind, &benchmark, 2 * COLLECTIONS);
    let taken = (many - few) / (lines - fewer_lines);
    say(&format!("a line of output takes {taken} instructions"));

    let compiler = minor_version();
    let file = repository().join("benches/instructions");
    let mut kept: BTreeMap<u64, u64> = fs::read_to_string(&file)
        .unwrap()
        .lines()
        .map(|line| {
            let (version, count) = line.strip_prefix("1.").unwrap().split_once(' ').unwrap();
            (version.parse().unwrap(), count.parse().unwrap())
        })
        .collect();
    if env::var_os("BLESS").is_some() {
        kept.insert(compiler, taken);
        let lines = kept.iter().map(|(version, count)| format!("1.{version} {count}\n"));
        fs::write(&file, lines.collect::<String>()).unwrap();
    }
    let (nearest, count) = kept.iter().min_by_key(|it| it.0.abs_diff(compiler)).unwrap();
    let percent = if *nearest == compiler { ROOM_PERCENT } else { ROOM_PERCENT_OF_ANOTHER };
    let room = count * percent / 100;
    let renew = "where that is meant, `BLESS=1 cargo test --test system instructions` writes the new number \
                 into benches/instructions";
    assert!(
        taken.abs_diff(*count) <= room,
        "with Rust 1.{compiler} a line takes {taken} instructions, not {count} as with 1.{nearest}, give or \
         take {room}: {renew}"
    );
}
