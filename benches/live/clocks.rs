//! What processes have cost: CPU time from the kernel's clocks, peaks of memory from /proc; and which
//! processes a hypervisor is made of.

use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use std::fs;
use std::path::Path;

/// The CPU time of a process, all of its threads included, in nanoseconds; 0 for one that is gone.
pub fn cpu_ns(pid: i32) -> u64 {
    let time = clock_getcpuclockid(Pid::from_raw(pid)).and_then(clock_gettime);
    time.map_or(0, |time| time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

/// The peak of a running process's resident memory.
pub fn peak_kib(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The CPU time that processes have used until now.
#[derive(Clone, Copy, Default)]
pub struct Used {
    pub libvirtd_ns: u64,
    pub qemu_ns: u64,
}

impl Used {
    pub fn all_ns(&self) -> u64 {
        self.libvirtd_ns + self.qemu_ns
    }
}

/// The processes behind a URI, as far as they run on this machine.
pub struct Server {
    libvirtd: Vec<i32>,
    qemu: Vec<i32>,
}

impl Server {
    /// Those of the lab that a URI leads into, else those of this machine.
    pub fn of(uri: &str) -> Server {
        // A lab's folder has the number of the first process of its namespaces.
        let folder =
            uri.split_once("socket=").and_then(|(_, socket)| Path::new(socket).ancestors().nth(2));
        let first = folder.and_then(|folder| fs::read_to_string(folder.join("init.pid")).ok());
        let first = first.as_deref().and_then(|text| text.split(' ').next()).unwrap_or("self");
        let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let home = namespace(first);
        let mut server = Server { libvirtd: Vec::new(), qemu: Vec::new() };
        for entry in fs::read_dir("/proc").unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let Ok(pid) = name.parse::<i32>() else { continue };
            let command = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            let list = match command.trim_end() {
                "libvirtd" | "virtqemud" => &mut server.libvirtd,
                command if command.starts_with("qemu-system") => &mut server.qemu,
                _ => continue,
            };
            if namespace(&name) == home {
                list.push(pid);
            }
        }
        server
    }

    pub fn used(&self) -> Used {
        let sum = |pids: &[i32]| pids.iter().map(|pid| cpu_ns(*pid)).sum();
        Used { libvirtd_ns: sum(&self.libvirtd), qemu_ns: sum(&self.qemu) }
    }
}
