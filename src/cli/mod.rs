//! The command line: what may be written there, what is wrong with it in one line, and the help.
//!
//! A command is a word among the options, not a clap subcommand: so an option means the same before
//! and after it, and none is lost when it is on both sides. The man page and the shells'
//! completions are made from this definition (packaging/pages.rs); the texts called `long_help` are
//! for that page alone. Nothing here reads a file or runs anything.
//!
//! ```text
//! mod.rs        commands and options
//! values.rs     the values of the options
//! settings.rs   the settings of the file, with the options over them
//! misfit.rs     which options do not go together
//! help.rs       the texts of --help
//! effective.rs  the settings in force, and where each comes from
//! refusal.rs    what is wrong with a command line, in one line
//! ```

mod effective;
mod help;
mod misfit;
mod refusal;
mod settings;
mod values;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, ValueHint};

use crate::config::names::quoted;
use crate::config::{self, duration};
use crate::log::Level;
use crate::table::Column;
pub use values::LEVELS;
use values::{column, command, format, level, samples, text_as, top, uri};

/// What the program is asked to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Command {
    /// One collection to standard output.
    #[default]
    Once,
    /// A collection at each trigger, until the end of input.
    Execd,
    /// Says what is wrong with all that a collection needs.
    Check,
    /// Writes a host's raw answers into a file.
    Record,
    /// Prints what happens to the guests, as it happens.
    Events,
    /// Says which guests behave unlike themselves.
    Anomalies,
    /// Prints the sample configuration.
    Config,
}

impl Command {
    /// All of them, in the order in which they are told of.
    pub const ALL: [Self; 7] = [
        Self::Once,
        Self::Execd,
        Self::Check,
        Self::Record,
        Self::Events,
        Self::Anomalies,
        Self::Config,
    ];

    /// The word for it on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Once => "once",
            Self::Execd => "execd",
            Self::Check => "check",
            Self::Record => "record",
            Self::Events => "events",
            Self::Anomalies => "anomalies",
            Self::Config => "config",
        }
    }

    /// What it is for, in a few words.
    pub fn purpose(self) -> &'static str {
        match self {
            Self::Once => "one collection to standard output, then exit; the default",
            Self::Execd => "keep running: one collection per newline on standard input",
            Self::Check => "diagnose the setup and show fixes",
            Self::Record => "record a host for a bug report",
            Self::Events => "print events of the guests as they happen, until Ctrl-C",
            Self::Anomalies => "show guests that behave unlike their own past",
            Self::Config => "print the sample configuration: every setting and its default",
        }
    }

    /// Whether this option is told of with the command: it does something there, and is not only an option
    /// the program's own alone.
    pub fn offers(self, option: &str) -> bool {
        let own = OWN.iter().find(|(name, ..)| *name == option);
        match self {
            Self::Config => matches!(option, "help" | "effective"),
            Self::Anomalies if option == "no-cache" => false,
            Self::Record if matches!(option, "cache-dir" | "no-cache") => false,
            _ => option != "version" && own.is_none_or(|(_, commands, _)| commands.contains(&self)),
        }
    }
}

/// The commands that read guests by the configuration's filters.
const COLLECTING: &[Command] = &[Command::Once, Command::Execd, Command::Check];

/// Options that replace a setting: `config --effective` takes them.
const SETTING_OPTIONS: [&str; 9] = [
    "config",
    "uri",
    "cache-dir",
    "no-cache",
    "deadline",
    "include",
    "exclude",
    "extra",
    "features",
];

/// Options that are of some commands only: of which, and how it is written.
const OWN: [(&str, &[Command], &str); 13] = [
    ("sort", &[Command::Once], "telegraf-virt once --format table --sort cpu"),
    ("top", &[Command::Once], "telegraf-virt once --format table --top 10"),
    ("watch", &[Command::Once], "telegraf-virt once --format table --watch"),
    ("include", COLLECTING, "telegraf-virt once --include 'web-*'"),
    ("exclude", COLLECTING, "telegraf-virt once --exclude '*-test'"),
    ("extra", COLLECTING, "telegraf-virt once --extra info,vcpus"),
    ("features", COLLECTING, "telegraf-virt once --features net,disk"),
    ("interval", &[Command::Execd, Command::Record], "telegraf-virt execd --interval 10s"),
    ("format", &[Command::Once, Command::Events], "telegraf-virt once --format table"),
    ("effective", &[Command::Config], "telegraf-virt config --effective"),
    ("json", &[Command::Check], "telegraf-virt check --json"),
    ("samples", &[Command::Record], "telegraf-virt record --samples 5 FILE"),
    ("anonymize", &[Command::Record], "telegraf-virt record --anonymize FILE"),
];

