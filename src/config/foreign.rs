//! What people write here that was meant for another program: a shell's variables, Telegraf's tables.

/// The tables at the top of a configuration of Telegraf's.
const TELEGRAFS_TABLES: [&str; 8] = [
    "agent",
    "global_tags",
    "inputs",
    "outputs",
    "processors",
    "aggregators",
    "secretstores",
    "plugins",
];

/// Whether a table of this name at the top is one of Telegraf's.
pub(super) fn is_of_telegraf(table: &str) -> bool {
    TELEGRAFS_TABLES.contains(&table)
}

/// The first `${NAME}` in a text, as Telegraf replaces it in its own files.
pub(super) fn variable(text: &str) -> Option<&str> {
    let mut from = 0;
    while let Some(start) = text[from..].find("${").map(|at| from + at) {
        let inside = &text[start + 2..];
        if let Some(end) = inside.find('}').filter(|end| is_name(&inside[..*end])) {
            return Some(&text[start..start + 2 + end + 1]);
        }
        from = start + 2;
    }
    None
}

/// The first `$NAME` in a text, as a shell replaces it.
pub(super) fn bare_variable(text: &str) -> Option<&str> {
    let mut from = 0;
    while let Some(start) = text[from..].find('$').map(|at| from + at) {
        let name = &text[start + 1..];
        let is_part = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        let name = &name[..name.find(|c| !is_part(c)).unwrap_or(name.len())];
        if is_name(name) {
            return Some(&text[start..=start + name.len()]);
        }
        from = start + 1;
    }
    None
}

/// What of a path only a shell replaces: `~`, or a variable.
pub fn unexpanded(path: &str) -> Option<&str> {
    let is_home = path == "~" || path.starts_with("~/");
    if is_home { Some("~") } else { variable(path).or_else(|| bare_variable(path)) }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_found_and_patterns_are_none() {
        assert_eq!(variable("a${X}b${Y}"), Some("${X}"));
        assert_eq!(variable("${${HOST_1}"), Some("${HOST_1}"));
        for text in ["", "$", "${", "${}", "${a,b}", "/x${2}/", "$HOME", "/^a$/"] {
            assert_eq!(variable(text), None, "{text}");
        }
        assert_eq!(bare_variable("/a/$HOME/b"), Some("$HOME"));
        assert_eq!(bare_variable("$$X"), Some("$X"));
        for text in ["$", "a$", "$1", "$home", "cost$"] {
            assert_eq!(bare_variable(text), None, "{text}");
        }
        assert_eq!(unexpanded("~/x"), Some("~"));
        assert_eq!(unexpanded("~"), Some("~"));
        assert_eq!(unexpanded("~telegraf"), None);
        assert_eq!(unexpanded("a~/b"), None);
    }
}
