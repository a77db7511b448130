//! Events as `virsh event` tells of them, and as our lines do, in one form.

use super::lab::Lab;
use super::lines::{Line, Value};
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

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
        super::wait_until("virsh listens", std::time::Duration::from_secs(20), || {
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
        // PATH (ALIAS) pause due to enospc
        "io-error-reason" => {
            let (path, rest) = words.split_once(" (").unwrap();
            with("io_error", &format!("{path} {}", rest.rsplit(' ').next().unwrap()))
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
