//! Guests that hang, a libvirtd that dies: no healthy guest may lose a point, and every collection
//! ends by its deadline. Prints a table: fault, collections, points of healthy guests expected and
//! received, the longest collection. With CHAOS=long each fault is repeated ten times as often.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::env;
use std::thread;
use std::time::{Duration, Instant};

use support::lab::Lab;
use support::process::{Finished, run};
use support::program::program;
use support::watched::{Collection, Shape, Tally, Watched, shapes};
use support::{say, wait_until};

/// What a collection may take, with room for a busy machine: the deadline is 4 s.
const DEADLINE: Duration = Duration::from_millis(4500);

fn times(short: usize) -> usize {
    if env::var("CHAOS").is_ok_and(|form| form == "long") { short * 10 } else { short }
}

/// A lab with guests, a program that watches them, and what its output looks like in peace.
struct Stage {
    lab: Lab,
    guests: Vec<String>,
    watched: Watched,
    healthy: BTreeMap<String, Shape>,
    table: Vec<String>,
}

impl Stage {
    fn set(test: &str, paused: u32) -> Option<Stage> {
        let lab = Lab::require(test)?;
        let guests = lab.fleet(paused, 2, 3);
        lab.linux("real");
        let mut watched = Watched::start(&lab, &lab.scratch().join("cache"));
        watched.collect();
        let healthy = shapes(&watched.collect().lines);
        assert_eq!(healthy.len(), guests.len() + 1);
        Some(Stage { lab, guests, watched, healthy, table: vec![Tally::head()] })
    }

    /// The guests without some of them.
    fn without(&self, some: &[String]) -> BTreeMap<String, Shape> {
        let mut rest = self.healthy.clone();
        rest.retain(|uuid, _| !some.contains(uuid));
        rest
    }

    fn collect(&mut self, tally: &mut Tally, healthy: &BTreeMap<String, Shape>, count: usize) {
        for _ in 0..count {
            tally.count(healthy, &self.watched.collect());
        }
    }

    /// Signals the QEMU processes of these guests.
    fn signal(&self, signal: &str, guests: &[String]) {
        let names: Vec<String> =
            guests.iter().map(|uuid| self.lab.virsh(&["domname", uuid]).trim().to_owned()).collect();
        for name in names {
            let pid = self.lab.inside(&["cat", &format!("/run/libvirt/qemu/{name}.pid")]);
            self.lab.inside(&["kill", signal, pid.trim()]);
        }
    }

    fn end_row(&mut self, tally: &Tally) {
        self.table.push(tally.row());
    }

    fn libvirtd(&self, signal: &str) {
        let pid = self.lab.inside(&["cat", "/run/libvirt/libvirtd.pid"]);
        self.lab.inside(&["kill", signal, pid.trim()]);
    }

    fn start_libvirtd(&self) {
        wait_until("libvirtd starts again", Duration::from_secs(20), || {
            let start = ["libvirtd", "-d", "-p", "/run/libvirt/libvirtd.pid"];
            let script = format!("{} 2>/dev/null || true; pgrep libvirtd || true", start.join(" "));
            (!self.lab.inside(&["sh", "-c", &script]).trim().is_empty()).then_some(())
        });
    }

    /// Calls that occupy one of libvirtd's workers now.
    fn busy_workers(&self) -> usize {
        let socket = "/run/libvirt/libvirt-admin-sock";
        let uri = format!("libvirtd:///system?socket={socket}");
        let info = self.lab.inside(&["virt-admin", "-c", &uri, "srv-threadpool-info", "libvirtd"]);
        let number = |key: &str| -> usize {
            let line = info.lines().find(|line| line.trim_start().starts_with(key)).unwrap();
            line.split(':').nth(1).unwrap().trim().parse().unwrap()
        };
        number("nWorkers") - number("freeWorkers")
    }

    fn print(&self) {
        for row in &self.table {
            say(row);
        }
    }
}

fn total<'a>(collection: &'a Collection, uuid: &str) -> &'a support::lines::Line {
    support::lines::find(&collection.lines, uuid, "vm_totals", None).unwrap()
}

