//! How Telegraf starts this program, where its configuration can be found and read: what there would
//! lose points, and what is not wise. It is all advice, since a collection itself lacks nothing;
//! Telegraf's own mistakes are Telegraf's to tell.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::{Table, Value};

use super::Finding;
use crate::config::{Settings, duration};

/// Telegraf's own variable for its configuration.
pub const FILE_VARIABLE: &str = "TELEGRAF_CONFIG_PATH";
/// Where Debian's package and Telegraf's own look for it.
const PLACES: [&str; 2] = ["/etc/telegraf/telegraf.conf", "/etc/telegraf/telegraf.d"];
/// Longer files, more files in a folder and deeper folders are passed over.
const FILE_MAX: u64 = 1 << 20;
const FILES_MAX: usize = 1000;
const DEPTH_MAX: usize = 8;
const STDIN: &str = "write there: signal = \"STDIN\"";

/// What Telegraf's configuration says of this program: that which [`FILE_VARIABLE`] names, as
/// Telegraf has it, else that below /etc/telegraf.
pub(super) fn findings(settings: &Settings) -> Vec<Finding> {
    match env::var_os(FILE_VARIABLE).map(PathBuf::from) {
        Some(path) if !path.as_os_str().is_empty() => {
            let reason = fs::metadata(&path).err();
            let missing = reason.map(|reason| not_looked_at(&path, &reason.to_string()));
            missing.into_iter().chain(findings_in(&[path], settings)).collect()
        }
        _ => findings_in(&PLACES.map(PathBuf::from), settings),
    }
}

fn findings_in(places: &[PathBuf], settings: &Settings) -> Vec<Finding> {
    let mut files = Vec::new();
    places.iter().for_each(|place| find_files(place, 0, &mut files));
    let mut findings = Vec::new();
    let (mut execd, mut exec) = (0, 0);
    for file in &files {
        let table = match read(file) {
            Ok(Some(table)) => table,
            Ok(None) => continue,
            Err(reason) => {
                findings.push(not_looked_at(file, &reason));
                continue;
            }
        };
        for plugin in plugins(&table, "execd") {
            let Some(words) = ours(plugin.get("command")) else { continue };
            execd += 1;
            findings.extend(execd_finding(file, plugin, &words));
        }
        for plugin in plugins(&table, "exec") {
            let Some(words) = ours(plugin.get("commands")) else { continue };
            exec += 1;
            findings.extend(exec_findings(file, plugin, &words, settings));
        }
    }
    if execd > 0 && exec > 0 {
        let text = "Telegraf starts telegraf-virt by inputs.execd and by inputs.exec, so that every \
                    point may come twice";
        let remedy = "leave one of the two out, best inputs.exec";
        findings.push(Finding::advice(text.to_owned(), remedy.to_owned()));
    }
    findings
}

/// The files that Telegraf loads: one that is named, and those ending in .conf below a folder.
fn find_files(place: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    let Ok(seen) = fs::metadata(place) else { return };
    if seen.is_file() && (depth == 0 || place.extension() == Some(OsStr::new("conf"))) {
        files.push(place.to_owned());
    }
    if !seen.is_dir() || depth == DEPTH_MAX || (depth > 0 && is_passed_over(place)) {
        return;
    }
    let mut entries: Vec<PathBuf> = fs::read_dir(place)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .take(FILES_MAX)
        .collect();
    entries.sort_unstable();
    for entry in entries {
        if files.len() < FILES_MAX {
            find_files(&entry, depth + 1, files);
        }
    }
}

/// Whether Telegraf does not go into this folder: not through a link, of which a few that lead back
/// would never end, nor where Kubernetes keeps what its links lead to.
fn is_passed_over(folder: &Path) -> bool {
    let is_hidden =
        folder.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".."));
    is_hidden || folder.is_symlink()
}

