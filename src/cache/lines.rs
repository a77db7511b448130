//! The form of a state file: JSON Lines with a header, the lines of the guests, and a closing line that
//! says how many there are and has the checksum of every byte before it.
//!
//! If the closing line does not match, the whole file is ignored. So a file that was cut, or in which one
//! bit flipped, is never taken for a smaller or another file. What a guest's line says is `state`'s
//! business.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::digest::digest;
use super::error::CacheWarning;
use super::file::{Directory, SIZE_MAX};

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    /// Device lists, last samples and health.
    State,
    /// What `anomalies` learned.
    Anomalies,
}

impl FileKind {
    /// What the header calls it.
    fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Anomalies => "anomalies",
        }
    }

    /// The version of its form. Raise it with every change that an older or newer program would misread.
    fn version(self) -> u64 {
        match self {
            Self::State => 2,
            Self::Anomalies => 1,
        }
    }
}

/// Most guests in one file.
const GUESTS_MAX: usize = 32_768;
/// Most lines in one file: each guest has up to three.
pub(super) const LINES_MAX: usize = 3 * GUESTS_MAX;
/// Longest line. The two of a guest with 2 NICs and 3 disks have about 1 KB each.
pub(super) const LINE_MAX: usize = 4 * 1024 * 1024;
/// What the header and the closing line take at most, beside the URI.
const FRAME_MAX: usize = 1024;

/// What a file says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileHeader<'a> {
    #[serde(rename = "telegraf-virt", borrow)]
    holds: Cow<'a, str>,
    version: u64,
    /// The hypervisor's URI.
    #[serde(borrow)]
    uri: Cow<'a, str>,
    /// The host's boot, since when the times of samples and health are counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) boot: Option<Uuid>,
}

impl<'a> FileHeader<'a> {
    pub(super) fn new(kind: FileKind, uri: &'a str, boot: Option<Uuid>) -> Self {
        Self { holds: kind.name().into(), version: kind.version(), uri: uri.into(), boot }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClosingLine<'a> {
    lines: usize,
    #[serde(borrow)]
    checksum: Cow<'a, str>,
}

/// What can be wrong with a file.
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

    pub(super) fn in_file(self, directory: &Directory, name: &str) -> CacheWarning {
        let path = directory.path(name);
        match self {
            Self::Corrupt(line, cause) => CacheWarning::Corrupt { path, line, cause },
            Self::OtherVersion(version) => CacheWarning::OtherVersion { path, version },
        }
    }
}

/// A file of which the form is right.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Opened<'a> {
    /// The boot of the host that it was written in.
    pub(super) boot: Option<Uuid>,
    /// The guests' lines, without the last newline.
    text: Option<&'a str>,
    count: usize,
}

impl<'a> Opened<'a> {
    /// How many lines there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The guests' lines, each with its number in the file.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &'a str)> {
        (2..).zip(self.text.into_iter().flat_map(|text| text.split('\n')))
    }
}

/// Opens a file of the hypervisor with this URI.
pub(super) fn open<'a>(bytes: &'a [u8], kind: FileKind, uri: &str) -> Result<Opened<'a>, Flaw> {
    let last = || bytes.iter().filter(|byte| **byte == b'\n').count();
    let Some(text) = bytes.strip_suffix(b"\n") else {
        return Err(Flaw::of_line(last() + 1, "it ends within a line"));
    };
    let text = str::from_utf8(text).map_err(|error| {
        let before = text.iter().take(error.valid_up_to());
        Flaw::of_line(before.filter(|byte| **byte == b'\n').count() + 1, "it is no text")
    })?;
    let header_end = text.find('\n').unwrap_or(text.len());
    let header: FileHeader = read_line(&text[..header_end], 1)?;
    if header.holds != kind.name() || header.uri != uri {
        return Err(Flaw::of_line(1, "made for something else"));
    }
    if header.version != kind.version() {
        return Err(Flaw::OtherVersion(header.version));
    }
    let Some(closing_start) = text.rfind('\n').map(|at| at + 1) else {
        return Err(Flaw::of_line(1, "no closing line"));
    };
    let (sealed, closing) = text.split_at(closing_start);
    let closing: ClosingLine = read_line(closing, last())?;
    if closing.checksum != checksum(sealed.as_bytes()) {
        return Err(Flaw::of_line(last(), "the checksum is wrong"));
    }
    let text = sealed.get(header_end + 1..closing_start - 1);
    let opened = Opened { boot: header.boot, text, count: closing.lines };
    // Counted only after the checksum was right: garbage may be millions of lines.
    let lines = opened.lines().count();
    if closing.lines != lines || lines > LINES_MAX {
        return Err(Flaw::of_line(last(), "the number of lines is wrong"));
    }
    Ok(opened)
}

