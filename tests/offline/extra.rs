//! The measurements that only `extra` turns on, from typed parameters as libvirt's documentation names
//! them: perf events, resctrl monitors, KVM's own counters and what newer libvirts send need hardware or
//! versions that the live tests do not have. tests/live/extra.rs has what a real QEMU gives.
//!
//! <https://libvirt.org/html/libvirt-libvirt-domain.html#virConnectGetAllDomainStats>

use telegraf_virt::anomalies::{Summary, Top, Verdict};
use telegraf_virt::config::extra::{Extra, Extras};
use telegraf_virt::devices::details::details;
use telegraf_virt::devices::{Inventory, xml};
use telegraf_virt::libvirt::{Parameter, Snapshots, Value};
use telegraf_virt::line_protocol::{Lines, Tags};
use telegraf_virt::points::{Choice, PrintedGuest, Writer};
use telegraf_virt::sample::{Completeness, Domain, Job, More};
use telegraf_virt::schema::{BackingImage, BlockJobLine, Details};

type Sent = (&'static str, Value<'static>);

fn parameters(sent: &[Sent]) -> impl Iterator<Item = Parameter<'static>> {
    sent.iter().map(|&(name, value)| Parameter { name: name.as_bytes(), value })
}

fn domain(sent: &[Sent]) -> Domain {
    let more = More { keeps_other: true, ..More::default() };
    let mut domain = Domain { id: 7, more: Some(Box::new(more)), ..Domain::default() };
    domain.name.push('a');
    domain.fill(parameters(sent));
    domain
}

fn extras(extras: &[Extra]) -> Extras {
    extras.iter().copied().collect()
}

/// The lines of the measurements that these names turn on, without the guest's tags and the timestamp.
fn more_lines(
    writer: &mut Writer,
    sample: &Domain,
    inventory: Option<&Inventory>,
    on: &[Extra],
) -> Vec<String> {
    let choice = Choice { extra: extras(on), ..Choice::DEFAULT };
    let mut lines = Lines::default();
    lines.start(1);
    let guest = PrintedGuest { sample, rates: None, inventory };
    writer.write(&mut lines, &guest, &Tags::default(), &choice, 0);
    let text = String::from_utf8(lines.as_bytes().to_vec()).unwrap();
    let always = ["vm_metrics", "vm_devices", "vm_totals"];
    let tags = ",VMID=7,name=a,uuid=00000000-0000-0000-0000-000000000000";
    text.lines()
        .filter(|line| !always.iter().any(|it| line.starts_with(it)))
        .map(|line| line.replacen(tags, "", 1).trim_end_matches(" 1").to_owned())
        .collect()
}

fn printed(sent: &[Sent], on: &[Extra]) -> Vec<String> {
    more_lines(&mut Writer::default(), &domain(sent), None, on)
}

/// One line of those that are always there, without tags and timestamp.
fn always_line(sent: &[Sent], on: &[Extra], start: &str) -> String {
    let choice = Choice { extra: extras(on), ..Choice::DEFAULT };
    let mut lines = Lines::default();
    lines.start(1);
    let sample = domain(sent);
    let guest = PrintedGuest { sample: &sample, rates: None, inventory: None };
    Writer::default().write(&mut lines, &guest, &Tags::default(), &choice, 0);
    let text = String::from_utf8(lines.as_bytes().to_vec()).unwrap();
    let line = text.lines().find(|line| line.starts_with(start)).unwrap();
    line.split(' ').nth(1).unwrap().to_owned()
}

#[test]
fn perf_events_are_named_as_libvirt_names_them() {
    let sent = [
        ("perf.cache_misses", Value::Uint(5)),
        ("perf.cmt", Value::Uint(u64::MAX)),
        ("perf.a_new.one", Value::Uint(6)),
        ("perf.instructions", Value::Int(-1)),
        // Neither without a name, nor twice, nor as a tag or what a database keeps for itself.
        ("perf.", Value::Uint(1)),
        ("perf.cache-misses", Value::Uint(1)),
        ("perf.uuid", Value::Uint(1)),
        ("perf.time", Value::Uint(1)),
    ];
    let line = format!("vm_perf cache_misses=5i,cmt={}i,a_new_one=6i", i64::MAX);
    assert_eq!(printed(&sent, &[Extra::Perf]), [line]);
    assert_eq!(printed(&sent, &[Extra::Vcpus]), [""; 0]);
}

