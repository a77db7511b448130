//! The table of docs/tested.md: what each database was tried with. Each row is written by the test that
//! starts the real server: with BLESS=1 anew, else the test holds the row to what it has just seen.

use super::pages::blocks;
use super::repository;
use std::fs;
use std::sync::Mutex;

/// Tests of one program run at the same time.
static FILE: Mutex<()> = Mutex::new(());

/// What was seen of one database.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// The database and how it was filled; the first column, which no other row may have.
    pub database: String,
    pub version: String,
    /// Lines sent, and whether each came back.
    pub lines: String,
    pub types: String,
    /// The queries of the pages for users.
    pub queries: String,
    pub dashboards: String,
    pub alerts: String,
}

impl Row {
    fn text(&self) -> String {
        let Row { database, version, lines, types, queries, dashboards, alerts } = self;
        let cells = [database, version, lines, types, queries, dashboards, alerts]
            .map(|cell| if cell.is_empty() { "-" } else { cell });
        format!("| {} |", cells.join(" | "))
    }

    /// Holds the page's row of this database to this, or with BLESS=1 writes it there.
    pub fn hold(&self) {
        let _one = FILE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let path = repository().join("docs/tested.md");
        let page = fs::read_to_string(&path).unwrap();
        let start = format!("| {} |", self.database);
        let old: Vec<&str> = page.lines().filter(|line| line.starts_with(&start)).collect();
        assert_eq!(old.len(), 1, "docs/tested.md has not one row {start}");
        if std::env::var("BLESS").is_ok_and(|value| value == "1") {
            fs::write(&path, page.replace(old[0], &self.text())).unwrap();
            return;
        }
        // Another Debian has other versions, of which the page says nothing.
        let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
        if !system.contains("VERSION_ID=\"12\"") {
            return super::say(&format!("{}: the page is about Debian 12", self.database));
        }
        assert_eq!(old[0], self.text(), "with BLESS=1 this test writes docs/tested.md anew");
    }
}

/// The code blocks of a page in this language, each without its last newline.
pub fn page_blocks(page: &str, language: &str) -> Vec<String> {
    let blocks = blocks(page, language).into_iter();
    blocks.map(|block| block.trim_end_matches('\n').to_owned()).collect()
}
