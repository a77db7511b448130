//! Real servers on loopback, each with a folder of its own, that end with their test.

use super::lab::Lab;
use super::program::{PROGRAM, without_settings};
use super::repository;
use super::{skip, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The path of a program: from a variable that tests/run sets, else on PATH.
pub fn find_program(variable: &str, name: &str) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        return Some(PathBuf::from(path));
    }
    let path: OsString = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// The path of a program that a test cannot do without; none, said aloud, where there is none.
pub fn require_program(test: &str, variable: &str, name: &str) -> Option<PathBuf> {
    let found = find_program(variable, name);
    if found.is_none() {
        skip(test, &format!("no {name}: ${variable} is not set, and PATH has none"));
    }
    found
}

/// A program that is ended, by its process id, when this is dropped.
pub struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts it with both outputs in `log`.
    pub fn start(command: &mut Command, log: PathBuf) -> Server {
        let output = File::create(&log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        Server { child, log }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap()).into_owned()
    }

    /// Waits for it to answer, and fails with its log when it does not, or has ended.
    pub fn wait_until<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut ask: impl FnMut() -> Option<T>,
    ) -> T {
        let start = std::time::Instant::now();
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none() && start.elapsed() < limit,
                "not within {limit:?}, ended: {ended:?}: {what}\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Asks it to end with SIGTERM, and waits until it has.
    pub fn end(mut self) -> String {
        self.terminate();
        self.log()
    }

    /// Asks it to end with SIGTERM, and expects it to end well in this time.
    pub fn end_well(mut self, limit: Duration) -> String {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        let status = wait_until("it ends", limit, || self.child.try_wait().unwrap());
        assert!(status.success(), "{status}\n{}", self.log());
        self.log()
    }

    fn terminate(&mut self) {
        // Once it has been waited for, its number may be another process's.
        if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
            return;
        }
        // Telegraf ends its own children on SIGTERM; a SIGKILL would leave them.
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        let _ = kill(pid, Signal::SIGTERM);
        for _ in 0..200 {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.terminate();
    }
}

/// A real Telegraf with the file that users copy and an output of the test's.
pub fn telegraf(program: &Path, lab: &Lab, output: &str) -> Server {
    telegraf_with(program, lab, "", output)
}

/// The same, with settings of ours.
pub fn telegraf_with(program: &Path, lab: &Lab, settings: &str, output: &str) -> Server {
    let scratch = lab.scratch();
    let configuration = scratch.join("telegraf.conf");
    let agent = "[agent]\ninterval = \"1s\"\nflush_interval = \"1s\"\nomit_hostname = true\n";
    std::fs::write(&configuration, format!("{agent}{output}")).unwrap();
    let mut command = Command::new(program);
    for_telegraf(&mut command, lab);
    command.arg("--config").arg(configuration).arg("--config").arg(shipped_each_second(scratch));
    let own = scratch.join("settings.toml");
    std::fs::write(&own, settings).unwrap();
    command.env("TELEGRAF_VIRT_CONFIG", own);
    Server::start(&mut command, scratch.join("telegraf.log"))
}

/// A file of telegraf.d.
pub fn shipped(name: &str) -> PathBuf {
    repository().join("telegraf.d").join(name)
}

/// The file for execd without its precision, as it says of an interval of a second.
pub fn shipped_each_second(scratch: &Path) -> PathBuf {
    let text = std::fs::read_to_string(shipped("telegraf-virt.conf")).unwrap();
    let file = scratch.join("each-second.conf");
    std::fs::write(&file, without_precision(&text)).unwrap();
    file
}

/// A file of telegraf.d whose timestamps are not rounded.
pub fn without_precision(text: &str) -> String {
    let precision = "\n  precision = \"1s\"\n";
    assert_eq!(text.matches(precision).count(), 1, "{text}");
    text.replace(precision, "\n")
}

/// Gives a command that is, or starts, Telegraf what the shipped files leave open: they name the
/// program without a folder, no hypervisor, and no cache.
pub fn for_telegraf(command: &mut Command, lab: &Lab) {
    let ours = Path::new(PROGRAM).parent().unwrap().to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([ours].into_iter().chain(std::env::split_paths(&path)));
    without_settings(command, lab.scratch());
    command
        .env("PATH", path.unwrap())
        .env("LIBVIRT_DEFAULT_URI", lab.uri())
        .env("CACHE_DIRECTORY", lab.scratch().join("cache"));
}

/// What Telegraf's log calls an error. Left out is what a race of its own brings: it closes the pipes of
/// a process that has ended, also while it is about to read that they have.
pub fn errors(log: &str) -> Vec<&str> {
    let is_race = |line: &&str| line.contains("file already closed");
    log.lines().filter(|line| line.contains(" E! ")).filter(|line| !is_race(line)).collect()
}

/// InfluxDB 1.x.
pub struct Influxdb {
    server: Server,
    pub port: u16,
}

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
        Influxdb { server, port }
    }

    pub fn id(&self) -> u32 {
        self.server.id()
    }

    /// The rows that a query returns: for each series its name and columns, then its values.
    pub fn query(&self, database: &str, query: &str) -> Vec<Series> {
        let path = format!("/query?db={}&epoch=ns&q={}", encode(database), encode(query));
        let body = http_get(self.port, &path);
        let answer: serde_json::Value =
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
    pub rows: Vec<Vec<serde_json::Value>>,
}

impl Series {
    /// The numbers of its rows, the first column, which is the time, aside; a bool is 0 or 1.
    pub fn numbers(&self) -> Vec<f64> {
        let values = self.rows.iter().flat_map(|row| &row[1..]);
        values.filter_map(|it| it.as_f64().or(it.as_bool().map(f64::from))).collect()
    }
}

fn tag((name, value): (&String, &serde_json::Value)) -> (String, String) {
    (name.clone(), value.as_str().unwrap().to_owned())
}

fn strings(list: &serde_json::Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|item| item.as_str().unwrap().to_owned()).collect()
}

/// Text as a part of a query in an address.
pub fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// One request to a server on loopback; the answer's body.
pub fn http_get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    // HTTP/1.0: the body comes in one piece and ends with the connection.
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    body.to_owned()
}

/// One request to a server on loopback; the answer's body, after a status of 2xx.
pub fn http_post(port: u16, path: &str, body: &str) -> String {
    http_post_as(port, path, "application/x-www-form-urlencoded", body)
}

/// The same with a body of this kind.
pub fn http_post_as(port: u16, path: &str, kind: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let length = body.len();
    let head = format!("POST {path} HTTP/1.0\r\nContent-Length: {length}\r\nContent-Type: {kind}");
    stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.0 2"), "{path}: {answer}");
    answer
}
