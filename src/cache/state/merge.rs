//! Which lines a file keeps: ours and those that others wrote.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::{Kept, LineEntry, LineKind};
use crate::cache::lines::{LINE_MAX, LINES_MAX};

/// Most guests, of each kind of line, that are kept beside those of the run that saves: guests that are gone,
/// and those that only other runs read. The newest stay. A hypervisor may have other guests each time, and
/// neither the file nor what a save costs may grow with all that it ever had.
pub(super) const OTHERS_MAX: usize = 4096;

/// Of two lines of one kind and guest the newer.
pub(super) fn merged<'a>(
    ours: Vec<LineEntry<'a>>,
    theirs: Vec<LineEntry<'a>>,
    kept: &Kept,
) -> Vec<LineEntry<'a>> {
    let theirs = without_old_others(&ours, theirs);
    let mut lines: HashMap<(Uuid, LineKind), LineEntry> = HashMap::with_capacity(ours.len());
    for entry in ours.into_iter().chain(theirs).filter(|entry| kept.has(entry.kind, entry.at)) {
        let key = (entry.uuid, entry.kind);
        let is_older = lines
            .get(&key)
            .is_some_and(|other| (other.at, other.first_hand) > (entry.at, entry.first_hand));
        if !is_older {
            lines.insert(key, entry);
        }
    }
    lines.into_values().collect()
}

/// Of guests that we have no line of this kind of, the newest lines.
fn without_old_others<'a>(
    ours: &[LineEntry<'a>],
    mut theirs: Vec<LineEntry<'a>>,
) -> Vec<LineEntry<'a>> {
    if theirs.len() <= OTHERS_MAX {
        return theirs;
    }
    let ours: HashSet<(Uuid, LineKind)> =
        ours.iter().map(|entry| (entry.uuid, entry.kind)).collect();
    theirs.sort_by_key(|entry| std::cmp::Reverse(entry.at));
    let mut others: HashMap<LineKind, usize> = HashMap::new();
    theirs.retain(|entry| {
        if ours.contains(&(entry.uuid, entry.kind)) {
            return true;
        }
        let count = others.entry(entry.kind).or_default();
        *count += 1;
        *count <= OTHERS_MAX
    });
    theirs
}

/// The lines that have space in a file, sorted by name. If there are too many, samples are omitted first,
/// and of one kind the oldest.
pub(super) fn fitting(mut entries: Vec<LineEntry<'_>>, space: usize) -> Vec<LineEntry<'_>> {
    entries.retain(|entry| entry.line.len() <= LINE_MAX);
    let size: usize = entries.iter().map(|entry| entry.line.len() + 1).sum();
    if entries.len() > LINES_MAX || size > space {
        entries.sort_by_key(|entry| (entry.kind, std::cmp::Reverse(entry.at)));
        let mut sum = 0;
        let fitting = entries.iter().take_while(|entry| {
            sum += entry.line.len() + 1;
            sum <= space
        });
        let fitting = fitting.count().min(LINES_MAX);
        entries.truncate(fitting);
    }
    entries.sort_by(|a, b| (&a.name, a.uuid, a.kind).cmp(&(&b.name, b.uuid, b.kind)));
    entries
}
