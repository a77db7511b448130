//! Patterns over what guests and devices are called, with the meaning that Telegraf's filters give them:
//! `*` any sequence, `?` one character, `[a-z]` and `[!a-z]` one character of a class or outside it,
//! `{a,b}` alternatives, a backslash before a character for that character itself.
//!
//! Names are flat, so `*` crosses a slash too. The crates for globs on paths match bytes, where `?` is no whole
//! "ä". A pattern is compiled once, into a regular expression of the `regex-lite` crate, which takes pattern times
//! name steps, for any name of a guest. What is before its first sign and after its last is compared first:
//! most names go no further.

use std::fmt::Write;
use std::iter::Peekable;
use std::str::Chars;

use regex_lite::{Regex, RegexBuilder};

/// Alternatives in alternatives: more is a slip, and this bounds the recursion.
const DEPTH_MAX: usize = 16;
/// Bytes that a compiled pattern may take.
const BYTES_MAX: usize = 10 << 20;

/// One pattern.
#[derive(Clone, Debug)]
pub struct Glob {
    text: String,
    kind: GlobKind,
}

#[derive(Clone, Debug)]
enum GlobKind {
    /// A name as it is.
    Exactly(String),
    Signs {
        /// What every name begins and ends with.
        ends: [String; 2],
        regex: Regex,
    },
}

impl PartialEq for Glob {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Glob {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it, to be put after "the pattern X".
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("is empty: write * for anything".to_owned());
        }
        let mut reading =
            GlobParser { rest: text.chars().peekable(), regex: String::from("^"), ends: None };
        let mut first = String::new();
        reading.sequence(0, &mut first)?;
        let Some(last) = reading.ends else {
            return Ok(Self { text: text.to_owned(), kind: GlobKind::Exactly(first) });
        };
        reading.regex.push('$');
        let built = RegexBuilder::new(&reading.regex)
            .dot_matches_new_line(true)
            .size_limit(BYTES_MAX)
            .build();
        let regex = built.map_err(|_| "takes too much memory: write several".to_owned())?;
        Ok(Self { text: text.to_owned(), kind: GlobKind::Signs { ends: [first, last], regex } })
    }

    /// The one name that it describes, where it has no signs.
    pub fn exactly(&self) -> Option<&str> {
        match &self.kind {
            GlobKind::Exactly(name) => Some(name),
            GlobKind::Signs { .. } => None,
        }
    }

    /// Whether the whole name is what the pattern describes.
    pub fn matches(&self, name: &str) -> bool {
        match &self.kind {
            GlobKind::Exactly(wanted) => wanted == name,
            GlobKind::Signs { ends: [first, last], regex } => {
                name.starts_with(first) && name.ends_with(last) && regex.is_match(name)
            }
        }
    }
}

/// A pattern that is being read.
struct GlobParser<'t> {
    rest: Peekable<Chars<'t>>,
    /// The same as a regular expression, as far as it is read.
    regex: String,
    /// The characters since the last sign outside of braces; `None` before the first sign.
    ends: Option<String>,
}

impl GlobParser<'_> {
    /// Reads to the end of the pattern, or inside braces (`depth` of them) to the next comma or closing brace,
    /// which stays. What is before the first sign goes to `first`.
    fn sequence(&mut self, depth: usize, first: &mut String) -> Result<(), String> {
        while let Some(next) = self.rest.next_if(|next| depth == 0 || !matches!(next, ',' | '}')) {
            match next {
                '?' => self.regex.push('.'),
                '*' => self.regex.push_str(".*"),
                '[' => self.class()?,
                '{' => self.alternatives(depth + 1, first)?,
                '\\' => {
                    let literal = escaped(&mut self.rest)?;
                    self.literal(literal, depth, first);
                    continue;
                }
                other => {
                    self.literal(other, depth, first);
                    continue;
                }
            }
            if depth == 0 {
                self.ends = Some(String::new());
            }
        }
        Ok(())
    }

    fn literal(&mut self, literal: char, depth: usize, first: &mut String) {
        push_escaped(&mut self.regex, literal);
        if depth == 0 {
            self.ends.as_mut().unwrap_or(first).push(literal);
        }
    }

    fn alternatives(&mut self, depth: usize, first: &mut String) -> Result<(), String> {
        if depth > DEPTH_MAX {
            return Err(format!("has more than {DEPTH_MAX} braces in each other"));
        }
        self.regex.push_str("(?:");
        loop {
            self.sequence(depth, first)?;
            match self.rest.next() {
                Some(',') => self.regex.push('|'),
                Some(_) => {
                    self.regex.push(')');
                    return Ok(());
                }
                None => return Err("has a { without its }".to_owned()),
            }
        }
    }

    fn class(&mut self) -> Result<(), String> {
        let Self { rest, regex, .. } = self;
        if rest.peek() == Some(&'^') {
            // The shells negate by it, Telegraf does not: whoever writes it must not be surprised.
            return Err("has [^, which means different things: write [! for \"none of\"".to_owned());
        }
        regex.push('[');
        if rest.next_if_eq(&'!').is_some() {
            regex.push('^');
        }
        let mut is_empty = true;
        loop {
            let first = match rest.next() {
                Some(']') if is_empty => return Err("has an empty []".to_owned()),
                Some(']') => {
                    regex.push(']');
                    return Ok(());
                }
                Some('\\') => escaped(rest)?,
                Some(other) => other,
                None => return Err("has a [ without its ]".to_owned()),
            };
            is_empty = false;
            push_escaped(regex, first);
            let mut ahead = rest.clone();
            // A dash before the closing bracket is a dash.
            if ahead.next() == Some('-') && ahead.peek() != Some(&']') {
                rest.next();
                let last = match rest.next() {
                    Some('\\') => escaped(rest)?,
                    Some(other) => other,
                    None => return Err("has a [ without its ]".to_owned()),
                };
                if last < first {
                    let (first, last) = (first.escape_debug(), last.escape_debug());
                    return Err(format!("has the range {first}-{last}, which is empty"));
                }
                regex.push('-');
                push_escaped(regex, last);
            }
        }
    }
}

