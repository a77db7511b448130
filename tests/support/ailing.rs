//! Made lines of guests and hypervisors that ail for a while, each of one thing, and of others that only look
//! like it: for the rules for alerts.

use std::collections::BTreeSet;
use std::fmt::{Display, Write};
use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

/// What can ail a guest. Each is the name of a guest of its own. The last is well, and is started again each five
/// minutes, on another host.
pub const GUESTS: [&str; 7] = ["well", "hangs", "steals", "swaps", "errs", "drops", "wanders"];

/// Guests of a host with `extra = ["answer"]`: what their answers say while they ail, and their state. That of the
/// first has disks without counters, for ever; the second arrives from another host.
pub const ANSWERS: [(&str, &str, i64); 5] = [
    ("vhost", "whole", 1),
    ("arrives", "busy", 3),
    ("silent", "hung", 1),
    ("stunned", "hung", 3),
    ("locked", "locked", 1),
];

/// The words of an answer, in the order of their numbers.
const CODES: [&str; 5] = ["whole", "starting", "busy", "locked", "hung"];

/// What can ail a hypervisor's collections. Each is the name of a host of its own.
const HOSTS: [&str; 4] = ["hv-well", "hv-late", "hv-slow", "hv-down"];

/// Which rule must fire for which of them, under its names in PromQL and for Grafana.
pub const FIRE: [(&str, &str, &str); 23] = [
    ("GuestHangs", "Guest hangs", "hangs"),
    ("GuestHangs", "Guest hangs", "silent"),
    ("GuestLocked", "Guest is locked", "locked"),
    ("GuestLocked", "Guest is locked", "stunned"),
    ("GuestPausedByError", "Guest is paused by an error", "broken"),
    ("GuestStealHigh", "Guest waits for a host CPU", "steals"),
    ("GuestSwapsIn", "Guest swaps in", "swaps"),
    ("GuestDiskErrors", "Guest's disk has errors", "errs"),
    ("GuestDiskFails", "Guest's disk fails", "full"),
    ("GuestNicDrops", "Guest's NIC drops packets", "drops"),
    ("GuestSnapshotOld", "Guest has an old snapshot", "kept"),
    ("GuestJobStalled", "Guest's job makes no progress", "stuck"),
    ("GuestJobStalled", "Guest's job makes no progress", "stuck-backup"),
    ("GuestBlockJobStalled", "Guest's block job makes no progress", "copies"),
    ("GuestMigrationFailed", "Guest's migration failed", "returns"),
    ("GuestCrashed", "Guest crashed", "crashes"),
    ("GuestFailed", "Guest failed", "killed"),
    ("GuestIoError", "Guest had an I/O error", "unlucky"),
    ("PoolFull", "Pool is full", "hv-full"),
    ("HostMemoryOvercommitted", "Host's memory is overcommitted", "hv-much"),
    ("CollectorLate", "Collector is late", "hv-late"),
    ("CollectionSlow", "Collections are slow", "hv-slow"),
    ("HypervisorDown", "Hypervisor does not answer", "hv-down"),
];

/// How many rules there are.
pub fn rules() -> usize {
    FIRE.iter().map(|(rule, ..)| rule).collect::<BTreeSet<_>>().len()
}

pub fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

fn code(answer: &str) -> usize {
    CODES.iter().position(|it| *it == answer).unwrap()
}

