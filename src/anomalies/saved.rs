//! The form of a guest's model in the cache: a line of JSON, in which each detector is base64.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;
use uuid::Uuid;

use super::detector::{Detector, Verdict};
use super::guest::{Flag, GuestModel, Part, PartKind, Series};
use super::series::SeriesKind;

/// Most series that a line may have.
const SERIES_OF_GUEST_MAX: usize = 4096;

/// A guest's line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedGuest<'a> {
    /// Its name.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    /// Its lasting identity.
    pub uuid: Uuid,
    /// When it was seen last, in seconds since 1970.
    pub at: u64,
    id: i32,
    vcpus: Option<u64>,
    memory_kib: [Option<u64>; 2],
    slot: u64,
    quiet_until_s: f64,
    events: u64,
    parts: Vec<SavedPart>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedPart {
    kind: PartKind,
    name: SmolStr,
    identity: SmolStr,
    series: Vec<SavedSeries>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedSeries {
    kind: SeriesKind,
    state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    flag: Option<SavedFlag>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedFlag {
    slot: u64,
    value: f64,
    range: f32,
    pattern: f32,
    low: f64,
    high: f64,
}

impl<'a> From<&'a GuestModel> for SavedGuest<'a> {
    fn from(guest: &'a GuestModel) -> Self {
        let mut bytes = Vec::new();
        let mut series = |series: &Series| {
            bytes.clear();
            series.detector.save(&mut bytes);
            let flag = series.flag.as_deref().map(|flag| SavedFlag {
                slot: flag.slot,
                value: flag.value,
                range: flag.verdict.range,
                pattern: flag.verdict.pattern,
                low: flag.verdict.low,
                high: flag.verdict.high,
            });
            SavedSeries { kind: series.kind, state: base64(&bytes), flag }
        };
        let parts = guest.parts.iter().map(|part| SavedPart {
            kind: part.kind,
            name: part.name.clone(),
            identity: part.identity.clone(),
            series: part.series.iter().map(&mut series).collect(),
        });
        Self {
            name: Cow::Borrowed(&guest.name),
            uuid: guest.uuid,
            at: guest.seen_unix_s,
            id: guest.id,
            vcpus: guest.vcpus,
            memory_kib: guest.memory_kib,
            slot: guest.slot,
            quiet_until_s: guest.quiet_until_s,
            events: guest.events,
            parts: parts.collect(),
        }
    }
}

impl SavedGuest<'_> {
    /// The model again; `None` where a part of it is not what any version saves.
    pub fn model(self) -> Option<GuestModel> {
        let mut parts = Vec::with_capacity(self.parts.len());
        let guests = self.parts.iter().filter(|part| part.kind == PartKind::Guest).count();
        let count: usize = self.parts.iter().map(|part| part.series.len()).sum();
        if guests != 1 || count > SERIES_OF_GUEST_MAX || !self.quiet_until_s.is_finite() {
            return None;
        }
        for part in self.parts {
            let mut series = Vec::with_capacity(part.series.len());
            for saved in part.series {
                let detector = Detector::restore(&bytes_of(&saved.state)?)?;
                let flag = saved.flag.map(|flag| {
                    let SavedFlag { slot, value, range, pattern, low, high } = flag;
                    Box::new(Flag { slot, value, verdict: Verdict { range, pattern, low, high } })
                });
                if series.iter().any(|other: &Series| other.kind == saved.kind) {
                    return None;
                }
                series.push(Series::new(saved.kind, detector, flag));
            }
            let SavedPart { kind, name, identity, .. } = part;
            parts.push(Part { kind, name, identity, series });
        }
        Some(GuestModel {
            name: self.name.into_owned(),
            uuid: self.uuid,
            id: self.id,
            vcpus: self.vcpus,
            memory_kib: self.memory_kib,
            minor_faults: None,
            is_running: true,
            seen_unix_s: self.at,
            slot: self.slot,
            quiet_until_s: self.quiet_until_s,
            events: self.events,
            parts,
        })
    }
}

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64 without padding.
fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let mut number = 0_u32;
        for place in 0..3 {
            number = number << 8 | u32::from(group.get(place).copied().unwrap_or(0));
        }
        for place in 0..=group.len() {
            let sextet = number >> (18 - 6 * place) & 63;
            text.push(char::from(LETTERS[sextet as usize]));
        }
    }
    text
}

fn bytes_of(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for group in text.as_bytes().chunks(4) {
        let mut number = 0_u32;
        for place in 0..4 {
            let sextet = match group.get(place) {
                None => 0,
                Some(letter @ b'A'..=b'Z') => letter - b'A',
                Some(letter @ b'a'..=b'z') => letter - b'a' + 26,
                Some(letter @ b'0'..=b'9') => letter - b'0' + 52,
                Some(b'+') => 62,
                Some(b'/') => 63,
                Some(_) => return None,
            };
            number = number << 6 | u32::from(sextet);
        }
        if group.len() < 2 {
            return None;
        }
        bytes.extend(number.to_be_bytes().into_iter().skip(1).take(group.len() - 1));
    }
    Some(bytes)
}
