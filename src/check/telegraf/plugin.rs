//! One `[[inputs.execd]]` or `[[inputs.exec]]` of Telegraf's that starts this program: its command is
//! read as this program would read it, its settings as Telegraf does.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::{Table, Value};

use super::{PluginEnv, time};
use crate::check::catalogue::telegraf as kinds;
use crate::check::finding::Finding;
use crate::check::{as_user, shell};
use crate::cli::{self, Cli, CliExit};
use crate::config::extra::Extra;
use crate::config::{self, Settings, duration};

/// A killed program is missed for so long at most, or it is told.
const RESTART_MAX: Duration = Duration::from_secs(60);
/// Telegraf has settings of these names for each input, too.
const SETTINGS_OF_BOTH: [&str; 2] = ["tags", "precision"];
/// Events of one kind that are not further apart than this hardly are to be told apart anyway.
const FINE: Duration = Duration::from_millis(1);
/// Telegraf's default timeout of inputs.exec.
const TIMEOUT: &str = "5s";

/// Which of the two plugins it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PluginKind {
    Execd,
    Exec,
}

impl PluginKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Execd => "execd",
            Self::Exec => "exec",
        }
    }
}

pub(super) struct Plugin<'a> {
    pub(super) file: &'a Path,
    pub(super) kind: PluginKind,
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
            PluginKind::Execd => match self.table.get("command") {
                Some(Value::String(text)) => vec![vec![text.clone()]],
                Some(command) => vec![strings(command)],
                None => Vec::new(),
            },
            PluginKind::Exec => {
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

    /// What is to be said of it; of what loses everything, the first alone.
    pub(super) fn findings(&self, command: &[String], around: &PluginEnv<'_>) -> Vec<Finding> {
        let file = self.file.display().to_string();
        self.found(command, around).into_iter().map(|finding| finding.about(&file)).collect()
    }

    fn found(&self, command: &[String], around: &PluginEnv<'_>) -> Vec<Finding> {
        if let Some(finding) = self.program(command, &around.path).or_else(|| self.word(command)) {
            return vec![finding];
        }
        let (cli, settings) = match self.settings(command, around) {
            Ok(read) => read,
            Err(why) => return vec![self.refused(command, &why)],
        };
        if let Some(finding) = self.own_setting().or_else(|| self.format()) {
            return vec![finding];
        }
        let mut findings = match self.kind {
            PluginKind::Execd => self.execd(&cli, &settings),
            PluginKind::Exec => self.exec(&settings),
        };
        findings.extend(self.sudo(command));
        findings.extend(self.other_settings(&cli, &settings, around));
        findings
    }

    /// The command line and the settings that the program would have, or why it would refuse them.
    pub(super) fn settings(
        &self,
        command: &[String],
        around: &PluginEnv<'_>,
    ) -> Result<(Cli, Settings), String> {
        let arguments = command.iter().skip_while(|word| !is_us(word)).map(OsString::from);
        let cli = cli::parse(arguments).map_err(|exit| match exit {
            CliExit::Refused(why) => why,
            CliExit::Text(_) => "it only prints a text".to_owned(),
        })?;
        let environment = |name: &str| self.variable(name, around);
        match cli.settings(&environment) {
            Ok((settings, _)) => Ok((cli, settings)),
            Err(error) => Err(error.to_string().lines().next().unwrap_or_default().to_owned()),
        }
    }

    /// A setting of this program's own configuration, for which Telegraf does not start.
    fn own_setting(&self) -> Option<Finding> {
        let name = config::top_names()
            .find(|name| !SETTINGS_OF_BOTH.contains(name) && self.table.contains_key(*name))?;
        let shown = match self.table.get(name) {
            Some(Value::Table(_)) => format!("[inputs.{}.{name}]", self.kind.name()),
            _ => name.to_owned(),
        };
        Some(kinds::own_setting(self.name(), shown, config::SYSTEM_FILE))
    }

    /// A command through sudo, which is not needed.
    fn sudo(&self, command: &[String]) -> Option<Finding> {
        let program = command.first()?.split_whitespace().next()?;
        if Path::new(program).file_name() != Some(OsStr::new("sudo")) {
            return None;
        }
        let words: Vec<String> = command
            .iter()
            .skip_while(|word| !is_us(word))
            .map(|word| format!("{word:?}"))
            .collect();
        let words = words.join(", ");
        let without = match self.kind {
            PluginKind::Execd => format!("command = [{words}]"),
            PluginKind::Exec => format!("commands = [[{words}]]"),
        };
        Some(kinds::sudo(self.name(), without))
    }

    /// A variable as the plugin's `environment` sets it, or as it is here.
    fn variable(&self, name: &str, around: &PluginEnv<'_>) -> Option<OsString> {
        let set = self.table.get("environment").and_then(Value::as_array).into_iter().flatten();
        let value = set.filter_map(Value::as_str).find_map(|set| {
            let (of, value) = set.split_once('=')?;
            (of == name).then(|| OsString::from(value))
        });
        value.or_else(|| {
            if name == config::FILE_VARIABLE {
                around.configuration.clone()
            } else {
                env::var_os(name)
            }
        })
    }

    /// The file that Telegraf starts, if it can be started.
    pub(super) fn program_file(&self, command: &[String], path: &OsStr) -> Option<PathBuf> {
        let program = program_of(command)?;
        let is_usable = |file: &PathBuf| fs::metadata(file).is_ok_and(|seen| is_program(&seen));
        if program.contains('/') {
            return Some(PathBuf::from(program)).filter(is_usable);
        }
        env::split_paths(path).map(|folder| folder.join(program)).find(is_usable)
    }

    /// A program that Telegraf cannot start.
    fn program(&self, command: &[String], path: &OsStr) -> Option<Finding> {
        let program = program_of(command)?;
        if self.program_file(command, path).is_some() {
            return None;
        }
        let why = match fs::metadata(program) {
            _ if !program.contains('/') => "which is in no folder of PATH",
            Err(_) => "which is not there",
            Ok(_) => "which is no program that can be started",
        };
        Some(kinds::no_program(self.name(), program, why))
    }

    /// A command without the word that it needs.
    fn word(&self, command: &[String]) -> Option<Finding> {
        let has = |word: &str| command.iter().any(|it| it == word);
        match self.kind {
            // Telegraf takes each word as it is written, and the first one for a program.
            PluginKind::Execd
                if !self.table.get("command").is_some_and(Value::is_array) || !has("execd") =>
            {
                Some(kinds::no_execd(self.name()))
            }
            PluginKind::Exec if has("execd") => Some(kinds::execd_in_exec(self.name())),
            _ => None,
        }
    }

    fn refused(&self, command: &[String], why: &str) -> Finding {
        let words: Vec<String> = command.iter().map(|word| shell(word)).collect();
        let command = words.join(" ");
        kinds::command_refused(self.name(), &command, why, as_user("telegraf", &command))
    }

    fn format(&self) -> Option<Finding> {
        match (self.kind, self.table.get("data_format")) {
            (_, Some(format)) if format.as_str() == Some("influx") => None,
            // The default of inputs.execd.
            (PluginKind::Execd, None) => None,
            (PluginKind::Exec, None) => Some(kinds::no_data_format(self.name())),
            (_, Some(format)) => Some(kinds::data_format(self.name(), format)),
        }
    }

    fn execd(&self, cli: &Cli, settings: &Settings) -> Vec<Finding> {
        let mut findings = vec![self.signal(cli)];
        let restart = self.table.get("restart_delay").and_then(time);
        if let Some(delay) = restart.filter(|delay| *delay > RESTART_MAX) {
            findings.push(kinds::restart_delay(self.name(), duration::format_duration(delay)));
        }
        if self.table.get("stop_on_error").and_then(Value::as_bool) == Some(true) {
            findings.push(kinds::stop_on_error(self.name()));
        }
        findings.extend(self.rounded(cli, settings));
        findings
    }

    /// That Telegraf rounds the times of lines to what makes several of them one point.
    fn rounded(&self, cli: &Cli, settings: &Settings) -> Option<Finding> {
        let precision = self.table.get("precision").and_then(time).filter(|it| *it > FINE)?;
        let shown = duration::format_duration(precision);
        if settings.extra.has(Extra::Events) {
            return Some(kinds::rounded_events(self.name(), shown, config::SYSTEM_FILE));
        }
        let own = self.table.get("interval").and_then(time);
        let interval = cli.interval.or(own).filter(|interval| *interval < precision * 2)?;
        Some(kinds::rounded_interval(self.name(), shown, duration::format_duration(interval)))
    }

    fn signal(&self, cli: &Cli) -> Finding {
        let signal = self.table.get("signal").map(|signal| signal.as_str().unwrap_or_default());
        match signal {
            Some("STDIN") => kinds::execd(self.name()),
            Some(signal @ ("SIGHUP" | "SIGUSR1" | "SIGUSR2")) => kinds::signal(self.name(), signal),
            None | Some("none") if cli.interval.is_some() => kinds::execd_by_itself(self.name()),
            None | Some("none") => kinds::no_signal(self.name()),
            Some(other) => kinds::unknown_signal(self.name(), other),
        }
    }

    fn exec(&self, settings: &Settings) -> Vec<Finding> {
        let mut findings = vec![kinds::exec(self.name())];
        let timeout = self.table.get("timeout");
        let shown =
            timeout.map_or_else(|| TIMEOUT.to_owned(), |it| it.to_string().replace('"', ""));
        let timeout = timeout.map_or(Some(Duration::from_secs(5)), time);
        if timeout.is_some_and(|timeout| timeout <= settings.deadline) {
            let deadline = duration::format_duration(settings.deadline);
            let longer = duration::format_duration(settings.deadline + Duration::from_secs(1));
            findings.push(kinds::timeout(self.name(), shown, deadline, longer));
        }
        if self.table.get("log_stderr").and_then(Value::as_bool) != Some(true) {
            findings.push(kinds::no_log_stderr(self.name()));
        }
        findings
    }

    /// That what Telegraf starts has other settings than those looked at here.
    fn other_settings(
        &self,
        cli: &Cli,
        settings: &Settings,
        around: &PluginEnv<'_>,
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
        option("--deadline", cli.deadline.map(duration::format_duration));
        for (name, _, items) in cli.replaced() {
            items.iter().for_each(|item| option(&format!("--{name}"), Some(item.clone())));
        }
        if cli.no_cache {
            options.push("--no-cache".to_owned());
        }
        if options.is_empty() || *settings == around.context.settings {
            return None;
        }
        Some(kinds::other_settings(self.name(), options.join(" ")))
    }
}

/// The word of the command that names this program, also behind others such as `sudo`.
fn program_of(command: &[String]) -> Option<&str> {
    command.iter().flat_map(|text| text.split_whitespace()).find(|word| is_us(word))
}

fn is_us(word: &str) -> bool {
    Path::new(word).file_name() == Some(OsStr::new(env!("CARGO_PKG_NAME")))
}

fn is_program(seen: &fs::Metadata) -> bool {
    seen.is_file() && seen.permissions().mode() & 0o111 != 0
}
