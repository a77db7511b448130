//! Filters and tags out of metadata, on real QEMU guests: what is printed, and above all what is not
//! asked, by libvirt's own logs.

use crate::support::calls::{Calls, Monitors};
use crate::support::execd::Execd;
use crate::support::lab::Lab;
use crate::support::lines::{Line, find, of_guest, read};
use crate::support::process::{Finished, run};
use crate::support::program::{program, readings};
use crate::support::{say, wait_until};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const NOVA: &str = "http://openstack.org/xmlns/libvirt/nova/1.1";

/// A command on the lab with this configuration.
fn configured(lab: &Lab, cache: &str, configuration: &str) -> Command {
    let file = lab.scratch().join("filters.toml");
    fs::write(&file, configuration).unwrap();
    let mut command = program(lab.scratch());
    command.arg("--config").arg(file).args(["--uri", &lab.uri(), "--cache-dir"]);
    command.arg(lab.scratch().join(cache));
    command
}

/// One `once`, and the calls that it made.
fn once(lab: &Lab, cache: &str, configuration: &str) -> (Finished, Calls) {
    let mut command = configured(lab, cache, configuration);
    let calls = Calls::of(&mut command, lab.scratch());
    command.args(["once", "--log-level", "debug"]);
    (run(&mut command).success(), calls)
}

fn guests(lines: &[Line]) -> Vec<String> {
    let metrics = lines.iter().filter(|line| line.measurement == "vm_metrics");
    metrics.map(|line| line.tag("name").to_owned()).collect()
}

/// Writes metadata into a running guest, as a cloud does.
fn set_metadata(lab: &Lab, guest: &str, inside: &str) {
    let xml = format!("<instance>{inside}</instance>");
    lab.virsh(&["metadata", guest, NOVA, "--key", "nova", "--live", "--set", &xml]);
}

fn flavor_and_project(flavor: &str, project: &str) -> String {
    format!(
        "<flavor name='{flavor}'/><owner><user uuid='u-1'>admin</user>\
         <project uuid='p-{project}'>{project}</project></owner>"
    )
}

/// Four guests: web-01 and web-02 paused, db-01 and db-02 running; all but db-02 with metadata.
fn four_guests(lab: &Lab) -> [String; 4] {
    let [web_1, web_2, db_1, db_2] =
        ["web-01", "web-02", "db-01", "db-02"].map(|name| lab.paused(name, 1, 1));
    set_metadata(lab, &web_1, &flavor_and_project("m1.small", "shop"));
    set_metadata(lab, &web_2, &flavor_and_project("r1", "shop"));
    set_metadata(lab, &db_1, &flavor_and_project("m1.large", "test"));
    for uuid in [&db_1, &db_2] {
        lab.virsh(&["resume", uuid]);
    }
    [web_1, web_2, db_1, db_2]
}

#[test]
fn a_guest_that_is_filtered_is_not_asked_for_anything() {
    let Some(lab) = Lab::require("filters, guests") else { return };
    let [web_1, _, db_1, _] = four_guests(&lab);
    let mut monitors = Monitors::watch(&lab);
    let uuid_start = format!("{}*", &db_1[..13]).to_uppercase();
    // The filter; who is read; whose state and whose XML is asked for.
    let all = "db-01 db-02 web-01 web-02";
    let cases = [
        ("include = ['web-*']", "web-01 web-02", "", "web-01 web-02"),
        ("exclude = ['/-01$/', 'db-0[!1]']", "web-02", "", "web-02"),
        (
            &format!("include_uuids = ['{web_1}', '{uuid_start}']"),
            "db-01 web-01",
            "",
            "db-01 web-01",
        ),
        ("include_states = ['running']", "db-01 db-02", all, "db-01 db-02"),
        ("exclude_states = ['running']\nexclude = ['*-02']", "web-01", "db-01 web-01", "web-01"),
        ("include_metadata = ['//nova:flavor/@name=m1.*']", "db-01 web-01", "", all),
        (
            "exclude_metadata = ['//nova:project=/^(shop|none)$/']\ninclude = ['*-01']",
            "db-01",
            "",
            "db-01 web-01",
        ),
    ];
    for (number, (filter, read_guests, states, xml)) in cases.into_iter().enumerate() {
        monitors.asked();
        let cache = format!("cache-{number}");
        let configuration = format!("[domains]\n{filter}\n");
        let (first, calls) = once(&lab, &cache, &configuration);
        let lines = read(&first.stdout);
        assert_eq!(guests(&lines).join(" "), read_guests, "{filter}\n{first}");
        assert_eq!(calls.guests("virDomainGetState").join(" "), states, "{filter}");
        assert_eq!(calls.guests("virDomainGetXMLDesc").join(" "), xml, "{filter}");
        // Statistics of others would have gone into their monitors.
        let asked: Vec<String> = monitors.asked().into_keys().collect();
        assert_eq!(asked.join(" "), read_guests, "{filter}");
        assert_eq!(first.stderr.matches("\nW! ").count(), 0, "{first}");

        // What was found in the metadata lies in the cache, of those that are not read, too.
        let (second, calls) = once(&lab, &cache, &configuration);
        assert_eq!(guests(&read(&second.stdout)).join(" "), read_guests, "{filter}\n{second}");
        assert_eq!(calls.guests("virDomainGetXMLDesc"), Vec::<String>::new(), "{filter}");
        let asked: Vec<String> = monitors.asked().into_keys().collect();
        assert_eq!(asked.join(" "), read_guests, "{filter}");
    }
    // Without a filter nobody is asked for a state, so these calls are the filters' own.
    let (plain, calls) = once(&lab, "cache-plain", "");
    assert_eq!(guests(&read(&plain.stdout)).join(" "), all);
    assert_eq!(calls.guests("virDomainGetState"), Vec::<String>::new());
    assert_eq!(monitors.asked().len(), 4);
    let cached = devices_in(&lab.scratch().join("cache-plain"));
    assert!(cached.contains("web-01") && !cached.contains("metadata"), "{cached}");
    say("filters: 7 filters, each asked of nobody else, by libvirtd's log of its monitors");
}

