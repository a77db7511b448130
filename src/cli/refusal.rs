//! What is wrong with a command line, in one line that says what to write instead.

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::{Cli, SHOWS};
use crate::config::names::{self, quoted};

/// Options of virsh and of Telegraf, and what they are here.
const OTHERS: [(&str, &str); 7] = [
    ("connect", "--uri URI"),
    ("readonly", "telegraf-virt without it: every connection is read-only"),
    ("r", "telegraf-virt without it: every connection is read-only"),
    ("once", "telegraf-virt once"),
    ("test", "telegraf-virt once, or telegraf-virt check to diagnose the setup"),
    ("config-directory", "--config FILE"),
    ("debug", "--log-level debug"),
];

/// What clap found wrong, in one line that says what to write instead.
pub(super) fn line(error: &clap::Error) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        Some(ContextValue::Strings(texts)) => texts.first().map_or("", String::as_str),
        _ => "",
    };
    let usage = context(ContextKind::InvalidArg);
    // clap names an option with its value, as in `--uri <URI>`.
    let option = usage.split_whitespace().next().unwrap_or(usage);
    let value = context(ContextKind::InvalidValue);
    match error.kind() {
        ErrorKind::ValueValidation => {
            let reason = std::error::Error::source(error).map(ToString::to_string);
            let reason = reason.unwrap_or_else(|| "must be something else".to_owned());
            if option.starts_with("--") {
                format!("{option} is {}, but {reason}", quoted(value))
            } else {
                format!("unknown command {}; {reason}", quoted(value))
            }
        }
        ErrorKind::InvalidValue => {
            format!("{option} has no value: write {}", usage.replace(['<', '>'], ""))
        }
        ErrorKind::TooManyValues => format!("{option} takes no value: write {option} alone"),
        ErrorKind::UnknownArgument if option.starts_with('-') => {
            let known = Cli::command();
            let known = known.get_arguments().filter_map(clap::Arg::get_long);
            let others = |name: &str| {
                let known = OTHERS.iter().find(|(option, _)| *option == name);
                known.map(|(_, meant)| format!("write {meant}"))
            };
            let bare = usage.trim_start_matches('-').split('=').next().unwrap_or_default();
            let hint = others(bare).unwrap_or_else(|| {
                match names::nearest(option.trim_start_matches('-'), known) {
                    Some(name) => format!("did you mean --{name}?"),
                    None => "telegraf-virt --help lists them".to_owned(),
                }
            });
            format!("unknown option {}; {hint}", quoted(usage))
        }
        ErrorKind::UnknownArgument => {
            format!("unexpected argument {}; {SHOWS}", quoted(usage))
        }
        ErrorKind::ArgumentConflict => {
            let other = context(ContextKind::PriorArg);
            let other = other.split_whitespace().next().unwrap_or(other);
            if other.is_empty() || other == option {
                format!("{option} is given twice: omit one")
            } else {
                format!("{option} and {other} exclude each other: omit one")
            }
        }
        _ => {
            // Nothing that is known; clap's own first line then.
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            line.trim_start_matches("error: ").to_owned()
        }
    }
}