/// A character as a regular expression has it, in a class too.
fn push_escaped(regex: &mut String, literal: char) {
    if literal.is_ascii_alphanumeric() || !literal.is_ascii() {
        regex.push(literal);
    } else {
        let _ = write!(regex, "\\x{{{:x}}}", u32::from(literal));
    }
}

fn escaped(rest: &mut Peekable<Chars>) -> Result<char, String> {
    rest.next().ok_or_else(|| "ends in a backslash with nothing after it".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadline::cpu_time;

    #[test]
    fn patterns_mean_what_telegraf_means_by_them() {
        let cases: [(&str, &[&str], &[&str]); 20] = [
            ("web", &["web"], &["web1", "aweb", "Web", ""]),
            ("web*", &["web", "web1", "web/1", "web 1"], &["aweb", "we"]),
            ("*.prod", &["a.prod", ".prod", "a.b.prod"], &["a.prod.", "aprod"]),
            ("*", &["", "a", "..", "a/b"], &[]),
            ("**", &["", "a", "a/b"], &[]),
            ("a**b", &["ab", "a/x/b"], &["a", "b"]),
            ("web-?", &["web-1", "web-ä", "web-😀"], &["web-", "web-10"]),
            ("web-[12]", &["web-1", "web-2"], &["web-3", "web-12"]),
            ("web-[!12]", &["web-3", "web-ä"], &["web-1", "web-"]),
            ("web-[0-9a-c]", &["web-7", "web-b"], &["web-d", "web--"]),
            ("[äö]x", &["äx", "öx"], &["ax", "x"]),
            ("a[-z]", &["a-", "az"], &["ab"]),
            ("a[z-]", &["a-", "az"], &["ab"]),
            ("a[\\]]", &["a]"], &["a\\"]),
            ("{web,db}-*", &["web-1", "db-"], &["web", "app-1", "webdb-1"]),
            ("a{,b}c", &["ac", "abc"], &["abbc"]),
            ("{a,b{1,2}}x", &["ax", "b1x", "b2x"], &["bx", "a1x"]),
            ("{*a,b*}c", &["ac", "xac", "bc", "bxc"], &["xc", "ab"]),
            ("\\*\\?\\{\\[\\\\", &["*?{[\\"], &["a?{[\\"]),
            ("a,b}]", &["a,b}]"], &["a"]),
        ];
        for (pattern, matching, others) in cases {
            let glob = Glob::parse(pattern).unwrap();
            for name in matching {
                assert!(glob.matches(name), "{pattern} must match {name}");
            }
            for name in others {
                assert!(!glob.matches(name), "{pattern} must not match {name}");
            }
        }
    }

    #[test]
    fn a_bad_pattern_says_what_is_wrong_with_it() {
        let deep = "{".repeat(100_000);
        let cases = [
            ("", "is empty: write * for anything"),
            ("web-[12", "has a [ without its ]"),
            ("web-[", "has a [ without its ]"),
            ("web-[1-", "has a [ without its ]"),
            ("web-[]", "has an empty []"),
            ("web-[!]", "has an empty []"),
            ("web-[^1]", "has [^, which means different things: write [! for \"none of\""),
            ("[9-0]", "has the range 9-0, which is empty"),
            ("{web,db", "has a { without its }"),
            ("{a,{b}", "has a { without its }"),
            ("web\\", "ends in a backslash with nothing after it"),
            ("[a\\", "ends in a backslash with nothing after it"),
            (deep.as_str(), "has more than 16 braces in each other"),
        ];
        for (pattern, message) in cases {
            assert_eq!(Glob::parse(pattern), Err(message.to_owned()));
        }
    }

    #[test]
    fn no_pattern_and_name_take_exponential_time() {
        let glob = Glob::parse(&format!("{}b", "*{a,aa,*a}".repeat(50))).unwrap();
        let started = cpu_time();
        assert!(!glob.matches(&"a".repeat(1000)));
        let took = cpu_time() - started;
        assert!(took.as_secs() < 5, "{took:?}");
    }
}