/// How a collection is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Line protocol.
    #[default]
    Influx,
    /// A table, for a person.
    Table,
    /// An object a line, for scripts.
    Json,
    /// A few words an event, for a person.
    Text,
}

/// How `once` prints what it has read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// As lines, or as a table.
    pub format: Format,
    /// The column that the table's guests are sorted by.
    pub sort: Option<Column>,
    /// So many guests are in the table.
    pub top: Option<usize>,
    /// The table is drawn again each time that this has passed.
    pub watch: Option<Duration>,
}

/// The words for `--format`.
pub const FORMATS: [(&str, Format); 3] =
    [("influx", Format::Influx), ("table", Format::Table), ("json", Format::Json)];

/// The command line, read.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "telegraf-virt",
    about = "Prints every libvirt guest's statistics as InfluxDB line protocol",
    long_about = help::DESCRIPTION,
    disable_help_flag = true,
    disable_version_flag = true,
    term_width = 80,
    help_template = "{options}"
)]
pub struct Cli {
    #[arg(value_name = "COMMAND", value_parser = OsStringValueParser::new()
        .try_map(|text| command(&text.to_string_lossy())))]
    command_named: Option<Command>,

    /// The file of record; - is standard output.
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: Option<PathBuf>,

    /// What to do.
    #[arg(skip)]
    pub command: Command,

    /// TOML, default /etc/telegraf-virt/config.toml
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath,
        long_help = "The configuration, a TOML file, instead of the one that $TELEGRAF_VIRT_CONFIG \
            names and of /etc/telegraf-virt/config.toml. Without any of these the defaults are \
            used.")]
    pub config: Option<PathBuf>,

    /// hypervisor, may be repeated, default qemu:///system
    #[arg(short, long = "uri", value_name = "URI", action = ArgAction::Append,
        value_parser = text_as(uri), value_hint = ValueHint::Other,
        long_help = "A hypervisor to read, as libvirt's URI, instead of those in the \
            configuration. May be repeated, except for record. The default is \
            $LIBVIRT_DEFAULT_URI, or else qemu:///system. replay:FILE reads a recording: once prints \
            its last moment, with the rates since the moment before; execd prints one moment after \
            another, and from the end on always the last one.")]
    pub uris: Vec<String>,

    /// folder of the cache
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath,
        long_help = "The folder in which device lists and last samples are kept from one run to \
            the next, instead of the first usable one under FILES.")]
    pub cache_dir: Option<PathBuf>,

    /// keep nothing on disk
    #[arg(
        long,
        conflicts_with = "cache_dir",
        long_help = "Keep nothing on disk: every guest's XML is read at each start, and \
        once prints no vm_features."
    )]
    pub no_cache: bool,

    /// time limit of a collection, default 4s
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_hint = ValueHint::Other,
        value_parser = text_as(|text| duration::parse(text, config::DEADLINE)),
        long_help = "A collection is printed after this time at the latest, with what has arrived: \
            100ms to 10m, default 4s. It must be shorter than Telegraf's interval, and than the \
            timeout of inputs.exec. For record: the longest wait for one answer of a guest.")]
    pub deadline: Option<Duration>,

    /// execd: collect by itself; record: between samples
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_hint = ValueHint::Other,
        value_parser = text_as(|text| duration::parse(text, config::INTERVAL)),
        long_help = "For execd: also collect without a trigger, at whole multiples of this time, such \
            as :00, :10, :20 with 10s. For record: time between two samples, default 1s.")]
    pub interval: Option<Duration>,

    /// once: influx, json, or table (for humans)
    #[arg(long = "format", value_name = "FORMAT", value_parser = text_as(format),
        long_help = "For once and events. influx prints line protocol, the default of once. json \
            prints one object per line, with measurement, tags, fields and timestamp. For once, table \
            prints a table for humans: state, CPU, steal, memory, and the rates of network and disks \
            of each guest. If no earlier sample is stored, it takes two, a second apart, each within \
            the deadline. The table fits $COLUMNS, or else the terminal: names are cut, then columns \
            are omitted. It has colours on a terminal, unless $NO_COLOR is set.")]
    format_named: Option<Format>,

    /// table: sort by this column, highest first
    #[arg(long, value_name = "COLUMN", value_parser = text_as(column),
        long_help = "For the table: sort by this column, highest first: cpu, steal, mem, used, \
            avail, rx, tx, read, write, rd-req, wr-req, vcpus, or guest for the name.")]
    sort: Option<Column>,

    /// table: show this many guests; totals are for all
    #[arg(long, value_name = "NUMBER", value_parser = text_as(top), allow_hyphen_values = true,
        value_hint = ValueHint::Other,
        long_help = "For the table: show this many guests, those with the highest values in the column \
            of --sort, or of CPU. The totals are for all guests.")]
    top: Option<usize>,

    /// table: repeat every TIME, default 2s; q quits
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_hint = ValueHint::Other,
        value_parser = text_as(|text| duration::parse(text, config::INTERVAL)),
        long_help = "For the table: draw it again at this interval, default 2s, in place on a \
            terminal. q, Ctrl-C or the end of standard input ends it.")]
    watch: Option<Duration>,

    /// How a collection is printed.
    #[arg(skip)]
    pub view: View,

    /// guests to read, by name; may be repeated
    #[arg(long, value_name = "PATTERN", action = ArgAction::Append, value_hint = ValueHint::Other,
        long_help = "Guests to read, by name pattern, instead of include in [domains]. May be \
            repeated.")]
    pub include: Vec<String>,

    /// guests to exclude, by name; may be repeated
    #[arg(long, value_name = "PATTERN", action = ArgAction::Append, value_hint = ValueHint::Other,
        long_help = "Guests to exclude, by name pattern, instead of exclude in [domains]. May be \
            repeated.")]
    pub exclude: Vec<String>,

    /// more measurements and fields: extra
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_hint = ValueHint::Other,
        long_help = "More measurements and fields, instead of extra in the configuration.")]
    pub extra: Option<Vec<String>>,

    /// more rates: net, disk, cpu, latency, balloon
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_hint = ValueHint::Other,
        long_help = "More rates (net, disk, cpu, latency, balloon), instead of features in the \
            configuration.")]
    pub features: Option<Vec<String>>,

    /// config: the settings in force, and where each comes from
    #[arg(
        long,
        long_help = "For config: print the settings in force with these options, and where each \
        comes from: default, file and line, environment, option."
    )]
    effective: bool,

    /// check: print JSON
    #[arg(
        long,
        long_help = "For check: print the findings as JSON. docs/troubleshooting.md lists the \
        keys."
    )]
    pub json: bool,

    /// record: number of samples, default 2
    #[arg(long, value_name = "NUMBER", value_parser = text_as(samples), allow_hyphen_values = true,
        value_hint = ValueHint::Other,
        long_help = "For record: number of samples of every guest, 1 to 1000, default 2. Rates need \
            two.")]
    pub samples: Option<usize>,

    /// record: replace names and addresses
    #[arg(
        long,
        long_help = "For record: replace names, UUIDs, titles, descriptions, metadata, MAC and IP \
        addresses, paths, serials and networks, each text always by the same. Times, counters and \
        sizes are kept."
    )]
    pub anonymize: bool,

    /// error, warn, info, debug, default warn (execd: info)
    #[arg(long = "log-level", value_name = "LEVEL", value_parser = text_as(level),
        long_help = "The lowest level of messages on standard error: error, warn, info or debug. \
            The default is warn; for execd and record it is info.")]
    log_level_named: Option<Level>,

    /// help; after a command, with examples
    #[arg(
        short,
        long,
        long_help = "Print the help, and exit. After a command: that command's, \
        with examples."
    )]
    help: bool,

    /// the version
    #[arg(short = 'V', long, long_help = "Print the version, and exit.")]
    version: bool,
}

