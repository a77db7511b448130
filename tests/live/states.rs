//! Guests in every state that libvirt has: on QEMU those that QEMU has, of libvirt's test driver the
//! others; guests that do not run; and what one process prints of a guest from its definition to its end.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::support::execd::Execd;
use crate::support::lab::{Lab, titles};
use crate::support::lines::{Line, find, of_guest, read};
use crate::support::obedient::{Obedient, Order};
use crate::support::process::run;
use crate::support::program::program;
use crate::support::{say, wait_until};
use telegraf_virt::schema::EXTRAS;

/// However slow the machine is.
const LONG: Duration = Duration::from_secs(120);

/// All that could print more.
const ALL: &str = "features = [\"net\", \"disk\", \"cpu\", \"latency\", \"balloon\"]\n\
    device_tags = [\"mac\", \"bus\"]\n[domains]\ninactive = true\n";

/// Each name of `extra` that is about a guest, and for which `once` prints something.
fn extra() -> String {
    let rows = EXTRAS.iter().filter(|row| !row.execd_only && row.of_host.is_empty());
    let rows = rows.filter(|row| row.name != "collector");
    let names: Vec<String> = rows.map(|row| format!("{:?}", row.name)).collect();
    format!("extra = [{}]\n", names.join(", "))
}

/// The program with these settings, on this hypervisor.
fn with_settings(lab: &Lab, name: &str, settings: &str, uri: &str) -> Command {
    let file = lab.scratch().join(name);
    fs::write(&file, settings).unwrap();
    let mut command = program(lab.scratch());
    command.args(["--no-cache", "--uri", uri, "--config"]).arg(file);
    command
}

/// Until virsh has this word for it. domstats would wait for a QEMU that does not answer.
fn wait_for_state(lab: &Lab, guest: &Obedient, state: &str) {
    wait_until(&format!("{} {state}", guest.name), LONG, || {
        (lab.virsh(&["domstate", &guest.uuid]).trim() == state).then_some(())
    });
}

/// A guest whose shutdown does not end: it is off, and its QEMU, asked to end, does not. libvirtd may be
/// quicker than the signal that stops it, and then another guest is taken.
fn shutting_down(lab: &Lab) -> Obedient {
    let guests = ["going", "going-2", "going-3"];
    guests.into_iter().find_map(|name| try_shutting_down(lab, name)).unwrap()
}

fn try_shutting_down(lab: &Lab, name: &str) -> Option<Obedient> {
    let guest = Obedient::start(lab, name);
    // What its QEMU says is heard only when it can no longer act on the answer.
    lab.signal_libvirtd("-STOP");
    guest.tell(Order::PowerOff);
    let stat = format!("cat /proc/$(cat /run/libvirt/qemu/{name}.pid)/stat 2>/dev/null || true");
    let cpu = || {
        let text = lab.inside(&["sh", "-c", &stat]);
        let (_, rest) = text.rsplit_once(") ")?;
        Some(rest.split(' ').skip(11).take(2).map(|it| it.parse::<u64>().unwrap()).sum::<u64>())
    };
    let monitor_is_told = || {
        // The event lies in libvirtd's socket then: the guest's processor has used all it will use.
        let before = cpu();
        std::thread::sleep(Duration::from_millis(500));
        let after = cpu();
        (after.is_none() || after <= before.map(|before| before + 1)).then_some(after.is_some())
    };
    if !wait_until("the guest powers itself off", LONG, monitor_is_told) {
        lab.signal_libvirtd("-CONT");
        return None;
    }
    let pid = lab.inside(&["cat", &format!("/run/libvirt/qemu/{name}.pid")]);
    lab.inside(&["kill", "-STOP", pid.trim()]);
    lab.signal_libvirtd("-CONT");
    wait_for_state(lab, &guest, "in shutdown");
    Some(guest)
}

