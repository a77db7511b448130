//! The format of a recording: JSON Lines, a header, then each moment with its guests, one a line.
//!
//! Whoever sends such a file may have changed it, or cut it: what is not exactly this is refused with
//! its line. Nothing here asks libvirt.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::value::Statistic;
use super::{Answer, Moment, PlainAnswers, RecordedGuest, RecordedHost, RecordedNode, Recording};
use crate::libvirt::{Group, Groups};
use crate::plain_file;
use crate::record::group_of;
use crate::schema::is_absent;

const VERSION: u32 = 2;
/// The first version: one moment, of which the time is unknown, and of each guest only the bulk
/// call's parameters and its XML.
const FIRST_VERSION: u32 = 1;
const KIND: &str = "recording";

/// The most bytes of a file: a host with 1,000 guests makes 30 MiB a moment.
pub const SIZE_MAX: u64 = 512 << 20;
/// The most bytes of a line, which holds one guest.
const LINE_MAX: usize = 16 << 20;
/// The most moments.
pub const MOMENTS_MAX: usize = 1000;
/// The most guests of a moment.
pub const GUESTS_MAX: usize = 100_000;

#[derive(Serialize, Deserialize)]
struct Header {
    #[serde(rename = "telegraf-virt")]
    kind: String,
    version: u32,
    /// How many moments follow, so that a file that was cut is told.
    #[serde(default)]
    moments: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    host: Option<RecordedHost>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MomentLine {
    moment: MomentHead,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MomentHead {
    unix_ns: u64,
    boot_ns: u64,
    /// How many guests follow.
    guests: usize,
    #[serde(default, skip_serializing_if = "is_absent")]
    node: RecordedNode,
}

/// A guest of the first version.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FirstGuest {
    id: i32,
    name: String,
    uuid: Uuid,
    parameters: Vec<Statistic>,
    xml: String,
}

/// Why a text is no recording, and in which line.
#[derive(Debug, PartialEq, Eq)]
pub struct RecordError {
    line: usize,
    reason: String,
}

impl fmt::Display for RecordError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {} of the recording: {}", self.line, self.reason)
    }
}

impl std::error::Error for RecordError {}

/// Why a file cannot be replayed, in words for whoever named it.
#[derive(Debug, PartialEq, Eq)]
pub struct FileError(String);

impl fmt::Display for FileError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for FileError {}

/// A recording on disk. It has been read once, line by line, to see that it is one; after that a guest is read
/// when it is asked for, so that most of the file is never in memory.
#[derive(Debug)]
pub struct RecordingFile {
    file: File,
    version: u32,
    /// Of the host itself.
    pub host: RecordedHost,
    /// The moments, one after another; there is at least one.
    pub moments: Vec<IndexedMoment>,
    /// How many bytes it has.
    pub size: u64,
}

/// All guests at one moment, and where they are in the file.
#[derive(Debug, Default)]
pub struct IndexedMoment {
    /// When it began, in nanoseconds since 1970.
    pub unix_ns: u64,
    /// The same on the host's clock that does not step.
    pub boot_ns: u64,
    /// The guests, in libvirt's order.
    pub guests: Vec<IndexedGuest>,
    /// The host beside them.
    pub node: RecordedNode,
    /// Where each is in `guests`.
    pub places: HashMap<Uuid, usize>,
}

/// A guest at one moment: who it is, and its line in the file.
#[derive(Debug)]
pub struct IndexedGuest {
    /// The domain's id; -1 when it did not run.
    pub id: i32,
    /// Its name.
    pub name: Box<str>,
    /// Its lasting identity.
    pub uuid: Uuid,
    /// The number of its line.
    line: usize,
    /// Where its line begins, in bytes.
    start: u64,
    /// How many bytes its line has.
    pub length: usize,
}

