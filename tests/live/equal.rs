//! Every value that the program prints of guests with unusual devices equals what `virsh domstats` says: by default,
//! and with every name of `extra`, then also what `dommemstat` says, and the capacity of `domblkinfo`. On the machine's
//! own libvirt, and on Debian 13's.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use crate::support::expect::{Comparison, compare};
use crate::support::faults::{self, SHARED, file_disk, storage_daemon, vhost_disk, vhost_nic};
use crate::support::lab::{Guest, Lab, Stats};
use crate::support::lines::{Line, Value, find, read};
use crate::support::process::run;
use crate::support::program::program;
use crate::support::{say, wait_until};

const TAP: &str = "<interface type='ethernet'><model type='virtio'/></interface>";
const BALLOON: &str = "<memballoon model='virtio'/>";

/// A process that ends with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The guests, all paused but the last one.
struct Guests<'a> {
    lab: &'a Lab,
    uuids: Vec<String>,
    servers: Vec<Server>,
}

impl Guests<'_> {
    fn image(&self, name: &str) -> String {
        self.lab.scratch().join(name).display().to_string()
    }

    /// A disk in a new file.
    fn disk(&self, name: &str, target: &str) -> String {
        fs::File::create(self.image(name)).unwrap().set_len(16 << 20).unwrap();
        file_disk(&self.image(name), target)
    }

    /// A disk in a new qcow2 file, on top of another one.
    fn qcow2(&self, name: &str, below: Option<&str>) -> String {
        let mut command = Command::new("qemu-img");
        command.args(["create", "-q", "-f", "qcow2"]);
        if let Some(below) = below {
            command.args(["-F", "qcow2", "-b", &self.image(below)]);
        }
        run(command.arg(self.image(name)).arg("16M")).success();
        file_disk(&self.image(name), "vda").replace("type='raw'", "type='qcow2'")
    }

    /// A paused guest; `head` is what comes before its devices.
    fn create(&mut self, name: &str, head: &str, devices: &str) {
        let memory = if head.contains("<memory ") { "" } else { "<memory unit='MiB'>32</memory>" };
        let vcpu = if head.contains("<vcpu") { "" } else { "<vcpu>1</vcpu>" };
        let text = format!(
            "<domain type='qemu'><name>{name}</name>{memory}{vcpu}{head}\
             <os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features>\
             <devices>{devices}</devices></domain>"
        );
        let file = self.lab.scratch().join(format!("{name}.xml"));
        fs::write(&file, text).unwrap();
        self.lab.virsh(&["create", "--paused", file.to_str().unwrap()]);
        self.uuids.push(self.lab.virsh(&["domuuid", name]).trim().to_owned());
    }
}

