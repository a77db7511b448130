//! The configuration: what a user may set, with its defaults and bounds, checked before any work.
//!
//! This file has what each setting means, `setting` how each is read; `file` finds the text, `reader`
//! knows how TOML says it and `syntax` what is not TOML, `foreign` and `uri` what was meant for another program, `duration`, `pattern` and `names` are what settings are made of, `filter` and `tags` are
//! tables of their own. Strings become enums, times and patterns once, here. Nothing here reads
//! libvirt, the cache or the command line.

use std::ffi::OsString;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;

pub mod duration;
mod file;
pub mod filter;
pub mod foreign;
pub mod glob;
pub mod names;
pub mod pattern;
pub mod preset;
mod reader;
mod setting;
mod syntax;
mod tags;
mod uri;

pub use filter::{DeviceFilter, DomainFilter, Selection};
pub use setting::{SETTINGS, Setting, top_names};
pub use uri::check_uri;

pub use crate::schema::{DeviceTag, Feature, extra};

use crate::devices::metadata::{PATHS_MAX, Path as MetadataPath};
use extra::Extras;
use names::quoted;
use preset::Preset;
use reader::{Complaint, Entry};
use syntax::Readable;

/// What `telegraf-virt config` prints: every setting with its default, commented out.
pub const SAMPLE: &str = include_str!("sample.toml");

/// The configuration file of the system, read where it exists and no other is named.
pub const SYSTEM_FILE: &str = "/etc/telegraf-virt/config.toml";
/// Names the configuration file.
pub const FILE_VARIABLE: &str = "TELEGRAF_VIRT_CONFIG";
/// libvirt's own variable for the hypervisor to read when none is named.
pub const URI_VARIABLE: &str = "LIBVIRT_DEFAULT_URI";
/// What is read when nothing names a hypervisor.
pub const DEFAULT_URI: &str = "qemu:///system";

/// How long a collection may take.
pub const DEADLINE: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(600);
/// How often execd may collect on its own.
pub const INTERVAL: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(24 * 3600);
/// All that a user may set.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The hypervisors to read, each once. Empty when the file names none: see
    /// [`Settings::complete`].
    pub uris: Vec<String>,
    /// A collection is printed when this time has passed since its trigger, with what has arrived.
    pub deadline: Duration,
    /// Connections to each hypervisor that a collection is spread over.
    pub workers: usize,
    /// Calls that may hang in one hypervisor at the same time before no more are risked.
    pub max_stuck: usize,
    /// What is printed for a statistic that does not exist.
    pub missing: Missing,
    /// Measurements and fields beyond the four that are always there.
    pub extra: Extras,
    /// Rates beyond the memory's.
    pub features: Vec<Feature>,
    /// What a device's lines tell of it in tags, beyond its type and name.
    pub device_tags: Vec<DeviceTag>,
    /// What the timestamps of collections are cut to.
    pub precision: Precision,
    /// The device cache on disk.
    pub cache: CacheSettings,
    /// Which guests are read.
    pub domains: DomainFilter,
    /// Which of their devices are read.
    pub devices: DeviceFilter,
    /// Fixed tags of every line, sorted by name.
    pub tags: Vec<(String, String)>,
    /// Tags of a guest's lines whose values its metadata has, and where; sorted by name. Those of the preset are
    /// among them.
    pub metadata_tags: Vec<(String, MetadataPath)>,
    /// The platform whose tags are added.
    pub metadata_preset: Option<&'static Preset>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            uris: Vec::new(),
            deadline: Duration::from_secs(4),
            workers: 4,
            max_stuck: 12,
            missing: Missing::Zero,
            extra: Extras::NONE,
            features: Vec::new(),
            device_tags: Vec::new(),
            precision: Precision::Nanosecond,
            cache: CacheSettings::default(),
            domains: DomainFilter::default(),
            devices: DeviceFilter::default(),
            tags: Vec::new(),
            metadata_tags: Vec::new(),
            metadata_preset: None,
        }
    }
}

