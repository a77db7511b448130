//! Since when a guest of this machine runs: its QEMU's process, by libvirt's pid file and by /proc. libvirt
//! itself does not tell, and is not asked.

use std::fs;
use std::path::Path;

/// What /proc counts starts in, a second: the same on every architecture that libvirt's QEMU runs on.
const TICKS_PER_S: u64 = 100;
const NS_PER_TICK: u64 = 1_000_000_000 / TICKS_PER_S;
/// More than a pid file or a line of /proc has.
const FILE_MAX: usize = 4096;

/// When the QEMU of this guest started, in nanoseconds of CLOCK_BOOTTIME; `directory` is where libvirt keeps
/// its pid files.
pub(crate) fn started_at_ns(directory: &Path, name: &str) -> Option<u64> {
    let pid = fs::read_to_string(directory.join(format!("{name}.pid"))).ok()?;
    let pid: u32 = pid.trim().parse().ok()?;
    started(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The start of the process that a line of /proc/PID/stat is of, where that is a QEMU: a number may be that
/// of another process, when a guest has just ended or the file is of another container.
fn started(stat: &str) -> Option<u64> {
    // The name is in brackets, and may contain brackets and spaces itself.
    let (head, rest) = stat.get(..stat.len().min(FILE_MAX))?.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_ascii_lowercase();
    if !name.contains("qemu") && !name.contains("kvm") {
        return None;
    }
    // The state, which is the third, comes first here; starttime is the 22nd.
    let ticks: u64 = rest.split_ascii_whitespace().nth(22 - 3)?.parse().ok()?;
    ticks.checked_mul(NS_PER_TICK)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(name: &str) -> String {
        let rest: Vec<String> = (4..=52).map(|field| field.to_string()).collect();
        format!("17 ({name}) S {}\n", rest.join(" "))
    }

    #[test]
    fn the_start_is_the_22nd_field_whatever_the_name_is() {
        for name in ["qemu-system-x86", "qemu:a ) b (", "kvm", "QEMU KVM"] {
            assert_eq!(started(&stat(name)), Some(220_000_000), "{name}");
        }
        for name in ["bash", ""] {
            assert_eq!(started(&stat(name)), None, "{name}");
        }
        assert_eq!(started(""), None);
        assert_eq!(started("17 (qemu) S 1 2"), None);
    }

    #[test]
    fn a_guest_without_a_file_or_a_process_has_no_start() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(started_at_ns(folder.path(), "a"), None);
        for text in ["", "x", "4294967295", "-1"] {
            fs::write(folder.path().join("a.pid"), text).unwrap();
            assert_eq!(started_at_ns(folder.path(), "a"), None, "{text}");
        }
        // This process is no QEMU.
        fs::write(folder.path().join("a.pid"), std::process::id().to_string()).unwrap();
        assert_eq!(started_at_ns(folder.path(), "a"), None);
    }
}
