//! The host beside its guests and its storage pools, of a real libvirtd, against what virsh says; and that a
//! pool on dead storage costs nobody else a line.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::support::execd::Execd;
use crate::support::lab::Lab;
use crate::support::lines::{Line, Value, read};
use crate::support::process::{Finished, run};
use crate::support::program::program;
use crate::support::{say, wait_until};

/// Extra names in a file of their own; the program with it.
fn with(lab: &Lab, extra: &str) -> Command {
    let file = lab.scratch().join("beside.toml");
    fs::write(&file, format!("extra = [{extra}]\n")).unwrap();
    let mut command = program(lab.scratch());
    command.args(["--uri", &lab.uri(), "--config"]).arg(file);
    command
}

fn of<'a>(lines: &'a [Line], measurement: &str) -> Vec<&'a Line> {
    lines.iter().filter(|line| line.measurement == measurement).collect()
}

fn pools(lines: &[Line]) -> Vec<&str> {
    of(lines, "vm_pools").into_iter().map(|line| line.tag("pool")).collect()
}

/// `Name: value` of virsh.
fn told(text: &str, name: &str) -> Option<String> {
    let found = text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    });
    found.map(|value| value.trim_end_matches(" KiB").trim_end_matches(" MHz").to_owned())
}

fn number(text: &str, name: &str) -> i64 {
    let value = told(text, name).unwrap_or_else(|| panic!("no {name} in {text}"));
    value.parse().unwrap_or_else(|_| panic!("{name} is {value}"))
}

/// A pool of this type below /var/lib/libvirt, started.
fn start_pool(lab: &Lab, name: &str, arguments: &[&str]) {
    let target = format!("/var/lib/libvirt/{name}");
    lab.inside(&["mkdir", "-p", &target]);
    let define = ["pool-define-as", name];
    let words: Vec<&str> =
        define.into_iter().chain(arguments.iter().copied()).chain(["--target", &target]).collect();
    lab.virsh(&words);
    lab.virsh(&["pool-start", name]);
}

