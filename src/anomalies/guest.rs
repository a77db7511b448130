//! One guest: the slots of its series, what makes one begin again, and what is said at the end of a slot.

use smol_str::{SmolStr, format_smolstr};
use uuid::Uuid;

use super::Pace;
use super::detector::{Detector, Verdict};
use super::series::{SeriesKind, is_running, of_disk, of_guest, of_nic};
use crate::devices::{DiskDevice, Inventory, NicDevice};
use crate::sample::Domain;

/// A gap longer than this is not gone through slot by slot, in seconds: no interval is longer.
const GAP_S: f64 = 3600.0;

/// Why and when a series was flagged last.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flag {
    /// The slot.
    pub slot: u64,
    /// The value in it.
    pub value: f64,
    /// What it was to the series.
    pub verdict: Verdict,
}

/// One series.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Series {
    pub(super) kind: SeriesKind,
    pub(super) detector: Detector,
    pub(super) flag: Option<Box<Flag>>,
    /// Of the open slot: values times seconds, and the seconds.
    sum: f64,
    seconds: f64,
}

impl Series {
    pub(super) fn new(kind: SeriesKind, detector: Detector, flag: Option<Box<Flag>>) -> Self {
        Self { kind, detector, flag, sum: 0.0, seconds: 0.0 }
    }
}

/// The guest itself, or one of its devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum PartKind {
    /// The guest.
    Guest,
    /// A NIC.
    Nic,
    /// A disk.
    Disk,
}

/// The series of the guest itself, or of one of its devices.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Part {
    pub(super) kind: PartKind,
    /// What it is called now; empty for the guest itself.
    pub(super) name: SmolStr,
    /// What it is known by from one boot to the next: the MAC, or the target and the serial.
    pub(super) identity: SmolStr,
    pub(super) series: Vec<Series>,
}

impl Part {
    fn new(kind: PartKind, name: &str, identity: &str) -> Self {
        Self { kind, name: name.into(), identity: identity.into(), series: Vec::new() }
    }
}

/// What is learned of one guest.
#[derive(Clone, Debug, PartialEq)]
pub struct GuestModel {
    pub(super) name: String,
    pub(super) uuid: Uuid,
    pub(super) id: i32,
    pub(super) vcpus: Option<u64>,
    pub(super) memory_kib: [Option<u64>; 2],
    pub(super) minor_faults: Option<u64>,
    pub(super) is_running: bool,
    pub(super) seen_unix_s: u64,
    /// The open slot: its number since 1970.
    pub(super) slot: u64,
    /// Until then nothing counts, in seconds since 1970.
    pub(super) quiet_until_s: f64,
    /// Rising edges of flags.
    pub(super) events: u64,
    pub(super) parts: Vec<Part>,
}

/// The most unusual series of a slot.
#[derive(Clone, Debug, PartialEq)]
pub struct Top {
    /// Such as `vda wr_bytes`.
    pub series: SmolStr,
    /// Its value.
    pub value: f64,
    /// What it was.
    pub verdict: Verdict,
}

/// What is said of a guest at the end of a slot.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Series that are flagged, or were within 2 hours.
    pub flagged: usize,
    /// Series that have learned.
    pub learned: usize,
    /// Series that have not yet.
    pub learning: usize,
    /// Rising edges of flags since the guest is known.
    pub events: u64,
    /// The most unusual of the learned series that had a value.
    pub top: Option<Top>,
}

/// What an observation gave.
#[derive(Debug, Default)]
pub(super) struct Observed {
    pub(super) summary: Option<Summary>,
    /// Whether a series had no space.
    pub(super) left_out: bool,
}

