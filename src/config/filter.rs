//! Which guests are read, and which of their devices: the lists of `[domains]` and `[devices]`.
//!
//! One rule for all of them: what passes every list of what to include, where such a list is not
//! empty, and is in no exclude list, is read. Nothing here asks anybody: what a guest
//! is called, its state and its metadata are given.

use std::collections::HashSet;

use uuid::Uuid;

use super::names;
use super::pattern::{Pattern, Patterns};
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
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Lists<L> {
    pub(super) include: L,
    pub(super) exclude: L,
}

/// A list of what fits.
pub(super) trait PatternSet {
    fn is_empty(&self) -> bool;
}

impl<T> PatternSet for Vec<T> {
    fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }
}

impl PatternSet for Patterns {
    fn is_empty(&self) -> bool {
        self.is_empty()
    }
}

impl<L: PatternSet> Lists<L> {
    fn is_empty(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// Whether what `fits` looks at passes; an empty list fits nothing.
    fn take(&self, fits: impl Fn(&L) -> bool) -> bool {
        (self.include.is_empty() || fits(&self.include))
            && (self.exclude.is_empty() || !fits(&self.exclude))
    }
}

/// UUIDs, and patterns over their usual notation.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Uuids {
    whole: HashSet<Uuid>,
    patterns: Patterns,
}

impl PatternSet for Uuids {
    fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.patterns.is_empty()
    }
}

impl Uuids {
    fn matches(&self, uuid: &Uuid) -> bool {
        if self.whole.contains(uuid) {
            return true;
        }
        let mut text = [0; 36];
        !self.patterns.is_empty()
            && self.patterns.matches(uuid.as_hyphenated().encode_lower(&mut text))
    }
}

/// What the metadata must have at a path.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct MetadataPatterns {
    path: Path,
    /// Whether any value does.
    any: bool,
    patterns: Patterns,
}

/// Which guests are read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DomainFilter {
    pub(super) names: Lists<Patterns>,
    pub(super) uuids: Lists<Uuids>,
    pub(super) states: Lists<Vec<State>>,
    pub(super) metadata: Lists<Vec<MetadataPatterns>>,
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
        self.names.take(|patterns| patterns.matches(name))
            && self.uuids.take(|uuids| uuids.matches(uuid))
    }

    /// Whether the guests' states must be known.
    pub fn has_states(&self) -> bool {
        !self.states.is_empty()
    }

    /// Whether a guest in this state, virDomainState's number, may be read.
    pub fn takes_state(&self, state: Option<i64>) -> bool {
        let state = state.filter(|number| STATES.iter().any(|(_, known)| *known == Some(*number)));
        self.states.take(|wanted| wanted.contains(&state))
    }

    /// Whether the guests' metadata must be known.
    pub fn has_metadata(&self) -> bool {
        !self.metadata.is_empty()
    }

    /// Whether a guest with this metadata may be read. What a guest does not have no pattern fits.
    pub fn takes_metadata(&self, metadata: &Metadata) -> bool {
        self.metadata.take(|all| {
            all.iter().any(|MetadataPatterns { path, any, patterns }| {
                metadata.value(path).is_some_and(|value| *any || patterns.matches(value))
            })
        })
    }

    /// Where the metadata is looked at.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.metadata.include.iter().chain(&self.metadata.exclude).map(|it| &it.path)
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
    pub(super) nics: Lists<Vec<DevicePatterns>>,
    pub(super) disks: Lists<Vec<DevicePatterns>>,
}

/// What is said of a device, and how it must be said.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DevicePatterns {
    part: FilterPart,
    patterns: Patterns,
}

/// What a device is told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FilterPart {
    /// Its name, as the tag `device` has it.
    Device,
    /// What a tag of it has.
    Tag(DeviceTag),
}

/// What devices with these tags are told apart by.
pub(super) fn parts<T>(rows: &[TagRow<T>]) -> Vec<(&'static str, FilterPart)> {
    let tags = rows.iter().map(|row| (row.tag.name(), FilterPart::Tag(row.tag)));
    [("device", FilterPart::Device)].into_iter().chain(tags).collect()
}

impl DeviceFilter {
    /// Whether every device is read.
    pub fn is_empty(&self) -> bool {
        self.nics.is_empty() && self.disks.is_empty()
    }

    /// Whether the NIC of this name is read; `known` is what the guest's XML says of it.
    pub fn takes_nic(&self, name: &str, known: Option<&NicDevice>) -> bool {
        self.nics.take(|all| {
            all.iter().any(|DevicePatterns { part, patterns }| {
                let value = match part {
                    FilterPart::Device => Some(name),
                    FilterPart::Tag(tag) => {
                        known.and_then(|nic| TagRow::value(NIC_TAGS, *tag, nic)).map(String::as_str)
                    }
                };
                value.is_some_and(|value| patterns.matches(value))
            })
        })
    }

