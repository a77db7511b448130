//! The measurements that only `extra` turns on, of real QEMU guests, against what virsh says: all that
//! QEMU gives without KVM. `extra` has the names that need hardware. And that nothing is asked of libvirt
//! which is not printed.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;
use std::time::Duration;

use crate::support::lab::{Lab, Stats};
use crate::support::lines::{Line, Value, read};
use crate::support::process::run;
use crate::support::program::program;
use crate::support::{say, wait_until};

const UUID: &str = "11111111-2222-3333-4444-555555555555";

/// A guest with something of everything that QEMU has without KVM.
const DOMAIN: &str = r#"<domain type='qemu'><name>rich</name><title>A "rich" guest</title>
<uuid>11111111-2222-3333-4444-555555555555</uuid>
<memory unit='MiB'>64</memory><vcpu cpuset='0' current='2'>4</vcpu><iothreads>2</iothreads>
<cputune><vcpupin vcpu='1' cpuset='0-1'/></cputune>
<description>what it
is for</description><numatune><memory mode='strict' nodeset='0'/>
<memnode cellid='1' mode='preferred' nodeset='0'/></numatune>
<os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features>
<cpu><numa><cell id='0' cpus='0-1' memory='32' unit='MiB'/><cell id='1' cpus='2-3' memory='32' unit='MiB'/></numa></cpu>
<devices>
<disk type='file' device='disk'><driver name='qemu' type='raw' iothread='1'/>
<source file='/var/lib/libvirt/images/rich.raw'/><target dev='vda' bus='virtio'/>
<iotune><total_bytes_sec>10000000</total_bytes_sec><read_iops_sec>500</read_iops_sec><write_iops_sec>400</write_iops_sec></iotune></disk>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>
<source file='/var/lib/libvirt/images/rich.qcow2'/><target dev='vdb' bus='virtio'/></disk>
<disk type='file' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk>
<interface type='ethernet'><model type='virtio'/></interface>
<memballoon model='virtio'><stats period='2'/></memballoon></devices></domain>"#;

/// Every name there is.
fn all() -> String {
    let names = telegraf_virt::config::extra::Extra::ALL.map(|it| format!("\"{}\"", it.name()));
    format!("extra = [{}]\n", names.join(", "))
}

fn configured(lab: &Lab, configuration: &str) -> Command {
    let file = lab.scratch().join("extra.toml");
    fs::write(&file, configuration).unwrap();
    let mut command = program(lab.scratch());
    command.arg("--config").arg(file).args(["--uri", &lab.uri()]);
    command
}

fn collect(lab: &Lab, configuration: &str) -> Vec<Line> {
    read(&run(&mut configured(lab, configuration)).success().stdout)
}

/// The one line of this measurement with these tags beside the guest's.
fn line<'a>(lines: &'a [Line], measurement: &str, tags: &[(&str, &str)]) -> &'a Line {
    let is_it = |line: &&Line| {
        let own = line.tags.iter().filter(|(key, _)| !["VMID", "name", "uuid"].contains(&&**key));
        line.measurement == measurement
            && own.map(|(key, value)| (&**key, &**value)).eq(tags.iter().copied())
    };
    let found: Vec<&Line> = lines.iter().filter(is_it).collect();
    let [line] = found[..] else { panic!("{measurement} {tags:?}: {found:#?} of {lines:#?}") };
    line
}

/// The fields of a line behind those that are always there.
fn fields(line: &Line) -> Vec<(&str, i64)> {
    line.fields
        .iter()
        .filter_map(|(name, value)| match value {
            Value::Int(number) => Some((name.as_str(), *number)),
            _ => None,
        })
        .collect()
}

/// Holds fields against statistics of virsh; a field that virsh has not must not be there.
fn assert_same(line: &Line, stats: &Stats, pairs: &[(&str, String)]) -> usize {
    for (field, key) in pairs {
        let told = stats.find(key).map(|value| value.parse::<i64>().unwrap());
        let printed = line.find_field(field).map(|_| line.int(field));
        assert_eq!(printed, told, "{field} and {key} in {line:?}");
    }
    pairs.iter().filter(|(field, _)| line.find_field(field).is_some()).count()
}