/// One guest of each kind.
fn guests(lab: &Lab) -> Guests<'_> {
    faults::install(lab);
    let network = "ip link add br0 type bridge && ip link set br0 up
        ip link add veth0 type veth peer name veth1 && ip link set veth0 up";
    lab.inside(&["sh", "-euc", network]);
    let mut guests = Guests { lab, uuids: Vec::new(), servers: Vec::new() };

    let model = "<model type='virtio'/></interface>";
    let nics = format!(
        "<interface type='user'>{model}{TAP}\
         <interface type='direct'><source dev='veth0' mode='bridge'/>{model}\
         <interface type='bridge'><source bridge='br0'/>{model}{}{BALLOON}",
        vhost_nic(lab)
    );
    guests.create("nics", SHARED, &nics);

    let cdrom = "<disk type='file' device='cdrom'><target dev='hda' bus='ide'/><readonly/></disk>";
    let floppy = "<disk type='file' device='floppy'><target dev='fda' bus='fdc'/></disk>";
    let disk = guests.disk("drives.raw", "vda");
    guests.create("drives", "", &format!("{cdrom}{floppy}{disk}{TAP}{BALLOON}"));

    guests.qcow2("one.qcow2", None);
    guests.qcow2("two.qcow2", Some("one.qcow2"));
    let chain = guests.qcow2("three.qcow2", Some("two.qcow2"));
    guests.create("chain", "", &format!("{chain}{BALLOON}"));

    let disk = guests.qcow2("before.qcow2", None);
    guests.create("snapshot", "", &format!("{disk}{BALLOON}"));
    let to = format!("vda,file={}", guests.image("after.qcow2"));
    lab.virsh(&[
        "snapshot-create-as",
        "snapshot",
        "--disk-only",
        "--no-metadata",
        "--diskspec",
        &to,
    ]);

    let disk = guests.disk("source.raw", "vda");
    fs::write(guests.image("source.raw"), vec![7; 16 << 20]).unwrap();
    guests.create("copying", "", &format!("{disk}{BALLOON}"));
    let copy = guests.image("copy.raw");
    lab.virsh(&["blockcopy", "copying", "vda", &copy, "--transient-job", "--bandwidth", "1"]);

    let socket = lab.scratch().join("nbd.sock");
    let server = format!("addr.type=unix,addr.path={}", socket.display());
    let export = "type=nbd,id=e,node-name=n,name=x,writable=on";
    let daemon = storage_daemon(&socket, &["--nbd-server", &server, "--export", export]);
    guests.servers.push(Server(daemon));
    let disk = format!(
        "<disk type='network' device='disk'><driver name='qemu' type='raw'/>\
         <source protocol='nbd' name='x'><host transport='unix' socket='{}'/></source>\
         <target dev='vda' bus='virtio'/></disk>",
        socket.display()
    );
    guests.create("nbd", "", &format!("{disk}{BALLOON}"));

    // Debian 11's has no such disks.
    if lab.has_libvirt(7, 1) {
        let (daemon, disk) = vhost_disk(lab);
        guests.servers.push(Server(daemon));
        let beside = guests.disk("beside.raw", "vdb");
        guests.create("spdk", SHARED, &format!("{disk}{beside}{TAP}{BALLOON}"));
    }

    let vcpus: String = (0..4)
        .map(|id| {
            let word = |is: bool| if is { "yes" } else { "no" };
            let (enabled, plugged) = (word(id == 0 || id == 3), word(id > 0));
            format!("<vcpu id='{id}' enabled='{enabled}' hotpluggable='{plugged}'/>")
        })
        .collect();
    let head = format!("<vcpu current='2'>4</vcpu><vcpus>{vcpus}</vcpus>");
    guests.create("gaps", &head, BALLOON);

    let head = "<maxMemory slots='4' unit='MiB'>256</maxMemory><memory unit='MiB'>96</memory><vcpu>1</vcpu>\
        <cpu><numa><cell id='0' cpus='0' memory='32' unit='MiB'/></numa></cpu>";
    let dimm =
        "<memory model='dimm'><target><size unit='MiB'>64</size><node>0</node></target></memory>";
    guests.create("dimms", head, &format!("{dimm}{BALLOON}"));

    guests.create("no-balloon", "", "<memballoon model='none'/>");

    let full = lab.linux("full");
    fill(lab, &full);
    guests.uuids.push(full);
    let real = lab.linux("real");
    // It has reported its memory. What it reports goes up and down, so it does not do so again meanwhile.
    lab.virsh(&["dommemstat", &real, "--period", "3600", "--live"]);
    guests.uuids.push(real);
    guests
}

/// Gives a Linux guest a disk that it fills, so that QEMU pauses it.
fn fill(lab: &Lab, guest: &str) {
    faults::attach_small_disk(lab, guest);
    wait_until("the guest's disk is full", Duration::from_secs(120), || {
        let state = lab.virsh(&["domstate", "--reason", guest]);
        (state.trim() == "paused (I/O error)").then_some(())
    });
}

