//! What rights the program needs, tried: a user in no group, on the read-only socket; and that user's own
//! libvirtd, with a guest of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::support::lab::Lab;
use crate::support::lines::{Line, Value, find, read};
use crate::support::process::{Finished, run};
use crate::support::program::{PROGRAM, once};
use crate::support::{say, skip, wait_until};

/// nobody's number: in no group, owner of nothing.
const USER: &str = "65534";

/// A user with folders of its own in the lab's scratch folder, and nothing else.
struct Nobody {
    lab: Lab,
    program: PathBuf,
}

impl Nobody {
    fn require(test: &str) -> Option<Nobody> {
        let lab = Lab::require(test)?;
        if !run(Command::new("setpriv").arg("--version")).status.success() {
            skip(test, "no setpriv");
            return None;
        }
        // Others may pass through to the lab's socket; and where the program was built they may not.
        fs::set_permissions(lab.scratch(), fs::Permissions::from_mode(0o711)).unwrap();
        let program = lab.scratch().join("telegraf-virt");
        fs::copy(PROGRAM, &program).unwrap();
        let settings = lab.scratch().join("empty.toml");
        fs::write(&settings, "").unwrap();
        for (file, mode) in [(&program, 0o755), (&settings, 0o644)] {
            fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
        }
        let nobody = Nobody { lab, program };
        for folder in ["home", "run", "home/config", "home/cache", "home/data"] {
            let folder = nobody.path(folder);
            let options = ["-d", "-m", "700", "-o", USER, "-g", USER];
            run(as_root("install").args(options).arg(folder)).success();
        }
        Some(nobody)
    }

    fn path(&self, name: &str) -> String {
        self.lab.scratch().join(name).display().to_string()
    }

    /// The words before a command that this user shall run, for a process of root's.
    fn words(&self) -> Vec<String> {
        let mut words: Vec<String> =
            ["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups", "env", "-i"]
                .map(str::to_owned)
                .into();
        let path = std::env::var("PATH").unwrap();
        words.push(format!("PATH={path}:/usr/sbin:/sbin"));
        for (variable, folder) in [
            ("TELEGRAF_VIRT_CONFIG", "empty.toml"),
            ("HOME", "home"),
            ("XDG_RUNTIME_DIR", "run"),
            ("XDG_CONFIG_HOME", "home/config"),
            ("XDG_CACHE_HOME", "home/cache"),
            ("XDG_DATA_HOME", "home/data"),
        ] {
            words.push(format!("{variable}={}", self.path(folder)));
        }
        words
    }

    fn run(&self, command: &[&str]) -> Finished {
        let words = self.words();
        run(as_root(&words[0]).args(&words[1..]).args(command).current_dir("/"))
    }

    /// The same in the lab's namespaces, so that what stays behind ends with the lab.
    fn inside(&self, command: &[&str]) -> String {
        let words = self.words();
        let mut all: Vec<&str> = words.iter().map(String::as_str).collect();
        all.extend(command);
        self.lab.inside(&all)
    }

    fn once(&self, options: &[&str]) -> Finished {
        let mut command = vec![self.program.to_str().unwrap(), "once"];
        command.extend(options);
        let finished = self.run(&command).success();
        assert_eq!(finished.stderr, "", "{finished}");
        finished
    }
}

fn as_root(program: &str) -> Command {
    if nix::unistd::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["-n", program]);
    command
}

/// The lines as they stand, without timestamps and without the values that move on a paused guest.
fn still(output: &str) -> Vec<String> {
    let moving = ["cputime_ns=", "cputime=", "timeusr=", "timesys=", "memrss="];
    output
        .lines()
        .map(|line| {
            let (line, _) = line.rsplit_once(' ').unwrap();
            let (tags, fields) = line.rsplit_once(' ').unwrap();
            let fields: Vec<&str> = fields
                .split(',')
                .map(|field| {
                    moving.into_iter().find(|name| field.starts_with(name)).unwrap_or(field)
                })
                .collect();
            format!("{tags} {}", fields.join(","))
        })
        .collect()
}

