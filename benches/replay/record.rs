//! Tables of figures: printed, and kept as JSON with the machine and the commit.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::machine;

/// A column's name, its figure, and with how many decimals it is printed.
pub type Figure = (&'static str, f64, usize);

/// A row of a table.
pub type Row = Vec<Figure>;

/// Rows that all have the same columns.
pub struct Table {
    /// What it shows.
    pub title: String,
    /// Its rows.
    pub rows: Vec<Row>,
}

impl Table {
    /// Prints it, each column as wide as it needs.
    pub fn print(&self) {
        let Some(first) = self.rows.first() else { return };
        let heads = first.iter().map(|(name, ..)| (*name).to_owned()).collect();
        let cells = |row: &Row| {
            row.iter().map(|(_, figure, decimals)| format!("{figure:.decimals$}")).collect()
        };
        let mut lines: Vec<Vec<String>> = vec![heads];
        lines.extend(self.rows.iter().map(cells));
        println!("\n{}", self.title);
        for line in &lines {
            for (column, cell) in line.iter().enumerate() {
                let width = lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
                print!("  {cell:>width$}");
            }
            println!();
        }
    }
}

/// Writes the tables to benches/records/DATE-COMMIT-WHAT.json.
pub fn keep(what: &str, tables: &[Table]) {
    let machine = machine::describe();
    let word = |key: &str, length| {
        machine[key].as_str().and_then(|text| text.get(..length)).unwrap_or("unknown")
    };
    let (date, commit) = (word("date", 10), word("commit", 7));
    let rows: Vec<Value> = tables.iter().flat_map(rows).collect();
    let record = json!({ "machine": machine, "rows": rows });
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/records");
    fs::create_dir_all(&folder).expect("the folder of records");
    let path = folder.join(format!("{date}-{commit}-{what}.json"));
    let text = serde_json::to_string_pretty(&record).expect("figures");
    fs::write(&path, text + "\n").expect("the record");
    println!("\nkept in {}", path.display());
}

fn rows(table: &Table) -> Vec<Value> {
    let row = |row: &Row| {
        let mut columns = Map::new();
        columns.insert("table".to_owned(), table.title.as_str().into());
        columns.extend(row.iter().map(|(name, figure, decimals)| {
            let scale = 10_f64.powi(*decimals as i32);
            ((*name).to_owned(), ((figure * scale).round() / scale).into())
        }));
        Value::Object(columns)
    };
    table.rows.iter().map(row).collect()
}