#[test]
fn a_resctrl_monitor_has_a_line_a_node_and_a_line_a_bank() {
    let sent = [
        ("memory.bandwidth.monitor.count", Value::Uint(2)),
        ("memory.bandwidth.monitor.0.name", Value::Text(b"vcpus_0-4")),
        ("memory.bandwidth.monitor.0.vcpus", Value::Text(b"0-4")),
        ("memory.bandwidth.monitor.0.node.count", Value::Uint(2)),
        ("memory.bandwidth.monitor.0.node.0.id", Value::Uint(0)),
        ("memory.bandwidth.monitor.0.node.0.bytes.local", Value::Uint(10)),
        ("memory.bandwidth.monitor.0.node.0.bytes.total", Value::Uint(11)),
        ("memory.bandwidth.monitor.0.node.1.id", Value::Uint(8)),
        ("memory.bandwidth.monitor.0.node.1.bytes.total", Value::Uint(21)),
        ("memory.bandwidth.monitor.1.name", Value::Text(b"none")),
        ("cpu.cache.monitor.count", Value::Uint(1)),
        ("cpu.cache.monitor.0.name", Value::Text(b"vcpus 1")),
        ("cpu.cache.monitor.0.vcpus", Value::Text(b"1")),
        ("cpu.cache.monitor.0.bank.count", Value::Uint(1)),
        ("cpu.cache.monitor.0.bank.0.id", Value::Uint(3)),
        ("cpu.cache.monitor.0.bank.0.bytes", Value::Uint(5_406_720)),
    ];
    assert_eq!(
        printed(&sent, &[Extra::MemoryBandwidth, Extra::CpuCache]),
        [
            "vm_memory_bandwidth,monitor=vcpus_0-4,node=0 bytes_local=10i,bytes_total=11i,vcpus=\"0-4\"",
            "vm_memory_bandwidth,monitor=vcpus_0-4,node=8 bytes_total=21i,vcpus=\"0-4\"",
            "vm_cpu_cache,monitor=vcpus\\ 1,bank=3 bytes=5406720i,vcpus=\"1\"",
        ]
    );
}

#[test]
fn in_dirty_ring_mode_each_vcpu_has_its_own_rate() {
    let sent = [
        ("dirtyrate.calc_status", Value::Int(2)),
        ("dirtyrate.calc_start_time", Value::Int(1_795_530_631)),
        ("dirtyrate.calc_period", Value::Int(1)),
        ("dirtyrate.calc_mode", Value::Text(b"dirty-ring")),
        ("dirtyrate.megabytes_per_second", Value::Int(41)),
        ("dirtyrate.vcpu.0.megabytes_per_second", Value::Uint(40)),
        ("dirtyrate.vcpu.3.megabytes_per_second", Value::Uint(1)),
    ];
    assert_eq!(
        printed(&sent, &[Extra::DirtyRate]),
        [
            "vm_dirty_rate calc_status=2i,calc_start_time=1795530631i,calc_period=1i,mib_per_sec=41i,\
             calc_mode=\"dirty-ring\"",
            "vm_dirty_rate,vcpu=0 mib_per_sec=40i",
            "vm_dirty_rate,vcpu=3 mib_per_sec=1i",
        ]
    );
    // Seconds since the host's start are no Unix time.
    let sent = [("dirtyrate.calc_start_time", Value::Int(23_436))];
    assert_eq!(printed(&sent, &[Extra::DirtyRate]), [""; 0]);
}

#[test]
fn what_kvm_counts_stands_by_guest_and_by_vcpu() {
    let sent = [
        ("vcpu.0.state", Value::Int(1)),
        ("vcpu.0.halt_exits.sum", Value::Uint(12)),
        ("vcpu.0.guest_mode.cur", Value::Bool(false)),
        ("vcpu.1.halt_exits.sum", Value::Uint(13)),
        ("vm.max_mmu_rmap_size.max", Value::Uint(14)),
        ("vm.nx_lpage_splits.cur", Value::Uint(15)),
        ("vcpu.1.halted", Value::Bool(true)),
    ];
    assert_eq!(
        printed(&sent, &[Extra::Vcpus, Extra::Hypervisor]),
        [
            "vm_vcpus,vcpu=0 state=1i",
            "vm_vcpus,vcpu=1 halted=true",
            "vm_hypervisor max_mmu_rmap_size_max=14i,nx_lpage_splits_cur=15i",
            "vm_hypervisor,vcpu=0 halt_exits_sum=12i,guest_mode_cur=false",
            "vm_hypervisor,vcpu=1 halt_exits_sum=13i",
        ]
    );
}