impl GuestModel {
    pub(super) fn new(now: &Domain, unix_s: f64, pace: Pace) -> Self {
        Self {
            name: now.name.clone(),
            uuid: now.uuid,
            id: now.id,
            vcpus: now.vcpu_count,
            memory_kib: [now.memory.maximum_kib, now.memory.current_kib],
            minor_faults: now.memory.minor_faults,
            is_running: is_running(now),
            seen_unix_s: unix_s as u64,
            slot: slot_of(unix_s, pace),
            quiet_until_s: unix_s + Pace::QUIET * pace.slot_s,
            events: 0,
            parts: vec![Part::new(PartKind::Guest, "", "")],
        }
    }

    /// Its lasting identity.
    pub fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// Its name when it was seen last.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// When it was seen last, in seconds since 1970.
    pub fn seen_unix_s(&self) -> u64 {
        self.seen_unix_s
    }

    /// How many series it has.
    pub fn series(&self) -> usize {
        self.parts.iter().map(|part| part.series.len()).sum()
    }

    /// Whether a series of it has not learned yet.
    pub fn is_learning(&self, pace: Pace) -> bool {
        let mut series = self.parts.iter().flat_map(|part| &part.series);
        series.any(|series| series.detector.seen() < pace.learning)
    }

    /// The flagged series: name of the device, kind, flag, and how many slots it was learned from.
    pub fn flags(&self) -> impl Iterator<Item = (&str, SeriesKind, &Flag, u32)> {
        self.parts.iter().flat_map(|part| {
            part.series.iter().filter_map(|series| {
                let flag = series.flag.as_deref()?;
                Some((&*part.name, series.kind, flag, series.detector.seen()))
            })
        })
    }

    pub(super) fn observe(
        &mut self,
        now: &Domain,
        before: Option<&Domain>,
        inventory: Option<&Inventory>,
        unix_s: f64,
        pace: Pace,
        room: usize,
    ) -> Observed {
        self.seen_unix_s = unix_s as u64;
        if self.name != now.name {
            self.name.clone_from(&now.name);
        }
        self.begin_again(now, unix_s, pace);
        // What the XML of an earlier boot says of a NIC's name is of another NIC.
        let inventory = inventory.filter(|inventory| inventory.id == now.id);
        if let Some(inventory) = inventory {
            self.match_devices(now, inventory);
        }
        // Between two samples in which it ran.
        let was_running = before.is_some_and(is_running);
        let measured = before.filter(|_| self.is_running && was_running);
        let of_guest = measured.and_then(|before| of_guest(now, before));
        let seconds = of_guest.as_ref().map_or(0.0, |(seconds, _)| *seconds);
        let interval = Interval {
            now,
            before: measured,
            seconds,
            values: of_guest.map(|(_, values)| values),
            has_devices: inventory.is_some(),
        };
        self.pass(&interval, unix_s, pace, room)
    }

    /// A start, a resume, a reboot, another size.
    fn begin_again(&mut self, now: &Domain, unix_s: f64, pace: Pace) {
        let runs = is_running(now);
        if self.id != now.id || (runs && !self.is_running) {
            self.id = now.id;
            self.drop_open_slot();
            self.quiet_until_s = unix_s + Pace::QUIET * pace.slot_s;
            self.minor_faults = None;
        }
        self.is_running = runs;
        // The guest's own kernel counts its page faults, so they go back only when it boots.
        if let (Some(before), Some(now)) = (self.minor_faults, now.memory.minor_faults)
            && now < before
        {
            self.drop_open_slot();
        }
        self.minor_faults = now.memory.minor_faults.or(self.minor_faults);
        if let Some(vcpus) = now.vcpu_count
            && self.vcpus.replace(vcpus).is_some_and(|before| before != vcpus)
        {
            self.forget(|kind| matches!(kind, SeriesKind::CpuPercent | SeriesKind::StealPercent));
        }
        let sizes = [now.memory.maximum_kib, now.memory.current_kib];
        // A balloon that moves a little is no resize.
        let is_resized = |(before, now): (&Option<u64>, &Option<u64>)| matches!((before, now), (Some(before), Some(now)) if before.abs_diff(*now) > before / 10);
        if self.memory_kib.iter().zip(&sizes).any(is_resized) {
            self.forget(|kind| kind == SeriesKind::MemoryUsed);
            self.memory_kib = sizes;
        }
        for (before, now) in self.memory_kib.iter_mut().zip(sizes) {
            *before = before.or(now);
        }
    }

