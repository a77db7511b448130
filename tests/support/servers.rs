//! Real servers on loopback, each with a folder of its own, that end with their test.

use super::lab::Lab;
use super::program::{PROGRAM, without_settings};
use super::repository;
use super::{skip, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
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

/// One GET from a server on loopback; the answer's body.
pub fn http_get(port: u16, path: &str) -> String {
    http_get_with(port, path, "")
}

/// The same with more lines in its head, each with its end.
pub fn http_get_with(port: u16, path: &str, head: &str) -> String {
    body(&response(port, &format!("GET {path}"), head, ""))
}

/// One POST to a server on loopback; the answer's body, after a status of 2xx.
pub fn http_post(port: u16, path: &str, body: &str) -> String {
    http_post_with(port, path, "Content-Type: application/x-www-form-urlencoded\r\n", body)
}

/// The same with other lines in its head, each with its end.
pub fn http_post_with(port: u16, path: &str, head: &str, content: &str) -> String {
    let head = format!("Content-Length: {}\r\n{head}", content.len());
    let answer = response(port, &format!("POST {path}"), &head, content);
    assert!(answer.starts_with("HTTP/1.0 2"), "{path}: {answer}");
    body(&answer)
}

fn body(answer: &str) -> String {
    let (head, mut rest) = answer.split_once("\r\n\r\n").unwrap();
    if !head.to_lowercase().contains("\r\ntransfer-encoding: chunked") {
        return rest.to_owned();
    }
    // QuestDB sends pieces to whomever: each after its length, and an empty one at the end.
    let mut body = String::new();
    while let Some((length, more)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        body += &more[..length];
        rest = more[length..].trim_start_matches("\r\n");
    }
    body
}

/// A request's whole answer: its head, an empty line, its body.
pub fn response(port: u16, request: &str, head: &str, content: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    // HTTP/1.0: the body comes in one piece and ends with the connection.
    let text = format!("{request} HTTP/1.0\r\n{head}\r\n{content}");
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
