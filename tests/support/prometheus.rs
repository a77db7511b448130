//! A real Prometheus on loopback, and its tool promtool.

use super::lines::Line;
use super::made::open_metrics;
use super::process::run;
use super::promql::{Labels, Promql, labels};
use super::servers::{Server, http_get};
use super::victoria_metrics::listening;
use serde_json::Value as Json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

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

    pub fn log(&self) -> String {
        self.server.log()
    }
}

impl Promql for Prometheus {
    fn port(&self) -> u16 {
        self.port
    }
}
