//! A host with two NUMA cells and huge pages of two sizes, and a guest that is bound to them: a recording of a real
//! guest, with a host made up around it, since the tests' machines have one cell and no huge pages.

use std::process::Command;

use crate::support::process::run;
use crate::support::program::program;
use crate::support::repository;

#[test]
fn cells_and_huge_pages_of_a_recorded_host_have_their_lines() {
    let folder = tempfile::tempdir().unwrap();
    let configuration = folder.path().join("numa.toml");
    std::fs::write(&configuration, "extra = [\"host\", \"numa\"]\n").unwrap();
    let recording = repository().join("fixtures/numa.jsonl");
    let once = |mut command: Command, uri: &str| {
        command.args(["once", "--no-cache", "--uri", uri, "--config"]).arg(&configuration);
        run(&mut command).success().stdout
    };
    let lines = |printed: &str| -> Vec<String> {
        let wanted = ["vm_host,", "vm_numa,"];
        let lines = printed.lines().filter(|line| wanted.iter().any(|it| line.starts_with(it)));
        let without = |line: &str| {
            let (tags, rest) = line.split_once(' ').unwrap();
            let (fields, _) = rest.rsplit_once(' ').unwrap();
            // Of the tags those that are not the guest's, nor the recording's own path.
            let tags = tags.split(',').enumerate().filter(|(place, tag)| {
                *place == 0 || tag.starts_with("cell=") || tag.starts_with("page_kib=")
            });
            let tags: Vec<&str> = tags.map(|(_, tag)| tag).collect();
            format!("{} {fields}", tags.join(","))
        };
        lines.map(without).collect()
    };
    let printed = once(program(folder.path()), &format!("replay:{}", recording.display()));
    let told = lines(&printed);
    let whole = "vm_host libvirt=\"9.0.0\",hypervisor=\"QEMU 7.2.22\",cpu_model=\"EPYC-Milan\",cpus=64i,\
        cpu_mhz=2450i,cpu_user_ns=9797400000i,cpu_system_ns=34678723400000i,cpu_idle_ns=87264900000i,\
        cpu_iowait_ns=763600000i,memory_total_kib=263909376i,memory_free_kib=100000000i,\
        memory_buffers_kib=2000i,memory_cached_kib=3000i,guests_running=1i,guests_other=0i,\
        guests_vcpus=1i,guests_memory_kib=131072i";
    assert_eq!(
        told,
        [
            "vm_numa cells=2i,nodeset=\"0-1\",mode=\"strict\"",
            "vm_numa,cell=0 memory_kib=65536i,cpus=\"0\",host_nodes=\"1\",mode=\"strict\"",
            "vm_numa,cell=1 memory_kib=65536i,cpus=\"1\"",
            whole,
            "vm_host,cell=0 memory_total_kib=131954688i,memory_free_kib=60000000i,cpuset=\"0-31\"",
            "vm_host,cell=1 memory_total_kib=131954688i,memory_free_kib=40000000i,cpuset=\"32-63\"",
            "vm_host,cell=0,page_kib=2048 pages_total=512i,pages_free=12i",
            "vm_host,cell=0,page_kib=1048576 pages_total=16i,pages_free=4i",
            "vm_host,cell=1,page_kib=2048 pages_total=512i,pages_free=512i",
            "vm_host,cell=1,page_kib=1048576 pages_total=16i,pages_free=0i",
        ]
    );
}