#[test]
fn a_guest_is_shown_in_each_state_that_qemu_has() {
    let Some(lab) = Lab::require("states, QEMU") else { return };
    let running = Obedient::start(&lab, "running");
    let paused = Obedient::start(&lab, "paused");
    lab.virsh(&["suspend", &paused.uuid]);
    let off = Obedient::new(&lab, "off");
    lab.virsh(&["define", off.xml.to_str().unwrap()]);
    let crashed = Obedient::start(&lab, "crashed");
    crashed.tell(Order::Panic);
    wait_for_state(&lab, &crashed, "crashed");
    let asleep = Obedient::start(&lab, "asleep");
    asleep.tell(Order::Suspend);
    wait_for_state(&lab, &asleep, "pmsuspended");
    let going = shutting_down(&lab);

    for missing in ["zero", "omit"] {
        let settings = format!("missing = \"{missing}\"\n{ALL}");
        let mut command = with_settings(&lab, "states.toml", &settings, &lab.uri());
        let finished = run(command.arg("once")).success();
        let lines = read(&finished.stdout);
        for (guest, word, number, virsh) in [
            (&running, "running", 1, "running"),
            (&paused, "paused", 3, "paused"),
            (&going, "shutdown", 4, "in shutdown"),
            (&off, "shutoff", 5, "shut off"),
            (&crashed, "crashed", 6, "crashed"),
            (&asleep, "suspended", 7, "pmsuspended"),
        ] {
            assert_eq!(lab.virsh(&["domstate", &guest.uuid]).trim(), virsh);
            let metrics = find(&lines, &guest.uuid, "vm_metrics", None).unwrap();
            assert_eq!(metrics.text("state"), word, "{finished}");
            assert_eq!(find(&lines, &guest.uuid, "vm_totals", None).unwrap().int("state"), number);
            let id = lab.virsh(&["domid", &guest.uuid]);
            assert_eq!(metrics.tag("VMID"), if number == 5 { "-1" } else { id.trim() });
            let all: Vec<&str> = of_guest(&lines, &guest.uuid)
                .iter()
                .map(|line| line.measurement.as_str())
                .collect();
            let expected: &[&str] = match number {
                5 => &["vm_metrics", "vm_totals"],
                // Its QEMU does not answer any more; its NIC's counters are the host's.
                4 => &["vm_metrics", "vm_devices", "vm_totals"],
                _ => &["vm_metrics", "vm_devices", "vm_devices", "vm_totals"],
            };
            assert_eq!(all, expected, "{word}, missing = {missing}");
            say(&format!("states: QEMU: {virsh}: {word}, {number}"));
        }
        assert_is_of_one_that_is_off(&lines, &off.uuid, (1, 16384));
        // The one whose QEMU does not end is told of, the others are in no trouble.
        assert_eq!(finished.stderr.lines().count(), 1, "{finished}");
        assert!(finished.stderr.starts_with("W! guest \"going"), "{finished}");

        let settings = format!("{}{settings}", extra());
        let mut command = with_settings(&lab, "extra.toml", &settings, &lab.uri());
        let lines = read(&run(command.arg("once")).success().stdout);
        let of_running = of_guest(&lines, &running.uuid);
        assert!(of_running.iter().any(|line| line.measurement == "vm_vcpus"), "{lines:#?}");
        assert_is_of_one_that_is_off(&lines, &off.uuid, (1, 16384));
    }
}

