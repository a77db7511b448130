//! What is not TOML: each mistake with what was most likely meant, and the rest of the file all the same,
//! so that all mistakes are reported at once.
//!
//! The parser stops at its first error. So the statement that it is in is replaced by blanks, which keeps
//! every line and offset, and the parser starts again. What was meant is read from the text alone: the
//! parser's words are not ours to rely on.

use std::ops::Range;

use toml::de::{DeTable, Error};

use super::names;
use super::reader::Complaint;

/// Straight quotes and those that word processors make of them.
const QUOTES: [char; 9] = ['"', '\'', '`', '“', '”', '„', '‘', '’', '‚'];

/// A text that is TOML, and what was not.
pub(super) struct Readable {
    /// The text with each statement that is not TOML replaced by blanks.
    pub(super) text: String,
    /// What is wrong with those, at most `most`.
    pub(super) mistakes: Vec<Complaint>,
    /// From here on it is not known in which table a setting is.
    pub(super) end: usize,
}

/// A line, or several where a list or a string goes on.
#[derive(Debug, PartialEq, Eq)]
struct Statement {
    range: Range<usize>,
    /// Whether it is a table's heading.
    is_heading: bool,
    /// Where a list begins that does not end.
    unclosed: Option<usize>,
}

/// Takes out what is not TOML.
pub(super) fn readable(text: &str, most: usize) -> Readable {
    let mut readable = Readable { text: text.to_owned(), mistakes: Vec::new(), end: text.len() };
    while let Some(error) = DeTable::parse(&readable.text).err() {
        let text = &readable.text;
        // What is missing at the end of the file is missing in its last line that says something.
        let span = error.span().unwrap_or_default();
        let at = span.start.min(text.trim_end().len());
        let statement = statement_at(text, at);
        readable.mistakes.push(complaint(text, &error, at, &statement));
        let is_blank = text[statement.range.clone()].trim().is_empty();
        let until = if statement.is_heading || is_blank || readable.mistakes.len() == most {
            readable.end = readable.end.min(statement.range.start);
            text.len()
        } else {
            statement.range.end
        };
        let range = statement.range.start..until;
        let blank: String =
            text[range.clone()].bytes().map(|b| if b == b'\n' { '\n' } else { ' ' }).collect();
        readable.text.replace_range(range, &blank);
        if is_blank {
            break;
        }
    }
    if DeTable::parse(&readable.text).is_err() {
        // The parser blames a place that is blank: nothing of the text can be relied on.
        readable.text = text.bytes().map(|b| if b == b'\n' { '\n' } else { ' ' }).collect();
        readable.end = 0;
    }
    readable
}

/// The statement that is to blame for an error here: an earlier one, where its list does not end.
fn statement_at(text: &str, at: usize) -> Statement {
    let mut from = 0;
    loop {
        let statement = statement_from(text, from);
        let is_last = statement.range.end > at || statement.range.end >= text.len();
        if is_last || statement.unclosed.is_some() {
            return statement;
        }
        from = statement.range.end;
    }
}

/// The statement that begins with this line.
fn statement_from(text: &str, start: usize) -> Statement {
    let rest = &text[start..];
    let line_end = rest.find('\n').map_or(rest.len(), |newline| newline + 1);
    let first = rest[..line_end].trim_start();
    if first.starts_with('[') || first.starts_with('#') || first.trim().is_empty() {
        let is_heading = first.starts_with('[');
        return Statement { range: start..start + line_end, is_heading, unclosed: None };
    }
    let mut open: Vec<usize> = Vec::new();
    let mut at = 0;
    while at < rest.len() {
        if at > 0 && rest[..at].ends_with('\n') && (open.is_empty() || begins_another(&rest[at..]))
        {
            break;
        }
        let next = &rest[at..];
        let quotes = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|it| next.starts_with(it));
        if let Some(quotes) = quotes {
            at += quotes.len() + string_length(&next[quotes.len()..], quotes);
            continue;
        }
        match next.as_bytes()[0] {
            b'#' => at += next.find('\n').unwrap_or(next.len()),
            byte => {
                match byte {
                    b'[' => open.push(start + at),
                    b']' => _ = open.pop(),
                    _ => {}
                }
                at += next.chars().next().map_or(1, char::len_utf8);
            }
        }
    }
    let unclosed = open.first().copied();
    Statement { range: start..start + at, is_heading: false, unclosed }
}

