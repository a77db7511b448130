//! Recordings made up for a test: of one guest called spdk, at moments 10 s apart.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::lines::{Line, read};
use super::process::{Finished, run};
use super::program::program;

/// The guest's.
pub const UUID: &str = "e2e0c925-1733-5142-aafc-ac5078b051da";

/// A guest's statistics: those that every guest here has, and these.
pub fn guest(place: u64, more: &[(&str, Value)], devices: &str) -> Value {
    let uint = |number: u64| json!({ "uint": number });
    let mut statistics = vec![
        json!(["state.state", { "int": 1 }]),
        json!(["state.reason", { "int": 1 }]),
        json!(["cpu.time", uint(9_000_000_000 + place)]),
        json!(["cpu.user", uint(1_000_000_000)]),
        json!(["cpu.system", uint(2_000_000_000)]),
        json!(["balloon.current", uint(1_048_576)]),
        json!(["balloon.maximum", uint(1_048_576)]),
        json!(["balloon.rss", uint(288_460)]),
        json!(["vcpu.current", uint(1)]),
    ];
    statistics.retain(|it| !more.iter().any(|(name, _)| it[0] == *name));
    statistics
        .extend(more.iter().filter(|(_, it)| !it.is_null()).map(|(name, it)| json!([name, it])));
    let xml = format!(
        "<domain type='kvm' id='1'><name>spdk</name><uuid>{UUID}</uuid><devices>{devices}\
         <memballoon model='virtio'><stats period='5'/></memballoon></devices></domain>"
    );
    json!({
        "id": 1, "name": "spdk", "uuid": UUID, "answered_ns": 1_000_000_000_000 + place * 10_000_000_000,
        "statistics": { "ok": statistics }, "calls": { "control": { "ok": "free" }, "xml": { "ok": xml } },
    })
}

/// Statistics as [`guest`] takes them.
pub fn borrowed(statistics: &[(String, Value)]) -> Vec<(&str, Value)> {
    statistics.iter().map(|(name, value)| (name.as_str(), value.clone())).collect()
}

/// A recording of one guest at these moments, with all groups of statistics in bulk.
pub fn record(folder: &Path, guests: &[Value]) -> String {
    record_with(folder, &["state", "cpu", "balloon", "vcpu", "interface", "block"], guests)
}

/// The same with these groups in bulk.
pub fn record_with(folder: &Path, bulk: &[&str], guests: &[Value]) -> String {
    let mut text = json!({
        "telegraf-virt": "recording", "version": 2, "moments": guests.len(),
        "host": { "program": "0.1.0", "uri": "qemu:///system", "versions": {}, "name": { "ok": "h" },
                  "bulk": bulk, "nowait": true },
    })
    .to_string();
    for (place, guest) in (0..).zip(guests) {
        let moment = json!({ "moment": {
            "unix_ns": 1_700_000_000_000_000_000_u64 + place * 10_000_000_000,
            "boot_ns": 1_000_000_000_000_u64 + place * 10_000_000_000, "guests": 1 } });
        text += &format!("\n{moment}\n{guest}");
    }
    let file = folder.join(format!("{}.jsonl", guests.len()));
    fs::write(&file, text + "\n").unwrap();
    format!("replay:{}", file.display())
}

/// The program on a recording.
pub fn replay(scratch: &Path, uri: &str, options: &[&str], settings: &str) -> Finished {
    let file = scratch.join("settings.toml");
    fs::write(&file, settings).unwrap();
    let mut command = program(scratch);
    command.args(options).args(["--no-cache", "--uri", uri, "--config"]).arg(file);
    run(&mut command)
}

/// The lines of the last of these moments.
pub fn once(guests: &[Value], settings: &str) -> (Vec<Line>, String) {
    let scratch = TempDir::new().unwrap();
    let uri = record(scratch.path(), guests);
    let finished = replay(scratch.path(), &uri, &["once"], settings).success();
    (read(&finished.stdout), finished.stderr)
}

/// A NIC's statistics: its name, and its counters where it is counted.
pub fn nic(number: u32, name: &str, bytes: Option<u64>) -> Vec<(String, Value)> {
    let mut statistics = vec![(format!("net.{number}.name"), json!({ "text": name }))];
    for field in
        ["rx.bytes", "rx.pkts", "rx.errs", "rx.drop", "tx.bytes", "tx.pkts", "tx.errs", "tx.drop"]
    {
        statistics.extend(bytes.map(|it| (format!("net.{number}.{field}"), json!({ "uint": it }))));
    }
    statistics
}

/// A disk's, alike.
pub fn disk(number: u32, name: &str, bytes: Option<u64>) -> Vec<(String, Value)> {
    let mut statistics = vec![(format!("block.{number}.name"), json!({ "text": name }))];
    for field in [
        "rd.reqs", "rd.bytes", "rd.times", "wr.reqs", "wr.bytes", "wr.times", "fl.reqs", "fl.times",
    ] {
        statistics
            .extend(bytes.map(|it| (format!("block.{number}.{field}"), json!({ "uint": it }))));
    }
    statistics
}
