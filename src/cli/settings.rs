//! The settings of the file, with the options over them, and what a command makes of both.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::{Cli, Command, effective};
use crate::config::{self, ConfigError, Settings};
use crate::record;

impl Cli {
    /// The settings of the file, with these options over them; and which file that was.
    ///
    /// # Errors
    /// When the file, or a variable of the environment, is not valid.
    pub fn settings(
        &self,
        environment: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<(Settings, Option<PathBuf>), ConfigError> {
        let (mut settings, file) = Settings::load(self.config.as_deref(), environment)?;
        if !self.uris.is_empty() {
            settings.uris.clone_from(&self.uris);
        }
        if let Some(deadline) = self.deadline {
            settings.deadline = deadline;
        }
        if let Some(dir) = &self.cache_dir {
            settings.cache.dir = Some(dir.clone());
        }
        settings.cache.enabled = !self.no_cache;
        for (option, path, items) in self.replaced() {
            let replaced = settings.replace(path, items);
            replaced.map_err(|why| {
                let why =
                    why.strip_prefix(path).map_or(why.clone(), |rest| format!("--{option}{rest}"));
                ConfigError::of(why)
            })?;
        }
        settings.complete(environment)?;
        if self.command == Command::Record && settings.uris.len() > 1 {
            let found = settings.uris.len();
            let how = "record reads one hypervisor: choose it with --uri";
            return Err(ConfigError::of(format!("uris names {found} hypervisors, but {how}")));
        }
        Ok((settings, file))
    }

    /// What `config` prints.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub fn configuration(
        &self,
        environment: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<String, ConfigError> {
        if self.effective {
            effective::text(self, environment)
        } else {
            Ok(config::SAMPLE.to_owned())
        }
    }

    /// What `record` is to do with these settings.
    pub fn recording<'a>(&'a self, settings: &'a Settings) -> record::RecordCommand<'a> {
        record::RecordCommand {
            uri: settings.uris.first().map_or(config::DEFAULT_URI, String::as_str),
            file: self.file.as_deref().unwrap_or(Path::new("-")),
            moments: self.samples,
            every: self.interval,
            patience: settings.deadline,
            max_stuck: settings.max_stuck,
            anonymize: self.anonymize,
        }
    }

    /// The lists of settings that options replace: the option, the setting, and what it is.
    pub fn replaced(&self) -> impl Iterator<Item = (&'static str, &'static str, &[String])> {
        let given = |list: &'_ [String]| !list.is_empty();
        let lists = [
            (
                "include",
                "domains.include",
                Some(self.include.as_slice()).filter(|list| given(list)),
            ),
            (
                "exclude",
                "domains.exclude",
                Some(self.exclude.as_slice()).filter(|list| given(list)),
            ),
            ("extra", "extra", self.extra.as_deref()),
            ("features", "features", self.features.as_deref()),
        ];
        lists.into_iter().filter_map(|(option, path, list)| Some((option, path, list?)))
    }
}