/// A file that may start this program, or why that cannot be told; `None` where it does not name it.
fn read(file: &Path) -> Result<Option<Table>, String> {
    let mut bytes = Vec::new();
    let opened =
        File::open(file).and_then(|opened| opened.take(FILE_MAX + 1).read_to_end(&mut bytes));
    opened.map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&bytes);
    if !text.contains(env!("CARGO_PKG_NAME")) {
        return Ok(None);
    }
    if bytes.len() as u64 > FILE_MAX {
        return Err("it is too long".to_owned());
    }
    // Telegraf puts variables in before it reads the file; what they are is not known here.
    text.parse().map(Some).map_err(|error: toml::de::Error| error.message().to_owned())
}

fn not_looked_at(file: &Path, reason: &str) -> Finding {
    Finding::advice(
        format!("{}: cannot be looked at: {reason}", file.display()),
        "run this as the user of Telegraf; what Telegraf makes of the file, `telegraf --test` says"
            .to_owned(),
    )
}

/// The `[[inputs.KIND]]` of a file.
fn plugins<'a>(table: &'a Table, kind: &str) -> impl Iterator<Item = &'a Table> {
    let inputs = table.get("inputs").and_then(|inputs| inputs.get(kind));
    inputs.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_table)
}

/// A command's words, or those of several, as they are written, where one of them is this program.
fn ours(command: Option<&Value>) -> Option<Vec<&str>> {
    let words = words(command?);
    words.iter().any(|text| text.split_whitespace().any(is_us)).then_some(words)
}

fn words(command: &Value) -> Vec<&str> {
    match command {
        Value::String(text) => vec![text.as_str()],
        Value::Array(parts) => parts.iter().flat_map(words).collect(),
        _ => Vec::new(),
    }
}

fn is_us(word: &str) -> bool {
    Path::new(word).file_name() == Some(OsStr::new(env!("CARGO_PKG_NAME")))
}

/// The program's own path, where it is written whole and nothing is there.
fn missing_program<'a>(words: &[&'a str]) -> Option<&'a str> {
    let mut programs = words.iter().flat_map(|text| text.split_whitespace());
    programs.find(|word| is_us(word) && word.starts_with('/') && !Path::new(word).exists())
}

fn execd_finding(file: &Path, plugin: &Table, words: &[&str]) -> Option<Finding> {
    let file = file.display();
    if let Some(program) = missing_program(words) {
        return Some(no_program(&format!("{file}: inputs.execd starts {program}")));
    }
    // Telegraf takes each word as it is written, and the first one for a program.
    if !plugin.get("command").is_some_and(Value::is_array) || !words.contains(&"execd") {
        return Some(Finding::advice(
            format!("{file}: inputs.execd does not start `telegraf-virt execd`"),
            "write there: command = [\"telegraf-virt\", \"execd\"]".to_owned(),
        ));
    }
    if let Some(format) = plugin.get("data_format").filter(|format| !is_influx(format)) {
        return Some(wrong_format(&format!("{file}: inputs.execd has data_format = {format}")));
    }
    let has_interval = words.iter().any(|word| word.starts_with("--interval"));
    Some(match plugin.get("signal").map(|signal| signal.as_str().unwrap_or_default()) {
        Some("STDIN") => Finding::good(format!("{file}: inputs.execd asks by signal = \"STDIN\"")),
        Some(signal @ ("SIGHUP" | "SIGUSR1" | "SIGUSR2")) => Finding::advice(
            format!(
                "{file}: inputs.execd has signal = \"{signal}\": Telegraf may send the first one \
                 before the program can catch it, and that kills it"
            ),
            STDIN.to_owned(),
        ),
        None | Some("none") if has_interval => {
            Finding::good(format!("{file}: inputs.execd leaves the interval to the program"))
        }
        None | Some("none") => Finding::advice(
            format!("{file}: inputs.execd has no signal, so Telegraf never asks for a collection"),
            STDIN.to_owned(),
        ),
        // Telegraf refuses it, and says so.
        Some(_) => return None,
    })
}

