//! What happens to real guests between two collections, beside what `virsh event` tells of it.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::events::{
    PROBE, VirshEvents, assert_same, create, events, listen, of_lines, write_port,
};
use crate::support::faults::attach_small_disk;
use crate::support::lab::Lab;
use crate::support::lines::{Line, Value};
use crate::support::process::run;
use crate::support::program::program;
use crate::support::tally::files_and_memory;
use crate::support::{say, wait_until};

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn each_event_that_virsh_sees_is_one_line() {
    let Some(lab) = Lab::require("events") else { return };
    create(&lab, PROBE);
    let web = create(&lab, "web");
    let mut execd = listen(&[&lab], "precision = \"1s\"\n");
    let virsh = VirshEvents::start(&lab);
    let mut ours = Vec::new();
    events(&mut execd);
    let second = 1_000_000_000;
    assert!(
        execd
            .collect()
            .lines
            .iter()
            .all(|line| { line.measurement == "vm_events" || line.timestamp % second == 0 })
    );
    lab.virsh(&["resume", "web"]);
    lab.virsh(&["suspend", "web"]);
    // Cut, two of one kind within a second would be one in a database.
    let exact = wait_until("both are told", LIMIT, || {
        let lines = events(&mut execd);
        ours.extend(of_lines(&lines));
        lines.iter().find(|line| line.tag("event") == "suspended").map(|line| line.timestamp)
    });
    assert_ne!(exact % second, 0);

    lab.virsh(&["resume", "web"]);
    lab.virsh(&["suspend", "web"]);
    lab.virsh(&["resume", "web"]);
    lab.virsh(&["reset", "web"]);
    let nic = "<interface type='ethernet'><mac address='52:54:00:aa:bb:cc'/>\
               <model type='usb-net'/></interface>";
    lab.virsh_device("attach-device", "web", nic);
    wait_until("the NIC is there", LIMIT, || {
        (lab.stats(&web).devices("net").len() == 1).then_some(())
    });
    lab.virsh_device("detach-device", "web", nic);
    // A copy to another file, which then takes the first one's place.
    let copy = lab.scratch().join("copy.qcow2").display().to_string();
    lab.virsh(&["blockcopy", "web", "vda", &copy, "--transient-job", "--wait", "--pivot"]);
    // The watchdog's timer set to nothing: it bites at once.
    write_port(&lab, "web", "0x443", "0x0f");
    wait_until("the watchdog bites", LIMIT, || virsh.text().contains("'watchdog'").then_some(()));
    let saved = lab.scratch().join("saved").display().to_string();
    lab.virsh(&["save", "web", &saved]);
    lab.virsh(&["restore", &saved]);
    write_port(&lab, "web", "0x505", "1");
    wait_until("it has crashed", LIMIT, || virsh.text().contains("Crashed").then_some(()));
    lab.virsh(&["destroy", "web"]);
    lab.virsh(&["start", "web"]);
    lab.signal_qemu("-KILL", &web);
    wait_until("libvirt has seen it", LIMIT, || {
        (lab.virsh(&["domstate", "web"]).trim() == "shut off").then_some(())
    });
    assert_same(&mut execd, &virsh, &mut ours);

    let of_web: BTreeSet<(&str, &str)> = ours
        .iter()
        .filter(|(guest, ..)| guest == "web")
        .map(|(_, event, key)| (event.as_str(), key.as_str()))
        .collect();
    for expected in [
        ("started", "booted"),
        ("resumed", "unpaused"),
        ("suspended", "paused"),
        ("rebooted", ""),
        ("device_added", "net0"),
        ("device_removed", "net0"),
        ("block_job", "vda copy ready"),
        ("block_job", "vda copy completed"),
        ("watchdog", "reset"),
        ("stopped", "saved"),
        ("started", "restored"),
        ("crashed", "panicked"),
        ("stopped", "destroyed"),
        ("stopped", "failed"),
    ] {
        assert!(of_web.contains(&expected), "{expected:?} is not in {of_web:#?}");
    }
    assert!(ours.iter().any(|(_, event, _)| event == "job_completed"), "{ours:#?}");
    say(&format!("events: {} lines of vm_events, as virsh event has them", ours.len()));
    drop(execd);
}

