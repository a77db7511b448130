//! One setting of the TOML file, read into what it must be, or a complaint that says where it
//! stands, what is there and what to write instead. Knows TOML, and no setting by name.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::names::{self, quoted};
use super::{duration, foreign};

/// The most names that a message lists: a line has less than 500 bytes, and nobody reads more.
const LISTED_MAX: usize = 16;

/// What is wrong with the file at one place.
#[derive(Debug)]
pub(super) struct Complaint {
    /// Where, in bytes from the file's start.
    pub at: usize,
    /// What, in one line.
    pub message: String,
}

/// A key of the file with its value.
pub(super) struct Entry<'t> {
    /// The whole file, to show what was found as it was written.
    text: &'t str,
    /// The table it is in; "" for none.
    pub table: &'t str,
    /// The key alone.
    pub key: &'t str,
    at: usize,
    value: &'t Spanned<DeValue<'t>>,
    /// Strings of its list that are reported already, by where they are.
    passed: Vec<usize>,
}

/// A string of a list.
pub(super) struct Item<'t> {
    /// Its position, in bytes from the file's start.
    pub at: usize,
    /// What it says.
    pub text: &'t str,
}

/// The entries of the file in its own order, those of `tables` with them. What is to be a table
/// and is none is an entry itself.
pub(super) fn entries<'t>(
    text: &'t str,
    document: &'t DeTable<'t>,
    tables: &[&'t str],
) -> Vec<Entry<'t>> {
    let mut all = Vec::new();
    for (key, value) in document {
        match (tables.iter().find(|table| **table == key.get_ref()), value.get_ref()) {
            (Some(table), DeValue::Table(inside)) => {
                all.extend(inside.iter().map(|(key, value)| entry(text, table, key, value)));
            }
            _ => all.push(entry(text, "", key, value)),
        }
    }
    all.sort_by_key(|entry| entry.at);
    all
}

fn entry<'t>(
    text: &'t str,
    table: &'t str,
    key: &'t Spanned<Cow<'t, str>>,
    value: &'t Spanned<DeValue<'t>>,
) -> Entry<'t> {
    Entry { text, table, key: key.get_ref(), at: key.span().start, value, passed: Vec::new() }
}

/// A key as one writes it in TOML.
fn shown_key(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.chars().all(bare) { names::plain(key) } else { quoted(key) }
}

