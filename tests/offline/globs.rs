//! Our globs against the library that Telegraf's filters are made of, gobwas/glob: what it said to the
//! patterns of fixtures/globs.jsonl, and, where it can be built, what it says now to these and to many made
//! up ones. `BLESS=1` with `$GLOBS` writes the fixture anew.

use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::repository;
use crate::support::say;
use crate::support::servers::require_program;
use serde::{Deserialize, Serialize};
use telegraf_virt::config::glob::Glob;

/// A pattern with names, and what the library said to each of them, or why it refused the pattern.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Case {
    pattern: String,
    names: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    matches: Vec<bool>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    error: String,
}

fn fixture() -> PathBuf {
    repository().join("fixtures/globs.jsonl")
}

fn read(text: &str) -> Vec<Case> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The library's word on these.
fn asked(globs: &Path, cases: &[Case]) -> Vec<Case> {
    let mut child =
        Command::new(globs).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let question = |case: &Case| Case { matches: vec![], error: String::new(), ..case.clone() };
    let line = |case| serde_json::to_string(&question(case)).unwrap() + "\n";
    let text: String = cases.iter().map(line).collect();
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    read(std::str::from_utf8(&output.stdout).unwrap())
}

/// What is wrong with our word on a case, if anything is.
fn difference(case: &Case) -> Option<String> {
    let ours = Glob::parse(&case.pattern);
    match ours {
        _ if !case.error.is_empty() => None,
        Err(why) => Some(format!("{:?} is refused: {why}", case.pattern)),
        Ok(glob) => case.names.iter().zip(&case.matches).find_map(|(name, theirs)| {
            let differs = glob.matches(name) != *theirs;
            differs.then(|| format!("{:?} on {name:?}: theirs is {theirs}", case.pattern))
        }),
    }
}

/// Where the library does not keep to its own words, and we do: two ends of a pattern that share a
/// character of the name, a `*` in braces beside anything, an empty one of them beside a `*`, and bytes for
/// characters beside letters. Each with a name, and what the library says.
const ITS_MISTAKES: [(&str, &str, bool); 7] = [
    ("a*a", "a", true),
    ("\\**\\*", "*", true),
    ("{a*,b}c", "aac", false),
    ("{,é}*a", "a", false),
    ("?b", "éb", false),
    ("日本?", "日本語", false),
    ("?[ab]", "éa", false),
];

/// The least characters that a pattern of [`made_up`] takes.
fn least(pattern: &str) -> usize {
    let mut rest = pattern;
    let mut count = 0;
    while let Some(next) = rest.chars().next() {
        let length = match next {
            '[' => rest.find(']').unwrap() + 1,
            '{' => rest.find('}').unwrap() + 1,
            '\\' => 2,
            other => other.len_utf8(),
        };
        count += usize::from(next != '*');
        rest = &rest[length..];
    }
    count
}

/// Patterns and names made of the same few pieces, the same at each run, without what the library
/// mistakes.
fn made_up() -> Vec<Case> {
    const PIECES: [&str; 15] = [
        "a", "b", "c", "-", ",", "*", "**", "?", "[ab]", "[!a]", "[a-b]", "[!b-z]", "{a,b}",
        "{ab,b-}", "\\*",
    ];
    const LETTERS: [&str; 7] = ["a", "b", "c", "-", "*", ",", "z"];
    let mut seed = 1_u64;
    let mut dice = |sides: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % sides
    };
    let mut text = |pieces: &[&str], most: usize| -> String {
        (0..1 + dice(most)).map(|_| pieces[dice(pieces.len())]).collect()
    };
    let mut case = || {
        let pattern = text(&PIECES, 5);
        let least = least(&pattern);
        let names = (0..30).map(|_| text(&LETTERS, 6)).filter(|name| name.len() >= least).collect();
        Case { pattern, names, ..Case::default() }
    };
    (0..20_000).map(|_| case()).collect()
}

fn assert_same(cases: &[Case]) -> usize {
    let wrong: Vec<String> = cases.iter().filter_map(difference).collect();
    assert!(wrong.is_empty(), "{} differ: {:#?}", wrong.len(), &wrong[..wrong.len().min(20)]);
    cases.iter().map(|case| case.matches.len()).sum()
}

#[test]
fn our_globs_mean_what_the_library_said_when_it_was_asked() {
    let cases = read(&fs::read_to_string(fixture()).unwrap());
    let verdicts = assert_same(&cases);
    let (yes, refused) = (
        cases.iter().flat_map(|case| &case.matches).filter(|it| **it).count(),
        cases.iter().filter(|case| !case.error.is_empty()).count(),
    );
    assert!(verdicts > 100 && yes > 40 && verdicts - yes > 40 && refused > 0, "{verdicts} {yes}");
}

#[test]
fn our_globs_mean_what_the_library_says_to_many_patterns() {
    let Some(globs) = require_program("globs", "GLOBS", "globs") else { return };
    let recorded = read(&fs::read_to_string(fixture()).unwrap());
    let answered = asked(&globs, &recorded);
    if env::var_os("BLESS").is_some() {
        let text = answered.iter().map(|case| serde_json::to_string(case).unwrap() + "\n");
        fs::write(fixture(), text.collect::<String>()).unwrap();
    } else {
        assert_eq!(answered, recorded, "the library says something else than is recorded");
    }
    let answered = asked(&globs, &made_up());
    assert!(answered.iter().all(|case| case.error.is_empty()));
    let verdicts = assert_same(&answered);
    let yes = answered.iter().flat_map(|case| &case.matches).filter(|it| **it).count();
    assert!(verdicts > 200_000 && yes > 20_000, "{verdicts} {yes}");
    for (pattern, name, theirs) in ITS_MISTAKES {
        let (pattern, names) = (pattern.to_owned(), vec![name.to_owned()]);
        let case = &asked(&globs, &[Case { pattern, names, ..Case::default() }])[0];
        assert_eq!(case.matches, [theirs], "it has been mended: {case:?}");
        assert!(difference(case).is_some(), "{case:?}");
    }
    say(&format!(
        "globs: {verdicts} verdicts of gobwas/glob, {yes} of them yes, and the same ones here"
    ));
}
