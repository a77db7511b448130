//! The other tools, as their users run them, and the program beside them: what each needs to be started,
//! and where in its output a guest's figures are.

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use super::clocks;
use super::contenders::{Contender, Cost, REST, pid};
use super::host::Host;
use super::support::process::run;
use super::support::program::{PROGRAM, without_settings};

pub const GROUPS: [&str; 6] =
    ["--state", "--cpu-total", "--balloon", "--vcpu", "--interface", "--block"];

/// A tool that is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    Execd,
    UnderTelegraf,
    Virsh,
    VirshNowait,
    TelegrafLibvirt,
    Exporter,
    Collectd,
}

pub const ALL: [Peer; 7] = [
    Peer::Execd,
    Peer::UnderTelegraf,
    Peer::Virsh,
    Peer::VirshNowait,
    Peer::TelegrafLibvirt,
    Peer::Exporter,
    Peer::Collectd,
];

impl Peer {
    pub fn name(self) -> &'static str {
        match self {
            Peer::Execd => "telegraf-virt execd",
            Peer::UnderTelegraf => "Telegraf with telegraf-virt",
            Peer::Virsh => "virsh domstats",
            Peer::VirshNowait => "virsh domstats --nowait",
            Peer::TelegrafLibvirt => "Telegraf with inputs.libvirt",
            Peer::Exporter => "prometheus-libvirt-exporter",
            Peer::Collectd => "collectd's virt",
        }
    }

    /// Whether what it needs is here.
    pub fn is_here(self) -> bool {
        let needed = match self {
            Peer::Execd | Peer::Virsh | Peer::VirshNowait => return true,
            Peer::UnderTelegraf | Peer::TelegrafLibvirt => "TELEGRAF",
            Peer::Exporter => "EXPORTER",
            Peer::Collectd => "COLLECTD",
        };
        env::var_os(needed).is_some()
    }

    /// Its version, as its package or its folder tells it.
    pub fn version(self, machine: &serde_json::Value) -> String {
        match self {
            Peer::Execd => env!("CARGO_PKG_VERSION").to_owned(),
            Peer::Virsh | Peer::VirshNowait => machine["libvirt"].as_str().unwrap().to_owned(),
            Peer::UnderTelegraf | Peer::TelegrafLibvirt => {
                let program = program_of("TELEGRAF");
                let folder = program.parent().and_then(Path::file_name).unwrap_or_default();
                // telegraf-v1.39.3-…
                let version = folder.to_str().and_then(|name| name.split('-').nth(1));
                version.unwrap_or("unknown").trim_start_matches('v').to_owned()
            }
            Peer::Exporter => {
                let program = program_of("EXPORTER");
                package_version(program.ancestors().nth(3).unwrap(), "prometheus-libvirt-exporter")
            }
            Peer::Collectd => package_version(&program_of("COLLECTD"), "collectd-core"),
        }
    }

    /// The guest whose disk figures stand in a line; `domain` is what an earlier line named.
    pub fn guest(self, line: &str, domain: &mut String) -> Option<String> {
        let between =
            |start: &str, end: &[char]| Some(line.split_once(start)?.1.split_once(end)?.0);
        let name = match self {
            Peer::Execd | Peer::UnderTelegraf => {
                let is_whole = line.starts_with("vm_totals,") && line.contains("disk_rd_req=");
                between(",name=", &[',']).filter(|_| is_whole)
            }
            Peer::Virsh | Peer::VirshNowait => {
                if let Some(name) = between("Domain: '", &['\'']) {
                    name.clone_into(domain);
                }
                line.contains("block.0.rd.reqs=").then_some(domain.as_str())
            }
            Peer::TelegrafLibvirt => between("domain_name=", &[',', ' '])
                .filter(|_| line.starts_with("libvirt_block,") && line.contains("rd_reqs=")),
            Peer::Exporter => {
                between("libvirt_domain_block_stats_read_bytes_total{domain=\"", &['"'])
            }
            Peer::Collectd => between("PUTVAL ", &['/']).filter(|_| line.contains("/disk_octets-")),
        };
        name.map(str::to_owned)
    }

    /// Whether a line is one that each guest has once a collection; of those that collect on their own.
    pub fn is_once_a_guest(self, line: &str) -> bool {
        match self {
            Peer::TelegrafLibvirt => line.starts_with("libvirt_state,"),
            Peer::Collectd => line.contains("/virt_cpu_total "),
            _ => line.starts_with("vm_totals,"),
        }
    }
}

