//! The rows of the tables: what is compared with what, the goal, and whether it was met.

use serde_json::{Value, json};

/// One figure, with its goal where it has one.
pub struct Figure {
    pub what: String,
    /// At most this.
    pub goal: Option<f64>,
    pub value: f64,
    pub unit: &'static str,
    /// What the figure was made of.
    pub of: String,
}

pub const HEAD: [&str; 5] = ["figure", "goal", "result", "of", ""];

impl Figure {
    /// A ratio, and the two medians beside it, in milliseconds.
    pub fn ratio(
        what: &str,
        goal: Option<f64>,
        value: f64,
        ours_ms: f64,
        theirs_ms: f64,
    ) -> Figure {
        let of = format!("{} / {} ms", short(ours_ms), short(theirs_ms));
        Figure { what: what.to_owned(), goal, value, unit: "", of }
    }

    pub fn more_mib(what: &str, goal: f64, ours_mib: f64, theirs_mib: f64) -> Figure {
        Figure {
            what: what.to_owned(),
            goal: Some(goal),
            value: ours_mib - theirs_mib,
            unit: " MiB more",
            of: format!("{ours_mib:.1} / {theirs_mib:.1} MiB"),
        }
    }

    fn verdict(&self) -> &'static str {
        match self.goal {
            None => "shown",
            Some(goal) if self.value <= goal => "met",
            Some(_) => "MISSED",
        }
    }

    pub fn cells(&self) -> Vec<String> {
        let goal = self.goal.map_or_else(|| "-".to_owned(), |goal| format!("at most {goal}"));
        let value = format!("{:.2}{}", self.value, self.unit);
        vec![self.what.clone(), goal, value, self.of.clone(), self.verdict().to_owned()]
    }

    pub fn to_json(&self) -> Value {
        json!({
            "figure": self.what,
            "goal_at_most": self.goal,
            "value": self.value,
            "unit": self.unit.trim(),
            "of": self.of,
            "verdict": self.verdict(),
        })
    }
}

/// Three digits that count, as far as there are so many.
pub fn short(number: f64) -> String {
    match number.abs() {
        size if size >= 100.0 => format!("{number:.0}"),
        size if size >= 10.0 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

/// A table in Markdown, its columns as wide as they need be: to look at, and for the README.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let all = || std::iter::once(&head).chain(rows);
    let widths: Vec<usize> = (0..head.len())
        .map(|column| all().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let line = |row: &[String]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!(" {cell:width$} |"));
        format!("|{}\n", cells.collect::<String>())
    };
    let mut text = line(&head);
    text.push('|');
    text.extend(widths.iter().map(|width| format!("{}|", "-".repeat(width + 2))));
    text.push('\n');
    text.extend(rows.iter().map(|row| line(row)));
    text
}