/// What the cache has of devices, without the other lines of its file.
fn devices_in(cache: &Path) -> String {
    let files = fs::read_dir(cache).unwrap().map(|entry| entry.unwrap().path());
    let is_state = |path: &Path| path.file_name().unwrap().to_str().unwrap().starts_with("state-");
    let texts = files.filter(|path| is_state(path)).map(|path| fs::read_to_string(path).unwrap());
    let texts: String = texts.collect();
    texts.lines().filter(|line| line.starts_with("{\"devices\"")).collect()
}

#[test]
fn a_guest_that_hangs_and_is_filtered_is_never_noticed() {
    let Some(lab) = Lab::require("filters, hung") else { return };
    let [_, web_2, ..] = four_guests(&lab);
    let control = || lab.virsh(&["domcontrol", &web_2]);
    lab.signal_qemu("-STOP", &web_2);
    for filter in ["exclude = ['web-02']", "exclude_metadata = ['//nova:flavor/@name=r1']"] {
        let (finished, _) = once(&lab, "cache", &format!("[domains]\n{filter}\n"));
        assert_eq!(guests(&read(&finished.stdout)), ["db-01", "db-02", "web-01"], "{finished}");
        assert!(!finished.stderr.contains("is not responding"), "{finished}");
        assert!(control().starts_with("ok"), "a call is in it: {}", control());
    }
    // The same guest, not filtered: so it would have been noticed.
    let (finished, _) = once(&lab, "cache", "");
    assert!(finished.stderr.contains("guest \"web-02\""), "{finished}");
    assert!(finished.stderr.contains("is not responding"), "{finished}");
    assert!(control().starts_with("occupied"), "{}", control());
    lab.signal_qemu("-CONT", &web_2);
}

#[test]
fn execd_follows_states_and_metadata_and_asks_no_more_xml_than_it_must() {
    let Some(lab) = Lab::require("filters, execd") else { return };
    let [web_1, ..] = four_guests(&lab);
    let configuration = "[domains]\ninclude_states = ['paused']\n\
                         include_metadata = ['//nova:project=shop', '//nova:none=x']\n";
    let mut command = configured(&lab, "cache", configuration);
    let calls = Calls::of(&mut command, lab.scratch());
    let mut execd = Execd::of(&mut command);
    assert_eq!(guests(&execd.collect().lines), ["web-01", "web-02"]);
    let xml = || calls.guests("virDomainGetXMLDesc").join(" ");
    assert_eq!(xml(), "web-01 web-02");
    lab.virsh(&["resume", &web_1]);
    assert_eq!(guests(&execd.collect().lines), ["web-02"]);
    // Paused now, and of another project: its XML is read once, and not again.
    lab.virsh(&["suspend", "db-01"]);
    lab.virsh(&["suspend", &web_1]);
    for _ in 0..3 {
        assert_eq!(guests(&execd.collect().lines), ["web-01", "web-02"]);
    }
    assert_eq!(xml(), "db-01 web-01 web-02");
    assert_eq!(execd.news(), ["I! ready: triggers count from here on"]);
}

/// The lines of one guest, which all have the same tags of the user's, last and sorted.
fn user_tags(lines: &[Line], uuid: &str, count: usize) -> Vec<(String, String)> {
    let lines = of_guest(lines, uuid);
    let last = |line: &Line| line.tags[line.tags.len() - count..].to_vec();
    let tags = last(lines[0]);
    assert!(lines.len() >= 3 && lines.iter().all(|line| last(line) == tags), "{lines:#?}");
    assert!(tags.is_sorted(), "{tags:?}");
    tags
}