fn exec_findings(file: &Path, plugin: &Table, words: &[&str], settings: &Settings) -> Vec<Finding> {
    let file = file.display();
    if let Some(program) = missing_program(words) {
        return vec![no_program(&format!("{file}: inputs.exec starts {program}"))];
    }
    if words.iter().any(|text| text.split_whitespace().any(|word| word == "execd")) {
        return vec![Finding::advice(
            format!(
                "{file}: inputs.exec starts `telegraf-virt execd`, which waits for inputs.execd"
            ),
            "write there: commands = [[\"telegraf-virt\", \"once\"]]".to_owned(),
        )];
    }
    if !plugin.get("data_format").is_some_and(is_influx) {
        let text = format!("{file}: inputs.exec has no data_format = \"influx\"");
        return vec![wrong_format(&text)];
    }
    let mut findings = vec![Finding::good(format!("{file}: inputs.exec starts the program"))];
    let timeout = plugin.get("timeout").and_then(Value::as_str).unwrap_or("5s");
    if duration::parse(timeout, Duration::ZERO..=Duration::MAX)
        .is_ok_and(|timeout| timeout <= settings.deadline)
    {
        let deadline = duration::shown(settings.deadline);
        findings.push(Finding::advice(
            format!(
                "{file}: inputs.exec ends the program after timeout = \"{timeout}\", while its \
                 deadline is {deadline}: a collection with a guest that hangs is cut short"
            ),
            format!("a longer timeout there, or a shorter deadline than {timeout} here"),
        ));
    }
    findings
}

fn no_program(text: &str) -> Finding {
    Finding::advice(
        format!("{text}, which is not there: Telegraf does not start"),
        "write the path that `command -v telegraf-virt` prints".to_owned(),
    )
}

fn is_influx(format: &Value) -> bool {
    format.as_str() == Some("influx")
}

