//! The lab of tests/lab: raised by the test that needs it, ended with it.
//!
//! Each test has a lab of its own: one costs about a second, and guests of another test would stand
//! in every output. It is tied to the test's process by a pipe, so that it ends even when that dies.

use super::process::{Finished, run};
use super::repository;
use super::turn::Turn;
use super::{lines, skip};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use tempfile::TempDir;

pub struct Lab {
    folder: PathBuf,
    /// The lab lives as long as this is open.
    _tie: ChildStdin,
    scratch: TempDir,
    /// Let go of last, when the lab is down.
    _turn: Option<Turn>,
}

impl Lab {
    /// A fresh lab; none, said aloud, where this machine or user cannot have one. Its libvirt is the
    /// machine's own, or of the release of Debian that LAB_RELEASE names.
    pub fn require(test: &str) -> Option<Lab> {
        Lab::require_release(test, &std::env::var("LAB_RELEASE").unwrap_or_default())
    }

    /// A fresh lab of this release of Debian; empty: the machine's own.
    pub fn require_release(test: &str, release: &str) -> Option<Lab> {
        Lab::require_so(test, &[("LAB_RELEASE", release)])
    }

    /// A fresh lab whose guests have control groups of their own, as on a real host.
    pub fn require_with_groups(test: &str) -> Option<Lab> {
        let release = std::env::var("LAB_RELEASE").unwrap_or_default();
        Lab::require_so(test, &[("LAB_RELEASE", &release), ("LAB_CGROUPS", "1")])
    }

    /// A fresh lab whose guests have none.
    pub fn require_without_groups(test: &str) -> Option<Lab> {
        let release = std::env::var("LAB_RELEASE").unwrap_or_default();
        Lab::require_so(test, &[("LAB_RELEASE", &release), ("LAB_CGROUPS", "")])
    }

    fn require_so(test: &str, settings: &[(&str, &str)]) -> Option<Lab> {
        let can = run(Command::new(script()).arg("can").envs(settings.iter().copied()));
        if can.status.success() {
            return Some(Lab::up(settings));
        }
        let why = can.stderr.trim().lines().last().unwrap_or_default();
        skip(test, why.trim_start_matches("lab: ").trim_start_matches("debian: "));
        None
    }

    fn up(settings: &[(&str, &str)]) -> Lab {
        let turn = Turn::beside_others();
        // Paths of sockets are short: next to the top, and a name of few letters.
        let scratch = tempfile::Builder::new().prefix("tv-").tempdir().unwrap();
        let folder = scratch.path().join("lab");
        let mut child = Command::new(script())
            .args(["up".as_ref(), folder.as_os_str(), "--tied".as_ref()])
            .envs(settings.iter().copied())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let tie = child.stdin.take().unwrap();
        let status = child.wait().unwrap();
        assert!(status.success(), "lab up {}: {status}", folder.display());
        Lab { folder, _tie: tie, scratch, _turn: turn }
    }

    /// A folder that goes with the lab, for the test's own files.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// The read-only socket's URI: what the program is to be given.
    pub fn uri(&self) -> String {
        self.socket_uri("libvirt-sock-ro")
    }

    /// The read-write socket's URI.
    pub fn write_uri(&self) -> String {
        self.socket_uri("libvirt-sock")
    }

    fn socket_uri(&self, socket: &str) -> String {
        format!("qemu+unix:///system?socket={}/run/{socket}", self.folder.display())
    }

    /// The lab's own folder, which has those that its libvirtd knows as /etc/libvirt, /run/libvirt and so on.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A file below /var/lib/libvirt/images, by the name that this side knows it by.
    pub fn image(&self, name: &str) -> PathBuf {
        self.folder.join("lib/images").join(name)
    }

    fn lab(&self, command: &str, arguments: &[&str]) -> Finished {
        run(Command::new(script()).arg(command).arg(&self.folder).args(arguments)).success()
    }

