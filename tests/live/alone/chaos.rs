//! Guests that hang, a libvirtd that dies: no healthy guest may lose a point, and every collection
//! ends by its deadline. Prints a table: fault, collections, points of healthy guests expected and
//! received, the longest collection. With CHAOS=long each fault is repeated ten times as often.

use std::collections::BTreeMap;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::execd::Collection;
use crate::support::lines::{Line, find, read};
use crate::support::stage::{DEADLINE, Stage, times};
use crate::support::tally::Tally;
use crate::support::turn::Turn;

fn total<'a>(collection: &'a Collection, uuid: &str) -> &'a Line {
    find(&collection.lines, uuid, "vm_totals", None).unwrap()
}

/// How many guests these messages are about: one names all guests that came into the same trouble together.
fn guests_in(news: &[String], part: &str) -> usize {
    let about = |message: &String| {
        let words = message.split(' ').nth(1).unwrap();
        words.parse::<usize>().unwrap_or(1)
    };
    news.iter().filter(|message| message.contains(part)).map(about).sum()
}

#[test]
fn no_healthy_guest_loses_a_point_while_others_hang() {
    let _turn = Turn::alone();
    let Some(mut stage) = Stage::set("chaos, hangs", 20) else { return };

    let mut tally = Tally::of("none");
    let all = stage.healthy.clone();
    stage.collect(&mut tally, &all, times(5));
    stage.end_row(&tally);
    tally.assert_whole(DEADLINE);
    assert_eq!(stage.execd.news(), ["I! ready: triggers count from here on"]);

    for count in [1, 3, 12] {
        let hung = stage.guests[..count].to_vec();
        let healthy = stage.without(&hung);
        let mut tally = Tally::of(&format!("{count} of 21 guests hang, the first collection too"));
        stage.signal("-STOP", &hung);
        stage.collect(&mut tally, &healthy, 1);
        let started = Instant::now();
        stage.lab.virsh(&["list"]);
        assert!(started.elapsed() < Duration::from_secs(2), "libvirtd is not usable for others");
        assert!(stage.busy_workers() <= count, "more than one stuck call for each hung guest");
        stage.collect(&mut tally, &healthy, times(5));
        let partial = stage.execd.collect();
        tally.count(&healthy, &partial);
        for uuid in &hung {
            let line = total(&partial, uuid);
            assert_eq!(line.int("state"), 3, "{line:?}");
            assert!(line.int("cputime") > 0 && line.int("memactual") == 16384, "{line:?}");
            assert_eq!(line.int("net_rxbytes"), total(&partial, uuid).int("net_rxbytes"));
            let fields = line.field_names();
            let absent = ["disk_rd_req", "disk_wr_bytes", "memrss", "memusable"];
            assert!(!absent.iter().any(|name| fields.contains(name)), "{line:?}");
        }
        stage.signal("-CONT", &hung);
        stage.end_row(&tally);
        stage.wait_until_whole();
        let after = stage.execd.collect();
        for uuid in &hung {
            let line = find(&after.lines, uuid, "vm_features", None).unwrap();
            for (name, _) in line.fields.iter().filter(|(name, _)| name.ends_with("_rate")) {
                assert_eq!(line.float(name), 0.0, "a paused guest's counters stand: {line:?}");
            }
            // QEMU spends CPU time on answering, of two vCPUs.
            assert!((0.0..100.0).contains(&line.float("cpu_percent")), "{line:?}");
            assert!((0.0..=100.0).contains(&line.float("steal_percent")), "{line:?}");
        }
        tally.assert_whole(DEADLINE);
        let news = stage.execd.news();
        assert_eq!(guests_in(&news, " not responding: "), count, "{news:#?}");
        assert_eq!(guests_in(&news, " responding again"), count, "{news:#?}");
        // With as many calls stuck as may be, it is told that others are not asked, and again.
        let told = |part: &str| news.iter().filter(|message| message.contains(part)).count();
        let bound = told(" that do not respond are stuck: ") + told("every guest of ");
        assert!(bound == 0 || count == 12, "{news:#?}");
        let of_guests = told(" not responding: ") + told(" responding again");
        assert_eq!(news.len(), of_guests + bound, "{news:#?}");
    }

    // More than max_stuck, so that some healthy guests may go unasked: but in time, and libvirtd stays
    // usable, and all is well again at once when they go on.
    let hung = stage.guests[..18].to_vec();
    let mut tally = Tally::of("18 of 21 guests hang, more than max_stuck");
    stage.signal("-STOP", &hung);
    let healthy = stage.without(&hung);
    stage.collect(&mut tally, &healthy, times(4));
    let started = Instant::now();
    stage.lab.virsh(&["list"]);
    assert!(started.elapsed() < Duration::from_secs(2), "libvirtd is not usable for others");
    assert!(stage.busy_workers() <= 16, "max_stuck, and one call a worker");
    stage.signal("-CONT", &hung);
    stage.end_row(&tally);
    tally.assert_in_time(DEADLINE);
    stage.wait_until_whole();
    stage.execd.news();

    let mut tally = Tally::of("three other clients poll in loops");
    let uri = stage.lab.uri();
    let polls: Vec<_> = (0..3)
        .map(|_| {
            let uri = uri.clone();
            let loop_ = "while :; do virsh -q -c \"$0\" domstats >/dev/null; done";
            Command::new("sh").args(["-c", loop_, &uri]).spawn().unwrap()
        })
        .collect();
    stage.collect(&mut tally, &all, times(100));
    for mut poll in polls {
        poll.kill().unwrap();
        poll.wait().unwrap();
    }
    stage.end_row(&tally);
    stage.print();
    tally.assert_whole(DEADLINE);
    assert_eq!(stage.execd.news(), Vec::<String>::new());
}

