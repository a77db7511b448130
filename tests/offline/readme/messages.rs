//! The messages that docs/troubleshooting.md explains are messages of the program.

use std::fs;
use std::path::Path;

use super::{pages, repository};

/// The text of every source file, with strings that go over several lines as they are printed.
fn source(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text += &source(&path);
        } else {
            text += &fs::read_to_string(path).unwrap();
        }
    }
    text
}

/// The text without the breaks of long strings.
fn unbroken(text: &str) -> String {
    let mut parts = text.split("\\\n");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.trim_start()).replace("\\\"", "\"")
}

/// The heading's parts between the words in capitals, which stand for a name or a number.
fn parts(heading: &str) -> Vec<String> {
    let is_name = |word: &str| {
        let bare = word.trim_matches(['"', ';', ',', '?', ':']);
        !bare.is_empty() && bare.chars().all(|c| c.is_ascii_uppercase())
    };
    let mut parts = vec![String::new()];
    for word in heading.split(' ') {
        if is_name(word) {
            parts.push(String::new());
        } else {
            let part = parts.last_mut().unwrap();
            *part += if part.is_empty() { "" } else { " " };
            *part += word;
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

#[test]
fn each_message_that_the_page_explains_is_one_of_the_program() {
    let source = unbroken(&source(&repository().join("src")));
    let section = pages::section("docs/troubleshooting.md", "## Messages");
    let headings: Vec<&str> =
        section.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert!(headings.len() >= 20, "{headings:?}");
    for heading in headings {
        let parts = parts(heading);
        assert!(parts.iter().any(|part| part.len() >= 10), "{heading}");
        for part in &parts {
            assert!(source.contains(part), "no message has {part:?}: {heading}");
        }
    }
}
