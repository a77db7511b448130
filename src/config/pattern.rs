//! Patterns over what a guest or a device is called: a glob as Telegraf has them, or a regular
//! expression between slashes.
//!
//! `/^web-[0-9]+$/` is a regular expression of the `regex-lite` crate: found anywhere in the text unless it
//! is anchored, in time that grows with the text's length only, and of bounded size. Everything else
//! is a glob, which describes the whole text.

use std::collections::HashSet;

use regex_lite::{Regex, RegexBuilder};

use super::glob::Glob;

/// Bytes that a compiled expression may take: some thousand times what a usual one does.
const REGEX_BYTES_MAX: usize = 1 << 20;
/// Groups in groups, at most.
const REGEX_DEPTH_MAX: u32 = 50;

/// One pattern.
#[derive(Clone, Debug)]
pub enum Pattern {
    /// A glob over the whole text.
    Glob(Glob),
    /// A regular expression, found anywhere in the text.
    Regex(Regex),
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Glob(one), Self::Glob(other)) => one == other,
            (Self::Regex(one), Self::Regex(other)) => one.as_str() == other.as_str(),
            _ => false,
        }
    }
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it, to be put after "that pattern".
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::read(text, false)
    }

    /// Reads a pattern that takes capitals and small letters for the same, over a text of small ones.
    ///
    /// # Errors
    /// As [`Pattern::parse`].
    pub fn parse_caseless(text: &str) -> Result<Self, String> {
        Self::read(text, true)
    }

    fn read(text: &str, caseless: bool) -> Result<Self, String> {
        match text.strip_prefix('/').and_then(|rest| rest.strip_suffix('/')) {
            Some("") => Err("is an empty regular expression: write * for anything".to_owned()),
            Some(expression) => RegexBuilder::new(expression)
                .case_insensitive(caseless)
                .size_limit(REGEX_BYTES_MAX)
                .nest_limit(REGEX_DEPTH_MAX)
                .build()
                .map(Self::Regex)
                .map_err(|error| wrong(&error)),
            None if caseless => Glob::parse(&text.to_lowercase()).map(Self::Glob),
            None => Glob::parse(text).map(Self::Glob),
        }
    }

    /// Whether it describes the text, or is found in it.
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Glob(glob) => glob.matches(text),
            Self::Regex(regex) => regex.is_match(text),
        }
    }
}

/// Patterns of which any may fit. Names without signs are looked up, so that it does not matter how many they are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Patterns {
    names: HashSet<String>,
    others: Vec<Pattern>,
}

impl Patterns {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.others.is_empty()
    }

    /// Whether any of them describes the text, or is found in it.
    pub fn matches(&self, text: &str) -> bool {
        self.names.contains(text) || self.others.iter().any(|pattern| pattern.matches(text))
    }

    /// Adds one.
    pub fn add(&mut self, pattern: Pattern) {
        match &pattern {
            Pattern::Glob(glob) => match glob.exactly() {
                Some(name) => {
                    self.names.insert(name.to_owned());
                }
                None => self.others.push(pattern),
            },
            Pattern::Regex(_) => self.others.push(pattern),
        }
    }
}

impl FromIterator<Pattern> for Patterns {
    fn from_iter<I: IntoIterator<Item = Pattern>>(patterns: I) -> Self {
        let mut all = Self::default();
        patterns.into_iter().for_each(|pattern| all.add(pattern));
        all
    }
}

/// What is wrong with an expression, in one line.
fn wrong(error: &regex_lite::Error) -> String {
    let words = error.to_string();
    if words.contains("size limit") {
        return "is a regular expression that takes too much memory: write smaller repetitions"
            .to_owned();
    }
    let reason: String = words.lines().last().unwrap_or_default().chars().take(160).collect();
    format!("is no regular expression: {reason}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadline::cpu_time;

    #[test]
    fn what_stands_between_slashes_is_a_regular_expression_found_anywhere() {
        let cases: [(&str, &[&str], &[&str]); 7] = [
            ("/web/", &["web", "a web b", "webweb"], &["Web", "we", ""]),
            ("/^web-[0-9]+$/", &["web-1", "web-22"], &["web-", "aweb-1", "web-1a", "web-1\n"]),
            ("/a/b/", &["xa/by"], &["a", "ab"]),
            ("/(?i)WEB|db/", &["web", "Web", "mydb"], &["DA"]),
            ("/^.$/", &["ä", "😀", "x"], &["", "xy"]),
            // Not at both ends: a glob like any other.
            ("/web", &["/web"], &["web"]),
            ("web/*", &["web/", "web/1"], &["web"]),
        ];
        for (text, matching, others) in cases {
            let pattern = Pattern::parse(text).unwrap();
            for name in matching {
                assert!(pattern.matches(name), "{text} must match {name:?}");
            }
            for name in others {
                assert!(!pattern.matches(name), "{text} must not match {name:?}");
            }
        }
    }

    #[test]
    fn a_wrong_expression_says_why_in_one_line() {
        let deep = format!("/{}{}/", "(".repeat(1000), ")".repeat(1000));
        let cases = [
            ("//", "is an empty regular expression: write * for anything"),
            ("/web(/", "is no regular expression: found open group without closing ')'"),
            ("/[z-a]/", "is no regular expression: invalid range in character class"),
            ("/(?=x)/", "is no regular expression: look-around is not supported"),
            (r"/(a)\1/", "is no regular expression: backreferences are not supported"),
            (
                "/(a{1000}){1000}/",
                "is a regular expression that takes too much memory: write smaller repetitions",
            ),
            (&deep, "is no regular expression: pattern has too much nesting"),
        ];
        for (text, message) in cases {
            assert_eq!(Pattern::parse(text).unwrap_err(), message, "{text}");
        }
    }

    #[test]
    fn a_caseless_pattern_takes_capitals_for_small_letters() {
        for text in ["550E8400-*", "/^550E8400/", "[A-F0-9]50e8400-?"] {
            let pattern = Pattern::parse_caseless(text).unwrap();
            assert!(pattern.matches("550e8400-e"), "{text}");
            assert!(!pattern.matches("x50e8400-e"), "{text}");
        }
    }

    #[test]
    fn no_expression_and_text_take_more_than_a_moment() {
        let pattern = Pattern::parse("/(a*)*(a|aa)+(x+x+)+y$/").unwrap();
        let started = cpu_time();
        assert!(!pattern.matches(&format!("{}{}", "a".repeat(50_000), "x".repeat(50_000))));
        let took = cpu_time() - started;
        assert!(took.as_secs() < 10, "{took:?}");
    }
}
