//! A real VictoriaMetrics on loopback, and what it says it holds.

use super::process::run;
use super::promql::{Labels, Promql, labels};
use super::servers::{Server, encode, http_get, http_post};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

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

    /// Writes line protocol into it, with timestamps in nanoseconds.
    pub fn write(&self, lines: &str) {
        http_post(self.port, "/write?precision=ns", lines);
    }

    /// The version by the changelog of its package, since Debian's binary does not tell it.
    pub fn version(program: &Path) -> String {
        let package = program.ancestors().nth(2).unwrap().join("share/doc/victoria-metrics");
        let told = run(Command::new("zcat").arg(package.join("changelog.Debian.gz"))).success();
        let (_, rest) = told.stdout.split_once('(').unwrap();
        rest.split(['+', '-', ')']).next().unwrap().to_owned()
    }

    /// Makes all that was written be found at once, which otherwise takes a second or two.
    pub fn show(&self) {
        http_get(self.port, "/internal/force_flush");
    }

    pub fn log(&self) -> String {
        self.server.log()
    }
}

impl Promql for VictoriaMetrics {
    fn port(&self) -> u16 {
        self.port
    }
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
