//! Which guests are read, and which of their devices: the lists of `[domains]` and `[devices]`.
//!
//! One rule for all of them: what passes every list of what to include, where such a list is not
//! empty, and stands in no list of what to exclude, is read. Nothing here asks anybody: what a guest
//! is called, its state and its metadata are given.

use uuid::Uuid;

use super::names;
use super::pattern::Pattern;
use super::reader::{Complaint, Entry, Item};
use crate::devices::metadata::{Metadata, Path};
use crate::devices::{DiskDevice, NicDevice};
use crate::schema::{DISK_TAGS, DeviceTag, NIC_TAGS, TagRow};

/// What of a hypervisor's guests is read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    /// Which guests.
    pub domains: DomainFilter,
    /// Which of their devices.
    pub devices: DeviceFilter,
    /// Where in their metadata something is looked for, each path once.
    pub paths: Vec<Path>,
}

/// What to include, and what to exclude; both empty for all.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Lists<T> {
    pub(super) include: Vec<T>,
    pub(super) exclude: Vec<T>,
}

impl<T> Default for Lists<T> {
    fn default() -> Self {
        Self { include: Vec::new(), exclude: Vec::new() }
    }
}

impl<T> Lists<T> {
    fn is_empty(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    fn take(&self, fits: impl Fn(&T) -> bool) -> bool {
        (self.include.is_empty() || self.include.iter().any(&fits))
            && !self.exclude.iter().any(fits)
    }
}

/// Which guests are read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DomainFilter {
    pub(super) names: Lists<Pattern>,
    pub(super) uuids: Lists<Pattern>,
    pub(super) states: Lists<State>,
    pub(super) metadata: Lists<(Path, Pattern)>,
    /// Whether guests that do not run are told of, too.
    pub inactive: bool,
}

/// A guest's state as it is printed; `None` for a number that no libvirt of today has.
pub(super) type State = Option<i64>;

/// The states by the words that vm_metrics has for them.
pub(super) const STATES: [(&str, State); 9] = [
    ("no state", Some(0)),
    ("running", Some(1)),
    ("blocked", Some(2)),
    ("paused", Some(3)),
    ("shutdown", Some(4)),
    ("shutoff", Some(5)),
    ("crashed", Some(6)),
    ("suspended", Some(7)),
    ("unknown", None),
];
const SHUTOFF: State = Some(5);

impl DomainFilter {
    /// Whether a guest of this name and UUID may be read.
    pub fn takes(&self, name: &str, uuid: &Uuid) -> bool {
        if !self.names.is_empty() && !self.names.take(|pattern| pattern.matches(name)) {
            return false;
        }
        if self.uuids.is_empty() {
            return true;
        }
        let mut text = [0; 36];
        let text: &str = uuid.as_hyphenated().encode_lower(&mut text);
        self.uuids.take(|pattern| pattern.matches(text))
    }

    /// Whether the guests' states must be known.
    pub fn has_states(&self) -> bool {
        !self.states.is_empty()
    }

    /// Whether a guest in this state, virDomainState's number, may be read.
    pub fn takes_state(&self, state: Option<i64>) -> bool {
        let state = state.filter(|number| STATES.iter().any(|(_, known)| *known == Some(*number)));
        self.states.take(|wanted| *wanted == state)
    }

    /// Whether the guests' metadata must be known.
    pub fn has_metadata(&self) -> bool {
        !self.metadata.is_empty()
    }

    /// Whether a guest with this metadata may be read. What a guest does not have no pattern fits.
    pub fn takes_metadata(&self, metadata: &Metadata) -> bool {
        self.metadata.take(|(path, pattern)| {
            metadata.value(path).is_some_and(|value| pattern.matches(value))
        })
    }

    /// Where the metadata is looked at.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.metadata.include.iter().chain(&self.metadata.exclude).map(|(path, _)| path)
    }

    /// Whether only guests that are off could pass, and those are not told of.
    pub(super) fn wants_only_those_off(&self) -> bool {
        let states = &self.states.include;
        !self.inactive && !states.is_empty() && states.iter().all(|state| *state == SHUTOFF)
    }
}

/// Which of a guest's devices are read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeviceFilter {
    pub(super) nics: Lists<DevicePattern>,
    pub(super) disks: Lists<DevicePattern>,
}

/// What is said of a device, and how it must be said.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DevicePattern {
    part: Part,
    pattern: Pattern,
}

/// What a device is told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Its name, as the tag `device` has it.
    Device,
    /// What a tag of it has.
    Tag(DeviceTag),
}

/// What devices with these tags are told apart by.
pub(super) fn parts<T>(rows: &[TagRow<T>]) -> Vec<(&'static str, Part)> {
    let tags = rows.iter().map(|row| (row.tag.name(), Part::Tag(row.tag)));
    [("device", Part::Device)].into_iter().chain(tags).collect()
}