#[test]
fn a_histogram_is_cumulated_and_a_timed_group_has_its_interval() {
    let sent = [
        ("block.0.name", Value::Text(b"vda")),
        ("block.0.timed_group.count", Value::Uint(2)),
        ("block.0.timed_group.0.interval", Value::Uint(10)),
        ("block.0.timed_group.0.rd_latency_min", Value::Uint(11)),
        ("block.0.timed_group.0.rd_latency_max", Value::Uint(13)),
        ("block.0.timed_group.0.rd_latency_avg", Value::Uint(12)),
        ("block.0.timed_group.0.rd_queue_depth_avg", Value::Float(0.25)),
        ("block.0.timed_group.0.flush_latency_avg", Value::Uint(14)),
        ("block.0.timed_group.0.zone_append_queue_depth_avg", Value::Float(0.0)),
        ("block.0.timed_group.1.interval", Value::Uint(60)),
        ("block.0.timed_group.1.wr_latency_avg", Value::Uint(15)),
        // Whatever order they come in; a bin that has no start is none.
        ("block.0.latency_histogram.write.bin.count", Value::Uint(3)),
        ("block.0.latency_histogram.write.bin.1.start", Value::Uint(1000)),
        ("block.0.latency_histogram.write.bin.1.value", Value::Uint(5)),
        ("block.0.latency_histogram.write.bin.0.start", Value::Uint(0)),
        ("block.0.latency_histogram.write.bin.0.value", Value::Uint(7)),
        ("block.0.latency_histogram.write.bin.2.start", Value::Uint(20_000)),
        ("block.0.latency_histogram.write.bin.2.value", Value::Uint(u64::MAX)),
        ("block.0.latency_histogram.write.bin.3.value", Value::Uint(1)),
        ("block.0.latency_histogram.read.bin.count", Value::Uint(1)),
        ("block.0.latency_histogram.read.bin.0.start", Value::Uint(0)),
        ("block.0.latency_histogram.read.bin.0.value", Value::Uint(9)),
        // Of a disk that has no line.
        ("block.1.timed_group.0.interval", Value::Uint(10)),
    ];
    assert_eq!(
        printed(&sent, &[Extra::DiskLatency]),
        [
            "vm_disk_latency,device=vda,op=read,le=+Inf requests=9i".to_owned(),
            "vm_disk_latency,device=vda,op=write,le=1000 requests=7i".to_owned(),
            "vm_disk_latency,device=vda,op=write,le=20000 requests=12i".to_owned(),
            format!("vm_disk_latency,device=vda,op=write,le=+Inf requests={}i", i64::MAX),
            "vm_disk_latency,device=vda,op=read,interval_s=10 latency_min_ns=11i,latency_max_ns=13i,\
             latency_avg_ns=12i,queue_depth_avg=0.25"
                .to_owned(),
            "vm_disk_latency,device=vda,op=flush,interval_s=10 latency_avg_ns=14i".to_owned(),
            "vm_disk_latency,device=vda,op=zone_append,interval_s=10 queue_depth_avg=0.0".to_owned(),
            "vm_disk_latency,device=vda,op=write,interval_s=60 latency_avg_ns=15i".to_owned(),
        ]
    );
    assert_eq!(printed(&sent, &[Extra::Other]), [""; 0]);
}

#[test]
fn energy_is_told_by_monitor_and_package_as_it_was_sent() {
    let sent = [
        ("cpu.energy.monitor.count", Value::Uint(1)),
        ("cpu.energy.monitor.0.name", Value::Text(b"vcpus_0-3")),
        ("cpu.energy.monitor.0.vcpus", Value::Text(b"0-3")),
        ("cpu.energy.monitor.0.pkg.count", Value::Uint(2)),
        ("cpu.energy.monitor.0.pkg.0.id", Value::Uint(0)),
        ("cpu.energy.monitor.0.pkg.0.core_energy", Value::Float(12.5)),
        ("cpu.energy.monitor.0.pkg.0.activity", Value::Uint(3)),
        ("cpu.energy.monitor.0.pkg.1.id", Value::Uint(8)),
        ("cpu.energy.monitor.0.pkg.1.core_energy", Value::Float(2.0)),
    ];
    assert_eq!(
        printed(&sent, &[Extra::Energy]),
        [
            "vm_energy,monitor=vcpus_0-3,package=0 vcpus=\"0-3\",core_energy=12.5,activity=3i",
            "vm_energy,monitor=vcpus_0-3,package=8 vcpus=\"0-3\",core_energy=2.0",
        ]
    );
}

