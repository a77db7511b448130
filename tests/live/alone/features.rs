//! The rates of `features`, against what virsh's numbers give: of a real Linux guest whose disk, NIC and
//! memory figures move, and of guests that want more of a processor than there is.
//!
//! Nothing here uses the program's own arithmetic. A guest is paused around each collection, so that its
//! counters stand still and a reading of virsh is exactly what the program reads; only time, and QEMU's own
//! CPU time, lie between bounds.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::execd::Execd;
use crate::support::lab::{Lab, Stats};
use crate::support::lines::{Line, find};
use crate::support::obedient::Obedient;
use crate::support::program::program;
use crate::support::turn::Turn;
use crate::support::{say, skip};

const ALL: &str = "features = [\"net\", \"disk\", \"cpu\", \"latency\", \"balloon\"]\n";

fn watch(lab: &Lab) -> Execd {
    let file = lab.scratch().join("features.toml");
    fs::write(&file, ALL).unwrap();
    let mut command = program(lab.scratch());
    command.args(["--no-cache", "--uri", &lab.uri(), "--config"]).arg(file);
    Execd::of(&mut command)
}

/// A collection, with what virsh said right before and right after it.
struct Look {
    before: Stats,
    after: Stats,
    began: Instant,
    ended: Instant,
    lines: Vec<Line>,
}

impl Look {
    fn at(lab: &Lab, execd: &mut Execd, uuid: &str) -> Look {
        let before = lab.stats(uuid);
        let began = Instant::now();
        let lines = execd.collect().lines;
        let ended = Instant::now();
        Look { before, after: lab.stats(uuid), began, ended, lines }
    }

    /// The same of a guest that is paused for it.
    fn paused(lab: &Lab, execd: &mut Execd, uuid: &str) -> Look {
        lab.virsh(&["suspend", uuid]);
        let look = Look::at(lab, execd, uuid);
        lab.virsh(&["resume", uuid]);
        look
    }

    /// A counter that stood still.
    fn still(&self, key: &str) -> f64 {
        let (before, after) = (self.before.number(key), self.after.number(key));
        assert_eq!(before, after, "{key} moved while the guest was paused");
        before as f64
    }

    /// A counter that was somewhere between these.
    fn between(&self, keys: &[String]) -> Bounds {
        let sum = |stats: &Stats| keys.iter().map(|key| stats.number(key)).sum::<i64>() as f64;
        Bounds { low: sum(&self.before), high: sum(&self.after) }
    }
}

/// A number that is known to lie between two.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    low: f64,
    high: f64,
}

impl Bounds {
    /// What lies between the two: at least from the end of the first to the beginning of the second.
    fn gained(first: Bounds, second: Bounds) -> Bounds {
        Bounds { low: (second.low - first.high).max(0.0), high: second.high - first.low }
    }

    /// Seconds between the guest's two answers.
    fn seconds(first: &Look, second: &Look) -> Bounds {
        Bounds {
            low: (second.began - first.ended).as_secs_f64(),
            high: (second.ended - first.began).as_secs_f64(),
        }
    }

    fn per(self, other: Bounds) -> Bounds {
        Bounds { low: self.low / other.high, high: self.high / other.low }
    }

    fn times(self, factor: f64) -> Bounds {
        Bounds { low: self.low * factor, high: self.high * factor }
    }

    fn holds(self, value: f64) -> bool {
        // Floating point's own error.
        (self.low * (1.0 - 1e-9)..=self.high * (1.0 + 1e-9)).contains(&value)
    }
}

