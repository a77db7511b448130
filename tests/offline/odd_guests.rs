//! Guests that differ from the usual in one thing, on recordings, each with what is right for it.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::dashboards;
use crate::support::lines::{Line, find, read};
use crate::support::pages;
use crate::support::recorded::{UUID, borrowed, disk, guest, once, record, record_with, replay};

const OMIT: &str = "missing = \"omit\"\n";

fn uint(number: u64) -> Value {
    json!({ "uint": number })
}

/// The number of a line, where it has the field.
fn number(line: &Line, field: &str) -> Option<i64> {
    line.find_field(field).map(|_| line.int(field))
}

fn totals(lines: &[Line]) -> &Line {
    find(lines, UUID, "vm_totals", None).unwrap()
}

/// As the balloon driver of an old Windows reports.
fn without_usable(place: u64) -> Value {
    let old = [("balloon.available", uint(94_780)), ("balloon.last-update", uint(1_700_000_000))];
    guest(place, &old, "")
}

#[test]
fn a_balloon_without_usable_has_no_used_memory() {
    for (settings, usable) in [("", Some(0)), (OMIT, None)] {
        let (lines, told) = once(&[without_usable(0)], settings);
        let totals = totals(&lines);
        assert_eq!(number(totals, "memavailable"), Some(94_780), "{settings}");
        assert_eq!(number(totals, "memusable"), usable, "{settings}");
        assert_eq!(told, "");
    }
    let scratch = TempDir::new().unwrap();
    let uri = record(scratch.path(), &[without_usable(0), without_usable(1)]);
    let table = replay(scratch.path(), &uri, &["once", "--format", "table"], "").success().stdout;
    let row = |start: &str| {
        let line = table.lines().find(|line| line.starts_with(start)).unwrap();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let (head, row) = (row("GUEST"), row("spdk"));
    for column in ["USED", "AVAIL"] {
        let place = head.iter().position(|it| it == column).unwrap();
        assert_eq!(row[place], "-", "{table}");
    }
}

/// Every text of a JSON document.
fn texts<'a>(json: &'a Value, found: &mut Vec<&'a str>) {
    match json {
        Value::String(text) => found.push(text),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(fields) => fields.values().for_each(|value| texts(value, found)),
        _ => {}
    }
}

#[test]
fn no_query_takes_a_guest_without_usable_for_one_that_uses_all_its_memory() {
    let mut queries: Vec<String> = ["influxql", "sql", "questdb", "clickhouse", "flux", "promql"]
        .into_iter()
        .flat_map(|language| pages::blocks("docs/databases.md", language))
        .collect();
    for board in ["influxql.json", "metricsql.json"] {
        let (json, mut found) = (dashboards::read(board), Vec::new());
        texts(&json, &mut found);
        queries.extend(found.into_iter().map(str::to_owned));
    }
    for rules in ["dashboards/rules/exporter-names.yml", "dashboards/rules/fleet.yml"] {
        queries.extend(pages::read(rules).lines().map(str::to_owned));
    }
    let template = pages::read("dashboards/influxdb-template.yml");
    queries.extend(template.split("- query:").map(str::to_owned));

    let is_of_used = |query: &&String| {
        let is_difference = query.replace("now() - ", "").contains(" - ");
        is_difference && query.contains("memavailable") && query.contains("memusable")
    };
    // Without quotes and a selector, the names of all languages are alike.
    let has_condition = |query: &str| {
        let plain = query.replace('"', "");
        plain.split("memusable").skip(1).any(|rest| {
            let rest =
                rest.strip_prefix('{').and_then(|it| it.split_once('}')).map_or(rest, |it| it.1);
            rest.starts_with(" > 0") || rest.starts_with(") > 0")
        })
    };
    let of_used: Vec<&String> = queries.iter().filter(is_of_used).collect();
    assert_eq!(of_used.len(), 10, "{of_used:#?}");
    for query in of_used {
        assert!(has_condition(query), "{query}");
    }
}