impl RecordingFile {
    /// Opens a recording, and reads it to its end.
    ///
    /// # Errors
    /// What is wrong with the file, or with which of its lines, and what to do.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let (file, size) = open(path)?;
        let mut index = Index::default();
        let (version, host) = read_into(&file, &mut index)?;
        Ok(Self { file, version, host, moments: index.0, size })
    }

    /// Reads a guest.
    ///
    /// # Errors
    /// What is wrong with its line, which was right when the file was opened.
    pub fn guest(&self, guest: &IndexedGuest) -> Result<RecordedGuest, FileError> {
        let changed = |why: &dyn fmt::Display| {
            FileError(format!("line {} of the recording has changed: {why}", guest.line))
        };
        let mut bytes = vec![0; guest.length];
        self.file.read_exact_at(&mut bytes, guest.start).map_err(|error| changed(&error))?;
        let text = str::from_utf8(&bytes).map_err(|error| changed(&error))?;
        let read = parse_guest(text, self.version).map_err(|error| changed(&error))?;
        if read.uuid != guest.uuid {
            return Err(changed(&"it is of another guest"));
        }
        Ok(read)
    }
}

/// Reads a whole recording from a file.
///
/// # Errors
/// As [`RecordingFile::open`].
pub fn read(path: &Path) -> Result<Recording, FileError> {
    let (file, _) = open(path)?;
    let mut moments = Vec::new();
    let (_, host) = read_into(&file, &mut moments)?;
    Ok(Recording { host, moments })
}

/// Opens a file, and says how large it is.
fn open(path: &Path) -> Result<(File, u64), FileError> {
    let io_error = |error: io::Error| {
        FileError(match error.kind() {
            io::ErrorKind::NotFound => {
                "no such file; `telegraf-virt record FILE` makes one".to_owned()
            }
            io::ErrorKind::PermissionDenied => {
                "this user may not read it; chmod or chown it".to_owned()
            }
            _ => format!("it cannot be read: {error}"),
        })
    };
    let no_file = |what: &str| FileError(format!("it is {what}; name a file that `record` wrote"));
    let file = plain_file::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::IsADirectory => no_file("a folder"),
        io::ErrorKind::InvalidInput => no_file("no plain file"),
        _ => io_error(error),
    })?;
    let size = file.metadata().map_err(io_error)?.len();
    if size > SIZE_MAX {
        return Err(too_large());
    }
    Ok((file, size))
}

fn too_large() -> FileError {
    FileError(format!("it is larger than {} MiB", SIZE_MAX >> 20))
}

/// Reads a recording line by line.
fn read_into(file: &File, keep: &mut impl Keep) -> Result<(u32, RecordedHost), FileError> {
    // It may grow while it is read.
    let mut lines = Lines::of(BufReader::new(file.take(SIZE_MAX + 1)));
    let read = lines.recording(keep);
    if lines.read > SIZE_MAX {
        return Err(too_large());
    }
    read.map_err(|error| FileError(error.to_string()))
}

/// What becomes of the guests of a recording that is being read.
trait Keep {
    fn moment(&mut self, unix_ns: u64, boot_ns: u64, node: RecordedNode);
    /// A guest of the last moment, with the number of its line, where that begins and how long it is.
    fn guest(&mut self, guest: RecordedGuest, line: usize, start: u64, length: usize);
}

#[derive(Default)]
struct Index(Vec<IndexedMoment>);

impl Keep for Index {
    fn moment(&mut self, unix_ns: u64, boot_ns: u64, node: RecordedNode) {
        self.0.push(IndexedMoment { unix_ns, boot_ns, node, ..IndexedMoment::default() });
    }

    fn guest(&mut self, guest: RecordedGuest, line: usize, start: u64, length: usize) {
        let Some(moment) = self.0.last_mut() else { return };
        let (id, uuid) = (guest.id, guest.uuid);
        moment.places.insert(uuid, moment.guests.len());
        let name = guest.name.into_boxed_str();
        moment.guests.push(IndexedGuest { id, name, uuid, line, start, length });
    }
}

