//! The form that both cache files share: JSON Lines, a header, one line a guest sorted by name, and
//! a closing line that says how many guests there are and seals every byte before it.
//!
//! A file without its right closing line is damaged as a whole: nothing of it is believed, so a file
//! that was cut, or in which one bit flipped, never counts as a smaller or another truth. What stands
//! in a guest's line is `devices`' and `samples`' business; only its name, uuid and time are known
//! here, by which what two writers know is put together.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::digest::digest;
use super::error::{FileError, Trouble};
use super::file::{Directory, SIZE_MAX};

/// The version of both files' form, to be raised with every change that an older or newer program
/// would misread.
const VERSION: u64 = 1;
/// Most guests in one file.
const GUESTS_MAX: usize = 32_768;
/// Most guests in a file beside those of the run that writes it: guests that are gone, and those that only
/// other runs read. The newest of them stay. A hypervisor may have other guests each time, and neither the
/// file nor what it costs to write it may grow with all that it ever had.
pub(super) const OTHERS_MAX: usize = 4096;
/// Longest line. A guest with 2 NICs and 3 disks has about 1.5 KB.
const LINE_MAX: usize = 4 * 1024 * 1024;
/// What the header and the closing line take at most, beside the URI.
const FRAME_MAX: usize = 1024;

/// What a file says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header<'a> {
    /// What it holds: "devices" or "samples".
    #[serde(rename = "telegraf-virt", borrow)]
    pub(super) holds: Cow<'a, str>,
    /// The version of its form.
    pub(super) version: u64,
    /// The hypervisor's URI.
    #[serde(borrow)]
    pub(super) uri: Cow<'a, str>,
    /// The host's boot, where its clock counts from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) boot: Option<Uuid>,
}

impl<'a> Header<'a> {
    pub(super) fn new(holds: &'static str, uri: &'a str, boot: Option<Uuid>) -> Self {
        Self { holds: holds.into(), version: VERSION, uri: uri.into(), boot }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Closing<'a> {
    guests: usize,
    #[serde(borrow)]
    checksum: Cow<'a, str>,
}

/// A guest's line, and of what it says as much as the form knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) uuid: Uuid,
    /// When its line was true: the newer of two is the better.
    pub(super) at: u64,
    /// Whether we know it first-hand, and not from the file: so of two lines of one time it wins.
    pub(super) first_hand: bool,
    /// The line, without its newline.
    pub(super) line: Cow<'a, [u8]>,
}

/// What the form knows of a guest's line.
#[derive(Deserialize)]
pub(super) struct Known<'a> {
    #[serde(borrow)]
    pub(super) name: Cow<'a, str>,
    pub(super) uuid: Uuid,
    #[serde(alias = "read_at", alias = "answered_at_ns")]
    pub(super) at: u64,
}

/// Whether a guest's line of this number is right, all of it: what a load calls damaged, no save keeps.
pub(super) type CheckLine = fn(&[u8], usize) -> Result<(), Flaw>;

/// What a file can be, other than whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// Damaged at this line, from 1.
    Corrupt(usize, String),
    /// Written by another version.
    OtherVersion(u64),
}

impl Flaw {
    pub(super) fn of_line(line: usize, cause: impl ToString) -> Self {
        Self::Corrupt(line, cause.to_string())
    }

    pub(super) fn in_file(self, directory: &Directory, name: &str) -> Trouble {
        let path = directory.path(name);
        match self {
            Self::Corrupt(line, cause) => Trouble::Corrupt { path, line, cause },
            Self::OtherVersion(version) => Trouble::OtherVersion { path, version },
        }
    }
}

/// The guests' lines of a whole file, the first of which is the file's second; none where its boot
/// is another than the one asked for.
pub(super) fn guest_lines<'a>(bytes: &'a [u8], wanted: &Header<'_>) -> Result<Vec<&'a [u8]>, Flaw> {
    let last = bytes.iter().filter(|byte| **byte == b'\n').count();
    let Some(text) = bytes.strip_suffix(b"\n") else {
        return Err(Flaw::of_line(last + 1, "it ends within a line"));
    };
    let header_end = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
    let header: Header = read_line(&text[..header_end], 1)?;
    if header.holds != wanted.holds || header.uri != wanted.uri {
        return Err(Flaw::of_line(1, "made for something else"));
    }
    if header.version != VERSION {
        return Err(Flaw::OtherVersion(header.version));
    }
    let Some(closing_start) = text.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1) else {
        return Err(Flaw::of_line(1, "no closing line"));
    };
    let (sealed, closing) = text.split_at(closing_start);
    let closing: Closing = read_line(closing, last)?;
    if closing.checksum != checksum(sealed) {
        return Err(Flaw::of_line(last, "the checksum is wrong"));
    }
    // Nothing was taken apart before the seal was right: garbage may be millions of lines.
    let lines: Vec<&[u8]> = match sealed.get(header_end + 1..closing_start - 1) {
        Some(lines) => lines.split(|byte| *byte == b'\n').take(GUESTS_MAX + 1).collect(),
        None => Vec::new(),
    };
    if closing.guests != lines.len() || lines.len() > GUESTS_MAX {
        return Err(Flaw::of_line(last, "the number of guests is wrong"));
    }
    Ok(if header.boot == wanted.boot { lines } else { Vec::new() })
}

/// One line of a file, typed.
pub(super) fn read_line<'a, T: Deserialize<'a>>(line: &'a [u8], number: usize) -> Result<T, Flaw> {
    if line.len() > LINE_MAX {
        return Err(Flaw::of_line(number, "the line is too long"));
    }
    serde_json::from_slice(line).map_err(|error| Flaw::of_line(number, error))
}

