//! Events that a guest rarely has, on real guests, beside what `virsh event` tells of them: an agent, an unplug
//! that the guest refuses, a fault of its memory, a shutdown from inside, a migration by postcopy, and a full
//! disk that stops nobody.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::events::{
    PROBE, Seen, VirshEvents, assert_same, create, events, listen, of_lines,
};
use crate::support::execd::Execd;
use crate::support::faults::attach_small_disk_with;
use crate::support::lab::Lab;
use crate::support::lines::{Line, Value};
use crate::support::{say, wait_until};

const LIMIT: Duration = Duration::from_secs(120);

/// The events of a guest, each with what tells it from others of its kind.
fn of_guest<'a>(seen: &'a [Seen], name: &str) -> BTreeSet<(&'a str, &'a str)> {
    let of = seen.iter().filter(|(guest, ..)| guest == name);
    of.map(|(_, event, key)| (event.as_str(), key.as_str())).collect()
}

/// The program and `virsh event`, side by side.
struct Beside {
    execd: Execd,
    virsh: VirshEvents,
    seen: Vec<Seen>,
    /// The program's lines.
    lines: Vec<Line>,
}

impl Beside {
    /// Both listen; the lab has the guest that virsh needs for that.
    fn listen(lab: &Lab) -> Beside {
        let mut execd = listen(&[lab], "");
        let virsh = VirshEvents::start(lab);
        events(&mut execd);
        Beside { execd, virsh, seen: Vec::new(), lines: Vec::new() }
    }

    /// Collects until what was seen is enough.
    fn wait_until(&mut self, what: &str, is_enough: impl Fn(&[Seen]) -> bool) {
        wait_until(what, LIMIT, || {
            let lines = events(&mut self.execd);
            self.seen.extend(of_lines(&lines));
            self.lines.extend(lines);
            is_enough(&self.seen).then_some(())
        });
    }

    /// Collects until both have seen the same.
    fn assert_same(&mut self) {
        assert_same(&mut self.execd, &self.virsh, &mut self.seen);
    }
}

fn detail(lines: &[Line], event: &str) -> String {
    let line = lines.iter().find(|line| line.tag("event") == event).unwrap();
    let Value::Text(text) = line.field("detail") else { panic!("{line:?}") };
    text.clone()
}

#[test]
fn an_agent_that_comes_and_goes_is_told() {
    let Some(lab) = Lab::require("events, agent") else { return };
    create(&lab, PROBE);
    let guest = lab.linux("web");
    let mut beside = Beside::listen(&lab);
    let channel = "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/>\
                   </channel>";
    lab.virsh_device("attach-device", &guest, channel);
    // A process of the guest opens the port for a second, again and again.
    beside.wait_until("it came and went, twice", |seen| {
        seen.iter().filter(|(_, event, _)| event == "agent_disconnected").count() >= 2
    });
    lab.virsh(&["destroy", &guest]);
    beside.assert_same();
    let agent: Vec<&str> = beside
        .seen
        .iter()
        .map(|(_, event, _)| event.as_str())
        .filter(|event| event.starts_with("agent_"))
        .collect();
    assert!(agent.chunks(2).all(|two| two[0] == "agent_connected"), "{agent:?}");
    assert_eq!(detail(&beside.lines, "agent_connected"), "channel");
    assert_eq!(detail(&beside.lines, "agent_disconnected"), "channel");
    say(&format!("events: {} of an agent, as virsh event has them", agent.len()));
}

/// A guest with memory that can be taken away, which does nothing.
fn create_with_dimm(lab: &Lab) {
    let xml = "<domain type='qemu'><name>dimm</name><maxMemory slots='4' unit='MiB'>512</maxMemory>\
         <memory unit='MiB'>192</memory><vcpu>1</vcpu>\
         <os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features>\
         <cpu><numa><cell id='0' cpus='0' memory='64' unit='MiB'/></numa></cpu>\
         <devices><memory model='dimm'><target><size unit='MiB'>128</size><node>0</node></target>\
         </memory><memballoon model='none'/></devices></domain>";
    let file = lab.scratch().join("dimm.xml");
    fs::write(&file, xml).unwrap();
    lab.virsh(&["create", "--paused", file.to_str().unwrap()]);
}

#[test]
fn an_unplug_that_the_guest_refuses_and_a_fault_of_its_memory_are_told() {
    let Some(lab) = Lab::require("events, refused unplug") else { return };
    create(&lab, PROBE);
    create_with_dimm(&lab);
    let mut beside = Beside::listen(&lab);
    let dimm = "<memory model='dimm'><target><size unit='MiB'>128</size><node>0</node></target>\
                </memory>";
    lab.virsh_device("detach-device", "dimm", dimm);
    // What a guest's system says by ACPI's _OST when it cannot do without the memory: of slot 0, an eject that
    // was asked for, failed.
    for (port, value) in [("0xa00", "0"), ("0xa04", "3"), ("0xa08", "1")] {
        let command = format!("o/w {port} {value}");
        lab.virsh(&["qemu-monitor-command", "dimm", "--hmp", &command]);
    }
    // A machine check that nothing can be done about, in a guest that takes none.
    let command = "mce 0 1 0xb200000000000000 0 0 0";
    lab.virsh(&["qemu-monitor-command", "dimm", "--hmp", command]);
    beside.wait_until("both are told", |seen| {
        let of = of_guest(seen, "dimm");
        of.contains(&("device_removal_failed", "dimm0")) && of.contains(&("memory_failure", ""))
    });
    beside.assert_same();
    assert_eq!(detail(&beside.lines, "memory_failure"), "reset");
    let failed =
        beside.lines.iter().find(|line| line.tag("event") == "device_removal_failed").unwrap();
    assert_eq!(failed.field("alias"), &Value::Text("dimm0".into()));
}