impl Keep for Vec<Moment> {
    fn moment(&mut self, unix_ns: u64, boot_ns: u64, node: RecordedNode) {
        self.push(Moment { unix_ns, boot_ns, guests: Vec::new(), node });
    }

    fn guest(&mut self, guest: RecordedGuest, _line: usize, _start: u64, _length: usize) {
        if let Some(moment) = self.last_mut() {
            moment.guests.push(guest);
        }
    }
}

impl Recording {
    /// The text of the file.
    ///
    /// # Errors
    /// None that this program could cause: serde's.
    pub fn to_text(&self) -> Result<String, serde_json::Error> {
        let header = Header {
            kind: KIND.to_owned(),
            version: VERSION,
            moments: self.moments.len(),
            host: Some(self.host.clone()),
        };
        let mut text = String::new();
        push_line(&mut text, &header)?;
        for moment in &self.moments {
            let (unix_ns, boot_ns) = (moment.unix_ns, moment.boot_ns);
            let (guests, node) = (moment.guests.len(), moment.node.clone());
            let head = MomentHead { unix_ns, boot_ns, guests, node };
            push_line(&mut text, &MomentLine { moment: head })?;
            for guest in &moment.guests {
                push_line(&mut text, guest)?;
            }
        }
        Ok(text)
    }

    /// Reads a file's bytes.
    ///
    /// # Errors
    /// The first line that is wrong, and why.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut moments = Vec::new();
        let (_, host) = Lines::of(bytes).recording(&mut moments)?;
        Ok(Self { host, moments })
    }
}

/// A guest's line, in a file of this version.
fn parse_guest(text: &str, version: u32) -> Result<RecordedGuest, serde_json::Error> {
    if version != FIRST_VERSION {
        return serde_json::from_str(text);
    }
    let FirstGuest { id, name, uuid, parameters, xml } = serde_json::from_str(text)?;
    Ok(RecordedGuest {
        id,
        name,
        uuid,
        statistics: Answer::Ok(parameters),
        calls: PlainAnswers { xml: Answer::Ok(xml), ..PlainAnswers::default() },
        ..RecordedGuest::default()
    })
}

/// The lines of a file, one after another.
struct Lines<R> {
    input: R,
    /// The line that was read last, without its newline.
    line: Vec<u8>,
    /// Its number.
    number: usize,
    /// Where it begins, in bytes.
    start: u64,
    /// Bytes that were read so far.
    read: u64,
}

impl<R: BufRead> Lines<R> {
    fn of(input: R) -> Self {
        Self { input, line: Vec::new(), number: 0, start: 0, read: 0 }
    }

    /// Reads the next line; false at the end.
    fn advance(&mut self) -> Result<bool, RecordError> {
        self.line.clear();
        self.start = self.read;
        let mut part = self.input.by_ref().take(LINE_MAX as u64 + 2);
        let count = match part.read_until(b'\n', &mut self.line) {
            Ok(count) => count,
            Err(error) => {
                self.number += 1;
                return Err(self.error(&format_args!("it cannot be read: {error}")));
            }
        };
        if count == 0 {
            return Ok(false);
        }
        self.number += 1;
        self.read += count as u64;
        if self.line.last() == Some(&b'\n') {
            self.line.pop();
        }
        if self.line.len() > LINE_MAX {
            return Err(self.error(&format_args!("longer than {} MiB", LINE_MAX >> 20)));
        }
        Ok(true)
    }

    fn text(&self) -> Result<&str, RecordError> {
        str::from_utf8(&self.line).map_err(|_| self.error(&"not UTF-8"))
    }

    fn parse<T: DeserializeOwned>(&self) -> Result<T, RecordError> {
        serde_json::from_str(self.text()?).map_err(|error| self.wrong(&error))
    }

    fn wrong(&self, error: &serde_json::Error) -> RecordError {
        // serde counts lines too, and has only ever seen this one.
        self.error(&error.to_string().replace(" at line 1 column ", " at column "))
    }

    fn error(&self, reason: &dyn fmt::Display) -> RecordError {
        RecordError { line: self.number, reason: reason.to_string() }
    }

