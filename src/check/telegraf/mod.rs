//! How Telegraf starts this program, where its configuration can be found and read: what loses points there
//! (Telegraf does not start the program, never triggers it, or reads another format), and what is not wise.
//! Mistakes that have nothing to do with this program are Telegraf's to report.

mod files;
pub(super) mod handover;
mod losses;
mod plugin;
pub(super) mod user;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use toml::{Table, Value};

use super::catalogue::telegraf as kinds;
use super::finding::Finding;
use super::{CheckContext, as_user, shell, within_time};
use crate::config::{self, duration};
use crate::deadline::Ending;
use crate::pool::NO_ANSWER;
use files::{Loaded, Unread};
use plugin::{Plugin, PluginKind};

/// Telegraf's own variable for its configuration.
pub const FILE_VARIABLE: &str = "TELEGRAF_CONFIG_PATH";
/// Where Debian's package and Telegraf's own look for it.
const PLACES: [&str; 2] = ["/etc/telegraf/telegraf.conf", "/etc/telegraf/telegraf.d"];
/// The file for inputs.execd, where Debian's package of this program puts it.
const PACKAGED: &str = "/usr/share/doc/telegraf-virt/examples/telegraf.d/telegraf-virt.conf";
/// What systemd gives its services, beside what this shell has.
const SERVICE_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Endings that people give to a file which is not to be used.
const OFF: [&str; 9] =
    [".example", ".sample", ".disabled", ".off", ".bak", ".orig", ".old", ".dpkg-dist", ".rpmnew"];
/// Telegraf's interval where nothing sets one.
const INTERVAL: Duration = Duration::from_secs(10);
/// What Telegraf's files say of this program.
pub(super) struct Telegraf {
    pub(super) findings: Vec<Finding>,
    /// How often it collects from us; `None` where it does not.
    pub(super) interval: Option<Duration>,
    /// The programs that it starts, of this name.
    programs: Vec<PathBuf>,
    /// Whether it starts one with the settings that are checked here.
    uses_these_settings: bool,
}

/// What of the program's surroundings counts for a program that Telegraf starts.
struct PluginEnv<'a> {
    context: &'a CheckContext,
    /// Folders of programs.
    path: OsString,
    /// Where our configuration is when the command does not say so.
    configuration: Option<OsString>,
    /// The file or folder that is looked at now, should it not answer.
    at: &'a Mutex<PathBuf>,
}

impl PluginEnv<'_> {
    fn is_at(&self, path: &Path) {
        path.clone_into(&mut lock(self.at));
    }
}

/// Reads that which [`FILE_VARIABLE`] names, as Telegraf has it, else that below /etc/telegraf.
pub(super) fn read(context: &CheckContext, ending: &Ending) -> Telegraf {
    let at = Arc::new(Mutex::new(PathBuf::new()));
    let (context, looker, place) = (context.clone(), ending.clone(), Arc::clone(&at));
    within_time(move || look(&context, &looker, &place)).unwrap_or_else(|| Telegraf {
        findings: vec![not_looked_at(&lock(&at), NO_ANSWER)],
        interval: None,
        programs: Vec::new(),
        uses_these_settings: false,
    })
}

fn lock(at: &Mutex<PathBuf>) -> MutexGuard<'_, PathBuf> {
    at.lock().unwrap_or_else(PoisonError::into_inner)
}

fn look(context: &CheckContext, ending: &Ending, at: &Mutex<PathBuf>) -> Telegraf {
    let mut path = env::var_os("PATH").unwrap_or_default();
    path.push(":");
    path.push(SERVICE_PATH);
    let configuration = env::var_os(config::FILE_VARIABLE);
    let around = PluginEnv { context, path, configuration, at };
    match env::var_os(FILE_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from) {
        Some(path) => {
            around.is_at(&path);
            let reason = fs::metadata(&path).err();
            let missing = reason.map(|reason| not_looked_at(&path, &reason.to_string()));
            let mut telegraf = read_in(&[path], &around, ending);
            telegraf.findings.extend(missing);
            telegraf
        }
        None => read_in(&PLACES.map(PathBuf::from), &around, ending),
    }
}

