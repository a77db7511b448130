//! What only `extra` prints of disks' storage, of real QEMU guests, against what virsh says: jobs of disks,
//! backing chains, snapshots, errors; and, where libvirt has them, histograms of latencies.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::support::lab::Lab;
use crate::support::lines::{Line, read};
use crate::support::process::run;
use crate::support::program::program;
use crate::support::{say, wait_until};

const IMAGES: &str = "/var/lib/libvirt/images";

fn collect(lab: &Lab, extra: &str) -> Vec<Line> {
    let file = lab.scratch().join("storage.toml");
    // What was a moment ago is not good enough here.
    fs::write(&file, format!("extra = [{extra}]\n[cache]\nttl = \"0s\"\n")).unwrap();
    let mut command = program(lab.scratch());
    command.args(["--uri", &lab.uri(), "--config"]).arg(file);
    read(&run(&mut command).success().stdout)
}

fn of<'a>(lines: &'a [Line], measurement: &str) -> Vec<&'a Line> {
    lines.iter().filter(|line| line.measurement == measurement).collect()
}

/// `key=value` of virsh, whatever it has before the key.
fn told(text: &str, key: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let value = line.trim().strip_prefix(key)?.strip_prefix('=')?;
        Some(value.to_owned())
    })
}

/// A guest that is paused, whose disk has two images behind it with 24 MiB of data in each.
fn chained(lab: &Lab) {
    fs::create_dir_all(lab.image("")).unwrap();
    let script = format!(
        "cd {IMAGES}; head -c 24M /dev/urandom >base.raw; truncate -s 64M base.raw
         qemu-img create -q -f qcow2 -b {IMAGES}/base.raw -F raw middle.qcow2
         qemu-io -c 'write -P 7 0 24M' middle.qcow2 >/dev/null
         qemu-img create -q -f qcow2 -b {IMAGES}/middle.qcow2 -F qcow2 top.qcow2"
    );
    lab.inside(&["sh", "-euc", &script]);
    let xml = format!(
        "<domain type='qemu'><name>web</name><memory unit='MiB'>32</memory><vcpu>1</vcpu>
         <os><type arch='x86_64' machine='pc'>hvm</type></os><devices>
         <disk type='file' device='disk'><driver name='qemu' type='qcow2'/>
         <source file='{IMAGES}/top.qcow2'/><target dev='vda' bus='virtio'/></disk>
         <disk type='file' device='cdrom'><target dev='hdc' bus='ide'/><readonly/></disk>
         </devices></domain>"
    );
    let file = lab.scratch().join("web.xml");
    fs::write(&file, xml).unwrap();
    lab.virsh(&["define", file.to_str().unwrap()]);
    lab.virsh(&["start", "web", "--paused"]);
}

/// Holds the lines of vm_backing against virsh; how many values are the same.
fn assert_backing(lab: &Lab, images: usize) -> usize {
    let lines = collect(lab, "\"backing\"");
    let text = lab.virsh(&["domstats", "web", "--block", "--backing", "--raw"]);
    let lines = of(&lines, "vm_backing");
    assert_eq!(lines.len(), images, "{lines:#?} {text}");
    let mut same = 0;
    let count: usize = told(&text, "block.count").unwrap().parse().unwrap();
    let mut of_vda =
        (0..count).filter(|it| told(&text, &format!("block.{it}.name")).unwrap() == "vda");
    for line in lines {
        let number = of_vda.next().unwrap();
        let value = |name: &str| told(&text, &format!("block.{number}.{name}"));
        assert_eq!(line.tag("device"), "vda");
        assert_eq!(line.tag("index"), value("backingIndex").unwrap_or_else(|| "0".to_owned()));
        assert_eq!(line.text("path"), value("path").unwrap());
        for name in ["allocation", "capacity", "physical"] {
            let field = format!("{name}_bytes");
            let printed = line.find_field(&field).map(|_| line.int(&field).to_string());
            assert_eq!(printed, value(name), "{name} of {line:?}");
            same += 1;
        }
        same += 2;
    }
    assert_eq!(of_vda.count(), 0);
    same
}

