//! The pages for users: README.md and docs/. Tests hold what they show and tell against the program.

use std::fs;

use super::repository;

/// A file of the clone.
pub fn read(page: &str) -> String {
    fs::read_to_string(repository().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"))
}

/// README.md, then the pages of docs/ by name.
pub fn all() -> Vec<String> {
    let entries = fs::read_dir(repository().join("docs")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut pages: Vec<String> = names.map(|name| format!("docs/{name}")).collect();
    pages.sort();
    pages.insert(0, "README.md".to_owned());
    pages
}

/// The code blocks of one language in a page, in order.
pub fn blocks(page: &str, language: &str) -> Vec<String> {
    let text = read(page);
    let mut blocks = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(language), None) => open = Some((language.to_owned(), String::new())),
            (Some(_), Some(block)) => blocks.push(block),
            (None, Some((language, text))) => open = Some((language, format!("{text}{line}\n"))),
            (None, None) => {}
        }
    }
    assert_eq!(open, None, "a code block of {page} does not end");
    let ours = blocks.into_iter().filter(|(found, _)| found == language);
    ours.map(|(_, text)| text).collect()
}

/// The one code block of this language in any page that holds this text.
pub fn block_with(language: &str, text: &str) -> String {
    let blocks = all().into_iter().flat_map(|page| blocks(&page, language));
    let found: Vec<String> = blocks.filter(|block| block.contains(text)).collect();
    assert_eq!(found.len(), 1, "blocks of {language} with {text}: {found:?}");
    found.into_iter().next().unwrap()
}

/// What stands below a heading of a page, down to the next one of the same or a higher level.
pub fn section(page: &str, heading: &str) -> String {
    let text = read(page);
    let (_, below) = text
        .split_once(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("{page} has no heading {heading}"));
    let level = heading.split(' ').next().unwrap().len();
    let is_next = |line: &&str| {
        let hashes = line.len() - line.trim_start_matches('#').len();
        (1..=level).contains(&hashes) && line[hashes..].starts_with(' ')
    };
    let lines: Vec<&str> = below.lines().take_while(|line| !is_next(line)).collect();
    lines.join("\n") + "\n"
}
