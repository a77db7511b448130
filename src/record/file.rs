//! The format of a recording: JSON RecordedLines, a header, then each moment with its guests, one a line.
//!
//! Whoever sends such a file may have changed it, or cut it: what is not exactly this is refused with
//! its line. Nothing here asks libvirt.

use std::collections::HashSet;
use std::fmt;
use std::io::{self, Read};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::value::Statistic;
use super::{PlainAnswers, RecordedAnswer, RecordedGuest, RecordedHost, Recording, Snapshot};
use crate::libvirt::Group;
use crate::plain_file;
use crate::record::group_of;

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
pub struct RecordingError(String);

impl fmt::Display for RecordingError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for RecordingError {}

/// Reads a recording from a file.
///
/// # Errors
/// What is wrong with the file, or with which of its lines, and what to do.
pub fn read(path: &Path) -> Result<Recording, RecordingError> {
    let io_error = |error: io::Error| {
        RecordingError(match error.kind() {
            io::ErrorKind::NotFound => {
                "no such file; `telegraf-virt record FILE` makes one".to_owned()
            }
            io::ErrorKind::PermissionDenied => {
                "this user may not read it; chmod or chown it".to_owned()
            }
            _ => format!("it cannot be read: {error}"),
        })
    };
    let no_file =
        |what: &str| RecordingError(format!("it is {what}; name a file that `record` wrote"));
    let file = plain_file::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::IsADirectory => no_file("a folder"),
        io::ErrorKind::InvalidInput => no_file("no plain file"),
        _ => io_error(error),
    })?;
    let stat = file.metadata().map_err(io_error)?;
    let too_large = || RecordingError(format!("it is larger than {} MiB", SIZE_MAX >> 20));
    if stat.len() > SIZE_MAX {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(stat.len()).unwrap_or(0) + 1);
    // It may grow while it is read.
    file.take(SIZE_MAX + 1).read_to_end(&mut bytes).map_err(io_error)?;
    if bytes.len() as u64 > SIZE_MAX {
        return Err(too_large());
    }
    Recording::parse(&bytes).map_err(|error| RecordingError(error.to_string()))
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
            let head = MomentHead { unix_ns, boot_ns, guests: moment.guests.len() };
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
        let mut lines = RecordedLines { rest: bytes, number: 0 };
        let Some(first) = lines.next_line()? else {
            lines.number = 1;
            return Err(lines.error(&"the file is empty"));
        };
        let header: Header = lines.read(first)?;
        if header.kind != KIND {
            return Err(lines.error(&"not a recording of telegraf-virt"));
        }
        match (header.version, header.host) {
            (FIRST_VERSION, None) => lines.first_version(),
            (VERSION, Some(host)) => lines.moments(header.moments, host),
            (VERSION, None) => Err(lines.error(&"the host is missing")),
            (version, _) => Err(lines.error(&format_args!(
                "a recording of version {version}, and this program reads up to {VERSION}: read it \
                 with the version that made it, or a later one"
            ))),
        }
    }
}

/// The lines of a file, of which one is read.
struct RecordedLines<'a> {
    rest: &'a [u8],
    /// The line that was read last.
    number: usize,
}

impl<'a> RecordedLines<'a> {
    fn next_line(&mut self) -> Result<Option<&'a str>, RecordError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        let end = self.rest.iter().position(|&byte| byte == b'\n');
        let (line, rest) = match end {
            Some(end) => (&self.rest[..end], &self.rest[end + 1..]),
            None => (self.rest, &[][..]),
        };
        self.rest = rest;
        if line.len() > LINE_MAX {
            return Err(self.error(&format_args!("longer than {} MiB", LINE_MAX >> 20)));
        }
        str::from_utf8(line).map(Some).map_err(|_| self.error(&"not UTF-8"))
    }

    fn read<T: DeserializeOwned>(&self, line: &str) -> Result<T, RecordError> {
        // serde counts lines too, and has only ever seen this one.
        let reason = |error: serde_json::Error| {
            error.to_string().replace(" at line 1 column ", " at column ")
        };
        serde_json::from_str(line).map_err(|error| self.error(&reason(error)))
    }

    fn error(&self, reason: &dyn fmt::Display) -> RecordError {
        RecordError { line: self.number, reason: reason.to_string() }
    }

    fn missing(&mut self, what: &dyn fmt::Display) -> RecordError {
        self.number += 1;
        self.error(&format_args!("the file ends, and {what}: it was cut"))
    }

    fn moments(mut self, count: usize, host: RecordedHost) -> Result<Recording, RecordError> {
        if count == 0 || count > MOMENTS_MAX {
            let reason = format_args!("{count} moments, but there are 1 to {MOMENTS_MAX}");
            return Err(self.error(&reason));
        }
        let mut moments = Vec::new();
        for number in 1..=count {
            let Some(line) = self.next_line()? else {
                return Err(self.missing(&format_args!("there is no moment {number} of {count}")));
            };
            let MomentHead { unix_ns, boot_ns, guests: expected } =
                self.read::<MomentLine>(line)?.moment;
            if expected > GUESTS_MAX {
                return Err(self.error(&format_args!("more than {GUESTS_MAX} guests")));
            }
            let mut guests = Vec::new();
            let mut seen = HashSet::new();
            for place in 1..=expected {
                let Some(line) = self.next_line()? else {
                    let what = format_args!("there is no guest {place} of {expected}");
                    return Err(self.missing(&what));
                };
                let guest: RecordedGuest = self.read(line)?;
                self.check_new(&mut seen, guest.uuid)?;
                guests.push(guest);
            }
            moments.push(Snapshot { unix_ns, boot_ns, guests });
        }
        match self.next_line()? {
            Some(_) => Err(self.error(&"one line too many")),
            None => Ok(Recording { host, moments }),
        }
    }

    fn check_new(&self, seen: &mut HashSet<Uuid>, uuid: Uuid) -> Result<(), RecordError> {
        let is_new = seen.insert(uuid);
        if is_new { Ok(()) } else { Err(self.error(&format_args!("a second guest {uuid}"))) }
    }

    fn first_version(mut self) -> Result<Recording, RecordError> {
        let mut guests: Vec<RecordedGuest> = Vec::new();
        let mut seen = HashSet::new();
        while let Some(line) = self.next_line()? {
            if guests.len() >= GUESTS_MAX {
                return Err(self.error(&format_args!("more than {GUESTS_MAX} guests")));
            }
            let FirstGuest { id, name, uuid, parameters, xml } = self.read(line)?;
            self.check_new(&mut seen, uuid)?;
            guests.push(RecordedGuest {
                id,
                name,
                uuid,
                statistics: RecordedAnswer::Ok(parameters),
                calls: PlainAnswers { xml: RecordedAnswer::Ok(xml), ..PlainAnswers::default() },
                ..RecordedGuest::default()
            });
        }
        let has = |group: &Group| {
            let mut parameters = guests.iter().flat_map(RecordedGuest::parameters);
            parameters.any(|parameter| group_of(parameter.name) == Some(*group))
        };
        let bulk = Group::ALL.iter().filter(|group| has(group));
        let host = RecordedHost {
            bulk: bulk.map(|group| group.name().to_owned()).collect(),
            nowait: true,
            ..RecordedHost::default()
        };
        Ok(Recording { host, moments: vec![Snapshot { guests, ..Snapshot::default() }] })
    }
}

fn push_line(text: &mut String, line: &impl Serialize) -> Result<(), serde_json::Error> {
    text.push_str(&serde_json::to_string(line)?);
    text.push('\n');
    Ok(())
}