#[test]
fn a_guest_is_shown_in_each_state_that_libvirt_has() {
    let scratch = tempfile::TempDir::new().unwrap();
    let states = [
        ("running", 1),
        ("blocked", 2),
        ("paused", 3),
        ("shutdown", 4),
        ("shutoff", 5),
        ("crashed", 6),
        ("suspended", 7),
    ];
    // Each connection to the test driver has guests of its own, which are the same ones by their UUIDs.
    let guests: String = states
        .iter()
        .map(|(name, number)| {
            format!(
                "<domain type='test' xmlns:test='http://libvirt.org/schemas/domain/test/1.0'>\
                 <name>{name}</name><uuid>00000000-0000-4000-8000-00000000000{number}</uuid><memory>2048</memory><vcpu>3</vcpu><os><type>hvm</type></os>\
                 <devices><interface type='network'><source network='default'/></interface></devices>\
                 <test:runstate>{number}</test:runstate></domain>"
            )
        })
        .collect();
    let node = scratch.path().join("node.xml");
    fs::write(&node, format!("<node>{guests}</node>")).unwrap();
    let uri = format!("test://{}", node.display());
    for missing in ["zero", "omit"] {
        let file = scratch.path().join("settings.toml");
        fs::write(&file, format!("missing = \"{missing}\"\n{ALL}")).unwrap();
        let mut command = program(scratch.path());
        command.args(["once", "--no-cache", "--uri", &uri, "--config"]).arg(&file);
        let finished = run(&mut command).success();
        assert_eq!(finished.stderr, "");
        let lines = read(&finished.stdout);
        for (name, number) in states {
            let of = |measurement: &str| {
                let is = |line: &&Line| line.tag("name") == name && line.measurement == measurement;
                lines.iter().find(is).unwrap_or_else(|| panic!("no {measurement} of {name}"))
            };
            assert_eq!(of("vm_metrics").text("state"), name);
            assert_eq!(of("vm_totals").int("state"), number);
            let is_off = of("vm_metrics").tag("VMID") == "-1";
            assert_eq!(is_off, name == "shutoff", "{name}");
            if is_off {
                assert_is_of_one_that_is_off(&lines, of("vm_metrics").tag("uuid"), (3, 2048));
            }
        }
        say(&format!("states: test driver: states 1 to 7 shown, missing = {missing}"));
    }
}

/// A guest that does not run has these lines and fields and no others: vCPUs, and KiB at most.
fn assert_is_of_one_that_is_off(lines: &[Line], uuid: &str, (cpus, kib): (i64, i64)) {
    let its = of_guest(lines, uuid);
    let shape: Vec<(&str, Vec<&str>)> =
        its.iter().map(|line| (line.measurement.as_str(), line.field_names())).collect();
    let expected = [
        ("vm_metrics", vec!["state", "cpu_count", "memory_max_kb"]),
        ("vm_totals", vec!["cpus", "state"]),
    ];
    assert_eq!(shape, expected);
    assert!(its.iter().all(|line| line.tag("VMID") == "-1"), "{its:?}");
    assert_eq!((its[0].int("cpu_count"), its[0].int("memory_max_kb")), (cpus, kib));
    assert_eq!(its[1].int("cpus"), cpus);
}

/// Collects, and returns what is printed of one guest: its titles, its id and its state.
fn seen(execd: &mut Execd, uuid: &str) -> (Vec<String>, String, i64) {
    let lines = execd.collect().lines;
    let its: Vec<Line> = of_guest(&lines, uuid).into_iter().cloned().collect();
    let Some(totals) = its.iter().find(|line| line.measurement == "vm_totals") else {
        assert!(its.is_empty(), "{its:?}");
        return (Vec::new(), String::new(), -1);
    };
    let id = totals.tag("VMID");
    assert!(its.iter().all(|line| line.tag("VMID") == id), "{its:?}");
    if id == "-1" {
        assert_is_of_one_that_is_off(&lines, uuid, (1, 16384));
    }
    (titles(&its), id.to_owned(), totals.int("state"))
}