#[test]
fn what_happened_since_the_last_collection_is_printed_at_the_end() {
    let Some(lab) = Lab::require("events, end") else { return };
    create(&lab, PROBE);
    create(&lab, "web");
    let mut execd = listen(&[&lab], "");
    let virsh = VirshEvents::start(&lab);
    events(&mut execd);
    lab.virsh(&["resume", "web"]);
    wait_until("virsh has seen it", LIMIT, || virsh.text().contains("Resumed").then_some(()));
    // libvirt tells one after the other.
    std::thread::sleep(Duration::from_secs(1));
    let started = Instant::now();
    let seen = of_lines(&execd.end_with_lines());
    let resumed = ("web".to_owned(), "resumed".to_owned(), "unpaused".to_owned());
    assert_eq!(seen, [resumed]);
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_full_disk_is_told_with_its_name_and_why() {
    let Some(lab) = Lab::require("events, full disk") else { return };
    create(&lab, PROBE);
    let guest = lab.linux("web");
    let mut execd = listen(&[&lab], "");
    let virsh = VirshEvents::start(&lab);
    let mut ours = Vec::new();
    events(&mut execd);
    attach_small_disk(&lab, &guest);
    lab.virsh(&["domblkthreshold", &guest, "vdb", "300000"]);
    let mut all = Vec::new();
    wait_until("the disk is full", Duration::from_secs(120), || {
        let lines = events(&mut execd);
        ours.extend(of_lines(&lines));
        all.extend(lines);
        ours.iter().any(|(_, event, _)| event == "io_error").then_some(())
    });
    assert_same(&mut execd, &virsh, &mut ours);
    let full = all.iter().find(|line| line.tag("event") == "io_error").unwrap();
    assert_eq!(full.find_tag("devtype"), Some("disk"));
    assert_eq!(full.find_tag("device"), Some("vdb"));
    assert_eq!(full.field("reason"), &Value::Text("enospc".into()));
    assert_eq!(full.field("detail"), &Value::Text("pause".into()));
    let seen = |event: &str, key: &str| ours.iter().any(|it| it.1 == event && it.2.contains(key));
    assert!(seen("suspended", "ioerror"), "{ours:#?}");
    assert!(seen("block_threshold", "vdb"), "{ours:#?}");
    drop(execd);
}

#[test]
fn a_libvirtd_that_restarts_is_told_once_and_events_come_again() {
    restart(3);
}

#[test]
#[ignore = "takes minutes"]
fn a_libvirtd_that_restarts_twenty_times_is_told_each_time() {
    restart(20);
}

fn restart(times: u32) {
    let Some(lab) = Lab::require("events, restart") else { return };
    create(&lab, "web");
    create(&lab, "other");
    let mut execd = listen(&[&lab], "[domains]\nexclude = [\"other\"]\n");
    events(&mut execd);
    for _ in 0..times {
        lab.signal_libvirtd("-TERM");
        lab.start_libvirtd();
        let mut lost = Vec::new();
        wait_until("the loss is told", LIMIT, || {
            lost.extend(events(&mut execd));
            lost.iter().any(|line| line.tag("event") == "lost").then_some(())
        });
        let lost: Vec<&Line> = lost.iter().filter(|it| it.tag("event") == "lost").collect();
        assert_eq!(lost.len(), 1, "{lost:#?}");
        assert_eq!(lost[0].tag("uri"), lab.uri());
        assert_eq!(lost[0].find_tag("name"), None);
        assert_eq!(lost[0].field("detail"), &Value::Text("connection".into()));
        assert_eq!(lost[0].int("dropped"), 0);
        let mut seen = Vec::new();
        wait_until("events come again", LIMIT, || {
            lab.virsh(&["resume", "web"]);
            lab.virsh(&["suspend", "web"]);
            // Of a guest that is excluded nothing is told.
            lab.virsh(&["resume", "other"]);
            lab.virsh(&["suspend", "other"]);
            seen.extend(of_lines(&events(&mut execd)));
            (!seen.is_empty()).then_some(())
        });
        assert!(seen.iter().all(|(guest, ..)| guest == "web"), "{seen:#?}");
        events(&mut execd);
    }
    drop(execd);
}

#[test]
fn a_migration_is_told_with_the_time_that_the_guest_stood_still() {
    let Some(from) = Lab::require("events, migration") else { return };
    let to = Lab::require("events, migration").unwrap();
    let mover = from.paused("mover", 1, 0);
    let mut execd = listen(&[&from, &to], "");
    events(&mut execd);
    from.virsh(&["resume", &mover]);
    let data = format!("unix://{}", from.scratch().join("migration").display());
    from.virsh(&["migrate", "--live", "--unsafe", "--persistent", &mover, &to.write_uri(), &data]);
    let mut all = Vec::new();
    wait_until("both hosts have told", LIMIT, || {
        all.extend(events(&mut execd));
        let of = |source: &str, event: &str| {
            all.iter().any(|it| it.tag("source").contains(source) && it.tag("event") == event)
        };
        let (from, to) = (from.uri(), to.uri());
        (of(&from, "job_completed") && of(&from, "stopped") && of(&to, "resumed")).then_some(())
    });
    // What virsh says of it on the host where the guest is now.
    let said = to.virsh(&["domjobinfo", "--completed", &mover]);
    let of_virsh = |name: &str| -> i64 {
        let line =
            said.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{said}"));
        line.split_whitespace().rev().nth(1).unwrap().parse().unwrap()
    };
    let job = all.iter().find(|line| line.tag("event") == "job_completed").unwrap();
    assert_eq!(job.field("operation"), &Value::Text("migration_out".into()));
    // The target's figures are the source's, sent along as far as they were known then.
    let (ours, theirs) = (job.int("downtime_ms"), of_virsh("Total downtime:"));
    assert!(ours > 0 && (ours - theirs).abs() <= 100, "{ours} ms, virsh {theirs} ms\n{said}");
    assert!(job.int("mem_processed_bytes") > 0 && job.int("mem_iterations") > 0, "{job:?}");
    let details = |event: &str| -> BTreeSet<String> {
        let of = all.iter().filter(|line| line.tag("event") == event);
        of.map(|line| format!("{:?}", line.field("detail"))).collect()
    };
    assert!(details("stopped").iter().any(|it| it.contains("migrated")), "{all:#?}");
    assert!(details("started").iter().any(|it| it.contains("migrated")), "{all:#?}");
    say(&format!("events: a migration's downtime {ours} ms, virsh on the target {theirs} ms"));
    drop(execd);
}

#[test]
fn the_command_tells_a_person_and_scripts_until_it_is_ended() {
    let Some(lab) = Lab::require("events, command") else { return };
    create(&lab, "web");
    let start = |options: &[&str]| {
        let mut command = program(lab.scratch());
        command.args(["events", "--no-cache", "--uri", &lab.uri()]).args(options);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let mut children = [start(&[]), start(&["--format", "json"]), start(&["--format", "influx"])];
    // Until all three listen: the sockets that they have open tell.
    std::thread::sleep(Duration::from_secs(3));
    lab.virsh(&["resume", "web"]);
    lab.virsh(&["suspend", "web"]);
    std::thread::sleep(Duration::from_secs(2));
    for child in &children {
        run(Command::new("kill").args(["-INT", &child.id().to_string()])).success();
    }
    let outputs: Vec<String> = children
        .iter_mut()
        .map(|child| {
            let status =
                wait_until("it ends", Duration::from_secs(10), || child.try_wait().unwrap());
            assert_eq!(status.code(), Some(0));
            let mut text = String::new();
            std::io::Read::read_to_string(child.stdout.as_mut().unwrap(), &mut text).unwrap();
            text
        })
        .collect();
    let words: Vec<Vec<&str>> =
        outputs[0].lines().map(|it| it.split(' ').skip(1).collect()).collect();
    assert_eq!(words, [["web", "resumed", "unpaused"], ["web", "suspended", "paused"]]);
    let objects: Vec<serde_json::Value> =
        outputs[1].lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects.len(), 2);
    assert_eq!(objects[0]["measurement"], "vm_events");
    assert_eq!(objects[0]["tags"]["event"], "resumed");
    assert_eq!(objects[0]["fields"]["count"], 1);
    assert_eq!(outputs[2].lines().count(), 2);
    assert!(outputs[2].starts_with("vm_events,VMID="), "{}", outputs[2]);
}

/// A number that looks random and is the same each time.
fn next(seed: &mut u64) -> usize {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    usize::try_from(*seed >> 33).unwrap()
}

#[test]
#[ignore = "takes five minutes"]
fn for_five_minutes_of_random_operations_virsh_sees_the_same() {
    let Some(lab) = Lab::require("events, random operations") else { return };
    create(&lab, PROBE);
    let guests: Vec<String> = (1..=20).map(|number| format!("g{number:02}")).collect();
    guests.iter().for_each(|name| drop(create(&lab, name)));
    let mut execd = listen(&[&lab], "");
    let virsh = VirshEvents::start(&lab);
    let mut ours = of_lines(&events(&mut execd));
    let until = Instant::now() + Duration::from_secs(300);
    let (mut seed, mut operations) = (20_261_128, 0);
    let saved = lab.scratch().join("saved").display().to_string();
    let nic = "<interface type='ethernet'><mac address='52:54:00:aa:bb:cc'/>\
               <model type='usb-net'/></interface>";
    // What does not fit the guest's state fails, and tells of nothing.
    let try_virsh = |arguments: &[&str]| {
        drop(run(Command::new("virsh").args(["-q", "-c", &lab.write_uri()]).args(arguments)));
    };
    let file = lab.scratch().join("nic.xml");
    fs::write(&file, nic).unwrap();
    while Instant::now() < until {
        let guest = &guests[next(&mut seed) % guests.len()];
        match next(&mut seed) % 9 {
            0 => try_virsh(&["resume", guest]),
            1 => try_virsh(&["suspend", guest]),
            2 => try_virsh(&["reset", guest]),
            3 => try_virsh(&["destroy", guest]),
            4 => try_virsh(&["start", guest]),
            5 => try_virsh(&["start", "--paused", guest]),
            6 => try_virsh(&["attach-device", guest, file.to_str().unwrap()]),
            7 => try_virsh(&["detach-device", guest, file.to_str().unwrap()]),
            _ => {
                let _ = fs::remove_file(&saved);
                try_virsh(&["save", guest, &saved]);
                try_virsh(&["restore", &saved]);
            }
        }
        operations += 1;
        if operations % 10 == 0 {
            ours.extend(of_lines(&events(&mut execd)));
        }
    }
    assert_same(&mut execd, &virsh, &mut ours);
    say(&format!(
        "events: {operations} random operations, {} events, the same as virsh",
        ours.len()
    ));
    drop(execd);
}

#[test]
#[ignore = "takes minutes"]
fn of_more_events_than_fit_the_rest_is_counted() {
    const MOST: usize = 10_000;
    let Some(lab) = Lab::require("events, burst") else { return };
    create(&lab, "web");
    let mut execd = listen(&[&lab], "");
    events(&mut execd);
    let pairs = MOST / 2 + 250;
    let commands = "resume web\nsuspend web\n".repeat(pairs);
    let mut virsh = lab.virsh_shell();
    virsh.stdin.take().unwrap().write_all(commands.as_bytes()).unwrap();
    assert!(virsh.wait().unwrap().success());
    std::thread::sleep(Duration::from_secs(2));
    let lines = events(&mut execd);
    assert_eq!(lines.len(), MOST + 1);
    let lost = lines.last().unwrap();
    assert_eq!(lost.tag("event"), "lost");
    assert_eq!(lost.field("detail"), &Value::Text("queue_full".into()));
    assert_eq!(lost.int("dropped"), i64::try_from(2 * pairs - MOST).unwrap());
    lab.virsh(&["resume", "web"]);
    wait_until("the next event comes", LIMIT, || (events(&mut execd).len() == 1).then_some(()));
    drop(execd);
}

#[test]
#[ignore = "takes ten minutes"]
fn a_day_of_events_in_fast_motion_leaves_memory_and_files_flat() {
    const EVENTS: usize = 100_000;
    const OF_A_COLLECTION: usize = 200;
    let Some(lab) = Lab::require("events, a day") else { return };
    create(&lab, "web");
    let mut execd = listen(&[&lab], "");
    events(&mut execd);
    let mut virsh = lab.virsh_shell();
    let mut commands = virsh.stdin.take().unwrap();
    let (mut seen, mut used) = (0, Vec::new());
    for round in 1..=EVENTS / OF_A_COLLECTION {
        let text = "resume web\nsuspend web\n".repeat(OF_A_COLLECTION / 2);
        commands.write_all(text.as_bytes()).unwrap();
        commands.flush().unwrap();
        wait_until("all of a round", LIMIT, || {
            let lines = events(&mut execd);
            let of = |event: &str| lines.iter().all(|line| line.tag("event") != event);
            assert!(of("lost"), "{lines:#?}");
            seen += lines.len();
            (seen >= round * OF_A_COLLECTION).then_some(())
        });
        assert_eq!(seen, round * OF_A_COLLECTION);
        if round % 50 == 0 {
            used.push(files_and_memory(execd.id()));
        }
    }
    drop(commands);
    assert!(virsh.wait().unwrap().success());
    say(&format!("events: {seen}; files and KiB of memory after each 10,000: {used:?}"));
    let (files, memory) = used[0];
    let (last_files, last_memory) = used[used.len() - 1];
    assert_eq!(files, last_files);
    assert!(last_memory <= memory + 1024, "{used:?}");
    drop(execd);
}
