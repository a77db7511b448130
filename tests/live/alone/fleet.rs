//! The headline case: 10 guests with 2 NICs and 3 disks each give 70 lines, then 80.

use crate::support::execd::Execd;
use crate::support::lab::{Guest, Lab, titles};
use crate::support::lines::{Line, read};
use crate::support::program::once;
use crate::support::turn::Turn;

/// The titles that the lines of the fleet must have, in order.
fn expected(lab: &Lab, fleet: &[String], features: bool) -> Vec<String> {
    fleet
        .iter()
        .map(|uuid| Guest::look(lab, uuid))
        .flat_map(|guest| guest.titles(&guest.name, &lab.stats(&guest.uuid), features))
        .collect()
}

fn assert_whole(lab: &Lab, fleet: &[String], output: &[Line], features: bool) {
    assert_eq!(titles(output), expected(lab, fleet, features));
    assert_eq!(output.len(), if features { 80 } else { 70 });
    let first = output[0].timestamp;
    assert!(output.iter().all(|line| line.timestamp == first), "more than one timestamp");
    for line in output.iter().filter(|line| line.measurement == "vm_features") {
        assert_eq!(line.field_names(), ["memory_rate_kb_per_sec", "memory_angle_deg"]);
        // A paused guest's memory stands still.
        assert_eq!(line.float("memory_rate_kb_per_sec"), 0.0, "{line:?}");
        assert_eq!(line.float("memory_angle_deg"), 0.0, "{line:?}");
    }
}

#[test]
fn once_prints_70_lines_the_first_time_and_80_the_second_in_the_order_of_the_schema() {
    let _turn = Turn::alone();
    let Some(lab) = Lab::require("fleet, once") else { return };
    let fleet = lab.fleet(10, 2, 3);
    let cache = lab.scratch().join("cache");
    let first = once(&lab, &cache, &[]).stdout;
    let second = once(&lab, &cache, &[]).stdout;
    assert_whole(&lab, &fleet, &read(&first), false);
    assert_whole(&lab, &fleet, &read(&second), true);
}

#[test]
fn execd_prints_70_lines_at_the_first_trigger_and_80_at_each_later_one() {
    let _turn = Turn::alone();
    let Some(lab) = Lab::require("fleet, execd") else { return };
    let fleet = lab.fleet(10, 2, 3);
    let mut execd = Execd::start(&lab, &lab.scratch().join("cache"));
    let first = execd.collect().lines;
    let later: Vec<Vec<Line>> = (0..3).map(|_| execd.collect().lines).collect();
    execd.end();
    assert_whole(&lab, &fleet, &first, false);
    for output in &later {
        assert_whole(&lab, &fleet, output, true);
    }
}
