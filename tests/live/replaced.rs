//! Another device under the name of one that was there: its tags, its filters and its lines are right in the very
//! next collection, of execd and of `once`, and no other guest's XML is asked for.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::execd::Execd;
use crate::support::lab::Lab;
use crate::support::lines::{Line, find, read};
use crate::support::program::{once, program, readings};
use crate::support::wait_until;

const FOLDER: &str = "/var/lib/libvirt/images";
const MAC: [&str; 2] = ["52:54:00:aa:bb:01", "52:54:00:aa:bb:02"];

/// One way to collect, with the same configuration.
enum Way {
    Execd(Box<Execd>),
    Once(PathBuf),
}

struct Guest<'a> {
    lab: &'a Lab,
    uuid: String,
    settings: PathBuf,
    way: Way,
}

impl<'a> Guest<'a> {
    fn new(lab: &'a Lab, uuid: String, name: &str, is_execd: bool, more: &str) -> Self {
        let settings = lab.scratch().join(format!("{name}.toml"));
        let tags = "device_tags = [\"type\", \"mac\", \"serial\", \"path\"]\n";
        fs::write(&settings, format!("{tags}{more}")).unwrap();
        let cache = lab.scratch().join(format!("{name}-cache"));
        let way = if is_execd {
            let mut command = program(lab.scratch());
            command.args(["--uri", &lab.uri(), "--config"]).arg(&settings);
            Way::Execd(Box::new(Execd::of(command.arg("--cache-dir").arg(&cache))))
        } else {
            Way::Once(cache)
        };
        Self { lab, uuid, settings, way }
    }

    /// A collection, and the guests whose XML was asked for.
    fn collect(&mut self) -> (Vec<Line>, Vec<String>) {
        match &mut self.way {
            Way::Execd(execd) => {
                let lines = execd.collect().lines;
                (lines, execd.readings())
            }
            Way::Once(cache) => {
                let finished =
                    once(self.lab, cache, &["--config", self.settings.to_str().unwrap()]);
                (read(&finished.stdout), readings(&finished.stderr))
            }
        }
    }

    /// The line of a device after a change; the XML of this guest alone was read, and is not again.
    fn changed(&mut self, device: &str, what: &str) -> Option<Line> {
        let (lines, asked) = self.collect();
        assert_eq!(asked, std::slice::from_ref(&self.uuid), "{what}");
        let line = find(&lines, &self.uuid, "vm_devices", Some(device)).cloned();
        let (lines, asked) = self.collect();
        assert_eq!(asked, Vec::<String>::new(), "known from then on: {what}");
        let again = find(&lines, &self.uuid, "vm_devices", Some(device));
        assert_eq!(again.map(|it| &it.tags), line.as_ref().map(|it| &it.tags), "{what}");
        line
    }
}

/// A drive on the USB bus, where no guest has to take part; all have the same name.
fn drive(device: &str, file: &str, serial: &str) -> String {
    let serial =
        if serial.is_empty() { String::new() } else { format!("<serial>{serial}</serial>") };
    format!(
        "<disk type='file' device='{device}'><driver name='qemu' type='raw'/>\
         <source file='{FOLDER}/{file}'/><target dev='sda' bus='usb'/>{serial}</disk>"
    )
}

fn plug(lab: &Lab, command: &str, guest: &str, device: &str, group: &str, name: &str) {
    lab.virsh_device(command, guest, device);
    let is_wanted = command == "attach-device";
    wait_until(command, Duration::from_secs(20), || {
        let is_there = lab.stats(guest).devices(group).iter().any(|(_, it)| it == name);
        (is_there == is_wanted).then_some(())
    });
}

fn swap(lab: &Lab, guest: &str, old: &str, new: &str) {
    plug(lab, "detach-device", guest, old, "block", "sda");
    plug(lab, "attach-device", guest, new, "block", "sda");
}

fn tags(line: Option<&Line>) -> [Option<&str>; 3] {
    ["type", "serial", "path"].map(|tag| line.and_then(|line| line.find_tag(tag)))
}