#[test]
fn one_process_follows_a_guest_from_its_definition_through_its_states_and_names_to_its_end() {
    let Some(lab) = Lab::require("states, a life") else { return };
    // Another one, which nothing happens to.
    let other = lab.paused("other", 1, 1);
    let guest = Obedient::new(&lab, "guest");
    let settings = format!("missing = \"omit\"\n{ALL}");
    let mut with = Execd::of(&mut with_settings(&lab, "with.toml", &settings, &lab.uri()));
    let settings = settings.replace("inactive = true", "");
    let mut without = Execd::of(&mut with_settings(&lab, "without.toml", &settings, &lab.uri()));
    // What both print of it: with guests that are off, and without.
    let mut look = || {
        let both = [seen(&mut with, &guest.uuid), seen(&mut without, &guest.uuid)];
        for execd in [&mut with, &mut without] {
            let lines = execd.collect().lines;
            assert_eq!(of_guest(&lines, &other).len(), 5, "{lines:#?}");
        }
        both
    };
    let nothing = || (Vec::new(), String::new(), -1);
    let off = |name: &str| {
        let lines = ["vm_metrics", "vm_totals"].map(|line| format!("{line} {name}"));
        ([lines.into(), nothing().0], "-1".to_owned(), 5)
    };
    assert_eq!(look(), [nothing(), nothing()], "before it is defined");

    lab.virsh(&["define", guest.xml.to_str().unwrap()]);
    let ([lines, _], id, state) = off("guest");
    assert_eq!(look(), [(lines, id, state), nothing()], "defined");

    lab.virsh(&["start", "guest"]);
    let id = lab.virsh(&["domid", "guest"]).trim().to_owned();
    let tap = lab.stats("guest").devices("net").remove(0).1;
    let devices = [format!("vm_devices guest {tap}"), "vm_devices guest hda".to_owned()];
    let first = |with_features: bool| {
        let mut lines = vec!["vm_metrics guest".to_owned()];
        lines.extend(with_features.then(|| "vm_features guest".to_owned()));
        lines.extend(devices.clone());
        lines.push("vm_totals guest".to_owned());
        lines
    };
    let [one, two] = look();
    assert_eq!(one, (first(false), id.clone(), 1), "started: no rate from before");
    assert_eq!(two, one);

    // From here on it has rates: two collections each time.
    for (state, act) in [
        (3, &(|| lab.virsh(&["suspend", "guest"])) as &dyn Fn() -> String),
        (1, &|| lab.virsh(&["resume", "guest"])),
        (7, &|| {
            guest.tell(Order::Suspend);
            wait_for_state(&lab, &guest, "pmsuspended");
            String::new()
        }),
        (1, &|| lab.virsh(&["dompmwakeup", "guest"])),
        (1, &|| lab.virsh(&["reset", "guest"])),
        (6, &|| {
            // What is told while the reset is under way goes under with it: told again then.
            wait_until("the guest's panic", LONG, || {
                guest.tell(Order::Panic);
                let is_down = || lab.virsh(&["domstate", "guest"]).trim() == "crashed";
                let moments = (0..20).find(|_| {
                    std::thread::sleep(Duration::from_millis(250));
                    is_down()
                });
                moments.map(|_| ())
            });
            String::new()
        }),
    ] {
        act();
        let expected = (first(true), id.clone(), state);
        assert_eq!(look(), [expected.clone(), expected], "state {state}");
    }

    lab.virsh(&["destroy", "guest"]);
    let ([lines, _], none, state) = off("guest");
    assert_eq!(look(), [(lines, none, state), nothing()], "destroyed");
    lab.virsh(&["domrename", "guest", "renamed"]);
    let ([lines, _], none, state) = off("renamed");
    assert_eq!(look(), [(lines, none, state), nothing()], "renamed");
    lab.virsh(&["start", "--paused", "renamed"]);
    let [one, two] = look();
    assert_eq!((one.0[0].as_str(), one.0.len(), one.2), ("vm_metrics renamed", 4, 3));
    assert_ne!(one.1, id, "another boot");
    assert_eq!(two, one);
    // Undefined while it runs, it is there until it ends.
    lab.virsh(&["undefine", "renamed"]);
    let [one, two] = look();
    assert_eq!((one.0.len(), &two), (5, &one));
    lab.virsh(&["destroy", "renamed"]);
    assert_eq!(look(), [nothing(), nothing()], "at its end");
    assert_eq!(with.end(), ["I! ready: triggers count from here on"]);
    assert_eq!(without.end(), ["I! ready: triggers count from here on"]);
    say("states: one guest from definition to end, in 12 steps, with and without `inactive`");
}