#[test]
fn a_user_in_no_group_reads_all_that_root_reads() {
    let Some(nobody) = Nobody::require("rights, no group") else { return };
    let lab = &nobody.lab;
    let guest = lab.paused("one", 2, 3);
    let tap = lab.stats(&guest).devices("net")[0].1.clone();
    lab.send(&tap, 1, 300);
    // It may do nothing else: neither is it in a group, nor does the other socket let it in.
    assert_eq!(nobody.run(&["id", "-G"]).success().stdout.trim(), USER);
    let writable = lab.uri().replace("libvirt-sock-ro", "libvirt-sock");
    let refused = nobody.run(&["virsh", "-c", &writable, "list"]).code(1);
    assert!(refused.stderr.contains("Permission denied"), "{refused}");

    let uri = lab.uri();
    let cache = lab.scratch().join("cache-of-root");
    let mut compared = 0;
    // Without and with vm_features.
    for lines in [7, 8] {
        let of_root = once(lab, &cache, &[]).stdout;
        let of_nobody = nobody.once(&["--uri", &uri]).stdout;
        assert_eq!(still(&of_nobody), still(&of_root));
        assert_eq!(still(&of_nobody).len(), lines, "{of_nobody}");
        let line = read(&of_nobody).into_iter().find(|line| line.find_tag("device") == Some(&tap));
        assert_eq!(line.unwrap().int("rxbytes"), 342, "300 bytes and three headers");
        compared += read(&of_nobody).iter().map(|line| line.fields.len()).sum::<usize>();
    }
    let check = nobody.run(&[nobody.program.to_str().unwrap(), "check", "--uri", &uri]).success();
    assert!(check.stdout.contains("1 of 1 guests read"), "{check}");
    say(&format!("rights: {compared} fields as root has them, for a user in no group"));
}

#[test]
fn the_session_uri_reads_the_guests_of_that_user_and_of_no_other() {
    let Some(nobody) = Nobody::require("rights, session") else { return };
    let lab = &nobody.lab;
    lab.paused("of the system", 1, 1);
    // A libvirtd and a guest of this user's. Output of QEMU to plain files spares a virtlogd.
    let written = |name: &str, text: &str| {
        let file = lab.scratch().join("new");
        fs::write(&file, text).unwrap();
        let owned = nobody.path(&format!("home/{name}"));
        let options = ["-m", "600", "-o", USER, "-g", USER];
        run(as_root("install").args(options).arg(file).arg(&owned)).success();
        owned
    };
    nobody.inside(&["mkdir", &nobody.path("home/config/libvirt")]);
    written("config/libvirt/qemu.conf", "stdio_handler = \"file\"\n");
    let disk = written("disk.raw", &"\0".repeat(1 << 20));
    let guest = written(
        "guest.xml",
        &format!(
            "<domain type='qemu'><name>own</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>\
             <os><type arch='x86_64' machine='pc'>hvm</type></os><devices>\
             <disk type='file' device='disk'><driver name='qemu' type='raw'/>\
             <source file='{disk}'/><target dev='vda' bus='virtio'/></disk>\
             <interface type='user'><model type='virtio'/></interface>\
             <memballoon model='virtio'/></devices></domain>"
        ),
    );
    nobody.inside(&["libvirtd", "-d"]);
    let session = "qemu:///session";
    nobody.inside(&["virsh", "-q", "-c", session, "create", "--paused", &guest]);
    let uuid = nobody.inside(&["virsh", "-r", "-c", session, "domuuid", "own"]).trim().to_owned();

    let first = read(&nobody.once(&["--uri", session]).stdout);
    let titles: Vec<String> = first.iter().map(Line::title).collect();
    // No line for the NIC: user-mode networking has no counters.
    assert_eq!(titles, ["vm_metrics own", "vm_devices own vda", "vm_totals own"]);
    let second = read(&nobody.once(&["--uri", session]).stdout);
    assert_eq!(second.len(), 4, "with vm_features: {second:?}");
    let metrics = find(&second, &uuid, "vm_metrics", None).unwrap();
    assert_eq!(metrics.text("state"), "paused");
    assert_eq!(metrics.field("memory_used_kb"), &Value::Int(16384));
    assert!(metrics.int("cputime_ns") > 0, "{metrics:?}");
    assert!(find(&second, &uuid, "vm_totals", None).unwrap().int("memrss") > 0);

    let system = read(&once(lab, &lab.scratch().join("cache-of-root"), &[]).stdout);
    assert!(system.iter().all(|line| line.tag("name") == "of the system"), "{system:?}");
    assert_eq!(system.len(), 4);

    for file in ["run/libvirt/qemu/run/own.pid", "run/libvirt/libvirtd.pid"] {
        let pid = lab.inside(&["cat", &nobody.path(file)]);
        lab.inside(&["kill", pid.trim()]);
        wait_until("its end", Duration::from_secs(60), || {
            let left = lab.inside(&["sh", "-c", &format!("kill -0 {} 2>&1 || true", pid.trim())]);
            left.contains("No such process").then_some(())
        });
    }
    say("rights: a session's own guest, 3 lines, then 4 with vm_features");
}
