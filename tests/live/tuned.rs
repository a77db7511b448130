//! The limits of a guest that libvirt keeps in control groups, beside what virsh says of them. The groups are made
//! outside of the lab.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::support::lab::Lab;
use crate::support::lines::{Line, read};
use crate::support::process::run;
use crate::support::program::program;
use crate::support::{say, wait_until};

/// Our name of each of virsh's.
const NAMES: [(&str, &str); 11] = [
    ("cpu_shares", "cpu_shares"),
    ("vcpu_period", "cpu_period_us"),
    ("vcpu_quota", "cpu_quota_us"),
    ("global_period", "global_period_us"),
    ("global_quota", "global_quota_us"),
    ("emulator_period", "emulator_period_us"),
    ("emulator_quota", "emulator_quota_us"),
    ("iothread_period", "iothread_period_us"),
    ("iothread_quota", "iothread_quota_us"),
    ("soft_limit", "memory_soft_kib"),
    ("weight", "blkio_weight"),
];

const GUEST: &str =
    "<domain type='qemu'><name>tuned</name><memory unit='MiB'>64</memory><vcpu>2</vcpu>
    <iothreads>1</iothreads><blkiotune><weight>300</weight></blkiotune>
    <memtune><soft_limit unit='MiB'>500</soft_limit></memtune>
    <cputune><shares>2048</shares><period>100000</period><quota>50000</quota>
    <global_period>90000</global_period><global_quota>180000</global_quota>
    <emulator_period>80000</emulator_period><emulator_quota>40000</emulator_quota>
    <iothread_period>70000</iothread_period><iothread_quota>35000</iothread_quota></cputune>
    <os><type>hvm</type></os></domain>";

/// What virsh says of it, the numbers, by our names.
fn told(lab: &Lab) -> BTreeMap<&'static str, i64> {
    let commands = ["schedinfo", "memtune", "blkiotune"];
    let text: String = commands.map(|command| lab.virsh(&[command, "tuned"])).concat();
    let pairs = text.lines().filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        let (_, ours) = NAMES.iter().find(|(theirs, _)| *theirs == name.trim())?;
        Some((*ours, value.trim().parse().ok()?))
    });
    pairs.collect()
}

fn limits(lab: &Lab) -> BTreeMap<String, i64> {
    let configuration = lab.scratch().join("limits.toml");
    fs::write(&configuration, "extra = [\"limits\"]\n").unwrap();
    let mut command = program(lab.scratch());
    command.args(["--no-cache", "--uri", &lab.uri(), "--config"]).arg(configuration).arg("once");
    let lines = read(&run(&mut command).success().stdout);
    let line = lines.iter().find(|it| it.measurement == "vm_limits").unwrap();
    assert!(line.find_tag("devtype").is_none(), "{line:?}");
    let number = |name: &str, line: &Line| line.int(name);
    line.fields.iter().map(|(name, _)| (name.clone(), number(name, line))).collect()
}

#[test]
#[ignore = "makes control groups outside of the lab: tests/run --all"]
fn limits_in_control_groups_are_what_virsh_says() {
    let Some(lab) = Lab::require("limits, control groups") else { return };
    lab.with_control_groups();
    let file = lab.scratch().join("tuned.xml");
    fs::write(&file, GUEST).unwrap();
    let uri = lab.write_uri();
    wait_until("libvirtd is there", Duration::from_secs(60), || {
        let list = run(Command::new("virsh").args(["-q", "-c", &uri, "list"]));
        list.status.success().then_some(())
    });
    lab.virsh(&["create", file.to_str().unwrap(), "--paused"]);
    let mut count = 0;
    for (set, name, value) in [
        (&[][..], "cpu_shares", 2048),
        (
            &["schedinfo", "tuned", "--live", "--set", "cpu_shares=777", "vcpu_quota=66000"],
            "cpu_quota_us",
            66_000,
        ),
        (&["memtune", "tuned", "--live", "--soft-limit", "400000"], "memory_soft_kib", 400_000),
        (&["blkiotune", "tuned", "--live", "--weight", "400"], "blkio_weight", 400),
    ] {
        if !set.is_empty() {
            lab.virsh(set);
        }
        let (ours, virsh) = (limits(&lab), told(&lab));
        assert_eq!(virsh.len(), NAMES.len(), "{virsh:?}");
        assert_eq!(ours, virsh.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
        assert_eq!(ours[name], value);
        count += ours.len();
    }
    lab.virsh(&["destroy", "tuned"]);
    say(&format!("limits: {count} values of schedinfo, memtune and blkiotune"));
}