#[test]
fn the_host_and_its_pools_are_what_virsh_says() {
    let Some(lab) = Lab::require("beside") else { return };
    lab.paused("web", 0, 1);
    lab.paused("db", 0, 1);
    lab.virsh(&["resume", "db"]);
    start_pool(&lab, "plain", &["dir"]);
    lab.virsh(&["vol-create-as", "plain", "a.raw", "5M"]);
    lab.virsh(&["pool-refresh", "plain"]);
    lab.virsh(&["pool-autostart", "plain"]);
    // A file system of its own, on a loop device that ends with the mount.
    let image = "/var/lib/libvirt/loop.img";
    lab.inside(&["sh", "-c", &format!("truncate -s 32M {image} && mkfs.ext4 -q {image}")]);
    start_pool(&lab, "loop", &["fs", "--source-dev", image, "--source-format", "ext4"]);
    lab.virsh(&["pool-define-as", "off", "dir", "--target", "/nonexistent"]);

    let before = [lab.virsh(&["nodecpustats"]), lab.virsh(&["nodememstats"])];
    let lines = read(&run(&mut with(&lab, "\"host\", \"pools\"")).success().stdout);
    let after = [lab.virsh(&["nodecpustats"]), lab.virsh(&["nodememstats"])];
    let mut same = 0;

    let [host, rest @ ..] = &of(&lines, "vm_host")[..] else { panic!("no host in {lines:#?}") };
    assert_eq!(host.tags, [("uri".to_owned(), lab.uri())]);
    let info = lab.virsh(&["nodeinfo"]);
    for (field, name) in [("cpus", "CPU(s)"), ("cpu_mhz", "CPU frequency")] {
        assert_eq!(host.int(field), number(&info, name), "{field}");
        same += 1;
    }
    for (field, name) in [
        ("cpu_user_ns", "user"),
        ("cpu_system_ns", "system"),
        ("cpu_idle_ns", "idle"),
        ("cpu_iowait_ns", "iowait"),
    ] {
        let [before, after] = [&before[0], &after[0]].map(|text| number(text, name));
        let printed = host.int(field);
        assert!((before..=after).contains(&printed), "{field}: {before} {printed} {after}");
        same += 1;
    }
    assert_eq!(host.int("memory_total_kib"), number(&before[1], "total"));
    same += 1;
    // They move all the time, and other programs may be at work here.
    for (field, name) in [
        ("memory_free_kib", "free"),
        ("memory_buffers_kib", "buffers"),
        ("memory_cached_kib", "cached"),
    ] {
        let [before, after] = [&before[1], &after[1]].map(|text| number(text, name));
        let (least, most) = (before.min(after) - (4 << 20), before.max(after) + (4 << 20));
        assert!(
            (least..=most).contains(&host.int(field)),
            "{field}: {before} to {after}, {host:?}"
        );
        same += 1;
    }
    let versions = lab.virsh(&["version", "--daemon"]);
    let libvirt = told(&versions, "Running against daemon").unwrap();
    assert_eq!(host.text("libvirt"), libvirt);
    assert_eq!(host.text("hypervisor"), told(&versions, "Running hypervisor").unwrap());
    let capabilities = lab.virsh(&["capabilities"]);
    let model = format!("<model>{}</model>", host.text("cpu_model"));
    assert!(capabilities.contains(&model), "{model}");
    same += 3;
    if let Some(Value::Int(shared)) = host.find_field("ksm_pages_shared") {
        let tune = lab.virsh(&["node-memory-tune"]);
        assert!(tune.contains(&format!("shm_pages_shared {shared}")), "{shared} in {tune}");
        same += 1;
    }
    assert_eq!(["guests_running", "guests_other"].map(|it| host.int(it)), [1, 1]);
    let sum = |name: &str| {
        let guests = ["web", "db"].map(|guest| {
            let text = lab.virsh(&["dominfo", guest]);
            number(&text, name)
        });
        guests.iter().sum::<i64>()
    };
    assert_eq!(host.int("guests_vcpus"), sum("CPU(s)"));
    assert_eq!(host.int("guests_memory_kib"), sum("Used memory"));
    same += 4;

    // Each NUMA cell, then each size of its huge pages.
    let (cells, pages): (Vec<&&Line>, Vec<&&Line>) =
        rest.iter().partition(|line| line.find_tag("page_kib").is_none());
    assert_eq!(cells.len() as i64, number(&info, "NUMA cell(s)"));
    for cell in &cells {
        let text = lab.virsh(&["nodememstats", "--cell", cell.tag("cell")]);
        assert_eq!(cell.int("memory_total_kib"), number(&text, "total"));
        assert!(cell.int("memory_free_kib") > 0 && !cell.text("cpuset").is_empty(), "{cell:?}");
        same += 1;
    }
    for line in pages {
        let (cell, size) = (line.tag("cell"), line.tag("page_kib"));
        let text = lab.virsh(&["freepages", "--cellno", cell, "--pagesize", &format!("{size}KiB")]);
        assert_eq!(line.int("pages_free"), number(&text, &format!("{size}KiB")), "{text}");
        let total = format!("<pages unit='KiB' size='{size}'>{}</pages>", line.int("pages_total"));
        assert!(capabilities.contains(&total), "{total}");
        same += 2;
    }

    assert_eq!(pools(&lines), ["loop", "off", "plain"]);
    for line in of(&lines, "vm_pools") {
        let text = lab.virsh(&["pool-info", line.tag("pool"), "--bytes"]);
        assert_eq!(line.text("state"), told(&text, "State").unwrap());
        for (field, name) in [("persistent", "Persistent"), ("autostart", "Autostart")] {
            let is_so = told(&text, name).unwrap() == "yes";
            assert_eq!(line.field(field), &Value::Bool(is_so), "{field} of {line:?}");
        }
        for (field, name) in [
            ("capacity_bytes", "Capacity"),
            ("allocation_bytes", "Allocation"),
            ("available_bytes", "Available"),
        ] {
            let told = told(&text, name).map(|_| number(&text, name));
            assert_eq!(
                line.find_field(field).map(|_| line.int(field)),
                told,
                "{field} of {line:?}"
            );
            same += usize::from(told.is_some());
        }
        let xml = lab.virsh(&["pool-dumpxml", line.tag("pool")]);
        assert!(xml.contains(&format!("<pool type='{}'>", line.tag("type"))), "{xml}");
        same += 4;
    }
    // The host, then the pools, behind all guests.
    let order: Vec<&str> = lines.iter().map(|line| &*line.measurement).collect();
    let first = order.iter().position(|it| *it == "vm_host").unwrap();
    assert!(order[..first].iter().all(|it| !["vm_host", "vm_pools"].contains(it)), "{order:?}");
    assert!(order[first..].is_sorted(), "{order:?}");
    lab.virsh(&["pool-destroy", "loop"]);
    say(&format!("beside: {same} values of the host and its pools are those of virsh"));
}

/// Volumes whose backing file is a pipe hold whoever looks for its format, libvirt among them, until somebody
/// writes into the pipe. QEMU's tool writes the format down, and without it libvirt looks.
fn dead_pool(lab: &Lab) {
    let (folder, pipe) = ("/var/lib/libvirt/dead", "/var/lib/libvirt/dead.fifo");
    let image = format!("{folder}/a.qcow2");
    let make = format!(
        "mkdir {folder}; truncate -s 1M {pipe}; qemu-img create -q -f qcow2 -b {pipe} -F raw {image}; \
         rm {pipe}; mkfifo {pipe}"
    );
    lab.inside(&["sh", "-c", &make]);
    let image = lab.folder().join("lib/dead/a.qcow2");
    let bytes = fs::read(&image).unwrap();
    let format = [0xe2, 0x79, 0x2a, 0xca];
    let place = bytes.windows(4).position(|window| window == format).unwrap();
    let mut without = bytes;
    without[place..place + 4].fill(0x11);
    fs::write(image, without).unwrap();
    lab.virsh(&["pool-define-as", "dead", "dir", "--target", folder]);
}

