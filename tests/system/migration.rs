//! Other tools on the same real guest: each name that they print must be in the tables of docs/migrating.md, and each
//! value of ours must follow from theirs as the table says. The tools run as their users run them, with
//! all that they can tell turned on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::lab::Lab;
use crate::support::lines::{self, Value};
use crate::support::migration::{self, How, Pair};
use crate::support::process::run;
use crate::support::program::{program, without_settings};
use crate::support::servers::{Server, require_program};
use crate::support::{app, say, wait_until};

/// One value that was read: a name, which device or vCPU it is of, and the number where it is one.
#[derive(Clone, Debug)]
struct Reading {
    name: String,
    of: String,
    value: Option<f64>,
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(value) => Some(*value as f64),
        Value::Float(value) => Some(*value),
        Value::Text(_) | Value::Bool(_) => None,
    }
}

/// Ours, of the one guest, with everything that can be asked for: values by name and device.
fn ours(lab: &Lab) -> BTreeMap<(String, String), f64> {
    let names = telegraf_virt::config::extra::Extra::ALL.map(|it| it.name());
    let file = lab.scratch().join("ours.toml");
    fs::write(
        &file,
        format!("extra = {names:?}\nmissing = \"omit\"\n[domains]\ninclude = [\"app-01\"]\n"),
    )
    .unwrap();
    let mut command = program(lab.scratch());
    command.args(["once", "--no-cache", "--uri", &lab.uri(), "--config"]).arg(file);
    let lines = lines::read(&run(&mut command).success().stdout);
    let mut values = BTreeMap::new();
    for line in &lines {
        let of = ["device", "vcpu", "iothread"].into_iter().find_map(|tag| line.find_tag(tag));
        for (field, value) in &line.fields {
            if let Some(value) = number(value) {
                let name = format!("{}.{field}", line.measurement);
                values.insert((name, of.unwrap_or_default().to_owned()), value);
            }
        }
    }
    values
}

/// Holds what a tool reads, each time that it is asked, against the tables of docs/migrating.md below a heading.
fn hold(lab: &Lab, heading: &str, mut theirs: impl FnMut() -> Vec<Reading>) {
    let rows = migration::rows(heading);
    let pairs: BTreeMap<String, Pair> = rows
        .iter()
        .flat_map(migration::Row::pairs)
        .map(|pair| (pair.theirs.clone(), pair))
        .collect();
    let mut held: BTreeSet<(String, String)> = BTreeSet::new();
    let mut seen = BTreeSet::new();
    // A figure that moves is held between one of ours before and one after; one that went down and up
    // again in between is found another time.
    let mut lacking = Vec::new();
    for _ in 0..12 {
        let before = ours(lab);
        let read = theirs();
        let after = ours(lab);
        assert!(!read.is_empty(), "{heading}: the tool printed nothing");
        lacking.clear();
        for Reading { name, of, value } in read {
            let Some(pair) = pairs.get(&name) else { panic!("{heading} has no row for {name}") };
            seen.insert(name.clone());
            let (How::Times(factor), Some(value), Some(our)) = (pair.how, value, &pair.ours) else {
                continue;
            };
            let key = (our.clone(), of.clone());
            let (Some(low), Some(high)) = (before.get(&key), after.get(&key)) else {
                // Drives, which are no disks of ours; else ours must have it.
                let is_drive = ["sda", "hdc"].contains(&&*of);
                assert!(is_drive, "{name} of {of:?}: we print no {our}");
                continue;
            };
            let value = value * factor;
            let (low, high) = (low.min(*high), low.max(*high));
            let slack = 0.5 + high.abs() * 1e-9;
            if low - slack <= value && value <= high + slack {
                held.insert((name, of));
            } else if !held.contains(&(name.clone(), of.clone())) {
                lacking.push(format!("{name} of {of:?}: {value}, ours {our} from {low} to {high}"));
            }
        }
        if lacking.is_empty() {
            break;
        }
    }
    assert_eq!(lacking, [""; 0], "{heading}");
    assert!(held.len() > 15, "{heading}: {held:?}");
    say(&format!("migration: {heading}: {} names, {} values hold", seen.len(), held.len()));
}

/// Telegraf's inputs.libvirt, with all groups of statistics.
fn telegraf(lab: &Lab, telegraf: &Path) -> Vec<Reading> {
    let file = lab.scratch().join("telegraf.conf");
    // It opens its connection for writing.
    let uri = lab.uri().replace("libvirt-sock-ro", "libvirt-sock");
    let text = format!(
        "[agent]\nomit_hostname = true\nquiet = true\n[[outputs.file]]\nfiles = [\"stdout\"]\n\
         [[inputs.libvirt]]\nlibvirt_uri = {uri:?}\nadditional_statistics = [\"vcpu_mapping\"]\n\
         domains = [\"app-01\"]\n"
    );
    fs::write(&file, text).unwrap();
    let mut command = Command::new(telegraf);
    without_settings(&mut command, lab.scratch());
    let output = run(command.args(["--once", "--config"]).arg(file)).success().stdout;
    let mut read = Vec::new();
    for line in lines::read(&output) {
        let of = match line.measurement.as_str() {
            "libvirt_net" | "libvirt_block" => line.find_field("name").map(|name| match name {
                Value::Text(name) => name.clone(),
                other => panic!("{other:?}"),
            }),
            _ => ["vcpu_id", "iothread_id"]
                .into_iter()
                .find_map(|tag| line.find_tag(tag))
                .map(str::to_owned),
        };
        // A NIC without counters, as of user-mode networking, has not even a name.
        for (field, value) in &line.fields {
            read.push(Reading {
                name: format!("{}.{field}", line.measurement),
                of: of.clone().unwrap_or_default(),
                value: number(value),
            });
        }
    }
    read
}