#[test]
fn once_under_cron_is_on_time_and_piles_up_no_stuck_calls_while_a_guest_hangs() {
    let _turn = Turn::alone();
    let Some(mut stage) = Stage::set("chaos, once", 20) else { return };
    let hung = stage.guests[3..4].to_vec();
    let healthy = stage.without(&hung);
    // The first run has no rates yet.
    stage.once("cron");
    stage.signal("-STOP", &hung);
    let mut tally = Tally::of("1 of 21 hangs, once is run again and again");
    for _ in 0..times(50) {
        let (finished, took) = stage.once("cron");
        let lines = read(&finished.stdout);
        tally.count(&healthy, &Collection { lines, took });
        assert_eq!(finished.stderr.matches("is not responding").count(), 1, "{finished}");
    }
    assert_eq!(stage.busy_workers(), 1, "one stuck call, however many runs");
    stage.signal("-CONT", &hung);
    stage.end_row(&tally);
    stage.print();
    tally.assert_whole(DEADLINE);
}

#[test]
fn libvirtd_may_be_killed_stopped_and_restarted() {
    let _turn = Turn::alone();
    let Some(mut stage) = Stage::set("chaos, libvirtd", 20) else { return };
    let all = stage.healthy.clone();

    let mut tally = Tally::of("libvirtd is killed during a call, back in 0.3 s");
    for _ in 0..times(3) {
        let started = stage.execd.trigger();
        thread::sleep(Duration::from_millis(30));
        stage.libvirtd("-KILL");
        thread::sleep(Duration::from_millis(300));
        stage.start_libvirtd();
        let collection = stage.execd.collected(started);
        tally.count(&all, &collection);
    }
    stage.end_row(&tally);
    tally.assert_in_time(DEADLINE);

    let mut tally = Tally::of("the collections after it");
    stage.collect(&mut tally, &all, times(3));
    stage.end_row(&tally);
    tally.assert_whole(DEADLINE);
    stage.execd.news();

    let mut tally = Tally::of("libvirtd is stopped (SIGSTOP): nobody is read");
    stage.libvirtd("-STOP");
    stage.collect(&mut tally, &BTreeMap::new(), 2);
    stage.libvirtd("-CONT");
    stage.end_row(&tally);
    tally.assert_in_time(DEADLINE);
    let mut tally = Tally::of("and continued");
    stage.collect(&mut tally, &all, times(3));
    stage.end_row(&tally);
    tally.assert_whole(DEADLINE);
    let news = stage.execd.news();
    assert_eq!(news.len(), 2, "{news:#?}");
    assert!(news[0].starts_with("E! cannot read the guests of "), "{news:#?}");
    assert!(news[1].ends_with(" answers again"), "{news:#?}");

    let mut tally = Tally::of("libvirtd is restarted while triggers arrive");
    for _ in 0..times(20) {
        stage.libvirtd("-TERM");
        stage.collect(&mut tally, &BTreeMap::new(), 1);
        stage.start_libvirtd();
        stage.collect(&mut tally, &BTreeMap::new(), 1);
    }
    stage.end_row(&tally);
    tally.assert_in_time(DEADLINE);
    let mut tally = Tally::of("the collections after 20 restarts");
    stage.wait_until_whole();
    stage.collect(&mut tally, &all, times(3));
    stage.end_row(&tally);
    stage.print();
    tally.assert_whole(DEADLINE);
}