/// Lets go of what waits for the pipe: whoever opens it for both ways waits for nobody, and when it is closed
/// the others read its end.
fn revive(lab: &Lab) {
    lab.inside(&["sh", "-c", "exec 3<>/var/lib/libvirt/dead.fifo; sleep 1"]);
}

#[test]
fn a_pool_on_dead_storage_costs_nothing_but_its_own_line() {
    let Some(lab) = Lab::require("beside, dead storage") else { return };
    lab.paused("web", 1, 1);
    start_pool(&lab, "plain", &["dir"]);
    start_pool(&lab, "second", &["dir"]);
    dead_pool(&lab);
    let cache = lab.scratch().join("once-cache");
    let once = |lab: &Lab| -> Finished {
        run(with(lab, "\"host\", \"pools\"").arg("once").arg("--cache-dir").arg(&cache)).success()
    };
    once(&lab);
    let mut command = with(&lab, "\"host\", \"pools\"");
    command.arg("--cache-dir").arg(lab.scratch().join("execd-cache"));
    let mut execd = Execd::of(&mut command);
    execd.collect();
    let whole = execd.collect();
    assert_eq!(pools(&whole.lines), ["dead", "plain", "second"]);
    let guests = |lines: &[Line]| lines.iter().filter(|it| it.find_tag("uuid").is_some()).count();
    let expected = guests(&whole.lines);
    execd.news();

    let uri = lab.write_uri();
    let mut start =
        Command::new("virsh").args(["-q", "-c", &uri, "pool-start", "dead"]).spawn().unwrap();
    wait_until("the pool's start holds the list of pools", Duration::from_secs(30), || {
        let list = ["-q", "-c", &uri, "pool-list", "--all"];
        let listed = run(Command::new("timeout").args(["1", "virsh"]).args(list));
        (!listed.status.success()).then_some(())
    });
    for round in 0..4 {
        let collection = execd.collect();
        assert_eq!(guests(&collection.lines), expected, "round {round}");
        assert_eq!(of(&collection.lines, "vm_host").len(), of(&whole.lines, "vm_host").len());
        assert_eq!(pools(&collection.lines), ["plain", "second"], "round {round}");
        // The first waits a second for the list, and a moment for the pool.
        let most = if round == 0 { 3000 } else { 1500 };
        assert!(collection.took < Duration::from_millis(most), "{round}: {:?}", collection.took);
    }
    let told = execd.news();
    for subject in ["the list of the storage pools of", "the storage pool \"dead\" of"] {
        let count = told.iter().filter(|it| it.starts_with("W!") && it.contains(subject)).count();
        assert_eq!(count, 1, "{subject}: {told:#?}");
    }
    // Runs one after another: each names what the one before has found, and asks the others by name.
    let found = once(&lab);
    assert_eq!(pools(&read(&found.stdout)), ["plain", "second"], "{found}");
    let next = once(&lab);
    assert_eq!(pools(&read(&next.stdout)), ["plain", "second"], "{next}");
    assert!(next.stderr.contains("the list of the storage pools of"), "{next}");
    // Without a cache nobody knows the pools, and all else is there.
    let cold = run(with(&lab, "\"host\", \"pools\"").args(["once", "--no-cache"])).success();
    let lines = read(&cold.stdout);
    // A first run has no rates.
    assert_eq!((guests(&lines), pools(&lines).len()), (expected - 1, 0));

    revive(&lab);
    assert!(start.wait().unwrap().success());
    wait_until("all pools are read again", Duration::from_secs(30), || {
        (pools(&execd.collect().lines) == ["dead", "plain", "second"]).then_some(())
    });
    let told = execd.news();
    assert!(
        told.iter().any(|it| it.contains("\"dead\"") && it.contains("answers again")),
        "{told:#?}"
    );
    execd.end();
}

#[test]
fn a_host_without_the_daemon_of_pools_says_so_once() {
    let Some(lab) = Lab::require_release("beside, no virtstoraged", "trixie-modular") else {
        return;
    };
    lab.paused("web", 1, 1);
    let mut command = with(&lab, "\"host\", \"pools\"");
    command.arg("--no-cache");
    let mut execd = Execd::of(&mut command);
    for _ in 0..3 {
        let lines = execd.collect().lines;
        assert!(!of(&lines, "vm_host").is_empty() && pools(&lines).is_empty(), "{lines:#?}");
    }
    let told = execd.news();
    let warnings: Vec<_> = told.iter().filter(|it| it.starts_with("W!")).collect();
    assert_eq!(warnings.len(), 1, "{told:#?}");
    assert!(warnings[0].contains("virtstoraged"), "{told:#?}");
    execd.end();
}