    fn forget(&mut self, is_of: impl Fn(SeriesKind) -> bool) {
        for part in self.parts.iter_mut().filter(|part| part.kind == PartKind::Guest) {
            part.series.retain(|series| !is_of(series.kind));
        }
    }

    fn drop_open_slot(&mut self) {
        for series in self.parts.iter_mut().flat_map(|part| &mut part.series) {
            (series.sum, series.seconds) = (0.0, 0.0);
        }
    }

    /// Drops what is learned of devices that are gone or are others now, and adds those that are new.
    fn match_devices(&mut self, now: &Domain, inventory: &Inventory) {
        self.parts.retain(|part| match part.kind {
            PartKind::Guest => true,
            PartKind::Nic => inventory.nics.iter().any(|nic| nic_identity(nic) == part.identity),
            PartKind::Disk => {
                inventory.disk(&part.name).is_some_and(|disk| disk_identity(disk) == part.identity)
            }
        });
        for nic in &now.nics {
            let Some(device) = inventory.nic(&nic.name) else { continue };
            let identity = nic_identity(device);
            let is_it = |part: &&mut Part| part.kind == PartKind::Nic && part.identity == identity;
            match self.parts.iter_mut().find(is_it) {
                // At each boot it has another name.
                Some(part) if part.name != nic.name => part.name = nic.name.as_str().into(),
                Some(_) => {}
                None => self.parts.push(Part::new(PartKind::Nic, &nic.name, identity)),
            }
        }
        for disk in now.disks.iter().filter(|disk| inventory.is_disk(&disk.name)) {
            let Some(device) = inventory.disk(&disk.name) else { continue };
            if self.place(PartKind::Disk, &disk.name).is_none() {
                self.parts.push(Part::new(PartKind::Disk, &disk.name, disk_identity(device)));
            }
        }
    }

    /// Puts an interval's values into the slots that it is over, and closes those that are over.
    fn pass(&mut self, it: &Interval<'_>, unix_s: f64, pace: Pace, room: usize) -> Observed {
        let mut seen = Observed::default();
        let slot_now = slot_of(unix_s, pace);
        let from = (unix_s - it.seconds).max(self.quiet_until_s);
        // A clock that was set back, or forward by much: no slot is known to be covered.
        if slot_now < self.slot {
            self.drop_open_slot();
            self.slot = slot_now;
            return seen;
        }
        while self.slot < slot_now {
            let end = (self.slot + 1) as f64 * pace.slot_s;
            self.add(it, from, end.min(unix_s), pace, room, &mut seen);
            seen.summary = Some(self.close(pace));
            self.slot += 1;
            if (slot_now - self.slot) as f64 * pace.slot_s > GAP_S {
                self.slot = slot_now;
            }
        }
        self.add(it, from, unix_s, pace, room, &mut seen);
        seen
    }

    fn add(
        &mut self,
        it: &Interval<'_>,
        from: f64,
        to: f64,
        pace: Pace,
        room: usize,
        seen: &mut Observed,
    ) {
        let (Some(before), Some(values)) = (it.before, &it.values) else { return };
        let seconds = to - from.max(self.slot as f64 * pace.slot_s);
        if seconds <= 0.0 {
            return;
        }
        let mut adder = Adder { seconds, room, has: self.series(), left_out: false };
        if let Some(part) = self.parts.iter_mut().find(|part| part.kind == PartKind::Guest) {
            adder.add(part, values);
        }
        if it.has_devices {
            for nic in &it.now.nics {
                let was = before.nics.iter().find(|was| was.name == nic.name);
                let place = self.place(PartKind::Nic, &nic.name);
                if let (Some(was), Some(place)) = (was, place) {
                    adder.add(&mut self.parts[place], &of_nic(nic, was, it.seconds));
                }
            }
            for disk in &it.now.disks {
                let was = before.disks.iter().find(|was| was.name == disk.name);
                let place = self.place(PartKind::Disk, &disk.name);
                if let (Some(was), Some(place)) = (was, place) {
                    adder.add(&mut self.parts[place], &of_disk(disk, was, it.seconds));
                }
            }
        }
        seen.left_out |= adder.left_out;
    }