/// Collections each 10 s, as the program prints them, of all guests and hosts; while it is `ailing`, each
/// but the healthy ones has what it is named after.
pub fn lines(time: Range<i64>, ailing: &Range<i64>) -> String {
    let mut lines = String::new();
    for now in time.clone().step_by(10) {
        let at = |who: &str, ail: &str| who == ail && ailing.contains(&now);
        let second = now - time.start;
        // How long it has ailed.
        let ailed = (now - ailing.start).clamp(0, ailing.end - ailing.start);
        let stamp = now * 1_000_000_000;
        let used = second * 1_000_000;
        for (number, who) in GUESTS.iter().enumerate() {
            let mut second = second;
            let mut tags = format!("VMID={number},name={who},uuid=uuid-of-{who},host=hv-well");
            if *who == "wanders" {
                let boot = second / 300;
                second %= 300;
                tags = format!("VMID={},name={who},uuid=uuid-of-{who},host=hv-{boot}", 50 + boot);
            }
            let gained = |ail: &str, rate: i64| if *who == ail { ailed * rate } else { 0 };
            let steal = if at(who, "steals") { 30.0 } else { 0.5 };
            writeln!(lines, "vm_features,{tags} cpu_percent=50.0,steal_percent={steal:?} {stamp}")
                .unwrap();
            let (drops, moved) = (gained("drops", 25), 1000 * second);
            writeln!(
                lines,
                "vm_devices,{tags},devtype=nic,device=vnet{number} rxbytes={moved}i,txbytes={moved}i,\
                 rxdrops={drops}i,txdrops=7i {stamp}"
            )
            .unwrap();
            let mut more = String::new();
            if !at(who, "hangs") {
                let errors = 3 + gained("errs", 1);
                writeln!(
                    lines,
                    "vm_devices,{tags},devtype=disk,device=vda rd_req={second}i,wr_reqs={second}i,\
                     errors={errors}i {stamp}"
                )
                .unwrap();
                let swapped = 50_000 + gained("swaps", 900);
                more = format!("disk_rd_req={second}i,memrss=250000i,memswap_in={swapped}i,");
            }
            writeln!(lines, "vm_totals,{tags} {more}cputime={used}i,state=1i {stamp}").unwrap();
        }
        for (number, (who, answer, state)) in ANSWERS.iter().enumerate() {
            let tags = format!("VMID={number},name={who},uuid=uuid-of-{who},host=hv-answers");
            let ails = ailing.contains(&now);
            let (answer, state) = if ails { (*answer, *state) } else { ("whole", 1) };
            let code = code(answer);
            writeln!(lines, "vm_metrics,{tags} answer=\"{answer}\" {stamp}").unwrap();
            // A guest that is locked has no more.
            let mut more = String::new();
            if answer != "locked" {
                let has_counters = *who != "vhost" && answer == "whole";
                let disks =
                    if has_counters { format!("disk_rd_req={second}i,") } else { String::new() };
                let held = if answer == "whole" { "memrss=250000i," } else { "" };
                more = format!("{disks}{held}cputime={used}i,state={state}i,");
            }
            writeln!(lines, "vm_totals,{tags} {more}answer_code={code}i {stamp}").unwrap();
        }
        for host in HOSTS {
            if at(host, "hv-late") {
                continue;
            }
            let took = if at(host, "hv-slow") { 3_900_000_000_i64 } else { 250_000_000 };
            let fields = match at(host, "hv-down") {
                true => format!("up=false,collect_ns={took}i,lines=0i"),
                false => format!("up=true,domains=6i,hung=0i,collect_ns={took}i,lines=24i"),
            };
            writeln!(lines, "vm_collector,uri=qemu:///system,host={host} {fields} {stamp}")
                .unwrap();
        }
        let mut line = |measurement: &str, who: &str, tags: &str, fields: &dyn Display| {
            let guest = format!("VMID=1,name={who},uuid=uuid-of-{who},host=hv-more");
            writeln!(lines, "{measurement},{guest}{tags} {fields} {stamp}").unwrap();
        };
        more_lines(&mut line, now, second, ailing, ailed);
        let (given, full) = (
            if at("hv-much", "hv-much") { 1300 } else { 800 },
            if at("hv-full", "hv-full") { 95 } else { 50 },
        );
        for (tags, fields) in [
            ("hv-much", format!("cpus=8i,guests_memory_kib={given}i,memory_total_kib=1000i")),
            // Of one of its NUMA cells.
            ("hv-much,cell=0", "memory_total_kib=500i,memory_free_kib=10i".to_owned()),
        ] {
            writeln!(lines, "vm_host,uri=qemu:///system,host={tags} {fields} {stamp}").unwrap();
        }
        writeln!(
            lines,
            "vm_pools,uri=qemu:///system,pool=images,type=dir,host=hv-full \
             capacity_bytes=100i,allocation_bytes={full}i {stamp}"
        )
        .unwrap();
    }
    lines
}