#[test]
fn jobs_errors_images_and_snapshots_of_disks_are_told() {
    let mut sample =
        domain(&[("block.0.name", Value::Text(b"vda")), ("block.1.name", Value::Text(b"vdb"))]);
    sample.disks[0].io_error = "no_space".into();
    sample.disks[0].io_error_code = Some(2);
    let storage = &mut sample.more.as_mut().unwrap().storage;
    storage.block_jobs = (0..=6)
        .map(|kind| BlockJobLine {
            target: "vda".to_owned(),
            kind,
            done_bytes: Some(1),
            total_bytes: Some(2),
            bytes_sec: Some(0),
        })
        .collect();
    let sent: [Sent; 9] = [
        ("block.count", Value::Uint(3)),
        ("block.0.name", Value::Text(b"vda")),
        ("block.0.backingIndex", Value::Uint(3)),
        ("block.0.path", Value::Text(b"/a b")),
        ("block.0.allocation", Value::Uint(4)),
        ("block.1.name", Value::Text(b"vda")),
        ("block.1.backingIndex", Value::Uint(1)),
        ("block.1.physical", Value::Uint(5)),
        ("block.2.name", Value::Text(b"sda")),
    ];
    storage.backing = BackingImage::of(sent.iter().map(|&(name, value)| (name.as_bytes(), value)));
    let snapshots =
        Snapshots { count: Some(2), oldest_s: Some(5), newest_s: Some(90), checkpoints: Some(1) };
    let details = Details { snapshots: Some(snapshots), ..Details::default() };
    let inventory = Inventory { details: Some(Box::new(details)), ..Inventory::default() };
    let types = ["unknown", "pull", "copy", "commit", "active_commit", "backup", "unknown"];
    let jobs = types.map(|it| {
        format!(
            "vm_block_jobs,devtype=disk,device=vda type=\"{it}\",done_bytes=1i,total_bytes=2i,bytes_sec=0i"
        )
    });
    let mut expected = jobs.to_vec();
    expected.extend([
        "vm_backing,device=vda,index=3 allocation_bytes=4i,path=\"/a b\"".to_owned(),
        "vm_backing,device=vda,index=1 physical_bytes=5i".to_owned(),
        // Made after this moment, by the host's clock: no age below 0. The lines here are of second 0.
        "vm_snapshots count=2i,oldest_age_s=0i,newest_age_s=0i,checkpoints=1i".to_owned(),
    ]);
    let on = [Extra::BlockJobs, Extra::Backing, Extra::Snapshots];
    assert_eq!(more_lines(&mut Writer::default(), &sample, Some(&inventory), &on), expected);
    let choice = Choice { extra: extras(&[Extra::DiskErrors]), ..Choice::DEFAULT };
    let mut lines = Lines::default();
    lines.start(1);
    let guest = PrintedGuest { sample: &sample, rates: None, inventory: None };
    Writer::default().write(&mut lines, &guest, &Tags::default(), &choice, 0);
    let text = String::from_utf8(lines.as_bytes().to_vec()).unwrap();
    let told: Vec<&str> = text.lines().filter(|line| line.contains("io_error")).collect();
    assert!(
        matches!(told[..], [line] if line.contains("errors=0i,io_error=\"no_space\",io_error_code=2i")),
        "{text}"
    );
}

#[test]
fn an_answer_is_told_in_a_word_and_by_its_number() {
    for (completeness, word, code) in [
        (Completeness::Complete, "whole", 0),
        (Completeness::Partial, "whole", 0),
        (Completeness::Starting, "starting", 1),
        (Completeness::Busy, "busy", 2),
        (Completeness::Locked, "locked", 3),
        (Completeness::Hung, "hung", 4),
    ] {
        let sample = Domain { completeness, id: 7, ..Domain::default() };
        let choice = Choice { extra: extras(&[Extra::Answer]), ..Choice::DEFAULT };
        let mut lines = Lines::default();
        lines.start(1);
        let guest = PrintedGuest { sample: &sample, rates: None, inventory: None };
        Writer::default().write(&mut lines, &guest, &Tags::default(), &choice, 0);
        let text = String::from_utf8(lines.as_bytes().to_vec()).unwrap();
        let of = |measurement: &str| text.lines().find(|it| it.starts_with(measurement)).unwrap();
        assert!(of("vm_metrics,").contains(&format!("answer=\"{word}\"")), "{text}");
        assert!(of("vm_totals,").contains(&format!("answer_code={code}i ")), "{text}");
    }
}