    /// Whether the disk of this target is read; `known` is what the guest's XML says of it.
    pub fn takes_disk(&self, name: &str, known: Option<&DiskDevice>) -> bool {
        self.disks.take(|all| {
            all.iter().any(|DevicePatterns { part, patterns }| {
                let value = match part {
                    FilterPart::Device => Some(name),
                    FilterPart::Tag(tag) => known
                        .and_then(|disk| TagRow::value(DISK_TAGS, *tag, disk))
                        .map(String::as_str),
                };
                // A disk has two types: that of its source, and disk or lun.
                let kind = known.filter(|_| *part == FilterPart::Tag(DeviceTag::Type));
                let kind = kind.map(|disk| disk.kind.name());
                [value, kind].into_iter().flatten().any(|value| patterns.matches(value))
            })
        })
    }
}

/// A list of patterns.
pub(super) fn patterns(entry: &Entry) -> Result<Patterns, Complaint> {
    let pattern = |item: Item| Pattern::parse(item.text).map_err(wrong_pattern(entry, &item));
    entry.items()?.into_iter().map(pattern).collect()
}

fn wrong_pattern(entry: &Entry, item: &Item) -> impl Fn(String) -> Complaint {
    move |why| entry.item_refused(item, format_args!("but that pattern {why}"))
}

/// Whole UUIDs, in any of their notations, or patterns over the usual one.
pub(super) fn uuids(entry: &Entry) -> Result<Uuids, Complaint> {
    let mut all = Uuids::default();
    for item in entry.items()? {
        if let Ok(uuid) = Uuid::try_parse(item.text) {
            all.whole.insert(uuid);
            continue;
        }
        let is_pattern = item.text.contains(['*', '?', '[', '{']) || item.text.starts_with('/');
        if !is_pattern {
            let why = "but each entry must be a whole UUID, as virsh domuuid prints it, or a \
                       pattern, such as \"550e8400-*\"";
            return Err(entry.item_refused(&item, why));
        }
        let pattern = Pattern::parse_caseless(item.text).map_err(wrong_pattern(entry, &item))?;
        all.patterns.add(pattern);
    }
    Ok(all)
}

/// `PATH=PATTERN`, or a path alone, where any value fits.
pub(super) fn of_metadata(entry: &Entry) -> Result<Vec<MetadataPatterns>, Complaint> {
    let mut all: Vec<MetadataPatterns> = Vec::new();
    for item in entry.items()? {
        let (path, pattern) = Path::split_pattern(item.text);
        // A word alone is most likely a value whose path was forgotten.
        if pattern.is_none() && !path.contains('/') {
            let why = "but each entry must be PATH=PATTERN, such as \"//nova:flavor/@name=m1.*\", or a \
                       path alone";
            return Err(entry.item_refused(&item, why));
        }
        let path = Path::parse(path)
            .map_err(|why| entry.item_refused(&item, format_args!("but its path {why}")))?;
        let pattern = pattern.map(Pattern::parse).transpose();
        let pattern = pattern.map_err(wrong_pattern(entry, &item))?;
        let at = all.iter().position(|it| it.path == path).unwrap_or(all.len());
        if at == all.len() {
            all.push(MetadataPatterns { path, any: false, patterns: Patterns::default() });
        }
        if let Some(it) = all.get_mut(at) {
            it.any |= pattern.is_none();
            pattern.into_iter().for_each(|pattern| it.patterns.add(pattern));
        }
    }
    Ok(all)
}

/// `PATTERN` over the device's name, or `PART=PATTERN`.
pub(super) fn of_devices(
    entry: &Entry,
    parts: &[(&str, FilterPart)],
) -> Result<Vec<DevicePatterns>, Complaint> {
    let is_word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphabetic());
    let mut all: Vec<DevicePatterns> = Vec::new();
    for item in entry.items()? {
        let (part, pattern) = match item.text.split_once('=') {
            Some((word, pattern)) if is_word(word) => {
                let Some((_, part)) = parts.iter().find(|(name, _)| *name == word) else {
                    return Err(unknown_part(entry, &item, word, parts));
                };
                (*part, pattern)
            }
            _ => (FilterPart::Device, item.text),
        };
        // libvirt writes a MAC address in small letters.
        let parse = if part == FilterPart::Tag(DeviceTag::Mac) {
            Pattern::parse_caseless
        } else {
            Pattern::parse
        };
        let pattern = parse(pattern).map_err(wrong_pattern(entry, &item))?;
        match all.iter_mut().find(|it| it.part == part) {
            Some(it) => it.patterns.add(pattern),
            None => all.push(DevicePatterns { part, patterns: Patterns::from_iter([pattern]) }),
        }
    }
    Ok(all)
}

fn unknown_part(entry: &Entry, item: &Item, word: &str, parts: &[(&str, FilterPart)]) -> Complaint {
    let all: Vec<String> = parts.iter().map(|(name, _)| (*name).to_owned()).collect();
    let nearest = names::nearest(word, parts.iter().map(|(name, _)| *name));
    let hint = nearest.map(|name| format!("; did you mean {name}?")).unwrap_or_default();
    let why = format!("but the part before the = must be {}{hint}", names::listed(&all));
    entry.item_refused(item, why)
}

#[cfg(test)]
mod tests;
