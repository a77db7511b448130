//! One `[[inputs.execd]]` or `[[inputs.exec]]` of Telegraf's that starts this program: its command is
//! read as this program would read it, its settings as Telegraf does.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::{Table, Value};

use super::{Surroundings, time};
use crate::check::finding::Finding;
use crate::check::{as_user, shell};
use crate::cli::{self, Cli, Command, Exit};
use crate::config::{Settings, duration};

const STDIN: &str = "signal = \"STDIN\"";
const EXECD: &str = "command = [\"telegraf-virt\", \"execd\"]";
const ONCE: &str = "commands = [[\"telegraf-virt\", \"once\"]]";
const INFLUX: &str = "data_format = \"influx\"";
/// A killed program is missed for so long at most, or it is told.
const RESTART_MAX: Duration = Duration::from_secs(60);
/// Telegraf's default timeout of inputs.exec.
const TIMEOUT: &str = "5s";

/// Which of the two plugins it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Execd,
    Exec,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Execd => "execd",
            Self::Exec => "exec",
        }
    }
}

pub(super) struct Plugin<'a> {
    pub(super) file: &'a Path,
    pub(super) kind: Kind,
    pub(super) table: &'a Table,
}

impl Plugin<'_> {
    /// Its commands that start this program, in words as Telegraf splits them.
    pub(super) fn commands(&self) -> Vec<Vec<String>> {
        let strings = |value: &Value| -> Vec<String> {
            let words = value.as_array().into_iter().flatten().filter_map(Value::as_str);
            words.map(str::to_owned).collect()
        };
        let split = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        let commands: Vec<Vec<String>> = match self.kind {
            Kind::Execd => match self.table.get("command") {
                Some(Value::String(text)) => vec![vec![text.clone()]],
                Some(command) => vec![strings(command)],
                None => Vec::new(),
            },
            Kind::Exec => {
                let listed = self.table.get("commands").and_then(Value::as_array);
                let alone = self.table.get("command");
                let commands = listed.into_iter().flatten().chain(alone);
                commands
                    .map(|command| command.as_str().map_or_else(|| strings(command), split))
                    .collect()
            }
        };
        let is_ours =
            |words: &Vec<String>| words.iter().any(|word| word.split_whitespace().any(is_us));
        commands.into_iter().filter(is_ours).collect()
    }

    fn name(&self) -> String {
        format!("{}: inputs.{}", self.file.display(), self.kind.name())
    }

    fn advice(&self, id: &'static str, what: &str) -> Finding {
        Finding::advice(id, format!("{} {what}", self.name()))
            .about(self.file.display().to_string())
    }

    /// What is to be said of it; of what loses everything, the first alone.
    pub(super) fn findings(&self, command: &[String], around: &Surroundings<'_>) -> Vec<Finding> {
        if let Some(finding) = self.program(command, &around.path).or_else(|| self.word(command)) {
            return vec![finding];
        }
        let arguments = command.iter().skip_while(|word| !is_us(word)).map(OsString::from);
        let cli = match cli::parse(arguments) {
            Ok(cli) => cli,
            Err(Exit::Refused(why)) => return vec![self.refused(command, &why)],
            Err(Exit::Text(_)) => return vec![self.refused(command, "it only prints a text")],
        };
        let environment = |name: &str| self.variable(name, around);
        let settings = match cli.settings(&environment) {
            Ok((settings, _)) => settings,
            Err(error) => return vec![self.refused(command, &error.to_string())],
        };
        if let Some(finding) = self.format() {
            return vec![finding];
        }
        let mut findings = match self.kind {
            Kind::Execd => self.execd(&cli),
            Kind::Exec => self.exec(&settings),
        };
        findings.extend(self.other_settings(&cli, &settings, around));
        findings
    }

    /// A variable as the plugin's `environment` sets it, or as it is here.
    fn variable(&self, name: &str, around: &Surroundings<'_>) -> Option<OsString> {
        let set = self.table.get("environment").and_then(Value::as_array).into_iter().flatten();
        let value = set.filter_map(Value::as_str).find_map(|set| {
            let (of, value) = set.split_once('=')?;
            (of == name).then(|| OsString::from(value))
        });
        value.or_else(|| {
            if name == crate::config::FILE_VARIABLE {
                around.configuration.clone()
            } else {
                env::var_os(name)
            }
        })
    }

    /// A program that Telegraf cannot start.
    fn program(&self, command: &[String], path: &OsStr) -> Option<Finding> {
        let program =
            command.iter().flat_map(|text| text.split_whitespace()).find(|it| is_us(it))?;
        let why = if program.contains('/') {
            match fs::metadata(program) {
                Err(_) => "which is not there",
                Ok(seen) if !is_program(&seen) => "which is no program that can be started",
                Ok(_) => return None,
            }
        } else {
            let places: Vec<PathBuf> =
                env::split_paths(path).map(|folder| folder.join(program)).collect();
            if places.iter().any(|place| fs::metadata(place).is_ok_and(|it| is_program(&it))) {
                return None;
            }
            "which is in no folder of PATH"
        };
        Some(
            self.advice("no-program", &format!("starts {program}, {why}"))
                .losing("all that Telegraf collects: it does not start")
                .mend("install the program, or write there the path that this prints")
                .run("command -v telegraf-virt"),
        )
    }

    /// A command without the word that it needs.
    fn word(&self, command: &[String]) -> Option<Finding> {
        let has = |word: &str| command.iter().any(|it| it == word);
        match self.kind {
            // Telegraf takes each word as it is written, and the first one for a program.
            Kind::Execd
                if !self.table.get("command").is_some_and(Value::is_array) || !has("execd") =>
            {
                Some(
                    self.advice("no-execd", "does not start `telegraf-virt execd`")
                        .losing(
                            "every point: a program that does not stay is started again and again",
                        )
                        .mend("write there")
                        .run(EXECD),
                )
            }
            Kind::Exec if has("execd") => Some(
                self.advice(
                    "execd-in-exec",
                    "starts `telegraf-virt execd`, which waits for triggers",
                )
                .losing("every point: inputs.exec sends none")
                .mend("write there")
                .run(ONCE),
            ),
            _ => None,
        }
    }

    fn refused(&self, command: &[String], why: &str) -> Finding {
        let words: Vec<String> = command.iter().map(|word| shell(word)).collect();
        self.advice("command-refused", &format!("starts `{}`, which fails: {why}", words.join(" ")))
            .losing("every point")
            .mend("set that right, there or in the file that it names; then try it by hand")
            .run(as_user("telegraf", &words.join(" ")))
    }

    fn format(&self) -> Option<Finding> {
        let format = self.table.get("data_format");
        let what = match (self.kind, format) {
            (_, Some(format)) if format.as_str() == Some("influx") => return None,
            // The default of inputs.execd.
            (Kind::Execd, None) => return None,
            (Kind::Exec, None) => "has no data_format, and Telegraf takes json for it".to_owned(),
            (_, Some(format)) => format!("has data_format = {format}"),
        };
        Some(
            self.advice("data-format", &what)
                .losing("every point: Telegraf does not understand what the program prints")
                .mend("write there")
                .run(INFLUX),
        )
    }

    fn execd(&self, cli: &Cli) -> Vec<Finding> {
        let mut findings = vec![self.signal(cli)];
        let restart = self.table.get("restart_delay").and_then(time);
        if let Some(delay) = restart.filter(|delay| *delay > RESTART_MAX) {
            let what = format!("has restart_delay = \"{}\"", duration::shown(delay));
            findings.push(
                self.advice("restart-delay", &what)
                    .losing("points for so long, should the program be killed")
                    .mend("write there")
                    .run("restart_delay = \"10s\""),
            );
        }
        if self.table.get("stop_on_error").and_then(Value::as_bool) == Some(true) {
            findings.push(
                self.advice("stop-on-error", "has stop_on_error = true")
                    .losing("every point from then on, should the program be killed once")
                    .mend("take that line out, so that Telegraf starts the program again"),
            );
        }
        findings
    }

    fn signal(&self, cli: &Cli) -> Finding {
        let signal = self.table.get("signal").map(|signal| signal.as_str().unwrap_or_default());
        let about = self.file.display().to_string();
        match signal {
            Some("STDIN") => {
                let text = format!("{} asks by signal = \"STDIN\"", self.name());
                Finding::good("execd", text).about(about)
            }
            Some(signal @ ("SIGHUP" | "SIGUSR1" | "SIGUSR2")) => self
                .advice("signal", &format!("has signal = \"{signal}\""))
                .losing(
                    "points at some starts: Telegraf may send the first signal before the program can \
                     catch it, which kills it; with --test and --once all of them",
                )
                .mend("write there")
                .run(STDIN),
            None | Some("none") if cli.interval.is_some() => {
                let text = format!("{} leaves the interval to the program", self.name());
                Finding::good("execd", text).about(about)
            }
            None | Some("none") => self
                .advice("no-signal", "has no signal, so Telegraf never asks for a collection")
                .losing("every point")
                .mend("write there")
                .run(STDIN),
            Some(other) => self
                .advice("unknown-signal", &format!("has signal = \"{other}\", which Telegraf refuses"))
                .losing("every point")
                .mend("write there")
                .run(STDIN),
        }
    }

    fn exec(&self, settings: &Settings) -> Vec<Finding> {
        let about = self.file.display().to_string();
        let mut findings =
            vec![Finding::good("exec", format!("{} starts the program", self.name())).about(about)];
        let timeout = self.table.get("timeout");
        let shown =
            timeout.map_or_else(|| TIMEOUT.to_owned(), |it| it.to_string().replace('"', ""));
        let timeout = timeout.map_or(Some(Duration::from_secs(5)), time);
        if timeout.is_some_and(|timeout| timeout <= settings.deadline) {
            let deadline = duration::shown(settings.deadline);
            let longer = duration::shown(settings.deadline + Duration::from_secs(1));
            let what = format!(
                "ends the program after timeout = \"{shown}\", while its deadline is {deadline}"
            );
            findings.push(
                self.advice("timeout", &what)
                    .losing(
                        "what has not arrived by then, in each collection with a guest that hangs",
                    )
                    .mend(format!("write there the line below, or a deadline below {shown} here"))
                    .run(format!("timeout = \"{longer}\"")),
            );
        }
        if self.table.get("log_stderr").and_then(Value::as_bool) != Some(true) {
            findings.push(
                self.advice("no-log-stderr", "has no log_stderr = true")
                    .losing("what the program says of guests that hang, in Telegraf's log")
                    .mend("from Telegraf 1.38.1 on, write there")
                    .run("log_stderr = true"),
            );
        }
        findings
    }

    /// That what Telegraf starts has other settings than those looked at here.
    fn other_settings(
        &self,
        cli: &Cli,
        settings: &Settings,
        around: &Surroundings<'_>,
    ) -> Option<Finding> {
        let mut options: Vec<String> = Vec::new();
        let mut option = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                options.extend([name.to_owned(), shell(&value)]);
            }
        };
        let text = |path: &PathBuf| path.display().to_string();
        option("--config", cli.config.as_ref().map(text));
        cli.uris.iter().for_each(|uri| option("--uri", Some(uri.clone())));
        option("--cache-dir", cli.cache_dir.as_ref().map(text));
        option("--deadline", cli.deadline.map(duration::shown));
        if cli.no_cache {
            options.push("--no-cache".to_owned());
        }
        if options.is_empty() || *settings == around.subject.settings {
            return None;
        }
        Some(
            self.advice(
                "other-settings",
                "starts the program with options that this check has not",
            )
            .losing("nothing, but what stands here is not true of what Telegraf starts")
            .mend("look at that too")
            .run(format!(
                "telegraf-virt {} {}",
                Command::Check.name(),
                options.join(" ")
            )),
        )
    }
}

fn is_us(word: &str) -> bool {
    Path::new(word).file_name() == Some(OsStr::new(env!("CARGO_PKG_NAME")))
}

fn is_program(seen: &fs::Metadata) -> bool {
    seen.is_file() && seen.permissions().mode() & 0o111 != 0
}