#[test]
fn what_nobody_knows_is_passed_through_with_its_type() {
    let sent = [
        ("state.new", Value::Text(b"a \"b\"")),
        ("net.0.name", Value::Text(b"vnet3")),
        ("net.0.hwaddr", Value::Text(b"52:54:00:00:00:01")),
        ("net.1.hwaddr", Value::Text(b"52:54:00:00:00:02")),
        ("block.1.name", Value::Text(b"vdb")),
        ("block.1.limits.request_alignment", Value::Uint(512)),
        ("block.1.timed_group.0.new", Value::Float(0.5)),
        ("block.1.latency_histogram.new.bin.2.value", Value::Uint(7)),
        ("iothread.2.poll-weight", Value::Uint(9)),
        ("cpu.energy.monitor.0.new", Value::Uint(1)),
        ("vcpu.0.new", Value::Bool(true)),
        ("dirtyrate.vcpu.4.new", Value::Int(-3)),
        ("a new group.x", Value::Float(f64::NAN)),
        ("a new group.y", Value::Int(1)),
    ];
    assert_eq!(
        printed(&sent, &[Extra::Other]),
        [
            "vm_other state_new=\"a \\\"b\\\"\",a_new_group_y=1i",
            "vm_other,devtype=nic,device=vnet3 net_hwaddr=\"52:54:00:00:00:01\"",
            "vm_other,devtype=disk,device=vdb block_limits_request_alignment=512i,\
             block_timed_group_0_new=0.5,block_latency_histogram_new_bin_2_value=7i",
            "vm_other,index=2 iothread_poll_weight=9i",
            "vm_other,index=0 cpu_energy_monitor_new=1i",
            "vm_other,vcpu=0 vcpu_new=true",
            "vm_other,vcpu=4 dirtyrate_vcpu_new=-3i",
        ]
    );
    assert_eq!(printed(&sent, &[Extra::Vcpus, Extra::DiskSpace]), [""; 0]);
}

#[test]
fn a_field_that_changes_its_type_is_dropped() {
    let mut writer = Writer::default();
    let mut print = |value: Value<'static>| {
        let sample = domain(&[("new.x", value), ("new.y", Value::Int(1))]);
        more_lines(&mut writer, &sample, None, &[Extra::Other])
    };
    assert_eq!(print(Value::Uint(1)), ["vm_other new_x=1i,new_y=1i"]);
    assert_eq!(print(Value::Float(1.5)), ["vm_other new_y=1i"]);
    assert_eq!(print(Value::Text(b"2")), ["vm_other new_y=1i"]);
    assert_eq!(print(Value::Int(2)), ["vm_other new_x=2i,new_y=1i"]);
}

#[test]
fn fields_are_added_behind_those_that_are_always_there() {
    let sent = [
        ("state.state", Value::Int(3)),
        ("state.reason", Value::Int(5)),
        ("cpu.haltpoll.success.time", Value::Uint(1)),
        ("cpu.haltpoll.fail.time", Value::Uint(2)),
        ("vcpu.0.wait", Value::Uint(10)),
        ("vcpu.0.delay", Value::Uint(20)),
        ("vcpu.1.wait", Value::Uint(11)),
        ("vcpu.1.delay", Value::Uint(21)),
        ("balloon.unused", Value::Uint(3)),
        ("balloon.hugetlb_pgalloc", Value::Uint(4)),
        ("balloon.hugetlb_pgfail", Value::Uint(5)),
        ("balloon.last-update", Value::Uint(0)),
        ("block.0.name", Value::Text(b"vda")),
        ("block.0.rd.times", Value::Uint(6)),
        ("block.0.wr.times", Value::Uint(7)),
        ("block.0.fl.reqs", Value::Uint(8)),
        ("block.0.fl.times", Value::Uint(9)),
        ("block.0.allocation", Value::Uint(10)),
        ("block.0.capacity", Value::Uint(11)),
        ("block.0.physical", Value::Uint(12)),
        ("block.0.threshold", Value::Uint(13)),
    ];
    let metrics = always_line(&sent, &[Extra::StateReason], "vm_metrics");
    assert!(metrics.ends_with(",cputime_ns=0i,state_reason=\"ioerror\""), "{metrics}");
    let on = [Extra::MemoryDetails, Extra::StateReason, Extra::CpuWaits];
    let totals = always_line(&sent, &on, "vm_totals");
    let added = ",state=3i,state_reason_code=5i,vcpu_wait_ns=21i,vcpu_delay_ns=41i,\
                 haltpoll_success_ns=1i,haltpoll_fail_ns=2i,\
                 memunused=3i,memhugetlb_pgalloc=4i,memhugetlb_pgfail=5i";
    assert!(totals.ends_with(added), "{totals}");
    let disk = always_line(&sent, &[Extra::DiskSpace, Extra::DiskTimes], "vm_devices");
    let added = ",errors=0i,rd_time_ns=6i,wr_time_ns=7i,fl_reqs=8i,fl_time_ns=9i,\
                 allocation_bytes=10i,capacity_bytes=11i,physical_bytes=12i,threshold_bytes=13i";
    assert!(disk.ends_with(added), "{disk}");
    // The start of its QEMU, and when it was asked, are on one clock.
    let mut sample = domain(&sent);
    (sample.started_at_ns, sample.answered_at_ns) = (Some(1_000_000_000), 62_999_999_999);
    assert_eq!(sample.uptime_s(), Some(61));
    sample.answered_at_ns = 0;
    assert_eq!(sample.uptime_s(), None);
    // A vCPU without the counter leaves the sum out, and what is not sent is left out.
    let some = [("vcpu.0.delay", Value::Uint(20)), ("vcpu.1.wait", Value::Uint(11))];
    let totals = always_line(&some, &on, "vm_totals");
    assert!(totals.ends_with(",cputime=0i,state=0i"), "{totals}");
}