impl<'t> Entry<'t> {
    /// Its value as it is written.
    pub fn written(&self) -> &'t str {
        self.text.get(self.value.span()).unwrap_or_default()
    }

    /// Where it is, in bytes from the file's start.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Passes over a string of its list from now on, if a complaint is about one: whether it does.
    pub fn passes(&mut self, complaint: &Complaint) -> bool {
        let DeValue::Array(array) = self.value.get_ref() else { return false };
        let is_item = array.iter().any(|item| item.span().start == complaint.at);
        let is_new = is_item && !self.passed.contains(&complaint.at);
        if is_new {
            self.passed.push(complaint.at);
        }
        is_new
    }

    /// The same key and value, as if it stood outside all tables.
    pub fn at_the_top(&self) -> Entry<'t> {
        Entry { table: "", passed: self.passed.clone(), ..*self }
    }

    /// The key with its table, as in `cache.ttl`.
    fn path(&self) -> String {
        let key = shown_key(self.key);
        if self.table.is_empty() { key } else { format!("{}.{key}", self.table) }
    }

    /// A complaint about this entry: its path, then what is said of it.
    pub fn refused(&self, why: impl std::fmt::Display) -> Complaint {
        Complaint { at: self.at, message: format!("{} {why}", self.path()) }
    }

    /// A complaint about the key itself.
    pub fn unknown(&self, hint: impl std::fmt::Display) -> Complaint {
        let path = self.path();
        let message = match self.value.get_ref() {
            DeValue::Table(_) => format!("unknown table [{path}]; {hint}"),
            _ => format!("unknown key {path}; {hint}"),
        };
        Complaint { at: self.at, message }
    }

    /// Whether it is a table of Telegraf's own configuration.
    pub fn is_telegrafs(&self) -> bool {
        foreign::is_of_telegraf(self.key)
    }

    /// A complaint about such a table.
    pub fn of_telegraf(&self) -> Complaint {
        let message = format!(
            "[{}] is a table of Telegraf's own configuration, but this file configures telegraf-virt: \
             `telegraf-virt config` prints its settings",
            names::plain(self.key)
        );
        Complaint { at: self.at, message }
    }

    /// A complaint about what is no table and should be.
    pub fn no_table(&self) -> Complaint {
        let path = self.path();
        self.not(format_args!(
            "must be a table: write [{path}] on a line of its own, and its keys below"
        ))
    }

    fn not(&self, expected: impl std::fmt::Display) -> Complaint {
        self.refused(format_args!("is {}, but {expected}", found(self.text, self.value)))
    }

    /// A string.
    pub fn string(&self) -> Result<&'t str, Complaint> {
        match self.value.get_ref() {
            DeValue::String(text) => match foreign::variable(text) {
                Some(variable) => Err(self.not(not_replaced(variable))),
                None => Ok(text),
            },
            DeValue::Array(_) | DeValue::Table(_) => Err(self.not("must be a string")),
            _ => Err(self
                .not(format_args!("must be a string: write \"{}\"", found(self.text, self.value)))),
        }
    }

    /// `true` or `false`.
    pub fn boolean(&self) -> Result<bool, Complaint> {
        match self.value.get_ref() {
            DeValue::Boolean(value) => Ok(*value),
            DeValue::String(_) => Err(self.not("must be true or false, without quotes")),
            _ => Err(self.not("must be true or false")),
        }
    }

    /// A whole number within the bounds.
    pub fn whole(&self, bounds: RangeInclusive<usize>) -> Result<usize, Complaint> {
        let number = match self.value.get_ref() {
            DeValue::Integer(value) => usize::from_str_radix(value.as_str(), value.radix()).ok(),
            _ => None,
        };
        number.filter(|number| bounds.contains(number)).ok_or_else(|| {
            let quotes = if matches!(self.value.get_ref(), DeValue::String(_)) {
                ", without quotes"
            } else {
                ""
            };
            let (least, most) = (bounds.start(), bounds.end());
            self.not(format_args!("must be a whole number from {least} to {most}{quotes}"))
        })
    }

    /// A time within the bounds.
    pub fn time(&self, bounds: RangeInclusive<Duration>) -> Result<Duration, Complaint> {
        match self.value.get_ref() {
            DeValue::String(text) => duration::parse(text, bounds).map_err(|why| self.not(why)),
            DeValue::Integer(number) => {
                // Telegraf takes a bare number for seconds, so that is most likely what was meant.
                let seconds = format!("{number}s");
                let fits = duration::parse(&seconds, bounds).is_ok();
                let example = if fits { &seconds } else { "4s" };
                Err(self.not(format_args!(
                    "must be a time with its unit in quotes, such as \"{example}\""
                )))
            }
            _ => Err(self.not("must be a time with its unit in quotes, such as \"4s\"")),
        }
    }

    /// An absolute path; `None` for the empty string.
    pub fn folder(&self) -> Result<Option<PathBuf>, Complaint> {
        match self.string()? {
            "" => Ok(None),
            text if text.starts_with('/') && !text.contains('\0') => Ok(Some(text.into())),
            text if foreign::unexpanded(text).is_some() => {
                let what = names::plain(foreign::unexpanded(text).unwrap_or_default());
                Err(self.not(format_args!(
                    "must be a full path that starts with /: {what} is not expanded here"
                )))
            }
            // Where a relative one is depends on who starts the program.
            _ => Err(self.not("must be a full path that starts with /, or \"\" for the default")),
        }
    }

    /// One of the names, as its value.
    pub fn one_of<T: Copy>(&self, known: &[(&str, T)]) -> Result<T, Complaint> {
        let text = self.string()?;
        let found = known.iter().find(|(name, _)| *name == text);
        found.map(|(_, value)| *value).ok_or_else(|| self.not(must_be(text, known)))
    }

    /// A list of strings.
    pub fn items(&self) -> Result<Vec<Item<'t>>, Complaint> {
        let array = match self.value.get_ref() {
            DeValue::Array(array) => array,
            DeValue::String(_) => {
                return Err(self.not(format_args!(
                    "must be a list: write [{}]",
                    found(self.text, self.value)
                )));
            }
            _ => return Err(self.not("must be a list of strings, such as [\"a\", \"b\"]")),
        };
        let item = |value: &'t Spanned<DeValue<'t>>| match value.get_ref() {
            DeValue::String(text) => match foreign::variable(text) {
                Some(variable) => {
                    let item = Item { at: value.span().start, text };
                    Err(self.item_refused(&item, format_args!("but {}", not_replaced(variable))))
                }
                None => Ok(Item { at: value.span().start, text }),
            },
            _ => Err(Complaint {
                at: value.span().start,
                message: format!(
                    "{} contains {}, but each entry must be a string in quotes",
                    self.path(),
                    found(self.text, value)
                ),
            }),
        };
        let values = array.iter().filter(|value| !self.passed.contains(&value.span().start));
        values.map(item).collect()
    }

    /// A complaint about one entry of a list.
    pub fn item_refused(&self, item: &Item, why: impl std::fmt::Display) -> Complaint {
        let message = format!("{} contains {}, {why}", self.path(), quoted(item.text));
        Complaint { at: item.at, message }
    }

    /// A list of names, as their values, each once.
    pub fn all_of<T: Copy + PartialEq>(&self, known: &[(&str, T)]) -> Result<Vec<T>, Complaint> {
        let mut all = Vec::new();
        for item in self.items()? {
            let Some((_, value)) = known.iter().find(|(name, _)| *name == item.text) else {
                let expected = must_be(item.text, known);
                return Err(self.item_refused(&item, format_args!("but each entry {expected}")));
            };
            if !all.contains(value) {
                all.push(*value);
            }
        }
        // In the order of the output, not of the file.
        all.sort_by_key(|value| known.iter().position(|(_, other)| other == value));
        Ok(all)
    }
}

fn not_replaced(variable: &str) -> String {
    let variable = names::plain(variable);
    format!("variables such as {variable} are not expanded here: write the value itself")
}

/// What a wrong name must be instead.
fn must_be<T>(found: &str, known: &[(&str, T)]) -> String {
    let all: Vec<String> = known.iter().map(|(name, _)| quoted(name)).collect();
    let nearest = names::nearest(found, known.iter().map(|(name, _)| *name));
    let hint = nearest.map(|name| format!("; did you mean \"{name}\"?")).unwrap_or_default();
    if all.len() > LISTED_MAX {
        let count = all.len();
        return format!("must be one of the {count} names that `telegraf-virt config` lists{hint}");
    }
    format!("must be {}{hint}", names::listed(&all))
}

/// A value as the file has it, on one line and cut where it is long.
fn found(text: &str, value: &Spanned<DeValue>) -> String {
    match value.get_ref() {
        DeValue::String(string) => quoted(string),
        DeValue::Table(_) => "a table".to_owned(),
        _ => {
            let written = text.get(value.span()).unwrap_or("a list");
            names::plain(&written.split_whitespace().collect::<Vec<_>>().join(" "))
        }
    }
}
