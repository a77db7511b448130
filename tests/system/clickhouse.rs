//! ClickHouse: its engine, as a library behind a small server of the tests, since its own server cannot be had. A
//! real Telegraf fills it by the page's output, into tables made as the page makes them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::spikes::with_gap;
use crate::support::database::{
    Database, answered, block, columns, counts, kept, made, queries, send,
};
use crate::support::lines::{Value, read};
use crate::support::repository;
use crate::support::servers::{Server, encode, http_get, require_program};
use crate::support::tested::{Row, page_blocks};

const LIMIT: Duration = Duration::from_secs(300);

struct Clickhouse {
    _server: Server,
    port: u16,
}

impl Clickhouse {
    fn start(python: &Path, folder: &Path) -> Clickhouse {
        let log = folder.join("clickhouse.log");
        let mut command = Command::new(python);
        command.arg(repository().join("tests/lab/clickhouse.py")).arg(folder.join("clickhouse"));
        let mut server = Server::start(&mut command, log.clone());
        let port = server.wait_until("ClickHouse listens", LIMIT, || {
            let text = std::fs::read_to_string(&log).ok()?;
            text.split_once("listens on port ")?.1.trim().parse().ok()
        });
        Clickhouse { _server: server, port }
    }
}

impl Database for Clickhouse {
    const LANGUAGE: &'static str = "clickhouse";
    const TAG: &'static str = "String";
    const TIME: Option<(&'static str, &'static str)> = Some(("time", "DateTime"));

    fn word(value: &Value) -> &'static str {
        match value {
            Value::Int(_) => "Nullable(Int64)",
            Value::Float(_) => "Nullable(Float64)",
            Value::Text(_) => "Nullable(String)",
            Value::Bool(_) => "Nullable(Bool)",
        }
    }

    fn count(&self, measurement: &str) -> usize {
        self.rows(&format!("SELECT count() FROM {measurement}"))[0].parse().unwrap()
    }

    /// Those in which a line has a value: it is the test that makes them.
    fn columns(&self, measurement: &str) -> BTreeMap<String, String> {
        let rows = self.rows(&format!("DESCRIBE TABLE {measurement}"));
        let pairs = rows.iter().map(|row| {
            let mut cells = row.split('\t');
            (cells.next().unwrap(), cells.next().unwrap())
        });
        let is_filled = |(name, _): &(&str, &str)| {
            let told = self.rows(&format!(
                "SELECT count(`{name}`) FROM {measurement} WHERE toString(`{name}`) != ''"
            ));
            told != ["0"]
        };
        let filled = pairs.filter(is_filled);
        filled.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
    }

    fn rows(&self, query: &str) -> Vec<String> {
        let body = http_get(self.port, &format!("/?query={}", encode(query)));
        assert!(!body.contains("Code: "), "{query}: {body}");
        body.lines().map(|row| row.replace("\\'", "'")).collect()
    }
}

#[test]
#[ignore = "slow: tests/run --all"]
fn clickhouse_keeps_every_line_and_type_and_answers_the_queries() {
    let test = "ClickHouse";
    let Some(telegraf) = require_program(test, "TELEGRAF", "telegraf") else { return };
    let Some(python) = require_program(test, "CLICKHOUSE", "python-chdb") else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let server = Clickhouse::start(&python, folder);
    let page = page_blocks("docs/databases.md", "clickhouse");
    let tables = page.iter().filter(|it| it.starts_with("CREATE TABLE"));
    tables.for_each(|table| drop(server.rows(table)));
    let output = |measurement: &str| {
        block("toml", "JSONEachRow")
            .replace("127.0.0.1:8123", &format!("127.0.0.1:{}", server.port))
            .replace("vm_totals", measurement)
            // On a busy machine all these tables take longer than Telegraf's five seconds.
            + "\n  timeout = \"300s\"\n"
    };
    let text = made();
    let lines = read(&text);
    let of_page = ["vm_totals", "vm_devices", "vm_metrics"];
    send(&telegraf, folder, &text, &of_page.map(output).concat());
    for measurement in of_page {
        assert_eq!(server.count(measurement), counts(&lines)[measurement], "{measurement}");
    }
    answered("clickhouse", |query| server.rows(query));
    // A value that is missing is none, so that a rate has no spike.
    server.rows("TRUNCATE TABLE vm_totals");
    send(&telegraf, folder, &with_gap(), &output("vm_totals"));
    let rates = server.rows(&queries("clickhouse")[0].replace("1 HOUR", "1 DAY"));
    let highest = rates.iter().filter_map(|row| row.rsplit_once('\t')?.1.parse::<f64>().ok());
    let highest = highest.fold(0.0, f64::max);
    assert!(highest > 0.0 && highest <= 1000.0, "{highest} {rates:?}");

    // All measurements, with a column for each tag and field.
    of_page.iter().for_each(|table| drop(server.rows(&format!("DROP TABLE {table}"))));
    let mut outputs = String::new();
    for measurement in counts(&lines).keys() {
        let columns = columns(&lines, measurement, Clickhouse::TAG, Clickhouse::word);
        let columns: String =
            columns.iter().map(|(name, kind)| format!(", `{name}` {kind}")).collect();
        server.rows(&format!(
            "CREATE TABLE {measurement} (time DateTime{columns}) ENGINE = MergeTree ORDER BY time"
        ));
        outputs += &output(measurement);
    }
    send(&telegraf, folder, &text, &outputs);
    let version = server.rows("SELECT version()");
    Row {
        database: "ClickHouse: its engine, chdb, made lines".to_owned(),
        version: version[0].clone(),
        ..kept(&server, &lines)
    }
    .hold();
}
