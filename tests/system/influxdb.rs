//! InfluxDB 1 and 2, which a real Telegraf fills by the page's outputs, asked in InfluxQL and in Flux; and the
//! template for InfluxDB 2's own web page, whose queries InfluxDB 1.8 runs too.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::influxql::every_table_is_found;
use crate::support::database::{Database, answered, block, counts, kept, made, send};
use crate::support::influxdb::{Influxdb, ORGANIZATION, Series, TOKEN};
use crate::support::lines::{Value, read};
use crate::support::pages::block_with;
use crate::support::process::{Finished, run};
use crate::support::repository;
use crate::support::servers::require_program;
use crate::support::tested::Row;
use serde_json::Value as Json;

/// The database, or bucket, of the page's outputs.
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

/// A command of a page, for this server, with something behind it.
fn command(influxdb: &Influxdb, influx: &Path, folder: &Path, text: &str) -> Finished {
    let home = influx.parent().unwrap().display();
    let mut shell = Command::new("sh");
    shell
        .args(["-euc", text])
        .current_dir(repository())
        .env("PATH", format!("{home}:/usr/bin:/bin"))
        .env("INFLUX_CONFIGS_PATH", folder.join("configs"))
        .env("INFLUX_HOST", format!("http://127.0.0.1:{}", influxdb.port))
        .env("INFLUX_ORG", ORGANIZATION)
        .env("INFLUX_TOKEN", TOKEN);
    run(&mut shell).success()
}

/// The queries of the one dashboard that the server has, as it has them.
fn queries_of_dashboard(influxdb: &Influxdb) -> Vec<String> {
    let get = |path: &str| -> Json { serde_json::from_str(&influxdb.get(path)).unwrap() };
    let boards = get("/api/v2/dashboards");
    let boards = boards["dashboards"].as_array().unwrap();
    let [board] = &boards[..] else { panic!("not one dashboard: {boards:?}") };
    let id = |json: &Json| json["id"].as_str().unwrap().to_owned();
    let cells = board["cells"].as_array().unwrap().iter();
    cells
        .map(|cell| {
            let path = format!("/api/v2/dashboards/{}/cells/{}/view", id(board), id(cell));
            let view = get(&path);
            let text = view["properties"]["queries"][0]["text"].as_str();
            text.unwrap_or_else(|| panic!("no query: {view}")).trim_end().to_owned()
        })
        .collect()
}

#[test]
#[ignore = "slow: tests/run --all"]
fn influxdb_2_keeps_every_line_and_type_and_answers_in_both_languages() {
    let test = "InfluxDB 2";
    let Some(telegraf) = require_program(test, "TELEGRAF", "telegraf") else { return };
    let Some(influxd) = require_program(test, "INFLUXD_2", "influxd-2") else { return };
    let Some(influx) = require_program(test, "INFLUX", "influx") else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let influxdb = Influxdb::start_2(&influxd, &folder.join("influxdb"));
    let output = block("toml", "organization = ");
    let text = made();
    send(&telegraf, folder, &text, &output.replace(":8086", &format!(":{}", influxdb.port)));
    let lines = read(&text);
    let row = kept(&influxdb, &lines);
    let in_flux = flux_answers(&influxdb);

    // The template, by the page's command. On no terminal it asks to be forced.
    let apply = block_with("sh", "influx apply");
    command(&influxdb, &influx, folder, &format!("{} --force yes", apply.trim_end()));
    let charts = queries_of_dashboard(&influxdb);
    assert_eq!(sorted(&charts), sorted(&template_queries()));
    let charts = charts_draw(&influxdb, &charts);

    // The same lines again by the page's pipe, under other names.
    let page = block_with("sh", "| influx write");
    let write = page.trim_end().strip_prefix("telegraf-virt once | ").unwrap();
    let piped: String = text.lines().map(|line| format!("piped_{line}\n")).collect();
    let file = folder.join("piped.line");
    std::fs::write(&file, piped).unwrap();
    command(&influxdb, &influx, folder, &format!("{write} <{}", file.display()));
    for (measurement, count) in counts(&lines) {
        assert_eq!(influxdb.count(&format!("piped_{measurement}")), count, "{measurement}");
    }

    let count = every_table_is_found(&influxdb);
    Row {
        database: "InfluxDB 2, from Telegraf, made lines".to_owned(),
        version: influxdb.version(),
        queries: format!("InfluxQL: {}; Flux: {in_flux}", row.queries),
        dashboards: format!("{count} of {count} of influxql.json; {charts}, after `influx apply`"),
        ..row
    }
    .hold();
}

fn sorted(texts: &[String]) -> Vec<&String> {
    let mut texts: Vec<&String> = texts.iter().collect();
    texts.sort();
    texts
}