#[test]
fn a_job_is_told_while_it_runs() {
    let sent = [
        ("operation", Value::Int(5)),
        ("time_elapsed", Value::Uint(1)),
        ("time_remaining", Value::Uint(2)),
        ("data_total", Value::Uint(3)),
        ("data_processed", Value::Uint(4)),
        ("data_remaining", Value::Uint(5)),
        ("memory_total", Value::Uint(6)),
        ("memory_processed", Value::Uint(7)),
        ("memory_remaining", Value::Uint(8)),
        ("memory_dirty_rate", Value::Uint(0)),
        ("disk_total", Value::Uint(9)),
        ("disk_processed", Value::Uint(10)),
        ("disk_remaining", Value::Uint(11)),
    ];
    let mut sample = domain(&[]);
    sample.more.as_mut().unwrap().job = Job::of(2, parameters(&sent));
    assert_eq!(
        more_lines(&mut Writer::default(), &sample, None, &[Extra::Jobs]),
        ["vm_jobs type=\"unbounded\",operation=\"migration_out\",elapsed_ms=1i,remaining_ms=2i,\
          data_total_bytes=3i,data_processed_bytes=4i,data_remaining_bytes=5i,\
          mem_total_bytes=6i,mem_processed_bytes=7i,mem_remaining_bytes=8i,\
          disk_total_bytes=9i,disk_processed_bytes=10i,disk_remaining_bytes=11i,\
          mem_dirty_pages_sec=0i"]
    );
    // None, and those that have completed, failed or been cancelled.
    assert_eq!([0, 3, 4, 5].map(|kind| Job::of(kind, parameters(&sent))), [None, None, None, None]);
}

