//! Made guests on made hosts. Their statistics have the form that a real QEMU sent (fixtures/hosts); counters
//! move as busy and idle guests' do; guests restart and migrate, and then have another VMID, NIC names and
//! counters from 0. The program's own code turns them into lines.

use std::time::Duration;

use telegraf_virt::devices::{Inventory, xml};
use telegraf_virt::features::{self, Rates};
use telegraf_virt::libvirt::{OwnedValue, Parameter, Value};
use telegraf_virt::line_protocol::{Lines, Tags};
use telegraf_virt::points::{
    Choice, CollectedGuests, Collector, PrintedGuest, Writer, write_collector,
};
use telegraf_virt::record::{RecordedAnswer, RecordedGuest, Recording, Statistic};
use telegraf_virt::sample::Domain;
use uuid::Uuid;

const RECORDING: &str = include_str!("../../fixtures/hosts/debian12-qemu.jsonl");
/// NICs and disks of guests, and of how many of 20 guests.
const KINDS: [(usize, usize, usize); 3] = [(1, 1, 10), (1, 2, 7), (2, 3, 3)];
/// In what interval counters gain what [`gain`] says.
const GAIN_MS: u64 = 10_000;

/// Numbers that look random, the same in each run.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// From 0 to 1.
    pub fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A statistic of a guest, and what becomes of it.
struct Form {
    name: String,
    value: OwnedValue,
    gain: u64,
}

struct Guest {
    name: String,
    uuid: Uuid,
    id: i32,
    host: usize,
    /// What it does of the usual: few guests do much, and many next to nothing.
    activity: f64,
    kind: usize,
    values: Vec<u64>,
    nics: Vec<String>,
    inventory: Inventory,
    now: Domain,
    before: Domain,
    rates: Option<Rates>,
}

/// The fleet.
pub struct Fleet {
    kinds: Vec<(Vec<Form>, Inventory)>,
    guests: Vec<Guest>,
    hosts: Vec<Host>,
    random: Random,
    lines: Lines,
    writer: Writer,
    /// What is printed beside the default.
    pub choice: Choice,
    /// Restarts and migrations so far.
    pub boots: u64,
}

#[derive(Default)]
struct Host {
    name: String,
    guests: Vec<usize>,
    boots: i32,
    nics: usize,
}

impl Fleet {
    /// So many hosts with so many guests each.
    pub fn new(hosts: usize, guests: usize, choice: Choice) -> Self {
        let kinds = KINDS.iter().map(|&(nics, disks, _)| form(nics, disks)).collect();
        let name = |number| format!("kvm-{number:04}.fra1.example.net");
        let hosts: Vec<Host> =
            (0..hosts).map(|number| Host { name: name(number), ..Host::default() }).collect();
        let mut fleet = Self {
            kinds,
            guests: Vec::new(),
            hosts,
            random: Random::new(1),
            lines: Lines::default(),
            writer: Writer::default(),
            choice,
            boots: 0,
        };
        for number in 0..fleet.hosts.len() * guests {
            fleet.add(number, number / guests);
        }
        fleet
    }