#[test]
fn a_guest_that_shuts_down_is_told_apart_from_one_that_is_told_to() {
    let Some(lab) = Lab::require("events, shutdown") else { return };
    create(&lab, PROBE);
    for name in ["inside", "outside"] {
        create(&lab, name);
    }
    let mut beside = Beside::listen(&lab);
    lab.virsh(&["resume", "inside"]);
    // What a guest's system does last: the sleep state of ACPI that is off. The firmware makes the port.
    wait_until("it is off", LIMIT, || {
        (lab.virsh(&["domstate", "inside"]).trim() == "shut off").then_some(()).or_else(|| {
            let command = ["qemu-monitor-command", "inside", "--hmp", "o/h 0x604 0x2000"];
            let mut virsh = Command::new("virsh");
            virsh.args(["-q", "-c", &lab.write_uri()]).args(command);
            virsh.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
            None
        })
    });
    lab.virsh(&["destroy", "outside"]);
    beside.assert_same();
    let inside = of_guest(&beside.seen, "inside");
    assert!(inside.contains(&("shutdown", "guest")), "{inside:?}");
    assert!(inside.contains(&("stopped", "shutdown")), "{inside:?}");
    assert!(
        of_guest(&beside.seen, "outside").contains(&("stopped", "destroyed")),
        "{:?}",
        beside.seen
    );
}

#[test]
fn a_migration_by_postcopy_is_told_on_both_hosts() {
    let Some(from) = Lab::require("events, postcopy") else { return };
    let to = Lab::require("events, postcopy").unwrap();
    let mover = from.linux("mover");
    // The kernel and the disk, at the same place on the other host.
    let images = [&from, &to].map(|lab| lab.folder().join("lib/images"));
    fs::create_dir_all(&images[1]).unwrap();
    let folder = fs::read_dir(&images[0]).unwrap().next().unwrap().unwrap().path();
    let copied = Command::new("cp").arg("-a").arg(&folder).arg(&images[1]).status().unwrap();
    assert!(copied.success());
    let mut execd = listen(&[&from, &to], "");
    events(&mut execd);
    let data = format!("unix://{}", from.scratch().join("migration").display());
    let mut migration = Command::new("virsh")
        .args(["-q", "-c", &from.write_uri(), "migrate", "--live", "--unsafe", "--persistent"])
        .args(["--postcopy", "--bandwidth", "4", &mover, &to.write_uri(), &data])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    // Before it has begun it is refused.
    wait_until("it goes on by postcopy", LIMIT, || {
        let mut virsh = Command::new("virsh");
        virsh.args(["-q", "-c", &from.write_uri(), "migrate-postcopy", &mover]);
        virsh.stderr(Stdio::null()).status().unwrap().success().then_some(())
    });
    assert!(migration.wait().unwrap().success());
    let mut all = Vec::new();
    let has = |all: &[Line], uri: &str, event: &str, word: &str| {
        all.iter().any(|line| {
            line.tag("source").contains(uri)
                && line.tag("event") == event
                && line.find_field("detail") == Some(&Value::Text(word.into()))
        })
    };
    wait_until("both hosts have told", LIMIT, || {
        all.extend(events(&mut execd));
        let (from, to) = (from.uri(), to.uri());
        (has(&all, &from, "suspended", "postcopy")
            && has(&all, &to, "resumed", "postcopy")
            && has(&all, &from, "stopped", "migrated")
            && all.iter().any(|line| line.tag("event") == "job_completed"))
        .then_some(())
    });
    let job = all.iter().find(|line| line.tag("event") == "job_completed").unwrap();
    assert_eq!(job.field("operation"), &Value::Text("migration_out".into()));
    assert!(job.int("elapsed_ms") > 0, "{job:?}");
    say(&format!("events: a migration by postcopy: {} lines", all.len()));
    drop(execd);
}

#[test]
fn a_full_disk_of_which_the_guest_itself_is_told_stops_nobody() {
    let Some(lab) = Lab::require("events, full disk, reported") else { return };
    create(&lab, PROBE);
    let guest = lab.linux("web");
    let mut beside = Beside::listen(&lab);
    attach_small_disk_with(&lab, &guest, "report");
    beside.wait_until("the disk is full", |seen| {
        seen.iter().any(|(_, event, _)| event == "io_error")
    });
    assert_eq!(lab.virsh(&["domstate", &guest]).trim(), "running");
    // It goes on to write, and is told each time.
    lab.virsh(&["destroy", &guest]);
    beside.assert_same();
    assert_eq!(detail(&beside.lines, "io_error"), "report");
    let full = beside.lines.iter().find(|line| line.tag("event") == "io_error").unwrap();
    assert_eq!(full.find_tag("device"), Some("vdb"));
    // QEMU says enospc only to who is stopped by it. Since 11.3 or before, libvirt says that it has a text.
    let text = Value::Text("message".into());
    assert!(full.find_field("reason").is_none_or(|it| *it == text), "{full:?}");
    assert!(beside.seen.iter().all(|(_, event, _)| event != "suspended"), "{:?}", beside.seen);
}
