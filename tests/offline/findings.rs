//! The catalogue of `check`'s findings: their names and verdicts, which stay since others read them as JSON,
//! and whether each is made to happen by a test. After a change that is meant, `BLESS=1 cargo test --test
//! offline findings` writes the list.

use std::collections::BTreeSet;
use std::env;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use telegraf_virt::check::{CATALOGUE, FindingKind};

const LIST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/offline/findings.txt");

/// Those that no test makes happen, and why.
const NOT_MADE: [(&str, &str); 8] = [
    ("slow-helper", "isolation has guests whose helper is slow"),
    ("list-held", "isolation has lists that a guest holds"),
    ("not-asked", "isolation has so many guests in trouble that others are not asked"),
    ("quiet", "a guest that starts for as long as a check lasts"),
    ("balloon-late", "a guest whose driver ends after its first report"),
    ("hostdev-nic", "a NIC that is passed through"),
    ("deadline-reached", "chaos has collections that last until their deadline"),
    ("user-unknown", "a process that hangs or dies"),
];

fn all() -> impl Iterator<Item = (&'static str, &'static FindingKind)> {
    CATALOGUE.iter().flat_map(|(area, kinds)| kinds.iter().map(|kind| (area.name(), kind)))
}

#[test]
fn the_names_and_verdicts_of_all_findings_stay() {
    let mut now = String::new();
    let mut known = BTreeSet::new();
    for (area, kind) in all() {
        if known.insert((area, kind.id, format!("{:?}", kind.verdict))) {
            let verdict = serde_json::to_value(kind.verdict).unwrap();
            writeln!(now, "{} {area}/{}", verdict.as_str().unwrap(), kind.id).unwrap();
        }
    }
    if env::var_os("BLESS").is_some() {
        fs::write(LIST, &now).unwrap();
    }
    assert_eq!(now, fs::read_to_string(LIST).unwrap());
}

#[test]
fn what_is_not_as_it_should_be_says_what_is_lost_and_what_fixes_it_in_a_sentence_without_an_end() {
    for (_, kind) in all() {
        let has_remedy = kind.lost.is_some() && kind.fix.is_some();
        let is_good = kind.verdict == telegraf_virt::check::Verdict::Good;
        assert_eq!(has_remedy, !is_good, "{}", kind.id);
        for words in [Some(kind.text), kind.lost, kind.fix].into_iter().flatten() {
            let is_sentence = words.trim() == words && !words.ends_with(['.', ':', '!']);
            assert!(is_sentence && !words.contains("  "), "{}: {words}", kind.id);
        }
    }
}

/// The text of every test.
fn tests() -> String {
    fn read(folder: &Path, text: &mut String) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(&path, text);
            } else if path.extension().is_some_and(|it| it == "rs") && !path.ends_with(file!()) {
                let source = fs::read_to_string(&path).unwrap();
                let is_test = !path.starts_with(root("src")) || path.ends_with("tests.rs");
                let start = if is_test { Some(0) } else { source.find("\n#[cfg(test)]") };
                text.push_str(start.map_or("", |start| &source[start..]));
            }
        }
    }
    let mut text = String::new();
    read(&root("tests"), &mut text);
    read(&root("src"), &mut text);
    text
}

fn root(folder: &str) -> std::path::PathBuf {
    crate::support::repository().join(folder)
}

#[test]
fn each_finding_is_made_to_happen_by_a_test_that_names_it() {
    let tests = tests();
    let is_named =
        |id: &str| tests.contains(&format!("\"{id}\"")) || tests.contains(&format!("/{id}\""));
    let unnamed: Vec<&str> = all().map(|(_, kind)| kind.id).filter(|id| !is_named(id)).collect();
    let known: Vec<&str> = NOT_MADE.iter().map(|(id, _)| *id).collect();
    assert_eq!(unnamed, known);
}