fn disks(lab: &Lab, is_execd: bool) {
    lab.fleet(2, 1, 1);
    let uuid = lab.paused("changing", 1, 1);
    for file in ["old.raw", "new.raw", "cd.raw"] {
        lab.inside(&["truncate", "-s", "1M", &format!("{FOLDER}/{file}")]);
    }
    let name = if is_execd { "execd" } else { "once" };
    let mut guest = Guest::new(lab, uuid.clone(), name, is_execd, "");
    let (old, new) = (drive("disk", "old.raw", "OLD"), drive("disk", "new.raw", "NEW"));
    let (twin, cdrom) = (drive("disk", "new.raw", "TWIN"), drive("cdrom", "cd.raw", ""));
    guest.collect();
    plug(lab, "attach-device", &uuid, &old, "block", "sda");
    let path = |file: &str| format!("{FOLDER}/{file}");
    let line = guest.changed("sda", "a new disk");
    assert_eq!(tags(line.as_ref()), [Some("file"), Some("OLD"), Some(path("old.raw").as_str())]);

    swap(lab, &uuid, &old, &new);
    let line = guest.changed("sda", "another disk");
    assert_eq!(tags(line.as_ref()), [Some("file"), Some("NEW"), Some(path("new.raw").as_str())]);

    // The same file, so that only its number at libvirt differs.
    swap(lab, &uuid, &new, &twin);
    let line = guest.changed("sda", "another disk with the same path");
    assert_eq!(tags(line.as_ref()), [Some("file"), Some("TWIN"), Some(path("new.raw").as_str())]);

    swap(lab, &uuid, &twin, &cdrom);
    assert_eq!(guest.changed("sda", "a drive instead of a disk"), None);
    swap(lab, &uuid, &cdrom, &new);
    let line = guest.changed("sda", "a disk instead of a drive");
    assert_eq!(tags(line.as_ref()), [Some("file"), Some("NEW"), Some(path("new.raw").as_str())]);

    // A snapshot, and back into the file below it.
    let first = {
        let (lines, _) = guest.collect();
        find(&lines, &uuid, "vm_devices", Some("vda")).unwrap().tag("path").to_owned()
    };
    let top = path("top.qcow2");
    let spec = format!("vda,file={top}");
    let ignored = "sda,snapshot=no";
    lab.virsh(&[
        "snapshot-create-as",
        &uuid,
        "--disk-only",
        "--no-metadata",
        "--diskspec",
        &spec,
        "--diskspec",
        ignored,
    ]);
    let line = guest.changed("vda", "a snapshot");
    assert_eq!(line.unwrap().tag("path"), top);
    lab.virsh(&["blockcommit", &uuid, "vda", "--active", "--pivot", "--wait"]);
    let line = guest.changed("vda", "a pivot");
    assert_eq!(line.unwrap().tag("path"), first);
    if let Way::Execd(execd) = guest.way {
        execd.end();
    }
}

#[test]
fn another_disk_under_the_same_name_is_right_in_the_next_collection_of_execd() {
    let Some(lab) = Lab::require("replaced, execd") else { return };
    disks(&lab, true);
}

#[test]
fn another_disk_under_the_same_name_is_right_in_the_next_run_of_once() {
    let Some(lab) = Lab::require("replaced, once") else { return };
    disks(&lab, false);
}

/// Sends packets to a guest's tap until its counters show some. A paused guest takes only the first ones.
fn send(lab: &Lab, guest: &str, tap: &str) {
    wait_until("packets are counted", Duration::from_secs(20), || {
        lab.send(tap, 20, 100);
        let stats = lab.stats(guest);
        let devices = stats.devices("net");
        let (index, _) = devices.iter().find(|(_, name)| name == tap).unwrap();
        (stats.number(&format!("net.{index}.rx.bytes")) > 0).then_some(())
    });
}