    /// A command that runs these words in the lab's namespaces.
    pub fn inside_command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(script());
        command.arg("ns").arg(&self.folder).args(words);
        command
    }

    /// Runs a command in the lab's namespaces, and returns what it printed.
    pub fn inside(&self, command: &[&str]) -> String {
        self.lab("ns", command).stdout
    }

    /// A paused guest; returns its uuid.
    pub fn paused(&self, name: &str, nics: u32, disks: u32) -> String {
        let arguments = [name, &nics.to_string(), &disks.to_string()];
        self.lab("paused", &arguments).stdout.trim().to_owned()
    }

    /// Paused guests fleet-01 and on; returns their uuids.
    pub fn fleet(&self, count: u32, nics: u32, disks: u32) -> Vec<String> {
        let arguments = [count, nics, disks].map(|number| number.to_string());
        let arguments = arguments.each_ref().map(String::as_str);
        self.lab("fleet", &arguments).stdout.lines().map(str::to_owned).collect()
    }

    /// A Linux guest whose disk, tap and balloon figures move; returns its uuid.
    pub fn linux(&self, name: &str) -> String {
        self.lab("linux", &[name]).stdout.trim().to_owned()
    }

    /// Sends UDP packets towards the guest behind a tap.
    pub fn send(&self, tap: &str, packets: u32, bytes: u32) {
        self.lab("send", &[tap, &packets.to_string(), &bytes.to_string()]);
    }

    /// virsh on the read-write socket; returns what it printed.
    pub fn virsh(&self, arguments: &[&str]) -> String {
        run(Command::new("virsh").args(["-q", "-c", &self.write_uri()]).args(arguments))
            .success()
            .stdout
    }

    /// A virsh that runs the commands of its standard input, one after another over one connection.
    pub fn virsh_shell(&self) -> Child {
        Command::new("virsh")
            .args(["-q", "-c", &self.write_uri()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Whether its libvirt is the one that the pages are about, Debian 12's.
    pub fn is_of_libvirt_9(&self) -> bool {
        self.versions().contains("libvirt 9.")
    }

    /// What the lab runs: `libvirtd of libvirt 9.0.0, QEMU 7.2.22`.
    pub fn versions(&self) -> String {
        let text = self.virsh(&["version", "--daemon"]);
        let version = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.rsplit(' ').next().unwrap_or_default().to_owned()
        };
        format!(
            "{} of libvirt {}, QEMU {}",
            std::fs::read_to_string(self.folder.join("daemon")).unwrap().trim(),
            version("Running against daemon:"),
            version("Running hypervisor:")
        )
    }

    /// Whether its libvirt is at least this one.
    pub fn has_libvirt(&self, major: u32, minor: u32) -> bool {
        let text = self.versions();
        let (_, version) = text.split_once("libvirt ").unwrap();
        let mut numbers = version.split(['.', ',']).map_while(|it| it.parse::<u32>().ok());
        (numbers.next().unwrap(), numbers.next().unwrap()) >= (major, minor)
    }

    /// virsh with a device's XML.
    pub fn virsh_device(&self, command: &str, guest: &str, xml: &str) {
        let file = self.scratch().join("device.xml");
        std::fs::write(&file, xml).unwrap();
        self.virsh(&[command, guest, file.to_str().unwrap()]);
    }

    /// What virsh says of a guest now.
    pub fn stats(&self, guest: &str) -> Stats {
        let groups = ["--state", "--cpu-total", "--balloon", "--vcpu", "--interface", "--block"];
        let mut arguments = vec!["domstats", "--raw"];
        arguments.extend(groups);
        arguments.push(guest);
        Stats::read(&self.virsh(&arguments))
    }

    /// All that virsh says of a guest now, in every group that there is.
    pub fn all_stats(&self, guest: &str) -> Stats {
        Stats::read(&self.virsh(&["domstats", "--raw", guest]))
    }

    /// Signals the QEMU process of a guest.
    pub fn signal_qemu(&self, signal: &str, guest: &str) {
        let name = self.virsh(&["domname", guest]);
        self.signal(signal, &format!("/run/libvirt/qemu/{}.pid", name.trim()));
    }

    pub fn signal_libvirtd(&self, signal: &str) {
        self.signal(signal, "/run/libvirt/libvirtd.pid");
    }

    /// Signals the process whose number this file of the lab holds.
    fn signal(&self, signal: &str, file: &str) {
        let pid = self.inside(&["cat", file]);
        self.inside(&["kill", signal, pid.trim()]);
    }

    /// Mounts control groups, has QEMU's driver use them, and starts libvirtd anew, which looks for them then.
    /// Those of a guest are outside of the lab, until it ends.
    pub fn with_control_groups(&self) {
        let groups = "mount -t tmpfs tmpfs /sys/fs/cgroup
            if mount -t cgroup -o memory cgroup /sys/fs/cgroup 2>/dev/null; then
                umount /sys/fs/cgroup
                for group in cpu cpuacct cpuset memory devices freezer blkio; do
                    mkdir /sys/fs/cgroup/$group
                    mount -t cgroup -o $group cgroup /sys/fs/cgroup/$group || rmdir /sys/fs/cgroup/$group
                done
            else
                mount -t cgroup2 cgroup2 /sys/fs/cgroup
            fi
            sed -i 's/^cgroup_controllers.*/cgroup_controllers = [\"cpu\", \"cpuacct\", \"memory\", \"blkio\"]/' \
                /etc/libvirt/qemu.conf
            pkill libvirtd";
        self.inside(&["sh", "-euc", groups]);
        self.start_libvirtd();
    }

    /// Starts libvirtd again, once the one before has ended; one that does not end is killed.
    pub fn start_libvirtd(&self) {
        self.lab("daemon", &[]);
    }

    /// The targets of a guest's cdrom and floppy drives.
    pub fn drives(&self, guest: &str) -> Vec<String> {
        // Columns: type, device, target, source.
        let list = self.virsh(&["domblklist", "--details", guest]);
        list.lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|columns| matches!(columns[1], "cdrom" | "floppy"))
            .map(|columns| columns[2].to_owned())
            .collect()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Not `lab`: a failed assertion in a drop would hide the test's own.
        let down = run(Command::new(script()).arg("down").arg(&self.folder));
        if !down.status.success() {
            super::say(&down.to_string());
        }
    }
}

