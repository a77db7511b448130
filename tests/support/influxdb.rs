//! A real InfluxDB, 1.x or 2.x, on loopback, and what it answers.

use super::servers::{
    Server, encode, http_get, http_get_with, http_post, http_post_with, response,
};
use super::victoria_metrics::listening;
use super::wait_until;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// InfluxDB 1.x or 2.x.
pub struct Influxdb {
    server: Server,
    pub port: u16,
    /// What each request needs in its head, and the organization in which 2.x makes buckets.
    head: String,
    organization: Option<String>,
}

/// What the pages write for a user's own names.
pub const TOKEN: &str = "TOKEN";
pub const ORGANIZATION: &str = "ORG";

impl Influxdb {
    /// Starts one on a free port of loopback.
    pub fn start(program: &Path, folder: &Path) -> Influxdb {
        Influxdb::start_with(program, folder, "")
    }

    /// The same, with more settings of its storage.
    pub fn start_with(program: &Path, folder: &Path, data: &str) -> Influxdb {
        std::fs::create_dir_all(folder).unwrap();
        let configuration = folder.join("influxdb.conf");
        let at = |name: &str| folder.join(name).display().to_string();
        // Port 0: the kernel chooses a free one, and the log tells which.
        let text = format!(
            "reporting-disabled = true\nbind-address = \"127.0.0.1:0\"\n\
             [meta]\ndir = \"{}\"\n[data]\ndir = \"{}\"\nwal-dir = \"{}\"\n{data}\
             [monitor]\nstore-enabled = false\n[http]\nbind-address = \"127.0.0.1:0\"\n",
            at("meta"),
            at("data"),
            at("wal")
        );
        std::fs::write(&configuration, text).unwrap();
        let mut command = Command::new(program);
        command.arg("-config").arg(&configuration);
        // 1.8 and later know it.
        command.env("INFLUXDB_HTTP_FLUX_ENABLED", "true");
        let log = folder.join("influxd.log");
        let mut server = Server::start(&mut command, log.clone());
        let port = server.wait_until("influxd listens", Duration::from_secs(120), || {
            let log = std::fs::read_to_string(&log).ok()?;
            let line = log.lines().find(|line| line.contains("Listening on HTTP"))?;
            let (_, rest) = line.split_once("127.0.0.1:")?;
            rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
        });
        wait_until("influxd answers", Duration::from_secs(30), || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Influxdb { server, port, head: String::new(), organization: None }
    }

    /// Starts InfluxDB 2 with the pages' organization, its token, and its bucket `vms`.
    pub fn start_2(program: &Path, folder: &Path) -> Influxdb {
        std::fs::create_dir_all(folder).unwrap();
        let at = |name: &str| folder.join(name).display().to_string();
        let mut command = Command::new(program);
        command
            .args(["--http-bind-address=127.0.0.1:0", "--reporting-disabled"])
            .args(["--bolt-path", &at("influxd.bolt"), "--sqlite-path", &at("influxd.sqlite")])
            .args(["--engine-path", &at("engine")])
            // Nothing of this user's.
            .env("HOME", folder)
            .env("INFLUXD_CONFIG_PATH", folder);
        let mut server = Server::start(&mut command, folder.join("influxd.log"));
        let pid = server.id();
        let limit = Duration::from_secs(120);
        let port = server.wait_until("influxd listens", limit, || listening(pid));
        server.wait_until("influxd is ready", limit, || {
            http_get(port, "/health").contains("\"pass\"").then_some(())
        });
        let settings = json!({
            "username": "admin", "password": "only for this test",
            "org": ORGANIZATION, "bucket": "vms", "token": TOKEN,
        });
        let kind = "Content-Type: application/json\r\n";
        let answer = http_post_with(port, "/api/v2/setup", kind, &settings.to_string());
        let answer: Json = serde_json::from_str(&answer).unwrap();
        let organization = answer["org"]["id"].as_str().map(str::to_owned);
        assert!(organization.is_some(), "{answer}");
        let head = format!("Authorization: Token {TOKEN}\r\n");
        Influxdb { server, port, head, organization }
    }

    /// Makes a database, which is a bucket in InfluxDB 2.
    pub fn create(&self, database: &str) {
        let Some(organization) = &self.organization else {
            http_post(self.port, "/query", &format!("q=CREATE DATABASE {database}"));
            return;
        };
        let bucket = json!({ "orgID": organization, "name": database });
        let head = format!("{}Content-Type: application/json\r\n", self.head);
        http_post_with(self.port, "/api/v2/buckets", &head, &bucket.to_string());
    }

    /// Writes line protocol into a database, with timestamps in nanoseconds.
    pub fn write(&self, database: &str, lines: &str) {
        let path = format!("/write?db={}&precision=ns", encode(database));
        http_post_with(self.port, &path, &self.head, lines);
    }

    /// The body of a path's answer.
    pub fn get(&self, path: &str) -> String {
        http_get_with(self.port, path, &self.head)
    }

    /// The rows that a query in Flux returns, by column.
    pub fn flux(&self, query: &str) -> Vec<BTreeMap<String, String>> {
        let path = format!("/api/v2/query?org={ORGANIZATION}");
        let head = format!("{}Content-Type: application/vnd.flux\r\n", self.head);
        let body = http_post_with(self.port, &path, &head, query);
        let mut rows = Vec::new();
        let mut columns: Vec<&str> = Vec::new();
        // CSV, a table after another, each with its columns' names first.
        for line in body.lines().filter(|line| !line.starts_with('#')) {
            let cells: Vec<&str> = line.trim_end().split(',').collect();
            assert_ne!(cells.get(1), Some(&"error"), "{query}: {body}");
            if cells.contains(&"result") {
                columns = cells;
            } else if cells.len() > 1 {
                let pairs = columns.iter().zip(&cells);
                rows.push(pairs.map(|(name, cell)| ((*name).into(), (*cell).into())).collect());
            }
        }
        rows
    }

    /// The version that it says it has.
    pub fn version(&self) -> String {
        let answer = response(self.port, "GET /ping", &self.head, "");
        let (head, _) = answer.split_once("\r\n\r\n").unwrap();
        let header = "x-influxdb-version: ";
        let line = head.lines().find(|line| line.to_lowercase().starts_with(header)).unwrap();
        line[header.len()..].trim_start_matches('v').to_owned()
    }

    pub fn id(&self) -> u32 {
        self.server.id()
    }

    /// The rows that a query returns: for each series its name and columns, then its values.
    pub fn query(&self, database: &str, query: &str) -> Vec<Series> {
        let path = format!("/query?db={}&epoch=ns&q={}", encode(database), encode(query));
        let body = self.get(&path);
        let answer: Json =
            serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {query}: {body}"));
        let result = &answer["results"][0];
        assert!(result["error"].is_null() && answer["error"].is_null(), "{query}: {body}");
        let Some(series) = result["series"].as_array() else { return Vec::new() };
        series
            .iter()
            .map(|series| Series {
                name: series["name"].as_str().unwrap_or_default().to_owned(),
                tags: series["tags"].as_object().into_iter().flatten().map(tag).collect(),
                columns: strings(&series["columns"]),
                // A list of no databases comes without this key.
                rows: series["values"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|row| row.as_array().unwrap().clone())
                    .collect(),
            })
            .collect()
    }

    pub fn log(&self) -> String {
        self.server.log()
    }
}

/// One series of a query's answer.
#[derive(Debug)]
pub struct Series {
    pub name: String,
    /// What it is grouped by.
    pub tags: BTreeMap<String, String>,
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Json>>,
}

impl Series {
    /// The numbers of its rows, the first column, which is the time, aside; a bool is 0 or 1.
    pub fn numbers(&self) -> Vec<f64> {
        let values = self.rows.iter().flat_map(|row| &row[1..]);
        values.filter_map(|it| it.as_f64().or(it.as_bool().map(f64::from))).collect()
    }
}

fn tag((name, value): (&String, &Json)) -> (String, String) {
    (name.clone(), value.as_str().unwrap().to_owned())
}

fn strings(list: &Json) -> Vec<String> {
    list.as_array().unwrap().iter().map(|item| item.as_str().unwrap().to_owned()).collect()
}