fn read_in(places: &[PathBuf], around: &PluginEnv<'_>, ending: &Ending) -> Telegraf {
    let mut paths = Vec::new();
    for place in places {
        around.is_at(place);
        files::find(place, 0, &mut paths);
    }
    let mut findings = Vec::new();
    let mut plugins: Vec<Starter> = Vec::new();
    let mut interval = INTERVAL;
    let (mut programs, mut uses_these_settings) = (Vec::new(), false);
    for path in &paths {
        if ending.since().is_some() {
            break;
        }
        around.is_at(path);
        let Loaded { path, names_us, table } = files::read(path);
        let table = match table {
            Ok(table) => table,
            Err(unread) => {
                findings.extend(names_us.then(|| unusable(&path, &unread)));
                continue;
            }
        };
        if is_ours(&table) || around.context.file.as_ref() == Some(&path) {
            findings.push(misplaced(&path));
            continue;
        }
        interval = table.get("agent").and_then(of_agent).unwrap_or(interval);
        for kind in [PluginKind::Execd, PluginKind::Exec] {
            for table in tables(&table, kind.name()) {
                let plugin = Plugin { file: &path, kind, table };
                for command in plugin.commands() {
                    findings.extend(plugin.findings(&command, around));
                    programs.extend(plugin.program_file(&command, &around.path));
                    let settings = plugin.settings(&command, around);
                    uses_these_settings |=
                        settings.is_ok_and(|(_, settings)| settings == around.context.settings);
                    plugins.push(Starter::new(kind, command, table));
                }
            }
        }
    }
    if ending.since().is_none() {
        findings.extend(together(&plugins));
    }
    if plugins.is_empty() && findings.is_empty() {
        findings.push(unused(places, &paths));
    }
    let interval = plugins.first().map(|it| it.interval.unwrap_or(interval));
    Telegraf { findings, interval, programs, uses_these_settings }
}

impl Telegraf {
    /// Whether it starts this very file.
    fn starts(&self, program: &Path) -> bool {
        let program = program.canonicalize().ok();
        let mut files = self.programs.iter().map(|it| it.canonicalize().ok());
        program.is_some() && files.any(|file| file == program)
    }
}

/// The `[[inputs.KIND]]` of a file.
fn tables<'a>(table: &'a Table, kind: &str) -> impl Iterator<Item = &'a Table> {
    let inputs = table.get("inputs").and_then(|inputs| inputs.get(kind));
    inputs.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_table)
}

fn of_agent(agent: &Value) -> Option<Duration> {
    of_plugin(agent.as_table()?)
}

fn of_plugin(table: &Table) -> Option<Duration> {
    time(table.get("interval")?)
}

/// A time as Telegraf takes it; a bare number is seconds.
fn time(value: &Value) -> Option<Duration> {
    match value {
        Value::String(text) => duration::parse(text, Duration::ZERO..=Duration::MAX).ok(),
        Value::Integer(seconds) => u64::try_from(*seconds).ok().map(Duration::from_secs),
        _ => None,
    }
}

/// Whether it is this program's own configuration, and not Telegraf's.
fn is_ours(table: &Table) -> bool {
    let is_telegrafs = ["agent", "inputs", "outputs", "global_tags", "processors", "aggregators"]
        .iter()
        .any(|key| table.contains_key(*key));
    // Telegraf itself takes [tags] for its global ones.
    let mut ours = config::top_names().filter(|name| *name != "tags");
    !is_telegrafs && ours.any(|name| table.contains_key(name))
}

fn misplaced(file: &Path) -> Finding {
    let shown = file.display().to_string();
    kinds::own_file_misplaced(&shown, shell(&shown), config::SYSTEM_FILE).about(shown)
}