#[test]
fn limits_numa_and_info_come_from_the_xml_for_devices_that_are_there() {
    let text = "<domain><title>web</title><description>a\nb</description>\
        <cputune><shares>1</shares><period>2</period><quota>3</quota><global_period>4</global_period>\
        <global_quota>5</global_quota><emulator_period>6</emulator_period>\
        <emulator_quota>7</emulator_quota><iothread_period>8</iothread_period>\
        <iothread_quota>9</iothread_quota></cputune><memtune><hard_limit unit='KiB'>10</hard_limit>\
        <soft_limit unit='KiB'>11</soft_limit><swap_hard_limit unit='KiB'>12</swap_hard_limit></memtune>\
        <blkiotune><weight>13</weight></blkiotune><throttlegroups><throttlegroup>\
        <total_bytes_sec>14</total_bytes_sec><group_name>a b</group_name></throttlegroup>\
        </throttlegroups><os><type arch='x86_64' machine='q35'>hvm</type></os>\
        <numatune><memory mode='strict' nodeset='0-1'/>\
        <memnode cellid='0' mode='preferred' nodeset='1'/></numatune>\
        <cpu><numa><cell id='0' cpus='0-1' memory='1024' unit='KiB'/></numa></cpu><devices>\
        <interface type='bridge'><target dev='vnet0'/><bandwidth>\
        <inbound average='1' peak='2' floor='3' burst='4'/><outbound average='5' peak='6' burst='7'/>\
        </bandwidth></interface>\
        <disk><target dev='vda'/><iotune><total_bytes_sec>1</total_bytes_sec>\
        <read_bytes_sec>2</read_bytes_sec><write_bytes_sec>3</write_bytes_sec>\
        <total_iops_sec>4</total_iops_sec><read_iops_sec>5</read_iops_sec>\
        <write_iops_sec>6</write_iops_sec><total_bytes_sec_max>7</total_bytes_sec_max>\
        <total_bytes_sec_max_length>8</total_bytes_sec_max_length>\
        <read_bytes_sec_max>9</read_bytes_sec_max>\
        <read_bytes_sec_max_length>10</read_bytes_sec_max_length>\
        <write_bytes_sec_max>11</write_bytes_sec_max>\
        <write_bytes_sec_max_length>12</write_bytes_sec_max_length>\
        <total_iops_sec_max>13</total_iops_sec_max>\
        <total_iops_sec_max_length>14</total_iops_sec_max_length>\
        <read_iops_sec_max>15</read_iops_sec_max>\
        <read_iops_sec_max_length>16</read_iops_sec_max_length>\
        <write_iops_sec_max>17</write_iops_sec_max>\
        <write_iops_sec_max_length>18</write_iops_sec_max_length>\
        <size_iops_sec>19</size_iops_sec><group_name>g</group_name></iotune></disk>\
        <disk><target dev='vdb'/><throttlefilters><throttlefilter group='a b'/>\
        <throttlefilter group='gone'/></throttlefilters></disk>\
        <disk><target dev='gone'/><iotune><total_iops_sec>4</total_iops_sec></iotune></disk>\
        </devices></domain>";
    let (nics, disks) = xml::inventory(text).unwrap();
    let mut details = details(text).unwrap();
    (details.persistent, details.autostart) = (Some(true), Some(false));
    let details = Some(Box::new(details));
    let inventory = Inventory { id: 7, nics, disks, details, ..Inventory::default() };
    let sample = domain(&[
        ("vcpu.maximum", Value::Uint(8)),
        ("net.0.name", Value::Text(b"vnet0")),
        ("block.0.name", Value::Text(b"vda")),
        ("block.1.name", Value::Text(b"vdb")),
    ]);
    let on = [Extra::Limits, Extra::Numa, Extra::Info];
    assert_eq!(
        more_lines(&mut Writer::default(), &sample, Some(&inventory), &on),
        [
            "vm_limits cpu_shares=1i,cpu_period_us=2i,cpu_quota_us=3i,global_period_us=4i,\
             global_quota_us=5i,emulator_period_us=6i,emulator_quota_us=7i,iothread_period_us=8i,\
             iothread_quota_us=9i,memory_hard_kib=10i,memory_soft_kib=11i,swap_hard_kib=12i,\
             blkio_weight=13i",
            "vm_limits,devtype=nic,device=vnet0 inbound_average_kb_sec=1i,inbound_peak_kb_sec=2i,\
             inbound_floor_kb_sec=3i,inbound_burst_kib=4i,outbound_average_kb_sec=5i,\
             outbound_peak_kb_sec=6i,outbound_burst_kib=7i",
            "vm_limits,devtype=disk,device=vda total_bytes_sec=1i,read_bytes_sec=2i,\
             write_bytes_sec=3i,total_iops_sec=4i,read_iops_sec=5i,write_iops_sec=6i,\
             total_bytes_sec_max=7i,total_bytes_sec_max_length_sec=8i,read_bytes_sec_max=9i,\
             read_bytes_sec_max_length_sec=10i,write_bytes_sec_max=11i,\
             write_bytes_sec_max_length_sec=12i,total_iops_sec_max=13i,\
             total_iops_sec_max_length_sec=14i,read_iops_sec_max=15i,\
             read_iops_sec_max_length_sec=16i,write_iops_sec_max=17i,\
             write_iops_sec_max_length_sec=18i,size_iops_sec=19i,group=\"g\"",
            "vm_limits,devtype=disk,device=vdb,filter=a\\ b total_bytes_sec=14i",
            "vm_numa cells=1i,nodeset=\"0-1\",mode=\"strict\"",
            "vm_numa,cell=0 memory_kib=1024i,cpus=\"0-1\",host_nodes=\"1\",mode=\"preferred\"",
            "vm_info title=\"web\",os_type=\"hvm\",machine=\"q35\",arch=\"x86_64\",persistent=true,\
             autostart=false,description=\"a b\",vcpus_max=8i",
        ]
    );
}

