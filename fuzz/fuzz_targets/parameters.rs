//! Any typed parameters of a guest, twice, become lines that parse and keep the schema: its tags and
//! fields and no others, sums that are the sums, rates that are none below zero.
//!
//! The input is text, a line each, in which a carriage return stands for a newline in what follows:
//!
//! ```text
//! o omit partial id=5 elapsed=10000000000 features=31 tags=127 extra=262143    options, none needed
//! n NAME              the guest's name
//! t KEY VALUE         a tag that the user configured
//! x <domain>...       the guest's XML
//! u cpu.time 5        a parameter: u unsigned, i signed, f float, b boolean, s string
//! -                   all that follows is the second sample
//! ```
#![no_main]

use std::collections::HashSet;

use influxdb_line_protocol::{FieldValue, ParsedLine};
use libfuzzer_sys::fuzz_target;
use telegraf_virt::config::extra::{Extra, Extras};
use telegraf_virt::config::{DeviceTag, Feature, Missing, names};
use telegraf_virt::devices::details::details;
use telegraf_virt::devices::{Inventory, xml};
use telegraf_virt::features::{self, Rates};
use telegraf_virt::libvirt::{OwnedValue, Parameter};
use telegraf_virt::line_protocol::{Lines, Tags};
use telegraf_virt::points::{Choice, PrintedGuest, Writer};
use telegraf_virt::sample::{Completeness, Domain, More};
use telegraf_virt_fuzz::reference::{as_tag, points_of, tags_of};
use telegraf_virt_fuzz::schema;
use uuid::Uuid;

const FEATURES: [Feature; 5] =
    [Feature::Net, Feature::Disk, Feature::Cpu, Feature::Latency, Feature::Balloon];
const UUID: Uuid = Uuid::from_u128(7);
const AT_NS: u64 = 5_000_000_000;
const TIMESTAMP_NS: i64 = 1_700_000_000_000_000_000;

fuzz_target!(|text: &str| {
    let input = Input::read(text);
    let mut before = Domain::default();
    input.fill(&mut before, &input.before, AT_NS);
    // As execd does it: the sample that is filled anew keeps nothing of an older one.
    let mut now = before.clone();
    now.clear();
    input.fill(&mut now, &input.now, AT_NS.saturating_add(input.elapsed_ns));
    let rates = features::rates(&now, &before);

    let mut user = Tags::default();
    for (key, value) in &input.user {
        user.add(key, value);
    }
    let inventory = input.inventory.as_ref();
    let mut lines = Lines::default();
    lines.start(TIMESTAMP_NS);
    let mut writer = Writer::default();
    let mut write = |sample, rates| {
        let guest = PrintedGuest { sample, rates, inventory };
        let first = lines.as_bytes().len();
        writer.write(&mut lines, &guest, &user, &input.choice, 1_700_000_000);
        (lines.as_bytes()[first..].to_vec(), lines.count())
    };
    let (earlier, count) = write(&before, None);
    input.assert_right(&points_of(&earlier), &before, &input.before, None);
    let (later, both) = write(&now, rates.as_ref());
    let points = points_of(&later);
    input.assert_right(&points, &now, &input.now, rates.as_ref());
    assert_eq!(both - count, points.len(), "lines that were counted");
});

struct Input {
    id: i32,
    name: String,
    completeness: Completeness,
    elapsed_ns: u64,
    choice: Choice,
    user: Vec<(String, String)>,
    inventory: Option<Inventory>,
    before: Vec<(String, OwnedValue)>,
    now: Vec<(String, OwnedValue)>,
}

impl Input {
    fn read(text: &str) -> Self {
        let choice = Choice::DEFAULT;
        let mut input = Self {
            id: 5,
            name: String::new(),
            completeness: Completeness::Complete,
            elapsed_ns: 10_000_000_000,
            choice,
            user: Vec::new(),
            inventory: None,
            before: Vec::new(),
            now: Vec::new(),
        };
        let mut second = false;
        for line in text.split('\n') {
            let line = line.replace('\r', "\n");
            let (kind, rest) = line.split_once(' ').unwrap_or((&line, ""));
            match kind {
                "o" => rest.split(' ').for_each(|option| input.set(option)),
                "n" => input.name = rest.to_owned(),
                "t" => input.tag(rest),
                "x" => {
                    let (nics, disks) = xml::inventory(rest).unwrap_or_default();
                    let details = details(rest).ok().map(Box::new);
                    let id = input.id;
                    input.inventory =
                        Some(Inventory { id, nics, disks, details, ..Inventory::default() });
                }
                "-" => second = true,
                _ => {
                    let sample = if second { &mut input.now } else { &mut input.before };
                    sample.extend(parameter(kind, rest));
                }
            }
        }
        input
    }