#[test]
fn a_guest_whose_only_disk_is_never_counted_is_complete() {
    let devices = "<disk type='vhostuser' device='disk'><source type='unix' path='/tmp/v.sock'/>\
        <target dev='vda' bus='virtio'/></disk>";
    let vhost = |place| guest(place, &borrowed(&disk(0, "vda", None)), devices);
    for (settings, printed) in [("", Some(0)), (OMIT, None)] {
        let settings = format!("extra = [\"answer\", \"collector\"]\n{settings}");
        let (lines, told) = once(&[vhost(0), vhost(1)], &settings);
        assert_eq!(told, "");
        assert_eq!(find(&lines, UUID, "vm_metrics", None).unwrap().text("answer"), "whole");
        let device = find(&lines, UUID, "vm_devices", Some("vda"));
        assert_eq!(device.map(|line| line.int("rd_bytes")), printed, "{settings}");
        assert_eq!(number(totals(&lines), "disk_rd_bytes"), printed, "{settings}");
        let collector = lines.iter().find(|line| line.measurement == "vm_collector").unwrap();
        assert_eq!(["hung", "busy", "domains"].map(|field| collector.int(field)), [0, 0, 1]);
    }
}

#[test]
fn sockets_nvme_and_network_disks_have_their_source_as_path_and_are_filtered_by_it() {
    let kinds = [
        ("vhostuser", "<source type='unix' path='/run/spdk.sock'/>", "/run/spdk.sock"),
        (
            "nvme",
            "<source type='pci' managed='yes' namespace='1'><address domain='0x0000' bus='0x01' \
             slot='0x00' function='0x0'/></source>",
            "nvme://0000:01:00.0/1",
        ),
        (
            "network",
            "<source protocol='nbd' name='x'><host transport='unix' socket='/run/nbd.sock'/></source>",
            "nbd+unix:///x?socket=/run/nbd.sock",
        ),
        (
            "network",
            "<source protocol='rbd' name='pool/image'><host name='mon1' port='6789'/></source>",
            "rbd://mon1:6789/pool/image",
        ),
        ("file", "<source file='/images/a.qcow2'/>", "/images/a.qcow2"),
    ];
    let (mut statistics, mut devices) = (Vec::new(), String::new());
    for (index, target, (kind, source, path)) in (0..)
        .zip('a'..)
        .zip(kinds)
        .map(|((index, letter), kind)| (index, format!("vd{letter}"), kind))
    {
        statistics.extend(disk(index, &target, Some(5)));
        // libvirt sends the path of local sources only.
        if kind == "file" {
            statistics.push((format!("block.{index}.path"), json!({ "text": path })));
        }
        devices += &format!(
            "<disk type='{kind}' device='disk'>{source}<target dev='{target}' bus='virtio'/></disk>"
        );
    }
    let guest = guest(0, &borrowed(&statistics), &devices);
    let printed = |settings: &str| {
        let settings = format!("device_tags = [\"path\", \"type\"]\n{settings}");
        let (lines, told) = once(std::slice::from_ref(&guest), &settings);
        assert_eq!(told, "");
        let tags = |line: &Line| (line.tag("type").to_owned(), line.tag("path").to_owned());
        let disks = lines.iter().filter(|line| line.measurement == "vm_devices");
        disks.map(tags).collect::<Vec<_>>()
    };
    let all = kinds.map(|(kind, _, path)| (kind.to_owned(), path.to_owned()));
    assert_eq!(printed(""), all);
    assert_eq!(printed("[devices]\ninclude_disks = [\"path=nbd*\"]\n"), all[2..3]);
    assert_eq!(
        printed("[devices]\nexclude_disks = [\"type=network\", \"path=/run/*\"]\n"),
        [all[1].clone(), all[4].clone()]
    );
}

#[test]
fn another_image_under_the_same_name_has_its_own_path_at_once() {
    let with = |place, path: &str| {
        let mut statistics = disk(0, "vda", Some(100 + place));
        statistics.push(("block.0.path".to_owned(), json!({ "text": path })));
        let devices = format!(
            "<disk type='file' device='disk'><source file='{path}'/><target dev='vda' bus='virtio'/></disk>"
        );
        guest(place, &borrowed(&statistics), &devices)
    };
    let moments = [with(0, "/images/a"), with(1, "/images/a"), with(2, "/images/snapshot")];
    for (count, path) in [(2, "/images/a"), (3, "/images/snapshot")] {
        let (lines, _) = once(&moments[..count], "device_tags = [\"path\"]\n");
        let line = find(&lines, UUID, "vm_devices", Some("vda")).unwrap();
        assert_eq!(line.tag("path"), path);
        assert_eq!(line.int("rd_bytes"), 99 + i64::try_from(count).unwrap());
    }
}