/// What is printed for a statistic that this hypervisor or guest does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The number 0, as users' queries expect.
    Zero,
    /// Nothing: the field is omitted.
    Omit,
}

/// What the timestamps of collections are cut to. They are printed in nanoseconds with each of these, as line
/// protocol has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Nothing is cut.
    Nanosecond,
    /// Whole microseconds.
    Microsecond,
    /// Whole milliseconds.
    Millisecond,
    /// Whole seconds.
    Second,
}

impl Precision {
    /// All of them, the finest first.
    pub const ALL: [Self; 4] =
        [Self::Nanosecond, Self::Microsecond, Self::Millisecond, Self::Second];

    /// Its name, which is its length.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nanosecond => "1ns",
            Self::Microsecond => "1us",
            Self::Millisecond => "1ms",
            Self::Second => "1s",
        }
    }

    /// The Unix time in nanoseconds, cut to this: a timestamp is never later than the moment that it is of.
    pub fn timestamp_ns(self, unix: Duration) -> i64 {
        let unit: u128 = match self {
            Self::Nanosecond => 1,
            Self::Microsecond => 1_000,
            Self::Millisecond => 1_000_000,
            Self::Second => 1_000_000_000,
        };
        i64::try_from(unix.as_nanos() / unit * unit).unwrap_or(i64::MAX)
    }
}

/// The device cache on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// Whether there is one at all: `--no-cache` turns it off.
    pub enabled: bool,
    /// Its folder; `None` for the first of the usual places that can be used.
    pub dir: Option<PathBuf>,
    /// How long a guest's devices are believed without being asked for again; 0 for not at all.
    pub ttl: Duration,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self { enabled: true, dir: None, ttl: Duration::from_secs(300) }
    }
}

/// Why a configuration cannot be used: a line a mistake, which says what to write instead.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError(String);