/// One line for a file; `None` for what JSON cannot hold, which no type of ours is.
pub(super) fn line_of(value: &impl Serialize) -> Option<Vec<u8>> {
    serde_json::to_vec(value).ok()
}

/// What a save did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saved {
    /// Nothing: the file holds it all already.
    Unchanged,
    /// The file was replaced.
    Written {
        /// Guests that are in it now.
        guests: usize,
        /// Guests that are not, since a file of ours must not become larger: the oldest ones.
        left_out: usize,
    },
}

/// Puts these guests' lines into a file, together with those that others wrote there.
///
/// Of two lines of one guest the newer stays, and none stays whose time is outside `times`: what is too
/// old, and what a clock that was wrong has dated into the future, would otherwise stay for ever.
pub(super) fn update(
    directory: &Directory,
    name: &str,
    header: &Header<'_>,
    ours: Vec<Entry<'_>>,
    times: &RangeInclusive<u64>,
    check: CheckLine,
) -> Result<Saved, FileError> {
    let lock = directory.lock(&format!("{name}.lock"))?;
    let standing = match directory.read(name) {
        Ok(contents) => contents.map(|contents| contents.bytes).unwrap_or_default(),
        Err(error) if error.is_foreign() => return Err(error),
        // Ours, but nothing that could be kept.
        Err(_) => Vec::new(),
    };
    let theirs = entries(&standing, header, &ours, check).unwrap_or_default();
    let (bytes, saved) = sealed(header, merged(ours, theirs, times));
    directory.replace(name, &bytes, &lock)?;
    Ok(saved)
}

/// The lines of a file, but for those of which we have newer ones or the very same: these need not even be
/// read whole.
fn entries<'a>(
    bytes: &'a [u8],
    wanted: &Header<'_>,
    ours: &[Entry<'_>],
    check: CheckLine,
) -> Result<Vec<Entry<'a>>, Flaw> {
    let ours: HashMap<Uuid, &Entry> = ours.iter().map(|entry| (entry.uuid, entry)).collect();
    let mut entries = Vec::new();
    for (index, line) in guest_lines(bytes, wanted)?.into_iter().enumerate() {
        let number = index + 2;
        let Known { name, uuid, at } = read_line(line, number)?;
        if ours.get(&uuid).is_some_and(|ours| {
            ours.at > at || ours.at == at && (ours.first_hand || *ours.line == *line)
        }) {
            continue;
        }
        check(line, number)?;
        entries.push(Entry { name, uuid, at, first_hand: false, line: line.into() });
    }
    Ok(entries)
}

fn merged<'a>(
    ours: Vec<Entry<'a>>,
    mut theirs: Vec<Entry<'a>>,
    times: &RangeInclusive<u64>,
) -> Vec<Entry<'a>> {
    keep_newest_others(&ours, &mut theirs);
    let mut guests: HashMap<Uuid, Entry> = HashMap::with_capacity(ours.len() + theirs.len());
    for entry in ours.into_iter().chain(theirs) {
        if !times.contains(&entry.at) {
            continue;
        }
        match guests.get(&entry.uuid) {
            Some(other) if (other.at, other.first_hand) > (entry.at, entry.first_hand) => {}
            _ => {
                guests.insert(entry.uuid, entry);
            }
        }
    }
    guests.into_values().collect()
}

/// Leaves, of the guests that we know nothing of, the newest.
fn keep_newest_others(ours: &[Entry<'_>], theirs: &mut Vec<Entry<'_>>) {
    if theirs.len() <= OTHERS_MAX {
        return;
    }
    let ours: HashSet<Uuid> = ours.iter().map(|entry| entry.uuid).collect();
    theirs.sort_by_key(|entry| std::cmp::Reverse(entry.at));
    let mut others = 0;
    theirs.retain(|entry| {
        others += usize::from(!ours.contains(&entry.uuid));
        others <= OTHERS_MAX || ours.contains(&entry.uuid)
    });
}

/// A whole file of these guests, or of the newest of them where there are too many.
fn sealed(header: &Header<'_>, mut entries: Vec<Entry<'_>>) -> (Vec<u8>, Saved) {
    let all = entries.len();
    entries.retain(|entry| entry.line.len() <= LINE_MAX);
    let room = SIZE_MAX.saturating_sub(FRAME_MAX + 6 * header.uri.len());
    let size: usize = entries.iter().map(|entry| entry.line.len() + 1).sum();
    if entries.len() > GUESTS_MAX || size > room {
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.at));
        let mut sum = 0;
        let fitting = entries.iter().take_while(|entry| {
            sum += entry.line.len() + 1;
            sum <= room
        });
        let fitting = fitting.count().min(GUESTS_MAX);
        entries.truncate(fitting);
    }
    entries.sort_by(|a, b| (&a.name, a.uuid).cmp(&(&b.name, b.uuid)));

    let mut bytes = Vec::with_capacity(size.min(room) + FRAME_MAX);
    bytes.extend(line_of(header).unwrap_or_default());
    bytes.push(b'\n');
    for entry in &entries {
        bytes.extend_from_slice(&entry.line);
        bytes.push(b'\n');
    }
    let closing = Closing { guests: entries.len(), checksum: checksum(&bytes).into() };
    bytes.extend(line_of(&closing).unwrap_or_default());
    bytes.push(b'\n');
    let saved = Saved::Written { guests: entries.len(), left_out: all - entries.len() };
    (bytes, saved)
}

fn checksum(bytes: &[u8]) -> String {
    format!("{:016x}", digest(bytes))
}

#[cfg(test)]
pub(in crate::cache) mod tests;
