//! A real database on loopback: what it is fed, what that costs it, and what it answers.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::support::influxdb::Influxdb;
use crate::support::servers::{encode, find_program, http_get};
use crate::support::victoria_metrics::VictoriaMetrics;

/// Connections that write at the same time.
const WRITERS: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    Victoria,
    Influx,
}

enum Server {
    Victoria(VictoriaMetrics),
    Influx(Influxdb),
}

pub struct Database {
    server: Server,
    pub port: u16,
    pid: u32,
    folder: PathBuf,
    pub version: String,
}

impl Database {
    /// Starts it on this folder, with what it holds already.
    pub fn start(kind: Kind, folder: &Path, named: Option<&str>) -> Self {
        fs::create_dir_all(folder).unwrap();
        let (variable, name) = match kind {
            Kind::Victoria => ("VICTORIA_METRICS", "victoria-metrics"),
            Kind::Influx => ("INFLUXD", "influxd"),
        };
        let program = find_program(variable, name)
            .unwrap_or_else(|| panic!("${variable} is not set, and PATH has no {name}"));
        let version = |options: &str| {
            let output = Command::new(&program).arg(options).output().unwrap();
            let text = [output.stdout, output.stderr].concat();
            String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned()
        };
        let (server, port, pid, version) = match kind {
            Kind::Victoria => {
                let server = VictoriaMetrics::start(&program, folder);
                let (port, pid) = (server.port, server.id());
                (Server::Victoria(server), port, pid, version("-version"))
            }
            Kind::Influx => {
                // Files that nothing was written to for a while are compacted as they are after hours.
                let cold = "cache-snapshot-write-cold-duration = \"5s\"\n\
                            compact-full-write-cold-duration = \"10s\"\n\
                            max-series-per-database = 0\nmax-values-per-tag = 0\n\
                            index-version = \"tsi1\"\n";
                let server = Influxdb::start_with(&program, folder, cold);
                server.create("vms");
                let (port, pid) = (server.port, server.id());
                (Server::Influx(server), port, pid, version("version"))
            }
        };
        let version = named.map_or(version, str::to_owned);
        Self { server, port, pid, folder: folder.to_owned(), version }
    }

    /// CPU time that it has used, in seconds.
    pub fn cpu_s(&self) -> f64 {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap();
        let (_, fields) = text.rsplit_once(')').unwrap();
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().map(|it| it.parse::<u64>().unwrap()).sum();
        ticks as f64 / 100.0
    }

    /// The most memory that it has had, in MiB.
    pub fn peak_mib(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
    }

    /// Waits until everything is in its last files.
    pub fn settle(&self) {
        if let Server::Victoria(server) = &self.server {
            server.show();
            http_get(self.port, "/internal/force_merge");
        }
        let start = Instant::now();
        let mut quiet = 0;
        let mut before = (self.cpu_s(), self.disk_bytes());
        while quiet < 6 && start.elapsed() < Duration::from_secs(240) {
            thread::sleep(Duration::from_secs(3));
            let now = (self.cpu_s(), self.disk_bytes());
            quiet = if now.0 - before.0 < 0.5 && now.1 == before.1 { quiet + 1 } else { 0 };
            before = now;
        }
    }

    /// What its data takes on disk.
    pub fn disk_bytes(&self) -> u64 {
        size(&self.folder.join("data"))
    }

    /// How many series it has.
    pub fn series(&self) -> u64 {
        match &self.server {
            Server::Victoria(_) => {
                let body = http_get(self.port, "/api/v1/status/tsdb?topN=1");
                let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
                answer["data"]["totalSeries"].as_u64().unwrap()
            }
            Server::Influx(server) => {
                let rows = server.query("vms", "SHOW SERIES EXACT CARDINALITY");
                let counts =
                    rows.iter().filter_map(|series| series.rows.first()?.first()?.as_u64());
                counts.sum()
            }
        }
    }

