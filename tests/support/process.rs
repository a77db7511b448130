//! Running a command to its end, and showing all of it when it failed.

use std::fmt;
use std::process::{Command, ExitStatus, Stdio};

/// A command that has ended.
pub struct Finished {
    command: String,
    directory: String,
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// Itself, when the exit status was 0; else the test fails and shows everything.
    pub fn success(self) -> Finished {
        self.code(0)
    }

    /// Itself, when it exited with this code; else the test fails and shows everything.
    pub fn code(self, code: i32) -> Finished {
        assert_eq!(self.status.code(), Some(code), "\n{self}");
        self
    }

    /// Itself, when each line of standard error begins with a level.
    pub fn leveled(self) -> Finished {
        assert!(self.stderr.lines().all(has_level), "\n{self}");
        self
    }
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finished { command, directory, status, stdout, stderr } = self;
        writeln!(f, "command:   {command}")?;
        writeln!(f, "directory: {directory}")?;
        writeln!(f, "status:    {status}")?;
        writeln!(f, "stdout:\n{stdout}")?;
        writeln!(f, "stderr:\n{stderr}")
    }
}

/// Whether a line is a message as Telegraf reads it, and not what a library has printed.
pub fn has_level(line: &str) -> bool {
    ["E! ", "W! ", "I! ", "D! "].iter().any(|level| line.starts_with(level))
}

/// Runs it without any input. Standard output and error must be UTF-8.
pub fn run(command: &mut Command) -> Finished {
    let shown = format!("{command:?}");
    let directory = command
        .get_current_dir()
        .map_or_else(|| std::env::current_dir().unwrap(), |folder| folder.to_path_buf());
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{shown} does not start: {error}"));
    let text = |bytes: Vec<u8>, stream: &str| {
        String::from_utf8(bytes).unwrap_or_else(|error| {
            panic!("{shown}: {stream} is not UTF-8: {}", String::from_utf8_lossy(error.as_bytes()))
        })
    };
    Finished {
        status: output.status,
        stdout: text(output.stdout, "stdout"),
        stderr: text(output.stderr, "stderr"),
        command: shown,
        directory: directory.display().to_string(),
    }
}
