//! Every value that the program prints of real QEMU guests, against `virsh domstats`.

use crate::support::expect::{Comparison, compare};
use crate::support::lab::{Guest, Lab, Stats, titles};
use crate::support::lines::{Line, of_guest, read};
use crate::support::names::ODD_NAMES;
use crate::support::program::once;
use crate::support::{say, wait_until};
use std::time::Duration;

/// One collection between two readings of virsh, compared guest by guest.
///
/// QEMU's own memory goes up and down, and lies between two readings only while it does not turn: for
/// that one a few attempts are made. Nothing else may ever disagree. (The guest's memory figures change
/// every 2 s: at most once between the readings, so they are either the first or the second.)
fn compare_all(lab: &Lab, guests: &[(Guest, &str)], paused: bool) -> (usize, Vec<Line>) {
    for _ in 0..5 {
        let read_all = || guests.iter().map(|(guest, _)| lab.stats(&guest.uuid)).collect();
        let before: Vec<Stats> = read_all();
        let output = read(&once(lab, &lab.scratch().join("cache"), &[]).stdout);
        let after: Vec<Stats> = read_all();
        let mut all = Comparison::default();
        for (index, (guest, tag)) in guests.iter().enumerate() {
            let one = compare(guest, tag, &output, &before[index], &after[index], paused);
            all.agree += one.agree;
            all.wrong.extend(one.wrong);
        }
        if all.wrong.is_empty() || all.wrong.iter().any(|(field, _)| field != "memrss") {
            return (all.all_agree(), output);
        }
    }
    panic!("QEMU's own memory was outside of two readings five times");
}

/// The order that the contract demands: guests by name.
fn expected_titles(lab: &Lab, guests: &[(Guest, &str)], features: bool) -> Vec<String> {
    let mut guests: Vec<&(Guest, &str)> = guests.iter().collect();
    guests.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
    let stats = |guest: &Guest| lab.stats(&guest.uuid);
    guests.iter().flat_map(|(guest, tag)| guest.titles(tag, &stats(guest), features)).collect()
}

#[test]
fn every_value_of_paused_guests_with_odd_names_equals_virsh_to_the_digit() {
    let Some(lab) = Lab::require("virsh, odd names") else { return };
    let guests: Vec<(Guest, &str)> = ODD_NAMES
        .iter()
        .map(|(name, tag)| {
            let guest = Guest::look(&lab, &lab.paused(name, 3, 2));
            assert_eq!(guest.name, *name);
            (guest, *tag)
        })
        .collect();
    give_different_figures(&lab, &guests);

    let (compared, output) = compare_all(&lab, &guests, true);
    assert_eq!(titles(&output), expected_titles(&lab, &guests, false));
    // vm_metrics, 3 NICs, 2 disks, vm_totals.
    assert_eq!(compared, 16 * (5 + 3 * 8 + 2 * 5 + 27));
    say(&format!("virsh: compared {compared} values of {} paused guests", guests.len()));
}

/// Makes the counters of paused guests tell devices and guests from each other.
fn give_different_figures(lab: &Lab, guests: &[(Guest, &str)]) {
    // The firmware of a guest that runs for a moment reads its first disk. A few are enough: without
    // KVM that takes seconds of a processor.
    for (guest, _) in &guests[..4] {
        lab.virsh(&["resume", &guest.uuid]);
        wait_until("the firmware reads the disk", Duration::from_secs(120), || {
            (lab.stats(&guest.uuid).number("block.0.rd.reqs") > 0).then_some(())
        });
        lab.virsh(&["suspend", &guest.uuid]);
    }
    let mut bytes = 100;
    for (guest, _) in guests {
        for (index, tap) in lab.stats(&guest.uuid).devices("net") {
            // QEMU takes one packet while the guest is paused; a short queue drops what follows.
            lab.inside(&["ip", "link", "set", &tap, "txqueuelen", "2"]);
            lab.send(&tap, 4 + u32::try_from(index).unwrap(), bytes);
            bytes += 1;
        }
    }
    let dropped: i64 =
        guests.iter().map(|(guest, _)| lab.stats(&guest.uuid).number("net.2.rx.drop")).sum();
    assert!(dropped > 0, "no packet was dropped: a comparison of zeros");
}

