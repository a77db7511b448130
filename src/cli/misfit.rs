//! What is wrong with options that are right one by one.

use crate::config::foreign;
use crate::config::names::quoted;

use super::{Cli, Command, Format, OWN, SETTING_OPTIONS, SHOWS};

impl Cli {
    /// What is wrong with options that are right one by one.
    pub(super) fn misfit(&self) -> Option<String> {
        if let Some(file) = self.file.as_ref().filter(|_| self.command != Command::Record) {
            let word = quoted(&file.to_string_lossy());
            return Some(format!("unexpected argument {word}; {SHOWS}"));
        }
        if let Some(message) = self.misplaced() {
            return Some(message);
        }
        let command = self.command;
        for option in self.given() {
            if command == Command::Config && (self.effective || option == "effective") {
                if option == "effective" || SETTING_OPTIONS.contains(&option) {
                    continue;
                }
            } else if command == Command::Config {
                let only = "config, which only prints the sample: omit it";
                return Some(format!("--{option} does nothing for {only}"));
            }
            if command.offers(option) {
                continue;
            }
            return Some(match OWN.iter().find(|(name, ..)| *name == option) {
                Some((_, commands, example)) => format!(
                    "--{option} belongs to {}, not to {}, as in {example}",
                    commands.iter().map(|it| it.name()).collect::<Vec<_>>().join(" and "),
                    command.name()
                ),
                None => format!(
                    "--{option} does nothing for {}, which neither reads nor stores anything there: \
                     omit it",
                    command.name()
                ),
            });
        }
        if command == Command::Record {
            return self.misfit_of_record();
        }
        if command == Command::Events && self.view.format == Format::Table {
            let how = "omit --format for output that humans read";
            return Some(format!("events has no table: {how}"));
        }
        let of_table = ["sort", "top", "watch"];
        if self.view.format != Format::Table
            && let Some(option) = self.given().find(|option| of_table.contains(option))
        {
            return Some(format!("--{option} is for the table: write --format table, or omit it"));
        }
        let twice = self.uris.iter().enumerate().find(|(n, uri)| self.uris[..*n].contains(uri));
        twice.map(|(_, uri)| format!("--uri {} is given twice: omit one", quoted(uri)))
    }

    /// A value that was meant for another program, or for a shell.
    fn misplaced(&self) -> Option<String> {
        let paths =
            [("--config", &self.config), ("--cache-dir", &self.cache_dir), ("FILE", &self.file)];
        for (option, path) in paths {
            let Some(text) = path.as_ref().map(|path| path.to_string_lossy()) else { continue };
            let shown = quoted(&text);
            if option == "--config" && text.contains("://") {
                return Some(format!(
                    "--config is {shown}, but that is a URI: write --uri {shown}"
                ));
            }
            if let Some(what) = foreign::unexpanded(&text) {
                let why = format!("{what} is not expanded here: write the full path");
                return Some(format!("{option} is {shown}, but {why}"));
            }
        }
        None
    }

    /// The options on the command line.
    fn given(&self) -> impl Iterator<Item = &'static str> {
        let given = [
            ("config", self.config.is_some()),
            ("uri", !self.uris.is_empty()),
            ("cache-dir", self.cache_dir.is_some()),
            ("no-cache", self.no_cache),
            ("deadline", self.deadline.is_some()),
            ("interval", self.interval.is_some()),
            ("format", self.format_named.is_some()),
            ("sort", self.sort.is_some()),
            ("top", self.top.is_some()),
            ("watch", self.watch.is_some()),
            ("include", !self.include.is_empty()),
            ("exclude", !self.exclude.is_empty()),
            ("extra", self.extra.is_some()),
            ("features", self.features.is_some()),
            ("effective", self.effective),
            ("json", self.json),
            ("samples", self.samples.is_some()),
            ("anonymize", self.anonymize),
            ("log-level", self.log_level_named.is_some()),
        ];
        given.into_iter().filter(|(_, is_given)| *is_given).map(|(option, _)| option)
    }

    fn misfit_of_record(&self) -> Option<String> {
        if self.file.as_ref().is_none_or(|file| file.as_os_str().is_empty()) {
            let how = "write telegraf-virt record FILE, or - for standard output";
            return Some(format!("record has no file: {how}"));
        }
        if self.uris.len() > 1 {
            return Some("record reads one hypervisor: give one --uri".to_owned());
        }
        None
    }
}
