//! ClickHouse: its engine, as a library behind a small server of the tests, since its own server cannot be had. A
//! real Telegraf fills it by the page's output, into tables made as the page makes them.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::spikes::with_gap;
use crate::sql::{block, columns, counts, made, send};
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

    /// The rows of a query's answer.
    fn query(&self, query: &str) -> Vec<String> {
        let body = http_get(self.port, &format!("/?query={}", encode(query)));
        assert!(!body.contains("Code: "), "{query}: {body}");
        body.lines().map(str::to_owned).collect()
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
    let (tables, queries): (Vec<_>, Vec<_>) =
        page.into_iter().partition(|it| it.starts_with("CREATE TABLE"));
    tables.iter().for_each(|table| drop(server.query(table)));
    let output = |measurement: &str| {
        block("toml", "JSONEachRow")
            .replace("127.0.0.1:8123", &format!("127.0.0.1:{}", server.port))
            .replace("vm_totals", measurement)
            + "\n"
    };
    let text = made();
    let lines = read(&text);
    let of_page = ["vm_totals", "vm_devices", "vm_metrics"];
    send(&telegraf, folder, &text, &of_page.map(output).concat());
    for measurement in of_page {
        let rows = server.query(&format!("SELECT count() FROM {measurement}"));
        assert_eq!(rows, [counts(&lines)[measurement].to_string()], "{measurement}");
    }
    for query in &queries {
        assert!(server.query(query).len() >= 3, "{query}");
    }
    // A value that is missing is none, so that a rate has no spike.
    server.query("TRUNCATE TABLE vm_totals");
    send(&telegraf, folder, &with_gap(), &output("vm_totals"));
    let rates = server.query(&queries[0].replace("1 HOUR", "1 DAY"));
    let highest = rates.iter().filter_map(|row| row.rsplit_once('\t')?.1.parse::<f64>().ok());
    let highest = highest.fold(0.0, f64::max);
    assert!(highest > 0.0 && highest <= 1000.0, "{highest} {rates:?}");

    // All measurements, with a column for each tag and field.
    of_page.iter().for_each(|table| drop(server.query(&format!("DROP TABLE {table}"))));
    let word = |value: &Value| match value {
        Value::Int(_) => "Nullable(Int64)",
        Value::Float(_) => "Nullable(Float64)",
        Value::Text(_) => "Nullable(String)",
        Value::Bool(_) => "Nullable(Bool)",
    };
    let mut fields = 0;
    let mut outputs = String::new();
    for measurement in counts(&lines).keys() {
        let columns = columns(&lines, measurement, &word, "String");
        fields += columns.len();
        let columns: String =
            columns.iter().map(|(name, kind)| format!(", `{name}` {kind}")).collect();
        server.query(&format!(
            "CREATE TABLE {measurement} (time DateTime{columns}) ENGINE = MergeTree ORDER BY time"
        ));
        outputs += &output(measurement);
    }
    send(&telegraf, folder, &text, &outputs);
    for (measurement, count) in counts(&lines) {
        let rows = server.query(&format!("SELECT count() FROM {measurement}"));
        assert_eq!(rows, [count.to_string()], "{measurement}");
        for name in columns(&lines, &measurement, &word, "String").keys() {
            let rows = server.query(&format!(
                "SELECT count(`{name}`) FROM {measurement} WHERE toString(`{name}`) != ''"
            ));
            assert_ne!(rows, ["0"], "{measurement}.{name}");
        }
    }
    let version = server.query("SELECT version()");
    Row {
        database: "ClickHouse: its engine, chdb, made lines".to_owned(),
        version: version[0].clone(),
        lines: "every line".to_owned(),
        types: format!("{fields} of {fields} columns"),
        queries: format!("{} of {} of databases.md", queries.len(), queries.len()),
        ..Row::default()
    }
    .hold();
}