#[test]
fn no_field_that_libvirt_names_has_the_name_of_a_users_tag() {
    let sent = [
        ("vcpu.0.exits.sum", Value::Uint(1)),
        ("vcpu.0.halt_exits.sum", Value::Uint(2)),
        ("perf.rack", Value::Uint(3)),
        ("perf.cmt", Value::Uint(4)),
        ("rack", Value::Uint(5)),
        ("new", Value::Uint(6)),
    ];
    let on = [Extra::Hypervisor, Extra::Perf, Extra::Other];
    let user_tags = vec!["exits_sum".to_owned(), "rack".to_owned()];
    let choice = Choice { extra: extras(&on), user_tags, ..Choice::DEFAULT };
    let sample = domain(&sent);
    let guest = PrintedGuest { sample: &sample, rates: None, inventory: None };
    let mut lines = Lines::default();
    lines.start(1);
    // Whether this guest has them or not: another one of the same measurement may.
    Writer::default().write(&mut lines, &guest, &Tags::default(), &choice, 0);
    let text = String::from_utf8(lines.as_bytes().to_vec()).unwrap();
    let fields = text.lines().skip(2).filter_map(|line| line.split(' ').nth(1));
    assert_eq!(fields.collect::<Vec<_>>(), ["cmt=4i", "halt_exits_sum=2i", "new=6i"]);
}

#[test]
fn a_recording_with_very_many_statistics_is_printed_in_a_moment() {
    const MANY: u32 = 60_000;
    let mut sample = domain(&[]);
    let names = (0..MANY).flat_map(|it| {
        [format!("perf.event{it}"), format!("vm.counter{it}"), format!("new.{it}.x")]
    });
    let names: Vec<String> = names.chain((0..MANY).map(|it| format!("flat.x{it}"))).collect();
    let sent = names.iter().map(|it| Parameter { name: it.as_bytes(), value: Value::Uint(1) });
    sample.fill(sent);
    // Of this thread: other work on the machine does not count.
    let cpu_time = || -> std::time::Duration {
        let clock = nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID;
        nix::time::clock_gettime(clock).unwrap().into()
    };
    let started = cpu_time();
    let count = |on| more_lines(&mut Writer::default(), &sample, None, &[on]).len();
    let counts = [Extra::Hypervisor, Extra::Perf, Extra::Other].map(count);
    assert_eq!(counts, [1, 1, MANY as usize + 1]);
    // Each held against each would be some ten thousand million comparisons.
    let took = cpu_time() - started;
    assert!(took.as_secs() < 10, "{took:?}");
}

#[test]
fn a_guest_that_is_off_has_nothing_of_it() {
    let sample = Domain { id: -1, ..domain(&[("state.state", Value::Int(5))]) };
    let choice = Choice { extra: extras(&Extra::ALL), ..Choice::DEFAULT };
    let mut lines = Lines::default();
    lines.start(1);
    let inventory = Inventory { details: Some(Box::default()), ..Inventory::default() };
    let guest = PrintedGuest { sample: &sample, rates: None, inventory: Some(&inventory) };
    Writer::default().write(&mut lines, &guest, &Tags::default(), &choice, 0);
    let text = String::from_utf8(lines.as_bytes().to_vec()).unwrap();
    let printed: Vec<&str> = text.lines().filter_map(|line| line.split(' ').nth(1)).collect();
    assert_eq!(printed, ["state=\"shutoff\"", "state=5i"]);
}

fn anomalies_line(summary: &Summary) -> String {
    let mut lines = Lines::default();
    lines.start(1);
    Writer::default().write_anomalies(&mut lines, &domain(&[]), &Tags::default(), summary);
    String::from_utf8(lines.as_bytes().to_vec()).unwrap()
}

#[test]
fn a_guest_that_behaves_unlike_itself_has_a_line_that_says_in_what() {
    let verdict = Verdict { range: 1.25, pattern: 0.5, low: 204_800.0, high: 18_874_368.0 };
    let top = Some(Top { series: "vda wr_bytes".into(), value: 42_991_616.0, verdict });
    let summary = Summary { flagged: 2, learned: 8, learning: 5, events: 7, top };
    let tags = "VMID=7,name=a,uuid=00000000-0000-0000-0000-000000000000";
    assert_eq!(
        anomalies_line(&summary),
        format!(
            "vm_anomalies,{tags} rate=25.0,score=62.5,flagged=2i,learned=8i,learning=5i,events=7i,\
             top=\"vda wr_bytes\",top_value=42991616.0,top_low=204800.0,top_high=18874368.0,\
             top_reason=\"range\" 1\n"
        )
    );
    let learning = Summary { learning: 13, ..Summary::default() };
    assert_eq!(
        anomalies_line(&learning),
        format!("vm_anomalies,{tags} flagged=0i,learned=0i,learning=13i,events=0i 1\n")
    );
    assert_eq!(anomalies_line(&Summary::default()), "");
}