impl ConfigError {
    /// A mistake that only shows beside the command line.
    pub(crate) fn of(message: String) -> Self {
        Self(message)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

impl Settings {
    /// The settings of the file that `named` names, else `$TELEGRAF_VIRT_CONFIG`, else the
    /// system's where it exists, else the defaults, with those of config.d beside it over them; and which
    /// file that was.
    ///
    /// # Errors
    /// When a file that is named, or the system's, cannot be read or is not valid.
    pub fn load(
        named: Option<&Path>,
        environment: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<(Self, Option<PathBuf>), ConfigError> {
        let (settings, file, _) = Self::load_written(named, environment)?;
        Ok((settings, file))
    }

    /// The same, with each setting as a file has it.
    ///
    /// # Errors
    /// As for [`Settings::load`].
    pub fn load_written(
        named: Option<&Path>,
        environment: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<(Self, Option<PathBuf>, Vec<FileSetting>), ConfigError> {
        let system = Path::new(SYSTEM_FILE);
        let found = file::find(named, environment, system)?;
        let path = found.as_ref().map(|(path, _)| path.clone());
        let mut files: Vec<(PathBuf, String)> = found.into_iter().collect();
        files.extend(file::beside(path.as_deref().unwrap_or(system))?);
        let (mut settings, mut written, mut mistakes) = (Self::default(), Vec::new(), Vec::new());
        for (path, text) in files {
            match parse_over(settings.clone(), &text, &path, &mut written) {
                Ok(read) => settings = read,
                Err(error) => mistakes.extend(error.0.lines().map(str::to_owned)),
            }
        }
        let both =
            |(name, _): &&(String, MetadataPath)| settings.tags.iter().any(|(tag, _)| tag == name);
        if let Some((name, _)) = settings.metadata_tags.iter().find(both) {
            let name = names::plain(name);
            mistakes
                .push(format!("the tag {name} is in [tags] and in [metadata_tags]: remove one"));
        }
        // The tags of a file come before those that a preset adds, whichever file is first.
        settings.add_preset();
        mistakes.truncate(MISTAKES_MAX);
        if mistakes.is_empty() {
            Ok((settings, path, written))
        } else {
            Err(ConfigError(mistakes.join("\n")))
        }
    }

    /// Fills in the hypervisor where none is named: libvirt's own variable, else the system's QEMU.
    ///
    /// # Errors
    /// When the variable is set to what is no URI.
    pub fn complete(
        &mut self,
        environment: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<(), ConfigError> {
        if !self.uris.is_empty() {
            return Ok(());
        }
        let variable = environment(URI_VARIABLE).filter(|value| !value.is_empty());
        let uri = variable.unwrap_or_else(|| DEFAULT_URI.into());
        let uri = uri.into_string().map_err(|uri| (uri, "must be UTF-8 text".to_owned()));
        let checked = uri.and_then(|uri| match check_uri(&uri) {
            Ok(()) => Ok(uri),
            Err(why) => Err((uri.into(), why)),
        });
        self.uris = vec![checked.map_err(|(uri, why)| {
            let found = quoted(&uri.to_string_lossy());
            ConfigError(format!("${URI_VARIABLE} is {found}, but {why}"))
        })?];
        Ok(())
    }

    /// Replaces a list, as if the file had this one.
    ///
    /// # Errors
    /// What is wrong with it, in a line that begins with the path.
    pub fn replace(&mut self, path: &str, items: &[String]) -> Result<(), String> {
        let items: Vec<String> =
            items.iter().map(|item| toml::Value::String(item.clone()).to_string()).collect();
        let text = format!("{path} = [{}]", items.join(", "));
        let document = DeTable::parse(&text).map_err(|error| error.message().to_owned())?;
        let entries = reader::entries(&text, document.get_ref(), &setting::TABLES);
        entries.iter().try_for_each(|entry| self.set(entry)).map_err(|complaint| complaint.message)
    }

    /// Takes one entry of the file.
    fn set(&mut self, entry: &Entry) -> Result<(), Complaint> {
        match setting::of(entry) {
            Some(setting) => (setting.read)(self, entry)?,
            None if entry.table == "tags" => self.tags.push(tags::fixed(entry)?),
            None if entry.table == "metadata_tags" => {
                self.metadata_tags.push(tags::of_metadata(entry)?);
            }
            None => return Err(setting::unknown(entry)),
        }
        if self.paths().len() > PATHS_MAX {
            return Err(entry.refused(format_args!(
                "is more than can be looked for in the metadata, which is {PATHS_MAX} paths in all"
            )));
        }
        Ok(())
    }

    /// Adds the tags of the preset; one that the user has set by this name stays as it is.
    fn add_preset(&mut self) {
        for (tag, path) in self.metadata_preset.into_iter().flat_map(Preset::paths) {
            let is_set = self.tags.iter().any(|(name, _)| *name == tag)
                || self.metadata_tags.iter().any(|(name, _)| *name == tag);
            if !is_set {
                self.metadata_tags.push((tag, path));
            }
        }
        self.metadata_tags.sort_by(|(one, _), (other, _)| one.cmp(other));
    }

    /// What of a hypervisor's guests is read.
    pub fn selection(&self) -> Selection {
        let (domains, devices) = (self.domains.clone(), self.devices.clone());
        Selection { domains, devices, paths: self.paths() }
    }

    /// What is looked for in a guest's metadata, each path once.
    fn paths(&self) -> Vec<MetadataPath> {
        let mut paths: Vec<MetadataPath> = Vec::new();
        for path in self.domains.paths().chain(self.metadata_tags.iter().map(|(_, path)| path)) {
            if !paths.contains(path) {
                paths.push(path.clone());
            }
        }
        paths
    }
}

/// Mistakes of one file that are reported at once.
const MISTAKES_MAX: usize = 10;

/// A setting as a file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSetting {
    /// Its table; empty for none.
    pub table: String,
    /// Its key in that table.
    pub key: String,
    /// Its value, as it is written.
    pub value: String,
    /// The file.
    pub file: PathBuf,
    /// The line in it.
    pub line: usize,
}

/// Reads a configuration; `file` is its name for messages.
///
/// # Errors
/// The mistakes in the text, a line each, in its own order.
pub fn parse(text: &str, file: &Path) -> Result<Settings, ConfigError> {
    let mut settings = parse_over(Settings::default(), text, file, &mut Vec::new())?;
    settings.add_preset();
    Ok(settings)
}

/// Reads a configuration over these settings: what it sets replaces what was set.
fn parse_over(
    settings: Settings,
    text: &str,
    file: &Path,
    written: &mut Vec<FileSetting>,
) -> Result<Settings, ConfigError> {
    let Readable { text: readable, mut mistakes, end } = syntax::readable(text, MISTAKES_MAX);
    let settings = match DeTable::parse(&readable) {
        Ok(document) => {
            let mut entries = reader::entries(&readable, document.get_ref(), &setting::TABLES);
            // Behind a wrong heading it is not known in which table a setting is.
            entries.retain(|entry| entry.at() < end);
            // They are in the file's order, so each line is counted from the one before.
            let (mut counted, mut line) = (0, 1);
            written.extend(entries.iter().map(|entry| {
                line += file::line_of(&text.as_bytes()[counted..], entry.at() - counted) - 1;
                counted = entry.at();
                FileSetting {
                    table: entry.table.to_owned(),
                    key: entry.key.to_owned(),
                    value: entry.written().to_owned(),
                    file: file.to_owned(),
                    line,
                }
            }));
            settings_of(settings, entries, &mut mistakes)
        }
        // Not to be had: what is readable is TOML.
        Err(_) => settings,
    };
    if mistakes.is_empty() {
        return Ok(settings);
    }
    mistakes.sort_by_key(|mistake| mistake.at);
    let line = |Complaint { at, message }: &Complaint| {
        let line = file::line_of(text.as_bytes(), *at);
        format!("{}, line {line}: {message}", file::display_path(file))
    };
    let mut lines: Vec<String> = mistakes.iter().take(MISTAKES_MAX).map(line).collect();
    if mistakes.len() > MISTAKES_MAX
        && let Some(last) = lines.last_mut()
    {
        last.push_str(" (and there are more)");
    }
    Err(ConfigError(lines.join("\n")))
}

/// Sorts by name; of several of one name, which are of several files, the last stays.
fn last_of_each<T>(tags: &mut Vec<(String, T)>) {
    tags.reverse();
    tags.sort_by(|(one, _), (other, _)| one.cmp(other));
    tags.dedup_by(|(later, _), (kept, _)| later == kept);
}

/// The settings that these entries make, and what is wrong with them.
fn settings_of(
    mut settings: Settings,
    mut entries: Vec<Entry<'_>>,
    mistakes: &mut Vec<Complaint>,
) -> Settings {
    if let Some(entry) = entries.iter().find(|it| it.table.is_empty() && it.is_telegrafs()) {
        // Each line of it would be another mistake.
        *mistakes = vec![entry.of_telegraf()];
        return settings;
    }
    for entry in &mut entries {
        // One more than is reported tells that there are more.
        if mistakes.len() > MISTAKES_MAX {
            return settings;
        }
        while let Err(mistake) = settings.set(entry) {
            // The other strings of a list may be wrong, too.
            let goes_on = entry.passes(&mistake);
            mistakes.push(mistake);
            if !goes_on || mistakes.len() > MISTAKES_MAX {
                break;
            }
        }
    }
    mistakes.extend(tags::check_names(&entries).err());
    let mut with_preset = settings.clone();
    with_preset.add_preset();
    if with_preset.paths().len() > PATHS_MAX
        && let Some(entry) = entries.iter().find(|it| it.key == "metadata_preset")
    {
        mistakes.push(entry.refused(format_args!(
            "adds more than can be looked for in the metadata, which is {PATHS_MAX} paths in all"
        )));
    }
    if mistakes.is_empty()
        && settings.domains.wants_only_those_off()
        && let Some(entry) = entries.iter().find(|it| it.key == "include_states")
    {
        mistakes.push(entry.refused(
            "contains only \"shutoff\", but guests that are off are read with inactive = true: write \
             that too",
        ));
    }
    last_of_each(&mut settings.tags);
    last_of_each(&mut settings.metadata_tags);
    settings
}

#[cfg(test)]
mod tests;