#[test]
fn the_tags_of_openstack_nova_come_out_of_its_metadata_whatever_characters_they_have() {
    let Some(lab) = Lab::require("filters, Nova") else { return };
    // As Nova writes it, in a whole domain of its own; nova:name is the user's to choose.
    let nova = format!(
        r#"<domain type='qemu'><name>instance-0000002a</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>
<metadata>
  <nova:instance xmlns:nova="{NOVA}">
    <nova:package version="27.1.0"/>
    <nova:name>a,b=c d\ "é" &lt;&amp;&gt;&#10;vm_metrics,x=y z=1i 1 \\</nova:name>
    <nova:creationTime>2026-11-24 12:00:00</nova:creationTime>
    <nova:flavor name="m1.small">
      <nova:memory>2048</nova:memory><nova:disk>20</nova:disk><nova:swap>0</nova:swap>
      <nova:ephemeral>0</nova:ephemeral><nova:vcpus>1</nova:vcpus>
    </nova:flavor>
    <nova:owner>
      <nova:user uuid="c5a1ba84-c9e7-4f80-a4e0-2f1fc3fa9a3e">admin</nova:user>
      <nova:project uuid="0f3f4d06-9d28-4b49-8d2b-4f8ed6c84b1f">demo</nova:project>
    </nova:owner>
    <nova:root type="image" uuid="21b421e5-44d4-4903-9db0-4f134fdd0793"/>
  </nova:instance>
</metadata>
<os><type arch='x86_64' machine='pc'>hvm</type></os>
<devices><interface type='ethernet'><model type='virtio'/></interface></devices></domain>"#
    );
    let file = lab.scratch().join("nova.xml");
    fs::write(&file, nova).unwrap();
    lab.virsh(&["create", "--paused", file.to_str().unwrap()]);
    let uuid = lab.virsh(&["domuuid", "instance-0000002a"]).trim().to_owned();
    let other = lab.paused("no-cloud", 1, 1);
    let mut both = [uuid.clone(), other.clone()];
    both.sort();

    let sample = "[tags]\ndc = 'fra1'\nzone = 'z'\n[metadata_tags]\n\
                  flavor = '//nova:flavor/@name'\nproject = '//nova:project/@uuid'\n\
                  user = '//nova:user'\n";
    let tag = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let expected = [
        tag("dc", "fra1"),
        tag("flavor", "m1.small"),
        tag("project", "0f3f4d06-9d28-4b49-8d2b-4f8ed6c84b1f"),
        tag("user", "admin"),
        tag("zone", "z"),
    ];
    let (first, _) = once(&lab, "cache", sample);
    assert_eq!(readings(&first.stderr), both);
    for run in [first, once(&lab, "cache", sample).0] {
        let lines = read(&run.stdout);
        assert_eq!(user_tags(&lines, &uuid, 5), expected, "{run}");
        assert_eq!(user_tags(&lines, &other, 2), [tag("dc", "fra1"), tag("zone", "z")], "{run}");
        assert!(of_guest(&lines, &other).iter().all(|line| line.find_tag("user").is_none()));
    }
    assert_eq!(readings(&once(&lab, "cache", sample).0.stderr), Vec::<String>::new());

    // Another path: the cached list was made for others, and is read again, once.
    let name = format!("{sample}vm_name = 'nova:instance/nova:name'\n");
    let (renewed, _) = once(&lab, "cache", &name);
    assert_eq!(readings(&renewed.stderr), both);
    let lines = read(&renewed.stdout);
    let written = "a,b=c d/ \"é\" <&> vm_metrics,x=y z=1i 1 //";
    for line in of_guest(&lines, &uuid) {
        assert_eq!(line.tag("vm_name"), written, "{line:?}");
    }
    assert_eq!(readings(&once(&lab, "cache", &name).0.stderr), Vec::<String>::new());

    // A change shows when the time to live is over.
    set_metadata(&lab, &uuid, &flavor_and_project("m1.large", "shop"));
    let flavor = |configuration: &str| {
        let lines = read(&once(&lab, "cache", configuration).0.stdout);
        find(&lines, &uuid, "vm_totals", None).unwrap().tag("flavor").to_owned()
    };
    assert_eq!(flavor(sample), "m1.small");
    assert_eq!(flavor(&format!("{sample}[cache]\nttl = '0s'\n")), "m1.large");
}