#[test]
fn another_nic_under_the_same_name_and_a_filter_by_path_are_right_in_the_next_collection() {
    let Some(lab) = Lab::require("replaced, NIC and filter") else { return };
    lab.fleet(2, 1, 1);
    let uuid = lab.paused("changing", 1, 1);
    let nic = |mac: &str| {
        format!(
            "<interface type='ethernet'><mac address='{mac}'/><target dev='same0'/><model type='usb-net'/></interface>"
        )
    };
    let filter = "[devices]\nexclude_disks = [\"path=*secret*\"]\n";
    let mut guest = Guest::new(&lab, uuid.clone(), "nic", true, filter);
    guest.collect();
    plug(&lab, "attach-device", &uuid, &nic(MAC[0]), "net", "same0");
    send(&lab, &uuid, "same0");
    assert_eq!(guest.changed("same0", "a new NIC").unwrap().tag("mac"), MAC[0]);
    plug(&lab, "detach-device", &uuid, &nic(MAC[0]), "net", "same0");
    plug(&lab, "attach-device", &uuid, &nic(MAC[1]), "net", "same0");
    assert_eq!(guest.changed("same0", "another NIC").unwrap().tag("mac"), MAC[1]);

    for file in ["plain.raw", "secret.raw"] {
        lab.inside(&["truncate", "-s", "1M", &format!("{FOLDER}/{file}")]);
    }
    let (plain, secret) = (drive("disk", "plain.raw", ""), drive("disk", "secret.raw", ""));
    plug(&lab, "attach-device", &uuid, &plain, "block", "sda");
    assert!(guest.changed("sda", "a disk").is_some());
    swap(&lab, &uuid, &plain, &secret);
    assert_eq!(guest.changed("sda", "a disk that the filter leaves out"), None);
    swap(&lab, &uuid, &secret, &plain);
    assert!(guest.changed("sda", "one that it takes").is_some());
}

/// The NIC's and the guest's received bytes.
fn bytes(lines: &[Line], uuid: &str, nic: &str) -> [Option<i64>; 2] {
    let of = |line: Option<&Line>, field: &str| {
        line.filter(|line| line.find_field(field).is_some()).map(|line| line.int(field))
    };
    [
        of(find(lines, uuid, "vm_devices", Some(nic)), "rxbytes"),
        of(find(lines, uuid, "vm_totals", None), "net_rxbytes"),
    ]
}

/// A NIC whose counters are missing for some collections.
fn pausing(lab: &Lab, is_execd: bool) {
    lab.fleet(1, 1, 1);
    let uuid = lab.paused("pausing", 2, 1);
    let [nic, other] = [0, 1].map(|place| lab.stats(&uuid).devices("net")[place].1.clone());
    for nic in [&nic, &other] {
        send(lab, &uuid, nic);
    }
    let more = "features = [\"net\"]\n";
    let name = if is_execd { "pausing-execd" } else { "pausing-once" };
    let mut guest = Guest::new(lab, uuid.clone(), name, is_execd, more);
    guest.collect();
    let (before, _) = guest.collect();
    let [of_nic, of_guest] = bytes(&before, &uuid, &nic).map(Option::unwrap);
    assert!(of_nic > 0 && of_guest > of_nic, "{of_nic} {of_guest}");

    lab.inside(&["sh", "-euc", &format!("ip link set {nic} down; ip link set {nic} name away")]);
    for _ in 0..3 {
        let (lines, _) = guest.collect();
        assert_eq!(bytes(&lines, &uuid, &nic), [None, None], "not answered");
        assert!(bytes(&lines, &uuid, &other)[0].is_some());
        let totals = find(&lines, &uuid, "vm_totals", None).unwrap();
        assert!(totals.find_field("disk_rd_req").is_some(), "{totals:?}");
        let features = find(&lines, &uuid, "vm_features", None).unwrap();
        assert_eq!(features.find_field("net_rxbytes_rate"), None, "{features:?}");
    }
    lab.inside(&["sh", "-euc", &format!("ip link set away name {nic}; ip link set {nic} up")]);
    let (lines, _) = guest.collect();
    let [back, sum] = bytes(&lines, &uuid, &nic).map(Option::unwrap);
    assert!(back >= of_nic && back < of_nic + 10_000, "{of_nic} {back}");
    assert!(sum >= of_guest && sum < of_guest + 20_000, "{of_guest} {sum}");
    let features = find(&lines, &uuid, "vm_features", None).unwrap();
    assert_eq!(features.find_field("net_rxbytes_rate"), None, "no gain is known: {features:?}");
    let (lines, _) = guest.collect();
    let rate = find(&lines, &uuid, "vm_features", None).unwrap().float("net_rxbytes_rate");
    assert!((0.0..100_000.0).contains(&rate), "{rate}");
    if let Way::Execd(execd) = guest.way {
        let told = execd.end();
        let count = told.iter().filter(|it| it.starts_with("W! ")).count();
        assert_eq!(count, 1, "{told:#?}");
    }
}