    fn missing(&mut self, what: &dyn fmt::Display) -> RecordError {
        self.number += 1;
        self.error(&format_args!("the file ends, and {what}: it was cut"))
    }

    /// The whole file: its version, and what it says of the host.
    fn recording(&mut self, keep: &mut impl Keep) -> Result<(u32, RecordedHost), RecordError> {
        if !self.advance()? {
            self.number = 1;
            return Err(self.error(&"the file is empty"));
        }
        let header: Header = self.parse()?;
        if header.kind != KIND {
            return Err(self.error(&"not a recording of telegraf-virt"));
        }
        let host = match (header.version, header.host) {
            (FIRST_VERSION, None) => self.first_version(keep)?,
            (VERSION, Some(host)) => {
                self.moments(header.moments, keep)?;
                host
            }
            (VERSION, None) => return Err(self.error(&"the host is missing")),
            (version, _) => {
                return Err(self.error(&format_args!(
                    "a recording of version {version}, and this program reads up to {VERSION}: read it \
                     with the version that made it, or a later one"
                )));
            }
        };
        Ok((header.version, host))
    }

    fn moments(&mut self, count: usize, keep: &mut impl Keep) -> Result<(), RecordError> {
        if count == 0 || count > MOMENTS_MAX {
            let reason = format_args!("{count} moments, but there are 1 to {MOMENTS_MAX}");
            return Err(self.error(&reason));
        }
        for number in 1..=count {
            if !self.advance()? {
                return Err(self.missing(&format_args!("there is no moment {number} of {count}")));
            }
            let MomentHead { unix_ns, boot_ns, guests: expected, node } =
                self.parse::<MomentLine>()?.moment;
            if expected > GUESTS_MAX {
                return Err(self.error(&format_args!("more than {GUESTS_MAX} guests")));
            }
            keep.moment(unix_ns, boot_ns, node);
            let mut seen = HashSet::new();
            for place in 1..=expected {
                if !self.advance()? {
                    let what = format_args!("there is no guest {place} of {expected}");
                    return Err(self.missing(&what));
                }
                self.guest(VERSION, &mut seen, keep, |_| {})?;
            }
        }
        if self.advance()? { Err(self.error(&"one line too many")) } else { Ok(()) }
    }

    /// The line is a guest's.
    fn guest(
        &self,
        version: u32,
        seen: &mut HashSet<Uuid>,
        keep: &mut impl Keep,
        look: impl FnOnce(&RecordedGuest),
    ) -> Result<(), RecordError> {
        let guest = parse_guest(self.text()?, version).map_err(|error| self.wrong(&error))?;
        if !seen.insert(guest.uuid) {
            return Err(self.error(&format_args!("a second guest {}", guest.uuid)));
        }
        look(&guest);
        keep.guest(guest, self.number, self.start, self.line.len());
        Ok(())
    }

    fn first_version(&mut self, keep: &mut impl Keep) -> Result<RecordedHost, RecordError> {
        let mut seen = HashSet::new();
        let mut groups = Groups::default();
        keep.moment(0, 0, RecordedNode::default());
        while self.advance()? {
            if seen.len() >= GUESTS_MAX {
                return Err(self.error(&format_args!("more than {GUESTS_MAX} guests")));
            }
            self.guest(FIRST_VERSION, &mut seen, keep, |guest| {
                for group in guest.parameters().filter_map(|it| group_of(it.name)) {
                    groups = groups.or(group.into());
                }
            })?;
        }
        let bulk = Group::ALL.iter().filter(|group| groups.has(**group));
        Ok(RecordedHost {
            bulk: bulk.map(|group| group.name().to_owned()).collect(),
            nowait: true,
            ..RecordedHost::default()
        })
    }
}

fn push_line(text: &mut String, line: &impl Serialize) -> Result<(), serde_json::Error> {
    text.push_str(&serde_json::to_string(line)?);
    text.push('\n');
    Ok(())
}
