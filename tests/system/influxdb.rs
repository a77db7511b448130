//! InfluxDB 1, which a real Telegraf fills by the page's output, asked in InfluxQL and in Flux; and the template for
//! InfluxDB 2's own web page, whose queries InfluxDB 1.8 runs too.

use std::collections::BTreeMap;

use crate::support::database::{Database, answered, block, kept, made, send};
use crate::support::influxdb::{Influxdb, Series};
use crate::support::lines::{Value, read};
use crate::support::repository;
use crate::support::servers::require_program;
use crate::support::tested::Row;

/// The database of the page's output.
const DATABASE: &str = "vms";

fn texts(series: &[Series]) -> impl Iterator<Item = Vec<&str>> {
    let rows = series.iter().flat_map(|series| &series.rows);
    rows.map(|row| row.iter().map(|cell| cell.as_str().unwrap()).collect())
}

impl Database for Influxdb {
    const LANGUAGE: &'static str = "influxql";
    const TAG: &'static str = "tag";
    const TIME: Option<(&'static str, &'static str)> = None;

    fn word(value: &Value) -> &'static str {
        match value {
            Value::Int(_) => "integer",
            Value::Float(_) => "float",
            Value::Text(_) => "string",
            Value::Bool(_) => "boolean",
        }
    }

    fn count(&self, measurement: &str) -> usize {
        let series = self.query(DATABASE, &format!("SELECT * FROM \"{measurement}\""));
        series.iter().map(|series| series.rows.len()).sum()
    }

    fn columns(&self, measurement: &str) -> BTreeMap<String, String> {
        let show = |keys: &str| self.query(DATABASE, &format!("SHOW {keys} FROM {measurement}"));
        let (tags, fields) = (show("TAG KEYS"), show("FIELD KEYS"));
        let tags = texts(&tags).map(|row| (row[0].to_owned(), Influxdb::TAG.to_owned()));
        tags.chain(texts(&fields).map(|row| (row[0].to_owned(), row[1].to_owned()))).collect()
    }

    fn rows(&self, query: &str) -> Vec<String> {
        // Of all guests, each with its name.
        let query = query.replace("AND \"name\"='web-01'", "GROUP BY \"name\"");
        let series = self.query(DATABASE, &query);
        let rows = series
            .iter()
            .flat_map(|series| series.rows.iter().map(|row| format!("{:?} {row:?}", series.tags)));
        rows.collect()
    }
}

#[test]
fn influxdb_1_keeps_every_line_and_type_and_answers_the_queries() {
    let test = "InfluxDB 1";
    let Some(telegraf) = require_program(test, "TELEGRAF", "telegraf") else { return };
    let Some(influxd) = require_program(test, "INFLUXD", "influxd") else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let influxdb = Influxdb::start(&influxd, &folder.join("influxdb"));
    let output = block("toml", "[[outputs.influxdb]]");
    let lines = made();
    send(&telegraf, folder, &lines, &output.replace(":8086", &format!(":{}", influxdb.port)));
    Row {
        database: "InfluxDB 1, Debian's, from Telegraf, made lines".to_owned(),
        version: influxdb.version(),
        ..kept(&influxdb, &read(&lines))
    }
    .hold();
}

/// The queries of the template, each a block of YAML.
fn template_queries() -> Vec<String> {
    let text =
        std::fs::read_to_string(repository().join("dashboards/influxdb-template.yml")).unwrap();
    let blocks = text.split("- query: |-\n").skip(1);
    blocks
        .map(|block| {
            let indent = block.len() - block.trim_start_matches(' ').len();
            let lines = block.lines();
            let lines = lines.take_while(|line| line.len() - line.trim_start().len() >= indent);
            let text: String = lines.map(|line| format!("{}\n", &line[indent..])).collect();
            text.trim_end().to_owned()
        })
        .collect()
}

/// Asks each query of the template; returns how many there are.
fn charts_draw(influxdb: &Influxdb, charts: &[String]) -> String {
    assert!(charts.len() >= 8, "{}", charts.len());
    // What the web page puts before each query.
    let time = "option v = {timeRangeStart: -1h, timeRangeStop: now(), windowPeriod: 20s}\n";
    for query in charts {
        let rows = influxdb.flux(&format!("{time}{query}"));
        assert!(rows.len() >= 2, "{query}: {rows:?}");
        let is_moving = |value: &String| value.parse::<f64>().is_ok_and(|value| value > 0.0);
        assert!(rows.iter().any(|row| is_moving(&row["_value"])), "{query}: {rows:?}");
        let is_of_memory = query.contains("memusable");
        let has = |name| rows.iter().any(|row| row["name"] == name);
        assert_eq!([has("old-balloon"), has("no-balloon")], [!is_of_memory; 2], "{query}");
    }
    format!("{} of {} of influxdb-template.yml", charts.len(), charts.len())
}

/// A row's cells in one text.
fn joined(row: &BTreeMap<String, String>) -> String {
    row.values().map(|cell| format!("{cell} ")).collect()
}

/// Asks each query of the page in Flux; returns how many there are.
fn flux_answers(influxdb: &Influxdb) -> String {
    answered("flux", |query| influxdb.flux(query).iter().map(joined).collect())
}

#[test]
#[ignore = "slow: tests/run --all"]
fn every_query_in_flux_is_answered_by_influxdb_1_8() {
    let Some(influxd) = require_program("Flux", "INFLUXD_FLUX", "influxd-flux") else { return };
    let folder = tempfile::tempdir().unwrap();
    let influxdb = Influxdb::start(&influxd, &folder.path().join("influxdb"));
    influxdb.create(DATABASE);
    influxdb.write(DATABASE, &made());
    Row {
        database: "InfluxDB 1.8, Flux, made lines".to_owned(),
        version: "1.8.3".to_owned(),
        queries: flux_answers(&influxdb),
        dashboards: charts_draw(&influxdb, &template_queries()),
        ..Row::default()
    }
    .hold();
}