#[test]
fn counters_that_are_missing_for_a_moment_are_left_out_with_their_sums() {
    let Some(lab) = Lab::require("pausing, execd") else { return };
    pausing(&lab, true);
}

#[test]
fn counters_that_are_missing_for_a_moment_are_left_out_by_once_too() {
    let Some(lab) = Lab::require("pausing, once") else { return };
    pausing(&lab, false);
}

/// NICs that nobody counts.
const UNCOUNTED: &str = "<interface type='server'><source address='127.0.0.1' port='5559'/><target dev='sv0'/></interface>\
    <interface type='mcast'><source address='230.0.0.1' port='5560'/><target dev='mc0'/></interface>\
    <interface type='udp'><source address='127.0.0.1' port='5561'><local address='127.0.0.1' port='5562'/></source>\
    <target dev='ud0'/></interface>\
    <interface type='user'><target dev='us0'/></interface>";

fn create(lab: &Lab, name: &str, devices: &str) -> String {
    let text = format!(
        "<domain type='qemu'><name>{name}</name><memory unit='MiB'>32</memory><vcpu>1</vcpu>\
         <os><type arch='x86_64' machine='pc'>hvm</type></os><devices>{devices}</devices></domain>"
    );
    let file = lab.scratch().join(format!("{name}.xml"));
    fs::write(&file, text).unwrap();
    lab.virsh(&["create", "--paused", file.to_str().unwrap()]);
    lab.virsh(&["domuuid", name]).trim().to_owned()
}

fn collect(lab: &Lab, cache: &Path, options: &[&str]) -> crate::support::process::Finished {
    let mut command = program(lab.scratch());
    command.args(["once", "--uri", &lab.uri(), "--cache-dir"]).arg(cache);
    crate::support::process::run(command.args(options)).success()
}

#[test]
fn nics_that_nobody_counts_are_no_fault_and_spoil_no_sum() {
    let Some(lab) = Lab::require("uncounted NICs") else { return };
    lab.inside(&["sh", "-euc", "ip link set lo multicast on; ip route add 224.0.0.0/4 dev lo"]);
    let alone = create(&lab, "odd", UNCOUNTED);
    let tap = "<interface type='ethernet'><target dev='real0'/></interface>";
    let beside = create(
        &lab,
        "beside",
        &format!(
            "{}{tap}",
            UNCOUNTED
                .replace("55", "56")
                .replace("'sv0'", "'sv1'")
                .replace("'mc0'", "'mc1'")
                .replace("'ud0'", "'ud1'")
                .replace("'us0'", "'us1'")
        ),
    );
    send(&lab, &beside, "real0");
    let cache = lab.scratch().join("cache");
    let omit = lab.scratch().join("omit.toml");
    fs::write(&omit, "missing = \"omit\"\n").unwrap();
    for round in 0..3 {
        let finished = collect(&lab, &cache, &[]);
        assert_eq!(finished.stderr, "", "{finished}");
        let lines = read(&finished.stdout);
        for nic in ["sv0", "mc0", "ud0", "us0"] {
            let line = find(&lines, &alone, "vm_devices", Some(nic));
            assert_eq!(line.unwrap().int("rxbytes"), 0, "{round} {nic}");
        }
        assert_eq!(find(&lines, &alone, "vm_totals", None).unwrap().int("net_rxbytes"), 0);
        let [tap, sum] = bytes(&lines, &beside, "real0");
        assert!(sum == tap && sum > Some(0), "{tap:?} {sum:?}");

        let finished = collect(&lab, &cache, &["--config", omit.to_str().unwrap()]);
        assert_eq!(finished.stderr, "", "{finished}");
        let lines = read(&finished.stdout);
        assert_eq!(find(&lines, &alone, "vm_devices", Some("sv0")), None);
        let totals = find(&lines, &alone, "vm_totals", None).unwrap();
        assert_eq!(totals.find_field("net_rxbytes"), None, "{totals:?}");
        let [tap, sum] = bytes(&lines, &beside, "real0");
        assert!(sum == tap && sum > Some(0), "{tap:?} {sum:?}");
    }
    let table = collect(&lab, &cache, &["--format", "table"]).stdout;
    let row = table.lines().find(|line| line.starts_with("odd ")).unwrap();
    assert!(!row.contains("0B"), "{table}");
    assert!(row.contains(" - "), "{table}");
}