fn pairs<const N: usize>(
    prefix: &str,
    names: [(&'static str, &str); N],
) -> Vec<(&'static str, String)> {
    names.map(|(field, key)| (field, format!("{prefix}{key}"))).to_vec()
}

#[test]
fn what_qemu_gives_by_each_name_is_what_virsh_says() {
    let Some(lab) = Lab::require("extra") else { return };
    fs::create_dir_all(lab.image("")).unwrap();
    fs::File::create(lab.image("rich.raw")).unwrap().set_len(64 << 20).unwrap();
    let qcow2 = lab.image("rich.qcow2");
    run(Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(qcow2).arg("256M"))
        .success();
    fs::write(lab.scratch().join("rich.xml"), DOMAIN).unwrap();
    lab.virsh(&["define", lab.scratch().join("rich.xml").to_str().unwrap()]);
    lab.virsh(&["autostart", "rich"]);
    lab.virsh(&["start", "rich"]);
    wait_until("the firmware reads the disk", Duration::from_secs(120), || {
        (lab.all_stats(UUID).number("block.0.rd.reqs") > 0).then_some(())
    });
    lab.virsh(&["domdirtyrate-calc", "rich", "--seconds", "1"]);
    wait_until("the dirty rate is measured", Duration::from_secs(60), || {
        (lab.all_stats(UUID).number("dirtyrate.calc_status") == 2).then_some(())
    });
    lab.virsh(&["suspend", "rich"]);

    let stats = lab.all_stats(UUID);
    let lines = collect(&lab, &all());
    assert_eq!(lab.all_stats(UUID).find("vcpu.0.delay"), stats.find("vcpu.0.delay"));
    let mut same = 0;

    let metrics = line(&lines, "vm_metrics", &[]);
    assert_eq!(metrics.text("state_reason"), "user");
    let totals = line(&lines, "vm_totals", &[]);
    same += assert_same(totals, &stats, &pairs("", [("state_reason_code", "state.reason")]));
    for (field, key) in [("vcpu_wait_ns", "wait"), ("vcpu_delay_ns", "delay")] {
        let sum =
            [0, 1].map(|vcpu| stats.number(&format!("vcpu.{vcpu}.{key}"))).iter().sum::<i64>();
        assert_eq!(totals.int(field), sum, "{field}");
        same += 1;
    }
    same += assert_same(
        totals,
        &stats,
        &pairs(
            "balloon.",
            [
                ("memunused", "unused"),
                ("memhugetlb_pgalloc", "hugetlb_pgalloc"),
                ("memhugetlb_pgfail", "hugetlb_pgfail"),
            ],
        ),
    );
    // Without KVM nobody polls; the group cpu is not compared, since it moves while a guest is asked.
    assert_eq!((totals.int("haltpoll_success_ns"), totals.int("haltpoll_fail_ns")), (0, 0));

    for (index, vcpu) in [(0, "0"), (1, "1")] {
        let vcpu = line(&lines, "vm_vcpus", &[("vcpu", vcpu)]);
        same += assert_same(
            vcpu,
            &stats,
            &pairs(
                &format!("vcpu.{index}."),
                [
                    ("state", "state"),
                    ("time_ns", "time"),
                    ("wait_ns", "wait"),
                    ("delay_ns", "delay"),
                ],
            ),
        );
        assert_eq!(vcpu.text("cpuset"), ["0", "0-1"][index]);
        let told = vcpu_told(&lab, index);
        // The guest is paused: nothing moves its threads.
        assert_eq!((vcpu.int("cpu"), vcpu.text("affinity")), (told.0, &*told.1));
        same += 2;
    }
    for (index, device) in ["vda", "vdb"].into_iter().enumerate() {
        let disk = line(&lines, "vm_devices", &[("devtype", "disk"), ("device", device)]);
        same += assert_same(
            disk,
            &stats,
            &pairs(
                &format!("block.{index}."),
                [
                    ("rd_time_ns", "rd.times"),
                    ("wr_time_ns", "wr.times"),
                    ("fl_reqs", "fl.reqs"),
                    ("fl_time_ns", "fl.times"),
                    ("allocation_bytes", "allocation"),
                    ("capacity_bytes", "capacity"),
                    ("physical_bytes", "physical"),
                    ("threshold_bytes", "threshold"),
                ],
            ),
        );
    }
    for number in ["1", "2"] {
        let thread = line(&lines, "vm_iothreads", &[("iothread", number)]);
        same += assert_same(
            thread,
            &stats,
            &pairs(
                &format!("iothread.{number}."),
                [
                    ("poll_max_ns", "poll-max-ns"),
                    ("poll_grow", "poll-grow"),
                    ("poll_shrink", "poll-shrink"),
                ],
            ),
        );
    }
    let rate = line(&lines, "vm_dirty_rate", &[]);
    same += assert_same(
        rate,
        &stats,
        &pairs(
            "dirtyrate.",
            [
                ("calc_status", "calc_status"),
                ("calc_period", "calc_period"),
                ("mib_per_sec", "megabytes_per_second"),
            ],
        ),
    );
    assert_eq!(rate.text("calc_mode"), stats.find("dirtyrate.calc_mode").unwrap());

    let disk = line(&lines, "vm_limits", &[("devtype", "disk"), ("device", "vda")]);
    assert_eq!(
        fields(disk),
        [("total_bytes_sec", 10_000_000), ("read_iops_sec", 500), ("write_iops_sec", 400)]
    );
    let numa = line(&lines, "vm_numa", &[]);
    assert_eq!((numa.int("cells"), numa.text("nodeset"), numa.text("mode")), (2, "0", "strict"));
    let cell = line(&lines, "vm_numa", &[("cell", "1")]);
    assert_eq!((cell.int("memory_kib"), cell.text("cpus")), (32 << 10, "2-3"));
    assert_eq!((cell.text("host_nodes"), cell.text("mode")), ("0", "preferred"));
    assert!(line(&lines, "vm_numa", &[("cell", "0")]).find_field("mode").is_none());
    let info = line(&lines, "vm_info", &[]);
    assert_eq!(
        [info.text("title"), info.text("os_type"), info.text("arch")],
        ["A \"rich\" guest", "hvm", "x86_64"]
    );
    assert_eq!(info.text("description"), "what it is for");
    assert!(info.text("machine").starts_with("pc-i440fx-"), "{info:?}");
    assert_eq!(
        (info.field("persistent"), info.field("autostart")),
        (&Value::Bool(true), &Value::Bool(true))
    );
    same += assert_same(info, &stats, &pairs("", [("vcpus_max", "vcpu.maximum")]));

    // In the order of the schema, and no line of what there is nothing of.
    let mut order: Vec<&str> = lines.iter().map(|line| &*line.measurement).collect();
    order.dedup();
    assert_eq!(
        order,
        [
            "vm_metrics",
            "vm_devices",
            "vm_totals",
            "vm_vcpus",
            "vm_iothreads",
            "vm_dirty_rate",
            "vm_limits",
            "vm_numa",
            "vm_info",
            "vm_backing",
            "vm_snapshots",
            "vm_collector",
            "vm_host",
        ]
    );
    let collector = line(&lines, "vm_collector", &[("uri", &lab.uri())]);
    assert_eq!(collector.tags, [("uri".to_owned(), lab.uri())]);
    assert_eq!(collector.field("up"), &Value::Bool(true));
    let told = [
        "domains",
        "hung",
        "busy",
        "lines",
        "cache_hits",
        "cache_misses",
        "stuck_calls",
        "unknown_statistics",
    ];
    let of_guests = lines.iter().filter(|line| line.find_tag("uuid").is_some());
    let lines_of_guests = i64::try_from(of_guests.count()).unwrap();
    assert_eq!(told.map(|field| collector.int(field)), [1, 0, 0, lines_of_guests, 0, 1, 0, 0]);
    assert!(collector.int("collect_ns") > 0);
    // The second run finds the device list in the cache, with what else the XML said.
    let again = collect(&lab, &all());
    let collector = line(&again, "vm_collector", &[("uri", &lab.uri())]);
    assert_eq!((collector.int("cache_hits"), collector.int("cache_misses")), (1, 0));
    assert_eq!(line(&again, "vm_info", &[]).fields, info.fields);
    say(&format!("extra: {same} values of virsh equal"));

    limits_follow_the_guest(&lab);
    uptime_is_that_of_the_process(&lab);
    nothing_else_is_asked(&lab);
}

/// The host CPU and the affinity of a virtual CPU, as virsh tells them.
fn vcpu_told(lab: &Lab, vcpu: usize) -> (i64, String) {
    let text = lab.virsh(&["vcpuinfo", "rich", "--pretty"]);
    let told = |key: &str| {
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(key));
        lines.nth(vcpu).unwrap_or_else(|| panic!("{key} of {vcpu} in {text}")).trim().to_owned()
    };
    let affinity = told("CPU Affinity:");
    (told("CPU:").parse().unwrap(), affinity.split(' ').next().unwrap().to_owned())
}

/// `name: value` of virsh, the values that are numbers.
fn numbers_told(text: &str) -> std::collections::BTreeMap<String, i64> {
    let pair = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.trim().to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(pair).collect()
}

/// Limits that are set while the guest runs, all that this QEMU takes, against what virsh says of them.
fn limits_follow_the_guest(lab: &Lab) {
    let set = "--write-bytes-sec 77777 --write-bytes-sec-max 99999 --write-bytes-sec-max-length 7 \
               --read-bytes-sec 5001 --read-bytes-sec-max 6001 --read-bytes-sec-max-length 6 \
               --total-iops-sec 301 --total-iops-sec-max 401 --total-iops-sec-max-length 5 \
               --size-iops-sec 4096 --group-name both --live";
    let words = ["blkdeviotune", "rich", "vdb"].into_iter().chain(set.split_whitespace());
    lab.virsh(&words.collect::<Vec<_>>());
    let lines = collect(lab, "extra = [\"limits\"]\n[cache]\nttl = \"0s\"\n");
    let disk = line(&lines, "vm_limits", &[("devtype", "disk"), ("device", "vdb")]);
    let told = numbers_told(&lab.virsh(&["blkdeviotune", "rich", "vdb", "--live"]));
    // libvirt's names, but for that of a length.
    let renamed = |field: &str| field.replace("_max_length_sec", "_max_length");
    let printed: std::collections::BTreeMap<_, _> =
        fields(disk).into_iter().map(|(field, value)| (renamed(field), value)).collect();
    let mut told = told;
    // What is not set is 0 there; QEMU takes a second for a burst whose length nobody set.
    told.retain(|name, value| *value != 0 && (!name.ends_with("_length") || *value != 1));
    assert_eq!(printed, told);
    assert_eq!(disk.text("group"), "both");
    say(&format!("extra: {} limits of a disk are those of blkdeviotune", printed.len()));
}

/// The lab has no control groups, which a guest's own limits are; libvirt's test driver takes them for what
/// they are.
#[test]
fn limits_of_a_guests_memory_are_what_virsh_says() {
    let Some(lab) = Lab::require("extra, memory limits") else { return };
    let node = lab.scratch().join("node.xml");
    let guest = "<domain type='test'><name>tuned</name><memory>2048</memory><vcpu>1</vcpu>\
        <os><type>hvm</type></os><memtune><hard_limit unit='MiB'>3</hard_limit>\
        <soft_limit>2049</soft_limit><swap_hard_limit unit='KiB'>4097</swap_hard_limit></memtune></domain>";
    fs::write(&node, format!("<node>{guest}</node>")).unwrap();
    let uri = format!("test://{}", node.display());
    let told = run(Command::new("virsh").args(["-q", "-c", &uri, "memtune", "tuned"])).success();
    let told = numbers_told(&told.stdout);
    let configuration = lab.scratch().join("limits.toml");
    fs::write(&configuration, "extra = [\"limits\"]").unwrap();
    let mut command = program(lab.scratch());
    command.args(["--no-cache", "--uri", &uri, "--config"]).arg(configuration);
    let lines = read(&run(&mut command).success().stdout);
    let limits = line(&lines, "vm_limits", &[]);
    let renamed = [
        ("memory_hard_kib", "hard_limit"),
        ("memory_soft_kib", "soft_limit"),
        ("swap_hard_kib", "swap_hard_limit"),
    ];
    assert_eq!(fields(limits), renamed.map(|(field, key)| (field, told[key])));
    assert_eq!(fields(limits)[0].1, 3072);
}

/// The program beside libvirtd, where the numbers of processes are the same, against ps.
fn uptime_is_that_of_the_process(lab: &Lab) {
    let command = configured(lab, "extra = [\"uptime\"]");
    let words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|it| it.to_str().unwrap().to_owned())
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let since = || {
        let pid = lab.inside(&["cat", "/run/libvirt/qemu/rich.pid"]);
        let age = lab.inside(&["ps", "-o", "etimes=", "-p", pid.trim()]);
        age.trim().parse::<i64>().unwrap()
    };
    let earliest = since();
    let lines = read(&lab.inside(&words));
    let (uptime, latest) = (line(&lines, "vm_totals", &[]).int("uptime_s"), since());
    assert!((earliest..=latest).contains(&uptime), "{uptime} of {earliest} to {latest} s");
}

