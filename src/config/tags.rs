//! The user's own tags: fixed ones, and those that a guest's metadata has the value of.

use super::names;
use super::reader::{Complaint, Entry};
use super::setting::misplaced;
use crate::devices::metadata::Path;

/// A fixed tag of `[tags]`.
pub(super) fn fixed(entry: &Entry) -> Result<(String, String), Complaint> {
    let name = name(entry)?;
    match entry.string()? {
        "" => {
            Err(entry.refused("is \"\", but a tag must have a value: write one, or leave it out"))
        }
        value => Ok((name.to_owned(), value.to_owned())),
    }
}

/// A tag of `[metadata_tags]`, and where its value stands.
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
        return Err(entry.refused("cannot be a tag: its name must not hold control characters"));
    }
    // In the output some of them become slashes, and two names could become one.
    if entry.key.contains('\\') {
        return Err(entry.refused("cannot be a tag: its name must not hold a backslash"));
    }
    match names::reserved(entry.key) {
        Some(why) => {
            Err(entry.refused(format_args!("cannot be a tag, since {why}: choose another name")))
        }
        None => Ok(entry.key),
    }
}

/// No tag stands in both tables.
pub(super) fn check_names(entries: &[Entry]) -> Result<(), Complaint> {
    let mut fixed: Vec<&str> =
        entries.iter().filter(|entry| entry.table == "tags").map(|entry| entry.key).collect();
    fixed.sort_unstable();
    let of_metadata = entries.iter().filter(|entry| entry.table == "metadata_tags");
    match of_metadata.into_iter().find(|entry| fixed.binary_search(&entry.key).is_ok()) {
        Some(entry) => {
            Err(entry.refused("stands in [tags] too: leave it out there, or choose another name"))
        }
        None => Ok(()),
    }
}