#[test]
fn no_healthy_guest_loses_a_point_while_others_hang() {
    let Some(mut stage) = Stage::set("live_chaos, hangs", 20) else { return };

    let mut tally = Tally::of("none");
    let all = stage.healthy.clone();
    stage.collect(&mut tally, &all, times(5));
    stage.end_row(&tally);
    tally.assert_whole(DEADLINE);
    assert_eq!(stage.watched.news(), ["I! ready: triggers count from here on"]);

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
        let partial = stage.watched.collect();
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
        wait_until("the guests answer again", Duration::from_secs(20), || {
            stage.is_whole().then_some(())
        });
        tally.assert_whole(DEADLINE);
        let news = stage.watched.news();
        let told = |part: &str| news.iter().filter(|message| message.contains(part)).count();
        assert_eq!(told(" does not answer: "), count, "{news:#?}");
        assert_eq!(told("\" answers again"), count, "{news:#?}");
        // With as many calls stuck as may be, it is told that others are not asked, and again.
        let bound = told(" calls to hung guests of ") + told("every guest of ");
        assert!(bound == 0 || count == 12, "{news:#?}");
        assert_eq!(news.len(), 2 * count + bound, "{news:#?}");
    }

    let mut tally = Tally::of("three other clients poll in loops");
    let uri = stage.lab.uri();
    let polls: Vec<_> = (0..3)
        .map(|_| {
            let uri = uri.clone();
            let loop_ = "while :; do virsh -q -c \"$0\" domstats >/dev/null; done";
            std::process::Command::new("sh").args(["-c", loop_, &uri]).spawn().unwrap()
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
    assert_eq!(stage.watched.news(), Vec::<String>::new());
}

impl Stage {
    /// Whether a collection has every point of every guest.
    fn is_whole(&mut self) -> bool {
        shapes(&self.watched.collect().lines) == self.healthy
    }

    fn once(&self, cache: &str) -> (Finished, Duration) {
        let started = Instant::now();
        let mut command = program(self.lab.scratch());
        let cache = self.lab.scratch().join(cache);
        command.args(["once", "--uri", &self.lab.uri(), "--cache-dir"]).arg(cache);
        let finished = run(&mut command).success();
        (finished, started.elapsed())
    }
}

#[test]
fn once_under_cron_is_on_time_and_piles_up_no_stuck_calls_while_a_guest_hangs() {
    let Some(mut stage) = Stage::set("live_chaos, once", 20) else { return };
    let hung = stage.guests[3..4].to_vec();
    let healthy = stage.without(&hung);
    // The first run has no rates yet.
    stage.once("cron");
    stage.signal("-STOP", &hung);
    let mut tally = Tally::of("1 of 21 hangs, once is run again and again");
    for _ in 0..times(50) {
        let (finished, took) = stage.once("cron");
        let lines = support::lines::read(&finished.stdout);
        tally.count(&healthy, &Collection { lines, took });
        assert_eq!(finished.stderr.matches("does not answer").count(), 1, "{finished}");
    }
    assert_eq!(stage.busy_workers(), 1, "one stuck call, however many runs");
    stage.signal("-CONT", &hung);
    stage.end_row(&tally);
    stage.print();
    tally.assert_whole(DEADLINE);
}

#[test]
fn libvirtd_may_be_killed_stopped_and_restarted() {
    let Some(mut stage) = Stage::set("live_chaos, libvirtd", 20) else { return };
    let all = stage.healthy.clone();

    let mut tally = Tally::of("libvirtd is killed during a call, back in 0.3 s");
    for _ in 0..times(3) {
        let started = stage.watched.trigger();
        thread::sleep(Duration::from_millis(30));
        stage.libvirtd("-KILL");
        thread::sleep(Duration::from_millis(300));
        stage.start_libvirtd();
        let collection = stage.watched.collected(started);
        tally.count(&all, &collection);
    }
    stage.end_row(&tally);
    tally.assert_in_time(DEADLINE);

    let mut tally = Tally::of("the collections after it");
    stage.collect(&mut tally, &all, times(3));
    stage.end_row(&tally);
    tally.assert_whole(DEADLINE);
    stage.watched.news();

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
    let news = stage.watched.news();
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
    wait_until("every guest is read again", Duration::from_secs(20), || {
        stage.is_whole().then_some(())
    });
    stage.collect(&mut tally, &all, times(3));
    stage.end_row(&tally);
    stage.print();
    tally.assert_whole(DEADLINE);
}