/// The calls that the program makes, by libvirt's own log, and the groups that it asks for.
fn nothing_else_is_asked(lab: &Lab) {
    let asked = |configuration: &str| {
        let log = lab.scratch().join("libvirt.log");
        // So that CPU time is asked in bulk on each libvirt, whether it needs control groups or not.
        let mut command = configured(lab, &format!("features = [\"cpu\"]\n{configuration}"));
        command.arg("--no-cache").env("LIBVIRT_LOG_FILTERS", "1:libvirt");
        command.env("LIBVIRT_LOG_OUTPUTS", format!("1:file:{}", log.display()));
        run(&mut command).success();
        let text = fs::read_to_string(&log).unwrap();
        fs::remove_file(&log).unwrap();
        let calls = text.lines().filter_map(|line| {
            let mut parts = line.split(" : ").skip(1);
            let name = parts.next()?.split(':').next()?;
            let groups = parts.next()?.split("stats=").nth(1).and_then(|it| it.split(',').next());
            // What is ended, what a handle knows by itself, and what libvirt calls inside, is no question.
            let is_question = ["virDomain", "virConnect", "virNode", "virStorage"]
                .iter()
                .any(|it| name.starts_with(it))
                && !["Free", "Close", "GetName", "GetUUID", "GetID", "Ref", "IsAlive", "Internal"]
                    .iter()
                    .any(|it| name.contains(it));
            is_question.then(|| format!("{name} {}", groups.unwrap_or_default()))
        });
        calls.map(|call| call.trim().to_owned()).collect::<BTreeSet<String>>()
    };
    let plain = asked("");
    // The groups state, cpu, balloon, vcpu, interface and block, and no other.
    assert!(plain.contains("virDomainListGetStats 0x3f"), "{plain:#?}");
    let more = |configuration: &str| {
        let calls = asked(configuration);
        calls.difference(&plain).cloned().collect::<Vec<String>>()
    };
    let names = ["state-reason", "cpu-waits", "memory-details", "disk-times", "disk-space"];
    let free =
        ["cpu-cache", "limits", "numa", "collector", "other", "answer", "uptime", "disk-latency"];
    for name in names.iter().chain(&free).chain(&["energy"]) {
        assert_eq!(more(&format!("extra = [\"{name}\"]")), [""; 0], "{name}");
    }
    for (name, groups) in [
        ("iothreads", "0xbf"),
        ("perf", "0x7f"),
        ("dirty-rate", "0x23f"),
        ("memory-bandwidth", "0x13f"),
        ("hypervisor", "0x43f"),
    ] {
        let calls = more(&format!("extra = [\"{name}\"]"));
        assert_eq!(calls, [format!("virDomainListGetStats {groups}")], "{name}");
    }
    assert_eq!(more("extra = [\"vcpus\"]"), ["virDomainGetVcpus"]);
    assert_eq!(more("extra = [\"jobs\"]"), ["virDomainGetJobStats"]);
    assert_eq!(more("extra = [\"disk-errors\"]"), ["virDomainGetDiskErrors"]);
    assert_eq!(more("extra = [\"block-jobs\"]"), ["virDomainGetBlockJobInfo"]);
    // Of the group block alone, once more.
    assert_eq!(more("extra = [\"backing\"]"), ["virDomainListGetStats 0x20"]);
    assert_eq!(
        more("extra = [\"snapshots\"]"),
        ["virDomainListAllCheckpoints", "virDomainSnapshotNum"]
    );
    let pools = ["virConnectListAllStoragePools"];
    assert_eq!(more("extra = [\"pools\"]"), pools);
    let host = [
        "virConnectGetCapabilities",
        "virConnectGetLibVersion",
        "virConnectGetType",
        "virConnectGetVersion",
        "virNodeGetCPUStats",
        "virNodeGetInfo",
        "virNodeGetMemoryParameters",
        "virNodeGetMemoryStats",
    ];
    assert_eq!(more("extra = [\"host\"]"), host);
    assert_eq!(more("extra = [\"info\"]"), ["virDomainGetAutostart", "virDomainIsPersistent"]);
    let told: Vec<&str> = plain.iter().map(|call| call.split(' ').next().unwrap()).collect();
    say(&format!("extra: a default collection asks {}", told.join(", ")));
}

