//! The user's own tags: fixed ones, and those that a guest's metadata has the value of.

use std::collections::HashMap;

use super::names;
use super::reader::{Complaint, Entry};
use super::setting::misplaced;
use crate::devices::metadata::Path;

/// A fixed tag of `[tags]`.
pub(super) fn fixed(entry: &Entry) -> Result<(String, String), Complaint> {
    let name = name(entry)?;
    match entry.string()? {
        "" => {
            Err(entry.refused("is \"\", but a tag must have a value: write one, or omit the tag"))
        }
        value => Ok((name.to_owned(), value.to_owned())),
    }
}

/// A tag of `[metadata_tags]`, and where its value is.
pub(super) fn of_metadata(entry: &Entry) -> Result<(String, Path), Complaint> {
    let name = name(entry)?;
    let text = entry.string()?;
    let path = Path::parse(text).map_err(|why| {
        entry.refused(format_args!("is {}, but that path {why}", names::quoted(text)))
    })?;
    Ok((name.to_owned(), path))
}

/// The tag's name, if it may have it.
fn name<'t>(entry: &Entry<'t>) -> Result<&'t str, Complaint> {
    if let Some(complaint) = misplaced(entry) {
        return Err(complaint);
    }
    if entry.key.is_empty() {
        return Err(entry.refused("has no name: write one before the ="));
    }
    if entry.key.contains(char::is_control) {
        return Err(entry.refused("cannot be a tag: its name must not contain control characters"));
    }
    // In the output some of them become slashes, and two names could become one.
    if entry.key.contains('\\') {
        return Err(entry.refused("cannot be a tag: its name must not contain a backslash"));
    }
    match names::reserved(entry.key) {
        Some(why) => {
            Err(entry.refused(format_args!("cannot be a tag, because {why}: choose another name")))
        }
        None => Ok(entry.key),
    }
}

/// No tag is in both tables, or twice in one: names that differ in case only are one column in some
/// databases.
pub(super) fn check_names(entries: &[Entry]) -> Result<(), Complaint> {
    let is_tag = |entry: &&Entry| ["tags", "metadata_tags"].contains(&entry.table);
    // The later table's entry is the one that is refused.
    let in_order = |table| entries.iter().filter(is_tag).filter(move |it| it.table == table);
    let mut seen: HashMap<String, &Entry> = HashMap::new();
    for entry in in_order("tags").chain(in_order("metadata_tags")) {
        match seen.insert(entry.key.to_ascii_lowercase(), entry) {
            Some(before) if before.key != entry.key => {
                return Err(entry.refused(format_args!(
                    "differs from {}.{} in case only, and is the same column in some databases: choose \
                     another name",
                    before.table, before.key
                )));
            }
            Some(_) => {
                return Err(
                    entry.refused("is in [tags] too: remove it there, or choose another name")
                );
            }
            None => {}
        }
    }
    Ok(())
}
