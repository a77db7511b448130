//! docs/events.md against what the program can print.

use std::collections::BTreeSet;
use std::fs;

use telegraf_virt::events::report;
use telegraf_virt::libvirt::{Happening, OwnedValue};
use telegraf_virt::schema::output_fields;

use crate::support::markdown::{Row, quoted, rows};
use crate::support::{lines, repository};

/// One of each kind, and of the lifecycle each event with each detail.
fn happenings() -> Vec<Happening> {
    let text = || "a".to_owned();
    let lifecycle =
        (0..12).flat_map(|event| (0..12).map(move |detail| Happening::Lifecycle { event, detail }));
    let others = [
        Happening::Rebooted,
        Happening::IoError { path: text(), alias: text(), action: 1, reason: text() },
        Happening::BlockJob { disk: text(), kind: 1, status: 1 },
        Happening::BlockThreshold {
            disk: text(),
            path: text(),
            threshold_bytes: 1,
            excess_bytes: 1,
        },
        Happening::JobCompleted(vec![
            ("operation".to_owned(), OwnedValue::Int(9)),
            ("success".to_owned(), OwnedValue::Bool(true)),
            ("errmsg".to_owned(), OwnedValue::Text(text())),
        ]),
        Happening::DeviceAdded { alias: text() },
        Happening::DeviceRemoved { alias: text() },
        Happening::DeviceRemovalFailed { alias: text() },
        Happening::Agent { state: 1, reason: 1 },
        Happening::Agent { state: 2, reason: 1 },
    ];
    let actions = (0..7).map(|action| Happening::Watchdog { action });
    let failures = (0..4).map(|action| Happening::MemoryFailure { action });
    lifecycle.chain(others).chain(actions).chain(failures).collect()
}

#[test]
fn the_table_of_events_has_each_with_its_details_and_fields() {
    let text = fs::read_to_string(repository().join("docs/events.md")).unwrap();
    let rows = rows(&text, "## In Telegraf");
    let rows: Vec<&Row> = rows.iter().filter(|row| row.contains_key("event")).collect();
    let told: BTreeSet<String> = rows.iter().flat_map(|row| quoted(&row["event"])).collect();
    let mut names = BTreeSet::from(["lost".to_owned()]);
    for report in happenings().iter().filter_map(|what| report(what, None)) {
        names.insert(report.name.to_owned());
        let row = rows
            .iter()
            .find(|row| quoted(&row["event"]).iter().any(|it| it == report.name))
            .unwrap();
        if let Some(detail) = report.word("detail").filter(|it| *it != "unknown") {
            // Some were added to libvirt later than the rest, and need not be told.
            let words: BTreeSet<&str> = row["detail"].split([',', ':']).map(str::trim).collect();
            let is_new = ["recreated", "guest_shutdown", "crashloaded"].contains(&detail)
                || (report.name == "resumed" && detail == "postcopy_failed");
            assert!(is_new || words.contains(detail), "{} has no {detail}", report.name);
        }
        for (field, _) in report.fields.iter().filter(|(it, _)| !["detail", "count"].contains(it)) {
            assert!(
                quoted(&row["more fields"]).iter().any(|it| it == field),
                "{} has no {field}",
                report.name
            );
        }
    }
    assert_eq!(told, names);
}

#[test]
fn the_lines_of_its_stories_have_names_and_types_of_the_schema() {
    let text = fs::read_to_string(repository().join("docs/events.md")).unwrap();
    let shown: String = text
        .lines()
        .filter(|line| line.starts_with("vm_events,"))
        .map(|line| format!("{line}\n"))
        .collect();
    let lines = lines::read(&shown);
    assert!(lines.len() >= 8);
    let known: BTreeSet<&str> = output_fields()
        .iter()
        .filter(|it| it.measurement == "vm_events")
        .map(|it| it.row.name)
        .collect();
    for line in &lines {
        assert!(line.fields.iter().all(|(name, _)| known.contains(&**name)), "{line:?}");
        assert_eq!(line.int("count"), 1);
    }
}
