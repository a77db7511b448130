//! A host of any size, multiplied from a recorded guest, and what becomes of its statistics in a
//! collection, as the agent does it: sample, rates, points and line protocol, without libvirt in the
//! way. Shared by the benchmark, the test that counts allocations and the one that counts
//! instructions.

// Each of them uses a part of this.
#![allow(dead_code)]

use telegraf_virt::devices::{Inventory, xml};
use telegraf_virt::features::{self, Rates};
use telegraf_virt::libvirt::OwnedValue;
use telegraf_virt::line_protocol::{Lines, Tags};
use telegraf_virt::points::{self, Choice, Writer};
use telegraf_virt::record::{RecordedAnswer, RecordedGuest, Recording, Statistic};
use telegraf_virt::sample::Domain;
use uuid::Uuid;

/// Lines of each guest from its second collection on: metrics, features, 2 NICs, 3 disks, totals.
pub const LINES: usize = 8;

const RECORDING: &str = include_str!("../../fixtures/hosts/debian12-qemu.jsonl");
/// Between two collections.
const INTERVAL_NS: u64 = 10_000_000_000;
/// Collections that the guests have lived through, so that their counters have a usual length.
const AGE: u64 = 10_000;
const START_UNIX_NS: i64 = 1_700_000_000_000_000_000;

/// Guests with 2 NICs and 3 disks, each with a name and a UUID of its own.
pub struct Host {
    /// What libvirt says of each of them.
    answer: RecordedGuest,
    inventory: Inventory,
    guests: Vec<Guest>,
    collections: u64,
    lines: Lines,
    writer: Writer,
    tags: Tags,
    /// What is printed beside the default.
    pub choice: Choice,
}

/// A guest with its two samples, which change places at each collection.
struct Guest {
    name: String,
    uuid: Uuid,
    now: Domain,
    before: Domain,
    rates: Option<Rates>,
}

impl Host {
    /// So many guests, none of which has been measured yet.
    pub fn new(guests: usize) -> Self {
        let mut answer = recorded();
        grow(&mut answer, AGE);
        let (nics, disks) = xml::inventory(answer.xml()).expect("the recording holds domain XML");
        let inventory = Inventory { id: answer.id, nics, disks, ..Inventory::default() };
        let guest = |number: usize| Guest {
            name: format!("instance-{number:08x}"),
            // As random as libvirt's: all 16 bytes of it differ.
            uuid: Uuid::from_u128(
                (number as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835),
            ),
            now: Domain::default(),
            before: Domain::default(),
            rates: None,
        };
        Self {
            answer,
            inventory,
            guests: (0..guests).map(guest).collect(),
            collections: 0,
            lines: Lines::default(),
            writer: Writer::default(),
            tags: Tags::default(),
            choice: Choice::DEFAULT,
        }
    }

    /// A collection, from what libvirt says to the lines.
    pub fn collect(&mut self) -> &Lines {
        self.live();
        self.fill();
        self.rate();
        self.write()
    }

    /// The guests live on until the next collection.
    pub fn live(&mut self) {
        self.collections += 1;
        grow(&mut self.answer, 1);
    }

    /// Statistics into samples; the older sample of each guest is used again.
    pub fn fill(&mut self) {
        for guest in &mut self.guests {
            std::mem::swap(&mut guest.now, &mut guest.before);
            let sample = &mut guest.now;
            sample.clear();
            sample.id = self.answer.id;
            sample.name.push_str(&guest.name);
            sample.uuid = guest.uuid;
            sample.answered_at_ns = self.collections * INTERVAL_NS;
            let unknown = sample.fill(self.answer.parameters());
            assert_eq!(unknown, 0, "statistics that the program does not know");
            sample.disks.retain(|disk| self.inventory.is_disk(&disk.name));
        }
    }

    /// Pairs of samples into rates.
    pub fn rate(&mut self) {
        for guest in &mut self.guests {
            guest.rates = features::rates(&guest.now, &guest.before);
        }
    }

    /// Samples and rates into lines.
    pub fn write(&mut self) -> &Lines {
        let interval = i64::try_from(INTERVAL_NS * self.collections).expect("some time");
        let now_ns = START_UNIX_NS + interval;
        self.lines.start(now_ns);
        let now_unix_s = now_ns.unsigned_abs() / 1_000_000_000;
        for Guest { now, rates, .. } in &self.guests {
            let inventory = Some(&self.inventory);
            let guest = points::PrintedGuest { sample: now, rates: rates.as_ref(), inventory };
            self.writer.write(&mut self.lines, &guest, &self.tags, &self.choice, now_unix_s);
        }
        &self.lines
    }

    /// The last samples.
    pub fn samples(&self) -> impl Iterator<Item = &Domain> {
        self.guests.iter().map(|guest| &guest.now)
    }

    /// The devices of each guest, as the cache keeps them.
    pub fn inventory(&self) -> Inventory {
        let sample = &self.guests.first().expect("a guest").now;
        Inventory {
            counted_nics: sample.nics.iter().map(|nic| nic.name.to_string()).collect(),
            counted_disks: sample.disks.iter().map(|disk| disk.name.to_string()).collect(),
            ..self.inventory.clone()
        }
    }

    /// How many statistics libvirt sends of each guest.
    pub fn statistics(&self) -> usize {
        self.answer.parameters().count()
    }
}

/// The recorded guest with 2 NICs and 3 disks. It was paused and had no balloon driver, so what the
/// Linux guest beside it says of its memory is taken in.
fn recorded() -> RecordedGuest {
    let mut recording = Recording::parse(RECORDING.as_bytes()).expect("a recording");
    let guests = recording.moments.swap_remove(0).guests;
    let [mut fleet, mut linux] = <[RecordedGuest; 2]>::try_from(guests).expect("two guests");
    let parameters = parameters(&mut fleet);
    parameters.retain(|(name, _)| !name.starts_with("balloon."));
    let memory = self::parameters(&mut linux).drain(..);
    let memory = memory.filter(|(name, _)| name.starts_with("balloon."));
    let place = parameters.iter().position(|(name, _)| name == "vcpu.current");
    let place = place.expect("vCPUs");
    parameters.splice(place..place, memory);
    fleet
}

fn parameters(guest: &mut RecordedGuest) -> &mut Vec<Statistic> {
    let RecordedAnswer::Ok(parameters) = &mut guest.statistics else { panic!("no statistics") };
    parameters
}

/// Lets all counters grow as so many busy collections would.
fn grow(answer: &mut RecordedGuest, collections: u64) {
    for (name, value) in parameters(answer) {
        let OwnedValue::Uint(value) = value else { continue };
        *value += collections * gain(name);
    }
}

/// What a counter gains from one collection to the next.
fn gain(name: &str) -> u64 {
    match name.rsplit('.').next().unwrap_or_default() {
        "bytes" => 1_523_712,
        "pkts" | "reqs" => 1_207,
        "time" | "user" | "system" | "times" | "delay" | "wait" => 71_331_942,
        "major_fault" | "minor_fault" => 13,
        "current" if name.starts_with("balloon") => 131,
        _ => 0,
    }
}
