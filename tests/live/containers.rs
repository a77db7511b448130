//! A container of libvirt's LXC driver: what its figures are called there differs from QEMU's. In the long form only
//! (ISOLATION=long), since it makes control groups outside of the lab.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::lab::Lab;
use crate::support::lines::read;
use crate::support::process::run;
use crate::support::program::program;
use crate::support::repository;
use crate::support::{say, wait_until};

/// A busybox with nothing beside it, as the root of a container.
fn root(lab: &Lab) -> String {
    let fetch = repository().join("tests/lab/fetch");
    let package = run(Command::new(fetch).arg("busybox-static")).success().stdout;
    let root = lab.scratch().join("box");
    for folder in ["bin", "proc", "sys", "dev", "etc"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::copy(Path::new(package.trim()).join("usr/bin/busybox"), root.join("bin/busybox")).unwrap();
    symlink("busybox", root.join("bin/sh")).unwrap();
    let init = root.join("bin/init");
    fs::write(&init, "#!/bin/sh\nwhile :; do /bin/busybox sleep 0.2; done\n").unwrap();
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).unwrap();
    root.display().to_string()
}

#[test]
fn a_container_has_its_state_its_memory_and_its_cpu_time() {
    if std::env::var("ISOLATION").is_ok_and(|form| form == "long") {
        // Debian 12's driver is not among what the tests install.
        let release = std::env::var("LAB_RELEASE").unwrap_or_else(|_| "trixie".into());
        let Some(lab) = Lab::require_release("containers", &release) else { return };
        holds(&lab);
    } else {
        say("containers: only in the long form");
    }
}

fn holds(lab: &Lab) {
    lab.with_control_groups();
    let write = lab.write_uri().replacen("qemu", "lxc", 1);
    let virsh = |arguments: &[&str]| {
        run(Command::new("virsh").args(["-q", "-c", &write]).args(arguments)).success().stdout
    };
    let xml = lab.scratch().join("box.xml");
    let text = format!(
        "<domain type='lxc'><name>box</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>\
         <os><type>exe</type><init>/bin/init</init></os><devices>\
         <filesystem type='mount'><source dir='{}'/><target dir='/'/></filesystem>\
         <console type='pty'/></devices></domain>",
        root(lab)
    );
    fs::write(&xml, text).unwrap();
    wait_until("libvirtd is there", Duration::from_secs(20), || {
        let list = run(Command::new("virsh").args(["-q", "-c", &write, "list"]));
        list.status.success().then_some(())
    });
    virsh(&["create", xml.to_str().unwrap()]);
    let cpu = || {
        // In seconds, with nine places.
        let text = virsh(&["cpu-stats", "box", "--total"]);
        let line = text.lines().find(|line| line.trim_start().starts_with("cpu_time")).unwrap();
        let words = line.split_whitespace().nth(1).unwrap().replace('.', "");
        words.parse::<i64>().unwrap()
    };
    let before = cpu();
    let mut command = program(lab.scratch());
    let uri = lab.uri().replacen("qemu", "lxc", 1);
    let finished = run(command.args(["once", "--no-cache", "--uri", &uri])).success();
    let after = cpu();
    let settings = lab.scratch().join("omit.toml");
    fs::write(&settings, "missing = \"omit\"\n").unwrap();
    let mut command = program(lab.scratch());
    command.arg("--config").arg(settings).args(["once", "--no-cache", "--uri", &uri]);
    let omitting = run(&mut command).success();
    virsh(&["destroy", "box"]);
    let lines = read(&finished.stdout);
    let [metrics, totals] = &lines[..] else { panic!("{finished}") };
    assert_eq!((metrics.text("state"), totals.int("state")), ("running", 1));
    assert_eq!((metrics.int("cpu_count"), metrics.int("memory_max_kb")), (1, 64 << 10));
    for time in [metrics.int("cputime_ns"), totals.int("cputime")] {
        assert!(before > 0 && (before..=after).contains(&time), "{before} {time} {after}");
    }
    // What it has been given is one figure, what it uses another; LXC counts no swapping.
    assert_eq!((totals.int("memactual"), metrics.int("memory_used_kb")), (64 << 10, 64 << 10));
    let used = totals.int("memrss");
    assert!(used > 0 && used < 64 << 10, "{totals:?}");
    assert_eq!(totals.int("memswap_in"), 0, "{totals:?}");
    // What LXC does not offer is left out where that is wanted; so are the sums of a container that has no device of
    // its own: its files are no disk, and its network is the host's.
    let omitted = read(&omitting.stdout);
    let [short, sums] = &omitted[..] else { panic!("{omitting}") };
    assert_eq!(short.field_names(), metrics.field_names());
    let offered = ["memactual", "memrss", "timeusr", "timesys", "cpus", "cputime", "state"];
    assert_eq!(sums.field_names(), offered.map(String::from));
    say(&format!("containers: {} {}", metrics.title(), totals.title()));
}