#[test]
fn a_save_is_told_while_it_runs() {
    let Some(lab) = Lab::require("extra, jobs") else { return };
    let guest = lab.linux("saved");
    let before = collect(&lab, "extra = [\"jobs\"]");
    assert!(before.iter().all(|line| line.measurement != "vm_jobs"), "{before:?}");
    // A pipe that nobody empties holds the save up for as long as we like.
    let pipe = lab.image("save.fifo");
    run(Command::new("mkfifo").arg(&pipe)).success();
    let mut reader = fs::OpenOptions::new().read(true).custom_flags(0o4000).open(&pipe).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| lab.virsh(&["save", &guest, "/var/lib/libvirt/images/save.fifo"]));
        let job = wait_until("the save's job", Duration::from_secs(60), || {
            let lines = collect(&lab, "extra = [\"jobs\"]");
            let job = lines.into_iter().find(|line| line.measurement == "vm_jobs")?;
            (job.int("mem_processed_bytes") > 0).then_some(job)
        });
        assert_eq!([job.text("type"), job.text("operation")], ["unbounded", "save"]);
        let info = lab.virsh(&["domjobinfo", &guest, "--rawstats"]);
        let told = |name: &str| {
            let line = info.lines().find(|line| line.starts_with(&format!("{name}:"))).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<i64>().unwrap()
        };
        assert!(told("memory_total") > 0, "{info}");
        assert_eq!(job.int("mem_total_bytes"), told("memory_total"));
        assert!(job.int("mem_processed_bytes") <= told("memory_processed"), "{job:?} {info}");
        assert!(job.int("elapsed_ms") <= told("time_elapsed"), "{job:?} {info}");
        assert_eq!(job.tags[0].0, "VMID");
        let mut block = vec![0; 1 << 20];
        wait_until("the save ends", Duration::from_secs(120), || {
            loop {
                match reader.read(&mut block) {
                    Ok(0) => break Some(()),
                    Ok(_) => {}
                    Err(_) => break None,
                }
            }
        });
    });
}
