//! Devices that come and go while a guest is known: right in the very next collection, and no other
//! guest's XML is asked for.

use crate::support::execd::Execd;
use crate::support::expect::compare;
use crate::support::lab::{Guest, Lab, Stats, titles};
use crate::support::lines::{Line, read};
use crate::support::program::{once, readings};
use crate::support::wait_until;
use std::time::Duration;

const MAC: &str = "52:54:00:aa:bb:cc";

/// A disk and a NIC, and the names of their targets in `virsh domstats`.
struct Plugged {
    disk: String,
    nic: String,
}

impl Plugged {
    /// On the PCI bus, whose unplugging a Linux guest has to allow.
    fn pci(lab: &Lab) -> Plugged {
        Plugged::on(lab, "vdb", "virtio", "virtio")
    }

    /// On the USB bus, where no guest has to take part.
    fn usb(lab: &Lab) -> Plugged {
        Plugged::on(lab, "sda", "usb", "usb-net")
    }

    fn on(lab: &Lab, target: &str, bus: &str, model: &str) -> Plugged {
        let image = "/var/lib/libvirt/images/plugged.raw";
        lab.inside(&["truncate", "-s", "16M", image]);
        Plugged {
            disk: format!(
                "<disk type='file' device='disk'><driver name='qemu' type='raw'/>\
                 <source file='{image}'/><target dev='{target}' bus='{bus}'/></disk>"
            ),
            nic: format!(
                "<interface type='ethernet'><mac address='{MAC}'/><model type='{model}'/></interface>"
            ),
        }
    }
}

fn devices(stats: &Stats) -> usize {
    stats.devices("net").len() + stats.devices("block").len()
}

/// Attaches or detaches, and waits until libvirt lists one device more or less.
fn plug(lab: &Lab, command: &str, guest: &str, device: &str) {
    let before = devices(&lab.stats(guest));
    lab.virsh_device(command, guest, device);
    let expected = if command == "attach-device" { before + 1 } else { before - 1 };
    wait_until(command, Duration::from_secs(20), || {
        (devices(&lab.stats(guest)) == expected).then_some(())
    });
}

/// The collection after a change, as (lines, uuids of guests whose XML was asked for).
type Collect<'a> = &'a mut dyn FnMut() -> (Vec<Line>, Vec<String>);

/// Plugs and unplugs on one guest beside others that stay as they are.
fn plug_and_unplug(
    lab: &Lab,
    changing: &str,
    others: &[String],
    device: &Plugged,
    paused: bool,
    collect: Collect,
) {
    let mut all: Vec<String> = others.to_vec();
    all.push(changing.to_owned());
    all.sort();
    let (_, asked) = collect();
    assert_eq!(asked, all, "the first collection asks for everything");
    let (_, asked) = collect();
    assert_eq!(asked, Vec::<String>::new(), "the second for nothing");

    for (command, xml) in [
        ("attach-device", &device.disk),
        ("attach-device", &device.nic),
        ("detach-device", &device.disk),
        ("detach-device", &device.nic),
        // Once more: the names come back.
        ("attach-device", &device.nic),
        ("attach-device", &device.disk),
    ] {
        plug(lab, command, changing, xml);
        let before = lab.stats(changing);
        let (lines, asked) = collect();
        let after = lab.stats(changing);
        assert_eq!(asked, [changing], "{command} {xml}");

        let guest = Guest::look(lab, changing);
        let ours: Vec<Line> =
            lines.into_iter().filter(|line| line.tag("uuid") == changing).collect();
        assert_eq!(titles(&ours), guest.titles(&guest.name, &after, true), "{command} {xml}");
        let mut comparison = compare(&guest, &guest.name, &ours, &before, &after, paused);
        // QEMU's own memory may have turned between the readings; other tests compare it.
        comparison.wrong.retain(|(field, _)| field != "memrss");
        comparison.all_agree();

        let (_, asked) = collect();
        assert_eq!(asked, Vec::<String>::new(), "known from then on: {command} {xml}");
    }
}

#[test]
fn hotplug_on_a_running_guest_is_right_in_the_next_collection_of_execd() {
    let Some(lab) = Lab::require("hotplug, execd") else { return };
    let others = lab.fleet(3, 1, 1);
    let changing = lab.linux("changing");
    let device = Plugged::pci(&lab);
    let mut execd = Execd::start(&lab, &lab.scratch().join("cache"));
    let mut collect = || {
        let lines = execd.collect().lines;
        let asked = execd.readings();
        (lines, asked)
    };
    plug_and_unplug(&lab, &changing, &others, &device, false, &mut collect);
    execd.end();
}

#[test]
fn hotplug_on_a_paused_guest_is_right_in_the_next_run_of_once() {
    let Some(lab) = Lab::require("hotplug, once") else { return };
    let others = lab.fleet(3, 1, 1);
    let changing = lab.paused("changing", 2, 2);
    let device = Plugged::usb(&lab);
    let cache = lab.scratch().join("cache");
    let mut collect = || {
        let finished = once(&lab, &cache, &[]);
        (read(&finished.stdout), readings(&finished.stderr))
    };
    plug_and_unplug(&lab, &changing, &others, &device, true, &mut collect);
}
