//! What it costs: memory and CPU of 500 guests with 23 series each.

use std::fs;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use telegraf_virt::anomalies::{Anomalies, Pace, SavedGuest};
use telegraf_virt::devices::{DiskDevice, Inventory, NicDevice};
use telegraf_virt::sample::{Cpu, Disk, Domain, Memory, Nic, Vcpu};
use uuid::Uuid;

use super::kinds::Dice;

const GUESTS: usize = 500;
/// Collections of a slot.
const COLLECTIONS: u64 = 5;

/// CPU time of this thread, in milliseconds.
fn cpu_ms() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
    time.tv_sec() as f64 * 1e3 + time.tv_nsec() as f64 / 1e6
}

fn rss_kib() -> f64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<f64>().unwrap() * 4.0
}

fn guest(number: usize) -> (Domain, Inventory) {
    let name = |kind: &str, n: usize| format!("{kind}{n}");
    let nic = |n| Nic {
        name: name("vnet", 2 * number + n).into(),
        rx_bytes: Some(0),
        tx_bytes: Some(0),
        rx_packets: Some(0),
        tx_packets: Some(0),
        ..Nic::default()
    };
    let disk = |n: usize| Disk {
        name: name("vd", n).into(),
        rd_reqs: Some(0),
        rd_bytes: Some(0),
        wr_reqs: Some(0),
        wr_bytes: Some(0),
        rd_time_ns: Some(0),
        wr_time_ns: Some(0),
        ..Disk::default()
    };
    let sample = Domain {
        id: number as i32 + 1,
        name: name("guest-", number),
        uuid: Uuid::from_u128(number as u128),
        state: Some(1),
        cpu: Cpu { time_ns: Some(0), ..Cpu::default() },
        vcpu_count: Some(1),
        vcpus: vec![Vcpu { delay_ns: Some(0), ..Vcpu::default() }],
        memory: Memory {
            available_kib: Some(1 << 20),
            usable_kib: Some(1 << 19),
            ..Memory::default()
        },
        nics: vec![nic(0), nic(1)],
        disks: vec![disk(0), disk(1)],
        ..Domain::default()
    };
    let of_nic = |(n, nic): (usize, &Nic)| NicDevice {
        target: Some(nic.name.to_string()),
        mac: Some(format!("52:54:00:00:{number:04x}:{n:02x}")),
        ..NicDevice::default()
    };
    let of_disk =
        |disk: &Disk| DiskDevice { target: disk.name.to_string(), ..DiskDevice::default() };
    let inventory = Inventory {
        id: sample.id,
        nics: sample.nics.iter().enumerate().map(of_nic).collect(),
        disks: sample.disks.iter().map(of_disk).collect(),
        ..Inventory::default()
    };
    (sample, inventory)
}

/// A minute later.
fn live_on(sample: &mut Domain, dice: &mut Dice) {
    let mut add = |counter: &mut Option<u64>, scale: f64| {
        *counter = counter.map(|old| old + (scale * dice.share()) as u64);
    };
    add(&mut sample.cpu.time_ns, 2e10);
    sample.vcpus.iter_mut().for_each(|vcpu| add(&mut vcpu.delay_ns, 1e9));
    for nic in &mut sample.nics {
        add(&mut nic.rx_bytes, 1e8);
        add(&mut nic.tx_bytes, 1e7);
        add(&mut nic.rx_packets, 1e5);
        add(&mut nic.tx_packets, 1e4);
    }
    for disk in &mut sample.disks {
        add(&mut disk.rd_reqs, 1e4);
        add(&mut disk.wr_reqs, 1e4);
        add(&mut disk.rd_bytes, 1e8);
        add(&mut disk.wr_bytes, 1e8);
        add(&mut disk.rd_time_ns, 1e10);
        add(&mut disk.wr_time_ns, 1e10);
    }
    sample.memory.usable_kib = Some((1e6 * dice.share()) as u64);
}

pub fn print() {
    let mut guests: Vec<(Domain, Inventory, Domain)> =
        (0..GUESTS).map(guest).map(|(now, inventory)| (now.clone(), inventory, now)).collect();
    let mut dice = Dice::new(1);
    let empty_kib = rss_kib();
    let mut anomalies = Anomalies::new(Pace::DEFAULT);
    let (mut within, mut ends) = (Vec::new(), Vec::new());
    let mut unix_s = 1_700_000_100;
    for _ in 0..300 * COLLECTIONS {
        unix_s += 60;
        for (now, _, before) in &mut guests {
            before.clone_from(now);
            live_on(now, &mut dice);
            now.answered_at_ns = unix_s * 1_000_000_000;
        }
        let (began, mut summaries) = (cpu_ms(), 0);
        for (now, inventory, before) in &guests {
            let unix = Duration::from_secs(unix_s);
            let summary = anomalies.observe(0, now, Some(before), Some(inventory), unix);
            summaries += usize::from(summary.is_some());
        }
        let took = cpu_ms() - began;
        if summaries > 0 { ends.push(took) } else { within.push(took) }
    }
    let used_kib = rss_kib() - empty_kib;
    let began = cpu_ms();
    let lines = anomalies.guests(0).map(|guest| serde_json::to_vec(&SavedGuest::from(guest)));
    let bytes: usize = lines.map(|line| line.unwrap().len()).sum();
    let saving = cpu_ms() - began;
    let series = anomalies.series();
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let (within, ends) = (median(&mut within), median(&mut ends));
    println!("Costs of {GUESTS} guests with {series} series in all:\n");
    println!("| what | cost |\n|---|---|");
    println!(
        "| memory | {:.1} MB, {:.0} bytes a series |",
        used_kib / 976.6,
        used_kib * 1024.0 / series as f64
    );
    println!("| CPU of a collection within a slot | {within:.2} ms |");
    println!(
        "| CPU more at the end of a slot | {:.2} ms, {:.2} us a series |",
        ends - within,
        1e3 * (ends - within) / series as f64
    );
    println!(
        "| CPU of writing the cache, each 15 minutes | {saving:.1} ms for {:.1} MB |",
        bytes as f64 / 1e6
    );
}