/// A tag of a line and its value.
type Tag = (&'static str, String);

/// Where a statistic of virsh is printed by a name of `extra`: measurement, tag and its value, field.
fn place(key: &str, stats: &Stats) -> Option<(&'static str, Option<Tag>, String)> {
    let parts: Vec<&str> = key.split('.').collect();
    let totals = |field: &str| Some(("vm_totals", None, field.to_owned()));
    match &parts[..] {
        ["state", "reason"] => totals("state_reason_code"),
        ["balloon", "unused"] => totals("memunused"),
        ["balloon", name @ ("hugetlb_pgalloc" | "hugetlb_pgfail")] => totals(&format!("mem{name}")),
        ["balloon", "last-update"] if stats.number(key) != 0 => totals("memlast_update"),
        ["vcpu", number, name] => {
            let field = match *name {
                "state" | "halted" => (*name).to_owned(),
                "time" | "wait" | "delay" => format!("{name}_ns"),
                _ => return None,
            };
            Some(("vm_vcpus", Some(("vcpu", (*number).to_owned())), field))
        }
        ["block", number, rest @ ..] => {
            let field = match rest {
                ["rd", "times"] => "rd_time_ns",
                ["wr", "times"] => "wr_time_ns",
                ["fl", "reqs"] => "fl_reqs",
                ["fl", "times"] => "fl_time_ns",
                ["allocation"] => "allocation_bytes",
                ["capacity"] => "capacity_bytes",
                ["physical"] => "physical_bytes",
                ["threshold"] => "threshold_bytes",
                _ => return None,
            };
            let device = stats.find(&format!("block.{number}.name"))?.to_owned();
            Some(("vm_devices", Some(("device", device)), field.to_owned()))
        }
        _ => None,
    }
}

/// A guest's lines with every `extra`, against virsh before and after.
fn compare_extra(
    guest: &Guest,
    lines: &[Line],
    before: &Stats,
    after: &Stats,
    paused: bool,
) -> Comparison {
    let mut result = Comparison::default();
    // The line of the collector is of no guest.
    let own: Vec<&Line> =
        lines.iter().filter(|line| line.find_tag("uuid") == Some(&guest.uuid)).collect();
    for (key, first) in before.all() {
        let Some((measurement, tag, field)) = place(key, before) else { continue };
        // A drive has no line.
        if tag.as_ref().is_some_and(|(_, value)| guest.is_drive(value)) {
            continue;
        }
        let is_it = |line: &&&Line| {
            line.measurement == measurement
                && tag.as_ref().is_none_or(|(key, value)| line.find_tag(key) == Some(value))
        };
        let printed = own.iter().find(is_it).and_then(|line| line.find_field(&field));
        let second = after.find(key).unwrap_or_default();
        // The group vcpu, and a running guest, move between two readings.
        let moves = !paused || key.starts_with("vcpu.");
        let number = |text: &str| text.parse::<i64>().ok();
        let right = match (printed, number(first), number(second)) {
            (Some(Value::Int(value)), Some(low), Some(high)) => {
                (low.min(high)..=low.max(high)).contains(value) && (moves || low == high)
            }
            (Some(Value::Bool(value)), ..) => {
                [first, second].contains(&if *value { "yes" } else { "no" })
            }
            _ => false,
        };
        result.agree += usize::from(right);
        if !right {
            let what = format!(
                "{}: {measurement} {tag:?} {field}: {printed:?}, virsh {key} before {first}, after {second}",
                guest.name
            );
            result.wrong.push((field, what));
        }
    }
    result
}

/// A number that `virsh dommemstat` or `domblkinfo` has of a guest.
struct Figure {
    /// The disk; empty for the memory.
    disk: String,
    /// virsh's own word.
    name: String,
    number: i64,
}

/// What `virsh dommemstat` and `domblkinfo` say of a guest.
fn figures(lab: &Lab, guest: &Guest, stats: &Stats) -> Vec<Figure> {
    let mut figures = Vec::new();
    for line in lab.virsh(&["dommemstat", &guest.uuid]).lines() {
        let Some((name, number)) = line.split_once(' ') else { continue };
        // 0: the guest never reported.
        if (name, number) != ("last_update", "0") {
            let number = number.parse().unwrap();
            figures.push(Figure { disk: String::new(), name: name.to_owned(), number });
        }
    }
    for (_, disk) in guest.disks(stats) {
        let mut virsh = Command::new("virsh");
        virsh.args(["-q", "-c", &lab.write_uri(), "domblkinfo", &guest.uuid, &disk]);
        let finished = run(&mut virsh);
        if !finished.status.success() {
            assert_eq!(guest.name, "spdk", "only of vhost-user disks it knows nothing: {finished}");
            continue;
        }
        // Its allocation and physical size mean other things than those of the bulk statistics, and in each version
        // others: those are held against domstats only.
        let capacity = finished.stdout.lines().find_map(|line| line.strip_prefix("Capacity:"));
        let number = capacity.unwrap().trim().parse().unwrap();
        figures.push(Figure { disk, name: "Capacity".to_owned(), number });
    }
    figures
}

/// The lines of a guest with every `extra`, against those calls before and after.
fn compare_calls(guest: &Guest, lines: &[Line], before: &[Figure], after: &[Figure]) -> Comparison {
    let mut result = Comparison::default();
    for Figure { disk, name, number: first } in before {
        let is_same = |it: &&Figure| (&it.disk, &it.name) == (disk, name);
        let second = after.iter().find(is_same).map_or(*first, |it| it.number);
        let (device, measurement) = match disk.as_str() {
            "" => (None, "vm_totals"),
            disk => (Some(disk), "vm_devices"),
        };
        let field = match name.as_str() {
            "Capacity" => "capacity_bytes".to_owned(),
            "disk_caches" => "memdisk_cache".to_owned(),
            name => format!("mem{name}"),
        };
        let line = find(lines, &guest.uuid, measurement, device);
        let printed = line.filter(|it| it.find_field(&field).is_some()).map(|it| it.int(&field));
        let range = *first.min(&second)..=*first.max(&second);
        let right = printed.is_some_and(|value| range.contains(&value));
        result.agree += usize::from(right);
        if !right {
            let what = format!("{}: {disk} {name}: {printed:?}, virsh {range:?}", guest.name);
            result.wrong.push((field, what));
        }
    }
    result
}

/// `virsh domstats` of a guest. Without control groups libvirt before 7.2 has no CPU time there: then it is that of
/// `dominfo`, which is rounded to tenths of a second; `bound` is -1 for the lower bound, 1 for the upper one.
fn statistics(lab: &Lab, guest: &Guest, bound: i64) -> Stats {
    let mut stats = lab.all_stats(&guest.uuid);
    if stats.find("cpu.time").is_none() {
        let info = lab.virsh(&["dominfo", &guest.uuid]);
        let seconds = info.lines().find_map(|line| line.strip_prefix("CPU time:")).unwrap();
        let tenths: i64 = seconds.trim().trim_end_matches('s').replace('.', "").parse().unwrap();
        stats.add("cpu.time", tenths * 100_000_000 + bound * 50_000_000);
    }
    stats
}

fn collect(lab: &Lab, settings: &Path) -> Vec<Line> {
    let mut command = program(lab.scratch());
    command.args(["--no-cache", "--uri", &lab.uri(), "--config"]).arg(settings);
    read(&run(&mut command).success().stdout)
}

fn all_equal(release: &str) {
    let Some(lab) = Lab::require_release("equal", release) else { return };
    let guests = guests(&lab);
    let looked: Vec<Guest> = guests.uuids.iter().map(|uuid| Guest::look(&lab, uuid)).collect();
    let names = telegraf_virt::config::extra::Extra::ALL.map(|it| format!("{:?}", it.name()));
    let versions = lab.versions();
    let settings = lab.scratch().join("equal.toml");
    let mut wrong = Vec::new();
    for extra in [String::new(), names.join(", ")] {
        fs::write(&settings, format!("extra = [{extra}]\n")).unwrap();
        let has_all = !extra.is_empty();
        let calls = |stats: &[Stats]| -> Vec<Vec<Figure>> {
            let asked = looked.iter().zip(stats).filter(|_| has_all);
            asked.map(|(guest, stats)| figures(&lab, guest, stats)).collect()
        };
        let (mut agree, mut by_calls) = (0, 0);
        let mut lacking = Vec::new();
        // QEMU's own memory goes up and down, so that a value may lie outside of two readings of it; such a one
        // lies between them another time.
        for _ in 0..5 {
            (agree, by_calls) = (0, 0);
            lacking.clear();
            let stats = |bound| looked.iter().map(|guest| statistics(&lab, guest, bound)).collect();
            let before: Vec<Stats> = stats(-1);
            let calls_before = calls(&before);
            let lines = collect(&lab, &settings);
            let calls_after = calls(&before);
            let after: Vec<Stats> = stats(1);
            for (place, guest) in looked.iter().enumerate() {
                let (before, after) = (&before[place], &after[place]);
                let paused = guest.name != "real";
                if !has_all {
                    let compared = compare(guest, &guest.name, &lines, before, after, paused);
                    agree += compared.agree;
                    lacking.extend(compared.wrong);
                    continue;
                }
                let compared = compare_extra(guest, &lines, before, after, paused);
                agree += compared.agree;
                lacking.extend(compared.wrong);
                let (first, second) = (&calls_before[place], &calls_after[place]);
                let compared = compare_calls(guest, &lines, first, second);
                by_calls += compared.agree;
                lacking.extend(compared.wrong);
            }
            if has_all {
                for name in ["usable", "last_update", "Capacity"] {
                    let asked = calls_before.iter().flatten().any(|it| it.name == name);
                    assert!(asked, "virsh says nothing of {name}");
                }
            }
            if lacking.is_empty() || lacking.iter().any(|(field, _)| field != "memrss") {
                break;
            }
        }
        let what = if has_all { "with every extra" } else { "by default" };
        say(&format!(
            "equal: {versions}, {what}: {agree} values of {} guests equal virsh domstats', {by_calls} \
             those of dommemstat and domblkinfo, {} do not",
            looked.len(),
            lacking.len()
        ));
        wrong.extend(lacking.into_iter().map(|(_, what)| what));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_value_of_guests_with_unusual_devices_equals_virshs() {
    all_equal(&std::env::var("LAB_RELEASE").unwrap_or_default());
}

#[test]
fn every_value_of_guests_with_unusual_devices_equals_virshs_on_debian_13() {
    all_equal("trixie");
}
