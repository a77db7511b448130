//! The rule that is shipped for logrotate, on a file of a test's.

use super::process::run;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const RULE: &str = include_str!("../../packaging/logrotate/telegraf-virt");
/// The file that the pages, the service and the rule name.
pub const FILE: &str = "/var/log/telegraf-virt.line";

/// A real logrotate with that rule.
pub struct Logrotate {
    program: PathBuf,
    rule: PathBuf,
}

impl Logrotate {
    /// The rule as it is. `folder` is for the rule and logrotate's state.
    pub fn new(program: PathBuf, folder: &Path, file: &Path) -> Logrotate {
        let rule = folder.join("logrotate.conf");
        fs::write(&rule, rule_for(file)).unwrap();
        fs::set_permissions(&rule, fs::Permissions::from_mode(0o644)).unwrap();
        Logrotate { program, rule }
    }

    /// The rule with other lines where it waits until no run is on its way.
    pub fn at_once(program: PathBuf, folder: &Path, file: &Path, more: &str) -> Logrotate {
        let logrotate = Logrotate::new(program, folder, file);
        let text = rule_for(file);
        let (before, rest) = text.split_once("    prerotate\n").unwrap();
        let (_, after) = rest.split_once("    endscript\n").unwrap();
        fs::write(&logrotate.rule, format!("{before}{more}{after}")).unwrap();
        logrotate
    }

    /// As on another day.
    pub fn rotate(&self) {
        let state = self.rule.with_extension("state");
        let mut command = Command::new(&self.program);
        run(command.args(["--force", "--state"]).arg(state).arg(&self.rule)).success();
    }
}

fn rule_for(file: &Path) -> String {
    assert!(RULE.contains(&format!("\n{FILE} {{\n")), "{RULE}");
    RULE.replace(FILE, file.to_str().unwrap())
}

/// What the rule runs before it rotates.
pub fn prerotate() -> &'static str {
    let (_, rest) = RULE.split_once("    prerotate\n").unwrap();
    rest.split_once("    endscript\n").unwrap().0
}