/// The definition of the command line, for a man page and for completions.
pub fn definition() -> clap::Command {
    Cli::command().version(env!("CARGO_PKG_VERSION"))
}

/// Why there is nothing to run.
#[derive(Debug, PartialEq, Eq)]
pub enum CliExit {
    /// A text was asked for: to standard output, exit code 0.
    Text(String),
    /// The command line is wrong: one line for standard error, without its level; exit code 2.
    Refused(String),
}

/// Reads the command line; the first argument is the program's own name.
///
/// # Errors
/// A text to print instead of running anything, or what is wrong in one line.
pub fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Cli, CliExit> {
    let arguments: Vec<OsString> = arguments.collect();
    if let [_, word, rest @ ..] = arguments.as_slice()
        && word == "help"
    {
        return Err(help_about(rest));
    }
    let matches = Cli::command().try_get_matches_from(with_watch_time(arguments));
    let cli = matches.and_then(|matches| Cli::from_arg_matches(&matches));
    let mut cli = cli.map_err(|error| CliExit::Refused(refusal::line(&error)))?;
    if cli.help {
        return Err(CliExit::Text(help::text(cli.command_named)));
    }
    if cli.version {
        return Err(CliExit::Text(format!("telegraf-virt {}\n", env!("CARGO_PKG_VERSION"))));
    }
    cli.command = cli.command_named.unwrap_or_default();
    let is_of_table = cli.sort.is_some() || cli.top.is_some() || cli.watch.is_some();
    let format = cli.format_named.unwrap_or(match cli.command {
        Command::Events => Format::Text,
        _ if is_of_table => Format::Table,
        _ => Format::Influx,
    });
    cli.view = View { format, sort: cli.sort, top: cli.top, watch: cli.watch };
    match cli.misfit() {
        Some(message) => Err(CliExit::Refused(message)),
        None => Ok(cli),
    }
}