/// A plugin that starts this program, and which measurements Telegraf takes from it.
struct Starter {
    kind: PluginKind,
    command: Vec<String>,
    interval: Option<Duration>,
    namepass: Vec<String>,
    namedrop: Vec<String>,
}

impl Starter {
    fn new(kind: PluginKind, command: Vec<String>, table: &Table) -> Self {
        let names = |key: &str| {
            let names = table.get(key).and_then(Value::as_array).into_iter().flatten();
            names.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let (namepass, namedrop) = (names("namepass"), names("namedrop"));
        Self { kind, command, interval: of_plugin(table), namepass, namedrop }
    }

    /// Whether no measurement is taken from both: one drops all that the other passes, or each passes others.
    /// Patterns are taken as names: these never differ from themselves.
    fn shares_nothing_with(&self, other: &Self) -> bool {
        let drops = |one: &Self, other: &Self| {
            !other.namepass.is_empty() && other.namepass.iter().all(|it| one.namedrop.contains(it))
        };
        let is_plain = |one: &Self| {
            !one.namepass.is_empty()
                && !one.namepass.iter().any(|it| it.contains(['*', '?', '[', '{']))
        };
        let others = is_plain(self)
            && is_plain(other)
            && !self.namepass.iter().any(|it| other.namepass.contains(it));
        drops(self, other) || drops(other, self) || others
    }
}

/// What is wrong with several plugins that each are right.
fn together(plugins: &[Starter]) -> Option<Finding> {
    let is_of = |kind| plugins.iter().any(|it| it.kind == kind);
    let is_twice = plugins.iter().enumerate().any(|(place, one)| {
        plugins.iter().take(place).any(|other| {
            let is_same = other.kind == one.kind && other.command == one.command;
            is_same && !one.shares_nothing_with(other)
        })
    });
    if is_of(PluginKind::Execd) && is_of(PluginKind::Exec) {
        return Some(kinds::both_ways());
    }
    is_twice.then(kinds::twice)
}

/// That nothing of Telegraf's starts this program, and why that may be.
fn unused(places: &[PathBuf], loaded: &[PathBuf]) -> Finding {
    let shown: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
    let mention = files::passed_over(places).into_iter().find(|path| {
        let Loaded { names_us, table, .. } = files::read(path);
        names_us && table.is_ok_and(|table| table.contains_key("inputs"))
    });
    if let Some(path) = mention {
        let path = path.display().to_string();
        let off = OFF.into_iter().find_map(|ending| path.strip_suffix(ending));
        let bare = off.unwrap_or(&path).trim_end_matches(".conf");
        let renamed = shell(&format!("{bare}.conf"));
        let finding = if off.is_some() { kinds::switched_off } else { kinds::not_loaded };
        return finding(&path, shell(&path), &renamed).about(path);
    }
    if loaded.is_empty() {
        return kinds::no_telegraf(shown.join(" or "));
    }
    kinds::unused(shown.join(", "), ours())
}

/// The file to copy: the package's, where that is installed, else the clone's.
fn ours() -> &'static str {
    if Path::new(PACKAGED).exists() { PACKAGED } else { "telegraf.d/telegraf-virt.conf" }
}

fn unusable(file: &Path, unread: &Unread) -> Finding {
    match unread {
        Unread::NotToml(reason) => {
            let shown = file.display().to_string();
            kinds::not_toml(&shown, reason).about(shown)
        }
        Unread::Unknown(reason) => not_looked_at(file, reason),
    }
}

fn not_looked_at(file: &Path, reason: &str) -> Finding {
    let shown = file.display().to_string();
    let command = format!("telegraf --test --config {}", shell(&shown));
    kinds::not_looked_at(&shown, reason, as_user("telegraf", &command)).about(shown)
}

#[cfg(test)]
mod tests;
