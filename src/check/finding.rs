//! What was found, where, and its verdict.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;

/// Something that was looked at. Its names are what `--json` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What kind of finding it is: one of the names in the README, which stay.
    pub id: &'static str,
    /// Its verdict.
    pub verdict: Verdict,
    /// What it is about: a URI, a file, a folder.
    pub about: Option<String>,
    /// What was found, in one sentence.
    pub text: String,
    /// What is lost by it.
    pub lost: Option<String>,
    /// How to fix it, in words.
    pub mend: Option<String>,
    /// The commands that fix it, or the lines to write into a file.
    pub commands: Vec<String>,
    /// The guests that it is true of.
    pub guests: Vec<String>,
    /// Figures, for machines.
    pub facts: BTreeMap<&'static str, Fact>,
}

/// A figure or a word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Fact {
    /// A number.
    Number(u64),
    /// A word.
    Word(String),
}

impl From<usize> for Fact {
    fn from(number: usize) -> Self {
        Self::Number(u64::try_from(number).unwrap_or(u64::MAX))
    }
}

impl From<u64> for Fact {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<String> for Fact {
    fn from(word: String) -> Self {
        Self::Word(word)
    }
}

/// The verdicts, the most severe last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should.
    Good,
    /// A collection delivers what the guests offer, and yet something could be better.
    Advice,
    /// A hypervisor, a guest, the cache, or what Telegraf would collect is lost.
    Lost,
}

/// A part of what a collection needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// The configuration file, and what it and the options set.
    Configuration,
    /// A hypervisor and the way to it.
    Hypervisor,
    /// The guests of a hypervisor.
    Guests,
    /// The trial collection.
    Collection,
    /// The cache's folder and files.
    Cache,
    /// What libvirt's configuration and the kernel allow.
    Limits,
    /// Telegraf's files.
    Telegraf,
    /// The same check as Telegraf's user.
    TelegrafUser,
}

impl Area {
    /// Its name in `--json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Hypervisor => "hypervisor",
            Self::Guests => "guests",
            Self::Collection => "collection",
            Self::Cache => "cache",
            Self::Limits => "limits",
            Self::Telegraf => "telegraf",
            Self::TelegrafUser => "telegraf-user",
        }
    }

    /// Its heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Configuration => "Configuration",
            Self::Hypervisor => "Hypervisor",
            Self::Guests => "Guests of",
            Self::Collection => "Trial collection",
            Self::Cache => "Cache",
            Self::Limits => "Limits",
            Self::Telegraf => "Telegraf",
            Self::TelegrafUser => "Telegraf's user",
        }
    }
}

/// The findings of one area.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AreaFindings {
    /// Which area.
    pub area: Area,
    /// The hypervisor's URI, where it is one's.
    pub about: Option<String>,
    /// What was found.
    pub findings: Vec<Finding>,
}

impl Finding {
    pub(super) fn new(verdict: Verdict, id: &'static str, text: String) -> Self {
        Self {
            id,
            verdict,
            about: None,
            text,
            lost: None,
            mend: None,
            commands: Vec::new(),
            guests: Vec::new(),
            facts: BTreeMap::new(),
        }
    }

    pub(super) fn about(self, what: impl Into<String>) -> Self {
        Self { about: Some(what.into()), ..self }
    }

    /// Names each of these guests once.
    pub(super) fn of_guests(self, mut guests: Vec<String>) -> Self {
        let mut named = HashSet::new();
        guests.retain(|guest| named.insert(guest.clone()));
        Self { guests, ..self }
    }

    pub(super) fn fact(mut self, name: &'static str, fact: impl Into<Fact>) -> Self {
        self.facts.insert(name, fact.into());
        self
    }
}

/// A count with its noun: `1 guest`, `2 guests`.
pub(super) fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}
