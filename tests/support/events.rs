//! Events as `virsh event` tells of them, and as our lines do, in one form.

use super::execd::Execd;
use super::faults::file_disk;
use super::lab::Lab;
use super::lines::{Line, Value};
use super::process::run;
use super::program::program;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Guest, event, and what tells it from others of its kind.
pub type Seen = (String, String, String);

/// A `virsh event` that runs for as long as this lives.
pub struct VirshEvents {
    child: Child,
    file: PathBuf,
}

impl VirshEvents {
    pub fn start(lab: &Lab) -> VirshEvents {
        let file = lab.scratch().join("virsh-events");
        let child = Command::new("virsh")
            .args(["-c", &lab.write_uri(), "event", "--all", "--loop", "--timestamp"])
            .stdin(Stdio::null())
            .stdout(File::create(&file).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let this = VirshEvents { child, file };
        // It says nothing when it is ready: an event that it has seen does.
        super::wait_until("virsh listens", Duration::from_secs(20), || {
            lab.virsh(&["metadata", PROBE, "--uri", "urn:probe", "--key", "p", "--set", "<p/>"]);
            (!this.text().is_empty()).then_some(())
        });
        this
    }

    pub fn text(&self) -> String {
        fs::read_to_string(&self.file).unwrap()
    }

    /// What it has seen so far of the kinds that we print, in its order.
    pub fn seen(&self) -> Vec<Seen> {
        let text = self.text();
        let lines: Vec<&str> = text.lines().collect();
        let mut seen = Vec::new();
        for (place, line) in lines.iter().enumerate() {
            let Some((_, rest)) = line.split_once(": event '") else { continue };
            let (event, rest) = rest.split_once("' for domain '").unwrap();
            let (guest, words) = rest.split_once('\'').unwrap();
            let words = words.trim_start_matches(": ").trim_start_matches(':');
            let after: Vec<&str> =
                lines[place + 1..].iter().take_while(|it| it.starts_with('\t')).copied().collect();
            if let Some((event, key)) = of_virsh(event, words, &after) {
                seen.push((guest.to_owned(), event, key));
            }
        }
        seen
    }
}

impl Drop for VirshEvents {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The guest that [`VirshEvents::start`] changes something of, until it is seen.
pub const PROBE: &str = "probe";

fn of_virsh(event: &str, words: &str, after: &[&str]) -> Option<(String, String)> {
    let plain = |event: &str| Some((event.to_owned(), String::new()));
    let with = |event: &str, key: &str| Some((event.to_owned(), key.to_owned()));
    match event {
        "lifecycle" => {
            let (event, detail) = words.split_once(' ').unwrap();
            let event = event.to_lowercase();
            let detail = match detail {
                "I/O Error" => "ioerror".to_owned(),
                "Snapshot" => "from_snapshot".to_owned(),
                "API error" => "api_error".to_owned(),
                "Finished after guest request" => "guest".to_owned(),
                "Finished after host request" => "host".to_owned(),
                detail => detail.to_lowercase(),
            };
            (!matches!(&*event, "defined" | "undefined")).then_some((event, detail))
        }
        "reboot" => plain("rebooted"),
        "watchdog" => with("watchdog", words),
        // The same without a reason.
        "io-error" if !words.contains(" due to ") => None,
        // PATH (ALIAS) pause due to enospc. Later versions have one name for both.
        "io-error-reason" | "io-error" => {
            let (path, rest) = words.split_once(" (").unwrap();
            let reason = rest.rsplit(' ').next().filter(|it| !it.is_empty()).unwrap_or("-");
            with("io_error", &format!("{path} {reason}"))
        }
        // Block Copy for vda ready
        "block-job-2" => {
            let (kind, rest) = words.split_once(" for ").unwrap();
            let (disk, status) = rest.split_once(' ').unwrap();
            let kind = kind.trim_start_matches("Block ").to_lowercase().replace(' ', "_");
            with("block_job", &format!("{disk} {kind} {status}"))
        }
        // dev: vda(PATH) 100 20, and once more of the layer, vda[1]
        "block-threshold" if !words.contains('[') => {
            let (disk, rest) = words.trim_start_matches("dev: ").split_once('(').unwrap();
            let (path, numbers) = rest.rsplit_once(") ").unwrap();
            with("block_threshold", &format!("{disk} {path} {numbers}"))
        }
        "job-completed" => {
            let find = |name: &str| {
                let line = after.iter().find(|it| it.trim().starts_with(&format!("{name}:")));
                line.map_or("-", |line| line.rsplit(' ').next().unwrap())
            };
            with("job_completed", &format!("{} {}", find("time_elapsed"), find("downtime")))
        }
        "device-added" => with("device_added", words),
        "device-removed" => with("device_removed", words),
        "device-removal-failed" => with("device_removal_failed", words),
        "agent-lifecycle" => {
            let state = if words.contains("'connected'") { "connected" } else { "disconnected" };
            plain(&format!("agent_{state}"))
        }
        "memory-failure" => plain("memory_failure"),
        _ => None,
    }
}

/// The same of our lines.
pub fn of_lines(lines: &[Line]) -> Vec<Seen> {
    let events = lines.iter().filter(|line| line.measurement == "vm_events");
    events.filter(|line| line.tag("event") != "lost").map(of_line).collect()
}

fn of_line(line: &Line) -> Seen {
    let text = |name: &str| match line.find_field(name) {
        Some(Value::Text(text)) => text.clone(),
        Some(Value::Int(number)) => number.to_string(),
        _ => "-".to_owned(),
    };
    let event = line.tag("event");
    let key = match event {
        "rebooted" | "agent_connected" | "agent_disconnected" | "memory_failure" => String::new(),
        "io_error" => format!("{} {}", text("path"), text("reason")),
        "block_job" => format!("{} {} {}", line.tag("device"), text("type"), text("status")),
        "block_threshold" => {
            let numbers = format!("{} {}", text("threshold_bytes"), text("excess_bytes"));
            format!("{} {} {numbers}", line.tag("device"), text("path"))
        }
        "job_completed" => format!("{} {}", text("elapsed_ms"), text("downtime_ms")),
        "device_added" | "device_removed" | "device_removal_failed" => text("alias"),
        _ => text("detail"),
    };
    (line.tag("name").to_owned(), event.to_owned(), key)
}

/// execd with events on, over the hypervisors of these labs.
pub fn listen(labs: &[&Lab], settings: &str) -> Execd {
    let scratch = labs[0].scratch();
    let file = scratch.join("events.toml");
    fs::write(&file, format!("extra = [\"events\"]\n{settings}")).unwrap();
    let mut command = program(scratch);
    command.arg("--config").arg(&file).arg("--cache-dir").arg(scratch.join("cache"));
    for lab in labs {
        command.args(["--uri", &lab.uri()]);
    }
    Execd::of(&mut command)
}

/// What a collection has of events.
pub fn events(execd: &mut Execd) -> Vec<Line> {
    let lines = execd.collect().lines;
    let first = lines.iter().position(|line| line.measurement != "vm_events");
    let (events, guests) = lines.split_at(first.unwrap_or(lines.len()));
    assert!(guests.iter().all(|line| line.measurement != "vm_events"), "before all else");
    assert!(events.is_sorted_by(|a, b| a.timestamp < b.timestamp), "{events:#?}");
    events.to_vec()
}

/// A guest whose QEMU has a device that panics, one that watches, and a USB bus.
pub fn create(lab: &Lab, name: &str) -> String {
    let image = lab.scratch().join(format!("{name}.qcow2"));
    run(Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(&image).arg("16M"))
        .success();
    let disk = file_disk(&image.display().to_string(), "vda").replace("'raw'", "'qcow2'");
    let text = format!(
        "<domain type='qemu'><name>{name}</name><memory unit='MiB'>32</memory><vcpu>1</vcpu>\
         <os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features>\
         <on_crash>preserve</on_crash><devices>{disk}<controller type='usb' model='piix3-uhci'/>\
         <panic model='isa'><address type='isa' iobase='0x505'/></panic>\
         <watchdog model='ib700' action='reset'/><memballoon model='virtio'/></devices></domain>"
    );
    let file = lab.scratch().join(format!("{name}.xml"));
    fs::write(&file, text).unwrap();
    lab.virsh(&["define", file.to_str().unwrap()]);
    lab.virsh(&["start", "--paused", name]);
    lab.virsh(&["domuuid", name]).trim().to_owned()
}

/// Writes a byte to an I/O port of the guest.
pub fn write_port(lab: &Lab, guest: &str, port: &str, byte: &str) {
    lab.virsh(&["qemu-monitor-command", guest, "--hmp", &format!("o/b {port} {byte}")]);
}

/// Collects until virsh and we have seen the same of each guest, in the same order.
pub fn assert_same(execd: &mut Execd, virsh: &VirshEvents, ours: &mut Vec<Seen>) {
    let by_guest = |seen: &[Seen]| {
        let mut by_guest: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
        for (guest, event, key) in seen.iter().filter(|(guest, ..)| guest != PROBE) {
            by_guest.entry(guest.clone()).or_default().push((event.clone(), key.clone()));
        }
        by_guest
    };
    let mut last = None;
    let mut attempts = 0;
    loop {
        ours.extend(of_lines(&events(execd)));
        let both = (by_guest(ours), by_guest(&virsh.seen()));
        // Twice the same, so that nothing is on its way.
        if both.0 == both.1 && last.as_ref() == Some(&both) {
            return;
        }
        attempts += 1;
        if attempts > 50 {
            assert_eq!(both.0, both.1);
        }
        last = Some(both);
        std::thread::sleep(Duration::from_millis(100));
    }
}