fn wrong_format(text: &str) -> Finding {
    let text = format!("{text}: Telegraf does not understand what the program prints");
    Finding::advice(text, "write there: data_format = \"influx\"".to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::check::Verdict::{self, Advice, Good};

    fn found(configuration: &str) -> Vec<(Verdict, String)> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.conf"), configuration).unwrap();
        fs::write(folder.path().join("a.conf.example"), "[[inputs.execd]]\ncommand = 7").unwrap();
        let settings = Settings { deadline: Duration::from_secs(4), ..Settings::default() };
        let prefix = format!("{}/a.conf: ", folder.path().display());
        let findings = findings_in(&[folder.path().to_owned()], &settings);
        findings.into_iter().map(|it| (it.verdict, it.text.replace(&prefix, ""))).collect()
    }

    fn execd(lines: &str) -> Vec<(Verdict, String)> {
        found(&format!("[[inputs.execd]]\ncommand = [\"telegraf-virt\", \"execd\"]\n{lines}"))
    }

    fn exec(lines: &str) -> Vec<(Verdict, String)> {
        found(&format!("[[inputs.exec]]\ncommands = [[\"telegraf-virt\", \"once\"]]\n{lines}"))
    }

    #[test]
    fn a_signal_and_none_are_advised_against() {
        for signal in ["SIGHUP", "SIGUSR1", "SIGUSR2"] {
            let text = format!(
                "inputs.execd has signal = \"{signal}\": Telegraf may send the first one before \
                 the program can catch it, and that kills it"
            );
            assert_eq!(execd(&format!("signal = \"{signal}\"")), [(Advice, text)]);
        }
        let never = "inputs.execd has no signal, so Telegraf never asks for a collection";
        assert_eq!(execd(""), [(Advice, never.to_owned())]);
        assert_eq!(execd("signal = \"none\""), [(Advice, never.to_owned())]);
        let own = "command = [\"telegraf-virt\", \"execd\", \"--interval\", \"10s\"]";
        let good = "inputs.execd leaves the interval to the program";
        assert_eq!(found(&format!("[[inputs.execd]]\n{own}")), [(Good, good.to_owned())]);
    }

    #[test]
    fn a_format_that_is_not_influx_is_advised_against() {
        let end = ": Telegraf does not understand what the program prints";
        let json = format!("inputs.execd has data_format = \"json\"{end}");
        assert_eq!(execd("signal = \"STDIN\"\ndata_format = \"json\""), [(Advice, json)]);
        let missing = format!("inputs.exec has no data_format = \"influx\"{end}");
        assert_eq!(exec("timeout = \"5s\""), [(Advice, missing)]);
    }

    #[test]
    fn a_timeout_within_the_deadline_is_advised_against() {
        let good = (Good, "inputs.exec starts the program".to_owned());
        assert_eq!(exec("data_format = \"influx\""), std::slice::from_ref(&good));
        let advice = "inputs.exec ends the program after timeout = \"3s\", while its deadline is \
                      4s: a collection with a guest that hangs is cut short";
        let found = exec("data_format = \"influx\"\ntimeout = \"3s\"");
        assert_eq!(found, [good, (Advice, advice.to_owned())]);
    }

    #[test]
    fn both_ways_at_once_are_advised_against_and_others_programs_are_nobodys_business() {
        let text = "[[inputs.execd]]\ncommand = [\"telegraf-virt\", \"execd\"]\nsignal = \"STDIN\"\n\
                    [[inputs.exec]]\ncommands = [\"telegraf-virt once\"]\ndata_format = \"influx\"\n";
        let verdicts: Vec<Verdict> = found(text).into_iter().map(|(verdict, _)| verdict).collect();
        assert_eq!(verdicts, [Good, Good, Advice]);
        assert_eq!(found("[[inputs.execd]]\ncommand = [\"other\"]\n[[inputs.exec]]"), []);
        assert_eq!(found("[agent]\ninterval = ${INTERVAL}\n"), []);
    }

    #[test]
    fn a_command_that_telegraf_cannot_start_or_that_does_not_stay_is_advised_against() {
        let not_execd = [(Advice, "inputs.execd does not start `telegraf-virt execd`".to_owned())];
        for command in [
            "\"telegraf-virt execd\"",
            "[\"telegraf-virt execd\"]",
            "[\"telegraf-virt\"]",
            "[\"telegraf-virt\", \"once\"]",
        ] {
            let text = format!("[[inputs.execd]]\ncommand = {command}\nsignal = \"STDIN\"");
            assert_eq!(found(&text), not_execd, "{command}");
        }
        let stays = "inputs.exec starts `telegraf-virt execd`, which waits for inputs.execd";
        for commands in ["[[\"telegraf-virt\", \"execd\"]]", "[\"telegraf-virt execd\"]"] {
            let text = format!("[[inputs.exec]]\ncommands = {commands}\ndata_format = \"influx\"");
            assert_eq!(found(&text), [(Advice, stays.to_owned())], "{commands}");
        }
        let text = "[[inputs.execd]]\ncommand = [\"/none/telegraf-virt\", \"execd\"]";
        let missing = "inputs.execd starts /none/telegraf-virt, which is not there: Telegraf does \
                       not start";
        assert_eq!(found(text), [(Advice, missing.to_owned())]);
    }

    #[test]
    fn a_file_that_names_the_program_and_cannot_be_read_is_told_and_others_are_not() {
        let found = found("[[inputs.execd]]\ncommand = [\"telegraf-virt\", ${WORD}]\n");
        assert_eq!(found.len(), 1);
        assert!(found[0].1.starts_with("cannot be looked at: "), "{found:?}");
        let folder = tempfile::tempdir().unwrap();
        let absent = folder.path().join("absent");
        assert_eq!(findings_in(&[absent], &Settings::default()), []);
    }

    #[test]
    fn folders_that_telegraf_does_not_go_into_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["inner", "..2026"] {
            fs::create_dir(path(name)).unwrap();
            fs::write(path(name).join("a.conf"), "").unwrap();
        }
        symlink("..2026", path("..data")).unwrap();
        symlink("..data/a.conf", path("linked.conf")).unwrap();
        // Each leads back to all of them: at 8 folders deep some hundred million times.
        for link in 0..10 {
            symlink(".", path(&format!("link-{link}"))).unwrap();
        }
        let mut files = Vec::new();
        find_files(folder.path(), 0, &mut files);
        assert_eq!(files, [path("inner/a.conf"), path("linked.conf")]);
    }
}
