//! A real VictoriaMetrics on loopback, and what it says it holds.

use super::servers::{Server, encode, http_get, http_post};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Names and values, `__name__` among them.
pub type Labels = BTreeMap<String, String>;

/// Labels and a moment to a value.
pub type Samples = BTreeMap<(Labels, i64), f64>;

/// VictoriaMetrics, single node.
pub struct VictoriaMetrics {
    server: Server,
    pub port: u16,
}

impl VictoriaMetrics {
    /// Starts one on a free port of loopback.
    pub fn start(program: &Path, folder: &Path) -> VictoriaMetrics {
        fs::create_dir_all(folder).unwrap();
        let mut command = Command::new(program);
        command
            // Port 0: the kernel chooses a free one.
            .arg("-httpListenAddr=127.0.0.1:0")
            .arg(format!("-storageDataPath={}", folder.join("data").display()))
            // Queries leave out the last 30 s by default.
            .args(["-search.latencyOffset=0s", "-retentionPeriod=1"]);
        let mut server = Server::start(&mut command, folder.join("victoria-metrics.log"));
        let pid = server.id();
        let port = server
            .wait_until("VictoriaMetrics listens", Duration::from_secs(60), || listening(pid));
        VictoriaMetrics { server, port }
    }

    pub fn id(&self) -> u32 {
        self.server.id()
    }

    /// Every sample that it holds: the labels and the moment, in milliseconds, to the value. What has
    /// just come is found a second or two later, so this waits for so many, but not for ever.
    pub fn samples(&self, count: usize) -> Samples {
        let start = Instant::now();
        loop {
            let samples = self.export();
            if samples.len() >= count || start.elapsed() > Duration::from_secs(30) {
                return samples;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Fails where one series has two samples of one moment.
    fn export(&self) -> Samples {
        let path = format!("/api/v1/export?match[]={}", encode("{__name__=~\".+\"}"));
        let mut samples = BTreeMap::new();
        for line in http_get(self.port, &path).lines() {
            let series: serde_json::Value = serde_json::from_str(line).unwrap();
            let labels = labels(&series["metric"]);
            let times = series["timestamps"].as_array().unwrap();
            for (time, value) in times.iter().zip(series["values"].as_array().unwrap()) {
                let key = (labels.clone(), time.as_i64().unwrap());
                let other = samples.insert(key, value.as_f64().unwrap());
                assert_eq!(other, None, "twice at {time}: {labels:?}");
            }
        }
        samples
    }

    /// What a query answers now.
    pub fn query(&self, query: &str) -> Vec<(Labels, f64)> {
        let answer = self.answer(&format!("/api/v1/query?query={}", encode(query)));
        let rows = answer["result"].as_array().unwrap();
        rows.iter().map(|row| (labels(&row["metric"]), number(&row["value"]))).collect()
    }

    /// What a query answers at each `step` of the last `span`, both in seconds.
    pub fn query_range(&self, query: &str, span: u32, step: u32) -> Vec<(Labels, Vec<f64>)> {
        let path =
            format!("/api/v1/query_range?query={}&start=-{span}s&step={step}s", encode(query));
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
        let answer =
            self.answer(&format!("/api/v1/label/{label}/values?match[]={}", encode(selector)));
        let values = answer.as_array().unwrap().iter();
        values.map(|value| value.as_str().unwrap().to_owned()).collect()
    }

    /// Writes line protocol into it, with timestamps in nanoseconds.
    pub fn write(&self, lines: &str) {
        http_post(self.port, "/write?precision=ns", lines);
    }

    /// Makes all that was written be found at once, which otherwise takes a second or two.
    pub fn show(&self) {
        http_get(self.port, "/internal/force_flush");
    }

    fn answer(&self, path: &str) -> serde_json::Value {
        let body = http_get(self.port, path);
        let mut answer: serde_json::Value =
            serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {path}: {body}"));
        assert_eq!(answer["status"], "success", "{path}: {body}");
        answer["data"].take()
    }

    pub fn log(&self) -> String {
        self.server.log()
    }
}

/// The value of a pair of a moment and a value.
pub fn number(pair: &serde_json::Value) -> f64 {
    pair[1].as_str().unwrap().parse().unwrap()
}

pub fn labels(metric: &serde_json::Value) -> Labels {
    let pairs = metric.as_object().unwrap().iter();
    pairs.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect()
}

/// The port of loopback on which a process listens: its log does not tell which one it was given.
pub fn listening(pid: u32) -> Option<u16> {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let sockets: BTreeSet<String> = files
        .filter_map(|file| Some(fs::read_link(file.ok()?.path()).ok()?.to_str()?.to_owned()))
        .filter_map(|link| Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    // Columns: number, own address, other's address, state (0A: it listens), and so on, inode tenth.
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).ok()?;
    table.lines().find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let ours = columns.get(3) == Some(&"0A") && sockets.contains(*columns.get(9)?);
        let (_, port) = columns.get(1)?.split_once(':')?;
        ours.then(|| u16::from_str_radix(port, 16).unwrap())
    })
}
