//! Flux: the page's queries and those of the template for InfluxDB's own web page, in a real InfluxDB that
//! runs the language. It is 1.8: no server of InfluxDB 2 can be had.

use crate::support::ailing::now;
use crate::support::made::{MadeGuest, collections};
use crate::support::repository;
use crate::support::servers::{Influxdb, http_post, http_post_as, require_program};
use crate::support::tested::{Row, page_blocks};

/// The numbers, or words, of a query's answer, which is CSV with comments.
fn answer(port: u16, query: &str) -> Vec<String> {
    let told = http_post_as(port, "/api/v2/query", "application/vnd.flux", query);
    let (_, body) = told.split_once("\r\n\r\n").unwrap();
    let mut values = Vec::new();
    let mut column = None;
    for line in body.lines() {
        let cells: Vec<&str> = line.trim_end().split(',').collect();
        assert_ne!(cells.get(1), Some(&"error"), "{query}: {body}");
        if line.starts_with('#') {
            continue;
        }
        if cells.contains(&"result") {
            column = cells.iter().position(|cell| *cell == "_value");
        } else if let Some(value) = column.and_then(|column| cells.get(column)) {
            values.push((*value).to_owned());
        }
    }
    values
}

/// The queries of the template, each a block of YAML.
fn template_queries(text: &str) -> Vec<String> {
    let blocks = text.split("- query: |-\n").skip(1);
    blocks
        .map(|block| {
            let indent = block.len() - block.trim_start_matches(' ').len();
            let lines = block.lines();
            let lines = lines.take_while(|line| line.len() - line.trim_start().len() >= indent);
            lines.map(|line| format!("{}\n", &line[indent..])).collect()
        })
        .collect()
}

#[test]
#[ignore = "slow: tests/run --all"]
fn every_query_in_flux_is_answered() {
    let Some(influxd) = require_program("Flux", "INFLUXD_FLUX", "influxd-flux") else { return };
    let folder = tempfile::tempdir().unwrap();
    let influxdb = Influxdb::start(&influxd, &folder.path().join("influxdb"));
    http_post(influxdb.port, "/query", "q=CREATE DATABASE vms");
    let guest = |name, tags, state| MadeGuest { name, tags, state, is_hung: false };
    let guests = [guest("moving", ",host=hv-01", 1), guest("still", "", 3)];
    let end = now();
    let lines = collections(&guests, end - 300..end + 1, 10);
    http_post(influxdb.port, "/write?db=vms&precision=ns", &lines);

    let pages = page_blocks("docs/databases.md", "flux");
    for query in &pages {
        let values = answer(influxdb.port, query);
        assert!(values.len() >= 2, "{query}: {values:?}");
    }
    let text =
        std::fs::read_to_string(repository().join("dashboards/influxdb-template.yml")).unwrap();
    let charts = template_queries(&text);
    assert!(charts.len() >= 8, "{}", charts.len());
    // What the web page puts before each query.
    let time = "option v = {timeRangeStart: -1h, timeRangeStop: now(), windowPeriod: 20s}\n";
    for query in &charts {
        let values = answer(influxdb.port, &format!("{time}{query}"));
        assert!(values.len() >= 2, "{query}: {values:?}");
        let is_moving = |value: &String| value.parse::<f64>().is_ok_and(|value| value > 0.0);
        assert!(values.iter().any(is_moving), "{query}: {values:?}");
    }
    Row {
        database: "InfluxDB 1.8, Flux, made lines".to_owned(),
        version: "1.8.3".to_owned(),
        queries: format!("{} of {} of databases.md", pages.len(), pages.len()),
        dashboards: format!("{} of {} of influxdb-template.yml", charts.len(), charts.len()),
        ..Row::default()
    }
    .hold();
}