/// How long a string is with its closing quotes; it ends with its line where they are missing.
fn string_length(text: &str, quotes: &str) -> usize {
    let is_long = quotes.len() == 3;
    let mut at = 0;
    while at < text.len() {
        let next = &text[at..];
        if next.starts_with(quotes) {
            return at + quotes.len();
        }
        if next.starts_with('\n') && !is_long {
            return at;
        }
        let escaped = quotes.starts_with('"') && next.starts_with('\\');
        let mut characters = next.chars();
        at += characters.next().map_or(1, char::len_utf8);
        if escaped {
            at += characters.next().filter(|c| *c != '\n').map_or(0, char::len_utf8);
        }
    }
    at
}

/// Whether a line within a list is the next statement: `key =`, or `[table]`.
fn begins_another(text: &str) -> bool {
    let line = text.lines().next().unwrap_or_default().trim();
    let is_bare = |text: &str| {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        !text.is_empty() && text.chars().all(is_part)
    };
    let heading = line.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let is_heading = heading.is_some_and(|(name, rest)| {
        let rest = rest.trim_start();
        is_bare(name.trim()) && (rest.is_empty() || rest.starts_with('#'))
    });
    is_heading || line.split_once('=').is_some_and(|(key, _)| is_bare(key.trim_end()))
}

/// What the parser says, beside the line that it says it of, and what was most likely meant.
fn complaint(text: &str, error: &Error, at: usize, statement: &Statement) -> Complaint {
    let reason = error.message().trim_end_matches(", expected nothing");
    let (at, reason) = match statement.unclosed {
        Some(begin) if !statement.range.contains(&at) => (begin, "unclosed array, expected `]`"),
        Some(begin) => (begin, reason),
        None => (at, reason),
    };
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let line = names::plain(text[start..].lines().next().unwrap_or_default().trim());
    let hint = hint(text, error, at, start, statement);
    Complaint { at, message: format!("not valid TOML ({reason}): {line}{hint}") }
}

fn hint(text: &str, error: &Error, at: usize, start: usize, statement: &Statement) -> String {
    if statement.unclosed.is_some() {
        return "; write ] after its last entry".to_owned();
    }
    let string = text[start..].lines().next().and_then(wrong_escape);
    if let Some(string) = string {
        let shown = names::plain(string);
        // A message has room for short ones only.
        let single = if shown.len() <= 24 {
            format!("write '{shown}', in single quotes")
        } else {
            "write it in single quotes".to_owned()
        };
        let double = "write each \\ twice";
        let cure = if string.contains('\'') {
            double.to_owned()
        } else {
            format!("{single}, or {double}")
        };
        return format!("; a backslash means something else in double quotes: {cure}");
    }
    let bare = text.get(error.span().unwrap_or_default()).unwrap_or_default().replace(QUOTES, "");
    let is_value = text[start..at].contains('=') && bare.contains(char::is_alphabetic);
    let value = text[start..].lines().next().and_then(|line| line.split_once('='));
    if value.is_some_and(|(_, value)| value.trim_start().starts_with('$')) {
        return "; variables are not expanded here: write the value itself, in quotes".to_owned();
    }
    match bare.to_lowercase() {
        _ if !is_value => String::new(),
        word if word == "true" || word == "false" => format!("; write {word}"),
        _ => format!("; did you mean \"{}\", with these quotes?", names::plain(&bare)),
    }
}

