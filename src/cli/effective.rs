//! What `config --effective` prints: each setting in force, as TOML, with where it comes from.

use std::ffi::OsString;

use super::Cli;
use crate::config::{
    ConfigError, DEFAULT_URI, FileSetting, SETTINGS, Settings, URI_VARIABLE, duration,
};
use crate::printable::sanitize;

/// The settings in force with these options.
///
/// # Errors
/// What is wrong with them, as of every command.
pub(super) fn text(
    cli: &Cli,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<String, ConfigError> {
    let (settings, _) = cli.settings(environment)?;
    let (_, file, written) = Settings::load_written(cli.config.as_deref(), environment)?;
    let of_file = file.map_or("no file".to_owned(), |file| sanitize(&file.display().to_string()));
    let mut text =
        format!("# telegraf-virt {}; configuration: {of_file}\n", env!("CARGO_PKG_VERSION"));
    let mut table = "";
    for setting in SETTINGS {
        let (of, key) = setting.path.split_once('.').unwrap_or(("", setting.path));
        if of != table {
            text.push_str(&format!("\n[{of}]\n"));
            table = of;
        }
        let found = written.iter().rev().find(|it| it.table == of && it.key == key);
        let (value, origin) = option(cli, setting.path)
            .map(|(option, value)| (value, format!("--{option}")))
            .or_else(|| found.map(|found| (on_one_line(&found.value), origin(found))))
            .unwrap_or_else(|| (setting.default.to_owned(), "default".to_owned()));
        // `uris = []` in the file means the same as none.
        let is_unnamed = setting.path == "uris" && !origin.starts_with("--") && {
            let in_file = found.is_some_and(|found| found.value.contains(['"', '\'']));
            !in_file
        };
        let (value, origin) = match settings.uris.as_slice() {
            [uri] if is_unnamed && uri != DEFAULT_URI => (list([uri]), format!("${URI_VARIABLE}")),
            [uri] if is_unnamed => (list([uri]), "default".to_owned()),
            _ => (value, origin),
        };
        text.push_str(&line(key, &value, &origin));
    }
    for table in ["tags", "metadata_tags"] {
        text.push_str(&format!("\n[{table}]\n"));
        for (place, tag) in written.iter().enumerate().filter(|(_, it)| it.table == table) {
            let is_replaced =
                written[place + 1..].iter().any(|it| it.table == table && it.key == tag.key);
            if !is_replaced {
                text.push_str(&line(&quoted(&tag.key), &on_one_line(&tag.value), &origin(tag)));
            }
        }
    }
    Ok(text)
}

fn line(key: &str, value: &str, origin: &str) -> String {
    format!("{} # {}\n", sanitize(&format!("{key} = {value}")), sanitize(origin))
}

fn origin(written: &FileSetting) -> String {
    format!("{}, line {}", written.file.display(), written.line)
}

/// The option that sets this, and its value.
fn option(cli: &Cli, path: &str) -> Option<(&'static str, String)> {
    if let Some((option, _, items)) = cli.replaced().find(|(_, setting, _)| *setting == path) {
        return Some((option, list(items)));
    }
    match path {
        "uris" if !cli.uris.is_empty() => Some(("uri", list(&cli.uris))),
        "deadline" => {
            cli.deadline.map(|time| ("deadline", quoted(&duration::format_duration(time))))
        }
        "cache.dir" if cli.no_cache => Some(("no-cache: there is none", quoted(""))),
        "cache.dir" => {
            let dir = cli.cache_dir.as_ref()?;
            Some(("cache-dir", quoted(&dir.to_string_lossy())))
        }
        _ => None,
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn list<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| quoted(item.as_ref())).collect();
    format!("[{}]", items.join(", "))
}

/// A value that may go over several lines, with comments in it.
fn on_one_line(written: &str) -> String {
    if !written.contains('\n') {
        return written.to_owned();
    }
    let read = format!("value = {written}").parse::<toml::Table>();
    let value = read.ok().and_then(|mut table| table.remove("value"));
    value.map_or_else(|| written.replace('\n', " "), |value| value.to_string())
}