    fn set(&mut self, option: &str) {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        let number: u64 = value.parse().unwrap_or_default();
        let chosen = |index: usize| number >> index & 1 == 1;
        match key {
            "omit" => self.choice.missing = Missing::Omit,
            "partial" => self.completeness = Completeness::Partial,
            "id" => self.id = value.parse().unwrap_or(-1),
            "elapsed" => self.elapsed_ns = number,
            "features" => {
                let all = FEATURES.into_iter().enumerate();
                self.choice.features = all.filter(|(at, _)| chosen(*at)).map(|it| it.1).collect();
            }
            "extra" => {
                let all = Extra::ALL.into_iter().enumerate();
                self.choice.extra = all.filter(|(at, _)| chosen(*at)).map(|it| it.1).collect();
            }
            "tags" => {
                let all = DeviceTag::ALL.into_iter().enumerate();
                self.choice.device_tags =
                    all.filter(|(at, _)| chosen(*at)).map(|it| it.1).collect();
            }
            _ => {}
        }
    }

    /// A tag of the user's, where the configuration would take it.
    fn tag(&mut self, text: &str) {
        let (key, value) = text.split_once(' ').unwrap_or((text, ""));
        let refused = key.is_empty()
            || value.is_empty()
            || key.contains(char::is_control)
            || names::reserved(&as_tag(key)).is_some()
            || self.user.iter().any(|(other, _)| as_tag(other) == as_tag(key));
        if !refused {
            self.user.push((key.to_owned(), value.to_owned()));
        }
    }

    fn fill(&self, sample: &mut Domain, parameters: &[(String, OwnedValue)], at_ns: u64) {
        sample.id = self.id;
        sample.name.push_str(&self.name);
        sample.uuid = UUID;
        sample.answered_at_ns = at_ns;
        sample.completeness = self.completeness;
        if self.choice.extra != Extras::NONE {
            let keeps_other = self.choice.extra.has(Extra::Other);
            sample.more = Some(Box::new(More { keeps_other, ..More::default() }));
        }
        let given = parameters
            .iter()
            .map(|(name, value)| Parameter { name: name.as_bytes(), value: value.into() });
        let unknown = sample.fill(given);
        assert!(unknown <= parameters.len());
        assert!(sample.nics.iter().all(|nic| !nic.name.is_empty()));
        assert!(sample.disks.iter().all(|disk| !disk.name.is_empty()));
        if let Some(inventory) = &self.inventory {
            sample.disks.retain(|disk| inventory.is_disk(&disk.name));
        }
    }

