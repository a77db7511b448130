//! docs/fleet.md has the tables of the newest record.

use std::fs;

use serde_json::Value;

use crate::support::repository;

#[test]
fn the_tables_of_the_page_for_fleets_are_those_of_the_newest_record() {
    let mut records: Vec<_> = fs::read_dir(repository().join("benches/records"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with("-fleet.json"))
        .collect();
    records.sort();
    let text = fs::read_to_string(records.last().unwrap()).unwrap();
    let record: Value = serde_json::from_str(&text).unwrap();
    let page = fs::read_to_string(repository().join("docs/fleet.md")).unwrap();
    for name in ["ways", "sizing", "filled", "queries"] {
        let table = record["tables"][name].as_str().unwrap();
        assert!(table.lines().count() > 3 || name == "filled", "{name}: {table}");
        assert!(page.contains(table), "{name}: docs/fleet.md must have\n\n{table}");
    }
    let date = record["machine"]["date"].as_str().unwrap();
    assert!(page.contains(&date[..10]), "{date}");
}