/// What only `extra` tells of guests.
fn more_lines(
    line: &mut impl FnMut(&str, &str, &str, &dyn Display),
    now: i64,
    second: i64,
    ailing: &Range<i64>,
    ailed: i64,
) {
    let ails = ailing.contains(&now);
    let is = |ill: i64, well: i64| if ails { ill } else { well };
    // The second was paused by somebody.
    for (who, state, reason) in [("broken", is(3, 1), is(5, 1)), ("rests", 3, 1)] {
        let fields = format!("memrss=1i,state={state}i,state_reason_code={reason}i");
        line("vm_totals", who, "", &fields);
    }
    let vda = ",devtype=disk,device=vda";
    line("vm_devices", "full", vda, &format!("errors=0i,io_error_code={}i", is(2, 0)));
    let age = is(8 * 86_400, 86_400) + second;
    line("vm_snapshots", "kept", "", &format!("count=2i,oldest_age_s={age}i"));
    // What has been done: while it is stuck, nothing more.
    let stuck = second - ailed;
    let elapsed = second * 1000;
    for (who, done) in [("stuck", stuck), ("goes-on", second)] {
        let left = 1_000_000 - 100 * done;
        let fields = format!(
            "operation=\"migration_out\",elapsed_ms={elapsed}i,data_remaining_bytes={left}i,\
             disk_remaining_bytes=0i"
        );
        line("vm_jobs", who, "", &fields);
    }
    let left = 1_000_000 - 100 * stuck;
    let fields = format!("operation=\"backup\",elapsed_ms={elapsed}i,disk_remaining_bytes={left}i");
    line("vm_jobs", "stuck-backup", "", &fields);
    // The last waits for its pivot.
    for (who, done) in [("copies", stuck), ("copies-on", second), ("copied", 1_000_000)] {
        line("vm_block_jobs", who, vda, &format!("done_bytes={done}i,total_bytes=1000000i"));
    }
    let mut event = |who: &str, event: &str, detail: &str| {
        let device = if event == "io_error" { vda } else { "" };
        let fields = format!("detail=\"{detail}\",count=1i");
        line("vm_events", who, &format!(",event={event}{device}"), &fields);
    };
    // One guest came from another host long ago, and ends by itself.
    if second == 0 {
        event("killed", "started", "migrated");
    } else if second == 10 {
        event("killed", "resumed", "migrated");
    }
    // An event counts for ten minutes.
    if !ails || now > ailing.end - 300 {
        return;
    }
    match ailed / 10 % 12 {
        0 => {
            event("returns", "started", "migrated");
            event("arrives-well", "started", "migrated");
            event("crashes", "crashed", "panicked");
            event("unlucky", "io_error", "enospc");
        }
        1 => {
            event("returns", "stopped", "failed");
            event("arrives-well", "resumed", "migrated");
            event("killed", "stopped", "failed");
        }
        _ => {}
    }
}

/// The same with a label of each event's detail, which telegraf-virt-events.conf makes.
pub fn labelled(lines: &str) -> String {
    let label = |line: &str| {
        let Some((tags, rest)) = line.split_once(" detail=\"") else { return line.to_owned() };
        let (detail, rest) = rest.split_once("\",").unwrap();
        format!("{tags},detail={detail} {rest}")
    };
    lines.lines().map(|line| label(line) + "\n").collect()
}