/// Holds the one line of vm_block_jobs against virsh, which asks before and after.
fn assert_job(lab: &Lab, kind: &str) -> usize {
    let asked = || lab.virsh(&["blockjob", "web", "vda", "--raw", "--bytes"]);
    let before = asked();
    let lines = collect(lab, "\"block-jobs\"");
    let after = asked();
    let [job] = of(&lines, "vm_block_jobs")[..] else { panic!("{kind}: {before} {lines:#?}") };
    assert_eq!((job.tag("devtype"), job.tag("device")), ("disk", "vda"));
    assert_eq!(job.text("type"), kind);
    let number = |text: &str, key: &str| -> i64 {
        told(text, key).unwrap_or_else(|| panic!("no {key} in {text}")).parse().unwrap()
    };
    assert_eq!(job.int("bytes_sec"), number(&before, "bandwidth"));
    assert!((number(&before, "end")..=number(&after, "end")).contains(&job.int("total_bytes")));
    let done = number(&before, "cur")..=number(&after, "cur");
    assert!(done.contains(&job.int("done_bytes")), "{done:?} {job:?}");
    4
}

#[test]
fn jobs_chains_and_snapshots_of_disks_are_what_virsh_says() {
    let Some(lab) = Lab::require("storage") else { return };
    chained(&lab);
    let mut same = assert_backing(&lab, 3);
    assert!(of(&collect(&lab, "\"block-jobs\""), "vm_block_jobs").is_empty());

    // Each is so slow that it is still at work when it is asked, or waits to be told to end.
    let [copy, middle] = ["copy", "middle"].map(|name| format!("{IMAGES}/{name}.qcow2"));
    for (kind, words) in [
        ("pull", &["blockpull", "web", "vda", "--bandwidth", "1"][..]),
        ("commit", &["blockcommit", "web", "vda", "--top", &middle, "--bandwidth", "1"]),
        ("copy", &["blockcopy", "web", "vda", &copy, "--transient-job", "--bandwidth", "1"]),
        ("active_commit", &["blockcommit", "web", "vda", "--active", "--shallow"]),
    ] {
        lab.virsh(words);
        same += assert_job(&lab, kind);
        lab.virsh(&["blockjob", "web", "vda", "--abort"]);
        wait_until("the job ends", Duration::from_secs(60), || {
            of(&collect(&lab, "\"block-jobs\""), "vm_block_jobs").is_empty().then_some(())
        });
    }
    assert_eq!(of(&collect(&lab, "\"snapshots\""), "vm_snapshots")[0].int("count"), 0);

    let file = |name: &str| format!("vda,file={IMAGES}/{name}.qcow2");
    for (number, name) in ["first", "second", "third"].into_iter().enumerate() {
        let words = ["snapshot-create-as", "web", name, "--disk-only", "--diskspec", &file(name)];
        lab.virsh(&words);
        same += assert_backing(&lab, 4 + number);
        // Their times are whole seconds.
        std::thread::sleep(Duration::from_millis(1100));
    }
    lab.virsh(&["checkpoint-create-as", "web", "point"]);
    let lines = collect(&lab, "\"snapshots\"");
    let [line] = of(&lines, "vm_snapshots")[..] else { panic!("{lines:#?}") };
    let names = lab.virsh(&["snapshot-list", "web", "--name"]);
    let names: Vec<&str> = names.split_whitespace().collect();
    assert_eq!(line.int("count"), names.len() as i64);
    let points = lab.virsh(&["checkpoint-list", "web", "--name"]);
    assert_eq!(line.int("checkpoints"), points.split_whitespace().count() as i64);
    let made = names.iter().map(|name| {
        let xml = lab.virsh(&["snapshot-dumpxml", "web", name]);
        let (_, rest) = xml.split_once("<creationTime>").unwrap();
        rest.split_once('<').unwrap().0.parse::<i64>().unwrap()
    });
    let made: Vec<i64> = made.collect();
    let now = line.timestamp / 1_000_000_000;
    assert_eq!(line.int("oldest_age_s"), now - made.iter().min().unwrap());
    assert_eq!(line.int("newest_age_s"), now - made.iter().max().unwrap());
    assert!(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() >= now as u64);
    same += 4;
    say(&format!("storage: {same} values of jobs, chains and snapshots are those of virsh"));
}

