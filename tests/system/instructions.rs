//! How many instructions a line of output takes, from the statistics to the line protocol, held against
//! the number in benches/instructions: a regression is seen on a busy machine too, where no time could
//! be believed. Callgrind counts them in the program that `cargo bench` measures.

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
/// More than what another compiler or another processor's memcpy makes of it.
const ROOM_PERCENT: u64 = 10;

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

#[test]
fn a_line_of_output_takes_no_more_instructions_than_are_kept_in_the_repository() {
    let Some(valgrind) = require_program("instructions", "VALGRIND", "valgrind") else { return };
    let benchmark = benchmark();
    // The difference of two runs leaves out the start and the first collections, which allocate.
    let (few, fewer_lines) = count(&valgrind, &benchmark, COLLECTIONS);
    let (many, lines) = count(&valgrind, &benchmark, 2 * COLLECTIONS);
    let taken = (many - few) / (lines - fewer_lines);
    say(&format!("a line of output takes {taken} instructions"));

    let file = repository().join("benches/instructions");
    if env::var_os("BLESS").is_some() {
        fs::write(&file, format!("{taken}\n")).unwrap();
    }
    let kept: u64 = fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    let room = kept * ROOM_PERCENT / 100;
    let renew = "where that is meant, or the compiler is another one, \
                 `BLESS=1 cargo test --test system instructions` writes the new number into benches/instructions";
    assert!(taken <= kept + room, "a line takes {taken} instructions, more than {kept}: {renew}");
    assert!(taken >= kept - room, "a line takes {taken} instructions, less than {kept}: {renew}");
}