/// `virsh domstats` of what the program asks for.
pub fn virsh(host: &Host, options: &[&str]) -> Command {
    let mut command = Command::new("virsh");
    command.args(["-r", "-c", &host.uri, "domstats", "--raw"]).args(GROUPS).args(options);
    command
}

fn program_of(variable: &str) -> PathBuf {
    PathBuf::from(env::var_os(variable).unwrap())
}

/// The version of an unpacked Debian package: its changelog begins with "name (version) ...".
fn package_version(folder: &Path, package: &str) -> String {
    let file = folder.join(format!("usr/share/doc/{package}/changelog.Debian.gz"));
    let text = run(Command::new("zcat").arg(file)).stdout;
    let version = text.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
    version.map_or("unknown", |(version, _)| version).to_owned()
}

/// A Telegraf with this input and its own figures, that collects each second.
fn telegraf(host: &Host, input: &str) -> Command {
    let file = host.scratch.join("telegraf.conf");
    let text = format!(
        "[agent]\ninterval = \"1s\"\nflush_interval = \"1s\"\nomit_hostname = true\nquiet = true\n\
         [[inputs.internal]]\ncollect_memstats = false\n\
         [[outputs.file]]\nfiles = [\"stdout\"]\n{input}"
    );
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new(program_of("TELEGRAF"));
    without_settings(&mut command, &host.scratch);
    command.arg("--config").arg(file);
    command
}

/// A collectd that reads each second and writes what it reads to standard output.
fn collectd(host: &Host, plugin: &str) -> Command {
    let folder = program_of("COLLECTD");
    let scratch = host.scratch.display();
    let text = format!(
        "BaseDir \"{scratch}\"\nPIDFile \"{scratch}/collectd.pid\"\n\
         PluginDir \"{0}/usr/lib/collectd\"\nTypesDB \"{0}/usr/share/collectd/types.db\"\n\
         Hostname \"bench\"\nFQDNLookup false\nInterval 1\n\
         LoadPlugin logfile\n<Plugin logfile>\nLogLevel err\nFile \"{scratch}/collectd.log\"\n</Plugin>\n\
         LoadPlugin csv\n<Plugin csv>\nDataDir \"stdout\"\n</Plugin>\n{plugin}",
        folder.display()
    );
    let file = host.scratch.join("collectd.conf");
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new(folder.join("usr/sbin/collectd"));
    command.arg("-f").arg("-C").arg(file);
    command
}

/// One that runs with what it needs around it, but reads no guest; for what it costs at rest.
pub fn idle(host: &Host, peer: Peer) -> Option<Stream> {
    match peer {
        Peer::UnderTelegraf | Peer::TelegrafLibvirt => Some(Stream::of(telegraf(host, ""))),
        Peer::Collectd => Some(Stream::of(collectd(host, ""))),
        _ => None,
    }
}