/// collectd's virt, read for some seconds: the last value of each.
fn collectd(lab: &Lab, folder: &Path) -> Vec<Reading> {
    let scratch = lab.scratch().display();
    let text = format!(
        "BaseDir \"{scratch}\"\nPIDFile \"{scratch}/collectd.pid\"\n\
         PluginDir \"{0}/usr/lib/collectd\"\nTypesDB \"{0}/usr/share/collectd/types.db\"\n\
         Hostname \"lab\"\nFQDNLookup false\nInterval 1\n\
         LoadPlugin csv\n<Plugin csv>\nDataDir \"stdout\"\n</Plugin>\n\
         LoadPlugin virt\n<Plugin virt>\nConnection \"{1}\"\nHostnameFormat name\nDomain \"app-01\"\n\
         ExtraStats \"cpu_util disk disk_allocation disk_capacity disk_err disk_physical domain_state \
         job_stats_background memory pcpu perf vcpu vcpupin\"\n</Plugin>\n",
        folder.display(),
        lab.uri()
    );
    let file = lab.scratch().join("collectd.conf");
    fs::write(&file, text).unwrap();
    let output = lab.scratch().join("collectd.out");
    // It writes through stdio, which would keep the lines back.
    let mut child = Command::new("stdbuf")
        .arg("-oL")
        .arg(folder.join("usr/sbin/collectd"))
        .args(["-f", "-C"])
        .arg(file)
        .stdin(Stdio::null())
        .stdout(fs::File::create(&output).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let whole = || {
        let text = fs::read_to_string(&output).unwrap();
        // The share of CPU time comes with the second reading.
        (text.contains("/percent-") && text.ends_with('\n')).then_some(text)
    };
    let text = wait_until("collectd has read twice", Duration::from_secs(60), whole);
    child.kill().unwrap();
    child.wait().unwrap();
    let sources = data_sources(folder);
    let mut read = BTreeMap::new();
    for line in text.lines() {
        // PUTVAL app-01/virt/disk_ops-vda interval=1.000 1795531420.196:1:2
        let mut words = line.split(' ');
        let path = words.nth(1).unwrap().rsplit('/').next().unwrap();
        let values = words.nth(1).unwrap().split(':').skip(1);
        let (kind, instance) = path.split_once('-').unwrap_or((path, ""));
        let (name, of) = match kind {
            "memory" | "percent" | "swap_io" => (path, ""),
            "total_requests" | "total_time_in_ms" => {
                let (what, device) = instance.split_once('-').unwrap();
                (&path[..kind.len() + 1 + what.len()], device)
            }
            "cpu_affinity" => (kind, ""),
            _ => (kind, instance),
        };
        let sources = &sources[kind];
        for (source, value) in sources.iter().zip(values) {
            let name = match sources.len() {
                1 => name.to_owned(),
                _ => format!("{name}.{source}"),
            };
            read.insert((name, of.to_owned()), value.parse().ok());
        }
    }
    read.into_iter().map(|((name, of), value)| Reading { name, of, value }).collect()
}

/// The names of the values of each type, as collectd's own file has them.
fn data_sources(folder: &Path) -> BTreeMap<String, Vec<String>> {
    let text = fs::read_to_string(folder.join("usr/share/collectd/types.db")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_once(char::is_whitespace))
        .map(|(kind, sources)| {
            let names = sources
                .split(',')
                .map(|source| source.trim().split(':').next().unwrap().to_owned());
            (kind.to_owned(), names.collect())
        })
        .collect()
}

/// The exporter's page.
fn exporter(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

fn scraped(text: &str) -> Vec<Reading> {
    let lines = text.lines().filter(|line| line.starts_with("libvirt_"));
    // Of the guest, or of the host as a whole.
    let lines = lines.filter(|line| !line.contains('{') || line.contains("domain=\"app-01\""));
    lines
        .filter_map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let device = labels.split_once("target_device=\"").map(|(_, rest)| rest);
            let of = device.and_then(|rest| rest.split_once('"')).map_or("", |(device, _)| device);
            // It counts every guest, and ours here only the one.
            (name != "libvirt_domains_number").then(|| Reading {
                name: name.to_owned(),
                of: of.to_owned(),
                value: value.parse().ok(),
            })
        })
        .collect()
}

/// A file or folder that a variable of tests/run names.
fn given(variable: &str) -> Option<PathBuf> {
    require_program("migration", variable, &variable.to_lowercase())
}

#[test]
#[ignore = "slow: tests/run --all"]
fn every_name_of_another_tool_has_its_row_and_ours_follows_from_it() {
    let (Some(telegraf_program), Some(collectd_folder), Some(exporter_program)) =
        (given("TELEGRAF"), given("COLLECTD"), given("EXPORTER"))
    else {
        return;
    };
    let Some(lab) = Lab::require("migration") else { return };
    let web = lab.linux("web-01");
    app::start(&lab, &web);

    hold(&lab, "## From Telegraf's inputs.libvirt", || telegraf(&lab, &telegraf_program));
    hold(&lab, "## From collectd's virt plugin", || collectd(&lab, &collectd_folder));

    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new(exporter_program);
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    command.arg(format!("--libvirt.uri={}", lab.uri()));
    let _exporter = Server::start(&mut command, lab.scratch().join("exporter.log"));
    wait_until("the exporter answers", Duration::from_secs(30), || exporter(port));
    hold(&lab, "## From a Prometheus exporter", || scraped(&exporter(port).unwrap()));
}
