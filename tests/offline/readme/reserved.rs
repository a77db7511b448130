//! The names that a user's tag must not have: all that the README's tables tell. With BLESS=1 those that
//! lack are written into src/config/names.rs.

use std::collections::BTreeSet;
use std::fs;

use telegraf_virt::config::names;

use super::{migration, read, repository};

#[test]
fn no_tag_of_a_user_can_be_called_as_a_tag_or_field_of_ours() {
    let ours: BTreeSet<String> =
        migration::ours().iter().map(|name| name.rsplit('.').next().unwrap().to_owned()).collect();
    let lacking: Vec<&String> =
        ours.iter().filter(|name| names::reserved(name).is_none()).collect();
    if lacking.is_empty() || std::env::var("BLESS").is_err() {
        return assert_eq!(lacking, [""; 0], "BLESS=1 writes these into src/config/names.rs");
    }
    let file = "src/config/names.rs";
    let text = read(file);
    let start = "pub const RESERVED_TAGS: &[&str] = &[\n";
    let (before, rest) = text.split_once(start).unwrap();
    let (list, after) = rest.split_once("];\n").unwrap();
    let mut lines: Vec<String> = list.lines().map(str::to_owned).collect();
    lines.extend(lacking.iter().map(|name| format!("    \"{name}\",")));
    lines.sort();
    let text = format!("{before}{start}{}\n];\n{after}", lines.join("\n"));
    fs::write(repository().join(file), text).unwrap();
}