/// One that collects each second.
pub fn stream(host: &Host, peer: Peer) -> Stream {
    // Telegraf's plugin opens its connection for writing, whatever the socket; this is what it does by itself.
    let writable = host.uri.replace("libvirt-sock-ro", "libvirt-sock");
    match peer {
        Peer::Execd => {
            let mut stream = Stream::of(host.program("execd", "peer", &[]));
            let mut stdin = stream.child.stdin.take().unwrap();
            spawn(move || {
                while stdin.write_all(b"\n").is_ok() {
                    sleep(Duration::from_secs(1));
                }
            });
            stream
        }
        Peer::UnderTelegraf => {
            let cache = host.scratch.join("under");
            let input = format!(
                "[[inputs.execd]]\ncommand = [{PROGRAM:?}, \"execd\", \"--uri\", {:?}, \"--cache-dir\", {cache:?}]\n\
                 signal = \"STDIN\"\ndata_format = \"influx\"\n",
                host.uri
            );
            Stream::of(telegraf(host, &input))
        }
        Peer::Virsh => Stream::of(each_second(&virsh(host, &[]))),
        Peer::VirshNowait => Stream::of(each_second(&virsh(host, &["--nowait"]))),
        Peer::TelegrafLibvirt => {
            let input = format!(
                "[[inputs.libvirt]]\nlibvirt_uri = {writable:?}\n\
                 statistics_groups = [\"state\", \"cpu_total\", \"balloon\", \"vcpu\", \"interface\", \"block\"]\n"
            );
            Stream::of(telegraf(host, &input))
        }
        Peer::Exporter => {
            let (command, port) = exporter(host);
            let stream = Stream::of(command);
            let lines = Arc::clone(&stream.lines);
            spawn(move || {
                loop {
                    // No answer once the exporter has been ended, and then nobody looks any more.
                    let Ok(text) = scrape(port) else { return };
                    let now = Instant::now();
                    lines.lock().unwrap().extend(text.lines().map(|line| (now, line.to_owned())));
                    sleep(Duration::from_secs(1));
                }
            });
            stream
        }
        Peer::Collectd => {
            let plugin = format!(
                "LoadPlugin virt\n<Plugin virt>\nConnection \"{}\"\nHostnameFormat name\n</Plugin>\n",
                host.uri
            );
            Stream::of(collectd(host, &plugin))
        }
    }
}

/// A shell that runs a command again and again.
fn each_second(command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", "while :; do \"$@\"; sleep 1; done", "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    shell
}

/// What a process printed, with the moment at which each line came.
pub struct Stream {
    child: Child,
    pub lines: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl Stream {
    fn of(mut command: Command) -> Stream {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let list = Arc::clone(&lines);
        spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                list.lock().unwrap().push((Instant::now(), line));
            }
        });
        Stream { child, lines }
    }

    /// It, and the processes that it has started: those of its group.
    fn family(&self) -> Vec<i32> {
        let own = self.child.id().to_string();
        let pids = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let pid = entry.unwrap().file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // Behind the command's name, which may hold anything: state, parent, group.
            let group = stat.rsplit_once(") ")?.1.split(' ').nth(2)?;
            (group == own).then_some(pid)
        });
        pids.collect()
    }

    pub fn cpu_ns(&self) -> u64 {
        self.family().into_iter().map(clocks::cpu_ns).sum()
    }

    pub fn peak_kib(&self) -> u64 {
        self.family().into_iter().map(clocks::peak_kib).sum()
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // The group is of this process and what it has started; one that waits for a hung guest ends only so.
        let group = Pid::from_raw(pid(&self.child));
        let _ = killpg(group, Signal::SIGTERM);
        sleep(Duration::from_millis(300));
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

/// The exporter's command, and the port that it answers on.
fn exporter(host: &Host) -> (Command, u16) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new(program_of("EXPORTER"));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    command.arg(format!("--libvirt.uri={}", host.uri));
    (command, port)
}

/// The exporter's page.
fn scrape(port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// The exporter, one scrape a collection.
pub struct Scraped {
    stream: Stream,
    port: u16,
}

impl Scraped {
    pub fn start(host: &Host) -> Scraped {
        let (command, port) = exporter(host);
        let scraped = Scraped { stream: Stream::of(command), port };
        super::support::wait_until("the exporter answers", Duration::from_secs(10), || {
            scrape(port).ok()
        });
        scraped
    }
}

impl Contender for Scraped {
    fn collect(&mut self) -> Cost {
        let cpu_ns = self.stream.cpu_ns();
        let start = Instant::now();
        let text = scrape(self.port).unwrap();
        let wall = start.elapsed();
        assert!(text.contains("libvirt_up 1"), "{text}");
        sleep(REST);
        Cost {
            wall_ns: u64::try_from(wall.as_nanos()).unwrap(),
            cpu_ns: self.stream.cpu_ns() - cpu_ns,
            peak_kib: self.stream.peak_kib(),
        }
    }
}