#[test]
fn each_rate_of_a_linux_guest_is_what_virshs_numbers_give() {
    let _turn = Turn::alone();
    let Some(lab) = Lab::require("features, Linux guest") else { return };
    let uuid = lab.linux("web-01");
    let mut execd = watch(&lab);
    let first = Look::paused(&lab, &mut execd, &uuid);
    // Its loop reads, writes, flushes and sends in each round.
    crate::support::wait_until(
        "reads, writes, flushes and packets",
        Duration::from_secs(120),
        || {
            let now = lab.stats(&uuid);
            let moved = |key: &str| now.number(key) > first.after.number(key);
            let all = [
                "block.0.rd.reqs",
                "block.0.wr.reqs",
                "block.0.fl.reqs",
                "net.1.rx.pkts",
                "net.1.tx.pkts",
            ];
            all.iter().all(|key| moved(key)).then_some(())
        },
    );
    let second = Look::paused(&lab, &mut execd, &uuid);
    let rates = find(&second.lines, &uuid, "vm_features", None).unwrap();
    let seconds = Bounds::seconds(&first, &second);
    let gained = |key: &str| second.still(key) - first.still(key);

    // Exact: both sides divide the same whole numbers.
    for (field, request) in
        [("disk_rd_ms_per_req", "rd"), ("disk_wr_ms_per_req", "wr"), ("disk_fl_ms_per_req", "fl")]
    {
        let time_ns = gained(&format!("block.0.{request}.times"));
        let requests = gained(&format!("block.0.{request}.reqs"));
        let expected = time_ns / 1e6 / requests;
        let ours = rates.float(field);
        assert!((ours - expected).abs() <= expected * 1e-9, "{field}: {ours}, virsh {expected}");
        assert!(expected > 0.0, "{field}: a comparison of zeros");
        say(&format!("features: {field} {ours:.4}, virsh {expected:.4} of {requests} requests"));
    }
    // Exact but for the time, and for a packet that came while the guest was paused.
    for (field, key) in [
        ("net_rxbytes_rate", "net.1.rx.bytes"),
        ("net_txbytes_rate", "net.1.tx.bytes"),
        ("net_rxpackets_rate", "net.1.rx.pkts"),
        ("net_txpackets_rate", "net.1.tx.pkts"),
        ("disk_rd_req_rate", "block.0.rd.reqs"),
        ("disk_rd_bytes_rate", "block.0.rd.bytes"),
        ("disk_wr_reqs_rate", "block.0.wr.reqs"),
        ("disk_wr_bytes_rate", "block.0.wr.bytes"),
    ] {
        let key = [key.to_owned()];
        let gain = Bounds::gained(first.between(&key), second.between(&key));
        assert!(gain.low > 0.0, "{key:?} stood still");
        let bounds = gain.per(seconds);
        let ours = rates.float(field);
        assert!(bounds.holds(ours), "{field}: {ours}, virsh {bounds:?}");
        let angle = rates.float(&field.replace("_rate", "_angle_deg"));
        assert!((angle.to_radians().tan() - ours).abs() <= ours * 1e-6, "{field}: {angle} degrees");
    }
    let cpu = ["cpu.time".to_owned()];
    let gain = Bounds::gained(first.between(&cpu), second.between(&cpu));
    let bounds = gain.per(seconds).times(100.0 / 1e9 / second.still("vcpu.current"));
    let ours = rates.float("cpu_percent");
    assert!(bounds.holds(ours) && ours > 0.0, "cpu_percent: {ours}, virsh {bounds:?}");
    say(&format!("features: cpu_percent {ours:.2}, virsh {:.2} to {:.2}", bounds.low, bounds.high));

    // Whole seconds, of the collection's own timestamp.
    let last_update = second.still("balloon.last-update");
    assert!(last_update > 0.0);
    let age = (rates.timestamp / 1_000_000_000) as f64 - last_update;
    assert_eq!(rates.float("balloon_age_sec"), age);
    // Its period is 2 s: older only by as long as it was paused, which the collection was.
    say(&format!("features: balloon_age_sec {age}"));

    // The age grows while the guest says nothing.
    lab.virsh(&["suspend", &uuid]);
    let third = Look::at(&lab, &mut execd, &uuid);
    std::thread::sleep(Duration::from_millis(2100));
    let fourth = Look::at(&lab, &mut execd, &uuid);
    let age = |look: &Look| {
        let line = find(&look.lines, &uuid, "vm_features", None).unwrap();
        assert_eq!(
            line.float("balloon_age_sec"),
            (line.timestamp / 1_000_000_000) as f64 - look.still("balloon.last-update")
        );
        line.float("balloon_age_sec")
    };
    assert!(age(&fourth) >= age(&third) + 2.0);
    // And without a request there is no time for one.
    let line = find(&fourth.lines, &uuid, "vm_features", None).unwrap();
    assert!(!line.field_names().iter().any(|name| name.contains("_ms_per_req")), "{line:?}");
}

