//! The tables of other tools' names in docs/migrating.md: a pair of names for each value, and how ours follows from
//! theirs.

use super::pages;

/// How our value follows from theirs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum How {
    /// Theirs by this number; 1 where they are the same.
    Times(f64),
    /// In words that no test can reckon with.
    Words,
}

/// Another tool's name beside ours, `measurement.field`, or a tag's.
#[derive(Clone, Debug)]
pub struct Pair {
    pub theirs: String,
    /// None where we have no such thing, or another number of names.
    pub ours: Option<String>,
    pub how: How,
}

/// All names of ours that a row tells, with what stands in its cells.
#[derive(Clone, Debug)]
pub struct Row {
    pub theirs: Vec<String>,
    pub ours: Vec<String>,
    pub how: String,
}

impl Row {
    pub fn pairs(&self) -> Vec<Pair> {
        let first = |text: &str| text.split([',', ';']).next().unwrap_or_default().to_owned();
        let words: Vec<String> = first(&self.how).split(' ').map(str::to_owned).collect();
        let how = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["same"] => How::Times(1.0),
            ["theirs", "×", number] => How::Times(number.parse().unwrap()),
            ["theirs", "÷", number] => How::Times(1.0 / number.parse::<f64>().unwrap()),
            _ => How::Words,
        };
        let same_count = self.theirs.len() == self.ours.len();
        assert!(same_count || how == How::Words, "one name of ours for each of theirs: {self:?}");
        let ours = |position: usize| self.ours.get(position).filter(|_| same_count).cloned();
        let pair = |(position, theirs): (usize, &String)| Pair {
            theirs: theirs.clone(),
            ours: ours(position),
            how,
        };
        self.theirs.iter().enumerate().map(pair).collect()
    }
}

/// The names between backticks; one that begins with a dot goes with what stands before the dot of the
/// name before it.
fn names(cell: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in cell.split('`').skip(1).step_by(2) {
        let before = names.last().and_then(|last| last.split_once('.')).map(|(before, _)| before);
        let whole = match (name.starts_with('.'), before) {
            (true, Some(before)) => format!("{before}{name}"),
            _ => name.to_owned(),
        };
        names.push(whole);
    }
    names
}

/// The rows of the tables below a heading, down to the next one.
pub fn rows(heading: &str) -> Vec<Row> {
    let section = pages::section("docs/migrating.md", heading);
    let rows = section.lines().filter_map(|line| {
        let cells: Vec<&str> =
            line.strip_prefix("| ")?.strip_suffix('|')?.split('|').map(str::trim).collect();
        let [theirs, ours, how] = cells[..] else { panic!("three columns: {line}") };
        (theirs != "theirs").then(|| Row {
            theirs: names(theirs),
            ours: names(ours),
            how: how.to_owned(),
        })
    });
    let rows: Vec<Row> = rows.collect();
    assert!(!rows.is_empty(), "no table below {heading}");
    rows
}
