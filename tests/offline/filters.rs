//! Filters and tags out of metadata on libvirt's test driver: guests in every state, guests that are
//! off, and a hypervisor without bulk statistics, where each device would be a call.

use crate::support::calls::Calls;
use crate::support::expect::STATES;
use crate::support::lines::{Line, read};
use crate::support::process::run;
use crate::support::program::program;
use crate::support::repository;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// virDomainState of each guest, and its word: the test driver has none in "no state".
fn all_states() -> impl Iterator<Item = (usize, &'static str)> {
    STATES.into_iter().enumerate().skip(1)
}

/// A host with a guest in each state, each with a NIC and two disks and its state in its metadata.
fn host(scratch: &Path) {
    let guest = |(state, word): (usize, &str)| {
        format!(
            "<domain type='test' xmlns:test='http://libvirt.org/schemas/domain/test/1.0'>\
             <name>{word}</name><uuid>00000000-0000-4000-8000-00000000000{state}</uuid>\
             <metadata><c:cloud xmlns:c='urn:cloud'><c:owner id='o,{state}'> team {word} </c:owner>\
             </c:cloud></metadata><memory>1024</memory><vcpu>1</vcpu><os><type>hvm</type></os>\
             <devices><interface type='bridge'><source bridge='br0'/></interface>\
             <disk type='file'><source file='/d'/><target dev='vda' bus='virtio'/></disk>\
             <disk type='file'><source file='/d'/><target dev='sda' bus='scsi'/></disk></devices>\
             <test:runstate>{state}</test:runstate></domain>"
        )
    };
    let guests: String = all_states().map(guest).collect();
    fs::write(scratch.join("node.xml"), format!("<node>{guests}</node>")).unwrap();
}

/// One `once` with this configuration, and its calls.
fn once(scratch: &Path, configuration: &str) -> (Vec<Line>, Calls) {
    fs::write(scratch.join("filters.toml"), configuration).unwrap();
    let mut command = program(scratch);
    let calls = Calls::of(&mut command, scratch);
    command.arg("once").arg("--config").arg(scratch.join("filters.toml")).arg("--cache-dir");
    command.arg(scratch.join("cache")).arg("--uri");
    command.arg(format!("test://{}", scratch.join("node.xml").display()));
    let finished = run(&mut command).success();
    assert_eq!(finished.stderr, "", "{finished}");
    (read(&finished.stdout), calls)
}

fn states(lines: &[Line]) -> Vec<&str> {
    let metrics = lines.iter().filter(|line| line.measurement == "vm_metrics");
    metrics.map(|line| line.text("state")).collect()
}

#[test]
fn each_state_is_filtered_by_its_word() {
    let scratch = TempDir::new().unwrap();
    host(scratch.path());
    let (all, calls) = once(scratch.path(), "[domains]\ninactive = true\n");
    let mut sorted: Vec<&str> = all_states().map(|(_, word)| word).collect();
    sorted.sort_unstable();
    assert_eq!(states(&all), sorted);
    assert_eq!(calls.guests("virDomainGetState"), Vec::<String>::new());
    for (_, word) in all_states() {
        let filtered = |list: &str| {
            once(scratch.path(), &format!("[domains]\ninactive = true\n{list} = ['{word}']\n"))
        };
        let (included, calls) = filtered("include_states");
        assert_eq!(states(&included), [word]);
        assert_eq!(calls.guests("virDomainGetState"), sorted);
        // Of the others nothing is asked, whatever there is to ask of each.
        for call in ["Info", "CPUStats", "XMLDesc"] {
            let asked = calls.guests(&format!("virDomainGet{call}"));
            assert!(asked.iter().all(|name| name == word), "{call} of {asked:?}");
        }
        let (excluded, _) = filtered("exclude_states");
        let others: Vec<&str> = sorted.iter().copied().filter(|other| *other != word).collect();
        assert_eq!(states(&excluded), others);
    }
    // Without `inactive` those that are off are not even listed.
    let (running, calls) = once(scratch.path(), "[domains]\nexclude_states = ['paused']\n");
    assert_eq!(states(&running), ["blocked", "crashed", "running", "shutdown", "suspended"]);
    assert!(!calls.guests("virDomainGetState").contains(&"shutoff".to_owned()));
}

