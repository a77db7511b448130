//! What `check` prints, read back: its findings from the JSON, and its words without the line breaks.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::process::{Finished, run};
use super::program::program;

/// A check of nothing of this machine's own but what the options and variables say.
pub fn check(scratch: &Path, options: &[&str]) -> Command {
    let mut command = program(scratch);
    command.arg("check").args(options);
    command
}

/// A text on one line, whatever its line breaks.
pub fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The findings of a check, as JSON.
pub struct Told {
    pub finished: Finished,
    report: Value,
}

/// Runs the check, which must exit with this code, with `--json`. Of each finding that is not as it should
/// be it must say what is lost, and what mends it.
pub fn told(command: &mut Command, code: i32) -> Told {
    let finished = run(command.arg("--json")).code(code);
    let report = serde_json::from_str(&finished.stdout)
        .unwrap_or_else(|error| panic!("{error}:\n{finished}"));
    let told = Told { finished, report };
    for finding in told.findings().iter().filter(|finding| finding["verdict"] != "good") {
        for key in ["text", "lost", "mend"] {
            let says = finding[key].as_str().is_some_and(|words| !words.is_empty());
            assert!(says, "{key} is missing in {finding}");
        }
    }
    told
}

impl Told {
    pub fn report(&self) -> &Value {
        &self.report
    }

    pub fn findings(&self) -> &[Value] {
        self.report["findings"].as_array().unwrap()
    }

    /// `verdict area/id` of all that is not as it should be.
    pub fn troubles(&self) -> Vec<String> {
        let word = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
        let trouble = |finding: &Value| {
            let verdict = word(finding, "verdict");
            let id = format!("{verdict} {}/{}", word(finding, "area"), word(finding, "id"));
            (verdict != "good").then_some(id)
        };
        self.findings().iter().filter_map(trouble).collect()
    }

    /// The one finding of this id.
    #[track_caller]
    pub fn one(&self, id: &str) -> &Value {
        let mut found = self.findings().iter().filter(|finding| finding["id"] == id);
        let one = found.next().unwrap_or_else(|| panic!("no {id}:\n{}", self.finished));
        assert!(found.next().is_none(), "{id} twice:\n{}", self.finished);
        one
    }

    /// The words of the one finding of this id: its text, what is lost, what mends it.
    #[track_caller]
    pub fn words(&self, id: &str) -> [&str; 3] {
        let finding = self.one(id);
        ["text", "lost", "mend"].map(|key| finding[key].as_str().unwrap_or(""))
    }

    /// The commands of the one finding of this id.
    #[track_caller]
    pub fn commands(&self, id: &str) -> Vec<&str> {
        let commands = self.one(id)["commands"].as_array().unwrap();
        commands.iter().map(|command| command.as_str().unwrap()).collect()
    }

    #[track_caller]
    pub fn guests(&self, id: &str) -> Vec<&str> {
        let guests = self.one(id)["guests"].as_array().unwrap();
        guests.iter().map(|guest| guest.as_str().unwrap()).collect()
    }
}
