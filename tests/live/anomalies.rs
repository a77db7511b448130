//! Which of several real guests behaves unlike itself, in fast motion: slots of two seconds. ANOMALIES_MINUTES is
//! for how long nothing happens, 10 without it.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::execd::Execd;
use crate::support::lab::Lab;
use crate::support::lines::{Line, Value};
use crate::support::process::run;
use crate::support::program::program;
use crate::support::say;

/// A slot's milliseconds, and how many slots are learned from.
const PACE: &str = "2000,150";
/// For so long one guest is unlike itself: flags stay for 24 slots, and the command tells of them afterwards.
const BUSY: Duration = Duration::from_secs(40);

/// For so long nothing happens, of which the first five minutes are learned from.
fn quiet() -> Duration {
    let minutes = env::var("ANOMALIES_MINUTES").map_or(10, |text| text.parse().unwrap());
    Duration::from_secs(minutes * 60)
}

/// Lets the guests run before whatever else this machine does: one that waits for a processor is not as it was
/// before. Where the kernel does not group processes by session, they wait like others.
fn prefer(lab: &Lab) {
    let each = "for file in /run/libvirt/libvirtd.pid /run/libvirt/qemu/*.pid; do
            echo -15 >/proc/$(cat \"$file\")/autogroup || true
        done";
    lab.inside(&["sh", "-c", each]);
}

/// Tells the guest by the last sector of its first disk what to do.
fn tell(lab: &Lab, guest: &str, word: &str) {
    let list = lab.virsh(&["domblklist", guest]);
    let line = list.lines().find(|line| line.trim_start().starts_with("vda")).unwrap();
    let path = line.split_whitespace().nth(1).unwrap();
    let image = lab.image(path.strip_prefix("/var/lib/libvirt/images/").unwrap());
    let mut disk = OpenOptions::new().write(true).open(image).unwrap();
    disk.seek(SeekFrom::Start(65535 * 512)).unwrap();
    disk.write_all(word.as_bytes()).unwrap();
}

/// What the guests' lines say for so long: of each, the lines in their order.
fn watch(execd: &mut Execd, time: Duration) -> BTreeMap<String, Vec<Line>> {
    let until = Instant::now() + time;
    let mut lines: BTreeMap<String, Vec<Line>> = BTreeMap::new();
    while Instant::now() < until {
        let collection = execd.collect().lines.into_iter();
        for line in collection.filter(|line| line.measurement == "vm_anomalies") {
            lines.entry(line.tag("name").to_owned()).or_default().push(line);
        }
        thread::sleep(Duration::from_millis(950));
    }
    lines
}

/// Whether the one rule that the page suggests holds: two in a row with 2 series and 10 % of them.
fn is_unlike_itself(lines: &[Line]) -> bool {
    let is_flagged = |line: &Line| {
        let rate = line.find_field("rate");
        line.int("flagged") >= 2 && matches!(rate, Some(Value::Float(rate)) if *rate >= 10.0)
    };
    lines.windows(2).any(|two| two.iter().all(is_flagged))
}

#[test]
#[ignore = "takes 12 minutes"]
fn the_guest_that_begins_to_write_and_to_burn_cpu_is_flagged_and_named() {
    let Some(lab) = Lab::require("anomalies") else { return };
    let names = ["web-1", "web-2", "web-3"];
    let guests: Vec<String> = names.iter().map(|name| lab.linux(name)).collect();
    prefer(&lab);
    // On a machine that others use, too, whatever works hard is not alike from one minute to the next.
    guests.iter().for_each(|guest| tell(&lab, guest, "calm"));
    thread::sleep(Duration::from_secs(15));
    let settings = lab.scratch().join("anomalies.toml");
    fs::write(&settings, "extra = [\"anomalies\"]\n").unwrap();
    let cache = lab.scratch().join("cache");
    let ours = |words: &[&str]| {
        let mut command = program(lab.scratch());
        command.env("TELEGRAF_VIRT_TEST_PACE", PACE).arg("--config").arg(&settings);
        command.args(["--uri", &lab.uri(), "--cache-dir"]).arg(&cache).args(words);
        command
    };
    let mut execd = Execd::of(&mut ours(&[]));

    let before = watch(&mut execd, quiet());
    let learned = &before[names[0]].last().unwrap();
    assert!(learned.int("learned") >= 8, "{learned:?}");
    tell(&lab, &guests[0], "burn");
    let during = watch(&mut execd, BUSY);
    execd.end();
    let told = run(&mut ours(&["anomalies"])).success().stdout;

    let flagged = |lines: &BTreeMap<String, Vec<Line>>, name: &str| {
        let of = lines.get(name).into_iter().flatten();
        of.map(|line| line.int("flagged")).max().unwrap_or(0)
    };
    say(&format!("anomalies: {}", lab.versions()));
    for name in names {
        let slots = (before[name].len(), during[name].len());
        let (quiet, busy) = (flagged(&before, name), flagged(&during, name));
        let events = before[name].last().map_or(0, |line| line.int("events"));
        say(&format!(
            "anomalies: {name}: {slots:?} slots, {events} flags and at most {quiet} at once, then {busy}"
        ));
    }
    say(&told);
    assert!(is_unlike_itself(&during[names[0]]), "{:#?}", during[names[0]]);
    for name in names {
        assert!(!is_unlike_itself(&before[name]), "{:#?}", before[name]);
    }
    for name in &names[1..] {
        assert!(!is_unlike_itself(&during[*name]), "{:#?}", during[*name]);
    }
    let tops: Vec<&Value> = during[names[0]].iter().filter_map(|it| it.find_field("top")).collect();
    let of_fault = ["vda wr_bytes", "vda wr_reqs", "cpu_percent"];
    let named = tops.iter().any(|top| of_fault.iter().any(|it| **top == Value::Text((*it).into())));
    assert!(named, "{tops:?}");
    let of_first: String = told.split("\nweb-").next().unwrap().to_owned();
    assert!(of_first.starts_with("web-1: "), "{told}");
    assert!(of_first.contains("vda writes "), "{told}");
    assert!(of_first.contains("its vCPUs are busy for "), "{told}");
}
