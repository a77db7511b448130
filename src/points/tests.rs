//! The table of measurements against the schema.

use super::*;
use crate::sample::{Completeness, Cpu, Memory};

const CHOICE: Choice = Choice::DEFAULT;

/// Lines of a guest whose name, id and UUID are written as they are given, at that time.
fn page(id: i64, name: &str, uuid: &str, sample: &Domain, timestamp_ns: i64) -> String {
    let mut tags = Tags::default();
    tags.add_number("VMID", id);
    tags.add("name", name);
    tags.add("uuid", uuid);
    let user = Tags::default();
    let guest = PrintedGuest { sample, rates: None, inventory: None };
    let policy = MissingPolicy::new(sample, CHOICE.missing);
    let page = Page { tags: &tags, user: &user, guest: &guest, choice: &CHOICE, policy };
    let mut lines = Lines::default();
    lines.start(timestamp_ns);
    page.write_running(&mut lines, &mut Tags::default(), 0);
    String::from_utf8(lines.as_bytes().to_vec()).unwrap()
}

fn lines_of(sample: &Domain, choice: &Choice) -> Vec<String> {
    let mut lines = Lines::default();
    lines.start(1);
    let guest = PrintedGuest { sample, rates: None, inventory: None };
    Writer::default().write(&mut lines, &guest, &Tags::default(), choice, 0);
    let text = String::from_utf8(lines.as_bytes().to_vec()).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// The schema's own example lines, and the values that they show.
#[test]
fn the_schemas_example_lines_come_out_byte_for_byte() {
    let examples = include_str!("../../fixtures/schema/lines.txt");
    let first = Domain {
        state: Some(1),
        vcpu_count: Some(2),
        memory: Memory {
            maximum_kib: Some(2_097_152),
            current_kib: Some(1_048_576),
            ..Memory::default()
        },
        cpu: Cpu { time_ns: Some(5_000_000_000), ..Cpu::default() },
        ..Domain::default()
    };
    let uuid = "550e8400-e29b-41d4-a716-446655440000";
    let metrics = page(1, "ubuntu-vm", uuid, &first, 1_699_868_400_000_000_000);
    let nic = |name: &str, rx: u64, tx: u64| Nic {
        name: name.into(),
        rx_bytes: Some(rx),
        rx_packets: Some(rx / 1024),
        tx_bytes: Some(tx),
        tx_packets: Some(tx / 1024),
        ..Nic::default()
    };
    let vda = Disk {
        name: "vda".into(),
        rd_reqs: Some(50_000),
        rd_bytes: Some(104_857_600),
        wr_reqs: Some(30_000),
        wr_bytes: Some(67_108_864),
        ..Disk::default()
    };
    let second = Domain {
        state: Some(1),
        vcpu_count: Some(4),
        memory: Memory {
            current_kib: Some(2_097_152),
            rss_kib: Some(1_048_576),
            available_kib: Some(1_048_576),
            usable_kib: Some(1_572_864),
            minor_faults: Some(100),
            disk_caches_kib: Some(262_144),
            ..Memory::default()
        },
        cpu: Cpu {
            time_ns: Some(1_500_000_000),
            user_ns: Some(1_000_000_000),
            system_ns: Some(500_000_000),
            ..Cpu::default()
        },
        nics: vec![nic("eth0", 1_048_576, 2_097_152), nic("eth1", 2_097_152, 2_097_152)],
        disks: vec![vda],
        ..Domain::default()
    };
    let devices = page(1, "web-server", "abc-123", &second, 1_699_900_000_000_000_000);
    let all = metrics + &devices;
    let printed: Vec<&str> = all.lines().collect();
    for example in examples.lines() {
        assert!(printed.contains(&example), "not printed: {example}\nprinted: {printed:#?}");
    }
    assert_eq!(examples.lines().count(), 4);
}

fn two_nics(second: Nic) -> Domain {
    let counted = |value| Nic {
        name: "vnet0".into(),
        rx_bytes: value,
        rx_packets: value,
        rx_errors: value,
        rx_drops: value,
        tx_bytes: value,
        tx_packets: value,
        tx_errors: value,
        tx_drops: value,
        ..Nic::default()
    };
    Domain { id: 1, nics: vec![counted(Some(5)), second], ..Domain::default() }
}

#[test]
fn a_nic_that_cannot_be_read_is_zeros_and_the_sum_is_of_the_others() {
    let failed = Nic { name: "vnet1".into(), ..Nic::default() };
    let lines = lines_of(&two_nics(failed), &CHOICE);
    assert_eq!(lines.len(), 4);
    assert!(lines[2].contains(",device=vnet1 rxbytes=0i,rxpackets=0i,"), "{}", lines[2]);
    assert!(lines[3].contains(" net_rxbytes=5i,net_rxpackets=5i,"), "{}", lines[3]);
}

#[test]
fn with_omit_a_device_that_is_not_counted_has_no_line_and_the_sum_is_of_the_others() {
    let failed = Nic { name: "vnet1".into(), ..Nic::default() };
    let omit = Choice { missing: Missing::Omit, ..CHOICE };
    let lines = lines_of(&two_nics(failed), &omit);
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines[0].contains(",device=vnet0 rxbytes=5i,"), "{}", lines[0]);
    assert!(lines[1].contains(" net_rxbytes=5i,"), "{}", lines[1]);
    assert!(lines[1].contains(",disk_rd_req=0i,"), "{}", lines[1]);
}

#[test]
fn what_a_hung_guest_could_not_give_is_left_out_and_never_zero() {
    let disk = Disk { name: "vda".into(), ..Disk::default() };
    let sample = Domain {
        completeness: Completeness::Partial,
        state: Some(1),
        cpu: Cpu { time_ns: Some(9), ..Cpu::default() },
        disks: vec![disk],
        ..two_nics(Nic { name: "vnet1".into(), rx_bytes: Some(1), ..Nic::default() })
    };
    let lines = lines_of(&sample, &CHOICE);
    let uuid = uuid::Uuid::nil();
    let tags = format!("VMID=1,uuid={uuid}");
    let expected = [
        format!("vm_metrics,{tags} state=\"running\",cputime_ns=9i 1"),
        format!(
            "vm_devices,{tags},devtype=nic,device=vnet0 rxbytes=5i,rxpackets=5i,rxerrors=5i,\
             rxdrops=5i,txbytes=5i,txpackets=5i,txerrors=5i,txdrops=5i 1"
        ),
        format!("vm_devices,{tags},devtype=nic,device=vnet1 rxbytes=1i 1"),
        format!("vm_totals,{tags} net_rxbytes=6i,cputime=9i,state=1i 1"),
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_guest_that_is_off_has_two_short_lines() {
    let sample = Domain {
        id: -1,
        state: Some(5),
        vcpu_count: Some(2),
        memory: Memory { maximum_kib: Some(64), current_kib: Some(64), ..Memory::default() },
        ..Domain::default()
    };
    let tags = format!("VMID=-1,uuid={}", uuid::Uuid::nil());
    let expected = [
        format!("vm_metrics,{tags} state=\"shutoff\",cpu_count=2i,memory_max_kb=64i 1"),
        format!("vm_totals,{tags} cpus=2i,state=5i 1"),
    ];
    assert_eq!(lines_of(&sample, &CHOICE), expected);
}
