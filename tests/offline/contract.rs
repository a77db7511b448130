//! Sentences of the program's contract that no other file holds, on libvirt's test driver.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::execd::Execd;
use crate::support::lines::{Line, read};
use crate::support::process::run;
use crate::support::program::program;
use crate::support::wait_until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// A host of the test driver with these guests, each with these disks.
fn host(scratch: &Path, file: &str, guests: &[&str], disks: &[&str]) -> PathBuf {
    let disks: String = disks
        .iter()
        .map(|disk| format!("<disk type='file'><source file='/d'/><target dev='{disk}'/></disk>"))
        .collect();
    let domains: String = guests
        .iter()
        .enumerate()
        .map(|(number, name)| {
            format!(
                "<domain type='test'><name>{name}</name>\
                 <uuid>00000000-0000-4000-8000-{number:012}</uuid><memory>1024</memory>\
                 <vcpu>1</vcpu><os><type>hvm</type></os><devices>{disks}</devices></domain>"
            )
        })
        .collect();
    let node = scratch.join(file);
    fs::write(&node, format!("<node>{domains}</node>")).unwrap();
    node
}

fn uri(node: &Path) -> String {
    format!("test://{}", node.display())
}

fn end(child: &mut Child, limit: Duration) -> Option<i32> {
    wait_until("it ends", limit, || child.try_wait().unwrap()).code()
}

fn names(lines: &[Line]) -> Vec<&str> {
    let metrics = lines.iter().filter(|line| line.measurement == "vm_metrics");
    metrics.map(|line| line.tag("name")).collect()
}

#[test]
fn an_interval_collects_on_its_whole_multiples_without_a_trigger() {
    let scratch = TempDir::new().unwrap();
    let node = host(scratch.path(), "node.xml", &["a"], &["vda"]);
    let mut command = program(scratch.path());
    command.args(["--no-cache", "--interval", "1s", "--uri", &uri(&node)]);
    let mut execd = Execd::of(&mut command);
    for _ in 0..3 {
        let lines = execd.collected(Instant::now()).lines;
        let past_ms = lines[0].timestamp / 1_000_000 % 1000;
        assert!(past_ms < 400, "{past_ms} ms after the second");
    }
}

#[test]
fn input_that_ends_before_any_trigger_is_told_once_with_and_without_an_interval() {
    for interval in [&[][..], &["--interval", "1h"]] {
        let scratch = TempDir::new().unwrap();
        let mut command = program(scratch.path());
        command.args(["execd", "--no-cache", "--uri", "test:///default"]).args(interval);
        let finished = run(&mut command).success();
        let told: Vec<&str> = finished.stderr.lines().collect();
        assert_eq!(told.len(), 3, "{finished}");
        assert!(told[2].starts_with("W! standard input ended before any trigger"), "{finished}");
        assert_eq!(finished.stdout, "");
    }
}

#[test]
fn a_reader_of_messages_that_stalls_costs_messages_and_nothing_else() {
    let scratch = TempDir::new().unwrap();
    let (_reader, writer) = std::io::pipe().unwrap();
    let filler = writer.try_clone().unwrap();
    // Fills the pipe from a thread that stays behind in its write.
    thread::spawn(move || (&filler).write_all(&[b'x'; 1 << 20]));
    thread::sleep(Duration::from_millis(300));
    let mut command = program(scratch.path());
    command.args(["execd", "--no-cache", "--uri", "test:///default"]);
    let output = scratch.path().join("lines");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(File::create(&output).unwrap())
        .stderr(OwnedFd::from(writer))
        .spawn()
        .unwrap();
    child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    let written = || fs::read_to_string(&output).unwrap().lines().count();
    wait_until("the lines", Duration::from_secs(5), || (written() == 4).then_some(()));
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(end(&mut child, Duration::from_secs(5)), Some(0));
}

#[test]
fn guests_of_several_hypervisors_stand_sorted_by_name_and_one_host_is_told_by_its_uris() {
    let scratch = TempDir::new().unwrap();
    let first = uri(&host(scratch.path(), "first.xml", &["zeta", "beta"], &[]));
    let second = uri(&host(scratch.path(), "second.xml", &["alpha", "gamma"], &[]));
    let mut command = program(scratch.path());
    command.args(["once", "--no-cache", "--uri", &first, "--uri", &second]);
    let lines = read(&run(&mut command).success().stdout);
    assert_eq!(names(&lines), ["alpha", "beta", "gamma", "zeta"]);
    let source = |name: &str| {
        lines.iter().find(|line| line.tag("name") == name).unwrap().tag("source").to_owned()
    };
    assert_eq!([source("zeta"), source("alpha")], [first.clone(), second]);
    // Whether the other one is up changes no series.
    let mut command = program(scratch.path());
    command.args(["once", "--no-cache", "--uri", &first, "--uri", "test:///nonexistent.xml"]);
    let lines = read(&run(&mut command).success().stdout);
    assert!(lines.iter().all(|line| line.tag("source") == first), "{lines:?}");
}

#[test]
fn a_disk_that_comes_is_there_at_once_where_no_statistics_name_it() {
    let scratch = TempDir::new().unwrap();
    let cache = scratch.path().join("cache");
    let disks = |attached: &[&str]| {
        let node = host(scratch.path(), "node.xml", &["a"], attached);
        let mut command = program(scratch.path());
        command.args(["once", "--uri", &uri(&node), "--cache-dir"]).arg(&cache);
        let lines = read(&run(&mut command).success().stdout);
        let devices = lines.iter().filter_map(|line| line.find_tag("device"));
        devices.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(disks(&["vda"]), ["vda"]);
    assert_eq!(disks(&["vda", "vdb"]), ["vda", "vdb"]);
    assert_eq!(disks(&["vdb"]), ["vdb"]);
}

#[test]
fn features_and_device_tags_stand_in_one_order_whatever_the_configuration_says() {
    let scratch = TempDir::new().unwrap();
    let node = host(scratch.path(), "node.xml", &["a"], &["vda"]);
    let file = scratch.path().join("order.toml");
    fs::write(
        &file,
        "features = [\"cpu\", \"net\", \"disk\"]\ndevice_tags = [\"path\", \"bus\"]\n",
    )
    .unwrap();
    let cache = scratch.path().join("cache");
    let once = || {
        let mut command = program(scratch.path());
        command.arg("once").arg("--config").arg(&file).args(["--uri", &uri(&node)]);
        read(&run(command.arg("--cache-dir").arg(&cache)).success().stdout)
    };
    once();
    let lines = once();
    let features = lines.iter().find(|line| line.measurement == "vm_features").unwrap();
    let place = |name: &str| features.field_names().iter().position(|field| *field == name);
    assert!(place("memory_rate_kb_per_sec") < place("disk_rd_req_rate"));
    assert!(place("disk_rd_req_rate") < place("cpu_percent"), "{features:?}");
    let disk = lines.iter().find(|line| line.find_tag("device") == Some("vda")).unwrap();
    let tags: Vec<&str> = disk.tags.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(tags, ["VMID", "name", "uuid", "devtype", "device", "bus", "path"]);
}
