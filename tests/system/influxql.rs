//! The dashboard in InfluxQL on tables of each kind: none of the lines has the tags `host` and `source`, some
//! have, all have. InfluxDB 3 cannot be had here; where a column is absent a condition on it matches nothing
//! there, so each such condition must have another way to hold, which is looked at in the text.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::dashboards::{Dashboard, InDatabase, assert_shown};
use crate::support::ailing::now;
use crate::support::dashboards::{TOPS, list, panels, queries, read, text};
use crate::support::influxdb::Influxdb;
use crate::support::made::{MadeGuest, collections, without_vmid};
use crate::support::say;
use crate::support::servers::require_program;
use crate::support::tested::Row;

/// Of made collections: nobody has an error there that is of every guest.
const ZEROS: [(&str, &str); 0] = [];

/// More tags of three guests, by what the kind of their table is called.
const KINDS: [(&str, [&str; 3]); 4] = [
    ("of_none", ["", "", ""]),
    ("of_none_without_vmid", ["", "", ""]),
    ("of_some", [",host=hv-01,source=kvm1", ",host=hv-01", ""]),
    ("of_all", [",host=hv-01,source=kvm1", ",host=hv-01,source=kvm2", ",host=hv-02,source=kvm2"]),
];

/// Asks each query of the dashboard on tables of each kind, which are made; returns how many queries there are.
pub fn every_table_is_found(influxdb: &Influxdb) -> usize {
    let mut counts = BTreeSet::new();
    for (kind, tags) in KINDS {
        influxdb.create(kind);
        let states = [("moving", 1, false), ("hung", 1, true), ("still", 3, false)];
        let guests: Vec<MadeGuest<'_>> = states
            .iter()
            .zip(tags)
            .map(|(&(name, state, is_hung), tags)| MadeGuest { name, tags, state, is_hung })
            .collect();
        let end = now();
        let mut lines = collections(&guests, end - 120..end + 120, 5);
        if kind.ends_with("_without_vmid") {
            lines = without_vmid(&lines);
        }
        influxdb.write(kind, &lines);

        let database = InDatabase(influxdb, kind);
        let dashboard = Dashboard::of_all(&database, "influxql.json");
        let (shown, count) = dashboard.answered_but(&ZEROS, &[]);
        counts.insert(count);
        assert_shown(&shown, kind);
        assert_eq!(dashboard.choices("guest").len(), 3, "{kind}");
        assert_eq!(dashboard.events().len(), 1, "{kind}");
    }
    say(&format!("dashboards: {counts:?} queries on tables of each kind"));
    counts.into_iter().next().unwrap()
}

#[test]
fn every_query_of_the_dashboard_finds_lines_with_and_without_a_host_and_a_source() {
    let Some(influxd) = require_program("dashboards, InfluxQL", "INFLUXD", "influxd") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let influxdb = Influxdb::start(&influxd, &folder.path().join("influxdb"));
    let count = every_table_is_found(&influxdb);
    Row {
        database: "InfluxDB 1, Debian's, made lines".to_owned(),
        version: influxdb.version(),
        dashboards: format!(
            "{count} of {count}, on tables without `host` and `source`, with some, with all, without `VMID`"
        ),
        ..Row::default()
    }
    .hold();
}