/// `--watch` with its time: the word after it if that is a time.
fn with_watch_time(arguments: Vec<OsString>) -> Vec<OsString> {
    let mut with_time: Vec<OsString> = Vec::new();
    let mut arguments = arguments.into_iter().peekable();
    while let Some(argument) = arguments.next() {
        if argument != "--watch" {
            with_time.push(argument);
            continue;
        }
        let is_time = |word: &OsString| {
            word.as_encoded_bytes().iter().find(|it| **it != b'-').is_some_and(u8::is_ascii_digit)
        };
        let time = arguments.next_if(is_time).unwrap_or_else(|| "2s".into());
        let mut option = OsString::from("--watch=");
        option.push(time);
        with_time.push(option);
    }
    with_time
}

/// `help` and `help COMMAND`, a habit from other programs.
fn help_about(words: &[OsString]) -> CliExit {
    let Some(word) = words.first() else { return CliExit::Text(help::text(None)) };
    let word = word.to_string_lossy();
    let is_option = word.starts_with('-');
    match command(&word) {
        _ if words.len() > 1 || is_option => {
            let word = if is_option { quoted(&word) } else { quoted(&words[1].to_string_lossy()) };
            CliExit::Refused(format!(
                "unexpected argument {word}; write telegraf-virt help COMMAND"
            ))
        }
        Ok(command) => CliExit::Text(help::text(Some(command))),
        Err(hint) => CliExit::Refused(format!("unknown command {}; {hint}", quoted(&word))),
    }
}

impl Cli {
    /// The least grave level whose messages are printed.
    pub fn log_level(&self) -> Level {
        self.log_level_named.unwrap_or(match self.command {
            Command::Execd | Command::Record => Level::Info,
            Command::Once
            | Command::Check
            | Command::Events
            | Command::Anomalies
            | Command::Config => Level::Warn,
        })
    }
}

const SHOWS: &str = "telegraf-virt --help shows what may stand";

#[cfg(test)]
mod tests;