    /// Where the device of this name is.
    fn place(&self, kind: PartKind, name: &str) -> Option<usize> {
        self.parts.iter().position(|part| part.kind == kind && part.name == name)
    }

    /// Ends the open slot.
    fn close(&mut self, pace: Pace) -> Summary {
        let mut summary = Summary::default();
        let (mut best, mut top) = (-1.0, None);
        for (place, part) in self.parts.iter_mut().enumerate() {
            for series in &mut part.series {
                let has_learned = series.detector.seen() >= pace.learning;
                if has_learned {
                    summary.learned += 1;
                } else {
                    summary.learning += 1;
                }
                let is_over = |flag: &Flag| self.slot.abs_diff(flag.slot) >= Pace::HOLD;
                if series.flag.as_deref().is_some_and(is_over) {
                    series.flag = None;
                }
                if series.seconds * 2.0 >= pace.slot_s {
                    let value = series.sum / series.seconds;
                    let verdict = series.detector.push(value, series.kind.scale());
                    if has_learned && verdict.ratio() >= 1.0 {
                        self.events += u64::from(series.flag.is_none());
                        series.flag = Some(Box::new(Flag { slot: self.slot, value, verdict }));
                    }
                    if has_learned && verdict.ratio() > best {
                        best = verdict.ratio();
                        top = Some((place, series.kind, value, verdict));
                    }
                }
                (series.sum, series.seconds) = (0.0, 0.0);
                summary.flagged += usize::from(series.flag.is_some());
            }
        }
        summary.events = self.events;
        summary.top = top.map(|(place, kind, value, verdict)| {
            let name = &self.parts[place].name;
            let series = if name.is_empty() {
                SmolStr::new_static(kind.name())
            } else {
                format_smolstr!("{name} {}", kind.name())
            };
            Top { series, value, verdict }
        });
        summary
    }
}

/// What was measured between two samples.
struct Interval<'a> {
    now: &'a Domain,
    before: Option<&'a Domain>,
    seconds: f64,
    values: Option<super::series::Values<3>>,
    has_devices: bool,
}

/// Adds values to the open slot.
struct Adder {
    seconds: f64,
    room: usize,
    has: usize,
    left_out: bool,
}

impl Adder {
    fn add(&mut self, part: &mut Part, values: &[(SeriesKind, Option<f64>)]) {
        for &(kind, value) in values {
            let Some(value) = value else { continue };
            let place = part.series.iter().position(|series| series.kind == kind);
            let place = match place {
                Some(place) => place,
                None if self.has >= self.room => {
                    self.left_out = true;
                    continue;
                }
                None => {
                    if part.series.is_empty() {
                        part.series.reserve_exact(values.len());
                    }
                    part.series.push(Series::new(kind, Detector::default(), None));
                    self.has += 1;
                    part.series.len() - 1
                }
            };
            let series = &mut part.series[place];
            series.sum += value * self.seconds;
            series.seconds += self.seconds;
        }
    }
}

fn slot_of(unix_s: f64, pace: Pace) -> u64 {
    (unix_s / pace.slot_s) as u64
}

fn nic_identity(nic: &NicDevice) -> &str {
    nic.mac.as_deref().or(nic.target.as_deref()).unwrap_or_default()
}

fn disk_identity(disk: &DiskDevice) -> &str {
    disk.serial.as_deref().unwrap_or_default()
}