    /// The time that a query took, and how many series and bytes it answered; the query is Grafana's.
    pub fn ask(
        &self,
        query: &str,
        is_instant: bool,
        end_s: u64,
        span_s: u64,
        step_s: u64,
    ) -> Answer {
        let query = encode(query);
        let path = match &self.server {
            Server::Victoria(_) if is_instant => {
                format!("/api/v1/query?query={query}&time={end_s}&nocache=1")
            }
            Server::Victoria(_) => {
                let start = end_s - span_s;
                format!(
                    "/api/v1/query_range?query={query}&start={start}&end={end_s}&step={step_s}&nocache=1"
                )
            }
            Server::Influx(_) => format!("/query?db=vms&epoch=ms&q={query}"),
        };
        let start = Instant::now();
        let body = http_get(self.port, &path);
        let took = start.elapsed();
        let answer: serde_json::Value = serde_json::from_str(&body)
            .unwrap_or_else(|error| panic!("{error}: {path}: {body:.300}"));
        let result = match &self.server {
            Server::Victoria(_) => &answer["data"]["result"],
            Server::Influx(_) => &answer["results"][0]["series"],
        };
        let is_fine = answer["status"] == "success" || answer["results"][0]["error"].is_null();
        assert!(is_fine && answer["error"].is_null(), "{path}: {body:.300}");
        Answer { took, series: result.as_array().map_or(0, Vec::len), bytes: body.len() }
    }

    /// Takes bodies of line protocol from here on, over a few connections.
    pub fn feed(&self) -> Feed {
        let (sender, receiver) = sync_channel::<Vec<u8>>(2 * WRITERS);
        let receiver = Arc::new(Mutex::new(receiver));
        let path = match &self.server {
            Server::Victoria(_) => "/write?precision=ns",
            Server::Influx(_) => "/write?db=vms&precision=ns",
        };
        let writers = (0..WRITERS).map(|_| {
            let (receiver, port) = (Arc::clone(&receiver), self.port);
            thread::spawn(move || write_all(port, path, &receiver))
        });
        Feed { sender, writers: writers.collect() }
    }

    /// Lets it end, with all that it holds kept.
    pub fn end(self) {
        match self.server {
            Server::Victoria(server) => drop(server),
            Server::Influx(server) => drop(server),
        }
    }
}

pub struct Answer {
    pub took: Duration,
    pub series: usize,
    pub bytes: usize,
}

pub struct Feed {
    pub sender: SyncSender<Vec<u8>>,
    writers: Vec<JoinHandle<()>>,
}

impl Feed {
    /// Waits until all has been taken.
    pub fn end(self) {
        drop(self.sender);
        self.writers.into_iter().for_each(|writer| writer.join().unwrap());
    }
}

fn write_all(port: u16, path: &str, bodies: &Mutex<Receiver<Vec<u8>>>) {
    let connect = || {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    };
    let mut stream = connect();
    loop {
        let body = bodies.lock().unwrap().recv();
        let Ok(body) = body else { return };
        // VictoriaMetrics hangs up after two minutes. What is written twice is one sample.
        while let Err(error) = write_one(&mut stream, path, &body) {
            let kinds =
                [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset, ErrorKind::UnexpectedEof];
            assert!(kinds.contains(&error.kind()), "{error}");
            stream = connect();
        }
    }
}

fn write_one(stream: &mut TcpStream, path: &str, body: &[u8]) -> io::Result<()> {
    let length = body.len();
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    // 204 has no body.
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while !answer.ends_with(b"\r\n\r\n") {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        answer.extend_from_slice(&buffer[..read]);
    }
    let text = String::from_utf8_lossy(&answer);
    assert!(text.starts_with("HTTP/1.1 204"), "{text}");
    Ok(())
}

fn size(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let sizes = entries.filter_map(Result::ok).map(|entry| match entry.metadata() {
        Ok(it) if it.is_dir() => size(&entry.path()),
        // InfluxDB's index has files with holes.
        Ok(it) => it.blocks() * 512,
        Err(_) => 0,
    });
    sizes.sum()
}