/// A process that wants all of one CPU, and ends with the test.
struct Busy(Child);

impl Busy {
    fn on(cpu: &str) -> Busy {
        let mut command = Command::new("taskset");
        let spin = command.args(["-c", cpu, "sh", "-c", "while :; do :; done"]);
        Busy(spin.stdin(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn steal_is_the_time_that_vcpus_waited_for_a_cpu_that_others_were_on() {
    let _turn = Turn::alone();
    let test = "features, steal";
    let Some(lab) = Lab::require(test) else { return };
    let guest = Obedient::start(&lab, "hungry");
    if lab.stats(&guest.uuid).find("vcpu.0.delay").is_none() {
        skip(test, "libvirt gives no vcpu.0.delay: this kernel keeps no /proc/PID/schedstat");
        return;
    }
    // The guest's vCPU, which never rests, and two others on one CPU.
    let allowed = fs::read_to_string("/proc/self/status").unwrap();
    let allowed =
        allowed.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:\t")).unwrap();
    let cpu = allowed.split([',', '-']).next().unwrap();
    lab.virsh(&["vcpupin", &guest.uuid, "0", cpu]);
    let busy = [Busy::on(cpu), Busy::on(cpu)];

    let mut execd = watch(&lab);
    let delay = ["vcpu.0.delay".to_owned()];
    let time = ["cpu.time".to_owned()];
    let first = Look::at(&lab, &mut execd, &guest.uuid);
    // Until it has waited for two seconds, by virsh's word.
    crate::support::wait_until("two seconds of waiting", Duration::from_secs(300), || {
        let gain =
            lab.stats(&guest.uuid).number("vcpu.0.delay") - first.after.number("vcpu.0.delay");
        (gain > 2_000_000_000).then_some(())
    });
    let second = Look::at(&lab, &mut execd, &guest.uuid);
    let seconds = Bounds::seconds(&first, &second);
    let percent = |keys: &[String]| {
        Bounds::gained(first.between(keys), second.between(keys)).per(seconds).times(100.0 / 1e9)
    };
    let line = find(&second.lines, &guest.uuid, "vm_features", None).unwrap();
    let steal = line.float("steal_percent");
    let bounds = percent(&delay);
    assert!(bounds.holds(steal), "steal_percent {steal}, virsh {bounds:?}");
    // It waited for two seconds of this time at least.
    assert!(steal >= 100.0 * 2.0 / seconds.high, "{steal}");
    let cpu_percent = line.float("cpu_percent");
    let cpu_bounds = percent(&time);
    assert!(cpu_bounds.holds(cpu_percent), "cpu_percent {cpu_percent}, virsh {cpu_bounds:?}");
    say(&format!(
        "features: beside two busy processes: steal_percent {steal:.1}, virsh {:.1} to {:.1}; \
         cpu_percent {cpu_percent:.1}, virsh {:.1} to {:.1}",
        bounds.low, bounds.high, cpu_bounds.low, cpu_bounds.high
    ));
    drop(busy);

    // Of a guest that is paused next to nothing runs that could wait.
    lab.virsh(&["suspend", &guest.uuid]);
    let third = Look::at(&lab, &mut execd, &guest.uuid);
    let fourth = Look::at(&lab, &mut execd, &guest.uuid);
    let line = find(&fourth.lines, &guest.uuid, "vm_features", None).unwrap();
    let bounds = Bounds::gained(third.between(&delay), fourth.between(&delay))
        .per(Bounds::seconds(&third, &fourth))
        .times(100.0 / 1e9);
    let paused = line.float("steal_percent");
    assert!(bounds.holds(paused) && paused < steal, "{paused}, virsh {bounds:?}");
}