impl DeviceFilter {
    /// Whether every device is read.
    pub fn is_empty(&self) -> bool {
        self.nics.is_empty() && self.disks.is_empty()
    }

    /// Whether the NIC of this name is read; `known` is what the guest's XML says of it.
    pub fn takes_nic(&self, name: &str, known: Option<&NicDevice>) -> bool {
        self.nics.take(|DevicePattern { part, pattern }| {
            let value = match part {
                Part::Device => Some(name),
                Part::Tag(tag) => {
                    known.and_then(|nic| TagRow::value(NIC_TAGS, *tag, nic)).map(String::as_str)
                }
            };
            value.is_some_and(|value| pattern.matches(value))
        })
    }

    /// Whether the disk of this target is read; `known` is what the guest's XML says of it.
    pub fn takes_disk(&self, name: &str, known: Option<&DiskDevice>) -> bool {
        self.disks.take(|DevicePattern { part, pattern }| {
            let kind = known.map(|disk| disk.kind.name());
            if *part == Part::Tag(DeviceTag::Type) && kind.is_some_and(|it| pattern.matches(it)) {
                return true;
            }
            let value = match part {
                Part::Device => Some(name),
                Part::Tag(tag) => {
                    known.and_then(|disk| TagRow::value(DISK_TAGS, *tag, disk)).map(String::as_str)
                }
            };
            value.is_some_and(|value| pattern.matches(value))
        })
    }
}

/// A list of patterns.
pub(super) fn patterns(entry: &Entry) -> Result<Vec<Pattern>, Complaint> {
    let pattern = |item: Item| Pattern::parse(item.text).map_err(wrong_pattern(entry, &item));
    entry.items()?.into_iter().map(pattern).collect()
}

fn wrong_pattern(entry: &Entry, item: &Item) -> impl Fn(String) -> Complaint {
    move |why| entry.item_refused(item, format_args!("but that pattern {why}"))
}

/// Whole UUIDs, in any of their notations, or patterns over the usual one.
pub(super) fn uuids(entry: &Entry) -> Result<Vec<Pattern>, Complaint> {
    let pattern = |item: Item| {
        if let Ok(uuid) = Uuid::try_parse(item.text) {
            return Pattern::parse(&uuid.as_hyphenated().to_string())
                .map_err(wrong_pattern(entry, &item));
        }
        let is_pattern = item.text.contains(['*', '?', '[', '{']) || item.text.starts_with('/');
        if !is_pattern {
            let why = "but each entry must be a whole UUID, as virsh domuuid prints it, or a \
                       pattern, such as \"550e8400-*\"";
            return Err(entry.item_refused(&item, why));
        }
        Pattern::parse_caseless(item.text).map_err(wrong_pattern(entry, &item))
    };
    entry.items()?.into_iter().map(pattern).collect()
}

/// `PATH=PATTERN`.
pub(super) fn of_metadata(entry: &Entry) -> Result<Vec<(Path, Pattern)>, Complaint> {
    let both = |item: Item| {
        let Some((path, pattern)) = item.text.split_once('=') else {
            let why = "but each entry must be PATH=PATTERN, such as \"//nova:flavor/@name=m1.*\"";
            return Err(entry.item_refused(&item, why));
        };
        let path = Path::parse(path)
            .map_err(|why| entry.item_refused(&item, format_args!("but its path {why}")))?;
        let pattern = Pattern::parse(pattern).map_err(wrong_pattern(entry, &item))?;
        Ok((path, pattern))
    };
    entry.items()?.into_iter().map(both).collect()
}

/// `PATTERN` over the device's name, or `PART=PATTERN`.
pub(super) fn of_devices(
    entry: &Entry,
    parts: &[(&str, Part)],
) -> Result<Vec<DevicePattern>, Complaint> {
    let is_word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphabetic());
    let device = |item: Item| {
        let (part, pattern) = match item.text.split_once('=') {
            Some((word, pattern)) if is_word(word) => {
                let Some((_, part)) = parts.iter().find(|(name, _)| *name == word) else {
                    let all: Vec<String> =
                        parts.iter().map(|(name, _)| (*name).to_owned()).collect();
                    let nearest = names::nearest(word, parts.iter().map(|(name, _)| *name));
                    let hint =
                        nearest.map(|name| format!("; did you mean {name}?")).unwrap_or_default();
                    let why = format!(
                        "but what stands before the = must be {}{hint}",
                        names::listed(&all)
                    );
                    return Err(entry.item_refused(&item, why));
                };
                (*part, pattern)
            }
            _ => (Part::Device, item.text),
        };
        // libvirt writes a MAC address in small letters.
        let parse = if part == Part::Tag(DeviceTag::Mac) {
            Pattern::parse_caseless
        } else {
            Pattern::parse
        };
        let pattern = parse(pattern).map_err(wrong_pattern(entry, &item))?;
        Ok(DevicePattern { part, pattern })
    };
    entry.items()?.into_iter().map(device).collect()
}

#[cfg(test)]
mod tests;