fn script() -> PathBuf {
    repository().join("tests/lab/lab")
}

/// `virsh domstats --raw` of one guest.
#[derive(Clone, Debug, PartialEq)]
pub struct Stats(Vec<(String, String)>);

impl Stats {
    fn read(raw: &str) -> Stats {
        let pairs = raw.lines().filter(|line| line.starts_with("  "));
        Stats(
            pairs
                .map(|line| {
                    let (key, value) = line.trim_start().split_once('=').unwrap();
                    (key.to_owned(), value.to_owned())
                })
                .collect(),
        )
    }

    /// Every statistic and its value, in libvirt's order.
    pub fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Adds a number that it does not have.
    pub fn add(&mut self, key: &str, number: i64) {
        self.0.push((key.to_owned(), number.to_string()));
    }

    pub fn find(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// A number; 0 where libvirt does not give it.
    pub fn number(&self, key: &str) -> i64 {
        self.find(key).map_or(0, |value| value.parse().unwrap())
    }

    /// The devices of a group, `net` or `block`, that have a name: (index, name), in libvirt's order.
    pub fn devices(&self, group: &str) -> Vec<(usize, String)> {
        let count = usize::try_from(self.number(&format!("{group}.count"))).unwrap();
        (0..count)
            .filter_map(|index| {
                Some((index, self.find(&format!("{group}.{index}.name"))?.to_owned()))
            })
            .collect()
    }
}

/// Everything a guest's lines can be compared with.
pub struct Guest {
    pub uuid: String,
    /// As libvirt has it.
    pub name: String,
    pub id: String,
    drives: Vec<String>,
}

impl Guest {
    pub fn look(lab: &Lab, uuid: &str) -> Guest {
        Guest {
            uuid: uuid.to_owned(),
            name: lab.virsh(&["domname", uuid]).trim_end_matches('\n').to_owned(),
            id: lab.virsh(&["domid", uuid]).trim().to_owned(),
            drives: lab.drives(uuid),
        }
    }

    /// Whether its cdrom or floppy drive has this target.
    pub fn is_drive(&self, target: &str) -> bool {
        self.drives.iter().any(|drive| drive == target)
    }

    /// The guest's disks in libvirt's order, without cdrom and floppy drives.
    pub fn disks(&self, stats: &Stats) -> Vec<(usize, String)> {
        let mut disks = stats.devices("block");
        disks.retain(|(_, name)| !self.drives.contains(name));
        disks
    }

    /// The titles that this guest's lines must have, in order.
    pub fn titles(&self, tag: &str, stats: &Stats, features: bool) -> Vec<String> {
        let mut titles = vec![format!("vm_metrics {tag}")];
        if features {
            titles.push(format!("vm_features {tag}"));
        }
        for (_, device) in stats.devices("net").iter().chain(&self.disks(stats)) {
            titles.push(format!("vm_devices {tag} {device}"));
        }
        titles.push(format!("vm_totals {tag}"));
        titles
    }
}

/// The titles of lines, as [`Guest::titles`] has them.
pub fn titles(lines: &[lines::Line]) -> Vec<String> {
    lines.iter().map(lines::Line::title).collect()
}
