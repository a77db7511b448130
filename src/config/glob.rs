//! Patterns over what guests and devices are called, with the meaning that Telegraf's filters give them:
//! `*` any sequence, `?` one character, `[a-z]` and `[!a-z]` one character of a class or outside it,
//! `{a,b}` alternatives, a backslash before a character for that character itself.
//!
//! Names are flat, so `*` crosses a slash too. The crates for globs on paths match bytes, where
//! `?` is no whole "ä". Matching takes pattern times name steps, whatever strangers name a guest.

use std::iter::Peekable;
use std::ops::RangeInclusive;
use std::str::Chars;

/// Alternatives in alternatives: more is a slip, and this bounds the recursion.
const DEPTH_MAX: usize = 16;

/// One pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Exactly(char),
    AnyCharacter,
    AnySequence,
    Class { negated: bool, ranges: Vec<RangeInclusive<char>> },
    OneOf(Vec<Vec<Piece>>),
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
        Ok(Self(sequence(&mut text.chars().peekable(), 0)?))
    }

    /// Whether the whole name is what the pattern describes.
    pub fn matches(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().collect();
        let mut at = vec![false; name.len() + 1];
        at[0] = true;
        advance(&self.0, &name, at)[name.len()]
    }
}

/// The positions in the name that the pieces can end at, when they begin at one of `at`.
fn advance(pieces: &[Piece], name: &[char], mut at: Vec<bool>) -> Vec<bool> {
    for piece in pieces {
        at = match piece {
            Piece::Exactly(wanted) => step(name, &at, |found| found == *wanted),
            Piece::AnyCharacter => step(name, &at, |_| true),
            Piece::Class { negated, ranges } => step(name, &at, |found| {
                ranges.iter().any(|range| range.contains(&found)) != *negated
            }),
            Piece::AnySequence => {
                let first = at.iter().position(|here| *here).unwrap_or(at.len());
                (0..at.len()).map(|position| position >= first).collect()
            }
            Piece::OneOf(alternatives) => {
                let mut ends = vec![false; at.len()];
                for alternative in alternatives {
                    for (end, reached) in
                        ends.iter_mut().zip(advance(alternative, name, at.clone()))
                    {
                        *end |= reached;
                    }
                }
                ends
            }
        };
    }
    at
}

/// The positions one character further, where that character is wanted.
fn step(name: &[char], at: &[bool], wanted: impl Fn(char) -> bool) -> Vec<bool> {
    let further = name.iter().zip(at).map(|(found, here)| *here && wanted(*found));
    std::iter::once(false).chain(further).collect()
}

/// Reads pieces to the end of the pattern, or inside braces (`depth` of them) to the next comma or
/// closing brace, which stays.
fn sequence(rest: &mut Peekable<Chars>, depth: usize) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    while let Some(next) = rest.next_if(|next| depth == 0 || !matches!(next, ',' | '}')) {
        pieces.push(match next {
            '?' => Piece::AnyCharacter,
            '*' => Piece::AnySequence,
            '[' => class(rest)?,
            '{' => Piece::OneOf(alternatives(rest, depth + 1)?),
            '\\' => Piece::Exactly(escaped(rest)?),
            other => Piece::Exactly(other),
        });
    }
    Ok(pieces)
}

fn alternatives(rest: &mut Peekable<Chars>, depth: usize) -> Result<Vec<Vec<Piece>>, String> {
    if depth > DEPTH_MAX {
        return Err(format!("has more than {DEPTH_MAX} braces in each other"));
    }
    let mut all = Vec::new();
    loop {
        all.push(sequence(rest, depth)?);
        match rest.next() {
            Some(',') => {}
            Some(_) => return Ok(all),
            None => return Err("has a { without its }".to_owned()),
        }
    }
}

fn class(rest: &mut Peekable<Chars>) -> Result<Piece, String> {
    if rest.peek() == Some(&'^') {
        // The shells negate by it, Telegraf does not: whoever writes it must not be surprised.
        return Err("has [^, which means different things: write [! for \"none of\"".to_owned());
    }
    let negated = rest.next_if_eq(&'!').is_some();
    let mut ranges = Vec::new();
    loop {
        let first = match rest.next() {
            Some(']') if ranges.is_empty() => return Err("has an empty []".to_owned()),
            Some(']') => return Ok(Piece::Class { negated, ranges }),
            Some('\\') => escaped(rest)?,
            Some(other) => other,
            None => return Err("has a [ without its ]".to_owned()),
        };
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
            ranges.push(first..=last);
        } else {
            ranges.push(first..=first);
        }
    }
}

fn escaped(rest: &mut Peekable<Chars>) -> Result<char, String> {
    rest.next().ok_or_else(|| "ends in a backslash with nothing after it".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let started = std::time::Instant::now();
        assert!(!glob.matches(&"a".repeat(1000)));
        assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
    }
}
