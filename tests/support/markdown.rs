//! Tables of a text in Markdown, such as those of docs/: for the tests that hold them against the program,
//! and for the fuzz targets, whose schema they are. It stands by itself, since both compile it.

use std::collections::BTreeMap;

/// A table's row: the cells by the name of their column.
pub type Row = BTreeMap<String, String>;

/// The rows of every table below this heading, down to the next one.
pub fn rows(text: &str, heading: &str) -> Vec<Row> {
    let (_, below) = text
        .split_once(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("there is no heading {heading}"));
    let mut rows = Vec::new();
    let mut columns: Vec<String> = Vec::new();
    for line in below.lines().take_while(|line| !line.starts_with('#')) {
        let Some(cells) = line.strip_prefix("| ").and_then(|line| line.strip_suffix('|')) else {
            if !line.starts_with("|---") {
                columns.clear();
            }
            continue;
        };
        // A pipe inside a cell is written with a backslash.
        let cells = cells.replace("\\|", "\0");
        let cells = cells.split('|').map(|cell| cell.trim().replace('\0', "|"));
        let cells: Vec<String> = cells.collect();
        if columns.is_empty() {
            columns = cells;
            continue;
        }
        assert_eq!(cells.len(), columns.len(), "{line}");
        rows.push(columns.iter().cloned().zip(cells).collect());
    }
    assert!(!rows.is_empty(), "no table below {heading}");
    rows
}

/// What stands between backticks.
pub fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}
