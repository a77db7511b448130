//! Flipped bytes in a hypervisor's replies: libvirt's client and what reads its answers stay within their
//! memory, and every call comes back.
//!
//! The input is bytes: the first says whether there is a bulk call; then four a flip: which procedure, where
//! in its reply (two bytes), and what is written there.
#![no_main]

#[path = "../../tests/support/libvirtd.rs"]
#[allow(dead_code, clippy::unwrap_used)]
mod libvirtd;

use std::sync::{Arc, Mutex, OnceLock};

use libfuzzer_sys::fuzz_target;
use libvirtd::{Call, Host, Libvirtd, Reply, procedure};
use telegraf_virt::libvirt::{Bulk, Connection, Group, Groups};

type Flips = Vec<(u32, usize, u8)>;

static FLIPS: Mutex<Flips> = Mutex::new(Vec::new());
/// A message's length, header and status: what is flipped there makes the client wait for ever.
const HEADER: usize = 28;

fn flipped(call: &Call<'_>) -> Reply {
    let flips: Flips = FLIPS.lock().unwrap().clone();
    let of_call: Flips = flips.into_iter().filter(|(of, ..)| *of == call.procedure).collect();
    let is_cpu = call.procedure == procedure::CPU;
    Reply::Changed(Box::new(move |message| {
        // By the number at the end of this one libvirt's client divides: tests/offline/hostile.rs has that.
        let end = message.len() - if is_cpu { 4 } else { 0 };
        for (_, place, value) in &of_call {
            if end > HEADER {
                message[HEADER + place % (end - HEADER)] = *value;
            }
        }
    }))
}

/// The two fakes, with the bulk call and without.
fn fakes() -> &'static [Libvirtd; 2] {
    static FAKES: OnceLock<[Libvirtd; 2]> = OnceLock::new();
    FAKES.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("replies-{}", std::process::id()));
        let start = |name: &str, host: Host| {
            std::fs::create_dir_all(folder.join(name)).unwrap();
            let host = Arc::new(host);
            Libvirtd::changing(&folder.join(name), move |_| Arc::clone(&host), flipped)
        };
        [start("bulk", Host::with(3)), start("single", Host::with(3).one_by_one())]
    })
}

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, flips)) = bytes.split_first() else { return };
    let of = |flip: &[u8]| {
        let procedure = procedure::ALL[usize::from(flip[0]) % procedure::ALL.len()];
        (procedure, usize::from(u16::from_be_bytes([flip[1], flip[2]])), flip[3])
    };
    *FLIPS.lock().unwrap() = flips.chunks_exact(4).take(16).map(of).collect();
    let fake = &fakes()[usize::from(kind % 2)];
    let Ok(connection) = Connection::open(&fake.uri()) else { return };
    let _ = (connection.host_name(), connection.driver(), connection.node(), connection.versions());
    let _ = connection.running_ids(100);
    let wanted: Groups = Group::ALWAYS.into_iter().collect();
    let guests = connection.guests(true).unwrap_or_default();
    assert!(guests.len() <= 3, "{} guests of 3", guests.len());
    let _ = guests.first().map(|guest| connection.offer(guest, wanted));
    let bulk = Bulk { nowait: true, enforce: false };
    if let Ok(records) = connection.statistics(guests.iter(), wanted, bulk) {
        for record in records.iter() {
            let _ = (record.name(), record.uuid(), record.id());
            assert!(record.parameters().all(|parameter| parameter.name.len() < 80));
        }
    }
    for guest in &guests {
        let _ = (guest.name(), guest.uuid(), guest.id(), guest.xml(), guest.info(), guest.state());
        let _ = (guest.cpu_times(), guest.memory_statistics(), guest.control(), guest.vcpus(7));
        let _ = (guest.nic_counters("vnet0"), guest.block_counters("vda"));
        let _ = guest.block_statistics("vda", |parameter| assert!(parameter.name.len() < 80));
        if let Ok(job) = guest.job() {
            assert!(job.parameters.iter().count() <= 64);
        }
    }
});