    fn add(&mut self, number: usize, host: usize) {
        let mut place = number * 7 % 20;
        let kind = KINDS.iter().position(|&(.., share)| {
            let found = place < share;
            place = place.saturating_sub(share);
            found
        });
        let kind = kind.expect("shares of 20");
        let uuid = (number as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let idle = self.random.part();
        let guest = Guest {
            name: format!("instance-{number:08x}"),
            uuid: Uuid::from_u128(uuid),
            id: 0,
            host,
            activity: idle.powi(4) * 4.0 + 0.01,
            kind,
            values: Vec::new(),
            nics: Vec::new(),
            inventory: self.kinds[kind].1.clone(),
            now: Domain::default(),
            before: Domain::default(),
            rates: None,
        };
        self.guests.push(guest);
        self.hosts[host].guests.push(number);
        self.boot(number);
        // They have been there for a while.
        let age = self.random.below(100_000);
        let Self { guests, kinds, .. } = self;
        let guest = &mut guests[number];
        for (value, form) in guest.values.iter_mut().zip(&kinds[guest.kind].0) {
            *value += (form.gain as f64 * age as f64 * guest.activity) as u64;
        }
    }

    /// A new QEMU on its host: from a restart, or a migration.
    fn boot(&mut self, number: usize) {
        let guest = &mut self.guests[number];
        let host = &mut self.hosts[guest.host];
        let form = &self.kinds[guest.kind].0;
        host.boots += 1;
        guest.id = host.boots;
        guest.values.clear();
        guest.values.extend(form.iter().map(|form| match form.value {
            OwnedValue::Uint(value) if form.gain == 0 => value,
            _ => 0,
        }));
        guest.nics.clear();
        guest.inventory.id = guest.id;
        for nic in &mut guest.inventory.nics {
            let name = format!("vnet{}", host.nics);
            host.nics += 1;
            nic.target = Some(name.clone());
            guest.nics.push(name);
        }
        for (place, nic) in guest.inventory.nics.iter_mut().enumerate() {
            nic.mac = Some(format!(
                "52:54:00:{:02x}:{:02x}:{place:02x}",
                number >> 8 & 255,
                number & 255
            ));
            nic.alias = Some(format!("net{place}"));
        }
        guest.before.clear();
        guest.now.clear();
        guest.rates = None;
    }

    /// The guests live on for this long: each restarts or migrates so often a day.
    pub fn live(&mut self, interval: Duration, now: Duration, boots_a_day: f64) {
        let chance = boots_a_day * interval.as_secs_f64() / 86_400.0;
        for number in 0..self.guests.len() {
            if self.random.part() < chance {
                self.boots += 1;
                if self.boots.is_multiple_of(2) {
                    self.migrate(number);
                }
                self.boot(number);
            }
            self.measure(number, interval, now);
        }
    }

    fn migrate(&mut self, number: usize) {
        let to = self.random.below(self.hosts.len() as u64) as usize;
        let from = std::mem::replace(&mut self.guests[number].host, to);
        self.hosts[from].guests.retain(|guest| *guest != number);
        self.hosts[to].guests.push(number);
    }

    fn measure(&mut self, number: usize, interval: Duration, now: Duration) {
        let Self { guests, kinds, random, .. } = self;
        let guest = &mut guests[number];
        let form = &kinds[guest.kind].0;
        let time = interval.as_millis() as f64 / GAIN_MS as f64;
        let does = guest.activity * time * (0.5 + random.part());
        // What does next to nothing has intervals in which nothing moves at all.
        let moves = random.part() < guest.activity * 20.0;
        for (value, form) in guest.values.iter_mut().zip(form) {
            if form.name == "balloon.last-update" {
                *value = now.as_secs() / 5 * 5;
            } else if matches!(&*form.name, "balloon.usable" | "balloon.unused" | "balloon.rss") {
                *value = (*value + random.below(64)).saturating_sub(32).max(1);
            } else if form.gain > 0 && (moves || is_cpu(&form.name)) {
                *value += (form.gain as f64 * does * (0.9 + 0.2 * random.part())) as u64;
            }
        }
        std::mem::swap(&mut guest.now, &mut guest.before);
        let sample = &mut guest.now;
        sample.clear();
        sample.id = guest.id;
        sample.name.push_str(&guest.name);
        sample.uuid = guest.uuid;
        sample.answered_at_ns = now.as_nanos() as u64;
        let mut nics = guest.nics.iter();
        let parameters = guest.values.iter().zip(form).map(|(value, form)| Parameter {
            name: form.name.as_bytes(),
            value: match &form.value {
                OwnedValue::Text(_) if form.name.starts_with("net.") => {
                    Value::Text(nics.next().expect("its name").as_bytes())
                }
                OwnedValue::Text(text) => Value::Text(text.as_bytes()),
                OwnedValue::Uint(_) => Value::Uint(*value),
                OwnedValue::Int(value) => Value::Int(*value),
                other => panic!("{other:?}"),
            },
        });
        assert_eq!(sample.fill(parameters), 0, "statistics that the program does not know");
        let is_first = guest.before.name.is_empty();
        guest.rates = (!is_first).then(|| features::rates(sample, &guest.before)).flatten();
    }

    /// The lines of each host at this time, as the program prints them.
    pub fn write(&mut self, now: Duration, mut take: impl FnMut(&str, &[u8])) {
        for host in &self.hosts {
            self.lines.start(now.as_nanos() as i64);
            let none = Tags::default();
            for &number in &host.guests {
                let guest = &self.guests[number];
                let printed = PrintedGuest {
                    sample: &guest.now,
                    rates: guest.rates.as_ref(),
                    inventory: Some(&guest.inventory),
                };
                self.writer.write(&mut self.lines, &printed, &none, &self.choice, now.as_secs());
            }
            let guests = CollectedGuests {
                domains: host.guests.len(),
                cache_hits: host.guests.len(),
                ..CollectedGuests::default()
            };
            let took = Duration::from_nanos(40_000_000 + self.random.below(20_000_000));
            let collector = Collector { guests: Some(guests), took, lines: self.lines.count() };
            write_collector(&mut self.lines, "qemu:///system", &none, &collector);
            take(&host.name, self.lines.as_bytes());
        }
    }
}

fn is_cpu(name: &str) -> bool {
    name.starts_with("cpu.") || name.starts_with("vcpu.")
}

/// What libvirt says of a guest with so many NICs and disks, and its devices. The recorded guest that has two
/// and three was paused and had no balloon driver: its memory is that of the Linux guest beside it.
fn form(nics: usize, disks: usize) -> (Vec<Form>, Inventory) {
    let mut recording = Recording::parse(RECORDING.as_bytes()).expect("a recording");
    let guests = recording.moments.swap_remove(0).guests;
    let [mut fleet, mut linux] = <[RecordedGuest; 2]>::try_from(guests).expect("two guests");
    let (of_nics, of_disks) = xml::inventory(fleet.xml()).expect("domain XML");
    let mut inventory = Inventory { nics: of_nics, disks: of_disks, ..Inventory::default() };
    inventory.nics.truncate(nics);
    inventory.disks.truncate(disks);
    let memory = statistics(&mut linux).drain(..).filter(|(name, _)| name.starts_with("balloon."));
    let memory: Vec<Statistic> = memory.collect();
    let mut all: Vec<Statistic> = std::mem::take(statistics(&mut fleet));
    all.retain(|(name, _)| !name.starts_with("balloon."));
    let place = all.iter().position(|(name, _)| name == "vcpu.current").expect("vCPUs");
    all.splice(place..place, memory);
    let is_there = |(name, _): &Statistic| {
        let within = |group: &str, count: usize| {
            let number = name.strip_prefix(group).and_then(|rest| rest.split('.').next());
            number.and_then(|number| number.parse::<usize>().ok()).is_none_or(|it| it < count)
        };
        within("net.", nics) && within("block.", disks)
    };
    let form = |(name, value): Statistic| {
        let value = if name == "state.state" { OwnedValue::Int(1) } else { value };
        Form { gain: gain(&name), name, value }
    };
    (all.into_iter().filter(is_there).map(form).collect(), inventory)
}

fn statistics(guest: &mut RecordedGuest) -> &mut Vec<Statistic> {
    let RecordedAnswer::Ok(statistics) = &mut guest.statistics else { panic!("no statistics") };
    statistics
}

/// What a counter of a busy guest gains in 10 s.
fn gain(name: &str) -> u64 {
    match name.rsplit('.').next().unwrap_or_default() {
        "bytes" => 1_523_712,
        "pkts" | "reqs" => 1_207,
        "time" if is_cpu(name) => 2_371_331_942,
        "user" => 1_571_331_942,
        "system" => 800_000_000,
        "times" | "delay" | "wait" => 71_331_942,
        "minor_fault" => 1_300,
        _ => 0,
    }
}
