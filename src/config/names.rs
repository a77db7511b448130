//! Names a user may write: the nearest valid one to a wrong one, lists of them for messages, and
//! those that a tag must not have. Knows nothing of TOML or of the command line.

use crate::schema::{KEPT_BY_DATABASES, is_name, is_name_but_for_case};

/// The longest piece of a user's text that a message repeats, in bytes.
const SHOWN_MAX: usize = 60;

/// Why a tag must not have this name; `None` when it may. Names are only ever added to the output, so
/// opt-in ones count from the start: a dashboard must not break when one is turned on. Statistics that KVM
/// or a later libvirt names by itself cannot be known here.
pub fn reserved(tag: &str) -> Option<&'static str> {
    if KEPT_BY_DATABASES.iter().any(|name| name.eq_ignore_ascii_case(tag)) {
        return Some("InfluxDB reserves that name");
    }
    if is_name(tag) {
        return Some("the output has a tag or a field of that name");
    }
    is_name_but_for_case(tag).then_some(
        "the output has that name in other capital letters, which is the same column in some databases",
    )
}

/// The valid name that a wrong one was most likely meant to be, if one is near.
pub fn nearest<'n>(found: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    // Beyond this a name is like none of ours, and comparing takes the product of the lengths.
    if found.len() > SHOWN_MAX {
        return None;
    }
    let plain = |name: &str| name.to_lowercase().replace(['-', ' '], "_");
    let found = plain(found);
    let length = found.chars().count();
    let near = |name: &&str| {
        let name = plain(name);
        let distance = strsim::damerau_levenshtein(&found, &name);
        // Two wrong letters in six, or a word cut short or drawn out: "err", "warning".
        let is_part = length >= 3 && (name.starts_with(&found) || found.starts_with(&name));
        (is_part || distance <= (length / 3).max(1)).then_some(distance)
    };
    let candidates = names.into_iter().filter_map(|name| Some((near(&name)?, name)));
    candidates.min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

/// The names as a sentence lists them: `a, b or c`.
pub fn listed(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// A user's text in quotes, on one line and cut where it is long. Quotes and backslashes are shown as they are;
/// only what cannot be seen is escaped.
pub fn quoted(text: &str) -> String {
    // Escaping makes a text up to eight times longer, so it is cut before, for speed, and after.
    let mut escaped = String::new();
    for c in cut(text).chars() {
        match c {
            '"' | '\'' | '\\' => escaped.push(c),
            _ => escaped.extend(c.escape_debug()),
        }
    }
    let quote = if text.contains('"') && !text.contains('\'') { '\'' } else { '"' };
    format!("{quote}{}{quote}", cut(&escaped))
}

/// A user's text as it is, on one line and cut where it is long.
pub fn plain(text: &str) -> String {
    cut(text).replace(char::is_control, " ")
}

fn cut(text: &str) -> String {
    if text.len() <= SHOWN_MAX {
        return text.to_owned();
    }
    let end = (0..=SHOWN_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_the_output_is_reserved_whatever_is_turned_on() {
        for name in
            ["VMID", "state", "mac", "source", "bank", "wr_reqs", "net_txdrops", "cmt", "up"]
        {
            let why = "the output has a tag or a field of that name";
            assert_eq!(reserved(name), Some(why), "{name}");
        }
        assert_eq!(reserved("time"), Some("InfluxDB reserves that name"));
        assert_eq!(reserved("Time"), reserved("time"));
        for name in ["vmid", "Name", "UUID", "State", "MAC", "Net_RxBytes"] {
            assert!(reserved(name).unwrap().contains("other capital letters"), "{name}");
        }
        assert_eq!(["dc", "vm_id", "*", ""].map(reserved), [None; 4]);
    }

    #[test]
    fn the_nearest_name_is_what_was_meant() {
        let names = ["uris", "deadline", "workers", "cache", "cache.dir", "net", "info", "warn"];
        let cases = [
            ("worker", Some("workers")),
            ("wrokers", Some("workers")),
            ("Workers", Some("workers")),
            ("dead-line", Some("deadline")),
            ("uri", Some("uris")),
            ("cache_dir", Some("cache.dir")),
            ("caches", Some("cache")),
            ("network", Some("net")),
            ("warning", Some("warn")),
            ("interval", None),
            ("ne", Some("net")),
            ("x", None),
            ("", None),
        ];
        for (found, meant) in cases {
            assert_eq!(nearest(found, names), meant, "{found}");
        }
        assert_eq!(nearest(&"workers".repeat(10_000), names), None);
    }

    #[test]
    fn a_users_text_stays_short_and_on_one_line() {
        assert_eq!(quoted("a\n\"b\"\u{1b}[2J\u{202e}"), r#"'a\n"b"\u{1b}[2J\u{202e}'"#);
        assert_eq!(quoted(r#"//a[@b="c'd"]"#), r#""//a[@b="c'd"]""#);
        assert_eq!(quoted(r"web\d"), r#""web\d""#);
        assert_eq!(quoted(&"ä".repeat(31)), format!("\"{}…\"", "ä".repeat(30)));
        assert!(quoted(&"\u{202e}".repeat(1000)).len() < 70);
        assert_eq!(plain(&"x".repeat(60)), "x".repeat(60));
        assert_eq!(
            plain(&format!("a\t\u{9b}b{}", "x".repeat(60))),
            format!("a  b{}…", "x".repeat(55))
        );
    }

    #[test]
    fn names_are_listed_as_a_sentence_does() {
        let names = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(listed(&names(&["a", "b", "c"])), "a, b or c");
        assert_eq!(listed(&names(&["a"])), "a");
    }
}
