//! What a record needs so that its figures can be judged later: the machine, the versions, the commit.

use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The first line that a command prints, or "unknown".
fn first_line(command: &mut Command) -> String {
    let output = command.output().ok().filter(|output| output.status.success());
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let line = text.as_deref().and_then(|text| text.lines().next()).unwrap_or("unknown");
    line.trim().to_owned()
}

fn file(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn cpu_model() -> String {
    let text = file("/proc/cpuinfo");
    let line = text.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(": ")).map_or("unknown", |(_, model)| model).to_owned()
}

/// This machine, the commit and the compiler.
pub fn describe() -> Value {
    let git = |arguments: &[&str]| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        Command::new("git")
            .current_dir(folder)
            .args(arguments)
            .output()
            .ok()
            .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    // A record that has not been committed yet changes nothing that was measured.
    let changed = git(&["status", "--porcelain", "--", ".", ":!benches/records"]);
    json!({
        "date": first_line(Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"])),
        "commit": git(&["rev-parse", "HEAD"]),
        "changed_since_commit": changed.is_none_or(|changed| !changed.is_empty()),
        "optimized": !cfg!(debug_assertions),
        "cpu": cpu_model(),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "memory": file("/proc/meminfo").lines().next().and_then(|line| line.split_once(':'))
            .map_or_else(String::new, |(_, size)| size.trim().to_owned()),
        "kernel": file("/proc/sys/kernel/osrelease"),
        "compiler": first_line(Command::new("rustc").arg("--version")),
    })
}