/// One line of a file, typed.
pub(super) fn read_line<'a, T: Deserialize<'a>>(line: &'a str, number: usize) -> Result<T, Flaw> {
    if line.len() > LINE_MAX {
        return Err(Flaw::of_line(number, "the line is too long"));
    }
    serde_json::from_str(line).map_err(|error| Flaw::of_line(number, error))
}

/// One line for a file; `None` for what JSON cannot hold, which no type of ours is.
pub(super) fn line_of(value: &impl Serialize) -> Option<String> {
    serde_json::to_string(value).ok()
}

/// How many bytes of lines a file with this header may have.
pub(super) fn space_for_lines(header: &FileHeader<'_>) -> usize {
    SIZE_MAX.saturating_sub(FRAME_MAX + 6 * header.uri.len())
}

/// The text of a file, line by line.
pub(super) struct FileText {
    bytes: Vec<u8>,
    header: usize,
    lines: usize,
    longest: usize,
}

impl FileText {
    /// A file without lines, with room for so many bytes of them.
    pub(super) fn new(header: &FileHeader<'_>, room: usize) -> Self {
        let mut bytes = Vec::with_capacity(room + FRAME_MAX);
        bytes.extend(line_of(header).unwrap_or_default().into_bytes());
        bytes.push(b'\n');
        Self { header: bytes.len(), bytes, lines: 0, longest: 0 }
    }

    /// Adds a line; whether it could be written, as each type of ours can.
    pub(super) fn push(&mut self, value: &impl Serialize) -> bool {
        let start = self.bytes.len();
        let is_written = serde_json::to_writer(&mut self.bytes, value).is_ok();
        if is_written {
            self.end_line(start);
        } else {
            self.bytes.truncate(start);
        }
        is_written
    }

    /// Adds a line that is written already.
    pub(super) fn push_line(&mut self, line: &str) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(line.as_bytes());
        self.end_line(start);
    }

    fn end_line(&mut self, start: usize) {
        self.longest = self.longest.max(self.bytes.len() - start);
        self.bytes.push(b'\n');
        self.lines += 1;
    }

    /// The lines.
    pub(super) fn lines(&self) -> impl Iterator<Item = &str> {
        let lines = self.bytes.get(self.header..).unwrap_or_default();
        str::from_utf8(lines).unwrap_or_default().split_terminator('\n')
    }

    /// Whether a file may have so many lines, of these lengths.
    pub(super) fn fits(&self, header: &FileHeader<'_>) -> bool {
        let size = self.bytes.len() - self.header;
        self.lines <= LINES_MAX && self.longest <= LINE_MAX && size <= space_for_lines(header)
    }

    /// All bytes, with the closing line.
    pub(super) fn sealed(self) -> Vec<u8> {
        let Self { mut bytes, lines, .. } = self;
        let closing = ClosingLine { lines, checksum: checksum(&bytes).into() };
        bytes.extend(line_of(&closing).unwrap_or_default().into_bytes());
        bytes.push(b'\n');
        bytes
    }
}

/// A whole file of these lines, which have about so many bytes.
pub(super) fn sealed(
    header: &FileHeader<'_>,
    lines: impl Iterator<Item = impl AsRef<str>>,
    size: usize,
) -> Vec<u8> {
    let mut text = FileText::new(header, size);
    lines.for_each(|line| text.push_line(line.as_ref()));
    text.sealed()
}

fn checksum(bytes: &[u8]) -> String {
    format!("{:016x}", digest(bytes))
}

#[cfg(test)]
mod tests;
