//! The values of the options.

use clap::builder::{OsStringValueParser, TypedValueParser};

use super::{Command, FORMATS, Format};
use crate::config::{self, names};
use crate::log::Level;
use crate::record::MOMENTS_MAX;
use crate::table::{Column, SORTABLE};

/// A value as text, read by `read`, whose error says what it must be instead.
pub(super) fn text_as<T: Clone + Send + Sync + 'static>(
    read: impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static,
) -> impl TypedValueParser<Value = T> {
    OsStringValueParser::new().try_map(move |text| match text.to_str() {
        Some(text) => read(text),
        None => Err("must be UTF-8 text".to_owned()),
    })
}

pub(super) fn uri(text: &str) -> Result<String, String> {
    config::check_uri(text).map(|()| text.to_owned())
}

pub(super) fn command(text: &str) -> Result<Command, String> {
    let all = Command::ALL.map(Command::name);
    let found = Command::ALL.into_iter().find(|command| command.name() == text);
    let words = all.into_iter().chain(["help", "version", "table", "list", "top", "domstats"]);
    found.ok_or_else(|| match names::nearest(text, words) {
        Some(option @ ("help" | "version")) => format!("did you mean --{option}?"),
        Some("table" | "list" | "top" | "domstats") => {
            "did you mean once --format table?".to_owned()
        }
        Some(name) => format!("did you mean {name}?"),
        None => format!("the commands are {}", all.join(", ")),
    })
}

pub(super) fn samples(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=MOMENTS_MAX).contains(number));
    number.ok_or_else(|| format!("must be a whole number from 1 to {MOMENTS_MAX}"))
}

pub(super) fn top(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "must be a whole number from 1 on".to_owned())
}

pub(super) fn column(text: &str) -> Result<Column, String> {
    let found = SORTABLE.into_iter().find(|(name, _)| *name == text.to_lowercase());
    found.map(|(_, column)| column).ok_or_else(|| {
        let names = SORTABLE.map(|(name, _)| name.to_owned());
        let nearest = names::nearest(text, SORTABLE.map(|(name, _)| name));
        let hint = nearest.map(|name| format!("; did you mean {name}?")).unwrap_or_default();
        format!("must be {}{hint}", names::listed(&names))
    })
}

/// The words for `--log-level`.
pub const LEVELS: [(&str, Level); 4] = [
    ("error", Level::Error),
    ("warn", Level::Warn),
    ("info", Level::Info),
    ("debug", Level::Debug),
];

pub(super) fn format(text: &str) -> Result<Format, String> {
    let found = FORMATS.into_iter().find(|(name, _)| *name == text);
    found.map(|(_, format)| format).ok_or_else(|| {
        let must = "must be influx, table or json".to_owned();
        match names::nearest(text, FORMATS.map(|(name, _)| name)) {
            Some(name) => format!("{must}; did you mean {name}?"),
            None => must,
        }
    })
}

pub(super) fn level(text: &str) -> Result<Level, String> {
    let found = LEVELS.into_iter().find(|(name, _)| *name == text);
    found.map(|(_, level)| level).ok_or_else(|| {
        let nearest = names::nearest(text, LEVELS.map(|(name, _)| name));
        let hint = nearest.map(|name| format!("; did you mean {name}?")).unwrap_or_default();
        format!("must be error, warn, info or debug{hint}")
    })
}