    fn assert_right(
        &self,
        points: &[ParsedLine<'_>],
        sample: &Domain,
        given: &[(String, OwnedValue)],
        rates: Option<&Rates>,
    ) {
        let user: Vec<(String, String)> =
            self.user.iter().map(|(key, value)| (as_tag(key), as_tag(value))).collect();
        let mut guest = vec![("VMID".to_owned(), self.id.to_string())];
        if !self.name.is_empty() {
            guest.push(("name".to_owned(), as_tag(&self.name)));
        }
        guest.push(("uuid".to_owned(), UUID.to_string()));

        let names = sample.nics.iter().map(|nic| ("nic", &nic.name));
        let names = names.chain(sample.disks.iter().map(|disk| ("disk", &disk.name)));
        let mut devices = names.map(|(kind, name)| (kind.to_owned(), as_tag(name)));
        let mut places = Vec::new();
        for point in points {
            let tags = tags_of(point);
            schema::assert_kept(point, &tags, &user);
            assert!(tags.starts_with(&guest), "the guest's tags of {point:?}");
            assert_eq!(point.timestamp, Some(TIMESTAMP_NS));
            places.push(match point.series.measurement.as_str() {
                "vm_metrics" => 0,
                "vm_features" => 1,
                "vm_devices" => {
                    let device: Vec<&str> =
                        tags[guest.len()..][..2].iter().map(|(_, value)| value.as_str()).collect();
                    let place = devices.any(|(kind, name)| device == [kind, name]);
                    assert!(place, "a device of another guest, or out of order: {point:?}");
                    2
                }
                "vm_totals" => 3,
                more => 4 + schema::place_of_more(more).expect("a measurement of the schema"),
            });
        }
        assert!(places.is_sorted(), "the order of measurements: {places:?}");
        let count = |place| places.iter().filter(|it| **it == place).count();
        assert!(count(0) <= 1 && count(1) <= 1 && count(3) <= 1, "{places:?}");
        let listed = sample.nics.len() + sample.disks.len();
        let is_complete = self.completeness == Completeness::Complete;
        let zeros = self.id >= 0 && is_complete && self.choice.missing == Missing::Zero;
        if self.id < 0 {
            assert_eq!((rates, count(1) + count(2)), (None, 0));
        } else if zeros {
            assert_eq!((count(0), count(2), count(3)), (1, listed, 1), "{places:?}");
        }
        assert!(count(1) == 0 || rates.is_some());
        assert_from_somewhere(points, given, zeros);
        assert_sums(points, sample, zeros);
        for point in points.iter().filter(|point| point.series.measurement == "vm_features") {
            assert_rates(point);
        }
    }
}

fn parameter(kind: &str, rest: &str) -> Option<(String, OwnedValue)> {
    let (name, value) = rest.split_once(' ').unwrap_or((rest, ""));
    let value = match kind {
        "u" => OwnedValue::Uint(value.parse().unwrap_or_default()),
        "i" => OwnedValue::Int(value.parse().unwrap_or_default()),
        "f" => OwnedValue::Float(value.parse().unwrap_or_default()),
        "b" => OwnedValue::Bool(value == "1"),
        "s" => OwnedValue::Text(value.to_owned()),
        _ => return None,
    };
    Some((name.to_owned(), value))
}

fn integer(point: &ParsedLine<'_>, key: &str) -> Option<i64> {
    match point.field_value(key) {
        Some(FieldValue::I64(number)) => Some(*number),
        _ => None,
    }
}

/// Every integer but the sums is one that was given or, where that may be, a zero for a missing one.
fn assert_from_somewhere(points: &[ParsedLine<'_>], given: &[(String, OwnedValue)], zeros: bool) {
    let given: HashSet<i64> = given
        .iter()
        .filter_map(|(_, value)| match *value {
            OwnedValue::Uint(number) => Some(i64::try_from(number).unwrap_or(i64::MAX)),
            OwnedValue::Int(number) => Some(number).filter(|number| *number >= 0),
            _ => None,
        })
        .collect();
    let sums: HashSet<String> = schema::sums().map(|(sum, ..)| sum).collect();
    // These are sums too, or from the XML, or of what libvirt names: as it sent them.
    let is_plain = |point: &&ParsedLine<'_>| {
        !["vm_limits", "vm_numa", "vm_other", "vm_hypervisor"]
            .contains(&point.series.measurement.as_str())
    };
    for (key, value) in points.iter().filter(is_plain).flat_map(|point| &point.field_set) {
        if let FieldValue::I64(number) = value
            && !sums.contains(key.as_str())
            && !["vcpu_wait_ns", "vcpu_delay_ns"].contains(&key.as_str())
        {
            assert!(given.contains(number) || (zeros && *number == 0), "{key} is {number}");
        }
    }
}

/// Every sum is the sum of the lines that it is of, as far as line protocol can hold it. Of a guest that did
/// not answer completely it is there only when every device has a part in it.
fn assert_sums(points: &[ParsedLine<'_>], sample: &Domain, zeros: bool) {
    let Some(totals) = points.iter().find(|point| point.series.measurement == "vm_totals") else {
        return;
    };
    for (sum, devtype, field) in schema::sums() {
        let Some(found) = integer(totals, &sum) else { continue };
        let of = points.iter().filter(|point| schema::devtype(&tags_of(point)) == Some(devtype));
        let parts: Vec<i64> = of.filter_map(|point| integer(point, field)).collect();
        assert_eq!(found, parts.iter().copied().fold(0, i64::saturating_add), "{sum}");
        let devices = if devtype == "nic" { sample.nics.len() } else { sample.disks.len() };
        // Of a guest that answered, the devices that nobody counts have no part in it.
        let is_complete = sample.completeness == Completeness::Complete;
        let has_all = zeros || is_complete || parts.len() == devices;
        assert!(has_all, "{sum} of {} of {devices}", parts.len());
        assert!(devices > 0 || is_complete, "{sum} of none that are known");
    }
}

/// No rate but the memory's is below zero, and each angle is its rate's.
fn assert_rates(point: &ParsedLine<'_>) {
    let mut last = None;
    for (key, value) in &point.field_set {
        let FieldValue::F64(number) = *value else { panic!("{key} is no float") };
        let key = key.as_str();
        if key.ends_with("_angle_deg") {
            let rate: f64 = last.expect("an angle's rate stands before it");
            assert!((number - rate.atan().to_degrees()).abs() < 1e-9, "{key} of {rate}: {number}");
        } else {
            assert!(number >= 0.0 || key == "memory_rate_kb_per_sec", "{key} is {number}");
            last = Some(number);
        }
    }
}
