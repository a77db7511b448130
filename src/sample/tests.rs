//! What a sample takes from typed parameters, and what it passes over.

use super::*;
use crate::deadline::cpu_time;

fn filled(parameters: &[(&'static str, Value<'static>)]) -> (Domain, usize) {
    let mut domain = Domain::default();
    let unknown = domain
        .fill(parameters.iter().map(|&(name, value)| Parameter { name: name.as_bytes(), value }));
    (domain, unknown)
}

#[test]
fn a_nic_without_a_name_is_none_and_shifts_nobody() {
    let (domain, unknown) = filled(&[
        ("net.count", Value::Uint(3)),
        ("net.1.name", Value::Text(b"vnet4")),
        ("net.1.rx.bytes", Value::Uint(90)),
        ("net.2.rx.bytes", Value::Uint(7)),
    ]);
    assert_eq!(unknown, 0);
    assert_eq!(domain.nics.len(), 1);
    assert_eq!((domain.nics[0].name.as_str(), domain.nics[0].rx_bytes), ("vnet4", Some(90)));
}

#[test]
fn a_negative_value_or_a_wrong_type_is_not_offered() {
    let (domain, unknown) = filled(&[
        ("cpu.time", Value::Int(-1)),
        ("cpu.user", Value::Bool(true)),
        ("cpu.system", Value::Int(5)),
        ("balloon.current", Value::Float(1.0)),
        ("block.0.name", Value::Text(b"vda")),
        ("block.0.rd.bytes", Value::Int(-1)),
        ("block.0.wr.bytes", Value::Uint(u64::MAX)),
    ]);
    assert_eq!(unknown, 0);
    assert_eq!(domain.cpu, Cpu { system_ns: Some(5), ..Cpu::default() });
    assert_eq!(domain.memory.current_kib, None);
    assert_eq!(domain.disks[0].rd_bytes, None);
    assert_eq!(domain.disks[0].wr_bytes, Some(u64::MAX));
}

#[test]
fn what_it_does_not_know_is_passed_over_and_counted() {
    let (domain, unknown) = filled(&[
        ("state.state", Value::Int(1)),
        ("", Value::Int(1)),
        ("state", Value::Int(1)),
        ("block.x.rd.bytes", Value::Uint(1)),
        ("block.99999999999.rd.bytes", Value::Uint(1)),
        ("vcpu.0.new", Value::Uint(1)),
        ("cpu.energy.monitor.0.name", Value::Text(b"a")),
        ("net.0.rx.new", Value::Uint(1)),
    ]);
    assert_eq!(unknown, 6);
    assert_eq!(domain.state, Some(1));
    assert!(domain.nics.is_empty() && domain.disks.is_empty());
}

#[test]
fn parts_are_found_by_their_number_whatever_the_order() {
    let (domain, unknown) = filled(&[
        ("block.1.name", Value::Text(b"vdb")),
        ("block.0.name", Value::Text(b"vda")),
        ("block.1.rd.bytes", Value::Uint(11)),
        ("block.0.rd.bytes", Value::Uint(10)),
    ]);
    assert_eq!(unknown, 0);
    let disks: Vec<_> = domain.disks.iter().map(|disk| (disk.index, disk.rd_bytes)).collect();
    assert_eq!(disks, [(1, Some(11)), (0, Some(10))]);
}

#[test]
fn numbers_of_parts_in_any_order_take_no_more_than_a_moment() {
    const MOST: u32 = 40_000;
    let orders: [Box<dyn Iterator<Item = u32>>; 3] = [
        Box::new((0..MOST).chain(0..MOST)),
        Box::new((0..MOST).rev().chain(0..MOST)),
        Box::new((0..2 * MOST).map(|place| place.wrapping_mul(2_654_435_761) % MOST)),
    ];
    for order in orders {
        let names = ["block.N.rd.reqs", "net.N.rx.bytes", "vcpu.N.delay", "iothread.N.poll-max-ns"];
        let order: Vec<String> = order.map(|number| number.to_string()).collect();
        let more = Some(Box::default());
        let mut domain = Domain { more, ..Domain::default() };
        let started = cpu_time();
        for name in names {
            let names: Vec<String> = order.iter().map(|number| name.replace('N', number)).collect();
            let parameters =
                names.iter().map(|name| Parameter { name: name.as_bytes(), value: Value::Uint(1) });
            domain.fill(parameters);
        }
        let took = cpu_time() - started;
        assert!(took.as_secs() < 20, "{took:?}");
        assert!(domain.vcpus.len() >= 4096 && domain.vcpus.is_sorted_by_key(|vcpu| vcpu.index));
    }
}