/// The first string in double quotes with a backslash before what it does not escape.
fn wrong_escape(line: &str) -> Option<&str> {
    let mut at = 0;
    while at < line.len() {
        let next = &line[at..];
        let quote = next.chars().next()?;
        if quote == '#' {
            return None;
        }
        at += quote.len_utf8();
        if quote != '"' && quote != '\'' {
            continue;
        }
        let length = string_length(&line[at..], if quote == '"' { "\"" } else { "'" });
        let string = &line[at..at + length];
        let string = string.strip_suffix(quote).unwrap_or(string);
        at += length;
        if quote == '\'' {
            continue;
        }
        let mut characters = string.chars();
        while let Some(character) = characters.next() {
            let is_escape = |next: Option<char>| next.is_some_and(|c| "\"\\bfnrteuUx".contains(c));
            if character == '\\' && !is_escape(characters.next()) {
                return Some(string);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(text: &str) -> Vec<(usize, String)> {
        let readable = readable(text, 10);
        let line = |at: usize| text[..at].matches('\n').count() + 1;
        readable.mistakes.into_iter().map(|it| (line(it.at), it.message)).collect()
    }

    #[test]
    fn what_is_not_toml_is_taken_out_and_the_rest_stays_where_it_is() {
        let text = "workers = 4\ndeadline = 4s\nmissing = omit\n[cache]\nttl = '5m'\n";
        let readable = readable(text, 10);
        assert_eq!(readable.mistakes.len(), 2);
        assert_eq!(
            readable.text,
            format!("workers = 4\n{}\n{}\n[cache]\nttl = '5m'\n", " ".repeat(13), " ".repeat(14))
        );
        assert_eq!(readable.end, text.len());
    }

    #[test]
    fn behind_a_wrong_heading_nothing_is_known() {
        let text = "workers = 4\n[domains\nexclude = []\nfoo = x\n";
        let readable = readable(text, 10);
        assert_eq!((readable.mistakes.len(), readable.end), (1, 12));
        assert!(DeTable::parse(&readable.text).is_ok());
    }

    #[test]
    fn a_list_without_its_bracket_is_reported_where_it_begins() {
        let words =
            "not valid TOML (unclosed array, expected `]`): uris = [; write ] after its last entry";
        let list = "# a\nuris = [\n  \"a:///\", # ] no end\n";
        for rest in
            ["", "\n\n", "deadline = \"4s\"\n", "[cache]\nttl = \"5m\"\n", "\n# x\nworkers = 4"]
        {
            assert_eq!(lines_of(&format!("{list}{rest}")), [(2, words.to_owned())], "{rest:?}");
        }
        assert_eq!(lines_of("uris = [\n  \"a\",\n  b:,\n  \"c\",\n]\nworkers = 1").len(), 1);
        assert_eq!(lines_of("uris = [\n  \"a\",\n  b:,\n  \"c\",\n]\nworkers = 1")[0].0, 3);
    }

    #[test]
    fn a_backslash_in_double_quotes_names_the_cure() {
        let told = |text: &str| lines_of(text).remove(0).1;
        assert!(told("include = [\"ok\", \"web\\d+\"] # it's").ends_with(
            "; a backslash means something else in double quotes: write 'web\\d+', in single quotes, \
             or write each \\ twice"
        ));
        assert!(told("a = \"it's \\d\"").ends_with("double quotes: write each \\ twice"));
        assert!(lines_of("a = \"a\\\\d\"\nb = '\\d'\nc = \"\\u00e4\\n\"").is_empty());
    }

    #[test]
    fn whatever_a_file_holds_it_can_be_read_in_the_end() {
        let pieces = [
            "a = 1\n",
            "[",
            "]",
            "\"",
            "'",
            "\"\"\"",
            "=",
            "\\",
            "#",
            "\n",
            "ä",
            "[t]\n",
            "x = [\n",
            "'''",
            "{",
            "}",
            " ",
            "\r",
            "b = 'c'\n",
        ];
        let mut seed = 1_u64;
        for _ in 0..3000 {
            let mut text = String::new();
            for _ in 0..seed % 12 {
                seed = seed
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                text.push_str(pieces[usize::try_from(seed >> 33).unwrap() % pieces.len()]);
            }
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let readable = readable(&text, 10);
            assert!(DeTable::parse(&readable.text).is_ok(), "{text:?}: {:?}", readable.text);
            assert_eq!(readable.text.len(), text.len());
            assert_eq!(readable.mistakes.is_empty(), DeTable::parse(&text).is_ok(), "{text:?}");
        }
    }
}