#[test]
fn every_value_of_the_fleet_equals_virsh_to_the_digit() {
    let Some(lab) = Lab::require("virsh, fleet") else { return };
    let fleet = lab.fleet(10, 2, 3);
    let names: Vec<String> = (1..=10).map(|number| format!("fleet-{number:02}")).collect();
    let guests: Vec<(Guest, &str)> = fleet
        .iter()
        .zip(&names)
        .map(|(uuid, name)| (Guest::look(&lab, uuid), name.as_str()))
        .collect();
    let (compared, output) = compare_all(&lab, &guests, true);
    assert_eq!(titles(&output), expected_titles(&lab, &guests, false));
    assert_eq!(compared, 10 * (5 + 2 * 8 + 3 * 5 + 27));
    say(&format!("virsh: compared {compared} values of the fleet of 10"));
}

#[test]
fn the_counters_of_a_running_linux_guest_lie_between_two_readings_and_equal_them_once_it_is_paused()
{
    let Some(lab) = Lab::require("virsh, Linux guest") else { return };
    let uuid = lab.linux("a real one");
    let guests = [(Guest::look(&lab, &uuid), "a real one")];

    let (running, output) = compare_all(&lab, &guests, false);
    assert_eq!(titles(&output), expected_titles(&lab, &guests, false));
    let stats = lab.stats(&uuid);
    // The user-mode NIC stands first, has no name and no line, and does not shift the tap's.
    let nics = stats.devices("net");
    assert_eq!((stats.number("net.count"), nics.len(), nics[0].0), (2, 1, 1));
    let tap = &nics[0].1;
    assert_eq!(lab.drives(&uuid), ["hdc"]);
    assert_eq!(stats.devices("block").len(), 2, "libvirt lists the cdrom drive");

    let devices: Vec<(&str, &str)> = of_guest(&output, &uuid)
        .into_iter()
        .filter(|line| line.measurement == "vm_devices")
        .map(|line| (line.tag("devtype"), line.tag("device")))
        .collect();
    assert_eq!(devices, [("nic", tap.as_str()), ("disk", "vda")]);
    for line in of_guest(&output, &uuid) {
        match line.find_tag("devtype") {
            Some("nic") => assert!(line.int("rxbytes") > 0 && line.int("txbytes") > 0, "{line:?}"),
            Some("disk") => {
                assert!(line.int("rd_bytes") > 0 && line.int("wr_bytes") > 0, "{line:?}")
            }
            _ => {}
        }
    }

    lab.virsh(&["suspend", &uuid]);
    let (paused, output) = compare_all(&lab, &guests, true);
    let totals = crate::support::lines::find(&output, &uuid, "vm_totals", None).unwrap();
    for field in ["memavailable", "memusable", "memminor_fault", "disk_wr_bytes", "net_txbytes"] {
        assert!(totals.int(field) > 0, "{field} of {totals:?}");
    }
    assert_eq!(totals.int("state"), 3);
    assert_eq!((running, paused), (45, 45));
    say(&format!(
        "virsh: compared {running} values of a running Linux guest, {paused} of it paused"
    ));
}

#[test]
#[ignore = "rarely finds anything"]
fn a_collection_leaves_no_word_in_the_log_of_libvirtd() {
    let Some(lab) = Lab::require("libvirtd's log") else { return };
    lab.fleet(3, 1, 1);
    let cache = lab.scratch().join("cache");
    for _ in 0..20 {
        once(&lab, &cache, &[]);
    }
    let log = lab.folder().join("log/libvirtd.log");
    let log = std::fs::read_to_string(&log).unwrap_or_else(|error| panic!("{error}: {log:?}"));
    assert!(!log.contains("End of file while reading data"), "{log}");
}