/// A container: nothing comes in bulk, and its file systems are no disks.
fn container() -> Value {
    let xml = format!(
        "<domain type='lxc' id='1'><name>spdk</name><uuid>{UUID}</uuid><memory unit='KiB'>65536</memory>\
         <devices><filesystem type='mount'><source dir='/srv/box'/><target dir='/'/></filesystem>\
         <interface type='bridge'><source bridge='br0'/><target dev='vnet0'/></interface></devices></domain>"
    );
    let info = json!({ "state": 1, "maximum_kib": 65_536, "current_kib": 1_200, "vcpus": 1,
                       "cpu_time_ns": 5_000_000_000_u64 });
    let memory = json!([{ "actual_balloon": 65_536 }, { "rss": 1_200 }, { "swap_in": 1_300 }]);
    let cpu = json!({ "time_ns": 5_000_000_001_u64, "user_ns": 2_000_000_000_u64, "system_ns": 3_000_000_000_u64 });
    let nic = json!({ "rx_bytes": 7, "rx_packets": 1, "rx_errors": 0, "rx_drops": 0,
                      "tx_bytes": 8, "tx_packets": 1, "tx_errors": 0, "tx_drops": 0 });
    let mut guest = guest(0, &[], "");
    guest["statistics"] = json!({ "ok": [] });
    guest["devices"] = json!({ "vnet0": { "nic_counters": { "ok": nic } } });
    guest["calls"] = json!({
        "xml": { "ok": xml },
        "control": { "error": { "kind": "unsupported", "message": "no such call" } }, "info": { "ok": info }, "memory_statistics": { "ok": memory },
        "cpu_times": { "ok": cpu }, "state": { "ok": { "state": 1, "reason": 1 } },
    });
    guest
}

#[test]
fn a_container_has_what_lxc_counts_and_with_omit_nothing_else() {
    let scratch = TempDir::new().unwrap();
    let uri = record_with(scratch.path(), &[], &[container()]);
    for (settings, zero) in [("", Some(0)), (OMIT, None)] {
        let lines = read(&replay(scratch.path(), &uri, &["once"], settings).success().stdout);
        let metrics = find(&lines, UUID, "vm_metrics", None).unwrap();
        assert_eq!(metrics.text("state"), "running");
        for (field, expected) in
            [("cpu_count", 1), ("memory_max_kb", 65_536), ("memory_used_kb", 65_536)]
        {
            assert_eq!(metrics.int(field), expected, "{field}");
        }
        let totals = totals(&lines);
        for (field, expected) in [
            ("memactual", Some(65_536)),
            ("memrss", Some(1_200)),
            ("cputime", Some(5_000_000_001)),
            ("timeusr", Some(2_000_000_000)),
            ("net_rxbytes", Some(7)),
            // LXC calls the memory and the swap that are in use so, and counts no swapping.
            ("memswap_in", zero),
            ("memswap_out", zero),
            ("memusable", zero),
            ("disk_rd_req", zero),
            ("disk_wr_bytes", zero),
            ("disk_errors", zero),
        ] {
            assert_eq!(number(totals, field), expected, "{field} {settings}");
        }
    }
}

#[test]
fn a_guest_without_disks_has_sums_of_0_where_libvirt_counts_disks() {
    for settings in ["", OMIT] {
        let (lines, _) = once(&[guest(0, &[("block.count", uint(0))], "")], settings);
        assert_eq!(number(totals(&lines), "disk_rd_bytes"), Some(0), "{settings}");
    }
}

#[test]
fn cpu_time_that_bulk_statistics_lack_is_that_of_the_guests_information() {
    // libvirt 7.0 has no cpu.* where guests have no control groups.
    let none = [("cpu.time", Value::Null), ("cpu.user", Value::Null), ("cpu.system", Value::Null)];
    let mut guest = guest(0, &none, "");
    guest["calls"]["info"] = json!({ "ok": { "state": 1, "maximum_kib": 1, "current_kib": 1, "vcpus": 1,
                                             "cpu_time_ns": 6_500_000_000_u64 } });
    for (settings, zero) in [("", Some(0)), (OMIT, None)] {
        let (lines, told) = once(std::slice::from_ref(&guest), settings);
        assert_eq!(told, "");
        let metrics = find(&lines, UUID, "vm_metrics", None).unwrap();
        assert_eq!(metrics.int("cputime_ns"), 6_500_000_000);
        assert_eq!(number(totals(&lines), "cputime"), Some(6_500_000_000));
        assert_eq!(number(totals(&lines), "timeusr"), zero, "{settings}");
    }
}