#[test]
fn guests_that_are_off_have_the_tags_of_their_metadata_and_are_filtered_by_it() {
    let scratch = TempDir::new().unwrap();
    host(scratch.path());
    let tags = "[metadata_tags]\nowner = '//c:owner'\nid = 'c:cloud/c:owner/@id'\n";
    let inactive = format!("[domains]\ninactive = true\n{tags}");
    for run in 0..2 {
        let (lines, calls) = once(scratch.path(), &inactive);
        assert_eq!(states(&lines).len(), 7);
        for line in &lines {
            let number = &line.tag("uuid")[35..];
            assert_eq!(line.tag("owner"), format!("team {}", line.tag("name")), "{line:?}");
            assert_eq!(line.tag("id"), format!("o,{number}"), "{line:?}");
        }
        let off = lines.iter().filter(|line| line.tag("VMID") == "-1");
        assert_eq!(off.map(|line| line.tag("name")).collect::<Vec<_>>(), ["shutoff", "shutoff"]);
        // The list of a running guest is read each time, where nothing in bulk tells of a new device.
        let asked = calls.guests("virDomainGetXMLDesc");
        assert_eq!(asked.contains(&"shutoff".to_owned()), run == 0, "{asked:?}");
    }
    let filter = "[domains]\ninactive = true\ninclude_metadata = ['//c:owner/@id=/^o,[35]$/']\n";
    for _ in 0..2 {
        let (lines, calls) = once(scratch.path(), filter);
        assert_eq!(states(&lines), ["paused", "shutoff"]);
        // Nothing is asked of a guest that is off but what is printed of it.
        assert_eq!(calls.guests("virDomainGetCPUStats"), ["paused"]);
        assert_eq!(calls.guests("virDomainGetInfo"), ["paused", "shutoff"]);
    }
}

#[test]
fn a_recording_is_filtered_like_the_host_that_it_is_of() {
    let scratch = TempDir::new().unwrap();
    let recording = repository().join("fixtures/hosts/debian12-qemu.jsonl");
    let read_with = |configuration: &str| {
        let file = scratch.path().join("filters.toml");
        fs::write(&file, configuration).unwrap();
        let mut command = program(scratch.path());
        command.args(["once", "--no-cache", "--uri", &format!("replay:{}", recording.display())]);
        let lines = read(&run(command.arg("--config").arg(file)).success().stdout);
        let devices = lines.iter().filter_map(|line| line.find_tag("device"));
        let devices = devices.map(str::to_owned).collect::<Vec<_>>().join(" ");
        (states(&lines).join(" "), devices)
    };
    let both = |states: &str, devices: &str| (states.to_owned(), devices.to_owned());
    assert_eq!(read_with(""), both("running paused", "vnet0 vda vnet1 vnet2 vda vdb vdc"));
    assert_eq!(
        read_with("[domains]\ninclude_states = ['paused']\n"),
        both("paused", "vnet1 vnet2 vda vdb vdc")
    );
    let filter = "[domains]\nexclude_states = ['paused']\n[devices]\nexclude_nics = ['*']\n";
    assert_eq!(read_with(filter), both("running", "vda"));
    assert_eq!(read_with("[domains]\ninclude_metadata = ['//a=*']\n"), both("", ""));
}

#[test]
fn a_device_that_is_filtered_is_not_asked_for_where_each_is_a_call() {
    let scratch = TempDir::new().unwrap();
    host(scratch.path());
    let filter = "[domains]\ninclude = ['running']\n[devices]\nexclude_disks = ['bus=scsi']\n\
                  exclude_nics = ['*']\n";
    let (lines, calls) = once(scratch.path(), filter);
    let devices: Vec<&str> = lines.iter().filter_map(|line| line.find_tag("device")).collect();
    assert_eq!(devices, ["vda"]);
    assert_eq!(calls.arguments("virDomainBlockStats", "disk"), ["vda"]);
    assert_eq!(calls.guests("virDomainInterfaceStats"), Vec::<String>::new());
    let (_, calls) = once(scratch.path(), "[domains]\ninclude = ['running']\n");
    assert_eq!(calls.arguments("virDomainBlockStats", "disk"), ["sda", "vda"]);
    assert_eq!(calls.guests("virDomainInterfaceStats"), ["running"]);
}
