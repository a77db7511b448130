//! The example lines of docs/metrics.md that no guest of the tests can have: they are made here of statistics as
//! libvirt's documentation names them, and the file must show just these.

use std::fs;

use telegraf_virt::config::extra::Extra;
use telegraf_virt::libvirt::{Parameter, Value};
use telegraf_virt::line_protocol::{Lines, Tags};
use telegraf_virt::points::{Choice, PrintedGuest, Writer};
use telegraf_virt::sample::{Domain, More};

use super::{blocks, read, repository};

/// What KVM, perf events, resctrl monitors and newer libvirts add, with values of a middling guest.
const SENT: [(&str, Value<'static>); 20] = [
    ("state.state", Value::Int(1)),
    ("perf.cpu_cycles", Value::Uint(29_858_995_122)),
    ("perf.instructions", Value::Uint(24_031_887_310)),
    ("perf.cache_misses", Value::Uint(609_441_024)),
    ("cpu.cache.monitor.count", Value::Uint(1)),
    ("cpu.cache.monitor.0.name", Value::Text(b"vcpus_0-3")),
    ("cpu.cache.monitor.0.vcpus", Value::Text(b"0-3")),
    ("cpu.cache.monitor.0.bank.count", Value::Uint(1)),
    ("cpu.cache.monitor.0.bank.0.id", Value::Uint(0)),
    ("cpu.cache.monitor.0.bank.0.bytes", Value::Uint(5_406_720)),
    ("memory.bandwidth.monitor.0.name", Value::Text(b"vcpus_0-3")),
    ("memory.bandwidth.monitor.0.vcpus", Value::Text(b"0-3")),
    ("memory.bandwidth.monitor.0.node.0.id", Value::Uint(0)),
    ("memory.bandwidth.monitor.0.node.0.bytes.local", Value::Uint(4_807_114_752)),
    ("memory.bandwidth.monitor.0.node.0.bytes.total", Value::Uint(10_208_067_584)),
    ("vm.remote_tlb_flush.sum", Value::Uint(3_126)),
    ("vcpu.0.halt_exits.sum", Value::Uint(185_021)),
    ("vcpu.0.exits.sum", Value::Uint(2_419_733)),
    ("block.0.name", Value::Text(b"vda")),
    ("block.0.limits.request_alignment", Value::Uint(512)),
];

#[test]
fn what_no_guest_here_has_is_shown_as_it_would_be_printed() {
    let more = More { keeps_other: true, ..More::default() };
    let mut sample = Domain { id: 7, more: Some(Box::new(more)), ..Domain::default() };
    sample.name.push_str("gpu-01");
    sample.uuid = uuid::uuid!("8d4c3f52-6a5e-4b0e-9d0e-3f1c5b7a9e12");
    let sent = SENT.iter().map(|&(name, value)| Parameter { name: name.as_bytes(), value });
    sample.fill(sent);
    let extra =
        [Extra::Perf, Extra::MemoryBandwidth, Extra::CpuCache, Extra::Hypervisor, Extra::Other];
    let choice = Choice { extra: extra.into_iter().collect(), ..Choice::DEFAULT };
    let mut lines = Lines::default();
    lines.start(1_795_531_654_633_065_685);
    let guest = PrintedGuest { sample: &sample, rates: None, inventory: None };
    Writer::default().write(&mut lines, &guest, &Tags::default(), &choice, 0);
    let text = String::from_utf8(lines.as_bytes().to_vec()).unwrap();
    let always = ["vm_metrics,", "vm_devices,", "vm_totals,"];
    let printed: String = text
        .split_inclusive('\n')
        .filter(|line| !always.iter().any(|measurement| line.starts_with(measurement)))
        .collect();
    assert_eq!(printed.lines().count(), 6, "{printed}");

    let file = "docs/metrics.md";
    let blocks = blocks(file, "text");
    let shown = blocks.iter().find(|block| block.contains("vm_perf,")).unwrap();
    if std::env::var("BLESS").is_ok_and(|value| value == "1") {
        let readme = read(file).replace(shown, &printed);
        return fs::write(repository().join(file), readme).unwrap();
    }
    assert_eq!(*shown, printed, "BLESS=1 writes these lines there");
}
