//! The table of hypervisors, for the two that the tests have: the test driver is asked here, and what
//! QEMU gives is in the example lines of docs/metrics.md, which tests/live/readme.rs holds against real guests.

use std::collections::BTreeSet;
use std::fs;

use telegraf_virt::config::extra::Extra;

use super::{Scratch, blocks, quoted, rows};
use crate::support::lines::{self, Line};

/// Each field, as `measurement.field`.
fn fields<'a>(lines: impl IntoIterator<Item = &'a Line>) -> BTreeSet<String> {
    let names = |line: &Line| -> Vec<String> {
        line.fields.iter().map(|(name, _)| format!("{}.{name}", line.measurement)).collect()
    };
    lines.into_iter().flat_map(names).collect()
}

#[test]
fn the_table_of_hypervisors_says_what_qemu_and_the_test_driver_give() {
    let scratch = Scratch::new();
    let names = Extra::ALL.into_iter().filter(|extra| !extra.row().execd_only).map(Extra::name);
    let names: Vec<&str> = names.collect();
    let features = ["net", "disk", "cpu", "latency", "balloon"];
    let text = format!("extra = {names:?}\nfeatures = {features:?}\nmissing = \"omit\"\n");
    fs::write(scratch.path("all.toml"), text).unwrap();
    scratch.once(&["--config", "all.toml"]);
    let test = fields(&scratch.once(&["--config", "all.toml"]));

    // Lines of guests, and not of blocks that show something else.
    let shown = |guest: &str| -> Vec<Line> {
        let blocks =
            blocks("docs/metrics.md", "text").into_iter().filter(|block| block.contains(guest));
        blocks.flat_map(|block| lines::read(&block)).collect()
    };
    let qemu = fields(&[shown("name=app-01,"), shown("name=web-01,")].concat());
    let hardware = fields(&shown("name=gpu-01,"));

    let table = rows("docs/missing-values.md", "## Which hypervisor gives what");
    for row in &table {
        let of_test: &str = &row["test driver"];
        for name in quoted(&row["what"]) {
            match of_test {
                "yes" => assert!(test.contains(&name), "{name} of the test driver"),
                "no" => assert!(!test.contains(&name), "{name} of the test driver"),
                _ => assert_eq!(of_test, "as its XML has it", "{row:?}"),
            }
            let of_qemu = &row["QEMU"];
            let needs_more = of_qemu.ends_with("hardware") || of_qemu.ends_with("KVM");
            let given = if needs_more { &hardware } else { &qemu };
            assert!(given.contains(&name), "{name} of QEMU: {given:?}");
        }
    }
    // No measurement goes without.
    let told: BTreeSet<String> = table.iter().flat_map(|row| quoted(&row["what"])).collect();
    for name in qemu.union(&hardware).filter(|name| !name.starts_with("vm_other.")) {
        let (measurement, _) = name.split_once('.').unwrap();
        let is_told = told.iter().any(|it| it.split('.').next() == Some(measurement));
        assert!(is_told, "the table has nothing of {measurement}");
    }
}
