//! The tables of other tools' names: what they call ours must be ours. Whether theirs are theirs, and
//! whether ours follow from them, is in tests/system/migration.rs, which runs the tools.

use std::collections::BTreeSet;

use super::{quoted, read, rows};
use crate::support::migration;

/// Every field that the README's tables tell, as `measurement.field`, and every tag.
pub fn ours() -> BTreeSet<String> {
    let mut ours = BTreeSet::new();
    for measurement in ["vm_metrics", "vm_features", "vm_devices", "vm_totals"] {
        for row in rows(&format!("### {measurement}")) {
            ours.extend(quoted(&row["field"]).iter().map(|field| format!("{measurement}.{field}")));
        }
    }
    for row in rows("### More, with extra") {
        let measurement = row["of"].split(' ').next().unwrap();
        ours.extend(quoted(&row["field"]).iter().map(|field| format!("{measurement}.{field}")));
        ours.extend(quoted(&row["tags"]));
    }
    for row in rows("## Measurements") {
        ours.extend(quoted(&row["tag"]));
    }
    ours
}

#[test]
fn what_the_tables_of_other_tools_call_ours_is_ours() {
    let ours = ours();
    let readme = read("README.md");
    let (_, below) = readme.split_once("\n## Coming from another tool\n").unwrap();
    let (section, _) = below.split_once("\n## ").unwrap();
    let headings = section.lines().filter(|line| line.starts_with("### "));
    let mut counted = 0;
    for heading in headings {
        let mut theirs = BTreeSet::new();
        for row in migration::rows(heading) {
            assert!(row.ours.iter().all(|name| ours.contains(name)), "{heading}: {row:?}");
            for pair in row.pairs() {
                assert!(theirs.insert(pair.theirs.clone()), "{heading}: twice: {pair:?}");
                counted += 1;
            }
        }
    }
    assert!(counted > 150, "{counted}");
}