#[test]
fn a_graph_of_all_guests_shows_those_with_the_most() {
    let Some(influxd) = require_program("dashboards, the most", "INFLUXD", "influxd") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let influxdb = Influxdb::start(&influxd, &folder.path().join("influxdb"));
    influxdb.create("vms");
    let end = now();
    let mut lines = String::new();
    for now in (end - 60..end).step_by(10) {
        for number in 0..30 {
            // The higher its number, the more it has.
            let (moved, stamp) = ((now - end + 100) * number, now * 1_000_000_000);
            let tags = format!("name=guest-{number},uuid=uuid-{number:02}");
            let disks = if number < 25 { "disk_rd_req=1i," } else { "" };
            let fields = format!(
                "{disks}state={}i,cputime={moved}i,memrss={number}i,net_rxbytes={moved}i,\
                 net_txbytes=5i,disk_rd_bytes={moved}i,disk_wr_bytes=5i",
                if number < 20 { 1 } else { 2 }
            );
            writeln!(lines, "vm_totals,{tags} {fields} {stamp}").unwrap();
            writeln!(lines, "vm_features,{tags} steal_percent={number}.5 {stamp}").unwrap();
            writeln!(lines, "vm_anomalies,{tags} rate={number}.5 {stamp}").unwrap();
        }
    }
    influxdb.write("vms", &lines);
    let database = InDatabase(&influxdb, "vms");
    let mut dashboard = Dashboard::of_all(&database, "influxql.json");
    for top in [5, 20] {
        dashboard.top = top;
        let expected: BTreeSet<String> = (30 - top..30).map(|it| format!("uuid-{it:02}")).collect();
        for by in TOPS {
            let chosen = dashboard.choices(&format!("top_{by}"));
            // Of the states and of the silent, ten and five are alike.
            match (by, top) {
                ("states" | "silent", 20) => assert_eq!(chosen.len(), 20, "{by}: {chosen:?}"),
                ("states", _) => {
                    assert!(chosen.iter().all(|uuid| &**uuid >= "uuid-20"), "{chosen:?}");
                    assert_eq!(chosen.len(), 5);
                }
                _ => assert_eq!(chosen, expected, "{by}"),
            }
        }
    }
    // Each graph of all guests is one of these, and each of these is of a graph.
    let board = read("influxql.json");
    for panel in panels(&board) {
        let is_graph = panel["type"] == "timeseries" || panel["type"] == "state-timeline";
        let (_, query) = queries(panel)[0];
        let is_of_all = query.contains("\"uuid\", \"name\"") && !query.contains("${guest:regex}");
        // Few guests have a job at any time.
        let is_of_jobs = query.contains("\"vm_jobs\"") || query.contains("\"vm_block_jobs\"");
        let is_limited = query.contains("/^${top_");
        assert_eq!(is_limited, is_graph && is_of_all && !is_of_jobs, "{}", panel["title"]);
    }
}

#[test]
fn no_condition_is_on_a_tag_that_may_be_absent_alone() {
    let board = read("influxql.json");
    let variables = list(&board["templating"], "list").iter();
    let variables = variables.filter_map(|it| it["query"].as_str()).filter(|it| it.contains(' '));
    let annotations = list(&board["annotations"], "list").iter();
    let annotations = annotations.filter_map(|it| it["query"].as_str());
    let mut queries: Vec<&str> =
        panels(&board).into_iter().flat_map(queries).map(|(_, query)| query).collect();
    queries.extend(variables.chain(annotations));
    let mut count = 0;
    for query in &queries {
        let of_host = ["\"vm_collector\"", "\"vm_host\"", "\"vm_pools\""];
        let is_of_host = of_host.iter().any(|measurement| query.contains(measurement));
        let sure = if is_of_host { "uri" } else { "uuid" };
        for tag in ["host", "source"] {
            let whole = format!(
                "(\"{tag}\" =~ /^${{{tag}:regex}}$/ OR \"{sure}\" =~ /^${{{tag}:regex}}$/)"
            );
            let rest = query.replace(&whole, "");
            count += query.matches(&whole).count();
            assert!(!rest.contains(&format!("\"{tag}\" =")), "{query}");
            assert!(!rest.contains(&format!("\"{tag}\" !")), "{query}");
            assert!(!rest.contains(&format!("${tag}")), "{query}");
        }
        // Words that some database has for itself, and variables that Grafana does not escape.
        for word in ["name", "state", "host"] {
            for before in [" ", "("] {
                let bare = format!("{before}{word}");
                let found = query.match_indices(&bare).any(|(at, _)| {
                    let after = query[at + bare.len()..].chars().next();
                    !after.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
                });
                assert!(!found, "{word} without quotes: {query}");
            }
        }
        assert!(!query.contains("'$"), "{query}");
    }
    assert!(count > 120, "{count} in {}", text(&board, "title"));
}