#[test]
fn devices_that_are_filtered_have_no_lines_and_no_part_in_sums_and_rates() {
    let Some(lab) = Lab::require("filters, devices") else { return };
    let uuid = lab.paused("devices", 3, 3);
    let stats = || lab.stats(&uuid);
    let taps: Vec<String> = stats().devices("net").into_iter().map(|(_, name)| name).collect();
    let mac = lab.virsh(&["domiflist", &uuid]);
    let mac = mac.lines().find(|line| line.contains(&taps[1])).unwrap();
    let mac = mac.split_whitespace().last().unwrap().to_uppercase();
    // Figures that tell them apart.
    lab.virsh(&["resume", &uuid]);
    wait_until("the firmware reads the disk", Duration::from_secs(120), || {
        (stats().number("block.0.rd.reqs") > 0).then_some(())
    });
    lab.virsh(&["suspend", &uuid]);
    for (place, tap) in taps.iter().enumerate() {
        lab.send(tap, 1, 100 + 100 * u32::try_from(place).unwrap());
    }
    let [nic_0, nic_1, nic_2] = [&taps[0], &taps[1], &taps[2]].map(String::as_str);
    let cases = [
        (format!("exclude_nics = ['{nic_1}']"), vec![nic_0, nic_2, "vda", "vdb", "vdc"]),
        (format!("include_nics = ['mac={mac}']"), vec![nic_1, "vda", "vdb", "vdc"]),
        ("exclude_nics = ['type=ethernet']".to_owned(), vec!["vda", "vdb", "vdc"]),
        ("include_disks = ['vd[bc]']".to_owned(), vec![nic_0, nic_1, nic_2, "vdb", "vdc"]),
        ("exclude_disks = ['path=*/a.raw']".to_owned(), vec![nic_0, nic_1, nic_2, "vdb", "vdc"]),
        ("exclude_disks = ['*']\nexclude_nics = ['/./']".to_owned(), vec![]),
        ("exclude_disks = ['bus=usb']".to_owned(), vec![nic_0, nic_1, nic_2, "vda", "vdb", "vdc"]),
    ];
    for (number, (filter, devices)) in cases.iter().enumerate() {
        let configuration = format!(
            "features = ['net', 'disk']\nextra = ['disk-times', 'disk-space']\n[devices]\n{filter}\n"
        );
        let cache = format!("cache-{number}");
        once(&lab, &cache, &configuration);
        let (finished, _) = once(&lab, &cache, &configuration);
        let lines = read(&finished.stdout);
        let printed: Vec<&str> = lines.iter().filter_map(|line| line.find_tag("device")).collect();
        assert_eq!(printed, *devices, "{filter}\n{finished}");
        let totals = find(&lines, &uuid, "vm_totals", None).unwrap();
        let stats = stats();
        let sum = |group: &str, key: &str| -> i64 {
            let of_group = stats.devices(group);
            let kept = of_group.iter().filter(|(_, name)| devices.contains(&name.as_str()));
            kept.map(|(index, _)| stats.number(&format!("{group}.{index}.{key}"))).sum()
        };
        assert_eq!(totals.int("net_rxbytes"), sum("net", "rx.bytes"), "{filter}");
        assert_eq!(totals.int("net_rxpackets"), sum("net", "rx.pkts"), "{filter}");
        assert_eq!(totals.int("disk_rd_req"), sum("block", "rd.reqs"), "{filter}");
        assert_eq!(totals.int("disk_rd_bytes"), sum("block", "rd.bytes"), "{filter}");
        assert_eq!(finished.stderr.matches("\nW! ").count(), 0, "{finished}");
        // Rates are of the devices that are there: none where none is.
        let features = find(&lines, &uuid, "vm_features", None).unwrap();
        let has = |kind: &str| features.find_field(kind).is_some();
        assert_eq!(has("net_rxbytes_rate"), devices.iter().any(|name| name.starts_with("vnet")));
        assert_eq!(has("disk_rd_bytes_rate"), devices.iter().any(|name| name.starts_with("vd")));
    }
    // What only a filtered NIC receives is no rate of the guest's.
    let fresh = lab.paused("fresh", 2, 0);
    let tap = &lab.stats(&fresh).devices("net")[1].1;
    let all = "features = ['net']\n".to_owned();
    let filtered = format!("{all}[devices]\nexclude_nics = ['{tap}']\n");
    let rates = [all, filtered].map(|configuration| {
        let mut execd = Execd::of(&mut configured(&lab, "cache-rates", &configuration));
        execd.collect();
        execd
    });
    lab.send(tap, 1, 500);
    wait_until("a packet arrives", Duration::from_secs(60), || {
        (lab.stats(&fresh).number("net.1.rx.pkts") > 0).then_some(())
    });
    let [all, filtered] = rates.map(|mut execd| {
        let lines = execd.collect().lines;
        find(&lines, &fresh, "vm_features", None).unwrap().float("net_rxpackets_rate")
    });
    assert!(all > 0.0 && filtered == 0.0, "{all} {filtered}");
}
