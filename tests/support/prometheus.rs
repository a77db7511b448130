//! A real Prometheus on loopback, and its tool promtool.

use super::lines::Line;
use super::made::open_metrics;
use super::process::run;
use super::servers::{Server, encode, http_get};
use super::victoria_metrics::{Labels, labels, listening, number};
use serde_json::Value as Json;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Prometheus, one server.
pub struct Prometheus {
    server: Server,
    pub port: u16,
}

/// promtool, which is in the same package.
pub fn promtool(prometheus: &Path) -> PathBuf {
    prometheus.with_file_name("promtool")
}

/// Puts the numbers of lines into a database that is started later; one point in a line's series and second.
pub fn fill(prometheus: &Path, folder: &Path, lines: &[Line]) {
    fs::create_dir_all(folder).unwrap();
    let text = folder.join("samples.txt");
    fs::write(&text, open_metrics(lines)).unwrap();
    run(Command::new(promtool(prometheus))
        .args(["tsdb", "create-blocks-from", "openmetrics", "--quiet"])
        .arg(&text)
        .arg(folder.join("data")))
    .success();
}

impl Prometheus {
    /// Starts one on a free port of loopback with these settings.
    pub fn start(program: &Path, folder: &Path, settings: &str) -> Prometheus {
        fs::create_dir_all(folder).unwrap();
        let file = folder.join("prometheus.yml");
        fs::write(&file, settings).unwrap();
        let mut command = Command::new(program);
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            // Port 0: the kernel chooses a free one.
            .args(["--web.listen-address=127.0.0.1:0", "--web.enable-remote-write-receiver"])
            .args(["--web.enable-lifecycle", "--query.lookback-delta=5m"]);
        let mut server = Server::start(&mut command, folder.join("prometheus.log"));
        let pid = server.id();
        let limit = Duration::from_secs(120);
        let port = server.wait_until("Prometheus listens", limit, || listening(pid));
        server.wait_until("Prometheus is ready", limit, || {
            http_get(port, "/-/ready").contains("Ready").then_some(())
        });
        Prometheus { server, port }
    }

    /// The version that it says it has.
    pub fn version(&self) -> String {
        self.answer("/api/v1/status/buildinfo")["version"].as_str().unwrap().to_owned()
    }

    /// What a query answers now.
    pub fn query(&self, query: &str) -> Vec<(Labels, f64)> {
        let answer = self.answer(&format!("/api/v1/query?query={}", encode(query)));
        let rows = answer["result"].as_array().unwrap_or_else(|| panic!("{query}: {answer}"));
        rows.iter().map(|row| (labels(&row["metric"]), number(&row["value"]))).collect()
    }

    /// What a query answers at each `step` of the last `span`, both in seconds.
    pub fn query_range(&self, query: &str, span: u64, step: u64) -> Vec<(Labels, Vec<f64>)> {
        let end = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let start = end - span;
        let query = encode(query);
        let path = format!("/api/v1/query_range?query={query}&start={start}&end={end}&step={step}");
        let answer = self.answer(&path);
        let rows = answer["result"].as_array().unwrap().iter();
        rows.map(|row| {
            let values = row["values"].as_array().unwrap().iter();
            (labels(&row["metric"]), values.map(number).collect())
        })
        .collect()
    }

    /// The values that a label has in the series that a selector finds.
    pub fn label_values(&self, selector: &str, label: &str) -> BTreeSet<String> {
        let path = format!("/api/v1/label/{label}/values?match[]={}", encode(selector));
        let answer = self.answer(&path);
        let values = answer.as_array().unwrap().iter();
        values.map(|value| value.as_str().unwrap().to_owned()).collect()
    }

    /// The alerts that are pending or firing: name, state and labels.
    pub fn alerts(&self) -> Vec<(String, String, Labels)> {
        let answer = self.answer("/api/v1/alerts");
        let alerts = answer["alerts"].as_array().unwrap().iter();
        alerts
            .map(|alert| {
                let labels = labels(&alert["labels"]);
                let state = alert["state"].as_str().unwrap().to_owned();
                (labels["alertname"].clone(), state, labels)
            })
            .collect()
    }

    /// The rules that it could not evaluate, with its reasons, and how many it has.
    pub fn rule_faults(&self) -> (Vec<String>, usize) {
        let answer = self.answer("/api/v1/rules");
        let groups = answer["groups"].as_array().unwrap().iter();
        let rules: Vec<Json> =
            groups.flat_map(|group| group["rules"].as_array().unwrap().clone()).collect();
        let faults = rules.iter().filter(|rule| rule["health"] == "err");
        (faults.map(ToString::to_string).collect(), rules.len())
    }

    /// The type of each metric that was scraped.
    pub fn types(&self) -> Vec<(String, String)> {
        let answer = self.answer("/api/v1/metadata");
        let metrics = answer.as_object().unwrap().iter();
        metrics
            .map(|(name, told)| (name.clone(), told[0]["type"].as_str().unwrap().to_owned()))
            .collect()
    }

    pub fn answer(&self, path: &str) -> Json {
        let body = http_get(self.port, path);
        let mut answer: Json =
            serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {path}: {body}"));
        assert_eq!(answer["status"], "success", "{path}: {body}");
        answer["data"].take()
    }

    pub fn log(&self) -> String {
        self.server.log()
    }
}
