//! Whole outputs of recorded hosts: typed parameters and domain XML in, line protocol out, compared
//! byte for byte. After a change that is meant, `BLESS=1 cargo test --test offline golden` writes the new
//! outputs; read their difference before it is committed.

use std::env;
use std::fs;
use std::path::PathBuf;

use telegraf_virt::config::{DeviceTag, Feature, Missing};
use telegraf_virt::devices::{Inventory, xml};
use telegraf_virt::features;
use telegraf_virt::line_protocol::{Lines, Tags};
use telegraf_virt::points::{Choice, PrintedGuest, Writer};
use telegraf_virt::record::Recording;
use telegraf_virt::sample::Domain;
use telegraf_virt::table::{self, Look, Row};

use crate::support::repository;
use crate::support::table::{Slack, Table};

const NOW_UNIX_S: u64 = 1_700_000_000;

fn hosts() -> PathBuf {
    repository().join("fixtures/hosts")
}

/// The guests of a recording, sorted by name, as a collection would have measured them.
fn guests(host: &str) -> Vec<(Domain, Inventory)> {
    let text = fs::read(hosts().join(format!("{host}.jsonl"))).unwrap();
    let recording = Recording::parse(&text).unwrap();
    let mut guests: Vec<(Domain, Inventory)> = recording.moments[0]
        .guests
        .iter()
        .map(|guest| {
            let mut sample = Domain {
                id: guest.id,
                name: guest.name.clone(),
                uuid: guest.uuid,
                answered_at_ns: 1_000_000_000,
                ..Domain::default()
            };
            assert_eq!(sample.fill(guest.parameters()), 0, "unknown statistics of {}", guest.name);
            let (nics, disks) = xml::inventory(guest.xml()).unwrap();
            let inventory = Inventory { id: guest.id, nics, disks, ..Inventory::default() };
            sample.disks.retain(|disk| inventory.is_disk(&disk.name));
            (sample, inventory)
        })
        .collect();
    guests.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
    guests
}

fn lines(
    guests: &[(Domain, Inventory)],
    before: &[(Domain, Inventory)],
    choice: &Choice,
) -> String {
    let mut lines = Lines::default();
    lines.start(1_700_000_000_000_000_000);
    let mut writer = Writer::default();
    for (sample, inventory) in guests {
        let earlier = before.iter().find(|(earlier, _)| earlier.uuid == sample.uuid);
        let rates = earlier.and_then(|(earlier, _)| features::rates(sample, earlier));
        let guest = PrintedGuest { sample, rates: rates.as_ref(), inventory: Some(inventory) };
        writer.write(&mut lines, &guest, &Tags::default(), choice, NOW_UNIX_S);
    }
    String::from_utf8(lines.as_bytes().to_vec()).unwrap()
}

fn assert_golden(file: &str, printed: &str) {
    let path = hosts().join(file);
    if env::var_os("BLESS").is_some() {
        fs::write(&path, printed).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap();
    // Whole outputs side by side would be two lines of thousands of characters.
    let mut lines = expected.lines().zip(printed.lines()).zip(1..);
    if let Some(((was, is), number)) = lines.find(|((was, is), _)| was != is) {
        panic!("{}, line {number}, was\n{was}\nand is now\n{is}", path.display());
    }
    assert_eq!(printed, expected, "one ends before the other: {}", path.display());
}

const DEFAULT: Choice = Choice::DEFAULT;

#[test]
fn a_recorded_host_gives_its_lines_byte_for_byte() {
    let guests = guests("debian12-qemu");
    assert_golden("debian12-qemu.default.txt", &lines(&guests, &[], &DEFAULT));
    let omit = Choice { missing: Missing::Omit, ..DEFAULT };
    assert_golden("debian12-qemu.omit.txt", &lines(&guests, &[], &omit));
}

/// The guests ten seconds later, when all that counts has gone on.
fn later(before: &[(Domain, Inventory)]) -> Vec<(Domain, Inventory)> {
    let mut now = before.to_vec();
    for (sample, _) in &mut now {
        sample.answered_at_ns += 10_000_000_000;
        sample.cpu.time_ns = sample.cpu.time_ns.map(|time| time + 2_500_000_000);
        for vcpu in &mut sample.vcpus {
            vcpu.delay_ns = vcpu.delay_ns.map(|delay| delay + 500_000_000);
        }
        for nic in &mut sample.nics {
            nic.rx_bytes = nic.rx_bytes.map(|bytes| bytes + 1000);
            nic.tx_packets = nic.tx_packets.map(|packets| packets + 5);
        }
        for disk in &mut sample.disks {
            disk.rd_reqs = disk.rd_reqs.map(|requests| requests + 4);
            disk.rd_time_ns = disk.rd_time_ns.map(|time| time + 10_000_000);
        }
    }
    now
}

fn everything(missing: Missing) -> Choice {
    let features =
        vec![Feature::Net, Feature::Disk, Feature::Cpu, Feature::Latency, Feature::Balloon];
    Choice { missing, features, device_tags: DeviceTag::ALL.to_vec(), ..DEFAULT }
}

#[test]
fn with_everything_on_it_gives_rates_and_device_tags() {
    let before = guests("debian12-qemu");
    let printed = lines(&later(&before), &before, &everything(Missing::Zero));
    assert_golden("debian12-qemu.all.txt", &printed);
}

/// The same guests as a table.
fn table(
    now: &[(Domain, Inventory)],
    before: &[(Domain, Inventory)],
    width: Option<u16>,
) -> String {
    let row = |(sample, _): &(Domain, Inventory)| {
        let earlier = before.iter().find(|(earlier, _)| earlier.uuid == sample.uuid);
        let rates = earlier.and_then(|(earlier, _)| features::rates(sample, earlier));
        Row::of(sample, rates.as_ref(), None)
    };
    let rows: Vec<Row> = now.iter().map(row).collect();
    table::text(&rows, &Look { width, ..Look::default() })
}

#[test]
fn as_a_table_it_is_the_same_to_the_byte_and_fits_80_columns() {
    let before = guests("debian12-qemu");
    let mut printed = table(&later(&before), &before, None);
    printed.push_str(&format!("\nin 80 columns:\n{}", table(&later(&before), &before, Some(80))));
    printed.push_str(&format!("\nwithout an earlier sample:\n{}", table(&before, &[], Some(80))));
    assert_golden("debian12-qemu.table.txt", &printed);
}

#[test]
fn every_figure_of_the_table_is_that_of_the_lines_of_the_same_moment() {
    let before = guests("debian12-qemu");
    let now = later(&before);
    let printed = lines(&now, &before, &everything(Missing::Omit));
    let printed = crate::support::lines::read(&printed);
    let shown = Table::read(&table(&now, &before, None));
    assert_eq!(shown.rows.len(), now.len());
    let mut compared = 0;
    for ((sample, _), row) in now.iter().zip(&shown.rows) {
        compared += row.compare(&printed, &sample.uuid.to_string(), Slack::NONE);
    }
    // What the fixture's guests lack is a dash in the table, too.
    let known = shown.rows.iter().flat_map(|row| row.figures.values()).filter(|it| *it != "-");
    assert_eq!(compared, known.count());
    assert!(compared > 10 * now.len(), "{compared} figures of {} guests", now.len());
}