#[test]
fn a_disk_that_is_full_says_so() {
    let Some(lab) = Lab::require("storage, a full disk") else { return };
    let guest = lab.linux("full");
    let healthy = collect(&lab, "\"disk-errors\"");
    let error = |lines: &[Line], device: &str| {
        let is_disk = |line: &&&Line| line.find_tag("device") == Some(device);
        let lines = of(lines, "vm_devices");
        lines.iter().find(is_disk).unwrap().text("io_error").to_owned()
    };
    assert_eq!(error(&healthy, "vda"), "none");
    let script = format!(
        "mkdir -p {IMAGES}/full; mount -t tmpfs -o size=448k tmpfs {IMAGES}/full
         qemu-img create -q -f qcow2 {IMAGES}/full/disk.qcow2 64M"
    );
    lab.inside(&["sh", "-euc", &script]);
    let xml = format!(
        "<disk type='file' device='disk'><driver name='qemu' type='qcow2' error_policy='stop'/>\
         <source file='{IMAGES}/full/disk.qcow2'/><target dev='vdb' bus='virtio'/></disk>"
    );
    lab.virsh_device("attach-device", &guest, &xml);
    wait_until("the guest's disk is full", Duration::from_secs(120), || {
        let state = lab.virsh(&["domstate", "--reason", &guest]);
        (state.trim() == "paused (I/O error)").then_some(())
    });
    let lines = collect(&lab, "\"disk-errors\"");
    let told = lab.virsh(&["domblkerror", &guest]);
    assert_eq!(told.trim(), "vdb: no space");
    assert_eq!(["vda", "vdb"].map(|device| error(&lines, device)), ["none", "no_space"]);
    say("storage: the errors of 2 disks are those of domblkerror");
}

/// A guest whose disk counts how long its requests take, in bins.
const COUNTED: &str = "<statistics><statistic interval='1'/><statistic interval='60'/>\
    <latency-histogram><bin start='0'/><bin start='100000'/><bin start='10000000'/></latency-histogram>\
    </statistics>";

#[test]
fn latencies_of_disks_are_what_virsh_says() {
    let Some(lab) = Lab::require("storage, latencies") else { return };
    let versions = lab.versions();
    fs::create_dir_all(lab.image("")).unwrap();
    fs::File::create(lab.image("a.raw")).unwrap().set_len(64 << 20).unwrap();
    let xml = format!(
        "<domain type='qemu'><name>web</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
         <os><type arch='x86_64' machine='pc'>hvm</type></os><devices>
         <disk type='file' device='disk'><driver name='qemu' type='raw'>{COUNTED}</driver>
         <source file='{IMAGES}/a.raw'/><target dev='vda' bus='virtio'/></disk></devices></domain>"
    );
    let file = lab.scratch().join("web.xml");
    fs::write(&file, xml).unwrap();
    lab.virsh(&["create", file.to_str().unwrap()]);
    let stats = || lab.virsh(&["domstats", "web", "--block", "--raw"]);
    wait_until("the firmware reads the disk", Duration::from_secs(120), || {
        told(&stats(), "block.0.rd.reqs").filter(|it| it != "0")
    });
    lab.virsh(&["suspend", "web"]);
    let text = stats();
    let lines = collect(&lab, "\"disk-latency\"");
    let lines = of(&lines, "vm_disk_latency");
    let Some(count) = told(&text, "block.0.latency_histogram.read.bin.count") else {
        assert!(lines.is_empty(), "{lines:#?}");
        return say(&format!("storage: {versions} keeps no histograms of latencies"));
    };
    let mut same = 0;
    for operation in ["read", "write", "flush"] {
        let value = |bin: usize, name: &str| -> i64 {
            let key = format!("block.0.latency_histogram.{operation}.bin.{bin}.{name}");
            told(&text, &key).unwrap_or_else(|| panic!("no {key} in {text}")).parse().unwrap()
        };
        let is_of = |line: &&&Line| line.tag("op") == operation && line.find_tag("le").is_some();
        let bins: Vec<&&Line> = lines.iter().filter(is_of).collect();
        let count: usize = count.parse().unwrap();
        assert_eq!(bins.len(), count, "{bins:#?} {text}");
        let mut sum = 0;
        for (place, line) in bins.into_iter().enumerate() {
            sum += value(place, "value");
            let end = match place + 1 {
                next if next == count => "+Inf".to_owned(),
                next => value(next, "start").to_string(),
            };
            assert_eq!((line.tag("le"), line.int("requests")), (&*end, sum));
            same += 2;
        }
        // All reads are in it, since it began with the guest.
        assert!(operation != "read" || sum > 0, "{text}");
    }
    for line in lines.iter().filter(|line| line.find_tag("interval_s").is_some()) {
        let interval = line.tag("interval_s");
        let group = (0..2).find(|it| {
            told(&text, &format!("block.0.timed_group.{it}.interval")).unwrap() == interval
        });
        let begins = match line.tag("op") {
            "read" => "rd",
            "write" => "wr",
            other => other,
        };
        let depth = format!("block.0.timed_group.{}.{begins}_queue_depth_avg", group.unwrap());
        // The interval of a paused guest moves on, so that only what is there can be held against virsh.
        assert_eq!(line.find_field("queue_depth_avg").is_some(), told(&text, &depth).is_some());
        same += 1;
    }
    assert!(text.contains("timed_group"), "{text}");
    say(&format!("storage: {same} values of latencies are those of virsh, with {versions}"));
}
